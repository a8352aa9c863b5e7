//! What building and testing need beyond rustup, git and a C compiler: fetched here, or named with its command.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::workspace::{Workspace, exists, line, output, run};

/// What plugins are compiled for.
pub(crate) const PLUGIN_TARGET: &str = "wasm32-wasip2";

/// Programs that tests talk to, and the Debian packages that hold them.
const SERVERS: [(&str, &str); 2] = [("influxd", "influxdb"), ("victoria-metrics", "victoria-metrics")];

/// Adds the plugins' target to the toolchain in use.
pub(crate) fn plugin_target() -> Result<()> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = output(Command::new(rustc).args(["--print", "target-libdir", "--target", PLUGIN_TARGET]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", PLUGIN_TARGET]);
    eprintln!("adding the plugins' target: {}", line(&add));
    run(&mut add).with_context(|| format!("plugins need the target {PLUGIN_TARGET}; with rustup: {}", line(&add)))
}

/// Sees to it that the servers of Debian are at hand, and returns the search path with which they are found.
///
/// Packages are unpacked under the target folder: that needs no root, and starts no service on this machine. Without
/// them the tests that need them say that they were skipped, so nothing here is an error.
pub(crate) fn servers(workspace: &Workspace) -> Result<OsString> {
    let folder = workspace.target.join("tools/servers");
    let path = search_path(&folder)?;
    let missing =
        |path: &OsString| SERVERS.into_iter().filter(|(program, _)| !on_path(path, program)).collect::<Vec<_>>();
    let wanted = missing(&path);
    if wanted.is_empty() {
        return Ok(path);
    }
    let packages: Vec<&str> = wanted.iter().map(|(_, package)| *package).collect();
    eprintln!("fetching the packages {} for the tests", packages.join(" and "));
    if let Err(error) = unpack(&folder, &packages) {
        let programs: Vec<&str> = missing(&path).iter().map(|(program, _)| *program).collect();
        eprintln!("without {}: {error:#}", programs.join(" and "));
        eprintln!("tests that need them will be skipped; on Debian: sudo apt-get install {}", packages.join(" "));
    }
    Ok(path)
}

fn unpack(folder: &Path, packages: &[&str]) -> Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        anyhow::ensure!(exists(program), "there is no {program} here");
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut download = Command::new("apt-get");
    // The sandbox user of apt cannot write to the target folder; what it would protect from is not run as root either.
    download.current_dir(folder).args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(packages);
    if output(&mut download).is_err() {
        // A fresh machine has no package lists yet, and only root may fetch them.
        if output(Command::new("id").arg("-u"))?.trim() == "0" {
            output(Command::new("apt-get").args(["-qq", "update"]))?;
        }
        output(&mut download)?;
    }
    for entry in fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let archive = entry.with_context(|| format!("listing {}", folder.display()))?.path();
        if archive.extension().is_some_and(|extension| extension == "deb") {
            output(Command::new("dpkg-deb").arg("--extract").arg(&archive).arg(folder))?;
            fs::remove_file(&archive).with_context(|| format!("removing {}", archive.display()))?;
        }
    }
    Ok(())
}

/// Programs of this machine come first.
fn search_path(servers: &Path) -> Result<OsString> {
    let usual = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&usual).chain([servers.join("usr/bin")]).filter(|folder| *folder != PathBuf::new());
    env::join_paths(folders).context("the target folder's name cannot stand in PATH")
}

fn on_path(path: &OsStr, program: &str) -> bool {
    env::split_paths(path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    #[test]
    fn a_fetched_server_is_found_last() {
        let scratch = Scratch::new();
        let path = search_path(&scratch.0).unwrap();
        assert!(on_path(&path, "sh"));
        assert!(!on_path(&path, "a-server"));
        scratch.write("usr/bin/a-server", "");
        assert!(on_path(&path, "a-server"));
        assert_eq!(env::split_paths(&path).last(), Some(scratch.0.join("usr/bin")));
    }
}
