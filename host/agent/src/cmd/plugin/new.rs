//! `roundsman plugin new`: a crate that builds, tests and delivers as it stands, without a network.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use roundsman_model::name::PluginName;

use crate::cmd::table::say;

/// The SDK's files, and what it is built from as a Cargo.lock names it.
mod embedded {
    include!(concat!(env!("OUT_DIR"), "/sdk.rs"));
}

/// The files of a new crate, by their place in it.
const TEMPLATE: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("new/template/manifest.toml")),
    (".cargo/config.toml", include_str!("new/template/config.toml")),
    (".gitignore", include_str!("new/template/gitignore")),
    ("README.md", include_str!("new/template/readme.md")),
    ("src/lib.rs", include_str!("new/template/plugin.rs")),
    ("tests/cases.yaml", include_str!("new/template/cases.yaml")),
];
/// Where the SDK lies in a new crate, unless another one is named.
const VENDORED: &str = "vendor/roundsman-sdk";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plugin's name: the crate's, the file's, and what checks call it
    #[arg(value_parser = name)]
    name: PluginName,
    /// Where the crate's folder is made
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,
    /// Use the SDK that lies here instead of a copy of this program's own
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

pub(crate) fn execute(Arguments { name, dir, sdk }: &Arguments) -> anyhow::Result<ExitCode> {
    let sdk = sdk.as_deref().map(own_sdk).transpose()?;
    let folder = dir.join(name.as_str());
    if folder.exists() {
        bail!("{} is there already: choose another name, or another place by --dir", folder.display());
    }
    for (file, text) in files(name, sdk.as_deref()) {
        write(&folder.join(file), &text)?;
    }
    let folder = folder.display();
    let file = component(name);
    say(&format!(
        "{folder} is a whole plugin; change src/lib.rs into yours. Its README.md says what comes next:\n\n\
         cd {folder}\ncargo test\ncargo build --release --target wasm32-wasip2\nroundsman plugin test {file}\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Cargo takes no name that begins with a digit, and Rust no crate that is called as one of its own words.
fn name(text: &str) -> Result<PluginName, String> {
    let name = PluginName::new(text).map_err(|error| error.to_string())?;
    if !text.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("the name must begin with a letter: it is also the name of a crate".to_owned());
    }
    if WORDS.contains(&text) {
        return Err(format!("`{text}` is a word that no crate can be called by"));
    }
    Ok(name)
}

/// Rust's own words, and the crates that a plugin depends on.
const WORDS: [&str; 22] = [
    "as", "async", "await", "break", "const", "core", "crate", "dyn", "else", "enum", "extern", "for", "if", "impl",
    "in", "mod", "ref", "schemars", "self", "serde", "std", "test",
];

/// The path of an SDK that is there, from wherever the new crate lies.
fn own_sdk(path: &Path) -> anyhow::Result<String> {
    let whole = path.canonicalize().with_context(|| format!("there is no SDK at {}", path.display()))?;
    if !whole.join("wit/plugin.wit").is_file() {
        bail!("{} is not the SDK: it has no wit/plugin.wit", whole.display());
    }
    whole.to_str().map(str::to_owned).context("the path of the SDK is not UTF-8")
}

/// Everything that is written, by its place in the folder.
fn files(name: &PluginName, sdk: Option<&str>) -> Vec<(String, String)> {
    let fill = |text: &str| {
        let (lib, sdk) = (library(name), sdk.unwrap_or(VENDORED));
        let words = [
            ("{{name}}", name.as_str()),
            ("{{lib}}", &lib),
            ("{{series}}", &lib),
            ("{{Type}}", &type_name(name)),
            ("{{file}}", &component(name)),
            ("{{sdk}}", sdk),
        ];
        words.into_iter().fold(text.to_owned(), |text, (mark, word)| text.replace(mark, word))
    };
    let mut files: Vec<(String, String)> =
        TEMPLATE.into_iter().map(|(file, text)| (file.to_owned(), fill(text))).collect();
    if sdk.is_none() {
        files.push(("Cargo.lock".to_owned(), lock(name)));
        files.extend(embedded::SDK.iter().map(|(file, text)| (format!("{VENDORED}/{file}"), (*text).to_owned())));
    }
    files
}

/// The versions from which this program itself was built: cargo's cache has them wherever that was done.
fn lock(name: &PluginName) -> String {
    let own = format!(
        "[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n\
         dependencies = [\n \"roundsman-sdk\",\n \"schemars\",\n \"serde\",\n]\n\n"
    );
    let mut entries: Vec<String> = embedded::LOCKED
        .split_inclusive("\n\n")
        .map(str::to_owned)
        .chain([own])
        .filter(|e| !e.trim().is_empty())
        .collect();
    // Cargo keeps them sorted by name, and rewrites a file that is not.
    entries.sort_by_key(|entry| entry.lines().nth(1).unwrap_or_default().to_owned());
    let head =
        "# This file is automatically @generated by Cargo.\n# It is not intended for manual editing.\nversion = 4\n\n";
    format!("{head}{}\n", entries.concat().trim_end())
}

fn library(name: &PluginName) -> String {
    name.as_str().replace('-', "_")
}

/// What cargo makes.
fn component(name: &PluginName) -> String {
    format!("target/wasm32-wasip2/release/{}.wasm", library(name))
}

/// `disk-usage` as the name of a type: `DiskUsage`.
fn type_name(name: &PluginName) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect::<String>()
    };
    let name: String = name.as_str().split('-').map(capital).collect();
    // Names that the template takes from elsewhere.
    let taken = ["Check", "Describe", "Fault", "Field", "Outcome", "Point", "Request", "Series", "Settings", "Option"];
    if taken.contains(&name.as_str()) { format!("{name}Check") } else { name }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    fs::write(path, text).with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (text, right) in
            [("word", true), ("disk-usage2", true), ("2word", false), ("Word", false), ("self", false), ("", false)]
        {
            assert_eq!(name(text).is_ok(), right, "{text}");
        }
        for (text, expected) in [("word", "Word"), ("disk-usage", "DiskUsage"), ("check", "CheckCheck"), ("a--b", "AB")]
        {
            assert_eq!(type_name(&name(text).unwrap()), expected);
        }
    }

    #[test]
    fn nothing_is_left_to_fill_in() {
        for sdk in [None, Some("/somewhere/sdk")] {
            let files = files(&name("disk-usage").unwrap(), sdk);
            for (file, text) in files.iter().filter(|(file, _)| !file.starts_with(VENDORED)) {
                assert!(!text.contains("{{"), "{file}");
                assert!(!text.contains("}}") || file == "tests/cases.yaml", "{file}");
            }
            assert_eq!(files.iter().any(|(file, _)| file == "vendor/roundsman-sdk/wit/plugin.wit"), sdk.is_none());
        }
    }

    #[test]
    fn the_lock_file_is_whole_and_sorted() {
        let lock = lock(&name("word").unwrap());
        let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        for name in ["\"word\"", "\"roundsman-sdk\"", "\"regex-lite\"", "\"wit-bindgen\"", "\"serde_json\""] {
            assert!(names.contains(&name), "{name}");
        }
    }
}
