//! Secrets in files and directories: the conventions, what changes under the reader's hand, and what is never printed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;
use std::sync::mpsc;
use std::time::SystemTime;

use super::shelf::MAX_SECRET;
use super::*;

struct Fixture {
    folder: tempfile::TempDir,
    secrets: Secrets,
}

/// Files by path; the first part of it is the secret's name, `NAME` a file and `NAME/KEY` one in a directory.
fn fixture(files: &[(&str, &str)]) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let mut sources = BTreeMap::new();
    for (path, content) in files {
        let (name, directory) = path.split_once('/').map_or((*path, false), |(name, _)| (name, true));
        let at = folder.path().join(name);
        if directory {
            fs::create_dir_all(&at).unwrap();
        }
        fs::write(folder.path().join(path), content).unwrap();
        let place = if directory { Place::Directory(at) } else { Place::File(at) };
        sources.insert(name.to_owned(), Source { place, destinations: Vec::new() });
    }
    Fixture { secrets: Secrets::new(sources), folder }
}

impl Fixture {
    fn write(&self, path: &str, content: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.folder.path().join(path)).unwrap();
    }
}

#[tokio::test]
async fn the_conventions() {
    let Fixture { secrets, folder } = &fixture(&[
        ("file", "t0ken\n"),
        ("token/token", "abc\r\n"),
        ("token/password", "unused"),
        ("basic/username", "aladdin\n"),
        ("basic/password", "opensesame\n\n"),
        ("half/password", "x"),
        ("tls/tls.crt", "CHAIN\n"),
        ("tls/tls.key", "KEY\n"),
        ("tls/ca.crt", "CA\n"),
        ("words", "two words"),
        ("empty", "\n"),
        ("large", &"x".repeat(MAX_SECRET + 1)),
        ("largest", &"x".repeat(MAX_SECRET)),
    ]);
    for (name, want) in [
        ("file", Ok("Bearer t0ken")),
        ("token", Ok("Bearer abc")),
        ("basic", Ok("Basic YWxhZGRpbjpvcGVuc2VzYW1l")),
        ("half", Err("the secret `half`, key `username` cannot be read from ")),
        ("tls", Err("holds neither `token` nor `username` and `password`")),
        ("words", Err("is no token: it must be one word of printable ASCII")),
        ("empty", Err("the secret `empty` cannot be read from ")),
        ("largest", Ok(&*format!("Bearer {}", "x".repeat(MAX_SECRET)))),
        ("large", Err("it has more than 65536 bytes")),
        ("other", Err("add to roundsman.yaml: secrets: {other: {file: /run/secrets/other}}")),
    ] {
        let found = secrets.bearer_or_basic(name).await;
        match want {
            Ok(value) => assert_eq!(found.as_deref().map(String::as_str), Ok(value)),
            Err(words) => assert!(found.as_ref().unwrap_err().message.contains(words), "{found:?}"),
        }
    }
    assert_eq!(secrets.bearer_or_basic("empty").await.unwrap_err().code, code::SECRET);
    let of = |secret: &Arc<SecretBytes>| String::from_utf8(secret.whole().to_vec()).unwrap();
    assert_eq!(secrets.certificate_authority("tls").await.as_ref().map(of), Ok("CA\n".into()));
    assert_eq!(secrets.certificate_authority("file").await.as_ref().map(of), Ok("t0ken\n".into()));
    let (chain, key) = secrets.client_certificate("tls").await.unwrap();
    assert_eq!((of(&chain), of(&key)), ("CHAIN\n".into(), "KEY\n".into()));
    for (name, key, want) in [
        ("file", "", Ok("t0ken")),
        ("file", "password", Ok("t0ken")),
        ("file", "username", Err("which holds no `username`: make it a directory")),
        ("tls", "ca.crt", Ok("CA")),
        ("tls", "", Err("`` is no name of a file in it")),
        ("tls", "../file", Err("is no name of a file in it")),
        ("tls", "..data", Err("is no name of a file in it")),
        ("tls", "nothing", Err("nothing: No such file or directory (os error 2); there are ca.crt, tls.crt, tls.key")),
    ] {
        let found = secrets.read(name, key).await.map(|value| String::from_utf8(value.bytes().to_vec()).unwrap());
        match want {
            Ok(value) => assert_eq!(found.as_deref(), Ok(value), "{name} {key}"),
            Err(words) => assert!(found.as_ref().unwrap_err().message.contains(words), "{found:?}"),
        }
    }
    let missing = secrets.read("tls", "nothing").await.unwrap_err().message;
    assert!(missing.contains(&folder.path().join("tls/nothing").display().to_string()), "{missing}");
}

