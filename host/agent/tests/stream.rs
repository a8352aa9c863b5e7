//! From checks to InfluxDB, through outages and sudden deaths: what the store holds is what the server holds.
//!
//! `ROUNDSMAN_TEST_SECONDS` shortens the long test (60 s otherwise), `ROUNDSMAN_TEST_SEED` repeats its dice.

#![allow(clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use roundsman_web::view;

mod support;

#[path = "stream/join.rs"]
mod join;
#[path = "stream/relay.rs"]
mod relay;
#[path = "stream/scene.rs"]
mod scene;

use join::{Left, assert_same, assert_same_samples};
use relay::{Hold, Relay};
use scene::Scene;
use support::servers::{influxd, proxy, victoria_metrics};
use support::{Agent, eventually};

const DATABASE: &str = "health";

/// How long the agent streams in the tests without faults.
const SHORT: Duration = Duration::from_secs(12);
/// The long test is planned in sixtieths of its length.
const UNITS: u32 = 60;

/// What happens to the agent and its server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    StopServer,
    StartServer,
    /// SIGKILL; with a hold, while a write is stopped there.
    Kill(Option<Hold>),
}

#[test]
fn outages_and_sudden_deaths_lose_nothing_and_double_nothing() {
    let Some(mut server) = influxd() else { return };
    server.query("", &format!("CREATE DATABASE {DATABASE}"));
    let relay = Relay::start(server.address);
    let scene = Scene::new(&v1("main", &relay.url()));
    let (unit, seed) = (length() / UNITS, seed());
    let plan = plan(seed);
    eprintln!("seed {seed} (ROUNDSMAN_TEST_SEED={seed} repeats it), {:?}, units of {unit:?}: {plan:?}", unit * UNITS);

    let mut agent = scene.begin();
    let (begin, mut shown) = (Instant::now(), Vec::new());
    for (at, act) in plan {
        // The moments are what is tested; nothing is expected to have happened by then.
        std::thread::sleep((begin + unit.mul_f64(at)).saturating_duration_since(Instant::now()));
        match act {
            Act::StopServer => server.kill(),
            Act::StartServer => {
                eventually("the outage is shown", || destination(&agent).health == view::Health::Degraded);
                assert!(server.start(), "the port is still ours");
            }
            Act::Kill(hold) => {
                if let Some(hold) = hold {
                    relay.hold_next(hold);
                }
                assert_eq!(destination(&agent).points_rejected, 0);
                shown.extend(status(&agent));
                agent.kill();
                agent = scene.place.start();
            }
        }
    }
    std::thread::sleep((begin + unit * UNITS).saturating_duration_since(Instant::now()));
    eventually("the destination has caught up", || {
        let main = destination(&agent);
        main.health == view::Health::Ok && main.backlog < 200
    });
    assert_eq!(destination(&agent).points_rejected, 0);
    shown.extend(status(&agent));
    agent.stop();

    let left = Left::read(&scene, &["main"]);
    let sums = left.audit(&scene);
    assert_all_acknowledged(&left);
    assert_kept(&shown, &left);
    let points = left.points(&scene);
    assert_same(&points, &join::influx(&server, DATABASE));
    let (lines, again) = relay.lines();
    assert_eq!(lines - again, points.len(), "no line was written that is not in the store");
    assert!(again > 0, "a write whose answer was lost is sent again");
    assert!(sums.missed > 0, "nobody was there for some ticks");
    assert!(sums.overlap > 0, "`slow` finds itself running");
    let retries = left.records.iter().filter(|row| row.record.origin == roundsman_model::record::Origin::Retry).count();
    assert!(retries > 0, "some checks retry");
    assert!(left.transitions.len() > scene.subjects(), "what is flaky comes and goes");
    eprintln!(
        "{} records ({retries} retries) and {} transitions are {} points, none of them different; {lines} lines, {again} \
         of them sent again; {sums:?}",
        left.records.len(),
        left.transitions.len(),
        points.len(),
    );
}

#[test]
fn v2_into_influxdb_1_through_a_proxy() {
    let Some(server) = influxd() else { return };
    server.query("", &format!("CREATE DATABASE {DATABASE}"));
    let proxy = proxy::v2_to_v1(server.address);
    let scene = Scene::new(&v2("main", &proxy.url()));
    let left = stream_shortly(&scene);
    let points = left.points(&scene);
    assert_same(&points, &join::influx(&server, DATABASE));
    eprintln!("{} records are {} points, none of them different", left.records.len(), points.len());
}

