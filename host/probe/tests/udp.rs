//! Datagrams to peers that answer, that refuse, that say nothing, and beside others that meddle.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use roundsman_probe::failure::{Failure, code};
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Probe, Roots};
use roundsman_probe::udp::{Budget, Exchange, MAX_DATAGRAMS, MAX_SEND};
use support::*;
use tokio::time::Instant;

fn everything() -> Grants {
    grants(&["udp://127.0.0.0/8:*", "udp://ntp.example:*"])
}

fn deadline() -> Instant {
    Instant::now() + LONG
}

/// Answers each datagram by this function.
fn peer(answer: impl Fn(&UdpSocket, &[u8], SocketAddr) + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 1 << 16];
        while let Ok((count, from)) = socket.recv_from(&mut buffer) {
            answer(&socket, &buffer[..count], from);
        }
    });
    address
}

fn echo() -> SocketAddr {
    peer(|socket, bytes, from| drop(socket.send_to(bytes, from)))
}

async fn send(probe: &Probe, exchange: &mut Exchange, bytes: &[u8]) -> Result<(), Failure> {
    let permit = (!exchange.is_open()).then(|| probe.sockets().open(&"test".into()).unwrap());
    probe.udp_send(&everything(), exchange, permit, bytes, deadline()).await
}

fn now_ns() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap()
}

#[tokio::test]
async fn an_answer_with_its_times() {
    let probe = probe_with("127.0.0.1 ntp.example", Roots::Only(Vec::new()));
    let echo = echo();
    let mut exchange = Exchange::new(&format!("ntp.example:{}", echo.port()));
    exchange.set_address_family("ipv4");
    exchange.set_source_address("127.0.0.1");
    assert_eq!((exchange.peer(), exchange.fact("local-address")), (None, None));
    let before = now_ns();
    for bytes in [&b"hello"[..], b"", &[7; 1000]] {
        send(&probe, &mut exchange, bytes).await.unwrap();
        let answer = probe.udp_receive(&mut exchange, 2000, deadline()).await.unwrap();
        assert_eq!(answer.bytes, bytes);
        assert!(answer.at_ns >= before && answer.at_ns <= now_ns(), "{}", answer.at_ns);
        assert!(!answer.after.is_zero() && answer.after < LONG);
        assert_eq!(exchange.timing("first-byte"), Some(answer.after));
    }
    assert!(exchange.timing("resolve").is_some() && exchange.timing("connect").is_none());
    assert_eq!(exchange.peer(), Some(echo));
    assert!(exchange.fact("local-address").unwrap().starts_with("127.0.0.1:"));
    assert_eq!(exchange.fact("timestamp-source").as_deref(), Some("kernel"));
    assert_eq!(probe.sockets().open_now(), 1);
    drop(exchange);
    assert_eq!((probe.sockets().open_now(), probe.stats().udp.calls()), (0, 6));
}

#[tokio::test]
async fn nobody_there_and_nobody_who_answers() {
    let probe = probe();
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut exchange = Exchange::new(&free.to_string());
    send(&probe, &mut exchange, b"x").await.unwrap();
    let failure = probe.udp_receive(&mut exchange, 10, deadline()).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (code::REFUSED, "first-byte"));

    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut exchange = Exchange::new(&silent.local_addr().unwrap().to_string());
    exchange.set_timeout(SHORT);
    send(&probe, &mut exchange, b"x").await.unwrap();
    let begun = Instant::now();
    let failure = probe.udp_receive(&mut exchange, 10, deadline()).await.unwrap_err();
    assert_eq!((failure.code, failure.phase), (code::TIMEOUT, "first-byte"));
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG / 2);
    exchange.set_timeout(LONG);
    let failure = probe.udp_receive(&mut exchange, 10, Instant::now() + SHORT).await.unwrap_err();
    assert_eq!(failure.code, code::TIMEOUT);
    // It answers late: that is an answer.
    let (_, from) = silent.recv_from(&mut [0; 10]).unwrap();
    silent.send_to(b"late", from).unwrap();
    assert_eq!(probe.udp_receive(&mut exchange, 10, deadline()).await.unwrap().bytes, b"late");
}

