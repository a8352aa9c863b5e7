//! The schedule against a slow, obvious model that looks at every tick one by one, by random sequences of events.

mod slow;
mod world;

use std::time::Duration;

use proptest::prelude::*;
use roundsman_model::check::CatchUp;
use roundsman_model::time::Timestamp;
use roundsman_schedule::schedule::Plan;

use world::{Event, SECOND_NS, World, grids, keys, plan};

fn plans() -> impl Strategy<Value = Plan> {
    let catch_up = prop_oneof![
        2 => Just(CatchUp::Skip),
        2 => Just(CatchUp::Once { deadline: None }),
        2 => (0_u64..90).prop_map(|s| CatchUp::Once { deadline: Some(Duration::from_secs(s)) }),
    ];
    let delay_s = prop_oneof![3 => Just(0), 1 => 0_u64..30];
    (prop::sample::select(grids()), delay_s, catch_up, 0_u32..5).prop_map(|(grid, delay_s, catch_up, group)| Plan {
        grid,
        initial_delay: Duration::from_secs(delay_s),
        catch_up,
        group,
    })
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let key = || 0_usize..keys().len();
    let ns = || prop_oneof![3 => Just(0_i64), 1 => -1_i64..=1];
    // Around the time that makes a run a long one, or longer than whole intervals.
    let ago_ns = || prop_oneof![3 => Just(0), 1 => 40_000_000..60_000_000_i64, 1 => 0..12 * SECOND_NS];
    let event = prop_oneof![
        4 => (key(), plans()).prop_map(|(key, plan)| Event::Insert { key, plan }),
        1 => (key(), plans()).prop_map(|(key, plan)| Event::Change { key, plan }),
        1 => key().prop_map(|key| Event::Remove { key }),
        2 => (key(), -100_i64..1_000, prop_oneof![Just(0), 0_u64..30])
            .prop_map(|(key, away_s, delay_s)| Event::Restart { key, away_s, delay_s }),
        3 => Just(Event::Pop),
        6 => Just(Event::PopAll),
        8 => (0_usize..3, ago_ns()).prop_map(|(nth, ago_ns)| Event::Finish { nth, ago_ns }),
        1 => (0_usize..3).prop_map(|nth| Event::Skip { nth }),
        2 => (key(), -2_i64..15).prop_map(|(key, in_s)| Event::Retry { key, in_s }),
        2 => key().prop_map(|key| Event::RunNow { key }),
        1 => (0_usize..9).prop_map(|runs| Event::Slots { runs }),
        4 => (0_i64..120_000_000).prop_map(|ns| Event::Move { ns }),
        5 => (0_i64..12, ns()).prop_map(|(s, ns)| Event::Move { ns: s * SECOND_NS + ns }),
        1 => (-40_i64..4_000, ns()).prop_map(|(s, ns)| Event::Move { ns: s * SECOND_NS + ns }),
        2 => (0_i64..2_000, ns()).prop_map(|(s, ns)| Event::Absent { ns: (s * SECOND_NS + ns).max(0) }),
        2 => (0_i64..300, ns()).prop_map(|(s, ns)| Event::SetBack { ns: (s * SECOND_NS + ns).max(0) }),
        5 => Just(Event::Sleep),
    ];
    prop::collection::vec(event, 1..150)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_events(events in events(), slots in 1_usize..9) {
        let mut world = World::new(slots);
        for event in &events {
            world.step(event);
        }
    }

    /// Everybody gets a turn, however scarce slots are, and everything is accounted for in the end.
    #[test]
    fn nobody_starves(
        plans_of in prop::collection::vec((0_usize..5, 0_u32..3), 4),
        slots in 1_usize..3,
        run_ns in 1..9 * SECOND_NS,
    ) {
        let mut world = World::new(slots);
        for (key, (grid, group)) in keys().iter().zip(plans_of) {
            world.insert(key, &plan(grids()[grid].clone(), group));
        }
        let begin = world.now;
        while world.now < begin + Duration::from_secs(900) {
            world.step(&Event::Sleep);
            world.step(&Event::PopAll);
            world.now = Timestamp(world.now.0 + run_ns);
            for _ in 0..slots {
                world.step(&Event::Finish { nth: 0, ago_ns: 0 });
            }
        }
        for key in &keys()[..4] {
            let (counts, settled) = world.schedule.settled(key).unwrap();
            // The longest round: three others before it, and up to its own tick.
            prop_assert!(counts.run >= 900 / (45 + 4 * 9), "{key}: {counts:?}");
            prop_assert_eq!(counts.due, world.schedule.grid(key).unwrap().count(begin, settled), "{}", key);
        }
    }

    /// Clocks that jump about do not stop anything: after each leap, a check is due again within one interval.
    #[test]
    fn leaps_of_the_clock_stop_nothing(leaps_s in prop::collection::vec(-100_000_i64..100_000, 1..20), grid in 0_usize..4) {
        let mut world = World::new(1);
        world.insert(&keys()[0], &plan(grids()[grid].clone(), 0));
        for leap_s in leaps_s {
            let ns = leap_s * SECOND_NS;
            world.step(&if ns < 0 { Event::SetBack { ns } } else { Event::Absent { ns } });
            let before = world.now;
            world.step(&Event::Sleep);
            prop_assert!(world.now <= before + Duration::from_secs(20), "{leap_s}");
            world.step(&Event::PopAll);
            prop_assert_eq!(world.schedule.in_flight(), 1);
            world.step(&Event::Finish { nth: 0, ago_ns: 0 });
        }
    }
}
