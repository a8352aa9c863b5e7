//! Who may do what: the token, the caller's address, and what is open to everybody.

use std::fmt;
use std::hint::black_box;

use sha2::{Digest, Sha256};

/// What gives a caller of one listener the right to ask.
#[derive(Debug, Clone)]
pub enum Authority {
    /// A network listener. Changes need the token, wherever the caller is; reading needs it from anywhere but
    /// loopback, except what is public.
    Network {
        /// None: nothing that needs it can be done over the network.
        token: Option<Token>,
        public: Vec<Public>,
        /// Whether callers on this machine may read without the token.
        loopback: bool,
        /// Names that the header `Host` may hold beside IP addresses and `localhost`: the node's own name and those
        /// that the operator listed. Anything else could be a foreign page whose name was pointed here.
        hosts: Vec<String>,
    },
    /// A unix socket: whoever the mode of its file lets in may do everything.
    Owner,
}

/// A part of the API that can be made readable for everybody: the words of `http.public`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Public {
    Livez,
    Readyz,
    /// kubenurse's `/alive`: shows the last result of every check.
    Alive,
    /// kubenurse's `/alwayshappy`: says nothing but that somebody answers.
    Alwayshappy,
    /// kubenurse's `/ready`.
    Ready,
    Metrics,
    /// The status page and the pages of the checks.
    Page,
    /// Everything under `/api/` that is only read.
    Api,
}

/// A word that is not in the list of `http.public`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` cannot be made public; known are {known}")]
pub struct NotPublic {
    word: String,
    known: String,
}

impl Public {
    const ALL: [(&'static str, Public); 8] = [
        ("livez", Public::Livez),
        ("readyz", Public::Readyz),
        ("alive", Public::Alive),
        ("alwayshappy", Public::Alwayshappy),
        ("ready", Public::Ready),
        ("metrics", Public::Metrics),
        ("page", Public::Page),
        ("api", Public::Api),
    ];

    /// Reads a word of `http.public`.
    pub fn parse(word: &str) -> Result<Self, NotPublic> {
        let found = Self::ALL.iter().find(|(known, _)| *known == word);
        found.map(|(_, public)| *public).ok_or_else(|| NotPublic {
            word: roundsman_model::name::excerpt(word),
            known: Self::ALL.map(|(known, _)| known).join(", "),
        })
    }

    /// Which word makes a path readable; none: no word does.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/livez" => Some(Self::Livez),
            "/readyz" => Some(Self::Readyz),
            "/alive" => Some(Self::Alive),
            "/alwayshappy" => Some(Self::Alwayshappy),
            "/ready" => Some(Self::Ready),
            "/metrics" => Some(Self::Metrics),
            "/" | "/style.css" => Some(Self::Page),
            path if path.starts_with("/checks/") => Some(Self::Page),
            path if path.starts_with("/api/") => Some(Self::Api),
            _ => None,
        }
    }
}

/// The secret that proves authority. Only its digest is kept, and it is never printed.
#[derive(Clone)]
pub struct Token([u8; 32]);

/// A token that would protect nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token has {length} characters: use at least {MIN_TOKEN}, for instance from `openssl rand -hex 32`")]
pub struct WeakToken {
    length: usize,
}

/// Too long to be guessed over the network, short enough for everybody's own habits.
pub const MIN_TOKEN: usize = 16;

impl Token {
    /// Takes the content of a token file; white space around it is not part of it.
    pub fn new(secret: &str) -> Result<Self, WeakToken> {
        let secret = secret.trim();
        if secret.len() < MIN_TOKEN {
            return Err(WeakToken { length: secret.len() });
        }
        Ok(Self(Sha256::digest(secret.as_bytes()).into()))
    }

    /// Compares digests, all of every one: neither the length nor the place of a difference shows in the time it takes.
    pub(crate) fn matches(&self, offered: &[u8]) -> bool {
        let offered: [u8; 32] = Sha256::digest(offered).into();
        let difference = self.0.iter().zip(offered).fold(0_u8, |sum, (a, b)| black_box(sum | (a ^ b)));
        black_box(difference) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens() {
        let token = Token::new("0123456789abcdef\n").unwrap();
        for (offered, good) in [
            ("0123456789abcdef", true),
            ("0123456789abcdeg", false),
            ("0123456789abcdef0", false),
            ("0123456789abcde", false),
            ("", false),
        ] {
            assert_eq!(token.matches(offered.as_bytes()), good, "{offered}");
        }
        assert_eq!(format!("{token:?}"), "Token(…)");
        assert_eq!(Token::new("  short  ").unwrap_err(), WeakToken { length: 5 });
    }

    #[test]
    fn words_and_paths() {
        for (word, public) in Public::ALL {
            assert_eq!(Public::parse(word), Ok(public));
        }
        assert!(Public::parse("everything").unwrap_err().to_string().contains("known are livez, readyz"));
        for (path, public) in [
            ("/livez", Some(Public::Livez)),
            ("/livez/", None),
            ("//livez", None),
            ("/checks/shop", Some(Public::Page)),
            ("/api/v1/agent", Some(Public::Api)),
            ("/elsewhere", None),
        ] {
            assert_eq!(Public::of_path(path), public, "{path}");
        }
    }
}
