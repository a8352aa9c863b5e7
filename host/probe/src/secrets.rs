//! Secrets by name: files and directories of the operator's, read when they are used and again when they change.
//!
//! A check names a secret, the host uses it, the plugin never sees it. The files are looked at with every use (device,
//! inode, size, times), so that what Kubernetes or an operator puts in their place is in force at once. What was there
//! before the last change is still taken out of what plugins say, because answers to it may be under way.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roundsman_model::name::excerpt;
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::encoding::Base64;
use crate::failure::{Failure, code, phase};
use crate::grants::Denied;
use crate::host::Host;
use crate::pattern::{Pattern, Scheme};
use crate::redact::Redactor;

/// A token has a few hundred bytes, a chain of certificates a few thousand.
const MAX_SECRET: usize = 64 << 10;
/// What Kubernetes allows as a key of a secret.
const MAX_KEY: usize = 253;
/// Files of one directory that are remembered; the conventions know six.
const MAX_KEYS: usize = 16;
/// Sets of secrets, one for each check that is granted any, for which a redactor is kept.
const MAX_REDACTORS: usize = 256;

const TOKEN: &str = "token";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";
/// Files of a directory that say who somebody is or whom to trust: they would be missed where they are taken out.
const KNOWN_TO_ALL: [&str; 4] = [USERNAME, CERTIFICATE, AUTHORITY, "namespace"];

/// One entry of `secrets:` in the agent's configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub place: Place,
    /// Where it may be sent to; empty: wherever the check may go.
    pub destinations: Vec<Pattern>,
}

/// Where a secret is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Its whole content.
    File(PathBuf),
    /// Kubernetes' conventions: `token`; `username`, `password`; `tls.crt`, `tls.key`; `ca.crt`.
    Directory(PathBuf),
}

/// A secret's content. It prints nothing of itself, and its memory is zeroed at the end.
pub struct SecretBytes {
    whole: Zeroizing<Vec<u8>>,
    /// Without the line break at the end, which editors put there.
    trimmed: usize,
}

/// All secrets of this node. Nothing is read before it is asked for.
#[derive(Debug, Default)]
pub struct Secrets {
    entries: BTreeMap<String, Entry>,
    /// Grows whenever a content is read that was not there before.
    generation: AtomicU64,
    /// By the names of the secrets in them, with the generation that they were made of.
    redactors: Mutex<BTreeMap<Vec<String>, Made>>,
}

/// A redactor, if there is anything to find, and the generation that it knows.
type Made = (u64, Option<Arc<Redactor>>);

#[derive(Debug)]
struct Entry {
    source: Source,
    /// By key; a file has the one key "".
    kept: Mutex<BTreeMap<String, Kept>>,
}

#[derive(Debug)]
struct Kept {
    stamp: Stamp,
    content: Arc<SecretBytes>,
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

impl Secrets {
    /// Under these names. Whether the files are there shows when they are used.
    pub fn new(sources: BTreeMap<String, Source>) -> Secrets {
        let entry = |(name, source)| (name, Entry { source, kept: Mutex::default() });
        Secrets { entries: sources.into_iter().map(entry).collect(), ..Secrets::default() }
    }

    /// The names that checks may use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// What a secret holds under a key. A secret that is one file holds the same under every key but `username`.
    pub fn read(&self, name: &str, key: &str) -> Result<Arc<SecretBytes>, Failure> {
        self.entry(name)?.read(name, key, &self.generation)
    }

