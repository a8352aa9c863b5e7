//! Calls each function of the interfaces `tcp` and `udp`, without anything of the SDK in between, and logs what it gets.

mod floods;
mod sockets;

use roundsman_sdk::bindings::roundsman::check::log;
use roundsman_sdk::bindings::roundsman::net::types::Failure;
use roundsman_sdk::{Check, Describe, Fault, Outcome};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// What to do.
    what: String,
    /// Where.
    with: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { what: "nothing".to_owned(), with: String::new() }
    }
}

struct Net;

impl Check for Net {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("1", "Calls the interfaces tcp and udp.")
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let with = settings.with.as_str();
        let result = match settings.what.as_str() {
            "nothing" => Ok("nothing".to_owned()),
            "mail" => sockets::mail(with),
            "tls" => sockets::tls(with, true),
            "tls-anyhow" => sockets::tls(with, false),
            "plain" => sockets::plain(with),
            "datagram" => sockets::datagram(with),
            "time-out" => sockets::time_out(with),
            what => return floods::run(what, with).ok_or_else(|| Fault::settings(format!("`{what}` is unknown"))),
        };
        Ok(match result {
            Ok(summary) => Outcome::ok(summary),
            Err(failure) => Outcome::critical(words(&failure)),
        })
    }
}

fn words(failure: &Failure) -> String {
    format!("{} in {}: {}", failure.code, failure.phase, failure.message)
}

/// `name=value`, for the test to look at.
fn tell(name: &str, value: impl std::fmt::Debug) {
    log::log(log::Level::Info, &format!("{name}={value:?}"));
}

roundsman_sdk::plugin!(Net);
