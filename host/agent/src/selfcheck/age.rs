//! How long the oldest row that a destination has not taken has been waiting, without asking the disk.
//!
//! Marks say how many rows there were at which look. What was committed up to a mark is older than the mark; so the first
//! mark that is not delivered tells the age, short by less than the distance between two marks.

use std::collections::VecDeque;
use std::time::Duration;

/// One mark for each look, while somebody is behind: 20 minutes at one in 10 s. Beyond that every second one goes, so
/// that a destination may be behind for ever, known less and less exactly.
const MAX_MARKS: usize = 128;

/// How many rows had been committed when.
#[derive(Debug, Default)]
pub(super) struct Marks(VecDeque<Mark>);

#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Duration,
    committed: u64,
}

impl Marks {
    /// A look. What the destination that is furthest behind, by `behind` rows, has taken needs no mark any longer.
    pub(super) fn note(&mut self, at: Duration, committed: u64, behind: u64) {
        self.0.push_back(Mark { at, committed });
        while self.0.front().is_some_and(|mark| is_delivered(*mark, committed, behind)) {
            self.0.pop_front();
        }
        if self.0.len() > MAX_MARKS {
            let mut at = 0;
            // The first one stays: it is the one that tells the age of the oldest.
            self.0.retain(|_| (at % 2 == 0, at += 1).0);
        }
    }

    /// The age of the oldest of `behind` rows, at a look that was noted.
    pub(super) fn age(&self, at: Duration, committed: u64, behind: u64) -> Duration {
        let first = self.0.iter().find(|mark| !is_delivered(**mark, committed, behind));
        first.map_or(Duration::ZERO, |mark| at.saturating_sub(mark.at))
    }
}

/// Rows of an earlier life are not among those committed: more of them may wait than there are.
fn is_delivered(mark: Mark, committed: u64, behind: u64) -> bool {
    mark.committed.saturating_add(behind) <= committed
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Looks at 0 s, 10 s, … with (committed, behind); the age in seconds at each.
    fn ages(looks: &[(u64, u64)]) -> Vec<u64> {
        let mut marks = Marks::default();
        let each = |(n, (committed, behind)): (usize, &(u64, u64))| {
            let at = Duration::from_secs(n as u64 * 10);
            marks.note(at, *committed, *behind);
            marks.age(at, *committed, *behind).as_secs()
        };
        looks.iter().enumerate().map(each).collect()
    }

    #[test]
    fn tables() {
        for (looks, expected) in [
            (vec![(0, 0), (10, 0), (20, 0)], vec![0, 0, 0]),
            // A batch on its way is young.
            (vec![(0, 0), (10, 5), (20, 5), (30, 5)], vec![0, 0, 0, 0]),
            // Nothing goes out.
            (vec![(10, 0), (20, 10), (30, 20), (40, 30)], vec![0, 0, 10, 20]),
            // It catches up bit by bit, then wholly.
            (vec![(10, 10), (20, 20), (30, 25), (40, 15), (40, 0)], vec![0, 10, 20, 10, 0]),
            // A backlog of an earlier life is as old as this one.
            (vec![(0, 1000), (10, 1010), (20, 500), (30, 20)], vec![0, 10, 20, 10]),
        ] {
            assert_eq!(ages(&looks), expected, "{looks:?}");
        }
    }

    #[test]
    fn marks_are_bounded_and_the_age_goes_on() {
        let mut marks = Marks::default();
        for n in 0..100_000_u64 {
            let at = Duration::from_secs(n * 10);
            marks.note(at, n + 1, n + 1);
            assert_eq!(marks.age(at, n + 1, n + 1), at);
            assert!(marks.0.len() <= MAX_MARKS);
        }
    }

    proptest! {
        /// The slow and obvious model remembers when every row was committed.
        #[test]
        fn as_the_obvious_model(steps in prop::collection::vec((0_u64..5, 0_u64..8), 1..100)) {
            let (mut marks, mut waiting, mut committed) = (Marks::default(), VecDeque::new(), 0);
            for (n, (more, sent)) in steps.into_iter().enumerate() {
                let now = n as u64 * 10;
                committed += more;
                waiting.extend((0..more).map(|_| now));
                waiting.drain(..waiting.len().min(sent as usize));
                let (at, behind) = (Duration::from_secs(now), waiting.len() as u64);
                marks.note(at, committed, behind);
                let exact = waiting.front().map_or(0, |since| now - since);
                prop_assert_eq!(marks.age(at, committed, behind).as_secs(), exact);
            }
        }
    }
}
