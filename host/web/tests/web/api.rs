//! Routes, shapes, filters, paging, errors; and the document that describes them.

use roundsman_model::silence::Until;
use roundsman_web::routes;
use serde_json::Value;

use crate::client::{Answer, ask, get, request};
use crate::data::silenced;
use crate::fake::{HOSTILE, TOKEN, network, start};

const DOCUMENT: &str = include_str!("../../openapi.json");

fn document() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

pub(crate) fn authorised() -> String {
    format!("Authorization: Bearer {TOKEN}\r\n")
}

#[test]
fn the_document_lists_exactly_the_routes() {
    let document = document();
    let documented = document["paths"].as_object().unwrap().iter().flat_map(|(path, methods)| {
        methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
    });
    let mut documented: Vec<(String, String)> = documented.collect();
    let mut served: Vec<(String, String)> = routes().map(|r| (r.method.to_owned(), r.path.to_owned())).collect();
    documented.sort();
    served.sort();
    assert_eq!(documented, served);
}

/// Whether an answer has the shape that the document promises.
pub(crate) fn conforms(path: &str, method: &str, answer: &Answer) {
    let mut document = document();
    let responses = document["paths"][path][method]["responses"].as_object().unwrap().clone();
    let promised = responses.get(&answer.status.to_string()).unwrap_or(&responses["default"]);
    let promised = match promised["$ref"].as_str() {
        Some(_) => document["components"]["responses"]["Error"].clone(),
        None => promised.clone(),
    };
    let kind = answer.header("content-type").unwrap_or("").split(';').next().unwrap().to_owned();
    let Some(content) = promised.get("content") else {
        assert_eq!(answer.body, "", "{path}");
        return;
    };
    let mut schema = content[&kind]["schema"].clone();
    assert!(schema.is_object(), "{path} {} answers {kind}, which is not documented", answer.status);
    if kind != "application/json" {
        return;
    }
    schema["components"] = document["components"].take();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let instance = answer.json();
    let errors: Vec<String> =
        validator.iter_errors(&instance).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:#?}");
}

#[tokio::test]
async fn every_answer_is_as_documented() {
    let served = start().await;
    for route in routes().filter(|route| route.method == "GET" && route.path != "/api/v1/events") {
        for name in ["shop", "none"] {
            let answer = get(served.address, &route.path.replace("{name}", name)).await;
            let expected = if route.path.contains('{') && name == "none" { 404 } else { 200 };
            assert_eq!(answer.status, expected, "{} {}", route.path, answer.body);
            conforms(route.path, "get", &answer);
        }
    }
}

#[tokio::test]
async fn parameters_are_those_of_the_document() {
    let served = start().await;
    let document = document();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let Some(parameters) = methods["get"]["parameters"].as_array() else { continue };
        let known: Vec<&str> =
            parameters.iter().filter(|p| p["in"] == "query").map(|p| p["name"].as_str().unwrap()).collect();
        let real = path.replace("{name}", "shop");
        let answer = get(served.address, &format!("{real}?colour=red")).await;
        assert_eq!(answer.status, 400, "{path}");
        conforms(path, "get", &answer);
        assert_eq!(answer.json()["hint"], format!("known here are {}", known.join(", ")), "{path}");
        let name = known[0];
        assert_eq!(get(served.address, &format!("{real}?{name}=ok&{name}=ok")).await.status, 400, "{path}: twice");
    }
}

