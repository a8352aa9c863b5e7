//! The table of the contract: every function of the WIT with an answer that nobody gives by default, as a guest saw it in
//! this very test from a real server, kernel or program. What only sets something is shown by what the other side saw.

#[path = "table/dns.rs"]
mod dns;
#[path = "table/http.rs"]
mod http;
#[path = "table/node.rs"]
mod node;
#[path = "table/own.rs"]
mod own;
#[path = "table/peers.rs"]
mod peers;
#[path = "table/privileged.rs"]
mod privileged;
#[path = "table/sockets.rs"]
mod sockets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use roundsman_model::record::{Level, Status};
use roundsman_plugin::engine::EngineLimits;
use roundsman_plugin::job::Report;
use roundsman_plugin::load::Plugin;
use roundsman_probe::probe::Options;
use wit_parser::{FunctionKind, Resolve};

use crate::support::{self, Bench, Run, guest};
use crate::{assert_outcome, compiler, contract, echoes};

const TEST: &str = "table::every_function_of_the_contract";
/// What is linked. The package `cluster` is drawn and nothing more.
const LINKED: [&str; 3] = ["check", "net", "host"];
const LIMITS: EngineLimits = EngineLimits { runs: 64, memory: 512 << 20 };
/// Nothing here waits for the end of its run, which is later: a limit that a plugin set would else seem to hold.
const AT_MOST: Duration = Duration::from_secs(15);
/// What comes where nobody did anything, however it is printed.
const DEFAULTS: [&str; 9] = ["", "0", "false", "none", "None", "nothing", "[]", "0.00 0.00 0.00", "taken"];
/// How a table is told to the process around this one.
const ROW: &str = "ROW\t";

/// What an answer has to be.
#[derive(Debug)]
enum Expected {
    Exactly(String),
    Says(String),
    Between(i128, i128),
}

fn is(text: impl ToString) -> Expected {
    Expected::Exactly(text.to_string())
}

/// With this in it.
fn says(text: impl ToString) -> Expected {
    Expected::Says(text.to_string())
}

fn above(least: i128) -> Expected {
    Expected::Between(least, i128::from(u64::MAX))
}

impl Expected {
    fn is_met_by(&self, answer: &str) -> bool {
        match self {
            Expected::Exactly(text) => answer == text,
            Expected::Says(text) => answer.contains(text),
            Expected::Between(least, most) => {
                answer.parse().is_ok_and(|number: i128| (*least..=*most).contains(&number))
            }
        }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expected::Exactly(_) => f.write_str("exactly this"),
            Expected::Says(text) => write!(f, "says `{text}`"),
            Expected::Between(least, most) if *most == i128::from(u64::MAX) => write!(f, "{least} or more"),
            Expected::Between(least, most) => write!(f, "{least} to {most}"),
        }
    }
}

/// Answers by the names of the functions, and why others have none.
#[derive(Debug, Default)]
struct Table {
    rows: BTreeMap<String, Vec<(String, String)>>,
    skipped: BTreeMap<String, String>,
}

impl Table {
    /// Everything that a run told, in its order.
    #[track_caller]
    fn take(&mut self, report: &Report, expected: &[(&str, Expected)]) {
        assert_outcome(report, Status::Warning, "told of ");
        let took = report.ended.duration_since(report.began.unwrap());
        assert!(took < AT_MOST, "{took:?}: {report:?}");
        let told = report.story.log.iter().filter(|line| line.level == Level::Info);
        let told: Vec<_> = told.filter_map(|line| line.text.split_once('=')).collect();
        let names = |list: &[(&str, &str)]| list.iter().map(|(function, _)| (*function).to_owned()).collect::<Vec<_>>();
        let wanted: Vec<_> = expected.iter().map(|(function, _)| (*function).to_owned()).collect();
        assert_eq!(names(&told), wanted, "{told:#?}");
        for ((function, answer), (_, expected)) in told.iter().zip(expected) {
            self.see(function, answer, expected);
        }
    }

    /// One answer that was seen.
    #[track_caller]
    fn see(&mut self, function: &str, answer: &str, expected: &Expected) {
        assert!(expected.is_met_by(answer), "{function} = `{answer}`, and not: {expected:?}");
        assert!(!DEFAULTS.contains(&answer), "{function} = `{answer}`, which says nothing");
        self.rows.entry(function.to_owned()).or_default().push((answer.to_owned(), expected.to_string()));
    }

    /// These, or all that begin like them, cannot be had here. Fails where everything is asked for.
    fn skip(&mut self, beginnings: &[&str], why: &str) {
        support::skipped(&format!("{} of the table of the contract: {why}", beginnings.join(", ")));
        self.skipped.extend(beginnings.iter().map(|beginning| ((*beginning).to_owned(), why.to_owned())));
    }

    /// To the process around this one.
    #[expect(clippy::print_stdout, reason = "it reads it")]
    fn pass_on(&self) {
        println!();
        for (function, answers) in &self.rows {
            answers.iter().for_each(|(answer, expected)| println!("{ROW}{function}\t{answer}\t{expected}"));
        }
    }

