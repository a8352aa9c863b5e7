//! The JSON API: lists of what there is, pages of what there was, and a run on demand.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use roundsman_model::key::Key;
use roundsman_store::Query;
use serde::Serialize;

use crate::error::Refusal;
use crate::params::{Given, Params};
use crate::routes::Shared;
use crate::view;

/// The longest that a run on demand is waited for; the run itself ends by its own deadline.
const RUN_TIME: Duration = Duration::from_secs(300);

#[derive(Debug, Serialize)]
pub(crate) struct Agent {
    agent: view::About,
}

pub(crate) async fn agent(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Agent>, Refusal> {
    given.expect(&[])?;
    Ok(Json(Agent { agent: shared.agent.about() }))
}

/// Where a list that is whole in memory was cut.
#[derive(Debug, Serialize)]
pub(crate) struct Page<P> {
    /// How many matched, on all pages.
    total: usize,
    /// For the next page; absent: this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<P>,
}

/// Cuts a sorted list to the page that is asked for. Lists of what is configured are whole unless a limit is given. A
/// place is that of the last element of a page, so that what comes or goes meanwhile neither hides nor repeats others.
pub(crate) fn page<T, P>(
    list: &mut Vec<T>,
    params: &Params,
    place: impl Fn(&T) -> P,
    follows: impl Fn(&T) -> bool,
) -> Result<Page<P>, Refusal> {
    let total = list.len();
    list.retain(follows);
    let mut next_before = None;
    if params.text("limit").is_some() {
        let limit = params.limit()?;
        if list.len() > limit {
            list.truncate(limit);
            next_before = list.last().map(place);
        }
    }
    Ok(Page { total, next_before })
}

#[derive(Debug, Serialize)]
pub(crate) struct Checks {
    checks: Vec<view::Check>,
    #[serde(flatten)]
    page: Page<Arc<str>>,
}

pub(crate) async fn checks(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Checks>, Refusal> {
    let params = given.expect(&["check", "plugin", "limit", "before"])?;
    let (check, plugin, before) = (params.text("check"), params.text("plugin"), params.text("before"));
    let mut checks = shared.agent.checks();
    checks.retain(|c| check.is_none_or(|check| *c.name == *check) && plugin.is_none_or(|plugin| *c.plugin == *plugin));
    checks.sort_by(|a, b| a.name.cmp(&b.name));
    let page = page(&mut checks, &params, |c| c.name.clone(), |c| before.is_none_or(|before| *c.name > *before))?;
    Ok(Json(Checks { checks, page }))
}

#[derive(Debug, Serialize)]
pub(crate) struct Plugins {
    plugins: Vec<view::Plugin>,
    #[serde(flatten)]
    page: Page<Arc<str>>,
}

pub(crate) async fn plugins(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Plugins>, Refusal> {
    let params = given.expect(&["plugin", "limit", "before"])?;
    let before = params.text("before");
    let mut plugins = shared.agent.plugins();
    plugins.retain(|p| params.text("plugin").is_none_or(|plugin| *p.name == *plugin));
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    let page = page(&mut plugins, &params, |p| p.name.clone(), |p| before.is_none_or(|before| *p.name > *before))?;
    Ok(Json(Plugins { plugins, page }))
}

#[derive(Debug, Serialize)]
pub(crate) struct Released {
    plugin: view::Plugin,
}

/// Lets a plugin run again.
pub(crate) async fn release(
    State(shared): State<Arc<Shared>>,
    Path(plugin): Path<String>,
    given: Given,
) -> Result<Json<Released>, Refusal> {
    let _: Params = given.expect(&[])?;
    Ok(Json(Released { plugin: shared.agent.release(&plugin).await? }))
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    node: String,
    /// The worst state of all that matched and is neither silenced nor in the shadow; absent: there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<roundsman_model::state::State>,
    /// Worst first.
    status: Vec<view::Subject>,
    #[serde(flatten)]
    page: Page<String>,
}

pub(crate) async fn status(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Status>, Refusal> {
    let params = given.expect(&["check", "target", "state", "since", "until", "limit", "before"])?;
    let about = shared.agent.about();
    let (check, target, state) = (params.text("check"), params.text("target"), params.state()?);
    let (since, until) = (params.time("since", about.now)?, params.time("until", about.now)?);
    let mut status = shared.agent.board();
    status.retain(|s| {
        check.is_none_or(|check| *s.check == *check)
            && target.is_none_or(|target| s.target.as_deref().unwrap_or("") == target)
            && state.is_none_or(|state| s.state == state)
            && since.is_none_or(|since| s.since >= since)
            && until.is_none_or(|until| s.since <= until)
    });
    worst_first(&mut status);
    let worst = view::worst(&status);
    let before = params.text("before").map(Place::read).transpose()?;
    let follows = |subject: &view::Subject| before.as_ref().is_none_or(|before| *before < Place::of(subject));
    let page = page(&mut status, &params, |subject| Place::of(subject).to_string(), follows)?;
    Ok(Json(Status { node: about.node, worst, status, page }))
}

/// Where a line of the board stands when the worst come first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    severity: std::cmp::Reverse<u8>,
    check: &'a str,
    /// Empty: the node itself.
    target: &'a str,
}

impl<'a> Place<'a> {
    fn of(subject: &'a view::Subject) -> Self {
        let severity = std::cmp::Reverse(subject.state.severity());
        Self { severity, check: &subject.check, target: subject.target_or_empty() }
    }

    fn read(text: &'a str) -> Result<Self, Refusal> {
        let mut parts = text.splitn(3, '/');
        let severity = parts.next().and_then(|severity| severity.parse().ok());
        match (severity, parts.next(), parts.next()) {
            (Some(severity), Some(check), Some(target)) => {
                Ok(Self { severity: std::cmp::Reverse(severity), check, target })
            }
            _ => Err(Refusal::bad("before: not a place on the board", "use the `next_before` of the page before")),
        }
    }
}

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.severity.0, self.check, self.target)
    }
}

