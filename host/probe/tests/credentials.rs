//! What is shown to a server by the name of a secret, and to no other: credentials, client certificates, authorities.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Arc;

use roundsman_model::grants::Allow;
use roundsman_probe::failure::code;
use roundsman_probe::grants::Grants;
use roundsman_probe::http::{Exchange, Request};
use roundsman_probe::pattern::Pattern;
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::{Place, Secrets, Source};
use support::authority::*;
use support::h2::Polite;
use support::*;
use tempfile::TempDir;
use tokio::time::Instant;

async fn ask(probe: &Probe, grants: &Grants, url: &str, change: impl FnOnce(&mut Request)) -> Exchange {
    let mut request = Request::new("GET", url);
    change(&mut request);
    probe.http(grants, &request, Instant::now() + LONG).await
}

fn header(head: &str, name: &str) -> String {
    let found = head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    found.unwrap_or_default().to_owned()
}

/// A probe with secrets: each a file, or a directory of files.
fn with_secrets(authority: Option<&Authority>, directory: &TempDir, secrets: &[Secret<'_>]) -> Probe {
    let mut sources = BTreeMap::new();
    for (name, parts, destinations) in secrets {
        let place = directory.path().join(name);
        let place = match parts {
            [("", content)] => {
                fs::write(&place, content).unwrap();
                Place::File(place)
            }
            parts => {
                fs::create_dir_all(&place).unwrap();
                parts.iter().for_each(|(key, content)| fs::write(place.join(key), content).unwrap());
                Place::Directory(place)
            }
        };
        let destinations = destinations.iter().map(|line| Pattern::parse(line).unwrap()).collect();
        sources.insert((*name).to_owned(), Source { place, destinations });
    }
    let roots = Roots::Only(authority.map(|authority| authority.root.clone()).into_iter().collect());
    let resolver = Resolver::fixed(HOSTS);
    Probe::new(Options { resolver, roots, secrets: Secrets::new(sources), ..Options::default() })
}

type Secret<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

fn granting(secrets: &[&str]) -> Grants {
    let network =
        ["http://*:*", "https://*:*", "http://127.0.0.0/8:*", "http://shop.example:*", "http://other.example:*"];
    let more = ["https://shop.example:*", "https://other.example:*"];
    let network = network.iter().chain(&more).map(|line| (*line).to_owned()).collect();
    let secrets = secrets.iter().map(|name| (*name).to_owned()).collect();
    Grants::compile(&[], &Allow { network, secrets, ..Allow::default() }, &[]).unwrap()
}

#[tokio::test]
async fn credentials() {
    let directory = tempfile::tempdir().unwrap();
    let (seen, server) = {
        let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
        let kept = seen.clone();
        let server = Server::new(move |mut stream| {
            let head = request(&mut stream);
            kept.lock().unwrap().push(header(&head, "authorization"));
            // It shows in every place what it was sent.
            let sent = header(&head, "authorization");
            let body = format!("you sent {sent} ({})", sent.split(' ').nth(1).unwrap_or_default());
            write!(stream, "HTTP/1.1 200 OK\r\nx-sent: {sent}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .unwrap_or_default();
            hold(stream);
        });
        (seen, server)
    };
    let here = format!("http://shop.example:{}", server.port());
    let probe = with_secrets(
        None,
        &directory,
        &[
            ("token", &[("", "s3cret-token\n")], &[]),
            ("basic", &[("username", "anna"), ("password", "geheim-wort")], &[]),
            ("bound", &[("", "s3cret-bound")], &[&here]),
            ("elsewhere", &[("", "s3cret-elsewhere")], &["http://other.example:80"]),
            ("broken", &[("", "two words")], &[]),
        ],
    );
    let all = granting(&["token", "basic", "bound", "elsewhere", "broken", "none"]);
    let named = |name: &'static str| move |request: &mut Request| request.set_credentials(name);
    for (name, expected) in [
        ("token", "Bearer s3cret-token"),
        ("basic", "Basic YW5uYTpnZWhlaW0td29ydA=="),
        ("bound", "Bearer s3cret-bound"),
    ] {
        let exchange = ask(&probe, &all, &format!("{here}/"), named(name)).await;
        let answer = exchange.result.unwrap();
        assert_eq!(seen.lock().unwrap().pop().as_deref(), Some(expected));
        // The plugin does not read it out of what the server says.
        let said = format!("{answer:?} {}", String::from_utf8_lossy(&answer.body));
        for secret in ["s3cret-token", "geheim-wort", "YW5uYTpnZWhlaW0td29ydA", "s3cret-bound"] {
            assert!(!said.contains(secret), "{said}");
        }
        assert!(said.contains("you sent "), "{said}");
    }
    let before = server.accepted();
    for (grants, name, expected) in [
        (granting(&["basic"]), "token", (code::DENIED, "policy")),
        (all.clone(), "elsewhere", (code::DENIED, "policy")),
        (all.clone(), "broken", (code::SECRET, "policy")),
        (all.clone(), "none", (code::DENIED, "policy")),
    ] {
        let exchange = ask(&probe, &grants, &format!("{here}/"), named(name)).await;
        assert_eq!(words(&exchange), expected, "{name}: {:?}", exchange.result);
    }
    let twice = |request: &mut Request| {
        request.add_header("Authorization", b"Bearer mine");
        request.set_credentials("token");
    };
    assert_eq!(words(&ask(&probe, &all, &format!("{here}/"), twice).await), (code::INVALID, "policy"));
    let mut trace = Request::new("TRACE", &format!("{here}/"));
    trace.set_credentials("token");
    let exchange = probe.http(&all, &trace, Instant::now() + LONG).await;
    assert_eq!(words(&exchange), (code::INVALID, "policy"));
    // What is dialled counts, not what the URL says.
    let aside = |request: &mut Request| {
        request.set_credentials("elsewhere");
        request.set_connect_to(&format!("shop.example:{}", server.port()));
    };
    assert_eq!(words(&ask(&probe, &all, "http://other.example/", aside).await), (code::DENIED, "policy"));
    assert_eq!(server.accepted(), before);
}

#[tokio::test]
async fn credentials_do_not_follow_to_another_origin_and_do_not_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let relay = |location: Arc<std::sync::Mutex<BTreeMap<String, String>>>, name: &'static str| {
        let kept = seen.clone();
        Server::new(move |mut stream| {
            let head = request(&mut stream);
            let path = head.split(' ').nth(1).unwrap().to_owned();
            kept.lock().unwrap().push(format!("{name}{path} {}", header(&head, "authorization")));
            let to = location.lock().unwrap().get(&format!("{name}{path}")).cloned();
            let answer = to.map_or("HTTP/1.1 200 OK\r\n\r\n".to_owned(), |to| {
                format!("HTTP/1.1 307 x\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n")
            });
            stream.write_all(answer.as_bytes()).unwrap_or_default();
        })
    };
    let table = Arc::new(std::sync::Mutex::new(BTreeMap::new()));
    let (first, second) = (relay(table.clone(), "first"), relay(table.clone(), "second"));
    table.lock().unwrap().extend([
        ("first/a".to_owned(), "/b".to_owned()),
        ("first/b".to_owned(), format!("http://other.example:{}/c", second.port())),
        ("second/c".to_owned(), format!("http://shop.example:{}/d", first.port())),
    ]);
    let probe = with_secrets(None, &directory, &[("token", &[("", "s3cret-token")], &[])]);
    let exchange = ask(&probe, &granting(&["token"]), &format!("http://shop.example:{}/a", first.port()), |request| {
        request.set_credentials("token");
        request.set_max_redirects(5);
    })
    .await;
    assert_eq!((exchange.facts.redirects, exchange.result.unwrap().status), (3, 200));
    let sent = "Bearer s3cret-token";
    assert_eq!(
        *seen.lock().unwrap(),
        [format!("first/a {sent}"), format!("first/b {sent}"), "second/c ".into(), "first/d ".into()]
    );
}

