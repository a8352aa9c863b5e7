//! Every way out, to every forbidden address, in every spelling: nobody is reached. And one line of `allow:` opens one cell.
//!
//! The addresses are this machine's own for as long as the test runs, in a network namespace that it makes for itself: the
//! test starts this program again in there, with listeners that count who comes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

#[path = "egress/listeners.rs"]
mod listeners;
#[path = "egress/spellings.rs"]
mod spellings;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use roundsman_model::record::Status;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::EngineLimits;
use roundsman_probe::probe::{Options, Roots};
use roundsman_probe::resolve::Resolver;
use serde_json::json;

use crate::listeners::{GOOD, Listeners, NAME_SERVER, OWN_PORT, PORT};
use crate::support::{Bench, Run, guest};

/// Set for the program in the namespace.
const INSIDE: &str = "ROUNDSMAN_TEST_EGRESS_INSIDE";

/// Addresses that need a line of their own, or an address in CIDR form.
const FORBIDDEN: [&str; 8] = [
    "169.254.169.254",
    "100.100.100.200",
    "192.0.0.192",
    "169.254.7.7",
    "127.0.0.1",
    "10.9.9.9",
    "fd00:ec2::254",
    "fe80::1",
];

const WAYS: [(&str, &str); 9] = [
    ("http", "http"),
    ("redirect", "http"),
    ("tcp", "tcp"),
    ("std-tcp", "tcp"),
    ("udp", "udp"),
    ("std-udp", "udp"),
    ("dns", "dns"),
    ("dns-tcp", "dns"),
    ("icmp", "icmp"),
];

/// What a check has that may go to a whole domain, and to one server of its own network.
fn usual() -> Run {
    let mut run = Run::new();
    for scheme in ["http", "https", "tcp", "tls", "udp", "dns"] {
        run = run.network(format!("{scheme}://*.allowed.example:*"));
    }
    run = run.network("icmp://*.allowed.example");
    run.network(format!("http://good.example:{PORT}")).network(format!("http://rebind.example:{PORT}"))
}

fn attempts(ways: &[&str], hosts: &[String], port: u16) -> serde_json::Value {
    let by = format!("http://good.example:{PORT}");
    let attempts = ways.iter().flat_map(|way| hosts.iter().map(move |host| (*way, host)));
    let list: Vec<_> = attempts.map(|(way, host)| json!({"way": way, "host": host, "port": port, "by": by})).collect();
    json!({"attempts": list})
}

