//! `roundsman validate`: everything that is wrong with the configuration, the checks and the plugins, at once.

mod advice;
mod budget;
mod marks;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use roundsman_model::time::Timestamp;
use roundsman_plugin::load::Plugin;
use serde::Serialize;

use self::budget::Budget;
use super::probe::Bench;
use super::table::{complain, count, say, say_json};
use super::{Configuration, Format, Output};
use crate::checks::catalogue::Version;
use crate::checks::files::Files;
use crate::checks::{self, Configured};
use crate::config::nearest::nearest;
use crate::config::{self, Config};
use crate::coordinator::examine::complaints;
use crate::coordinator::{PLUGIN_ENDINGS, plugin_name};
use crate::plugins::chain;
use crate::prepare::Common;
use crate::problem::Problem;
use crate::trust::{self, Origin, Policy, ceiling};
use crate::watch::snapshot::Scan;
use roundsman_model::name::PUSHED;

/// The configuration as file, environment and flags make it, or what is wrong with it. Warnings are printed.
pub(super) fn load(configuration: &Configuration) -> anyhow::Result<Result<Config, Vec<Problem>>> {
    let read = examine(configuration);
    match read.config {
        Some(config) if read.errors.is_empty() => {
            read.warnings.iter().for_each(|warning| complain(&warning.to_string()));
            Ok(Ok(config))
        }
        _ => Ok(Err(read.errors.into_iter().chain(read.warnings).collect())),
    }
}

/// The configuration with what is wrong beside it; where there are errors, defaults took the place of what is wrong.
struct Read {
    config: Option<Config>,
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
}

fn examine(configuration: &Configuration) -> Read {
    let file = match &configuration.config {
        None => None,
        Some(path) => match crate::watch::read::read_stable(path, config::MAX_FILE) {
            Ok(read) => Some((path.as_path(), read.bytes)),
            Err(error) => return Read { config: None, errors: vec![error.problem(path)], warnings: Vec::new() },
        },
    };
    let file = file.as_ref().map(|(path, bytes)| (*path, bytes.as_slice()));
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let (config, errors, warnings) = Config::examine(file, std::env::vars_os(), &configuration.set, &host_name);
    Read { config, errors, warnings }
}

impl Read {
    /// Whether plugins and checks can be looked at all the same: none of the errors is about where they are or about
    /// what their strings are filled in with.
    fn leads_to_checks(&self) -> bool {
        let sections = ["http", "influx", "store", "secrets", "limits", "trust", "log", "shutdown", "uplink"];
        let section = |path: &str| path.split(['.', '[']).next().is_some_and(|first| sections.contains(&first));
        self.errors.iter().all(|problem| problem.path.as_deref().is_some_and(section))
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    output: Output,
}

/// What was looked at, for the last lines.
#[derive(Debug, Default, Serialize)]
struct Found {
    plugins: usize,
    checks: usize,
    pairs: usize,
    /// Of the checks that are switched on.
    runs_per_second: f64,
    /// How far back the history reaches at that rate; none: nothing is run.
    history_hours: Option<f64>,
}

/// Everything that was found, as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    problems: &'a [Problem],
    found: Option<&'a Found>,
}

pub(super) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let format = arguments.output.output;
    let read = examine(&arguments.configuration);
    let goes_on = read.leads_to_checks();
    let mut problems: Vec<Problem> = read.errors.into_iter().chain(read.warnings).collect();
    let Some(config) = read.config.filter(|_| goes_on) else { return told(&problems, None, format) };
    problems.extend(destinations(&config));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let found = runtime.block_on(look(&config, &mut problems)).context("cannot look at plugins and checks")?;
    runtime.shutdown_background();
    problems.sort();
    problems.dedup();
    told(&problems, Some(&found), format)
}

fn destinations(config: &Config) -> Vec<Problem> {
    let wrong = config.influx.iter().filter_map(|influx| crate::agent::destination(influx).check().err());
    wrong.map(|error| Problem::error("influx", error.to_string())).collect()
}

/// Plugins by name; none for a file that cannot be used.
type Plugins = BTreeMap<String, Option<(Arc<Plugin>, Origin)>>;

async fn look(config: &Config, problems: &mut Vec<Problem>) -> anyhow::Result<Found> {
    let policy = Policy::open(&config.trust).unwrap_or_else(|wrong| {
        problems.extend(wrong);
        Policy::default()
    });
    let plugins = load_plugins(&Bench::new()?, &policy, config, problems).await;
    problems.extend(advice::of_trust(&policy, &plugins.keys().map(String::as_str).collect::<Vec<_>>()));
    let files = Files::read_once(&config.paths.checks, config.node.clone());
    problems.extend(files.problems());
    problems.extend(anchors(config, &files));
    let now = crate::clock::system_now();
    let view = View { config, plugins: &plugins, policy: &policy, common: common(config), now };
    let (mut budget, mut found) = (Budget::default(), Found { plugins: plugins.len(), ..Found::default() });
    for configured in files.checks() {
        found.checks += 1;
        found.pairs += configured.pairs();
        if configured.check.enabled {
            let rate = advice::rate(&configured.check, now);
            budget.add(rate, view.plugin(configured).map(|(plugin, _)| &**plugin.description()));
        }
        problems.extend(view.look_at(configured).await);
    }
    // What else is wrong in files that are refused already.
    for report in files.reports().iter().filter(|report| report.version != Version::Current) {
        let Ok(read) = crate::watch::read::read_stable(&report.path, config::MAX_FILE) else { continue };
        let (file, _) = checks::examine(&report.path, &read.bytes, &config.node);
        for configured in &file.checks {
            problems.extend(view.look_at(configured).await);
        }
    }
    found.runs_per_second = budget.runs_per_second;
    found.history_hours = budget.hours(&config.store);
    Ok(found)
}

