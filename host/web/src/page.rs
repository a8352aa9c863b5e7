//! The status page: the board as one table, worst first, without scripts.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use roundsman_model::record::Blame;
use roundsman_model::state::State as Standing;

use crate::api::worst_first;
use crate::error::Refusal;
use crate::html::Html;
use crate::instant::{Instant, Millis, Short};
use crate::params::Given;
use crate::routes::Shared;
use crate::view::{About, Health, Last, Plugin, PluginState, Subject, Supervised};

/// How often the page asks again: a person's patience, and a small cost.
const REFRESH: &str = "5";

/// More lines than that nobody reads and some browsers do not like; the API has them all.
const MAX_LINES: usize = 1_000;

/// States in the order of the page.
const WORST_FIRST: [Standing; 7] = [
    Standing::Critical,
    Standing::Unknown,
    Standing::Stale,
    Standing::Warning,
    Standing::Pending,
    Standing::Skipped,
    Standing::Ok,
];

/// The one style sheet.
pub(crate) async fn style() -> Response {
    let headers = [(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "max-age=300")];
    (headers, include_str!("style.css")).into_response()
}

/// The board.
pub(crate) async fn board(State(shared): State<Arc<Shared>>, given: Given) -> Result<Response, Refusal> {
    let params = given.expect(&["state"])?;
    let only = params.state()?;
    let about = shared.agent.about();
    let mut subjects = shared.agent.board();
    worst_first(&mut subjects);
    let mut body = Html::default();
    head(&mut body, &about);
    counts(&mut body, &subjects, only);
    health(&mut body, &about, &shared.agent.plugins());
    lines(&mut body, &subjects, only, about.now);
    foot(&mut body);
    let loud = subjects.iter().filter(|subject| subject.state == Standing::Critical && !subject.is_quiet());
    let title = match loud.count() {
        0 => about.node,
        critical => format!("({critical}) {}", about.node),
    };
    Ok(whole(&title, &body))
}

/// A page around its content.
pub(crate) fn whole(title: &str, body: &Html) -> Response {
    let mut page = Html::default();
    page.raw("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">")
        .raw("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">")
        .raw("<meta name=\"color-scheme\" content=\"light dark\"><meta http-equiv=\"refresh\" content=\"")
        .raw(REFRESH)
        .raw("\"><title>")
        .text(title)
        .raw(" · Roundsman</title><link rel=\"stylesheet\" href=\"/style.css\"></head>\n<body>\n")
        .html(body)
        .raw("</body></html>\n");
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page.into_string()).into_response()
}

/// The bar at the top: which agent this is.
pub(crate) fn head(to: &mut Html, about: &About) {
    let (word, class) = if about.ready { ("ready", "ok") } else { ("not ready", "critical") };
    to.raw("<header><a class=\"brand\" href=\"/\">Roundsman</a><span class=\"node\">").text(&about.node).raw("</span>");
    for place in [&about.cluster, &about.zone].into_iter().flatten() {
        to.raw("<span class=\"place\">").text(place).raw("</span>");
    }
    to.raw("<span class=\"right\"><span class=\"pill ").raw(class).raw("\">").raw(word).raw("</span><span>up ");
    to.text(Short(about.now.0.since(about.started.0))).raw("</span><span>version ").text(&about.version);
    to.raw("</span></span></header>\n");
}

/// What else can be read.
pub(crate) fn foot(to: &mut Html) {
    to.raw("<footer><a href=\"/api/v1/status\">status</a><a href=\"/api/v1/checks\">checks</a>")
        .raw("<a href=\"/api/v1/plugins\">plugins</a><a href=\"/api/v1/transitions\">transitions</a>")
        .raw("<a href=\"/api/v1/agent\">agent</a><a href=\"/metrics\">metrics</a>")
        .raw("<a href=\"/api/v1/openapi.json\">API</a><span class=\"right\">times are UTC; the page renews itself every ")
        .raw(REFRESH)
        .raw(" s</span></footer>\n");
}

/// One tile per state, each leading to its lines.
fn counts(to: &mut Html, subjects: &[Subject], only: Option<Standing>) {
    to.raw("<nav class=\"counts\">");
    let chosen = |yes: bool| if yes { " chosen" } else { "" };
    let mut tile = |class: &'static str, link: &'static str, chosen: &'static str, count: usize, name: &'static str| {
        let some = if count > 0 { " some" } else { "" };
        to.raw("<a class=\"tile ").raw(class).raw(some).raw(chosen).raw("\" href=\"/").raw(link);
        to.raw("\"><b>").text(count).raw("</b><span>").raw(name).raw("</span></a>");
    };
    for state in WORST_FIRST {
        let count = subjects.iter().filter(|subject| subject.state == state).count();
        tile(state.as_str(), link(state), chosen(only == Some(state)), count, state.as_str());
    }
    tile("all", "", chosen(only.is_none()), subjects.len(), "all");
    to.raw("</nav>\n");
}

fn link(state: Standing) -> &'static str {
    match state {
        Standing::Ok => "?state=ok",
        Standing::Warning => "?state=warning",
        Standing::Critical => "?state=critical",
        Standing::Unknown => "?state=unknown",
        Standing::Pending => "?state=pending",
        Standing::Skipped => "?state=skipped",
        Standing::Stale => "?state=stale",
    }
}