#[tokio::test]
async fn filters() {
    let served = start().await;
    for (path, list, expected) in [
        ("status", "status", 13),
        ("status?check=shop", "status", 3),
        ("status?check=shop&target=eu", "status", 1),
        ("status?check=shop&target=", "status", 0),
        ("status?target=", "status", 9),
        ("status?state=critical", "status", 1),
        ("status?state=stale", "status", 1),
        ("status?since=10m&state=critical", "status", 1),
        ("status?since=1m&state=critical", "status", 0),
        ("status?until=10m&state=critical", "status", 0),
        ("status?limit=2", "status", 2),
        ("checks", "checks", 5),
        ("checks?check=disk", "checks", 1),
        ("checks?plugin=http&limit=2", "checks", 2),
        ("checks?plugin=tcp", "checks", 0),
        ("checks?limit=1&before=hostile", "checks", 1),
        ("checks?before=shop", "checks", 0),
        ("plugins?before=broken", "plugins", 2),
        ("silences", "silences", 0),
        ("plugins", "plugins", 3),
        ("plugins?plugin=http", "plugins", 1),
        ("records", "records", 100),
        ("records?limit=1000", "records", 122),
        ("records?limit=999999999", "records", 122),
        ("records?check=disk", "records", 1),
        ("records?check=disk&target=", "records", 1),
        ("records?check=shop&target=", "records", 0),
        ("records?check=shop&target=eu&status=critical", "records", 60),
        ("records?status=warning", "records", 1),
        ("records?check=absent", "records", 0),
        ("records?check=shop&limit=1000&since=2000s", "records", 120),
        ("records?check=shop&limit=1000&since=1000s", "records", 20),
        ("records?check=shop&limit=1000&until=1000s", "records", 101),
        ("records?check=shop&since=1100s&until=1000s", "records", 11),
        ("records?check=shop&target=eu&story=true", "records", 100),
        ("records?check=shop&target=eu&story=false", "records", 100),
        ("records?check=shop&since=2026-11-20T10:43:20Z", "records", 20),
        ("transitions", "transitions", 2),
        ("transitions?state=critical", "transitions", 1),
        ("transitions?check=shop&since=1h", "transitions", 1),
        ("transitions?until=1h", "transitions", 0),
    ] {
        let answer = get(served.address, &format!("/api/v1/{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.json()[list].as_array().map(Vec::len), Some(expected), "{path}");
    }
}

#[tokio::test]
async fn the_board_is_sorted_worst_first() {
    let served = start().await;
    let answer = get(served.address, "/api/v1/status").await.json();
    let states: Vec<&str> = answer["status"].as_array().unwrap().iter().map(|s| s["state"].as_str().unwrap()).collect();
    assert_eq!(states[..7], ["critical", "unknown", "stale", "warning", "pending", "skipped", "ok"]);
    assert_eq!((&answer["total"], &answer["worst"]), (&13.into(), &"critical".into()));
    assert_eq!(answer["status"][0]["since"], "2026-11-20T10:54:48.000000000Z");
}

#[tokio::test]
async fn pages_hold_every_record_once() {
    let served = start().await;
    for filter in ["", "&check=shop", "&check=shop&until=1000s", "&status=critical", "&until=1h"] {
        let whole = get(served.address, &format!("/api/v1/records?limit=1000{filter}")).await.json();
        let mut gathered: Vec<Value> = Vec::new();
        let mut before = String::new();
        loop {
            let page = get(served.address, &format!("/api/v1/records?limit=7{filter}{before}")).await.json();
            let records = page["records"].as_array().unwrap();
            assert!(records.len() <= 7);
            gathered.extend(records.iter().cloned());
            match page["next_before"].as_i64() {
                Some(next) => before = format!("&before={next}"),
                None => break,
            }
        }
        assert_eq!(Value::Array(gathered), whole["records"], "{filter}");
    }
}

#[tokio::test]
async fn pages_of_lists_hold_everything_once() {
    let served = start().await;
    for (list, filter) in
        [("status", ""), ("status", "&check=shop"), ("checks", ""), ("plugins", ""), ("silences", "&check=shop")]
    {
        for id in 1..=5 {
            served.agent.silences.lock().unwrap().push(silenced(id, "shop", None, Until::Recovery));
        }
        let whole = get(served.address, &format!("/api/v1/{list}?limit=1000{filter}")).await.json();
        assert!(whole.get("next_before").is_none());
        let mut gathered: Vec<Value> = Vec::new();
        let mut before = String::new();
        loop {
            let page = get(served.address, &format!("/api/v1/{list}?limit=2{filter}{before}")).await.json();
            assert_eq!(page["total"], whole["total"], "{list}");
            gathered.extend(page[list].as_array().unwrap().iter().cloned());
            match &page["next_before"] {
                Value::Null => break,
                Value::String(next) => before = format!("&before={}", encoded(next)),
                next => before = format!("&before={next}"),
            }
        }
        assert_eq!(Value::Array(gathered), whole[list], "{list}{filter}");
        served.agent.silences.lock().unwrap().clear();
    }
}

/// Every byte in percent, as names of targets may need it.
fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[tokio::test]
async fn bad_parameters_say_what_is_good() {
    let served = start().await;
    for (path, error, hint) in [
        ("records?limit=0", "limit: `0` is not a number from 1", "at most 1000"),
        ("records?limit=-1", "limit: `-1` is not a number from 1", "at most 1000"),
        ("records?before=x", "before: not a number", "use the `next_before` of the page before"),
        ("records?status=bad", "status: unknown word `bad`", "known are ok, warning, critical, unknown"),
        (
            "status?state=fine",
            "state: unknown word `fine`",
            "known are ok, warning, critical, unknown, pending, skipped, stale",
        ),
        (
            "records?check=shop&story=true",
            "story: told of one check and target only",
            "add check=…&target=…, with an empty target for the node itself, or GET /api/v1/checks/{name}",
        ),
        ("records?check=shop&target=eu&story=yes", "story: unknown word", "known are true, false"),
        ("status?before=x", "before: not a place on the board", "use the `next_before` of the page before"),
        ("status?before=x/y/z", "before: not a place on the board", "use the `next_before` of the page before"),
        ("silences?before=x", "before: not a number", "use the `next_before` of the page before"),
        ("events?event=x", "event: unknown word `x`", "known are record, transition, plugin, checks"),
    ] {
        let answer = get(served.address, &format!("/api/v1/{path}")).await;
        let body = answer.json();
        assert_eq!((answer.status, &body["error"], &body["hint"]), (400, &error.into(), &hint.into()), "{path}");
    }
    let answer = get(served.address, "/api/v1/records?since=yesterday").await.json();
    assert!(answer["error"].as_str().unwrap().starts_with("since: `yesterday` is not a time"), "{answer}");
    let answer = get(served.address, "/api/v1/records?check=Sh%20op").await;
    assert_eq!(answer.status, 400);
}

#[tokio::test]
async fn run_now() {
    let served = start().await;
    let path = "/api/v1/checks/{name}/run";
    for (name, status, error) in [
        ("shop", 200, ""),
        ("shop/run?target=eu", 200, ""),
        ("shop/run?target=", 200, ""),
        ("shop/run?target=mars", 404, "check `shop` has no target `mars`"),
        ("none", 404, "there is no check `none` on this node"),
        ("disk", 409, "disk is being run at the moment"),
        ("dns", 409, "the check cannot be run: its plugin is being compiled"),
        ("load", 503, "the agent is stopping"),
        ("shop/run?where=eu", 400, "unknown parameter `where`"),
    ] {
        let asked = if name.contains('/') { format!("/api/v1/checks/{name}") } else { path.replace("{name}", name) };
        let answer = ask(served.address, "POST", &asked, &authorised()).await;
        assert_eq!(answer.status, status, "{asked}: {}", answer.body);
        conforms(path, "post", &answer);
        match status {
            200 => assert_eq!(answer.json()["records"][0]["origin"], "run-now"),
            _ => assert_eq!(answer.json()["error"], error),
        }
    }
    assert_eq!(ask(served.address, "POST", "/api/v1/checks/shop/run", "").await.status, 401);
}

#[tokio::test]
async fn release_of_a_plugin() {
    let served = start().await;
    let path = "/api/v1/plugins/{name}/release";
    for (name, status, error) in [
        ("http", 200, ""),
        ("dns", 409, "plugin `dns` is running: there is nothing to release it from"),
        ("none", 404, "there is no plugin `none` on this node"),
        ("broken", 503, "the store did not take it, so that it would be forgotten with the next restart"),
        ("load", 503, "the agent is stopping"),
    ] {
        let answer = ask(served.address, "POST", &path.replace("{name}", name), &authorised()).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.body);
        conforms(path, "post", &answer);
        match status {
            200 => assert_eq!(answer.json()["plugin"]["name"], name),
            _ => assert_eq!(answer.json()["error"], error),
        }
    }
    assert_eq!(ask(served.address, "POST", "/api/v1/plugins/http/release?x=1", &authorised()).await.status, 400);
}

#[tokio::test]
async fn what_is_not_there() {
    let served = start().await;
    for (method, path, status) in [
        ("GET", "/nowhere", 404),
        ("GET", "/api/v1/", 404),
        ("POST", "/api/v1/status", 405),
        ("GET", "/api/v1/checks/shop/run", 405),
    ] {
        let answer = ask(served.address, method, path, &authorised()).await;
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.json()["hint"].as_str().unwrap().contains("openapi.json"));
    }
    let head = ask(served.address, "HEAD", "/api/v1/status", "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn hostile_text_stays_text_in_json() {
    let served = start().await;
    let record = get(served.address, "/api/v1/records?check=hostile").await.json()["records"][0].take();
    assert_eq!(record["summary"], HOSTILE);
    assert_eq!(record["points"][0]["fields"]["server"], HOSTILE);
    assert_eq!(record["points"][0]["fields"]["status"], 200);
    let answer = get(served.address, "/api/v1/status?check=hostile").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.json()["status"][0]["target"], HOSTILE);
}

