//! The ways to a server: unix sockets, another address than the URL's, families, source addresses.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use roundsman_model::grants::Allow;
use roundsman_probe::failure::code;
use roundsman_probe::grants::Grants;
use roundsman_probe::http::{Exchange, Request};
use roundsman_probe::probe::{Probe, Roots};
use support::authority::*;
use support::h2::Polite;
use support::*;
use tokio::time::Instant;

/// What is asked is what is answered.
fn echo() -> Server {
    Server::new(|mut stream| {
        let head = request(&mut stream);
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nx-host: {}\r\ncontent-length: {}\r\n\r\n{head}",
            line(&head, "host"),
            head.len()
        )
        .unwrap_or_default();
        hold(stream);
    })
}

fn line(head: &str, name: &str) -> String {
    let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_default().to_owned()
}

async fn ask(probe: &Probe, grants: &Grants, url: &str, change: impl FnOnce(&mut Request)) -> Exchange {
    let mut request = Request::new("GET", url);
    change(&mut request);
    probe.http(grants, &request, Instant::now() + LONG).await
}

fn text(exchange: Exchange) -> String {
    String::from_utf8(exchange.result.unwrap().body.to_vec()).unwrap()
}

/// A unix socket that answers every connection, and counts them.
fn unix_server(path: &Path, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Arc<AtomicUsize> {
    let listener = UnixListener::bind(path).unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let accepted = count.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            accepted.fetch_add(1, Ordering::SeqCst);
            let head = request(&mut stream);
            stream.write_all(answer(&head).as_bytes()).unwrap_or_default();
        }
    });
    count
}

fn files(lines: &[&Path]) -> Grants {
    let files = lines.iter().map(|line| line.to_str().unwrap().to_owned()).collect();
    Grants::compile(&[], &Allow { files, network: vec!["http://*:*".to_owned()], ..Allow::default() }, &[]).unwrap()
}

#[tokio::test]
async fn unix_sockets() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("app.sock");
    let accepted = unix_server(&path, |head| {
        let body = line(head, "host");
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    });
    let through = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        move |request: &mut Request| request.set_unix_socket(&path)
    };
    let granted = files(&[directory.path()]);
    let exchange = ask(&probe(), &granted, "http://app.internal/x", through(&path)).await;
    assert_eq!((exchange.peer, exchange.facts.get("local-address")), (None, None));
    assert_eq!(exchange.facts.get("final-url").as_deref(), Some("http://app.internal/x"));
    assert!(exchange.timings.connect.is_some() && exchange.timings.resolve.is_none());
    assert_eq!(text(exchange), "app.internal");

    // Elsewhere, by a link, through a directory, and what is no socket.
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(&path, elsewhere.path().join("link")).unwrap();
    fs::write(elsewhere.path().join("file"), "x").unwrap();
    let only = files(&[elsewhere.path()]);
    for path in [
        path.clone(),
        elsewhere.path().join("link"),
        elsewhere.path().join("..").join(directory.path().file_name().unwrap()).join("app.sock"),
        elsewhere.path().join("file"),
        elsewhere.path().join("none"),
        elsewhere.path().to_owned(),
        "app.sock".into(),
        "".into(),
    ] {
        let exchange = ask(&probe(), &only, "http://app.internal/", through(&path)).await;
        let (code, phase) = words(&exchange);
        let refused = matches!((code, phase), (code::DENIED | code::INVALID, "policy"));
        assert!(refused || matches!((code, phase), (code::INVALID | code::NOT_FOUND, "connect")), "{path:?} {code}");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);

    // Nobody listens there any more.
    let left = directory.path().join("left.sock");
    drop(UnixListener::bind(&left).unwrap());
    let exchange = ask(&probe(), &granted, "http://app.internal/", through(&left)).await;
    assert_eq!(words(&exchange), (code::REFUSED, "connect"));
    assert!(exchange.result.unwrap_err().message.contains("left.sock"));
    let both = |request: &mut Request| {
        request.set_unix_socket("/x");
        request.set_connect_to("a:1");
    };
    assert_eq!(words(&ask(&probe(), &granted, "http://h/", both).await), (code::INVALID, "policy"));
}

#[tokio::test]
async fn redirects_of_a_unix_socket_stay_in_it() {
    let inner = Server::answering("HTTP/1.1 200 OK\r\n\r\nsecret");
    let directory = tempfile::tempdir().unwrap();
    for (index, (location, expected)) in [
        ("/there".to_owned(), Ok("there")),
        ("http://app.internal/there".to_owned(), Ok("there")),
        (format!("http://127.0.0.1:{}/there", inner.port()), Err((code::PROTOCOL, "transfer"))),
        (format!("//localhost:{}/there", inner.port()), Err((code::PROTOCOL, "transfer"))),
        ("https://app.internal/there".to_owned(), Err((code::PROTOCOL, "transfer"))),
        ("http://app.internal:81/there".to_owned(), Err((code::PROTOCOL, "transfer"))),
    ]
    .into_iter()
    .enumerate()
    {
        let path = directory.path().join(index.to_string());
        let to = location.clone();
        let accepted = unix_server(&path, move |head| match head.starts_with("GET /there ") {
            true => "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nthere".to_owned(),
            false => format!("HTTP/1.1 302 x\r\nlocation: {to}\r\n\r\n"),
        });
        let follow = |request: &mut Request| {
            request.set_unix_socket(path.to_str().unwrap());
            request.set_max_redirects(3);
        };
        let exchange = ask(&probe(), &files(&[directory.path()]), "http://app.internal/", follow).await;
        match expected {
            Ok(body) => assert_eq!(text(exchange), body),
            Err(expected) => assert_eq!(words(&exchange), expected, "{location}"),
        }
        assert_eq!(accepted.load(Ordering::SeqCst), 1 + usize::from(expected.is_ok()));
    }
    assert_eq!(inner.accepted(), 0);
}

