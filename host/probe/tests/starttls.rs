//! TLS over connections: at once, after a STARTTLS dialogue, and after words that somebody put in between; secrets.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, where the lint exempts only the tests themselves"
)]

mod support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, DnType, KeyPair};
use roundsman_model::grants::Allow;
use roundsman_probe::failure::{Failure, code};
use roundsman_probe::grants::Grants;
use roundsman_probe::pattern::Pattern;
use roundsman_probe::probe::{Options, Probe, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::{Place, Secrets, Source};
use roundsman_probe::sockets::Permit;
use roundsman_probe::tcp::Connection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::*;
use tokio::time::Instant;

const NAME: &str = "mail.example";
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

/// A certificate for `mail.example`, and a server's configuration with it.
struct Identity {
    root: CertificateDer<'static>,
    config: Arc<ServerConfig>,
}

impl Identity {
    fn new() -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, NAME);
        let root = params.self_signed(&key).unwrap().der().clone();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_no_client_auth().with_single_cert(vec![root.clone()], key).unwrap();
        config.alpn_protocols = vec![b"imap".to_vec()];
        Identity { root, config: Arc::new(config) }
    }

    fn probe(&self) -> Probe {
        probe_with(HOSTS, Roots::Only(vec![self.root.clone()]))
    }

    /// TLS from the first byte; what comes is sent back.
    fn echo(&self) -> Server {
        let config = self.config.clone();
        Server::new(move |stream| echo(&mut secured(&config, stream)))
    }

    /// A mail server: a greeting, EHLO, STARTTLS with these words, and behind it a dialogue that ends with QUIT.
    fn mail(&self, go: &'static [u8]) -> (Server, mpsc::Receiver<String>) {
        let (said, heard) = mpsc::channel();
        let (config, said) = (self.config.clone(), Mutex::new(said));
        let server = Server::new(move |mut stream| {
            let said = said.lock().unwrap().clone();
            stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
            said.send(line(&mut stream)).unwrap();
            stream.write_all(b"250-mail.example\r\n250 STARTTLS\r\n").unwrap();
            said.send(line(&mut stream)).unwrap();
            stream.write_all(go).unwrap();
            let mut stream = secured(&config, stream);
            for answer in ["250-mail.example\r\n250 AUTH PLAIN\r\n", "235 welcome\r\n", "221 bye\r\n"] {
                let heard = line(&mut stream);
                if heard.is_empty() {
                    break;
                }
                said.send(heard).unwrap();
                stream.write_all(answer.as_bytes()).unwrap();
            }
            stream.conn.send_close_notify();
            stream.flush().unwrap_or_default();
            hold(stream.sock);
        });
        (server, heard)
    }
}

fn secured(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream)
}

fn echo(stream: &mut (impl Read + Write)) {
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..count]).and_then(|()| stream.flush()).is_err() {
            break;
        }
    }
}

/// One line, read byte by byte, so that nothing behind it is taken.
fn line(stream: &mut impl Read) -> String {
    let (mut text, mut byte) = (Vec::new(), [0]);
    while !text.ends_with(b"\r\n") && stream.read(&mut byte).is_ok_and(|count| count == 1) {
        text.push(byte[0]);
    }
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

fn secrets(destinations: &[&str]) -> (Secrets, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    for (key, value) in [("username", "tim"), ("password", "tanstaaftanstaaf"), ("token", "t0ken-of-ours")] {
        std::fs::write(folder.path().join(key), value).unwrap();
    }
    let source = Source {
        place: Place::Directory(folder.path().to_owned()),
        destinations: destinations.iter().map(|line| Pattern::parse(line).unwrap()).collect(),
    };
    (Secrets::new(BTreeMap::from([("mail".to_owned(), source)])), folder)
}

fn with_secret(lines: &[&str]) -> Grants {
    let network = lines.iter().map(|line| (*line).to_owned()).collect();
    Grants::compile(&[], &Allow { network, secrets: vec!["mail".to_owned()], ..Allow::default() }, &[]).unwrap()
}

struct Talk<'a> {
    probe: &'a Probe,
    connection: Connection,
}

