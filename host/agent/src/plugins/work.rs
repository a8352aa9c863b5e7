//! One load of a plugin's file, apart from everything else: from two files to what can be used, or why not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use roundsman_model::check::Check;
use roundsman_model::name::PluginName;
use roundsman_plugin::cache::Cache;
use roundsman_plugin::compile::Compiler;
use roundsman_plugin::engine::Engine;
use roundsman_plugin::load::{LoadError, MAX_PLUGIN_FILE, Plugin};

use super::chain;
use crate::checks::fill::Filled;
use crate::clock::system_now;
use crate::lastgood::LastGood;
use crate::trust::ceiling::in_words;
use crate::trust::{self, Beside, Origin, Policy, Refusal, signature};
use crate::watch::read::{ReadError, read_stable};
use crate::watch::snapshot::Stamp;

/// A file that was written to this lately and is not whole may be about to become so.
const MAY_GROW: Duration = Duration::from_secs(1);
/// A plugin and its signature are two files: so long after one of them came, the other one may still be on its way.
const MAY_FOLLOW: Duration = Duration::from_secs(5);
/// Around the name of a copy in the state directory.
pub(super) const KEPT: (&str, &str) = ("plugin-", ".wasm");

/// What a check wants of a plugin, as far as a new version of it has to go along.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Where it is configured.
    pub(crate) place: String,
    pub(crate) settings: serde_json::Value,
    pub(crate) check: Arc<Check>,
    /// Its number among the check's targets; none for the node itself.
    pub(crate) target: Option<usize>,
    /// What it asks to be granted; none where no ceiling could be too low for it.
    pub(crate) asked: Option<Filled>,
}

/// What became of a file.
#[derive(Debug)]
pub(crate) struct Done {
    pub(super) ticket: u64,
    pub(super) name: PluginName,
    pub(super) path: PathBuf,
    pub(super) size_bytes: u64,
    pub(super) result: Result<Good, Failed>,
    /// Where the file cannot be used and nothing was in use: what was in use before a restart.
    pub(super) before: Option<(Arc<Plugin>, Arc<Origin>)>,
}

#[derive(Debug)]
pub(super) struct Good {
    pub(super) plugin: Arc<Plugin>,
    pub(super) origin: Arc<Origin>,
    pub(super) bytes: Vec<u8>,
    pub(super) beside: Beside,
    pub(super) compile_ms: f64,
}

#[derive(Debug)]
pub(super) enum Failed {
    /// Looked at again after a while: there may be more of it by then.
    NotWhole(String, Duration),
    /// The very bytes that are in use, with what lies beside them now.
    Unchanged {
        origin: Arc<Origin>,
        beside: Beside,
    },
    Refused(String),
}

impl Done {
    /// What is about to be in use of a plugin, if that is another version or comes from elsewhere.
    pub(crate) fn brings(&self) -> Option<(&PluginName, &Arc<Origin>)> {
        let origin = match (&self.result, &self.before) {
            (Ok(good), _) => &good.origin,
            (Err(Failed::Unchanged { origin, .. }), _) | (Err(_), Some((_, origin))) => origin,
            (Err(_), None) => return None,
        };
        Some((&self.name, origin))
    }
}

/// One load, apart from everything else.
pub(super) struct Work {
    pub(super) ticket: u64,
    pub(super) engine: Engine,
    pub(super) compiler: Compiler,
    pub(super) cache: Cache,
    pub(super) kept: LastGood,
    pub(super) policy: Arc<Policy>,
    pub(super) name: PluginName,
    pub(super) path: PathBuf,
    /// In use now.
    pub(super) current: Option<(Arc<Plugin>, Arc<Origin>)>,
    pub(super) bound: Vec<Bound>,
}

/// What was read: the bytes that are judged, and compiled if they are taken.
struct Brought {
    bytes: Vec<u8>,
    beside: Beside,
    judged: Result<Origin, Refusal>,
}

impl Work {
    pub(super) async fn carry_out(self) -> Done {
        let mut size_bytes = 0;
        let result = self.attempt(&mut size_bytes).await;
        let before = if result.is_err() && self.current.is_none() { self.before().await } else { None };
        Done { ticket: self.ticket, name: self.name, path: self.path, size_bytes, result, before }
    }

    async fn attempt(&self, size_bytes: &mut u64) -> Result<Good, Failed> {
        let began = Instant::now();
        let Brought { bytes, beside, judged } = self.read().await.map_err(|error| unreadable(error, size_bytes))?;
        *size_bytes = bytes.len() as u64;
        let origin = Arc::new(judged.map_err(|refusal| self.refused(&refusal))?);
        if let Some((_, known)) = self.current.as_ref().filter(|(_, known)| known.digest == origin.digest) {
            self.stays_below(known, &origin)?;
            return Err(Failed::Unchanged { origin, beside });
        }
        let plugin = self.load(&bytes).await.map_err(|error| match error {
            LoadError::Invalid(_) | LoadError::Empty | LoadError::NotWasm if is_young(&self.path) => {
                Failed::NotWhole(chain(&error), MAY_GROW)
            }
            error => Failed::Refused(chain(&error)),
        })?;
        debug_assert_eq!(*plugin.digest(), origin.digest, "the bytes that were judged are the bytes that were loaded");
        self.accept(&plugin, &origin).await?;
        Ok(Good { plugin: Arc::new(plugin), origin, bytes, beside, compile_ms: began.elapsed().as_secs_f64() * 1e3 })
    }

