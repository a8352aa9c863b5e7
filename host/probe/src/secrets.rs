//! Secrets by name: files and directories of the operator's, read when they are used and again when they change.
//!
//! A check names a secret, the host uses it, the plugin never sees it. The files are looked at with every use (device,
//! inode, size, times), so that what Kubernetes or an operator puts in their place is in force at once; on a pool of
//! threads, since they may lie on a filesystem that does not answer. What was there before the last change is still taken
//! out of what plugins say, because answers to it may be under way.
//!
//! - `shelf`: the files, and what is known of them

mod shelf;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roundsman_model::name::excerpt;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::encoding::Base64;
use crate::failure::{Failure, code, phase};
use crate::grants::Denied;
use crate::host::Host;
use crate::pattern::{Pattern, Scheme};
use crate::pool::Pool;
use crate::redact::Redactor;

pub use self::shelf::SecretBytes;
use self::shelf::{Entry, Shelf};

/// Sets of secrets, one for each check that is granted any, for which a redactor is kept.
const MAX_REDACTORS: usize = 256;
/// A file of a few hundred bytes is read in microseconds, over the network in milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

const TOKEN: &str = "token";
const USERNAME: &str = "username";
const PASSWORD: &str = "password";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const AUTHORITY: &str = "ca.crt";

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

/// All secrets of this node. Nothing is read before it is asked for.
#[derive(Debug)]
pub struct Secrets {
    shelf: Arc<Shelf>,
    /// Asked to look at the files of a secret, by its name.
    pool: Pool<String, ()>,
    /// By the names of the secrets in them, with the generation that they were made of.
    redactors: Mutex<BTreeMap<Vec<String>, Made>>,
    /// Those of a plugin's case: a missing one is to be added there.
    of_case: bool,
}

/// A redactor, if there is anything to find, and the generation that it knows.
type Made = (u64, Option<Arc<Redactor>>);

impl Default for Secrets {
    fn default() -> Secrets {
        Secrets::new(BTreeMap::new())
    }
}

impl Secrets {
    /// Under these names. Whether the files are there shows when they are used.
    pub fn new(sources: BTreeMap<String, Source>) -> Secrets {
        let shelf = Arc::new(Shelf::new(sources));
        let own = shelf.clone();
        Secrets::over(shelf, move |name| own.look_at(name))
    }

    fn over(shelf: Arc<Shelf>, look: impl Fn(&str) + Send + Sync + 'static) -> Secrets {
        Secrets { shelf, pool: Pool::new(move |name: &String| look(name)), redactors: Mutex::default(), of_case: false }
    }

    /// The same, of a plugin's case.
    #[must_use]
    pub fn of_case(self) -> Secrets {
        Secrets { of_case: true, ..self }
    }