#[tokio::test]
async fn a_case_has_secrets_of_its_own() {
    let error = Secrets::default().of_case().read("shop", "").await.map(drop).unwrap_err();
    assert!(error.message.ends_with("add to the case: secrets: {shop: what it holds}"), "{}", error.message);
}

#[tokio::test]
async fn nothing_is_printed() {
    let fixture = fixture(&[("a", "v3ry-secret"), ("b/token", "v3ry-secret")]);
    let (a, b) = (fixture.secrets.read("a", "").await.unwrap(), fixture.secrets.bearer_or_basic("b").await.unwrap());
    assert!(!format!("{a:?}{:?}", fixture.secrets).contains("v3ry"));
    assert_eq!(b.as_str(), "Bearer v3ry-secret");
    let redactor = fixture.secrets.redactor(&["a".into(), "b".into()]).unwrap();
    assert!(!format!("{redactor:?}").contains("v3ry"));
}

#[tokio::test]
async fn what_changes_is_read_again() {
    let fixture = fixture(&[("s", "first-value")]);
    let (secrets, path) = (&fixture.secrets, fixture.folder.path().join("s"));
    let read = async || String::from_utf8(secrets.read("s", "").await.unwrap().bytes().to_vec()).unwrap();
    let first = secrets.read("s", "").await.unwrap();
    assert!(Arc::ptr_eq(&first, &secrets.read("s", "").await.unwrap()), "what stays is not read again");
    let generation = secrets.generation();

    fixture.write("s", "other-value");
    assert_eq!(read().await, "other-value");
    assert!(secrets.generation() > generation);

    // The same size in the same file, with the time of before: the time of the change itself tells.
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    let changed = |path: &Path| fs::metadata(path).map(|m| (m.ctime(), m.ctime_nsec())).unwrap();
    let before = changed(&path);
    while changed(&path) == before {
        fs::write(&path, "third-value").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(modified).unwrap();
    }
    assert_eq!(read().await, "third-value");

    let generation = secrets.generation();
    let later = SystemTime::now() + Duration::from_secs(60);
    File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!((read().await.as_str(), secrets.generation()), ("third-value", generation), "touched is not changed");
    fs::remove_file(&path).unwrap();
    assert_eq!(secrets.read("s", "").await.unwrap_err().code, code::SECRET, "what is gone is not used any more");
}

#[tokio::test]
async fn a_directory_is_swapped_as_kubernetes_does_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (version, token) in [("..v1", "token-one"), ("..v2", "token-two")] {
        fs::create_dir(root.join(version)).unwrap();
        fs::write(root.join(version).join("token"), token).unwrap();
    }
    symlink("..v1", root.join("..data")).unwrap();
    symlink("..data/token", root.join("token")).unwrap();
    let source = Source { place: Place::Directory(root.to_owned()), destinations: Vec::new() };
    let secrets = Secrets::new(BTreeMap::from([("s".to_owned(), source)]));
    let names = ["s".to_owned()];
    assert_eq!(*secrets.bearer_or_basic("s").await.unwrap(), "Bearer token-one");
    assert_eq!(secrets.redactor(&names).unwrap().redact("token-one token-two"), "[secret s] token-two");

    symlink("..v2", root.join("..data_tmp")).unwrap();
    fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    fs::remove_dir_all(root.join("..v1")).unwrap();
    secrets.look_at(&names).await;
    let redactor = secrets.redactor(&names).unwrap();
    assert_eq!(redactor.redact("token-one token-two"), "[secret s] [secret s]", "noticed before it is used");
    assert_eq!(*secrets.bearer_or_basic("s").await.unwrap(), "Bearer token-two");
    assert!(Arc::ptr_eq(&redactor, &secrets.redactor(&names).unwrap()), "made once");
}

