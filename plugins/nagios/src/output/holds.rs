//! What holds for anything that a program prints.

use std::fmt::Write;

use super::{MAX_METRICS, Metric, Output};

/// Tells whether there was a metric in it.
pub(crate) fn any_output(printed: &str) -> bool {
    let output = Output::read(printed);
    assert!(output.metrics.len() <= MAX_METRICS);
    assert!(output.long.iter().chain([&output.text]).all(|line| !line.contains('\n')), "{output:?}");
    for metric in &output.metrics {
        examine(metric);
    }
    !output.metrics.is_empty()
}

/// Its numbers are numbers, and written again it is read as the same.
fn examine(metric: &Metric) {
    let Metric { label, value, unit, warning, critical, min, max } = metric;
    let ends = [warning, critical].into_iter().flatten().flat_map(|range| [range.low, range.high]);
    let mut numbers = [*value, *min, *max].into_iter().chain(ends).flatten();
    assert!(numbers.all(f64::is_finite), "{metric:?}");
    for range in [warning, critical].into_iter().flatten() {
        assert!(range.low.zip(range.high).is_none_or(|(low, high)| low <= high), "{metric:?}");
    }
    // A unit that looks like the end of a number cannot be written behind another number.
    if !unit.chars().all(|c| c.is_ascii_alphabetic() || c == '%') || unit.starts_with(['e', 'E', 'U']) {
        return;
    }
    // Units of another size would be changed once more.
    if !["", "s", "B", "%", "c"].contains(&unit.as_str()) {
        return;
    }
    let value = value.map_or_else(|| "U".to_owned(), |value| value.to_string());
    let mut written = format!("|'{}'={value}{unit}", label.replace('\'', "''"));
    for range in [warning, critical] {
        write!(written, ";{}", range.as_ref().map(ToString::to_string).unwrap_or_default())
            .expect("a string takes all");
    }
    for number in [min, max] {
        write!(written, ";{}", number.map(|number| number.to_string()).unwrap_or_default())
            .expect("a string takes all");
    }
    let again = Output::read(&written);
    assert_eq!(again.metrics.as_slice(), std::slice::from_ref(metric), "{written}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_the_corpus() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/output");
        let (mut taken, mut refused) = (0, 0);
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            // Shown only if something does not hold.
            eprintln!("{}", path.display());
            let bytes = std::fs::read(path).unwrap();
            *(if any_output(&String::from_utf8_lossy(&bytes)) { &mut taken } else { &mut refused }) += 1;
            // And cut short anywhere.
            for end in 0..bytes.len().min(600) {
                let bytes = &bytes[..end];
                any_output(&String::from_utf8_lossy(bytes));
            }
        }
        assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    }

    const NUMBER: &str = "(~|@|:|-|\\+|,|\\.|U|nan|inf|e|E|[0-9]{1,3}|e[0-9]{1,3}|@?[0-9]{1,2}:[0-9]{0,3}){0,4}";

    proptest! {
        #[test]
        fn any_text(text in "\\PC{0,80}", lines in "[a-c|='; \n0-9:~@]{0,60}") {
            any_output(&text);
            any_output(&lines);
        }

        #[test]
        fn nearly_metrics(pieces in prop::collection::vec(("('[a= ']{0,6}'|[a'=]{1,4})", prop::collection::vec(NUMBER, 0..6), "(s|us|ms|%|B|KB|MB|TB|c|x)?"), 1..4)) {
            let pieces = pieces.iter().map(|(label, numbers, unit)| {
                let (first, rest) = numbers.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
                [vec![format!("{label}={first}{unit}")], rest.to_vec()].concat().join(";")
            });
            any_output(&format!("text | {}", pieces.collect::<Vec<_>>().join(" ")));
        }
    }
}
