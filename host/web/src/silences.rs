//! Silences over the API: those in force, a new one, the end of one.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use http::StatusCode;
use roundsman_model::silence::{Silence, Until};
use roundsman_model::units::Span;
use serde::{Deserialize, Serialize};

use crate::agent::SilenceDraft;
use crate::api::{Page, page};
use crate::error::Refusal;
use crate::instant::Instant;
use crate::params::{Given, Params, json};
use crate::routes::Shared;
use crate::text::{clean, listed};
use crate::view;

/// A silence that lasts longer than anybody remembers it is a hole in the watch; `shadow: true` stands in a file.
const LONGEST: Duration = Duration::from_hours(366 * 24);

const EXAMPLE: &str =
    r#"send for instance {"check": "shop", "target": "eu", "for": "1h", "author": "you", "reason": "why"}"#;

#[derive(Debug, Serialize)]
pub(crate) struct Silences {
    silences: Vec<view::Silence>,
    #[serde(flatten)]
    page: Page<u64>,
}

/// Those in force, the newest first; of a check or target: those that cover it.
pub(crate) async fn list(State(shared): State<Arc<Shared>>, given: Given) -> Result<Json<Silences>, Refusal> {
    let params = given.expect(&["check", "target", "limit", "before"])?;
    let (check, target, before) = (params.text("check"), params.text("target"), params.before()?);
    let mut silences = in_force(&shared);
    silences.retain(|silence| silence.is_about(check, target));
    silences.sort_by_key(|silence| std::cmp::Reverse(silence.id));
    let follows = |silence: &view::Silence| before.is_none_or(|before| i128::from(silence.id) < i128::from(before));
    let page = page(&mut silences, &params, |silence| silence.id, follows)?;
    Ok(Json(Silences { silences, page }))
}

/// Those that have not ended by themselves.
pub(crate) fn in_force(shared: &Shared) -> Vec<view::Silence> {
    let now = shared.agent.about().now.0;
    let all = shared.agent.silences();
    all.iter().filter(|silence| !silence.is_over(now)).map(view::Silence::of).collect()
}

#[derive(Debug, Serialize)]
pub(crate) struct One {
    silence: view::Silence,
}

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    check: Option<String>,
    target: Option<String>,
    #[serde(rename = "for")]
    span: Option<Span>,
    until: Option<String>,
    #[serde(default, rename = "untilOk", alias = "until_ok")]
    until_ok: bool,
    author: String,
    reason: String,
}

/// Begins one.
pub(crate) async fn add(
    State(shared): State<Arc<Shared>>,
    given: Given,
    body: Bytes,
) -> Result<(StatusCode, Json<One>), Refusal> {
    let _: Params = given.expect(&[])?;
    let wanted: Wanted = json(&body, EXAMPLE)?;
    let draft = draft(&shared, wanted)?;
    let silence = shared.agent.silence(draft).await?;
    Ok((StatusCode::CREATED, Json(One { silence: view::Silence::of(&silence) })))
}

/// Ends one.
pub(crate) async fn remove(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    given: Given,
) -> Result<Json<One>, Refusal> {
    let _: Params = given.expect(&[])?;
    let absent = || {
        let error = format!("there is no silence `{}`", roundsman_model::name::excerpt(&id));
        Refusal::new(StatusCode::NOT_FOUND, error, "GET /api/v1/silences lists those in force; others have ended")
    };
    let id = id.parse::<u64>().map_err(|_| absent())?;
    let known = shared.agent.silences().into_iter().find(|silence| silence.id == id).ok_or_else(absent)?;
    if !shared.agent.unsilence(id).await? {
        return Err(absent());
    }
    Ok(Json(One { silence: view::Silence::of(&known) }))
}

/// Checks all that can be said without the engine.
fn draft(shared: &Shared, wanted: Wanted) -> Result<SilenceDraft, Refusal> {
    let until = until(&wanted, shared.agent.about().now)?;
    let [author, reason] = [&wanted.author, &wanted.reason].map(|text| clean(text, text.len()));
    let board = shared.agent.board();
    let of_check = |subject: &&view::Subject| wanted.check.as_deref().is_none_or(|check| *subject.check == *check);
    let subjects: Vec<&view::Subject> = board.iter().filter(of_check).collect();
    if let Some(check) = wanted.check.as_deref().filter(|_| subjects.is_empty()) {
        let names = listed(board.iter().map(|subject| &*subject.check));
        let error = format!("there is no check `{}` on this node", roundsman_model::name::excerpt(check));
        return Err(Refusal::new(StatusCode::NOT_FOUND, error, format!("the checks here are: {names}")));
    }
    let of_target = |subject: &&&view::Subject| wanted.target.as_deref().is_none_or(|t| subject.target_or_empty() == t);
    let covered: Vec<&&view::Subject> = subjects.iter().filter(of_target).collect();
    if covered.is_empty() {
        let names = listed(subjects.iter().map(|subject| subject.target_or_empty()));
        let target = roundsman_model::name::excerpt(wanted.target.as_deref().unwrap_or_default());
        let error = format!("there is no target `{target}` to be silenced");
        return Err(Refusal::new(StatusCode::NOT_FOUND, error, format!("the targets are: {names}")));
    }
    let mut target = wanted.target.clone();
    if until == Until::Recovery {
        match (covered.as_slice(), &wanted.check) {
            ([one], Some(_)) => target = Some(one.target_or_empty().to_owned()),
            _ => return Err(which(&covered)),
        }
    }
    // The rules are those of the model; what it would be is not of interest yet.
    let now = shared.agent.about().now.0;
    let silence = Silence::new(0, wanted.check.as_deref(), target.as_deref(), &author, &reason, now, until);
    let Silence { check, target, author, reason, until, .. } =
        silence.map_err(|error| Refusal::bad(error.to_string(), EXAMPLE))?;
    Ok(SilenceDraft { check, target, author, reason, until })
}

/// An acknowledgement is of one problem.
fn which(covered: &[&&view::Subject]) -> Refusal {
    let bad = covered.iter().filter(|subject| !subject.state.is_healthy());
    let names: Vec<String> = bad.map(|subject| format!("{}/{}", subject.check, subject.target_or_empty())).collect();
    let hint = format!("not ok are: {}; or silence them all for a time (\"for\")", listed(names.iter().map(|n| &**n)));
    Refusal::bad("a silence until it is ok is about one check and one target: name both", hint)
}

fn until(wanted: &Wanted, now: Instant) -> Result<Until, Refusal> {
    let end = match (wanted.span, &wanted.until, wanted.until_ok) {
        (Some(Span(span)), None, false) => now.0 + span,
        (None, Some(text), false) => {
            let read: Result<Instant, _> = text.parse();
            read.map_err(|error| Refusal::bad(format!("until: {error}"), "write for instance 2026-11-20T10:54:10Z"))?.0
        }
        (None, None, true) => return Ok(Until::Recovery),
        _ => {
            let hint = r#""for": "1h", or "until": "2026-11-20T10:54:10Z", or "untilOk": true"#;
            return Err(Refusal::bad("it is not said when the silence ends, or said twice", hint));
        }
    };
    if end <= now.0 {
        return Err(Refusal::bad("the silence would be over already", format!("it is {now} here")));
    }
    if end.since(now.0) > LONGEST {
        let hint = "write `shadow: true` into the check instead, where others find it";
        return Err(Refusal::bad("the silence would last longer than a year", hint));
    }
    Ok(Until::Instant(end))
}
