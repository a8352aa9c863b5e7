//! The plugin units where there is no systemd; `probe/tests` has one that answers.

use serde_json::json;

use crate::bench::probe;
use crate::support::servers::skipped;

#[test]
fn without_systemd_it_says_so() {
    let see = ["--allow", "system=units"];
    probe("units", &json!({}), &[]).assert("unknown", "add to the check: allow: {system: [units]}");
    if std::path::Path::new("/run/dbus/system_bus_socket").exists() {
        skipped("this machine has a system bus");
        return;
    }
    let seen = probe("units", &json!({}), &see);
    seen.assert("unknown", "");
    assert_eq!(seen.report["code"], "unsupported", "{seen:?}");
}
