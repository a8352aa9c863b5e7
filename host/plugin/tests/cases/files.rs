//! What `std::fs` comes to: granted directories and files, read-only, and no way out of them.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use roundsman_model::record::{Blame, Status};

use crate::support::{Run, guest};
use crate::{assert_outcome, assert_unknown, bench};

/// A directory with a file, a directory in it, links that lead out, and a pipe.
fn tree() -> (tempfile::TempDir, impl Fn(&str) -> PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    let at = move |name: &str| path.join(name);
    std::fs::create_dir_all(at("granted/inner")).unwrap();
    std::fs::write(at("granted/file"), "content").unwrap();
    std::fs::write(at("granted/inner/file"), "inner").unwrap();
    std::fs::write(at("secret"), "secret").unwrap();
    symlink("file", at("granted/link")).unwrap();
    symlink("../secret", at("granted/out")).unwrap();
    symlink(at("secret"), at("granted/absolute")).unwrap();
    symlink("..", at("granted/up")).unwrap();
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, at("granted/pipe"), pipe, rustix::fs::Mode::RWXU, 0).unwrap();
    (root, at)
}

#[test]
fn nothing_is_granted() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    for (what, path) in [
        ("read-file", "/etc/hostname"),
        ("read-file", "/proc/self/environ"),
        ("read-file", "hostname"),
        ("list", "/"),
        ("list", "."),
        ("write-file", "/tmp/roundsman-was-here"),
    ] {
        let report = bench.run(&plugin, &Run::what(what, path));
        assert_eq!(report.status, Status::Critical, "{what} {path}: {report:?}");
    }
    assert!(!PathBuf::from("/tmp/roundsman-was-here").exists());
}

#[test]
fn a_directory() {
    let bench = bench();
    let (_root, at) = tree();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let run = |what: &str, name: &str| bench.run(&plugin, &Run::what(what, at(name).display()).file(at("granted")));
    for (what, name, says) in [
        ("read-file", "granted/file", "content"),
        ("read-file", "granted/inner/file", "inner"),
        ("read-file", "granted/link", "content"),
        ("look-at-file", "granted/file", "7 bytes"),
        ("list", "granted", "absolute file inner link out pipe up"),
        ("list", "granted/inner", "file"),
        ("files", "granted/file", "31 files, then "),
    ] {
        assert_outcome(&run(what, name), Status::Ok, says);
    }
    for (what, name) in [
        ("read-file", "granted/out"),
        ("read-file", "granted/absolute"),
        ("read-file", "granted/up/secret"),
        ("read-file", "granted/../secret"),
        ("read-file", "secret"),
        ("read-file", "granted/pipe"),
        ("look-at-file", "granted/out"),
        ("list", "granted/up"),
        ("list", "."),
        ("write-file", "granted/file"),
        ("write-file", "granted/new"),
        ("remove-file", "granted/file"),
        ("rename-file", "granted/file"),
        ("make-directory", "granted/new"),
    ] {
        let report = run(what, name);
        assert_eq!(report.status, Status::Critical, "{what} {name}: {report:?}");
        assert!(!report.summary.contains("secret"), "{what} {name}: {report:?}");
    }
    assert_eq!(std::fs::read_to_string(at("granted/file")).unwrap(), "content");
    assert!(!at("granted/new").exists());
}

#[test]
fn a_single_file() {
    let bench = bench();
    let (_root, at) = tree();
    let plugin = bench.load(&guest("hostile")).unwrap();
    symlink("inner/file", at("granted/near")).unwrap();
    let run = |what: &str, name: &str| {
        let run = Run::what(what, at(name).display())
            .file(at("granted/file"))
            .file(at("granted/out"))
            .file(at("granted/near"));
        bench.run(&plugin, &run)
    };
    assert_outcome(&run("read-file", "granted/file"), Status::Ok, "content");
    assert_outcome(&run("look-at-file", "granted/file"), Status::Ok, "7 bytes");
    for name in ["granted/inner/file", "granted/link", "granted/../secret", "granted/absolute"] {
        let report = run("read-file", name);
        assert_eq!(report.status, Status::Unknown, "{name}: {report:?}");
        assert_unknown(&report, Blame::Host, "denied", "is not granted; add to the check: allow: {files: [");
    }
    // Granted by name, but a link: it would lead to what is not.
    for name in ["granted/out", "granted/near"] {
        assert_outcome(&run("read-file", name), Status::Critical, "");
    }
    for (what, name) in [("list", "granted"), ("write-file", "granted/file"), ("remove-file", "granted/file")] {
        let report = run(what, name);
        assert_ne!(report.status, Status::Ok, "{what} {name}: {report:?}");
    }
    assert_eq!(std::fs::read_to_string(at("granted/file")).unwrap(), "content");
}

#[test]
fn what_is_granted_and_not_there() {
    let bench = bench();
    let (_root, at) = tree();
    let plugin = bench.load(&guest("hostile")).unwrap();
    let run = Run::what("read-file", at("granted/file").display()).file(at("missing")).file(at("granted/file"));
    let report = bench.run(&plugin, &run);
    assert_outcome(&report, Status::Ok, "content");
    assert!(
        report.story.log.iter().any(|line| line.text.starts_with("granted, but not there: ")),
        "{:?}",
        report.story.log
    );
}
