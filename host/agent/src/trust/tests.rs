//! `trust:` as an operator writes it, against plugins of every origin.

use std::path::Path;

use minisign::KeyPair;
use roundsman_model::grants::Allow;

use super::*;
use crate::config::Config;

fn pair() -> KeyPair {
    KeyPair::generate_unencrypted_keypair().unwrap()
}

fn name(name: &str) -> PluginName {
    PluginName::new(name).unwrap()
}

fn trust(yaml: &str) -> Trust {
    let none: [(std::ffi::OsString, std::ffi::OsString); 0] = [];
    let loaded = Config::load(Some((Path::new("/f"), yaml.as_bytes())), none, &[] as &[&str], "box");
    loaded.unwrap_or_else(|problems| panic!("{yaml}: {problems:?}")).config.trust
}

fn policy(yaml: &str) -> Policy {
    Policy::open(&trust(yaml)).unwrap()
}

fn signed(pair: &KeyPair, bytes: &[u8]) -> Beside {
    Beside::Bytes(minisign::sign(Some(&pair.pk), &pair.sk, bytes, Some("a comment"), None).unwrap().to_bytes())
}

/// `signed by ops`, `listed`, `unproved`, with `, doubt: …`; or why not.
fn judged(policy: &Policy, plugin: &str, bytes: &[u8], beside: &Beside) -> String {
    match policy.judge(&name(plugin), bytes, beside) {
        Ok(origin) => {
            assert_eq!(origin.digest, Digest::of(bytes));
            let doubt = origin.doubt.as_ref().map(|doubt| format!(", doubt: {doubt}")).unwrap_or_default();
            match (&origin.signer, origin.listed) {
                (Some(signer), _) => {
                    assert_eq!(&*signer.comment, "a comment");
                    format!("signed by {}{doubt}", signer.key)
                }
                (None, true) => format!("listed{doubt}"),
                (None, false) => format!("unproved{doubt}"),
            }
        }
        Err(refusal) => refusal.to_string(),
    }
}

#[test]
fn judgements() {
    let (ops, vendor, stranger) = (pair(), pair(), pair());
    let keys = format!(
        "keys: {{ops: {{publicKey: {}}}, vendor: {{publicKey: {}, plugins: [shop, 'shop-*']}}}}",
        ops.pk.to_base64(),
        vendor.pk.to_base64()
    );
    let (good, evil) = (b"the plugin".as_slice(), b"the Plugin".as_slice());
    let digest = Digest::of(good);
    let none = policy("trust: {require: none}");
    let none_with_keys = policy(&format!("trust: {{{keys}}}"));
    let listing =
        policy(&format!("trust: {{require: digest, digests: {{http: ['sha256:{digest}', '{}']}}}}", Digest::of(b"x")));
    let listing_with_keys =
        policy(&format!("trust: {{require: digest, {keys}, digests: {{http: ['sha256:{digest}']}}}}"));
    let signing = policy(&format!("trust: {{require: signature, {keys}, digests: {{http: ['sha256:{digest}']}}}}"));
    let stranger_id = PublicKey::parse(&stranger.pk.to_base64()).unwrap().id();
    let unknown = format!("it is by the key {stranger_id}, which is not in `trust.keys`");
    let wrong = "it is not about these bytes: the plugin, the signature or its comment was changed since (`roundsman plugin sign` makes a new one)";
    let not_for = "the key `vendor` may not sign plugins of this name, only shop, shop-*";
    let bad = |why: &str| format!("its signature http.wasm.minisig is not good: {why}");
    let unsigned = "it is not signed: `trust.require` is `signature`, and there is no http.wasm.minisig beside it (`roundsman plugin sign` makes one)".to_owned();
    let unlisted = format!(
        "its digest sha256:{} is not in `trust.digests` for `http`, and it is not signed either",
        Digest::of(evil)
    );
    let unreadable = Beside::Unreadable("it is a pipe, not a file".to_owned());
    for (policy, plugin, bytes, beside, expected) in [
        (&none, "http", evil, &Beside::Nothing, "unproved".to_owned()),
        (&none, "http", evil, &signed(&ops, good), "unproved".to_owned()),
        (&none, "http", evil, &unreadable, "unproved".to_owned()),
        (&none_with_keys, "http", good, &signed(&ops, good), "signed by ops".to_owned()),
        (&none_with_keys, "http", evil, &signed(&ops, good), format!("unproved, doubt: {wrong}")),
        (&none_with_keys, "http", good, &signed(&vendor, good), format!("unproved, doubt: {not_for}")),
        (&none_with_keys, "shop-eu", good, &signed(&vendor, good), "signed by vendor".to_owned()),
        (&none_with_keys, "http", good, &signed(&stranger, good), format!("unproved, doubt: {unknown}")),
        (&none_with_keys, "http", good, &unreadable, "unproved, doubt: it is a pipe, not a file".to_owned()),
        (&listing, "http", good, &Beside::Nothing, "listed".to_owned()),
        (&listing, "http", good, &signed(&stranger, good), "listed".to_owned()),
        (&listing, "http", evil, &Beside::Nothing, unlisted.clone()),
        (&listing, "http", evil, &signed(&stranger, evil), unlisted.clone()),
        (
            &listing,
            "other",
            good,
            &Beside::Nothing,
            unlisted.replace("`http`", "`other`").replace(&Digest::of(evil).to_string(), &digest.to_string()),
        ),
        (&listing_with_keys, "http", evil, &signed(&ops, evil), "signed by ops".to_owned()),
        (&listing_with_keys, "http", evil, &signed(&stranger, evil), bad(&unknown)),
        (&listing_with_keys, "http", good, &signed(&stranger, good), format!("listed, doubt: {unknown}")),
        (&signing, "http", good, &signed(&ops, good), "signed by ops".to_owned()),
        (&signing, "http", evil, &signed(&ops, evil), "signed by ops".to_owned()),
        (&signing, "http", good, &Beside::Nothing, unsigned),
        (&signing, "http", evil, &signed(&ops, good), bad(wrong)),
        (&signing, "http", good, &signed(&stranger, good), bad(&unknown)),
        (&signing, "http", good, &signed(&vendor, good), bad(not_for)),
        (&signing, "shop", good, &signed(&vendor, good), "signed by vendor".to_owned()),
        (&signing, "http", good, &Beside::Bytes(b"half a sig".to_vec()), bad("it is no signature of minisign")),
        (&signing, "http", good, &Beside::Bytes(Vec::new()), bad("it is no signature of minisign")),
        (&signing, "http", good, &unreadable, bad("it is a pipe, not a file")),
    ] {
        assert_eq!(judged(policy, plugin, bytes, beside), expected, "{plugin}, {beside:?}");
    }
}

