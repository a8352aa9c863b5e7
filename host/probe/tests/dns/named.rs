//! BIND on ports of its own, with zones of its own: some right, one signed, one that cannot be loaded.

use std::fs;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

/// The zone `shop.test.`, line by line as answers are to show it.
pub(crate) const ZONE: &str = r#"
shop.test. 300 SOA ns.shop.test. admin\.team.shop.test. 2026010101 3600 600 86400 60
shop.test. 300 NS ns.shop.test.
shop.test. 301 MX 10 mx.shop.test.
shop.test. 302 TXT "v=spf1 -all" "a \"quoted\" \\ part;"
shop.test. 303 CAA 128 issue "ca.example; policy=ev"
shop.test. 304 HTTPS 1 . alpn=h2,h3 port=8443 ipv4hint=192.0.2.7 ipv6hint=2001:db8::7
shop.test. 305 TYPE65280 \# 3 0102FF
shop.test. 306 NAPTR 100 10 "u" "E2U+sip" "!^.*$!sip:x@shop.test!" .
ns.shop.test. 307 A 127.0.0.1
mx.shop.test. 308 AAAA 2001:db8::25
www.shop.test. 309 CNAME mx.shop.test.
_sip._tcp.shop.test. 310 SRV 1 2 5060 mx.shop.test.
mx.shop.test. 311 SSHFP 4 2 123456789ABCDEF67890123456789ABCDEF67890123456789ABCDEF123456789
_25._tcp.mx.shop.test. 312 TLSA 3 1 1 D2ABDE240D7CD3EE6B4B28C54DF034B97983A1D16E8A410E4561CB106618E971
host.shop.test. 313 HINFO "PDP-11" "UNIX V7"
odd\.label\032x.shop.test. 314 TXT "\001\255"
child.shop.test. 315 NS ns.elsewhere.test.
uri.shop.test. 316 URI 10 1 "https://shop.test/"
"#;

pub(crate) struct Named {
    child: Child,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    folder: TempDir,
}

impl Named {
    /// None, having said so, where there is no BIND.
    pub(crate) fn start() -> Option<Named> {
        if Command::new("named").arg("-v").stdout(Stdio::null()).stderr(Stdio::null()).status().is_err() {
            crate::support::skipped("there is no `named` here");
            return None;
        }
        // Somebody else may take a port between our look at it and BIND's: then another one.
        for _ in 0..5 {
            let folder = tempfile::tempdir().unwrap();
            let (plain, tls) = (free_port(), free_port());
            let certificate = write_files(folder.path(), plain, tls);
            let mut named = Command::new("named");
            named.args(["-f", "-n", "1", "-c"]).arg(folder.path().join("named.conf"));
            let child = named.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            let [plain, tls] = [plain, tls].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let named = Named { child, plain, tls, certificate, folder };
            if named.is_up() {
                return Some(named);
            }
        }
        panic!("named finds no free port");
    }

    fn is_up(&self) -> bool {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            let log = fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default();
            if log.contains("address in use") {
                return false;
            }
            if log.lines().any(|line| line == "running") {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{}", fs::read_to_string(self.folder.path().join("messages")).unwrap_or_default());
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Free for datagrams and connections.
fn free_port() -> u16 {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = udp.local_addr().unwrap().port();
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn write_files(folder: &Path, plain: u16, tls: u16) -> CertificateDer<'static> {
    let shown = folder.display();
    let write = |name: &str, text: &str| fs::write(folder.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["dns.shop.test".to_owned()]).unwrap().self_signed(&key).unwrap();
    write("cert.pem", &certificate.pem());
    write("key.pem", &key.serialize_pem());
    write("shop.zone", ZONE);
    let long: String = (0..40).map(|n| format!("long TXT \"{n} {}\"\n", "x".repeat(90))).collect();
    write("more.zone", &format!("$TTL 60\n$ORIGIN more.test.\n@ SOA ns a 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n{long}"));
    write("signed.zone", "$TTL 60\n$ORIGIN signed.test.\n@ SOA ns a 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n");
    write("closed.zone", "$TTL 60\n@ SOA ns.shop.test. a. 1 2 3 4 5\n@ NS ns.shop.test.\n");
    write("broken.zone", "this is no zone\n");
    let zone = |name: &str, file: &str, more: &str| {
        format!("zone \"{name}\" {{ type primary; file \"{shown}/{file}\"; {more} }};\n")
    };
    let arpa = "$TTL 60\n@ SOA ns.shop.test. a. 1 2 3 4 5\n@ NS ns.shop.test.\n7 PTR shop.test.\n";
    write("arpa.zone", arpa);
    let conf = [
        format!(
            "options {{ directory \"{shown}\"; pid-file none; session-keyfile none; lock-file none; recursion no;
             minimal-responses no; notify no; dnssec-validation no; key-directory \"{shown}\"; max-udp-size 1232;
             listen-on port {plain} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }};
             listen-on port {tls} tls own {{ 127.0.0.1; }}; }};
             tls own {{ cert-file \"{shown}/cert.pem\"; key-file \"{shown}/key.pem\"; }};
             logging {{ channel all {{ file \"{shown}/messages\"; severity info; }};
                        category default {{ all; }}; }};
             controls {{ }};\n"
        ),
        zone("shop.test", "shop.zone", ""),
        zone("more.test", "more.zone", ""),
        zone("broken.test", "broken.zone", ""),
        zone("2.0.192.in-addr.arpa", "arpa.zone", ""),
        zone("signed.test", "signed.zone", "dnssec-policy default; inline-signing yes;"),
        zone("closed.test", "closed.zone", "allow-query { none; };"),
    ];
    write("named.conf", &conf.concat());
    certificate.der().clone()
}
