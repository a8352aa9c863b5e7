//! Which filesystems count, and what is wrong with one. Nothing here touches the world.

use std::collections::BTreeMap;

use roundsman_sdk::Status;
use roundsman_sdk::system::{Mount, Usage};
use schemars::JsonSchema;
use serde::Deserialize;

/// From how many per cent on something is a warning, and from how many on critical.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) warning: f64,
    pub(crate) critical: f64,
}

/// Which filesystems are looked at. In paths, `*` stands for any characters, also for `/`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub(crate) struct Selection {
    /// Paths of mounts that are looked at. One without `*` must be mounted.
    pub(crate) paths: Vec<String>,
    /// Paths of mounts that are not looked at. What is set here takes the place of the default.
    pub(crate) exclude_paths: Vec<String>,
    /// Kinds that are not looked at, except at `/`. What is set here takes the place of the default.
    pub(crate) exclude_kinds: Vec<String>,
}

/// What was seen of one filesystem, in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Seen {
    pub(crate) used_percent: f64,
    /// None where the filesystem does not count inodes.
    pub(crate) inodes_used_percent: Option<f64>,
    pub(crate) read_only: bool,
    /// It could be written to in an earlier run.
    pub(crate) was_writable: bool,
}

/// Where others keep many mounts of their own, which say nothing about the node.
const EXCLUDED_PATHS: [&str; 9] = [
    "/dev/*",
    "/proc/*",
    "/run/*",
    "/snap/*",
    "/sys/*",
    "/var/lib/containerd/*",
    "/var/lib/containers/*",
    "/var/lib/docker/*",
    "/var/lib/kubelet/*",
];

/// Filesystems without space of their own, those that are always full, and `autofs`, which mounts when it is asked.
const EXCLUDED_KINDS: [&str; 27] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "pstore",
    "ramfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "sysfs",
    "tracefs",
];

impl Default for Selection {
    fn default() -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            paths: vec!["*".to_owned()],
            exclude_paths: owned(&EXCLUDED_PATHS),
            exclude_kinds: owned(&EXCLUDED_KINDS),
        }
    }
}

impl Selection {
    /// The mounts to look at, by path: of several at one path the last, which is the one that can be seen; of several
    /// of one device the one with the shortest path, so that bind mounts do not count twice.
    pub(crate) fn choose(&self, mounts: Vec<Mount>) -> Vec<Mount> {
        let visible: BTreeMap<String, Mount> = mounts.into_iter().map(|mount| (mount.path.clone(), mount)).collect();
        let mut chosen: Vec<Mount> = visible.into_values().filter(|mount| self.takes(mount)).collect();
        chosen.sort_by_key(|mount| mount.path.len());
        let mut devices = Vec::new();
        chosen.retain(|mount| {
            let device = mount.source.starts_with('/') || mount.source.contains(':');
            let seen = device && devices.contains(&mount.source);
            devices.push(mount.source.clone());
            !seen
        });
        chosen.sort_by(|a, b| a.path.cmp(&b.path));
        chosen
    }

    /// Paths that must be mounted and are not.
    pub(crate) fn missing<'a>(&'a self, mounts: &[Mount]) -> Vec<&'a str> {
        let named = self.paths.iter().map(String::as_str).filter(|path| !path.contains('*'));
        named.filter(|path| !mounts.iter().any(|mount| mount.path == *path)).collect()
    }

    fn takes(&self, mount: &Mount) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| matches(pattern, &mount.path));
        let kind = mount.path == "/" || !self.exclude_kinds.contains(&mount.kind);
        // Whoever names a path means it, whatever is left out by default.
        let named = self.paths.contains(&mount.path);
        named || (kind && any(&self.paths) && !any(&self.exclude_paths))
    }
}

/// Whether a path fits a pattern in which `*` stands for any characters.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == path };
    let Some(rest) = path.strip_prefix(before) else { return false };
    rest.char_indices().map(|(at, _)| at).chain([rest.len()]).any(|at| matches(after, &rest[at..]))
}

impl Seen {
    pub(crate) fn new(usage: &Usage, mounted_read_only: bool, was_writable: bool) -> Self {
        let used = usage.total.saturating_sub(usage.free);
        let inodes_used = usage.inodes.saturating_sub(usage.inodes_free);
        Self {
            // Of what users may have, as `df` counts: what is reserved for root is neither used nor available.
            used_percent: percent(used, used.saturating_add(usage.available)),
            inodes_used_percent: (usage.inodes > 0).then(|| percent(inodes_used, usage.inodes)),
            read_only: mounted_read_only || usage.read_only,
            was_writable,
        }
    }

    /// The state of the filesystem, in a sentence.
    pub(crate) fn judge(&self, space: Option<&Limit>, inodes: Option<&Limit>) -> (Status, String) {
        let mut status = grade(space, Some(self.used_percent)).worst(grade(inodes, self.inodes_used_percent));
        let mut text = format!("{:.1} % used", self.used_percent);
        if let Some(inodes) = self.inodes_used_percent {
            text.push_str(&format!(", {inodes:.1} % of inodes"));
        }
        if self.read_only && self.was_writable {
            status = Status::Critical;
            text.push_str(", read-only, was writable before");
        }
        (status, text)
    }
}

