//! Bounds by example, bounds that are written and read again, and verdicts.

use proptest::prelude::*;

use super::*;

#[test]
fn bounds() {
    for (text, canonical, bad, good) in [
        ("> 300", "> 300", &[300.1, 1e9][..], &[300.0, -1.0][..]),
        (">300", "> 300", &[301.0], &[300.0]),
        ("  >=   3e2 ", ">= 300", &[300.0, 301.0], &[299.9]),
        ("< 0.5", "< 0.5", &[0.4, -9.0], &[0.5, 1.0]),
        ("<=0", "<= 0", &[0.0, -1.0], &[0.1]),
        ("== 3", "== 3", &[3.0], &[2.9, 3.1]),
        ("!= 200", "!= 200", &[199.0, 201.0], &[200.0]),
        ("> -1.5e-7", "> -1.5e-7", &[0.0], &[-1.0]),
        ("== -0", "== 0", &[0.0, -0.0], &[0.1]),
        ("> 1e300", "> 1e300", &[2e300], &[1e300]),
        ("10", "10", &[-0.1, 10.1], &[0.0, 5.0, 10.0]),
        ("+10", "10", &[-0.1, 10.1], &[0.0, 10.0]),
        ("0", "0", &[-0.1, 0.1], &[0.0]),
        ("0:10", "10", &[-0.1, 10.1], &[0.0, 10.0]),
        ("10:", "10:", &[9.9, -20.0], &[10.0, 1e300]),
        ("0:", "0:", &[-0.1], &[0.0, 9.0]),
        ("~:10", "~:10", &[10.1], &[10.0, -1e300]),
        ("~:0", "~:0", &[0.1], &[0.0, -3.0]),
        ("10:20", "10:20", &[9.9, 20.1], &[10.0, 20.0]),
        ("-20:-10", "-20:-10", &[-20.1, -9.9], &[-20.0, -10.0]),
        ("7:7", "7:7", &[6.9, 7.1], &[7.0]),
        ("@10:20", "@10:20", &[10.0, 15.0, 20.0], &[9.9, 20.1]),
        ("@10", "@10", &[0.0, 10.0], &[-0.1, 10.1]),
        ("@10:", "@10:", &[10.0, 11.0], &[9.9]),
        ("@~:10", "@~:10", &[10.0, -9.0], &[10.1]),
    ] {
        let bound = Bound::parse(text).unwrap();
        assert_eq!(bound.to_string(), canonical);
        assert!(bad.iter().all(|value| bound.is_bad(*value)), "{text}");
        assert!(!good.iter().any(|value| bound.is_bad(*value)), "{text}");
        assert!(bound.is_bad(f64::NAN), "{text}");
    }
}

#[test]
fn what_is_no_bound() {
    for (text, reason) in [
        ("", "a number is missing"),
        (">", "a number is missing"),
        ("> ", "a number is missing"),
        ("@", "a number is missing"),
        (":", "a number is missing"),
        (":10", "a number is missing"),
        ("~", "`~` is not a number (units are not written)"),
        ("> 300ms", "`300ms` is not a number (units are not written)"),
        ("= 3", "`= 3` is not a number (units are not written)"),
        ("=> 3", "`=> 3` is not a number (units are not written)"),
        ("> > 3", "`> 3` is not a number (units are not written)"),
        ("> 1_000", "`1_000` is not a number (units are not written)"),
        ("> 1,5", "`1,5` is not a number (units are not written)"),
        ("> nan", "`nan` is not a number (units are not written)"),
        ("< inf", "`inf` is not a number (units are not written)"),
        ("infinity:", "`infinity` is not a number (units are not written)"),
        ("> 1e", "`1e` is not a number (units are not written)"),
        ("1:2:3", "`2:3` is not a number (units are not written)"),
        ("10: 20", "` 20` is not a number (units are not written)"),
        ("> 1e999", "`1e999` is too large"),
        ("~:", "it has no end, so that all values are alike"),
        ("@~:", "it has no end, so that all values are alike"),
        ("20:10", "it begins at 20 and ends before that, at 10"),
        ("-5", "it begins at 0 and ends before that, at -5"),
    ] {
        let error = Bound::parse(text).unwrap_err();
        assert_eq!(error.reason, reason, "{text}");
        let said = error.to_string();
        let forms = ["> 300", ">= 300", "< 5", "<= 5", "== 3", "!= 200", "10", "10:", "~:10", "10:20", "@10:20"];
        for form in forms {
            assert!(said.contains(&format!("`{form}`")), "{said}");
            assert!(Bound::parse(form).is_ok());
        }
    }
}

