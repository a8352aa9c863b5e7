//! The files of the secrets: what they hold, what they held before, and why they cannot be read.

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::ops::Deref;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use roundsman_model::name::excerpt;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use super::{AUTHORITY, CERTIFICATE, KEY, PASSWORD, Place, Source, TOKEN, USERNAME, failure, lock};
use crate::failure::Failure;
use crate::pattern::Pattern;

/// A token has a few hundred bytes, a chain of certificates a few thousand.
pub(super) const MAX_SECRET: usize = 64 << 10;
/// What Kubernetes allows as a key of a secret.
const MAX_KEY: usize = 253;
/// Files of one directory that are in use beside those that the conventions know.
const MAX_KEYS: usize = 16;
/// Names of other files that are told when one is missing.
const MAX_TOLD: usize = 8;
/// Entries of a directory that are looked at for these.
const MAX_LISTED: usize = 100;

/// Kubernetes' conventions.
const CONVENTIONS: [&str; 6] = [TOKEN, USERNAME, PASSWORD, CERTIFICATE, KEY, AUTHORITY];
/// Files of a directory that say who somebody is or whom to trust: they would be missed where they are taken out.
const KNOWN_TO_ALL: [&str; 4] = [USERNAME, CERTIFICATE, AUTHORITY, "namespace"];

/// A secret's content. It prints nothing of itself, and its memory is zeroed at the end.
pub struct SecretBytes {
    whole: Zeroizing<Vec<u8>>,
    /// Without the line break at the end, which editors put there.
    trimmed: usize,
}

/// All entries of `secrets:`.
#[derive(Debug)]
pub(super) struct Shelf {
    entries: BTreeMap<String, Entry>,
    /// Grows whenever a content is read that was not there before.
    generation: AtomicU64,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Entry {
    source: Source,
    /// Keys that somebody used, beside those of the conventions.
    wanted: Mutex<BTreeSet<String>>,
    /// By key; a file has the one key "".
    slots: Mutex<BTreeMap<String, Slot>>,
}

/// What is known of one file.
#[derive(Debug)]
struct Slot {
    stamp: Option<Stamp>,
    /// The error is why it cannot be read.
    content: Result<Arc<SecretBytes>, String>,
    /// What was there before the last change.
    before: Option<Arc<SecretBytes>>,
}

/// By what a change of a file is seen. Times of both kinds: whoever sets the one back leaves the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl SecretBytes {
    fn new(whole: Vec<u8>) -> SecretBytes {
        let end = |text: &[u8]| text.iter().rposition(|byte| !matches!(byte, b'\n' | b'\r')).map_or(0, |last| last + 1);
        SecretBytes { trimmed: end(&whole), whole: Zeroizing::new(whole) }
    }

    /// The content without line breaks at its end.
    pub fn bytes(&self) -> &[u8] {
        self.whole.get(..self.trimmed).unwrap_or_default()
    }

    /// The content as it stands in the file, as PEM is read.
    pub fn whole(&self) -> &[u8] {
        &self.whole
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes")
    }
}

impl Shelf {
    pub(super) fn new(sources: BTreeMap<String, Source>) -> Shelf {
        let entry = |(name, source)| (name, Entry { source, wanted: Mutex::default(), slots: Mutex::default() });
        Shelf { entries: sources.into_iter().map(entry).collect(), generation: AtomicU64::new(0) }
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Looks at the files of a secret. The kernel may keep whoever calls this for ever.
    pub(super) fn look_at(&self, name: &str) {
        let Some(entry) = self.entries.get(name) else { return };
        let others = LazyCell::new(|| entry.others());
        let changed = entry.keys().iter().filter(|key| entry.look_at(key, &others)).count();
        self.generation.fetch_add(u64::try_from(changed).unwrap_or(u64::MAX), Ordering::AcqRel);
    }
}

impl Entry {
    pub(super) fn place(&self) -> &Place {
        &self.source.place
    }

    pub(super) fn destinations(&self) -> &[Pattern] {
        &self.source.destinations
    }

    /// The file of a key; the directory itself for none.
    pub(super) fn path(&self, key: &str) -> PathBuf {
        match &self.source.place {
            Place::File(file) => file.clone(),
            Place::Directory(directory) if key.is_empty() => directory.clone(),
            Place::Directory(directory) => directory.join(key),
        }
    }

