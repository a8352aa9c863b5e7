//! `roundsman plugin release`: lets a plugin run again that backs off or is quarantined.

use std::process::ExitCode;

use roundsman_web::view;
use serde::{Deserialize, Serialize};

use crate::cmd::client::Change;
use crate::cmd::table::{count, say, say_json};
use crate::cmd::{Changing, Format, block_on, client};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    name: String,
    #[command(flatten)]
    changing: Changing,
}

#[derive(Debug, Serialize, Deserialize)]
struct Released {
    plugin: view::Plugin,
}

pub(crate) fn execute(Arguments { name, changing }: Arguments) -> anyhow::Result<ExitCode> {
    let remote = changing.remote();
    let path = format!("/api/v1/plugins/{}/release", crate::cmd::history::encode(&name));
    let answer: Released = block_on(client::change(&remote, &Change::post(&path)))?;
    if remote.output.output == Format::Json {
        say_json(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let checks = count(answer.plugin.checks.len(), "check");
    say(&format!(
        "plugin {} runs again, with a clean sheet; what was held back of its {checks} runs within seconds\n",
        answer.plugin.name
    ))?;
    Ok(ExitCode::SUCCESS)
}
