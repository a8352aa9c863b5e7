//! `roundsman plugin list|inspect`: the plugins of a node, and what is in a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use roundsman_plugin::digest::Digest;
use roundsman_web::view;
use serde::{Deserialize, Serialize};

use super::probe::Bench;
use super::table::{Table, say, say_json};
use super::{Format, Output, Remote, block_on, client};

#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Every plugin file that the agent has seen, and what became of it
    List {
        #[command(flatten)]
        remote: Remote,
    },
    /// What a plugin file is and says of itself; no agent is needed
    Inspect {
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Serialize, Deserialize)]
struct Plugins {
    plugins: Vec<view::Plugin>,
}

#[derive(Debug, Serialize)]
struct Inspected {
    file: PathBuf,
    size_bytes: usize,
    digest: Digest,
    imports: Vec<String>,
    describe: serde_json::Value,
}

pub(super) fn execute(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::List { remote } => list(&remote),
        Command::Inspect { file, output } => inspect(&file, output),
    }
}

fn list(remote: &Remote) -> anyhow::Result<ExitCode> {
    let answer: Plugins = block_on(client::get(remote, "/api/v1/plugins"))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["PLUGIN", "VERSION", "STATE", "DIGEST", "CHECKS", "NOTE"]);
    for plugin in &answer.plugins {
        let state = serde_json::to_value(plugin.state)?;
        let outdated = if plugin.outdated { " (outdated)" } else { "" };
        table.row([
            plugin.name.to_string(),
            plugin.version.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{}{outdated}", state.as_str().unwrap_or_default()),
            plugin.digest.as_deref().map_or("-", |digest| digest.get(..12).unwrap_or(digest)).to_owned(),
            plugin.checks.len().to_string(),
            plugin.reason.clone().or_else(|| plugin.summary.clone()).unwrap_or_default(),
        ]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}

fn inspect(file: &Path, output: Output) -> anyhow::Result<ExitCode> {
    let bench = Bench::new()?;
    let (bytes, plugin) = block_on(bench.load(file)).with_context(|| format!("{} is not usable", file.display()))?;
    let inspected = Inspected {
        file: file.to_owned(),
        size_bytes: bytes.len(),
        digest: *plugin.digest(),
        imports: plugin.imports().to_vec(),
        describe: serde_json::to_value(&**plugin.description())?,
    };
    if output.output == Format::Json {
        say_json(&inspected)?;
        return Ok(ExitCode::SUCCESS);
    }
    let description = plugin.description();
    say(&format!("{} {}: {}\n", plugin.name(), description.version, description.summary))?;
    say(&format!("size     {} bytes\ndigest   {}\n", inspected.size_bytes, inspected.digest))?;
    say(&format!("imports  {}\n", inspected.imports.join("\n         ")))?;
    for series in &description.series {
        let tags: Vec<&str> = series.tags.iter().map(|tag| tag.name.as_str()).collect();
        say(&format!("series   {} [{}] {}\n", series.name, tags.join(", "), series.help))?;
        for field in &series.fields {
            let unit = if field.unit.is_empty() { String::new() } else { format!(" in {}", field.unit) };
            say(&format!("           {}{unit}: {}\n", field.name, field.help))?;
        }
    }
    say(&format!("settings {}\n", serde_json::to_string_pretty(&description.settings)?))?;
    say(&format!("example\n{}\n", description.example))?;
    Ok(ExitCode::SUCCESS)
}
