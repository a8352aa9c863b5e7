//! Puts the SDK's source and the versions of what it is built from into the binary, for `roundsman plugin new`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../..");
    let root = root.canonicalize().expect("the crate lies in host/agent");
    let mut files = Vec::new();
    collect(&root.join("sdk/rust/src"), "src", &mut files);
    collect(&root.join("wit"), "wit", &mut files);
    files.push(("Cargo.toml".to_owned(), root.join("sdk/rust/Cargo.toml")));
    files.sort();
    let mut made = String::from("pub(super) const SDK: &[(&str, &str)] = &[\n");
    for (name, path) in &files {
        writeln!(made, "    ({name:?}, include_str!({:?})),", path.display().to_string()).expect("a string takes it");
    }
    made.push_str("];\n");
    let lock = root.join("Cargo.lock");
    let locked = locked(&fs::read_to_string(&lock).expect("the workspace has a Cargo.lock"));
    writeln!(made, "pub(super) const LOCKED: &str = {locked:?};").expect("a string takes it");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("sdk.rs");
    fs::write(out, made).expect("cargo's own folder can be written");
    for watched in [root.join("sdk/rust/src"), root.join("sdk/rust/Cargo.toml"), root.join("wit"), lock] {
        println!("cargo::rerun-if-changed={}", watched.display());
    }
}

/// Every file of source, with its name in the SDK's own folder.
fn collect(folder: &Path, name: &str, files: &mut Vec<(String, PathBuf)>) {
    for entry in fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("it can be listed").path();
        let own = path.file_name().and_then(|name| name.to_str()).expect("names are plain").to_owned();
        let name = format!("{name}/{own}");
        if path.is_dir() {
            collect(&path, &name, files);
        } else if ["rs", "wit", "json"].iter().any(|kind| path.extension().is_some_and(|own| own == *kind)) {
            files.push((name, path));
        }
    }
}

/// The entries of a Cargo.lock for the SDK and everything that it is built from.
fn locked(lock: &str) -> String {
    let field = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(&format!("{key} = \"")));
        line.and_then(|line| line.strip_suffix('"')).unwrap_or_default().to_owned()
    };
    let blocks: Vec<&str> = lock.split("[[package]]\n").skip(1).map(str::trim_end).collect();
    let find = |wanted: &str| {
        let (name, version) = wanted.split_once(' ').unwrap_or((wanted, ""));
        let fits =
            |block: &&&str| field(block, "name") == name && (version.is_empty() || field(block, "version") == version);
        *blocks.iter().find(fits).expect("a dependency is in the lock file")
    };
    let (mut open, mut found) = (vec!["roundsman-sdk".to_owned()], BTreeMap::new());
    while let Some(wanted) = open.pop() {
        let block = find(&wanted);
        if found.insert((field(block, "name"), field(block, "version")), block).is_none() {
            open.extend(dependencies(block));
        }
    }
    let names: Vec<&String> = found.keys().map(|(name, _)| name).collect();
    let several: BTreeSet<&str> =
        names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0].as_str()).collect();
    let mut text = String::new();
    for block in found.values() {
        let mut block = (*block).to_owned();
        for wanted in dependencies(&block) {
            // A version beside the name only where there are several of that name.
            if let Some((name, _)) = wanted.split_once(' ').filter(|(name, _)| !several.contains(name)) {
                block = block.replace(&format!("\"{wanted}\""), &format!("\"{name}\""));
            }
        }
        write!(text, "[[package]]\n{block}\n\n").expect("a string takes it");
    }
    text
}

fn dependencies(block: &str) -> Vec<String> {
    let lines = block.lines().filter_map(|line| line.trim().strip_prefix('"'));
    lines.filter_map(|line| line.strip_suffix("\",")).map(str::to_owned).collect()
}
