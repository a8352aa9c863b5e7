//! Where the workspace and its target folder are, and how other programs are called.

use std::env;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The folders that every command works with.
#[derive(Debug)]
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    /// `target`, or wherever the environment or a configuration file puts it.
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Asks cargo, which alone knows every way in which the target folder can be set.
    pub(crate) fn find() -> Result<Self> {
        let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let mut command = Command::new(cargo());
        command.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]).arg(&manifest);
        let metadata = output(&mut command)?;
        let path = |key| {
            json_text(&metadata, key).map(PathBuf::from).with_context(|| format!("`cargo metadata` told no {key}"))
        };
        Ok(Self { root: path("workspace_root")?, target: path("target_directory")? })
    }

    /// A call of cargo in this workspace.
    pub(crate) fn cargo<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root).args(arguments);
        // What the cargo that runs us says of us. Build scripts that ask for it, such as that of ring, would see another
        // answer than when cargo is called by hand, and everything on top of them would be compiled anew each time.
        let of_ours = |name: &str| ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|prefix| name.starts_with(prefix));
        for name in env::vars_os().filter_map(|(name, _)| name.into_string().ok()).filter(|name| of_ours(name)) {
            command.env_remove(name);
        }
        command
    }
}

/// The cargo that called us, so that a chosen toolchain stays chosen.
fn cargo() -> std::ffi::OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Runs a program that shows its own progress; an error names it in full.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("starting `{}`", line(command)))?;
    if !status.success() {
        bail!("`{}` failed ({status})", line(command));
    }
    Ok(())
}

/// Runs a program for what it writes on its standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("starting `{}`", line(command)))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", line(command), output.status, errors.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{}` is not text", line(command)))
}

/// Whether a program is there at all.
pub(crate) fn exists(program: &str) -> bool {
    let started = Command::new(program).arg("--version").output();
    !started.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// A command as a person would write it.
pub(crate) fn line(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// The text under a key that occurs once in a JSON document; enough for paths, and no reason for a JSON crate.
fn json_text(json: &str, key: &str) -> Option<String> {
    let (_, rest) = json.split_once(&format!("\"{key}\":\""))?;
    let mut text = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return Some(text),
            '\\' => text.push(characters.next()?),
            plain => text.push(plain),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_json_key() {
        for (json, expected) in [
            (r#"{"a":1,"target_directory":"/x/target","b":2}"#, Some("/x/target")),
            (r#"{"target_directory":"/with \"quotes\" and \\"}"#, Some(r#"/with "quotes" and \"#)),
            (r#"{"target_directory":"/cut"#, None),
            (r#"{"other":"/x"}"#, None),
        ] {
            assert_eq!(json_text(json, "target_directory").as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn this_workspace_is_found() {
        let workspace = Workspace::find().unwrap();
        assert!(workspace.root.join("xtask/Cargo.toml").is_file());
        assert!(workspace.target.is_absolute());
    }

    #[test]
    fn failures_name_the_command() {
        let error = run(Command::new("false").arg("x")).unwrap_err();
        assert!(format!("{error:#}").contains("`false x` failed"), "{error:#}");
        let error = output(Command::new("sh").args(["-c", "echo reason >&2; exit 3"])).unwrap_err();
        assert!(format!("{error:#}").contains("reason"), "{error:#}");
        assert!(exists("sh") && !exists("no-such-program-anywhere"));
    }
}
