//! What a peer tells is passed on by every way there is.

use std::io::Read;
use std::net::TcpStream;

use roundsman_sdk::{Fault, Outcome, Status, http, report, state};

/// None: it is something else that is asked for.
pub(crate) fn run(what: &str, with: &str) -> Option<Result<Outcome, Fault>> {
    if !what.starts_with("tell") {
        return None;
    }
    let told = match listen(with) {
        Ok(told) => told,
        Err(why) => return Some(Ok(Outcome::critical(why))),
    };
    Some(match what {
        "tell" => everywhere(&told, with),
        "tell-fault" => Err(Fault::new(told.clone(), before(&told))),
        "tell-cut" => {
            roundsman_sdk::info!("{told}");
            Ok(crate::sleep())
        }
        _ => panic!("{}{told}", "x".repeat(500)),
    })
}

/// By credentials and HTTP, or in clear.
fn listen(with: &str) -> Result<String, String> {
    if with.starts_with("http") {
        let response = http::Request::get(with).credentials("shop").send();
        return response.map(|response| response.text().into_owned()).map_err(|failure| failure.message);
    }
    let mut told = String::new();
    let read = TcpStream::connect(with).and_then(|mut stream| stream.read_to_string(&mut told));
    read.map(|_| told).map_err(|error| error.to_string())
}

/// Where a summary is cut in the midst of it.
fn before(told: &str) -> String {
    "x".repeat(1010) + told
}

fn everywhere(told: &str, with: &str) -> Result<Outcome, Fault> {
    let hex: String = told.bytes().map(|byte| format!("{byte:02x}")).collect();
    for text in [told, &hex, &before(told), &told.replace('-', "\u{1b}-")] {
        roundsman_sdk::warn!("{text}");
        report::finding(text, Status::Warning, &before(text))?;
        report::Point::of(&crate::GUEST).tag("name", text).field("value", 1.0).field("text", before(text)).report()?;
    }
    // Cut at the end of what is kept of the beginning, and at the beginning of what is kept of the end.
    print!("{}{told}", "o".repeat((4 << 10) - 12));
    eprint!("{}{told}{}", "e".repeat(64 << 10), "e".repeat((4 << 10) - 12));
    drop(http::Request::get(&format!("{with}/{told}")).header("x", told).send());
    let kept = state::set("key", told.as_bytes()).map_or_else(|fault| fault.code, |()| "kept".to_owned());
    let named = state::set(told, b"value").map_or_else(|fault| fault.code, |()| "kept".to_owned());
    let innocent = state::set("other", b"value").map_or_else(|fault| fault.code, |()| "kept".to_owned());
    Ok(Outcome::critical(format!("{kept} {named} {innocent} {told} {}", before(told))))
}
