//! `roundsman validate`: everything that is wrong with the configuration, the checks and the plugins, at once.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use roundsman_plugin::load::Plugin;
use serde::Serialize;

use super::probe::Bench;
use super::table::{complain, count, say, say_json};
use super::{Configuration, Format, Output};
use crate::checks::files::Files;
use crate::config::nearest::nearest;
use crate::config::{self, Config};
use crate::coordinator::{PLUGIN_ENDINGS, complaints, plugin_name};
use crate::plugins::chain;
use crate::prepare::Common;
use crate::problem::Problem;
use crate::watch::snapshot::Scan;

/// The configuration as file, environment and flags make it, or what is wrong with it. Warnings are printed.
pub(super) fn load(configuration: &Configuration) -> anyhow::Result<Result<Config, Vec<Problem>>> {
    let file = match &configuration.config {
        None => None,
        Some(path) => match crate::watch::read::read_stable(path, config::MAX_FILE) {
            Ok(read) => Some((path.as_path(), read.bytes)),
            Err(error) => return Ok(Err(vec![error.problem(path)])),
        },
    };
    let file = file.as_ref().map(|(path, bytes)| (*path, bytes.as_slice()));
    let host_name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let loaded = Config::load(file, std::env::vars_os(), &configuration.set, &host_name);
    Ok(loaded.map(|loaded| {
        loaded.warnings.iter().for_each(|warning| complain(&warning.to_string()));
        loaded.config
    }))
}

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    configuration: Configuration,
    #[command(flatten)]
    output: Output,
}

/// What was looked at, for the last line.
#[derive(Debug, Default, Serialize)]
struct Found {
    plugins: usize,
    checks: usize,
    pairs: usize,
}

/// Everything that was found, as JSON.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    problems: &'a [Problem],
    found: Option<&'a Found>,
}

pub(super) fn execute(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let format = arguments.output.output;
    let config = match load(&arguments.configuration)? {
        Ok(config) => config,
        Err(problems) => return told(&problems, None, format),
    };
    let mut problems = destinations(&config);
    let mut found = Found::default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(look(&config, &mut problems, &mut found)).context("cannot look at plugins and checks")?;
    runtime.shutdown_background();
    told(&problems, Some(&found), format)
}

fn destinations(config: &Config) -> Vec<Problem> {
    let wrong = config.influx.iter().filter_map(|influx| crate::agent::destination(influx).check().err());
    wrong.map(|error| Problem::error("influx", error.to_string())).collect()
}

async fn look(config: &Config, problems: &mut Vec<Problem>, found: &mut Found) -> anyhow::Result<()> {
    let bench = Bench::new()?;
    let plugins = load_plugins(&bench, config, problems).await;
    found.plugins = plugins.len();
    let files = Files::read_once(&config.paths.checks, config.node.clone());
    problems.extend(files.problems());
    let common = Common::new(config.node.clone(), vec![config.http.listen.port()]);
    for configured in files.checks() {
        found.checks += 1;
        found.pairs += configured.pairs();
        let prepared = match common.prepare(&configured.check) {
            Ok(prepared) => prepared,
            Err(wrong) => {
                problems.push(configured.problem_at(&wrong.pointer, wrong.message));
                continue;
            }
        };
        match plugins.get(configured.check.plugin.as_str()) {
            Some(Some(plugin)) => problems.extend(complaints(configured, plugin, &prepared).await),
            // Its file has a problem of its own.
            Some(None) => {}
            None => {
                let known: Vec<&str> = plugins.keys().map(String::as_str).collect();
                let directory = config.paths.plugins.display();
                let name = &configured.check.plugin;
                let problem = configured.problem_at("/plugin", format!("there is no plugin `{name}` in {directory}"));
                let hint = match nearest(name.as_str(), &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if known.is_empty() => format!("put {name}.wasm there"),
                    None => format!("there are: {}", known.join(", ")),
                };
                problems.push(problem.hint(hint));
            }
        }
    }
    Ok(())
}

async fn load_plugins(
    bench: &Bench,
    config: &Config,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, Option<Arc<Plugin>>> {
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
        let plugin = match bench.load(&seen.path).await {
            Ok((_, plugin)) => Some(Arc::new(plugin)),
            Err(error) => {
                problems.push(Problem::error(&*seen.path, chain(error.as_ref())));
                None
            }
        };
        plugins.insert(name.to_string(), plugin);
    }
    plugins
}

fn told(problems: &[Problem], found: Option<&Found>, format: Format) -> anyhow::Result<ExitCode> {
    let errors = problems.iter().filter(|problem| problem.is_error()).count();
    let exit = ExitCode::from(u8::from(errors > 0));
    if format == Format::Json {
        say_json(&Answer { problems, found })?;
        return Ok(exit);
    }
    problems.iter().for_each(|problem| complain(&problem.to_string()));
    match found {
        _ if errors > 0 => complain(&count(errors, "error")),
        None => {}
        Some(Found { plugins, checks, pairs }) => {
            let (plugins, checks) = (count(*plugins, "plugin"), count(*checks, "check"));
            say(&format!("everything is in order: {plugins}, {checks}, {}\n", count(*pairs, "target")))?;
        }
    }
    Ok(exit)
}
