//! The directory of checks files: what is in force, with the last good versions behind it.
//!
//! `apply` takes what the watcher saw. It reads files and keeps copies, so it blocks: call it where that is allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checks::catalogue::{Catalogue, FileReport, Version};
use crate::checks::{ChecksFile, Configured, parse};
use crate::config::{MAX_FILE, Node};
use crate::lastgood::LastGood;
use crate::problem::Problem;
use crate::watch::Change;
use crate::watch::read::read_stable;
use crate::watch::snapshot::Scan;

/// What checks files are called.
pub const EXTENSIONS: &[&str] = &["yaml", "yml"];

/// The checks files of one directory.
#[derive(Debug)]
pub struct Files {
    directory: PathBuf,
    node: Node,
    /// None: nothing is kept, as `validate` has it.
    kept: Option<LastGood>,
    catalogue: Catalogue,
    /// Texts of versions that are not in force yet.
    pending: BTreeMap<String, Vec<u8>>,
    /// Of the directory itself, as the watcher told last.
    directory_problems: Vec<Problem>,
    /// Of the copies, since the last change.
    storage_problems: Vec<Problem>,
    /// The last good versions were looked at.
    restored: bool,
    /// The directory could be listed once: from then on what is not there was removed on purpose.
    listed: bool,
}

impl Files {
    /// Nothing is read before the first `apply`.
    pub fn new(directory: impl Into<PathBuf>, node: Node, kept: Option<LastGood>) -> Self {
        Self {
            directory: directory.into(),
            node,
            kept,
            catalogue: Catalogue::default(),
            pending: BTreeMap::new(),
            directory_problems: Vec::new(),
            storage_problems: Vec::new(),
            restored: false,
            listed: false,
        }
    }

    /// The directory as it is now, without a watcher: for `validate`.
    pub fn read_once(directory: &Path, node: Node) -> Self {
        let mut files = Self::new(directory, node, None);
        let scan = Scan::of(directory, EXTENSIONS);
        let seen = scan.snapshot.seen();
        files.apply(&Change { seen, removed: Vec::new(), problems: scan.problems, listed: scan.listed });
        files
    }

    /// Takes a change and puts in force what can be; for who has nothing to ask of the candidates.
    pub fn apply(&mut self, change: &Change) {
        self.take(change);
        self.settle();
    }

    /// Reads what changed. New versions are candidates until `settle`.
    pub fn take(&mut self, change: &Change) {
        self.storage_problems.clear();
        self.directory_problems.clone_from(&change.problems);
        let mut gone: BTreeSet<String> = change.removed.iter().cloned().collect();
        let present: BTreeSet<&str> = change.seen.iter().map(|seen| seen.name.as_str()).collect();
        if !std::mem::replace(&mut self.restored, true) {
            self.restore();
        }
        if change.listed && !std::mem::replace(&mut self.listed, true) {
            gone.extend(self.catalogue.names().into_iter().filter(|name| !present.contains(name.as_str())));
        }
        for name in &gone {
            self.remove(name);
        }
        for seen in &change.seen {
            self.read(&seen.name, &seen.path);
        }
    }

    /// Reads the files again of which the newest version is not in force.
    pub fn read_refused(&mut self) {
        let refused = self.catalogue.reports().into_iter().filter(|report| report.version != Version::Current);
        for report in refused.collect::<Vec<_>>() {
            self.read(&report.name, &report.path);
        }
    }

    /// The new versions, by file name.
    pub fn candidates(&self) -> Vec<(String, Arc<ChecksFile>)> {
        self.catalogue.candidates()
    }

    /// A candidate is not to be put in force.
    pub fn refuse(&mut self, name: &str, problems: Vec<Problem>) {
        if let Some(path) = self.catalogue.path(name) {
            self.pending.remove(name);
            self.catalogue.offer(name, path, Err(problems));
        }
    }

    /// Puts the candidates in force, but for those that collide.
    pub fn settle(&mut self) {
        for name in self.catalogue.settle() {
            let text = self.pending.remove(&name).unwrap_or_default();
            self.store(|kept| kept.keep(&name, &text));
        }
    }

    fn restore(&mut self) {
        let Some(kept) = &self.kept else { return };
        let (good, problems) = kept.load_all(MAX_FILE);
        self.storage_problems.extend(problems);
        for (name, text) in good {
            // A copy that is refused now was good for an older agent: there is nothing to go on with.
            if let Ok(file) = parse(&self.directory.join(&name), &text, &self.node) {
                self.catalogue.restore(&name, file);
            }
        }
    }

    fn read(&mut self, name: &str, path: &Path) {
        let version = match read_stable(path, MAX_FILE) {
            Err(error) => Err(vec![error.problem(path)]),
            Ok(read) => {
                let version = parse(path, &read.bytes, &self.node);
                self.pending.insert(name.to_owned(), read.bytes);
                version
            }
        };
        if version.is_err() {
            self.pending.remove(name);
        }
        self.catalogue.offer(name, path, version);
    }

    fn remove(&mut self, name: &str) {
        self.pending.remove(name);
        self.catalogue.withdraw(name);
        self.store(|kept| kept.forget(name));
    }

    fn store(&mut self, work: impl FnOnce(&LastGood) -> Result<(), crate::lastgood::LastGoodError>) {
        if let Some(Err(error)) = self.kept.as_ref().map(work) {
            self.storage_problems.push(error.problem());
        }
    }

    /// Every check in force, in the order of file names and lines.
    pub fn checks(&self) -> impl Iterator<Item = &Arc<Configured>> {
        self.catalogue.checks()
    }

