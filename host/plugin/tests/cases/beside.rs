//! A well-behaved plugin beside hostile ones: none of its runs may suffer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use roundsman_model::check::Limits;
use roundsman_model::record::{Blame, Status};

use crate::support::{Run, guest, peers};
use crate::{assert_outcome, bench};

const HOSTILE_RUNS: usize = 200;
const AT_ONCE: usize = 8;

#[test]
fn two_hundred_hostile_runs_beside_a_good_plugin() {
    let bench = bench();
    let silent = peers::silent();
    let (hostile, good) = (bench.load(&guest("hostile")).unwrap(), bench.load(&guest("noop")).unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let neighbour = {
        let (good, over, job) = (good.clone(), over.clone(), Run::new().job());
        bench.runtime.spawn(async move {
            let mut reports = Vec::new();
            while !over.load(Ordering::Relaxed) {
                reports.push(good.run(job.clone()).await);
                tokio::task::yield_now().await;
            }
            reports
        })
    };
    let runs = hostile_runs(silent);
    let reports = bench.runtime.block_on(async {
        let mut running = tokio::task::JoinSet::new();
        let mut reports = Vec::new();
        for number in 0..HOSTILE_RUNS {
            let (hostile, job) = (hostile.clone(), runs[number % runs.len()].job());
            running.spawn(async move { hostile.run(job).await });
            if running.len() >= AT_ONCE {
                reports.push(running.join_next().await.unwrap().unwrap());
            }
        }
        reports.extend(running.join_all().await);
        reports
    });
    over.store(true, Ordering::Relaxed);
    let neighbours = bench.runtime.block_on(neighbour).unwrap();
    assert_eq!(reports.len(), HOSTILE_RUNS, "every run ends in a report");
    assert!(reports.iter().all(|report| report.blame != Blame::Host), "{reports:?}");
    assert!(neighbours.len() > HOSTILE_RUNS / 10, "{} runs beside", neighbours.len());
    for report in &neighbours {
        assert_outcome(report, Status::Ok, "nothing");
        assert_eq!(report.points.len(), 1, "{report:?}");
    }
    bench.assert_floor();
}

/// One of each kind of hostility, with limits that end it soon.
fn hostile_runs(silent: SocketAddr) -> Vec<Run> {
    [
        "spin",
        "recurse",
        "grow",
        "panic",
        "trap",
        "exit",
        "sleep",
        "log",
        "points",
        "summary",
        "requests",
        "bodies",
        "sockets",
        "print-for-ever",
        "read",
        "connect-and-sleep",
        "fetch-for-ever",
        "state-keys",
        "log-large",
        "files",
    ]
    .into_iter()
    .map(|what| {
        let with = match what {
            "summary" => "10000000".to_owned(),
            "fetch-for-ever" => format!("http://{silent}/"),
            _ => silent.to_string(),
        };
        let limits = Limits { cpu: Duration::from_millis(40), ..Limits::default() };
        let run = Run { limits, ..Run::what(what, with) }.within(Duration::from_millis(150));
        run.network(format!("tcp://{silent}")).network(format!("http://{silent}"))
    })
    .collect()
}
