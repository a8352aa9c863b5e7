//! A client that shows and sends every byte: what a library would mend or hide is what is tested.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

/// A server that does not answer is a failed test, not a hanging one.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer, taken apart.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Sends bytes and reads until the server closes.
pub(crate) async fn exchange(mut socket: impl AsyncRead + AsyncWrite + Unpin, request: &[u8]) -> Answer {
    // A server that refuses early may close before everything was sent; what it said still arrives.
    let sent = socket.write_all(request).await;
    let mut bytes = Vec::new();
    let read =
        tokio::time::timeout(PATIENCE, socket.read_to_end(&mut bytes)).await.expect("the server does not answer");
    let text = String::from_utf8(bytes).unwrap();
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        panic!("no answer: {text:?}, sent {sent:?}, read {read:?}");
    };
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// A request of this text, with `Host: localhost` unless there is a host among the headers.
pub(crate) fn request(method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
    let host = if headers.to_ascii_lowercase().contains("host:") { "" } else { "Host: localhost\r\n" };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}Connection: close\r\n\r\n{body}").into_bytes()
}

/// One `GET` on a connection of its own.
pub(crate) async fn get(address: std::net::SocketAddr, path: &str) -> Answer {
    ask(address, "GET", path, "").await
}

/// One request on a connection of its own.
pub(crate) async fn ask(address: std::net::SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    exchange(TcpStream::connect(address).await.unwrap(), &request(method, path, headers, "")).await
}

/// Reads until the text is there; what was read.
pub(crate) async fn read_until(socket: &mut (impl AsyncRead + Unpin), wanted: &str) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains(wanted) {
        let read: io::Result<usize> =
            tokio::time::timeout(PATIENCE, socket.read(&mut buffer)).await.expect("the text does not come");
        match read.unwrap() {
            0 => panic!("closed before {wanted:?} came: {text}"),
            length => text.push_str(&String::from_utf8_lossy(&buffer[..length])),
        }
    }
    text
}
