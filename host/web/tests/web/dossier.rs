//! One check, whole: what somebody needs who is woken by it.

use roundsman_model::silence::Until;

use crate::client::get;
use crate::data::silenced;
use crate::fake::{HOSTILE, start};

#[tokio::test]
async fn everything_about_one_check() {
    let served = start().await;
    *served.agent.silences.lock().unwrap() = vec![
        silenced(1, "shop", Some("eu"), Until::Recovery),
        silenced(2, "disk", None, Until::Recovery),
        silenced(3, "shop", None, Until::Recovery),
    ];
    let shop = get(served.address, "/api/v1/checks/shop").await.json();
    assert_eq!((&shop["check"]["owner"], &shop["check"]["schedule"]), (&"shop-team".into(), &"every 10s".into()));
    let targets: Vec<&str> = shop["status"].as_array().unwrap().iter().map(|s| s["target"].as_str().unwrap()).collect();
    assert_eq!(targets, ["eu", "asia", "us"], "worst first");
    let failures = shop["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 3, "the last runs of the one that failed");
    assert!(failures.is_sorted_by_key(|failure| std::cmp::Reverse(failure["id"].as_i64())));
    let story = &failures[0]["story"];
    assert_eq!(story["calls"][0]["what"], "GET https://eu.shop.example/healthz");
    assert_eq!(story["calls"][0]["phases"][1], serde_json::json!({"phase": "connect", "duration_ms": 1900.0}));
    assert_eq!(story["log"][0], serde_json::json!({"level": "warn", "text": format!("gave up: {HOSTILE}")}));
    assert_eq!(shop["records"].as_array().unwrap().len(), 10);
    assert_eq!(shop["transitions"][0]["quiet"], "flapping");
    let ids = |of: &serde_json::Value| {
        of["silences"].as_array().unwrap().iter().map(|s| s["id"].as_u64()).collect::<Vec<_>>()
    };
    assert_eq!(ids(&shop), [Some(1), Some(3)]);

    let asia = get(served.address, "/api/v1/checks/shop?target=asia").await.json();
    assert_eq!((asia["status"].as_array().unwrap().len(), asia["failures"].as_array().unwrap().len()), (1, 0));
    assert_eq!(ids(&asia), [Some(3)]);
    let disk = get(served.address, "/api/v1/checks/disk?target=").await.json();
    assert_eq!(disk["failures"][0]["summary"], "/var: 91 % used");

    for (path, error, hint) in [
        ("shob", "there is no check `shob` on this node", "backup, disk, hostile, mirror, shop"),
        ("%3Cb%3E", "there is no check `<b>` on this node", "GET /api/v1/checks lists them"),
        ("shop?target=mars", "check `shop` has no target `mars`", "its targets are: asia, eu, us"),
    ] {
        let answer = get(served.address, &format!("/api/v1/checks/{path}")).await;
        let said = answer.json();
        assert_eq!((answer.status, &said["error"]), (404, &error.into()), "{path}");
        assert!(said["hint"].as_str().unwrap().contains(hint), "{said}");
    }
}

#[tokio::test]
async fn stories_of_records() {
    let served = start().await;
    let path = "/api/v1/records?check=shop&target=eu&limit=20";
    let plain = get(served.address, path).await.json();
    assert!(plain["records"].as_array().unwrap().iter().all(|record| record.get("story").is_none()));
    let told = get(served.address, &format!("{path}&story=true")).await.json();
    let stories: Vec<bool> = told["records"].as_array().unwrap().iter().map(|r| r.get("story").is_some()).collect();
    let kept = roundsman_store::STORIES_KEPT;
    assert!(stories[..kept].iter().all(|there| *there), "{stories:?}");
    let node = get(served.address, "/api/v1/records?check=disk&target=&story=true").await.json();
    assert_eq!(node["records"][0]["story"]["log"][0]["level"], "warn");
}
