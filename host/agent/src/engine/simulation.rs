//! A day of the engine in seconds: hundreds of random checks against an obvious model that must agree in everything.
//!
//! - `scene`: what operators configure; `fate`: what targets are like; `facts`: what a run finds out; `random`: dice
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
mod store;
mod told;
mod world;

use roundsman_model::time::Timestamp;

use drive::{Driver, SECOND_NS};

const CHECKS: u64 = 500;
const DAY_NS: i64 = 86_400 * SECOND_NS;
/// Days on which clocks change, in Europe and in America; and one on which they do not.
const DAYS_S: [i64; 4] = [1_792_886_400, 1_774_742_400, 1_793_491_200, 1_795_132_800];

fn day(seed: u64) {
    let begin = DAYS_S[seed as usize % DAYS_S.len()] * SECOND_NS + seed as i64 * 1_234_567;
    let mut driver = Driver::new(seed, CHECKS, Timestamp(begin));
    driver.run(DAY_NS);
    driver.world.store.commit_all();
    let seen = driver.world.store.seen;
    println!("seed {seed}: {seen:?}");
    // A day in which nothing happens proves nothing.
    assert!(seen.records > 500_000 && seen.changes > 10_000 && seen.finding_changes > 1_000, "{seen:?}");
    assert!(seen.flapping > 1_000 && seen.lost > 0, "{seen:?}");
}

#[test]
fn days() {
    let seeds = std::env::var("ROUNDSMAN_SIMULATION_SEEDS").unwrap_or_else(|_| "0..2".to_owned());
    let (from, to) = seeds.split_once("..").expect("ROUNDSMAN_SIMULATION_SEEDS is like 0..10");
    for seed in from.parse().unwrap()..to.parse().unwrap() {
        day(seed);
    }
}
