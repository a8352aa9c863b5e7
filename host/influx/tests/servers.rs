//! The whole way into real servers: InfluxDB 1.6 by both write paths, and VictoriaMetrics by the second.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "common/mod.rs"]
mod common;
#[path = "support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use common::rows::{commit, entry, hostile, now, record, store};
use common::{forward, v1, v2};
use roundsman_influx::destination::{Api, Destination};
use roundsman_influx::outcome::{Outcome, classify};
use roundsman_model::record::{Finding, Record, Status};
use roundsman_model::state::{Change, State};
use roundsman_model::time::Timestamp;
use roundsman_store::{Entry, Recorded, TagSet};
use support::{Influxd, Server, eventually, influxd, influxd_with, proxy, request, victoria_metrics};

const DATABASE: &str = "health";

/// One record for each hostile text: as summary, as code, as a finding's subject, as a target's name and a point's tag.
fn hostile_entries() -> Vec<Entry> {
    let of = |(i, text): (usize, std::sync::Arc<str>)| {
        let i = i as i64;
        let plain = record("shop", i, "x");
        let finding = Finding { subject: text.to_string(), status: Status::Warning, summary: text.to_string() };
        let mut points = plain.points.clone();
        points[0].tags.push(("own".to_owned(), text.to_string()));
        let record = Record {
            summary: text.clone(),
            code: Some(text.clone()),
            findings: vec![finding.clone(), finding],
            points,
            ..plain
        };
        let change = Change { from: State::Ok, to: State::Warning, since: Timestamp(i), at: record.time, quiet: None };
        let Entry::Record(recorded) = entry(record, Some(change)) else { panic!("it is a record") };
        let number = i.to_string();
        let own = [("n", number.as_str()), ("target", &text)];
        let tags = TagSet::new(recorded.tags.iter().chain(own));
        Entry::Record(Box::new(Recorded { tags, ..*recorded }))
    };
    hostile().into_iter().enumerate().map(of).collect()
}

/// What a text field must read as.
fn text_reads(raw: &str) -> String {
    let spaced = raw.replace(['\r', '\n', '\t'], " ");
    let mut text: String = spaced.chars().filter(|c| !c.is_control()).collect();
    while text.len() > 1_024 {
        text.pop();
    }
    text
}

fn tag_reads(raw: &str) -> String {
    let mut text: String = raw.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    while text.len() > 256 {
        text.pop();
    }
    text.replace('\\', "/")
}

