//! Asks a running agent: HTTP over TCP or its unix socket, one connection per question.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::Remote;

/// A run-now lasts as long as the check's timeout, five minutes at the most.
const ANSWER_WITHIN: Duration = Duration::from_secs(330);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Pages are bounded by the agent; this is against one that is not ours.
const MAX_ANSWER: usize = 64 << 20;

/// The agent's no, in its own words.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Refusal {
    status: StatusCode,
    text: String,
}

/// Reads what a path of the API answers.
pub(super) async fn get<T: DeserializeOwned>(remote: &Remote, path: &str) -> anyhow::Result<T> {
    ask(remote, Method::GET, path, None).await
}

/// Something that is changed: how, where, and with which body.
#[derive(Debug)]
pub(super) struct Change<'a> {
    method: Method,
    path: &'a str,
    body: Option<&'a Value>,
}

impl<'a> Change<'a> {
    /// A change without a body.
    pub(super) fn post(path: &'a str) -> Self {
        Self { method: Method::POST, path, body: None }
    }

    /// A change with a JSON body.
    pub(super) fn send(path: &'a str, body: &'a Value) -> Self {
        Self { method: Method::POST, path, body: Some(body) }
    }

    pub(super) fn delete(path: &'a str) -> Self {
        Self { method: Method::DELETE, path, body: None }
    }
}

/// Asks for something that changes something. An agent on this machine that refuses it over TCP says where its unix
/// socket is: who may open that needs no token.
pub(super) async fn change<T: DeserializeOwned>(remote: &Remote, change: &Change<'_>) -> anyhow::Result<T> {
    let ask_of = async |remote: &Remote| ask(remote, change.method.clone(), change.path, change.body).await;
    let refused = match ask_of(remote).await {
        Err(error) if remote.token_file.is_none() && is_here(&remote.addr) && lacks_authority(&error) => error,
        answer => return answer,
    };
    let about: About = get(remote, "/api/v1/agent").await?;
    let Some(socket) = about.agent.socket.filter(|socket| Path::new(socket).exists()) else { return Err(refused) };
    let answer = ask_of(&Remote { addr: socket, ..remote.clone() }).await;
    match answer {
        Err(error) if !error.is::<Refusal>() => Err(error
            .context("over TCP it needs the agent's token (--token-file), and the agent's unix socket does not help")),
        answer => answer,
    }
}

#[derive(Debug, serde::Deserialize)]
struct About {
    agent: roundsman_web::view::About,
}

/// Whether an address is of this machine: a path that an agent elsewhere tells means nothing here.
fn is_here(addr: &str) -> bool {
    let loopback = addr.parse::<std::net::SocketAddr>().is_ok_and(|addr| addr.ip().to_canonical().is_loopback());
    loopback || addr.starts_with("localhost:")
}

fn lacks_authority(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| matches!(refusal.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
}

async fn ask<T: DeserializeOwned>(
    remote: &Remote,
    method: Method,
    path: &str,
    body: Option<&Value>,
) -> anyhow::Result<T> {
    let body = body.map(|body| Bytes::from(body.to_string()));
    let body = tokio::time::timeout(ANSWER_WITHIN, exchange(remote, method, path, body))
        .await
        .with_context(|| format!("no answer from {} within {} s", remote.addr, ANSWER_WITHIN.as_secs()))??;
    serde_json::from_slice(&body)
        .with_context(|| format!("what answers at {} is not a Roundsman of this version", remote.addr))
}

async fn exchange(remote: &Remote, method: Method, path: &str, body: Option<Bytes>) -> anyhow::Result<Bytes> {
    let token = match &remote.token_file {
        None => None,
        Some(file) => {
            Some(std::fs::read_to_string(file).with_context(|| format!("cannot read the token {}", file.display()))?)
        }
    };
    let mut request = hyper::Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {}", token.trim()));
    }
    if remote.addr.contains('/') {
        let stream =
            connect(UnixStream::connect(Path::new(&remote.addr))).await.map_err(|why| remote.unreached(&why))?;
        send(stream, request.header("host", "localhost"), body).await
    } else {
        let stream = connect(TcpStream::connect(&remote.addr)).await.map_err(|why| remote.unreached(&why))?;
        send(stream, request.header("host", &remote.addr), body).await
    }
    .map_err(
        |error| {
            if error.is::<Refusal>() { error } else { error.context(format!("no answer from {}", remote.addr)) }
        },
    )
}

impl Remote {
    fn unreached(&self, why: &std::io::Error) -> anyhow::Error {
        let addr = &self.addr;
        let hint = match why.kind() {
            std::io::ErrorKind::PermissionDenied => {
                "run this as the user of the agent, or with its token (--token-file)"
            }
            _ => "is it running? `roundsman run` starts one, `--addr` names another",
        };
        anyhow::anyhow!("cannot reach an agent at {addr}: {why}; {hint}")
    }
}

async fn connect<S>(connecting: impl Future<Output = std::io::Result<S>>) -> std::io::Result<S> {
    match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(std::io::Error::other(format!("no answer within {} s", CONNECT_WITHIN.as_secs()))),
    }
}

async fn send<S>(stream: S, mut request: hyper::http::request::Builder, body: Option<Bytes>) -> anyhow::Result<Bytes>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Full::new(body.unwrap_or_default()))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer broke off: {error}"))?.to_bytes();
        if status.is_success() { Ok(body) } else { Err(refusal(status, &body).into()) }
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            exchange.await
        }
    }
}

/// The agent's own words, and what to do about them: in words of the command line, not of the API.
fn refusal(status: StatusCode, body: &[u8]) -> Refusal {
    let said: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
    let word = |key: &str| said.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    let error = word("error").unwrap_or_else(|| format!("the agent answered {status}"));
    let text = match word("hint").map(|hint| in_commands(&hint)) {
        Some(hint) => format!("{error} ({hint})"),
        None => error,
    };
    Refusal { status, text }
}

fn in_commands(hint: &str) -> String {
    let commands = [
        ("checks/{name}", "check show NAME"),
        ("checks", "check list"),
        ("plugins", "plugin list"),
        ("agent", "status"),
        ("records", "history"),
        ("silences", "silence list"),
        ("status", "status"),
    ];
    let hint = commands.iter().fold(hint.to_owned(), |hint, (path, command)| {
        hint.replace(&format!("GET /api/v1/{path}"), &format!("`roundsman {command}`"))
    });
    hint.replace(r#""for": "1h""#, "--for 1h").replace(r#"("for")"#, "(--for)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_speak_of_commands() {
        for (body, text) in [
            (
                r#"{"error":"no such check","hint":"GET /api/v1/checks lists them"}"#,
                "no such check (`roundsman check list` lists them)",
            ),
            (r#"{"error":"busy"}"#, "busy"),
            ("<html>", "the agent answered 404 Not Found"),
        ] {
            assert_eq!(refusal(StatusCode::NOT_FOUND, body.as_bytes()).to_string(), text);
        }
    }
}
