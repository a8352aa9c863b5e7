//! The plugin load.

use serde_json::json;

use crate::bench::{number, probe};

#[test]
fn load_of_this_machine() {
    let all = ["--allow", "system=load", "--allow", "system=memory", "--allow", "system=pressure"];
    let never = json!({
        "load": null, "memory": {"warning": 0, "critical": 0}, "swap": null,
        "pressure": {"cpu": null, "memory": null, "io": null},
    });
    let seen = probe("load", &never, &all);
    seen.assert("ok", "% of memory available");
    let load = seen.point("load");
    let processors = std::thread::available_parallelism().unwrap().get() as f64;
    assert!(number(&load["processors"], "Integer") >= processors, "{load:?}");
    let each = number(&load["load5"], "Real") / number(&load["processors"], "Integer");
    assert!((number(&load["load5_per_processor"], "Real") - each).abs() < 1e-9, "{load:?}");
    let memory = seen.point("memory");
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap();
    let total_kib: f64 = total.trim().trim_end_matches(" kB").parse().unwrap();
    assert!((number(&memory["total_bytes"], "Integer") - total_kib * 1024.0).abs() < 1.0, "{memory:?}");
    assert!((0.0..=100.0).contains(&number(&memory["available_percent"], "Real")), "{memory:?}");
    for (tags, fields) in seen.points("pressure") {
        assert!(["cpu", "memory", "io"].contains(&tags["resource"].as_str()), "{tags:?}");
        assert!(number(&fields["some_avg10"], "Real") >= 0.0);
    }
    let idle = json!({"parts": ["memory"], "memory": {"warning": 100, "critical": 100}});
    probe("load", &idle, &all).assert("critical", "limit 100 %");
    probe("load", &json!({"parts": ["load"]}), &[]).assert("unknown", "add to the check: allow: {system: [load]}");
}
