//! Tests the house style: arrows between crates, first lines, file sizes, and what the documents promise.
//!
//! The length of functions (70 lines) is clippy's business: `too_many_lines`, with the threshold in `clippy.toml`.
//! Each rule is a function from text to faults, so that the end of this file can show it failing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Beyond this a file is about more than one thing.
const MAX_FILE_LINES: usize = 500;
/// Two printed pages: what a newcomer reads before the code.
const MAX_ARCHITECTURE_LINES: usize = 150;

/// Which crates of ours a folder under host/ may depend on. The agent, which joins them, may depend on all.
const ARROWS: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("schedule", &["model"]),
    ("probe", &["model"]),
    ("plugin", &["model", "probe"]),
    ("store", &["model"]),
    ("influx", &["model", "store"]),
    ("web", &["model", "store"]),
    ("gossip", &["model"]),
    ("kubernetes", &["model"]),
];

/// Outside crates (the name or its beginning) that one folder alone may name: the rest of the house does not meet them.
const OWNERS: [(&str, &str); 9] = [
    ("wasmtime", "host/plugin"),
    ("rusqlite", "host/store"),
    ("libsqlite3", "host/store"),
    ("influxdb2", "host/influx"),
    ("reqwest", "host/influx"),
    ("axum", "host/web"),
    ("kube", "host/kubernetes"),
    ("k8s-openapi", "host/kubernetes"),
    ("wit-bindgen", "sdk/rust"),
];

// Texts that this file must not hold itself, since it is searched as well.
const LEFT_OPEN: [(&str, &str); 4] = [
    (concat!("todo", "!("), "write the code, or return an error that says what is missing"),
    (concat!("unimplemented", "!("), "write the code, or return an error that says what is missing"),
    (concat!("#[ign", "ore"), "a test that never runs proves nothing: run it, or delete it"),
    (concat!("FIX", "ME"), "mend it, or open an issue"),
];

#[test]
fn crates_depend_only_along_the_arrows() {
    let mut faults = Vec::new();
    for folder in crates() {
        let names = dependencies(&read(&folder, "Cargo.toml"));
        faults.extend(arrow_faults(&folder, &names));
        faults.extend(owner_faults(&folder, &names));
    }
    report(&faults);
}

#[test]
fn crates_are_named_after_their_folders_and_share_the_lints() {
    let faults: Vec<String> =
        crates().iter().flat_map(|folder| manifest_faults(folder, &read(folder, "Cargo.toml"))).collect();
    report(&faults);
    let root = read("", "Cargo.toml");
    let threshold = read("", "clippy.toml");
    assert!(root.contains("too_many_lines = \"warn\""), "Cargo.toml: clippy no longer watches the length of functions");
    assert!(
        threshold.contains("too-many-lines-threshold = 70"),
        "clippy.toml: functions may be 70 lines long, no more"
    );
}

#[test]
fn source_files_say_what_they_are_for_and_stay_small() {
    let files = sources();
    assert!(files.len() > 20, "only {} source files found: the search is broken", files.len());
    let faults: Vec<String> = files.iter().flat_map(|(path, text)| source_faults(path, text)).collect();
    report(&faults);
}

#[test]
fn architecture_names_every_crate() {
    report(&architecture_faults(&read("", "ARCHITECTURE.md"), &crates()));
}

#[test]
fn readme_names_the_two_commands() {
    report(&readme_faults(&read("", "README.md")));
}

#[test]
fn every_plugin_runs_in_a_test_of_the_host() {
    let is_host_test = |path: &str| path.starts_with("host/agent/tests/") && !path.ends_with("/tidy.rs");
    let tests: String = sources().into_iter().filter(|(path, _)| is_host_test(path)).map(|(_, text)| text).collect();
    let plugins: Vec<String> = crates().iter().filter_map(|c| c.strip_prefix("plugins/")).map(str::to_owned).collect();
    assert!(!plugins.is_empty(), "no plugin found: the search is broken");
    report(&untested_plugins(&plugins, &tests));
}

// The rules.