fn common(config: &Config) -> Common {
    Common::new(config.node.clone(), vec![config.http.listen.port()]).with_secrets(config.secrets.keys())
}

/// Anchors that are no checks: while one is missing, nothing can be suspect for its sake.
fn anchors(config: &Config, files: &Files) -> Vec<Problem> {
    let names: Vec<&str> = files.checks().map(|configured| configured.check.name.as_str()).collect();
    let missing = config.uplink.anchors.iter().filter(|anchor| !names.contains(&anchor.as_str()));
    let told = missing.map(|anchor| {
        let problem = Problem::error("uplink.anchors", format!("there is no check `{anchor}`")).warning();
        match nearest(anchor.as_str(), &names) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem,
        }
    });
    told.collect()
}

/// What checks are held against.
struct View<'a> {
    config: &'a Config,
    plugins: &'a Plugins,
    policy: &'a Policy,
    common: Common,
    now: Timestamp,
}

impl View<'_> {
    fn plugin(&self, configured: &Configured) -> Option<&(Arc<Plugin>, Origin)> {
        self.plugins.get(configured.check.plugin.as_str())?.as_ref()
    }

    async fn look_at(&self, configured: &Configured) -> Vec<Problem> {
        let prepared = match self.common.prepare(&configured.check) {
            Ok(prepared) => prepared,
            Err(wrong) => return vec![configured.problem_at(&wrong.pointer, wrong.message)],
        };
        let plugin = self.plugin(configured);
        let mut problems = match plugin {
            Some((plugin, origin)) => {
                let mut problems = ceiling::problems(self.policy, origin, configured, &self.common.node);
                problems.extend(complaints(configured, plugin, &prepared).await);
                problems
            }
            None => self.no_plugin(configured).into_iter().collect(),
        };
        let description = plugin.map(|(plugin, _)| &**plugin.description());
        let (node, own_ports) = (&self.common.node, &self.common.own_ports);
        problems.extend(advice::of_check(configured, description, node, own_ports, self.now));
        problems
    }

    fn no_plugin(&self, configured: &Configured) -> Option<Problem> {
        let name = &configured.check.plugin;
        // A file that cannot be used has a problem of its own; what is pushed needs none.
        if self.plugins.contains_key(name.as_str()) || name.as_str() == PUSHED {
            return None;
        }
        let known: Vec<&str> = self.plugins.keys().map(String::as_str).collect();
        let directory = self.config.paths.plugins.display();
        let problem = configured.problem_at("/plugin", format!("there is no plugin `{name}` in {directory}"));
        let hint = match nearest(name.as_str(), &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => format!("put {name}.wasm there"),
            None => format!("there are: {}", known.join(", ")),
        };
        Some(problem.hint(hint))
    }
}

async fn load_plugins(bench: &Bench, policy: &Policy, config: &Config, problems: &mut Vec<Problem>) -> Plugins {
    let scan = Scan::of(&config.paths.plugins, PLUGIN_ENDINGS);
    problems.extend(scan.problems.iter().cloned());
    let mut plugins = BTreeMap::new();
    for seen in scan.snapshot.seen() {
        let name = match plugin_name(&seen.name) {
            Ok(name) => name,
            Err(reason) => {
                problems.push(Problem::error(&*seen.path, reason));
                continue;
            }
        };
        let plugin = match load_plugin(bench, policy, &seen.path).await {
            Ok((plugin, origin)) => {
                let doubt =
                    origin.doubt.iter().map(|doubt| Problem::error(trust::beside(&seen.path), &**doubt).warning());
                problems.extend(doubt);
                Some((Arc::new(plugin), origin))
            }
            Err(error) => {
                problems.push(Problem::error(&*seen.path, chain(error.as_ref())));
                None
            }
        };
        plugins.insert(name.to_string(), plugin);
    }
    plugins
}

/// Nothing is compiled or run that the configuration does not take.
async fn load_plugin(bench: &Bench, policy: &Policy, path: &Path) -> anyhow::Result<(Plugin, Origin)> {
    let (name, bytes) = Bench::read(path)?;
    let origin = policy.judge(&name, &bytes, &trust::read_beside(path))?;
    Ok((bench.load_bytes(name, &bytes).await?, origin))
}

fn told(problems: &[Problem], found: Option<&Found>, format: Format) -> anyhow::Result<ExitCode> {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let exit = ExitCode::from(u8::from(errors > 0));
    if format == Format::Json {
        say_json(&Answer { problems, found })?;
        return Ok(exit);
    }
    problems.iter().for_each(|problem| complain(&problem.to_string()));
    let warnings = problems.len() - errors;
    match found {
        _ if errors > 0 && warnings > 0 => {
            complain(&format!("{}, {}", count(errors, "error"), count(warnings, "warning")))
        }
        _ if errors > 0 => complain(&count(errors, "error")),
        None => {}
        Some(found) => say(&found.told(warnings))?,
    }
    Ok(exit)
}

impl Found {
    fn told(&self, warnings: usize) -> String {
        let (plugins, checks) = (count(self.plugins, "plugin"), count(self.checks, "check"));
        let verdict = match warnings {
            0 => "everything is in order".to_owned(),
            _ => format!("no errors, {}", count(warnings, "warning")),
        };
        let mut text = format!("{verdict}: {plugins}, {checks}, {}\n", count(self.pairs, "target"));
        if let Some(hours) = self.history_hours {
            text.push_str(&format!(
                "the history holds about {} of records at {:.1} runs/s\n",
                budget::span(hours),
                self.runs_per_second
            ));
        }
        text
    }
}
