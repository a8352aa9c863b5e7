//! Servers of HTTP/2: one that behaves, and one that says whatever bytes it is given.

#![allow(clippy::disallowed_methods, reason = "what a test spawns ends with its runtime")]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, Request, Response};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use super::{Server, hold};

/// A server that behaves, on the runtime of the test.
pub struct Polite {
    pub address: SocketAddr,
    accepted: Arc<AtomicUsize>,
}

impl Polite {
    /// Without TLS, or within it.
    pub async fn new(tls: Option<ServerConfig>) -> Polite {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let (count, tls) = (accepted.clone(), tls.map(|tls| TlsAcceptor::from(Arc::new(tls))));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                match &tls {
                    None => drop(tokio::spawn(serve(stream))),
                    Some(tls) => {
                        let handshake = tls.accept(stream);
                        tokio::spawn(async move {
                            if let Ok(stream) = handshake.await {
                                serve(stream).await;
                            }
                        });
                    }
                }
            }
        });
        Polite { address, accepted }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(answer(request, respond));
    }
}

async fn answer(request: Request<h2::RecvStream>, mut respond: SendResponse<Bytes>) {
    let (parts, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(Ok(data)) = incoming.data().await {
        incoming.flow_control().release_capacity(data.len()).unwrap();
        body.extend_from_slice(&data);
    }
    match parts.uri.path() {
        // As gRPC answers a question for health: one message, and the status behind it.
        "/grpc.health.v1.Health/Check" => {
            let te = parts.headers.get("te").cloned().unwrap_or(http::HeaderValue::from_static("none"));
            let head = Response::builder().header("content-type", "application/grpc").header("x-te", te);
            let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
            stream.send_data(Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]), false).unwrap();
            let trailers = [("grpc-status", "0"), ("grpc-message", "fine"), ("x-a", "1"), ("x-a", "2")];
            let trailers = trailers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
            stream.send_trailers(HeaderMap::from_iter(trailers)).unwrap();
        }
        "/endless" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            loop {
                stream.reserve_capacity(16 << 10);
                let Some(Ok(room)) = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await else { return };
                if stream.send_data(vec![b'x'; room].into(), false).is_err() {
                    return;
                }
            }
        }
        "/redirect" => {
            let head = Response::builder().status(302).header("location", "/").body(()).unwrap();
            respond.send_response(head, true).unwrap();
        }
        "/large" => {
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(vec![b'y'; 900_000].into(), true).unwrap();
        }
        // What was asked, one line each.
        _ => {
            let mut text = format!("{} {}\n", parts.method, parts.uri);
            for (name, value) in &parts.headers {
                text += &format!("{name}: {}\n", value.to_str().unwrap());
            }
            text += &format!("{} bytes", body.len());
            let mut stream = respond.send_response(Response::new(()), false).unwrap();
            stream.send_data(text.into(), true).unwrap();
        }
    }
}

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A server that waits for a request, and then says its settings, these bytes, and a piece until the other side has
/// had enough; without a piece it holds the connection. Everything that it is sent is read.
pub fn rude(beginning: Vec<u8>, piece: Vec<u8>) -> Server {
    Server::new(move |mut stream| {
        stream.read_exact(&mut [0; 24]).unwrap_or_default();
        let mut other = stream.try_clone().unwrap();
        let reader = std::thread::spawn(move || {
            let mut sink = [0; 4096];
            while other.read(&mut sink).is_ok_and(|read| read > 0) {}
        });
        stream.write_all(&[frame(SETTINGS, 0, 0, &[]), beginning.clone()].concat()).unwrap_or_default();
        if piece.is_empty() {
            reader.join().unwrap();
            return;
        }
        let many = piece.repeat(1 + 4096 / piece.len());
        while stream.write_all(&many).is_ok() {}
        hold(stream);
    })
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_HEADERS: u8 = 4;
pub const END_STREAM: u8 = 1;
/// `:status: 200`, from HPACK's table.
pub const OK: u8 = 0x88;

/// A header in HPACK: literal, of no index, without Huffman's code.
pub fn header(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let mut length = text.len();
        if length < 127 {
            bytes.push(u8::try_from(length).unwrap());
        } else {
            bytes.push(127);
            length -= 127;
            while length >= 128 {
                bytes.push(u8::try_from(length % 128 + 128).unwrap());
                length /= 128;
            }
            bytes.push(u8::try_from(length).unwrap());
        }
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}