    /// The value of an `Authorization` header: `Bearer` for a file or the file `token`, else `Basic`.
    pub fn bearer_or_basic(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let entry = self.entry(name)?;
        let bearer = match &entry.source.place {
            Place::File(_) => Some(self.read(name, "")?),
            Place::Directory(directory) if directory.join(TOKEN).exists() => Some(self.read(name, TOKEN)?),
            Place::Directory(directory) if directory.join(PASSWORD).exists() => None,
            Place::Directory(directory) => {
                let place = directory.display();
                return Err(failure(format!(
                    "the secret `{name}` ({place}) holds neither `{TOKEN}` nor `{USERNAME}` and `{PASSWORD}`"
                )));
            }
        };
        let Some(token) = bearer else {
            let (username, password) = (self.read(name, USERNAME)?, self.read(name, PASSWORD)?);
            let pair = Zeroizing::new([username.bytes(), b":", password.bytes()].concat());
            let encoded = Zeroizing::new(Base64::Standard.padded(&pair));
            return Ok(Zeroizing::new(["Basic ", &encoded].concat()));
        };
        let word = |byte: &u8| byte.is_ascii_graphic();
        match std::str::from_utf8(token.bytes()) {
            Ok(text) if text.bytes().all(|byte| word(&byte)) => Ok(Zeroizing::new(["Bearer ", text].concat())),
            _ => Err(failure(format!(
                "the secret `{name}` ({}) is no token: it must be one word of printable ASCII",
                entry.path(TOKEN).display()
            ))),
        }
    }

    /// Certificates to trust, in PEM: the file, or `ca.crt`.
    pub fn certificate_authority(&self, name: &str) -> Result<Arc<SecretBytes>, Failure> {
        self.read(name, AUTHORITY)
    }

    /// A chain of certificates and its key, both in PEM: `tls.crt` and `tls.key`, or one file with both in it.
    pub fn client_certificate(&self, name: &str) -> Result<(Arc<SecretBytes>, Arc<SecretBytes>), Failure> {
        Ok((self.read(name, CERTIFICATE)?, self.read(name, KEY)?))
    }

    /// Whether a secret may be sent to an address, under the name that led to it; asked before each hop that gets it.
    pub fn permits_destination(
        &self,
        name: &str,
        scheme: Scheme,
        host: &str,
        address: SocketAddr,
    ) -> Result<(), Denied> {
        let Some(entry) = self.entries.get(name) else { return Err(unknown(name)) };
        let destinations = &entry.source.destinations;
        if destinations.is_empty() {
            return Ok(());
        }
        let host = Host::parse(host).ok();
        let permits = |line: &Pattern| match &host {
            Some(Host::Name(host)) if line.allows_name(scheme, host.as_str(), address.port()) => true,
            _ => line.leads_to(scheme, address),
        };
        if destinations.iter().any(permits) {
            return Ok(());
        }
        let host = host.map_or_else(|| address.ip().to_string(), |host| host.in_url());
        let line = scheme.destination(&host, address.port());
        let add_line = format!("secrets: {{{name}: {{destinations: [\"{line}\"]}}}}");
        Err(Denied::by_agent(format!("sending the secret `{name}` to {line}"), add_line))
    }

    /// Whether a secret may be sent through a unix socket: if it is not bound to destinations, which are addresses.
    pub fn permits_socket(&self, name: &str) -> Result<(), Denied> {
        let Some(entry) = self.entries.get(name) else { return Err(unknown(name)) };
        if entry.source.destinations.is_empty() {
            return Ok(());
        }
        let what = format!("sending the secret `{name}`, which has destinations, through a unix socket");
        Err(Denied::by_agent(what, format!("secrets: {{{name}: {{destinations: []}}}}")))
    }

    /// Grows with every change that was noticed: a redactor from before does not know the new content.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Finds what is known of these secrets, and what was known before the last change of each. None for none.
    pub fn redactor(&self, names: &[String]) -> Option<Arc<Redactor>> {
        if names.is_empty() {
            return None;
        }
        for name in names {
            if let Some(entry) = self.entries.get(name) {
                entry.refresh(name, &self.generation);
            }
        }
        let generation = self.generation();
        let mut redactors = lock(&self.redactors);
        if let Some((_, redactor)) = redactors.get(names).filter(|(made_of, _)| *made_of == generation) {
            return redactor.clone();
        }
        if redactors.len() >= MAX_REDACTORS {
            redactors.clear();
        }
        let granted = names.iter().filter_map(|name| self.entries.get_key_value(name));
        let values = granted.flat_map(|(name, entry)| entry.values().into_iter().map(|value| (name.clone(), value)));
        let redactor = Redactor::new(values).map(Arc::new);
        redactors.insert(names.to_vec(), (generation, redactor.clone()));
        redactor
    }

