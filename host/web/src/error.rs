//! Refusals and failures as JSON: what is wrong, and what to do about it.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::agent::{ReleaseError, RunError, SilenceError};
use crate::readers::ReadError;

/// The answer to a request that cannot be answered.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) error: String,
    pub(crate) hint: String,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    hint: &'a str,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status, error: error.into(), hint: hint.into() }
    }

    /// The request itself is wrong.
    pub(crate) fn bad(error: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, hint)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let body = Body { error: &self.error, hint: &self.hint };
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"roundsman\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<RunError> for Refusal {
    fn from(error: RunError) -> Self {
        let (status, hint) = match &error {
            RunError::NoCheck(_) => (StatusCode::NOT_FOUND, "GET /api/v1/checks lists the checks of this node"),
            RunError::NoTarget { .. } => (StatusCode::NOT_FOUND, "GET /api/v1/checks lists the targets of each check"),
            RunError::Busy(_) => (StatusCode::CONFLICT, "a run is in progress: wait for its record, or ask again"),
            RunError::NotRunnable(_) => (StatusCode::CONFLICT, "GET /api/v1/plugins tells what its plugin lacks"),
            RunError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "ask again after the restart"),
        };
        Self::new(status, error.to_string(), hint)
    }
}

impl From<SilenceError> for Refusal {
    fn from(error: SilenceError) -> Self {
        let (status, hint) = match &error {
            SilenceError::Invalid(_) => (StatusCode::BAD_REQUEST, "GET /api/v1/openapi.json tells what is taken"),
            SilenceError::NoSuchKey => (StatusCode::NOT_FOUND, "GET /api/v1/status lists what there is"),
            SilenceError::NoProblem => (StatusCode::CONFLICT, "silence it for a time instead: \"for\": \"1h\""),
            SilenceError::TooMany => (StatusCode::CONFLICT, "GET /api/v1/silences lists them: end what nobody needs"),
            SilenceError::NotStored => {
                (StatusCode::SERVICE_UNAVAILABLE, "GET /api/v1/agent tells the health of the store; ask again")
            }
            SilenceError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "ask again after the restart"),
        };
        Self::new(status, error.to_string(), hint)
    }
}

impl From<ReleaseError> for Refusal {
    fn from(error: ReleaseError) -> Self {
        let (status, hint) = match &error {
            ReleaseError::NoPlugin(_) => (StatusCode::NOT_FOUND, "GET /api/v1/plugins lists the plugins of this node"),
            ReleaseError::Running(_) => (StatusCode::CONFLICT, "GET /api/v1/plugins tells which are not"),
            ReleaseError::NotStored => {
                (StatusCode::SERVICE_UNAVAILABLE, "GET /api/v1/agent tells the health of the store; ask again")
            }
            ReleaseError::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "ask again after the restart"),
        };
        Self::new(status, error.to_string(), hint)
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let (status, hint) = match &error {
            ReadError::Crowded => (StatusCode::SERVICE_UNAVAILABLE, "too many queries at once: ask again"),
            ReadError::Slow => {
                (StatusCode::SERVICE_UNAVAILABLE, "ask for less: a shorter time, one check, a lower limit")
            }
            ReadError::Store(_) | ReadError::Died => {
                (StatusCode::INTERNAL_SERVER_ERROR, "GET /api/v1/agent tells the health of the store")
            }
        };
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self::new(status, text, hint)
    }
}
