//! What lies in a directory at one moment, and what differs between two moments.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::problem::Problem;

/// More files of a kind than that are no configuration.
const MAX_FILES: usize = 10_000;

/// Which version of a file it is, as far as the file system tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stamp {
    pub len: u64,
    pub mtime_ns: i128,
    /// Changes where the time of modification was set back on purpose, as archives do it.
    pub ctime_ns: i128,
    pub inode: u64,
    pub device: u64,
}

/// What is there under a name: a file, or something that will turn out not to be one when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Without its directory.
    pub name: String,
    pub path: PathBuf,
    pub stamp: Stamp,
}

/// The files of a directory, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    files: BTreeMap<String, Seen>,
}

/// What a look at a directory gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scan {
    pub snapshot: Snapshot,
    /// Whether the directory could be listed; if not, the snapshot says nothing.
    pub listed: bool,
    /// Device and inode of the directory itself, to see that another one took its place.
    pub identity: Option<(u64, u64)>,
    /// When it was looked at, by the clock that stamps files.
    pub at_ns: i128,
    pub problems: Vec<Problem>,
}

/// What has to be done to get from one snapshot to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Difference {
    pub changed: Vec<Seen>,
    pub removed: Vec<String>,
}

impl Stamp {
    /// The stamp of a file.
    pub fn of(metadata: &Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        Self {
            len: metadata.len(),
            mtime_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            ctime_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
            inode: metadata.ino(),
            device: metadata.dev(),
        }
    }

    /// Whether nothing was written for so long before an instant. A stamp of the future says nothing.
    pub fn rested(&self, at_ns: i128, pause: Duration) -> bool {
        at_ns - self.mtime_ns >= i128::try_from(pause.as_nanos()).unwrap_or(i128::MAX)
    }
}

impl Snapshot {
    /// A snapshot of these files.
    pub fn new(files: impl IntoIterator<Item = Seen>) -> Self {
        Self { files: files.into_iter().map(|seen| (seen.name.clone(), seen)).collect() }
    }

    /// One file.
    pub fn get(&self, name: &str) -> Option<&Seen> {
        self.files.get(name)
    }

    /// All files, by name.
    pub fn seen(&self) -> Vec<Seen> {
        self.files.values().cloned().collect()
    }

    /// From this to a newer one.
    pub fn diff(&self, newer: &Snapshot) -> Difference {
        let changed = newer.files.values().filter(|seen| self.get(&seen.name) != Some(*seen)).cloned().collect();
        let removed = self.files.keys().filter(|name| newer.get(name).is_none()).cloned().collect();
        Difference { changed, removed }
    }

    /// Takes over what a difference says.
    pub fn take(&mut self, difference: &Difference) {
        difference.removed.iter().for_each(|name| drop(self.files.remove(name)));
        self.files.extend(difference.changed.iter().map(|seen| (seen.name.clone(), seen.clone())));
    }
}

impl Scan {
    /// Looks at a directory. Links are followed; names that begin with a dot or end like temporary files (`~`, `.tmp`,
    /// `.swp`) do not have one of the extensions, or are not meant. What bears such a name without being a file is
    /// there all the same: whoever reads it learns why not, and what was there before goes on.
    pub fn of(directory: &Path, extensions: &[&str]) -> Self {
        match Self::list(directory, extensions) {
            Ok(scan) => scan,
            Err(error) => {
                let problem = Problem::error(directory, format!("the directory cannot be listed: {error}"));
                let hint = "make the directory, or set its path under `paths:`; what an agent loaded from it goes on";
                Self { problems: vec![problem.hint(hint)], ..Self::default() }
            }
        }
    }

    fn list(directory: &Path, extensions: &[&str]) -> io::Result<Self> {
        let own = fs::metadata(directory)?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ns = i128::try_from(now.as_nanos()).unwrap_or(i128::MAX);
        let mut scan = Self { listed: true, identity: Some((own.dev(), own.ino())), at_ns, ..Self::default() };
        let mut names = Vec::new();
        for entry in fs::read_dir(directory)? {
            match entry?.file_name().into_string() {
                Ok(name) if is_meant(&name, extensions) => names.push(name),
                Ok(_) => {}
                Err(name) => scan.tell(&directory.join(name), "the name is not UTF-8: the file is left out".to_owned()),
            }
        }
        names.sort();
        if names.len() > MAX_FILES {
            scan.tell(
                directory,
                format!("{} files are more than {MAX_FILES}: the last ones are left out", names.len()),
            );
            names.truncate(MAX_FILES);
        }
        for name in names {
            scan.look(directory.join(&name), name);
        }
        Ok(scan)
    }

