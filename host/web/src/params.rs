//! Query parameters: every one is known, given once and well-formed, or the request is refused with what is known.

use axum::extract::{FromRequestParts, Query};
use http::request::Parts;
use roundsman_model::name::CheckName;
use roundsman_model::record::Status;
use roundsman_model::state::State;
use serde::de::DeserializeOwned;

use crate::error::Refusal;
use crate::instant::Instant;

/// What is returned when `limit` is not given.
pub(crate) const DEFAULT_LIMIT: usize = 100;

/// The most that one answer holds; larger limits are lowered to it. A page of records is then below a few MiB.
pub(crate) const MAX_LIMIT: usize = 1_000;

/// Of what the JSON parser says; it quotes what was sent.
const MAX_COMPLAINT: usize = 512;

/// The parameters of a request, not yet checked.
#[derive(Debug)]
pub(crate) struct Given(Vec<(String, String)>);

/// The parameters of a request that were all expected.
#[derive(Debug)]
pub(crate) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Given {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(pairs)| Self(pairs))
            .map_err(|error| Refusal::bad(format!("the query is broken: {error}"), "encode values as in a URL"))
    }
}

impl Given {
    /// Takes the parameters if each is among the known ones, and there once.
    pub(crate) fn expect(self, known: &[&str]) -> Result<Params, Refusal> {
        for (at, (name, _)) in self.0.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let error = format!("unknown parameter `{}`", roundsman_model::name::excerpt(name));
                let hint = match known {
                    [] => "this takes no parameters".to_owned(),
                    known => format!("known here are {}", known.join(", ")),
                };
                return Err(Refusal::bad(error, hint));
            }
            if self.0[..at].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refusal::bad(format!("`{name}` is given twice"), "give it once"));
            }
        }
        Ok(Params(self.0))
    }
}

impl Params {
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn time(&self, name: &str, now: Instant) -> Result<Option<Instant>, Refusal> {
        let read = self.text(name).map(|text| Instant::read(text, now)).transpose();
        read.map_err(|error| Refusal::bad(format!("{name}: {error}"), "a `+` in a URL is written %2B"))
    }

    /// A check by a name that could be one; whether there is such a check is not asked.
    pub(crate) fn check(&self) -> Result<Option<CheckName>, Refusal> {
        let read = self.text("check").map(CheckName::new).transpose();
        read.map_err(|error| Refusal::bad(error.to_string(), "GET /api/v1/checks lists the checks of this node"))
    }

    pub(crate) fn state(&self) -> Result<Option<State>, Refusal> {
        self.word("state", &State::ALL, State::as_str)
    }

    /// One of the four words of a record's status, under the name that it has there.
    pub(crate) fn status(&self, name: &str) -> Result<Option<Status>, Refusal> {
        self.word(name, &STATUSES, Status::as_str)
    }

    /// From 1 to `MAX_LIMIT`; more is lowered.
    pub(crate) fn limit(&self) -> Result<usize, Refusal> {
        let Some(text) = self.text("limit") else { return Ok(DEFAULT_LIMIT) };
        match text.parse::<usize>() {
            Ok(limit) if limit > 0 => Ok(limit.min(MAX_LIMIT)),
            _ => Err(Refusal::bad(format!("limit: `{text}` is not a number from 1"), format!("at most {MAX_LIMIT}"))),
        }
    }

    /// The place in a list where the page before ended.
    pub(crate) fn before(&self) -> Result<Option<i64>, Refusal> {
        let read = self.text("before").map(str::parse::<i64>).transpose();
        read.map_err(|_| Refusal::bad("before: not a number", "use the `next_before` of the page before"))
    }

    /// `true` or `false`; absent: false.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Refusal> {
        match self.text(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Refusal::bad(format!("{name}: unknown word"), "known are true, false")),
        }
    }

    fn word<T: Copy>(&self, name: &str, all: &[T], word: fn(T) -> &'static str) -> Result<Option<T>, Refusal> {
        let Some(text) = self.text(name) else { return Ok(None) };
        if let Some(value) = all.iter().find(|value| word(**value) == text) {
            return Ok(Some(*value));
        }
        let known: Vec<&str> = all.iter().map(|value| word(*value)).collect();
        let error = format!("{name}: unknown word `{}`", roundsman_model::name::excerpt(text));
        Err(Refusal::bad(error, format!("known are {}", known.join(", "))))
    }
}

/// A body that has to be JSON of one shape, whatever it is declared to be: `curl -d` declares everything a form.
pub(crate) fn json<T: DeserializeOwned>(body: &[u8], hint: &str) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        let error = crate::text::clean(&error.to_string(), MAX_COMPLAINT);
        Refusal::bad(format!("the body is not what is taken here: {error}"), hint)
    })
}

pub(crate) const STATUSES: [Status; 4] = [Status::Ok, Status::Warning, Status::Critical, Status::Unknown];
