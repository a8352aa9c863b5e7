//! TLS against certificates that are right, expired, of nobody, and of somebody else.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::io::Write;

use rcgen::{CertificateParams, KeyPair, SerialNumber, date_time_ymd};
use roundsman_probe::failure::code;
use roundsman_probe::http::{Exchange, Request};
use roundsman_probe::probe::{Probe, Roots};
use support::authority::*;
use support::*;
use tokio::time::Instant;

async fn ask(probe: &Probe, server: &Server, host: &str, change: impl Fn(&mut Request)) -> Exchange {
    let mut request = Request::new("GET", &format!("https://{host}:{}/", server.port()));
    change(&mut request);
    probe.http(&loopback(), &request, Instant::now() + LONG).await
}

#[tokio::test]
async fn a_good_certificate() {
    let authority = Authority::new("the root");
    let server = authority.server("shop.example", 2100);
    let exchange = ask(&authority.probe(), &server, "shop.example", |_| {}).await;
    assert_eq!(exchange.result.unwrap().body, "ok");
    assert!(exchange.timings.tls.is_some());
    let fact = |name| exchange.facts.get(name);
    assert_eq!((fact("tls-version").as_deref(), fact("alpn").as_deref()), (Some("1.3"), Some("http/1.1")));
    assert!(fact("tls-cipher").is_some_and(|cipher| cipher.starts_with("TLS13_")));
    assert_eq!(fact("certificate-error"), None);
    let chain = &exchange.certificates;
    assert_eq!(chain.len(), 2);
    assert!(chain[0].subject().contains("CN=shop.example") && chain[0].issuer().contains("CN=the root"));
    assert_eq!(chain[0].names(), ["shop.example"]);
    assert_eq!(chain[1].der(), &authority.root[..]);
}

#[tokio::test]
async fn certificates_that_are_refused_are_shown_all_the_same() {
    let authority = Authority::new("the root");
    let stranger = Authority::new("a stranger");
    for (server, host, reason) in [
        (authority.server("shop.example", 2021), "shop.example", "expired "),
        (authority.server_from("shop.example", 2098, 2100), "shop.example", "not yet valid, for"),
        (
            authority.server("shop.example", 2100),
            "other.example",
            "not made out for other.example, but for shop.example",
        ),
        (authority.server("shop.example", 2100), "127.0.0.1", "not made out for 127.0.0.1"),
        (stranger.server("shop.example", 2100), "shop.example", "unknown issuer"),
        (authority.server_for_clients("shop.example"), "shop.example", "wrong purpose"),
    ] {
        let exchange = ask(&authority.probe(), &server, host, |_| {}).await;
        assert_eq!(words(&exchange), (code::CERTIFICATE, "tls"), "{host} {reason}");
        let error = exchange.facts.certificate_error.unwrap();
        assert!(error.contains(reason), "{error}");
        assert_eq!(exchange.certificates[0].names(), ["shop.example"]);
        assert!(exchange.timings.connect.is_some() && exchange.timings.tls.is_none());

        let exchange = ask(&authority.probe(), &server, host, |request| request.set_verify_certificate(false)).await;
        assert_eq!(exchange.result.unwrap().body, "ok");
        assert!(exchange.facts.certificate_error.unwrap().contains(reason));
        assert_eq!(exchange.certificates.len(), 2);
    }
}

#[tokio::test]
async fn every_fact_of_a_certificate_that_is_refused() {
    let authority = Authority::new("the root");
    let identity = authority.identity("shop.example", |params| {
        params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0x1b]));
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1));
    });
    let der = identity.chain[0].clone();
    let server = tls_server(config(identity, &[]));
    let exchange = ask(&authority.probe(), &server, "shop.example", |_| {}).await;
    assert_eq!(words(&exchange), (code::CERTIFICATE, "tls"));
    let own = &exchange.certificates[0];
    assert!(own.subject().contains("CN=shop.example") && own.issuer().contains("CN=the root"));
    assert_eq!((own.names(), own.serial()), (&["shop.example".to_owned()][..], "0a:1b"));
    assert_eq!((own.not_before(), own.not_after()), (1_577_836_800, 1_609_459_200));
    assert_eq!((own.der(), own.sha256().len()), (&der[..], 32));
    assert!(exchange.facts.certificate_error.unwrap().starts_with("expired "));
}

#[tokio::test]
async fn a_self_signed_certificate_and_a_machine_that_trusts_nobody() {
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["shop.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let own = Identity { chain: vec![own.der().clone()], key, chain_pem: String::new() };
    let server = tls_server(config(own, &[]));
    let exchange = ask(&Authority::new("the root").probe(), &server, "shop.example", |_| {}).await;
    assert_eq!(words(&exchange), (code::CERTIFICATE, "tls"));

    let nobody = probe_with(HOSTS, Roots::Only(Vec::new()));
    let exchange = ask(&nobody, &server, "shop.example", |_| {}).await;
    assert_eq!(words(&exchange), (code::CERTIFICATE, "tls"));
    assert!(exchange.facts.certificate_error.unwrap().contains("trusts nobody"));
    assert_eq!(exchange.certificates.len(), 1);
    let exchange = ask(&nobody, &server, "shop.example", |request| request.set_verify_certificate(false)).await;
    assert_eq!(exchange.facts.alpn, None);
    assert_eq!(exchange.result.unwrap().status, 200);
}

#[tokio::test]
async fn the_name_that_is_checked_can_be_another_one() {
    let authority = Authority::new("the root");
    let server = authority.server("shop.example", 2100);
    let named = |name: &'static str| move |request: &mut Request| request.set_server_name(name);
    let exchange = ask(&authority.probe(), &server, "127.0.0.1", named("shop.example")).await;
    assert_eq!(exchange.result.unwrap().status, 200);
    let exchange = ask(&authority.probe(), &server, "shop.example", named("other.example")).await;
    assert_eq!(words(&exchange), (code::CERTIFICATE, "tls"));
    let exchange = ask(&authority.probe(), &server, "shop.example", named("not a name")).await;
    assert_eq!(words(&exchange), (code::INVALID, "policy"));
}

#[tokio::test]
async fn peers_that_do_not_speak_tls() {
    let probe = Authority::new("the root").probe();
    for (server, expected) in [
        (Server::new(|mut stream| stream.write_all(b"HTTP/1.1 400 no\r\n\r\n").unwrap_or_default()), code::TLS),
        (Server::new(drop), code::CLOSED),
        (
            Server::new(|stream| {
                stream.peek(&mut [0]).unwrap();
                reset(stream)
            }),
            code::RESET,
        ),
    ] {
        let exchange = ask(&probe, &server, "shop.example", |_| {}).await;
        let (code, phase) = words(&exchange);
        assert_eq!(phase, "tls");
        // A close with unread bytes is a reset or an end, as it happens.
        assert!(code == expected || (expected == code::CLOSED && code == code::RESET), "{code}, not {expected}");
        assert_eq!(exchange.certificates.len(), 0);
    }
    let silent = Server::new(hold);
    let exchange = ask(&probe, &silent, "shop.example", |request| request.set_timeout(SHORT)).await;
    assert_eq!(words(&exchange), (code::TIMEOUT, "tls"));
}
