//! Pages of metrics as programs, strangers and chance make them, read by the SDK.

#[path = "page/holds.rs"]
mod holds;

use holds::any_page;
use proptest::prelude::*;

#[test]
fn of_the_corpus() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/page");
    let (mut taken, mut refused) = (0, 0);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // Shown only if something does not hold.
        eprintln!("{}", path.display());
        let page = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        *(if any_page(&page) { &mut taken } else { &mut refused }) += 1;
        // And cut short anywhere.
        for end in (0..page.len().min(600)).filter(|end| page.is_char_boundary(*end)) {
            any_page(&page[..end]);
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}

proptest! {
    #[test]
    fn any_text(text in "\\PC{0,80}", lines in "[a{}=\"\\\\,# \n1n.+-]{0,60}") {
        any_page(&text);
        any_page(&lines);
    }

    #[test]
    fn nearly_samples(samples in prop::collection::vec(("[a-c_:0-9]{1,4}", prop::collection::vec(("[a-c _:]{1,3}", "(\\PC|\\\\.){0,6}"), 0..4), "(-?[0-9]{1,3}(e[0-9]{1,3})?|[-+]?Inf|NaN|0x1|)"), 1..5)) {
        let lines = samples.iter().map(|(name, labels, value)| {
            let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
            format!("{name}{{{}}} {value}\n", labels.join(","))
        });
        any_page(&lines.collect::<String>());
    }

    #[test]
    fn histograms(buckets in prop::collection::vec(("(-?[0-9]{1,3}|[-+]Inf|NaN|1e30[0-9])", "(-?[0-9]{1,4}|[-+]?Inf|NaN)"), 0..8)) {
        any_page(&buckets.iter().map(|(le, count)| format!("b{{le=\"{le}\"}} {count}\n")).collect::<String>());
    }
}
