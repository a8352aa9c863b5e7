//! Facts of one certificate that a peer showed, read from it only when somebody asks.

use std::net::IpAddr;
use std::sync::OnceLock;

use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::script::exchange::Shown;

/// Alternative names that are reported of one certificate; a handshake bounds them only at some thousands.
const MAX_NAMES: usize = 256;

/// A certificate of a chain, accepted or not. What cannot be read of it is empty or 0.
#[derive(Debug)]
pub struct Certificate {
    der: CertificateDer<'static>,
    facts: OnceLock<Facts>,
}

#[derive(Debug, Default)]
struct Facts {
    subject: String,
    issuer: String,
    names: Vec<String>,
    not_before: i64,
    not_after: i64,
    serial: String,
    sha256: [u8; 32],
}

impl Certificate {
    /// From the bytes that the peer sent.
    pub fn new(der: CertificateDer<'static>) -> Certificate {
        Certificate { der, facts: OnceLock::new() }
    }

    /// With the facts that a case writes, and without bytes.
    pub(crate) fn told(shown: &Shown) -> Certificate {
        let Shown { subject, issuer, names, not_before, not_after, serial } = shown.clone();
        let facts = Facts { subject, issuer, names, not_before, not_after, serial, sha256: [0; 32] };
        Certificate { der: Vec::new().into(), facts: facts.into() }
    }

    /// As `CN=shop.example, O=Shop`.
    pub fn subject(&self) -> &str {
        &self.facts().subject
    }

    pub fn issuer(&self) -> &str {
        &self.facts().issuer
    }

    /// DNS names and addresses for which it was made out.
    pub fn names(&self) -> &[String] {
        &self.facts().names
    }

    /// Seconds since 1970.
    pub fn not_before(&self) -> i64 {
        self.facts().not_before
    }

    /// Seconds since 1970.
    pub fn not_after(&self) -> i64 {
        self.facts().not_after
    }

    /// In hexadecimal digits, as `0a:1b`.
    pub fn serial(&self) -> &str {
        &self.facts().serial
    }

    /// Of the bytes in DER.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.facts().sha256
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }

    fn facts(&self) -> &Facts {
        self.facts.get_or_init(|| {
            let sha256 = Sha256::digest(&self.der).into();
            match X509Certificate::from_der(&self.der) {
                Ok((_, parsed)) => Facts { sha256, ..read(&parsed) },
                Err(_) => Facts { sha256, ..Facts::default() },
            }
        })
    }
}

fn read(parsed: &X509Certificate<'_>) -> Facts {
    let alternative = parsed.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|extension| &extension.value.general_names);
    Facts {
        subject: parsed.subject().to_string(),
        issuer: parsed.issuer().to_string(),
        names: names.filter_map(name).take(MAX_NAMES).collect(),
        not_before: parsed.validity().not_before.timestamp(),
        not_after: parsed.validity().not_after.timestamp(),
        serial: parsed.raw_serial_as_string(),
        sha256: [0; 32],
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_a_certificate() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["shop.example".into(), "10.0.0.7".into()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "shop");
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[0x0a, 0x1b]));
        let der = params.self_signed(&key).unwrap().der().clone();
        let certificate = Certificate::new(der.clone());
        assert_eq!(certificate.subject(), "CN=shop");
        assert_eq!(certificate.issuer(), "CN=shop");
        assert_eq!(certificate.names(), ["shop.example", "10.0.0.7"]);
        assert_eq!((certificate.not_before(), certificate.not_after()), (1_577_836_800, 1_609_459_200));
        assert_eq!(certificate.serial(), "0a:1b");
        assert_eq!(certificate.sha256()[..], Sha256::digest(&der)[..]);
        assert_eq!(certificate.der(), &der[..]);
    }

    #[test]
    fn rubbish_has_no_facts() {
        let certificate = Certificate::new(vec![0x30, 0x80, 1, 2, 3].into());
        assert_eq!((certificate.subject(), certificate.not_after(), certificate.names().len()), ("", 0, 0));
    }
}
