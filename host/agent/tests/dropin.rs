//! Plugins and checks that come, change, break and go while an agent runs: each touches only what it changes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "dropin/checks.rs"]
mod checks;
mod support;
#[path = "dropin/swaps.rs"]
mod swaps;
#[path = "dropin/third_party.rs"]
mod third_party;

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;

use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{Agent, Place, eventually, eventually_some, plugin, replace};

/// What makes a check of the plugin `load` that is always ok.
const QUIET: &str = "allow: {system: [load]}, settings: {parts: [load], load: null}";

/// Checks of the plugin `load`, five times a second.
fn quiet(names: &[&str]) -> String {
    let line = |name: &&str| format!("  - {{name: {name}, plugin: load, interval: 200ms, timeout: 200ms, {QUIET}}}\n");
    format!("checks:\n{}", names.iter().map(line).collect::<String>())
}

/// Another version of a component: the same with a custom section at its end.
fn version(component: &[u8], number: u32) -> Vec<u8> {
    let content = [&[4, b't', b'e', b's', b't'][..], &number.to_le_bytes()].concat();
    [component, &[0, u8::try_from(content.len()).unwrap()], &content].concat()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(agent: &Agent, plugin: &str) -> Value {
    agent.get(&format!("/api/v1/plugins?plugin={plugin}"))["plugins"][0].clone()
}

fn await_digest(agent: &Agent, plugin: &str, digest: &str) -> Value {
    eventually_some(&format!("{plugin} is in the version {digest:.12}"), || {
        let entry = entry(agent, plugin);
        (entry["digest"] == digest && entry["state"] == "ready" && entry["outdated"] == false).then_some(entry)
    })
}

fn subject(agent: &Agent, check: &str) -> Value {
    agent.get(&format!("/api/v1/status?check={check}"))["status"][0].clone()
}

fn runs(agent: &Agent, check: &str) -> u64 {
    subject(agent, check)["counts"]["run"].as_u64().unwrap_or(0)
}

/// Waits until a check has run some more, and has been ok.
fn goes_on(agent: &Agent, check: &str) {
    let before = runs(agent, check);
    eventually(&format!("`{check}` goes on after {before} runs"), || {
        let subject = subject(agent, check);
        subject["counts"]["run"].as_u64() > Some(before + 1) && subject["last"]["status"] == "ok"
    });
}

/// What the agent says is wrong, in words.
fn problems(agent: &Agent) -> Vec<String> {
    let about = agent.get("/api/v1/agent");
    about["agent"]["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
}

fn await_problem(agent: &Agent, words: &[&str]) {
    eventually(&format!("a problem with {words:?}, beside {:?}", problems(agent)), || {
        problems(agent).iter().any(|problem| words.iter().all(|word| problem.contains(word)))
    });
}

fn await_no_problem(agent: &Agent) {
    eventually(&format!("no problem is left, of {:?}", problems(agent)), || problems(agent).is_empty());
}

#[test]
fn a_plugin_comes_whole_or_waits() {
    let place = Place::new();
    place.write_checks("a.yaml", &quiet(&["x"]));
    let agent = place.start();
    await_problem(&agent, &["a.yaml:2:23", "there is no plugin `load`", "put load.wasm into"]);
    eventually("a run says so", || subject(&agent, "x")["last"]["code"] == "plugin");
    let (path, bytes) = (place.plugins().join("load.wasm"), fs::read(plugin("load")).unwrap());
    let (head, tail) = bytes.split_at(bytes.len() / 2);

    // Copied slowly: it waits for the rest, then is broken, then whole.
    let mut file = File::create(&path).unwrap();
    file.write_all(head).unwrap();
    let half = eventually_some("half a file waits", || Some(entry(&agent, "load")).filter(|e| e["state"] == "waiting"));
    assert!(half["reason"].as_str().unwrap().contains("not a whole"), "{half}");
    // Whoever asks for a run meanwhile is told that there is none, or that the plugin is broken by then.
    assert_eq!(agent.cli(&["check", "run", "x"]).status.code(), Some(3));
    eventually("half a file that stays one is broken", || entry(&agent, "load")["state"] == "broken");
    await_problem(&agent, &["load.wasm: ", "not a whole"]);
    file.write_all(tail).unwrap();
    await_digest(&agent, "load", &digest(&bytes));
    goes_on(&agent, "x");
    await_no_problem(&agent);

    // Written over in place: the old version goes on until the new one is whole.
    let second = version(&bytes, 2);
    let mut file = File::create(&path).unwrap();
    file.write_all(&second[..head.len()]).unwrap();
    let half = eventually_some("half a file waits", || Some(entry(&agent, "load")).filter(|e| e["state"] == "waiting"));
    assert_eq!(half["digest"], digest(&bytes), "{half}");
    goes_on(&agent, "x");
    file.write_all(&second[head.len()..]).unwrap();
    await_digest(&agent, "load", &digest(&second));
    goes_on(&agent, "x");

    // Renamed in.
    let third = version(&bytes, 3);
    replace(&path, &third);
    let loaded = await_digest(&agent, "load", &digest(&third));
    assert_eq!(loaded["checks"], serde_json::json!(["x"]));
    goes_on(&agent, "x");

    // Removed: its check says so, and comes back with it.
    fs::remove_file(&path).unwrap();
    eventually("the plugin is gone", || entry(&agent, "load").is_null());
    eventually("its check is unknown", || {
        let last = subject(&agent, "x")["last"].clone();
        last["blame"] == "host" && last["summary"].as_str().unwrap().contains("there is no plugin `load`")
    });
    replace(&path, &bytes);
    await_digest(&agent, "load", &digest(&bytes));
    goes_on(&agent, "x");
}

#[test]
fn a_version_has_to_take_the_settings_in_force() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &quiet(&["x"]));
    let agent = place.start();
    agent.await_plugins(&["load"]);
    let before = entry(&agent, "load")["digest"].clone();
    let other = fs::read(plugin("http")).unwrap();
    replace(&place.plugins().join("load.wasm"), &other);
    await_problem(&agent, &["load.wasm: it refuses the settings of check `x`", "the version before it goes on"]);
    assert_eq!(entry(&agent, "load")["digest"], before);
    goes_on(&agent, "x");
    let noted = subject(&agent, "x")["note"].clone();
    assert!(noted.as_str().unwrap().contains("is not in use: it refuses the settings"), "{noted}");
    // Without that check there is nothing against it.
    place.write_checks("a.yaml", "checks: []\n");
    await_digest(&agent, "load", &digest(&other));
    await_no_problem(&agent);
}

