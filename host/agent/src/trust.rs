//! Which plugins are taken, and what their checks may be granted at most: `trust:` as it is carried out.
//!
//! - `key`: public keys and what they may sign; `signature`: the file beside a plugin; `ceiling`: whose ceiling holds, and
//!   what lies beyond it
//!
//! A plugin is judged by bytes in memory, and these bytes are what is compiled: the file is not looked at again. What is
//! in use stays in use while it is the same bytes, whatever becomes of the files; the copy that is kept for a restart
//! is judged anew when it is needed. So a plugin is taken back by taking its key or its digest out of the
//! configuration, or by removing its file.

pub(crate) mod ceiling;
pub mod key;
pub mod signature;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use roundsman_model::name::PluginName;
use roundsman_plugin::digest::Digest;
use roundsman_probe::ceiling::{Ceiling, Lines};
use roundsman_web::view;

use crate::config::trust::{DIGEST_PREFIX, KeySource, Require, Trust, TrustedKey, Whose};
use crate::problem::Problem;
use crate::watch::read::{ReadError, read_stable};
use key::{KeyId, PublicKey};
use signature::{ENDING, MAX_SIGNATURE, Signature, SignatureError};

/// The text of a public key is two lines.
const MAX_KEY_FILE: u64 = 4 << 10;

/// `trust:` with the keys read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policy {
    require: Require,
    keys: Vec<Key>,
    digests: BTreeMap<PluginName, Vec<Digest>>,
    ceilings: BTreeMap<Whose, Ceiling>,
}

#[derive(Debug, Clone)]
struct Key {
    name: Arc<str>,
    public: PublicKey,
    trusted: TrustedKey,
}

/// Where bytes come from, as far as it could be proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) digest: Digest,
    /// The key of the configuration that has signed them.
    pub(crate) signer: Option<Signer>,
    /// The digest stands in `trust.digests`.
    pub(crate) listed: bool,
    /// Why the signature beside them counts for nothing, where it is not needed.
    pub(crate) doubt: Option<Arc<str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signer {
    /// Its name in `trust.keys`.
    pub(crate) key: Arc<str>,
    pub(crate) id: KeyId,
    /// The trusted comment.
    pub(crate) comment: Arc<str>,
}

/// What lies beside a plugin as its signature.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Beside {
    #[default]
    Nothing,
    Bytes(Vec<u8>),
    /// There is something that cannot be read, and why.
    Unreadable(String),
}

/// Why a plugin is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error(
        "it is not signed: `trust.require` is `signature`, and there is no {name}.wasm{ENDING} beside it (`roundsman plugin sign` makes one)"
    )]
    Unsigned { name: PluginName },
    #[error("its digest {DIGEST_PREFIX}{digest} is not in `trust.digests` for `{name}`, and it is not signed either")]
    Unlisted { name: PluginName, digest: Digest },
    #[error("its signature {name}.wasm{ENDING} is not good: {why}")]
    Signature { name: PluginName, why: Unsigned },
}

/// Why a signature counts for nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("{0}")]
    Unreadable(String),
    #[error(transparent)]
    Bad(#[from] SignatureError),
    #[error("it is by the key {0}, which is not in `trust.keys`")]
    Unknown(KeyId),
    #[error("the key `{key}` may not sign plugins of this name, only {}", may.join(", "))]
    NotFor { key: Arc<str>, may: Vec<String> },
}

impl Refusal {
    /// Whether no other signature of the same key would help.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Signature { why: Unsigned::NotFor { .. }, .. })
    }
}

impl Policy {
    /// Reads the files of the keys; what is wrong with them is told at once.
    pub(crate) fn open(trust: &Trust) -> Result<Self, Vec<Problem>> {
        let (mut keys, mut problems): (Vec<Key>, Vec<Problem>) = (Vec::new(), Vec::new());
        for (name, trusted) in &trust.keys {
            let place = format!("trust.keys.{name}");
            let public = match &trusted.public {
                KeySource::Written(key) => Ok(key.clone()),
                KeySource::File(file) => {
                    key_of(file).map_err(|problem| problem.in_path(format!("{place}.publicKeyFile")))
                }
            };
            match public {
                Ok(public) => match keys.iter().find(|known| known.public == public) {
                    Some(same) => {
                        let message = format!("`{name}` is the same key as `{}`", same.name);
                        problems.push(Problem::error("trust", message).in_path(place));
                    }
                    None => keys.push(Key { name: name.as_str().into(), public, trusted: trusted.clone() }),
                },
                Err(problem) => problems.push(problem),
            }
        }
        let Trust { require, keys: _, digests, ceilings } = trust.clone();
        if problems.is_empty() { Ok(Self { require, keys, digests, ceilings }) } else { Err(problems) }
    }

    /// Whether what lies beside a plugin can make a difference.
    pub(crate) fn reads_signatures(&self) -> bool {
        self.require == Require::Signature || !self.keys.is_empty()
    }