    /// Has a key looked at from now on. Under which a content is kept, if there may be one.
    pub(super) fn want<'k>(&self, name: &str, key: &'k str) -> Result<&'k str, Failure> {
        let key = self.key(name, key)?;
        let mut wanted = lock(&self.wanted);
        if matches!(self.source.place, Place::File(_)) || wanted.contains(key) || CONVENTIONS.contains(&key) {
            return Ok(key);
        }
        if wanted.len() >= MAX_KEYS {
            return Err(failure(format!("the secret `{name}`: more than {MAX_KEYS} files of it are in use")));
        }
        wanted.insert(key.to_owned());
        Ok(key)
    }

    fn key<'k>(&self, name: &str, key: &'k str) -> Result<&'k str, Failure> {
        match &self.source.place {
            Place::File(file) if key == USERNAME => Err(failure(format!(
                "the secret `{name}` is the file {}, which holds no `{USERNAME}`: make it a directory with the files \
                 `{USERNAME}` and `{PASSWORD}`",
                file.display()
            ))),
            Place::File(_) => Ok(""),
            Place::Directory(_) if is_key(key) => Ok(key),
            Place::Directory(directory) => Err(failure(format!(
                "the secret `{name}` is the directory {}: `{}` is no name of a file in it",
                directory.display(),
                excerpt(key)
            ))),
        }
    }

    /// Everything that is looked at.
    fn keys(&self) -> Vec<String> {
        match &self.source.place {
            Place::File(_) => vec![String::new()],
            Place::Directory(_) => {
                let wanted = lock(&self.wanted).iter().cloned().collect();
                [CONVENTIONS.map(str::to_owned).to_vec(), wanted].concat()
            }
        }
    }

    /// Whether there is a content of a key.
    pub(super) fn holds(&self, key: &str) -> bool {
        lock(&self.slots).get(key).is_some_and(|slot| slot.content.is_ok())
    }

    /// What a key holds, or why nobody knows. None: nobody has looked at it.
    pub(super) fn kept(&self, name: &str, key: &str) -> Option<Result<Arc<SecretBytes>, Failure>> {
        let slots = lock(&self.slots);
        let told = |why: &String| {
            let shown = if key.is_empty() { String::new() } else { format!(", key `{key}`") };
            failure(format!("the secret `{name}`{shown} cannot be read from {}: {why}", self.path(key).display()))
        };
        Some(slots.get(key)?.content.as_ref().map(Arc::clone).map_err(told))
    }

    /// Whether there is a content that was not there before. `others` are the keys that could be meant instead.
    fn look_at(&self, key: &str, others: &impl Deref<Target = String>) -> bool {
        let path = self.path(key);
        let stamp = std::fs::metadata(&path).map(|metadata| Stamp::of(&metadata));
        if let Ok(stamp) = &stamp
            && lock(&self.slots).get(key).is_some_and(|slot| slot.stamp.as_ref() == Some(stamp))
        {
            return false;
        }
        let loaded = stamp.and_then(|_| load(&path)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{error}{}", **others),
            _ => error.to_string(),
        });
        let mut slots = lock(&self.slots);
        let empty = || Slot { stamp: None, content: Err(String::new()), before: None };
        let slot = slots.entry(key.to_owned()).or_insert_with(empty);
        let (stamp, content) = match loaded {
            Ok((stamp, content)) => (Some(stamp), Ok(content)),
            Err(why) => (None, Err(why)),
        };
        slot.stamp = stamp;
        if let (Ok(old), Ok(new)) = (&slot.content, &content)
            && old.whole == new.whole
        {
            return false;
        }
        let is_new = content.is_ok();
        if let Ok(old) = std::mem::replace(&mut slot.content, content.map(Arc::new)) {
            slot.before = Some(old);
        }
        is_new
    }

    /// In words for whoever asked for one that is missing.
    fn others(&self) -> String {
        let Place::Directory(directory) = &self.source.place else { return String::new() };
        let mut names = names_in(directory);
        names.truncate(MAX_TOLD);
        if names.is_empty() { String::new() } else { format!("; there are {}", names.join(", ")) }
    }

    /// What nobody is to read, of now and of before.
    pub(super) fn values(&self) -> Vec<Vec<u8>> {
        let slots = lock(&self.slots);
        let secret = slots.iter().filter(|(key, _)| !KNOWN_TO_ALL.contains(&key.as_str())).map(|(_, slot)| slot);
        let contents = secret.flat_map(|slot| [slot.content.as_ref().ok(), slot.before.as_ref()]).flatten();
        contents.flat_map(|content| parts(content.bytes())).collect()
    }
}

fn is_key(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    !text.is_empty() && text.len() <= MAX_KEY && text.bytes().all(allowed) && !text.starts_with('.')
}

/// Names of files that may be keys, sorted.
fn names_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten().take(MAX_LISTED);
    let mut names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| is_key(name));
    names.sort_unstable();
    names
}

/// What of a content is secret: all of it, but of PEM the lines of the keys, which are found also when they stand alone.
fn parts(content: &[u8]) -> Vec<Vec<u8>> {
    let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).collect();
    if !lines.iter().any(|line| line.starts_with(b"-----BEGIN ")) {
        return vec![content.to_vec()];
    }
    let mut within = false;
    let mut parts = Vec::new();
    for line in lines {
        if line.starts_with(b"-----") {
            within = line.starts_with(b"-----BEGIN ") && line.ends_with(b"PRIVATE KEY-----");
        } else if within && !line.is_empty() {
            parts.push(line.to_vec());
        }
    }
    parts
}

fn load(path: &Path) -> io::Result<(Stamp, SecretBytes)> {
    // Without waiting: a pipe without a writer would hold this thread for ever.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let stamp = Stamp::of(&metadata);
    // Room for all of it from the beginning: what a growing vector leaves behind is not zeroed.
    let mut whole = Vec::with_capacity(MAX_SECRET + 1);
    file.take(MAX_SECRET as u64 + 1).read_to_end(&mut whole)?;
    let content = SecretBytes::new(whole);
    if content.whole.len() > MAX_SECRET {
        return Err(io::Error::other(format!("it has more than {MAX_SECRET} bytes")));
    }
    if content.bytes().is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    Ok((stamp, SecretBytes::new(content.whole.to_vec())))
}

impl Stamp {
    fn of(metadata: &Metadata) -> Stamp {
        Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}
