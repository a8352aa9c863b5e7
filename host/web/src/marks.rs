//! What pages show beside a state: silences, marks, findings, and the last failing runs with what they tell.

use roundsman_model::record::{Finding, Status};

use crate::dossier::SUBJECTS;
use crate::html::Html;
use crate::instant::{Instant, Millis};
use crate::page::{Brief, ago, result};
use crate::view::{Call, Last, Record, Silence, Subject};

/// Findings in one cell; the API has all of them.
const MAX_FINDINGS: usize = 8;

/// Lines of a log on the page.
const MAX_LOG: usize = 20;

/// Everything that makes a state mean less, or more, than it says.
pub(crate) fn marks(to: &mut Html, subject: &Subject, now: Instant) {
    if let Some(soft) = subject.soft {
        to.raw("<span class=\"badge\">").raw(soft.status.as_str()).raw(" × ").text(soft.count);
        to.raw(", not confirmed</span>");
    }
    let words = [
        (subject.shadow, "shadow: alarms nobody"),
        (subject.flapping, "flapping"),
        (subject.suspect, "suspect: this node’s own network was down"),
    ];
    for (_, word) in words.iter().filter(|(there, _)| *there) {
        to.raw("<span class=\"badge\">").raw(word).raw("</span>");
    }
    if let Some(why) = &subject.skipped {
        to.raw("<span class=\"note\">not run: ").text(Brief(why)).raw("</span>");
    }
    if let Some(silence) = &subject.silence {
        to.raw("<span class=\"note quiet\">silenced ");
        ends(to, silence, now);
        to.raw(" by ").text(Brief(&silence.author)).raw(": ").text(Brief(&silence.reason)).raw("</span>");
    }
    if let Some(note) = &subject.note {
        to.raw("<span class=\"note\">").text(note).raw("</span>");
    }
    findings(to, &subject.findings);
}

/// `until it is ok`, or for how long still.
fn ends(to: &mut Html, silence: &Silence, now: Instant) {
    match silence.until {
        None => {
            to.raw("until it is ok");
        }
        Some(until) => {
            to.raw("for another ");
            ago(to, now, until);
        }
    }
}

/// What was not ok of all that the last run looked at.
fn findings(to: &mut Html, findings: &[Finding]) {
    if findings.is_empty() {
        return;
    }
    to.raw("<ul class=\"findings\">");
    for finding in findings.iter().take(MAX_FINDINGS) {
        to.raw("<li><span class=\"pill ").raw(finding.status.as_str()).raw("\">").raw(finding.status.as_str());
        to.raw("</span> <b>").text(Brief(&finding.subject)).raw("</b> ").text(Brief(&finding.summary)).raw("</li>");
    }
    if findings.len() > MAX_FINDINGS {
        to.raw("<li class=\"dim\">and ").text(findings.len() - MAX_FINDINGS).raw(" more</li>");
    }
    to.raw("</ul>");
}

/// The silences of a check.
pub(crate) fn silences(to: &mut Html, silences: &[Silence], now: Instant) {
    if silences.is_empty() {
        return;
    }
    to.raw("<section><h2>Silences</h2>\n<table><thead><tr><th class=\"number\">Number<th class=\"name\">Target")
        .raw("<th class=\"when\">Began<th class=\"change\">Ends<th class=\"name\">By<th class=\"what\">Why")
        .raw("</tr></thead><tbody>\n");
    for silence in silences {
        to.raw("<tr><td class=\"number\">").text(silence.id).raw("</td><td class=\"name\">");
        match silence.target.as_deref() {
            None => to.raw("all"),
            Some("") => to.raw("node"),
            Some(target) => to.text(Brief(target)),
        };
        to.raw("</td><td class=\"when\">");
        ago(to, silence.created, now);
        to.raw(" ago</td><td class=\"change\">");
        match silence.until {
            None => {
                to.raw("when it is ok");
            }
            Some(until) => {
                to.raw("in ");
                ago(to, now, until);
            }
        }
        to.raw("</td><td class=\"name\">").text(Brief(&silence.author)).raw("</td><td class=\"what\">");
        to.text(Brief(&silence.reason)).raw("</td></tr>\n");
    }
    to.raw("</tbody></table></section>\n");
}

/// The last failing runs: in which phase of which call, with which words.
pub(crate) fn failures(to: &mut Html, failures: &[Record], now: Instant) {
    if failures.is_empty() {
        return;
    }
    to.raw("<section><h2>Last failing runs</h2>\n");
    for record in failures {
        failure(to, record, now);
    }
    if failures.iter().map(|record| &record.target).collect::<std::collections::HashSet<_>>().len() == SUBJECTS {
        to.raw("<p class=\"empty\">Of the ")
            .text(SUBJECTS)
            .raw(" worst targets; the page of a target has its own.</p>");
    }
    to.raw("</section>\n");
}

fn failure(to: &mut Html, record: &Record, now: Instant) {
    to.raw("<div class=\"failure ").raw(record.status.as_str()).raw("\"><p><span class=\"pill ");
    to.raw(record.status.as_str()).raw("\">").raw(record.status.as_str()).raw("</span> ");
    if let Some(target) = &record.target {
        to.raw("<b>").text(Brief(target)).raw("</b> ");
    }
    ago(to, record.time, now);
    to.raw(" ago <span class=\"dim\">").raw(record.origin.as_str()).raw(", attempt ").text(record.attempt);
    to.raw(", took ").text(Millis(record.duration_ms)).raw("</span></p><p>");
    result(to, &Last::shown_of(record));
    if record.suspect {
        to.raw("<span class=\"badge\">suspect: this node’s own network was down</span>");
    }
    to.raw("</p>");
    let bad: Vec<Finding> = record.findings.iter().filter(|f| f.status != Status::Ok).cloned().collect();
    findings(to, &bad);
    let story = record.story.as_ref();
    for call in story.map(|story| &story.calls[..]).unwrap_or_default() {
        one_call(to, call);
    }
    let log = story.map(|story| &story.log[..]).unwrap_or_default();
    if !log.is_empty() {
        to.raw("<pre>");
        for line in log.iter().take(MAX_LOG) {
            to.raw(line.level.as_str()).raw(" ").text(&line.text).raw("\n");
        }
        to.raw("</pre>");
    }
    to.raw("</div>\n");
}

fn one_call(to: &mut Html, call: &Call) {
    to.raw("<p class=\"call\"><code>").text(Brief(&call.what)).raw("</code> → <b>").text(Brief(&call.result));
    to.raw("</b> <span class=\"dim\">after ").text(Millis(call.duration_ms)).raw("</span>");
    for phase in &call.phases {
        to.raw("<span class=\"badge\">").text(Brief(&phase.phase)).raw(" ").text(Millis(phase.duration_ms));
        to.raw("</span>");
    }
    to.raw("</p>");
}
