//! TLS handshakes as a client: one configuration for all, and what the peer showed recorded also when it is refused.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CipherSuite, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::failure::{Failure, chain, code, phase};

/// Certificates of a chain that are kept; a real one has two to four.
const MAX_CHAIN: usize = 10;

/// Whom a handshake trusts.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The certificates of this machine (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), read at the first handshake.
    System,
    Only(Vec<CertificateDer<'static>>),
}

/// Makes handshakes. One for all runs.
#[derive(Debug)]
pub(crate) struct Tls {
    roots: Roots,
    base: OnceCell<Base>,
}

#[derive(Debug, Clone)]
struct Base {
    /// Cloned for each handshake to put that one's `Recorder` in; everything costly inside is shared.
    config: ClientConfig,
    judge: Judge,
}

#[derive(Debug, Clone)]
enum Judge {
    WebPki(Arc<WebPkiServerVerifier>),
    /// Nobody is trusted, for this reason.
    Nobody(Arc<str>),
}

/// What one handshake saw. It outlives a handshake that was refused or cut.
#[derive(Debug)]
pub(crate) struct Recorder {
    judge: Judge,
    provider: Arc<CryptoProvider>,
    verify: bool,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) chain: Vec<Arc<Certificate>>,
    /// Why the chain is not to be trusted, whether that was asked for or not.
    pub(crate) error: Option<String>,
}

impl Tls {
    pub(crate) fn new(roots: Roots) -> Tls {
        Tls { roots, base: OnceCell::new() }
    }

    /// What a handshake needs: a connector and the recorder inside it.
    pub(crate) async fn prepare(&self, verify: bool) -> Result<(TlsConnector, Arc<Recorder>), Failure> {
        let base = self.base.get_or_try_init(|| load(self.roots.clone())).await?;
        let mut config = base.config.clone();
        let recorder = Arc::new(Recorder {
            judge: base.judge.clone(),
            provider: config.crypto_provider().clone(),
            verify,
            seen: Mutex::default(),
        });
        config.dangerous().set_certificate_verifier(recorder.clone());
        Ok((TlsConnector::from(Arc::new(config)), recorder))
    }
}

/// Reading the machine's certificates takes milliseconds and may block: not on a thread that drives runs.
async fn load(roots: Roots) -> Result<Base, Failure> {
    let loaded = tokio::task::spawn_blocking(move || build(roots)).await;
    let error = match loaded {
        Ok(Ok(base)) => return Ok(base),
        Ok(Err(error)) => chain(&error),
        Err(error) => chain(&error),
    };
    Err(Failure::new(code::UNSUPPORTED, phase::TLS, format!("TLS cannot be set up: {error}")))
}

fn build(roots: Roots) -> Result<Base, Error> {
    let mut provider = ring::default_provider();
    // Browsers' order: processors have instructions for SHA-256 and not for SHA-384, which counts in a short exchange.
    provider.cipher_suites.sort_by_key(|suite| {
        let aes_128 = [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ];
        !aes_128.contains(&suite.suite())
    });
    let provider = Arc::new(provider);
    let (certificates, mut problems) = match roots {
        Roots::Only(certificates) => (certificates, Vec::new()),
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            (found.certs, found.errors.iter().map(|error| chain(error)).collect())
        }
    };
    let mut store = RootCertStore::empty();
    let (_added, ignored) = store.add_parsable_certificates(certificates);
    if ignored > 0 {
        problems.push(format!("{ignored} root certificates cannot be used"));
    }
    if !problems.is_empty() {
        tracing::warn!(problems = problems.join("; "), "not all root certificates of this machine were loaded");
    }
    let store = Arc::new(store);
    let judge = match WebPkiServerVerifier::builder_with_provider(store.clone(), provider.clone()).build() {
        Ok(verifier) => Judge::WebPki(verifier),
        Err(error) => Judge::Nobody(format!("this machine trusts nobody ({error}): install ca-certificates").into()),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // A resumed session shows no certificates, and a checker wants to see the whole handshake work.
    config.resumption = Resumption::disabled();
    Ok(Base { config, judge })
}

/// One handshake; the failure says whether the certificate or something else was wrong.
pub(crate) async fn handshake(
    connector: TlsConnector,
    name: ServerName<'static>,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, Failure> {
    let shown = name.to_str().into_owned();
    connector.connect(name, stream).await.map_err(|error| {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let Some(inner) = inner else {
            return Failure::socket(&error, phase::TLS, format_args!("in the TLS handshake with {shown}"));
        };
        let (code, reason) = match inner {
            Error::InvalidCertificate(_) => (code::CERTIFICATE, chain(inner)),
            Error::InvalidMessage(_) => (code::TLS, format!("the peer does not speak TLS ({inner})")),
            _ => (code::TLS, chain(inner)),
        };
        Failure::new(code, phase::TLS, format!("in the TLS handshake with {shown}: {reason}"))
    })
}

impl Recorder {
    /// What was seen so far; nothing stays behind.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict = match &self.judge {
            Judge::WebPki(judge) => {
                judge.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now).map(drop)
            }
            Judge::Nobody(reason) => Err(Error::InvalidCertificate(rustls::CertificateError::Other(
                rustls::OtherError(Arc::new(Untrusted(reason.clone()))),
            ))),
        };
        let shown = std::iter::once(end_entity).chain(intermediates).take(MAX_CHAIN);
        let seen = Seen {
            chain: shown.map(|der| Arc::new(Certificate::new(der.clone().into_owned()))).collect(),
            error: verdict.as_ref().err().map(|error| chain(error)),
        };
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        if self.verify {
            verdict?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Untrusted(Arc<str>);
