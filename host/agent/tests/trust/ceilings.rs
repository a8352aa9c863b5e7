//! Ceilings in a running agent: what a check may not be granted is refused in its file, and not run when a plugin comes later.

use super::*;

const FILES: &str = "allow: {system: [load], files: [/etc/hosts]}, settings: {parts: [load], load: null}";

#[test]
fn a_check_beyond_the_ceiling_is_refused_where_it_is_written() {
    let place = Place::with_plugins(&["load"]);
    place.write_checks("a.yaml", &check(FILES));
    let agent = place.start();
    let hint = "add to roundsman.yaml: trust: {plugins: {load: {files: [\"/etc/hosts\"]}}}";
    await_problem(&agent, &["a.yaml:2:94: `/etc/hosts` lies beyond", hint]);
    assert!(subject(&agent).is_null(), "it is not in force");
    agent.stop();
    let validate = place.run(&["validate"]);
    let said = String::from_utf8(validate.stderr).unwrap();
    assert!(
        validate.status.code() == Some(1) && said.contains("a.yaml:2:94: `/etc/hosts`") && said.contains(hint),
        "{said}"
    );
    // The line that it asked for.
    place.configure("trust: {plugins: {load: {files: [\"/etc/hosts\"]}}}");
    assert!(place.run(&["validate"]).status.success());
    let agent = place.start();
    goes_on(&agent);
    eventually("no problem is left", || problems(&agent).is_empty());
}

#[test]
fn a_plugin_that_comes_later_is_not_run_beyond_its_ceiling() {
    let place = Place::new();
    place.write_checks("a.yaml", &check(FILES));
    let agent = place.start();
    eventually("without its plugin it is in force", || subject(&agent)["last"]["code"] == "plugin");
    place.add_plugin("load");
    let barred = eventually_some("it is barred", || {
        let last = subject(&agent)["last"].clone();
        assert_ne!(last["status"], "ok", "it was never run");
        (last["code"] == "denied").then_some(last)
    });
    assert_eq!((&barred["status"], &barred["blame"]), (&"unknown".into(), &"host".into()), "{barred}");
    let said = barred["summary"].as_str().unwrap();
    assert!(said.contains("it asks for more than plugin `load` may be granted: `/etc/hosts` lies beyond"), "{said}");
    await_problem(&agent, &["a.yaml:2:94: `/etc/hosts` lies beyond", "add to roundsman.yaml"]);
    let counts = agent.get("/api/v1/records?check=x&limit=100")["records"].clone();
    assert!(counts.as_array().unwrap().iter().all(|record| record["status"] != "ok"), "{counts}");
    // Without the line it runs.
    place.write_checks("a.yaml", &check(QUIET));
    goes_on(&agent);
}

#[test]
fn another_signer_has_another_ceiling() {
    let place = Place::new();
    let (ops, dev) = (Key::new(&place, "ops"), Key::new(&place, "dev"));
    place.configure(&format!(
        "trust: {{require: signature, keys: {{ops: {{publicKey: \"{}\"}}, dev: {{publicKey: \"{}\"}}}}, \
         plugins: {{\"key:ops\": {{files: [/etc]}}, \"key:dev\": {{}}}}}}",
        ops.public, dev.public
    ));
    place.write_checks("a.yaml", &check(FILES));
    let (file, one, two) = (place.plugins().join("load.wasm"), version(1), version(2));
    replace(&beside(&file), &ops.sign(&place, &one));
    replace(&file, &one);
    let agent = place.start();
    in_use(&agent, &one);
    goes_on(&agent);
    // The same bytes by the other key: as if they had not come.
    let words = "check `x` asks for more than it may be granted: `/etc/hosts` lies beyond";
    replace(&beside(&file), &dev.sign(&place, &one));
    let entry = refused(&agent, "ready", words);
    assert_eq!((&entry["origin"]["signed_by"], &entry["outdated"]), (&"ops".into(), &true.into()), "{entry}");
    // Other bytes by the other key: the version before goes on.
    replace(&file, &two);
    replace(&beside(&file), &dev.sign(&place, &two));
    eventually("the new version is looked at", || {
        self::entry(&agent)["size_bytes"] == two.len() && self::entry(&agent)["state"] == "ready"
    });
    let entry = refused(&agent, "ready", words);
    assert_eq!((&entry["origin"]["signed_by"], &entry["digest"]), (&"ops".into(), &digest(&one).into()), "{entry}");
    let reason = entry["reason"].as_str().unwrap();
    assert!(reason.contains("add \"/etc/hosts\" to `trust.plugins.key:dev.files`"), "{reason}");
    goes_on(&agent);
    // Nothing stands against it when the check does not ask for that any more.
    place.write_checks("a.yaml", &check(QUIET));
    assert_eq!(in_use(&agent, &two)["origin"]["signed_by"], "dev");
    goes_on(&agent);
}
