//! Too much of everything that a plugin may hand over to its host.

use roundsman_sdk::bindings::roundsman::check::{report as raw, types};
use roundsman_sdk::{Fault, Outcome, Status, http, info, report, state, system};

/// None: it is something else that is asked for.
pub(crate) fn run(what: &str, with: &str) -> Option<Result<Outcome, Fault>> {
    Some(match what {
        "print-for-ever" => loop {
            println!("{}", "x".repeat(1000));
        },
        "print-and-panic" => {
            (0..100_000).for_each(|n| println!("line {n}"));
            panic!("after a flood");
        }
        "log" => Ok(log(100_000)),
        "log-large" => {
            info!("{}", "x".repeat(2 << 20));
            Ok(Outcome::ok("logged"))
        }
        "points" => Ok(count(|n| report::Point::of(&crate::GUEST).field("value", f64::from(n)).report())),
        "findings" => Ok(count(|n| report::finding(&n.to_string(), Status::Ok, "a finding"))),
        "summary" => Ok(Outcome::ok("x".repeat(with.parse().expect("a number")))),
        "terminal" => Ok(Outcome::critical("\u{1b}[31mred\u{7}\nsecond\u{202e}line")),
        "requests" => {
            let requests: Vec<_> = (0..100_000).map(|_| http::Request::get("http://127.0.0.1/")).collect();
            Ok(Outcome::ok(format!("{} requests", requests.len())))
        }
        "bodies" => {
            let body = vec![0; 1 << 19];
            let requests: Vec<_> = (0..1000).map(|_| http::Request::get("http://127.0.0.1/").body(&body)).collect();
            Ok(Outcome::ok(format!("{} requests", requests.len())))
        }
        "bodies-dropped" => {
            let body = vec![0; 1 << 19];
            (0..1000).for_each(|_| drop(http::Request::get("http://127.0.0.1/").body(&body)));
            Ok(Outcome::ok("none is left"))
        }
        "mounts" => system::mounts().map_err(Fault::from).map(|mounts| Outcome::ok(format!("{}", mounts.len()))),
        "state-keys" => Ok(count(|n| state::set(&n.to_string(), b"x"))),
        "state-bytes" => Ok(count(|n| state::set(&n.to_string(), &vec![0; 10_000]))),
        "state-deletes" => {
            (0..1_000).for_each(|n| state::delete(&n.to_string()));
            Ok(Outcome::ok("deleted"))
        }
        "nan" => report::Point::of(&crate::GUEST)
            .field("value", f64::NAN)
            .field("text", "still here")
            .report()
            .and_then(|()| report::Point::of(&crate::GUEST).field("value", f64::INFINITY).report())
            .map(|()| Outcome::ok("reported")),
        "point" => raw_point(with),
        _ => return None,
    })
}

fn log(lines: u32) -> Outcome {
    (0..lines).for_each(|n| info!("line {n}"));
    Outcome::ok("logged")
}

/// How often something succeeds, and why it fails then.
fn count(mut once: impl FnMut(u32) -> Result<(), Fault>) -> Outcome {
    let mut n = 0;
    loop {
        match once(n) {
            Ok(()) => n += 1,
            Err(fault) => return Outcome::warning(format!("{n}, then {}", fault.code)),
        }
    }
}

/// `series|tag|value|field`, past the SDK's own look at it.
fn raw_point(with: &str) -> Result<Outcome, Fault> {
    let parts: Vec<_> = with.split('|').collect();
    let [series, tag, value, field] = parts[..] else { return Err(Fault::settings("four parts")) };
    let tags: Vec<_> =
        Some((tag.to_owned(), value.to_owned())).into_iter().filter(|(tag, _)| !tag.is_empty()).collect();
    match raw::point(series, &tags, &[(field.to_owned(), types::Value::Real(1.0))]) {
        Ok(()) => Ok(Outcome::ok("taken")),
        Err(fault) => Ok(Outcome::warning(format!("{}: {}", fault.code, fault.message))),
    }
}
