//! Runs and what they make of subjects, and a model that looks at one subject at a time.

use proptest::prelude::*;

use super::*;

/// From `a=c b=o`: subjects and statuses. The summary is the place in the list.
fn reported(text: &str) -> Vec<Finding> {
    let finding = |(n, word): (usize, &str)| {
        let (subject, status) = word.split_once('=').unwrap();
        let number = "owcu".find(status).unwrap();
        let status = Status::from_number(number as i64).unwrap();
        Finding { subject: subject.into(), status, summary: format!("#{n}") }
    };
    text.split_whitespace().enumerate().map(finding).collect()
}

/// `a:pending>ok(#0)`: what changed hard, what is soft and what was forgotten, with its summary.
fn told(changes: &[FindingChange]) -> String {
    let one = |FindingChange { subject, standing, change, summary }: &FindingChange| {
        let change = change.map_or_else(String::new, |c| format!("{}>{}", c.from.as_str(), c.to.as_str()));
        let soft = standing.and_then(|s| s.soft).map_or_else(String::new, |s| format!("~{}", s.count));
        let gone = if standing.is_none() { "!" } else { "" };
        format!("{subject}:{change}{soft}{gone}({summary})")
    };
    changes.iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn one_run_after_the_other() {
    const GONE: &str = "no longer reported";
    let confirm = Confirm { success: 1, failure: 2 };
    let mut known = Findings::new();
    for (n, (run, expected)) in [
        ("", String::new()),
        ("b=o a=o", "a:pending>ok(#1) b:pending>ok(#0)".to_owned()),
        ("b=o a=o", String::new()),
        ("b=c a=o c=w", "b:~1(#0) c:~1(#2)".to_owned()),
        ("b=c a=o c=w", "b:ok>critical(#0) c:pending>warning(#2)".to_owned()),
        // The slots of flapping move on behind them.
        ("a=o b=c c=w", "b:(#1)".to_owned()),
        ("c=w b=c", format!("a:!({GONE}) b:(#1)")),
        ("c=w", format!("b:critical>ok!({GONE})")),
        ("c=o c=w c=c c=u c=w", "c:warning>critical(#2)".to_owned()),
        ("a=o", format!("a:pending>ok(#0) c:critical>ok!({GONE})")),
        ("a=u", "a:~1(#0)".to_owned()),
        ("", format!("a:!({GONE})")),
        ("", String::new()),
    ]
    .into_iter()
    .enumerate()
    {
        let changes = apply(&mut known, &reported(run), confirm, Timestamp(n as i64));
        assert_eq!(told(&changes), expected, "{n}: {run}");
    }
    assert_eq!(known, Findings::new());
}

#[test]
fn what_goes_is_confirmed_first() {
    let confirm = Confirm { success: 3, failure: 1 };
    let mut known = Findings::new();
    for (n, (run, state, left)) in [
        ("a=c", Some(State::Critical), 1),
        ("", Some(State::Critical), 1),
        ("", Some(State::Critical), 1),
        ("a=c", Some(State::Critical), 1),
        ("", Some(State::Critical), 1),
        ("", Some(State::Critical), 1),
        ("", None, 0),
    ]
    .into_iter()
    .enumerate()
    {
        let changes = apply(&mut known, &reported(run), confirm, Timestamp(n as i64));
        assert_eq!(changes.len(), 1, "{n}");
        assert_eq!((changes[0].standing.map(|standing| standing.state), known.len()), (state, left), "{n}");
    }
}

/// The obvious model: one subject, all runs.
fn of(subject: &str, runs: &[Vec<Finding>], confirm: Confirm) -> Option<Standing> {
    let mut standing: Option<Standing> = None;
    for (n, run) in runs.iter().enumerate() {
        let at = Timestamp(n as i64);
        let said: Vec<Status> = run.iter().filter(|f| f.subject == subject).map(|f| f.status).collect();
        let by_need = [Status::Critical, Status::Unknown, Status::Warning, Status::Ok];
        let worst = by_need.into_iter().find(|status| said.contains(status));
        standing = match (standing, worst) {
            (None, None) => None,
            (None, Some(worst)) => Some(Standing::pending(at).apply(worst, Blame::Target, confirm, at).0),
            (Some(old), Some(worst)) => Some(old.apply(worst, Blame::Target, confirm, at).0),
            (Some(old), None) => {
                Some(old.apply(Status::Ok, Blame::Target, confirm, at).0).filter(|new| new.state != State::Ok)
            }
        };
    }
    standing
}

proptest! {
    #[test]
    fn as_the_obvious_model(
        runs in prop::collection::vec(prop::collection::vec((0_u8..6, 0_i64..4), 0..8), 0..20),
        success in 0_u32..4, failure in 0_u32..4,
    ) {
        let confirm = Confirm { success, failure };
        let finding = |(subject, number): (u8, i64)| Finding {
            subject: format!("s{subject}"),
            status: Status::from_number(number).unwrap(),
            summary: format!("{number}"),
        };
        let runs: Vec<Vec<Finding>> = runs.into_iter().map(|run| run.into_iter().map(finding).collect()).collect();
        let mut known = Findings::new();
        for n in 0..runs.len() {
            let before = known.clone();
            let changes = apply(&mut known, &runs[n], confirm, Timestamp(n as i64));
            let mut expected = Vec::new();
            for subject in (0..6).map(|subject| format!("s{subject}")) {
                let (old, new) = (before.get(&*subject).copied(), of(&subject, &runs[..=n], confirm));
                prop_assert_eq!(known.get(&*subject).copied(), new);
                if old != new {
                    expected.push((subject, new));
                }
            }
            let told: Vec<_> = changes.iter().map(|change| (change.subject.to_string(), change.standing)).collect();
            // One that appears and goes at once cannot be: it is reported when it appears.
            prop_assert_eq!(told, expected);
            for FindingChange { subject, standing, change, summary } in &changes {
                let from = before.get(subject).map_or(State::Pending, |standing| standing.state);
                let to = standing.map_or(State::Ok, |standing| standing.state);
                prop_assert_eq!(change.map(|change| (change.from, change.to)), (from != to).then_some((from, to)));
                let worst = runs[n].iter().filter(|f| f.subject == **subject).max_by_key(|f| f.status.severity());
                prop_assert_eq!(&**summary, worst.map_or(NOT_REPORTED, |worst| &worst.summary));
            }
        }
    }
}