#[test]
fn v2_into_victoria_metrics() {
    let Some(server) = victoria_metrics() else { return };
    let scene = Scene::new(&v2("main", &server.url()));
    let left = stream_shortly(&scene);
    let points = left.points(&scene);
    assert_same_samples(&points, &server);
    eprintln!("{} records are {} points, each a sample for each number", left.records.len(), points.len());
}

/// An agent's life without faults.
fn stream_shortly(scene: &Scene) -> Left {
    let agent = scene.begin();
    std::thread::sleep(SHORT);
    eventually("the destination takes what it gets", || destination(&agent).points_written > 0);
    assert_eq!(destination(&agent).points_rejected, 0);
    let shown = status(&agent);
    agent.stop();
    let left = Left::read(scene, &["main"]);
    left.audit(scene);
    assert_all_acknowledged(&left);
    assert_kept(&shown, &left);
    left
}

fn v1(name: &str, url: &str) -> String {
    format!("influx: [{{name: {name}, url: \"{url}\", api: v1, database: {DATABASE}, flushInterval: 500ms}}]")
}

fn v2(name: &str, url: &str) -> String {
    format!("influx: [{{name: {name}, url: \"{url}\", api: v2, org: ops, bucket: {DATABASE}, flushInterval: 500ms}}]")
}

fn destination(agent: &Agent) -> view::Destination {
    let mut about = agent.get("/api/v1/agent");
    serde_json::from_value(about["agent"]["destinations"][0].take()).expect("the API speaks its own language")
}

/// What the agent shows as the last record of each subject.
fn status(agent: &Agent) -> Vec<view::Subject> {
    let mut answer = agent.get("/api/v1/status");
    serde_json::from_value(answer["status"].take()).expect("the API speaks its own language")
}

/// What was shown once is there for ever.
fn assert_kept(shown: &[view::Subject], left: &Left) {
    for subject in shown {
        // Right after a start there is none.
        let Some(last) = &subject.last else { continue };
        let kept = left.records.iter().any(|row| {
            let record = &row.record;
            record.key.check.as_str() == &*subject.check
                && record.key.target == subject.target
                && (record.time, record.status, &*record.summary) == (last.time.0, last.status, &*last.summary)
        });
        assert!(kept, "was shown, and is not in the store: {subject:?}");
    }
}

/// The orderly end waits until the server has everything.
fn assert_all_acknowledged(left: &Left) {
    let [(_, cursor)] = &left.restored.cursors[..] else { panic!("one destination: {:?}", left.restored.cursors) };
    assert_eq!(Some(cursor.record), left.records.last().map(|row| row.id));
    assert_eq!(Some(cursor.transition), left.transitions.last().map(|row| row.id));
}

fn length() -> Duration {
    let seconds = std::env::var("ROUNDSMAN_TEST_SECONDS").ok();
    Duration::from_secs(seconds.map_or(60, |seconds| seconds.parse().expect("ROUNDSMAN_TEST_SECONDS is a number")))
}

fn seed() -> u64 {
    let given = std::env::var("ROUNDSMAN_TEST_SEED").ok();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    given.map_or(u64::from(now.subsec_nanos()), |seed| seed.parse().expect("ROUNDSMAN_TEST_SEED is a number"))
}

/// The server is away for twenty units. The agent dies before, meanwhile and after; before and after inside a body and
/// between a body and its answer, in either order.
fn plan(seed: u64) -> Vec<(f64, Act)> {
    let mut state = seed;
    // SplitMix64.
    let mut random = move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let mut holds = [Hold::InsideBody, Hold::BeforeAnswer];
    if random() % 2 == 1 {
        holds.reverse();
    }
    let mut between = |from: f64, to: f64| from + (to - from) * (random() % 10_000) as f64 / 10_000.0;
    let mut plan = vec![
        (18.0, Act::StopServer),
        (38.0, Act::StartServer),
        (between(2.0, 17.0), Act::Kill(Some(holds[0]))),
        (between(19.0, 37.0), Act::Kill(None)),
        (between(40.0, 56.0), Act::Kill(Some(holds[1]))),
    ];
    plan.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    plan
}
