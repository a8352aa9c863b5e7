//! The limits that the kernel sets to this process's control group, and how close the process is to them.
//!
//! Version 2 first, version 1 where that is what is mounted. The limits of all levels from the own group up to what can be
//! seen are read: a pod's limit binds its containers. Small files that the kernel writes on the fly: reading all of them
//! takes a fraction of a millisecond and never waits for a disk.

use std::path::{Component, Path, PathBuf};

use roundsman_web::sample::{Family, Kind};

/// What the agent holds besides the memory of runs: the promised 48 MiB with 35 plugins and 100 checks.
const BASE_BYTES: u64 = 48 << 20;
/// The least that `limits: {memory}` may be in the configuration: with less, hardly a plugin could begin.
const LEAST_BYTES: u64 = 16 << 20;
/// Version 1 says "no limit" by a number close to 2^63; no machine has so much memory.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// Where the files of this process's group are. Found once: a process is hardly ever moved to another group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    cpu: Option<Levels>,
    memory: Option<Levels>,
}

/// The directories of one controller: the own group first, then upwards.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Levels {
    version: Version,
    directories: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// What the files say at one moment. None: there is no such limit, or it cannot be seen.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    /// Of the level whose quota is the smallest.
    pub(crate) cpu: Option<Cpu>,
    /// Of the level where the least room is left: there the kernel kills first.
    pub(crate) memory: Option<Memory>,
    /// The same for `memory.high`, beyond which nobody is killed, but slowed down.
    pub(crate) high: Option<Memory>,
    /// The smallest limit of any level, `memory.high` included.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Processes of this group that were killed for want of memory.
    pub(crate) oom_kills: Option<u64>,
}

/// A quota of processor time, and how often it was used up.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cpu {
    pub(crate) cores: f64,
    /// In which the group wanted to run.
    pub(crate) periods: u64,
    pub(crate) throttled: u64,
    pub(crate) throttled_us: u64,
}

/// A limit of memory, and what cannot be taken back of it: file pages, which the kernel drops at need, do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) limit_bytes: u64,
    pub(crate) used_bytes: u64,
}

/// What the agent makes of its configuration under the limits of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Respected {
    /// What runs in flight may hold together.
    pub(crate) memory_bytes: u64,
    /// Threads for runs that compute.
    pub(crate) busy_threads: usize,
    /// What was cut and why, for the operator.
    pub(crate) notes: Vec<String>,
}

impl Cgroup {
    /// Looks under `root`, which is `/` but in tests, for /proc/self/cgroup and what is mounted on /sys/fs/cgroup.
    pub(crate) fn discover(root: &Path) -> Self {
        let groups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let mount = root.join("sys/fs/cgroup");
        Self { cpu: Levels::find(&mount, &groups, "cpu"), memory: Levels::find(&mount, &groups, "memory") }
    }

    /// The limits and counters now.
    pub(crate) fn read(&self) -> Reading {
        let cpus = self.cpu.iter().flat_map(|levels| levels.iter(cpu));
        let memories: Vec<_> = self.memory.iter().flat_map(|levels| levels.iter(memory)).collect();
        let highs: Vec<_> = self.memory.iter().flat_map(|levels| levels.iter(high)).collect();
        let limits = memories.iter().chain(&highs).map(|memory| memory.limit_bytes);
        Reading {
            cpu: cpus.min_by(|a, b| a.cores.total_cmp(&b.cores)),
            memory_limit_bytes: limits.min(),
            memory: memories.into_iter().min_by_key(Memory::room_bytes),
            high: highs.into_iter().min_by_key(Memory::room_bytes),
            oom_kills: self.memory.as_ref().and_then(Levels::oom_kills),
        }
    }
}

impl Levels {
    fn find(mount: &Path, groups: &str, controller: &str) -> Option<Self> {
        if mount.join("cgroup.controllers").exists() {
            return Self::under(Version::Two, mount, own_path(groups, "")?);
        }
        if let Some(path) = own_path(groups, controller) {
            // Controllers that are mounted together share a directory, and mostly have links with their own names.
            let joined = joined_name(groups, controller).map(|name| mount.join(name)).filter(|path| path.is_dir());
            return Self::under(Version::One, &joined.unwrap_or_else(|| mount.join(controller)), path);
        }
        let unified = mount.join("unified");
        Self::under(Version::Two, &unified, own_path(groups, "")?)
    }

