//! What the board shows, and what it does not let count.

use super::*;
use crate::name::CheckName;
use crate::record::Origin;
use crate::silence::Until;

fn key(check: &str, target: Option<&str>) -> Key {
    Key::new(CheckName::new(check).unwrap(), target)
}

fn configured(enabled: bool) -> Configured {
    let labels = BTreeMap::from([("team".to_owned(), "web".to_owned())]);
    let plugin = PluginName::new("http").unwrap();
    Configured { plugin, labels: labels.into(), owner: Some("shop-team".into()), runbook: None, enabled, shadow: false }
}

fn record(key: &Key, state: State, time: i64) -> Record {
    let time = Timestamp(time);
    Record {
        key: key.clone(),
        plugin: PluginName::new("http").unwrap(),
        origin: Origin::Schedule,
        time,
        started: time,
        status: Status::from_number(i64::from(state.number())).unwrap(),
        blame: Blame::Target,
        code: None,
        summary: "200 in 3 ms".into(),
        standing: Standing { state, since: time, soft: None, flap: crate::flap::Flap::default() },
        attempt: 1,
        latency_ns: Some(3),
        duration_ns: 4,
        lag_ns: 5,
        cpu_ns: 6,
        interval_ns: 7,
        points: Vec::new(),
        findings: Vec::new(),
        suspect: false,
    }
}

#[test]
fn states_to_show() {
    for (enabled, known, stale_at, now, shown) in [
        (true, None, Some(100), 100, State::Pending),
        (true, None, Some(100), 101, State::Stale),
        (true, None, None, i64::MAX, State::Pending),
        (true, Some(State::Ok), Some(100), 100, State::Ok),
        (true, Some(State::Ok), Some(100), 101, State::Stale),
        (true, Some(State::Critical), Some(100), 101, State::Stale),
        (false, None, Some(100), 101, State::Skipped),
        (false, Some(State::Critical), Some(100), 1, State::Skipped),
        (true, Some(State::Skipped), Some(100), 101, State::Skipped),
        (true, Some(State::Skipped), None, 1, State::Skipped),
        (true, Some(State::Stale), Some(100), 1, State::Stale),
    ] {
        let mut board = Board::default();
        let key = key("shop", Some("eu"));
        board.configure(key.clone(), configured(enabled), Timestamp(0), stale_at.map(Timestamp));
        if let Some(state) = known {
            let standing = Standing { state, ..Standing::pending(Timestamp(50)) };
            assert!(board.turn(&key, standing, Counts::default(), stale_at.map(Timestamp)));
        }
        assert_eq!(board.get(&key).unwrap().state_at(Timestamp(now)), shown);
    }
}

#[test]
fn a_changed_check_keeps_what_is_known() {
    let mut board = Board::default();
    let key = key("shop", None);
    board.configure(key.clone(), configured(true), Timestamp(1), Some(Timestamp(100)));
    let counts = Counts { due: 1, run: 1, ..Counts::default() };
    assert!(board.apply(&record(&key, State::Warning, 50), counts, Some(Timestamp(200))));
    let entry = board.configure(key.clone(), configured(false), Timestamp(60), Some(Timestamp(300)));
    assert_eq!((entry.standing.state, entry.standing.since), (State::Warning, Timestamp(50)));
    assert_eq!((entry.counts, entry.stale_at), (counts, Some(Timestamp(300))));
    assert!(!entry.configured.enabled);
    assert_eq!(entry.last.as_ref().unwrap().time, Timestamp(50));
    assert!(board.remove(&key).is_some());
    assert!(!board.apply(&record(&key, State::Ok, 70), counts, None), "a late record does not bring it back");
    assert!(board.is_empty());
}

#[test]
fn the_worst_and_the_sum() {
    let mut board = Board::default();
    assert_eq!(board.worst(Timestamp(0)), None);
    let states = [State::Ok, State::Pending, State::Warning, State::Stale, State::Unknown, State::Critical];
    for (n, state) in states.into_iter().enumerate() {
        let key = key(&format!("c{n}"), None);
        let stale_at = (state == State::Stale).then_some(Timestamp(10));
        board.configure(key.clone(), configured(true), Timestamp(0), stale_at);
        if !matches!(state, State::Pending | State::Stale) {
            board.apply(&record(&key, state, 1), Counts::default(), None);
        }
        assert_eq!(board.worst(Timestamp(20)), Some(state));
        assert_eq!(board.summary(Timestamp(20)).get(state), 1);
    }
    let json = serde_json::to_value(board.summary(Timestamp(20))).unwrap();
    assert_eq!(json["stale"], 1);
    assert_eq!(json["skipped"], 0);
}

