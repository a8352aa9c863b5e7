//! Takes the secrets that a check is granted out of everything that its plugin says. Most checks are granted none, and
//! pay for nothing of it.

use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};

use roundsman_probe::grants::Grants;
use roundsman_probe::probe::Probe;
use roundsman_probe::redact::Redactor;

use crate::gather::clean;

/// Of one run; clones are about the same run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redaction(Option<Arc<Active>>);

#[derive(Debug)]
struct Active {
    probe: Arc<Probe>,
    grants: Arc<Grants>,
    known: Mutex<Option<Known>>,
}

/// What there is to find, as of a generation of the secrets. They may change while the run goes on.
#[derive(Debug)]
struct Known {
    generation: u64,
    redactor: Option<Arc<Redactor>>,
}

impl Redaction {
    pub(crate) fn new(probe: &Arc<Probe>, grants: &Arc<Grants>) -> Self {
        if grants.secrets().is_empty() {
            return Self(None);
        }
        let (probe, grants) = (probe.clone(), grants.clone());
        Self(Some(Arc::new(Active { probe, grants, known: Mutex::default() })))
    }

    /// Looks at what there is to find. Before the first word of a guest: it may know a secret from elsewhere.
    pub(crate) async fn look(&self) {
        if let Some(active) = self.0.as_deref() {
            active.probe.secrets().look_at(active.grants.secrets()).await;
        }
    }

    /// One line, printable, without secrets, and then cut to at most `most` bytes.
    pub(crate) fn clean(&self, text: &str, most: usize) -> String {
        let Some(redactor) = self.redactor() else { return clean(text, most) };
        let mut line = redactor.redact_beginning(&clean(text, usize::MAX), most);
        line.truncate(line.trim_end().len());
        line
    }

