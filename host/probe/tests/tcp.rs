//! Connections to peers that keep to what was agreed on, and to peers that do not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::thread;
use std::time::Duration;

use roundsman_model::grants::Allow;
use roundsman_probe::failure::{Failure, code};
use roundsman_probe::grants::Grants;
use roundsman_probe::probe::{Probe, Roots};
use roundsman_probe::sockets::Permit;
use roundsman_probe::tcp::{CHUNK, Connection, MAX_DIALOGUE, MAX_RECEIVED, MAX_SENT};
use support::*;
use tokio::time::Instant;

const HOSTS: &str = "127.0.0.1 mail.example";

fn permit(probe: &Probe) -> Permit {
    probe.sockets().open(&"test".into()).unwrap()
}

fn everything() -> Grants {
    grants(&["tcp://127.0.0.0/8:*", "tcp://mail.example:*"])
}

fn deadline() -> Instant {
    Instant::now() + LONG
}

fn words_of<T: std::fmt::Debug>(result: Result<T, Failure>) -> (&'static str, &'static str) {
    let failure = result.unwrap_err();
    (failure.code, failure.phase)
}

/// A connection that stands, to a server by its address.
async fn connected(probe: &Probe, server: &Server) -> Connection {
    let mut connection = Connection::new(&server.address.to_string());
    probe.tcp_connect(&everything(), &mut connection, permit(probe), deadline()).await.unwrap();
    connection
}

fn echo(stream: &mut (impl Read + Write)) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn answers_up_to_a_delimiter() {
    let probe = probe();
    let server = Server::new(|mut stream| {
        stream.write_all(b"one\r\ntwo\r\n0123456789rest").unwrap();
        drop(stream);
    });
    let mut connection = connected(&probe, &server).await;
    for (delimiter, max, expected) in [
        (&b"\r\n"[..], 100, Ok(&b"one\r\n"[..])),
        (b"\r\n", 4, Err(code::LIMIT)),
        (b"", 100, Err(code::INVALID)),
        (&[0; 65], 100, Err(code::INVALID)),
        (b"\r\n", 5, Ok(b"two\r\n")),
        (b"9", 9, Err(code::LIMIT)),
        (b"9", 10, Ok(b"0123456789")),
        (b"\r\n", 100, Err(code::CLOSED)),
        (b"\r\n", 0, Err(code::LIMIT)),
    ] {
        let received = probe.tcp_receive_until(&mut connection, delimiter, max, deadline()).await;
        assert_eq!(received.as_deref().map_err(|failure| failure.code), expected, "{delimiter:?} {max}");
    }
    // What was not taken is still there, and then the end.
    assert_eq!(probe.tcp_receive(&mut connection, 0, deadline()).await.unwrap_err().code, code::INVALID);
    assert_eq!(probe.tcp_receive(&mut connection, 100, deadline()).await.unwrap(), b"rest");
    assert_eq!(probe.tcp_receive(&mut connection, 100, deadline()).await.unwrap(), b"");
}

