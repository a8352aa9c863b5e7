//! Server-sent events: what is sent, to whom, and what becomes of listeners that do not keep up.

use std::time::{Duration, Instant};

use roundsman_model::record::Status;
use roundsman_web::view;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{PATIENCE, get, read_until, request};
use crate::data::{key, record};
use crate::fake::{EVENTS, HOSTILE, Served, start};

async fn listen(served: &Served, query: &str) -> TcpStream {
    let mut socket = TcpStream::connect(served.address).await.unwrap();
    socket.write_all(&request("GET", &format!("/api/v1/events{query}"), "", "")).await.unwrap();
    let head = read_until(&mut socket, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
    socket
}

fn ran(check: &str, target: Option<&str>, summary: &str) -> view::Event {
    view::Event::Record(view::Ran::of(&record(&key(check, target), 1, Status::Ok, summary)))
}

fn plugin() -> view::Event {
    view::Event::Plugin { name: "http".into(), state: view::PluginState::Ready }
}

#[tokio::test]
async fn events_arrive_as_they_happen() {
    let served = start().await;
    let mut all = listen(&served, "").await;
    let mut some = listen(&served, "?check=shop&target=eu&event=record").await;
    let send = |event| served.agent.events.send(event).unwrap();
    send(plugin());
    send(ran("disk", None, "no"));
    send(ran("shop", Some("us"), "no"));
    send(ran("shop", Some("eu"), HOSTILE));
    let text = read_until(&mut all, "alert").await;
    assert!(
        text.contains("event: plugin\ndata: {\"event\":\"plugin\",\"name\":\"http\",\"state\":\"ready\"}\n\n"),
        "{text}"
    );
    assert_eq!(text.matches("event: record\n").count(), 3);
    let text = read_until(&mut some, "\n\n").await;
    assert_eq!(text.matches("event: ").count(), 1, "{text}");
    let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    assert_eq!((&data["check"], &data["target"], &data["summary"]), (&"shop".into(), &"eu".into(), &HOSTILE.into()));
}

#[tokio::test]
async fn a_listener_that_falls_behind_is_told_and_dropped() {
    let served = start().await;
    let mut socket = listen(&served, "").await;
    // Nothing is awaited in between, so that the server cannot pass any of them on.
    for _ in 0..=2 * EVENTS {
        served.agent.events.send(plugin()).unwrap();
    }
    let text = read_until(&mut socket, "0\r\n\r\n").await;
    assert!(text.contains("event: dropped\ndata: {\"missed\":"), "{text}");
    let metrics = get(served.address, "/metrics").await.body;
    assert!(metrics.contains("roundsman_http_event_streams_dropped_total 1\n"), "{metrics}");
}

#[tokio::test]
async fn a_listener_that_stops_reading_is_cut() {
    let served = start().await;
    let socket = listen(&served, "").await;
    let large = ran("shop", None, &"x".repeat(1 << 20));
    let start = Instant::now();
    loop {
        let listening = served.agent.events.receiver_count();
        if listening == 0 {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "the connection is still there");
        // Nobody left to receive is what the loop waits for.
        served.agent.events.send(large.clone()).ok();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = get(served.address, "/metrics").await.body;
    assert!(metrics.contains("roundsman_http_event_streams_dropped_total 1\n"), "{metrics}");
    assert!(metrics.contains("roundsman_http_event_streams 0\n"), "{metrics}");
    drop(socket);
}

#[tokio::test]
async fn listeners_are_few_and_end_with_the_agent() {
    let served = start().await;
    let mut sockets = Vec::new();
    for _ in 0..32 {
        sockets.push(listen(&served, "").await);
    }
    let answer = get(served.address, "/api/v1/events").await;
    assert_eq!(answer.status, 503, "{}", answer.body);
    served.stop.cancel();
    served.tasks.close();
    tokio::time::timeout(PATIENCE, served.tasks.wait()).await.expect("serving ends");
}
