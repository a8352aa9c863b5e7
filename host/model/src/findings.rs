//! The standings of findings: a check that looks at many things at once has a state for each of them, by subject.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::record::{Blame, Finding, Status};
use crate::state::{Change, Confirm, Standing, State};
use crate::time::Timestamp;

/// What is said of a subject of which the run says nothing.
const NOT_REPORTED: &str = "no longer reported";

/// Where each subject of a (check, target) stands.
pub type Findings = BTreeMap<Arc<str>, Standing>;

/// What became of one subject.
#[derive(Debug, Clone, PartialEq)]
pub struct FindingChange {
    pub subject: Arc<str>,
    /// None: it was ok and is no longer reported; it is forgotten.
    pub standing: Option<Standing>,
    /// The hard change, if it is one.
    pub change: Option<Change>,
    pub summary: Arc<str>,
}

/// Status and summary of a subject. None: the run says nothing of it.
type Said<'a> = Option<(Status, &'a str)>;

/// What a run that could be carried out makes of the subjects: only what differs, by subject. A subject that is no
/// longer reported counts as ok, and is forgotten once that is confirmed. Where one is reported twice, the worst counts.
pub fn apply(known: &mut Findings, reported: &[Finding], confirm: Confirm, at: Timestamp) -> Vec<FindingChange> {
    let mut subjects: BTreeMap<Arc<str>, Said<'_>> = known.keys().map(|subject| (subject.clone(), None)).collect();
    for Finding { subject, status, summary } in reported {
        let said = match subjects.get_mut(subject.as_str()) {
            Some(said) => said,
            None => subjects.entry(subject.as_str().into()).or_default(),
        };
        if said.is_none_or(|(worst, _)| status.severity() > worst.severity()) {
            *said = Some((*status, summary));
        }
    }
    subjects.into_iter().filter_map(|(subject, said)| turn(known, subject, said, confirm, at)).collect()
}

/// What becomes of one subject. None: nothing.
fn turn(
    known: &mut Findings,
    subject: Arc<str>,
    said: Said<'_>,
    confirm: Confirm,
    at: Timestamp,
) -> Option<FindingChange> {
    let before = known.get(&subject).copied();
    let (status, summary) = said.unwrap_or((Status::Ok, NOT_REPORTED));
    let from = before.unwrap_or_else(|| Standing::pending(at));
    let (after, change) = from.apply(status, Blame::Target, confirm, at);
    let standing = (said.is_some() || after.state != State::Ok).then_some(after);
    match standing {
        None => known.remove(&subject),
        Some(_) if before == standing => return None,
        Some(after) => known.insert(subject.clone(), after),
    };
    Some(FindingChange { subject, standing, change, summary: summary.into() })
}

#[cfg(test)]
mod tests;
