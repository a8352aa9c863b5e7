//! The JSON API: lists of what there is, pages of what there was, and a run on demand.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use roundsman_store::{Query, Reader, StoreError};
use serde::Serialize;

use crate::error::Refusal;
use crate::params::{Given, MAX_LIMIT, Params};
use crate::routes::Shared;
use crate::view;

/// The longest that a run on demand is waited for; the run itself ends by its own deadline.
const RUN_TIME: Duration = Duration::from_secs(300);

/// Pages of the store that one answer looks through for rows before `until`; what is left is for the next page.
const MAX_PAGES: usize = 10;

#[derive(Debug, Serialize)]
pub(crate) struct Agent {
    agent: view::About,
}

pub(crate) async fn agent(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Agent>, Refusal> {
    given.expect(&[])?;
    Ok(Json(Agent { agent: shared.agent.about() }))
}

#[derive(Debug, Serialize)]
pub(crate) struct Checks {
    checks: Vec<view::Check>,
    /// How many matched; more than are listed where `limit` cut the list.
    total: usize,
}

pub(crate) async fn checks(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Checks>, Refusal> {
    let params = given.expect(&["check", "plugin", "limit"])?;
    let (check, plugin) = (params.text("check"), params.text("plugin"));
    let mut checks = shared.agent.checks();
    checks.retain(|c| check.is_none_or(|check| *c.name == *check) && plugin.is_none_or(|plugin| *c.plugin == *plugin));
    checks.sort_by(|a, b| a.name.cmp(&b.name));
    let total = cut(&mut checks, &params)?;
    Ok(Json(Checks { checks, total }))
}

#[derive(Debug, Serialize)]
pub(crate) struct Plugins {
    plugins: Vec<view::Plugin>,
    total: usize,
}

pub(crate) async fn plugins(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Plugins>, Refusal> {
    let params = given.expect(&["plugin", "limit"])?;
    let mut plugins = shared.agent.plugins();
    plugins.retain(|p| params.text("plugin").is_none_or(|plugin| *p.name == *plugin));
    plugins.sort_by(|a, b| a.name.cmp(&b.name));
    let total = cut(&mut plugins, &params)?;
    Ok(Json(Plugins { plugins, total }))
}

#[derive(Debug, Serialize)]
pub(crate) struct Status {
    node: String,
    /// Worst first.
    status: Vec<view::Subject>,
    total: usize,
}

pub(crate) async fn status(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Status>, Refusal> {
    let params = given.expect(&["check", "target", "state", "since", "until", "limit"])?;
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
    let total = cut(&mut status, &params)?;
    Ok(Json(Status { node: about.node, status, total }))
}

/// The order of the board wherever it is shown.
pub(crate) fn worst_first(subjects: &mut [view::Subject]) {
    subjects.sort_by(|a, b| {
        b.state.severity().cmp(&a.state.severity()).then_with(|| (&a.check, &a.target).cmp(&(&b.check, &b.target)))
    });
}

/// Lists of what is configured are whole unless a limit is asked for.
fn cut<T>(list: &mut Vec<T>, params: &Params) -> Result<usize, Refusal> {
    let total = list.len();
    if params.text("limit").is_some() {
        list.truncate(params.limit()?);
    }
    Ok(total)
}

#[derive(Debug, Serialize)]
pub(crate) struct Records {
    records: Vec<view::Record>,
    /// For the next page. A page may be short and still have one after it; absent: there is nothing older.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_before: Option<i64>,
}

pub(crate) async fn records(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Records>, Refusal> {
    let params = given.expect(&["check", "target", "status", "since", "until", "limit", "before"])?;
    let now = shared.agent.about().now;
    let query = Query { status: params.status("status")?, ..window(&params, now)? };
    let until = params.time("until", now)?;
    let found = shared.readers.read(move |reader| {
        pages(reader, query, Reader::records, |row| row.id, |row| until.is_none_or(|until| row.record.time <= until.0))
    });
    let (rows, next_before) = found.await?;
    let records = rows.iter().map(|row| view::Record::of(&row.record, Some(row.id))).collect();
    Ok(Json(Records { records, next_before }))
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
    let until = params.time("until", now)?;
    let found = shared.readers.read(move |reader| {
        pages(
            reader,
            query,
            Reader::transitions,
            |row| row.id,
            |row| until.is_none_or(|until| row.change.at <= until.0),
        )
    });
    let (rows, next_before) = found.await?;
    let shown =
        |row: roundsman_store::TransitionRow| view::Transition::of(&row.key, row.change, row.summary, Some(row.id));
    Ok(Json(Transitions { transitions: rows.into_iter().map(shown).collect(), next_before }))
}

fn window(params: &Params, now: crate::instant::Instant) -> Result<Query, Refusal> {
    Ok(Query {
        check: params.check()?,
        target: params.text("target").map(Arc::from),
        since: params.time("since", now)?.map(|since| since.0),
        before: params.before()?,
        status: None,
        limit: params.limit()?,
    })
}

/// Looks through pages of the store until enough rows are wanted ones, or it looked long enough.
fn pages<Row>(
    reader: &mut Reader,
    mut query: Query,
    page: impl Fn(&mut Reader, &Query) -> Result<Vec<Row>, StoreError>,
    id: impl Fn(&Row) -> i64,
    wanted: impl Fn(&Row) -> bool,
) -> Result<(Vec<Row>, Option<i64>), StoreError> {
    let limit = query.limit;
    let mut found = Vec::new();
    for turn in 0..MAX_PAGES {
        let rows = page(reader, &query)?;
        let more = rows.len() >= query.limit;
        query.before = rows.last().map(&id).or(query.before);
        for row in rows {
            if wanted(&row) {
                found.push(row);
            }
            if found.len() == limit {
                let last = found.last().map(&id);
                return Ok((found, last));
            }
        }
        if !more {
            return Ok((found, None));
        }
        if turn == 0 {
            query.limit = MAX_LIMIT;
        }
    }
    Ok((found, query.before))
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
