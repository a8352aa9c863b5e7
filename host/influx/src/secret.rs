//! Tokens and passwords: read from files, never shown.

use std::fmt;
use std::path::Path;

use tokio::io::AsyncReadExt;

/// Longest token or password: larger files are some other file.
const MAX_SECRET: u64 = 16 << 10;

/// A token or password. Its `Debug` says nothing.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

/// Why a secret cannot be had now; its file may come later.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    #[error("cannot read {file}; see that it exists and that the agent may read it")]
    Read { file: String, source: std::io::Error },
    #[error("{0} does not hold a token or password: one line of printable ASCII, at most {MAX_SECRET} bytes")]
    Content(String),
}

impl Secret {
    /// The first line of a file.
    pub(crate) async fn read(path: &Path) -> Result<Self, SecretError> {
        let read = |source| SecretError::Read { file: path.display().to_string(), source };
        let mut bytes = Vec::new();
        let file = tokio::fs::File::open(path).await.map_err(read)?;
        file.take(MAX_SECRET + 1).read_to_end(&mut bytes).await.map_err(read)?;
        let content = || SecretError::Content(path.display().to_string());
        let text = String::from_utf8(bytes).map_err(|_| content())?;
        let text = text.trim();
        // Anything else cannot stand in a header.
        let printable = text.bytes().all(|b| matches!(b, b' '..=b'~'));
        if text.is_empty() || text.len() as u64 > MAX_SECRET || !printable {
            return Err(content());
        }
        Ok(Self(text.to_owned()))
    }

    /// No secret: no authentication.
    pub(crate) fn none() -> Self {
        Self(String::new())
    }

    /// The secret itself; for headers only.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn files() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        for (content, secret) in [
            (&b"abc\n"[..], Some("abc")),
            (b"  abc==\r\n", Some("abc==")),
            (b"", None),
            (b"\n", None),
            (b"a\nb", None),
            (b"a\0", None),
            (b"\xff\xfe", None),
            (&[b'a'; 20_000], None),
        ] {
            std::fs::write(&path, content).unwrap();
            let read = Secret::read(&path).await;
            assert_eq!(read.as_ref().ok().map(Secret::expose), secret, "{content:?}");
            assert!(!format!("{read:?}").contains("abc"));
        }
        let error = Secret::read(&directory.path().join("none")).await.unwrap_err().to_string();
        assert!(error.contains("/none; see that it exists"), "{error}");
    }
}
