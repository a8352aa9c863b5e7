//! Whom we trust: the system's certificates, for both TLS libraries.

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};

use super::ClientError;

/// The system's trusted certificates as far as they can be used; an error when there are none.
pub(super) fn roots() -> Result<Vec<CertificateDer<'static>>, ClientError> {
    let found = rustls_native_certs::load_native_certs();
    let mut store = RootCertStore::empty();
    let usable: Vec<_> = found.certs.into_iter().filter(|root| store.add(root.clone()).is_ok()).collect();
    if usable.is_empty() {
        let reasons: Vec<String> = found.errors.iter().map(ToString::to_string).collect();
        let none = || "there are none".to_owned();
        return Err(ClientError::Roots(if reasons.is_empty() { none() } else { reasons.join("; ") }));
    }
    Ok(usable)
}

/// The configuration of the newer library. Without TLS no certificates are read, but the client wants one all the same.
pub(super) fn config(https: bool) -> Result<ClientConfig, ClientError> {
    let mut store = RootCertStore::empty();
    if https {
        store.add_parsable_certificates(roots()?);
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(ClientError::Rustls)?.with_root_certificates(store).with_no_client_auth())
}
