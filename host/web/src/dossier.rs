//! Everything that is told of one check in one answer: what somebody needs who is woken by it.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use roundsman_model::key::Key;
use roundsman_model::name::CheckName;
use roundsman_store::{Query, Reader, StoreError};
use serde::Serialize;

use crate::error::Refusal;
use crate::params::Given;
use crate::routes::Shared;
use crate::text::listed;
use crate::view;

/// Failing runs that are told of each target: the last one, and whether those before it were alike.
pub(crate) const RUNS: usize = 3;

/// Targets of which failing runs are told, the worst first; one is asked for by name.
pub(crate) const SUBJECTS: usize = 10;

/// Of the check as a whole; the lists of their own have the rest.
const RECENT: usize = 10;

/// One check, whole.
#[derive(Debug, Serialize)]
pub(crate) struct Dossier {
    check: view::Check,
    /// Its targets, worst first.
    status: Vec<view::Subject>,
    /// The last failing runs of those targets with what they logged and called, in the same order, the newest first.
    failures: Vec<view::Record>,
    records: Vec<view::Record>,
    transitions: Vec<view::Transition>,
    /// Those that cover any of it.
    silences: Vec<view::Silence>,
}

pub(crate) async fn check(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    given: Given,
) -> Result<Json<Dossier>, Refusal> {
    let params = given.expect(&["target"])?;
    let target = params.text("target");
    let checks = shared.agent.checks();
    let Some(check) = checks.iter().find(|check| *check.name == *name) else {
        return Err(absent(&name, &checks));
    };
    let subjects = subjects(&shared, &name, target);
    if let Some(target) = target.filter(|_| subjects.is_empty()) {
        let error = format!("check `{name}` has no target `{}`", roundsman_model::name::excerpt(target));
        let names = listed(check.targets.iter().map(|target| &*target.name));
        return Err(Refusal::new(StatusCode::NOT_FOUND, error, format!("its targets are: {names}")));
    }
    let keys = keys(&subjects);
    let check_name = CheckName::new(&name).map_err(|_| absent(&name, &checks))?;
    let query = Query { check: Some(check_name), target: target.map(Arc::from), limit: RECENT, ..Query::default() };
    let read = shared
        .readers
        .read(move |reader| Ok((failures(reader, &keys)?, reader.records(&query)?, reader.transitions(&query)?)));
    let (failures, records, transitions) = read.await?;
    Ok(Json(Dossier {
        check: check.clone(),
        failures,
        records: records.rows.iter().map(|row| view::Record::of(&row.record, Some(row.id))).collect(),
        transitions: transitions.rows.iter().map(view::Transition::of_row).collect(),
        silences: silences(&shared, &name, target),
        status: subjects,
    }))
}

/// There is no such check; which there are.
pub(crate) fn absent(name: &str, checks: &[view::Check]) -> Refusal {
    let error = format!("there is no check `{}` on this node", roundsman_model::name::excerpt(name));
    let names = listed(checks.iter().map(|check| &*check.name));
    Refusal::new(StatusCode::NOT_FOUND, error, format!("GET /api/v1/checks lists them: {names}"))
}

/// The lines of a check on the board, worst first.
pub(crate) fn subjects(shared: &Shared, check: &str, target: Option<&str>) -> Vec<view::Subject> {
    let mut subjects = shared.agent.board();
    subjects.retain(|s| *s.check == *check && target.is_none_or(|target| s.target_or_empty() == target));
    crate::api::worst_first(&mut subjects);
    subjects
}

/// The silences that cover anything of a check.
pub(crate) fn silences(shared: &Shared, check: &str, target: Option<&str>) -> Vec<view::Silence> {
    let mut silences = crate::silences::in_force(shared);
    silences.retain(|silence| silence.is_about(Some(check), target));
    silences
}

/// Whose failing runs are told.
pub(crate) fn keys(subjects: &[view::Subject]) -> Vec<Key> {
    let named = subjects.iter().take(SUBJECTS);
    named.filter_map(|s| Some(Key { check: CheckName::new(&s.check).ok()?, target: s.target.clone() })).collect()
}

/// The last failing runs of some subjects, each with its story.
pub(crate) fn failures(reader: &mut Reader, keys: &[Key]) -> Result<Vec<view::Record>, StoreError> {
    let mut failures = Vec::new();
    for key in keys {
        for (row, story) in reader.stories(key, RUNS)? {
            let story = Some(view::Story::of(&story));
            failures.push(view::Record { story, ..view::Record::of(&row.record, Some(row.id)) });
        }
    }
    Ok(failures)
}