    /// The same without an end, for what somebody else cuts.
    pub(crate) fn line<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match self.redactor() {
            None => Cow::Borrowed(text),
            Some(redactor) => Cow::Owned(redactor.redact(&clean(text, usize::MAX)).into_owned()),
        }
    }

    /// The name of a secret that is in there: for what cannot be said with a part of it taken out.
    pub(crate) fn find(&self, bytes: &[u8]) -> Option<String> {
        self.redactor().and_then(|redactor| redactor.find(bytes).map(str::to_owned))
    }

    /// What there is to find by now; none for nothing.
    pub(crate) fn redactor(&self) -> Option<Arc<Redactor>> {
        let active = self.0.as_deref()?;
        let secrets = active.probe.secrets();
        let mut known = active.known.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = secrets.generation();
        if let Some(known) = known.as_ref().filter(|known| known.generation == generation) {
            return known.redactor.clone();
        }
        let redactor = secrets.redactor(active.grants.secrets());
        *known = Some(Known { generation, redactor: redactor.clone() });
        redactor
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use roundsman_model::check::Limits;
    use roundsman_model::grants::Allow;
    use roundsman_model::record::{Level, Status, Value};
    use roundsman_probe::probe::Options;
    use roundsman_probe::secrets::{Place, Secrets, Source};

    use super::*;
    use crate::calls::Came;
    use crate::capture::Captured;
    use crate::gather::Gathered;
    use crate::job::Memory;
    use crate::trace::Trace;

    const TOKEN: &str = "s3cret_token_0123456789";

    struct Fixture {
        folder: tempfile::TempDir,
        redaction: Redaction,
    }

    async fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("s");
        std::fs::write(&file, TOKEN).unwrap();
        let source = Source { place: Place::File(file), destinations: Vec::new() };
        let secrets = Secrets::new(BTreeMap::from([("s".to_owned(), source)]));
        let probe = Arc::new(Probe::new(Options { secrets, ..Options::default() }));
        let allow = Allow { secrets: vec!["s".to_owned()], ..Allow::default() };
        let grants = Arc::new(Grants::compile(&[], &allow, &[]).unwrap());
        let redaction = Redaction::new(&probe, &grants);
        redaction.look().await;
        Fixture { redaction, folder }
    }

    #[tokio::test]
    async fn texts_are_cleaned_of_secrets_and_then_cut() {
        let Fixture { redaction, .. } = &fixture().await;
        for (text, most, want) in [
            ("a s3cret_token_0123456789 b", 99, "a [secret s] b"),
            ("a s3cret_\u{1b}token_\u{202e}0123456789 b", 99, "a [secret s] b"),
            ("0123456 s3cret_token_0123456789", 20, "0123456 [secret s]"),
            ("01234567890123456 s3cret_token_0123456789", 20, "01234567890123456 [s"),
        ] {
            assert_eq!(redaction.clean(text, most), want);
        }
        let none = Redaction::default();
        assert_eq!(none.clean("a s3cret_token_0123456789 b", 12), "a s3cret_tok");
        assert!(matches!(none.line(TOKEN), Cow::Borrowed(TOKEN)) && none.find(TOKEN.as_bytes()).is_none());
    }

    #[tokio::test]
    async fn names_and_what_is_remembered_are_refused() {
        let fixture = fixture().await;
        let mut gathered = Gathered::new(&Limits::default(), fixture.redaction.clone());
        let before = Memory::new();
        let tagged = |name: &str| vec![(name.to_owned(), "x".to_owned())];
        let field = |name: &str| vec![(name.to_owned(), Value::Real(1.0))];
        let mut refused = vec![
            gathered.point(None, TOKEN.to_owned(), Vec::new(), field("value")),
            gathered.point(None, "series".to_owned(), tagged(&format!("a_{TOKEN}")), field("value")),
            gathered.point(None, "series".to_owned(), Vec::new(), field(TOKEN)),
            gathered.remember(&before, "key".to_owned(), Some(TOKEN.as_bytes().to_vec())),
            gathered.remember(&before, TOKEN.to_owned(), Some(Vec::new())),
        ];
        for refused in refused.drain(..) {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code, "secret");
            assert!(refused.message.ends_with("holds the secret `s`: secrets are not kept"), "{refused:?}");
        }
        assert!(gathered.points.is_empty() && gathered.memory.is_empty());

        let text = vec![("text".to_owned(), Value::Text(TOKEN.to_owned()))];
        gathered.point(None, "series".to_owned(), vec![("tag".to_owned(), TOKEN.to_owned())], text).unwrap();
        gathered.finding(TOKEN, Status::Ok, TOKEN).unwrap();
        gathered.log(Level::Info, TOKEN);
        gathered.remember(&before, "key".to_owned(), Some(b"harmless".to_vec())).unwrap();
        assert!(!format!("{gathered:?}").contains("s3cret"), "{gathered:?}");
    }

    #[tokio::test]
    async fn calls_are_told_without_secrets() {
        let fixture = fixture().await;
        let trace = Trace::new(fixture.redaction.clone());
        let id = trace.begin(&format!("GET http://h/{TOKEN}"), None);
        trace.end(id, Came::to_nothing(format!("refused {TOKEN}")));
        trace.begin("connect", Some(1));
        trace.end_about(1, Came::well(TOKEN));
        trace.failed(tokio::time::Instant::now(), TOKEN, TOKEN);
        trace.dial(Some(TOKEN.to_owned()));
        trace.cut_waiting(tokio::time::Instant::now());
        let story = trace.take_story();
        let told: Vec<_> = story.iter().map(|call| (call.what.as_str(), call.result.as_str())).collect();
        let expected = [
            ("GET http://h/[secret s]", "refused [secret s]"),
            ("connect", "[secret s]"),
            ("[secret s]", "[secret s]"),
            ("wait for [secret s]", "no answer when the run ended"),
        ];
        assert_eq!(told, expected);
    }

    #[tokio::test]
    async fn what_was_printed_leaves_no_rest_where_it_was_cut() {
        let Fixture { redaction, .. } = &fixture().await;
        for around in 0..TOKEN.len() + 2 {
            let captured = Captured::default();
            let fill = (4 << 10) - around;
            captured
                .append([&"a".repeat(fill), TOKEN, &"b".repeat(9999), TOKEN, &"c".repeat(fill)].concat().as_bytes());
            let lines = captured.lines(redaction).concat();
            assert!(!lines.contains("s3c") && !lines.contains("789"), "{around}: {lines}");
            assert!(lines.starts_with("aaa") && lines.ends_with("ccc"), "{lines}");
        }
        let captured = Captured::default();
        captured.append(format!("one\n{TOKEN}\n").as_bytes());
        assert_eq!(captured.lines(redaction), ["one", "[secret s]"]);
        assert_eq!(captured.last_words(redaction, 99), "one; [secret s]");
    }

    #[tokio::test]
    async fn a_secret_that_changes_meanwhile_is_known_at_once() {
        let Fixture { redaction, folder } = &fixture().await;
        assert_eq!(redaction.clean(TOKEN, 99), "[secret s]");
        std::fs::write(folder.path().join("new"), "another-value").unwrap();
        std::fs::rename(folder.path().join("new"), folder.path().join("s")).unwrap();
        let probe = redaction.0.as_ref().unwrap().probe.clone();
        probe.secrets().read("s", "").await.unwrap();
        assert_eq!(redaction.clean(&format!("{TOKEN} another-value"), 99), "[secret s] [secret s]");
    }
}
