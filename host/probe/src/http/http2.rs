//! HTTP/2: a request and its answer over a connection that stands, bounded against everything that a peer may pour out.

use std::io;
use std::pin::pin;

use bytes::Bytes;
use h2::client::Builder;
use h2::{Reason, RecvStream};
use http::header::{AUTHORIZATION, HOST};
use http::uri::{Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, Request, Version};

use super::hop::{Body, Driven, Message};
use super::trace::Trace;
use super::{MAX_RESPONSE_HEAD, MAX_RESPONSE_HEADERS, Response};
use crate::failure::{Failure, chain, code, phase, socket_code};
use crate::pattern;
use crate::wire::{Meter, Wire};

/// What a peer may send of a body before somebody takes it away: on a fast network a few round trips for a large body,
/// and few enough bytes to be held for every run at once.
const WINDOW: u32 = 256 << 10;
/// Of one frame; it is the least that HTTP/2 allows, and what every server uses unless told otherwise.
const MAX_FRAME: u32 = 16 << 10;
/// Streams reset by this side, of which something may still arrive: there is only one stream.
const MAX_RESET_STREAMS: usize = 1;

pub(super) async fn converse(
    wire: Wire,
    mut message: Message<'_>,
    meter: &Meter,
    trace: &mut Trace,
) -> Result<Response, Failure> {
    let request = request(&mut message)?;
    let body = message.call.body.clone();
    let made = builder().handshake::<_, Bytes>(wire).await;
    let (mut sender, connection) = made.map_err(|error| failed(&error, meter, trace))?;
    let mut driven = Driven { connection: pin!(connection), ended: false };
    let (answer, mut outgoing) =
        sender.send_request(request, body.is_empty()).map_err(|error| failed(&error, meter, trace))?;
    if !body.is_empty() {
        // All of it is handed over at once; it goes out as the peer makes room for it, beside what is waited for.
        outgoing.send_data(body, true).map_err(|error| failed(&error, meter, trace))?;
    }
    let answer = driven.beside(answer).await.map_err(|error| failed(&error, meter, trace))?;
    // Not the first byte of the connection, which is the peer's settings.
    trace.pass(phase::TRANSFER);
    let (parts, mut incoming) = answer.into_parts();
    let status = parts.status.as_u16();
    few(&parts.headers, "headers", trace)?;
    let mut body = Body::new(message.max_body);
    let mut truncated = message.goes_on(status, &parts.headers);
    let mut trailers = HeaderMap::new();
    if !truncated {
        let read = driven.beside(read(&mut incoming, &mut body)).await;
        match read.map_err(|error| failed(&error, meter, trace))? {
            Some(found) => trailers = found,
            None => truncated = true,
        }
    }
    few(&trailers, "trailers", trace)?;
    trace.pass(phase::TRANSFER);
    Ok(Response { status, version: "2", headers: parts.headers, body: body.joined(), trailers, truncated })
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_frame_size(MAX_FRAME)
        .max_header_list_size(u32::try_from(MAX_RESPONSE_HEAD).unwrap_or(u32::MAX))
        .max_concurrent_reset_streams(MAX_RESET_STREAMS)
        .enable_push(false);
    builder
}

fn request(message: &mut Message<'_>) -> Result<Request<()>, Failure> {
    let call = message.call;
    let mut headers = std::mem::take(&mut message.headers);
    // What 1.1 says in the header `host`, 2 says in the URL.
    let host = headers.remove(HOST);
    let host = host.as_ref().and_then(|host| host.to_str().ok()).filter(|host| !host.contains('@'));
    let authority = host.and_then(|host| Authority::try_from(host).ok());
    let authority = authority.ok_or_else(|| Failure::invalid("the header `host` is no host, as HTTP/2 needs it"))?;
    let target = PathAndQuery::try_from(call.url.target.as_str());
    let target = target.map_err(|error| Failure::invalid(format!("{} cannot be asked for: {error}", call.url)))?;
    let scheme = if call.url.scheme == pattern::Scheme::Https { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder().scheme(scheme).authority(authority).path_and_query(target).build();
    let uri = uri.map_err(|error| Failure::invalid(format!("{} cannot be asked for: {error}", call.url)))?;
    let mut request = Request::new(());
    *request.method_mut() = message.method();
    *request.uri_mut() = uri;
    *request.version_mut() = Version::HTTP_2;
    if let Some(value) = message.authorization.take() {
        headers.insert(AUTHORIZATION, value);
    }
    *request.headers_mut() = headers;
    Ok(request)
}

/// The body, and the trailers behind it; none if the body was longer than what is kept.
async fn read(incoming: &mut RecvStream, body: &mut Body) -> Result<Option<HeaderMap>, h2::Error> {
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        if body.push(data) {
            return Ok(None);
        }
    }
    Ok(Some(incoming.trailers().await?.unwrap_or_default()))
}

fn few(headers: &HeaderMap, what: &str, trace: &Trace) -> Result<(), Failure> {
    if headers.len() <= MAX_RESPONSE_HEADERS {
        return Ok(());
    }
    let peer = trace.peer_in_words();
    let message = format!("the answer of {peer}: more than {MAX_RESPONSE_HEADERS} {what}");
    Err(Failure::new(code::PROTOCOL, trace.phase(), message))
}

/// From h2's error, with the word for what the peer did.
fn failed(error: &h2::Error, meter: &Meter, trace: &Trace) -> Failure {
    let code = match error.get_io() {
        _ if meter.broken().is_some() => meter.broken().unwrap_or(code::PROTOCOL),
        // How h2 says that the connection ended in the midst of it.
        Some(error) if error.kind() == io::ErrorKind::BrokenPipe => code::CLOSED,
        Some(error) => socket_code(error),
        None if error.is_remote() && error.reason() == Some(Reason::NO_ERROR) => code::CLOSED,
        None => code::PROTOCOL,
    };
    let hint = match meter.first_byte() {
        Some(_) if code == code::PROTOCOL && trace.phase() == phase::FIRST_BYTE && !error.is_remote() => {
            " (does it speak HTTP/2 here?)"
        }
        _ => "",
    };
    Failure::new(code, trace.phase(), format!("the answer of {}: {}{hint}", trace.peer_in_words(), chain(error)))
}
