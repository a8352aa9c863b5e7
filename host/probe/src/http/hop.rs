//! One request on one connection: resolve, connect, TLS, first byte, transfer.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::Version;
use http::uri::{PathAndQuery, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::call::{Call, is_redirect};
use super::trace::Trace;
use super::{MAX_RESPONSE_HEAD, Request, Response};
use crate::connect::dial;
use crate::failure::{Failure, chain, code, phase, socket_code};
use crate::grants::Grants;
use crate::host::Host;
use crate::pattern::Scheme;
use crate::probe::Probe;
use crate::tls::handshake;
use crate::wire::{Meter, Stream, Wire};

/// What hyper reads before somebody takes it away: a whole head, and as much of the body again.
const READ_BUFFER: usize = 2 * MAX_RESPONSE_HEAD;

type Conn = Connection<TokioIo<Wire>, Full<Bytes>>;

/// Sends one call. With `follow`, the body of a redirect is not waited for.
pub(super) async fn hop(
    probe: &Probe,
    grants: &Grants,
    request: &Request,
    call: &Call,
    follow: bool,
    trace: &mut Trace,
    deadline: Instant,
) -> Result<Response, Failure> {
    let addresses = resolve(probe, grants, call, trace, deadline).await?;
    trace.enter(phase::CONNECT);
    let stream = dial(&addresses, deadline, &mut trace.peer).await?;
    let stream = match call.url.scheme {
        Scheme::Https => {
            trace.pass(phase::TLS);
            let stream = secure(probe, request, call, trace, stream).await?;
            trace.pass(phase::FIRST_BYTE);
            stream
        }
        _ => {
            trace.pass(phase::FIRST_BYTE);
            Stream::Plain(stream)
        }
    };
    let meter = Arc::new(Meter::default());
    trace.watch(meter.clone());
    converse(Wire::new(stream, meter), request.max_body, call, follow, trace).await
}

async fn resolve(
    probe: &Probe,
    grants: &Grants,
    call: &Call,
    trace: &mut Trace,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, Failure> {
    let url = &call.url;
    let named = matches!(url.host, Host::Name(_));
    if named {
        trace.enter(phase::RESOLVE);
    }
    let addresses = grants.resolve_host(probe.resolver(), url.scheme, &url.host, url.port, deadline).await?;
    if named {
        trace.pass(phase::CONNECT);
    }
    Ok(addresses)
}

async fn secure(
    probe: &Probe,
    request: &Request,
    call: &Call,
    trace: &mut Trace,
    stream: TcpStream,
) -> Result<Stream, Failure> {
    let name = match (&request.server_name, &call.url.host) {
        (Some(name), _) => ServerName::try_from(name.clone()).map_err(|error| error.to_string()),
        (None, Host::Address(ip)) => Ok(ServerName::from(*ip)),
        (None, Host::Name(name)) => ServerName::try_from(name.as_str().to_owned()).map_err(|error| error.to_string()),
    };
    let name = name.map_err(|error| Failure::invalid(format!("the name for TLS: {error}")))?;
    let (connector, recorder) = probe.tls().prepare(request.verify_certificate).await?;
    trace.record(recorder);
    let stream = handshake(connector, name, stream).await?;
    let (_, session) = stream.get_ref();
    let text = |word: String| word.replace("TLSv1_", "1.");
    trace.facts.tls_version =
        session.protocol_version().and_then(|version| version.as_str()).map(|v| text(v.to_owned()));
    trace.facts.tls_cipher =
        session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()).map(str::to_owned);
    trace.facts.alpn = session.alpn_protocol().map(|word| String::from_utf8_lossy(word).into_owned());
    Ok(Stream::Tls(Box::new(stream)))
}

/// The request and its answer over a connection that stands.
async fn converse(
    wire: Wire,
    max_body: usize,
    call: &Call,
    follow: bool,
    trace: &mut Trace,
) -> Result<Response, Failure> {
    let mut builder = Builder::new();
    builder.max_header_size(MAX_RESPONSE_HEAD).max_buf_size(READ_BUFFER);
    let (mut sender, connection) =
        builder.handshake(TokioIo::new(wire)).await.map_err(|error| failed(&error, trace))?;
    let mut driven = Driven { connection: pin!(connection), ended: false };
    let sent = sender.send_request(message(call)?);
    let answer = driven.beside(sent).await.map_err(|error| failed(&error, trace))?;
    // The head is there, so its first byte is, too: the phase is now `transfer`.
    trace.answering();
    let (parts, mut incoming) = answer.into_parts();
    let status = parts.status.as_u16();
    let (body, truncated) = if follow && is_redirect(status) && parts.headers.contains_key(http::header::LOCATION) {
        (Bytes::new(), true)
    } else {
        driven.beside(read(&mut incoming, max_body)).await.map_err(|error| failed(&error, trace))?
    };
    trace.pass(phase::TRANSFER);
    let version = if parts.version == Version::HTTP_10 { "1.0" } else { "1.1" };
    Ok(Response { status, version, headers: parts.headers, body, truncated })
}

fn message(call: &Call) -> Result<http::Request<Full<Bytes>>, Failure> {
    let target = PathAndQuery::try_from(call.url.target.as_str());
    let target = target.map_err(|error| Failure::invalid(format!("{} cannot be asked for: {error}", call.url)))?;
    let mut message = http::Request::new(Full::new(call.body.clone()));
    *message.method_mut() = call.method.clone();
    *message.uri_mut() = Uri::from(target);
    *message.headers_mut() = call.headers.clone();
    Ok(message)
}

/// A body up to a number of bytes, and whether there was more. One piece, the usual case, is not copied.
async fn read(incoming: &mut Incoming, max: usize) -> Result<(Bytes, bool), hyper::Error> {
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = incoming.frame().await {
        // Trailers are of no interest here.
        let Ok(mut data) = frame?.into_data() else { continue };
        let room = max - first.len() - more.len();
        let truncated = data.len() > room;
        data.truncate(room);
        if first.is_empty() {
            first = data;
        } else {
            more.extend_from_slice(&data);
        }
        if truncated {
            return Ok((joined(first, more), true));
        }
    }
    Ok((joined(first, more), false))
}

fn joined(first: Bytes, more: BytesMut) -> Bytes {
    if more.is_empty() {
        return first;
    }
    let mut whole = BytesMut::with_capacity(first.len() + more.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&more);
    whole.freeze()
}

/// A connection that moves only while somebody waits for something of it: it needs no task of its own, and it ends
/// with the call.
struct Driven<'a> {
    connection: std::pin::Pin<&'a mut Conn>,
    ended: bool,
}

