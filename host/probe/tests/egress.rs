//! Every spelling of a forbidden address in a redirect, beside listeners that count who came.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use roundsman_model::grants::Allow;
use roundsman_probe::failure::code;
use roundsman_probe::grants::Grants;
use roundsman_probe::http::Request;
use roundsman_probe::probe::{Probe, Roots};
use support::*;
use tokio::time::Instant;

/// Names as an attacker's DNS would have them: all lie under the wildcard that is granted.
const HOSTS: &str = "127.0.0.1 shop.example\n127.0.0.1 inner.shop.example\n::1 six.shop.example\n\
    127.0.0.1 both.shop.example\n8.8.8.8 both.shop.example\n169.254.169.254 metadata.shop.example\n\
    127.0.0.1 xn--bcher-kva.shop.example\n::ffff:127.0.0.1 mapped.shop.example\n127.0.0.1 own.shop.example";

/// Where nobody is to come: on loopback of both families.
struct Forbidden {
    four: Server,
    six: Server,
}

impl Forbidden {
    fn new() -> Forbidden {
        let secret = || {
            |mut stream: std::net::TcpStream| {
                request(&mut stream);
                std::io::Write::write_all(&mut stream, b"HTTP/1.1 200 OK\r\n\r\nsecret").unwrap_or_default();
            }
        };
        let four = Server::on("0.0.0.0".parse().unwrap(), 0, secret());
        let six = Server::on("::1".parse().unwrap(), four.port(), secret());
        Forbidden { four, six }
    }

    fn accepted(&self) -> usize {
        self.four.accepted() + self.six.accepted()
    }
}

/// Spellings of loopback, of the unspecified and of link-local addresses, with the code that each of them gets. `PORT` is
/// the port of the forbidden listeners.
const SPELLINGS: [(&str, &str); 52] = [
    ("http://127.0.0.1:PORT/", code::DENIED),
    ("HTTP://127.0.0.1:PORT/", code::DENIED),
    ("//127.0.0.1:PORT/", code::DENIED),
    ("http://127.0.0.2:PORT/", code::DENIED),
    ("http://localhost:PORT/", code::DENIED),
    ("http://LOCALHOST.:PORT/", code::DENIED),
    ("http://a.localhost:PORT/", code::DENIED),
    ("http://0.0.0.0:PORT/", code::DENIED),
    ("http://[::1]:PORT/", code::DENIED),
    ("http://[0:0:0:0:0:0:0:1]:PORT/", code::DENIED),
    ("http://[::]:PORT/", code::DENIED),
    ("http://[::ffff:127.0.0.1]:PORT/", code::DENIED),
    ("http://[::FFFF:7f00:1]:PORT/", code::DENIED),
    ("http://[0:0:0:0:0:ffff:7f00:0001]:PORT/", code::DENIED),
    ("http://[::127.0.0.1]:PORT/", code::DENIED),
    ("http://[::ffff:0:127.0.0.1]:PORT/", code::DENIED),
    ("http://[64:ff9b::7f00:1]:PORT/", code::DENIED),
    ("http://[2002:7f00:1::]:PORT/", code::DENIED),
    ("http://169.254.169.254:PORT/", code::DENIED),
    ("http://[::ffff:a9fe:a9fe]:PORT/", code::DENIED),
    ("http://[fe80::1]:PORT/", code::DENIED),
    ("http://[fd00:ec2::254]:PORT/", code::DENIED),
    ("http://inner.shop.example:PORT/", code::DENIED),
    ("http://INNER.Shop.Example.:PORT/", code::DENIED),
    ("http://six.shop.example:PORT/", code::DENIED),
    ("http://both.shop.example:PORT/", code::DENIED),
    ("http://mapped.shop.example:PORT/", code::DENIED),
    ("http://metadata.shop.example:PORT/", code::DENIED),
    ("http://xn--bcher-kva.shop.example:PORT/", code::DENIED),
    ("https://inner.shop.example:PORT/", code::DENIED),
    ("http://2130706433:PORT/", code::PROTOCOL),
    ("http://0x7f000001:PORT/", code::PROTOCOL),
    ("http://0X7F.0.0.1:PORT/", code::PROTOCOL),
    ("http://017700000001:PORT/", code::PROTOCOL),
    ("http://0177.0.0.1:PORT/", code::PROTOCOL),
    ("http://127.1:PORT/", code::PROTOCOL),
    ("http://127.0.1:PORT/", code::PROTOCOL),
    ("http://127.0.0.1.:PORT/", code::PROTOCOL),
    ("http://127.000.000.001:PORT/", code::PROTOCOL),
    ("http://0:PORT/", code::PROTOCOL),
    ("http://1.2.3.4.5:PORT/", code::PROTOCOL),
    ("http://[::1%25lo]:PORT/", code::PROTOCOL),
    ("http://[::1%lo]:PORT/", code::PROTOCOL),
    ("http://[fe80::1%25eth0]:PORT/", code::PROTOCOL),
    ("http://[127.0.0.1]:PORT/", code::PROTOCOL),
    ("http://::1:PORT/", code::PROTOCOL),
    ("http://shop.example@127.0.0.1:PORT/", code::PROTOCOL),
    ("http://shop.example:80@127.0.0.1:PORT/", code::PROTOCOL),
    ("http://127.0.0.1:PORT\\@shop.example/", code::PROTOCOL),
    ("http://%31%32%37.0.0.1:PORT/", code::PROTOCOL),
    ("http://１２７.0.0.1:PORT/", code::PROTOCOL),
    ("http://bücher.shop.example:PORT/", code::PROTOCOL),
];

