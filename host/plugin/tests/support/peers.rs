//! Peers on the network that answer, or do not.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;

/// Accepts, and hands each connection to a function on a thread of its own. Lives as long as the test program.
fn serve(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    address
}

/// Sends back what it gets.
pub fn echo() -> SocketAddr {
    serve(|mut stream| {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            if stream.write_all(&buffer[..count]).is_err() {
                break;
            }
        }
    })
}

/// Answers every request with 200 and nothing.
pub fn http() -> SocketAddr {
    serve(|mut stream| {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
            head.push(byte[0]);
        }
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"));
    })
}

/// Answers every request with what it got as `authorization`.
pub fn mirror() -> SocketAddr {
    serve(|stream| {
        let mut lines = BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
        let shown = lines.find_map(|line| line.strip_prefix("authorization: ").map(str::to_owned)).unwrap_or_default();
        lines.for_each(drop);
        let length = shown.len();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{shown}");
        drop((&stream).write_all(answer.as_bytes()));
    })
}

/// Says one thing to whoever connects, and closes.
pub fn says(text: &'static str) -> SocketAddr {
    serve(move |mut stream| drop(stream.write_all(text.as_bytes())))
}

/// Accepts and says nothing until the other side goes.
pub fn silent() -> SocketAddr {
    serve(|mut stream| {
        let mut sink = [0; 1024];
        while stream.read(&mut sink).is_ok_and(|count| count > 0) {}
    })
}

/// Takes datagrams and does not answer.
pub fn silent_udp() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// A port on which nobody listens.
pub fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
