//! The plugin tcp.

use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::bench::{closed, number, probe, serve};

#[test]
fn tcp_ports() {
    let greeting = serve(|mut stream| {
        drop(stream.write_all(b"220 mail ready\r\n"));
        let mut line = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut line) {
            if stream.write_all(format!("250 {}", String::from_utf8_lossy(&line[..count])).as_bytes()).is_err() {
                break;
            }
        }
    });
    for (settings, status, says) in [
        (json!({}), "ok", "connected to 127.0.0.1:"),
        (json!({"expect": "^220 "}), "ok", "got `220 mail ready`"),
        (json!({"send": "NOOP\r\n", "expect": "250 NOOP"}), "ok", "got `220 mail ready`"),
        (json!({"expect": "^SSH"}), "critical", "timeout (receive): /^SSH/ did not come; got `220 mail ready`"),
        (json!({"expect": "^SSH", "maxBytes": "4"}), "critical", "/^SSH/ is not in the first 4 bytes; got `220 `"),
    ] {
        let seen = probe("tcp", &settings, &["--target", &greeting.to_string(), "--timeout", "1s"]);
        seen.assert(status, says);
        let point = seen.point("tcp");
        let ms = |name: &str| number(&point[name], "Real");
        assert!(ms("connect_ms") > 0.0 && ms("total_ms") >= ms("connect_ms"), "{point:?}");
        assert_eq!(point.contains_key("first_byte_ms"), settings != json!({}), "{point:?}");
        assert!(!point.contains_key("resolve_ms"), "an address needs no look-up: {point:?}");
    }
    let hung_up = serve(drop);
    let seen = probe("tcp", &json!({"expect": "x"}), &["--target", &hung_up.to_string()]);
    seen.assert("critical", "closed before /x/ came; nothing came");
    let seen = probe("tcp", &json!({}), &["--target", &closed().to_string()]);
    seen.assert("critical", "refused (connect): 127.0.0.1:");
    assert_eq!(seen.report["latency_ms"], Value::Null);
    let seen = probe("tcp", &json!({"address": greeting.to_string()}), &[]);
    seen.assert("unknown", &format!("add to the check: allow: {{network: [\"tcp://{greeting}\"]}}"));
    let named = format!("localhost:{}", greeting.port());
    let seen = probe("tcp", &json!({}), &["--target", &named]);
    seen.assert("ok", "connected to localhost:");
    assert!(number(&seen.point("tcp")["resolve_ms"], "Real") >= 0.0);
}
