//! Pushed results: both forms, every refusal, and nothing that would harm the line protocol.

use roundsman_model::record::{Status, Value as Field};
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::api::{authorised, conforms};
use crate::client::{Answer, exchange, request};
use crate::fake::{HOSTILE, Served, start};

const PATH: &str = "/api/v1/results";

async fn push(served: &Served, query: &str, headers: &str, body: &str) -> Answer {
    let bytes = request("POST", &format!("{PATH}{query}"), &format!("{}{headers}", authorised()), body);
    let answer = exchange(TcpStream::connect(served.address).await.unwrap(), &bytes).await;
    conforms(PATH, "post", &answer);
    answer
}

#[tokio::test]
async fn the_short_form() {
    let served = start().await;
    // As `curl -d` sends it.
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (query, headers, body, status, summary) in [
        ("?check=backup&status=ok", "", "", Status::Ok, ""),
        ("?check=backup&status=0", "", "", Status::Ok, ""),
        ("?check=backup&status=2&latency_ms=12.5", form, "12 files\nlost", Status::Critical, "12 files lost"),
        ("?check=backup&status=unknown&target=", "Content-Type: text/plain\r\n", "x=1&y=2", Status::Unknown, "x=1&y=2"),
        ("?check=mirror&target=eu&status=1", "Content-Type: application/json\r\n", "", Status::Warning, ""),
        ("?check=backup&status=ok", "", "{not json}", Status::Ok, "{not json}"),
    ] {
        let answer = push(&served, query, headers, body).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.body);
        let record = answer.json()["record"].take();
        assert_eq!((&record["origin"], &record["status"]), (&"pushed".into(), &status.as_str().into()), "{query}");
        let taken = served.agent.pushed.lock().unwrap().pop().unwrap();
        assert_eq!((taken.status, &*taken.summary), (status, summary), "{query}");
        assert_eq!(taken.latency_ns, query.contains("latency").then_some(12_500_000));
    }
    let long = push(&served, "?check=backup&status=ok", "", &"ä".repeat(10_000)).await;
    assert_eq!(long.json()["record"]["summary"].as_str().unwrap().len(), 1_024, "cut like a plugin's");
}

