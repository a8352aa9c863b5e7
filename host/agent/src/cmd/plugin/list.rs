//! `roundsman plugin list`: the plugins of a node.

use std::process::ExitCode;

use roundsman_web::view;
use serde::{Deserialize, Serialize};

use crate::cmd::table::{Table, say_json};
use crate::cmd::{Format, Remote, block_on, client};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Serialize, Deserialize)]
struct Plugins {
    plugins: Vec<view::Plugin>,
}

pub(crate) fn execute(Arguments { remote }: &Arguments) -> anyhow::Result<ExitCode> {
    let answer: Plugins = block_on(client::get(remote, "/api/v1/plugins"))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = Table::new(["PLUGIN", "VERSION", "STATE", "DIGEST", "CHECKS", "NOTE"]);
    for plugin in &answer.plugins {
        let state = serde_json::to_value(plugin.state)?;
        let held = plugin.supervision.as_ref().filter(|held| held.state != view::Supervised::Running);
        let state = held.map_or_else(|| state.as_str().unwrap_or_default(), |held| held.state.as_str());
        let note = held.and_then(|held| held.reason.clone()).or_else(|| plugin.reason.clone());
        let outdated = if plugin.outdated { " (outdated)" } else { "" };
        table.row([
            plugin.name.to_string(),
            plugin.version.clone().unwrap_or_else(|| "-".to_owned()),
            format!("{state}{outdated}"),
            plugin.digest.as_deref().map_or("-", |digest| digest.get(..12).unwrap_or(digest)).to_owned(),
            plugin.checks.len().to_string(),
            note.or_else(|| plugin.summary.clone()).unwrap_or_default(),
        ]);
    }
    table.print()?;
    Ok(ExitCode::SUCCESS)
}
