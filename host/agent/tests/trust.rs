//! Plugins that have to be signed, in a running agent: two files that come in any order, are swapped, removed and changed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "trust/ceilings.rs"]
mod ceilings;
#[path = "trust/commands.rs"]
mod commands;
mod support;
#[path = "trust/swap.rs"]
mod swap;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{Agent, Place, eventually, eventually_some, plugin, replace};

/// What makes a check of the plugin `load` that is always ok.
const QUIET: &str = "allow: {system: [load]}, settings: {parts: [load], load: null}";

/// An agent's directory in which plugins have to be signed by the key `ops`.
struct Signing {
    place: Place,
    ops: Key,
}

/// A pair of keys beside the place.
struct Key {
    secret: PathBuf,
    public: String,
}

impl Signing {
    fn new() -> Self {
        let place = Place::new();
        let ops = Key::new(&place, "ops");
        place.configure(&format!("trust: {{require: signature, keys: {{ops: {{publicKey: \"{}\"}}}}}}", ops.public));
        place.write_checks("a.yaml", &check(QUIET));
        Self { place, ops }
    }

    fn file(&self) -> PathBuf {
        self.place.plugins().join("load.wasm")
    }
}

impl Key {
    fn new(place: &Place, name: &str) -> Self {
        let secret = place.path().join(format!("{name}.key"));
        let told = run(place, &["plugin", "keygen", secret.to_str().unwrap(), "--no-password", "--output", "json"]);
        let told: Value = serde_json::from_slice(&told).unwrap();
        Self { secret, public: told["public_key"].as_str().unwrap().to_owned() }
    }

    /// The signature of bytes, by the command line.
    fn sign(&self, place: &Place, bytes: &[u8]) -> Vec<u8> {
        let file = place.path().join("load.wasm");
        fs::write(&file, bytes).unwrap();
        run(place, &["plugin", "sign", file.to_str().unwrap(), "--key", self.secret.to_str().unwrap()]);
        fs::read(beside(&file)).unwrap()
    }
}

/// A subcommand without `--config` that has to succeed.
fn run(place: &Place, arguments: &[&str]) -> Vec<u8> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_roundsman"));
    let output = command.args(arguments).current_dir(place.path()).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn check(keys: &str) -> String {
    format!("checks:\n  - {{name: x, plugin: load, interval: 200ms, timeout: 200ms, {keys}}}\n")
}

fn beside(file: &Path) -> PathBuf {
    PathBuf::from(format!("{}.minisig", file.display()))
}

