//! Checks files that come, change, break and go; directories that vanish; ConfigMaps.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::support::{Place, eventually, replace};
use super::*;

/// What must not change when another check does.
#[derive(Debug, PartialEq)]
struct Kept {
    state: Value,
    since: Value,
    phase_ns: u64,
    lost: u64,
}

fn kept(subject: &Value) -> Kept {
    let counts = &subject["counts"];
    let count = |name: &str| counts[name].as_u64().unwrap();
    Kept {
        state: subject["state"].clone(),
        since: subject["since"].clone(),
        phase_ns: phase_ns(&subject["last"]["time"]),
        lost: count("missed") + count("overlap") + count("skipped"),
    }
}

/// Where in its interval of 200 ms a tick lies: `2026-01-01T00:00:00.123456789Z`.
fn phase_ns(time: &Value) -> u64 {
    let (_, fraction) = time.as_str().unwrap().trim_end_matches('Z').split_once('.').unwrap();
    fraction.parse::<u64>().unwrap() % 200_000_000
}

/// Waits for a record by a tick with these counts.
pub(crate) fn settled(agent: &Agent, check: &str) -> Value {
    eventually_some(&format!("`{check}` has run"), || {
        Some(subject(agent, check)).filter(|subject| subject["counts"]["run"].as_u64() > Some(2))
    })
}

#[test]
fn a_change_touches_only_the_checks_that_it_changes() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &quiet(&["x", "y"]));
    place.write_checks("b.yaml", &quiet(&["z"]));
    let agent = place.start();
    let [x, y, z] = ["x", "y", "z"].map(|check| settled(&agent, check));
    // Added.
    place.write_checks("c.yaml", &quiet(&["new"]));
    settled(&agent, "new");
    // Changed, in the same file as another one, which moves to another line.
    place.write_checks(
        "a.yaml",
        &quiet(&["x", "y"]).replacen("interval: 200ms", "interval: 500ms", 1).replace("checks:", "# more\nchecks:"),
    );
    eventually("the new interval is in force", || {
        agent.get("/api/v1/checks?check=x")["checks"][0]["schedule"] == "every 500ms"
    });
    goes_on(&agent, "x");
    let changed = subject(&agent, "x");
    assert_eq!(changed["since"], x["since"], "a changed check keeps its state");
    assert!(changed["counts"]["run"].as_u64() > x["counts"]["run"].as_u64(), "and its counts: {changed}");
    for (check, before) in [("y", &y), ("z", &z)] {
        goes_on(&agent, check);
        let now = subject(&agent, check);
        assert_eq!(kept(&now), kept(before), "`{check}`: {now}");
        // On a busy machine the first ticks found the plugin being compiled.
        let not_run = |line: &Value| line["counts"]["due"].as_u64().unwrap() - line["counts"]["run"].as_u64().unwrap();
        assert_eq!(not_run(&now), not_run(before), "`{check}`: {now}");
    }
    // Removed: one by one line, one with its file.
    place.write_checks("a.yaml", &quiet(&["y"]));
    fs::remove_file(place.checks().join("c.yaml")).unwrap();
    eventually("both are gone", || subject(&agent, "x").is_null() && subject(&agent, "new").is_null());
    goes_on(&agent, "y");
    assert_eq!(kept(&subject(&agent, "y")), kept(&y));
    await_no_problem(&agent);
}

#[test]
fn a_broken_file_leaves_the_checks_of_before_also_after_a_restart() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &quiet(&["x"]));
    place.write_checks("b.yaml", &quiet(&["z"]));
    let mut agent = place.start();
    settled(&agent, "x");
    for (broken, place_and_reason) in [
        (quiet(&["x"]).replace("interval", "intervall"), ["a.yaml:2:29: ", "did you mean `interval`"]),
        (quiet(&["x", "x"]), ["a.yaml:3:12: ", "two checks are named `x`: the first is in line 2"]),
        (quiet(&["x", "z"]), ["a.yaml:3:12: ", "check `z` is also in "]),
        (quiet(&["x"]).replace("parts", "part"), ["a.yaml:2:", "Additional properties are not allowed ('part'"]),
        ("checks:\n  - {name: x, plugin: [load}\n".to_owned(), ["a.yaml:2:", ""]),
    ] {
        place.write_checks("a.yaml", &broken);
        await_problem(&agent, &place_and_reason);
        let shown = agent.get("/api/v1/checks?check=x")["checks"][0].clone();
        assert_eq!(shown["outdated"], true, "{shown}");
        assert!(shown["problem"].as_str().unwrap().contains("a.yaml:"), "{shown}");
        goes_on(&agent, "x");
        goes_on(&agent, "z");
    }
    for end in [|agent: Agent| drop(agent.stop()), |agent: Agent| drop(agent.kill())] {
        let since = subject(&agent, "x")["since"].clone();
        end(agent);
        agent = place.start();
        await_problem(&agent, &["a.yaml:2:"]);
        goes_on(&agent, "x");
        assert_eq!(subject(&agent, "x")["since"], since, "the state is that of before");
    }
    place.write_checks("a.yaml", &quiet(&["x", "y"]));
    await_no_problem(&agent);
    settled(&agent, "y");
    assert_eq!(agent.get("/api/v1/checks?check=x")["checks"][0]["outdated"], false);
    // Broken and removed: nothing goes on.
    place.write_checks("a.yaml", "checks: [");
    await_problem(&agent, &["a.yaml:1:"]);
    fs::remove_file(place.checks().join("a.yaml")).unwrap();
    eventually("they are gone", || subject(&agent, "x").is_null() && subject(&agent, "y").is_null());
    await_no_problem(&agent);
}

