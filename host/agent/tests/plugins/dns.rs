//! The plugin dns against named (bind9) with a zone of its own.

use std::net::UdpSocket;

use serde_json::json;

use crate::bench::{Server, number, probe};
use crate::support::servers::free_address;

const ZONE: &str = "$TTL 300
@ IN SOA ns hostmaster 7 3600 600 86400 60
@ IN NS ns
@ IN MX 10 mail
ns IN A 127.0.0.1
shop 60 IN A 10.0.0.1
shop 60 IN A 10.0.0.2
shop IN AAAA fd00::1
alias IN CNAME shop
note IN TXT \"v=1\" \"and more\"
";

/// A server with the zone `test.example`, and where it listens.
fn named() -> Option<(Server, String)> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("zone"), ZONE).unwrap();
    let address = free_address();
    let config = format!(
        "options {{ directory \"{0}\"; listen-on port {1} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none;
           recursion no; dnssec-validation no; session-keyfile \"{0}/session.key\"; managed-keys-directory \"{0}\"; }};
         controls {{ }};
         zone \"test.example\" {{ type master; file \"zone\"; }};",
        folder.path().display(),
        address.port()
    );
    std::fs::write(folder.path().join("named.conf"), config).unwrap();
    let mut server = Server::start("named", folder, &["-c", "named.conf", "-g", "-n", "1"])?;
    server.await_ready(|| crate::bench::connects(address));
    Some((server, format!("dns://{address}")))
}

#[test]
fn answers_of_a_real_server() {
    let Some((_server, target)) = named() else { return };
    for (settings, status, says) in [
        (json!({"name": "shop.test.example"}), "ok", "10.0.0.1"),
        (
            json!({"name": "shop.test.example", "expect": {"answers": ["10.0.0.2", "10.0.0.1"], "authoritative": true}}),
            "ok",
            "10.0.0.2",
        ),
        (json!({"name": "shop.test.example", "type": "AAAA"}), "ok", "fd00::1"),
        (json!({"name": "alias.test.example", "expect": {"contains": ["10.0.0.1"]}}), "ok", "10.0.0.1"),
        (
            json!({"name": "test.example", "type": "MX", "expect": {"matches": "^10 mail"}}),
            "ok",
            "10 mail.test.example",
        ),
        (json!({"name": "note.test.example", "type": "TXT"}), "ok", "v=1"),
        (json!({"name": "test.example", "type": "SOA", "transport": "tcp"}), "ok", "hostmaster.test.example"),
        (json!({"name": "gone.test.example", "expect": {"rcode": "NXDOMAIN"}}), "ok", "NXDOMAIN"),
        (
            json!({"name": "gone.test.example"}),
            "critical",
            "the answer is NXDOMAIN, expected NOERROR; answered by 127.0.0.1:",
        ),
        (json!({"name": "other.example"}), "critical", "the answer is REFUSED"),
        (json!({"name": "shop.test.example", "expect": {"answers": ["10.0.0.9"]}}), "critical", "expected 10.0.0.9"),
        (json!({"name": "shop.test.example", "expect": {"maxTtl": "30s"}}), "critical", "may be kept for 60 s"),
    ] {
        let seen = probe("dns", &settings, &["--target", &target]);
        seen.assert(status, says);
        let point = seen.point("dns");
        assert!(
            number(&point["total_ms"], "Real") > 0.0 && number(&point["message_bytes"], "Integer") > 12.0,
            "{point:?}"
        );
        assert_eq!(point.contains_key("connect_ms"), settings["transport"] == "tcp", "{point:?}");
    }
    let seen = probe("dns", &json!({"name": "shop.test.example"}), &["--target", &target]);
    let (tags, fields) = seen.points("dns").remove(0);
    assert_eq!(
        (tags["rcode"].as_str(), &fields["answers"], &fields["least_ttl_s"]),
        ("NOERROR", &json!(2), &json!(60.0))
    );
}

#[test]
fn nobody_answers() {
    // Bound, and nobody reads from it.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = format!("dns://{}", silent.local_addr().unwrap());
    let seen =
        probe("dns", &json!({"name": "a.example", "transport": "udp-only"}), &["--target", &target, "--timeout", "1s"]);
    seen.assert("critical", "timeout (first-byte)");
    let closed = format!("dns://{}", free_address());
    probe("dns", &json!({"name": "a.example"}), &["--target", &closed]).assert("critical", "refused");
    let denied = probe("dns", &json!({"name": "a.example", "server": "system"}), &[]);
    denied.assert("unknown", "add to the check: allow: {network: [\"dns://system\"]}");
}