#[tokio::test]
async fn peers_that_take_their_time() {
    let probe = probe();
    let silent = Server::new(|mut stream| echo(&mut stream));
    let mut connection = connected(&probe, &silent).await;
    connection.set_timeout(SHORT);
    let begun = Instant::now();
    let received = probe.tcp_receive(&mut connection, 10, deadline()).await;
    assert_eq!(words_of(received), (code::TIMEOUT, "first-byte"));
    assert!(begun.elapsed() >= SHORT && begun.elapsed() < LONG / 2);
    // Patience costs nothing: it can still be asked.
    probe.tcp_send(&mut connection, b"now", deadline()).await.unwrap();
    assert_eq!(probe.tcp_receive(&mut connection, 10, deadline()).await.unwrap(), b"now");
    assert!(connection.timing("first-byte").is_some());
    // The deadline of the caller counts as well.
    connection.set_timeout(LONG);
    let received = probe.tcp_receive(&mut connection, 10, Instant::now() + SHORT).await;
    assert_eq!(words_of(received), (code::TIMEOUT, "transfer"));

    let trickle = Server::new(|mut stream| {
        while stream.write_all(b"y").is_ok() {
            thread::sleep(Duration::from_millis(1));
        }
    });
    let mut connection = connected(&probe, &trickle).await;
    connection.set_timeout(SHORT);
    let received = probe.tcp_receive_until(&mut connection, b"\r\n", 1 << 20, deadline()).await;
    assert_eq!(words_of(received), (code::TIMEOUT, "transfer"));
    let there = probe.tcp_receive(&mut connection, 1 << 20, deadline()).await.unwrap();
    assert!(!there.is_empty() && there.iter().all(|byte| *byte == b'y'), "{there:?}");

    // Who never reads: what was sent in part is sent in part, and nothing can follow it.
    let deaf = Server::new(std::mem::forget);
    let mut connection = connected(&probe, &deaf).await;
    connection.set_timeout(SHORT);
    let sent = probe.tcp_send(&mut connection, &vec![0; MAX_SENT], deadline()).await;
    let more = match sent {
        Ok(()) => probe.tcp_send(&mut connection, &[0], deadline()).await.map_err(|failure| failure.code),
        Err(failure) => {
            assert_eq!((failure.code, failure.phase), (code::TIMEOUT, "transfer"));
            Err(probe.tcp_send(&mut connection, &[0], deadline()).await.unwrap_err().code)
        }
    };
    assert!(matches!(more, Err(code::CLOSED | code::LIMIT)), "{more:?}");
}

#[tokio::test]
async fn peers_that_end_it() {
    let probe = probe();
    let resetting = Server::new(|stream| {
        stream.peek(&mut [0]).unwrap();
        reset(stream);
    });
    let mut connection = connected(&probe, &resetting).await;
    probe.tcp_send(&mut connection, b"x", deadline()).await.unwrap();
    assert_eq!(words_of(probe.tcp_receive(&mut connection, 10, deadline()).await), (code::RESET, "first-byte"));
    assert_eq!(words_of(probe.tcp_receive(&mut connection, 10, deadline()).await), (code::CLOSED, "transfer"));
    assert_eq!(probe.sockets().open_now(), 0);

    // Closing our side lets the peer see the end, and it can still answer.
    let counting = Server::new(|mut stream| {
        let mut all = Vec::new();
        stream.read_to_end(&mut all).unwrap();
        stream.write_all(all.len().to_string().as_bytes()).unwrap();
    });
    let mut connection = connected(&probe, &counting).await;
    probe.tcp_send(&mut connection, b"four", deadline()).await.unwrap();
    probe.tcp_close(&mut connection, deadline()).await.unwrap();
    assert_eq!(words_of(probe.tcp_send(&mut connection, b"x", deadline()).await).0, code::INVALID);
    assert_eq!(probe.tcp_receive(&mut connection, 10, deadline()).await.unwrap(), b"4");
    assert_eq!(probe.tcp_receive(&mut connection, 10, deadline()).await.unwrap(), b"");

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut refused = Connection::new(&free.to_string());
    let result = probe.tcp_connect(&everything(), &mut refused, permit(&probe), deadline()).await;
    assert_eq!(words_of(result), (code::REFUSED, "connect"));
    assert_eq!(refused.peer(), Some(free.to_string()));
    let again = probe.tcp_connect(&everything(), &mut refused, permit(&probe), deadline()).await;
    assert_eq!(words_of(again).0, code::CLOSED, "what failed stays failed");
    let hole = BlackHole::on("127.0.0.1");
    let mut lost = Connection::new(&hole.address.to_string());
    lost.set_timeout(SHORT);
    let result = probe.tcp_connect(&everything(), &mut lost, permit(&probe), deadline()).await;
    assert_eq!(words_of(result), (code::TIMEOUT, "connect"));
}

