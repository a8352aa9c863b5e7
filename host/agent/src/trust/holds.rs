//! What holds for any bytes that lie beside a plugin as its signature, or stand in the configuration as a key.

use super::{PublicKey, Signature};

/// That of minisign's own documentation, and both ways of signing `test` by it.
pub(crate) const KEY: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";
pub(crate) const LEGACY: &str = "untrusted comment: signature from minisign secret key
RWQf6LRCGA9i59SLOFxz6NxvASXDJeRtuZykwQepbDEGt87ig1BNpWaVWuNrm73YiIiJbq71Wi+dP9eKL8OC351vwIasSSbXxwA=
trusted comment: timestamp:1555779966\tfile:test
QtKMXWyYcwdpZAlPF7tE2ENJkRd1ujvKjlj1m9RtHTBnZPa5WKU5uWRs5GoP5M/VqE81QFuMKI5k/SfNQUaOAA==
";
pub(crate) const HASHED: &str = "untrusted comment: signature from minisign secret key
RUQf6LRCGA9i559r3g7V1qNyJDApGip8MfqcadIgT9CuhV3EMhHoN1mGTkUidF/z7SrlQgXdy8ofjb7bNJJylDOocrCo8KLzZwo=
trusted comment: timestamp:1556193335\tfile:test
y/rUw2y8/hOUYjZU71eHp/Wo1KZ40fGy2VJEDl34XMJM+TX48Ss/17u3IvIfbVR1FkZZSNCisQbuQY+bHwhEBg==
";

/// Nothing but these two is a signature of `test`, and nothing is one of other bytes. Tells whether it has the form of one.
pub(crate) fn any_signature(bytes: &[u8]) -> bool {
    let key = PublicKey::parse(KEY).expect("it is a key");
    // Whatever is a key is one, and is called the same.
    if let Ok(other) = PublicKey::parse(&String::from_utf8_lossy(bytes)) {
        assert_eq!(other.id().to_string().len(), 16);
    }
    let Ok(signature) = Signature::parse(bytes) else { return false };
    assert!(signature.verify(&key, b"tests").is_err() && signature.verify(&key, b"").is_err());
    if let Ok(comment) = signature.verify(&key, b"test") {
        let lines = |text: &str| text.lines().skip(1).take(3).map(str::to_owned).collect::<Vec<_>>();
        let own = lines(&String::from_utf8_lossy(bytes));
        assert!([LEGACY, HASHED].iter().any(|known| lines(known) == own), "{own:?}");
        assert!(!comment.contains(char::is_control) && signature.key() == key.id());
    }
    true
}
