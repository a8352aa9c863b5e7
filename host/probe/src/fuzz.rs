//! What must hold for any bytes that strangers send: tried here on a corpus and at random, and by the targets in `fuzz/`.
//!
//! Each function takes whatever there is, panics where something does not hold, and tells whether anything was taken.
//! Those of private parsers stand beside them (`holds`).

#![expect(clippy::panic, reason = "that something does not hold is to be seen")]

use std::net::{IpAddr, SocketAddr};

use crate::address::{Reach, judged, reach};
use crate::host::Host;
use crate::pattern::{Pattern, Scheme};

pub use crate::dns::holds::{any_data, any_message, any_name};
pub use crate::http::holds::any_url;
pub use crate::system::kmsg_holds::any_kernel_log;

/// What both we and the crate `url` (which reads as browsers do) take for a host is the same host.
pub fn any_host(text: &str) -> bool {
    let Ok(own) = Host::parse(text) else { return false };
    let again = Host::parse(&own.in_url()).expect("what we write we read");
    assert_eq!(again.in_url(), own.in_url());
    let in_brackets = if text.contains(':') && !text.starts_with('[') { format!("[{text}]") } else { text.to_owned() };
    match (&own, url::Host::parse(&in_brackets)) {
        (Host::Address(IpAddr::V4(own)), Ok(url::Host::Ipv4(theirs))) => assert_eq!(*own, theirs),
        (Host::Address(IpAddr::V6(own)), Ok(url::Host::Ipv6(theirs))) => assert_eq!(*own, theirs),
        (Host::Name(own), Ok(url::Host::Domain(theirs))) => {
            assert_eq!(own.as_str(), theirs.strip_suffix('.').unwrap_or(&theirs));
        }
        // It decodes punycode, and some of it is none.
        (Host::Name(own), Err(_)) if own.as_str().contains("xn--") => {}
        (own, theirs) => panic!("`{text}` is {own:?} here and {theirs:?} for others"),
    }
    if let Host::Address(ip) = own {
        assert_eq!(judged(judged(ip)), judged(ip), "{ip}");
    }
    true
}

/// Lines that are grants or targets: what one covers it matches, wherever the other leads.
pub fn any_grants(text: &str) -> bool {
    let mut patterns = Vec::new();
    let (mut names, mut ports) = (vec!["a.example".to_owned()], vec![0, 1, 53, 443]);
    let mut addresses: Vec<IpAddr> = Vec::new();
    for line in text.split('\n').take(MAX_LINES) {
        for parsed in [Pattern::parse(line), Pattern::of_target(line).ok_or_else(String::new)] {
            match parsed {
                Ok(pattern) => patterns.push(pattern),
                Err(why) => assert!(!why.contains(char::is_control), "{why:?}"),
            }
        }
        // Every word of the lines is somewhere that may be asked for.
        for word in line.split(['/', ',', '-', '*', '[', ']', '@']) {
            ports.extend(word.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()));
            let host = word.rsplit_once(':').map_or(word, |(host, _)| host);
            for host in [word, host, host.trim_start_matches('.')] {
                match Host::parse(host) {
                    Ok(Host::Address(ip)) => addresses.push(judged(ip)),
                    Ok(Host::Name(name)) => names.extend([format!("x.{}", name.as_str()), name.as_str().to_owned()]),
                    Err(_) => {}
                }
            }
        }
    }
    names.truncate(MAX_ASKED);
    addresses.truncate(MAX_ASKED);
    ports.truncate(MAX_ASKED);
    let answers: Vec<_> = patterns.iter().map(|pattern| answers(pattern, &names, &addresses, &ports)).collect();
    for (own, own_answers) in patterns.iter().zip(&answers) {
        assert!(own.covers(own), "{own:?} does not cover itself");
        for (other, other_answers) in patterns.iter().zip(&answers) {
            let more = own_answers.iter().zip(other_answers).all(|(own, other)| *own || !*other);
            assert!(more || !own.covers(other), "{own:?} covers {other:?}, and matches less");
        }
    }
    !patterns.is_empty()
}

/// Lines of one input: each is compared with each.
const MAX_LINES: usize = 4;
/// Names, addresses and ports of one input.
const MAX_ASKED: usize = 12;

