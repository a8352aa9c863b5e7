//! Attacks on whoever reads what a plugin says of itself, and on what no single call shows: tables that grow, JSON without
//! end, bytes that are nearly a plugin.

use roundsman_model::record::Blame;

use crate::support::component::Parts;
use crate::support::{Run, guest};
use crate::{assert_unknown, bench};

#[test]
fn descriptions_without_end() {
    let bench = bench();
    let claims = |bytes: u32| {
        format!(
            "(i32.store (i32.const 16) (i32.const 0)) (i32.store (i32.const 20) (i32.const {bytes})) (return (i32.const 16))"
        )
    };
    let deep = format!(r#"{{"version": "1", "summary": "s", "settings": {}"#, "[".repeat(100_000));
    let nested = format!(r#"{{"a": {}"#, r#"{"a": "#.repeat(30_000));
    let wide =
        format!(r#"{{"version": "1", "summary": "s", "settings": {{}}, "example": "{}"}}"#, "x".repeat(300 << 10));
    let series: String = (0..100).map(|n| format!(r#"{{"name": "s{n}", "fields": []}},"#)).collect();
    let series = format!(
        r#"{{"version": "1", "summary": "s", "settings": {{}}, "series": [{}]}}"#,
        series.trim_end_matches(',')
    );
    for (what, parts, says) in [
        (
            "30 MB",
            Parts { describe: &claims(30_000_000), memory: "480", ..Parts::default() },
            "handed over more than 1 MiB in one call",
        ),
        (
            "100 MB",
            Parts { describe: &claims(100 << 20), memory: "480", ..Parts::default() },
            "its `describe` failed: ",
        ),
        ("more than there is", Parts { describe: &claims(u32::MAX), ..Parts::default() }, "its `describe` failed: "),
        ("a long example", Parts { description: &wide, memory: "8", ..Parts::default() }, "at most 262144 are read"),
        ("deep lists", Parts { description: &deep, memory: "8", ..Parts::default() }, "recursion limit exceeded"),
        ("deep objects", Parts { description: &nested, memory: "8", ..Parts::default() }, "`describe` did not return"),
        (
            "a hundred series",
            Parts { description: &series, memory: "2", ..Parts::default() },
            "declares 100 series; at most 64 are possible",
        ),
    ] {
        let why = bench.refused(&parts.bytes());
        assert!(why.contains(says), "{what}: {why}");
    }
}

/// A table that grows as long as it may; the guest takes no for an answer and goes on, without having got more.
#[test]
fn tables_that_grow() {
    let bench = bench();
    let grow = "(loop $again (br_if $again (i32.ge_s (table.grow $t (ref.null func) (i32.const 1000)) (i32.const 0))))
        (if (i32.gt_u (table.size $t) (i32.const 20000)) (then (unreachable)))";
    let parts = Parts { more: "(table $t 10 funcref)", run: grow, ..Parts::default() };
    let report = bench.run(&bench.load(&parts.bytes()).unwrap(), &Run::new());
    crate::assert_outcome(&report, roundsman_model::record::Status::Ok, "");
}

/// Settings are JSON of the operator's; a plugin must not be able to make reading them expensive.
#[test]
fn schemas_without_end() {
    let bench = bench();
    for (schema, says) in [
        (r##"{"$ref": "#"}"##, ""),
        (r#"{"$ref": "https://example.com/schema.json"}"#, ""),
        (r#"{"$ref": "file:///etc/passwd"}"#, ""),
        (r#"{"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}}"#, ""),
        (r#"{"pattern": "("}"#, "is not a valid JSON Schema"),
    ] {
        let description = format!(r#"{{"version": "1", "summary": "s", "settings": {schema}}}"#);
        match bench.load(&Parts { description: &description, ..Parts::default() }.bytes()) {
            // It may be a plugin; what its settings are checked by must end, and must not go anywhere.
            Ok(plugin) => {
                let settings = serde_json::json!({"a": "a".repeat(40) + "!"});
                let wrong = bench.runtime.block_on(plugin.validate(&settings));
                assert!(wrong.iter().all(|text| !text.contains("root:")), "{schema}: {wrong:?}");
            }
            Err(error) => {
                let why = crate::support::chain(&error);
                assert!(why.contains(says) && !why.contains("root:"), "{schema}: {why}");
            }
        }
    }
}

/// A plugin with some bytes changed is a plugin or is refused; nothing else may happen. Most do not even parse.
#[test]
fn bytes_that_are_nearly_a_plugin() {
    let bench = bench();
    let whole = Parts::default().bytes();
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: usize| {
        // xorshift64*: the same bytes in every run of the test.
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        usize::try_from(random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
    };
    let (mut refused, mut taken) = (0, 0);
    for _ in 0..400 {
        let mut bytes = whole.clone();
        match next(4) {
            0 => bytes.truncate(next(whole.len())),
            1 => {
                let at = next(whole.len());
                bytes.insert(at, u8::try_from(next(256)).unwrap());
            }
            _ => {
                for _ in 0..=next(4) {
                    let at = next(whole.len());
                    bytes[at] = u8::try_from(next(256)).unwrap();
                }
            }
        }
        match bench.load(&bytes) {
            Ok(plugin) => {
                taken += 1;
                let report =
                    bench.runtime.block_on(plugin.run(Run::new().within(std::time::Duration::from_secs(1)).job()));
                assert!(report.ended >= report.began.unwrap_or(report.ended), "{report:?}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused > 100 && taken > 0, "{refused} refused, {taken} taken");
}

/// Each of them traps where its own code is; none of them takes the next one along.
#[test]
fn traps_in_a_row() {
    let bench = bench();
    let plugin = bench.load(&guest("hostile")).unwrap();
    for n in 0..100 {
        let what = ["trap", "panic", "exit", "recurse"][n % 4];
        assert_unknown(&bench.run(&plugin, &Run::what(what, "x")), Blame::Plugin, "trap", "the plugin broke off");
    }
    let stats = bench.engine.stats();
    assert_eq!(stats.traps.load(std::sync::atomic::Ordering::Relaxed), 100);
}
