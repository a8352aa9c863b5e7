//! The page of one check: what it is, where it stands, what changed and what was found lately.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::response::Response;
use roundsman_model::name::CheckName;
use roundsman_model::record::Origin;
use roundsman_store::{Query, RecordRow, TransitionRow};

use crate::dossier::{self, absent};
use crate::error::Refusal;
use crate::html::Html;
use crate::instant::{Instant, Millis, Short};
use crate::marks;
use crate::page;
use crate::params::Given;
use crate::routes::Shared;
use crate::view;

/// What fits on a page; the API has the rest.
const RECORDS: usize = 50;

/// Changes are rarer and tell more.
const TRANSITIONS: usize = 20;

/// One check, all of its targets or one of them.
pub(crate) async fn check(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    given: Given,
) -> Result<Response, Refusal> {
    let params = given.expect(&["target", "before"])?;
    let checks = shared.agent.checks();
    let check = CheckName::new(&name).map_err(|_| absent(&name, &checks))?;
    let configured = checks.iter().find(|c| *c.name == *name);
    let target: Option<Arc<str>> = params.text("target").map(Arc::from);
    let before = params.before()?;
    let query = Query { check: Some(check), target: target.clone(), before, limit: RECORDS, ..Query::default() };
    let subjects = dossier::subjects(&shared, &name, target.as_deref());
    let keys = dossier::keys(&subjects);
    let read = shared.readers.read(move |reader| {
        let changes = Query { before: None, limit: TRANSITIONS, ..query.clone() };
        Ok((reader.records(&query)?, reader.transitions(&changes)?.rows, dossier::failures(reader, &keys)?))
    });
    let (records, transitions, failures) = read.await?;
    if configured.is_none() && records.rows.is_empty() && transitions.is_empty() {
        return Err(absent(&name, &checks));
    }
    let about = shared.agent.about();

    let mut body = Html::default();
    page::head(&mut body, &about);
    title(&mut body, &name, target.as_deref());
    match configured {
        Some(configured) => facts(&mut body, configured),
        None => {
            body.raw("<p class=\"empty\">This check is no longer configured; this is its history.</p>\n");
        }
    }
    now_stands(&mut body, &subjects, about.now);
    marks::silences(&mut body, &dossier::silences(&shared, &name, target.as_deref()), about.now);
    marks::failures(&mut body, &failures, about.now);
    changes(&mut body, &transitions, about.now);
    recent(&mut body, &records.rows, about.now);
    older(&mut body, &name, target.as_deref(), records.searched_down_to);
    page::foot(&mut body);
    Ok(page::whole(&name, &body))
}

fn title(to: &mut Html, name: &str, target: Option<&str>) {
    to.raw("<h1><a href=\"/\">Board</a><span class=\"dim\">/</span>");
    match target {
        None => to.text(name),
        Some(target) => {
            to.raw("<a href=\"/checks/").component(name).raw("\">").text(name);
            to.raw("</a><span class=\"dim\">/</span>").text(if target.is_empty() { "the node itself" } else { target })
        }
    };
    to.raw("</h1>\n");
}

/// What the operator wrote.
fn facts(to: &mut Html, check: &view::Check) {
    to.raw("<dl class=\"facts\">");
    fact(to, "Plugin", &check.plugin);
    fact(to, "Schedule", &check.schedule);
    fact(to, "Timeout", roundsman_model::units::format_duration(check.timeout.0));
    let thresholds = format!("{} to ok, {} to fail", check.success_threshold, check.failure_threshold);
    fact(to, "Confirmed by", thresholds);
    if !check.depends_on.is_empty() {
        fact(to, "Depends on", check.depends_on.join(", "));
    }
    for maintenance in &check.maintenance {
        fact(to, "Maintenance", maintenance);
    }
    for threshold in &check.thresholds {
        let bounds = [("warning", &threshold.warning), ("critical", &threshold.critical)];
        let bounds = bounds.iter().filter_map(|(word, bound)| Some(format!("{word} {}", bound.as_ref()?)));
        fact(to, "Threshold", format!("{}: {}", threshold.field, bounds.collect::<Vec<_>>().join(", ")));
    }
    if check.negate {
        fact(to, "Negated", "critical when it succeeds");
    }
    if check.shadow {
        fact(to, "Shadow", "alarms nobody");
    }
    if let Some(owner) = &check.owner {
        fact(to, "Owner", owner);
    }
    if let Some(runbook) = &check.runbook {
        to.raw("<div><dt>Runbook</dt><dd>");
        // Anything else than a link to the web stays text: an address can be a program as well.
        if runbook.starts_with("https://") || runbook.starts_with("http://") {
            to.raw("<a rel=\"noreferrer noopener\" href=\"").text(runbook).raw("\">").text(runbook).raw("</a>");
        } else {
            to.text(runbook);
        }
        to.raw("</dd></div>");
    }
    if !check.labels.is_empty() {
        let labels: Vec<String> = check.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        fact(to, "Labels", labels.join(", "));
    }
    if let Some(file) = &check.file {
        fact(to, "File", file);
    }
    if !check.enabled {
        fact(to, "Enabled", "no");
    }
    to.raw("</dl>\n");
    if let Some(problem) = &check.problem {
        let word = if check.outdated { "Outdated: " } else { "" };
        to.raw("<p class=\"problem\">").raw(word).text(problem).raw("</p>\n");
    }
}

