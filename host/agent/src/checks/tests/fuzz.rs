//! Texts that nobody meant: the parser says what is wrong, and never more than that.

use proptest::prelude::*;

use super::*;
use crate::checks::schema_tests::VALID;

/// Parses; what is accepted can be filled in for every target.
fn survives(text: &[u8]) -> Result<(), TestCaseError> {
    match parse(Path::new("f"), text, &node()) {
        Ok(file) => {
            for configured in &file.checks {
                for key in configured.check.keys() {
                    let target = configured.check.target(key.target.as_ref());
                    prop_assert!(fill::fill_check(&configured.check, target, &node()).is_ok());
                }
                let _place = configured.problem_at("/dependsOn/3", "x");
            }
        }
        Err(problems) => prop_assert!(problems.iter().any(Problem::is_error), "{problems:?}"),
    }
    Ok(())
}

const KEYS: &str = "(name|plugin|interval|cron|ttl|at|timezone|timeout|initialDelay|retryInterval|jitter|catchUp|catchUpDeadline|\
                    targets|target|settings|thresholds|labels|limits|allow|dependsOn|maintenance|negate|shadow|placement|owner)";

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        survives(&bytes)?;
    }

    #[test]
    fn arbitrary_values_of_known_keys(key in KEYS, value in "[-a-z0-9{}\\[\\]:,.*/ \"'$%&é<>~@|!]{0,60}") {
        let text = format!("defaults: {{{key}: 1}}\nchecks:\n  - name: a\n    plugin: p\n    {key}: {value}\n");
        survives(text.as_bytes())?;
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
        survives(text.iter().collect::<String>().as_bytes())?;
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