    fn entry(&self, name: &str) -> Result<&Entry, Failure> {
        self.entries.get(name).ok_or_else(|| unknown(name).into())
    }
}

impl Entry {
    fn path(&self, key: &str) -> PathBuf {
        match &self.source.place {
            Place::File(file) => file.clone(),
            Place::Directory(directory) => directory.join(key),
        }
    }

    /// Under which key a content is kept, if there may be one.
    fn key<'k>(&self, name: &str, key: &'k str) -> Result<&'k str, Failure> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        let is_name = !key.is_empty() && key.len() <= MAX_KEY && key.bytes().all(allowed) && !key.starts_with('.');
        match &self.source.place {
            Place::File(file) if key == USERNAME => Err(failure(format!(
                "the secret `{name}` is the file {}, which holds no `{USERNAME}`: make it a directory with the files \
                 `{USERNAME}` and `{PASSWORD}`",
                file.display()
            ))),
            Place::File(_) => Ok(""),
            Place::Directory(_) if is_name => Ok(key),
            Place::Directory(directory) => Err(failure(format!(
                "the secret `{name}` is the directory {}: `{}` is no name of a file in it",
                directory.display(),
                excerpt(key)
            ))),
        }
    }

    fn read(&self, name: &str, key: &str, generation: &AtomicU64) -> Result<Arc<SecretBytes>, Failure> {
        let key = self.key(name, key)?;
        let path = self.path(key);
        let told = |error: &dyn fmt::Display| {
            let key = if key.is_empty() { String::new() } else { format!(", key `{key}`") };
            failure(format!("the secret `{name}`{key} cannot be read from {}: {error}", path.display()))
        };
        let stamp = std::fs::metadata(&path).map(|metadata| Stamp::of(&metadata)).map_err(|error| told(&error))?;
        if let Some(kept) = lock(&self.kept).get(key).filter(|kept| kept.stamp == stamp) {
            return Ok(kept.content.clone());
        }
        let (stamp, content) = load(&path).map_err(|error| told(&error))?;
        let content = Arc::new(content);
        let mut kept = lock(&self.kept);
        if kept.len() >= MAX_KEYS && !kept.contains_key(key) {
            return Err(told(&format_args!("more than {MAX_KEYS} files of one secret are in use")));
        }
        let before = kept.remove(key);
        let changed = before.as_ref().is_none_or(|before| before.content.whole != content.whole);
        let before = before.and_then(|before| if changed { Some(before.content) } else { before.before });
        kept.insert(key.to_owned(), Kept { stamp, content: content.clone(), before });
        if changed {
            generation.fetch_add(1, Ordering::AcqRel);
        }
        Ok(content)
    }

    /// Looks at what is known of the secret, and at what the conventions know of it, so that changes are noticed.
    fn refresh(&self, name: &str, generation: &AtomicU64) {
        let mut keys: Vec<String> = lock(&self.kept).keys().cloned().collect();
        match &self.source.place {
            Place::File(_) => keys.push(String::new()),
            Place::Directory(_) => keys.extend([TOKEN, PASSWORD, KEY].map(str::to_owned)),
        }
        keys.sort_unstable();
        keys.dedup();
        // What is not there is told to whoever uses it.
        keys.iter().for_each(|key| drop(self.read(name, key, generation)));
    }

    /// What nobody is to read, of now and of before.
    fn values(&self) -> Vec<Vec<u8>> {
        let kept = lock(&self.kept);
        let secret = kept.iter().filter(|(key, _)| !KNOWN_TO_ALL.contains(&key.as_str())).map(|(_, kept)| kept);
        let contents = secret.flat_map(|kept| [Some(&kept.content), kept.before.as_ref()]).flatten();
        contents.flat_map(|content| parts(content.bytes())).collect()
    }
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

fn failure(message: String) -> Failure {
    Failure::new(code::SECRET, phase::POLICY, message)
}

fn unknown(name: &str) -> Denied {
    let name = excerpt(name);
    Denied::by_agent(format!("the secret `{name}`"), format!("secrets: {{{name}: {{file: /run/secrets/{name}}}}}"))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "secrets_tests.rs"]
mod tests;
