//! Sends what a secret holds, which nobody who asks for it gets to see.

use zeroize::Zeroizing;

use super::{Connection, Stream};
use crate::encoding::Base64;
use crate::failure::{Failure, code, phase};
use crate::grants::Grants;
use crate::pattern::Scheme;
use crate::probe::Probe;

impl Connection {
    pub(super) async fn send_secret(
        &mut self,
        probe: &Probe,
        grants: &Grants,
        secret: &str,
        key: &str,
        encoding: &str,
    ) -> Result<(), Failure> {
        grants.permits_secret(secret)?;
        let open = self.standing()?;
        let scheme = open.stream.scheme();
        if matches!(open.stream, Stream::Clear(_)) && open.in_clear.is_some() {
            return Err(open.in_clear_denied());
        }
        let endpoint = open.endpoint.clone();
        let (host, address) = self.destination(&endpoint);
        probe.secrets().permits_destination(secret, scheme, &host, address)?;
        let bytes = encoded(probe, secret, key, encoding).await?;
        self.write(&bytes).await
    }
}

/// As `encoding` has it: `plain`, `base64` or `sasl-plain`.
async fn encoded(probe: &Probe, secret: &str, key: &str, encoding: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let secrets = probe.secrets();
    match encoding {
        "plain" => Ok(Zeroizing::new(secrets.read(secret, key).await?.bytes().to_vec())),
        "base64" => Ok(in_base64(secrets.read(secret, key).await?.bytes())),
        "sasl-plain" => {
            if !key.is_empty() {
                return Err(Failure::invalid("`sasl-plain` takes `username` and `password`: leave the key empty"));
            }
            sasl_plain(secrets.read(secret, "username").await?.bytes(), secrets.read(secret, "password").await?.bytes())
        }
        other => {
            let other = roundsman_model::name::excerpt(other);
            Err(Failure::invalid(format!("`{other}` is no encoding: plain, base64 or sasl-plain")))
        }
    }
}

fn in_base64(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(Base64::Standard.padded(bytes).into_bytes())
}

/// RFC 4616: no identity to act for, then user and password, each after a NUL.
fn sasl_plain(username: &[u8], password: &[u8]) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if username.contains(&0) || password.contains(&0) {
        let message = "the user name or the password has a NUL, which SASL PLAIN cannot carry";
        return Err(Failure::new(code::SECRET, phase::POLICY, message));
    }
    let mut message = Zeroizing::new(Vec::with_capacity(username.len() + password.len() + 2));
    message.push(0);
    message.extend_from_slice(username);
    message.push(0);
    message.extend_from_slice(password);
    Ok(in_base64(&message))
}

impl Stream {
    /// The scheme of the line that must grant it.
    fn scheme(&self) -> Scheme {
        match self {
            Stream::Clear(_) => Scheme::Tcp,
            Stream::Tls(_) => Scheme::Tls,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent() {
        assert_eq!(&*in_base64(b"user"), b"dXNlcg==");
        // The example of RFC 4616.
        assert_eq!(&*sasl_plain(b"tim", b"tanstaaftanstaaf").unwrap(), b"AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
        assert_eq!(sasl_plain(b"tim", b"a\0b").unwrap_err().code, code::SECRET);
    }
}