fn arrow_faults(folder: &str, dependencies: &[String]) -> Vec<String> {
    let ours = || dependencies.iter().filter_map(|name| name.strip_prefix("roundsman-"));
    let (allowed, what): (Vec<&str>, String) = match folder.split_once('/') {
        Some(("host", "agent")) => {
            (ours().filter(|&name| name != "sdk").collect(), "the agent does not speak to itself as a plugin".into())
        }
        Some(("host", name)) => match ARROWS.iter().find(|(of, _)| *of == name) {
            Some((_, allowed)) => (
                allowed.to_vec(),
                format!(
                    "{name} may depend on {allowed:?} alone; state what it needs as a small trait and join them in agent/adapters"
                ),
            ),
            None => {
                return vec![format!(
                    "{folder}/Cargo.toml: give the crate its place in ARROWS of host/agent/tests/tidy.rs"
                )];
            }
        },
        Some(("plugins", _)) => (vec!["sdk"], "a plugin depends on the SDK only".into()),
        _ => (vec![], "nothing of ours may be needed here".into()),
    };
    ours()
        .filter(|name| !allowed.contains(name))
        .map(|name| format!("{folder}/Cargo.toml: roundsman-{name}: {what}"))
        .collect()
}

fn owner_faults(folder: &str, dependencies: &[String]) -> Vec<String> {
    let strangers = |(prefix, owner): &(&str, &'static str)| {
        let names = dependencies.iter().filter(|name| *owner != folder && name.starts_with(prefix));
        names.map(|name| format!("{folder}/Cargo.toml: {name}: only {owner} may name it")).collect::<Vec<_>>()
    };
    OWNERS.iter().flat_map(strangers).collect()
}

fn manifest_faults(folder: &str, manifest: &str) -> Vec<String> {
    let expected = match folder.split_once('/') {
        Some(("host", name)) => format!("roundsman-{name}"),
        Some(("plugins", name)) => format!("plugin-{name}"),
        Some(("sdk", "rust")) => "roundsman-sdk".to_owned(),
        _ => folder.to_owned(),
    };
    let mut faults = Vec::new();
    if !manifest.lines().any(|line| line == format!("name = \"{expected}\"")) {
        faults.push(format!("{folder}/Cargo.toml: the package is to be named {expected}"));
    }
    // An SDK is built outside the workspace as well, where there is nothing to inherit from.
    let own =
        folder.starts_with("sdk/") && manifest.contains("\n[lints.rust]\n") && manifest.contains("\n[lints.clippy]\n");
    if !own && !manifest.contains("\n[lints]\nworkspace = true\n") {
        faults.push(format!("{folder}/Cargo.toml: write `[lints]` and `workspace = true` under it"));
    }
    faults
}

fn source_faults(path: &str, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let first = text.lines().next().unwrap_or_default();
    if first.strip_prefix("//! ").is_none_or(|sentence| sentence.split_whitespace().count() < 3) {
        faults.push(format!("{path}:1: begin with `//! ` and one sentence that says what the file is for"));
    }
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
    let is_test = path.contains("/tests/") || path.contains("/benches/");
    if !is_test && lines > MAX_FILE_LINES {
        faults.push(format!(
            "{path}: {lines} lines before its tests, {MAX_FILE_LINES} are allowed: split it by what its parts are about"
        ));
    }
    for (number, line) in text.lines().enumerate() {
        for (word, advice) in LEFT_OPEN.iter().filter(|(word, _)| line.contains(word)) {
            faults.push(format!("{path}:{}: `{word}`: {advice}", number + 1));
        }
        if path.starts_with("host/") && line.trim_start().starts_with("pub use roundsman_") {
            faults.push(format!(
                "{path}:{}: our crates do not re-export one another: name the thing where it lives",
                number + 1
            ));
        }
    }
    faults
}

fn architecture_faults(text: &str, folders: &[String]) -> Vec<String> {
    let lines = text.lines().count();
    let mut faults = Vec::new();
    if lines > MAX_ARCHITECTURE_LINES {
        faults.push(format!("ARCHITECTURE.md: {lines} lines, {MAX_ARCHITECTURE_LINES} are allowed: leave details to the first lines of the files"));
    }
    // Plugins come and go as drop-ins do; the document names their folder.
    let named =
        |folder: &&String| folder.starts_with("plugins/") && has_word(text, "plugins") || has_word(text, folder);
    let missing = folders.iter().filter(|folder| !named(folder));
    faults.extend(missing.map(|folder| format!("ARCHITECTURE.md: does not name {folder}")));
    faults
}

fn readme_faults(text: &str) -> Vec<String> {
    let missing = ["cargo xtask run", "cargo xtask test"].into_iter().filter(|command| !text.contains(command));
    missing.map(|command| format!("README.md: does not name `{command}`")).collect()
}

