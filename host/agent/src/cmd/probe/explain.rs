//! `roundsman probe --explain`: what a run was granted and used, what it asked of the host, and what it took.

use std::time::Duration;

use roundsman_model::check::Limits;
use roundsman_model::record::Call;
use roundsman_model::units::format_duration;
use roundsman_plugin::job::Report;
use roundsman_probe::ledger::{Ledger, Used};
use roundsman_probe::stats::{Calls, Stats};
use serde::Serialize;

use super::took;
use crate::cmd::table::count;
use crate::config::read::format_size;

/// Everything there is to say of a run beside what it found out.
#[derive(Debug, Serialize)]
pub(super) struct Explained {
    grants: Vec<Grant>,
    /// How often each interface was called.
    host_calls: Vec<Counted>,
    /// The calls that took the network or could hang, with the time of each phase.
    calls: Vec<Timed>,
    used: Vec<Limit>,
}

#[derive(Debug, Serialize)]
struct Grant {
    /// `target`, or the list in `allow:`.
    list: &'static str,
    line: String,
    permitted: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Counted {
    interface: &'static str,
    calls: u64,
    failures: Vec<(&'static str, u64)>,
}

#[derive(Debug, Serialize)]
struct Timed {
    what: String,
    result: String,
    duration_ms: f64,
    phases: Vec<(String, f64)>,
}

/// How much of a limit was used.
#[derive(Debug, Serialize)]
struct Limit {
    limit: &'static str,
    used: String,
    of: String,
    percent: f64,
}

impl Explained {
    pub(super) fn of(report: &Report, ledger: &Ledger, stats: &Stats, limits: &Limits, timeout: Duration) -> Self {
        let grant = |Used { list, line, permitted }: Used| Grant { list, line, permitted };
        Self {
            grants: ledger.used().into_iter().map(grant).collect(),
            host_calls: counted(stats),
            calls: report.story.calls.iter().map(timed).collect(),
            used: used(report, limits, timeout),
        }
    }

    /// For the eye, each line with its title.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut block = |title: &str, texts: Vec<String>, nothing: &str| {
            let texts = if texts.is_empty() { vec![nothing.to_owned()] } else { texts };
            for (number, text) in texts.into_iter().enumerate() {
                lines.push(format!("{:<9}{text}", if number == 0 { title } else { "" }));
            }
        };
        block("grants", self.grants.iter().map(Grant::text).collect(), "none: the run could touch nothing");
        block(
            "asked",
            self.host_calls.iter().map(Counted::text).collect(),
            "nothing of the network, the node or a program",
        );
        block("calls", self.calls.iter().map(Timed::text).collect(), "none");
        block("used", self.used.iter().map(Limit::text).collect(), "");
        lines
    }
}

fn counted(stats: &Stats) -> Vec<Counted> {
    let all: [(&'static str, &Calls); 9] = [
        ("http", &stats.http),
        ("tcp", &stats.tcp),
        ("udp", &stats.udp),
        ("dns", &stats.dns),
        ("icmp", &stats.icmp),
        ("system", &stats.system),
        ("command", &stats.command),
        ("std::net", &stats.socket),
        ("std::net look-up", &stats.lookup),
    ];
    let of = |(interface, calls): (&'static str, &Calls)| {
        let failures = calls.failures().filter(|(_, count)| *count > 0).collect();
        (calls.calls() > 0).then(|| Counted { interface, calls: calls.calls(), failures })
    };
    all.into_iter().filter_map(of).collect()
}

fn timed(call: &Call) -> Timed {
    let ms = |ns: u64| ns as f64 / 1e6;
    Timed {
        what: call.what.clone(),
        result: call.result.clone(),
        duration_ms: ms(call.duration_ns),
        phases: call.phases.iter().map(|(phase, ns)| (phase.clone(), ms(*ns))).collect(),
    }
}

fn used(report: &Report, limits: &Limits, timeout: Duration) -> Vec<Limit> {
    let reported = report.points.len() + report.findings.len();
    let said: usize = report.story.log.iter().map(|line| line.text.len()).sum();
    let bytes = |bytes: u64| format!("{} KiB", bytes >> 10);
    vec![
        Limit::new(
            "time",
            ms(took(report)),
            format_duration(timeout),
            percent(took(report).as_secs_f64(), timeout.as_secs_f64()),
        ),
        Limit::new(
            "cpu",
            ms(report.cpu),
            format_duration(limits.cpu),
            percent(report.cpu.as_secs_f64(), limits.cpu.as_secs_f64()),
        ),
        Limit::new(
            "memory",
            bytes(report.memory_bytes),
            format_size(limits.memory),
            percent(report.memory_bytes as f64, limits.memory as f64),
        ),
        Limit::new(
            "points",
            reported.to_string(),
            limits.points.to_string(),
            percent(reported as f64, f64::from(limits.points)),
        ),
        Limit::new("log", format!("{said} B"), format_size(limits.output), percent(said as f64, limits.output as f64)),
    ]
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}

fn percent(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { (1000.0 * part / whole).round() / 10.0 } else { 0.0 }
}

impl Grant {
    fn text(&self) -> String {
        let Self { list, line, permitted } = self;
        let what =
            if permitted.is_empty() { "never used".to_owned() } else { format!("permitted {}", permitted.join(", ")) };
        format!("{list} {line}: {what}")
    }
}

impl Counted {
    fn text(&self) -> String {
        let failures: Vec<String> = self.failures.iter().map(|(code, count)| format!("{count} {code}")).collect();
        let failed = if failures.is_empty() { String::new() } else { format!(", failed: {}", failures.join(", ")) };
        let calls = usize::try_from(self.calls).unwrap_or(usize::MAX);
        format!("{} {}{failed}", self.interface, count(calls, "call"))
    }
}

impl Timed {
    fn text(&self) -> String {
        let phases: Vec<String> = self.phases.iter().map(|(phase, ms)| format!("{phase} {ms:.2}")).collect();
        let phases = if phases.is_empty() { String::new() } else { format!(" ({} ms)", phases.join(", ")) };
        format!("{} -> {} in {:.2} ms{phases}", self.what, self.result, self.duration_ms)
    }
}

impl Limit {
    fn new(limit: &'static str, used: String, of: String, percent: f64) -> Self {
        Self { limit, used, of, percent }
    }

    fn text(&self) -> String {
        format!("{} {} of {} ({} %)", self.limit, self.used, self.of, self.percent)
    }
}

#[cfg(test)]
mod tests {
    use roundsman_model::grants::Allow;
    use roundsman_probe::grants::Grants;

    use super::*;

    #[test]
    fn lines_of_grants() {
        let target = crate::cmd::probe::target("https://shop.example");
        let system = vec!["load".to_owned(), "memory".to_owned()];
        let allow = Allow { system, ..Allow::default() };
        let (grants, ledger) = Grants::watched(&[target], &allow).unwrap();
        grants.permits_system("load").unwrap();
        grants.permits_system("uname").unwrap_err();
        let told: Vec<String> = ledger
            .used()
            .into_iter()
            .map(|Used { list, line, permitted }| Grant { list, line, permitted }.text())
            .collect();
        assert_eq!(
            told,
            ["target https://shop.example: never used", "system load: permitted load", "system memory: never used"]
        );
    }

    #[test]
    fn parts_of_a_whole() {
        for (part, whole, expected) in [(1.0, 3.0, 33.3), (0.0, 10.0, 0.0), (1.0, 0.0, 0.0)] {
            assert_eq!(percent(part, whole), expected);
        }
    }
}
