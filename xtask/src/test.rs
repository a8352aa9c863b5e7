//! `test`: runs the tests of the whole workspace and says how many passed, failed and were skipped.
//!
//! A test that misses something on its machine writes one line, `SKIPPED: ` and the reason, straight to standard error
//! (past the capture of test output) and returns. For cargo it has passed; here it counts as skipped.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, PipeReader};
use std::process::{Command, ExitCode};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::workspace::{self, Workspace, line};
use crate::{build, setup};

/// How often we look whether the tests have ended while they say nothing.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long we wait for the end of the output of what has ended: a process that a test left behind may hold the pipe.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Lines between the reader and us; a full channel makes the tests wait, as a full pipe would.
const LINES: usize = 1024;

/// Without arguments, everything; else what they select, as in `cargo test`.
pub(crate) fn run(workspace: &Workspace, arguments: &[String]) -> Result<ExitCode> {
    let mut tally = Tally::default();
    let result = run_and_count(workspace, arguments, &mut tally);
    if let Err(error) = &result {
        eprintln!("error: {error:#}");
    }
    for (reason, count) in &tally.skips {
        println!("SKIPPED: {reason} ({count} tests)");
    }
    let succeeded = matches!(result, Ok(true));
    // The last line is the summary, whatever happened: what reads it need not know how far we came.
    println!("{}", tally.summary(succeeded));
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_and_count(workspace: &Workspace, arguments: &[String], tally: &mut Tally) -> Result<bool> {
    build::plugins(workspace)?;
    let servers = setup::servers(workspace)?;
    let cargo_test = |option| {
        let mut command = workspace.cargo(["test", "--release", option]);
        if !selects_packages(arguments) {
            command.arg("--workspace");
        }
        command.args(arguments);
        servers.at_hand(&mut command);
        command
    };
    // Compiled apart, where cargo can show its progress on the terminal.
    workspace::run(&mut cargo_test("--no-run"))?;
    let command = cargo_test("--no-fail-fast");
    let shown = line(&command);
    let succeeded = follow(command, &mut |line| {
        println!("{line}");
        tally.count(line);
    })
    .with_context(|| format!("running `{shown}`"))?;
    println!("\nran: {shown} ({} test programs)", tally.programs);
    Ok(succeeded)
}

fn selects_packages(arguments: &[String]) -> bool {
    let options = arguments.iter().take_while(|argument| *argument != "--");
    options.into_iter().any(|option| option.starts_with("-p") || option.starts_with("--package"))
}

/// Runs a command with both its outputs in one pipe, so that lines keep their order; returns whether it succeeded.
fn follow(mut command: Command, see: &mut dyn FnMut(&str)) -> Result<bool> {
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    command.stdout(writer.try_clone().context("making a pipe")?).stderr(writer);
    let mut child = command.spawn().context("starting it")?;
    // It holds the pipe's other end, without which the reader would never see the end.
    drop(command);
    let lines = read_lines(reader);
    let mut ended: Option<Instant> = None;
    loop {
        match lines.recv_timeout(POLL_INTERVAL) {
            Ok(line) => see(&line),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if ended.is_none() && child.try_wait().context("waiting for it")?.is_some() {
            ended = Some(Instant::now());
        }
        if ended.is_some_and(|since| since.elapsed() > LAST_WORDS) {
            eprintln!("a process that was started there is still running");
            break;
        }
    }
    Ok(child.wait().context("waiting for it")?.success())
}

/// The lines of a pipe, read by a thread of its own since a pipe cannot be read with a limit of time.
fn read_lines(pipe: PipeReader) -> Receiver<String> {
    let (sender, receiver) = sync_channel(LINES);
    thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// What the output of all test programs adds up to.
#[derive(Debug, Default, PartialEq)]
struct Tally {
    programs: usize,
    passed: usize,
    failed: usize,
    ignored: usize,
    /// Reasons, and how many tests gave them.
    skips: BTreeMap<String, usize>,
}

impl Tally {
    /// Reads `test result: ok. 3 passed; 0 failed; 1 ignored; …` and `SKIPPED: no such server`; other lines say nothing.
    fn count(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix("SKIPPED: ") {
            *self.skips.entry(reason.to_owned()).or_default() += 1;
        }
        let result = line.strip_prefix("test result: ").and_then(|rest| rest.split_once(". "));
        let Some((_, counts)) = result else { return };
        self.programs += 1;
        for part in counts.split(';') {
            let mut words = part.split_whitespace();
            let number = words.next().and_then(|word| word.parse().ok()).unwrap_or(0);
            match words.next() {
                Some("passed") => self.passed += number,
                Some("failed") => self.failed += number,
                Some("ignored") => self.ignored += number,
                _ => {}
            }
        }
    }

    /// The closing line. What did not compile, or died before it could count, is at least one failure.
    fn summary(&self, succeeded: bool) -> String {
        let failed = if succeeded { self.failed } else { self.failed.max(1) };
        let skipped: usize = self.skips.values().sum();
        format!("{} passed, {failed} failed, {} skipped", self.passed.saturating_sub(skipped), skipped + self.ignored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_and_skips_add_up() {
        let mut tally = Tally::default();
        for line in [
            "running 4 tests",
            "test a ... ok",
            "SKIPPED: influxd is not installed",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "  test result: ok. 9 passed; 0 failed",
            "SKIPPED: influxd is not installed",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 5 filtered out; finished in 1.50s",
            "test result: nonsense",
        ] {
            tally.count(line);
        }
        let skips = BTreeMap::from([("influxd is not installed".to_owned(), 2)]);
        assert_eq!(tally, Tally { programs: 2, passed: 4, failed: 2, ignored: 1, skips });
        assert_eq!(tally.summary(false), "2 passed, 2 failed, 3 skipped");
    }

    #[test]
    fn the_summary_never_hides_a_failure() {
        let tally = |passed, failed| Tally { passed, failed, ..Tally::default() };
        for (tally, succeeded, expected) in [
            (tally(5, 0), true, "5 passed, 0 failed, 0 skipped"),
            (tally(5, 2), false, "5 passed, 2 failed, 0 skipped"),
            (tally(5, 0), false, "5 passed, 1 failed, 0 skipped"),
            (tally(0, 0), false, "0 passed, 1 failed, 0 skipped"),
        ] {
            assert_eq!(tally.summary(succeeded), expected);
        }
    }

    #[test]
    fn arguments_before_the_dashes_select_packages() {
        for (arguments, selects) in [
            (&["-p", "roundsman-store"][..], true),
            (&["-proundsman-store"], true),
            (&["--package=roundsman-store", "--", "--nocapture"], true),
            (&["a_name", "--", "-p"], false),
            (&[], false),
        ] {
            let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
            assert_eq!(selects_packages(&arguments), selects, "{arguments:?}");
        }
    }

    #[test]
    fn both_outputs_are_followed_in_order() {
        for (script, expected, succeeds) in [
            ("echo a; echo b >&2; echo c", &["a", "b", "c"][..], true),
            ("printf 'no end'; exit 3", &["no end"], false),
            // Left behind with the pipe open.
            ("sleep 60 & echo $!", &[], true),
        ] {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            let mut lines = Vec::new();
            assert_eq!(follow(command, &mut |line| lines.push(line.to_owned())).unwrap(), succeeds, "{script}");
            if expected.is_empty() {
                assert!(Command::new("kill").args(&lines).status().unwrap().success(), "{lines:?}");
            } else {
                assert_eq!(lines, expected, "{script}");
            }
        }
    }
}
