//! A plugin that tries to reach what it may not, by every way that there is, in every spelling that it is given.

mod reach;

use roundsman_sdk::{Check, Describe, Fault, Outcome, info};

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Settings {
    attempts: Vec<Attempt>,
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Attempt {
    /// `http`, `redirect`, `tcp`, `udp`, `dns`, `icmp`, `std-tcp`, `std-udp`.
    way: String,
    /// The host in whatever spelling.
    host: String,
    port: u16,
    /// With `redirect`: the server that sends us on.
    #[serde(default)]
    by: String,
}

struct Evil;

impl Check for Evil {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new("1", "Tries to reach what it may not.")
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        for Attempt { way, host, port, by } in &settings.attempts {
            let came = reach::by(way, host, *port, by);
            info!("{way} {host} {port}: {came}");
        }
        // Whatever became of the attempts: what the host makes of them is what counts.
        Ok(Outcome::ok(format!("{} attempts", settings.attempts.len())))
    }
}

roundsman_sdk::plugin!(Evil);
