//! Worlds about rate limits: a few addresses send many small requests, one behind the other on each
//! connection. The time of each decision is known there, so that the reference judges all of them.

use std::collections::VecDeque;

use super::client::ClientBehavior;
use super::plan::{Answer, Plan};
use super::rng::Rng;
use super::seeds::RATE_LIMITS;
use super::world::{Faults, Scenario, World, config};

/// Number of worlds for each list of limits.
const WORLDS: u64 = 25;

fn scenario(seed: u64, limits: &str) -> Scenario {
    let mut rng = Rng::new(seed ^ 0x11a1);
    let mut ids = 0;
    let clients = (0..2 + rng.below(4)).map(|_| {
        let plans: VecDeque<Plan> = (0..6 + rng.below(10))
            .map(|_| {
                ids += 1;
                Plan {
                    method: "GET",
                    body: None,
                    expects: false,
                    http10: false,
                    answer: Answer::Sized,
                    answer_len: 5,
                    ..Plan::of(seed, ids, false, 0, 20)
                }
            })
            .collect();
        let behavior = ClientBehavior {
            pipelines: false,
            pace: 1000,
            leaves: None,
            garbage: false,
            pause: rng.pick(&[0, 70, 330, 700, 1100]),
        };
        (plans, behavior)
    });
    let clients = clients.collect();
    let keys = config(r#""target": "http://10.0.0.1/base""#, false, limits);
    let reload = rng.pick(&[0, 0, 5]);
    Scenario {
        other: (reload > 0).then(|| keys.replace("/base\"", "/other/base\"")),
        config: keys,
        faults: Faults {
            reload,
            spurious: 20,
            interrupted: 20,
            ..Faults::default()
        },
        addresses: rng.size(3),
        calm: false,
        ..Scenario::calm(clients)
    }
}

#[test]
fn each_request_is_judged() {
    for limits in RATE_LIMITS {
        let (mut limited, mut passed) = (0, 0);
        for seed in 0..WORLDS {
            let stats = World::new(seed, scenario(seed, limits)).run().stats;
            limited += stats.limited;
            passed += stats.whole;
        }
        println!("{limits}: {passed} passed, {limited} did not");
        let least = WORLDS as usize * 4;
        assert!(
            limited > least && passed > least,
            "{limits}: {passed}, {limited}"
        );
    }
}