    /// The names that checks may use.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.shelf.names()
    }

    /// What a secret holds under a key. A secret that is one file holds the same under every key but `username`.
    pub async fn read(&self, name: &str, key: &str) -> Result<Arc<SecretBytes>, Failure> {
        let entry = self.entry(name)?;
        let key = entry.want(name, key)?;
        self.look(name, entry).await?;
        match entry.kept(name, key) {
            Some(kept) => kept,
            // Somebody else's look had begun before this key was wanted.
            None => {
                self.look(name, entry).await?;
                entry.kept(name, key).unwrap_or_else(|| Err(failure(format!("the secret `{name}` was not read"))))
            }
        }
    }

    /// The value of an `Authorization` header: `Bearer` for a file or the file `token`, else `Basic`.
    pub async fn bearer_or_basic(&self, name: &str) -> Result<Zeroizing<String>, Failure> {
        let entry = self.entry(name)?;
        let mut key = "";
        if let Place::Directory(directory) = entry.place() {
            self.look(name, entry).await?;
            key = match (entry.holds(TOKEN), entry.holds(PASSWORD)) {
                (true, _) => TOKEN,
                (false, true) => PASSWORD,
                (false, false) => {
                    return Err(failure(format!(
                        "the secret `{name}` ({}) holds neither `{TOKEN}` nor `{USERNAME}` and `{PASSWORD}`",
                        directory.display()
                    )));
                }
            };
        }
        if key == PASSWORD {
            let (username, password) = (self.read(name, USERNAME).await?, self.read(name, PASSWORD).await?);
            let pair = Zeroizing::new([username.bytes(), b":", password.bytes()].concat());
            let encoded = Zeroizing::new(Base64::Standard.padded(&pair));
            return Ok(Zeroizing::new(["Basic ", &encoded].concat()));
        }
        let token = self.read(name, key).await?;
        match std::str::from_utf8(token.bytes()) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Zeroizing::new(["Bearer ", text].concat()))
            }
            _ => Err(failure(format!(
                "the secret `{name}` ({}) is no token: it must be one word of printable ASCII",
                entry.path(key).display()
            ))),
        }
    }

    /// Certificates to trust, in PEM: the file, or `ca.crt`.
    pub async fn certificate_authority(&self, name: &str) -> Result<Arc<SecretBytes>, Failure> {
        self.read(name, AUTHORITY).await
    }

    /// A chain of certificates and its key, both in PEM: `tls.crt` and `tls.key`, or one file with both in it.
    pub async fn client_certificate(&self, name: &str) -> Result<(Arc<SecretBytes>, Arc<SecretBytes>), Failure> {
        Ok((self.read(name, CERTIFICATE).await?, self.read(name, KEY).await?))
    }

    /// Whether a secret may be sent to an address, under the name that led to it; asked before each hop that gets it.
    pub fn permits_destination(
        &self,
        name: &str,
        scheme: Scheme,
        host: &str,
        address: SocketAddr,
    ) -> Result<(), Denied> {
        let Some(entry) = self.shelf.entry(name) else { return Err(self.unknown(name)) };
        let destinations = entry.destinations();
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

    /// Whether a secret may be sent through a unix socket.
    pub fn permits_socket(&self, name: &str) -> Result<(), Denied> {
        self.permits_anywhere(name, "sending it through a unix socket")
    }

    /// Whether a program may be given a secret.
    pub fn permits_program(&self, name: &str) -> Result<(), Denied> {
        self.permits_anywhere(name, "giving it to a program")
    }

    /// Whether a secret may go where nobody knows its way: if it is not bound to destinations, which are addresses.
    fn permits_anywhere(&self, name: &str, doing: &str) -> Result<(), Denied> {
        let Some(entry) = self.shelf.entry(name) else { return Err(self.unknown(name)) };
        if entry.destinations().is_empty() {
            return Ok(());
        }
        let what = format!("the secret `{name}` has destinations: {doing}");
        Err(Denied::by_agent(what, format!("secrets: {{{name}: {{destinations: []}}}}")))
    }

    /// Grows with every change that was noticed: a redactor from before does not know the new content.
    pub fn generation(&self) -> u64 {
        self.shelf.generation()
    }

    /// Looks at what the conventions know of these secrets and at what was used of them, so that it is found in what
    /// somebody says. What cannot be read is told to whoever uses it.
    pub async fn look_at(&self, names: &[String]) {
        for name in names {
            if let Some(entry) = self.shelf.entry(name) {
                drop(self.look(name, entry).await);
            }
        }
    }

    /// Finds what is known of these secrets, and what was known before the last change of each. None for none.
    pub fn redactor(&self, names: &[String]) -> Option<Arc<Redactor>> {
        if names.is_empty() {
            return None;
        }
        let generation = self.generation();
        let mut redactors = lock(&self.redactors);
        if let Some((_, redactor)) = redactors.get(names).filter(|(made_of, _)| *made_of == generation) {
            return redactor.clone();
        }
        if redactors.len() >= MAX_REDACTORS {
            redactors.clear();
        }
        let granted = names.iter().filter_map(|name| Some((name, self.shelf.entry(name)?)));
        let values = granted.flat_map(|(name, entry)| entry.values().into_iter().map(|value| (name.clone(), value)));
        let redactor = Redactor::new(values).map(Arc::new);
        redactors.insert(names.to_vec(), (generation, redactor.clone()));
        redactor
    }

    fn entry(&self, name: &str) -> Result<&Entry, Failure> {
        self.shelf.entry(name).ok_or_else(|| self.unknown(name).into())
    }

    fn unknown(&self, name: &str) -> Denied {
        let name = excerpt(name);
        let what = format!("the secret `{name}`");
        if self.of_case {
            return Denied::by_case(what, format!("secrets: {{{name}: what it holds}}"));
        }
        Denied::by_agent(what, format!("secrets: {{{name}: {{file: /run/secrets/{name}}}}}"))
    }

    async fn look(&self, name: &str, entry: &Entry) -> Result<(), Failure> {
        let looked = self.pool.ask(name.to_owned(), Instant::now() + PATIENCE).await;
        looked.map_err(|why| {
            let place = entry.path("").display().to_string();
            Failure::new(
                why.code,
                phase::POLICY,
                format!("the secret `{name}` cannot be read from {place}: {}", why.message),
            )
        })
    }
}

fn failure(message: String) -> Failure {
    Failure::new(code::SECRET, phase::POLICY, message)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
