//! Flapping: a state that changes too often to alarm anybody each time.
//!
//! Icinga's rule: of the last 20 results, each that differs from the one before it weighs 0.8 + 0.02 · i, where i is 0
//! for the oldest and 19 for the newest; their sum in percent of 20. It begins above 30 % and ends below 25 %. Results that
//! say nothing of the target are not to be counted: whoever has one leaves the value as it is.
//! Source: <https://icinga.com/docs/icinga-2/latest/doc/08-advanced-topics/#check-flapping>, `checkable-flapping.cpp`

use serde::{Deserialize, Serialize};

use crate::record::Status;

/// How many results are looked at.
const SLOTS: u32 = 20;
const SLOTS_MASK: u32 = (1 << SLOTS) - 1;
/// Weights are counted in 0.02, so that they are whole: 40 for the oldest slot, one more for each that is newer.
const OLDEST_WEIGHT: u32 = 40;
/// One percent is 0.2 of 20, that is 10 of these.
const WEIGHT_OF_PERCENT: u32 = 10;
const BEGINS_ABOVE_PERCENT: u32 = 30;
const ENDS_BELOW_PERCENT: u32 = 25;

/// The last results, as far as flapping asks. Serialized as one number, because it is stored with every record: three
/// bits of the last status + 1, one for flapping, then the slots, so that what never changes is a single byte.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub struct Flap {
    /// Bit n: the n-th newest of the last 20 results differed from the one before it.
    changes: u32,
    /// The newest result.
    last: Option<Status>,
    flapping: bool,
}

impl Flap {
    /// What one more result makes of it.
    #[must_use]
    pub fn after(&self, status: Status) -> Self {
        let differs = self.last.is_some_and(|last| last != status);
        let changes = ((self.changes << 1) | u32::from(differs)) & SLOTS_MASK;
        let next = Self { changes, last: Some(status), flapping: self.flapping };
        let flapping = if self.flapping {
            next.weight() >= ENDS_BELOW_PERCENT * WEIGHT_OF_PERCENT
        } else {
            next.weight() > BEGINS_ABOVE_PERCENT * WEIGHT_OF_PERCENT
        };
        Self { flapping, ..next }
    }

    /// Whether it changes too often.
    pub fn is_flapping(&self) -> bool {
        self.flapping
    }

    /// How much it changes: from 0 to 99, which is when each of the last 20 results was a change.
    pub fn percent(&self) -> f64 {
        f64::from(self.weight()) / f64::from(WEIGHT_OF_PERCENT)
    }

    fn weight(&self) -> u32 {
        let newest_first = (0..SLOTS).filter(|slot| self.changes >> slot & 1 == 1);
        newest_first.map(|slot| OLDEST_WEIGHT + (SLOTS - 1 - slot)).sum()
    }
}

impl From<Flap> for u32 {
    fn from(flap: Flap) -> Self {
        let last = flap.last.map_or(0, |status| status as u32 + 1);
        last | u32::from(flap.flapping) << 3 | flap.changes << 4
    }
}