/// Sends the hostile records, and reads back from InfluxDB what it made of them.
async fn full_circle(destination: Destination, server: &Server) {
    let directory = tempfile::tempdir().unwrap();
    let (store, committed) = store(directory.path(), common::NAME);
    let entries = hostile_entries();
    let records = entries.len();
    commit(&store, entries).await;
    let running = forward(destination, directory.path(), &store, &committed, Duration::from_secs(5));
    let lines = records * 5;
    eventually("every line is written", || running.written() == lines as u64).await;
    let stats = running.stats.snapshot();
    assert_eq!((stats.rejected, stats.retries, stats.held, stats.last_error), (0, 0, None, None));
    assert_eq!(stats.requests, 1, "one page is one request");
    running.finish().await.unwrap();
    store.close().await.unwrap();

    let by_number = |measurement: &str| -> BTreeMap<usize, Vec<serde_json::Map<String, serde_json::Value>>> {
        let rows = server.rows(DATABASE, &format!("SELECT * FROM \"{measurement}\" GROUP BY *"));
        let mut all: BTreeMap<usize, Vec<_>> = BTreeMap::new();
        for row in rows {
            let number = row["n"].as_str().expect("the tag n").parse().expect("a number");
            all.entry(number).or_default().push(row);
        }
        all
    };
    let (checks, findings) = (by_number("check"), by_number("finding"));
    let (points, transitions) = (by_number("http"), by_number("transition"));
    for (i, text) in hostile().iter().enumerate() {
        let [check] = &checks[&i][..] else { panic!("one check: {:?}", checks[&i]) };
        let time = now() + i as i64 * 1_000_000_000;
        assert_eq!(check["summary"], text_reads(text));
        assert_eq!(check["code"], text_reads(text));
        // A tag that is not there reads as an empty text.
        assert_eq!(check["target"], tag_reads(text));
        assert_eq!(check["time"], time);
        assert_eq!(
            (&check["host"], &check["cluster"], &check["plugin"]),
            (&"n1".into(), &"test".into(), &"http".into())
        );
        let number = |name: &str| check[name].as_f64().expect("a number");
        let numbers =
            ["up", "status", "state", "latency_ms", "duration_ms", "lag_ms", "interval_s", "attempt"].map(number);
        assert_eq!(numbers, [1.0, 0.0, 0.0, 1.5, 2.0, 0.1, 1.0, 1.0]);
        assert_eq!(check["blame"], "target");

        let [point] = &points[&i][..] else { panic!("one point: {:?}", points[&i]) };
        assert_eq!((&point["own"], &point["version"]), (&tag_reads(text).into(), &"1.1".into()));
        assert_eq!((point["total_ms"].as_f64(), point["size"].as_i64()), (Some(i as f64), Some(i as i64)));

        let [first, second] = &findings[&i][..] else { panic!("two findings: {:?}", findings[&i]) };
        assert_eq!((&first["subject"], &first["time"]), (&text_reads(text).into(), &time.into()));
        assert_eq!((&second["subject"], &second["time"]), (&text_reads(text).into(), &(time + 1).into()));

        let [transition] = &transitions[&i][..] else { panic!("one transition: {:?}", transitions[&i]) };
        let numbers = ["from", "to", "since"].map(|name| transition[name].as_i64());
        assert_eq!(numbers, [Some(0), Some(1), Some(i as i64)]);
        assert_eq!((&transition["summary"], &transition["time"]), (&text_reads(text).into(), &time.into()));
    }
    let all = [checks.len(), findings.len(), points.len(), transitions.len()];
    assert_eq!(all, [records; 4], "nothing was injected");
    let measurements = server.rows(DATABASE, "SHOW MEASUREMENTS");
    assert_eq!(measurements.len(), 4, "{measurements:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_through_v1_into_influxdb_1() {
    let Some(server) = influxd() else { return };
    server.query("", &format!("CREATE DATABASE {DATABASE}"));
    full_circle(v1(server.url(), DATABASE), &server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_texts_through_v2_into_influxdb_1() {
    let Some(server) = influxd() else { return };
    server.query("", &format!("CREATE DATABASE {DATABASE}"));
    let proxy = proxy::v2_to_v1(server.address);
    full_circle(v2(proxy.url(), DATABASE), &server).await;
    let asked = proxy.asked();
    assert_eq!(asked[0].path, format!("/api/v2/write?bucket={DATABASE}&org=ops&precision=ns"));
    assert_eq!(asked[0].header("content-encoding"), "gzip");
}

#[tokio::test(flavor = "multi_thread")]
async fn v2_into_victoria_metrics() {
    let Some(server) = victoria_metrics() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (store, committed) = store(directory.path(), common::NAME);
    commit(&store, (0..300).map(|i| entry(record("shop", i, "fine"), None))).await;
    let running = forward(v2(server.url(), "any"), directory.path(), &store, &committed, Duration::from_secs(5));
    eventually("every line is written", || running.written() == 600).await;
    running.finish().await.unwrap();
    store.close().await.unwrap();

    let path = "/api/v1/export?match%5B%5D=http_total_ms";
    let mut series = serde_json::Value::Null;
    eventually("the points can be read", || {
        let (status, text) = request(server.address, "GET", path, &[], b"").unwrap();
        assert_eq!(status, 200, "{text}");
        series = serde_json::from_str(&text).unwrap_or_default();
        series["values"].as_array().is_some_and(|values| values.len() == 300)
    })
    .await;
    assert_eq!(series["metric"]["host"], "n1");
    for i in 0..300 {
        assert_eq!(series["values"][i].as_f64(), Some(i as f64));
        assert_eq!(series["timestamps"][i].as_i64(), Some(now() / 1_000_000 + i as i64 * 1_000));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_server_loses_and_doubles_nothing() {
    let Some(mut server) = influxd() else { return };
    server.query("", &format!("CREATE DATABASE {DATABASE}"));
    let directory = tempfile::tempdir().unwrap();
    let (store, committed) = store(directory.path(), common::NAME);
    let running = forward(v1(server.url(), DATABASE), directory.path(), &store, &committed, Duration::from_secs(5));
    commit(&store, (0..100).map(|i| entry(record("shop", i, "before"), None))).await;
    eventually("the first rows are there", || running.written() == 200).await;

    server.kill();
    commit(&store, (100..8_000).map(|i| entry(record("shop", i, "during"), None))).await;
    eventually("the outage is seen", || running.stats.snapshot().held.is_some()).await;
    let stats = running.stats.snapshot();
    assert!(stats.held.as_ref().is_some_and(|held| held.why.contains("Connection refused")));
    // A batch that is committed during a read may be counted twice until the next one.
    assert!((7_900..=15_800).contains(&stats.lag_rows), "{stats:?}");
    assert!(server.start(), "the port is still ours");
    commit(&store, (8_000..8_100).map(|i| entry(record("shop", i, "after"), None))).await;
    eventually("all rows are there", || running.written() == 16_200).await;

    let stats = running.stats.snapshot();
    assert_eq!((stats.held, stats.rejected, stats.lag_rows), (None, 0, 0));
    running.finish().await.unwrap();
    for (measurement, field) in [("check", "status"), ("http", "size")] {
        let rows = server.rows(DATABASE, &format!("SELECT \"{field}\" FROM \"{measurement}\""));
        let expected: Vec<i64> = (0..8_100).map(|i| now() + i * 1_000_000_000).collect();
        let times: Vec<i64> = rows.iter().map(|row| row["time"].as_i64().unwrap()).collect();
        assert!(times == expected, "{measurement}: {} rows", times.len());
    }
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_influxdb_1_answers_is_understood() {
    let Some(server) = influxd_with(&Influxd { max_body: Some(4_000), ..Influxd::default() }) else { return };
    server.query("", "CREATE DATABASE health WITH DURATION 1h NAME short");
    let write = |database: &str, body: &str| {
        let path = format!("/write?db={database}&precision=ns");
        let (status, text) = request(server.address, "POST", &path, &[], body.as_bytes()).unwrap();
        (classify(status, &text, None), format!("{status} {text}"))
    };
    let rejects = |outcome: &Outcome| match outcome {
        Outcome::DeliveredWithRejects { rejected, .. } => Some(*rejected),
        _ => None,
    };
    let t = now() + 3_500_000_000_000;
    assert_eq!(write("health", &format!("m f=1.0 {t}\n")).0, Outcome::Delivered);
    let (outcome, text) = write("health", &format!("m f=\"x\" {t}\nm f=2.0 {t}\n"));
    assert_eq!(rejects(&outcome), Some(1), "{text}");
    let (outcome, text) = write("health", &format!("m f=1.0 {t}\nm f=\nx\n"));
    assert_eq!(rejects(&outcome), Some(2), "{text}");
    let (outcome, text) = write("health", "m f=1.0 1000\nm f=1.0 2000\nm f=1.0 3000\n");
    assert_eq!(rejects(&outcome), Some(3), "{text}");
    let (outcome, text) = write("health", "m f=\n");
    assert!(matches!(outcome, Outcome::Unparsable { .. }), "{text}");
    let (outcome, text) = write("health", &format!("m f=\"{}\" {t}\n", "x".repeat(5_000)));
    assert!(matches!(outcome, Outcome::TooLarge { .. }), "{text}");
    let (outcome, text) = write("none", &format!("m f=1.0 {t}\n"));
    assert!(matches!(outcome, Outcome::Hold { credentials: false, .. }), "{text}");
    let (outcome, text) = write("", &format!("m f=1.0 {t}\n"));
    assert!(matches!(outcome, Outcome::Refused { .. }), "{text}");
    let (status, text) = request(server.address, "POST", "/api/v2/write?bucket=b", &[], b"m f=1 1\n").unwrap();
    assert!(matches!(classify(status, &text, None), Outcome::Hold { credentials: false, .. }), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn v1_authenticates() {
    let Some(server) = influxd_with(&Influxd { auth: true, ..Influxd::default() }) else { return };
    server.query("", "CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES");
    let basic = [("Authorization", "Basic YWRtaW46c2VjcmV0")];
    let create = format!("/query?q={}", support::encoded("CREATE DATABASE health"));
    let (status, text) = request(server.address, "POST", &create, &[], b"").unwrap();
    let outcome = classify(status, &text, None);
    assert!(matches!(outcome, Outcome::Hold { credentials: true, .. }), "{status} {text}");
    let (status, text) = request(server.address, "POST", &create, &basic, b"").unwrap();
    assert_eq!(status, 200, "{text}");

    let directory = tempfile::tempdir().unwrap();
    let password_file = directory.path().join("password");
    std::fs::write(&password_file, "secret\n").unwrap();
    let (store, committed) = store(directory.path(), common::NAME);
    commit(&store, [entry(record("shop", 0, "fine"), None)]).await;
    let api = Api::V1 {
        database: DATABASE.to_owned(),
        retention_policy: "autogen".to_owned(),
        username: "admin".to_owned(),
        password_file: Some(password_file),
    };
    let destination = Destination { api, ..v1(server.url(), DATABASE) };
    let running = forward(destination, directory.path(), &store, &committed, Duration::from_secs(5));
    eventually("both lines are written", || running.written() == 2).await;
    running.finish().await.unwrap();
    store.close().await.unwrap();
}