#[test]
fn settings_of_a_plugin_that_comes_later_are_looked_at_then() {
    let place = Place::new();
    place.write_checks("a.yaml", &quiet(&["x"]).replace("parts", "part"));
    let agent = place.start();
    await_problem(&agent, &["a.yaml:2:23: ", "there is no plugin `load`"]);
    place.add_plugin("load");
    await_problem(&agent, &["a.yaml:2:", "Additional properties are not allowed ('part'"]);
    eventually("the runs say it, too", || subject(&agent, "x")["last"]["code"] == "settings");
    let listed = String::from_utf8(agent.cli(&["check", "list"]).stdout).unwrap();
    assert!(listed.contains("Additional properties"), "{listed}");
    place.write_checks("a.yaml", &quiet(&["x"]));
    await_no_problem(&agent);
    goes_on(&agent, "x");
}

/// A new version of a mounted ConfigMap: a directory of its own, and `..data` swapped to it at one stroke.
fn mount(directory: &Path, version: u32, files: &[(&str, Vec<u8>)]) {
    let own = directory.join(format!("..2026_{version}"));
    fs::create_dir(&own).unwrap();
    for (name, content) in files {
        fs::write(own.join(name), content).unwrap();
    }
    symlink(own.file_name().unwrap(), directory.join("..data_tmp")).unwrap();
    fs::rename(directory.join("..data_tmp"), directory.join("..data")).unwrap();
    for (name, _) in files {
        if !directory.join(name).is_symlink() {
            symlink(Path::new("..data").join(name), directory.join(name)).unwrap();
        }
    }
}

#[test]
fn a_config_map_is_swapped() {
    let place = Place::new();
    let bytes = fs::read(plugin("load")).unwrap();
    mount(&place.plugins(), 1, &[("load.wasm", bytes.clone())]);
    mount(&place.checks(), 1, &[("a.yaml", quiet(&["x", "y"]).into_bytes())]);
    let agent = place.start();
    let y = settled(&agent, "y");
    mount(&place.checks(), 2, &[("a.yaml", quiet(&["y"]).into_bytes()), ("b.yaml", quiet(&["z"]).into_bytes())]);
    fs::remove_dir_all(place.checks().join("..2026_1")).unwrap();
    settled(&agent, "z");
    eventually("x is gone", || subject(&agent, "x").is_null());
    mount(&place.plugins(), 2, &[("load.wasm", version(&bytes, 2))]);
    fs::remove_dir_all(place.plugins().join("..2026_1")).unwrap();
    await_digest(&agent, "load", &digest(&version(&bytes, 2)));
    goes_on(&agent, "y");
    assert_eq!(kept(&subject(&agent, "y")), kept(&y));
    await_no_problem(&agent);
}

#[test]
fn a_directory_that_vanishes_takes_nothing_with_it() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &quiet(&["x"]));
    place.write_checks("b.yaml", &quiet(&["y"]));
    let mut agent = place.start();
    settled(&agent, "x");
    let away = |directory: &Path| directory.with_extension("away");
    for directory in [place.plugins(), place.checks()] {
        fs::rename(&directory, away(&directory)).unwrap();
        await_problem(&agent, &[directory.to_str().unwrap(), "cannot be listed", "No such file"]);
    }
    goes_on(&agent, "x");
    for end in [|agent: Agent| drop(agent.stop()), |agent: Agent| drop(agent.kill())] {
        end(agent);
        agent = place.start();
        await_problem(&agent, &["checks: the directory cannot be listed"]);
        await_problem(&agent, &["plugins: the directory cannot be listed"]);
        goes_on(&agent, "x");
    }
    // Back, with what was done to it meanwhile.
    fs::remove_file(away(&place.checks()).join("b.yaml")).unwrap();
    replace(&away(&place.checks()).join("c.yaml"), quiet(&["z"]).as_bytes());
    for directory in [place.plugins(), place.checks()] {
        fs::rename(away(&directory), &directory).unwrap();
    }
    settled(&agent, "z");
    eventually("y is gone", || subject(&agent, "y").is_null());
    await_no_problem(&agent);
    goes_on(&agent, "x");
    // And it is watched again.
    place.write_checks("a.yaml", &quiet(&["x", "last"]));
    settled(&agent, "last");
}