fn grade(limit: Option<&Limit>, value: Option<f64>) -> Status {
    match limit.zip(value) {
        Some((limit, value)) if value >= limit.critical => Status::Critical,
        Some((limit, value)) if value >= limit.warning => Status::Warning,
        _ => Status::Ok,
    }
}

#[expect(clippy::cast_precision_loss, reason = "a percentage needs no more than 52 bits")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(source: &str, path: &str, kind: &str) -> Mount {
        let (source, path, kind) = (source.into(), path.into(), kind.into());
        Mount { source, path, kind, read_only: false, options: Vec::new() }
    }

    #[test]
    fn patterns() {
        for (pattern, path, fits) in [
            ("*", "/", true),
            ("/", "/", true),
            ("/", "/var", false),
            ("/var/*", "/var/lib/x", true),
            ("/var/*", "/var", false),
            ("/srv/*/data", "/srv/a/b/data", true),
            ("/srv/*/data", "/srv/data", false),
            ("*ü*", "/mü", true),
        ] {
            assert_eq!(matches(pattern, path), fits, "{pattern} {path}");
        }
    }

    #[test]
    fn choices() {
        let mounts = vec![
            mount("overlay", "/", "overlay"),
            mount("proc", "/proc", "proc"),
            mount("tmpfs", "/dev/shm", "tmpfs"),
            mount("tmpfs", "/tmp", "tmpfs"),
            mount("tmpfs", "/tmp2", "tmpfs"),
            mount("/dev/sdb1", "/srv/bound/deep", "ext4"),
            mount("/dev/sdb1", "/srv", "ext4"),
            mount("/dev/sdc1", "/data", "ext4"),
            mount("nas:/x", "/data", "nfs4"),
            mount("overlay", "/var/lib/docker/overlay2/a/merged", "overlay"),
        ];
        let defaults = Selection::default;
        for (selection, paths) in [
            (defaults(), vec!["/", "/data", "/srv", "/tmp", "/tmp2"]),
            (Selection { exclude_kinds: vec!["tmpfs".into()], ..defaults() }, vec!["/", "/data", "/proc", "/srv"]),
            (Selection { paths: vec!["/dev/shm".into(), "/d*".into()], ..defaults() }, vec!["/data", "/dev/shm"]),
            (Selection { exclude_paths: vec!["/*".into()], ..defaults() }, vec![]),
        ] {
            let chosen = selection.choose(mounts.clone());
            assert_eq!(chosen.iter().map(|mount| mount.path.as_str()).collect::<Vec<_>>(), paths);
        }
        let data = defaults().choose(mounts.clone()).into_iter().find(|mount| mount.path == "/data").unwrap();
        assert_eq!(data.kind, "nfs4", "the mount on top is the one that can be seen");
        let named = Selection { paths: vec!["/srv".into(), "/backup".into(), "/x*".into()], ..defaults() };
        assert_eq!(named.missing(&mounts), ["/backup"]);
    }

    #[test]
    fn filesystems() {
        let limit = Limit { warning: 80.0, critical: 90.0 };
        let usage = |free, available, inodes_free, read_only| Usage {
            total: 1_000,
            free,
            available,
            inodes: 100,
            inodes_free,
            read_only,
        };
        for (usage, mounted_read_only, was_writable, expected) in [
            (usage(500, 500, 90, false), false, true, (Status::Ok, "50.0 % used, 10.0 % of inodes")),
            (usage(250, 200, 90, false), false, true, (Status::Ok, "78.9 % used, 10.0 % of inodes")),
            (usage(200, 150, 90, false), false, true, (Status::Warning, "84.2 % used, 10.0 % of inodes")),
            (usage(100, 50, 90, false), false, true, (Status::Critical, "94.7 % used, 10.0 % of inodes")),
            (usage(500, 500, 5, false), false, true, (Status::Critical, "50.0 % used, 95.0 % of inodes")),
            (usage(500, 500, 90, true), false, false, (Status::Ok, "50.0 % used, 10.0 % of inodes")),
            (
                usage(500, 500, 90, true),
                false,
                true,
                (Status::Critical, "50.0 % used, 10.0 % of inodes, read-only, was writable before"),
            ),
            (
                usage(500, 500, 90, false),
                true,
                true,
                (Status::Critical, "50.0 % used, 10.0 % of inodes, read-only, was writable before"),
            ),
        ] {
            let (status, text) = Seen::new(&usage, mounted_read_only, was_writable).judge(Some(&limit), Some(&limit));
            assert_eq!((status, text.as_str()), expected);
        }
        let none = Seen::new(&Usage { inodes: 0, ..usage(0, 0, 0, false) }, false, true);
        assert_eq!(none.judge(None, Some(&limit)), (Status::Ok, "100.0 % used".to_owned()));
        assert_eq!(Seen::new(&Usage::default(), false, false).judge(Some(&limit), None).0, Status::Ok);
    }
}
