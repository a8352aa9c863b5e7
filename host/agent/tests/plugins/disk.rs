//! The plugin disk.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::bench::{number, probe};
use crate::support::servers::skipped;
use crate::support::{Place, eventually};

const SEE_MOUNTS: [&str; 2] = ["--allow", "system=filesystems"];

#[test]
fn disk_of_this_machine() {
    let any = json!({"usage": null, "inodes": null, "readOnly": false, "select": {"paths": ["/"]}});
    let seen = probe("disk", &any, &SEE_MOUNTS);
    seen.assert("ok", "1 filesystems, the fullest is /: ");
    let root = seen.points("disk");
    assert_eq!(root.len(), 1, "{root:?}");
    assert_eq!(root[0].0["path"], "/");
    let known = rustix::fs::statvfs("/").unwrap();
    assert_eq!(root[0].1["total_bytes"], json!(known.f_blocks * known.f_frsize));
    assert!((0.0..=100.0).contains(&number(&root[0].1["used_percent"], "Real")), "{root:?}");
    let missing = json!({"select": {"paths": ["/no/such/mount"]}});
    probe("disk", &missing, &SEE_MOUNTS).assert("critical", "/no/such/mount: is not mounted");
    probe("disk", &any, &[]).assert("unknown", "add to the check: allow: {system: [filesystems]}");
}

/// A small filesystem of its own; gone when it is dropped.
struct Mounted {
    path: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mounted {
    /// None, and said so, where this user may not mount.
    fn new() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().canonicalize().unwrap();
        let mounted = Self { path, _directory: directory };
        let done = mounted.mount(&["-t", "tmpfs", "-o", "size=1m", "roundsman-test"]);
        if !done {
            skipped("mounting a filesystem needs root");
            // Nothing to take away.
            std::mem::forget(mounted);
            return None;
        }
        Some(mounted)
    }

    fn mount(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("mount");
        let status = command.args(arguments).arg(&self.path).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    }

    fn remount(&self, how: &str) {
        assert!(self.mount(&["-o", &format!("remount,{how}")]), "it was mounted by us");
    }

    fn selection(&self) -> Value {
        json!({"select": {"paths": [self.path]}})
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // What is still mounted keeps its directory, which is all that can be said about it here.
        drop(Command::new("umount").arg("-l").arg(&self.path).status());
    }
}

#[test]
fn disk_that_fills_up() {
    let Some(mounted) = Mounted::new() else { return };
    let selection = mounted.selection();
    let path = mounted.path.display().to_string();
    probe("disk", &selection, &SEE_MOUNTS).assert("ok", &path);
    std::fs::write(mounted.path.join("large"), vec![0; 1000 << 10]).unwrap();
    let seen = probe("disk", &selection, &SEE_MOUNTS);
    seen.assert("critical", "% used");
    let finding = &seen.report["findings"][0];
    assert_eq!((finding["subject"].as_str(), finding["status"].as_str()), (Some(path.as_str()), Some("critical")));
    let (tags, fields) = seen.points("disk").remove(0);
    assert_eq!(tags["path"], path);
    assert!(number(&fields["used_percent"], "Real") > 95.0, "{fields:?}");
    assert_eq!(fields["total_bytes"], json!(1 << 20));
    assert!(number(&fields["available_bytes"], "Integer") < 50_000.0, "{fields:?}");
    std::fs::remove_file(mounted.path.join("large")).unwrap();
    for n in 0.. {
        if std::fs::File::create(mounted.path.join(n.to_string())).is_err() {
            break;
        }
    }
    probe("disk", &selection, &SEE_MOUNTS).assert("critical", "% of inodes");
}

/// What the plugin remembers through `state`, across a restart of the agent.
#[test]
fn disk_that_becomes_read_only() {
    let Some(mounted) = Mounted::new() else { return };
    let place = Place::with_plugins(&["disk"]);
    let settings = mounted.selection();
    place.write_checks(
        "disk.yaml",
        &format!(
            "checks:\n  - {{name: disk, plugin: disk, interval: 100ms, timeout: 2s, failureThreshold: 1, \
             allow: {{system: [filesystems]}}, settings: {settings}}}\n"
        ),
    );
    let newest = |agent: &crate::support::Agent| agent.get("/api/v1/records?check=disk&limit=1")["records"][0].clone();
    let is = |agent: &crate::support::Agent, status: &str, says: &str| {
        let record = newest(agent);
        record["status"] == status && record["summary"].as_str().is_some_and(|summary| summary.contains(says))
    };
    let flipped = "read-only, was writable before";
    let agent = place.start();
    eventually("it can be written to", || is(&agent, "ok", ""));
    mounted.remount("ro");
    eventually("that it flipped is critical", || is(&agent, "critical", flipped));
    agent.stop();
    let agent = place.start();
    let before = newest(&agent);
    eventually("it runs again", || newest(&agent)["time"] != before["time"]);
    assert!(is(&agent, "critical", flipped), "it is still known that it could be written to: {:?}", newest(&agent));
    mounted.remount("rw");
    eventually("it can be written to again", || is(&agent, "ok", ""));
    agent.stop();
}
