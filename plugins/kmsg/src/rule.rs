//! What a line that means trouble looks like. The plugin's own rules follow the words of the kernel's source, as
//! node-problem-detector's do.

use std::time::Duration;

use roundsman_sdk::system::KernelLine;
use roundsman_sdk::{Fault, Pattern, Severity, Span};
use schemars::JsonSchema;
use serde::Deserialize;

/// How long a match counts unless its rule says otherwise.
const HOLD: Duration = Duration::from_secs(300);

/// The plugin's own rules: name, pattern, what it is.
const BUILT_IN: [(&str, &str, Severity); 8] = [
    ("oom", r"(Out of memory|Memory cgroup out of memory): Killed process", Severity::Warning),
    (
        "hung-task",
        r"task .+:\d+ blocked for more than \d+ seconds|soft lockup - CPU|rcu_(sched|preempt) (self-)?detected stalls?",
        Severity::Critical,
    ),
    (
        "kernel-bug",
        r"kernel BUG at |BUG: unable to handle|Oops: |general protection fault|Kernel panic|divide error: ",
        Severity::Critical,
    ),
    ("machine-check", r"\[Hardware Error\]|mce: .*Machine Check|EDAC .*(CE|UE) ", Severity::Critical),
    (
        "io-error",
        r"(I/O|critical (medium|target|space allocation)) error, dev \S+|Buffer I/O error on dev|nvme\S* .*(timeout, (aborting|reset)|Abort status)",
        Severity::Critical,
    ),
    ("filesystem", r"(EXT4-fs|XFS|BTRFS|F2FS).*(error|corrupt|Corruption)|JBD2: .*(error|aborted)", Severity::Critical),
    ("read-only", r"Remounting filesystem read-only|forced readonly|Filesystem has been shut down", Severity::Critical),
    (
        "network-device",
        r"unregister_netdevice: waiting for \S+ to become free|NETDEV WATCHDOG: .*transmit queue .* timed out|NIC Link is Down",
        Severity::Warning,
    ),
];

/// Which lines mean trouble, what they are, and for how long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rule {
    /// What it is called in points and findings.
    pub(crate) rule: String,
    /// A regular expression that must be found in the line.
    pattern: Pattern,
    /// Only lines of this priority or worse: 0 (emergency) to 7 (debug).
    #[serde(default)]
    priority: Option<u8>,
    /// Lines of user space count too, which anybody may write who may write to the log.
    #[serde(default, rename = "userSpace")]
    user_space: bool,
    #[serde(default)]
    pub(crate) status: Severity,
    /// For how long a match counts; 5m unless set.
    #[serde(default)]
    hold: Option<Span>,
    /// A regular expression: a line in which it is found ends the trouble at once.
    #[serde(default)]
    clear: Option<Pattern>,
}

impl Rule {
    pub(crate) fn hold(&self) -> Duration {
        self.hold.map_or(HOLD, |Span(hold)| hold)
    }

    pub(crate) fn matches(&self, line: &KernelLine) -> bool {
        (self.user_space || line.facility == 0)
            && self.priority.is_none_or(|priority| line.priority <= priority)
            && self.pattern.0.is_match(&line.text)
    }

    pub(crate) fn clears(&self, line: &KernelLine) -> bool {
        (self.user_space || line.facility == 0) && self.clear.as_ref().is_some_and(|clear| clear.0.is_match(&line.text))
    }
}

pub(crate) fn validate(rules: &[Rule]) -> Result<(), Fault> {
    for (n, rule) in rules.iter().enumerate() {
        let wrong = |message: String| Err(Fault::settings(format!("`rules[{n}]`: {message}")));
        if rule.rule.is_empty() {
            return wrong("the rule has no name".to_owned());
        }
        if rules[..n].iter().any(|other| other.rule == rule.rule) {
            return wrong(format!("there is a rule {} already", rule.rule));
        }
        if rule.priority.is_some_and(|priority| priority > 7) {
            return wrong("priority is 0 (emergency) to 7 (debug)".to_owned());
        }
    }
    Ok(())
}

