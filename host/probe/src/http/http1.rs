//! HTTP/1: a request and its answer over a connection that stands.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;

use super::hop::{Body, Driven, Message};
use super::trace::Trace;
use super::{MAX_RESPONSE_HEAD, Response};
use crate::failure::{Failure, chain, code, phase, socket_code};
use crate::wire::{Meter, Wire};

/// What hyper reads before somebody takes it away: a whole head, and as much of the body again.
const READ_BUFFER: usize = 2 * MAX_RESPONSE_HEAD;

/// Body, trailers, and whether the body was longer than what was kept.
type Content = (Bytes, HeaderMap, bool);

pub(super) async fn converse(
    wire: Wire,
    mut message: Message<'_>,
    meter: &Meter,
    trace: &mut Trace,
) -> Result<Response, Failure> {
    let request = request(&mut message)?;
    let mut builder = Builder::new();
    builder.max_header_size(MAX_RESPONSE_HEAD).max_buf_size(READ_BUFFER);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(wire)).await.map_err(|error| failed(&error, meter, trace))?;
    let mut driven = Driven { connection: pin!(connection), ended: false };
    let sent = sender.send_request(request);
    let answer = driven.beside(sent).await.map_err(|error| failed(&error, meter, trace))?;
    // The head is there, so its first byte is, too: the phase is now `transfer`.
    trace.answering();
    let (parts, mut incoming) = answer.into_parts();
    let status = parts.status.as_u16();
    let (body, trailers, truncated) = if message.goes_on(status, &parts.headers) {
        (Bytes::new(), HeaderMap::new(), true)
    } else {
        let content = read(&mut incoming, message.max_body);
        driven.beside(content).await.map_err(|error| failed(&error, meter, trace))?
    };
    trace.pass(phase::TRANSFER);
    let version = if parts.version == Version::HTTP_10 { "1.0" } else { "1.1" };
    Ok(Response { status, version, headers: parts.headers, body, trailers, truncated })
}

fn request(message: &mut Message<'_>) -> Result<http::Request<Full<Bytes>>, Failure> {
    let call = message.call;
    let target = PathAndQuery::try_from(call.url.target.as_str());
    let target = target.map_err(|error| Failure::invalid(format!("{} cannot be asked for: {error}", call.url)))?;
    let mut request = http::Request::new(Full::new(call.body.clone()));
    *request.method_mut() = message.method();
    *request.uri_mut() = Uri::from(target);
    *request.headers_mut() = std::mem::take(&mut message.headers);
    if let Some(value) = message.authorization.take() {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    Ok(request)
}

async fn read(incoming: &mut Incoming, max: usize) -> Result<Content, hyper::Error> {
    let mut body = Body::new(max);
    let mut trailers = HeaderMap::new();
    while let Some(frame) = incoming.frame().await {
        match frame?.into_data() {
            Ok(data) => {
                if body.push(data) {
                    return Ok((body.joined(), trailers, true));
                }
            }
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((body.joined(), trailers, false))
}

/// From hyper's error, with the word for what the peer did.
fn failed(error: &hyper::Error, meter: &Meter, trace: &mut Trace) -> Failure {
    let mut source = std::error::Error::source(error);
    let mut socket = None;
    while let Some(inner) = source {
        socket = socket.or_else(|| inner.downcast_ref::<io::Error>());
        source = inner.source();
    }
    let code = match socket {
        _ if meter.broken().is_some() => meter.broken().unwrap_or(code::PROTOCOL),
        Some(error) => socket_code(error),
        None if error.is_parse() || error.is_parse_too_large() => code::PROTOCOL,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => code::CLOSED,
        None => code::PROTOCOL,
    };
    let phase = trace.answering();
    Failure::new(code, phase, format!("the answer of {}: {}", trace.peer_in_words(), chain(error)))
}
