//! A plugin that always traps, beside a healthy one: it backs off, is quarantined, stays so across a restart, and runs again
//! when its file changes or somebody releases it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use support::{Agent, Place, eventually, eventually_some, replace, target_folder};

/// Quick, so that the ladder is climbed in seconds.
const RULES: &str = "supervision: {failures: 3, window: 10s, backoff: 300ms, maxBackoff: 1s, quarantineAfter: 2}\n\
                     selfCheck: {enabled: true}";
const TARGETS: usize = 3;

/// The guest of host/plugin's own tests that does what its settings say.
fn hostile() -> Vec<u8> {
    let guests = concat!(env!("CARGO_MANIFEST_DIR"), "/../plugin/tests/guests/Cargo.toml");
    let cargo = std::env::var_os("CARGO").expect("the test is run by cargo");
    let folder: PathBuf = target_folder().join("guests");
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--locked", "--release", "--target", "wasm32-wasip2", "--manifest-path", guests]);
    command.arg("--target-dir").arg(&folder).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
    assert!(command.status().unwrap().success(), "the guests cannot be built: run `cargo xtask build` once");
    std::fs::read(folder.join("wasm32-wasip2/release/hostile.wasm")).unwrap()
}

/// Another version of a component: the same with a custom section at its end.
fn another(component: &[u8]) -> Vec<u8> {
    [component, &[0, 6, 4, b't', b'e', b's', b't', 2]].concat()
}

/// Three checks that the plugin `bad` is to carry out like this, and one of another plugin.
fn checks(what: &str) -> String {
    let mut yaml = "defaults: {interval: 200ms, timeout: 200ms}\nchecks:\n".to_owned();
    for n in 0..TARGETS {
        yaml.push_str(&format!("  - {{name: bad-{n}, plugin: bad, settings: {{what: {what}}}}}\n"));
    }
    yaml.push_str("  - {name: good, plugin: load, allow: {system: [load]}, settings: {parts: [load], load: null}}\n");
    yaml
}

struct House {
    place: Place,
    agent: Agent,
    component: Vec<u8>,
}

impl House {
    /// With a plugin that has been quarantined by now.
    fn quarantined() -> Self {
        let (place, component) = (Place::with_plugins(&["load"]), hostile());
        place.configure(RULES);
        replace(&place.plugins().join("bad.wasm"), &component);
        place.write_checks("a.yaml", &checks("trap"));
        let agent = place.start();
        let house = Self { place, agent, component };
        house.await_state("quarantined");
        house
    }

    fn supervision(&self) -> Value {
        self.agent.get("/api/v1/plugins?plugin=bad")["plugins"][0]["supervision"].clone()
    }

    fn await_state(&self, state: &str) {
        eventually(&format!("it is {state}"), || self.supervision()["state"] == state);
    }

    fn subject(&self, check: &str) -> Value {
        self.agent.get(&format!("/api/v1/status?check={check}"))["status"][0].clone()
    }

    /// Every check of the plugin is unknown for this reason, its ticks are counted as skipped, and none is run.
    fn await_held(&self) {
        for n in 0..TARGETS {
            let check = format!("bad-{n}");
            let before = self.subject(&check)["counts"].clone();
            let held = eventually_some(&format!("{check} is held back"), || {
                let subject = self.subject(&check);
                let more = subject["counts"]["skipped"].as_u64() > before["skipped"].as_u64();
                let why =
                    subject["skipped"].as_str().is_some_and(|why| why.starts_with("plugin bad is quarantined since "));
                (more && why && subject["state"] == "unknown").then_some(subject)
            });
            let counts = &held["counts"];
            assert_eq!(counts["run"], before["run"], "{held}");
            let of = |name: &str| counts[name].as_u64().unwrap();
            assert_eq!(of("due"), of("run") + of("missed") + of("overlap") + of("skipped"), "{held}");
        }
    }