#[tokio::test]
async fn what_is_taken_out_and_what_is_not() {
    let key = "-----BEGIN CERTIFICATE-----\nMIIBpublic\n-----END CERTIFICATE-----\n-----BEGIN EC PRIVATE KEY-----\n\
               MHcCAQEEprivate1\nprivate2==\n-----END EC PRIVATE KEY-----\n";
    let fixture = fixture(&[
        ("basic/username", "monitoring"),
        ("basic/password", "hunter2hunter2"),
        ("basic/namespace", "default"),
        ("pem", key),
        ("own/special", "special-value"),
    ]);
    let secrets = &fixture.secrets;
    secrets.bearer_or_basic("basic").await.unwrap();
    secrets.look_at(&["pem".to_owned(), "own".to_owned()]).await;
    let redact = |name: &str, text: &str| secrets.redactor(&[name.to_owned()]).unwrap().redact(text).into_owned();
    for (name, text, want) in [
        ("basic", "monitoring:hunter2hunter2 in default", "monitoring:[secret basic] in default"),
        ("basic", "Basic bW9uaXRvcmluZzpodW50ZXIyaHVudGVyMg==", "Basic [secret basic]"),
        ("pem", "MIIBpublic MHcCAQEEprivate1 private2==", "MIIBpublic [secret pem] [secret pem]"),
    ] {
        assert_eq!(redact(name, text), want);
    }
    assert!(secrets.redactor(&["own".to_owned()]).is_none(), "nothing that the conventions know, and nothing used");
    secrets.read("own", "special").await.unwrap();
    assert_eq!(redact("own", "special-value"), "[secret own]");
    assert!(secrets.redactor(&[]).is_none());
    assert!(secrets.redactor(&["unknown".to_owned()]).is_none());
}

#[tokio::test]
async fn a_filesystem_that_does_not_answer() {
    let source = Source { place: Place::File("/mnt/dead/token".into()), destinations: Vec::new() };
    let shelf = Arc::new(Shelf::new(BTreeMap::from([("s".to_owned(), source)])));
    let (answer, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let own = shelf.clone();
    let secrets = Secrets::over(shelf, move |name| {
        gate.lock().unwrap().recv().unwrap();
        own.look_at(name);
    });
    let error = secrets.read("s", "").await.unwrap_err();
    assert_eq!(error.code, code::HUNG);
    let words = "the secret `s` cannot be read from /mnt/dead/token: the kernel does not answer";
    assert_eq!(error.message, words);
    answer.send(()).unwrap();
    // The look that was begun is the one that answers, or another one finds the gate open.
    answer.send(()).unwrap();
    // Until the thread is back, those who come are told at once.
    let told = async {
        loop {
            match secrets.read("s", "").await.unwrap_err() {
                error if error.code == code::HUNG => tokio::task::yield_now().await,
                error => break error.code,
            }
        }
    };
    assert_eq!(tokio::time::timeout(Duration::from_secs(60), told).await, Ok(code::SECRET));
}

#[test]
fn destinations() {
    let lines = ["https://shop.example:443", "https://*.eu.example", "tcp://10.0.0.0/8:5432", "https://[fd00::7]:443"];
    let destinations = lines.map(|line| Pattern::parse(line).unwrap()).to_vec();
    let source = |destinations| Source { place: Place::File("/nowhere".into()), destinations };
    let sources = [("bound".to_owned(), source(destinations)), ("free".to_owned(), source(Vec::new()))];
    let secrets = Secrets::new(BTreeMap::from(sources));
    for (name, scheme, host, address, want) in [
        ("bound", Scheme::Https, "shop.example", "192.0.2.1:443", true),
        ("bound", Scheme::Https, "SHOP.example.", "192.0.2.1:443", true),
        ("bound", Scheme::Https, "a.eu.example", "192.0.2.1:443", true),
        ("bound", Scheme::Https, "evil.example", "192.0.2.1:443", false),
        ("bound", Scheme::Https, "shop.example", "192.0.2.1:444", false),
        ("bound", Scheme::Http, "shop.example", "192.0.2.1:443", false),
        ("bound", Scheme::Tcp, "db.example", "10.1.2.3:5432", true),
        ("bound", Scheme::Tls, "10.1.2.3", "[::ffff:10.1.2.3]:5432", true),
        ("bound", Scheme::Tcp, "10.1.2.3", "10.1.2.3:5433", false),
        ("bound", Scheme::Https, "[fd00::7]", "[fd00::7]:443", true),
        ("bound", Scheme::Https, "[fd00::8]", "[fd00::8]:443", false),
        ("free", Scheme::Http, "evil.example", "192.0.2.1:80", true),
        ("unknown", Scheme::Http, "shop.example", "192.0.2.1:80", false),
    ] {
        let found = secrets.permits_destination(name, scheme, host, address.parse().unwrap());
        assert_eq!(found.is_ok(), want, "{name} {scheme} {host} {address}: {found:?}");
    }
    let address = "192.0.2.1:80".parse().unwrap();
    let denied = secrets.permits_destination("bound", Scheme::Http, "evil.example", address).unwrap_err().to_string();
    assert_eq!(
        denied,
        "sending the secret `bound` to http://evil.example:80 is not granted; add to roundsman.yaml: \
         secrets: {bound: {destinations: [\"http://evil.example:80\"]}}"
    );
    assert!(secrets.permits_socket("free").is_ok() && secrets.permits_socket("bound").is_err());
}