/// A test names a plugin by its file (`disk.wasm`), in a check (`plugin: disk`) or as a text of its own (`"disk"`).
fn untested_plugins(plugins: &[String], tests: &str) -> Vec<String> {
    let tested = |name: &&String| {
        has_word(tests, &format!("{name}.wasm"))
            || has_word(tests, &format!("plugin: {name}"))
            || tests.contains(&format!("\"{name}\""))
    };
    let untested = plugins.iter().filter(|name| !tested(name));
    untested.map(|name| format!("plugins/{name}: no test in host/agent/tests runs it in the real host")).collect()
}

// Reading.

/// The names under every kind of dependencies, in any of TOML's usual spellings; for a renamed one, both names.
fn dependencies(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut listing = false;
    for line in manifest.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(header) = line.strip_prefix('[') {
            let header = header.trim_end_matches(']');
            listing = header.ends_with("dependencies");
            if let Some((_, name)) = header.split_once("dependencies.") {
                names.push(unquoted(name));
            }
        } else if let Some((key, value)) = line.split_once('=') {
            if listing {
                names.push(unquoted(key.split('.').next().unwrap_or(key)));
            }
            if let Some((_, package)) = line.split_once("package = \"").filter(|_| listing) {
                names.push(unquoted(package.split('"').next().unwrap_or(package)));
            } else if key.trim() == "package" {
                names.push(unquoted(value));
            }
        }
    }
    names
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches('"').to_owned()
}

/// Whether a text holds a word that is not a part of a longer one.
fn has_word(text: &str, word: &str) -> bool {
    let ends = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != '-');
    text.match_indices(word)
        .any(|(at, _)| ends(text[..at].chars().next_back()) && ends(text[at + word.len()..].chars().next()))
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(folder: &str, file: &str) -> String {
    let path = root().join(folder).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| unreadable(&path, &error))
}

#[expect(clippy::panic, reason = "a test that cannot read the tree has failed")]
fn unreadable(path: &Path, error: &std::io::Error) -> ! {
    panic!("{}: {error}", path.display())
}

/// The members of the workspace as folders relative to the root, with `/` between. What is a workspace of its own, as
/// the example for authors is, stands for code that is not ours.
fn crates() -> Vec<String> {
    let mut found = vec!["xtask".to_owned()];
    for parent in ["host", "plugins", "sdk"] {
        let entries = fs::read_dir(root().join(parent)).expect("the workspace has this folder").flatten();
        let is_member = |entry: &fs::DirEntry| {
            let manifest = fs::read_to_string(entry.path().join("Cargo.toml"));
            manifest.is_ok_and(|text| !text.lines().any(|line| line == "[workspace]"))
        };
        let names = entries.filter(is_member).map(|entry| entry.file_name());
        found.extend(names.map(|name| format!("{parent}/{}", name.to_string_lossy())));
    }
    found.sort();
    found
}

/// Every .rs file of the repository with its text, by its path relative to the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let path = root().join(&folder);
        for entry in fs::read_dir(&path).unwrap_or_else(|error| unreadable(&path, &error)).flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let inner = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let kind = entry.file_type().expect("the entry was just listed");
            if kind.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(inner);
            } else if kind.is_file() && name.ends_with(".rs") {
                let text = read("", &inner);
                found.insert(inner, text);
            }
        }
    }
    found
}

#[track_caller]
fn report(faults: &[String]) {
    assert!(faults.is_empty(), "{} faults against the house style:\n  {}", faults.len(), faults.join("\n  "));
}

/// That each rule fails when it is broken.
mod the_rules_themselves {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn dependencies_are_found_in_every_spelling() {
        let manifest = "[package]\nname = \"x\"\n# serde = \"1\"\n[dependencies]\nserde.workspace = true\ntokio = { version = \"1\" }\n\
            old = { package = \"reqwest\", version = \"0.11\" }\n\"quoted\" = \"1\"\n[dependencies.rusqlite]\nversion = \"1\"\n\
            [dependencies.short]\npackage = \"kube\"\n[dev-dependencies]\nwat.workspace = true\n[build-dependencies]\ncc = \"1\"\n\
            [target.'cfg(unix)'.dependencies]\nlibc = \"0.2\"\n[features]\ndefault = []\n";
        let expected = ["serde", "tokio", "old", "reqwest", "quoted", "rusqlite", "short", "kube", "wat", "cc", "libc"];
        assert_eq!(dependencies(manifest), expected);
    }