#[tokio::test]
async fn authorities_and_client_certificates() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("the root");
    let stranger = Authority::new("a stranger");
    let (client, other) = (authority.identity("client", |_| {}), authority.identity("another client", |_| {}));
    let (key, other_key) = (client.key.serialize_pem(), other.key.serialize_pem());
    let asking = |alpn: &[&[u8]]| Polite::new(Some(authority.config_with_clients("shop.example", alpn)));
    let (two, one) = (asking(&[b"h2"]).await, tls_server(authority.config_with_clients("shop.example", &[])));
    let probe = with_secrets(
        None,
        &directory,
        &[
            ("ca", &[("ca.crt", &authority.pem)], &[]),
            ("file", &[("", &authority.pem)], &[]),
            ("stranger", &[("ca.crt", &stranger.pem)], &[]),
            ("client", &[("tls.crt", &client.chain_pem), ("tls.key", &key)], &[]),
            ("mixed", &[("tls.crt", &client.chain_pem), ("tls.key", &other_key)], &[]),
            ("garbage", &[("ca.crt", "nonsense"), ("tls.crt", "nonsense"), ("tls.key", "nonsense")], &[]),
            ("bound", &[("tls.crt", &client.chain_pem), ("tls.key", &key)], &["https://other.example:443"]),
        ],
    );
    let all = granting(&["ca", "file", "stranger", "client", "mixed", "garbage", "bound"]);
    let refused = Err(code::TLS);
    // Twice, because the second time everything is at hand already.
    for _ in 0..2 {
        for (port, version) in [(two.port(), "2"), (one.port(), "1.1")] {
            for (ca, client, expected) in [
                (Some("ca"), Some("client"), Ok(version)),
                (Some("file"), Some("client"), Ok(version)),
                (Some("ca"), None, refused),
                (None, Some("client"), Err(code::CERTIFICATE)),
                (Some("stranger"), Some("client"), Err(code::CERTIFICATE)),
                (Some("ca"), Some("mixed"), Err(code::SECRET)),
                (Some("ca"), Some("garbage"), Err(code::SECRET)),
                (Some("garbage"), None, Err(code::SECRET)),
                (Some("client"), None, Err(code::SECRET)),
                (Some("ca"), Some("bound"), Err(code::DENIED)),
            ] {
                let exchange = ask(&probe, &all, &format!("https://shop.example:{port}/"), |request| {
                    ca.into_iter().for_each(|name| request.set_certificate_authority(name));
                    client.into_iter().for_each(|name| request.set_client_certificate(name));
                })
                .await;
                let found = exchange.result.as_ref().map(|answer| answer.version).map_err(|failure| failure.code);
                assert_eq!(found, expected, "{ca:?} {client:?} {version}: {:?}", exchange.result);
                if let Err(failure) = &exchange.result {
                    assert!(!failure.message.contains("nonsense") && !failure.message.contains("BEGIN"), "{failure}");
                }
            }
        }
    }
    let exchange = ask(&probe, &granting(&["ca"]), &format!("https://shop.example:{}/", one.port()), |request| {
        request.set_certificate_authority("ca");
        request.set_client_certificate("client");
    })
    .await;
    assert_eq!(words(&exchange), (code::DENIED, "policy"));
}

