//! Whom a handshake trusts and who it is itself: read once, made into a configuration, and kept for the next time.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CipherSuite, ClientConfig, RootCertStore};
use tokio::sync::OnceCell;

use crate::failure::{Failure, chain, code, phase};
use crate::grants::Grants;
use crate::probe::Probe;
use crate::secrets::SecretBytes;

/// Configurations with secrets in them that are kept: a node's checks name a handful of authorities and identities.
const MAX_KEPT: usize = 32;
/// Certificates of one authority file; the whole web has 150 roots.
const MAX_AUTHORITIES: usize = 1024;

/// Whom a handshake trusts.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The certificates of this machine (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), read at the first handshake.
    System,
    Only(Vec<CertificateDer<'static>>),
}

/// What secrets say of a handshake: whom to trust instead of the system's roots, and what to show when asked for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Identity {
    /// A secret's name and its certificates, in PEM.
    authority: Option<(Arc<str>, Arc<SecretBytes>)>,
    /// A secret's name, its certificate chain and its key, in PEM.
    client: Option<(Arc<str>, Arc<SecretBytes>, Arc<SecretBytes>)>,
}

/// Makes handshakes. One for all runs.
#[derive(Debug)]
pub(crate) struct Tls {
    roots: Roots,
    plain: OnceCell<Arc<Base>>,
    /// With secrets in them, the last used at the end.
    kept: Mutex<Vec<(Identity, Arc<Base>)>>,
}

/// What is cloned for each handshake, to put that one's verifier in; everything costly inside is shared.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) config: ClientConfig,
    pub(super) judge: Judge,
}

#[derive(Debug, Clone)]
pub(super) enum Judge {
    WebPki(Arc<WebPkiServerVerifier>),
    /// Nobody is trusted, for this reason.
    Nobody(Arc<str>),
}

impl Probe {
    /// What the named secrets say of a handshake, if they are granted. Where a client certificate may be shown is for
    /// `Secrets::permits_destination` to say.
    pub(crate) async fn identity(
        &self,
        grants: &Grants,
        authority: Option<&str>,
        client: Option<&str>,
    ) -> Result<Identity, Failure> {
        let mut identity = Identity::default();
        if let Some(name) = authority {
            grants.permits_secret(name)?;
            identity.authority = Some((name.into(), self.secrets().certificate_authority(name).await?));
        }
        if let Some(name) = client {
            grants.permits_secret(name)?;
            let (chain, key) = self.secrets().client_certificate(name).await?;
            identity.client = Some((name.into(), chain, key));
        }
        Ok(identity)
    }
}

impl Identity {
    fn is_plain(&self) -> bool {
        self.authority.is_none() && self.client.is_none()
    }

    fn names(&self) -> [Option<&str>; 2] {
        [self.authority.as_ref().map(|(name, _)| &**name), self.client.as_ref().map(|(name, ..)| &**name)]
    }

    /// By content: a secret that was read again and is the same counts as the same.
    fn same(&self, other: &Identity) -> bool {
        let same = |a: &Arc<SecretBytes>, b: &Arc<SecretBytes>| Arc::ptr_eq(a, b) || a.bytes() == b.bytes();
        let authority = match (&self.authority, &other.authority) {
            (None, None) => true,
            (Some((_, a)), Some((_, b))) => same(a, b),
            _ => false,
        };
        authority
            && match (&self.client, &other.client) {
                (None, None) => true,
                (Some((_, chain, key)), Some((_, other_chain, other_key))) => {
                    same(chain, other_chain) && same(key, other_key)
                }
                _ => false,
            }
    }
}

impl Tls {
    pub(crate) fn new(roots: Roots) -> Tls {
        Tls { roots, plain: OnceCell::new(), kept: Mutex::default() }
    }

    pub(super) async fn base(&self, identity: &Identity) -> Result<Arc<Base>, Failure> {
        if identity.is_plain() {
            let base = self.plain.get_or_try_init(|| load(self.roots.clone(), Identity::default())).await?;
            return Ok(base.clone());
        }
        if let Some(base) = self.recall(identity) {
            return Ok(base);
        }
        let base = load(self.roots.clone(), identity.clone()).await?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // What a secret held before it changed is of no use any more.
        kept.retain(|(known, _)| !known.same(identity) && known.names() != identity.names());
        if kept.len() == MAX_KEPT {
            kept.remove(0);
        }
        kept.push((identity.clone(), base.clone()));
        Ok(base)
    }