impl Talk<'_> {
    async fn line(&mut self) -> String {
        let line = self.probe.tcp_receive_until(&mut self.connection, b"\r\n", 512, deadline()).await.unwrap();
        String::from_utf8(line).unwrap()
    }

    async fn say(&mut self, words: &str) {
        self.probe.tcp_send(&mut self.connection, words.as_bytes(), deadline()).await.unwrap();
    }
}

#[tokio::test]
async fn a_mail_server_with_starttls_and_a_password() {
    let identity = Identity::new();
    let (server, heard) = identity.mail(b"220 go ahead\r\n");
    let (secrets, _folder) = secrets(&["tls://mail.example:*"]);
    let options = Options {
        resolver: Resolver::fixed(HOSTS),
        roots: Roots::Only(vec![identity.root.clone()]),
        secrets,
        ..Options::default()
    };
    let probe = Probe::new(options);
    let grants = with_secret(&[&format!("tls://mail.example:{}", server.port())]);
    let mut talk = Talk { probe: &probe, connection: Connection::new(&format!("{NAME}:{}", server.port())) };
    probe.tcp_connect(&grants, &mut talk.connection, permit(&probe), deadline()).await.unwrap();
    assert_eq!(probe.sockets().open_now(), 1);
    assert_eq!(talk.line().await, "220 mail.example ESMTP\r\n");
    assert!(talk.connection.timing("first-byte").is_some());
    talk.say("EHLO probe\r\n").await;
    // Two lines in one packet: the second stays for the next call.
    assert_eq!(talk.line().await, "250-mail.example\r\n");
    assert_eq!(talk.line().await, "250 STARTTLS\r\n");
    // Only TLS is granted: no password before it.
    let sent = probe.tcp_send_secret(&grants, &mut talk.connection, "mail", "password", "plain", deadline()).await;
    let failure = sent.unwrap_err();
    assert_eq!(failure.code, code::DENIED);
    let line = format!("allow: {{network: [\"tcp://mail.example:{}\"]}}", server.port());
    assert!(failure.message.contains(&line), "{failure}");
    talk.say("STARTTLS\r\n").await;
    assert_eq!(talk.line().await, "220 go ahead\r\n");
    assert_eq!((talk.connection.fact("tls-version"), talk.connection.certificates().len()), (None, 0));
    talk.connection.set_protocols(&["smtp".to_owned(), "imap".to_owned()]);
    probe.tcp_start_tls(&grants, &mut talk.connection, deadline()).await.unwrap();
    talk.say("EHLO probe\r\n").await;
    assert_eq!((talk.line().await, talk.line().await), ("250-mail.example\r\n".into(), "250 AUTH PLAIN\r\n".into()));
    talk.say("AUTH PLAIN ").await;
    probe.tcp_send_secret(&grants, &mut talk.connection, "mail", "", "sasl-plain", deadline()).await.unwrap();
    talk.say("\r\n").await;
    assert_eq!(talk.line().await, "235 welcome\r\n");
    talk.say("QUIT\r\n").await;
    assert_eq!(talk.line().await, "221 bye\r\n");
    assert_eq!(probe.tcp_receive(&mut talk.connection, 10, deadline()).await.unwrap(), b"", "the peer has closed");
    let heard: Vec<String> = heard.try_iter().collect();
    // The example of RFC 4616.
    let expected = ["EHLO probe", "STARTTLS", "EHLO probe", "AUTH PLAIN AHRpbQB0YW5zdGFhZnRhbnN0YWFm", "QUIT"];
    assert_eq!(heard, expected);
    assert_facts(&talk.connection, &server);
    probe.tcp_close(&mut talk.connection, deadline()).await.unwrap();
    drop(talk);
    assert_eq!(probe.sockets().open_now(), 0);
    assert_eq!(probe.stats().tcp.refusals(), 1);
}

