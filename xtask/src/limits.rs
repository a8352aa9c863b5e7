//! `prove-limits`: switches one limit of the sandbox off after the other, and sees that an attack then gets through.
//!
//! A test that passes with and without a limit shows nothing of it. Each row changes one line in a copy of the source and
//! runs the test that is to fail; one that hangs, since nothing ends it, has failed, too. It takes minutes for each row, so
//! it is run by hand when limits or their tests change.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::files;
use crate::workspace::{Workspace, output, run};

/// A test that runs longer than this is not ended by anything.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);
/// What the test said, in our folder.
const OUTPUT: &str = "output";
const COMPLAINT_LINES: usize = 4;
const COMPLAINT_LEN: usize = 240;

struct Row {
    limit: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    /// The test program, and the test in it.
    test: (&'static str, &'static str),
}

const fn row(
    limit: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
    test: (&'static str, &'static str),
) -> Row {
    Row { limit, file, from, to, test }
}

const RUN: &str = "host/plugin/src/run.rs";
const LIMITS: &str = "host/plugin/src/limits.rs";
const GATHER: &str = "host/plugin/src/gather.rs";
const CONNECT: &str = "host/plugin/src/host/connect.rs";
const GRANTS: &str = "host/probe/src/grants.rs";
const TOO_MUCH: (&str, &str) = ("guests", "floods::what_is_too_much_is_dropped_or_refused");
const FAR_TOO_MUCH: (&str, &str) = ("guests", "floods::what_is_far_too_much_ends_the_run");
const MANY: (&str, &str) = ("guests", "sockets::ten_thousand_of_everything");
const DESCRIBED: (&str, &str) = ("guests", "evil::descriptions_without_end");
const EGRESS: (&str, &str) = ("egress", "nobody_is_reached");

