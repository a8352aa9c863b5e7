//! HTTP against servers that behave and servers that do not.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::io::Write;
use std::thread;
use std::time::Duration;

use roundsman_probe::failure::code;
use roundsman_probe::http::Request;
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use support::*;
use tokio::time::Instant;

#[tokio::test]
async fn an_exchange_with_everything_in_it() {
    let server = Server::new(|mut stream| {
        let head = request(&mut stream);
        write!(stream, "HTTP/1.1 203 x\r\nX-A: 1\r\nx-a: 2\r\ncontent-length: {}\r\n\r\n{head}", head.len()).unwrap();
        hold(stream);
    });
    let probe = probe_with("127.0.0.1 shop.example", Roots::Only(Vec::new()));
    let mut request = Request::new("GET", &format!("http://Shop.Example:{}/a b?c#d", server.port()));
    request.add_header("X-Own", b"y");
    let exchange = probe.http(&grants(&["http://shop.example:*"]), &request, Instant::now() + LONG).await;
    let answer = exchange.result.unwrap();
    assert_eq!((answer.status, answer.version, answer.truncated), (203, "1.1", false));
    assert_eq!(answer.header("X-A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(answer.header("no such\n").count(), 0);
    let mut lines: Vec<&str> = std::str::from_utf8(&answer.body).unwrap().trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    let host = format!("host: shop.example:{}", server.port());
    let agent = format!("user-agent: roundsman/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["GET /a%20b?c HTTP/1.1", "accept: */*", &host, &agent, "x-own: y"]);
    for phase in ["resolve", "connect", "first-byte", "transfer", "total"] {
        assert!(exchange.timings.get(phase).is_some(), "{phase}");
    }
    assert_eq!(exchange.timings.get("tls"), None);
    assert_eq!(exchange.peer, Some(server.address));
    assert_eq!(exchange.facts.get("final-url"), Some(format!("http://shop.example:{}/a%20b?c", server.port())));
    assert_eq!(exchange.facts.get("redirects").as_deref(), Some("0"));
    assert_eq!((probe.stats().http.calls(), probe.stats().http.refusals()), (1, 0));
}

#[tokio::test]
async fn a_body_is_sent() {
    let server = Server::new(|mut stream| {
        let head = request(&mut stream);
        let mut body = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut body).unwrap();
        assert!(head.contains("content-length: 5"), "{head}");
        stream.write_all(b"HTTP/1.0 200 OK\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    let mut request = Request::new("POST", &server.url());
    request.set_body(&b"hello"[..]);
    let exchange = send(&request, LONG).await;
    let answer = exchange.result.unwrap();
    assert_eq!((answer.version, &answer.body[..]), ("1.0", &b"hello"[..]));
}

#[tokio::test]
async fn targets_that_do_not_answer() {
    let silent = Server::new(hold);
    assert_eq!(words(&get(&silent.url(), SHORT).await), (code::TIMEOUT, "first-byte"));

    let trickle = |prefix: &'static [u8], piece: &'static [u8]| {
        Server::new(move |mut stream| {
            request(&mut stream);
            let mut open = stream.write_all(prefix).is_ok();
            while open {
                open = stream.write_all(piece).is_ok();
                thread::sleep(Duration::from_millis(1));
            }
        })
    };
    let head = trickle(b"HTTP/1.1 200 OK\r\nx: ", b"y");
    assert_eq!(words(&get(&head.url(), SHORT).await), (code::TIMEOUT, "transfer"));
    let body = trickle(b"HTTP/1.1 200 OK\r\n\r\n", b"y");
    let exchange = get(&body.url(), SHORT).await;
    assert_eq!(words(&exchange), (code::TIMEOUT, "transfer"));
    assert!(exchange.timings.first_byte.is_some() && exchange.timings.transfer.is_none());

    let hole = BlackHole::on("127.0.0.1");
    let exchange = get(&format!("http://{}/", hole.address), SHORT).await;
    assert_eq!(words(&exchange), (code::TIMEOUT, "connect"));
    assert_eq!((exchange.peer, exchange.timings.connect), (Some(hole.address), None));

    let mut own = Request::new("GET", &silent.url());
    own.set_timeout(SHORT);
    assert_eq!(words(&send(&own, LONG).await), (code::TIMEOUT, "first-byte"));
    assert_eq!(words(&get(&silent.url(), Duration::ZERO).await).0, code::TIMEOUT);
}

#[tokio::test]
async fn a_black_hole_does_not_hide_the_next_address() {
    let hole = BlackHole::on("127.0.0.2");
    let port = hole.address.port();
    let server = Server::on("127.0.0.3".parse().unwrap(), port, |mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 204 x\r\n\r\n").unwrap_or_default();
    });
    let probe = probe_with("127.0.0.2 both\n127.0.0.3 both", Roots::Only(Vec::new()));
    let request = Request::new("GET", &format!("http://both:{port}/"));
    let exchange = probe.http(&loopback(), &request, Instant::now() + Duration::from_secs(4)).await;
    assert_eq!(exchange.result.unwrap().status, 204);
    assert_eq!(exchange.peer, Some(server.address));
}

#[tokio::test]
async fn targets_that_answer_badly() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(words(&get(&format!("http://{free}/"), LONG).await), (code::REFUSED, "connect"));
    let resetting = Server::new(|mut stream| {
        request(&mut stream);
        reset(stream);
    });
    assert_eq!(words(&get(&resetting.url(), LONG).await), (code::RESET, "first-byte"));

    let headers = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
    let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(64 << 10));
    for (answer, expected) in [
        ("", (code::CLOSED, "first-byte")),
        ("HTTP/1.1 200 OK\r\na:", (code::CLOSED, "transfer")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc", (code::CLOSED, "transfer")),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", (code::CLOSED, "transfer")),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n", (code::PROTOCOL, "transfer")),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", (code::PROTOCOL, "transfer")),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", (code::PROTOCOL, "transfer")),
        ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", (code::PROTOCOL, "transfer")),
        ("SSH-2.0-OpenSSH_9.2\r\n", (code::PROTOCOL, "transfer")),
        ("HTTP/2.0 200 OK\r\n\r\n", (code::PROTOCOL, "transfer")),
        ("HTTP/1.1 9 x\r\n\r\n", (code::PROTOCOL, "transfer")),
        ("HTTP/1.1 200 OK\r\na b: c\r\n\r\n", (code::PROTOCOL, "transfer")),
        (&headers(101), (code::PROTOCOL, "transfer")),
        (&headers(32_769), (code::PROTOCOL, "transfer")),
        (&long, (code::PROTOCOL, "transfer")),
    ] {
        let exchange = get(&Server::answering(answer).url(), LONG).await;
        assert_eq!(words(&exchange), expected, "{:.80}: {:?}", answer, exchange.result);
        assert!(exchange.timings.connect.is_some() && exchange.timings.total.is_some());
    }
    assert_eq!(get(&Server::answering(headers(100)).url(), LONG).await.result.unwrap().headers.len(), 100);
}

#[tokio::test]
async fn endless_answers_end() {
    for (prefix, piece) in [
        ("HTTP/1.1 200 OK\r\n", "a: bcdefghijklmnopqrstuvwxyz\r\n"),
        ("HTTP/1.1 200 OK\r\na: ", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"),
        ("", "HTTP/1.1 100 Continue\r\na: b\r\n\r\n"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;", "eeeeeeeeeeeeeeeeeeeeeeee"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", "a: bcdefghijklmnopqrstuvwxyz\r\n"),
    ] {
        let server = Server::new(move |mut stream| {
            request(&mut stream);
            stream.write_all(prefix.as_bytes()).unwrap();
            flood(&mut stream, piece.repeat(64).as_bytes());
        });
        let exchange = get(&server.url(), LONG).await;
        assert_eq!(words(&exchange), (code::PROTOCOL, "transfer"), "{prefix:?} {piece:?} {:?}", exchange.result);
    }
}

#[tokio::test]
async fn bodies_are_cut() {
    let endless = Server::new(|mut stream| {
        request(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        flood(&mut stream, &[b'x'; 4096]);
    });
    let exact = Server::answering("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabcd");
    let chunks =
        Server::answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n");
    for (server, max, length, truncated) in [
        (&endless, usize::MAX, 1 << 20, true),
        (&endless, 10, 10, true),
        (&endless, 0, 0, true),
        (&exact, 4, 4, false),
        (&exact, 3, 3, true),
        (&chunks, 4, 4, false),
        (&chunks, 3, 3, true),
        (&chunks, 2, 2, true),
    ] {
        let mut request = Request::new("GET", &server.url());
        request.set_max_body(max);
        let exchange = send(&request, LONG).await;
        assert!(exchange.timings.transfer.is_some());
        let answer = exchange.result.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (length, truncated), "{max}");
    }
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_allowed() {
    let looping = Server::answering("HTTP/1.1 302 x\r\nlocation: /again\r\ncontent-length: 5\r\n\r\nagain");
    for (max, expected) in [(0, 0), (3, 3), (1_000, 20)] {
        let mut request = Request::new("GET", &looping.url());
        request.set_max_redirects(max);
        let exchange = send(&request, LONG).await;
        assert_eq!(exchange.facts.redirects, expected);
        assert_eq!(exchange.result.unwrap().body, "again");
        let path = if expected == 0 { "" } else { "again" };
        assert_eq!(exchange.facts.final_url, Some(format!("{}{path}", looping.url())));
    }
    let nowhere = Server::answering("HTTP/1.1 302 x\r\ncontent-length: 2\r\n\r\nno");
    let mut request = Request::new("GET", &nowhere.url());
    request.set_max_redirects(1);
    assert_eq!(send(&request, LONG).await.result.unwrap().body, "no");
}

#[tokio::test]
async fn redirects_are_checked_again() {
    let inner = Server::answering("HTTP/1.1 200 OK\r\n\r\nsecret");
    let hosts = "127.0.0.1 shop.example\n127.0.0.1 evil.shop.example\n169.254.169.254 metadata.shop.example";
    for (location, code) in [
        ("http://169.254.169.254/latest".to_owned(), code::DENIED),
        ("http://[::ffff:169.254.169.254]/latest".to_owned(), code::DENIED),
        (format!("http://127.0.0.1:{}/", inner.port()), code::DENIED),
        (format!("http://localhost:{}/", inner.port()), code::DENIED),
        (format!("//evil.shop.example:{}/", inner.port()), code::DENIED),
        ("http://metadata.shop.example/".to_owned(), code::DENIED),
        ("https://shop.example/".to_owned(), code::DENIED),
        ("http://0x7f.1/".to_owned(), code::PROTOCOL),
        ("http://shop.example@127.0.0.1/".to_owned(), code::PROTOCOL),
        ("file:///etc/passwd".to_owned(), code::PROTOCOL),
    ] {
        let outer = Server::answering(format!("HTTP/1.1 302 x\r\nlocation: {location}\r\n\r\n"));
        let probe = probe_with(hosts, Roots::Only(Vec::new()));
        let mut request = Request::new("GET", &format!("http://shop.example:{}/", outer.port()));
        request.set_max_redirects(5);
        let lines = [format!("http://shop.example:{}", outer.port()), "http://*.shop.example:*".to_owned()];
        let grants = grants(&[&lines[0], &lines[1]]);
        let exchange = probe.http(&grants, &request, Instant::now() + LONG).await;
        assert_eq!(words(&exchange).0, code, "{location}: {:?}", exchange.result);
        assert_eq!(outer.accepted(), 1);
        assert_eq!(probe.stats().http.refusals(), u64::from(code == code::DENIED));
    }
    assert_eq!(inner.accepted(), 0);
}

#[tokio::test]
async fn what_is_not_granted_is_not_dialled() {
    let server = Server::answering("HTTP/1.1 200 OK\r\n\r\n");
    let port = server.port();
    let probe = probe_with("127.0.0.1 shop.example", Roots::Only(Vec::new()));
    for host in
        ["127.0.0.1", "[::ffff:127.0.0.1]", "[64:ff9b::127.0.0.1]", "localhost", "shop.example", "SHOP.example."]
    {
        let request = Request::new("GET", &format!("http://{host}:{port}/"));
        let none = grants(&["http://*:80", "https://127.0.0.1:*", "http://other.example:*"]);
        let exchange = probe.http(&none, &request, Instant::now() + LONG).await;
        assert_eq!(words(&exchange), (code::DENIED, "policy"), "{host}");
        assert_eq!(exchange.peer, None);
    }
    for host in ["2130706433", "0x7f000001", "0177.0.0.1", "127.1", "user@127.0.0.1"] {
        let request = Request::new("GET", &format!("http://{host}:{port}/"));
        let exchange = probe.http(&loopback(), &request, Instant::now() + LONG).await;
        assert_eq!(words(&exchange), (code::INVALID, "policy"), "{host}");
    }
    let unknown = probe.http(&loopback(), &Request::new("GET", "http://nobody/"), Instant::now() + LONG).await;
    assert_eq!(words(&unknown), (code::RESOLVE, "resolve"));
    assert_eq!(server.accepted(), 0);
}

#[tokio::test]
async fn dns_that_does_not_answer() {
    let directory = tempfile::tempdir().unwrap();
    let resolv_conf = directory.path().join("resolv.conf");
    // Nobody listens there: loopback addresses beyond the first are not in use.
    std::fs::write(&resolv_conf, "nameserver 127.77.77.77\noptions timeout:60\n").unwrap();
    let resolver = Resolver::from_files(resolv_conf, directory.path().join("hosts"));
    let probe = Probe::new(Options { resolver, ..Options::default() });
    let exchange = probe.http(&loopback(), &Request::new("GET", "http://shop.example/"), Instant::now() + SHORT).await;
    let (code, phase) = words(&exchange);
    assert!(matches!(code, code::TIMEOUT | code::RESOLVE) && phase == "resolve", "{:?}", exchange.result);
    assert_eq!((exchange.timings.resolve, exchange.peer), (None, None));
}
