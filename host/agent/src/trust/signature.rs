//! Signatures in minisign's form: a file beside a plugin that says who vouches for its bytes.
//!
//! `http.wasm.minisig` holds four lines: an untrusted comment that says nothing, the signature with the id of its key, the
//! trusted comment, and a signature over both of these. Two ways of signing are taken: over the bytes themselves (`Ed`)
//! and over their BLAKE2b (`ED`), which is what minisign does since 0.10.

use super::key::{KeyId, PublicKey};

/// Behind the whole name of a plugin's file.
pub const ENDING: &str = ".minisig";
/// Three lines of base64 and two of comment; minisign itself takes comments of 8 KiB, and nobody writes such.
pub const MAX_SIGNATURE: u64 = 4 << 10;
/// What is shown of a trusted comment, in characters.
const MAX_COMMENT: usize = 256;

/// A signature that has the right form; nothing of it is believed yet.
#[derive(Clone)]
pub struct Signature {
    key: KeyId,
    signature: minisign_verify::Signature,
}

/// Why bytes are not signed by a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is no signature of minisign")]
    Form,
    #[error(
        "it is not about these bytes: the plugin, the signature or its comment was changed since (`roundsman plugin sign` makes a new one)"
    )]
    Wrong,
}

impl Signature {
    pub fn parse(text: &[u8]) -> Result<Self, SignatureError> {
        if text.len() as u64 > MAX_SIGNATURE {
            return Err(SignatureError::Form);
        }
        let text = std::str::from_utf8(text).map_err(|_| SignatureError::Form)?;
        let signature = minisign_verify::Signature::decode(text).map_err(|_| SignatureError::Form)?;
        let key = text.lines().nth(1).and_then(KeyId::of_line).ok_or(SignatureError::Form)?;
        Ok(Self { key, signature })
    }

    /// The key that made it, as it says itself.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// Whether a key has signed these bytes, and the comment with them; returns the comment.
    pub fn verify(&self, key: &PublicKey, bytes: &[u8]) -> Result<String, SignatureError> {
        key.key().verify(bytes, &self.signature, true).map_err(|_| SignatureError::Wrong)?;
        let printable = |c: char| if c.is_control() { ' ' } else { c };
        Ok(self.signature.trusted_comment().chars().map(printable).take(MAX_COMMENT).collect())
    }
}

impl std::fmt::Debug for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Signature").field("key", &self.key).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "signature_tests.rs"]
mod tests;