#[tokio::test]
async fn authority_over_sockets() {
    let served = start().await;
    let good = authorised();
    for (method, path, headers, status) in [
        ("GET", "/api/v1/status", "", 200),
        ("GET", "/api/v1/status", "X-Forwarded-For: 203.0.113.9\r\n", 401),
        ("GET", "/livez", "X-Forwarded-For: 203.0.113.9\r\n", 200),
        ("POST", "/api/v1/checks/shop/run", "", 401),
        ("POST", "/api/v1/checks/shop/run", good.as_str(), 200),
        ("POST", "/api/v1/silences", "", 401),
        ("POST", "/api/v1/plugins/http/release", "", 401),
        ("DELETE", "/api/v1/silences/1", "", 401),
        ("POST", "/api/v1/results?check=backup&status=ok", "", 401),
        ("GET", "/", "Host: evil.example\r\n", 421),
        ("GET", "/", "Host: NODE-A:80\r\n", 200),
        ("GET", "/", "Host: [::1]:9640\r\n", 200),
    ] {
        let answer = ask(served.address, method, path, headers).await;
        assert_eq!(answer.status, status, "{method} {path} {headers}");
        assert_eq!(answer.header("www-authenticate").is_some(), status == 401);
        if status >= 400 {
            assert!(!answer.json()["hint"].as_str().unwrap().is_empty());
            assert!(!answer.body.contains(TOKEN));
        }
    }
    let metrics = get(served.address, "/metrics").await.body;
    assert!(metrics.contains("\nroundsman_http_requests_refused_total 7\n"), "{metrics}");
}

#[tokio::test]
async fn a_unix_socket_is_the_owners() {
    let served = start().await;
    let path = served.directory.path().join("agent.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let (app, stop) = (served.app.clone(), served.stop.clone());
    let authority = roundsman_web::authority::Authority::Owner;
    served.tasks.spawn(roundsman_web::serve::serve(listener.into(), app, authority, stop));
    for (method, path_asked) in [("POST", "/api/v1/checks/shop/run"), ("GET", "/api/v1/status"), ("GET", "/alive")] {
        let socket = tokio::net::UnixStream::connect(&path).await.unwrap();
        let answer =
            crate::client::exchange(socket, &request(method, path_asked, "Host: anything.example\r\n", "")).await;
        assert_eq!(answer.status, 200, "{path_asked}");
    }
    served.stop.cancel();
    served.tasks.close();
    served.tasks.wait().await;
}

#[test]
fn nothing_of_the_token_is_printed() {
    assert!(!format!("{:?}", network()).contains(&TOKEN[..8]));
}
