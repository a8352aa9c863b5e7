//! Builds the agent and the plugins, and puts the plugins where agents look for them.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

use crate::files;
use crate::setup::{self, PLUGIN_TARGET};
use crate::workspace::{Workspace, run};

/// How the agent is compiled.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Profile {
    /// Quickly: what tests look at.
    Release,
    /// Thoroughly: what is installed and measured.
    Dist,
}

impl Profile {
    /// As cargo calls it, and its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Profile::Release => "release",
            Profile::Dist => "dist",
        }
    }
}

pub(crate) fn everything(workspace: &Workspace, profile: Profile) -> Result<()> {
    let agent = agent(workspace, profile)?;
    let count = plugins(workspace)?.len();
    println!("{}\n{count} plugins in {}", agent.display(), folder(workspace).display());
    Ok(())
}

/// The agent. With `--workspace`, since cargo would otherwise choose other features of shared crates than the tests
/// have, and compile wasmtime twice.
pub(crate) fn agent(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    run(&mut workspace.cargo(["build", "--profile", profile.name(), "--workspace", "--bin", "roundsman"]))?;
    let agent = workspace.target.join(profile.name()).join("roundsman");
    ensure!(agent.is_file(), "cargo built no {}: is `build.target` set in a configuration of cargo?", agent.display());
    Ok(agent)
}

/// Every folder in plugins/ as one component in `target/plugins`; returns the files.
pub(crate) fn plugins(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    setup::plugin_target()?;
    let names = names(workspace)?;
    let mut command = workspace.cargo(["build", "--profile", "plugin", "--target", PLUGIN_TARGET]);
    for name in &names {
        command.args(["--package", &format!("plugin-{name}")]);
    }
    run(&mut command)?;
    let built = workspace.target.join(PLUGIN_TARGET).join("plugin");
    let mut files = Vec::new();
    for name in &names {
        let file = folder(workspace).join(format!("{name}.wasm"));
        let library = format!("{}.wasm", name.replace('-', "_"));
        files::copy(&built.join(library), &file).with_context(|| {
            format!("plugins/{name}/Cargo.toml is to make a cdylib named {}", name.replace('-', "_"))
        })?;
        files.push(file);
    }
    // A plugin that was renamed or removed in the source is not to live on here.
    for old in files::list(&folder(workspace))? {
        let old = folder(workspace).join(old);
        if !files.contains(&old) {
            files::remove(&old)?;
        }
    }
    Ok(files)
}

/// Where the built plugins lie.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join("plugins")
}

fn names(workspace: &Workspace) -> Result<Vec<String>> {
    let folder = workspace.root.join("plugins");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("listing {}", folder.display()))? {
        let entry = entry.with_context(|| format!("listing {}", folder.display()))?;
        if entry.path().join("Cargo.toml").is_file() {
            let not_text = |name: OsString| anyhow::anyhow!("{}: a plugin's name is plain text", name.display());
            names.push(entry.file_name().into_string().map_err(not_text)?);
        }
    }
    ensure!(!names.is_empty(), "{} holds no plugin", folder.display());
    names.sort();
    Ok(names)
}
