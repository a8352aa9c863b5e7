//! What is no plugin, and what is said of it.

use crate::bench;
use crate::support::component::{DESCRIPTION, Parts};
use crate::support::guest;

#[test]
fn files_that_are_no_components() {
    let bench = bench();
    let whole = Parts::default().bytes();
    let mut damaged = whole.clone();
    let middle = damaged.len() / 2;
    damaged[middle..].fill(0xff);
    let machine_code = std::fs::read_dir(crate::support::target_folder().join("guests/machine-code"));
    drop(bench.load(&whole));
    let machine_code = machine_code
        .unwrap()
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().ends_with(".cwasm"))
        .map_or_else(|| b"\x7fELF".to_vec(), |entry| std::fs::read(entry.path()).unwrap());
    let module = wat::parse_str("(module)").unwrap();
    for (what, bytes, want) in [
        ("empty", &b""[..], "the file is empty"),
        ("text", b"checks:\n", "this is not WebAssembly"),
        ("a few bytes", b"\0as", "this is not WebAssembly"),
        (
            "a program",
            b"\x7fELF\x02\x01\x01",
            "this is a native program (ELF); a plugin is a WebAssembly component: build it with `--target wasm32-wasip2`",
        ),
        (
            "a module",
            &module,
            "this is a core module; a plugin is a component: build it with `--target wasm32-wasip2`, or wrap it by `wasm-tools component new`",
        ),
        (
            "machine code",
            &machine_code,
            "this is machine code (.cwasm), which is never loaded from here; put the component (.wasm) that it was made from",
        ),
        ("the head", &whole[..7], "the file is not a whole, valid component: "),
        ("a half", &whole[..middle], "the file is not a whole, valid component: "),
        ("all but a byte", &whole[..whole.len() - 1], "the file is not a whole, valid component: "),
        ("damaged", &damaged, "the file is not a whole, valid component: "),
    ] {
        let why = bench.refused(bytes);
        if want.ends_with(": ") {
            assert!(why.starts_with(want) && why.contains("offset"), "{what}: {why}");
        } else {
            assert_eq!(why, want, "{what}");
        }
    }
}

#[test]
fn components_that_are_no_plugins() {
    let bench = bench();
    let empty = wat::parse_str("(component)").unwrap();
    let other_world = Parts { export: "roundsman:check/check@7.0.0", ..Parts::default() }.bytes();
    let command = Parts { export: "wasi:cli/run@0.2.0", ..Parts::default() }.bytes();
    let stranger = Parts::default().text().replace(
        "(component",
        r#"(component (import "wasi:http/outgoing-handler@0.2.0" (instance (export "handle" (func))))"#,
    );
    let stranger = wat::parse_str(stranger).unwrap();
    let half = Parts::default().text().replace(r#"(export "run" (func $run))"#, "");
    let half = wat::parse_str(half).unwrap();
    for (what, bytes, want) in [
        ("nothing", &empty, "it does not export `roundsman:check/check@0.1`; it exports nothing"),
        (
            "another version",
            &other_world,
            "it does not export `roundsman:check/check@0.1`; it exports `roundsman:check/check@7.0.0`",
        ),
        ("a command", &command, "it does not export `roundsman:check/check@0.1`; it exports `wasi:cli/run@0.2.0`"),
        ("what is not linked", &stranger, "it imports what this agent does not have: "),
        ("half of it", &half, "its export `roundsman:check/check` does not fit this agent: "),
    ] {
        let why = bench.refused(bytes);
        let fits = if want.ends_with(": ") { why.starts_with(want) } else { why == want };
        assert!(fits, "{what}: {why}");
    }
    let why = bench.refused(&stranger);
    assert!(why.contains("wasi:http/outgoing-handler"), "the way out begins with the name: {why}");
}

#[test]
fn descriptions_that_cannot_be_used() {
    let bench = bench();
    for (parts, want) in [
        (
            Parts { describe: "(unreachable)", ..Parts::default() },
            "its `describe` failed: the plugin broke off: wasm trap: ",
        ),
        (
            Parts { description: "{", ..Parts::default() },
            "`describe` did not return what wit/describe.schema.json asks for: ",
        ),
        (
            Parts { description: r#"{"version": "1", "summary": "s", "settings": {"type": 7}}"#, ..Parts::default() },
            "the settings schema in its `describe` is not a valid JSON Schema: ",
        ),
        (
            Parts {
                description: r#"{"version": "1", "summary": "s", "settings": {}, "series": [{"name": "a b", "fields": []}]}"#,
                ..Parts::default()
            },
            "`describe` declares `a b`: names of series, tags and fields are",
        ),
    ] {
        let why = bench.refused(&parts.bytes());
        assert!(why.starts_with(want), "{why}");
    }
}

#[test]
fn what_is_a_plugin() {
    let bench = bench();
    let smallest = bench.load(&Parts::default().bytes()).unwrap();
    assert_eq!(smallest.description().summary, "A test.");
    assert!(DESCRIPTION.contains(&smallest.description().version));
    let real = bench.load(&guest("noop")).unwrap();
    assert!(real.imports().iter().any(|name| name == "roundsman:check/report@0.1.0"), "{:?}", real.imports());
    let wrong = bench.runtime.block_on(real.validate(&serde_json::json!({"point": 7})));
    assert_eq!(wrong, ["point: 7 is not of type \"boolean\""]);
    // Once more, from the cache.
    assert_eq!(bench.load(&guest("noop")).unwrap().digest(), real.digest());
}