    #[test]
    fn arrows() {
        for (folder, names, faults) in [
            ("host/model", &["serde"][..], 0),
            ("host/model", &["roundsman-probe"], 1),
            ("host/plugin", &["roundsman-model", "roundsman-probe"], 0),
            ("host/plugin", &["roundsman-store", "roundsman-web"], 2),
            ("host/web", &["roundsman-store"], 0),
            ("host/agent", &["roundsman-store", "roundsman-plugin"], 0),
            ("host/agent", &["roundsman-sdk"], 1),
            ("host/unheard-of", &[], 1),
            ("plugins/disk", &["roundsman-sdk", "serde"], 0),
            ("plugins/disk", &["roundsman-model"], 1),
            ("sdk/rust", &["serde"], 0),
            ("sdk/rust", &["roundsman-model"], 1),
            ("xtask", &["roundsman-agent"], 1),
        ] {
            assert_eq!(arrow_faults(folder, &strings(names)).len(), faults, "{folder} {names:?}");
        }
    }

    #[test]
    fn owners() {
        for (folder, names, faults) in [
            ("host/plugin", &["wasmtime", "wasmtime-wasi"][..], 0),
            ("host/agent", &["wasmtime-wasi"], 1),
            ("host/web", &["rusqlite", "axum"], 1),
            ("host/agent", &["reqwest011", "influxdb2", "influxdb-line-protocol"], 2),
            ("host/agent", &["kube-runtime"], 1),
        ] {
            assert_eq!(owner_faults(folder, &strings(names)).len(), faults, "{folder} {names:?}");
        }
    }

    #[test]
    fn manifests() {
        let shared = "[package]\nname = \"roundsman-web\"\n\n[lints]\nworkspace = true\n";
        let own = "[package]\nname = \"roundsman-sdk\"\n\n[lints.rust]\nx = 1\n[lints.clippy]\ny = 1\n";
        for (folder, manifest, faults) in [
            ("host/web", shared, 0),
            ("host/wob", shared, 1),
            ("sdk/rust", own, 0),
            ("sdk/rust", "[package]\nname = \"roundsman-sdk\"\n", 1),
            ("plugins/web", own, 2),
        ] {
            assert_eq!(manifest_faults(folder, manifest).len(), faults, "{folder} {manifest}");
        }
    }

    #[test]
    fn files() {
        let head = "//! Says what it is for.\n";
        let long = format!("{head}{}", "x\n".repeat(MAX_FILE_LINES));
        let tested =
            format!("{head}{}#[cfg(test)]\n{}", "x\n".repeat(MAX_FILE_LINES - 1), "x\n".repeat(MAX_FILE_LINES));
        let open: String = LEFT_OPEN.iter().map(|(word, _)| format!("    {word}\n")).collect();
        for (path, text, faults) in [
            ("host/a/src/lib.rs", head, 0),
            ("host/a/src/lib.rs", "use std::fs;\n", 1),
            ("host/a/src/lib.rs", "//! Placeholder.\n", 1),
            ("host/a/src/lib.rs", "", 1),
            ("host/a/src/lib.rs", &long, 1),
            ("host/a/tests/all.rs", &long, 0),
            ("host/a/src/lib.rs", &tested, 0),
            ("host/a/src/lib.rs", &format!("{head}{open}"), LEFT_OPEN.len()),
            ("host/a/src/lib.rs", &format!("{head}pub use roundsman_model::Check;\n"), 1),
        ] {
            assert_eq!(source_faults(path, text).len(), faults, "{path} {}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn documents() {
        let folders = strings(&["host/web", "plugins/disk", "xtask"]);
        let whole = "`host/web/` and plugins/, built by xtask\n";
        for (text, faults) in [(whole, 0), ("host/webs xtasks\n", 3), (&whole.repeat(MAX_ARCHITECTURE_LINES + 1), 1)] {
            assert_eq!(architecture_faults(text, &folders).len(), faults, "{}", &text[..text.len().min(80)]);
        }
        assert_eq!(readme_faults("`cargo xtask run`").len(), 1);
        assert_eq!(readme_faults("`cargo xtask run`, `cargo xtask test`").len(), 0);
    }

    #[test]
    fn plugins_without_a_test() {
        let plugins = strings(&["disk", "http"]);
        for (tests, faults) in [
            ("plugin: disk\n load(\"http.wasm\")", 0),
            ("\"disk\" plugin: http", 0),
            ("plugin: disk2 xhttp.wasm \"https\"", 2),
            ("use the disk; GET http://x", 2),
        ] {
            assert_eq!(untested_plugins(&plugins, tests).len(), faults, "{tests}");
        }
    }
}