#[tokio::test]
async fn the_whole_form() {
    let served = start().await;
    let body = json!({
        "check": "mirror", "target": "eu", "status": 1, "summary": HOSTILE, "latency_ms": 0,
        "points": [{"series": "mirror", "tags": {"disk": "a,b=c d"}, "fields": {
            "files": 3, "share": 0.5, "whole": true, "newest": format!("x\n{HOSTILE}")}}],
        "findings": [{"subject": "repo/a", "status": "critical", "summary": "behind"}, {"subject": "b", "status": "0"}],
    });
    // Whatever it is declared to be.
    for headers in ["Content-Type: application/json\r\n", "Content-Type: application/x-www-form-urlencoded\r\n", ""] {
        let answer = push(&served, "", headers, &body.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let taken = served.agent.pushed.lock().unwrap().pop().unwrap();
    let clean = "<script>alert(1)</script>\" onload='x' \\ &amp; evil[31m";
    assert_eq!((taken.status, &*taken.summary, taken.latency_ns), (Status::Warning, clean, Some(0)));
    let point = &taken.points[0];
    assert_eq!(point.tags, [("disk".to_owned(), "a,b=c d".to_owned())]);
    let fields: Vec<(&str, &Field)> = point.fields.iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(
        fields,
        [
            ("files", &Field::Real(3.0)),
            ("newest", &Field::Text(format!("x {clean}"))),
            ("share", &Field::Real(0.5)),
            ("whole", &Field::Boolean(true)),
        ]
    );
    let findings: Vec<(&str, Status)> = taken.findings.iter().map(|f| (f.subject.as_str(), f.status)).collect();
    assert_eq!(findings, [("repo/a", Status::Critical), ("b", Status::Ok)]);
}

#[tokio::test]
async fn refusals_of_the_short_form() {
    let served = start().await;
    let json = "Content-Type: application/json\r\n";
    for (query, headers, body, status, error, hint) in [
        ("", "", "", 400, "the body is not what is taken here", "/api/v1/results?check=backup&status=ok"),
        ("?status=ok", "", "", 400, "`check` is missing", "check=backup"),
        ("?check=backup", "", "", 400, "`status` is missing", "status=ok"),
        ("?check=backup&status=", "", "", 400, "`status` is missing", "status=ok"),
        ("?check=backup&status=fine", "", "", 400, "status: `fine` is not known", "ok, warning, critical, unknown"),
        ("?check=backup&status=4", "", "", 400, "status: `4` is not known", "exit codes 0, 1, 2, 3"),
        ("?check=backup&status=ok&latency_ms=x", "", "", 400, "latency_ms", "12.5"),
        ("?check=backup&status=ok&latency_ms=-1", "", "", 400, "latency_ms", "12.5"),
        ("?check=backup&status=ok&latency_ms=NaN", "", "", 400, "latency_ms", "12.5"),
        ("?check=backup&status=ok&colour=red", "", "", 400, "`colour`", "known here are check, target, status"),
        ("?check=backup&status=ok", json, "{}", 400, "in the query and in the body", "send"),
        ("?check=bakcup&status=ok", "", "", 404, "no check `bakcup`", "backup, mirror"),
        ("?check=shop&status=ok", "", "", 409, "check `shop` runs by itself", "backup, mirror"),
        ("?check=mirror&status=ok", "", "", 404, "check `mirror` has no target ``", "its targets are: eu"),
        ("?check=mirror&target=us&status=ok", "", "", 404, "no target `us`", "its targets are: eu"),
        ("?check=backup&target=eu&status=ok", "", "", 404, "no target `eu`", "leave `target` out"),
        ("?check=backup&status=ok", "", "too slow", 409, "the store is behind", "/api/v1/checks"),
        ("?check=backup&status=ok", "", "stopping", 503, "stopping", "after the restart"),
    ] {
        let answer = push(&served, query, headers, body).await;
        let said = answer.json();
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        for (word, within) in [(error, &said["error"]), (hint, &said["hint"])] {
            assert!(within.as_str().unwrap().contains(word), "{query}: {word:?} is not in {said}");
        }
    }
    assert!(served.agent.pushed.lock().unwrap().is_empty());
}

/// A result with one point.
fn point(point: Value) -> Value {
    json!({"check": "backup", "status": "ok", "points": [point]})
}

#[tokio::test]
async fn refusals_of_the_whole_form() {
    let served = start().await;
    let many: serde_json::Map<String, Value> = (0..65).map(|n| (format!("f{n}"), 1.into())).collect();
    let tags: serde_json::Map<String, Value> = (0..17).map(|n| (format!("t{n}"), "x".into())).collect();
    let points: Vec<Value> = (0..1_001).map(|_| json!({"series": "s", "fields": {"x": 1}})).collect();
    let wide: Vec<Value> =
        (0..60).map(|_| json!({"subject": "s", "status": 1, "summary": "x".repeat(1_020)})).collect();
    for (body, error) in [
        (json!({"check": "backup", "status": "ok", "colour": 1}), "unknown field `colour`"),
        (json!({"check": "backup"}), "missing field `status`"),
        (json!({"check": "backup", "status": null}), "status: `null` is not known"),
        (json!({"check": "backup", "status": 1.5}), "status: `1.5` is not known"),
        (json!({"check": "backup", "status": "ok", "latency_ms": 1e13}), "latency_ms"),
        (point(json!({"series": "A b", "fields": {"x": 1}})), "`A b` is not a name"),
        (point(json!({"series": "a,b=c 1", "fields": {"x": 1}})), "`a,b=c 1` is not a name"),
        (point(json!({"series": "s", "fields": {"x y": 1}})), "`x y` is not a name"),
        (point(json!({"series": "s", "tags": {"_t": "x"}, "fields": {"x": 1}})), "`_t` is not a name"),
        (point(json!({"series": "check", "fields": {"x": 1}})), "`check` belongs to roundsman itself"),
        (point(json!({"series": "own", "fields": {"x": 1}})), "`own` belongs to http"),
        (point(json!({"series": "s", "tags": {"host": "x"}, "fields": {"x": 1}})), "`host` of series `s` is a tag"),
        (point(json!({"series": "s", "fields": {"team": 1}})), "`team` of series `s` is a tag"),
        (point(json!({"series": "s", "tags": {"x": "1"}, "fields": {"x": 1}})), "is a tag and a field"),
        (point(json!({"series": "s", "fields": {}})), "0 fields and 0 tags"),
        (point(json!({"series": "s", "fields": many})), "65 fields"),
        (point(json!({"series": "s", "tags": tags, "fields": {"x": 1}})), "17 tags"),
        (point(json!({"series": "s", "fields": {"x": null}})), "`x` of series `s` is no number"),
        (point(json!({"series": "s", "fields": {"x": [1]}})), "`x` of series `s` is no number"),
        (point(json!({"series": "s", "time": 1, "fields": {"x": 1}})), "unknown field `time`"),
        (json!({"check": "backup", "status": "ok", "points": points}), "limit `points` is used up"),
        (json!({"check": "backup", "status": "ok", "findings": wide}), "limit `output` is used up"),
        (json!({"check": "backup", "status": "ok", "findings": [{"subject": " ", "status": 0}]}), "no subject"),
        (json!({"check": "backup", "status": "ok", "findings": [{"subject": "a", "status": 9}]}), "status: `9`"),
    ] {
        let answer = push(&served, "", "", &body.to_string()).await;
        let said = answer.json();
        assert_eq!(answer.status, 400, "{error}: {}", answer.body);
        assert!(said["error"].as_str().unwrap().contains(error), "{error:?} is not in {said}");
        assert!(!said["hint"].as_str().unwrap().is_empty());
    }
    let huge = json!({"check": "backup", "status": "ok", "summary": "x".repeat(65_536)}).to_string();
    let bytes = request("POST", PATH, &authorised(), &huge);
    let answer = exchange(TcpStream::connect(served.address).await.unwrap(), &bytes).await;
    assert_eq!(answer.status, 413);
    assert!(served.agent.pushed.lock().unwrap().is_empty());
}
