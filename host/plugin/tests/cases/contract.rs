//! The contract keeps its word: what was released is still there with the same types, and plugins that were built against
//! it load and run. `tests/released/README.md` says how a release gets in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use wit_parser::{Resolve, WorldId};

use crate::support::Run;

/// What marks a released package in the same tree as its successor: two packages of one name need two versions.
const MARK: &str = "-released";

pub(crate) fn contract() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit")
}

/// The folders of releases by their versions.
fn releases() -> BTreeMap<String, PathBuf> {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/released");
    let folders = names(&released).into_iter().map(|version| (version.clone(), released.join(version)));
    let folders: BTreeMap<_, _> = folders.filter(|(_, folder)| folder.join("wit/deps").is_dir()).collect();
    assert!(!folders.is_empty(), "{} holds no release: make it by `cargo xtask release-contract`", released.display());
    folders
}

/// The names of what lies in a folder, in order.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Adds our own packages of a folder like wit/ to a tree, with a mark behind their versions.
pub(crate) fn add(resolve: &mut Resolve, folder: &Path, mark: &str) -> Result<(), String> {
    let marked = |text: String| text.replace("@0.1.0", &format!("@0.1.0{mark}"));
    let mut groups = Vec::new();
    for package in names(&folder.join("deps")).into_iter().filter(|name| name.starts_with("roundsman-")) {
        let mut map = wit_parser::SourceMap::new();
        for file in names(&folder.join("deps").join(&package)) {
            let path = folder.join("deps").join(&package).join(&file);
            map.push(&path, marked(fs::read_to_string(&path).map_err(|error| error.to_string())?));
        }
        groups.push(map.parse().map_err(|(_, error)| format!("{package}: {error}"))?);
    }
    // `check` is used by `cluster`: in whatever order, what is used comes first.
    groups.sort_by_key(|group| !group.main.name.name.contains("check"));
    for group in groups {
        resolve.push_group(group).map_err(|error| format!("{error:#}"))?;
    }
    Ok(())
}

fn worlds(resolve: &Resolve, mark: &str) -> Vec<(String, WorldId)> {
    let named = resolve.worlds.iter().filter_map(|(id, world)| {
        let package = &resolve.packages[world.package?].name;
        let version = package.version.as_ref()?.to_string();
        (version == format!("0.1.0{mark}"))
            .then(|| (format!("{}:{}/{}", package.namespace, package.name, world.name), id))
    });
    named.collect()
}

#[test]
fn every_released_world_is_still_served() {
    let mut compared = 0;
    for (version, folder) in releases() {
        let mut resolve = Resolve::default();
        add(&mut resolve, &contract(), "").unwrap();
        add(&mut resolve, &folder.join("wit"), MARK).unwrap();
        let current = worlds(&resolve, "");
        for (name, before) in worlds(&resolve, MARK) {
            let now = current.iter().find(|(known, _)| *known == name);
            let (_, now) = now.unwrap_or_else(|| panic!("{name} of release {version} is gone"));
            // A plugin is the one who is instantiated: what it imports must be there, what it exports is asked for.
            if let Err(error) = wit_component::semver_check(resolve.clone(), before, *now) {
                panic!("{name} is not what it was in release {version}, and plugins built then do not link: {error:#}");
            }
            compared += 1;
        }
    }
    assert!(compared >= 3, "only {compared} worlds are left in tests/released");
}

#[test]
fn every_released_plugin_still_runs() {
    let releases = releases();
    let bench = crate::bench();
    let mut run = 0;
    for (version, folder) in releases {
        for name in names(&folder).into_iter().filter(|name| name.ends_with(".wasm")) {
            let plugin = bench.load(&fs::read(folder.join(&name)).unwrap());
            let plugin = plugin.unwrap_or_else(|error| panic!("{name} of release {version} is no plugin: {error:#}"));
            let report = bench.run(&plugin, &Run::new());
            // Without target and settings it may well be at a loss, but it must not have broken off.
            assert_ne!(report.code.as_deref(), Some("trap"), "{name} of release {version}: {report:?}");
            assert!(report.began.is_some(), "{name} of release {version}: {report:?}");
            run += 1;
        }
    }
    assert!(run >= 1, "no plugin is left in tests/released");
}

/// The check itself can fail: a type that changes, a function that goes.
#[test]
fn a_change_that_breaks_plugins_is_seen() {
    let http = fs::read_to_string(contract().join("deps/roundsman-net/http.wit")).unwrap();
    for (from, to) in [
        ("status: func() -> u16;", "status: func() -> u32;"),
        ("send: func() -> result<response, failure>;", ""),
        ("set-body: func(body: list<u8>);", "set-body: func(body: string);"),
    ] {
        assert!(http.contains(from), "{from}");
        let folder = tempfile::tempdir().unwrap();
        copy(&contract(), folder.path());
        fs::write(folder.path().join("deps/roundsman-net/http.wit"), http.replace(from, to)).unwrap();
        let mut resolve = Resolve::default();
        add(&mut resolve, folder.path(), "").unwrap();
        add(&mut resolve, &contract(), MARK).unwrap();
        let world = |mark| worlds(&resolve, mark).into_iter().find(|(name, _)| name == "roundsman:net/net").unwrap().1;
        let (before, now) = (world(MARK), world(""));
        assert!(wit_component::semver_check(resolve, before, now).is_err(), "{from} -> {to} was not noticed");
    }
}

fn copy(from: &Path, to: &Path) {
    for package in names(&from.join("deps")).into_iter().filter(|name| name.starts_with("roundsman-")) {
        fs::create_dir_all(to.join("deps").join(&package)).unwrap();
        for file in names(&from.join("deps").join(&package)) {
            let name = Path::new("deps").join(&package).join(file);
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}
