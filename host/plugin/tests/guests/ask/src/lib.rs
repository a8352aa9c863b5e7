//! Calls each function of the interfaces `dns` and `icmp`, without anything of the SDK in between, and logs what it gets.

use roundsman_sdk::bindings::roundsman::check::log;
use roundsman_sdk::bindings::roundsman::net::dns::Query;
use roundsman_sdk::bindings::roundsman::net::icmp::Echo;
use roundsman_sdk::bindings::roundsman::net::types::Failure;
use roundsman_sdk::{Check, Describe, Fault, Outcome};

const MS: u64 = 1_000_000;

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

struct Ask;

impl Check for Ask {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("1", "Calls the interfaces dns and icmp.")
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let with = settings.with.as_str();
        let result = match settings.what.as_str() {
            "nothing" => Ok("nothing".to_owned()),
            "query" => query(with),
            "query-tls" => query_tls(with),
            "query-plainly" => plainly(with),
            "queries" => queries(with),
            "echo" => echo(with),
            "echo-too-big" => too_big(with),
            "echo-plainly" => echo_plainly(with),
            "echoes" => echoes(with),
            what => return Err(Fault::settings(format!("`{what}` is unknown"))),
        };
        Ok(match result {
            Ok(summary) => Outcome::ok(summary),
            Err(failure) => Outcome::critical(words(&failure)),
        })
    }
}

/// With everything set that has no need of TLS.
fn query(server: &str) -> Result<String, Failure> {
    let query = Query::new("www.shop.test", "TYPE65280");
    query.set_server(server);
    query.set_transport("udp-only");
    query.set_recursion(false);
    query.set_dnssec(true);
    query.set_address_family("ipv4");
    query.set_timeout_ns(20_000 * MS);
    tell("set-option", query.set_option("nsid", "yes").map_err(|failure| failure.code));
    query.set_option("checking-disabled", "true")?;
    tell(
        "before",
        (query.peer_address(), query.timing_ns("total"), query.certificates().len(), query.fact("attempts")),
    );
    let answer = query.send()?;
    tell("rcode", answer.rcode());
    for flag in ["aa", "tc", "rd", "ra", "ad", "cd", "x"] {
        tell(flag, answer.flag(flag));
    }
    for section in ["answer", "authority", "additional", "x"] {
        for entry in answer.records(section) {
            tell(section, format!("{} {} {} {}", entry.name, entry.ttl_s, entry.kind, entry.text));
        }
    }
    tell("bytes", answer.bytes());
    for phase in ["resolve", "first-byte", "total"] {
        tell(phase, query.timing_ns(phase).is_some_and(|time| time > 0));
    }
    tell("connect", query.timing_ns("connect"));
    tell("peer-address", query.peer_address());
    for fact in ["transport", "attempts", "ignored", "extended-error", "x"] {
        tell(fact, query.fact(fact));
    }
    Ok("asked".to_owned())
}

fn query_tls(server: &str) -> Result<String, Failure> {
    let ask = |set: &dyn Fn(&Query)| {
        let query = Query::new("192.0.2.7", "PTR");
        query.set_server(server);
        query.set_transport("tls");
        set(&query);
        let result = query.send().map(|answer| answer.rcode()).map_err(|failure| failure.code);
        tell("result", result);
        query
    };
    let query = ask(&|query| {
        query.set_server_name("dns.example");
        query.set_certificate_authority("dns");
    });
    tell("tls-version", query.fact("tls-version"));
    tell("transport", query.fact("transport"));
    let subjects: Vec<_> = query.certificates().iter().map(|certificate| certificate.subject()).collect();
    tell("certificates", subjects);
    for phase in ["resolve", "connect", "tls", "first-byte", "transfer", "total"] {
        tell(phase, query.timing_ns(phase).is_some());
    }
    let query = ask(&|query| query.set_certificate_authority("dns"));
    tell("certificate-error", query.fact("certificate-error").is_some());
    tell("certificates", query.certificates().len());
    let query = ask(&|query| query.set_verify_certificate(false));
    tell("certificate-error", query.fact("certificate-error").is_some());
    Ok("asked".to_owned())
}

/// With nothing set but the server, if it is one.
fn plainly(server: &str) -> Result<String, Failure> {
    let query = Query::new("www.shop.test", "A");
    if !server.is_empty() {
        query.set_server(server);
    }
    query.set_option("attempts", "2")?;
    let answer = query.send()?;
    Ok(format!("{}, {:?} attempts", answer.rcode(), query.fact("attempts")))
}

/// As many as there may be, and their answers all kept.
fn queries(server: &str) -> Result<String, Failure> {
    let mut kept = Vec::new();
    loop {
        let query = Query::new("www.shop.test", "A");
        query.set_server(server);
        match query.send() {
            Ok(answer) => kept.push((query, answer)),
            Err(failure) => return Ok(format!("{} and then {}", kept.len(), words(&failure))),
        }
    }
}

/// With everything set.
fn echo(address: &str) -> Result<String, Failure> {
    let echo = Echo::new(address);
    echo.set_count(2);
    echo.set_interval_ns(30 * MS);
    echo.set_size(33);
    echo.set_ttl(9);
    echo.set_address_family("ipv4");
    echo.set_source_address("127.0.0.2");
    echo.set_timeout_ns(300 * MS);
    tell("set-option", echo.set_option("flood", "yes").map_err(|failure| failure.code));
    tell("before", (echo.results().len(), echo.duplicates(), echo.timing_ns("total"), echo.peer_address()));
    echo.send()?;
    for reply in echo.results() {
        tell("reply", (reply.round_trip_ns.is_some_and(|time| time > 0), reply.kind, reply.from, reply.ttl));
    }
    tell("duplicates", echo.duplicates());
    tell("resolve", echo.timing_ns("resolve").is_some());
    tell("total", echo.timing_ns("total").is_some_and(|total| total >= 30 * MS));
    tell("peer-address", echo.peer_address());
    tell("local-address", echo.fact("local-address"));
    Ok("asked".to_owned())
}

fn too_big(address: &str) -> Result<String, Failure> {
    let echo = Echo::new(address);
    echo.set_size(2000);
    echo.set_dont_fragment(true);
    echo.send()?;
    let kinds: Vec<_> = echo.results().into_iter().map(|reply| reply.kind).collect();
    Ok(format!("{}, mtu {:?}", kinds.join(" "), echo.fact("mtu")))
}

fn echo_plainly(address: &str) -> Result<String, Failure> {
    let echo = Echo::new(address);
    echo.send()?;
    let kinds: Vec<_> = echo.results().into_iter().map(|reply| reply.kind).collect();
    Ok(kinds.join(" "))
}

/// Until the run may send no more.
fn echoes(address: &str) -> Result<String, Failure> {
    let mut sent = 0;
    loop {
        let echo = Echo::new(address);
        echo.set_count(100);
        echo.set_interval_ns(MS);
        echo.set_timeout_ns(MS);
        match echo.send() {
            Ok(()) => sent += echo.results().len(),
            Err(failure) => return Ok(format!("{sent} and then {}", words(&failure))),
        }
    }
}

fn words(failure: &Failure) -> String {
    format!("{} in {}: {}", failure.code, failure.phase, failure.message)
}

/// `name=value`, for the test to look at.
fn tell(name: &str, value: impl std::fmt::Debug) {
    log::log(log::Level::Info, &format!("{name}={value:?}"));
}

roundsman_sdk::plugin!(Ask);
