//! A plugin that says what it read of files, clocks and its memory: for the cases of `author.rs`.

use std::time::{SystemTime, UNIX_EPOCH};

use roundsman_sdk::{Check, Describe, Fault, Outcome, context, state};

#[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {}

struct Reader;

impl Check for Reader {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Reads.")
            .example("checks:\n  - {name: reader, plugin: reader, interval: 10s}\n")
    }

    fn run(_: &Settings) -> Result<Outcome, Fault> {
        let version =
            std::fs::read_to_string("/etc/app/version").map_err(|error| Fault::new("io", error.to_string()))?;
        let other = std::fs::read_to_string("/etc/hosts").is_ok();
        let runs: u32 = state::load("runs").unwrap_or(0);
        state::save("runs", &(runs + 1))?;
        let seconds = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let (now, due) = (seconds(SystemTime::now()), seconds(context::scheduled()));
        Ok(Outcome::ok(format!("{} {other} {now} {due} {:?}", version.trim(), context::previous_status())))
    }
}

roundsman_sdk::plugin!(Reader);
