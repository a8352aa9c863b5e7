//! What a server can do to us, played by a scripted one: nothing is lost, nothing is sent with other content.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/mod.rs"]
mod common;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::rows::{commit, entry, record, store, tags};
use common::{close, forward, v1, v2};
use roundsman_influx::destination::{Api, Destination};
use roundsman_model::counts::Counts;
use roundsman_model::record::{Record, Value};
use roundsman_model::state::{Standing, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Cursor, Entry, Store, Turned};
use support::eventually;
use support::mock::{Asked, Mock, Reply};
use tokio::sync::watch;

const GRACE: Duration = Duration::from_secs(10);
const NEVER: Duration = Duration::from_secs(3_600);

/// A store with so many rows, two lines each.
async fn filled(rows: i64) -> (tempfile::TempDir, Store, watch::Receiver<u64>) {
    let directory = tempfile::tempdir().unwrap();
    let (store, committed) = store(directory.path(), common::NAME);
    commit(&store, (0..rows).map(|i| entry(record("shop", i, "fine"), None))).await;
    (directory, store, committed)
}

fn lines(asked: &[Asked]) -> Vec<String> {
    asked.iter().flat_map(|asked| asked.text().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Both write paths, so that each is put through it.
fn both(mock: &Mock) -> [Destination; 2] {
    [v1(mock.url(), "d"), v2(mock.url(), "d")]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_for_a_while_is_sent_again_with_the_same_bytes() {
    for path in 0..2 {
        let mock = Mock::start_with_resets(1, |number, _| match number {
            1 => Reply::new(500, r#"{"error":"timeout"}"#),
            2 => Reply::Cut(500, "{\"err".to_owned()),
            3 => Reply::new(408, ""),
            _ => Reply::new(204, ""),
        });
        let (directory, store, committed) = filled(100).await;
        let running = forward(both(&mock)[path].clone(), directory.path(), &store, &committed, GRACE);
        eventually("all lines are written", || running.written() == 200).await;
        let stats = running.stats.snapshot();
        assert_eq!((stats.retries, stats.requests, stats.rejected, stats.held), (4, 5, 0, None));
        assert!(stats.last_error.is_some());
        running.finish().await.unwrap();
        let asked = mock.asked();
        assert_eq!(asked.len(), 5);
        assert!(asked[2..].iter().all(|again| again.body == asked[1].body), "path {path}");
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_waits_as_long_as_it_is_told_to() {
    let mock = Mock::start(|number, _| match number {
        0 => Reply::Answer { status: 429, headers: vec![("Retry-After", "1".to_owned())], body: String::new() },
        1 => Reply::Answer { status: 503, headers: vec![("Retry-After", "1".to_owned())], body: String::new() },
        _ => Reply::new(204, ""),
    });
    let (directory, store, committed) = filled(1).await;
    let running = forward(v1(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("the refusal is seen", || running.stats.snapshot().held.is_some()).await;
    assert!(running.stats.snapshot().held.unwrap().why.starts_with("HTTP 429"));
    eventually("both lines are written", || running.written() == 2).await;
    assert_eq!(running.stats.snapshot().retries, 2);
    running.finish().await.unwrap();
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_cannot_be_parsed_is_found_and_set_aside() {
    for path in 0..2 {
        let mock = Mock::start(|_, asked| match asked.text().contains("total_ms=77.0") {
            true => Reply::new(400, r#"{"code":"invalid","message":"unable to parse 'http,…': bad timestamp"}"#),
            false => Reply::new(204, ""),
        });
        let (directory, store, committed) = filled(200).await;
        let running = forward(both(&mock)[path].clone(), directory.path(), &store, &committed, GRACE);
        eventually("all lines are dealt with", || running.written() + running.rejected() == 400).await;
        assert_eq!(running.rejected(), 1);
        let requests = running.stats.snapshot().requests;
        assert!(requests <= 2 * 9 + 1, "{requests} requests for 400 lines");
        running.finish().await.unwrap();

        let accepted: Vec<Asked> =
            mock.asked().into_iter().filter(|asked| !asked.text().contains("total_ms=77.0")).collect();
        let taken = lines(&accepted);
        assert_eq!((taken.len(), taken.iter().collect::<BTreeSet<_>>().len()), (399, 399), "each once");
        let aside = std::fs::read_to_string(directory.path().join("influx-main.rejected")).unwrap();
        let [comment, line] = aside.lines().collect::<Vec<_>>()[..] else { panic!("two lines: {aside}") };
        assert!(comment.starts_with("# 20") && comment.contains("unable to parse"), "{comment}");
        assert!(line.starts_with("http,") && line.contains("total_ms=77.0,size=77i "), "{line}");
        assert_eq!(close(directory.path(), store).await.record, 200, "the bad line does not come again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_too_large_is_halved() {
    let mock = Mock::start(|_, asked| match asked.text().lines().count() > 30 {
        true => Reply::new(413, r#"{"error":"Request Entity Too Large"}"#),
        false => Reply::new(204, ""),
    });
    let (directory, store, committed) = filled(60).await;
    let running = forward(v1(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("all lines are written", || running.written() == 120).await;
    running.finish().await.unwrap();
    let sizes: Vec<usize> = mock.asked().iter().map(|asked| asked.text().lines().count()).collect();
    assert_eq!(sizes, [120, 60, 30, 30, 60, 30, 30]);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn points_that_a_server_refuses_are_counted_and_not_sent_again() {
    let conflict = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"m\" is type string, already exists as type float dropped=3"}"#;
    let mock = Mock::start(move |_, _| Reply::new(422, conflict));
    let (directory, store, committed) = filled(50).await;
    let running = forward(v2(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("all lines are dealt with", || running.written() == 97).await;
    assert_eq!(running.rejected(), 3);
    running.finish().await.unwrap();
    assert_eq!((mock.asked().len(), close(directory.path(), store).await.record), (1, 50));
}

/// The lines that are known to be refused are kept for a person; the rest of the request is not among them.
#[tokio::test(flavor = "multi_thread")]
async fn refused_points_are_set_aside_when_the_answer_names_them() {
    let by_type = r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"note\" on measurement \"http\" is type string, already exists as type float dropped=2"}"#;
    let by_number = r#"{"error":"partial write of line protocol occurred","data":[{"original_line":"h","line_number":2,"error_message":"x"},{"original_line":"h","line_number":4,"error_message":"x"}]}"#;
    for (status, answer) in [(422, by_type), (400, by_number)] {
        for path in 0..2 {
            let mock = Mock::start(move |_, _| Reply::new(status, answer));
            let directory = tempfile::tempdir().unwrap();
            let (store, committed) = store(directory.path(), common::NAME);
            let noted = (0..10).map(|i| {
                let mut record = record("shop", i, "fine");
                if i < 2 {
                    record.points[0].fields.push(("note".to_owned(), Value::Text("is type string".to_owned())));
                }
                entry(record, None)
            });
            commit(&store, noted).await;
            let running = forward(both(&mock)[path].clone(), directory.path(), &store, &committed, GRACE);
            eventually("all lines are dealt with", || running.written() == 18).await;
            assert_eq!(running.rejected(), 2);
            running.finish().await.unwrap();
            let aside = std::fs::read_to_string(directory.path().join("influx-main.rejected")).unwrap();
            let [comment, first, second] = aside.lines().collect::<Vec<_>>()[..] else { panic!("three: {aside}") };
            assert!(comment.contains("partial write"), "{comment}");
            assert!([first, second].iter().all(|line| line.starts_with("http,") && line.contains("note=")), "{aside}");
            assert_eq!(close(directory.path(), store).await.record, 10);
        }
    }
}

/// Also where no record was ever made, for instance of a check that nobody reports to.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_without_a_record_is_sent() {
    let mock = Mock::start(|_, _| Reply::new(204, ""));
    let directory = tempfile::tempdir().unwrap();
    let (store, committed) = store(directory.path(), common::NAME);
    let running = forward(v2(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    assert_eq!(running.stats.snapshot().last_success, None);
    let Record { key, plugin, time, .. } = record("shop", 0, "never");
    let (standing, change) = Standing::pending(time).turn(State::Stale, Timestamp(time.0 + 1)).unwrap();
    let turned = Turned {
        tags: tags(&record("shop", 0, "never")),
        key,
        plugin,
        standing,
        change,
        summary: "nothing was heard".into(),
        counts: Counts::default(),
        last_tick: time,
    };
    commit(&store, [Entry::Turned(Box::new(turned))]).await;
    eventually("the line is written", || running.written() == 1).await;
    let stats = running.stats.snapshot();
    assert!(stats.last_success.is_some_and(|at| at > time));
    running.finish().await.unwrap();
    let lines = lines(&mock.asked());
    assert_eq!(lines.len(), 1);
    assert!(lines[0].starts_with("transition,check=shop") && lines[0].contains("to=6i"), "{lines:?}");
    assert!(lines[0].ends_with(&format!(" {}", time.0 + 1)), "{lines:?}");
    assert_eq!(close(directory.path(), store).await, Cursor { record: 0, transition: 1 });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_without_a_reason_is_set_aside_in_the_end() {
    let mock = Mock::start(|number, _| match number {
        0..6 => Reply::new(400, r#"{"code":"invalid","message":"catalog update error: too many columns"}"#),
        _ => Reply::new(204, ""),
    });
    let (directory, store, committed) = filled(10).await;
    let running = forward(v2(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("the lines are dealt with", || running.rejected() == 20).await;
    commit(&store, [entry(record("shop", 10, "fine"), None)]).await;
    eventually("what comes later is written", || running.written() == 2).await;
    running.finish().await.unwrap();
    let asked = mock.asked();
    let aside = std::fs::read_to_string(directory.path().join("influx-main.rejected")).unwrap();
    assert_eq!(aside.lines().skip(1).collect::<Vec<_>>(), lines(&asked[..1]));
    assert!(asked[1..6].iter().all(|again| again.body == asked[0].body));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_read_again_when_they_are_refused() {
    for path in 0..2 {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "old\n").unwrap();
        let rotated = file.clone();
        let mock = Mock::start(move |_, asked| match asked.header("authorization") {
            "Token new" | "Basic dTpuZXc=" => Reply::new(204, ""),
            "Token old" | "Basic dTpvbGQ=" => {
                std::fs::write(&rotated, "new\n").unwrap();
                Reply::new(401, r#"{"code":"unauthorized","message":"unauthorized access"}"#)
            }
            other => panic!("{other}"),
        });
        let mut destination = both(&mock)[path].clone();
        match &mut destination.api {
            Api::V1 { username, password_file, .. } => (*username, *password_file) = ("u".to_owned(), Some(file)),
            Api::V2 { token_file, .. } => *token_file = Some(file),
        }
        let (_keep, store, committed) = filled(1).await;
        let running = forward(destination, directory.path(), &store, &committed, GRACE);
        eventually("both lines are written", || running.written() == 2).await;
        assert_eq!(mock.asked().len(), 2);
        assert!(!format!("{:?}", running.stats.snapshot()).contains("old"));
        running.finish().await.unwrap();
        store.close().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_must_change_is_held_and_said() {
    let missing = std::path::PathBuf::from("/nonexistent/token");
    let api = Api::V2 { org: "o".to_owned(), bucket: "b".to_owned(), token_file: Some(missing) };
    let mock = Mock::start(|_, _| Reply::new(404, r#"{"error":"database not found: \"d\""}"#));
    let redirects = Mock::start(|_, _| Reply::Answer {
        status: 302,
        headers: vec![("Location", "/login".to_owned())],
        body: String::new(),
    });
    let page = Mock::start(|_, _| Reply::new(200, "<!doctype html><title>Sign in</title>"));
    for (destination, part) in [
        (v1(mock.url(), "d"), "database not found"),
        (v2(mock.url(), "d"), "database not found"),
        (v1(redirects.url(), "d"), "write the final URL"),
        (v2(redirects.url(), "d"), "write the final URL"),
        (v1(page.url(), "d"), "a web page"),
        (v2(page.url(), "d"), "a web page"),
        (Destination { api, ..v2(mock.url(), "d") }, "cannot read /nonexistent/token; see that it exists"),
    ] {
        let (directory, store, committed) = filled(3).await;
        let running = forward(destination, directory.path(), &store, &committed, GRACE);
        eventually("it is held", || running.stats.snapshot().held.is_some()).await;
        let stats = running.stats.snapshot();
        assert!(stats.held.as_ref().is_some_and(|held| held.why.contains(part)), "{part}: {stats:?}");
        assert_eq!((stats.written, stats.rejected, stats.lag_rows), (0, 0, 3));
        running.finish().await.unwrap();
        assert_eq!(close(directory.path(), store).await, Cursor::default(), "the rows wait");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_request_does_not_wait_for_the_interval() {
    let mock = Mock::start(|_, _| Reply::new(204, ""));
    let (directory, store, committed) = filled(1).await;
    let destination = Destination { flush_interval: NEVER, ..v1(mock.url(), "d") };
    let running = forward(destination, directory.path(), &store, &committed, GRACE);
    eventually("what is there at first is sent at once", || running.written() == 2).await;
    commit(&store, (1..10).map(|i| entry(record("shop", i, "fine"), None))).await;
    commit(&store, (10..6_000).map(|i| entry(record("shop", i, "fine"), None))).await;
    // The store may publish them in pieces, and whatever is there goes along with what fills a request: nobody knows
    // how many requests are full, but what is left fills none.
    eventually("full requests are sent", || running.written() > 12_000 - 5_000).await;
    // What does not fill one goes out in the end.
    running.finish().await.unwrap();
    let sent = lines(&mock.asked());
    assert_eq!((sent.len(), sent.iter().collect::<BTreeSet<_>>().len()), (12_000, 12_000));
    let asked = mock.asked();
    assert!(asked.iter().any(|asked| asked.text().lines().count() == 5_000), "one was full");
    assert!(asked.len() < 12, "{} requests", asked.len());
    assert!(asked.iter().all(|asked| asked.text().lines().count() <= 5_000 && asked.text().len() <= 1 << 20));
    assert_eq!(close(directory.path(), store).await.record, 6_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stop_is_kept_although_the_server_never_answers() {
    let mock = Mock::start(|_, _| Reply::Never);
    let (directory, store, committed) = filled(3).await;
    let running = forward(v1(mock.url(), "d"), directory.path(), &store, &committed, Duration::from_millis(50));
    eventually("the request is under way", || !mock.asked().is_empty()).await;
    running.finish().await.unwrap();
    assert_eq!(close(directory.path(), store).await, Cursor::default());
    // The next one sends the same bytes.
    let (store, committed) = common::rows::store(directory.path(), common::NAME);
    let well = Mock::start(|_, _| Reply::new(204, ""));
    let running = forward(v1(well.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("all lines are written", || running.written() == 6).await;
    running.finish().await.unwrap();
    assert_eq!(well.asked()[0].body, mock.asked()[0].body);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_is_waited_for() {
    let mock = Mock::start(|_, _| Reply::Slow(Duration::from_millis(700), 204));
    let (directory, store, committed) = filled(3).await;
    let running = forward(v2(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("the request is under way", || !mock.asked().is_empty()).await;
    running.finish().await.unwrap();
    assert_eq!(
        (mock.asked().len(), close(directory.path(), store).await.record),
        (1, 3),
        "it was delivered within the grace"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_off_anywhere_nothing_is_lost_or_changed() {
    let answered = Arc::new(AtomicUsize::new(0));
    let count = answered.clone();
    let mock = Mock::start(move |number, _| match number % 3 {
        0 => Reply::new(500, ""),
        _ => {
            count.fetch_add(1, Ordering::SeqCst);
            Reply::Slow(Duration::from_millis(5), 204)
        }
    });
    let directory = tempfile::tempdir().unwrap();
    let mut asked_before = 0;
    for round in 0..12 {
        let (store, committed) = store(directory.path(), common::NAME);
        commit(&store, (0..700).map(|i| entry(record("shop", round * 700 + i, "fine"), None))).await;
        let running = forward(v1(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
        // Dropped at a point that differs from round to round.
        eventually("it got so far, or all the way", || {
            let stats = running.stats.snapshot();
            let all = stats.requests > 0 && stats.lag_rows == 0;
            all || mock.asked().len() > asked_before + round as usize % 4
        })
        .await;
        drop(running);
        asked_before = mock.asked().len();
        store.close().await.unwrap();
    }
    let (store, committed) = store(directory.path(), common::NAME);
    commit(&store, [entry(record("shop", 12 * 700, "the last"), None)]).await;
    let running = forward(v1(mock.url(), "d"), directory.path(), &store, &committed, GRACE);
    eventually("the rest is written", || {
        let stats = running.stats.snapshot();
        stats.lag_rows == 0 && stats.written > 0
    })
    .await;
    running.finish().await.unwrap();
    store.close().await.unwrap();

    let sent = lines(&mock.asked());
    let different: BTreeSet<&String> = sent.iter().collect();
    assert_eq!(different.len(), 2 * (12 * 700 + 1), "none lost, and none sent with other content");
    assert!(answered.load(Ordering::SeqCst) > 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_destination_that_cannot_be_used_says_so_at_once() {
    let (directory, store, committed) = filled(1).await;
    for url in ["/3242/23", "http://h/influx", "ftp://h"] {
        let mut running = forward(v2(url.to_owned(), "d"), directory.path(), &store, &committed, GRACE);
        let error = running.ended().await.unwrap_err().to_string();
        assert!(error.starts_with("influx `main`: "), "{error}");
    }
    store.close().await.unwrap();
}
