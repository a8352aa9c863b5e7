//! Silences over the API: every way in, every refusal, and the end.

use roundsman_model::silence::Until;
use roundsman_model::time::Timestamp;
use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::api::{authorised, conforms};
use crate::client::{Answer, ask, exchange, get, request};
use crate::data::silenced;
use crate::fake::{HOSTILE, NOW, Served, start};

const PATH: &str = "/api/v1/silences";

async fn add(served: &Served, body: &str) -> Answer {
    let bytes = request("POST", PATH, &authorised(), body);
    let answer = exchange(TcpStream::connect(served.address).await.unwrap(), &bytes).await;
    conforms(PATH, "post", &answer);
    answer
}

#[tokio::test]
async fn a_silence_begins() {
    let served = start().await;
    let hour = "2026-11-20T12:00:00.000000000Z";
    for (asked, target, until) in [
        (json!({"check": "shop", "for": "1h"}), None, Some(hour)),
        (json!({"check": "shop", "target": "eu", "until": "2026-11-20T12:00:00Z"}), Some("eu"), Some(hour)),
        (json!({"target": "eu", "until": "2026-11-20T13:00:00+01:00"}), Some("eu"), Some(hour)),
        (json!({"for": "1h"}), None, Some(hour)),
        (json!({"check": "disk", "target": "", "for": "1h"}), Some(""), Some(hour)),
        (json!({"check": "shop", "target": "eu", "untilOk": true}), Some("eu"), None),
        (json!({"check": "shop", "target": "eu", "until_ok": true}), Some("eu"), None),
        // The only target there is need not be named.
        (json!({"check": "disk", "untilOk": true}), Some(""), None),
        (json!({"check": "hostile", "untilOk": true}), Some(HOSTILE), None),
    ] {
        let mut body = asked.clone();
        body["author"] = "ops\n".into();
        body["reason"] = "  known, \u{1b}[31msee\tticket 7 ".into();
        let answer = add(&served, &body.to_string()).await;
        let silence = answer.json()["silence"].take();
        assert_eq!(answer.status, if target == Some(HOSTILE) { 400 } else { 201 }, "{asked}: {}", answer.body);
        if answer.status == 400 {
            continue;
        }
        assert_eq!((&silence["check"], &silence["target"]), (&asked["check"], &json!(target)), "{asked}");
        assert_eq!((&silence["until"], &silence["until_ok"]), (&json!(until), &json!(until.is_none())), "{asked}");
        assert_eq!((&silence["author"], &silence["reason"]), (&json!("ops"), &json!("known, [31msee ticket 7")));
    }
    let listed = get(served.address, PATH).await;
    conforms(PATH, "get", &listed);
    let ids: Vec<u64> =
        listed.json()["silences"].as_array().unwrap().iter().map(|s| s["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [8, 7, 6, 5, 4, 3, 2, 1]);
}

#[tokio::test]
async fn what_is_no_silence() {
    let served = start().await;
    let long = "x".repeat(1_025);
    let by = r#""author":"a","reason":"r""#;
    for (body, status, error, hint) in [
        (String::new(), 400, "the body is not what is taken here: EOF", r#"send for instance {"check""#),
        ("[]".to_owned(), 400, "the body is not", "send for instance"),
        (format!(r#"{{"check":"shop","for":"1h","colour":1,{by}}}"#), 400, "unknown field `colour`", "send for"),
        (r#"{"check":"shop","for":"1h","author":"a"}"#.to_owned(), 400, "missing field `reason`", "send for"),
        (format!(r#"{{"check":"shop","for":"1x",{by}}}"#), 400, "`1x` is not a duration", "send for"),
        (format!(r#"{{"check":"shop",{by}}}"#), 400, "not said when the silence ends", r#""untilOk": true"#),
        (format!(r#"{{"check":"shop","untilOk":false,{by}}}"#), 400, "not said when", r#""for": "1h""#),
        (format!(r#"{{"check":"shop","for":"1h","untilOk":true,{by}}}"#), 400, "said twice", "for"),
        (format!(r#"{{"check":"shop","for":"0",{by}}}"#), 400, "over already", "it is 2026-11-20T11:00:00"),
        (format!(r#"{{"check":"shop","until":"2026-11-20T10:59:59Z",{by}}}"#), 400, "over already", "it is 2026"),
        (format!(r#"{{"check":"shop","until":"tomorrow",{by}}}"#), 400, "`tomorrow` is not a time", "write"),
        (format!(r#"{{"check":"shop","for":"367d",{by}}}"#), 400, "longer than a year", "`shadow: true`"),
        (r#"{"check":"shop","for":"1h","author":" ","reason":"r"}"#.to_owned(), 400, "the author is empty", "send"),
        (
            format!(r#"{{"check":"shop","for":"1h","author":"a","reason":"{long}"}}"#),
            400,
            "the reason has 1025 bytes: shorten it to 1024",
            "send",
        ),
        (format!(r#"{{"check":"shob","for":"1h",{by}}}"#), 404, "no check `shob`", "backup, conntrack, disk, dns"),
        (format!(r#"{{"check":"shop","target":"mars","for":"1h",{by}}}"#), 404, "no target `mars`", "asia, eu, us"),
        (format!(r#"{{"check":"shop","untilOk":true,{by}}}"#), 400, "one check and one target", "shop/asia, shop/eu;"),
        (format!(r#"{{"target":"eu","untilOk":true,{by}}}"#), 400, "one check and one target", "shop/eu"),
        (refused("nothing is wrong"), 409, "nothing to acknowledge", "for"),
        (refused("too many"), 409, "1000 silences already", "/api/v1/silences lists them"),
        (refused("disk full"), 503, "the store did not take it", "health of the store"),
        (refused("removed meanwhile"), 404, "no such check or target", "/api/v1/status"),
        (refused("stopping"), 503, "stopping", "after the restart"),
    ] {
        let answer = add(&served, &body).await;
        let said = answer.json();
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        for (word, within) in [(error, &said["error"]), (hint, &said["hint"])] {
            assert!(within.as_str().unwrap().contains(word), "{body}: {word:?} is not in {said}");
        }
    }
    assert!(served.agent.silences.lock().unwrap().is_empty());
    let answer = ask(served.address, "POST", "/api/v1/silences?check=shop", &authorised()).await;
    assert_eq!((answer.status, &answer.json()["hint"]), (400, &json!("this takes no parameters")));
}

/// A body whose reason the fake agent takes as what is to happen.
fn refused(reason: &str) -> String {
    json!({"check": "shop", "target": "eu", "untilOk": true, "author": "a", "reason": reason}).to_string()
}

#[tokio::test]
async fn a_silence_ends() {
    let served = start().await;
    let over = Until::Instant(Timestamp(NOW.0 - 1));
    *served.agent.silences.lock().unwrap() = vec![
        silenced(3, "shop", None, Until::Recovery),
        silenced(4, "disk", Some(""), Until::Instant(Timestamp(NOW.0 + 1))),
        silenced(5, "disk", None, over),
    ];
    for (filter, ids) in [
        ("", vec![4, 3]),
        ("?check=shop", vec![3]),
        ("?check=disk&target=", vec![4]),
        ("?check=disk&target=other", vec![]),
        ("?target=eu", vec![3]),
        ("?check=none", vec![]),
        ("?limit=1", vec![4]),
        ("?limit=1&before=4", vec![3]),
    ] {
        let listed = get(served.address, &format!("{PATH}{filter}")).await.json();
        let found: Vec<u64> =
            listed["silences"].as_array().unwrap().iter().map(|s| s["id"].as_u64().unwrap()).collect();
        assert_eq!(found, ids, "{filter}");
    }
    for (id, status) in [("3", 200), ("3", 404), ("99", 404), ("x", 404), ("-1", 404), ("4?force=1", 400)] {
        let answer = ask(served.address, "DELETE", &format!("{PATH}/{id}"), &authorised()).await;
        assert_eq!(answer.status, status, "{id}: {}", answer.body);
        conforms("/api/v1/silences/{id}", "delete", &answer);
        if id == "3" && status == 200 {
            assert_eq!(answer.json()["silence"]["reason"], Value::from(format!("known {HOSTILE}")));
        }
    }
    assert_eq!(get(served.address, PATH).await.json()["total"], 1);
}