    /// From the process within.
    fn receive(&mut self, said: &str) {
        for line in said.lines().filter_map(|line| line.strip_prefix(ROW)) {
            let [function, answer, expected] = line.splitn(3, '\t').collect::<Vec<_>>()[..] else {
                panic!("{line} is no row")
            };
            self.rows.entry(function.to_owned()).or_default().push((answer.to_owned(), expected.to_owned()));
        }
    }

    fn why_skipped(&self, function: &str) -> Option<&str> {
        let found = self.skipped.iter().find(|(beginning, _)| function.starts_with(beginning.as_str()));
        found.map(|(_, why)| why.as_str())
    }

    /// Functions of the contract without an answer, and answers of functions that it does not have.
    fn gaps(&self, functions: &BTreeSet<String>) -> Vec<String> {
        let answered = |function: &String| self.rows.contains_key(function) || self.why_skipped(function).is_some();
        let empty = functions.iter().filter(|function| !answered(function));
        let empty = empty.map(|function| format!("{function}: nobody has seen an answer"));
        let unknown = self.rows.keys().filter(|function| !functions.contains(*function));
        empty.chain(unknown.map(|function| format!("{function}: the contract has no such function"))).collect()
    }

    fn markdown(&self, functions: &BTreeSet<String>) -> String {
        // What would end a cell or a line.
        let cell = |text: &str| text.replace('|', "\\|").replace('`', "'");
        let mut text = "| function | answer | expected |\n|---|---|---|\n".to_owned();
        for function in functions {
            for (answer, expected) in self.rows.get(function).into_iter().flatten() {
                writeln!(text, "| {function} | `{}` | {} |", cell(answer), cell(expected)).unwrap();
            }
            if let Some(why) = self.why_skipped(function).filter(|_| !self.rows.contains_key(function)) {
                writeln!(text, "| {function} | | skipped: {} |", cell(why)).unwrap();
            }
        }
        text
    }
}

/// Every function of the packages that are linked, as `interface.function` or `interface.resource.function`.
fn functions() -> BTreeSet<String> {
    let mut resolve = Resolve::default();
    contract::add(&mut resolve, &contract::contract(), "").unwrap();
    let mut found = BTreeSet::new();
    for (_, package) in &resolve.packages {
        if package.name.namespace != "roundsman" || !LINKED.contains(&package.name.name.as_str()) {
            continue;
        }
        for (interface, id) in &package.interfaces {
            for function in resolve.interfaces[*id].functions.values() {
                let of = |resource| resolve.types[resource].name.clone().unwrap();
                let name = function.item_name();
                found.insert(match function.kind {
                    FunctionKind::Constructor(resource) => format!("{interface}.{}.constructor", of(resource)),
                    _ => match function.kind.resource() {
                        Some(resource) => format!("{interface}.{}.{name}", of(resource)),
                        None => format!("{interface}.{name}"),
                    },
                });
            }
        }
    }
    found
}

/// A sandbox with these options. Taken before anything is opened that the tour is to meet.
fn bench(options: Options) -> Bench {
    Bench::with_options(compiler(), LIMITS, options)
}

/// The tour. Loaded after everything has been opened that it is to meet.
fn load(bench: &Bench) -> Arc<Plugin> {
    bench.load(&guest("tour")).unwrap_or_else(|error| panic!("{}", support::chain(&error)))
}

/// A part of the tour, with words for it and the lines of its grant.
fn part(what: &str, with: &[&str], network: &[&str]) -> Run {
    let mut run = Run::what(what, with.join(" "));
    run.allow.network = network.iter().map(|line| (*line).to_owned()).collect();
    run
}

#[test]
#[expect(clippy::print_stdout, reason = "with --nocapture, the table is what comes of it")]
fn every_function_of_the_contract() {
    let mut table = Table::default();
    if echoes::is_inside() {
        privileged::tour(&mut table);
        return table.pass_on();
    }
    privileged::inside(&mut table);
    own::tour(&mut table);
    http::tour(&mut table);
    sockets::tour(&mut table);
    dns::tour(&mut table);
    node::tour(&mut table);
    let functions = functions();
    let text = table.markdown(&functions);
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-table.md");
    std::fs::write(&file, &text).unwrap();
    println!("{text}\n{} functions, in {}", functions.len(), file.display());
    let gaps = table.gaps(&functions);
    assert!(gaps.is_empty(), "{gaps:#?}");
}

/// The table itself can fail.
#[test]
fn an_empty_cell_is_seen() {
    let functions = functions();
    assert!(functions.len() > 150, "{functions:?}");
    for name in ["check.describe", "http.request.constructor", "system.mount.read-only", "types.certificate.der"] {
        assert!(functions.contains(name), "{name}");
    }
    let mut table = Table::default();
    for function in functions.iter().filter(|function| *function != "dns.answer.flag") {
        table.see(function, "x", &is("x"));
    }
    assert_eq!(table.gaps(&functions), ["dns.answer.flag: nobody has seen an answer"]);
    table.see("dns.answer.flag", "7", &above(7));
    assert_eq!(table.gaps(&functions), Vec::<String>::new());
    table.see("dns.answer.flags", "a 7", &says("7"));
    assert_eq!(table.gaps(&functions), ["dns.answer.flags: the contract has no such function"]);
    for (answer, expected) in [("x", is("y")), ("6", above(7)), ("x", above(0)), ("a b", says("c"))] {
        assert!(!expected.is_met_by(answer), "{answer} {expected:?}");
    }
}
