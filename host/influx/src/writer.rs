//! Sends one request to one server, and says what became of it.

use std::time::Duration;

use crate::destination::{Api, Destination, DestinationError};
use crate::outcome::Outcome;
use crate::request::Body;

mod tls;
mod v1;
mod v2;

/// For the TCP and TLS handshakes together: a server that needs longer is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// For the whole exchange: long enough for a busy server and a full request.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Most of an answer that is read: 1.x names every bad line, and a few of them are enough.
const MAX_ANSWER: usize = 64 << 10;

/// How requests say who we are.
const USER_AGENT: &str = concat!("roundsman/", env!("CARGO_PKG_VERSION"));

/// The client for one destination.
#[derive(Debug)]
pub(crate) enum Writer {
    V1(v1::Writer),
    V2(Box<v2::Writer>),
}

/// Why a client cannot be made now. A person must do something, but the process need not be started again.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    #[error(transparent)]
    Secret(#[from] crate::secret::SecretError),
    #[error("no TLS client could be set up; see the system's certificates (SSL_CERT_FILE names others)")]
    V1(#[source] reqwest::Error),
    #[error("no TLS client could be set up; see the system's certificates (SSL_CERT_FILE names others)")]
    V2(#[source] influxdb2::BuildError),
    #[error("the system's trusted certificates cannot be read: {0}; SSL_CERT_FILE names others")]
    Roots(String),
    #[error("the TLS library refuses its own defaults")]
    Rustls(#[source] rustls::Error),
}

impl Writer {
    pub(crate) fn new(destination: &Destination) -> Result<Self, DestinationError> {
        Ok(match &destination.api {
            Api::V1 { username, password_file, .. } => {
                Self::V1(v1::Writer::new(destination.endpoint()?, username.clone(), password_file.clone()))
            }
            Api::V2 { org, bucket, token_file } => {
                let url = destination.endpoint()?;
                Self::V2(Box::new(v2::Writer::new(url, org.clone(), bucket.clone(), token_file.clone())))
            }
        })
    }

    /// Sends the body once.
    pub(crate) async fn write(&mut self, body: &Body) -> Outcome {
        let outcome = match self {
            Self::V1(writer) => writer.write(body).await,
            Self::V2(writer) => writer.write(body).await,
        };
        outcome.unwrap_or_else(|error| Outcome::Hold { why: chain(&error), credentials: false })
    }

    /// Reads the credentials again. True when they are others than before.
    pub(crate) async fn reload(&mut self) -> bool {
        match self {
            Self::V1(writer) => writer.reload().await,
            Self::V2(writer) => writer.reload().await,
        }
    }
}

/// Nothing, or nothing whole, was heard.
fn unheard(error: &dyn std::error::Error) -> Outcome {
    Outcome::Retry { why: chain(error), at_least: Duration::ZERO }
}

/// An error with what lies behind it, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}
