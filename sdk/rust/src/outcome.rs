//! What a run says: an outcome about its target, or a fault when it could not be carried out.

use std::fmt;

use crate::bindings::exports::roundsman::check::check as exported;
use crate::bindings::roundsman::check::types;

/// What a run found out about its target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// As it should be.
    Ok,
    /// Somebody should look at it in working hours.
    Warning,
    /// Broken: down, refusing, not answering, or answering wrongly.
    Critical,
    /// The check was carried out and still cannot tell.
    Unknown,
}

/// What a run that could be carried out says. A target that is down, refuses or does not answer is an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// What was found out.
    pub status: Status,
    /// One sentence for a person; the host keeps at most 1 KiB of it.
    pub summary: String,
}

/// The check could not be carried out: nothing is known of the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// An open set: `settings`, `denied`, `limit`, `unsupported`, `internal`, or a word of the plugin's own.
    pub code: String,
    /// What went wrong, and what to do about it.
    pub message: String,
}

impl Status {
    /// The more severe of two: critical, then warning, then unknown, then ok. What is known to be wrong comes before
    /// what is not known.
    #[must_use]
    pub fn worst(self, other: Self) -> Self {
        let severity = |status| match status {
            Self::Ok => 0,
            Self::Unknown => 1,
            Self::Warning => 2,
            Self::Critical => 3,
        };
        if severity(other) > severity(self) { other } else { self }
    }
}

impl Outcome {
    /// An outcome whose status was computed.
    pub fn new(status: Status, summary: impl Into<String>) -> Self {
        Self { status, summary: summary.into() }
    }

    /// The target is as it should be.
    pub fn ok(summary: impl Into<String>) -> Self {
        Self::new(Status::Ok, summary)
    }

    /// The target works, and somebody should look at it.
    pub fn warning(summary: impl Into<String>) -> Self {
        Self::new(Status::Warning, summary)
    }

    /// The target is broken, or does not answer.
    pub fn critical(summary: impl Into<String>) -> Self {
        Self::new(Status::Critical, summary)
    }

    /// The check was carried out and cannot tell.
    pub fn unknown(summary: impl Into<String>) -> Self {
        Self::new(Status::Unknown, summary)
    }
}

impl Fault {
    /// A fault with a code of the open set.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into() }
    }

    /// The operator's settings cannot be used as they are.
    pub fn settings(message: impl Into<String>) -> Self {
        Self::new("settings", message)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for Fault {}

impl From<types::Fault> for Fault {
    fn from(fault: types::Fault) -> Self {
        Self { code: fault.code, message: fault.message }
    }
}

impl From<Fault> for exported::Fault {
    fn from(fault: Fault) -> Self {
        Self { code: fault.code, message: fault.message }
    }
}

impl From<Outcome> for exported::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self { status: outcome.status.into(), summary: outcome.summary }
    }
}

impl From<Status> for types::Status {
    fn from(status: Status) -> Self {
        match status {
            Status::Ok => Self::Ok,
            Status::Warning => Self::Warning,
            Status::Critical => Self::Critical,
            Status::Unknown => Self::Unknown,
        }
    }
}

impl From<types::Status> for Status {
    fn from(status: types::Status) -> Self {
        match status {
            types::Status::Ok => Self::Ok,
            types::Status::Warning => Self::Warning,
            types::Status::Critical => Self::Critical,
            types::Status::Unknown => Self::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Status::{Critical, Ok, Unknown, Warning};

    #[test]
    fn the_worst_of_two() {
        for (a, b, worst) in [
            (Ok, Ok, Ok),
            (Ok, Unknown, Unknown),
            (Unknown, Warning, Warning),
            (Warning, Critical, Critical),
            (Unknown, Critical, Critical),
        ] {
            assert_eq!(a.worst(b), worst);
            assert_eq!(b.worst(a), worst);
        }
    }
}