fn bound() -> impl Strategy<Value = Bound> {
    let number =
        || prop_oneof![any::<f64>(), (-100_i32..100).prop_map(f64::from)].prop_filter("finite", |n| n.is_finite());
    let comparison = (0..COMPARISONS.len(), number()).prop_map(|(n, number)| COMPARISONS[n].1(number + 0.0));
    let range = (number(), number(), 0..3, any::<bool>()).prop_map(|(one, other, open, inside)| {
        let from = if open == 1 { f64::NEG_INFINITY } else { one.min(other) + 0.0 };
        let to = if open == 2 { f64::INFINITY } else { one.max(other) + 0.0 };
        if inside { Rule::Inside(from, to) } else { Rule::Outside(from, to) }
    });
    prop_oneof![comparison, range].prop_map(Bound)
}

proptest! {
    #[test]
    fn written_and_read(bound in bound(), value in any::<f64>()) {
        let text = bound.to_string();
        let again = Bound::parse(&text).unwrap();
        prop_assert_eq!(again, bound, "{}", text);
        prop_assert_eq!(again.is_bad(value), bound.is_bad(value));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+@~:<>=!. 0-9einf]{0,12}") {
        if let Ok(bound) = Bound::parse(&text) {
            prop_assert_eq!(Bound::parse(&bound.to_string()), Ok(bound));
        }
    }
}

/// From `series.field`, `warning` and `critical`; empty: none.
fn threshold(field: &str, warning: &str, critical: &str) -> Threshold {
    let (series, field) = field.split_once('.').unwrap();
    let bound = |text: &str| (!text.is_empty()).then(|| Bound::parse(text).unwrap());
    Threshold { series: series.into(), field: field.into(), warning: bound(warning), critical: bound(critical) }
}

fn point(series: &str, tags: &[(&str, &str)], field: &str, value: Value) -> Point {
    let tags = tags.iter().map(|(tag, value)| ((*tag).into(), (*value).into())).collect();
    Point { series: series.into(), tags, fields: vec![("other".into(), Value::Real(1e9)), (field.into(), value)] }
}

#[test]
fn verdicts() {
    let disk = |mount: &str, percent: f64| point("disk", &[("mount", mount)], "used_percent", Value::Real(percent));
    let http = |ms: f64| point("http", &[], "total_ms", Value::Real(ms));
    let full = || threshold("disk.used_percent", "> 80", "> 95");
    let slow = || threshold("http.total_ms", "> 300", "> 1000");
    let deep = |value: Value| vec![point("q", &[("a", "1"), ("b", "2")], "n", value)];
    for (thresholds, points, expected) in [
        (vec![], vec![http(350.0)], None),
        (vec![slow()], vec![], None),
        (vec![slow()], vec![http(300.0)], None),
        (vec![slow()], vec![point("https", &[], "total_ms", Value::Real(9e9))], None),
        (vec![slow()], vec![point("http", &[], "total", Value::Real(9e9))], None),
        (vec![slow()], vec![http(350.0)], Some((1, "http.total_ms is 350: warning at > 300"))),
        (vec![slow()], vec![http(1000.5)], Some((2, "http.total_ms is 1000.5: critical at > 1000"))),
        (
            vec![full()],
            vec![disk("/a", 85.0), disk("/", 97.0), disk("/b", 99.0), disk("/c", 10.0)],
            Some((2, "disk.used_percent{mount=/} is 97: critical at > 95")),
        ),
        (
            vec![full()],
            vec![disk("/a", 85.0), disk("/b", 90.0)],
            Some((1, "disk.used_percent{mount=/a} is 85: warning at > 80")),
        ),
        (
            vec![slow(), full(), threshold("http.total_ms", "> 1", ""), threshold("http.total_ms", "> 1e9", "")],
            vec![disk("/", 97.0), http(350.0)],
            Some((2, "disk.used_percent{mount=/} is 97: critical at > 95 (and 2 more)")),
        ),
        (
            vec![threshold("q.n", "10:20", "")],
            deep(Value::Integer(9)),
            Some((1, "q.n{a=1,b=2} is 9: warning outside 10:20")),
        ),
        (vec![threshold("q.n", "", "@10:20")], deep(Value::Integer(i64::MAX)), None),
        (
            vec![threshold("q.n", "", "@10:")],
            deep(Value::Integer(i64::MAX)),
            Some((2, "q.n{a=1,b=2} is 9223372036854775807: critical inside @10:")),
        ),
        (
            vec![threshold("q.n", "", "== 0")],
            deep(Value::Boolean(false)),
            Some((2, "q.n{a=1,b=2} is 0: critical at == 0")),
        ),
        (vec![threshold("q.n", "", "== 0")], deep(Value::Boolean(true)), None),
        (vec![threshold("q.n", "", "== 0")], deep(Value::Text("0".into())), None),
        (
            vec![threshold("q.n", "< 0", "")],
            deep(Value::Real(f64::NAN)),
            Some((1, "q.n{a=1,b=2} is NaN: warning at < 0")),
        ),
    ] {
        let verdict = judge(&thresholds, &points);
        let verdict = verdict.as_ref().map(|verdict| (verdict.status as i64, &*verdict.why));
        assert_eq!(verdict, expected);
    }
}