    /// How every file fares.
    pub fn reports(&self) -> Vec<FileReport> {
        self.catalogue.reports()
    }

    /// Everything that is wrong now: of the directory, of the files, of the kept copies.
    pub fn problems(&self) -> Vec<Problem> {
        let of_files = self.catalogue.reports().into_iter().flat_map(|report| report.problems);
        self.directory_problems.iter().cloned().chain(of_files).chain(self.storage_problems.iter().cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::checks::catalogue::Version;

    const GOOD: &str = "checks:\n  - {name: shop, plugin: http, interval: 10s}\n";
    const BETTER: &str = "checks:\n  - {name: shop, plugin: http, interval: 20s}\n";
    const BROKEN: &str = "checks:\n  - {name: shop, plugin: http, intervall: 10s}\n";

    struct Agent {
        root: tempfile::TempDir,
        files: Files,
    }

    fn start(root: tempfile::TempDir) -> Agent {
        let kept = LastGood::open(&root.path().join("state"), "checks").unwrap();
        let files = Files::new(root.path().join("checks"), Node::default(), Some(kept));
        Agent { root, files }
    }

    impl Agent {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir(root.path().join("checks")).unwrap();
            start(root)
        }

        fn write(&self, name: &str, text: &str) {
            fs::write(self.root.path().join("checks").join(name), text).unwrap();
        }

        fn look(&mut self) -> String {
            let scan = Scan::of(&self.root.path().join("checks"), EXTENSIONS);
            let seen = scan.snapshot.seen();
            let present: Vec<String> = seen.iter().map(|s| s.name.clone()).collect();
            let removed = if scan.listed {
                self.files.catalogue.names().into_iter().filter(|n| !present.contains(n)).collect()
            } else {
                Vec::new()
            };
            self.files.apply(&Change { seen, removed, problems: scan.problems, listed: scan.listed });
            let interval = |r: &FileReport| {
                let of = |c: &&Arc<Configured>| c.file.ends_with(&r.name);
                self.files.checks().find(of).map(|c| format!("{:?}", c.check.timing)).unwrap_or_default()
            };
            let report = |r: FileReport| format!("{} {:?} {}", r.name, r.version, interval(&r));
            self.files.reports().into_iter().map(report).collect::<Vec<_>>().join("; ")
        }

        fn restart(self) -> Self {
            start(self.root)
        }
    }

    #[test]
    fn the_last_good_version_goes_on_also_after_a_restart() {
        let mut agent = Agent::new();
        agent.write("a.yaml", GOOD);
        assert_eq!(agent.look(), "a.yaml Current Interval(10s)");
        agent.write("a.yaml", BROKEN);
        assert_eq!(agent.look(), "a.yaml Outdated Interval(10s)");
        let mut agent = agent.restart();
        assert_eq!(agent.look(), "a.yaml Outdated Interval(10s)");
        let told: Vec<String> = agent.files.problems().iter().map(ToString::to_string).collect();
        assert!(told.iter().any(|text| text.ends_with("did you mean `interval`?)")), "{told:?}");
        agent.write("a.yaml", BETTER);
        assert_eq!(agent.look(), "a.yaml Current Interval(20s)");
        assert!(agent.files.problems().is_empty());
    }

    #[test]
    fn what_is_removed_is_forgotten_also_while_the_agent_is_down() {
        let mut agent = Agent::new();
        agent.write("a.yaml", GOOD);
        agent.write("b.yaml", "checks: []\n");
        agent.look();
        fs::remove_file(agent.root.path().join("checks/a.yaml")).unwrap();
        let mut agent = agent.restart();
        assert_eq!(agent.look(), "b.yaml Current ");
        agent.write("a.yaml", BROKEN);
        assert_eq!(agent.look(), "a.yaml Refused ; b.yaml Current ");
        fs::remove_file(agent.root.path().join("checks/a.yaml")).unwrap();
        assert_eq!(agent.look(), "b.yaml Current ");
    }

    #[test]
    fn a_directory_that_vanishes_takes_nothing_with_it() {
        let mut agent = Agent::new();
        agent.write("a.yaml", GOOD);
        agent.look();
        let (there, away) = (agent.root.path().join("checks"), agent.root.path().join("away"));
        fs::rename(&there, &away).unwrap();
        assert_eq!(agent.look(), "a.yaml Current Interval(10s)");
        assert!(agent.files.problems()[0].message.contains("cannot be listed"), "{:?}", agent.files.problems());
        let mut agent = agent.restart();
        assert_eq!(agent.look(), "a.yaml Current Interval(10s)");
        fs::remove_file(away.join("a.yaml")).unwrap();
        fs::rename(&away, &there).unwrap();
        assert_eq!(agent.look(), "");
        assert_eq!(agent.files.reports(), Vec::new());
    }

    #[test]
    fn nothing_is_kept_for_validate() {
        let agent = Agent::new();
        agent.write("a.yaml", GOOD);
        agent.write("big.yaml", &"# \n".repeat(1 << 19));
        fs::create_dir(agent.root.path().join("checks/d.yaml")).unwrap();
        let files = Files::read_once(&agent.root.path().join("checks"), Node::default());
        let versions: Vec<Version> = files.reports().iter().map(|r| r.version).collect();
        assert_eq!(versions, [Version::Current, Version::Refused, Version::Refused]);
        let problems: Vec<String> = files.problems().iter().map(|p| p.message.clone()).collect();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("larger than 1Mi"), "{problems:?}");
        assert!(problems[1].contains("is a directory"), "{problems:?}");
    }
}
