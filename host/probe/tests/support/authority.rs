//! Certificate authorities, and servers whose certificates are theirs.

use std::io::Write;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, date_time_ymd,
};
use roundsman_probe::probe::{Probe, Roots};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use super::{Server, hold, probe_with, request};

/// The names of all servers in tests.
pub const HOSTS: &str = "127.0.0.1 shop.example\n127.0.0.1 other.example";

/// Who signs certificates.
pub struct Authority {
    pub root: CertificateDer<'static>,
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, both also in PEM.
pub struct Identity {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
    pub chain_pem: String,
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let root = params.self_signed(&key).unwrap();
        Authority { root: root.der().clone(), pem: root.pem(), issuer: Issuer::new(params, key) }
    }

    pub fn probe(&self) -> Probe {
        probe_with(HOSTS, Roots::Only(vec![self.root.clone()]))
    }

    /// A certificate for `name`, with whatever else is changed of it.
    pub fn identity(&self, name: &str, change: impl Fn(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        (params.not_before, params.not_after) = (date_time_ymd(2020, 1, 1), date_time_ymd(2100, 1, 1));
        change(&mut params);
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain_pem = format!("{}{}", leaf.pem(), self.pem);
        Identity { chain: vec![leaf.der().clone(), self.root.clone()], key, chain_pem }
    }

    /// A server whose certificate is for `name` and until a year.
    pub fn server(&self, name: &str, until: i32) -> Server {
        self.server_from(name, 2020, until)
    }

    pub fn server_from(&self, name: &str, from: i32, until: i32) -> Server {
        let between = |params: &mut CertificateParams| {
            (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        };
        tls_server(config(self.identity(name, between), &[b"http/1.1"]))
    }

    /// A server that shows what is meant for clients.
    pub fn server_for_clients(&self, name: &str) -> Server {
        let purpose = |params: &mut CertificateParams| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        };
        tls_server(config(self.identity(name, purpose), &[b"http/1.1"]))
    }

    /// What a server needs that serves only clients with a certificate of this authority.
    pub fn config_with_clients(&self, name: &str, alpn: &[&[u8]]) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let Identity { chain, key, .. } = self.identity(name, |_| {});
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|word| word.to_vec()).collect();
        config
    }
}

/// What a server needs that shows this.
pub fn config(identity: Identity, alpn: &[&[u8]]) -> ServerConfig {
    let Identity { chain, key, .. } = identity;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|word| word.to_vec()).collect();
    config
}

/// A server of HTTP/1.1 that says `ok`.
pub fn tls_server(config: ServerConfig) -> Server {
    tls_server_answering(config, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned())
}

/// A server that says this, and nothing else.
pub fn tls_server_answering(config: ServerConfig, answer: String) -> Server {
    let config = Arc::new(config);
    Server::new(move |stream| {
        let mut stream = StreamOwned::new(ServerConnection::new(config.clone()).unwrap(), stream);
        if request(&mut stream).is_empty() {
            return;
        }
        stream.write_all(answer.as_bytes()).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap_or_default();
        hold(stream.sock);
    })
}
