//! The rows by name, each measured in a process of its own, and the table that is made of them.

use std::env;
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::measure::load_average;
use crate::prepare::{self, Place};
use crate::rows;

/// As the first argument: measure the row that the second one names, and print it as JSON.
pub(crate) const ROW: &str = "__row";
const QUICK: &str = "--quick";

/// How a row is measured.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Seconds instead of minutes: for a first look.
    pub(crate) quick: bool,
    pub(crate) place: Place,
}

impl Setting {
    /// The longer or the shorter of two numbers of seconds.
    pub(crate) fn seconds(&self, full: u64, quick: u64) -> std::time::Duration {
        std::time::Duration::from_secs(if self.quick { quick } else { full })
    }
}

/// What a row says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) measured: String,
    pub(crate) control: String,
    pub(crate) notes: String,
}

struct Row {
    name: &'static str,
    promise: &'static str,
    measure: fn(&Setting) -> Result<Measured>,
}

#[rustfmt::skip]
const ROWS: [Row; 15] = [
    Row { name: "run", promise: "≤ 40 µs CPU per run", measure: rows::engine::run },
    Row { name: "floor", promise: "≤ 12 µs, ≥ 60× cheaper than fork+exec", measure: rows::floor::floor },
    Row { name: "schedule", promise: "due = run at 10,000/s; p99.9 lag ≤ bare timer + 5 ms", measure: rows::engine::schedule },
    Row { name: "overload", promise: "30,000 runs/s asked for: due = run + missed + overlap + skipped, none starves", measure: rows::overload::overload },
    Row { name: "cron", promise: "1,000 checks at the same minute: none missed; share begun within 1 s", measure: rows::cron::cron },
    Row { name: "outage", promise: "30 % of 1,000 hang: the others' p99.9 lag ≤ before + 5 ms", measure: rows::network::outage },
    Row { name: "saturation", promise: "the same with more hanging than there are slots", measure: rows::network::saturation },
    Row { name: "idle", promise: "1,000 checks at 10 s: ≤ 0.5 % of a core beside the checks' own work", measure: rows::engine::idle },
    Row { name: "http", promise: "≤ 200 µs CPU per probe, new connection each", measure: rows::network::http },
    Row { name: "tls", promise: "the same with TLS", measure: rows::network::tls },
    Row { name: "nginx", promise: "≥ 3× blackbox_exporter's probes for each second of processor time", measure: rows::yardstick::http },
    Row { name: "nginx-tls", promise: "the same with TLS", measure: rows::yardstick::tls },
    Row { name: "memory", promise: "RssAnon ≤ 48 MiB after 10 min, 35 plugins, 100 checks", measure: rows::process::memory },
    Row { name: "start", promise: "first run ≤ 150 ms after exec, warm cache", measure: rows::process::start },
    Row { name: "stream", promise: "≥ 100,000 points/s per core from Store to socket", measure: rows::stream::stream },
];

/// A row as it stands in the table.
#[derive(Serialize)]
struct Line {
    row: &'static str,
    promise: &'static str,
    #[serde(flatten)]
    measured: Measured,
    /// The load average over a minute, before and after.
    load: [String; 2],
}

/// Measures the rows that are named, or all of them, and prints them.
pub(crate) fn print(arguments: &[String]) -> Result<ExitCode> {
    let (flags, names): (Vec<&String>, Vec<&String>) = arguments.iter().partition(|word| word.starts_with("--"));
    let has = |flag: &str| flags.iter().any(|word| *word == flag);
    let unknown = names.iter().find(|name| ROWS.iter().all(|row| row.name != ***name));
    if let Some(word) = flags.iter().find(|flag| !["--json", QUICK].contains(&flag.as_str())).or(unknown) {
        let rows: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("`{word}` is not known\nusage: bench [{QUICK}] [--json] [ROW…]\nrows: {}", rows.join(" "));
    }
    let place = prepare::prepare()?;
    let (mut lines, mut code) = (Vec::new(), ExitCode::SUCCESS);
    for row in ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| *name == row.name)) {
        eprintln!("measuring {} …", row.name);
        let before = load_average();
        let measured = in_child(row.name, has(QUICK), &place).unwrap_or_else(|error| {
            code = ExitCode::FAILURE;
            Measured { measured: "failed".to_owned(), control: String::new(), notes: format!("{error:#}") }
        });
        lines.push(Line { row: row.name, promise: row.promise, measured, load: [before, load_average()] });
    }
    if has("--json") {
        println!("{}", serde_json::to_string_pretty(&lines)?)
    } else {
        show(&lines)
    }
    Ok(code)
}

fn in_child(name: &str, quick: bool, place: &Place) -> Result<Measured> {
    let mut command = Command::new(env::current_exe()?);
    command.args([ROW, name]).stdout(Stdio::piped()).env("SSL_CERT_FILE", place.authority());
    if quick {
        command.arg(QUICK);
    }
    let output = command.output().context("starting the row's process")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    serde_json::from_slice(&output.stdout).context("reading what the row's process said")
}

/// The whole life of a row's process.
pub(crate) fn measure_one(arguments: &[String]) -> Result<()> {
    let row = ROWS.iter().find(|row| arguments.first().is_some_and(|name| name == row.name)).context("no such row")?;
    let setting = Setting { quick: arguments.iter().any(|word| word == QUICK), place: Place::find()? };
    println!("{}", serde_json::to_string(&(row.measure)(&setting)?)?);
    Ok(())
}

fn show(lines: &[Line]) {
    let head = ["row", "promise", "measured", "control in the same run", "load before/after", "notes"];
    let mut cells = vec![head.map(str::to_owned)];
    cells.extend(lines.iter().map(|line| {
        let Measured { measured, control, notes } = &line.measured;
        let load = line.load.join(" / ");
        [line.row.to_owned(), line.promise.to_owned(), measured.clone(), control.clone(), load, notes.clone()]
    }));
    let widths: Vec<usize> =
        (0..head.len()).map(|n| cells.iter().map(|row| row[n].chars().count()).max().unwrap_or(0)).collect();
    for (number, row) in cells.iter().enumerate() {
        let padded: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        println!("| {} |", padded.join(" | "));
        if number == 0 {
            println!("|{}|", widths.iter().map(|width| "-".repeat(width + 2)).collect::<Vec<_>>().join("|"));
        }
    }
}