/// Everything that a line is ever asked, of these names, addresses and ports.
fn answers(pattern: &Pattern, names: &[String], addresses: &[IpAddr], ports: &[u16]) -> Vec<bool> {
    let mut answers = vec![pattern.is_system_resolver()];
    for (scheme, port) in Scheme::ALL.into_iter().flat_map(|scheme| ports.iter().map(move |port| (scheme, *port))) {
        answers.extend(names.iter().map(|name| pattern.allows_name(scheme, name, port)));
        answers.extend(names.iter().map(|name| pattern.allows_lookup(name)));
        for ip in addresses {
            let exactly = pattern.is_exactly(scheme, *ip, port);
            answers.push(match reach(*ip) {
                Reach::Special(_) => exactly,
                Reach::Private => pattern.allows_address(scheme, *ip, port),
                Reach::Public => pattern.leads_to(scheme, SocketAddr::new(*ip, port)),
            });
            assert!(!exactly || pattern.allows_address(scheme, *ip, port), "{pattern:?} {scheme} {ip} {port}");
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    /// Every file of a corpus, by its name.
    fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        let read = |path: std::path::PathBuf| (path.display().to_string(), fs::read(&path).unwrap());
        let files: Vec<_> = files.map(read).collect();
        assert!(files.len() > 3, "{} holds next to nothing", folder.display());
        files
    }

    /// Tries each file, and each cut short anywhere. Some of a corpus is taken and some is not, or it shows little.
    fn try_each(name: &str, holds: impl Fn(&[u8]) -> bool) {
        let (mut taken, mut refused) = (0, 0);
        for (file, bytes) in corpus(name) {
            // Shown only if something does not hold.
            eprintln!("{file}");
            *(if holds(&bytes) { &mut taken } else { &mut refused }) += 1;
            for end in 0..bytes.len().min(600) {
                holds(&bytes[..end]);
            }
        }
        assert!(taken > 0 && refused > 0, "{name}: {taken} taken, {refused} refused");
    }

    #[test]
    fn hosts_of_the_corpus() {
        // One in each line, so that none of them hides another.
        try_each("hosts", |bytes| String::from_utf8_lossy(bytes).lines().all(any_host));
    }

    #[test]
    fn grants_of_the_corpus() {
        try_each("grants", |bytes| any_grants(&String::from_utf8_lossy(bytes)));
    }

    #[test]
    fn urls_of_the_corpus() {
        try_each("urls", |bytes| any_url(&String::from_utf8_lossy(bytes)));
    }

    #[test]
    fn messages_of_the_corpus() {
        try_each("dns", any_message);
    }

    #[test]
    fn kernel_logs_of_the_corpus() {
        try_each("kmsg", any_kernel_log);
    }

    /// What address parsers disagree about: numbers of any base and length, dots at either end, zones, escapes.
    fn nearly_a_host() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            3 => "(0x|0X|0)?[0-9a-f]{0,4}",
            2 => "[0-9]{1,10}",
            2 => prop::sample::select(vec![
                "xn--", "-", "_", "%2e", "%00", "\u{ff11}", "\u{3002}", "\u{ad}", "@", "\\", "[", "]", "::", ":", "ffff",
                "%25eth0", " ", "ß", "K", "localhost", "127",
            ]).prop_map(str::to_owned),
            1 => "[a-zA-Z]{1,3}",
        ];
        let joint = prop::sample::select(vec![".", ".", ".", ":", "", "\u{ff0e}"]);
        prop::collection::vec((part, joint), 1..7).prop_map(|parts| {
            let mut text: String = parts.iter().flat_map(|(part, joint)| [part.as_str(), joint]).collect();
            if text.len().is_multiple_of(2) {
                text.pop();
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn hosts(text in nearly_a_host(), ip in any::<IpAddr>()) {
            any_host(&text);
            any_host(&format!("[{text}]"));
            any_host(&ip.to_string());
        }

        #[test]
        fn urls(scheme in "(http|https|HTTP)", host in nearly_a_host(), tail in "[:/?#@\\\\0-9a.% ]{0,12}", location in "[a-z:/\\\\.?#@%0-9 \t]{0,16}") {
            any_url(&format!("{scheme}://{host}{tail}\n{location}"));
        }

        #[test]
        fn grants(lines in prop::collection::vec(("((http|https|tcp|tls|udp|dns|icmp)://)?", nearly_a_host(), "(/[0-9]{1,3})?(:([0-9*,-]{1,8}))?"), 1..4)) {
            let lines: Vec<_> = lines.iter().map(|(scheme, host, ports)| [scheme.as_str(), host, ports].concat()).collect();
            any_grants(&lines.join("\n"));
        }
    }
}
