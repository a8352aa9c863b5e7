//! One request on one connection: resolve, connect, TLS, and then whichever HTTP both sides speak.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use http::header::LOCATION;
use http::{HeaderMap, HeaderValue, Method};
use tokio::time::Instant;

use super::call::{Call, is_redirect};
use super::request::Version;
use super::route::{self, Route, Way};
use super::trace::Trace;
use super::{Request, Response, http1, http2, scripted};
use crate::connect::{Socket, dial, dial_unix};
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::pattern::Scheme;
use crate::probe::Probe;
use crate::redact::Redactor;
use crate::tls::{self, Identity, TlsOptions, server_name};
use crate::wire::{Meter, Stream, Wire};

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// What a hop is made with, beside what it asks.
#[derive(Debug)]
pub(super) struct Hop<'a> {
    pub(super) probe: &'a Probe,
    pub(super) grants: &'a Grants,
    pub(super) request: &'a Request,
    /// Whether a redirect will be followed: then its body is not waited for.
    pub(super) follow: bool,
    pub(super) deadline: Instant,
}

/// What is asked over a connection that stands.
#[derive(Debug)]
pub(super) struct Message<'a> {
    pub(super) call: &'a Call,
    pub(super) headers: HeaderMap,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) max_body: usize,
    pub(super) follow: bool,
}

impl Hop<'_> {
    /// Sends one call. Its headers are gone afterwards, unless a redirect may need them.
    pub(super) async fn make(&self, call: &mut Call, trace: &mut Trace) -> Result<Response, Failure> {
        let Route { way, identity, authorization } = route::find(self, call, trace).await?;
        if let Some(script) = self.probe.script() {
            let addresses: &[_] = if let Way::Addresses(addresses) = &way { addresses } else { &[] };
            return scripted::hop(script, call, self.request.max_body, addresses, trace);
        }
        trace.enter(phase::CONNECT);
        let socket = match way {
            Way::Addresses(addresses) => dial(&addresses, &self.request.dial, self.deadline, &mut trace.peer).await?,
            Way::Unix(found) => {
                let path = self.request.unix_socket.as_deref().unwrap_or_default();
                trace.unix = Some(path.to_owned());
                dial_unix(&found, path, self.deadline).await?
            }
        };
        trace.facts.local = socket.local_address();
        let stream = match call.url.scheme {
            Scheme::Https => {
                trace.pass(phase::TLS);
                self.secure(call, &identity, trace, socket).await?
            }
            _ => Stream::Plain(socket),
        };
        trace.pass(phase::FIRST_BYTE);
        let second = match (self.request.version, call.url.scheme) {
            (Version::Two, _) => true,
            (Version::One, _) => false,
            (Version::Auto, _) => trace.facts.alpn.as_deref().map(str::as_bytes) == Some(HTTP2),
        };
        let meter = Arc::new(Meter::default());
        let wire = Wire::new(stream, meter.clone());
        let sent_secret = authorization.is_some();
        let headers = if self.follow { call.headers.clone() } else { std::mem::take(&mut call.headers) };
        let message = Message { call, headers, authorization, max_body: self.request.max_body, follow: self.follow };
        let mut answer = if second {
            http2::converse(wire, message, &meter, trace).await?
        } else {
            trace.watch(meter.clone());
            http1::converse(wire, message, &meter, trace).await?
        };
        if sent_secret {
            self.take_out_secrets(&mut answer);
        }
        Ok(answer)
    }

    async fn secure(
        &self,
        call: &Call,
        identity: &Identity,
        trace: &mut Trace,
        stream: Socket,
    ) -> Result<Stream, Failure> {
        let set = self.request.server_name.as_deref().filter(|_| call.home);
        let options = TlsOptions {
            name: server_name(set, &call.url.host)?,
            verify: self.request.verify_certificate,
            identity,
            protocols: match self.request.version {
                Version::Auto => &[HTTP2, HTTP1],
                Version::One => &[HTTP1],
                Version::Two => &[HTTP2],
            },
        };
        let recorder = Arc::default();
        trace.record(Arc::clone(&recorder));
        let (stream, facts) = tls::secure(self.probe.tls(), stream, options, recorder).await?;
        trace.facts.tls_version = facts.version.map(Into::into);
        trace.facts.tls_cipher = facts.cipher.map(Into::into);
        if self.request.version == Version::Two && facts.protocol.as_deref().map(str::as_bytes) != Some(HTTP2) {
            let peer = trace.peer_in_words();
            return Err(Failure::new(
                code::PROTOCOL,
                phase::TLS,
                format!("{peer} does not agree on HTTP/2 in the TLS handshake (ALPN)"),
            ));
        }
        trace.facts.alpn = facts.protocol;
        Ok(Stream::Tls(Box::new(stream)))
    }

    /// A server may show what it was sent. The plugin is not to read it there.
    fn take_out_secrets(&self, answer: &mut Response) {
        let names: Vec<String> = self.request.credentials.iter().cloned().collect();
        let Some(redactor) = self.probe.secrets().redactor(&names) else { return };
        let clean = |bytes: &[u8]| redactor.find(bytes).map(|_| without(&redactor, bytes));
        if let Some(body) = clean(&answer.body) {
            answer.body = body.into();
        }
        for value in answer.headers.values_mut().chain(answer.trailers.values_mut()) {
            if let Some(text) = clean(value.as_bytes()) {
                *value = HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("***"));
            }
        }
    }
}

fn without(redactor: &Redactor, bytes: &[u8]) -> String {
    redactor.redact(&String::from_utf8_lossy(bytes)).into_owned()
}

impl Message<'_> {
    /// Whether the body of such an answer is of no interest, because the next hop is.
    pub(super) fn goes_on(&self, status: u16, headers: &HeaderMap) -> bool {
        self.follow && is_redirect(status) && headers.contains_key(LOCATION)
    }

    pub(super) fn method(&self) -> Method {
        self.call.method.clone()
    }
}

/// A body that is put together from pieces. One piece, the usual case, is not copied.
#[derive(Debug)]
pub(super) struct Body {
    first: Bytes,
    more: BytesMut,
    max: usize,
}

impl Body {
    pub(super) fn new(max: usize) -> Body {
        Body { first: Bytes::new(), more: BytesMut::new(), max }
    }

    /// Takes the next piece; whether there was no room for all of it.
    pub(super) fn push(&mut self, mut data: Bytes) -> bool {
        let room = self.max - self.first.len() - self.more.len();
        let truncated = data.len() > room;
        data.truncate(room);
        if self.first.is_empty() {
            self.first = data;
        } else {
            self.more.extend_from_slice(&data);
        }
        truncated
    }

    pub(super) fn joined(self) -> Bytes {
        if self.more.is_empty() {
            return self.first;
        }
        let mut whole = BytesMut::with_capacity(self.first.len() + self.more.len());
        whole.extend_from_slice(&self.first);
        whole.extend_from_slice(&self.more);
        whole.freeze()
    }
}

/// A connection that moves only while somebody waits for something of it: it needs no task of its own, and it ends
/// with the call.
pub(super) struct Driven<'a, C> {
    pub(super) connection: Pin<&'a mut C>,
    pub(super) ended: bool,
}

impl<C: Future> Driven<'_, C> {
    pub(super) async fn beside<T>(&mut self, wanted: impl Future<Output = T>) -> T {
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
