//! A plugin that does what a plugin should not, as its settings say.

mod floods;
mod secrets;
mod world;

use std::time::Duration;

use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Tag, state};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What to do.
    what: String,
    /// An address, a name, a path or a number, as `what` needs it.
    with: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { what: "nothing".to_owned(), with: String::new() }
    }
}

const GUEST: Series = Series {
    name: "guest",
    help: "What the tests look at.",
    tags: &[Tag::bounded("name", "Anything.")],
    fields: &[Field::real("value", "", "A number."), Field::text("text", "A text.")],
};

struct Hostile;

impl Check for Hostile {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("1", "Does what a plugin should not.").series(&GUEST).findings("Anything.", false)
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let with = settings.with.as_str();
        match settings.what.as_str() {
            "nothing" => Ok(Outcome::ok("nothing")),
            "compute" => Ok(compute(with)),
            "spin" => loop {
                std::hint::spin_loop();
            },
            "recurse" => Ok(Outcome::ok(recurse(1).to_string())),
            "grow" => Ok(grow()),
            "panic" => panic!("the reason is {with}"),
            "trap" => core::arch::wasm32::unreachable(),
            "exit" => std::process::exit(3),
            "sleep" => Ok(sleep()),
            "hold-memory" => Ok(hold(with)),
            "fault" => Err(Fault::new("mine", "as I please")),
            "claims-denied" => Err(Fault::new("denied", "says who")),
            "remember-and-fault" => remember().and(Err(Fault::new("mine", "after writing"))),
            "remember-and-panic" => remember().and_then(|()| panic!("after writing")),
            "remember-and-sleep" => remember().map(|()| sleep()),
            "remember" => remember().map(|()| Outcome::critical("written")),
            "recall" => Ok(Outcome::ok(String::from_utf8_lossy(&state::get("key").unwrap_or_default()))),
            what => floods::run(what, with)
                .or_else(|| world::run(what, with))
                .or_else(|| secrets::run(what, with))
                .unwrap_or_else(|| Err(Fault::settings(format!("`{what}` is unknown")))),
        }
    }
}

fn compute(milliseconds: &str) -> Outcome {
    let until = std::time::Instant::now() + Duration::from_millis(milliseconds.parse().expect("a number"));
    let mut turns = 0_u64;
    while std::time::Instant::now() < until {
        turns += 1;
    }
    Outcome::ok(format!("{turns} turns"))
}

#[expect(unconditional_recursion, reason = "that is the point")]
fn recurse(depth: u64) -> u64 {
    let local = std::hint::black_box([depth; 64]);
    recurse(depth + 1) + local[usize::try_from(depth % 64).expect("it is below 64")]
}

fn grow() -> Outcome {
    let mut held = Vec::new();
    loop {
        held.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&held);
    }
}

/// Keeps so many MiB of memory, and does nothing with them.
fn hold(mebibytes: &str) -> Outcome {
    let held = vec![1_u8; mebibytes.parse::<usize>().expect("a number") << 20];
    let slept = sleep();
    std::hint::black_box(held);
    slept
}

fn sleep() -> Outcome {
    std::thread::sleep(Duration::from_secs(3600));
    Outcome::critical("overslept")
}

fn remember() -> Result<(), Fault> {
    state::set("key", b"value")
}

roundsman_sdk::plugin!(Hostile);
