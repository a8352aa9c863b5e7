//! Questions to the kernel of the machine that runs the tests, and to one that was written down.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::fs;

use roundsman_model::grants::Allow;
use roundsman_probe::failure::code;
use roundsman_probe::grants::{Grants, SYSTEM_WORDS};
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use support::{LONG, probe};
use tokio::time::Instant;

fn all() -> Grants {
    let system = SYSTEM_WORDS.map(str::to_owned).to_vec();
    Grants::compile(&[], &Allow { system, ..Allow::default() }, &[]).unwrap()
}

#[tokio::test]
async fn this_machine() {
    let (probe, grants, deadline) = (probe(), all(), Instant::now() + LONG);
    let mounts = probe.mounts(&grants, deadline).await.unwrap();
    assert!(mounts.iter().any(|mount| mount.path == "/proc" && mount.kind == "proc"), "{mounts:?}");
    let root = probe.usage(&grants, "/", deadline).await.unwrap();
    assert!(root.total >= root.free && root.free >= root.available, "{root:?}");
    for (path, code) in [
        ("/proc/self", code::NOT_FOUND),
        ("/no/such/place", code::NOT_FOUND),
        ("/proc/../proc", code::NOT_FOUND),
        ("proc", code::NOT_FOUND),
        ("", code::NOT_FOUND),
    ] {
        assert_eq!(probe.usage(&grants, path, deadline).await.unwrap_err().code, code, "{path}");
    }
    let directory = tempfile::tempdir().unwrap();
    let missing = probe.usage(&grants, directory.path().to_str().unwrap(), deadline).await.unwrap_err();
    assert!(missing.message.contains("no filesystem is mounted"), "{missing}");

    assert!(probe.load_average(&grants).unwrap().iter().all(|load| *load >= 0.0));
    assert!(probe.processors(&grants).unwrap() >= 1);
    let memory = probe.memory(&grants).unwrap();
    assert!(memory.iter().any(|(name, bytes)| name == "MemTotal" && *bytes > 1 << 20));
    let uname = probe.uname(&grants).unwrap();
    assert!(uname.contains(&("sysname", "Linux".to_owned())), "{uname:?}");
    assert!(uname.iter().any(|(name, id)| *name == "boot-id" && id.len() == 36), "{uname:?}");
    assert_eq!(probe.stats().system.refusals(), 0);
}

#[tokio::test]
async fn nothing_without_a_grant() {
    let (probe, grants, deadline) = (probe(), Grants::default(), Instant::now() + LONG);
    let refusals = [
        probe.mounts(&grants, deadline).await.unwrap_err(),
        probe.usage(&grants, "/", deadline).await.unwrap_err(),
        probe.load_average(&grants).unwrap_err(),
        probe.processors(&grants).unwrap_err(),
        probe.memory(&grants).unwrap_err(),
        probe.pressure(&grants, "cpu").unwrap_err(),
        probe.uname(&grants).unwrap_err(),
    ];
    assert!(refusals.iter().all(|failure| failure.code == code::DENIED), "{refusals:?}");
    assert_eq!((probe.stats().system.calls(), probe.stats().system.refusals()), (7, 7));
}

#[tokio::test]
async fn another_proc() {
    let directory = tempfile::tempdir().unwrap();
    let place = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    place("self/mountinfo", "1 1 0:1 / /data rw - nfs4 server:/x ro\n");
    place("loadavg", "1.5 2.5 3.5 1/2 3\n");
    place("pressure/io", "some avg10=1.00 avg60=0.00 avg300=0.00 total=7\n");
    place("devices/system/cpu/online", "0-63\n");
    let (resolver, roots) = (Resolver::fixed(""), Roots::Only(Vec::new()));
    let (proc, sys) = (directory.path().to_owned(), directory.path().to_owned());
    let (probe, grants) = (Probe::new(Options { resolver, roots, proc, sys }), all());
    let mounts = probe.mounts(&grants, Instant::now() + LONG).await.unwrap();
    assert!(mounts.len() == 1 && mounts[0].read_only && mounts[0].kind == "nfs4", "{mounts:?}");
    assert_eq!(probe.load_average(&grants).unwrap(), [1.5, 2.5, 3.5]);
    assert_eq!(probe.processors(&grants).unwrap(), 64);
    assert_eq!(probe.pressure(&grants, "io").unwrap()[3], ("some.total".to_owned(), 7.0));
    assert_eq!(probe.pressure(&grants, "cpu").unwrap_err().code, code::UNSUPPORTED);
    assert_eq!(probe.pressure(&grants, "../loadavg").unwrap_err().code, code::UNSUPPORTED);
    assert_eq!(probe.memory(&grants).unwrap_err().code, code::NOT_FOUND);
}
