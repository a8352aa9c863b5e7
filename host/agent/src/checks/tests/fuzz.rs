//! Texts that nobody meant: the parser says what is wrong, and never more than that.

use proptest::prelude::*;

use crate::checks::holds::any_checks;
use crate::checks::schema_tests::VALID;
use crate::corpus::try_each;

#[test]
fn of_the_corpus() {
    try_each("checks", any_checks);
}

const KEYS: &str = "(name|plugin|interval|cron|ttl|at|timezone|timeout|initialDelay|retryInterval|jitter|catchUp|catchUpDeadline|\
                    targets|target|settings|thresholds|labels|limits|allow|dependsOn|maintenance|negate|shadow|placement|owner)";

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        any_checks(&bytes);
    }

    #[test]
    fn arbitrary_values_of_known_keys(key in KEYS, value in "[-a-z0-9{}\\[\\]:,.*/ \"'$%&é<>~@|!]{0,60}") {
        let text = format!("defaults: {{{key}: 1}}\nchecks:\n  - name: a\n    plugin: p\n    {key}: {value}\n");
        any_checks(text.as_bytes());
    }

    #[test]
    fn valid_files_with_a_slip(which in 0..VALID.len(), at in any::<prop::sample::Index>(), slip in slip()) {
        let mut text: Vec<char> = format!("checks: [{{name: a, {}}}]\n", VALID[which]).chars().collect();
        let at = at.index(text.len());
        match slip {
            Slip::Leave => drop(text.remove(at)),
            Slip::Write(c) => text.insert(at, c),
            Slip::Replace(c) => text[at] = c,
            Slip::Cut => text.truncate(at),
        }
        any_checks(text.iter().collect::<String>().as_bytes());
    }
}

#[derive(Debug, Clone, Copy)]
enum Slip {
    Leave,
    Write(char),
    Replace(char),
    Cut,
}

fn slip() -> impl Strategy<Value = Slip> {
    let letter = || "[-a-z0-9{}\\[\\]:,.*/ \"'$%&é<>~@|!#\n]".prop_map(|text| text.chars().next().unwrap_or(' '));
    prop_oneof![Just(Slip::Leave), letter().prop_map(Slip::Write), letter().prop_map(Slip::Replace), Just(Slip::Cut)]
}