#[tokio::test]
async fn a_secret_that_changes_is_used_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let server = new.server("shop.example", 2100);
    let probe = with_secrets(None, &directory, &[("ca", &[("ca.crt", &old.pem)], &[])]);
    let url = format!("https://shop.example:{}/", server.port());
    let trusting = |request: &mut Request| request.set_certificate_authority("ca");
    let grants = granting(&["ca"]);
    assert_eq!(words(&ask(&probe, &grants, &url, trusting).await), (code::CERTIFICATE, "tls"));
    let staged = directory.path().join("staged");
    fs::write(&staged, &new.pem).unwrap();
    fs::rename(staged, directory.path().join("ca/ca.crt")).unwrap();
    assert_eq!(ask(&probe, &grants, &url, trusting).await.result.unwrap().body, "ok");
}

#[tokio::test]
async fn a_client_certificate_does_not_follow_to_another_origin() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("the root");
    let client = authority.identity("client", |_| {});
    let other = tls_server(authority.config_with_clients("other.example", &[]));
    let there = format!("HTTP/1.1 302 x\r\nlocation: https://other.example:{}/\r\n\r\n", other.port());
    let first = tls_server_answering(authority.config_with_clients("shop.example", &[]), there);
    let key = client.key.serialize_pem();
    let parts = [("ca.crt", authority.pem.as_str()), ("tls.crt", &client.chain_pem), ("tls.key", &key)];
    let probe = with_secrets(None, &directory, &[("client", &parts, &[])]);
    let exchange = ask(&probe, &granting(&["client"]), &format!("https://shop.example:{}/", first.port()), |request| {
        request.set_certificate_authority("client");
        request.set_client_certificate("client");
        request.set_max_redirects(1);
    })
    .await;
    // The other server asks for a certificate and gets none; it is still judged by the authority that was named.
    assert_eq!((exchange.facts.redirects, words(&exchange).0), (1, code::TLS), "{:?}", exchange.result);
    assert_eq!(exchange.facts.certificate_error, None);
}