#[tokio::test]
async fn floods_are_bounded() {
    let probe = probe();
    let server = Server::new(|mut stream| flood(&mut stream, &[b'x'; 1 << 16]));
    let mut connection = connected(&probe, &server).await;
    let mut received = 0;
    let failure = loop {
        match probe.tcp_receive(&mut connection, usize::MAX, deadline()).await {
            Ok(bytes) => {
                assert!((1..=CHUNK).contains(&bytes.len()));
                received += bytes.len();
            }
            Err(failure) => break failure,
        }
    };
    assert_eq!((received, failure.code), (MAX_RECEIVED, code::LIMIT));
    assert_eq!(connection.held_bytes(), 0);
    let mut connection = connected(&probe, &server).await;
    let received = probe.tcp_receive_until(&mut connection, b"\r\n", usize::MAX, deadline()).await;
    assert_eq!(words_of(received).0, code::LIMIT);
    assert_eq!(connection.held_bytes(), 1 << 20);
    let sent = probe.tcp_send(&mut connection, &vec![0; MAX_SENT + 1], deadline()).await;
    assert_eq!(words_of(sent).0, code::LIMIT);
}

#[tokio::test]
async fn what_is_not_granted() {
    let probe = probe_with(HOSTS, Roots::Only(Vec::new()));
    let server = Server::new(|mut stream| echo(&mut stream));
    let port = server.port();
    for address in [format!("127.0.0.1:{port}"), format!("mail.example:{port}"), format!("[::ffff:127.0.0.1]:{port}")] {
        let mut connection = Connection::new(&address);
        let grants = grants(&["udp://127.0.0.1:*", "http://mail.example:*"]);
        let result = probe.tcp_connect(&grants, &mut connection, permit(&probe), deadline()).await;
        let failure = result.unwrap_err();
        assert_eq!((failure.code, failure.phase), (code::DENIED, "policy"));
        assert!(failure.message.contains("network: [\"tcp://"), "{failure}");
    }
    assert_eq!(server.accepted(), 0);
    assert_eq!(probe.sockets().open_now(), 0);

    // Where only TLS is granted, no more is said in clear than it takes to agree on it.
    let tls_only = grants(&[&format!("tls://127.0.0.1:{port}")]);
    let mut connection = Connection::new(&server.address.to_string());
    probe.tcp_connect(&tls_only, &mut connection, permit(&probe), deadline()).await.unwrap();
    probe.tcp_send(&mut connection, &[b'x'; MAX_DIALOGUE / 2], deadline()).await.unwrap();
    let mut heard = 0;
    while heard < MAX_DIALOGUE / 2 {
        heard += probe.tcp_receive(&mut connection, usize::MAX, deadline()).await.unwrap().len();
    }
    assert_eq!(words_of(probe.tcp_send(&mut connection, b"x", deadline()).await), (code::DENIED, "policy"));
    assert_eq!(words_of(probe.tcp_receive(&mut connection, 1, deadline()).await), (code::DENIED, "policy"));
}

