//! Tests of the watcher: looks to changes as tables, and the task on real directories.

use std::fs;
use std::os::unix::fs::symlink;

use super::*;
use crate::watch::snapshot::Stamp;

fn scan(text: &str) -> Scan {
    if text == "?" {
        return Scan { problems: vec![Problem::error("d", "gone")], ..Scan::default() };
    }
    let seen = |word: &str| {
        let (name, version) = word.split_once('=').unwrap();
        // Positive versions were written a moment before the look, negative ones long before it.
        let version: i128 = version.parse().unwrap();
        let mtime_ns = if version < 0 { version * 1_000_000_000 } else { version };
        let stamp = Stamp { len: 1, mtime_ns, ctime_ns: 0, inode: 1, device: 1 };
        Seen { name: name.to_owned(), path: name.into(), stamp }
    };
    Scan { snapshot: Snapshot::new(text.split_whitespace().map(seen)), listed: true, ..Scan::default() }
}

fn told(step: Step) -> String {
    let unsettled = if step.unsettled { " …" } else { "" };
    let Some(change) = step.change else { return format!("-{unsettled}") };
    let version = |ns: i128| if ns < 0 { ns / 1_000_000_000 } else { ns };
    let seen = change.seen.iter().map(|s| format!("+{}={}", s.name, version(s.stamp.mtime_ns)));
    let removed = change.removed.iter().map(|name| format!("-{name}"));
    let listed = if change.listed { "" } else { "?" };
    let words: Vec<String> = seen.chain(removed).collect();
    format!("[{}{listed}]{unsettled}", words.join(" "))
}

#[test]
fn looks_become_changes() {
    for (name, looks) in [
        ("the first look tells everything", &[("a=1 b=1", "[+a=1 +b=1]"), ("a=1 b=1", "-")][..]),
        ("also nothing", &[("", "[]"), ("", "-")]),
        ("a new file rests first", &[("", "[]"), ("a=1", "- …"), ("a=1", "[+a=1]"), ("a=1", "-")]),
        ("a file being written", &[("", "[]"), ("a=1", "- …"), ("a=2", "- …"), ("a=3", "- …"), ("a=3", "[+a=3]")]),
        ("only that one waits", &[("", "[]"), ("a=1 b=1", "- …"), ("a=1 b=2", "[+a=1] …"), ("a=1 b=2", "[+b=2]")]),
        ("replaced by removing", &[("a=1", "[+a=1]"), ("", "- …"), ("a=2", "- …"), ("a=2", "[+a=2]")]),
        ("removed", &[("a=1", "[+a=1]"), ("", "- …"), ("", "[-a]"), ("", "-")]),
        ("back before it was told", &[("a=1", "[+a=1]"), ("", "- …"), ("a=1", "-")]),
        ("not there yet", &[("?", "[?]"), ("?", "-"), ("a=1", "[+a=1]")]),
        ("vanishes and comes back", &[("a=1", "[+a=1]"), ("?", "[?]"), ("?", "-"), ("a=1", "[]"), ("a=1", "-")]),
        ("renamed in at one stroke", &[("a=1", "[+a=1]"), ("a=-9", "[+a=-9]"), ("a=-8", "[+a=-8]"), ("a=-8", "-")]),
        ("comes back as another", &[("a=1 b=1", "[+a=1 +b=1]"), ("?", "[?]"), ("b=2", "[+b=2 -a]")]),
    ] {
        let mut tracker = Tracker::default();
        for (look, expected) in looks {
            assert_eq!(told(tracker.look(scan(look))), *expected, "{name}: {look:?}");
        }
    }
}

struct Watched {
    root: tempfile::TempDir,
    changes: mpsc::Receiver<Change>,
    stop: CancellationToken,
    task: tokio::task::JoinSet<()>,
    /// What the changes so far add up to.
    present: std::collections::BTreeMap<String, Stamp>,
    listed: bool,
}

impl Watched {
    fn new(make: bool) -> Self {
        let root = tempfile::tempdir().unwrap();
        if make {
            fs::create_dir(root.path().join("d")).unwrap();
        }
        let (sender, changes) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let mut task = tokio::task::JoinSet::new();
        task.spawn(watch(root.path().join("d"), &["yaml"], sender, stop.clone()));
        Self { root, changes, stop, task, present: Default::default(), listed: false }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.root.path().join("d").join(name)
    }

