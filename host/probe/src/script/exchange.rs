//! What scripted answers of the network have in common: how they fail, what their phases took, certificates.

use std::time::Duration;

use crate::failure::{Failure, code, phase};

/// A failure as a case writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    code: &'static str,
    phase: &'static str,
    message: String,
}

/// The words for phases that a case may write.
pub const PHASES: [&str; 6] = [phase::RESOLVE, phase::CONNECT, phase::TLS, phase::FIRST_BYTE, phase::TRANSFER, "total"];

/// How long phases took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Times(Vec<(&'static str, Duration)>);

/// A certificate as a case writes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    pub subject: String,
    pub issuer: String,
    pub names: Vec<String>,
    /// Seconds since 1970.
    pub not_before: i64,
    pub not_after: i64,
    pub serial: String,
}

impl Told {
    /// From the contract's words; an unknown one is an error for the author of the case.
    pub fn new(code: &str, phase: &str, message: Option<&str>) -> Result<Told, String> {
        let of = |known: &[&'static str], word: &str, what: &str| {
            let found = known.iter().find(|known| **known == word).copied();
            found.ok_or_else(|| format!("`{word}` is no {what}: write one of {}", known.join(", ")))
        };
        let code = of(&code::ALL, code, "code of a failure")?;
        let known = [
            phase::RESOLVE,
            phase::CONNECT,
            phase::TLS,
            phase::FIRST_BYTE,
            phase::TRANSFER,
            phase::POLICY,
            phase::SYSTEM,
            phase::COMMAND,
        ];
        let phase = of(&known, phase, "phase")?;
        let message = message.map_or_else(|| format!("the case says {code}"), str::to_owned);
        Ok(Told { code, phase, message })
    }

    /// As a call ends with it.
    pub(crate) fn failure(&self) -> Failure {
        Failure::new(self.code, self.phase, self.message.clone())
    }

    /// The phase in which it fails.
    pub(crate) fn phase(&self) -> &'static str {
        self.phase
    }
}

impl Times {
    /// A phase took so long; false for a word that is none.
    pub fn set(&mut self, phase: &str, took: Duration) -> bool {
        let known = PHASES.into_iter().find(|known| *known == phase);
        if let Some(known) = known {
            self.0.push((known, took));
        }
        known.is_some()
    }

    /// What a phase took. The whole is the sum of its parts, unless the case says otherwise.
    pub(crate) fn get(&self, phase: &str) -> Option<Duration> {
        let written = self.0.iter().find(|(name, _)| *name == phase).map(|(_, took)| *took);
        written.or_else(|| (phase == "total").then(|| self.0.iter().map(|(_, took)| *took).sum()))
    }
}
