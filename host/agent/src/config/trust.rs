//! The section `trust:` of `roundsman.yaml`: which plugins are taken, and what their checks may be granted at most.

use std::collections::BTreeMap;
use std::path::PathBuf;

use roundsman_model::name::{CheckName, PluginName, excerpt};
use roundsman_plugin::digest::Digest;
use roundsman_probe::ceiling::{Ceiling, Lines};

use crate::config::read::{Fields, Value, Walk};
use crate::trust::key::{NamePattern, PublicKey};

/// Each is tried for every signature that names it; a handful is what a company has.
const MAX_KEYS: usize = 64;
/// Versions of one plugin that may be in use somewhere at once, and more.
const MAX_DIGESTS: usize = 256;
/// Names or patterns that one key may sign.
const MAX_PATTERNS: usize = 256;
/// Lines of one list of a ceiling; as many as a check may have.
const MAX_LINES: usize = 256;
/// What a line of a ceiling may be long: a path.
const MAX_LINE: usize = 4_096;

/// `trust:` which plugins are taken, and what their checks may be granted at most.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Trust {
    pub require: Require,
    /// By name.
    pub keys: BTreeMap<String, TrustedKey>,
    /// What `require: digest` takes.
    pub digests: BTreeMap<PluginName, Vec<Digest>>,
    /// The key `plugins`; the first word is whom the ceiling is for.
    pub ceilings: BTreeMap<Whose, Ceiling>,
}

/// What a plugin has to show before it is compiled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Require {
    #[default]
    None,
    /// Its digest is listed, or a key that is listed has signed it.
    Digest,
    Signature,
}

/// One entry of `keys`: who may sign, and what.
#[derive(Debug, Clone, PartialEq)]
pub struct TrustedKey {
    pub public: KeySource,
    /// Never empty.
    pub plugins: Vec<NamePattern>,
}

/// Where a public key stands.
#[derive(Debug, Clone, PartialEq)]
pub enum KeySource {
    Written(PublicKey),
    /// As minisign writes it.
    File(PathBuf),
}

/// Whom a ceiling is for; of those that fit a plugin, the first in this order holds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    Digest(Digest),
    Name(PluginName),
    /// Whatever this key of `keys` has signed.
    Key(String),
    Default,
}

impl Require {
    /// The word of the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Digest => "digest",
            Self::Signature => "signature",
        }
    }
}