#[tokio::test]
async fn http_2_over_a_unix_socket() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("grpc.sock");
    let server = Polite::new(None).await;
    let (listener, address) = (tokio::net::UnixListener::bind(&path).unwrap(), server.address);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let mut to = tokio::net::TcpStream::connect(address).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let exchange = ask(&probe(), &files(&[directory.path()]), "http://app.internal/x", |request| {
        request.set_version("2");
        request.set_unix_socket(path.to_str().unwrap());
    })
    .await;
    assert!(text(exchange).starts_with("GET http://app.internal/x\n"));
}

#[tokio::test]
async fn connecting_to_another_address() {
    let server = echo();
    let to = format!("127.0.0.1:{}", server.port());
    let connect = |address: &str| {
        let address = address.to_owned();
        move |request: &mut Request| request.set_connect_to(&address)
    };
    // What is dialled needs the grant, in the URL's scheme; the URL's own host is not even looked up.
    let granted = grants(&[&format!("http://{to}")]);
    let exchange = ask(&probe(), &granted, "http://shop.example/x", connect(&to)).await;
    assert_eq!(exchange.peer, Some(server.address));
    assert_eq!(line(&text(exchange), "host"), "shop.example");
    for (lines, expected) in [
        (vec!["http://shop.example:80".to_owned()], code::DENIED),
        (vec![format!("https://{to}"), format!("tcp://{to}")], code::DENIED),
        (vec![format!("http://127.0.0.1:{}", server.port() ^ 1)], code::DENIED),
    ] {
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let exchange = ask(&probe(), &grants(&lines), "http://shop.example/x", connect(&to)).await;
        assert_eq!(words(&exchange), (expected, "policy"));
    }
    for address in ["127.0.0.1", "http://127.0.0.1:80", "unix:/run/x", "a b:1", "127.1:80", "a:0", "u@a:80", ""] {
        let exchange = ask(&probe(), &loopback(), "http://shop.example/x", connect(address)).await;
        assert_eq!(words(&exchange), (code::INVALID, "policy"), "{address}");
    }
    assert_eq!(server.accepted(), 1);
}

#[tokio::test]
async fn what_was_set_for_one_server_stays_with_it() {
    let authority = Authority::new("the root");
    let other = authority.server("other.example", 2100);
    let there = format!("HTTP/1.1 302 x\r\nlocation: https://other.example:{}/\r\n\r\n", other.port());
    let first = tls_server_answering(config(authority.identity("shop.internal", |_| {}), &[]), there);
    // Neither the address to connect to nor the name of the certificate follows to another origin.
    let exchange = ask(&authority.probe(), &loopback(), "https://shop.example/", |request| {
        request.set_connect_to(&format!("127.0.0.1:{}", first.port()));
        request.set_server_name("shop.internal");
        request.set_max_redirects(1);
    })
    .await;
    assert_eq!((first.accepted(), other.accepted()), (1, 1), "{:?}", exchange.result);
    assert_eq!(exchange.peer, Some(other.address));
    assert_eq!(text(exchange), "ok");
}

#[tokio::test]
async fn families_and_source_addresses() {
    let four = echo();
    let six = Server::on("::1".parse().unwrap(), four.port(), |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nsix").unwrap_or_default();
        hold(stream);
    });
    let both = probe_with("127.0.0.1 both\n::1 both\n127.0.0.1 four", Roots::Only(Vec::new()));
    let granted = grants(&["http://both:*", "http://four:*", "http://127.0.0.1:*", "http://[::1]:*"]);
    let url = |host: &str| format!("http://{host}:{}/", four.port());
    for (host, family, expected) in [
        ("both", "any", Ok(four.address)),
        ("both", "ipv4", Ok(four.address)),
        ("both", "ipv6", Ok(six.address)),
        ("four", "ipv6", Err((code::RESOLVE, "resolve"))),
        ("127.0.0.1", "ipv6", Err((code::INVALID, "policy"))),
        ("[::1]", "ipv6", Ok(six.address)),
        ("both", "inet", Err((code::INVALID, "policy"))),
    ] {
        let exchange = ask(&both, &granted, &url(host), |request| request.set_address_family(family)).await;
        match expected {
            Ok(peer) => {
                assert_eq!(exchange.peer, Some(peer), "{host} {family}");
                assert_eq!(exchange.result.unwrap().status, 200);
                let local = exchange.facts.get("local-address").unwrap();
                let local: std::net::SocketAddr = local.parse().unwrap();
                assert_eq!(local.ip(), peer.ip());
            }
            Err(expected) => assert_eq!(words(&exchange), expected, "{host} {family}"),
        }
    }
    for (host, source, expected) in [
        ("both", "127.0.0.9", Ok("127.0.0.9")),
        ("both", "::1", Ok("::1")),
        ("both", "127.0.0.1", Ok("127.0.0.1")),
        // Nobody's, of the other family, and no addresses at all.
        ("both", "192.0.2.1", Err((code::INVALID, "policy"))),
        ("four", "::1", Err((code::INVALID, "policy"))),
        ("both", "0.0.0.0", Err((code::INVALID, "policy"))),
        ("both", "eth0", Err((code::INVALID, "policy"))),
    ] {
        let exchange = ask(&both, &granted, &url(host), |request| request.set_source_address(source)).await;
        match expected {
            Ok(ip) => {
                assert_eq!(exchange.facts.local.map(|local| local.ip().to_string()).as_deref(), Some(ip));
                assert_eq!(exchange.result.unwrap().status, 200, "{source}");
            }
            Err(expected) => assert_eq!(words(&exchange), expected, "{source}: {:?}", exchange.result),
        }
    }
}
