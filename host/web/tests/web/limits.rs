//! Callers that send too much, too slowly, or too many; and the end.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Answer, PATIENCE, exchange, get, request};
use crate::fake::{Served, TOKEN, start};

async fn post(served: &Served, body: &str) -> Answer {
    let headers = format!("Authorization: Bearer {TOKEN}\r\n");
    let bytes = request("POST", "/api/v1/checks/shop/run", &headers, body);
    exchange(TcpStream::connect(served.address).await.unwrap(), &bytes).await
}

#[tokio::test]
async fn bodies_are_capped() {
    let served = start().await;
    assert_eq!(post(&served, &"x".repeat(64 * 1024)).await.status, 200);
    let answer = post(&served, &"x".repeat(64 * 1024 + 1)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.json()["error"], "the body is larger than 65536 bytes");

    let head = format!("POST /api/v1/checks/shop/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n");
    let chunked = format!("{head}Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = format!("8000\r\n{}\r\n", "x".repeat(0x8000));
    let bytes = format!("{chunked}{chunk}{chunk}{chunk}0\r\n\r\n");
    let answer = exchange(TcpStream::connect(served.address).await.unwrap(), bytes.as_bytes()).await;
    assert_eq!(answer.status, 413);

    // Refused for want of the token, without waiting for the body.
    let head = "POST /api/v1/checks/shop/run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n";
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    assert!(crate::client::read_until(&mut socket, "\r\n\r\n").await.starts_with("HTTP/1.1 401"));
}

#[tokio::test]
async fn heads_are_capped() {
    let served = start().await;
    let large = format!("X-Large: {}\r\n", "x".repeat(64 * 1024));
    let answer = crate::client::ask(served.address, "GET", "/livez", &large).await;
    assert_eq!(answer.status, 431);
}

#[tokio::test]
async fn slow_callers_are_hung_up_on() {
    let served = start().await;
    let mut waiting = Vec::new();
    let body = format!(
        "POST /api/v1/checks/shop/run HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\
         Content-Length: 10\r\n\r\nx"
    );
    let idle = "GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for text in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", body.as_str(), idle] {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(text.as_bytes()).await.unwrap();
        waiting.push((text, socket));
    }
    for (text, mut socket) in waiting {
        let mut said = String::new();
        let closed = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut said)).await;
        closed.unwrap_or_else(|_| panic!("still open after {text:?}")).unwrap();
        assert_eq!(said.starts_with("HTTP/1.1 408"), text == body, "{text:?}: {said}");
        assert_eq!(said.starts_with("HTTP/1.1 200"), text == idle, "{text:?}: {said}");
    }
}

#[tokio::test]
async fn one_address_cannot_take_every_connection() {
    let served = start().await;
    let limit = roundsman_web::serve::MAX_CONNECTIONS_PER_ADDRESS;
    let mut held = Vec::new();
    for _ in 0..limit {
        let mut socket = TcpStream::connect(served.address).await.unwrap();
        socket.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        assert!(crate::client::read_until(&mut socket, "ok\n").await.starts_with("HTTP/1.1 200"));
        held.push(socket);
    }
    let mut one_more = TcpStream::connect(served.address).await.unwrap();
    let mut nothing = Vec::new();
    // Closed at once: an end or a reset, but not a byte.
    let read = tokio::time::timeout(PATIENCE, one_more.read_to_end(&mut nothing)).await.expect("closed");
    assert!(nothing.is_empty(), "{read:?}");
    held[0].write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let metrics = crate::client::read_until(&mut held[0], "# EOF").await;
    assert!(metrics.contains(&format!("roundsman_http_connections {limit}\n")), "{metrics}");
    assert!(metrics.contains("roundsman_http_connections_refused_total 1\n"));
}

#[tokio::test]
async fn shutdown_is_bounded_and_closes_the_port() {
    let served = start().await;
    // One connection that is idle and one in the middle of a body: neither may hold the end up for ever.
    let mut idle = TcpStream::connect(served.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    crate::client::read_until(&mut idle, "ok\n").await;
    let mut stuck = TcpStream::connect(served.address).await.unwrap();
    stuck.write_all(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nx").await.unwrap();
    assert_eq!(get(served.address, "/livez").await.status, 200);
    served.stop.cancel();
    served.tasks.close();
    tokio::time::timeout(PATIENCE, served.tasks.wait()).await.expect("serving ends");
    assert!(TcpStream::connect(served.address).await.is_err());
    let mut rest = Vec::new();
    assert_eq!(idle.read_to_end(&mut rest).await.unwrap(), 0, "the idle connection was closed");
}
