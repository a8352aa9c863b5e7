//! `plugin keygen`, `sign` and `inspect`, beside minisign itself, which reads and writes the same files.

use std::process::{Command, Output};

use super::*;

fn roundsman(place: &Place, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roundsman"));
    command.args(arguments).current_dir(place.path()).env_remove("ROUNDSMAN_CONFIG").output().unwrap()
}

fn inspected(place: &Place, file: &str, more: &[&str]) -> Value {
    let output = roundsman(place, &[&["plugin", "inspect", file, "--output", "json"], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Runs minisign in the place; None where the machine has none.
fn minisign(place: &Place, arguments: &[&str], input: &str) -> Option<Output> {
    use std::io::Write;
    use std::process::Stdio;
    let mut command = Command::new("minisign");
    command.args(arguments).current_dir(place.path());
    let mut child = match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => child,
        Err(_) => {
            support::servers::skipped("there is no minisign on this machine (Debian's package minisign)");
            return None;
        }
    };
    // A program that asks nothing has gone by then.
    drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
    Some(child.wait_with_output().unwrap())
}

fn good(output: &Output) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}{said}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn what_minisign_signs_is_taken() {
    let place = Place::with_plugins(&["load"]);
    let (file, name) = (place.plugins().join("load.wasm"), "plugins/load.wasm");
    let Some(made) = minisign(&place, &["-G", "-W", "-p", "real.pub", "-s", "real.key"], "") else { return };
    good(&made);
    place.configure("trust: {require: signature, keys: {real: {publicKeyFile: real.pub}}}");
    let config = ["--config", "roundsman.yaml"];
    for (way, more, comment) in [
        ("hashed", &["-t", "hashed by hand"][..], "hashed by hand"),
        ("legacy", &["-l", "-t", "the old way"][..], "the old way"),
        ("its own comment", &[][..], "file:load.wasm"),
    ] {
        good(&minisign(&place, &[&["-S", "-s", "real.key", "-m", name][..], more].concat(), "").unwrap());
        let found = inspected(&place, name, &config)["signature"].clone();
        assert_eq!(found["origin"]["signed_by"], "real", "{way}: {found}");
        assert!(found["origin"]["comment"].as_str().unwrap().contains(comment), "{way}: {found}");
        let validated = place.run(&["validate"]);
        assert!(validated.status.success(), "{way}: {}", String::from_utf8_lossy(&validated.stderr));
    }
    let agent = place.start();
    agent.await_plugins(&["load"]);
    agent.stop();
    // One byte of the plugin is another one.
    let mut bytes = fs::read(&file).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    replace(&file, &bytes);
    let validated = place.run(&["validate"]);
    let said = String::from_utf8(validated.stderr).unwrap();
    assert!(validated.status.code() == Some(1) && said.contains("load.wasm: its signature"), "{said}");
    assert!(said.contains("it is not about these bytes"), "{said}");
}

#[test]
fn what_is_signed_here_minisign_takes() {
    let place = Place::with_plugins(&["load"]);
    let name = "plugins/load.wasm";
    fs::write(place.path().join("password"), "a secret\nmore\n").unwrap();
    for (key, keygen, sign) in [
        ("open.key", &["--no-password"][..], &[][..]),
        ("closed.key", &["--password-file", "password"][..], &["--password-file", "password"][..]),
    ] {
        good(&roundsman(&place, &[&["plugin", "keygen", key][..], keygen].concat()));
        let signed = roundsman(
            &place,
            &[&["plugin", "sign", name, "--key", key, "--comment", "for the shop"][..], sign].concat(),
        );
        good(&signed);
        let public = key.replace(".key", ".pub");
        let Some(verified) = minisign(&place, &["-V", "-p", &public, "-m", name], "") else { return };
        good(&verified);
        assert!(String::from_utf8_lossy(&verified.stdout).contains("Trusted comment: for the shop"));
        // And the secret key is one that minisign signs with.
        let password = if key == "closed.key" { "a secret\n" } else { "" };
        let again = minisign(&place, &["-S", "-s", key, "-m", name, "-x", "other.minisig"], password).unwrap();
        good(&again);
        good(&minisign(&place, &["-V", "-p", &public, "-m", name, "-x", "other.minisig"], "").unwrap());
    }
}

#[test]
fn keys_and_passwords_that_do_not_fit() {
    let place = Place::with_plugins(&["load"]);
    for (file, text) in [("password", "one\n"), ("other", "two\n"), ("empty", "\n"), ("text", "no key\n")] {
        fs::write(place.path().join(file), text).unwrap();
    }
    let wrong = |arguments: &[&str], words: &str| {
        let output = roundsman(&place, &[&["plugin"], arguments].concat());
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{arguments:?}: {said}");
    };
    good(&roundsman(&place, &["plugin", "keygen", "ops.key", "--password-file", "password"]));
    use std::os::unix::fs::PermissionsExt;
    let mode = |file: &str| fs::metadata(place.path().join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("ops.key"), 0o600);
    wrong(&["keygen", "ops.key", "--no-password"], "ops.key is there already");
    wrong(&["keygen", "new.pub", "--no-password"], "name the secret one");
    wrong(&["keygen", "new.key", "--password-file", "empty"], "--no-password says that there is to be none");
    let sign = ["sign", "plugins/load.wasm", "--key"];
    let with = |more: &[&'static str]| [&sign[..], more].concat();
    wrong(&with(&["ops.key", "--password-file", "other"]), "Wrong password");
    wrong(&with(&["ops.pub"]), "is a public key");
    wrong(&with(&["text"]), "cannot be used as a secret key");
    wrong(&with(&["nowhere"]), "cannot read nowhere");
    wrong(&with(&["ops.key", "--password-file", "password", "--comment", "two\nlines"]), "must be one line");
    wrong(&["sign", "text", "--key", "ops.key"], "text is no plugin");
    assert!(!beside(&place.plugins().join("load.wasm")).exists(), "nothing was written");
}

#[test]
fn inspecting() {
    let place = Place::with_plugins(&["load", "http"]);
    let key = Key::new(&place, "ops");
    let name = "plugins/load.wasm";
    let bytes = fs::read(place.plugins().join("load.wasm")).unwrap();
    let found =
        inspected(&place, name, &["--settings", r#"{"parts": ["load"], "load": null}"#, "--allow", "system=load"]);
    assert_eq!((&found["name"], &found["digest"]), (&"load".into(), &digest(&bytes).into()));
    assert_eq!(found["signature"], serde_json::json!({"configured": false}));
    let imports = found["imports"].as_array().unwrap();
    let needs = |interface: &str| {
        let found = imports.iter().find(|import| import["interface"].as_str().unwrap().starts_with(interface));
        found.unwrap_or_else(|| panic!("no {interface} in {imports:?}"))["needs"].clone()
    };
    assert_eq!((needs("roundsman:host/system"), needs("roundsman:check/report")), ("system".into(), Value::Null));
    assert!(found["needs"].as_array().unwrap().iter().any(|need| need["list"] == "system"), "{found}");
    let trial = &found["trial"];
    assert_eq!(trial["status"], "ok", "{trial}");
    assert!(trial["memory_bytes"].as_u64() > Some(0) && trial["duration_ms"].as_f64() > Some(0.0), "{trial}");
    assert!(trial["cpu_ms"].as_f64() > Some(0.0) && trial["points"].as_u64() > Some(0), "{trial}");
    // A plugin that is not told what to look at.
    let text = String::from_utf8(roundsman(&place, &["plugin", "inspect", "plugins/http.wasm"]).stdout).unwrap();
    for words in
        ["signature none\n", "digest    sha256:", "network    for the setting `url`", "trial     ", "series    http: "]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    // Signed, with and without a configuration that knows the key.
    replace(&beside(&place.plugins().join("load.wasm")), &key.sign(&place, &bytes));
    let text = String::from_utf8(roundsman(&place, &["plugin", "inspect", name]).stdout).unwrap();
    assert!(text.contains("signature by a key that calls itself ") && text.contains("--config FILE"), "{text}");
    place.configure(&format!("trust: {{require: signature, keys: {{ops: {{publicKey: \"{}\"}}}}}}", key.public));
    let config = ["--config", "roundsman.yaml"];
    let output = roundsman(&place, &[&["plugin", "inspect", name][..], &config].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("signature good, by the key `ops`") && text.contains("the configuration takes it"), "{text}");
    let output = roundsman(&place, &[&["plugin", "inspect", "plugins/http.wasm"][..], &config].concat());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("refused: it is not signed"), "{text}");
}