/// The agent's own parts: the store, destinations, and whatever is not as it should be.
fn health(to: &mut Html, about: &About, plugins: &[Plugin]) {
    to.raw("<ul class=\"health\">");
    let mut line = |health: Health, name: &dyn std::fmt::Display, detail: &dyn std::fmt::Display| {
        to.raw("<li><i class=\"dot ").raw(colour(health)).raw("\"></i><b>").text(name).raw("</b> ").text(detail);
        to.raw("</li>");
    };
    let store = &about.store;
    let size = format!(
        "{} records, {} transitions, {} of {}",
        Grouped(store.records),
        Grouped(store.transitions),
        Bytes(store.bytes),
        Bytes(store.max_bytes)
    );
    line(store.health, &"store", &joined(&store.detail, &size));
    for to in &about.destinations {
        let backlog =
            if to.backlog == 0 { "nothing waits".to_owned() } else { format!("{} records wait", Grouped(to.backlog)) };
        line(to.health, &format_args!("influx {}", to.name), &joined(&to.detail, &backlog));
    }
    for part in about.components.iter().filter(|part| part.health != Health::Ok) {
        line(part.health, &part.name, &part.detail);
    }
    for plugin in plugins.iter().filter(|plugin| plugin.state != PluginState::Ready || plugin.outdated) {
        let health = if plugin.state == PluginState::Broken || plugin.state == PluginState::Missing {
            Health::Failed
        } else {
            Health::Degraded
        };
        let reason = plugin.reason.as_deref().unwrap_or("");
        line(health, &format_args!("plugin {}", plugin.name), &joined(state_word(plugin), reason));
    }
    for (plugin, held) in plugins.iter().filter_map(|plugin| Some((plugin, plugin.supervision.as_ref()?))) {
        let health = match held.state {
            Supervised::Running => continue,
            Supervised::BackOff => Health::Degraded,
            Supervised::Quarantined => Health::Failed,
        };
        let reason = held.reason.as_deref().unwrap_or("");
        line(health, &format_args!("plugin {}", plugin.name), &joined(held.state.as_str(), reason));
    }
    for problem in &about.problems {
        line(Health::Failed, &"configuration", problem);
    }
    to.raw("</ul>\n");
}

fn state_word(plugin: &Plugin) -> &'static str {
    match plugin.state {
        PluginState::Waiting => "waiting",
        PluginState::Compiling => "compiling",
        PluginState::Ready => "the version before goes on",
        PluginState::Broken => "broken",
        PluginState::Missing => "missing",
    }
}

fn joined(first: &str, second: &str) -> String {
    let parts: Vec<&str> = [first, second].into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" · ")
}

fn colour(health: Health) -> &'static str {
    match health {
        Health::Ok => "ok",
        Health::Degraded => "warning",
        Health::Failed => "critical",
    }
}

/// The table, one group per state.
fn lines(to: &mut Html, subjects: &[Subject], only: Option<Standing>, now: Instant) {
    let shown: Vec<&Subject> = subjects.iter().filter(|s| only.is_none_or(|only| s.state == only)).collect();
    if shown.is_empty() {
        let text = if subjects.is_empty() { "No checks are configured yet." } else { "Nothing is in this state." };
        to.raw("<p class=\"empty\">").raw(text).raw("</p>\n");
        return;
    }
    begin_table(to);
    for state in WORST_FIRST {
        let count = shown.iter().filter(|subject| subject.state == state).count();
        let mut group = shown.iter().take(MAX_LINES).filter(|subject| subject.state == state).peekable();
        if group.peek().is_none() {
            continue;
        }
        to.raw("<tr class=\"group\"><th colspan=\"7\"><i class=\"dot ").raw(state.as_str()).raw("\"></i><b>");
        to.raw(state.as_str()).raw("</b> ").text(count).raw("</th></tr>\n");
        for subject in group {
            line(to, subject, now);
        }
    }
    to.raw("</tbody></table>\n");
    if shown.len() > MAX_LINES {
        to.raw("<p class=\"empty\">").text(shown.len() - MAX_LINES);
        to.raw(" more are in <a href=\"/api/v1/status\">/api/v1/status</a>.</p>\n");
    }
}