#[rustfmt::skip]
const ROWS: [Row; 47] = [
    row("cpu", RUN, "if meter::is_over(cpu) {", "if meter::is_over(cpu) && cpu.is_zero() {", ("guests", "limits::loops_end_wherever_they_are")),
    row("deadline", RUN, "timeout_at(deadline, &mut metered)", "timeout_at(deadline + Duration::from_secs(9_000), &mut metered)", ("guests", "limits::traps_panics_and_sleep")),
    row("memory-after", "host/plugin/src/engine.rs", ".decommit_batch_size(1)", ".decommit_batch_size(16)", ("guests", "limits::what_a_run_held_goes_back_at_once")),
    row("memory", LIMITS, "self.memory + self.held + more > self.limit", "self.memory + self.held + more > self.limit << 20", ("guests", "limits::memory_of_a_run")),
    row("memory-together", LIMITS, ".filter(|total| *total <= self.limit)", ".filter(|total| *total <= self.limit << 20)", ("guests", "limits::memory_of_all_runs_together")),
    row("handles", LIMITS, "MAX_HANDLES: usize = 4096 + 256;", "MAX_HANDLES: usize = 1 << 24;", FAR_TOO_MUCH),
    row("bytes-per-call", LIMITS, "MAX_BYTES_PER_CALL: usize = 1 << 20;", "MAX_BYTES_PER_CALL: usize = 1 << 30;", FAR_TOO_MUCH),
    row("tables", LIMITS, "MAX_TABLE_ELEMENTS: usize = 20_000;", "MAX_TABLE_ELEMENTS: usize = 200_000;", ("guests", "evil::tables_that_grow")),
    row("files", LIMITS, "MAX_FILES: usize = 32;", "MAX_FILES: usize = 4_000;", ("guests", "files::a_directory")),
    row("log-lines", GATHER, "MAX_LOG_LINES: usize = 50;", "MAX_LOG_LINES: usize = 50_000;", TOO_MUCH),
    row("summary", GATHER, "MAX_SUMMARY: usize = 1 << 10;", "MAX_SUMMARY: usize = 1 << 20;", TOO_MUCH),
    row("state-keys", GATHER, "MAX_STATE_KEYS: usize = 64;", "MAX_STATE_KEYS: usize = 6_400;", TOO_MUCH),
    row("state-bytes", GATHER, "MAX_STATE_BYTES: usize = 64 << 10;", "MAX_STATE_BYTES: usize = 64 << 20;", TOO_MUCH),
    row("description", "host/plugin/src/describe.rs", "MAX_DESCRIPTION: usize = 256 << 10;", "MAX_DESCRIPTION: usize = 256 << 20;", DESCRIBED),
    row("series", "host/plugin/src/describe.rs", "MAX_SERIES: usize = 64;", "MAX_SERIES: usize = 6_400;", DESCRIBED),
    row("sockets-of-a-run", "host/probe/src/sockets.rs", "const RUN: u32 = 32;", "const RUN: u32 = 320;", MANY),
    row("sockets-opened", CONNECT, "MAX_OPENED: u32 = 1024;", "MAX_OPENED: u32 = 102_400;", MANY),
    row("look-ups", CONNECT, "MAX_LOOK_UPS: u32 = 64;", "MAX_LOOK_UPS: u32 = 64_000;", MANY),
    row("datagrams", "host/probe/src/udp.rs", "MAX_DATAGRAMS: u32 = 256;", "MAX_DATAGRAMS: u32 = 256_000;", MANY),
    row("special-addresses", GRANTS, "(Reach::Special(_), _) => any(&|line| line.is_exactly(scheme, ip, port)),", "(Reach::Special(_), _) => true,", EGRESS),
    row("own-port", GRANTS, "self.own_ports.contains(&port) && is_local(ip)", "self.own_ports.contains(&port) && port == 0 && is_local(ip)", ("egress", "the_agents_own_port_is_not_reached_by_a_name_that_is_granted")),
    row("ipv4-in-ipv6", "host/probe/src/address.rs", "let IpAddr::V6(v6) = ip else { return ip };", "let IpAddr::V6(v6) = ip else { return ip };\n    if !v6.is_loopback() { return ip }", ("egress", "no_spelling_in_a_redirect_leads_to_where_nothing_is_granted")),
    row("names", GRANTS, "self.permits_name(name.as_str())?;", "", ("guests", "network::")),
    row("redaction", "host/probe/src/redact.rs", "let finds = self.finds(text.as_bytes());\n        if finds.is_empty() {", "let finds = self.finds(text.as_bytes());\n        if !finds.is_empty() || finds.is_empty() {", ("guests", "secrets::")),
    row("beneath", "host/probe/src/beneath.rs", "ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS", "ResolveFlags::NO_MAGICLINKS", ("roundsman-probe", "beneath::")),
    row("process-group", "host/probe/src/command/course.rs", "kill_process_group(self.pid, Signal::KILL)", "rustix::process::kill_process(self.pid, Signal::KILL)", ("command", "")),
    row("output", GATHER, "self.bytes_left.checked_sub(bytes as u64)", "self.bytes_left.checked_sub(bytes as u64 >> 40)", ("guests", "floods::output_is_one_budget")),
    row("reports", GATHER, "reports_left: limits.points,", "reports_left: limits.points << 20,", TOO_MUCH),
    row("numbers", GATHER, "|(_, value)| is_finite(value)).collect()", "|_| true).collect()", ("guests", "floods::values_and_names_that_are_none")),
    row("line-protocol", "host/influx/src/escape.rs", "',' | '=' | ' ' => out", "',' | '=' => out", ("roundsman-influx", "escape::")),
    row("answer-head", "host/probe/src/http.rs", "MAX_RESPONSE_HEAD: usize = 64 << 10;", "MAX_RESPONSE_HEAD: usize = 64 << 20;", ("http", "")),
    row("answer-headers", "host/probe/src/http.rs", "MAX_RESPONSE_HEADERS: usize = 100;", "MAX_RESPONSE_HEADERS: usize = 100_000;", ("http2", "")),
    row("answer-body", "host/probe/src/http.rs", "MAX_RESPONSE_BODY: usize = 1 << 20;", "MAX_RESPONSE_BODY: usize = 1 << 30;", ("http", "")),
    row("received", "host/probe/src/wire.rs", "MAX_WIRE: usize = 4 << 20;", "MAX_WIRE: usize = 4 << 40;", ("http", "")),
    row("received-tcp", "host/probe/src/tcp.rs", "MAX_RECEIVED: usize = 4 << 20;", "MAX_RECEIVED: usize = 4 << 40;", ("tcp", "")),
    row("start-tls", "host/probe/src/tcp/open.rs", "if buffered > 0 {", "if buffered > 1 << 20 {", ("starttls", "")),
    row("credentials-at-home", "host/probe/src/http/route.rs", "request.credentials.as_deref().filter(|_| call.home)]", "request.credentials.as_deref()]", ("credentials", "")),
    row("secret-destinations", "host/probe/src/secrets.rs", "if destinations.iter().any(permits) {", "if destinations.iter().any(permits) || !destinations.is_empty() {", ("credentials", "")),
    row("secret-programs", "host/probe/src/command.rs", "self.secrets().permits_program(&secret.name)?;", "", ("command", "secrets_as_variables")),
    row("system", GRANTS, "self.system.iter().position(|granted| *granted == word)", "Some(usize::from(word.is_empty()))", ("guests", "node::nothing_without_a_grant")),
    row("commands", GRANTS, "self.commands.iter().position(|granted| granted.as_os_str() == path);", "Some(usize::from(path.is_empty()));", ("command", "nothing_without_a_grant")),
    row("environment", "host/probe/src/command/course.rs", ".env_clear()", "", ("command", "a_clean_environment")),
    row("program-output", "host/probe/src/command/order.rs", "MAX_OUTPUT: usize = 256 << 10;", "MAX_OUTPUT: usize = 256 << 20;", ("command", "floods_of_output")),
    row("one-file", "host/plugin/src/host/files.rs", "Ok(()) => Ok(PathFlags::empty()),", "Ok(()) => Ok(follow),", ("guests", "files::")),
    row("ceiling", "host/probe/src/ceiling.rs", "self.network.as_ref().is_none_or(|ceiling| ceiling.iter().any(|own| own.covers(line)))", "self.network.as_ref().is_none_or(|ceiling| !ceiling.is_empty() || line.scheme().is_none())", ("roundsman-probe", "ceiling::")),
    row("signature", "host/agent/src/trust/signature.rs", "key.key().verify(bytes, &self.signature, true)", "key.key().verify(bytes, &self.signature, true).or(Ok::<(), minisign_verify::Error>(()))", ("trust", "")),
    row("supervision", "host/model/src/supervision.rs", "failures: 5,", "failures: 1_000_000,", ("roundsman-model", "supervision::")),
];

