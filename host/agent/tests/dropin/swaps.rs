//! A plugin that is swapped a thousand times under some of many checks: nobody else notices.

use std::collections::BTreeMap;
use std::time::Instant;

use super::support::{Place, eventually};
use super::*;

const SWAPS: u32 = 1_000;
/// After these everything that is kept once is there.
const WARM: u32 = 50;
const OTHERS: usize = 150;
const SWAPPED: usize = 50;
/// Growth that is no leak: the allocator's arenas, a page cache of SQLite's.
const SLACK_KIB: u64 = 12 << 10;
const SLACK_FILES: usize = 8;
/// Instances that stay warm keep the machine code of what ran in them last: a few pieces each of versions of before.
const SLACK_MAPS: usize = 128;

#[derive(Debug, Clone, Copy)]
struct Held {
    anonymous_kib: u64,
    files: usize,
    maps: usize,
}

fn held(agent: &Agent) -> Held {
    let of = |file: &str| format!("/proc/{}/{file}", agent.pid());
    let status = fs::read_to_string(of("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    Held {
        anonymous_kib: line.trim().trim_end_matches("kB").trim().parse().unwrap(),
        files: fs::read_dir(of("fd")).unwrap().count(),
        maps: fs::read_to_string(of("maps")).unwrap().lines().filter(|line| line.contains(".cwasm")).count(),
    }
}

/// What must not change: state, since when, phase within the second, ticks without a run.
fn board(agent: &Agent) -> BTreeMap<String, (Value, Value, String, u64)> {
    let status = agent.get("/api/v1/status");
    let of = |subject: &Value| {
        let count = |name: &str| subject["counts"][name].as_u64().unwrap();
        assert_eq!(count("due"), count("run") + count("missed") + count("overlap") + count("skipped"), "{subject}");
        let time = subject["last"]["time"].as_str().unwrap_or_default();
        let phase = time.split_once('.').map_or("", |(_, fraction)| fraction).to_owned();
        let lost = count("missed") + count("overlap") + count("skipped");
        let (state, since) = (subject["state"].clone(), subject["since"].clone());
        (subject["check"].as_str().unwrap().to_owned(), (state, since, phase, lost))
    };
    status["status"].as_array().unwrap().iter().map(of).collect()
}

#[test]
fn a_thousand_swaps_under_some_of_many_checks() {
    let place = Place::with_plugins(&["load"]);
    let bytes = fs::read(plugin("load")).unwrap();
    let versions = [version(&bytes, 1), version(&bytes, 2)];
    let digests = versions.each_ref().map(|version| digest(version));
    let path = place.plugins().join("swapped.wasm");
    // Both are whole long before they get their name: nobody has to wait whether more is written.
    let ready = [1, 2].map(|number| place.path().join(format!("version-{number}")));
    ready.iter().zip(&versions).for_each(|(ready, version)| fs::write(ready, version).unwrap());
    let beside = place.path().join("beside");
    let swap = |which: usize| {
        fs::hard_link(&ready[which], &beside).unwrap();
        fs::rename(&beside, &path).unwrap();
    };
    swap(0);
    let check = |plugin: &str, number: usize| {
        format!("  - {{name: {plugin}-{number}, plugin: {plugin}, interval: 1s, timeout: 1s, {QUIET}}}\n")
    };
    let others = (0..OTHERS).map(|number| check("load", number));
    let swapped = (0..SWAPPED).map(|number| check("swapped", number));
    place.write_checks("a.yaml", &format!("checks:\n{}", others.chain(swapped).collect::<String>()));
    let agent = place.start();
    agent.await_plugins(&["load", "swapped"]);
    eventually("every check has run", || board(&agent).values().all(|(state, ..)| state == "ok"));
    let before = board(&agent);
    assert_eq!(before.len(), OTHERS + SWAPPED);

    let (began, mut floor) = (Instant::now(), None);
    for number in 1..=SWAPS {
        let which = number as usize % 2;
        swap(which);
        await_digest(&agent, "swapped", &digests[which]);
        if number == WARM {
            floor = Some(held(&agent));
        }
    }
    let (floor, took) = (floor.unwrap(), began.elapsed());
    eprintln!("{SWAPS} swaps in {took:.1?}, {:.0} ms each", took.as_secs_f64() * 1e3 / f64::from(SWAPS));
    let ran = |check: &str| runs(&agent, check);
    let (other, under) = (ran("load-0"), ran("swapped-0"));
    eventually("the checks go on", || ran("load-0") > other + 1 && ran("swapped-0") > under + 1);
    let after = board(&agent);
    for (check, before) in &before {
        assert_eq!(&after[check], before, "{check}: state, since, phase, ticks lost");
    }
    await_no_problem(&agent);
    eventually(&format!("memory and files are near {floor:?}, of {:?}", held(&agent)), || {
        let now = held(&agent);
        now.anonymous_kib <= floor.anonymous_kib + SLACK_KIB
            && now.files <= floor.files + SLACK_FILES
            && now.maps <= floor.maps + SLACK_MAPS
    });
    eprintln!("after {WARM} swaps: {floor:?}, at the end: {:?}", held(&agent));
}
