//! `roundsman plugin keygen`: a pair of keys to sign plugins with, in minisign's form.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use minisign::KeyPair;
use serde::Serialize;

use crate::cmd::plugin::sign::password;
use crate::cmd::table::{say, say_json};
use crate::cmd::{Format, Output};
use crate::trust::key::KeyId;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the secret key goes, for instance ops.key; the public one goes beside it, as ops.pub
    key: PathBuf,
    /// A file whose first line becomes the key's password; without it, the terminal is asked
    #[arg(long, value_name = "FILE", conflicts_with = "no_password")]
    password_file: Option<PathBuf>,
    /// Leave the secret key readable for whoever has its file, as a build machine may need it
    #[arg(long)]
    no_password: bool,
    #[command(flatten)]
    output: Output,
}

#[derive(Debug, Serialize)]
struct Made {
    secret_key_file: PathBuf,
    public_key_file: PathBuf,
    key_id: String,
    public_key: String,
}

pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { key, password_file, no_password, output } = arguments;
    let public_file = key.with_extension("pub");
    if public_file == *key {
        bail!("{} is where the public key goes: name the secret one, for instance ops.key", key.display());
    }
    for file in [key, &public_file] {
        if file.symlink_metadata().is_ok() {
            bail!("{} is there already, and a key is never written over", file.display());
        }
    }
    let pair = if *no_password {
        KeyPair::generate_unencrypted_keypair()?
    } else {
        let password = new_password(password_file.as_deref())?;
        KeyPair::generate_encrypted_keypair(Some(password))?
    };
    let made = Made {
        secret_key_file: key.clone(),
        public_key_file: public_file,
        key_id: KeyId::of_line(&pair.pk.to_base64()).map(|id| id.to_string()).unwrap_or_default(),
        public_key: pair.pk.to_base64(),
    };
    let comment = if *no_password { "minisign secret key" } else { "minisign encrypted secret key" };
    write(key, 0o600, &pair.sk.to_box(Some(comment))?.to_bytes())?;
    write(&made.public_key_file, 0o644, &pair.pk.to_box()?.to_bytes())?;
    if output.output == Format::Json {
        say_json(&made)?;
        return Ok(ExitCode::SUCCESS);
    }
    say(&format!("secret   {}: keep it away from the machines that run plugins\n", key.display()))?;
    say(&format!("public   {}\nkey      {}\n", made.public_key_file.display(), made.key_id))?;
    let name = key.file_stem().and_then(|stem| stem.to_str()).unwrap_or("ops");
    say(&format!(
        "add to roundsman.yaml: trust: {{require: signature, keys: {{{name}: {{publicKey: \"{}\"}}}}}}\n",
        made.public_key
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn new_password(file: Option<&Path>) -> anyhow::Result<String> {
    let first = password(file, "Password for the new key: ")?;
    if first.is_empty() {
        bail!("the password is empty: --no-password says that there is to be none");
    }
    if file.is_none() && password(None, "The same again: ")? != first {
        bail!("the two are not the same");
    }
    Ok(first)
}

fn write(path: &Path, mode: u32, bytes: &[u8]) -> anyhow::Result<()> {
    let write = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