fn granted(outer: &Server, own: &[u16]) -> Grants {
    // The wildcard is what an operator might write; it must not lead into the node itself.
    let network = [format!("http://shop.example:{}", outer.port()), "http://*.shop.example:*".to_owned()];
    Grants::compile(&[], &Allow { network: network.to_vec(), ..Allow::default() }, own).unwrap()
}

async fn follow(probe: &Probe, grants: &Grants, outer: &Server, version: &str) -> roundsman_probe::http::Exchange {
    let mut request = Request::new("GET", &format!("http://shop.example:{}/", outer.port()));
    request.set_max_redirects(5);
    request.set_version(version);
    probe.http(grants, &request, Instant::now() + LONG).await
}

#[tokio::test]
async fn no_spelling_in_a_redirect_leads_to_where_nothing_is_granted() {
    let forbidden = Forbidden::new();
    let probe = probe_with(HOSTS, Roots::Only(Vec::new()));
    for (spelling, code) in SPELLINGS {
        let location = spelling.replace("PORT", &forbidden.four.port().to_string());
        let outer = Server::answering(format!("HTTP/1.1 302 x\r\nlocation: {location}\r\n\r\n"));
        let exchange = follow(&probe, &granted(&outer, &[]), &outer, "auto").await;
        assert_eq!(words(&exchange).0, code, "{spelling}: {:?}", exchange.result);
        assert!(exchange.peer.is_none_or(|peer| peer.port() == outer.port()), "{spelling}");
        assert_eq!(outer.accepted(), 1);
    }
    assert_eq!(forbidden.accepted(), 0);
    // The same listeners, by one line of exactly that address: the table's other side.
    let port = forbidden.four.port();
    for (line, spelling) in [
        (format!("http://127.0.0.1:{port}"), format!("http://[::ffff:127.0.0.1]:{port}/")),
        (format!("http://[::1]:{port}"), format!("http://six.shop.example:{port}/")),
    ] {
        let outer = Server::answering(format!("HTTP/1.1 302 x\r\nlocation: {spelling}\r\n\r\n"));
        let network = vec![format!("http://shop.example:{}", outer.port()), "http://*.shop.example:*".to_owned(), line];
        let grants = Grants::compile(&[], &Allow { network, ..Allow::default() }, &[]).unwrap();
        assert_eq!(follow(&probe, &grants, &outer, "auto").await.result.unwrap().body, "secret", "{spelling}");
    }
    assert_eq!((forbidden.four.accepted(), forbidden.six.accepted()), (1, 1));
}

#[tokio::test]
async fn the_agents_own_port_is_not_reached_by_a_name_that_is_granted() {
    let own = Server::answering("HTTP/1.1 200 OK\r\n\r\nsecret");
    let probe = probe_with(HOSTS, Roots::Only(Vec::new()));
    let outer =
        Server::answering(format!("HTTP/1.1 302 x\r\nlocation: http://own.shop.example:{}/\r\n\r\n", own.port()));
    let network = vec![format!("http://shop.example:{}", outer.port()), "http://own.shop.example:*".to_owned()];
    let grants =
        |ports: &[u16]| Grants::compile(&[], &Allow { network: network.clone(), ..Allow::default() }, ports).unwrap();
    let exchange = follow(&probe, &grants(&[own.port()]), &outer, "auto").await;
    assert_eq!((words(&exchange).0, own.accepted()), (code::DENIED, 0));
    assert_eq!(follow(&probe, &grants(&[]), &outer, "auto").await.result.unwrap().body, "secret");
}

#[tokio::test]
async fn the_address_to_connect_to_is_no_way_around() {
    let forbidden = Forbidden::new();
    let probe = probe_with(HOSTS, Roots::Only(Vec::new()));
    let port = forbidden.four.port();
    for (spelling, code) in SPELLINGS.into_iter().filter(|(spelling, _)| spelling.starts_with("http://")) {
        let address = spelling.trim_start_matches("http://").trim_end_matches('/').replace("PORT", &port.to_string());
        let mut request = Request::new("GET", "http://shop.example/");
        request.set_connect_to(&address);
        let lines = ["http://shop.example:80", "http://*.shop.example:*"];
        let exchange = probe.http(&grants(&lines), &request, Instant::now() + LONG).await;
        let expected = if code == code::PROTOCOL { code::INVALID } else { code };
        assert_eq!(words(&exchange), (expected, "policy"), "{address}: {:?}", exchange.result);
    }
    assert_eq!(forbidden.accepted(), 0);
}