#[test]
fn what_lies_beside_a_plugin() {
    let root = tempfile::tempdir().unwrap();
    let file = |name: &str| root.path().join(name);
    std::fs::write(file("a.wasm.minisig"), b"text").unwrap();
    std::fs::write(file("huge.wasm.minisig"), vec![b'x'; 1 << 20]).unwrap();
    std::fs::create_dir(file("folder.wasm.minisig")).unwrap();
    for (plugin, expected) in [
        ("a.wasm", Beside::Bytes(b"text".to_vec())),
        ("b.wasm", Beside::Nothing),
        (
            "huge.wasm",
            Beside::Unreadable("the file of 1Mi is larger than 4Ki, and so it is no signature of minisign".to_owned()),
        ),
        ("folder.wasm", Beside::Unreadable("it is a directory, not a file".to_owned())),
    ] {
        assert_eq!(read_beside(&file(plugin)), expected, "{plugin}");
    }
}

#[test]
fn keys_in_files() {
    let root = tempfile::tempdir().unwrap();
    let pair = pair();
    let file = root.path().join("ops.pub");
    let yaml = format!("trust: {{keys: {{ops: {{publicKeyFile: {}}}}}}}", file.display());
    let told = |yaml: &str| Policy::open(&trust(yaml)).map_err(|problems| problems[0].to_string());
    assert!(told(&yaml).unwrap_err().contains("No such file"));
    std::fs::write(&file, "a text").unwrap();
    assert!(told(&yaml).unwrap_err().contains("ops.pub: `a text` is no public key of minisign"));
    std::fs::write(&file, pair.pk.to_box().unwrap().to_bytes()).unwrap();
    assert_eq!(judged(&told(&yaml).unwrap(), "http", b"x", &signed(&pair, b"x")), "signed by ops");
    // One key under two names would have two ceilings.
    let twice = format!(
        "trust: {{keys: {{ops: {{publicKeyFile: {}}}, dev: {{publicKey: {}}}}}}}",
        file.display(),
        pair.pk.to_base64()
    );
    assert!(told(&twice).unwrap_err().contains("`ops` is the same key as `dev`"));
}

#[test]
fn the_most_specific_ceiling_holds() {
    let pair = pair();
    let bytes = b"bytes";
    let policy = policy(&format!(
        "trust:
  keys: {{ops: {{publicKey: {}}}}}
  plugins:
    sha256:{}: {{files: [/digest]}}
    nagios: {{files: [/name]}}
    key:ops: {{files: [/key]}}
    default: {{files: [/default]}}",
        pair.pk.to_base64(),
        Digest::of(bytes)
    ));
    let nothing = super::tests::policy("");
    let other = b"other";
    for (policy, plugin, bytes, beside, whose, file) in [
        (
            &policy,
            "nagios",
            bytes.as_slice(),
            &signed(&pair, bytes),
            Some(format!("sha256:{}", Digest::of(bytes))),
            "/digest",
        ),
        (&policy, "nagios", other, &signed(&pair, other), Some("nagios".to_owned()), "/name"),
        (&policy, "http", other, &signed(&pair, other), Some("key:ops".to_owned()), "/key"),
        (&policy, "http", other, &Beside::Nothing, Some("default".to_owned()), "/default"),
        (&nothing, "http", other, &Beside::Nothing, None, ""),
    ] {
        let origin = policy.judge(&name(plugin), bytes, beside).unwrap();
        let (found, ceiling) = policy.ceiling(&name(plugin), &origin);
        assert_eq!(found.map(|whose| whose.to_string()), whose, "{plugin}");
        for path in ["/digest", "/name", "/key", "/default"] {
            let allow = Allow { files: vec![path.to_owned()], ..Allow::default() };
            assert_eq!(ceiling.check(&allow, &[]).is_ok(), path == file, "{plugin} {path}");
        }
        // What is not said is not bounded, but for what comes from the operator alone.
        let network = Allow { network: vec!["tcp://*:*".to_owned()], ..Allow::default() };
        assert!(ceiling.check(&network, &[]).is_ok(), "{plugin}");
    }
}
