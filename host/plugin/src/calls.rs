//! The calls of one run to the host that took the network or could hang: they explain a failure afterwards.

use std::time::Duration;

use roundsman_model::record::Call;
use tokio::time::Instant;

use crate::gather::clean;

/// Calls of a run that are kept. A check asks one or two peers; of one that asks hundreds, the first few and the last tell enough.
pub(crate) const MAX_CALLS: usize = 16;
/// What was called: a method and a URL, of which the beginning says where it went.
const MAX_WHAT: usize = 256;
/// What came of it: a reason with its causes.
const MAX_RESULT: usize = 512;

/// A call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallId(u32);

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Came {
    pub(crate) result: String,
    pub(crate) failed: bool,
    pub(crate) phases: Vec<(String, u64)>,
}

/// Calls so far, in the order in which they began: the oldest, and in the last place the newest.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    kept: Vec<Entry>,
    begun: u32,
}

#[derive(Debug)]
struct Entry {
    id: CallId,
    /// The handle of the socket that it is about.
    socket: Option<u32>,
    what: String,
    begun: Instant,
    came: Option<(Came, Duration)>,
}

impl Came {
    /// It went well.
    pub(crate) fn well(result: impl Into<String>) -> Self {
        Self { result: result.into(), failed: false, phases: Vec::new() }
    }

    /// It did not.
    pub(crate) fn to_nothing(result: impl Into<String>) -> Self {
        Self { failed: true, ..Self::well(result) }
    }
}

impl Calls {
    /// A call begins. When there are too many, it takes the place of the last one that went well.
    pub(crate) fn begin(&mut self, now: Instant, what: &str, socket: Option<u32>) -> CallId {
        let id = CallId(self.begun);
        self.begun = self.begun.wrapping_add(1);
        if self.kept.len() == MAX_CALLS {
            let went_well = |entry: &Entry| entry.came.as_ref().is_some_and(|(came, _)| !came.failed);
            self.kept.remove(self.kept.iter().rposition(went_well).unwrap_or(MAX_CALLS - 1));
        }
        self.kept.push(Entry { id, socket, what: clean(what, MAX_WHAT), begun: now, came: None });
        id
    }

    /// A call ends, if it is still kept.
    pub(crate) fn end(&mut self, now: Instant, id: CallId, came: Came) {
        if let Some(entry) = self.kept.iter_mut().rev().find(|entry| entry.id == id) {
            entry.came = Some((came, now.saturating_duration_since(entry.begun)));
        }
    }

    /// The call under way that is about a socket.
    pub(crate) fn about(&self, socket: u32) -> Option<CallId> {
        let open = |entry: &&Entry| entry.came.is_none() && entry.socket == Some(socket);
        self.kept.iter().rev().find(open).map(|entry| entry.id)
    }

    /// Whether any call is under way.
    pub(crate) fn any_open(&self) -> bool {
        self.kept.iter().any(|entry| entry.came.is_none())
    }

    /// All of them at the end of a run, which ends also what is under way.
    pub(crate) fn into_story(self, now: Instant) -> Vec<Call> {
        let call = |entry: Entry| {
            let (came, took) = entry.came.unwrap_or_else(|| {
                (Came::to_nothing("no answer when the run ended"), now.saturating_duration_since(entry.begun))
            });
            let duration_ns = nanoseconds(took);
            Call { what: entry.what, result: clean(&came.result, MAX_RESULT), phases: came.phases, duration_ns }
        };
        self.kept.into_iter().map(call).collect()
    }
}

/// As the record has it.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(calls: Calls, now: Instant) -> Vec<(String, String)> {
        calls.into_story(now).into_iter().map(|call| (call.what, call.result)).collect()
    }

    #[test]
    fn what_ended_and_what_did_not() {
        let now = Instant::now();
        let mut calls = Calls::default();
        let one = calls.begin(now, "GET http://a/", None);
        let two = calls.begin(now, "connect 10.0.0.7:1\n\u{1b}[31m", Some(3));
        assert!(calls.any_open());
        assert_eq!((calls.about(3), calls.about(4)), (Some(two), None));
        calls.end(now + Duration::from_millis(2), one, Came::well("200"));
        calls.end(now, CallId(77), Came::well("never begun"));
        let story = calls.into_story(now + Duration::from_secs(1));
        let seen: Vec<_> = story.iter().map(|c| (c.what.as_str(), c.result.as_str(), c.duration_ns)).collect();
        let expected = [
            ("GET http://a/", "200", 2_000_000),
            ("connect 10.0.0.7:1 [31m", "no answer when the run ended", 1_000_000_000),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_oldest_stay_with_failures_and_the_newest() {
        let now = Instant::now();
        let mut calls = Calls::default();
        for n in 0..100 {
            let id = calls.begin(now, &n.to_string(), None);
            calls.end(now, id, if n == 50 { Came::to_nothing("refused") } else { Came::well("200") });
        }
        calls.begin(now, "the last", None);
        let kept: Vec<_> = names(calls, now).into_iter().map(|(what, _)| what).collect();
        let oldest = (0..MAX_CALLS - 2).map(|n| n.to_string());
        assert_eq!(kept, oldest.chain(["50".to_owned(), "the last".to_owned()]).collect::<Vec<_>>());
    }

    #[test]
    fn failures_alone_are_bounded_too() {
        let now = Instant::now();
        let mut calls = Calls::default();
        for n in 0..100 {
            let id = calls.begin(now, &n.to_string(), None);
            calls.end(now, id, Came::to_nothing("x".repeat(5000)));
        }
        let kept = names(calls, now);
        assert_eq!((kept.len(), kept[MAX_CALLS - 1].0.as_str()), (MAX_CALLS, "99"));
        assert!(kept.iter().all(|(_, result)| result.len() == MAX_RESULT));
    }
}