/// The order of the board wherever it is shown.
pub(crate) fn worst_first(subjects: &mut [view::Subject]) {
    subjects.sort_by(|a, b| Place::of(a).cmp(&Place::of(b)));
}

#[derive(Debug, Serialize)]
pub(crate) struct Records {
    records: Vec<view::Record>,
    /// For the next page. A page may be short and still have one after it; absent: there is nothing older.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
}

pub(crate) async fn records(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Records>, Refusal> {
    let params = given.expect(&["check", "target", "status", "since", "until", "story", "limit", "before"])?;
    let now = shared.agent.about().now;
    let query = Query { status: params.status("status")?, ..window(&params, now)? };
    let told = if params.flag("story")? { Some(one_key(&query)?) } else { None };
    let read = shared.readers.read(move |reader| {
        let page = reader.records(&query)?;
        let stories = told.map(|key| reader.stories(&key, query.limit)).transpose()?;
        Ok((page, stories.unwrap_or_default()))
    });
    let (page, stories) = read.await?;
    let mut stories: HashMap<i64, view::Story> =
        stories.iter().map(|(row, story)| (row.id, view::Story::of(story))).collect();
    let records = page.rows.iter().map(|row| {
        let story = stories.remove(&row.id);
        view::Record { story, ..view::Record::of(&row.record, Some(row.id)) }
    });
    Ok(Json(Records { records: records.collect(), next_before: page.searched_down_to }))
}

/// Stories are kept by (check, target), and told of one at a time.
fn one_key(query: &Query) -> Result<Key, Refusal> {
    let (Some(check), Some(target)) = (&query.check, &query.target) else {
        let hint = "add check=…&target=…, with an empty target for the node itself, or GET /api/v1/checks/{name}";
        return Err(Refusal::bad("story: told of one check and target only", hint));
    };
    Ok(Key { check: check.clone(), target: Some(target.clone()).filter(|target| !target.is_empty()) })
}

#[derive(Debug, Serialize)]
pub(crate) struct Transitions {
    transitions: Vec<view::Transition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
}

pub(crate) async fn transitions(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Transitions>, Refusal> {
    let params = given.expect(&["check", "target", "state", "since", "until", "limit", "before"])?;
    let now = shared.agent.about().now;
    let query = Query { status: params.status("state")?, ..window(&params, now)? };
    let page = shared.readers.read(move |reader| reader.transitions(&query)).await?;
    let transitions = page.rows.iter().map(view::Transition::of_row).collect();
    Ok(Json(Transitions { transitions, next_before: page.searched_down_to }))
}

fn window(params: &Params, now: crate::instant::Instant) -> Result<Query, Refusal> {
    Ok(Query {
        check: params.check()?,
        target: params.text("target").map(Arc::from),
        since: params.time("since", now)?.map(|since| since.0),
        until: params.time("until", now)?.map(|until| until.0),
        before: params.before()?,
        status: None,
        limit: params.limit()?,
    })
}

#[derive(Debug, Serialize)]
pub(crate) struct Runs {
    records: Vec<view::Record>,
}

/// Runs a check now, on the target that is named or on all, and returns what was found.
pub(crate) async fn run(
    State(shared): State<Arc<Shared>>,
    Path(check): Path<String>,
    given: Given,
) -> Result<Json<Runs>, Refusal> {
    let params = given.expect(&["target"])?;
    let target = params.text("target").filter(|target| !target.is_empty());
    match tokio::time::timeout(RUN_TIME, shared.agent.run_now(&check, target)).await {
        Ok(ran) => Ok(Json(Runs { records: ran? })),
        Err(_) => {
            let error = format!("the run did not end within {} s", RUN_TIME.as_secs());
            let hint = format!("its record will stand in /api/v1/records?check={check}");
            Err(Refusal::new(StatusCode::GATEWAY_TIMEOUT, error, hint))
        }
    }
}