pub(crate) fn begin_table(to: &mut Html) {
    to.raw("<table class=\"board\"><thead><tr><th class=\"name\">Check<th class=\"what\">Last result<th class=\"when\">Since")
        .raw("<th class=\"number\">Latency<th class=\"when\">Last run<th class=\"when\">Next run<th class=\"plugin\">Plugin")
        .raw("</tr></thead><tbody>\n");
}

/// One (check, target).
pub(crate) fn line(to: &mut Html, subject: &Subject, now: Instant) {
    to.raw("<tr class=\"").raw(subject.state.as_str()).raw(if subject.is_quiet() { " quiet" } else { "" });
    to.raw("\"><td class=\"name\"><a href=\"/checks/");
    to.component(&subject.check).raw("\">").text(&subject.check).raw("</a>");
    if let Some(target) = &subject.target {
        to.raw("<span class=\"target\">").text(target).raw("</span>");
    }
    to.raw("</td><td class=\"what\">");
    match &subject.last {
        Some(last) => result(to, last),
        None => {
            to.raw("<span class=\"dim\">no record yet</span>");
        }
    }
    crate::marks::marks(to, subject, now);
    to.raw("</td><td class=\"when\">");
    ago(to, subject.since, now);
    to.raw("</td><td class=\"number\">");
    match subject.last.as_ref().and_then(|last| last.latency_ms) {
        Some(ms) => to.text(Millis(ms)),
        None => to.raw("–"),
    };
    to.raw("</td><td class=\"when\">");
    match &subject.last {
        Some(last) => {
            ago(to, last.time, now);
            to.raw(" ago");
        }
        None => {
            to.raw("–");
        }
    }
    to.raw("</td><td class=\"when\">");
    next_run(to, subject, now);
    to.raw("</td><td class=\"plugin\">").text(&subject.plugin).raw("</td></tr>\n");
}

/// What a record said, and who is to blame where it is not the target.
pub(crate) fn result(to: &mut Html, last: &Last) {
    to.raw("<span class=\"summary\">");
    if last.summary.is_empty() {
        to.raw(last.status.as_str())
    } else {
        to.text(&last.summary)
    };
    to.raw("</span>");
    if last.blame != Blame::Target {
        to.raw("<span class=\"badge\">blame: ").raw(last.blame.as_str()).raw("</span>");
    }
    if let Some(code) = &last.code {
        to.raw("<span class=\"badge\">").text(code).raw("</span>");
    }
}

fn next_run(to: &mut Html, subject: &Subject, now: Instant) {
    match subject.next_run {
        _ if subject.running => to.raw("running"),
        Some(next) if next > now => to
            .raw("<time title=\"")
            .text(next)
            .raw("\">in ")
            .text(Short(whole_seconds(next.0.since(now.0))))
            .raw("</time>"),
        Some(_) => to.raw("now"),
        None if subject.ttl.is_some() => to.raw("pushed"),
        None => to.raw("–"),
    };
}

/// How long it is from an instant to another, with the first behind it.
pub(crate) fn ago(to: &mut Html, time: Instant, now: Instant) {
    to.raw("<time title=\"").text(time).raw("\">").text(Short(whole_seconds(now.0.since(time.0)))).raw("</time>");
}

fn whole_seconds(duration: Duration) -> Duration {
    Duration::from_secs(duration.as_secs())
}

/// A text that fits into a line of a table; the API has all of it.
pub(crate) struct Brief<'a>(pub(crate) &'a str);

/// Four lines on a wide screen.
const BRIEF: usize = 400;

impl std::fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.char_indices().nth(BRIEF) {
            None => f.write_str(self.0),
            Some((end, _)) => write!(f, "{} …", &self.0[..end]),
        }
    }
}

/// A count with its thousands apart.
struct Grouped(u64);

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let digits = self.0.to_string();
        for (at, digit) in digits.chars().enumerate() {
            if at > 0 && (digits.len() - at).is_multiple_of(3) {
                f.write_str(",")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A number of bytes for people.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.into_iter().find(|(_, scale)| self.0 >= *scale) {
            Some((unit, scale)) => write!(f, "{:.1} {unit}", self.0 as f64 / scale as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(Grouped(number).to_string(), text);
        }
        for (bytes, text) in [(0, "0 B"), (1_023, "1023 B"), (1_536, "1.5 KiB"), (512 << 20, "512.0 MiB")] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
        assert_eq!(Brief(&"ü".repeat(BRIEF)).to_string(), "ü".repeat(BRIEF));
        assert_eq!(Brief(&"ü".repeat(BRIEF + 1)).to_string(), format!("{} …", "ü".repeat(BRIEF)));
    }
}