impl From<u32> for Flap {
    fn from(number: u32) -> Self {
        Self {
            changes: number >> 4 & SLOTS_MASK,
            last: Status::from_number(i64::from(number & 7) - 1),
            flapping: number >> 3 & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn status(letter: char) -> Status {
        match letter {
            'o' => Status::Ok,
            'w' => Status::Warning,
            'c' => Status::Critical,
            'u' => Status::Unknown,
            other => panic!("no status: {other}"),
        }
    }

    fn after(results: &str) -> Flap {
        results.chars().fold(Flap::default(), |flap, letter| flap.after(status(letter)))
    }

    #[test]
    fn tables() {
        let calm = "o".repeat(20);
        for (results, percent, flapping) in [
            ("", 0.0, false),
            ("o", 0.0, false),
            ("c", 0.0, false),
            ("cccc", 0.0, false),
            ("oc", 5.9, false),
            ("ow", 5.9, false),
            ("oco", 11.7, false),
            ("ocwuo", 23.0, false),
            ("ococo", 23.0, false),
            ("ococoo", 22.6, false),
            ("ocococ", 28.5, false),
            // Six changes in a row are too many.
            ("ocococo", 33.9, true),
            ("ococococococococococo", 99.0, true),
            ("ocococococococococococococo", 99.0, true),
            // It has to fall below 25 %: 33.9 and then 0.6 less with each result.
            ("ocococoooooooooooooo", 26.1, true),
            ("ocococooooooooooooooo", 25.5, true),
            // The oldest change leaves.
            ("ocococoooooooooooooooo", 21.0, false),
            (&format!("ocococo{calm}"), 0.0, false),
        ] {
            let flap = after(results);
            assert_eq!((flap.percent(), flap.is_flapping()), (percent, flapping), "{results}");
        }
    }

    #[test]
    fn begins_and_ends_beyond_the_bounds() {
        let of = |changes: u32, flapping: bool| Flap { changes, last: Some(Status::Ok), flapping };
        // After one more equal result the slots are these, the newest first.
        let slots = |slots: &[u32]| slots.iter().map(|slot| 1 << slot).sum::<u32>() >> 1;
        for (before, weight, flapping) in [
            (of(slots(&[4, 8, 9, 10, 11, 12]), false), 300, false),
            (of(slots(&[3, 8, 9, 10, 11, 12]), false), 301, true),
            (of(slots(&[7, 8, 9, 10, 11]), true), 250, true),
            (of(slots(&[7, 8, 9, 10, 12]), true), 249, false),
            // The oldest leaves.
            (of(slots(&[7, 8, 9, 10, 11, 20]), true), 250, true),
        ] {
            let after = before.after(Status::Ok);
            assert_eq!((after.weight(), after.is_flapping()), (weight, flapping), "{before:?}");
        }
    }

    #[test]
    fn as_a_number() {
        for (flap, number) in [
            (Flap::default(), 0),
            (after("ooo"), 1),
            (after("uu"), 4),
            (after("oc"), 0b1_0011),
            (Flap { changes: SLOTS_MASK, last: Some(Status::Unknown), flapping: true }, 0xff_fffc),
        ] {
            assert_eq!(serde_json::to_value(flap).unwrap(), number);
            assert_eq!(serde_json::from_value::<Flap>(number.into()).unwrap(), flap);
        }
        assert_eq!(Flap::from(u32::MAX), Flap { changes: SLOTS_MASK, last: None, flapping: true }, "damaged");
    }

    /// Icinga's code: a ring of booleans and an index, and floating point, rounded as far as it is not exact.
    #[derive(Default)]
    struct Icinga {
        buffer: [bool; 20],
        index: usize,
        last: Option<Status>,
        flapping: bool,
        percent: f64,
    }

    impl Icinga {
        fn update(&mut self, status: Status) {
            self.buffer[self.index] = self.last.is_some() && self.last != Some(status);
            self.last = Some(status);
            self.index = (self.index + 1) % 20;
            let mut sum = 0.0;
            for i in 0..20 {
                if self.buffer[(self.index + i) % 20] {
                    sum += 0.8 + 0.02 * i as f64;
                }
            }
            self.percent = (100.0 * sum / 20.0 * 1e6).round() / 1e6;
            self.flapping = if self.flapping { self.percent >= 25.0 } else { self.percent > 30.0 };
        }
    }

    proptest! {
        #[test]
        fn as_the_obvious_model(results in prop::collection::vec((0_i64..4, 1_usize..6), 0..60)) {
            let (mut flap, mut icinga) = (Flap::default(), Icinga::default());
            for (number, times) in results {
                let status = Status::from_number(number).unwrap();
                for _ in 0..times {
                    flap = flap.after(status);
                    icinga.update(status);
                    prop_assert_eq!((flap.percent(), flap.is_flapping()), (icinga.percent, icinga.flapping));
                    prop_assert_eq!(Flap::from(u32::from(flap)), flap);
                }
            }
        }
    }
}