#[test]
fn nobody_is_reached() {
    if std::env::var_os(INSIDE).is_some() {
        let range = Range::new();
        range.everything_is_closed();
        range.names_that_change_their_mind();
        range.one_line_opens_one_cell();
        return;
    }
    let may = Command::new("unshare")
        .args(["--net", "ip", "link", "set", "lo", "up"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !may.is_ok_and(|status| status.success()) {
        support::skipped("a network namespace needs root, unshare and ip");
        return;
    }
    // Built out here: in there is no registry to ask.
    guest("evil");
    let addresses = FORBIDDEN.iter().filter(|address| **address != "127.0.0.1").copied().chain([GOOD]);
    let addresses = addresses.map(|a| if a.contains(':') { format!("{a}/128") } else { format!("{a}/32") });
    let set_up = "set -e; ip link set lo up; for a in $ADDRESSES; do ip addr add $a dev lo; done; exec \"$0\" \"$@\"";
    let mut inside = Command::new("unshare");
    inside.args(["--net", "sh", "-c", set_up]).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", "nobody_is_reached", "--nocapture"]);
    inside.env(INSIDE, "1").env("ADDRESSES", addresses.collect::<Vec<_>>().join(" ")).stdin(Stdio::null());
    let output = inside.output().unwrap();
    let (said, figures) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    eprintln!("{figures}");
    assert!(output.status.success() && said.contains("1 passed"), "{said}{figures}");
}

/// Everything that the tests in the namespace need.
struct Range {
    bench: Bench,
    evil: std::sync::Arc<roundsman_plugin::load::Plugin>,
    listeners: Listeners,
    _folder: tempfile::TempDir,
}

impl Range {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (resolv_conf, hosts) = (folder.path().join("resolv.conf"), folder.path().join("hosts"));
        std::fs::write(&resolv_conf, format!("nameserver {NAME_SERVER}\noptions timeout:1 attempts:1\n")).unwrap();
        std::fs::write(&hosts, "").unwrap();
        let resolver = Resolver::from_files(resolv_conf, hosts);
        let options = Options { resolver, roots: Roots::Only(Vec::new()), ..Options::default() };
        let compiler = Compiler::new(env!("CARGO_BIN_EXE_roundsman-compile").into());
        let bench = Bench::with_options(compiler, EngineLimits { runs: 64, memory: 512 << 20 }, options);
        let evil = bench.load(&guest("evil")).unwrap();
        Self { bench, evil, listeners: Listeners::start(&FORBIDDEN), _folder: folder }
    }

    /// Lets the plugin try, and gives the word for each attempt.
    fn attempt(&self, run: &Run, settings: serde_json::Value) -> Vec<String> {
        let tried = settings["attempts"].as_array().unwrap().len();
        let run = Run { settings, own_ports: vec![OWN_PORT], ..run.clone() };
        // Without the look at open files: those of the listeners come and go beside it.
        let report = self.bench.runtime.block_on(self.evil.run(run.job()));
        assert_eq!(
            (report.status, report.summary.as_str()),
            (Status::Ok, format!("{tried} attempts").as_str()),
            "{report:?}"
        );
        report.story.log.iter().map(|line| line.text.clone()).collect()
    }

    fn everything_is_closed(&self) {
        let (mut tried, mut words) = (0, BTreeMap::<String, usize>::new());
        for address in FORBIDDEN {
            let mut hosts = spellings::of(address);
            hosts.push(format!("to-{}.allowed.example", address.replace([':', '.'], "-")));
            hosts.push("mixed.allowed.example".to_owned());
            hosts.push("MIXED.Allowed.Example.".to_owned());
            for (port, (way, _)) in [PORT, OWN_PORT].into_iter().flat_map(|port| WAYS.map(|way| (port, way))) {
                for line in self.attempt(&usual(), attempts(&[way], &hosts, port)) {
                    let word = line.rsplit(": ").next().unwrap_or_default().to_owned();
                    assert_ne!(word, "reached", "{line}");
                    *words.entry(word).or_default() += 1;
                    tried += 1;
                }
                let visits = self.listeners.visits();
                assert!(visits.is_empty(), "{way} to {address}, port {port}: {visits:?}");
            }
        }
        eprintln!(
            "{tried} attempts by {} ways to {} addresses, nobody reached: {words:?}",
            WAYS.len(),
            FORBIDDEN.len()
        );
        assert!(tried > 2_000, "{tried}");
    }

    /// The first answer may be dialled, and is; the second leads elsewhere and is judged anew.
    fn names_that_change_their_mind(&self) {
        let rebind = ["rebind.example".to_owned()];
        let words: Vec<_> = (0..3).flat_map(|_| self.attempt(&usual(), attempts(&["http"], &rebind, PORT))).collect();
        let expected = ["reached", "denied", "denied"].map(|word| format!("http rebind.example {PORT}: {word}"));
        assert_eq!(words, expected);
        assert!(self.listeners.visits().is_empty());
    }

    fn one_line_opens_one_cell(&self) {
        // What is link-local cannot be dialled without its link, which no line can name.
        let addresses: Vec<_> = FORBIDDEN.into_iter().filter(|address| !address.starts_with("fe80")).collect();
        let hosts: Vec<_> = addresses.iter().map(|address| spellings::of(address).remove(0)).collect();
        let mut cells = 0;
        for scheme in ["http", "tcp", "udp", "dns"] {
            let (of_it, others): (Vec<_>, Vec<_>) = WAYS.into_iter().partition(|(_, of)| *of == scheme);
            let names = |ways: Vec<(&'static str, &str)>| ways.into_iter().map(|(way, _)| way).collect::<Vec<_>>();
            let (of_it, others) = (names(of_it), names(others));
            for (address, host) in addresses.iter().zip(&hosts) {
                let run = usual().network(format!("{scheme}://{host}:{PORT}"));
                for way in &others {
                    self.attempt(&run, attempts(&[way], &hosts, PORT));
                    let visits = self.listeners.visits();
                    assert!(visits.is_empty(), "{scheme}://{address}:{PORT} opened {way}: {visits:?}");
                }
                for way in &of_it {
                    self.attempt(&run, attempts(&[way], &hosts, PORT));
                    self.attempt(&run, attempts(&[way], &hosts, OWN_PORT));
                    let visits = self.listeners.visits();
                    let protocol = if matches!(*way, "udp" | "std-udp" | "dns") { "udp" } else { "tcp" };
                    let whom: Vec<_> = visits
                        .keys()
                        .map(|(protocol, address)| (*protocol, address.ip().to_string(), address.port()))
                        .collect();
                    assert_eq!(
                        whom,
                        [(protocol, (*address).to_owned(), PORT)],
                        "{way} with {scheme}://{address}:{PORT}"
                    );
                    cells += 1;
                }
            }
        }
        eprintln!("{cells} cells, each opened by one line and no other");
    }
}