    /// Reads both files once, and judges what was read.
    async fn read(&self) -> Result<Brought, ReadError> {
        let (path, policy, name) = (self.path.clone(), self.policy.clone(), self.name.clone());
        let work = move || {
            let bytes = read_stable(&path, MAX_PLUGIN_FILE)?.bytes;
            let beside = if policy.reads_signatures() { trust::read_beside(&path) } else { Beside::Nothing };
            let judged = policy.judge(&name, &bytes, &beside);
            Ok(Brought { bytes, beside, judged })
        };
        let died = |died: tokio::task::JoinError| ReadError::Unreadable(std::io::Error::other(died));
        tokio::task::spawn_blocking(work).await.map_err(died)?
    }

    /// What came a moment ago may not be all that comes.
    fn refused(&self, refusal: &Refusal) -> Failed {
        if refusal.is_final() {
            return Failed::Refused(refusal.to_string());
        }
        let ages = [self.path.clone(), trust::beside(&self.path)].map(|path| age(&path));
        match ages.into_iter().flatten().min().and_then(|age| MAY_FOLLOW.checked_sub(age)) {
            Some(left) if !left.is_zero() => Failed::NotWhole(format!("waiting for its signature: {refusal}"), left),
            _ => Failed::Refused(refusal.to_string()),
        }
    }

    async fn load(&self, bytes: &[u8]) -> Result<Plugin, LoadError> {
        Plugin::load(&self.engine, &self.compiler, &self.cache, self.name.clone(), bytes).await
    }

    /// A version that replaces another must take the settings that the other one takes, and may be granted what the
    /// other one may.
    async fn accept(&self, plugin: &Plugin, origin: &Origin) -> Result<(), Failed> {
        let Some((current, known)) = &self.current else { return Ok(()) };
        for Bound { place, settings, .. } in &self.bound {
            if let Some(wrong) = plugin.validate(settings).await.first()
                && current.validate(settings).await.is_empty()
            {
                return Err(Failed::Refused(format!("it refuses the settings of {place}: {wrong}")));
            }
        }
        self.stays_below(known, origin)
    }

    /// No check that has been below its plugin's ceiling may come to be beyond it.
    fn stays_below(&self, known: &Origin, origin: &Origin) -> Result<(), Failed> {
        for Bound { place, check, target, asked, .. } in &self.bound {
            let Some(asked) = asked else { continue };
            let target = target.and_then(|number| check.targets.get(number));
            let beyond = |origin: &Origin| trust::ceiling::beyond(&self.policy, origin, check, target, asked);
            if let Some(why) = in_words(&beyond(origin))
                && beyond(known).is_empty()
            {
                return Err(Failed::Refused(format!("{place} asks for more than it may be granted: {why}")));
            }
        }
        Ok(())
    }

    /// What was in use before a restart, if it would be taken today.
    async fn before(&self) -> Option<(Arc<Plugin>, Arc<Origin>)> {
        let (kept, policy, name) = (self.kept.clone(), self.policy.clone(), self.name.clone());
        let read = move || -> anyhow::Result<Option<(Vec<u8>, Origin)>> {
            let Some(bytes) = kept.load(&blob(&name), MAX_PLUGIN_FILE)? else { return Ok(None) };
            let beside = kept.load(&signature_blob(&name), signature::MAX_SIGNATURE)?;
            let origin = policy.judge(&name, &bytes, &beside.map_or(Beside::Nothing, Beside::Bytes))?;
            Ok(Some((bytes, origin)))
        };
        let complain = |error: &dyn std::error::Error| {
            tracing::warn!(plugin = %self.name, error = chain(error), "nor can the version of before the restart be used");
        };
        let read = tokio::task::spawn_blocking(read).await.ok()?;
        let (bytes, origin) = read.inspect_err(|error| complain(error.as_ref())).ok()??;
        let plugin = self.load(&bytes).await.inspect_err(|error| complain(error)).ok()?;
        Some((Arc::new(plugin), Arc::new(origin)))
    }
}

fn unreadable(error: ReadError, size_bytes: &mut u64) -> Failed {
    match error {
        ReadError::ChangedWhileRead => Failed::NotWhole("it is being written".to_owned(), MAY_GROW),
        error => {
            if let ReadError::TooBig { len, .. } = error {
                *size_bytes = len;
            }
            Failed::Refused(chain(&error))
        }
    }
}

fn is_young(path: &Path) -> bool {
    let modified = std::fs::metadata(path).and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < MAY_GROW))
}

/// How long ago a file came to be what it is under its name, whatever its time of modification was set to.
fn age(path: &Path) -> Option<Duration> {
    let changed = Stamp::of(&std::fs::metadata(path).ok()?).ctime_ns;
    let now = i128::from(system_now().0);
    u64::try_from(now - changed).ok().map(Duration::from_nanos)
}

/// Under which name a version is kept.
pub(super) fn blob(name: &PluginName) -> String {
    format!("{}{name}{}", KEPT.0, KEPT.1)
}

/// And its signature.
pub(super) fn signature_blob(name: &PluginName) -> String {
    format!("{}{}", blob(name), signature::ENDING)
}