    fn look(&mut self, path: PathBuf, name: String) {
        // A link whose file is not there, or may not be looked at, is there itself.
        match fs::metadata(&path).or_else(|error| fs::symlink_metadata(&path).map_err(|_| error)) {
            Ok(metadata) => {
                let stamp = Stamp::of(&metadata);
                self.snapshot.files.insert(name.clone(), Seen { name, path, stamp });
            }
            // Removed between listing and looking.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => self.tell(&path, format!("it cannot be looked at: {error}")),
        }
    }

    fn tell(&mut self, path: &Path, message: String) {
        self.problems.push(Problem::error(path, message));
    }
}

fn is_meant(name: &str, extensions: &[&str]) -> bool {
    let extension = Path::new(name).extension().and_then(|e| e.to_str());
    !name.starts_with('.') && extension.is_some_and(|e| extensions.contains(&e))
}

/// What something is that is no file.
pub(super) fn kind_of(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_dir() => "a directory",
        () if kind.is_fifo() => "a pipe",
        () if kind.is_socket() => "a socket",
        () if kind.is_block_device() || kind.is_char_device() => "a device",
        () => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(text: &str) -> Seen {
        let (name, version) = text.split_once('=').unwrap();
        let stamp = Stamp { len: 1, mtime_ns: version.parse().unwrap(), ctime_ns: 0, inode: 1, device: 1 };
        Seen { name: name.to_owned(), path: name.into(), stamp }
    }

    fn snapshot(text: &str) -> Snapshot {
        Snapshot::new(text.split_whitespace().map(seen))
    }

    #[test]
    fn differences() {
        for (older, newer, changed, removed) in [
            ("", "", "", ""),
            ("", "a=1 b=1", "a=1 b=1", ""),
            ("a=1 b=1", "a=1 b=2", "b=2", ""),
            ("a=1 b=1", "b=1", "", "a"),
            ("a=1", "b=1", "b=1", "a"),
            ("a=1 b=1", "", "", "a b"),
        ] {
            let (mut from, to) = (snapshot(older), snapshot(newer));
            let difference = from.diff(&to);
            assert_eq!(difference.changed, snapshot(changed).seen(), "{older} -> {newer}");
            assert_eq!(difference.removed.join(" "), removed, "{older} -> {newer}");
            from.take(&difference);
            assert_eq!(from, to, "{older} -> {newer}");
        }
    }

    #[test]
    fn names() {
        for (name, meant) in [
            ("shop.yaml", true),
            ("shop.yml", true),
            ("a.b.yaml", true),
            ("shop.yaml~", false),
            (".shop.yaml", false),
            (".shop.yaml.swp", false),
            ("shop.yaml.tmp", false),
            ("..data", false),
            ("yaml", false),
            ("shop.json", false),
            ("", false),
        ] {
            assert_eq!(is_meant(name, &["yaml", "yml"]), meant, "{name}");
        }
    }

    #[test]
    fn a_directory_is_looked_at() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        fs::write(at("a.yaml"), b"x").unwrap();
        fs::write(at("b.txt"), b"x").unwrap();
        fs::create_dir(at("c.yaml")).unwrap();
        std::os::unix::fs::symlink("a.yaml", at("d.yaml")).unwrap();
        std::os::unix::fs::symlink("nowhere", at("e.yaml")).unwrap();
        let scan = Scan::of(root.path(), &["yaml"]);
        let names: Vec<String> = scan.snapshot.seen().into_iter().map(|s| s.name).collect();
        let problems: Vec<&str> = scan.problems.iter().map(|p| p.message.as_str()).collect();
        assert_eq!(names, ["a.yaml", "c.yaml", "d.yaml", "e.yaml"]);
        assert_eq!(problems, [""; 0]);
        let rested = |pause| scan.snapshot.get("a.yaml").unwrap().stamp.rested(scan.at_ns, pause);
        assert!(rested(Duration::ZERO) && !rested(Duration::from_hours(1)));
        let missing = Scan::of(&at("missing"), &["yaml"]);
        assert!(!missing.listed && missing.problems[0].message.contains("cannot be listed"));
    }
}