fn fact(to: &mut Html, name: &'static str, value: impl std::fmt::Display) {
    to.raw("<div><dt>").raw(name).raw("</dt><dd>").text(value).raw("</dd></div>");
}

fn now_stands(to: &mut Html, subjects: &[view::Subject], now: Instant) {
    if subjects.is_empty() {
        return;
    }
    to.raw("<section><h2>Now<span>").text(subjects.len()).raw("</span></h2>\n");
    page::begin_table(to);
    for subject in subjects {
        page::line(to, subject, now);
    }
    to.raw("</tbody></table></section>\n");
}

fn changes(to: &mut Html, transitions: &[TransitionRow], now: Instant) {
    to.raw("<section><h2>Changes</h2>\n");
    if transitions.is_empty() {
        to.raw("<p class=\"empty\">None so far.</p></section>\n");
        return;
    }
    to.raw("<table><thead><tr><th class=\"when\">Ago<th class=\"name\">Target<th class=\"change\">Change")
        .raw("<th class=\"when\">After<th class=\"what\">What confirmed it</tr></thead><tbody>\n");
    for row in transitions {
        let change = row.change;
        to.raw("<tr class=\"").raw(change.to.as_str()).raw("\"><td class=\"when\">");
        page::ago(to, change.at.into(), now);
        to.raw("</td><td class=\"name\">");
        target_link(to, row.key.check.as_str(), row.key.target.as_deref());
        if let Some(finding) = &row.finding {
            to.raw("<span class=\"target\">").text(page::Brief(finding)).raw("</span>");
        }
        to.raw("</td><td class=\"change\"><span class=\"pill ").raw(change.from.as_str()).raw("\">");
        to.raw(change.from.as_str()).raw("</span> → <span class=\"pill ").raw(change.to.as_str()).raw("\">");
        to.raw(change.to.as_str()).raw("</span></td><td class=\"when\">").text(Short(change.at.since(change.since)));
        to.raw("</td><td class=\"what\"><span class=\"summary\">").text(page::Brief(&row.summary)).raw("</span>");
        if let Some(quiet) = change.quiet {
            to.raw("<span class=\"badge\">").raw(quiet.as_str()).raw("</span>");
        }
        to.raw("</td></tr>\n");
    }
    to.raw("</tbody></table></section>\n");
}

fn recent(to: &mut Html, records: &[RecordRow], now: Instant) {
    to.raw("<section><h2>Records</h2>\n");
    if records.is_empty() {
        to.raw("<p class=\"empty\">None in the store.</p></section>\n");
        return;
    }
    to.raw("<p class=\"strip\">");
    for row in records.iter().rev() {
        to.raw("<i class=\"").raw(row.record.status.as_str()).raw("\" title=\"").text(Instant(row.record.time));
        to.raw(" ").text(page::Brief(&row.record.summary)).raw("\"></i>");
    }
    to.raw("</p>\n<table><thead><tr><th class=\"when\">Ago<th class=\"name\">Target<th class=\"status\">Status")
        .raw("<th class=\"what\">Result<th class=\"number\">Latency<th class=\"number\">Duration<th class=\"number\">Lag")
        .raw("</tr></thead><tbody>\n");
    for row in records {
        let record = &row.record;
        let last = view::Last::of(record);
        to.raw("<tr class=\"").raw(record.status.as_str()).raw("\"><td class=\"when\">");
        page::ago(to, last.time, now);
        to.raw("</td><td class=\"name\">");
        target_link(to, record.key.check.as_str(), record.key.target.as_deref());
        to.raw("</td><td class=\"status\"><span class=\"pill ").raw(record.status.as_str()).raw("\">");
        to.raw(record.status.as_str()).raw("</span></td><td class=\"what\">");
        page::result(to, &last);
        if record.origin != Origin::Schedule {
            to.raw("<span class=\"badge\">").raw(record.origin.as_str()).raw("</span>");
        }
        if record.suspect {
            to.raw("<span class=\"badge\">suspect</span>");
        }
        to.raw("</td><td class=\"number\">");
        match last.latency_ms {
            Some(ms) => to.text(Millis(ms)),
            None => to.raw("–"),
        };
        to.raw("</td><td class=\"number\">").text(Millis(last.duration_ms));
        to.raw("</td><td class=\"number\">").text(Millis(last.lag_ms)).raw("</td></tr>\n");
    }
    to.raw("</tbody></table></section>\n");
}

fn target_link(to: &mut Html, check: &str, target: Option<&str>) {
    to.raw("<a href=\"/checks/").component(check).raw("?target=").component(target.unwrap_or("")).raw("\">");
    match target {
        Some(target) => to.text(target),
        None => to.raw("node"),
    };
    to.raw("</a>");
}

fn older(to: &mut Html, name: &str, target: Option<&str>, before: Option<i64>) {
    let Some(before) = before else { return };
    to.raw("<p class=\"more\"><a href=\"/checks/").component(name).raw("?before=").text(before);
    if let Some(target) = target {
        to.raw("&amp;target=").component(target);
    }
    to.raw("\">older records</a></p>\n");
}
