//! Calls each function of the contract, without anything of the SDK in between, and logs `function=answer`: what came back,
//! or what the other side saw of what was set.

mod command;
mod dns;
mod http;
mod icmp;
mod own;
mod system;
mod tcp;
mod udp;

use roundsman_sdk::bindings::roundsman::check::log;
use roundsman_sdk::bindings::roundsman::net::types::Failure;
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Tag};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Which part.
    what: String,
    /// Words that it needs, with spaces between them.
    with: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { what: "nothing".to_owned(), with: String::new() }
    }
}

const TOUR: Series = Series {
    name: "tour",
    help: "What the tests look at.",
    tags: &[Tag::bounded("stage", "Anything.")],
    fields: &[
        Field::real("real", "", "A number."),
        Field::integer("integer", "", "A number."),
        Field::boolean("boolean", "Yes or no."),
        Field::text("text", "A text."),
    ],
};

struct Tour;

impl Check for Tour {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("7", "Calls every function of the contract.").series(&TOUR).findings("Anything.", false)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        if settings.what == "impossible" { Err(Fault::settings("the tour goes nowhere")) } else { Ok(()) }
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let words: Vec<&str> = settings.with.split(' ').collect();
        let word = |place: usize| words.get(place).copied().unwrap_or_default();
        let done = match settings.what.as_str() {
            "nothing" => Ok(()),
            "own" => own::tour().map_err(|fault| fault.message),
            "http" => http::plain(word(0)).map_err(words_of),
            "http-bounds" => http::bounds(word(0)).map_err(words_of),
            "http-ways" => http::ways(word(0), word(1)).map_err(words_of),
            "http-tls" => http::tls(word(0)).map_err(words_of),
            "http-2" => http::version(word(0)).map_err(words_of),
            "tcp" => tcp::mail(word(0)).map_err(words_of),
            "tcp-more" => tcp::more(word(0), word(1), word(2)).map_err(words_of),
            "udp" => udp::tour(word(0), word(1), word(2)).map_err(words_of),
            "dns" => dns::plain(word(0)).map_err(words_of),
            "dns-more" => dns::more(word(0), word(1), word(2)).map_err(words_of),
            "dns-tls" => dns::tls(word(0)).map_err(words_of),
            "icmp" => icmp::tour(word(0), word(1)).map_err(words_of),
            "mounts" => system::mounts(word(0)),
            "kernel" => system::kernel(),
            "pressure" => system::pressure(),
            "processes" => system::processes(word(0)),
            "processes-truncated" => system::processes_truncated(),
            "ports" => system::ports(word(0)),
            "ports-truncated" => system::ports_truncated(),
            "kernel-log" => system::kernel_log(),
            "kernel-log-lost" => system::kernel_log_lost(word(0)),
            "units" => system::units(&words),
            "units-truncated" => system::units_truncated(),
            "command" => command::tour(word(0)),
            what => return Err(Fault::settings(format!("`{what}` is unknown"))),
        };
        // A status and a summary that nobody gives by default.
        Ok(done.map_or_else(Outcome::critical, |()| Outcome::warning(format!("told of {}", settings.what))))
    }
}

fn words_of(failure: Failure) -> String {
    format!("{} in {}: {}", failure.code, failure.phase, failure.message)
}

/// Code and phase of what had to fail.
fn failed<T>(result: Result<T, Failure>) -> String {
    result.map_or_else(|failure| format!("{} in {}", failure.code, failure.phase), |_| "no failure".to_owned())
}

fn option(result: Result<(), Failure>) -> String {
    result.map_or_else(|failure| failure.code, |()| "taken".to_owned())
}

/// For the test to look at.
fn tell(function: &str, answer: impl std::fmt::Display) {
    log::log(log::Level::Info, &format!("{function}={answer}"));
}

fn show<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| value.to_string())
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end().to_owned()
}

/// The value of `name=value` among such words, as the peers of the tests say what they saw.
fn part(said: &str, name: &str) -> String {
    let found = said.split("; ").find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
    found.unwrap_or("nothing").to_owned()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

roundsman_sdk::plugin!(Tour);