fn assert_facts(connection: &Connection, server: &Server) {
    let fact = |name| connection.fact(name);
    assert_eq!((fact("tls-version").as_deref(), fact("alpn").as_deref()), (Some("1.3"), Some("imap")));
    assert!(fact("tls-cipher").is_some_and(|cipher| cipher.starts_with("TLS13_")));
    assert_eq!((fact("certificate-error"), fact("nonsense")), (None, None));
    assert!(fact("local-address").is_some_and(|local| local.starts_with("127.0.0.1:")));
    let said: usize = ["EHLO probe\r\n", "STARTTLS\r\n", "EHLO probe\r\n", "AUTH PLAIN ", "\r\n", "QUIT\r\n"]
        .iter()
        .map(|words| words.len())
        .sum();
    assert_eq!(fact("bytes-sent"), Some(said.to_string()), "how long the secret is, is not told");
    assert!(fact("bytes-received").is_some_and(|bytes| bytes.parse::<usize>().is_ok_and(|bytes| bytes > 100)));
    assert_eq!(connection.peer(), Some(server.address.to_string()));
    assert_eq!(connection.certificates()[0].names(), [NAME]);
    for phase in ["resolve", "connect", "tls", "total"] {
        assert!(connection.timing(phase).is_some_and(|time| !time.is_zero()), "{phase}");
    }
    assert_eq!(connection.timing("nonsense"), None);
}

/// CVE-2011-0411: what is said in clear before TLS must not be taken for what is said within.
#[tokio::test]
async fn words_injected_before_tls() {
    let identity = Identity::new();
    let probe = identity.probe();
    let (server, _heard) = identity.mail(b"220 go ahead\r\n250 injected\r\n");
    let mut talk = Talk { probe: &probe, connection: connected(&probe, &server).await };
    talk.connection.set_server_name(NAME);
    for (say, lines) in [("", 1), ("EHLO x\r\n", 2), ("STARTTLS\r\n", 1)] {
        talk.say(say).await;
        for _ in 0..lines {
            talk.line().await;
        }
    }
    let started = probe.tcp_start_tls(&everything(), &mut talk.connection, deadline()).await;
    assert_eq!(words_of(started), (code::PROTOCOL, "tls"));
    // Neither the injected words nor anything else is ever handed out.
    for _ in 0..2 {
        let received = probe.tcp_receive(&mut talk.connection, 100, deadline()).await;
        assert_eq!(words_of(received), (code::CLOSED, "transfer"));
    }
    assert_eq!(probe.sockets().open_now(), 0, "a connection that failed is closed");

    // Not read before, but there: it breaks the handshake.
    let plain = Server::new(|mut stream| {
        stream.write_all(b"220 go ahead\r\n").unwrap();
        line(&mut stream);
        stream.write_all(b"250 injected\r\n").unwrap();
        hold(stream);
    });
    let mut talk = Talk { probe: &probe, connection: connected(&probe, &plain).await };
    talk.line().await;
    talk.say("go\r\n").await;
    let started = probe.tcp_start_tls(&everything(), &mut talk.connection, deadline()).await;
    assert_eq!(words_of(started), (code::TLS, "tls"));
    assert_eq!(words_of(probe.tcp_receive(&mut talk.connection, 100, deadline()).await).0, code::CLOSED);
}

