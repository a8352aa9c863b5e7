//! Writes to `/api/v2/write` with the crate `influxdb2`, as far as that is safe.
//!
//! Only its call for finished bytes is used: its own encoder lets a text field inject whole points. It panics on a bad
//! URL (ours is checked before), it drops the headers of an answer (so Retry-After is not known here), and it reads
//! the whole text of an error (bounded by the time-out alone).

use std::path::PathBuf;

use influxdb2::api::write::TimestampPrecision;
use influxdb2::{Client, ClientBuilder, RequestError};
use reqwest::Url;
use reqwest011::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::{CONNECT_TIMEOUT, ClientError, MAX_ANSWER, TIMEOUT, USER_AGENT, tls, unheard};
use crate::outcome::{Outcome, classify};
use crate::request::Body;
use crate::secret::Secret;

pub(crate) struct Writer {
    /// The server, without a path.
    url: Url,
    org: String,
    bucket: String,
    token_file: Option<PathBuf>,
    /// Made at the first write: the token's file may not be there yet.
    ready: Option<Ready>,
}

/// Two clients, because the crate has no headers per request.
struct Ready {
    token: Secret,
    plain: Client,
    gzip: Client,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("url", &self.url.as_str()).field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl Writer {
    pub(super) fn new(url: Url, org: String, bucket: String, token_file: Option<PathBuf>) -> Self {
        Self { url, org, bucket, token_file, ready: None }
    }

    pub(super) async fn write(&mut self, body: &Body) -> Result<Outcome, ClientError> {
        if self.ready.is_none() {
            let token = self.token().await?;
            self.ready = Some(self.clients(token).await?);
        }
        let ready = self.ready.as_ref().expect("was made above");
        let (client, bytes) = match body {
            Body::Plain(bytes) => (&ready.plain, bytes),
            Body::Gzip(bytes) => (&ready.gzip, bytes),
        };
        let precision = TimestampPrecision::Nanoseconds;
        let sent = client.write_line_protocol_with_precision(&self.org, &self.bucket, bytes.clone(), precision).await;
        Ok(match sent {
            Ok(()) => Outcome::Delivered,
            Err(RequestError::Http { status, text }) => {
                classify(status.as_u16(), &text[..text.floor_char_boundary(MAX_ANSWER)], None)
            }
            Err(RequestError::ReqwestProcessing { source }) => unheard(&source.without_url()),
            // Not for writes; the crate has one type of error for all its calls.
            Err(error @ (RequestError::Serializing { .. } | RequestError::Deserializing { .. })) => unheard(&error),
        })
    }

    pub(super) async fn reload(&mut self) -> bool {
        let Ok(token) = self.token().await else { return false };
        let changed = self.ready.as_ref().is_some_and(|ready| ready.token != token);
        if changed {
            // The token is part of the clients.
            self.ready = None;
        }
        changed
    }

    async fn token(&self) -> Result<Secret, ClientError> {
        match &self.token_file {
            Some(path) => Ok(Secret::read(path).await?),
            None => Ok(Secret::none()),
        }
    }

    async fn clients(&self, token: Secret) -> Result<Ready, ClientError> {
        let roots = match self.url.scheme() {
            // Reading certificates is file I/O.
            "https" => tokio::task::spawn_blocking(tls::roots)
                .await
                .map_err(|error| ClientError::Roots(error.to_string()))??,
            _ => Vec::new(),
        };
        let client = |gzip: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            if gzip {
                headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            let mut builder = reqwest011::Client::builder()
                .http1_only()
                .user_agent(USER_AGENT)
                .default_headers(headers)
                .connect_timeout(CONNECT_TIMEOUT)
                .timeout(TIMEOUT)
                .pool_max_idle_per_host(1)
                // A redirect would turn the write into a read, and its page into success.
                .redirect(reqwest011::redirect::Policy::none())
                .no_proxy()
                // The system's certificates are added instead, as for v1.
                .tls_built_in_root_certs(false);
            for root in &roots {
                if let Ok(root) = reqwest011::Certificate::from_der(root) {
                    builder = builder.add_root_certificate(root);
                }
            }
            ClientBuilder::with_builder(builder, self.url.as_str(), &self.org, token.expose())
                .build()
                .map_err(ClientError::V2)
        };
        let (plain, gzip) = (client(false)?, client(true)?);
        Ok(Ready { token, plain, gzip })
    }
}