#[test]
fn a_broken_file_leaves_the_version_before_also_after_a_restart() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &quiet(&["x"]));
    let mut agent = place.start();
    let (path, good) = (place.plugins().join("load.wasm"), fs::read(plugin("load")).unwrap());
    let elf = fs::read("/proc/self/exe").unwrap();
    let module = b"\0asm\x01\0\0\0";
    let broken: [(&str, &[u8], &str); 6] = [
        ("truncated", &good[..good.len() - 100], "not a whole, valid component"),
        ("a program", &elf, "native program (ELF)"),
        ("a core module", module, "this is a core module"),
        ("text", b"a wasm file, honestly", "this is not WebAssembly"),
        ("empty", b"", "the file is empty"),
        ("an empty component", b"\0asm\x0d\0\x01\0", "does not export `roundsman:check/check"),
    ];
    for (what, bytes, reason) in broken {
        replace(&path, bytes);
        await_problem(&agent, &["load.wasm: ", reason, "the version before it goes on"]);
        let entry = entry(&agent, "load");
        assert_eq!((&entry["digest"], &entry["outdated"]), (&digest(&good).into(), &true.into()), "{what}: {entry}");
        assert!(entry["reason"].as_str().unwrap().contains(reason), "{what}: {entry}");
        goes_on(&agent, "x");
    }
    // Links and directories put in its place at one stroke.
    let beside = place.path().join("beside");
    symlink("nowhere", &beside).unwrap();
    fs::rename(&beside, &path).unwrap();
    await_problem(&agent, &["load.wasm: it is a link to a file that is not there", "the version before it goes on"]);
    fs::create_dir(&beside).unwrap();
    exchange(&beside, &path);
    await_problem(&agent, &["load.wasm: it is a directory, not a file", "the version before it goes on"]);
    goes_on(&agent, "x");
    fs::remove_file(&beside).unwrap();
    fs::write(&beside, b"a wasm file, honestly").unwrap();
    exchange(&beside, &path);
    await_problem(&agent, &["load.wasm: this is not WebAssembly", "the version before it goes on"]);
    let listed = String::from_utf8(agent.cli(&["plugin", "list"]).stdout).unwrap();
    assert!(listed.contains("ready (outdated)") && listed.contains("this is not WebAssembly"), "{listed}");
    for end in [|agent: Agent| drop(agent.stop()), |agent: Agent| drop(agent.kill())] {
        end(agent);
        agent = place.start();
        await_problem(&agent, &["load.wasm: this is not WebAssembly", "the version before it goes on"]);
        assert_eq!(entry(&agent, "load")["digest"], digest(&good));
        goes_on(&agent, "x");
    }
    let mended = version(&good, 2);
    replace(&path, &mended);
    await_digest(&agent, "load", &digest(&mended));
    await_no_problem(&agent);
    goes_on(&agent, "x");
}

