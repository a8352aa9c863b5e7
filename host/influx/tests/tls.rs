//! Both write paths over TLS: to a server whose authority is trusted, and to one whose is not.
//!
//! Trust comes from the system or from SSL_CERT_FILE, which cannot be set for one test alone: the test runs itself
//! again in a process of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/mod.rs"]
mod common;
#[path = "support/mod.rs"]
mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use common::rows::{commit, entry, record, store};
use common::{forward, v1, v2};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::eventually;

/// Where the second process finds the server.
const URL: &str = "ROUNDSMAN_TEST_TLS_URL";
/// What it is to see: `written`, or part of the reason why not.
const EXPECTED: &str = "ROUNDSMAN_TEST_TLS_EXPECTED";

#[test]
fn an_authority_must_be_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let address = serve(&directory.path().join("ours.pem"));
    serve(&directory.path().join("other.pem"));
    for (authority, expected) in
        [("ours.pem", "written"), ("other.pem", "invalid peer certificate"), ("none.pem", "SSL_CERT_FILE")]
    {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_second_process", "--nocapture"])
            .env("SSL_CERT_FILE", directory.path().join(authority))
            .env_remove("SSL_CERT_DIR")
            .env(URL, format!("https://localhost:{}", address.port()))
            .env(EXPECTED, expected)
            .output()
            .unwrap();
        assert!(child.status.success(), "{authority}: {}", String::from_utf8_lossy(&child.stderr));
    }
}

/// Does nothing unless it was started by the test above.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_process() {
    let (Ok(url), Ok(expected)) = (std::env::var(URL), std::env::var(EXPECTED)) else { return };
    for destination in [v1(url.clone(), "d"), v2(url, "d")] {
        let directory = tempfile::tempdir().unwrap();
        let (store, committed) = store(directory.path(), common::NAME);
        commit(&store, (0..100).map(|i| entry(record("shop", i, "fine"), None))).await;
        let running = forward(destination, directory.path(), &store, &committed, Duration::from_secs(1));
        eventually("it is written or held", || running.written() == 200 || running.stats.snapshot().held.is_some())
            .await;
        let stats = running.stats.snapshot();
        let seen = stats.held.map_or("written".to_owned(), |held| held.why);
        assert!(seen.contains(&expected), "{seen}");
        running.finish().await.unwrap();
        store.close().await.unwrap();
    }
}

/// A server that takes every write, with a certificate of a new authority; that one's own is written to the file.
fn serve(authority: &Path) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(key.serialize_der().into()))
        .unwrap();
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that does not trust us hangs up.
            drop(answer(stream.unwrap(), config.clone()));
        }
    });
    address
}

fn answer(stream: TcpStream, config: Arc<ServerConfig>) -> std::io::Result<()> {
    let connection = ServerConnection::new(config).map_err(std::io::Error::other)?;
    let mut stream = BufReader::new(StreamOwned::new(connection, stream));
    let (mut line, mut length) = (String::new(), 0);
    while stream.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        line.clear();
    }
    std::io::copy(&mut stream.by_ref().take(length), &mut std::io::sink())?;
    stream.get_mut().write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    stream.get_mut().flush()
}
