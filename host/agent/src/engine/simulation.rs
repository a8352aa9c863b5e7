//! A day of the engine in seconds: hundreds of random checks against an obvious model that must agree in everything.
//!
//! - `scene`: what operators configure; `shelf`: plugin files; `fate`: what targets are like; `facts`: what a run finds
//!   out; `random`: dice
//! - `drive`: the day; `world`: core and model side by side; `store`: what survives the end of a life
//! - `model`: what must come of it; `told`: what the store is told, as far as a model can say
//!
//! `ROUNDSMAN_SIMULATION_SEEDS=100..200` runs other days than the usual ones.

mod drive;
mod facts;
mod fate;
mod model;
mod random;
mod scene;
mod shelf;
mod store;
mod told;
mod world;

use roundsman_model::time::Timestamp;

use drive::{Driver, SECOND_NS};

const CHECKS: u64 = 500;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Days on which clocks change, in Europe and in America; and one on which they do not.
const DAYS_S: [i64; 4] = [1_792_886_400, 1_774_742_400, 1_793_491_200, 1_795_132_800];

/// So much of a day that it proves something: that nothing happens is no answer.
fn run(seed: u64, for_ns: i64) {
    let begin = DAYS_S[seed as usize % DAYS_S.len()] * SECOND_NS + seed as i64 * 1_234_567;
    let mut driver = Driver::new(seed, CHECKS, Timestamp(begin));
    driver.run(for_ns);
    driver.world.store.commit_all();
    let seen = driver.world.store.seen;
    eprintln!("seed {seed}: {seen:?}");
    let hours = (for_ns / 3_600 / SECOND_NS) as u64;
    assert!(seen.records > 20_000 * hours && seen.changes > 1_000 * hours, "{seen:?}");
    assert!(seen.backoffs > 6 * hours && seen.trials_passed > hours && seen.quarantines > hours, "{seen:?}");
    assert!(seen.cleared > hours, "{seen:?}");
    assert!(seen.finding_changes > 50 * hours && seen.flapping > 100 * hours, "{seen:?}");
}

/// One day, and the first hours of another: what a machine under load does in 20 s. All of them are days where the
/// variable names them.
#[test]
fn days() {
    let Ok(seeds) = std::env::var("ROUNDSMAN_SIMULATION_SEEDS") else {
        run(0, DAY_NS);
        return run(1, DAY_NS / 4);
    };
    let (from, to) = seeds.split_once("..").expect("ROUNDSMAN_SIMULATION_SEEDS is like 0..10");
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        run(seed, DAY_NS);
    }
}