fn exchange(one: &std::path::Path, other: &std::path::Path) {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
}

#[test]
fn what_is_removed_while_nobody_watches_does_not_come_back() {
    let place = Place::with_plugins(&["load"]);
    let agent = place.start();
    agent.await_plugins(&["load"]);
    agent.stop();
    fs::remove_file(place.plugins().join("load.wasm")).unwrap();
    place.start().stop();
    replace(&place.plugins().join("load.wasm"), b"text");
    let agent = place.start();
    eventually("it is broken, and nothing goes on", || entry(&agent, "load")["state"] == "broken");
    assert!(entry(&agent, "load")["digest"].is_null());
}

#[test]
fn compiling_is_shown() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &quiet(&["x"]));
    let agent = place.start();
    // On a busy machine the first ticks found it being compiled.
    let begun = checks::settled(&agent, "x")["counts"].clone();
    let bytes = fs::read(plugin("load")).unwrap();
    // A compilation takes long enough to be seen, but no time is promised: one of many is.
    let mut number = 10;
    eventually("one of many compilations is seen, and the version before goes on meanwhile", || {
        number += 1;
        let next = version(&bytes, number);
        replace(&place.plugins().join("load.wasm"), &next);
        let mut seen = false;
        eventually("it ends", || {
            let entry = entry(&agent, "load");
            seen |= entry["state"] == "compiling" && !entry["digest"].is_null();
            entry["digest"] == digest(&next)
        });
        seen
    });
    let counts = subject(&agent, "x")["counts"].clone();
    assert_eq!((&counts["skipped"], &counts["missed"]), (&begun["skipped"], &begun["missed"]), "{counts}");
    // Without machine code in the cache the checks wait for the compiler, and their ticks are skipped.
    let (mut last, now) = (Some(agent), digest(&version(&bytes, number)));
    eventually("one of many compilations after a start is seen", || {
        last.take().map(Agent::stop);
        for file in fs::read_dir(place.state().join("cache")).unwrap() {
            fs::remove_file(file.unwrap().path()).unwrap();
        }
        let agent = last.insert(place.start_listening());
        let mut seen = false;
        eventually("it ends", || {
            let entry = entry(agent, "load");
            seen |= entry["state"] == "compiling" && entry["digest"].is_null();
            entry["digest"] == now
        });
        seen
    });
    goes_on(&last.unwrap(), "x");
}