    fn recall(&self, identity: &Identity) -> Option<Arc<Base>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let found = kept.iter().position(|(known, _)| known.same(identity))?;
        if let Some(last) = kept.get_mut(found..) {
            last.rotate_left(1);
        }
        kept.last().map(|(_, base)| base.clone())
    }
}

/// Reading the machine's certificates takes milliseconds and may block: not on a thread that drives runs.
async fn load(roots: Roots, identity: Identity) -> Result<Arc<Base>, Failure> {
    let loaded = tokio::task::spawn_blocking(move || build(roots, &identity)).await;
    loaded.unwrap_or_else(|error| Err(unusable(&error))).map(Arc::new)
}

fn unusable(error: &dyn std::error::Error) -> Failure {
    Failure::new(code::UNSUPPORTED, phase::TLS, format!("TLS cannot be set up: {}", chain(error)))
}

fn build(roots: Roots, identity: &Identity) -> Result<Base, Failure> {
    let provider = provider();
    let (certificates, nobody) = match &identity.authority {
        Some((name, pem)) => (authorities(name, pem)?, format!("the secret `{name}` holds no authority")),
        None => (trusted(roots), "this machine trusts nobody".to_owned()),
    };
    let mut store = RootCertStore::empty();
    let (_added, ignored) = store.add_parsable_certificates(certificates);
    if ignored > 0 {
        tracing::warn!("{ignored} root certificates cannot be used");
    }
    let store = Arc::new(store);
    let judge = match WebPkiServerVerifier::builder_with_provider(store.clone(), provider.clone()).build() {
        Ok(verifier) => Judge::WebPki(verifier),
        Err(error) if identity.authority.is_some() => Judge::Nobody(format!("{nobody} ({error})").into()),
        Err(error) => Judge::Nobody(format!("{nobody} ({error}): install ca-certificates").into()),
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(&error))?
        .with_root_certificates(store);
    let mut config = match &identity.client {
        None => builder.with_no_client_auth(),
        Some((name, chain, key)) => {
            let (chain, key) = shown(name, chain, key)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| {
                bad_secret(name, &format!("the client certificate and its key do not go together: {error}"))
            })?
        }
    };
    // A resumed session shows no certificates, and a checker wants to see the whole handshake work.
    config.resumption = Resumption::disabled();
    Ok(Base { config, judge })
}

fn provider() -> Arc<CryptoProvider> {
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
    Arc::new(provider)
}

fn trusted(roots: Roots) -> Vec<CertificateDer<'static>> {
    match roots {
        Roots::Only(certificates) => certificates,
        Roots::System => {
            let found = rustls_native_certs::load_native_certs();
            if !found.errors.is_empty() {
                let problems: Vec<String> = found.errors.iter().map(|error| chain(error)).collect();
                let problems = problems.join("; ");
                tracing::warn!(problems, "not all root certificates of this machine were loaded");
            }
            found.certs
        }
    }
}

fn authorities(name: &str, pem: &SecretBytes) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let certificates = certificates(name, pem)?;
    if certificates.len() > MAX_AUTHORITIES {
        return Err(bad_secret(name, &format!("it holds more than {MAX_AUTHORITIES} certificates")));
    }
    Ok(certificates)
}

fn shown(
    name: &str,
    chain: &SecretBytes,
    key: &SecretBytes,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), Failure> {
    let key = PrivateKeyDer::from_pem_slice(key.whole())
        .map_err(|error| bad_secret(name, &format!("its key cannot be read as PEM: {error}")))?;
    Ok((certificates(name, chain)?, key))
}

fn certificates(name: &str, pem: &SecretBytes) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.whole()).collect();
    match found {
        Ok(found) if found.is_empty() => Err(bad_secret(name, "it holds no certificate in PEM")),
        Ok(found) => Ok(found),
        Err(error) => Err(bad_secret(name, &format!("its certificates cannot be read as PEM: {error}"))),
    }
}

/// What is wrong with a secret, without a word of what it holds.
fn bad_secret(name: &str, reason: &str) -> Failure {
    Failure::new(code::SECRET, phase::POLICY, format!("the secret `{name}` cannot be used: {reason}"))
}
