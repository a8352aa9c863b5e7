//! Pages, metrics and probes: what people, scrapers and kubelets see.

use roundsman_model::record::{Finding, Status};
use roundsman_model::silence::Until;
use roundsman_model::state::State;
use roundsman_web::view;

use crate::client::{ask, get};
use crate::data::{key, silenced, subject};
use crate::fake::{HOSTILE, NOW, start};

/// What must not be in any page: markup that came in as text.
fn is_harmless(html: &str) {
    let lower = html.to_lowercase();
    for mark in ["<script", "onload='", "onload=\"", "\u{202e}", "\u{1b}", "javascript:", "style=\"", "src="] {
        assert!(!lower.contains(mark), "{mark:?} in {html}");
    }
}

#[tokio::test]
async fn pages_are_harmless() {
    let served = start().await;
    for path in
        ["/", "/?state=unknown", "/checks/hostile", "/checks/shop", "/checks/shop?target=eu", "/checks/disk?target="]
    {
        let answer = get(served.address, path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        assert_eq!(answer.header("content-type"), Some("text/html; charset=utf-8"));
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; style-src 'self'") && !policy.contains("unsafe"));
        is_harmless(&answer.body);
    }
    let page = get(served.address, "/checks/hostile").await.body;
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39; \\ &amp;amp;"), "{page}");
    assert!(page.contains("?target=%3Cscript%3E"), "{page}");
    let answer = get(served.address, "/checks/%3Cscript%3E").await;
    assert_eq!((answer.status, answer.header("content-type")), (404, Some("application/json")));
}

#[tokio::test]
async fn the_board_tells_everything() {
    let served = start().await;
    let page = get(served.address, "/").await.body;
    for text in [
        "<title>(1) node-a · Roundsman</title>",
        "node-a",
        "version 0.1.0",
        "1,234,567 records, 321 transitions, 100.0 MiB of 512.0 MiB",
        "influx old",
        "18,204 records wait",
        "connection refused",
        "blame: plugin",
        "critical × 2, not confirmed",
        "nothing was heard for 41 s",
        "plugin dns",
        "<b>plugin http</b> quarantined · 5 of 5 runs failed &lt;script&gt;",
        "in 6s",
        "unknown key `intervall`",
    ] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    let order: Vec<usize> = ["critical", "unknown", "stale", "warning", "pending", "skipped", "ok"]
        .map(|s| page.find(&format!("<tr class=\"{s}\">")).unwrap())
        .into();
    assert!(order.is_sorted(), "{order:?}");
    let only = get(served.address, "/?state=stale").await.body;
    assert_eq!(only.matches("<td class=\"name\">").count(), 1);
    served.agent.board.lock().unwrap().clear();
    assert!(get(served.address, "/").await.body.contains("No checks are configured yet."));
}

#[tokio::test]
async fn the_page_of_a_check_has_its_history() {
    let served = start().await;
    let page = get(served.address, "/checks/shop").await.body;
    for text in ["every 10s", "shop-team", "https://wiki.example/shop?a=1&amp;b=&quot;2&quot;", "older records"] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    assert_eq!(page.matches("<td class=\"status\">").count(), 50);
    let older = page.split("/checks/shop?before=").nth(1).unwrap().split('"').next().unwrap();
    let page = get(served.address, &format!("/checks/shop?before={older}")).await.body;
    assert_eq!(page.matches("<td class=\"status\">").count(), 50);
    assert_eq!(get(served.address, "/checks/none").await.status, 404);
}

/// What a state does not mean, and why it is as it is.
#[tokio::test]
async fn the_pages_tell_who_knows_and_what_failed() {
    let served = start().await;
    {
        let mut board = served.agent.board.lock().unwrap();
        let line = |board: &mut Vec<view::Subject>, check: &str, target: Option<&str>| {
            board.iter().position(|s| &*s.check == check && s.target.as_deref() == target).unwrap()
        };
        let eu = line(&mut board, "shop", Some("eu"));
        let until = Until::Instant(NOW + std::time::Duration::from_secs(3_600));
        let silence = silenced(7, "shop", Some("eu"), until);
        board[eu].silence = Some(view::Silence::of(&silence));
        board[eu].flapping = true;
        board[eu].suspect = true;
        let backup = line(&mut board, "backup", None);
        board[backup].skipped = Some(format!("depends on dns, which is critical {HOSTILE}"));
        let disk = line(&mut board, "disk", None);
        board[disk].shadow = true;
        let bad =
            |n| Finding { subject: format!("/mnt/{n} <b>"), status: Status::Critical, summary: "read-only".to_owned() };
        board[disk].findings = (0..9).map(bad).collect();
        served.agent.silences.lock().unwrap().push(silence);
    }
    let page = get(served.address, "/").await.body;
    is_harmless(&page);
    for text in [
        // The only critical one is silenced: nobody is called.
        "<title>node-a · Roundsman</title>",
        "<tr class=\"critical quiet\">",
        "silenced for another <time",
        "by ops &lt;b&gt;: known",
        "flapping",
        "suspect: this node’s own network was down",
        "not run: depends on dns, which is critical",
        "shadow: alarms nobody",
        "/mnt/0 &lt;b&gt;",
        "read-only",
        "and 1 more",
    ] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    let page = get(served.address, "/checks/shop?target=eu").await.body;
    is_harmless(&page);
    for text in [
        "Last failing runs",
        "<code>GET https://eu.shop.example/healthz</code> → <b>timeout while connecting &lt;script&gt;",
        "resolve 2.00 ms",
        "connect 1900 ms",
        "warn gave up: &lt;script&gt;",
        "<h2>Silences",
        "schedule, attempt 1",
        "0 2 * * sun (UTC) for 2h",
        "Depends on",
    ] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    assert_eq!(page.matches("class=\"failure critical\"").count(), 3);
    assert!(page.contains("<span class=\"badge\">flapping</span></td></tr>"), "the change was quiet: {page}");
    let ok = get(served.address, "/checks/disk?target=").await.body;
    assert_eq!(ok.matches("class=\"failure warning\"").count(), 1);
    assert!(!ok.contains("<h2>Silences"));
}

#[tokio::test]
async fn metrics_are_well_formed() {
    let served = start().await;
    let answer = get(served.address, "/metrics").await;
    assert_eq!(answer.header("content-type"), Some("application/openmetrics-text; version=1.0.0; charset=utf-8"));
    let page = answer.body;
    assert!(page.ends_with("# EOF\n"));
    for line in [
        "roundsman_build_info{version=\"0.1.0\",node=\"node-a\",cluster=\"prod\",zone=\"eu-1a\"} 1",
        "roundsman_states{state=\"critical\"} 1",
        "roundsman_state{check=\"shop\",target=\"eu\",plugin=\"http\"} 2",
        "roundsman_state{check=\"load\",plugin=\"http\"} 6",
        "roundsman_lag_seconds_bucket{le=\"0.01\"} 99",
        "roundsman_lag_seconds_bucket{le=\"+Inf\"} 100",
        "roundsman_lag_seconds_count 100",
        "roundsman_refusals_total{kind=\"network\"} 7",
        "roundsman_destination_backlog{destination=\"old\"} 18204",
        "roundsman_component_health{component=\"watcher\"} 1",
        "process_resident_memory_bytes 44040192",
        "process_cpu_seconds_total 12.5",
        "process_anonymous_memory_bytes 32505856",
        "process_max_fds 1024",
    ] {
        assert!(page.lines().any(|l| l == line), "{line} is not in {page}");
    }
    let mut family = String::new();
    let mut seen = std::collections::HashSet::new();
    for line in page.lines().filter(|line| *line != "# EOF") {
        match line.strip_prefix("# ").map(|rest| rest.split(' ').collect::<Vec<_>>()) {
            Some(words) if words[0] == "TYPE" => {
                words[1].clone_into(&mut family);
                assert!(seen.insert(family.clone()), "{family} comes twice");
            }
            Some(words) => assert_eq!((words[0], words[1]), ("HELP", family.as_str())),
            None => {
                assert!(line.starts_with(&family), "{line} stands under {family}");
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert!(value.parse::<f64>().is_ok(), "{line}");
                assert!(!name.contains('{') || name.ends_with("\"}"), "{line}");
                assert!(!line.chars().any(char::is_control));
            }
        }
    }
    let hostile = "fake_things_total{what=\"<script>alert(1)</script>\\\" onload='x' \\\\ &amp;\\n";
    assert!(page.contains(hostile), "{page}");
}

#[tokio::test]
async fn probes_tell_the_truth() {
    let served = start().await;
    let statuses = async |path: &str| get(served.address, path).await.status;
    assert_eq!([statuses("/livez").await, statuses("/readyz").await, statuses("/ready").await], [200; 3]);
    *served.agent.ready.lock().unwrap() = false;
    assert_eq!([statuses("/livez").await, statuses("/readyz").await, statuses("/ready").await], [200, 503, 503]);
    let answer = get(served.address, "/readyz").await.json();
    assert_eq!((&answer["ready"], &answer["components"][0]["health"]), (&false.into(), &"failed".into()));
    *served.agent.beating.lock().unwrap() = Err("the engine's loop has not turned for 12 s".to_owned());
    let answer = get(served.address, "/livez").await;
    assert_eq!((answer.status, &answer.json()["error"]), (503, &"the engine's loop has not turned for 12 s".into()));
}

#[tokio::test]
async fn as_kubenurse_answers() {
    let served = start().await;
    let headers = "Accept: */*\r\nUser-Agent: curl/8\r\nAuthorization: Bearer secret\r\nCookie: session=secret\r\n\
                   KUBENURSE-NEIGHBOUR-ORIGIN: pod-7\r\n";
    let answer = ask(served.address, "GET", "/alive?x=1", headers).await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("secret") && !answer.body.contains("session"), "{}", answer.body);
    assert!(answer.body.starts_with("{\n \"hostname\": \"node-a\",\n \"headers\": {"), "{}", answer.body);
    let alive = answer.json();
    assert_eq!(alive["headers"], serde_json::json!({"Accept": ["*/*"], "User-Agent": ["curl/8"]}));
    assert_eq!((&alive["user_agent"], &alive["request_uri"]), (&"curl/8".into(), &"/alive?x=1".into()));
    assert!(alive["remote_addr"].as_str().unwrap().starts_with("127.0.0.1:"));
    let results = &alive["last_check_result"];
    for (check, result) in [
        ("shop/us", "ok"),
        ("shop/eu", "connect 10.0.0.7:443: connection refused"),
        ("backup", "skipped"),
        ("dns", "pending"),
        ("load", "stale: nothing was heard for too long"),
        ("neighbourhood_state", "skipped"),
    ] {
        assert_eq!(results[check], result);
    }
    let keys: Vec<&String> = results.as_object().unwrap().keys().collect();
    assert!(keys.is_sorted());

    let happy = ask(served.address, "GET", "/alwayshappy", &format!("{headers}Host: any.ingress.example\r\n")).await;
    assert_eq!((happy.status, happy.body.as_str()), (200, ""));
    assert!(get(served.address, "/metrics").await.body.contains("roundsman_incoming_checks 1\n"));

    *served.agent.board.lock().unwrap() = vec![subject(&key("shop", None), State::Pending, HOSTILE, 1)];
    let early = get(served.address, "/alive").await;
    assert_eq!((early.status, early.body.as_str()), (500, ""));
}
