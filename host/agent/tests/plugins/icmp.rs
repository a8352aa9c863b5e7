//! The plugin icmp against this machine's own loopback.

use serde_json::json;

use crate::bench::{number, probe};
use crate::support::servers::skipped;

/// Whether this machine lets us ping without privilege, or with those that we have.
fn may_ping() -> bool {
    let seen = probe("icmp", &json!({"count": 1}), &["--target", "icmp://127.0.0.1"]);
    let refused = seen.summary().contains("ping_group_range");
    if refused {
        skipped("pinging needs net.ipv4.ping_group_range or CAP_NET_RAW");
    }
    !refused
}

#[test]
fn the_loopback_answers() {
    if !may_ping() {
        return;
    }
    let settings = json!({"count": 5, "interval": "2ms", "size": "100"});
    for target in ["icmp://127.0.0.1", "icmp://[::1]", "icmp://localhost"] {
        let seen = probe("icmp", &settings, &["--target", target]);
        if target.contains("::1") && seen.summary().contains("unreachable") {
            // No IPv6 here.
            continue;
        }
        seen.assert("ok", "5 of 5 answered, round trip ");
        let point = seen.point("icmp");
        assert_eq!((&point["sent"], &point["received"], &point["loss_percent"]), (&json!(5), &json!(5), &json!(0.0)));
        let ms = |name: &str| number(&point[name], "Real");
        assert!(
            ms("rtt_min_ms") > 0.0 && ms("rtt_min_ms") <= ms("rtt_mean_ms") && ms("rtt_mean_ms") <= ms("rtt_max_ms")
        );
    }
    let slow = json!({"count": 1, "limits": {"roundTrip": {"warning": "1ns", "critical": "1h"}}});
    probe("icmp", &slow, &["--target", "icmp://127.0.0.1"]).assert("warning", "1 of 1 answered");
    let denied = probe("icmp", &json!({"host": "127.0.0.1"}), &[]);
    denied.assert("unknown", "add to the check: allow: {network: [\"icmp://127.0.0.1\"]}");
}