    /// Where a plugin's bytes come from, or why it is not taken.
    pub(crate) fn judge(&self, name: &PluginName, bytes: &[u8], beside: &Beside) -> Result<Origin, Refusal> {
        let digest = Digest::of(bytes);
        let listed = self.digests.get(name).is_some_and(|digests| digests.contains(&digest));
        let (signer, doubt) = match self.signer(name, bytes, beside) {
            Ok(signer) => (signer, None),
            Err(why) => (None, Some(why)),
        };
        let proved = match self.require {
            Require::None => true,
            Require::Digest => listed || signer.is_some(),
            Require::Signature => signer.is_some(),
        };
        match doubt {
            _ if proved => {
                let doubt = doubt.map(|why| why.to_string().into());
                Ok(Origin { digest, signer, listed, doubt })
            }
            Some(why) => Err(Refusal::Signature { name: name.clone(), why }),
            None if self.require == Require::Digest => Err(Refusal::Unlisted { name: name.clone(), digest }),
            None => Err(Refusal::Unsigned { name: name.clone() }),
        }
    }

    /// None: there is no signature, or nobody asks for one.
    fn signer(&self, name: &PluginName, bytes: &[u8], beside: &Beside) -> Result<Option<Signer>, Unsigned> {
        let text = match beside {
            Beside::Bytes(text) if self.reads_signatures() => text,
            Beside::Unreadable(why) if self.reads_signatures() => return Err(Unsigned::Unreadable(why.clone())),
            _ => return Ok(None),
        };
        let signature = Signature::parse(text)?;
        let id = signature.key();
        let mut error = Unsigned::Unknown(id);
        // Ids are no secret: two keys may bear the same.
        for key in self.keys.iter().filter(|key| key.public.id() == id) {
            match signature.verify(&key.public, bytes) {
                Err(wrong) => error = wrong.into(),
                Ok(_) if !key.may_sign(name) => error = key.refuse(),
                Ok(comment) => return Ok(Some(Signer { key: key.name.clone(), id, comment: comment.into() })),
            }
        }
        Err(error)
    }

    /// The ceiling that holds for a plugin of this origin, and whose it is: that of its digest, else of its name, else
    /// of its key, else the default.
    pub(crate) fn ceiling(&self, name: &PluginName, origin: &Origin) -> (Option<Whose>, Cow<'_, Ceiling>) {
        let key = origin.signer.as_ref().map(|signer| Whose::Key(signer.key.to_string()));
        let chosen = [Some(Whose::Digest(origin.digest)), Some(Whose::Name(name.clone())), key, Some(Whose::Default)];
        let found = chosen.into_iter().flatten().find_map(|whose| {
            let ceiling = self.ceilings.get(&whose)?;
            Some((whose, ceiling))
        });
        match found {
            Some((whose, ceiling)) => (Some(whose), Cow::Borrowed(ceiling)),
            // A ceiling that says nothing: commands, secrets and files need one that does.
            None => {
                let place = format!("trust.plugins.{name}");
                (None, Cow::Owned(Ceiling::compile(&place, &Lines::default()).unwrap_or_default()))
            }
        }
    }

    /// Whether every check is below every ceiling as long as it asks for none of what needs one.
    pub(crate) fn has_no_ceilings(&self) -> bool {
        self.ceilings.is_empty()
    }

    /// Names of plugins that the configuration speaks of.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&'static str, &PluginName)> {
        let of_ceilings = self.ceilings.keys().filter_map(|whose| match whose {
            Whose::Name(name) => Some(("plugins", name)),
            Whose::Digest(_) | Whose::Key(_) | Whose::Default => None,
        });
        self.digests.keys().map(|name| ("digests", name)).chain(of_ceilings)
    }
}

impl Key {
    fn may_sign(&self, name: &PluginName) -> bool {
        self.trusted.plugins.iter().any(|pattern| pattern.matches(name))
    }

    fn refuse(&self) -> Unsigned {
        Unsigned::NotFor { key: self.name.clone(), may: self.trusted.plugins.iter().map(ToString::to_string).collect() }
    }
}

impl Origin {
    /// For the API.
    pub(crate) fn view(&self) -> view::Origin {
        view::Origin {
            trust: match (&self.signer, self.listed) {
                (Some(_), _) => view::Trust::Signed,
                (None, true) => view::Trust::Listed,
                (None, false) => view::Trust::Unproved,
            },
            signed_by: self.signer.as_ref().map(|signer| signer.key.clone()),
            key_id: self.signer.as_ref().map(|signer| signer.id.to_string()),
            comment: self.signer.as_ref().map(|signer| signer.comment.clone()),
            doubt: self.doubt.clone(),
        }
    }
}

fn key_of(file: &Path) -> Result<PublicKey, Problem> {
    let read = read_stable(file, MAX_KEY_FILE).map_err(|error| error.problem(file))?;
    PublicKey::parse(&String::from_utf8_lossy(&read.bytes)).map_err(|message| Problem::error(file, message))
}

/// Where the signature of a plugin's file lies.
pub(crate) fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ENDING);
    name.into()
}

/// Reads the signature beside a plugin's file.
pub(crate) fn read_beside(file: &Path) -> Beside {
    match read_stable(&beside(file), MAX_SIGNATURE) {
        Ok(read) => Beside::Bytes(read.bytes),
        Err(error) if error.is_absent() => Beside::Nothing,
        Err(error @ ReadError::TooBig { .. }) => {
            Beside::Unreadable(format!("{error}, and so it is no signature of minisign"))
        }
        Err(error) => Beside::Unreadable(crate::plugins::chain(&error)),
    }
}

#[cfg(test)]
mod holds;
#[cfg(test)]
mod tests;
