//! Tables of soft and hard states, and the model that keeps everything and looks back.

use proptest::prelude::*;

use super::*;

const KUBELET: Confirm = Confirm { success: 1, failure: 3 };

fn status(letter: char) -> Status {
    match letter {
        'o' => Status::Ok,
        'w' => Status::Warning,
        'c' => Status::Critical,
        'u' => Status::Unknown,
        other => panic!("no status: {other}"),
    }
}

fn letter(state: State) -> char {
    match state {
        State::Pending => '-',
        State::Skipped => '/',
        State::Stale => '~',
        other => other.as_str().chars().next().unwrap(),
    }
}

/// The hard states and attempts after each of the results, beginning with pending. `/` skips and `~` finds nothing.
fn walk(results: &str, confirm: Confirm) -> (String, String) {
    let mut standing = Standing::pending(Timestamp(0));
    let (mut states, mut attempts) = (String::new(), String::new());
    for (n, result) in results.chars().enumerate() {
        let at = Timestamp(n as i64 + 1);
        match result {
            '/' | '~' => {
                let to = if result == '/' { State::Skipped } else { State::Stale };
                standing = standing.turn(to, at).map_or(standing, |(next, _)| next);
                attempts.push('.');
            }
            result => {
                attempts.push_str(&standing.attempt(status(result)).to_string());
                standing = standing.apply(status(result), Blame::Target, confirm, at).0;
            }
        }
        states.push(letter(standing.state));
    }
    (states, attempts)
}

#[test]
fn tables() {
    let strict = Confirm { success: 3, failure: 2 };
    let loose = Confirm { success: 0, failure: 0 };
    for (confirm, results, states, attempts) in [
        // From pending: one good result, or three that are not, whatever they are.
        (KUBELET, "o", "o", "1"),
        (KUBELET, "ccc", "--c", "123"),
        (KUBELET, "cuw", "--w", "123"),
        (KUBELET, "ccoc", "--oo", "1211"),
        (strict, "oco", "---", "111"),
        (strict, "ooo", "--o", "123"),
        (strict, "cooo", "---o", "1123"),
        // From ok.
        (KUBELET, "occoccc", "ooooooc", "1121123"),
        (KUBELET, "owcu", "ooou", "1123"),
        (KUBELET, "ouuw", "ooow", "1123"),
        // A hard problem: the other problem counts at once, a fault needs to be confirmed.
        (KUBELET, "cccw", "--cw", "1231"),
        (KUBELET, "wwwcw", "--wcw", "12311"),
        (KUBELET, "cccuuu", "--cccu", "123123"),
        (KUBELET, "cccuucuuu", "--ccccccu", "123121123"),
        (KUBELET, "cccuuwuuu", "--cccwwwu", "123121123"),
        (KUBELET, "ccco", "--co", "1231"),
        (strict, "ccoowoooc", "-cccwwwoo", "121211231"),
        (strict, "ccououuo", "-cccccuu", "12111121"),
        // Hard unknown: problems count together.
        (KUBELET, "uuucwc", "--uuuc", "123123"),
        (KUBELET, "uuuccucc", "--uuuuuu", "12312112"),
        (KUBELET, "uuuo", "--uo", "1231"),
        (strict, "uuoocooo", "-uuuuuuo", "12121123"),
        // Skipped and stale end with a record: hard at once, or pending and soft.
        (KUBELET, "oo/oo", "oo/oo", "11.11"),
        (KUBELET, "o/ccc", "o/--c", "1.123"),
        (KUBELET, "o~cuw", "o~--w", "1.123"),
        (KUBELET, "ccc~co", "--c~-o", "123.11"),
        (KUBELET, "ccc/ccc", "--c/--c", "123.123"),
        (KUBELET, "ccc/~//o", "--c/~//o", "123....1"),
        // A soft change does not go on behind them.
        (KUBELET, "occ/cc", "ooo/--", "112.12"),
        (KUBELET, "oc/c~c", "oo/-~-", "11.1.1"),
        (strict, "/oooo", "/--oo", ".1231"),
        (strict, "/occ", "/--c", ".112"),
        (loose, "/c~o", "/c~o", ".1.1"),
        // A threshold of nothing is one of one.
        (loose, "ocuwo", "ocuwo", "11111"),
    ] {
        assert_eq!(walk(results, confirm), (states.to_owned(), attempts.to_owned()), "{results}");
    }
}

#[test]
fn changes_say_since_when() {
    let at = Timestamp;
    let standing = Standing::pending(at(10));
    let (standing, change) = standing.apply(Status::Ok, Blame::Target, KUBELET, at(20));
    assert_eq!(change, Some(Change { from: State::Pending, to: State::Ok, since: at(10), at: at(20), quiet: None }));
    let (standing, change) = standing.apply(Status::Critical, Blame::Target, KUBELET, at(30));
    assert_eq!(change, None);
    assert_eq!(standing.soft, Some(Soft { status: Status::Critical, count: 1 }));
    assert_eq!((standing.state, standing.since), (State::Ok, at(20)));
    let (standing, change) = standing.apply(Status::Ok, Blame::Target, KUBELET, at(40));
    assert_eq!((standing.state, standing.since, standing.soft, change), (State::Ok, at(20), None, None));
    let (standing, change) = standing.turn(State::Stale, at(50)).unwrap();
    assert_eq!(change, Change { from: State::Ok, to: State::Stale, since: at(20), at: at(50), quiet: None });
    assert_eq!(standing.turn(State::Stale, at(55)), None);
    let (standing, change) = standing.apply(Status::Critical, Blame::Target, KUBELET, at(60));
    let expected = Change { from: State::Stale, to: State::Pending, since: at(50), at: at(60), quiet: None };
    assert_eq!(change, Some(expected));
    assert_eq!((standing.state, standing.since), (State::Pending, at(60)));
    assert_eq!(standing.soft, Some(Soft { status: Status::Critical, count: 1 }));
    let (standing, _) = standing.turn(State::Skipped, at(70)).unwrap();
    assert_eq!(standing.soft, None);
    let (standing, change) = standing.apply(Status::Ok, Blame::Target, KUBELET, at(80));
    assert_eq!(change, Some(Change { from: State::Skipped, to: State::Ok, since: at(70), at: at(80), quiet: None }));
    assert_eq!(standing.soft, None);
}