    /// From the own group upwards. In a container the path is often that of the host, while only the own group is
    /// mounted: what does not exist is passed over, and the mount itself is what remains.
    fn under(version: Version, mount: &Path, path: &str) -> Option<Self> {
        let path = Path::new(path.trim_start_matches('/'));
        let outside = path.components().any(|part| part == Component::ParentDir);
        let path = if outside { Path::new("") } else { path };
        let directories: Vec<_> = path.ancestors().map(|part| mount.join(part)).filter(|path| path.is_dir()).collect();
        (!directories.is_empty()).then_some(Self { version, directories })
    }

    fn iter<T>(&self, read: fn(Version, &Path) -> Option<T>) -> impl Iterator<Item = T> {
        self.directories.iter().filter_map(move |directory| read(self.version, directory))
    }

    fn oom_kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        counter(&text(self.directories.first()?, file)?, "oom_kill")
    }
}

fn text(directory: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(directory.join(file)).ok()
}

fn number(directory: &Path, file: &str) -> Option<u64> {
    text(directory, file)?.trim().parse().ok()
}

fn cpu(version: Version, directory: &Path) -> Option<Cpu> {
    let cores = match version {
        Version::One => {
            let quota = text(directory, "cpu.cfs_quota_us")?;
            parse_quota(&format!("{} {}", quota.trim(), text(directory, "cpu.cfs_period_us")?.trim()))
        }
        Version::Two => parse_quota(&text(directory, "cpu.max")?),
    }?;
    let stat = text(directory, "cpu.stat").unwrap_or_default();
    let throttled_us = match version {
        // Nanoseconds here, microseconds in the other.
        Version::One => counter(&stat, "throttled_time").unwrap_or(0) / 1_000,
        Version::Two => counter(&stat, "throttled_usec").unwrap_or(0),
    };
    let count = |name| counter(&stat, name).unwrap_or(0);
    Some(Cpu { cores, periods: count("nr_periods"), throttled: count("nr_throttled"), throttled_us })
}

fn memory(version: Version, directory: &Path) -> Option<Memory> {
    let limit_bytes = match version {
        Version::One => number(directory, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED_BYTES),
        Version::Two => number(directory, "memory.max"),
    }?;
    Some(Memory { limit_bytes, used_bytes: used(version, directory)? })
}

fn high(version: Version, directory: &Path) -> Option<Memory> {
    let limit_bytes = match version {
        Version::One => None,
        Version::Two => number(directory, "memory.high"),
    }?;
    Some(Memory { limit_bytes, used_bytes: used(version, directory)? })
}

fn used(version: Version, directory: &Path) -> Option<u64> {
    let (current, names) = match version {
        Version::One => ("memory.usage_in_bytes", ["total_active_file", "total_inactive_file"]),
        Version::Two => ("memory.current", ["active_file", "inactive_file"]),
    };
    let stat = text(directory, "memory.stat").unwrap_or_default();
    let files: u64 = names.iter().filter_map(|name| counter(&stat, name)).sum();
    Some(number(directory, current)?.saturating_sub(files))
}

/// The path of the own group by /proc/self/cgroup: `4:cpu,cpuacct:/path`; the controller of version 2 has no name.
fn own_path<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    lines(groups).find(|(names, _)| names.split(',').any(|name| name == controller)).map(|(_, path)| path)
}

/// How the directory of a controller of version 1 is named: as the list in the file.
fn joined_name<'a>(groups: &'a str, controller: &str) -> Option<&'a str> {
    lines(groups).find(|(names, _)| names.split(',').any(|name| name == controller)).map(|(names, _)| names)
}

fn lines(groups: &str) -> impl Iterator<Item = (&str, &str)> {
    groups.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'))
}

/// Processors by `quota period`: none without a quota, which is `max` or -1.
fn parse_quota(line: &str) -> Option<f64> {
    let mut words = line.split_whitespace();
    let (quota, period) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The number behind a name, in files with a name and a number on each line.
fn counter(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(key, _)| *key == name)?.1.trim().parse().ok())
}

impl Memory {
    /// What is left.
    pub(crate) fn room_bytes(&self) -> u64 {
        self.limit_bytes.saturating_sub(self.used_bytes)
    }

    /// What is left of a hundred.
    pub(crate) fn headroom_percent(&self) -> f64 {
        if self.limit_bytes == 0 { 0.0 } else { self.room_bytes() as f64 * 100.0 / self.limit_bytes as f64 }
    }
}