/// The rows that are named, or all of them.
pub(crate) fn prove(workspace: &Workspace, names: &[String]) -> Result<ExitCode> {
    let folder = workspace.target.join("limits");
    let copy = folder.join("source");
    let tracked = output(Command::new("git").args(["ls-files", "-z"]).current_dir(&workspace.root))?;
    for file in tracked.split('\0').filter(|file| !file.is_empty()) {
        let (from, to) = (workspace.root.join(file), copy.join(file));
        if from.is_symlink() {
            let leads_to = fs::read_link(&from).with_context(|| format!("reading {}", from.display()))?;
            fs::create_dir_all(to.parent().context("a file lies in a folder")?)?;
            if !to.is_symlink() {
                std::os::unix::fs::symlink(leads_to, &to).with_context(|| format!("making {}", to.display()))?;
            }
        } else if from.is_file() {
            files::copy(&from, &to)?;
        }
    }
    let mut held = Vec::new();
    for row in ROWS.iter().filter(|row| names.is_empty() || names.iter().any(|name| name == row.limit)) {
        let (shown, seconds) = prove_one(&copy, &folder, row)?;
        println!("{:<20} {:<60} {shown} after {seconds} s", row.limit, row.test.1);
        if shown == Shown::Fails {
            println!("    {}", complaint(&folder)?);
        }
        held.extend((shown == Shown::Nothing).then_some(row.limit));
    }
    ensure!(held.is_empty(), "no test misses: {}", held.join(", "));
    Ok(ExitCode::SUCCESS)
}

/// What a test showed of the limit that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Fails,
    Hangs,
    Nothing,
}

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fails => "fails without it,",
            Self::Hangs => "has no end without it,",
            Self::Nothing => "PASSES WITHOUT IT,",
        })
    }
}

/// What the failing test said first: a failure for another reason shows nothing.
fn complaint(folder: &Path) -> Result<String> {
    let path = folder.join(OUTPUT);
    let text = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().skip_while(|line| !line.contains("panicked at"));
    let said: Vec<&str> = lines.by_ref().take(COMPLAINT_LINES).map(str::trim).collect();
    Ok(said.join(" | ").chars().take(COMPLAINT_LEN).collect())
}

fn prove_one(copy: &Path, folder: &Path, row: &Row) -> Result<(Shown, u64)> {
    let file = copy.join(row.file);
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    ensure!(text.matches(row.from).count() == 1, "{}: `{}` does not stand there once", row.file, row.from);
    fs::write(&file, text.replacen(row.from, row.to, 1)).with_context(|| format!("writing {}", file.display()))?;
    let shown = try_without(copy, folder, row);
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))?;
    shown
}

fn try_without(copy: &Path, folder: &Path, row: &Row) -> Result<(Shown, u64)> {
    let cargo = |more: &[&str]| {
        let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        command.args(["test", "--quiet", "--release"]).current_dir(copy).env("CARGO_TARGET_DIR", folder.join("target"));
        match row.test.0 {
            package if package.starts_with("roundsman-") => command.args(["--lib", "-p", package]),
            program => command.args(["--workspace", "--test", program]),
        };
        command.args(more).stdin(Stdio::null());
        command
    };
    run(&mut cargo(&["--no-run"]))?;
    let begun = Instant::now();
    let mut command = cargo(&["--", row.test.1]);
    let path = folder.join(OUTPUT);
    let said = fs::File::create(&path).with_context(|| format!("creating {}", path.display()))?;
    let also = said.try_clone().context("a second handle of the output")?;
    // A group of its own: the test's processes end with it.
    let mut child = command.stdout(said).stderr(also).process_group(0).spawn().context("starting cargo")?;
    loop {
        if let Some(status) = child.try_wait().context("waiting for cargo")? {
            let shown = if status.success() { Shown::Nothing } else { Shown::Fails };
            return Ok((shown, begun.elapsed().as_secs()));
        }
        if begun.elapsed() > PATIENCE {
            run(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]))?;
            child.wait().context("waiting for cargo")?;
            return Ok((Shown::Hangs, begun.elapsed().as_secs()));
        }
        thread::sleep(LOOK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that was changed since would be found only when the proof is run.
    #[test]
    fn every_row_finds_its_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for row in ROWS {
            let text = fs::read_to_string(root.join(row.file)).unwrap();
            assert_eq!(text.matches(row.from).count(), 1, "{}: {}: {}", row.limit, row.file, row.from);
            assert_ne!(row.from, row.to);
        }
    }
}