    /// Takes changes until the files are these, told to be listed or not.
    async fn until(&mut self, names: &[&str], listed: bool) {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        loop {
            let change = tokio::time::timeout_at(deadline, self.changes.recv()).await;
            let change = change.unwrap_or_else(|_| panic!("waiting for {names:?}, at {:?}", self.present)).unwrap();
            self.listed = change.listed;
            self.present.retain(|name, _| !change.removed.contains(name));
            self.present.extend(change.seen.into_iter().map(|seen| (seen.name, seen.stamp)));
            if self.present.keys().eq(names.iter()) && self.listed == listed {
                return;
            }
        }
    }

    async fn next_version(&mut self, name: &str) {
        let before = self.present[name];
        while self.present[name] == before {
            let names: Vec<String> = self.present.keys().cloned().collect();
            self.until(&names.iter().map(String::as_str).collect::<Vec<_>>(), true).await;
        }
    }

    async fn end(mut self) {
        self.stop.cancel();
        self.task.join_next().await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn files_come_change_and_go() {
    let mut watched = Watched::new(true);
    watched.until(&[], true).await;
    fs::write(watched.at("a.yaml"), b"1").unwrap();
    fs::write(watched.at("ignored.txt"), b"1").unwrap();
    fs::write(watched.at("half.yaml.tmp"), b"1").unwrap();
    watched.until(&["a.yaml"], true).await;
    fs::write(watched.at("a.yaml"), b"22").unwrap();
    watched.next_version("a.yaml").await;
    assert_eq!(watched.present["a.yaml"].len, 2);
    fs::rename(watched.at("half.yaml.tmp"), watched.at("b.yaml")).unwrap();
    watched.until(&["a.yaml", "b.yaml"], true).await;
    fs::rename(watched.at("a.yaml"), watched.at("c.yaml")).unwrap();
    watched.until(&["b.yaml", "c.yaml"], true).await;
    fs::remove_file(watched.at("b.yaml")).unwrap();
    watched.until(&["c.yaml"], true).await;
    watched.end().await;
}

#[tokio::test]
async fn a_directory_comes_goes_and_is_replaced() {
    let mut watched = Watched::new(false);
    watched.until(&[], false).await;
    fs::create_dir(watched.at("")).unwrap();
    watched.until(&[], true).await;
    fs::write(watched.at("a.yaml"), b"1").unwrap();
    watched.until(&["a.yaml"], true).await;
    let away = watched.root.path().join("away");
    fs::rename(watched.at(""), &away).unwrap();
    watched.until(&["a.yaml"], false).await;
    fs::create_dir(watched.at("")).unwrap();
    fs::write(watched.at("b.yaml"), b"1").unwrap();
    watched.until(&["b.yaml"], true).await;
    // The new directory is the one that is watched now.
    fs::write(watched.at("c.yaml"), b"1").unwrap();
    watched.until(&["b.yaml", "c.yaml"], true).await;
    watched.end().await;
}

#[tokio::test]
async fn a_config_map_is_swapped() {
    let mut watched = Watched::new(true);
    let version = |number: u32, files: &[&str]| {
        let directory = watched.at(&format!("..2026_{number}"));
        fs::create_dir(&directory).unwrap();
        for file in files {
            fs::write(directory.join(file), vec![b'x'; number as usize]).unwrap();
        }
        let link = watched.at("..data_tmp");
        symlink(directory.file_name().unwrap(), &link).unwrap();
        fs::rename(link, watched.at("..data")).unwrap();
    };
    version(1, &["a.yaml", "b.yaml"]);
    symlink("..data/a.yaml", watched.at("a.yaml")).unwrap();
    symlink("..data/b.yaml", watched.at("b.yaml")).unwrap();
    let two = |number| version(number, &["a.yaml"]);
    two(2);
    fs::remove_file(watched.at("b.yaml")).unwrap();
    watched.until(&["a.yaml"], true).await;
    fs::create_dir(watched.at("..2026_3")).unwrap();
    fs::write(watched.at("..2026_3/a.yaml"), b"xxx").unwrap();
    symlink("..2026_3", watched.at("..data_tmp")).unwrap();
    fs::rename(watched.at("..data_tmp"), watched.at("..data")).unwrap();
    while watched.present["a.yaml"].len != 3 {
        watched.next_version("a.yaml").await;
    }
    watched.end().await;
}

#[tokio::test]
async fn it_ends_when_nobody_listens() {
    let mut watched = Watched::new(true);
    watched.changes.close();
    watched.task.join_next().await.unwrap().unwrap();
}