impl Cpu {
    /// What happened since an earlier reading. Counters that went back are those of another group: nothing is known.
    pub(crate) fn since(&self, earlier: &Self) -> Option<Self> {
        Some(Self {
            cores: self.cores,
            periods: self.periods.checked_sub(earlier.periods)?,
            throttled: self.throttled.checked_sub(earlier.throttled)?,
            throttled_us: self.throttled_us.checked_sub(earlier.throttled_us)?,
        })
    }

    /// In how many of a hundred periods the group was made to wait; none if there were no periods.
    pub(crate) fn throttled_percent(&self) -> Option<f64> {
        (self.periods > 0).then(|| self.throttled as f64 * 100.0 / self.periods as f64)
    }
}

impl Reading {
    /// What to make of the configured figures. Memory: half of what the limit leaves beside the agent itself; the other
    /// half is for SQLite, machine code, sockets and what the kernel keeps for them. Threads: one processor's worth of the
    /// quota is for the engine and for brief runs, since a quota that is used up stops all threads alike.
    pub(crate) fn respected(&self, memory_bytes: u64, busy_threads: usize) -> Respected {
        let mut notes = Vec::new();
        let (mut memory, mut threads) = (memory_bytes, busy_threads.max(1));
        if let Some(limit) = self.memory_limit_bytes {
            memory = memory.min((limit.saturating_sub(BASE_BYTES) / 2).max(LEAST_BYTES));
        }
        if let Some(cpu) = self.cpu {
            // Bounded from above by the configured figure, and so is the conversion.
            threads = threads.min((cpu.cores.floor().max(1.0) as usize).saturating_sub(1).max(1));
        }
        if memory < memory_bytes {
            let (limit, wanted) = (mib(self.memory_limit_bytes.unwrap_or(0)), mib(memory_bytes));
            notes.push(format!(
                "runs may hold {} MiB together, not {wanted} MiB: the agent's memory is limited to {limit} MiB; raise that \
                 limit, or set `limits: {{memory: {}Mi}}`",
                mib(memory),
                mib(memory),
            ));
        }
        if threads < busy_threads {
            let cores = self.cpu.map_or(0.0, |cpu| cpu.cores);
            notes.push(format!("runs that compute have {threads} threads: the CPU limit is {cores} cores"));
        }
        Respected { memory_bytes: memory, busy_threads: threads, notes }
    }

    /// For `/metrics`. What is not limited is left out.
    pub(crate) fn families(&self) -> Vec<Family> {
        let family = |name, help, kind, value: Option<f64>| Family {
            name,
            help,
            kind,
            values: value.map(|value| (Vec::new(), value)).into_iter().collect(),
        };
        let (cpu, memory) = (self.cpu, self.memory);
        let families = [
            (
                "roundsman_cgroup_cpu_limit_cores",
                "Processors that the agent may use.",
                Kind::Gauge,
                cpu.map(|c| c.cores),
            ),
            (
                "roundsman_cgroup_cpu_periods",
                "Periods in which the agent wanted to run.",
                Kind::Counter,
                cpu.map(|c| c.periods as f64),
            ),
            (
                "roundsman_cgroup_cpu_throttled_periods",
                "Periods in which the agent was made to wait.",
                Kind::Counter,
                cpu.map(|c| c.throttled as f64),
            ),
            (
                "roundsman_cgroup_cpu_throttled_seconds",
                "How long the agent was made to wait.",
                Kind::Counter,
                cpu.map(|c| c.throttled_us as f64 / 1e6),
            ),
            (
                "roundsman_cgroup_memory_limit_bytes",
                "Memory at which the kernel kills.",
                Kind::Gauge,
                memory.map(|m| m.limit_bytes as f64),
            ),
            (
                "roundsman_cgroup_memory_used_bytes",
                "Memory of the group that cannot be taken back.",
                Kind::Gauge,
                memory.map(|m| m.used_bytes as f64),
            ),
            (
                "roundsman_cgroup_oom_kills",
                "Processes of the group that were killed for want of memory.",
                Kind::Counter,
                self.oom_kills.map(|kills| kills as f64),
            ),
        ];
        families
            .into_iter()
            .filter(|(_, _, _, value)| value.is_some())
            .map(|(name, help, kind, value)| family(name, help, kind, value))
            .collect()
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

#[cfg(test)]
mod tests;