/// Another version of a component: the same with a custom section at its end.
fn version(number: u32) -> Vec<u8> {
    let content = [&[4, b't', b'e', b's', b't'][..], &number.to_le_bytes()].concat();
    [&fs::read(plugin("load")).unwrap()[..], &[0, u8::try_from(content.len()).unwrap()], &content].concat()
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn entry(agent: &Agent) -> Value {
    agent.get("/api/v1/plugins?plugin=load")["plugins"][0].clone()
}

fn subject(agent: &Agent) -> Value {
    agent.get("/api/v1/status?check=x")["status"][0].clone()
}

/// Waits until the check has run some more, and has been ok.
fn goes_on(agent: &Agent) {
    let runs = |subject: &Value| subject["counts"]["run"].as_u64().unwrap_or(0);
    let before = runs(&subject(agent));
    eventually(&format!("the check goes on after {before} runs"), || {
        let subject = subject(agent);
        runs(&subject) > before + 1 && subject["last"]["status"] == "ok"
    });
}

fn in_use(agent: &Agent, bytes: &[u8]) -> Value {
    eventually_some(&format!("{:.12} is in use, of {}", digest(bytes), entry(agent)), || {
        let entry = entry(agent);
        (entry["digest"] == digest(bytes) && entry["state"] == "ready" && entry["outdated"] == false).then_some(entry)
    })
}

/// Waits until the newest files are refused for a reason.
fn refused(agent: &Agent, state: &str, words: &str) -> Value {
    eventually_some(&format!("it is {state} because of {words:?}, of {}", entry(agent)), || {
        let entry = entry(agent);
        (entry["state"] == state && entry["reason"].as_str()?.contains(words)).then_some(entry)
    })
}

fn problems(agent: &Agent) -> Vec<String> {
    let about = agent.get("/api/v1/agent");
    about["agent"]["problems"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_owned()).collect()
}

fn await_problem(agent: &Agent, words: &[&str]) {
    eventually(&format!("a problem with {words:?}, beside {:?}", problems(agent)), || {
        problems(agent).iter().any(|problem| words.iter().all(|word| problem.contains(word)))
    });
}

#[test]
fn the_plugin_comes_first() {
    let signing = Signing::new();
    let (place, file, bytes) = (&signing.place, signing.file(), version(1));
    let signature = signing.ops.sign(place, &bytes);
    let agent = place.start();
    replace(&file, &bytes);
    let waiting = refused(&agent, "waiting", "waiting for its signature: it is not signed");
    assert!(waiting["digest"].is_null() && waiting["origin"].is_null(), "{waiting}");
    let noted = eventually_some("a note", || subject(&agent)["note"].as_str().map(str::to_owned));
    assert!(!noted.is_empty());
    // In the end it is said aloud.
    refused(&agent, "broken", "it is not signed: `trust.require` is `signature`");
    await_problem(&agent, &["load.wasm: it is not signed", "load.wasm.minisig beside it", "roundsman plugin sign"]);
    eventually("its check says so", || {
        let last = subject(&agent)["last"].clone();
        last["status"] == "unknown" && last["summary"].as_str().is_some_and(|said| said.contains("it is not signed"))
    });
    replace(&beside(&file), &signature);
    let origin = in_use(&agent, &bytes)["origin"].clone();
    assert_eq!((&origin["trust"], &origin["signed_by"]), (&"signed".into(), &"ops".into()), "{origin}");
    let comment = origin["comment"].as_str().unwrap();
    assert!(comment.starts_with("timestamp:") && comment.ends_with(" file:load.wasm hashed"), "{comment}");
    goes_on(&agent);
    eventually("no problem is left", || problems(&agent).is_empty());

    // Once more, with machine code in the cache: how long it takes by itself.
    fs::remove_file(&file).unwrap();
    fs::remove_file(beside(&file)).unwrap();
    eventually("it is gone", || entry(&agent).is_null());
    replace(&file, &bytes);
    refused(&agent, "waiting", "waiting for its signature");
    let began = Instant::now();
    replace(&beside(&file), &signature);
    in_use(&agent, &bytes);
    let took = began.elapsed();
    eprintln!("in use {took:.1?} after the second file came");
    assert!(took < Duration::from_secs(5), "{took:?}");
    let noise: Vec<String> = agent.log().lines().into_iter().filter(|line| line.contains("waiting for its")).collect();
    assert_eq!(noise, [""; 0], "what is on its way is no news");
}

#[test]
fn the_signature_comes_first_and_a_new_pair_in_any_order() {
    let signing = Signing::new();
    let (place, file) = (&signing.place, signing.file());
    let versions = [version(1), version(2), version(3)];
    let signatures = versions.each_ref().map(|bytes| signing.ops.sign(place, bytes));
    let agent = place.start();
    replace(&beside(&file), &signatures[0]);
    replace(&file, &versions[0]);
    in_use(&agent, &versions[0]);
    // Plugin first: until its signature comes, the old one does not fit, and the version before goes on.
    replace(&file, &versions[1]);
    let waiting = refused(&agent, "waiting", "it is not about these bytes");
    assert_eq!(waiting["digest"], digest(&versions[0]));
    goes_on(&agent);
    replace(&beside(&file), &signatures[1]);
    in_use(&agent, &versions[1]);
    // Signature first: the version in use stays what it is.
    replace(&beside(&file), &signatures[2]);
    refused(&agent, "waiting", "it is not about these bytes");
    replace(&file, &versions[2]);
    in_use(&agent, &versions[2]);
    goes_on(&agent);
}

#[test]
fn what_becomes_of_the_signature_later() {
    let signing = Signing::new();
    let (place, file, bytes) = (&signing.place, signing.file(), version(1));
    let signature = signing.ops.sign(place, &bytes);
    let stranger = Key::new(place, "stranger");
    replace(&beside(&file), &signature);
    replace(&file, &bytes);
    let mut agent = place.start();
    in_use(&agent, &bytes);
    let tampered = String::from_utf8(signature.clone()).unwrap().replace("file:load", "file:1oad").into_bytes();
    let huge = [&signature[..], &vec![b'x'; 1 << 20][..]].concat();
    for (what, signature, words) in [
        ("of other bytes", signing.ops.sign(place, &version(2)), "it is not about these bytes"),
        ("by somebody else", stranger.sign(place, &bytes), "which is not in `trust.keys`"),
        ("its comment changed", tampered, "it is not about these bytes"),
        ("cut off", signature[..signature.len() / 2].to_vec(), "it is no signature of minisign"),
        ("a megabyte", huge, "larger than 4Ki"),
        ("empty", Vec::new(), "it is no signature of minisign"),
    ] {
        replace(&beside(&file), &signature);
        let entry = refused(&agent, "ready", words);
        assert_eq!((&entry["digest"], &entry["outdated"]), (&digest(&bytes).into(), &true.into()), "{what}: {entry}");
        goes_on(&agent);
    }
    fs::remove_file(beside(&file)).unwrap();
    refused(&agent, "ready", "there is no load.wasm.minisig beside it");
    await_problem(&agent, &["load.wasm: it is not signed", "the version before it goes on"]);
    // What was in use was signed: its signature was kept with it, and goes on after a restart.
    agent.stop();
    agent = place.start();
    let kept = refused(&agent, "ready", "there is no load.wasm.minisig beside it");
    assert_eq!((&kept["digest"], &kept["origin"]["signed_by"]), (&digest(&bytes).into(), &"ops".into()));
    goes_on(&agent);
    replace(&beside(&file), &signature);
    in_use(&agent, &bytes);
    eventually("no problem is left", || problems(&agent).is_empty());
}

#[test]
fn a_key_that_is_taken_back() {
    let signing = Signing::new();
    let (place, file, bytes) = (&signing.place, signing.file(), version(1));
    let signature = signing.ops.sign(place, &bytes);
    replace(&beside(&file), &signature);
    replace(&file, &bytes);
    let agent = place.start();
    in_use(&agent, &bytes);
    agent.stop();
    let other = Key::new(place, "other");
    place.configure(&format!("trust: {{require: signature, keys: {{ops: {{publicKey: \"{}\"}}}}}}", other.public));
    // Neither the file nor the copy that was kept of it is used.
    let agent = place.start();
    let broken = refused(&agent, "broken", "which is not in `trust.keys`");
    assert!(broken["digest"].is_null(), "{broken}");
    assert!(agent.log().text().contains("nor can the version of before the restart be used"));
    replace(&beside(&file), &other.sign(place, &bytes));
    in_use(&agent, &bytes);
    agent.stop();
    // Unsigned copies of a more careless time are no better.
    place.configure("trust: {require: none}");
    fs::remove_file(beside(&file)).unwrap();
    let agent = place.start();
    assert_eq!(in_use(&agent, &bytes)["origin"], serde_json::json!({"trust": "unproved"}));
    agent.stop();
    place.configure(&format!("trust: {{require: signature, keys: {{ops: {{publicKey: \"{}\"}}}}}}", other.public));
    let agent = place.start();
    assert!(refused(&agent, "broken", "it is not signed")["digest"].is_null());
}

#[test]
fn digests() {
    let place = Place::new();
    let (one, two) = (version(1), version(2));
    let listing =
        |bytes: &[u8]| format!("trust: {{require: digest, digests: {{load: [\"sha256:{}\"]}}}}", digest(bytes));
    place.configure(&listing(&one));
    place.write_checks("a.yaml", &check(QUIET));
    let file = place.plugins().join("load.wasm");
    replace(&file, &one);
    let agent = place.start();
    assert_eq!(in_use(&agent, &one)["origin"]["trust"], "listed");
    replace(&file, &two);
    let words = format!("its digest sha256:{} is not in `trust.digests` for `load`", digest(&two));
    let entry = refused(&agent, "ready", &words);
    assert_eq!(entry["digest"], digest(&one));
    goes_on(&agent);
    agent.stop();
    place.configure(&listing(&two));
    let agent = place.start();
    in_use(&agent, &two);
}
