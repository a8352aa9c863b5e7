//! The plugins etcd and grpc against etcd, which speaks grpc.health.v1 too, with TLS and client certificates.

use std::net::SocketAddr;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use serde_json::json;

use crate::bench::{Server, connects, number, probe};
use crate::support::servers::free_address;
use crate::support::{Place, eventually};

/// A member alone, without TLS.
fn etcd(more: &[&str]) -> Option<(Server, SocketAddr)> {
    let (client, peer) = (free_address(), free_address());
    let scheme = if more.is_empty() { "http" } else { "https" };
    let (client_url, peer_url) = (format!("{scheme}://{client}"), format!("http://{peer}"));
    let cluster = format!("a={peer_url}");
    let arguments =
        [
            &[
                "--name",
                "a",
                "--data-dir",
                "data",
                "--listen-client-urls",
                &client_url,
                "--advertise-client-urls",
                &client_url,
            ][..],
            &[
                "--listen-peer-urls",
                &peer_url,
                "--initial-advertise-peer-urls",
                &peer_url,
                "--initial-cluster",
                &cluster,
            ][..],
            more,
        ]
        .concat();
    let folder = tempfile::tempdir().unwrap();
    let folder = if let Some(from) = more.iter().position(|word| *word == "--cert-file") {
        // Its certificates lie in a folder of their own.
        assert!(Path::new(more[from + 1]).is_file());
        folder
    } else {
        folder
    };
    let mut server = Server::start("etcd", folder, &arguments)?;
    server.await_ready(|| connects(client));
    Some((server, client))
}

#[test]
fn a_member_alone() {
    let Some((mut server, address)) = etcd(&[]) else { return };
    let target = format!("http://{address}");
    let ask = |settings| probe("etcd", &settings, &["--target", &target]);
    server.await_ready(|| ask(json!({})).code == 0);
    let seen = ask(json!({}));
    seen.assert("ok", "healthy");
    let point = seen.point("etcd");
    for name in ["healthy", "has_leader", "is_leader"] {
        assert_eq!(point[name], json!(true), "{name}: {point:?}");
    }
    assert_eq!((&point["is_learner"], &point["alarms"]), (&json!(false), &json!(0)));
    for name in ["db_bytes", "db_in_use_bytes", "quota_bytes", "raft_term", "raft_index"] {
        assert!(number(&point[name], "Integer") > 0.0, "{name}: {point:?}");
    }
    assert!(
        number(&point["fsync_p99_ms"], "Real") > 0.0 && point["version"].as_str().unwrap().starts_with("3."),
        "{point:?}"
    );
    let strict = json!({"limits": {"database": {"warning": 0, "critical": 0}, "fsync": null}});
    ask(strict).assert("critical", "% of its quota");

    let grpc = |settings| probe("grpc", &settings, &["--target", &target]);
    let seen = grpc(json!({}));
    seen.assert("ok", "the server is SERVING, asked in ");
    assert_eq!((&seen.point("grpc")["grpc_status"], &seen.point("grpc")["serving"]), (&json!(0), &json!("SERVING")));
    grpc(json!({"service": "shop.Orders"})).assert("critical", "shop.Orders is unknown to the health service");
    drop(server);
    ask(json!({})).assert("critical", "refused");
    grpc(json!({})).assert("critical", "refused");
}

/// A CA, a server's and a client's certificate as etcd and a secret's folder want them.
fn certificates(folder: &Path) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = Issuer::new(ca, ca_key);
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("ca.crt", &ca_pem);
    for (name, usage) in [("server", ExtendedKeyUsagePurpose::ServerAuth), ("tls", ExtendedKeyUsagePurpose::ClientAuth)]
    {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        // etcd's gateway calls the server itself with the server's certificate.
        params.extended_key_usages = vec![usage, ExtendedKeyUsagePurpose::ClientAuth];
        write(&format!("{name}.crt"), &params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// The check that operators write: a secret with CA, certificate and key, under a ceiling.
#[test]
fn a_member_that_asks_for_a_certificate() {
    let place = Place::with_plugins(&["etcd", "grpc", "tls"]);
    let secret = place.path().join("etcd-secret");
    std::fs::create_dir(&secret).unwrap();
    certificates(&secret);
    let file = |name: &str| secret.join(name).display().to_string();
    let (certificate, key, ca) = (file("server.crt"), file("server.key"), file("ca.crt"));
    let Some((_server, address)) =
        etcd(&["--cert-file", &certificate, "--key-file", &key, "--trusted-ca-file", &ca, "--client-cert-auth"])
    else {
        return;
    };
    place.configure(&format!(
        "secrets: {{etcd: {{directory: {}}}}}\ntrust: {{plugins: {{default: {{secrets: [etcd]}}}}}}\n",
        secret.display()
    ));
    let (secrets, with) = ("{certificateAuthority: etcd, clientCertificate: etcd}", "allow: {secrets: [etcd]}");
    place.write_checks(
        "etcd.yaml",
        &format!(
            "defaults: {{interval: 1s, timeout: 900ms, failureThreshold: 1}}
checks:
  - {{name: etcd, plugin: etcd, target: \"https://{address}\", settings: {secrets}, {with}}}
  - {{name: grpc, plugin: grpc, target: \"https://{address}\", settings: {secrets}, {with}}}
  - {{name: certificate, plugin: tls, target: \"tls://{address}\", settings: {secrets}, {with}}}
  - {{name: without, plugin: etcd, target: \"https://{address}\", settings: {{certificateAuthority: etcd}}, {with}}}
"
        ),
    );
    let agent = place.start();
    let status = |check: &str| {
        let answer = agent.get(&format!("/api/v1/records?check={check}&limit=1"));
        answer["records"][0]["status"].as_str().map(str::to_owned)
    };
    for (check, expected) in [("etcd", "ok"), ("grpc", "ok"), ("certificate", "ok"), ("without", "critical")] {
        let newest = || agent.get(&format!("/api/v1/records?check={check}&limit=1"))["records"].clone();
        eventually(&format!("{check} is {expected}: {}", newest()), || status(check).as_deref() == Some(expected));
    }
    agent.stop();
}