#[test]
fn who_alarms_nobody_does_not_count() {
    let mut board = Board::default();
    let until = |until: Until| Silence::new(1, Some("b"), Some(""), "ada", "known", Timestamp(0), until).unwrap();
    for (n, (name, state)) in
        [("a", State::Warning), ("b", State::Unknown), ("c", State::Critical)].into_iter().enumerate()
    {
        let key = key(name, None);
        let configured = Configured { shadow: name == "c", ..configured(true) };
        board.configure(key.clone(), configured, Timestamp(0), None);
        board.apply(&record(&key, state, n as i64), Counts::default(), None);
    }
    assert_eq!(board.worst(Timestamp(20)), Some(State::Unknown));
    for (silence, now, worst) in [
        (until(Until::Recovery), i64::MAX, State::Warning),
        (until(Until::Instant(Timestamp(30))), 29, State::Warning),
        (until(Until::Instant(Timestamp(30))), 30, State::Unknown),
    ] {
        board.get_mut(&key("b", None)).unwrap().silence = Some(silence.into());
        assert_eq!(board.worst(Timestamp(now)), Some(worst));
    }
    assert_eq!(board.summary(Timestamp(20)).critical, 1, "the sum counts everything");
    board.remove(&key("a", None));
    assert_eq!(board.worst(Timestamp(20)), None);
}

#[test]
fn turns() {
    let mut board = Board::default();
    let key = key("shop", None);
    let counts = Counts { due: 2, run: 1, skipped: 1, ..Counts::default() };
    assert!(!board.turn(&key, Standing::pending(Timestamp(1)), counts, None));
    board.configure(key.clone(), configured(true), Timestamp(1), None);
    board.apply(&record(&key, State::Ok, 50), Counts::default(), None);
    let before = board.get(&key).unwrap().standing;
    let (skipped, _) = before.turn(State::Skipped, Timestamp(60)).unwrap();
    board.get_mut(&key).unwrap().skipped = Some("depends on dns, which is critical".into());
    assert!(board.turn(&key, skipped, counts, Some(Timestamp(70))));
    let entry = board.get(&key).unwrap();
    assert_eq!((entry.standing, entry.counts, entry.stale_at), (skipped, counts, Some(Timestamp(70))));
    assert_eq!(entry.last.as_ref().unwrap().time, Timestamp(50), "the last record stays");
    assert!(entry.skipped.is_some());
    board.apply(&record(&key, State::Ok, 80), counts, None);
    assert_eq!(board.get(&key).unwrap().skipped, None);
}

#[test]
fn shown_findings() {
    let finding = |n: usize, status: Status| Finding { subject: format!("s{n}"), status, summary: String::new() };
    let statuses = [Status::Ok, Status::Warning, Status::Critical, Status::Unknown];
    let mut record = record(&key("shop", None), State::Warning, 1);
    record.suspect = true;
    record.findings = (0..160).map(|n| finding(n, statuses[n % 4])).collect();
    let last = Last::of(&record);
    assert!(last.suspect);
    let (critical, rest) = last.findings.split_at(40);
    let (unknown, warning) = rest.split_at(40);
    assert!(critical.iter().enumerate().all(|(n, f)| *f == finding(n * 4 + 2, Status::Critical)));
    assert!(unknown.iter().enumerate().all(|(n, f)| *f == finding(n * 4 + 3, Status::Unknown)));
    assert!(warning.iter().enumerate().all(|(n, f)| *f == finding(n * 4 + 1, Status::Warning)));
    assert_eq!(last.findings.len(), MAX_SHOWN_FINDINGS);
    record.findings = vec![finding(0, Status::Ok)];
    assert_eq!(Last::of(&record).findings, []);
}

#[test]
fn as_json() {
    let mut board = Board::default();
    let key = key("shop", Some("eu"));
    board.configure(key.clone(), configured(true), Timestamp(1), None);
    board.apply(&record(&key, State::Ok, 50), Counts::default(), None);
    let json = serde_json::to_value(&board).unwrap();
    assert_eq!(json[0]["check"], "shop");
    assert_eq!(json[0]["target"], "eu");
    assert_eq!(json[0]["plugin"], "http");
    assert_eq!(json[0]["labels"]["team"], "web");
    assert_eq!(json[0]["standing"]["state"], "ok");
    assert_eq!(json[0]["last"]["summary"], "200 in 3 ms");
}