#[tokio::test]
async fn what_makes_no_sense() {
    let probe = probe();
    let server = Server::new(hold);
    let address = server.address.to_string();
    type Change = fn(&mut Connection);
    let cases: [(&str, Change); 7] = [
        ("nonsense", |_| ()),
        ("http://127.0.0.1:1", |_| ()),
        (&address, |c| c.set_address_family("ipv5")),
        (&address, |c| c.set_address_family("ipv6")),
        (&address, |c| c.set_source_address("here")),
        (&address, |c| c.set_source_address("192.0.2.1")),
        (&address, |c| c.set_protocols(&[String::new()])),
    ];
    for (address, change) in cases {
        let mut connection = Connection::new(address);
        change(&mut connection);
        let result = probe.tcp_connect(&everything(), &mut connection, permit(&probe), deadline()).await;
        assert_eq!(words_of(result).0, code::INVALID, "{address}");
    }
    for mut connection in [
        Connection::new(&"x".repeat(5000)),
        {
            let mut connection = Connection::new(&address);
            connection.set_server_name(&"x".repeat(256));
            connection
        },
        {
            let mut connection = Connection::new(&address);
            connection.set_protocols(&vec!["x".to_owned(); 17]);
            connection
        },
    ] {
        let result = probe.tcp_connect(&everything(), &mut connection, permit(&probe), deadline()).await;
        assert_eq!(words_of(result).0, code::LIMIT);
    }
    let mut early = Connection::new(&address);
    assert_eq!(words_of(probe.tcp_send(&mut early, b"x", deadline()).await).0, code::INVALID);
    assert_eq!(words_of(probe.tcp_receive(&mut early, 1, deadline()).await).0, code::INVALID);
    assert_eq!(words_of(probe.tcp_start_tls(&everything(), &mut early, deadline()).await).0, code::INVALID);
    assert_eq!(words_of(probe.tcp_close(&mut early, deadline()).await).0, code::INVALID);
    assert_eq!(early.set_option("x", "y").unwrap_err().code, code::UNSUPPORTED);
    let connected = probe.tcp_connect(&everything(), &mut early, permit(&probe), deadline()).await;
    assert_eq!(connected, Ok(()), "what made no sense does no harm");
    let again = probe.tcp_connect(&everything(), &mut early, permit(&probe), deadline()).await;
    assert_eq!(words_of(again).0, code::INVALID);
    assert_eq!(probe.sockets().open_now(), 1);
}

#[tokio::test]
async fn a_source_address_and_a_unix_socket() {
    let probe = probe();
    let whom = Server::new(|mut stream| {
        let peer = stream.peer_addr().unwrap().ip().to_string();
        stream.write_all(peer.as_bytes()).unwrap();
    });
    let mut connection = Connection::new(&whom.address.to_string());
    connection.set_source_address("127.0.0.2");
    connection.set_address_family("ipv4");
    probe.tcp_connect(&everything(), &mut connection, permit(&probe), deadline()).await.unwrap();
    assert_eq!(probe.tcp_receive(&mut connection, 100, deadline()).await.unwrap(), b"127.0.0.2");
    assert!(connection.fact("local-address").unwrap().starts_with("127.0.0.2:"));

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut line = String::new();
            BufReader::new(stream.try_clone().unwrap()).read_line(&mut line).unwrap();
            stream.write_all(line.as_bytes()).unwrap();
        }
    });
    let address = format!("unix:{}", path.display());
    let mut connection = Connection::new(&address);
    let result = probe.tcp_connect(&everything(), &mut connection, permit(&probe), deadline()).await;
    assert_eq!(words_of(result).0, code::DENIED);
    let allow = Allow { files: vec![folder.path().display().to_string()], ..Allow::default() };
    let granted = Grants::compile(&[], &allow, &[]).unwrap();
    probe.tcp_connect(&granted, &mut connection, permit(&probe), deadline()).await.unwrap();
    probe.tcp_send(&mut connection, b"hello\n", deadline()).await.unwrap();
    assert_eq!(probe.tcp_receive_until(&mut connection, b"\n", 100, deadline()).await.unwrap(), b"hello\n");
    assert_eq!((connection.peer(), connection.fact("local-address")), (Some(address), None));
    assert_eq!(words_of(probe.tcp_start_tls(&granted, &mut connection, deadline()).await).0, code::INVALID);
}

/// A run that is cut drops the call; what is left says what it was doing.
#[tokio::test]
async fn a_call_that_is_dropped() {
    let probe = probe();
    let server = Server::new(hold);
    let mut connection = connected(&probe, &server).await;
    let call = probe.tcp_receive(&mut connection, 10, deadline());
    assert!(tokio::time::timeout(SHORT, call).await.is_err());
    let failure = connection.cut();
    assert_eq!((failure.code, failure.phase), (code::TIMEOUT, "first-byte"));
    assert!(failure.message.contains(&server.address.to_string()), "{failure}");
    let phases: Vec<_> = connection.course().phases().collect();
    assert!(phases.len() == 1 && phases[0].0 == "first-byte" && phases[0].1 >= SHORT, "{phases:?}");
}
