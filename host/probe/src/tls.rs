//! TLS handshakes as a client, with what the peer showed recorded also when it is refused.
//!
//! - `config`: whom a handshake trusts and who it is, made once and kept; `words`: what is wrong with a certificate

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificate::Certificate;
use crate::failure::{Failure, chain, code, phase};
use crate::host::Host;

mod config;
mod words;

use config::Judge;
pub use config::Roots;
pub(crate) use config::{Identity, Tls};

/// Certificates of a chain that are kept; a real one has two to four.
const MAX_CHAIN: usize = 10;

/// What a handshake asks for and demands.
#[derive(Debug)]
pub(crate) struct TlsOptions<'a> {
    /// What is sent as server name, and what the certificate must be made out for; by `server_name`.
    pub(crate) name: ServerName<'static>,
    /// False: any certificate will do.
    pub(crate) verify: bool,
    /// Whom to trust instead of the system's roots, and what to show; by `Probe::identity`.
    pub(crate) identity: &'a Identity,
    /// Protocols to offer (ALPN), the best first; none: the extension is not sent.
    pub(crate) protocols: &'a [&'a [u8]],
}

/// What both sides agreed on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsFacts {
    /// `1.2` or `1.3`.
    pub(crate) version: Option<&'static str>,
    pub(crate) cipher: Option<&'static str>,
    pub(crate) protocol: Option<String>,
}

/// What one handshake saw. Shared with whoever waits for the handshake, so that it outlives one that was refused or cut.
#[derive(Debug, Default)]
pub(crate) struct Recorder(Mutex<Seen>);

#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// The peer's own certificate first.
    pub(crate) chain: Vec<Arc<Certificate>>,
    /// Why the chain is not to be trusted, whether that was asked for or not.
    pub(crate) error: Option<String>,
}

/// The name for a handshake: what was set, else the host.
pub(crate) fn server_name(set: Option<&str>, host: &Host) -> Result<ServerName<'static>, Failure> {
    let name = match (set, host) {
        (Some(name), _) => ServerName::try_from(name.to_owned()),
        (None, Host::Address(ip)) => Ok(ServerName::from(*ip)),
        (None, Host::Name(name)) => ServerName::try_from(name.as_str().to_owned()),
    };
    name.map_err(|error| Failure::invalid(format!("the name for TLS: {error}")))
}

/// One handshake; the failure says whether the certificate or something else was wrong. What the peer showed is in the
/// recorder, however it ends.
pub(crate) async fn secure<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &Tls,
    stream: S,
    options: TlsOptions<'_>,
    recorder: Arc<Recorder>,
) -> Result<(TlsStream<S>, TlsFacts), Failure> {
    let base = tls.base(options.identity).await?;
    let mut config = base.config.clone();
    config.alpn_protocols = options.protocols.iter().map(|word| word.to_vec()).collect();
    let provider = config.crypto_provider().clone();
    let verifier = Verifier { judge: base.judge.clone(), provider, verify: options.verify, recorder };
    config.dangerous().set_certificate_verifier(Arc::new(verifier));
    let name = options.name;
    let shown = name.clone();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let stream = connected.map_err(|error| failed(&error, &shown.to_str()))?;
    let (_, session) = stream.get_ref();
    let facts = TlsFacts {
        version: session.protocol_version().and_then(|version| match version {
            rustls::ProtocolVersion::TLSv1_2 => Some("1.2"),
            rustls::ProtocolVersion::TLSv1_3 => Some("1.3"),
            other => other.as_str(),
        }),
        cipher: session.negotiated_cipher_suite().and_then(|suite| suite.suite().as_str()),
        protocol: session.alpn_protocol().map(|word| String::from_utf8_lossy(word).into_owned()),
    };
    Ok((stream, facts))
}

fn failed(error: &std::io::Error, name: &str) -> Failure {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    let Some(inner) = inner else {
        return Failure::socket(error, phase::TLS, format_args!("in the TLS handshake with {name}"));
    };
    let (code, reason) = match inner {
        Error::InvalidCertificate(error) => (code::CERTIFICATE, format!("certificate: {}", words::of(error))),
        Error::InvalidMessage(_) => (code::TLS, format!("the peer does not speak TLS ({inner})")),
        _ => (code::TLS, chain(inner)),
    };
    Failure::new(code, phase::TLS, format!("in the TLS handshake with {name}: {reason}"))
}

impl Recorder {
    /// What was seen so far; nothing stays behind.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Judges one handshake's certificates, and writes down what they were.
#[derive(Debug)]
struct Verifier {
    judge: Judge,
    provider: Arc<CryptoProvider>,
    verify: bool,
    recorder: Arc<Recorder>,
}

impl ServerCertVerifier for Verifier {
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
            error: verdict.as_ref().err().map(|error| match error {
                Error::InvalidCertificate(error) => words::of(error),
                error => chain(error),
            }),
        };
        *self.recorder.0.lock().unwrap_or_else(PoisonError::into_inner) = seen;
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
