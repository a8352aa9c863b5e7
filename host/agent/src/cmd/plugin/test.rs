//! `roundsman plugin test`: a plugin's own cases, in the real sandbox, with answers written beforehand.

mod answers;
mod carry_out;
mod case;
mod expect;
mod judge;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use self::carry_out::carry_out;
use crate::cmd::probe::Bench;
use crate::cmd::table::{complain, say, say_json};
use crate::cmd::{Format, Output};

/// Where `roundsman plugin new` puts them.
const CASES: &str = "tests/cases.yaml";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plugin's file, for instance target/wasm32-wasip2/release/word.wasm
    file: PathBuf,
    /// The file with the cases
    #[arg(long, value_name = "FILE", default_value = CASES)]
    cases: PathBuf,
    /// Only the cases whose name contains this
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    #[command(flatten)]
    output: Output,
}

/// What became of all cases.
#[derive(Debug, Serialize)]
struct Tested {
    plugin: String,
    passed: usize,
    failed: usize,
    cases: Vec<Told>,
}

/// What became of one case.
#[derive(Debug, Serialize)]
struct Told {
    name: String,
    /// Of the file with the cases.
    line: u32,
    passed: bool,
    /// What is not as expected, one sentence each.
    wrong: Vec<String>,
    /// What the run logged; shown where it failed.
    log: Vec<String>,
    duration_ms: f64,
}

pub(crate) fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, cases, only, output } = arguments;
    let mut read = match case::read(&cases) {
        Ok(read) => read,
        Err(problems) => {
            problems.iter().for_each(|problem| complain(&problem.to_string()));
            return Ok(ExitCode::from(2));
        }
    };
    read.retain(|case| only.as_deref().is_none_or(|part| case.name.contains(part)));
    let bench = Bench::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let tested = runtime.block_on(async {
        let (_, plugin) = bench.load(&file).await.with_context(|| format!("{} cannot be used", file.display()))?;
        let mut told = Vec::new();
        for case in read {
            told.push(carry_out(&plugin, case).await?);
        }
        let failed = told.iter().filter(|case| !case.passed).count();
        let passed = told.len() - failed;
        anyhow::Ok(Tested { plugin: plugin.name().to_string(), passed, failed, cases: told })
    });
    // A run that hangs in the kernel must not keep us here.
    runtime.shutdown_background();
    let tested = tested?;
    match output.output {
        Format::Json => say_json(&tested)?,
        Format::Table => print(&tested, &cases.display().to_string())?,
    }
    // Without a case nothing is shown to work.
    let well = tested.failed == 0 && tested.passed > 0;
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn print(tested: &Tested, file: &str) -> anyhow::Result<()> {
    for case in &tested.cases {
        let word = if case.passed { "ok    " } else { "FAILED" };
        say(&format!("{word} {} ({:.1} ms)\n", case.name, case.duration_ms))?;
        if case.passed {
            continue;
        }
        say(&format!("       {file}:{}\n", case.line))?;
        for wrong in &case.wrong {
            say(&format!("       - {wrong}\n"))?;
        }
        for line in &case.log {
            say(&format!("       log {line}\n"))?;
        }
    }
    let passed = tested.passed;
    let more = if passed + tested.failed == 0 { ": no case was carried out" } else { "" };
    say(&format!("{}: {passed} passed, {} failed{more}\n", tested.plugin, tested.failed))
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