impl Whose {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        if let Some(key) = text.strip_prefix("key:") {
            return Ok(Self::Key(key.to_owned()));
        }
        if text.starts_with(DIGEST_PREFIX) {
            return digest(text).map(Self::Digest);
        }
        PluginName::new(text).map(Self::Name).map_err(|_| {
            let word = excerpt(text);
            format!("`{word}` is neither a plugin's name nor key:NAME, sha256:… or default")
        })
    }
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Digest(digest) => write!(f, "{DIGEST_PREFIX}{digest}"),
            Self::Name(name) => write!(f, "{name}"),
            Self::Key(key) => write!(f, "key:{key}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// Before the digits of a digest in the configuration.
pub const DIGEST_PREFIX: &str = "sha256:";

fn digest(text: &str) -> Result<Digest, String> {
    let digits = text.strip_prefix(DIGEST_PREFIX).unwrap_or(text);
    digits.parse().map_err(|error| format!("`{}`: {error}, written sha256:…", excerpt(text)))
}

pub(super) fn read(mut fields: Fields<'_>, walk: &mut Walk) -> Trust {
    let words = [Require::None, Require::Digest, Require::Signature].map(|word| (word.as_str(), word));
    let asked = fields.get("require", walk);
    let require = asked.as_ref().and_then(|value| value.word(walk, &words)).unwrap_or_default();
    let keys = fields.get("keys", walk).map(|value| keys(&value, walk)).unwrap_or_default();
    let digests = fields.get("digests", walk).map(|value| digests(&value, walk)).unwrap_or_default();
    let ceilings = fields.get("plugins", walk).map(|value| ceilings(&value, &keys, walk)).unwrap_or_default();
    if let Some(value) = asked {
        let message = match require {
            Require::Signature if keys.is_empty() => Some("no plugin could be used: there is no key that may sign"),
            Require::Digest if keys.is_empty() && digests.is_empty() => {
                Some("no plugin could be used: there is neither a digest nor a key that may sign")
            }
            _ => None,
        };
        if let Some(message) = message {
            walk.error_hint(&value, message, "list a public key: keys: {ops: {publicKey: \"RW…\"}}");
        }
    }
    fields.finish(walk);
    Trust { require, keys, digests, ceilings }
}

fn keys(value: &Value<'_>, walk: &mut Walk) -> BTreeMap<String, TrustedKey> {
    let mut keys: BTreeMap<String, TrustedKey> = BTreeMap::new();
    let entries = value.entries(walk).unwrap_or_default();
    if entries.len() > MAX_KEYS {
        walk.error(value, format!("{} keys are more than {MAX_KEYS}", entries.len()));
    }
    for (entry, inner) in entries {
        if CheckName::new(&entry.key).is_err() {
            let message = format!("`{}` cannot name a key: a-z, 0-9 and '-' only", excerpt(&entry.key));
            walk.note(entry.place, &inner.path, message, None);
        }
        let Some(key) = key(&inner, walk) else { continue };
        if let Some((same, _)) = keys.iter().find(|(_, known)| known.public == key.public) {
            walk.error(&inner, format!("{} is the same key as `{same}`", inner.label()));
        }
        keys.insert(entry.key.to_string(), key);
    }
    keys
}

fn key(value: &Value<'_>, walk: &mut Walk) -> Option<TrustedKey> {
    let mut fields = Fields::new(value.clone(), walk)?;
    let written = fields.get("publicKey", walk).and_then(|value| value.made(walk, PublicKey::parse));
    let file = fields.get("publicKeyFile", walk).and_then(|value| super::sections::path(&value, walk));
    let plugins = fields.get("plugins", walk).map(|value| patterns(&value, walk));
    let writes = ["publicKey", "publicKeyFile"].map(|key| fields.writes(&[key]));
    if writes[0] == writes[1] {
        walk.error(value, format!("{} needs either `publicKey` or `publicKeyFile`", value.label()));
    }
    fields.finish(walk);
    let public = written.map(KeySource::Written).or(file.map(KeySource::File))?;
    Some(TrustedKey { public, plugins: plugins.unwrap_or_else(|| vec![NamePattern::any()]) })
}

fn patterns(value: &Value<'_>, walk: &mut Walk) -> Vec<NamePattern> {
    let items = value.list(walk).unwrap_or_default();
    if items.is_empty() {
        walk.error_hint(value, "the key may sign nothing", "write [\"*\"], or take the key out");
    }
    if items.len() > MAX_PATTERNS {
        walk.error(value, format!("{} names are more than {MAX_PATTERNS}", items.len()));
    }
    items.iter().filter_map(|item| item.made(walk, NamePattern::parse)).collect()
}

fn digests(value: &Value<'_>, walk: &mut Walk) -> BTreeMap<PluginName, Vec<Digest>> {
    let mut digests = BTreeMap::new();
    for (entry, inner) in value.entries(walk).unwrap_or_default() {
        let name = match PluginName::new(&entry.key) {
            Ok(name) => name,
            Err(error) => {
                walk.note(entry.place, &inner.path, error.to_string(), None);
                continue;
            }
        };
        let items = inner.list(walk).unwrap_or_default();
        if items.len() > MAX_DIGESTS {
            walk.error(&inner, format!("{} digests are more than {MAX_DIGESTS}", items.len()));
        }
        digests.insert(name, items.iter().filter_map(|item| item.made(walk, digest)).collect());
    }
    digests
}

fn ceilings(value: &Value<'_>, keys: &BTreeMap<String, TrustedKey>, walk: &mut Walk) -> BTreeMap<Whose, Ceiling> {
    let mut ceilings = BTreeMap::new();
    for (entry, inner) in value.entries(walk).unwrap_or_default() {
        let whose = match Whose::parse(&entry.key) {
            Ok(whose) => whose,
            Err(message) => {
                walk.note(entry.place, &inner.path, message, None);
                continue;
            }
        };
        if let Whose::Key(key) = &whose
            && !keys.contains_key(key)
        {
            let message = format!("there is no key `{}` in `trust.keys`", excerpt(key));
            walk.note(entry.place, &inner.path, message, None);
        }
        if let Some(ceiling) = ceiling(&inner, walk) {
            ceilings.insert(whose, ceiling);
        }
    }
    ceilings
}

fn ceiling(value: &Value<'_>, walk: &mut Walk) -> Option<Ceiling> {
    let mut fields = Fields::new(value.clone(), walk)?;
    let mut of = |key, walk: &mut Walk| {
        let value: Option<Value<'_>> = fields.get(key, walk);
        value.map(|value| lines(&value, walk))
    };
    let lines = Lines {
        network: of("network", walk),
        system: of("system", walk),
        files: of("files", walk).unwrap_or_default(),
        secrets: of("secrets", walk).unwrap_or_default(),
        commands: of("commands", walk).unwrap_or_default(),
        kubernetes: of("kubernetes", walk).unwrap_or_default(),
    };
    fields.finish(walk);
    match Ceiling::compile(&value.path, &lines) {
        Ok(ceiling) => Some(ceiling),
        Err(errors) => {
            for error in errors {
                let place = value.inner(error.list).unwrap_or_else(|| value.clone());
                let items = place.list(walk).unwrap_or_default();
                let item = items.iter().find(|item| item.text(walk).is_some_and(|text| excerpt(text) == error.line));
                walk.error(item.unwrap_or(&place), format!("`{}` {}", error.line, error.reason));
            }
            None
        }
    }
}

fn lines(value: &Value<'_>, walk: &mut Walk) -> Vec<String> {
    let items = value.list(walk).unwrap_or_default();
    if items.len() > MAX_LINES {
        walk.error(value, format!("{} has more than {MAX_LINES} entries", value.label()));
    }
    items.iter().filter_map(|item| item.line(walk, MAX_LINE).map(str::to_owned)).collect()
}
