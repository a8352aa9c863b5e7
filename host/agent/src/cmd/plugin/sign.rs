//! `roundsman plugin sign`: writes the signature beside a plugin's file, as minisign does.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use minisign::{PublicKey, SecretKey, SecretKeyBox};
use roundsman_plugin::load::inspect_bytes;
use serde::Serialize;

use crate::clock::system_now;
use crate::cmd::probe::Bench;
use crate::cmd::table::{say, say_json};
use crate::cmd::{Format, Output};
use crate::trust;
use crate::watch::read::read_stable;

/// A key is two lines; a password is one.
const MAX_TEXT: u64 = 4 << 10;
/// With the signatures it has to fit into `trust::signature::MAX_SIGNATURE`.
const MAX_COMMENT: usize = 1 << 10;
/// How the text of a key begins that is behind a password.
const ENCRYPTED: &str = "RWRTY0Iy";

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The plugin's file
    file: PathBuf,
    /// The secret key, made by `roundsman plugin keygen` or `minisign -G`
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// A file whose first line is the key's password; without it, the terminal is asked
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// What is signed along with the plugin and shown to who runs it [default: the time and the file's name]
    #[arg(long, value_name = "TEXT", value_parser = comment)]
    comment: Option<String>,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Signed {
    signature: PathBuf,
    key_id: String,
    public_key: String,
    comment: String,
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, key, password_file, comment, output } = arguments;
    let (name, bytes) = Bench::read(file)?;
    inspect_bytes(&bytes).with_context(|| format!("{} is no plugin", file.display()))?;
    let secret = secret_key(key, password_file.as_deref())?;
    let public = PublicKey::from_secret_key(&secret)?;
    let default = || format!("timestamp:{}\tfile:{name}.wasm\thashed", system_now().0 / 1_000_000_000);
    let comment = comment.clone().unwrap_or_else(default);
    let untrusted = "signature by roundsman plugin sign";
    let signature = minisign::sign(Some(&public), &secret, &bytes[..], Some(&comment), Some(untrusted))?;
    let path = trust::beside(file);
    put(&path, &signature.to_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    let signed = Signed {
        signature: path,
        key_id: trust::key::KeyId::of_line(&public.to_base64()).map(|id| id.to_string()).unwrap_or_default(),
        public_key: public.to_base64(),
        comment,
    };
    if output.output == Format::Json {
        say_json(&signed)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("wrote    {}\nkey      {}\n", signed.signature.display(), signed.key_id))?;
    say(&format!("comment  {}\n", signed.comment.replace('\t', " ")))?;
    Ok(ExitCode::SUCCESS)
}

fn comment(text: &str) -> Result<String, String> {
    if text.len() > MAX_COMMENT || text.chars().any(char::is_control) {
        return Err(format!("it must be one line of at most {MAX_COMMENT} bytes"));
    }
    Ok(text.to_owned())
}

/// Nobody sees half of it.
fn put(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".signature-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    // Everybody may read it, as what it signs.
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// Reads a key of either program, behind a password or not.
fn secret_key(path: &Path, password_file: Option<&Path>) -> anyhow::Result<SecretKey> {
    let unusable = || format!("{} cannot be used as a secret key", path.display());
    let text = read(path)?;
    let line = text.lines().nth(1).unwrap_or_default();
    let boxed = SecretKeyBox::from_string(&text)?;
    if PublicKey::from_base64(line).is_ok() {
        bail!("{} is a public key: signing takes the secret one", path.display());
    }
    if !line.starts_with(ENCRYPTED) {
        return boxed.into_unencrypted_secret_key().with_context(unusable);
    }
    let password = password(password_file, &format!("Password of {}: ", path.display()))?;
    boxed.into_secret_key(Some(password)).with_context(unusable)
}

/// From the first line of a file, else from the terminal.
pub(super) fn password(file: Option<&Path>, prompt: &str) -> anyhow::Result<String> {
    match file {
        Some(file) => Ok(read(file)?.lines().next().unwrap_or_default().to_owned()),
        None => rpassword::prompt_password(prompt).context("there is no terminal to ask: use --password-file"),
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let read = read_stable(path, MAX_TEXT).with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(read.bytes).with_context(|| format!("{} is not text", path.display()))
}
