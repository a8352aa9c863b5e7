//! Looks at load, memory and pressure stall of the node: is there work that waits for something?

mod judge;

use std::collections::BTreeMap;

use roundsman_sdk::report::Point;
use roundsman_sdk::system::{self, Resource};
use roundsman_sdk::{Check, Describe, Fault, Field, Outcome, Series, Status, Tag, info};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::judge::{Complaint, Limit, Memory};

/// What is too much, and what too little. A limit set to `null` is not looked at; the points are reported all the same.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Settings {
    /// What is looked at; each word needs the same one under `allow: {system: […]}`.
    parts: Vec<Part>,
    /// Load over 5 minutes for each processor, at most.
    load: Option<Limit>,
    /// Per cent of memory that must be available, at least.
    memory: Option<Limit>,
    /// Per cent of swap in use, at most.
    swap: Option<Limit>,
    /// Per cent of the last minute in which some work waited for the resource, at most.
    pressure: Pressure,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Part {
    Load,
    Memory,
    Pressure,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Pressure {
    cpu: Option<Limit>,
    memory: Option<Limit>,
    io: Option<Limit>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parts: vec![Part::Load, Part::Memory, Part::Pressure],
            load: Some(Limit { warning: 2.0, critical: 5.0 }),
            memory: Some(Limit { warning: 10.0, critical: 4.0 }),
            // A full swap of cold pages does no harm: pressure tells when it does.
            swap: None,
            pressure: Pressure::default(),
        }
    }
}

impl Default for Pressure {
    /// Busy processors and disks are what machines are for; work that waits for memory is already an emergency.
    fn default() -> Self {
        Self {
            cpu: Some(Limit { warning: 60.0, critical: 90.0 }),
            memory: Some(Limit { warning: 10.0, critical: 40.0 }),
            io: Some(Limit { warning: 60.0, critical: 90.0 }),
        }
    }
}

const LOAD: Series = Series {
    name: "load",
    help: "How much work runs or waits for a processor or a disk.",
    tags: &[],
    fields: &[
        Field::real("load1", "", "Average over 1 minute."),
        Field::real("load5", "", "Average over 5 minutes."),
        Field::real("load15", "", "Average over 15 minutes."),
        Field::real("load5_per_processor", "", "Average over 5 minutes for each processor."),
        Field::integer("processors", "", "Processors that are online."),
    ],
};

const MEMORY: Series = Series {
    name: "memory",
    help: "The node's memory and swap.",
    tags: &[],
    fields: &[
        Field::integer("total_bytes", "B", "All of it."),
        Field::integer("available_bytes", "B", "What programs could get without swapping."),
        Field::real("available_percent", "%", "The same, of all of it."),
        Field::integer("swap_total_bytes", "B", "Swap space; 0 without any."),
        Field::real("swap_used_percent", "%", "Swap in use; absent without any."),
    ],
};

const PRESSURE: Series = Series {
    name: "pressure",
    help: "How much of the time work waited for a resource.",
    tags: &[Tag::bounded("resource", "`cpu`, `memory` or `io`.")],
    fields: &[
        Field::real("some_avg10", "%", "At least one task waited, over 10 s."),
        Field::real("some_avg60", "%", "At least one task waited, over 60 s."),
        Field::real("full_avg10", "%", "All tasks waited, over 10 s."),
        Field::real("full_avg60", "%", "All tasks waited, over 60 s."),
    ],
};

const EXAMPLE: &str = "\
checks:
  - name: load
    plugin: load
    interval: 30s
    timeout: 5s
    allow: {system: [load, memory, pressure]}
    settings:
      load: {warning: 2, critical: 5}    # for each processor, over 5 minutes
      memory: {warning: 10, critical: 4} # per cent available
";

/// The check.
#[derive(Debug)]
pub struct Load;

impl Check for Load {
    type Settings = Settings;

    fn describe() -> Describe {
        Describe::new(env!("CARGO_PKG_VERSION"), "Looks at load, memory and pressure stall of the node.")
            .series(&LOAD)
            .series(&MEMORY)
            .series(&PRESSURE)
            .example(EXAMPLE)
    }

    fn validate(settings: &Settings) -> Result<(), Fault> {
        let rising = [
            ("load", &settings.load),
            ("swap", &settings.swap),
            ("pressure.cpu", &settings.pressure.cpu),
            ("pressure.memory", &settings.pressure.memory),
            ("pressure.io", &settings.pressure.io),
        ];
        for (name, limit) in rising {
            if limit.as_ref().is_some_and(|limit| limit.warning > limit.critical) {
                return Err(Fault::settings(format!("`{name}`: warning must not be above critical")));
            }
        }
        if settings.memory.as_ref().is_some_and(|limit| limit.warning < limit.critical) {
            return Err(Fault::settings("`memory`: warning must not be below critical, it is what must be left"));
        }
        Ok(())
    }

    fn run(settings: &Settings) -> Result<Outcome, Fault> {
        let (mut facts, mut wrong) = (Vec::new(), Vec::new());
        for part in &settings.parts {
            match part {
                Part::Load => load(settings, &mut facts, &mut wrong)?,
                Part::Memory => memory(settings, &mut facts, &mut wrong)?,
                Part::Pressure => pressure(&settings.pressure, &mut facts, &mut wrong)?,
            }
        }
        Ok(outcome(&facts, &wrong))
    }
}

