//! `roundsman plugin inspect`: what is in a file, who vouches for it, what it would need, and what a run of it costs.
//!
//! - `needs`: which lines of `allow:` its imports and its settings ask for; `trial`: one run; `print`: for the eye

mod needs;
mod print;
mod trial;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use roundsman_plugin::describe::Description;
use roundsman_plugin::digest::Digest;
use roundsman_plugin::load::inspect_bytes;
use serde::Serialize;

use self::needs::Need;
use self::trial::Trial;
use crate::cmd::probe::{Bench, allowance, settings};
use crate::cmd::table::say_json;
use crate::cmd::{Configuration, Format, Output, duration, validate};
use crate::trust::signature::Signature;
use crate::trust::{self, Beside, Policy};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    file: PathBuf,
    /// For a run of it: its settings
    #[arg(long, value_name = "JSON", default_value = "{}", value_parser = settings)]
    settings: serde_json::Value,
    /// For a run of it: the address of the target, which is allowed to be dialled
    #[arg(long, value_name = "ADDR")]
    target: Option<String>,
    /// For a run of it: more that is allowed, as in `roundsman probe`
    #[arg(long, value_name = "LIST=WORD", value_parser = allowance)]
    allow: Vec<(String, String)>,
    /// The run is cut after this
    #[arg(long, default_value = "10s", value_parser = duration)]
    timeout: Duration,
    /// With the keys of a configuration, its signature can be verified
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    output: Output,
}

/// Everything there is to say of a file.
#[derive(Debug, Serialize)]
struct Inspected {
    name: String,
    file: PathBuf,
    size_bytes: usize,
    digest: Digest,
    signature: Vouched,
    imports: Vec<Import>,
    needs: Vec<Need>,
    trial: Trial,
    describe: Description,
}

/// Who vouches for a file, and whether the configuration goes by that.
#[derive(Debug, Serialize)]
struct Vouched {
    /// The id of the key that the signature names; none: there is no signature.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_id: Option<String>,
    /// What of it could be verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    origin: Option<roundsman_web::view::Origin>,
    /// Why it would not be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<String>,
    /// Whether the keys of a configuration were at hand.
    configured: bool,
}

#[derive(Debug, Serialize)]
struct Import {
    interface: String,
    /// The list of `allow:` without which its calls are refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    needs: Option<&'static str>,
}

pub(crate) fn execute(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { file, settings, target, allow, timeout, configuration, output } = arguments;
    let shown = file.display().to_string();
    let unusable = || format!("{shown} is not usable");
    let policy = policy(&configuration)?;
    let (name, bytes) = Bench::read(&file).with_context(unusable)?;
    inspect_bytes(&bytes).with_context(unusable)?;
    let signature = vouched(policy.as_ref(), &name, &bytes, &trust::read_beside(&file));
    let bench = Bench::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let inspected = runtime.block_on(async {
        let plugin = bench.load_bytes(name.clone(), &bytes).await.with_context(unusable)?;
        let describe = Description::clone(plugin.description());
        let imports: Vec<Import> = plugin.imports().iter().map(|name| import(name)).collect();
        anyhow::Ok(Inspected {
            name: name.to_string(),
            size_bytes: bytes.len(),
            digest: *plugin.digest(),
            signature,
            needs: needs::of(&imports, &describe.settings),
            trial: Trial::of(&plugin, &settings, target.as_deref(), allow, timeout).await?,
            imports,
            describe,
            file,
        })
    })?;
    runtime.shutdown_background();
    match output.output {
        Format::Json => say_json(&inspected)?,
        Format::Table => print::print(&inspected)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Of the configuration, if one is named.
fn policy(configuration: &Configuration) -> anyhow::Result<Option<Policy>> {
    if configuration.is_absent() {
        return Ok(None);
    }
    let policy = validate::load(configuration)?.and_then(|config| Policy::open(&config.trust));
    match policy {
        Ok(policy) => Ok(Some(policy)),
        Err(problems) => {
            let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
            bail!("the configuration cannot be used:\n{}", told.join("\n"))
        }
    }
}

fn vouched(
    policy: Option<&Policy>,
    name: &roundsman_model::name::PluginName,
    bytes: &[u8],
    beside: &Beside,
) -> Vouched {
    let (parsed, unreadable) = match beside {
        Beside::Nothing => (None, None),
        Beside::Bytes(text) => match Signature::parse(text) {
            Ok(signature) => (Some(signature), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Beside::Unreadable(why) => (None, Some(why.clone())),
    };
    let key_id = parsed.map(|signature| signature.key().to_string());
    let (origin, refused) = match policy.map(|policy| policy.judge(name, bytes, beside)) {
        Some(Ok(origin)) => (Some(origin.view()), None),
        Some(Err(refusal)) => (None, Some(refusal.to_string())),
        None => (None, unreadable.map(|why| format!("its signature is not good: {why}"))),
    };
    Vouched { key_id, origin, refused, configured: policy.is_some() }
}

fn import(interface: &str) -> Import {
    Import { interface: interface.to_owned(), needs: needs::list_of(interface) }
}