    fn await_ok(&self) {
        for n in 0..TARGETS {
            eventually(&format!("bad-{n} is ok again"), || {
                let subject = self.subject(&format!("bad-{n}"));
                subject["state"] == "ok" && subject["skipped"].is_null()
            });
        }
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.agent.request("GET", "/metrics").ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    fn cli(&self, arguments: &[&str], code: i32) -> (String, String) {
        let Output { status, stdout, stderr } = self.agent.cli(arguments);
        let (out, err) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
        assert_eq!(status.code(), Some(code), "{arguments:?}: {out}{err}");
        (out, err)
    }

    /// The process is killed, and another begins in its place.
    fn restart(self, meanwhile: impl FnOnce(&Place)) -> Self {
        let Self { place, agent, component } = self;
        agent.kill();
        meanwhile(&place);
        let agent = place.start();
        Self { place, agent, component }
    }
}

#[test]
fn a_plugin_that_always_traps_is_left_alone_and_everybody_is_told() {
    let house = House::quarantined();
    let supervision = house.supervision();
    let reason = supervision["reason"].as_str().unwrap();
    for words in [
        "plugin bad is quarantined since 2",
        "3 of ",
        " runs failed, and 2 back-offs did not help; last: trap: the plugin broke off",
        "`roundsman plugin release bad` or a new file ends it",
    ] {
        assert!(reason.contains(words), "{words}: {supervision}");
    }
    assert!(supervision["next_attempt"].is_null() && supervision["backoffs"] == 2, "{supervision}");
    house.await_held();

    // What was said on the way: of the back-offs in the log and the history, of all of it in the metrics.
    let log = house.agent.log().text();
    assert_eq!(log.matches("plugin bad rests until ").count(), 2, "{log}");
    assert!(
        log.lines().any(|line| line.contains("WARN") && line.contains("plugin bad is quarantined since ")),
        "{log}"
    );
    let turned = house.agent.get("/api/v1/transitions?state=unknown");
    let told = |change: &Value| change["summary"].as_str().unwrap().starts_with("plugin bad rests until ");
    assert!(turned["transitions"].as_array().unwrap().iter().any(told), "{turned}");
    assert_eq!(house.metric("roundsman_plugin_state{plugin=\"bad\"}"), Some(2.0));
    assert_eq!(house.metric("roundsman_plugin_state{plugin=\"load\"}"), Some(0.0));
    assert_eq!(house.metric("roundsman_plugins_quarantined"), Some(1.0));
    // Three and two trials; runs that were under way when the third failed may have followed.
    let failures = house.metric("roundsman_plugin_failures_total{plugin=\"bad\",code=\"trap\"}").unwrap();
    assert!((5.0..5.0 + TARGETS as f64).contains(&failures), "{failures}");

    // What people see.
    let (list, _) = house.cli(&["plugin", "list"], 0);
    assert!(
        list.lines().any(|line| line.starts_with("bad ") && line.contains(" quarantined ") && line.contains(reason)),
        "{list}"
    );
    let (shown, _) = house.cli(&["check", "show", "bad-0"], 0);
    assert!(shown.contains("not run  plugin bad is quarantined since "), "{shown}");
    let (_, page) = house.agent.request("GET", "/").unwrap();
    assert!(page.contains("<b>plugin bad</b> quarantined · plugin bad is quarantined since "), "{page}");
    let (_, refused) = house.cli(&["check", "run", "bad-1"], 3);
    assert!(
        refused.contains("plugin bad is quarantined since ") && refused.contains("roundsman plugin release bad"),
        "{refused}"
    );
    house.cli(&["check", "run", "roundsman"], 1);
    let look = house.agent.get("/api/v1/status?check=roundsman")["status"][0].clone();
    let found = |finding: &Value| finding["subject"] == "plugin/bad" && finding["status"] == "warning";
    assert!(look["findings"].as_array().unwrap().iter().any(found), "{look}");

    // Nobody else is any the worse for it.
    let good = house.subject("good");
    assert_eq!((&good["state"], &good["counts"]["skipped"]), (&"ok".into(), &0.into()), "{good}");
}

#[test]
fn quarantine_outlives_the_agent_and_ends_with_the_file() {
    let house = House::quarantined();
    house.await_held();
    let before = house.supervision();
    let house = house.restart(|_| {});
    assert_eq!(house.supervision()["since"], before["since"]);
    assert_eq!(house.supervision()["state"], "quarantined");
    for n in 0..TARGETS {
        let subject = house.subject(&format!("bad-{n}"));
        assert_eq!(subject["state"], "unknown", "{subject}");
    }
    house.await_held();
    // It is about the plugin, whatever its checks ask of it.
    house.place.write_checks("a.yaml", &checks("nothing"));
    eventually("the new settings are in force", || {
        house.agent.get("/api/v1/checks?check=bad-2")["checks"][0]["settings"]["what"] == "nothing"
    });
    house.await_held();
    replace(&house.place.plugins().join("bad.wasm"), &another(&house.component));
    house.await_ok();
    assert_eq!(house.supervision()["state"], "running");
    assert_eq!(house.metric("roundsman_plugins_quarantined"), Some(0.0));
    // That, too, is remembered.
    let house = house.restart(|_| {});
    assert_eq!(house.supervision()["state"], "running");
    house.await_ok();
}

#[test]
fn an_operator_releases_it_and_a_file_that_is_gone_is_forgotten() {
    let house = House::quarantined();
    house.place.write_checks("a.yaml", &checks("nothing"));
    eventually("the new settings are in force", || {
        house.agent.get("/api/v1/checks?check=bad-2")["checks"][0]["settings"]["what"] == "nothing"
    });
    let (status, refused) = house.agent.request("POST", "/api/v1/plugins/bad/release").unwrap();
    assert_eq!(status, 403, "there is no token: {refused}");
    let (told, _) = house.cli(&["plugin", "release", "bad"], 0);
    assert!(told.contains("plugin bad runs again") && told.contains("3 checks"), "{told}");
    assert_eq!(house.supervision()["state"], "running");
    house.await_ok();
    let (_, refused) = house.cli(&["plugin", "release", "bad"], 1);
    assert!(refused.contains("plugin `bad` is running"), "{refused}");
    let (_, refused) = house.cli(&["plugin", "release", "none"], 1);
    assert!(refused.contains("there is no plugin `none`") && refused.contains("roundsman plugin list"), "{refused}");

    house.place.write_checks("a.yaml", &checks("trap"));
    house.await_state("quarantined");
    let file = house.place.plugins().join("bad.wasm");
    let house = house.restart(|_| std::fs::remove_file(&file).unwrap());
    eventually("its checks say what is missing", || {
        house.subject("bad-0")["last"]["summary"].as_str().is_some_and(|said| said.contains("there is no plugin `bad`"))
    });
    house.place.write_checks("a.yaml", &checks("nothing"));
    replace(&file, &house.component);
    house.await_ok();
    assert_eq!(house.supervision()["backoffs"], 0);
}