impl Driven<'_> {
    async fn beside<T>(&mut self, wanted: impl Future<Output = T>) -> T {
        let mut wanted = pin!(wanted);
        poll_fn(|cx| {
            if let Poll::Ready(value) = wanted.as_mut().poll(cx) {
                return Poll::Ready(value);
            }
            if self.ended {
                return Poll::Pending;
            }
            // How the connection ends is told to whoever waits; here it only matters that it is not polled again.
            self.ended = self.connection.as_mut().poll(cx).is_ready();
            wanted.as_mut().poll(cx)
        })
        .await
    }
}

/// From hyper's error, with the word for what the peer did.
fn failed(error: &hyper::Error, trace: &mut Trace) -> Failure {
    let mut source = std::error::Error::source(error);
    let mut socket = None;
    while let Some(inner) = source {
        socket = socket.or_else(|| inner.downcast_ref::<io::Error>());
        source = inner.source();
    }
    let code = match socket {
        Some(error) => socket_code(error),
        None if error.is_parse() || error.is_parse_too_large() => code::PROTOCOL,
        None if error.is_incomplete_message() || error.is_closed() || error.is_canceled() => code::CLOSED,
        None => code::PROTOCOL,
    };
    let phase = trace.answering();
    let peer = trace.peer.map_or_else(|| "the peer".to_owned(), |peer| peer.to_string());
    Failure::new(code, phase, format!("the answer of {peer}: {}", chain(error)))
}
