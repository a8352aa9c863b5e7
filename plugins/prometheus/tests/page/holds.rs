//! What holds for any page of metrics.

use roundsman_sdk::exposition::{Sample, quantile, samples};

/// Tells whether there was a sample on it.
pub(crate) fn any_page(page: &str) -> bool {
    let mut buckets = Vec::new();
    let mut found = false;
    for sample in samples(page) {
        examine(&sample);
        if let Some(Ok(bound)) = sample.label("le").map(str::parse::<f64>) {
            buckets.push((bound, sample.value));
        }
        found = true;
    }
    for q in [0.0, 0.5, 0.99, 1.0, 2.0, -1.0] {
        let greatest = buckets.iter().map(|(bound, _)| *bound).filter(|bound| bound.is_finite()).fold(0.0, f64::max);
        let value = quantile(q, &buckets);
        assert!(value.is_none_or(|value| value <= greatest * 1.000_001), "{q} of {buckets:?} is {value:?}");
    }
    found
}

/// Written again, it is read as the same.
fn examine(sample: &Sample<'_>) {
    let is_name = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b':'))
            && bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'))
    };
    assert!(is_name(sample.name) && sample.labels.iter().all(|(name, _)| is_name(name)), "{sample:?}");
    let escaped = |value: &str| value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> = sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    let written = format!("{}{{{}}} {}", sample.name, labels.join(", "), sample.value);
    let again: Vec<_> = samples(&written).collect();
    let [again] = again.as_slice() else { unreachable!("{written} is {again:?}") };
    let same = again.value.to_bits() == sample.value.to_bits() || again.value.is_nan() && sample.value.is_nan();
    assert!(same && again.name == sample.name && again.labels == sample.labels, "{written} is {again:?}");
}
