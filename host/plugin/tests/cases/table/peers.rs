//! A shop with secrets and certificates of its own, and servers that answer with what they saw, as `name=value; …`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rcgen::SerialNumber;
use roundsman_probe::probe::{Options, Roots};
use roundsman_probe::resolve::Resolver;
use roundsman_probe::secrets::{Place, Secrets, Source};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::probe_support::authority::{Authority, Identity};
use crate::probe_support::{Server, request};

/// Where a test asks by name.
const HOSTS: &str = "127.0.0.1 shop.example\n127.0.0.1 both.example\n::1 both.example\n";
pub(super) const PASSWORD: &str = "geheim-wort";
/// `anna` with that password.
const BASIC: &str = "Basic YW5uYTpnZWhlaW0td29ydA==";
/// How long servers think, so that the time they take can be told from none.
pub(super) const THINKING: Duration = Duration::from_millis(20);

/// Who signs its servers' certificates, and the folder of its secrets.
pub(super) struct Shop {
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Shop {
    pub(super) fn new() -> Shop {
        let (authority, folder) = (Authority::new("the root"), tempfile::tempdir().unwrap());
        let client = authority.identity("client.internal", |_| {});
        let key = client.key.serialize_pem();
        for (name, parts) in [
            (
                "shop",
                [("ca.crt", authority.pem.as_str()), ("tls.crt", &client.chain_pem), ("tls.key", &key)].as_slice(),
            ),
            ("login", &[("username", "anna"), ("password", PASSWORD)]),
        ] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
            parts
                .iter()
                .for_each(|(part, content)| std::fs::write(folder.path().join(name).join(part), content).unwrap());
        }
        Shop { authority, folder }
    }

    /// For a probe that knows the secrets by their names, and trusts nobody of its own accord.
    pub(super) fn options(&self) -> Options {
        let source = |name: &str| {
            let place = Place::Directory(self.folder.path().join(name));
            (name.to_owned(), Source { place, destinations: Vec::new() })
        };
        let secrets = Secrets::new(BTreeMap::from([source("shop"), source("login")]));
        Options { resolver: Resolver::fixed(HOSTS), roots: Roots::Only(Vec::new()), secrets, ..Options::default() }
    }

    pub(super) fn identity(&self, name: &str) -> Identity {
        self.authority.identity(name, |params| params.serial_number = Some(SerialNumber::from_slice(&[0x0a, 0x1b])))
    }

    /// What a server needs that shows this, and asks for a certificate of the shop's own authority where it is to.
    pub(super) fn config(&self, identity: Identity, alpn: &[u8], asks: bool) -> Arc<ServerConfig> {
        let Identity { chain, key, .. } = identity;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.root.clone()).unwrap();
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let builder = if asks { builder.with_client_cert_verifier(verifier) } else { builder.with_no_client_auth() };
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let mut config = builder.with_single_cert(chain, key).unwrap();
        config.alpn_protocols = vec![alpn.to_vec()];
        Arc::new(config)
    }
}

/// A connection within TLS, once both sides have agreed; none if they have not.
pub(super) fn secured(
    config: &Arc<ServerConfig>,
    stream: TcpStream,
) -> Option<StreamOwned<ServerConnection, TcpStream>> {
    let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
    stream.conn.complete_io(&mut stream.sock).ok()?;
    Some(stream)
}

/// What the handshake says of the other side.
pub(super) fn seen_of(connection: &ServerConnection) -> String {
    let protocol = String::from_utf8_lossy(connection.alpn_protocol().unwrap_or(b"none")).into_owned();
    let certificates = connection.peer_certificates().map_or(0, <[_]>::len);
    let name = connection.server_name().unwrap_or("none");
    format!("server-name={name}; protocol={protocol}; client={certificates} certificates")
}

pub(super) fn from(stream: &TcpStream) -> String {
    stream.peer_addr().map_or_else(|error| error.to_string(), |address| address.ip().to_string())
}

/// Answers one question of HTTP/1.1, in two pieces with a trailer behind them.
fn tell(stream: &mut (impl Read + Write), seen: &str) {
    let head = request(stream);
    let of = |name: &str| {
        let found =
            head.lines().find_map(|line| line.to_ascii_lowercase().starts_with(name).then(|| &line[name.len()..]));
        found.unwrap_or("none").to_owned()
    };
    let mut body = vec![0; of("content-length: ").parse().unwrap_or(0)];
    let first = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
    if head.is_empty() || stream.read_exact(&mut body).is_err() {
        return;
    }
    if first.ends_with("/silent") {
        // Until the other side goes.
        while stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {}
        return;
    }
    if first.ends_with("/redirect") {
        drop(
            stream
                .write_all(b"HTTP/1.1 302 there\r\nlocation: /there\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        );
        return;
    }
    let authorization =
        if of("authorization: ") == BASIC { "as in the secret".to_owned() } else { of("authorization: ") };
    let said = format!(
        "told; request={first}; host={}; x-own={}; authorization={authorization}; body={}; {seen}",
        of("host: "),
        of("x-own: "),
        String::from_utf8_lossy(&body)
    );
    thread::sleep(THINKING);
    let head = "HTTP/1.1 203 told\r\nx-a: 1\r\nX-A: 2\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\nconnection: close\r\n\r\n";
    drop(stream.write_all(format!("{head}{:x}\r\n{said}\r\n0\r\nx-sum: 7\r\n\r\n", said.len()).as_bytes()));
}

fn http_on(ip: &str, port: u16) -> Server {
    let count = AtomicUsize::new(0);
    Server::on(ip.parse().unwrap(), port, move |mut stream| {
        let number = count.fetch_add(1, Ordering::SeqCst) + 1;
        let seen = format!("from={}; connection={number}", from(&stream));
        tell(&mut stream, &seen);
    })
}

/// In clear.
pub(super) fn http() -> SocketAddr {
    http_on("127.0.0.1", 0).address
}

/// The same port at both addresses of the name that has two.
pub(super) fn http_on_both() -> u16 {
    let port = on_both(TcpListener::bind);
    http_on("127.0.0.1", port);
    http_on("::1", port);
    port
}

/// A port that is free at both, as it was a moment ago.
pub(super) fn on_both<T>(bind: impl Fn(SocketAddr) -> std::io::Result<T>) -> u16
where
    T: Local,
{
    let free = |_| {
        let four = bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let port = four.port();
        bind(SocketAddr::new(IpAddr::from(std::net::Ipv6Addr::LOCALHOST), port)).ok().map(|_| port)
    };
    (0..100).find_map(free).expect("no port is free at both addresses: has this machine no ::1?")
}

/// Something that has been bound.
pub(super) trait Local {
    fn port(&self) -> u16;
}

impl Local for TcpListener {
    fn port(&self) -> u16 {
        self.local_addr().unwrap().port()
    }
}

impl Local for UdpSocket {
    fn port(&self) -> u16 {
        self.local_addr().unwrap().port()
    }
}

/// Within TLS, and only for those who show a certificate.
pub(super) fn https(config: Arc<ServerConfig>) -> SocketAddr {
    let server = Server::new(move |stream| {
        let Some(mut stream) = secured(&config, stream) else { return };
        let seen = seen_of(&stream.conn);
        tell(&mut stream, &seen);
        stream.conn.send_close_notify();
        drop(stream.flush());
    });
    server.address
}

/// At a unix socket.
pub(super) fn http_at(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            tell(&mut stream, "from=a unix socket");
        }
    });
}
