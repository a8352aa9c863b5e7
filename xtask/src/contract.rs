//! `release-contract`: keeps the contract and some plugins as they are now, for tests to hold later versions against.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::workspace::Workspace;
use crate::{build, files};

/// What the packages of the contract are called in `wit/deps`.
const OURS: &str = "roundsman-";
/// Plugins that between them import most of what there is, and are small.
const KEPT: [&str; 3] = ["dns", "http", "nagios"];

/// Makes `host/plugin/tests/released/VERSION` anew.
pub(crate) fn release(workspace: &Workspace) -> Result<()> {
    let wit = workspace.root.join("wit");
    let version = version(&wit)?;
    // A version that is frozen is nobody's to change.
    ensure!(version.starts_with("0."), "{version} is frozen: write a version that follows it into wit/ first");
    let built = build::plugins(workspace)?;
    let folder = workspace.root.join("host/plugin/tests/released").join(&version);
    for package in fs::read_dir(wit.join("deps")).context("listing wit/deps")? {
        let package = package.context("listing wit/deps")?;
        if package.file_name().to_string_lossy().starts_with(OURS) {
            let to = folder.join("wit/deps").join(package.file_name());
            for file in files::list(&package.path())? {
                files::copy(&package.path().join(&file), &to.join(&file))?;
            }
        }
    }
    for plugin in built.iter().filter(|file| KEPT.iter().any(|name| is_named(file, name))) {
        files::copy(plugin, &folder.join(plugin.file_name().context("a plugin without a name")?))?;
    }
    println!("the contract {version} is kept in {}", folder.display());
    Ok(())
}

fn is_named(file: &Path, name: &str) -> bool {
    file.file_stem().is_some_and(|stem| stem == name)
}

/// The version of the package that all plugins use.
fn version(wit: &Path) -> Result<String> {
    let file: PathBuf = wit.join("deps/roundsman-check/types.wit");
    let text = fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
    let version = text.lines().find_map(|line| line.strip_prefix("package roundsman:check@")?.strip_suffix(';'));
    Ok(version.with_context(|| format!("{} names no version", file.display()))?.to_owned())
}