/// The operator's rules, and those of the plugin's own whose names they do not take.
pub(crate) fn all(built_in: bool, rules: &[Rule]) -> Result<Vec<Rule>, Fault> {
    let mut all = Vec::new();
    for (rule, pattern, status) in BUILT_IN.into_iter().filter(|_| built_in) {
        if rules.iter().all(|other| other.rule != rule) {
            let pattern = Pattern::try_from(pattern.to_owned()).map_err(|reason| Fault::new("internal", reason))?;
            all.push(Rule {
                rule: rule.to_owned(),
                pattern,
                priority: None,
                user_space: false,
                status,
                hold: None,
                clear: None,
            });
        }
    }
    all.extend(rules.iter().map(Rule::copy));
    Ok(all)
}

impl Rule {
    fn copy(&self) -> Self {
        let Self { rule, pattern, priority, user_space, status, hold, clear } = self;
        Self {
            rule: rule.clone(),
            pattern: pattern.clone(),
            priority: *priority,
            user_space: *user_space,
            status: *status,
            hold: *hold,
            clear: clear.clone(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::SystemTime;

    use super::*;

    pub(crate) fn line(text: &str, at_s: u64) -> KernelLine {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at_s);
        KernelLine { priority: 4, facility: 0, sequence: at_s, at, text: text.to_owned() }
    }

    /// Lines as kernels from 5.10 to 6.12 print them.
    #[test]
    fn the_rules_of_its_own() {
        let rules = all(true, &[]).unwrap();
        for (text, name) in [
            ("Out of memory: Killed process 4711 (java) total-vm:8Kb, anon-rss:4kB", Some("oom")),
            ("Memory cgroup out of memory: Killed process 12 (stress) total-vm:1kB", Some("oom")),
            ("INFO: task jbd2/sda1-8:123 blocked for more than 120 seconds.", Some("hung-task")),
            ("watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:77]", Some("hung-task")),
            ("rcu: INFO: rcu_sched self-detected stall on CPU", Some("hung-task")),
            ("BUG: unable to handle page fault for address: ffff", Some("kernel-bug")),
            ("Oops: 0002 [#1] PREEMPT SMP", Some("kernel-bug")),
            ("mce: [Hardware Error]: Machine check events logged", Some("machine-check")),
            ("blk_update_request: I/O error, dev sdb, sector 2048 op 0x0:(READ)", Some("io-error")),
            ("critical medium error, dev sda, sector 9 op 0x0:(READ)", Some("io-error")),
            ("nvme nvme0: I/O 12 QID 3 timeout, aborting", Some("io-error")),
            ("EXT4-fs error (device sda1): ext4_lookup:1785: inode #2: comm ls", Some("filesystem")),
            ("XFS (dm-3): Metadata corruption detected at xfs_agf_read_verify", Some("filesystem")),
            ("EXT4-fs (sda1): Remounting filesystem read-only", Some("read-only")),
            ("unregister_netdevice: waiting for veth1 to become free. Usage count = 1", Some("network-device")),
            ("e1000e 0000:00:1f.6 eth0: NIC Link is Down", Some("network-device")),
            ("EXT4-fs (sda1): mounted filesystem with ordered data mode", None),
            ("usb 1-1: new high-speed USB device number 2", None),
            ("oom_reaper: reaped process 4711 (java)", None),
        ] {
            let found: Vec<_> =
                rules.iter().filter(|rule| rule.matches(&line(text, 0))).map(|rule| rule.rule.as_str()).collect();
            assert_eq!(found, name.into_iter().collect::<Vec<_>>(), "{text}");
        }
    }

    #[test]
    fn rules_of_the_operators() {
        let rule = |json: &str| serde_json::from_str::<Rule>(json).unwrap();
        let own =
            [rule(r#"{"rule": "oom", "pattern": "zzz"}"#), rule(r#"{"rule": "mine", "pattern": "x", "priority": 3}"#)];
        let rules = all(true, &own).unwrap();
        assert_eq!((rules.len(), rules.iter().filter(|rule| rule.rule == "oom").count()), (BUILT_IN.len() + 1, 1));
        assert_eq!(all(false, &own).unwrap().len(), 2);
        let mut said = line("x", 0);
        assert!(!own[1].matches(&said), "priority 4 is not bad enough");
        said.priority = 3;
        assert!(own[1].matches(&said));
        said.facility = 1;
        assert!(!own[1].matches(&said), "user space can say anything");
    }
}
