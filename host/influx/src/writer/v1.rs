//! Writes to `/write`, the path of InfluxDB 1.x.

use std::path::PathBuf;

use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, Response, Url};

use super::{CONNECT_TIMEOUT, ClientError, MAX_ANSWER, TIMEOUT, USER_AGENT, tls, unheard};
use crate::outcome::{Outcome, classify};
use crate::request::Body;
use crate::secret::Secret;

#[derive(Debug)]
pub(crate) struct Writer {
    /// With all parameters.
    url: Url,
    username: String,
    password_file: Option<PathBuf>,
    /// Made at the first write: the password's file may not be there yet.
    ready: Option<(Client, Secret)>,
}

impl Writer {
    pub(super) fn new(url: Url, username: String, password_file: Option<PathBuf>) -> Self {
        Self { url, username, password_file, ready: None }
    }

    pub(super) async fn write(&mut self, body: &Body) -> Result<Outcome, ClientError> {
        if self.ready.is_none() {
            self.ready = Some((self.client().await?, self.password().await?));
        }
        let (client, password) = self.ready.as_ref().expect("was made above");
        let mut request = client.post(self.url.clone()).header(CONTENT_TYPE, "text/plain; charset=utf-8");
        if !self.username.is_empty() {
            request = request.basic_auth(&self.username, Some(password.expose()));
        }
        let request = match body {
            Body::Plain(bytes) => request.body(bytes.clone()),
            Body::Gzip(bytes) => request.header(CONTENT_ENCODING, "gzip").body(bytes.clone()),
        };
        Ok(match request.send().await {
            Ok(response) => answer(response).await,
            Err(error) => unheard(&error.without_url()),
        })
    }

    pub(super) async fn reload(&mut self) -> bool {
        let Ok(password) = self.password().await else { return false };
        match &mut self.ready {
            Some((_, old)) if *old != password => {
                *old = password;
                true
            }
            _ => false,
        }
    }

    async fn password(&self) -> Result<Secret, ClientError> {
        match &self.password_file {
            Some(path) => Ok(Secret::read(path).await?),
            None => Ok(Secret::none()),
        }
    }

    async fn client(&self) -> Result<Client, ClientError> {
        let https = self.url.scheme() == "https";
        // Reading certificates is file I/O.
        let config = tokio::task::spawn_blocking(move || tls::config(https)).await;
        let config = config.map_err(|error| ClientError::Roots(error.to_string()))??;
        Client::builder()
            .tls_backend_preconfigured(config)
            .http1_only()
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .pool_max_idle_per_host(1)
            // A redirect would turn the write into a read, and its page into success.
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .build()
            .map_err(ClientError::V1)
    }
}

/// Reads the answer as far as it is of use. The status stands even when the rest of the answer never comes.
async fn answer(mut response: Response) -> Outcome {
    let status = response.status().as_u16();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut text = Vec::new();
    while text.len() < MAX_ANSWER
        && let Ok(Some(chunk)) = response.chunk().await
    {
        text.extend_from_slice(&chunk[..chunk.len().min(MAX_ANSWER - text.len())]);
    }
    classify(status, &String::from_utf8_lossy(&text), retry_after.as_deref())
}