fn load(settings: &Settings, facts: &mut Vec<String>, wrong: &mut Vec<Complaint>) -> Result<(), Fault> {
    let ([one, five, fifteen], processors) = (system::load_average()?, system::processors()?);
    let each = five / f64::from(processors.max(1));
    Point::of(&LOAD)
        .field("load1", one)
        .field("load5", five)
        .field("load15", fifteen)
        .field("load5_per_processor", each)
        .field("processors", processors)
        .report()?;
    facts.push(format!("load {five:.2} on {processors} processors"));
    wrong.extend(settings.load.as_ref().and_then(|limit| limit.at_most("load for each processor", each, "")));
    Ok(())
}

fn memory(settings: &Settings, facts: &mut Vec<String>, wrong: &mut Vec<Complaint>) -> Result<(), Fault> {
    let memory = Memory::read(&system::memory()?)?;
    Point::of(&MEMORY)
        .field("total_bytes", memory.total)
        .field("available_bytes", memory.available)
        .field("available_percent", memory.available_percent())
        .field("swap_total_bytes", memory.swap_total)
        .field("swap_used_percent", memory.swap_used_percent())
        .report()?;
    let available = memory.available_percent();
    facts.push(format!("{available:.0} % of memory available"));
    wrong.extend(settings.memory.as_ref().and_then(|limit| limit.at_least("memory available", available, " %")));
    let swap = memory.swap_used_percent().zip(settings.swap.as_ref());
    wrong.extend(swap.and_then(|(used, limit)| limit.at_most("swap in use", used, " %")));
    Ok(())
}

fn pressure(limits: &Pressure, facts: &mut Vec<String>, wrong: &mut Vec<Complaint>) -> Result<(), Fault> {
    for resource in Resource::ALL {
        let word = resource.as_str();
        let stall: BTreeMap<_, _> = match system::pressure(resource) {
            Ok(stall) => stall,
            // Not every kernel counts it, and a check of load and memory is worth having without it.
            Err(failure) if failure.code == "unsupported" => {
                info!("no pressure of {word}: {}", failure.message);
                continue;
            }
            Err(failure) => return Err(failure.into()),
        };
        let value = |name: &str| stall.get(name).copied();
        Point::of(&PRESSURE)
            .tag("resource", word)
            .field("some_avg10", value("some.avg10"))
            .field("some_avg60", value("some.avg60"))
            .field("full_avg10", value("full.avg10"))
            .field("full_avg60", value("full.avg60"))
            .report()?;
        let Some(waited) = value("some.avg60") else { continue };
        facts.push(format!("{word} pressure {waited:.0} %"));
        let limit = match resource {
            Resource::Cpu => &limits.cpu,
            Resource::Memory => &limits.memory,
            Resource::Io => &limits.io,
        };
        wrong.extend(limit.as_ref().and_then(|limit| limit.at_most(&format!("{word} pressure"), waited, " %")));
    }
    Ok(())
}

fn outcome(facts: &[String], wrong: &[Complaint]) -> Outcome {
    if wrong.is_empty() {
        return Outcome::ok(facts.join(", "));
    }
    let status = wrong.iter().fold(Status::Ok, |worst, (status, _)| worst.worst(*status));
    let texts: Vec<_> = wrong.iter().map(|(_, text)| text.as_str()).collect();
    Outcome::new(status, texts.join("; "))
}

roundsman_sdk::plugin!(Load);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_refused() {
        for (settings, message) in [
            (r#"{"load": {"warning": 5, "critical": 2}}"#, "`load`: warning must not be above critical"),
            (
                r#"{"memory": {"warning": 5, "critical": 20}}"#,
                "`memory`: warning must not be below critical, it is what must be left",
            ),
            (r#"{"load": {"warning": 5}}"#, "`load`: missing field `critical`"),
            (
                r#"{"parts": ["disk"]}"#,
                "`parts[0]`: unknown variant `disk`, expected one of `load`, `memory`, `pressure`",
            ),
        ] {
            assert_eq!(roundsman_sdk::settings::<Load>(settings).unwrap_err().message, message);
        }
        let none = roundsman_sdk::settings::<Load>(r#"{"load": null, "pressure": {"cpu": null}}"#).unwrap();
        assert!(none.load.is_none() && none.pressure.cpu.is_none() && none.pressure.io.is_some());
    }

    #[test]
    fn outcomes() {
        let facts = ["load 0.10 on 2 processors".to_owned(), "80 % of memory available".to_owned()];
        let wrong = [(Status::Critical, "a".to_owned()), (Status::Warning, "b".to_owned())];
        for (wrong, expected) in [
            (&wrong[..0], Outcome::ok("load 0.10 on 2 processors, 80 % of memory available")),
            (&wrong[..], Outcome::critical("a; b")),
            (&wrong[1..], Outcome::warning("b")),
        ] {
            assert_eq!(outcome(&facts, wrong), expected);
        }
    }
}