#[test]
fn long_tags_are_cut() {
    let mount = "x".repeat(500);
    let points = [point("disk", &[("mount", &mount)], "used", Value::Real(1.0))];
    let why = judge(&[threshold("disk.used", "> 0", "")], &points).unwrap().why;
    assert!(why.len() < 120 && why.contains("…} is 1: "), "{why}");
}

/// The obvious model: everything that is out of bounds, sorted.
fn model(thresholds: &[Threshold], points: &[Point]) -> Option<(Status, usize)> {
    let mut found = Vec::new();
    for (n, threshold) in thresholds.iter().enumerate() {
        for point in points.iter().filter(|point| point.series == threshold.series) {
            for (_, value) in point.fields.iter().filter(|(field, _)| *field == threshold.field) {
                let Value::Real(value) = value else { unreachable!() };
                let bad = |bound: Option<Bound>| bound.is_some_and(|bound| bound.is_bad(*value));
                found.extend(bad(threshold.critical).then_some((Status::Critical, n)));
                found.extend(bad(threshold.warning).then_some((Status::Warning, n)));
            }
        }
    }
    let mut which: Vec<usize> = found.iter().map(|(_, n)| *n).collect();
    which.sort_unstable();
    which.dedup();
    found.into_iter().map(|(status, _)| status).max().map(|status| (status, which.len()))
}

proptest! {
    #[test]
    fn as_the_obvious_model(
        bounds in prop::collection::vec((0..3, prop::option::of(-5..5), prop::option::of(-5..5)), 0..6),
        values in prop::collection::vec((0..3, -6_i32..6), 0..12),
    ) {
        let text = |bound: Option<i32>| bound.map_or(String::new(), |bound| format!("> {bound}"));
        let thresholds: Vec<Threshold> = bounds
            .into_iter()
            .map(|(field, warning, critical)| threshold(&format!("s.f{field}"), &text(warning), &text(critical)))
            .collect();
        let points: Vec<Point> = values
            .into_iter()
            .map(|(field, value)| point("s", &[], &format!("f{field}"), Value::Real(value.into())))
            .collect();
        let verdict = judge(&thresholds, &points);
        let expected = model(&thresholds, &points);
        prop_assert_eq!(verdict.as_ref().map(|verdict| verdict.status), expected.map(|(status, _)| status));
        if let (Some(verdict), Some((_, exceeded))) = (verdict, expected) {
            let more = format!(" (and {} more)", exceeded - 1);
            prop_assert_eq!(verdict.why.ends_with(&more), exceeded > 1);
            prop_assert_eq!(verdict.why.contains("more"), exceeded > 1);
        }
    }
}
