//! Signatures that were made by minisign and by its crate, as they are and with anything about them changed.

use minisign::KeyPair;
use proptest::prelude::*;

use super::*;
use crate::corpus::try_each;
use crate::trust::holds::{HASHED, KEY, LEGACY, any_signature};

fn verify(text: &[u8], key: &str, bytes: &[u8]) -> Result<String, SignatureError> {
    Signature::parse(text)?.verify(&PublicKey::parse(key).unwrap(), bytes)
}

#[test]
fn both_ways_of_signing() {
    for (text, comment) in [(LEGACY, "timestamp:1555779966 file:test"), (HASHED, "timestamp:1556193335 file:test")] {
        assert_eq!(verify(text.as_bytes(), KEY, b"test").as_deref(), Ok(comment));
        assert_eq!(verify(text.as_bytes(), KEY, b"Test"), Err(SignatureError::Wrong));
        assert_eq!(verify(text.as_bytes(), KEY, b""), Err(SignatureError::Wrong));
        assert_eq!(Signature::parse(text.as_bytes()).unwrap().key().to_string(), "E7620F1842B4E81F");
        // What is not trusted may say what it likes.
        let renamed = text.replace("signature from", "a letter of");
        assert_eq!(verify(renamed.as_bytes(), KEY, b"test").as_deref(), Ok(comment));
    }
}

#[test]
fn what_is_no_signature() {
    let line = |number: usize| HASHED.lines().nth(number).unwrap();
    let without_end = HASHED.trim_end();
    let huge = format!("{HASHED}{}", "x".repeat(1 << 20));
    let long_comment = HASHED.replace("file:test", &"x".repeat(4 << 10));
    for (text, error) in [
        (without_end, None),
        ("", Some(SignatureError::Form)),
        ("\n\n\n\n", Some(SignatureError::Form)),
        (&HASHED[..HASHED.len() / 2], Some(SignatureError::Form)),
        (&without_end[..without_end.len() - 1], Some(SignatureError::Form)),
        (&format!("{}\n{}\n{}\n", line(0), line(1), line(2)), Some(SignatureError::Form)),
        (&HASHED.replace("trusted comment: t", "t"), Some(SignatureError::Form)),
        (&HASHED.replace("RUQf", "RXQf"), Some(SignatureError::Form)),
        (KEY, Some(SignatureError::Form)),
        (&huge, Some(SignatureError::Form)),
        (&long_comment, Some(SignatureError::Form)),
        // The comment is signed, too.
        (&HASHED.replace("1556193335", "1556193336"), Some(SignatureError::Wrong)),
        (&HASHED.replace("file:test", "file:best"), Some(SignatureError::Wrong)),
        // As is the way of signing.
        (&HASHED.replace("RUQf", "RWQf"), Some(SignatureError::Wrong)),
        (&LEGACY.replace("RWQf", "RUQf"), Some(SignatureError::Wrong)),
        // And the parts of two signatures by one key are no third one.
        (
            &format!(
                "{}\n{}\n",
                HASHED.lines().take(2).collect::<Vec<_>>().join("\n"),
                LEGACY.lines().skip(2).collect::<Vec<_>>().join("\n")
            ),
            Some(SignatureError::Wrong),
        ),
    ] {
        assert_eq!(verify(text.as_bytes(), KEY, b"test").err(), error, "{text:.400}");
    }
    assert_eq!(verify(b"\xff\xfe\n\n\n\n", KEY, b"test").err(), Some(SignatureError::Form));
}

fn signed(pair: &KeyPair, bytes: &[u8], comment: &str) -> String {
    minisign::sign(Some(&pair.pk), &pair.sk, bytes, Some(comment), None).unwrap().into_string()
}

#[test]
fn only_the_key_that_signed_verifies() {
    let (one, other) =
        (KeyPair::generate_unencrypted_keypair().unwrap(), KeyPair::generate_unencrypted_keypair().unwrap());
    let text = signed(&one, b"bytes", "by one");
    assert_eq!(verify(text.as_bytes(), &one.pk.to_base64(), b"bytes").as_deref(), Ok("by one"));
    assert_eq!(verify(text.as_bytes(), &other.pk.to_base64(), b"bytes"), Err(SignatureError::Wrong));
    let id = Signature::parse(text.as_bytes()).unwrap().key();
    assert_eq!(id, PublicKey::parse(&one.pk.to_base64()).unwrap().id());
    // The crate that signs reads the same as the crate that verifies.
    let boxed = minisign::SignatureBox::from_string(&text).unwrap();
    minisign::verify(&one.pk, &boxed, std::io::Cursor::new(b"bytes"), true, false, false).unwrap();
}

#[test]
fn comments_are_shown_in_one_line() {
    let pair = KeyPair::generate_unencrypted_keypair().unwrap();
    let text = signed(&pair, b"", &format!("\u{1b}[31m{}", "x".repeat(1 << 10)));
    let comment = verify(text.as_bytes(), &pair.pk.to_base64(), b"").unwrap();
    assert!(comment.starts_with(" [31mxxx") && comment.chars().count() == MAX_COMMENT, "{comment}");
}

#[test]
fn of_the_corpus() {
    try_each("signature", any_signature);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..512), line in "[ -~]{0,120}") {
        for text in [text, format!("{line}\n{line}\ntrusted comment: {line}\n{line}").into_bytes()] {
            if let Ok(signature) = Signature::parse(&text) {
                prop_assert!(signature.verify(&PublicKey::parse(KEY).unwrap(), b"test").is_err());
            }
        }
    }

    /// One character of the lines that count is another one, or is not there, or is there twice.
    #[test]
    fn no_change_is_overlooked(legacy: bool, at in 0_usize..400, with in "[A-Za-z0-9+/= :\t\n]", how in 0_u8..3) {
        let text = if legacy { LEGACY } else { HASHED };
        let first = text.find('\n').unwrap() + 1;
        let at = first + at % (text.trim_end().len() - first);
        let mut changed = text.to_owned();
        match how {
            0 => changed.replace_range(at..=at, &with),
            1 => changed.replace_range(at..=at, ""),
            _ => changed.insert_str(at, &with),
        }
        // Another kind of end of a line means the same.
        let lines = |text: &str| text.lines().skip(1).take(4).map(str::to_owned).collect::<Vec<_>>();
        prop_assume!(lines(&changed) != lines(text));
        prop_assert!(verify(changed.as_bytes(), KEY, b"test").is_err(), "{changed}");
    }
}
