//! HTTP/2 against a server that behaves and peers that do not: by agreement, by prior knowledge, and under floods.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use roundsman_probe::failure::code;
use roundsman_probe::http::{Exchange, Request};
use support::authority::{Authority, config, tls_server};
use support::h2::*;
use support::*;
use tokio::time::Instant;

async fn prior(url: &str, change: impl Fn(&mut Request)) -> Exchange {
    let mut request = Request::new("GET", url);
    request.set_version("2");
    change(&mut request);
    probe().http(&loopback(), &request, Instant::now() + LONG).await
}

#[tokio::test]
async fn by_prior_knowledge() {
    let server = Polite::new(None).await;
    let exchange = prior(&server.url("/a b?c"), |request| {
        request.add_header("x-own", b"y");
        request.add_header("cookie", b"z");
    })
    .await;
    assert_eq!(exchange.facts.alpn, None);
    for phase in ["connect", "first-byte", "transfer", "total"] {
        assert!(exchange.timings.get(phase).is_some(), "{phase}");
    }
    let answer = exchange.result.unwrap();
    assert_eq!((answer.status, answer.version, answer.truncated), (200, "2", false));
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let mut lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.remove(0), format!("GET http://{}/a%20b?c", server.address));
    lines.sort_unstable();
    let agent = format!("user-agent: roundsman/{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(lines, ["0 bytes", "accept: */*", "cookie: z", &agent, "x-own: y"]);
}

#[tokio::test]
async fn by_agreement_within_tls() {
    let authority = Authority::new("the root");
    let polite = |alpn: &[&[u8]]| Polite::new(Some(config(authority.identity("shop.example", |_| {}), alpn)));
    let both = polite(&[b"h2", b"http/1.1"]).await;
    let silent = polite(&[]).await;
    let old = authority.server("shop.example", 2100);
    let plain = tls_server(config(authority.identity("shop.example", |_| {}), &[]));
    for (port, version, expected, alpn) in [
        (both.port(), "auto", Ok("2"), Some("h2")),
        (both.port(), "2", Ok("2"), Some("h2")),
        (old.port(), "auto", Ok("1.1"), Some("http/1.1")),
        (old.port(), "1.1", Ok("1.1"), Some("http/1.1")),
        (plain.port(), "auto", Ok("1.1"), None),
        (plain.port(), "1.1", Ok("1.1"), None),
        // Whoever speaks 1.1 alone says so by an alert.
        (old.port(), "2", Err((code::TLS, "tls")), None),
        // Whoever agrees on nothing is not asked in a protocol that it may not know.
        (plain.port(), "2", Err((code::PROTOCOL, "tls")), None),
        (silent.port(), "2", Err((code::PROTOCOL, "tls")), None),
    ] {
        let mut request = Request::new("GET", &format!("https://shop.example:{port}/"));
        request.set_version(version);
        let exchange = authority.probe().http(&loopback(), &request, Instant::now() + LONG).await;
        let found = match &exchange.result {
            Ok(answer) => Ok(answer.version),
            Err(_) => Err(words(&exchange)),
        };
        assert_eq!(found, expected, "{version} {alpn:?}: {:?}", exchange.result);
        assert_eq!(exchange.facts.alpn.as_deref(), alpn);
    }
    let mut request = Request::new("GET", "http://shop.example/");
    request.set_version("3");
    assert_eq!(words(&send(&request, LONG).await), (code::INVALID, "policy"));
}

#[tokio::test]
async fn a_question_for_health_as_grpc_asks_it() {
    let server = Polite::new(None).await;
    let mut request = Request::new("POST", &server.url("/grpc.health.v1.Health/Check"));
    request.set_version("2");
    request.add_header("content-type", b"application/grpc");
    request.add_header("te", b"trailers");
    request.set_body(&[0_u8; 5][..]);
    let answer = send(&request, LONG).await.result.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (200, &[0, 0, 0, 0, 2, 8, 1][..]));
    assert_eq!(answer.header("x-te").collect::<Vec<_>>(), [b"trailers"]);
    assert_eq!(answer.trailer("Grpc-Status").collect::<Vec<_>>(), [b"0"]);
    assert_eq!(answer.trailer("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(answer.trailer("content-type").count() + answer.header("grpc-status").count(), 0);
}

#[tokio::test]
async fn trailers_of_http_1_are_read_too() {
    let chunked =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n2\r\nab\r\n0\r\nx-sum: 7\r\n\r\n";
    let answer = get(&Server::answering(chunked).url(), LONG).await.result.unwrap();
    assert_eq!((&answer.body[..], answer.trailer("X-Sum").collect::<Vec<_>>()), (&b"ab"[..], vec![&b"7"[..]]));
}

#[tokio::test]
async fn bodies_in_both_directions() {
    let server = Polite::new(None).await;
    let mut request = Request::new("POST", &server.url("/"));
    request.set_version("2");
    // More than the peer takes without being asked.
    request.set_body(vec![0; 300_000]);
    let answer = send(&request, LONG).await.result.unwrap();
    assert!(answer.body.ends_with(b"\n300000 bytes"));
    for (path, max, length, truncated) in [
        ("/large", usize::MAX, 900_000, false),
        ("/large", 900_000, 900_000, false),
        ("/large", 899_999, 899_999, true),
        ("/endless", usize::MAX, 1 << 20, true),
        ("/endless", 0, 0, true),
        ("/redirect", 0, 0, false),
    ] {
        let exchange = prior(&server.url(path), |request| request.set_max_body(max)).await;
        assert!(exchange.timings.transfer.is_some());
        let answer = exchange.result.unwrap();
        assert_eq!((answer.body.len(), answer.truncated), (length, truncated), "{path} {max}");
    }
    let exchange = prior(&server.url("/redirect"), |request| request.set_max_redirects(1)).await;
    assert_eq!((exchange.facts.redirects, exchange.result.unwrap().status), (1, 200));
}

#[tokio::test]
async fn a_host_of_ones_own_is_the_authority() {
    let server = Polite::new(None).await;
    for (host, expected) in [("other.example:81", Ok("other.example:81")), ("u@other", Err(())), ("a b", Err(()))] {
        let exchange = prior(&server.url("/"), |request| request.add_header("host", host.as_bytes())).await;
        match expected {
            Ok(host) => {
                let body = exchange.result.unwrap().body;
                assert!(body.starts_with(format!("GET http://{host}/\n").as_bytes()), "{body:?}");
            }
            Err(()) => assert_eq!(words(&exchange).0, code::INVALID, "{host}"),
        }
    }
}

#[tokio::test]
async fn peers_that_answer_badly() {
    let head = frame(HEADERS, END_HEADERS, 1, &[OK]);
    let after = |more: Vec<u8>| [head.clone(), more].concat();
    let many = |count: usize| header("a", "b").repeat(count);
    let long = |bytes: usize| {
        let block = [vec![OK], header("a", &"b".repeat(bytes))].concat();
        let mut frames = Vec::new();
        for (index, part) in block.chunks(16_000).enumerate() {
            let last = if (index + 1) * 16_000 >= block.len() { END_HEADERS } else { 0 };
            frames.extend(frame(if index == 0 { HEADERS } else { CONTINUATION }, last, 1, part));
        }
        frames
    };
    for (what, bytes, expected) in [
        ("RST_STREAM", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), (code::PROTOCOL, "first-byte")),
        ("REFUSED_STREAM", frame(RST_STREAM, 0, 1, &[0, 0, 0, 7]), (code::PROTOCOL, "first-byte")),
        ("reset in the body", after(frame(RST_STREAM, 0, 1, &[0, 0, 0, 2])), (code::PROTOCOL, "transfer")),
        ("GOAWAY with an error", frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 1]), (code::PROTOCOL, "first-byte")),
        ("another stream", frame(HEADERS, END_HEADERS, 3, &[OK]), (code::PROTOCOL, "first-byte")),
        ("a push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, OK]), (code::PROTOCOL, "first-byte")),
        ("broken HPACK", frame(HEADERS, END_HEADERS, 1, &[0xff; 9]), (code::PROTOCOL, "first-byte")),
        ("too large a frame", frame(DATA, 0, 1, &[0; 17_000]), (code::PROTOCOL, "first-byte")),
        ("no status", frame(HEADERS, END_HEADERS, 1, &header("a", "b")), (code::PROTOCOL, "first-byte")),
        ("window overflow", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), (code::PROTOCOL, "first-byte")),
        ("DATA before HEADERS", frame(DATA, 0, 1, b"x"), (code::PROTOCOL, "first-byte")),
        ("a long header", long(70_000), (code::PROTOCOL, "first-byte")),
        (
            "many headers",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &[vec![OK], many(101)].concat()),
            (code::PROTOCOL, "transfer"),
        ),
        ("many trailers", after(frame(HEADERS, END_HEADERS | END_STREAM, 1, &many(101))), (code::PROTOCOL, "transfer")),
        (
            "less than its length",
            [
                frame(HEADERS, END_HEADERS, 1, &[vec![OK], header("content-length", "9")].concat()),
                frame(DATA, END_STREAM, 1, b"abc"),
            ]
            .concat(),
            (code::PROTOCOL, "transfer"),
        ),
        ("HTTP/1.1", b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), (code::PROTOCOL, "first-byte")),
    ] {
        let exchange = prior(&rude(bytes, Vec::new()).url(), |_| {}).await;
        assert_eq!(words(&exchange), expected, "{what}: {:?}", exchange.result);
    }
    let fine = frame(HEADERS, END_HEADERS | END_STREAM, 1, &[vec![OK], many(100)].concat());
    assert_eq!(prior(&rude(fine, Vec::new()).url(), |_| {}).await.result.unwrap().headers.len(), 100);

    // Who speaks no HTTP/2 at all, and who hangs up.
    for (server, expected) in [
        (Server::answering("HTTP/1.1 400 Bad Request\r\n\r\n"), code::PROTOCOL),
        (Server::new(|mut stream| drop(std::io::Read::read_exact(&mut stream, &mut [0; 24]))), code::CLOSED),
    ] {
        let exchange = prior(&server.url(), |_| {}).await;
        let (code, phase) = words(&exchange);
        // A close with unread bytes is a reset or an end, as it happens.
        let closed = expected == code::CLOSED && code == code::RESET;
        assert!((code == expected || closed) && phase == "first-byte", "{:?}", exchange.result);
    }
}

#[tokio::test]
async fn floods_end() {
    let head = frame(HEADERS, END_HEADERS, 1, &[OK]);
    for (what, beginning, piece) in [
        ("PING", Vec::new(), frame(PING, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 100])),
        ("WINDOW_UPDATE", Vec::new(), frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("PRIORITY", Vec::new(), frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("unknown frames", Vec::new(), frame(0xfa, 0, 1, &[])),
        ("interim answers", Vec::new(), frame(HEADERS, END_HEADERS, 1, &[8, 3, b'1', b'0', b'0'])),
        ("CONTINUATION", frame(HEADERS, 0, 1, &[OK]), frame(CONTINUATION, 0, 1, &header("a", "b"))),
        ("empty CONTINUATION", frame(HEADERS, 0, 1, &[OK]), frame(CONTINUATION, 0, 1, &[])),
        ("empty DATA", head.clone(), frame(DATA, 0, 1, &[])),
        ("DATA of padding", head.clone(), frame(DATA, 8, 1, &[[200].as_slice(), &[0; 200]].concat())),
        ("DATA of one byte", head.clone(), frame(DATA, 0, 1, b"x")),
        ("RST_STREAM", head, frame(RST_STREAM, 0, 3, &[0, 0, 0, 8])),
    ] {
        let exchange = prior(&rude(beginning, piece).url(), |_| {}).await;
        assert_eq!(words(&exchange).0, code::PROTOCOL, "{what}: {:?}", exchange.result);
    }
}

#[tokio::test]
async fn whoever_is_slow_is_cut() {
    let head = frame(HEADERS, END_HEADERS, 1, &[OK]);
    for (what, beginning, phase) in [
        ("nothing", Vec::new(), "first-byte"),
        ("half a head", frame(HEADERS, 0, 1, &[OK]), "first-byte"),
        ("no body", head.clone(), "transfer"),
        ("half a body", [head, frame(DATA, 0, 1, b"x")].concat(), "transfer"),
    ] {
        let server = rude(beginning, Vec::new());
        let exchange = prior(&server.url(), |request| request.set_timeout(SHORT)).await;
        assert_eq!(words(&exchange), (code::TIMEOUT, phase), "{what}");
    }
}
