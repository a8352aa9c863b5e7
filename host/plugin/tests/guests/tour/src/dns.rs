//! `roundsman:net/dns`, with servers that answer with what they saw of the question.

use roundsman_sdk::bindings::roundsman::net::dns::{Answer, Query};
use roundsman_sdk::bindings::roundsman::net::types::Failure;

use crate::{failed, option, part, show, tell};

/// What the server says in its one record.
fn seen(answer: &Answer) -> String {
    answer.records("answer").first().map(|entry| entry.text.trim_matches('"').to_owned()).unwrap_or_default()
}

fn to(server: &str) -> Query {
    let query = Query::new("www.shop.test", "TXT");
    query.set_server(server);
    query
}

pub(crate) fn plain(server: &str) -> Result<(), Failure> {
    let query = to(server);
    query.set_recursion(false);
    query.set_dnssec(true);
    query.set_option("checking-disabled", "true")?;
    let answer = query.send()?;
    let seen = seen(&answer);
    tell("dns.query.constructor", part(&seen, "asked"));
    tell("dns.query.set-server", part(&seen, "at"));
    tell("dns.query.set-recursion", format!("rd {}", part(&seen, "rd")));
    tell("dns.query.set-dnssec", format!("do {}", part(&seen, "do")));
    tell("dns.query.set-option", format!("cd {}", part(&seen, "cd")));
    tell("dns.query.peer-address", show(query.peer_address()));
    tell("dns.query.timing-ns", show(query.timing_ns("first-byte")));
    tell("dns.query.fact", show(query.fact("extended-error")));
    tell("dns.answer.rcode", answer.rcode());
    tell("dns.answer.flag", answer.flag("aa"));
    let entries: Vec<_> = ["authority", "additional"].iter().flat_map(|section| answer.records(section)).collect();
    let entries: Vec<_> =
        entries.iter().map(|entry| format!("{} {} {} {}", entry.name, entry.ttl_s, entry.kind, entry.text)).collect();
    tell("dns.answer.records", entries.join(", "));
    tell("dns.answer.bytes", answer.bytes());
    // The same question, once more.
    tell("dns.query.send", part(&self::seen(&query.send()?), "question"));
    Ok(())
}

/// By TCP, to a name with two addresses, to a server that misses the first question, and to one that never answers.
pub(crate) fn more(both: &str, deaf: &str, silent: &str) -> Result<(), Failure> {
    let query = to(both);
    query.set_transport("tcp");
    query.set_address_family("ipv6");
    let answer = query.send()?;
    tell("dns.query.set-transport", part(&seen(&answer), "by"));
    tell("dns.query.set-address-family", part(&seen(&answer), "from"));
    let query = to(deaf);
    tell("dns.query.set-option", option(query.set_option("colour", "red")));
    query.set_option("attempts", "2")?;
    query.set_timeout_ns(2_000_000_000);
    query.send()?;
    tell("dns.query.set-option", show(query.fact("attempts")));
    let query = to(silent);
    query.set_timeout_ns(50_000_000);
    tell("dns.query.set-timeout-ns", failed(query.send()));
    Ok(())
}

pub(crate) fn tls(server: &str) -> Result<(), Failure> {
    let secured = || {
        let query = to(server);
        query.set_transport("tls");
        query.set_server_name("dns.internal");
        query
    };
    let query = secured();
    query.set_certificate_authority("shop");
    tell("dns.query.set-server-name", part(&seen(&query.send()?), "server-name"));
    let subjects: Vec<_> = query.certificates().iter().map(|certificate| certificate.subject()).collect();
    tell("dns.query.certificates", subjects.join(", "));
    let with_it = show(query.fact("tls-version"));
    let without = secured();
    let refused = failed(without.send());
    tell("dns.query.set-certificate-authority", format!("{with_it} with it, {refused} without"));
    without.set_verify_certificate(false);
    let rcode = without.send()?.rcode();
    tell("dns.query.set-verify-certificate", format!("{rcode} with false, {refused} without"));
    Ok(())
}
