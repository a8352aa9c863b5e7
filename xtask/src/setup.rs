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
const SERVERS: [(&str, &str); 11] = [
    ("influxd", "influxdb"),
    ("victoria-metrics", "victoria-metrics"),
    ("nginx", "nginx"),
    ("named", "bind9"),
    ("etcd", "etcd-server"),
    ("chronyd", "chrony"),
    ("minisign", "minisign"),
    ("dbus-daemon", "dbus-daemon"),
    ("check_http", "monitoring-plugins-basic"),
    ("prometheus-node-exporter", "prometheus-node-exporter"),
    ("prometheus-blackbox-exporter", "prometheus-blackbox-exporter"),
];

/// Where Debian puts programs.
const PROGRAMS: [&str; 3] = ["usr/bin", "usr/sbin", "usr/lib/nagios/plugins"];

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

/// How other programs find the servers: variables of their environment.
#[derive(Debug)]
pub(crate) struct Servers {
    path: OsString,
    libraries: OsString,
}

impl Servers {
    /// For a command that talks to them. Programs and libraries of this machine come first.
    pub(crate) fn at_hand<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command.env("PATH", &self.path).env("LD_LIBRARY_PATH", &self.libraries)
    }
}

/// Sees to it that the servers of Debian are at hand.
///
/// Packages are unpacked under the target folder, with what they depend on and this machine lacks: that needs no root, and
/// starts no service. Without them the tests that need them say that they were skipped, so nothing here is an error.
pub(crate) fn servers(workspace: &Workspace) -> Result<Servers> {
    let folder = workspace.target.join("tools/servers");
    let servers = Servers { path: search_path(&folder)?, libraries: library_path(&folder)? };
    let missing = || SERVERS.into_iter().filter(|(program, _)| !on_path(&servers.path, program)).collect::<Vec<_>>();
    let wanted = missing();
    if wanted.is_empty() {
        return Ok(servers);
    }
    let packages: Vec<&str> = wanted.iter().map(|(_, package)| *package).collect();
    eprintln!("fetching for the tests: {}", packages.join(" "));
    if let Err(error) = fetch(&folder, &packages) {
        let programs: Vec<&str> = missing().iter().map(|(program, _)| *program).collect();
        eprintln!("without {}: {error:#}", programs.join(", "));
        eprintln!("tests that need them will be skipped; on Debian: sudo apt-get install {}", packages.join(" "));
    }
    Ok(servers)
}

/// Packages and what they need, unpacked in a folder. A fresh machine has no package lists yet, and only root may fetch them.
fn fetch(folder: &Path, packages: &[&str]) -> Result<()> {
    for program in ["apt-get", "dpkg-deb"] {
        anyhow::ensure!(exists(program), "there is no {program} here");
    }
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    if closure(packages).and_then(|all| download(folder, &all)).is_err() {
        if output(Command::new("id").arg("-u"))?.trim() == "0" {
            output(Command::new("apt-get").args(["-qq", "update"]))?;
        }
        download(folder, &closure(packages)?)?;
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

/// What apt would install for some packages, themselves included: it is only asked, which needs no root.
fn closure(packages: &[&str]) -> Result<Vec<String>> {
    let mut ask = Command::new("apt-get");
    ask.args(["install", "--simulate", "--reinstall", "--no-install-recommends"]).args(packages);
    Ok(to_install(&output(&mut ask)?))
}

fn to_install(simulated: &str) -> Vec<String> {
    let lines = simulated.lines().filter_map(|line| line.strip_prefix("Inst "));
    lines.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

fn download(folder: &Path, packages: &[String]) -> Result<()> {
    let mut download = Command::new("apt-get");
    // The sandbox user of apt cannot write to the target folder; what it would protect from is not run as root either.
    download.current_dir(folder).args(["-qq", "-o", "APT::Sandbox::User=root", "download"]).args(packages);
    output(&mut download).map(drop)
}

fn search_path(servers: &Path) -> Result<OsString> {
    joined("PATH", PROGRAMS.iter().map(|programs| servers.join(programs)))
}

/// As Debian names the folder of an architecture's libraries.
fn library_path(servers: &Path) -> Result<OsString> {
    let libraries = format!("{}-linux-gnu", env::consts::ARCH);
    joined("LD_LIBRARY_PATH", ["usr/lib", "lib"].iter().map(|folder| servers.join(folder).join(&libraries)))
}

/// What a variable holds already, and behind it some folders more.
fn joined(variable: &str, more: impl Iterator<Item = PathBuf>) -> Result<OsString> {
    let usual = env::var_os(variable).unwrap_or_default();
    let folders = env::split_paths(&usual).chain(more).filter(|folder| *folder != PathBuf::new());
    env::join_paths(folders).with_context(|| format!("the target folder's name cannot stand in {variable}"))
}

fn on_path(path: &OsStr, program: &str) -> bool {
    env::split_paths(path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::tests::Scratch;

    #[test]
    fn a_fetched_server_is_found() {
        let scratch = Scratch::new();
        let path = search_path(&scratch.0).unwrap();
        assert!(on_path(&path, "sh"));
        assert!(!on_path(&path, "a-server"));
        scratch.write("usr/bin/a-server", "");
        assert!(on_path(&path, "a-server"));
        let first = env::split_paths(&path).next();
        assert_ne!(first, Some(scratch.0.join("usr/bin")), "what this machine has comes first");
    }

    #[test]
    fn what_apt_would_install() {
        let said =
            "Reading package lists...\nInst libuv1 (1.44 Debian:12 [amd64])\nInst bind9 (1:9 x)\nConf bind9 (1:9 x)\n";
        assert_eq!(to_install(said), ["libuv1", "bind9"]);
    }
}