#[test]
fn flapping_is_about_the_target_alone() {
    let once = Confirm { success: 1, failure: 1 };
    let mut standing = Standing::pending(Timestamp(0));
    for n in 0..20 {
        let status = if n % 2 == 0 { Status::Ok } else { Status::Critical };
        let blame = [Blame::Plugin, Blame::Host][n % 2];
        standing = standing.apply(status, blame, once, Timestamp(n as i64)).0;
        assert_eq!(standing.flap, Flap::default());
    }
    for n in 0..8 {
        let status = if n % 2 == 0 { Status::Ok } else { Status::Critical };
        standing = standing.apply(status, Blame::Target, once, Timestamp(n)).0;
        standing = standing.apply(Status::Unknown, Blame::Host, once, Timestamp(n)).0;
        assert_eq!(standing.flap.is_flapping(), n >= 6);
    }
    let (turned, _) = standing.turn(State::Stale, Timestamp(30)).unwrap();
    assert_eq!(turned.flap, standing.flap);
}

#[test]
fn words_and_numbers() {
    for (number, state) in State::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(state.number()), number);
        assert_eq!(State::from_number(number as i64), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        assert_eq!(state.is_healthy(), number == 0);
    }
    assert_eq!(State::from_number(7), None);
}

/// What happens to a standing.
#[derive(Debug, Clone, Copy)]
enum Event {
    Result(Status, Blame),
    Turn(State),
}

fn event() -> impl Strategy<Value = Event> {
    let result = (0_i64..4, prop::sample::select(vec![Blame::Target, Blame::Plugin, Blame::Host]))
        .prop_map(|(number, blame)| Event::Result(Status::from_number(number).unwrap(), blame));
    let turn = prop::sample::select(vec![State::Skipped, State::Stale]).prop_map(Event::Turn);
    prop_oneof![6 => result, 1 => turn]
}

/// The slow and obvious model: keeps everything and looks back over the results that came after the last hard change.
fn hard_state(events: &[Event], confirm: Confirm) -> State {
    let mut state = State::Pending;
    let mut fresh: Vec<Status> = Vec::new();
    for event in events {
        let last = match *event {
            Event::Turn(to) => {
                state = to;
                fresh.clear();
                continue;
            }
            Event::Result(status, _) => status,
        };
        fresh.push(last);
        let in_a_row =
            |wanted: &[Status]| fresh.iter().rev().take_while(|status| wanted.contains(status)).count() as u32;
        let recovered = in_a_row(&[Status::Ok]) >= confirm.success && last == Status::Ok;
        let failed = |wanted: &[Status]| in_a_row(wanted) >= confirm.failure && wanted.contains(&last);
        let (problem, unknown) = (&[Status::Warning, Status::Critical], &[Status::Unknown]);
        let change = match state {
            State::Ok => failed(&[Status::Warning, Status::Critical, Status::Unknown]),
            State::Warning => recovered || failed(unknown) || last == Status::Critical,
            State::Critical => recovered || failed(unknown) || last == Status::Warning,
            State::Unknown => recovered || failed(problem),
            State::Pending | State::Skipped | State::Stale => {
                recovered || failed(&[Status::Warning, Status::Critical, Status::Unknown])
            }
        };
        if change {
            state = State::from(last);
            fresh.clear();
        } else if matches!(state, State::Skipped | State::Stale) {
            // What was heard counts already.
            state = State::Pending;
        }
    }
    state
}

proptest! {
    #[test]
    fn as_the_obvious_model(events in prop::collection::vec(event(), 0..60), success in 0_u32..5, failure in 0_u32..5) {
        let confirm = Confirm { success, failure };
        let mut standing = Standing::pending(Timestamp(0));
        for (n, event) in events.iter().enumerate() {
            let at = Timestamp(n as i64 + 1);
            let before = standing;
            let change = match *event {
                Event::Turn(to) => standing.turn(to, at).map(|(next, change)| {
                    standing = next;
                    change
                }),
                Event::Result(status, blame) => {
                    let change;
                    (standing, change) = standing.apply(status, blame, confirm, at);
                    let counts = blame == Blame::Target;
                    prop_assert_eq!(standing.flap, if counts { before.flap.after(status) } else { before.flap });
                    prop_assert_eq!(standing.is_soft(), standing.state != State::from(status));
                    if let Some(soft) = standing.soft {
                        prop_assert_eq!((soft.status, soft.count), (status, before.attempt(status)));
                    }
                    change
                }
            };
            prop_assert_eq!(standing.state, hard_state(&events[..=n], confirm));
            prop_assert_eq!(standing.since, if change.is_some() { at } else { before.since });
            let expected = Change { from: before.state, to: standing.state, since: before.since, at, quiet: None };
            prop_assert_eq!(change, (standing.state != before.state).then_some(expected));
        }
    }
}