#[tokio::test]
async fn tls_at_once_with_certificates_good_and_bad() {
    let identity = Identity::new();
    let (server, probe) = (identity.echo(), identity.probe());
    let mut connection = connected(&probe, &server).await;
    connection.set_server_name(NAME);
    probe.tcp_start_tls(&everything(), &mut connection, deadline()).await.unwrap();
    assert_eq!(words_of(probe.tcp_start_tls(&everything(), &mut connection, deadline()).await).0, code::INVALID);
    probe.tcp_send(&mut connection, b"hello", deadline()).await.unwrap();
    assert_eq!(probe.tcp_receive(&mut connection, 3, deadline()).await.unwrap(), b"hel");
    assert_eq!(probe.tcp_receive(&mut connection, 3, deadline()).await.unwrap(), b"lo");

    for verify in [true, false] {
        let mut connection = connected(&probe, &server).await;
        connection.set_verify_certificate(verify);
        let started = probe.tcp_start_tls(&everything(), &mut connection, deadline()).await;
        assert_eq!(connection.certificates()[0].names(), [NAME], "shown all the same");
        assert!(connection.fact("certificate-error").is_some());
        if verify {
            assert_eq!(words_of(started), (code::CERTIFICATE, "tls"));
            assert_eq!(connection.timing("tls"), None);
            assert_eq!(words_of(probe.tcp_send(&mut connection, b"x", deadline()).await).0, code::CLOSED);
        } else {
            started.unwrap();
        }
    }
    let silent = Server::new(hold);
    let mut connection = connected(&probe, &silent).await;
    connection.set_timeout(SHORT);
    let started = probe.tcp_start_tls(&everything(), &mut connection, deadline()).await;
    assert_eq!(words_of(started), (code::TIMEOUT, "tls"));
    assert_eq!(words_of(probe.tcp_receive(&mut connection, 1, deadline()).await).0, code::CLOSED);
}

#[tokio::test]
async fn secrets_that_are_sent_and_those_that_are_not() {
    let server = Server::new(|mut stream| echo(&mut stream));
    let line = format!("tcp://{}", server.address);
    let (secrets, _folder) = secrets(&[&line]);
    let probe = Probe::new(Options { secrets, ..Options::default() });
    let granted = with_secret(&[&line]);
    let mut connection = Connection::new(&server.address.to_string());
    probe.tcp_connect(&granted, &mut connection, permit(&probe), deadline()).await.unwrap();
    for (key, encoding, expected) in [
        ("token", "plain", Ok("t0ken-of-ours")),
        ("token", "base64", Ok("dDBrZW4tb2Ytb3Vycw==")),
        ("", "sasl-plain", Ok("AHRpbQB0YW5zdGFhZnRhbnN0YWFm")),
        ("token", "sasl-plain", Err(code::INVALID)),
        ("token", "rot13", Err(code::INVALID)),
        ("nothing", "plain", Err(code::SECRET)),
    ] {
        let sent = probe.tcp_send_secret(&granted, &mut connection, "mail", key, encoding, deadline()).await;
        assert_eq!(sent.map_err(|failure| failure.code), expected.map(drop), "{key} {encoding}");
        if let Ok(expected) = expected {
            let length = expected.len();
            let mut heard = Vec::new();
            while heard.len() < length {
                heard.extend(probe.tcp_receive(&mut connection, length - heard.len(), deadline()).await.unwrap());
            }
            assert_eq!(heard, expected.as_bytes());
        }
    }
    let ungranted = grants(&[&line]);
    let sent = probe.tcp_send_secret(&ungranted, &mut connection, "mail", "token", "plain", deadline()).await;
    assert!(sent.unwrap_err().message.contains("allow: {secrets: [mail]}"));

    // Granted, but not for this peer.
    let other = Server::new(hold);
    let wider = with_secret(&["tcp://127.0.0.1:*"]);
    let mut connection = Connection::new(&other.address.to_string());
    probe.tcp_connect(&wider, &mut connection, permit(&probe), deadline()).await.unwrap();
    let sent = probe.tcp_send_secret(&wider, &mut connection, "mail", "token", "plain", deadline()).await;
    assert_eq!(words_of(sent).0, code::DENIED);
    assert_eq!(connection.fact("bytes-sent").as_deref(), Some("0"));
}