#[tokio::test]
async fn only_the_peer_is_heard() {
    let probe = probe();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut exchange = Exchange::new(&silent.local_addr().unwrap().to_string());
    send(&probe, &mut exchange, b"x").await.unwrap();
    let local = exchange.fact("local-address").unwrap();
    let meddler = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..10 {
        meddler.send_to(b"meddling", &local).unwrap();
    }
    silent.send_to(b"the answer", &local).unwrap();
    assert_eq!(probe.udp_receive(&mut exchange, 100, deadline()).await.unwrap().bytes, b"the answer");
    let more = probe.udp_receive(&mut exchange, 100, Instant::now() + SHORT).await;
    assert_eq!(more.unwrap_err().code, code::TIMEOUT);
}

#[tokio::test]
async fn sizes_are_bounded() {
    let probe = probe();
    let mut exchange = Exchange::new(&echo().to_string());
    send(&probe, &mut exchange, &[1; 2000]).await.unwrap();
    assert_eq!(probe.udp_receive(&mut exchange, 100, deadline()).await.unwrap().bytes, [1; 100], "cut, and no rest");
    send(&probe, &mut exchange, &vec![2; MAX_SEND]).await.unwrap();
    let whole = probe.udp_receive(&mut exchange, usize::MAX, deadline()).await.unwrap();
    assert_eq!(whole.bytes.len(), MAX_SEND);
    assert_eq!(send(&probe, &mut exchange, &vec![2; MAX_SEND + 1]).await.unwrap_err().code, code::LIMIT);

    let mut budget = Budget::default();
    for _ in 0..MAX_DATAGRAMS {
        budget.left().unwrap();
        budget.spend(1);
    }
    assert_eq!(budget.left().unwrap_err().code, code::LIMIT);
    budget.spend(u32::MAX);
    assert_eq!(budget.left().unwrap_err().code, code::LIMIT);
}

#[tokio::test]
async fn what_is_not_granted_or_makes_no_sense() {
    let probe = probe_with("127.0.0.1 ntp.example", Roots::Only(Vec::new()));
    let listener = UdpSocket::bind("127.0.0.1:0").unwrap();
    listener.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let address = listener.local_addr().unwrap();
    let port = address.port();
    let narrow = grants(&["tcp://127.0.0.1:*", "http://ntp.example:*"]);
    for to in [address.to_string(), format!("ntp.example:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        let mut exchange = Exchange::new(&to);
        let permit = probe.sockets().open(&"test".into()).unwrap();
        let failure = probe.udp_send(&narrow, &mut exchange, Some(permit), b"x", deadline()).await.unwrap_err();
        assert_eq!((failure.code, failure.phase), (code::DENIED, "policy"));
        assert!(failure.message.contains("network: [\"udp://"), "{failure}");
    }
    type Change = fn(&mut Exchange);
    let cases: [(&str, Change, &str); 7] = [
        ("nonsense", |_| (), code::INVALID),
        ("unix:/run/app.sock", |_| (), code::INVALID),
        ("127.0.0.1:1", |e| e.set_address_family("ipv5"), code::INVALID),
        ("127.0.0.1:1", |e| e.set_address_family("ipv6"), code::INVALID),
        ("127.0.0.1:1", |e| e.set_source_address("here"), code::INVALID),
        ("ntp.example:1", |e| e.set_address_family("ipv6"), code::RESOLVE),
        ("127.0.0.1:1", |e| e.set_source_address("192.0.2.1"), code::INVALID),
    ];
    for (to, change, expected) in cases {
        let mut exchange = Exchange::new(to);
        change(&mut exchange);
        assert_eq!(send(&probe, &mut exchange, b"x").await.unwrap_err().code, expected, "{to}");
        assert!(!exchange.is_open());
    }
    let mut early = Exchange::new(&address.to_string());
    assert_eq!(probe.udp_receive(&mut early, 1, deadline()).await.unwrap_err().code, code::INVALID);
    assert_eq!(early.set_option("x", "y").unwrap_err().code, code::UNSUPPORTED);
    let without = probe.udp_send(&everything(), &mut early, None, b"x", deadline()).await;
    assert_eq!(without.unwrap_err().code, code::LIMIT, "a socket without a permit");
    assert!(listener.recv_from(&mut [0; 10]).is_err(), "nothing of all this was sent");
    assert_eq!(probe.sockets().open_now(), 0);
}
