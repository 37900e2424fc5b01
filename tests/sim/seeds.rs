//! Worlds from seeds.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate::limits::{BODY_GATHERED_BYTES, DRAIN_BYTES};

use super::client::{ClientBehavior, Leaving};
use super::oracle::Stats;
use super::plan::{Answer, Credential, Plan, SignIn};
use super::rng::Rng;
use super::upstream::HEALTH;
use super::world::{Faults, Outcome, Scenario, World, config, guarded};

/// Worlds of a usual run.
const SEEDS: u64 = 2000;

/// Half of them good.
const CREDENTIALS: [Credential; 8] = [
    Credential::Signed,
    Credential::Costly,
    Credential::CostlyForged,
    Credential::Active,
    Credential::Active,
    Credential::Forged,
    Credential::Unknown,
    Credential::Missing,
];

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// The cast of a seed.
fn cast(seed: u64) -> Scenario {
    let mut chance = Rng::new(seed ^ 0xca57);
    // One world in five is calm, to see that what should work does.
    let calm = chance.hits(200);
    let tls = chance.hits(250);
    // Where bytes come one by one, bodies are short.
    let fine = chance.hits(300);
    let trouble = if calm { 0 } else { chance.pick(&[0, 100, 500]) };
    let mut ids = 0;
    let clients = (0..1 + chance.below(6))
        .map(|_| {
            let plans: VecDeque<Plan> = (0..1 + chance.below(5))
                .map(|_| {
                    ids += 1;
                    let mut plan =
                        Plan::of(seed, ids, tls, trouble, if fine { 300 } else { 90_000 });
                    if calm && plan.answer == Answer::ClosingLater {
                        // The end of an idle connection and the next request on it pass each other (F17): not every request
                        // survives that.
                        plan.answer = Answer::Sized;
                    }
                    plan
                })
                .collect();
            let mut manners = manners(&mut chance, calm, fine);
            // Nothing is answered behind an HTTP/1.0 request, nor behind a refused one whose body may not come.
            manners.pipelines &= !(calm
                && plans
                    .iter()
                    .any(|plan| plan.http10 || plan.lost && plan.expects));
            (plans, manners)
        })
        .collect();
    let mut clients: Vec<(VecDeque<Plan>, ClientBehavior)> = clients;
    // One world in four is guarded. Its own dice, so that the others stay as they were.
    let mut dice = Rng::new(seed ^ 0xa07);
    let is_guarded = dice.hits(250);
    if is_guarded {
        for plan in clients.iter_mut().flat_map(|(plans, _)| plans) {
            plan.credential = Some(dice.pick(&CREDENTIALS));
        }
        // A refused request whose body may not come is the last of its connection, as one without a route is.
        for (plans, manners) in &mut clients {
            manners.pipelines &=
                !(calm && plans.iter().any(|plan| !plan.is_let_in() && plan.expects));
        }
    }
    if !calm {
        for plan in clients.iter_mut().flat_map(|(plans, _)| plans) {
            plan.deaf = dice.hits(300);
        }
    }
    if calm {
        // Of a refused request only so much is read for the next one's sake. Behind a longer body the connection ends, and where
        // the body did not say how long it is, the answer could not say so.
        for plan in clients
            .iter_mut()
            .flat_map(|(plans, _)| plans)
            .filter(|plan| plan.lost || !plan.is_let_in())
        {
            if let Some((len, true)) = &mut plan.body {
                *len = (*len).min(DRAIN_BYTES as usize / 2);
            }
        }
    }
    // Each client is somebody. In one of three of the other worlds some of them sign in at the upstream, for their connection.
    let mut own_dice = Rng::new(seed ^ 0x517);
    let signs_in = !is_guarded && own_dice.hits(330);
    for ((plans, manners), principal) in clients.iter_mut().zip(1..) {
        manners.pause = own_dice.pick(&[0, 0, 900, 1700]);
        for plan in plans {
            plan.principal = principal;
            if plan.answer == Answer::Sized && own_dice.hits(300) {
                plan.answer = Answer::KeptAlive;
            }
            if signs_in && own_dice.hits(400) {
                plan.signs_in = Some(own_dice.pick(&[SignIn::Brings, SignIn::Asked]));
            }
            if !matches!(
                plan.answer,
                Answer::Sized | Answer::KeptAlive | Answer::Interim | Answer::Extra
            ) {
                plan.signs_in = plan.signs_in.filter(|how| *how == SignIn::Brings);
            }
        }
    }
    let plain = service(&mut chance, calm);
    let mut more = vec![chance.pick(&[
        "\"rateLimit\": false",
        "\"rateLimit\": { \"requests\": 3, \"window\": \"5s\" }",
    ])];
    if !calm {
        more.push(chance.pick(&["\"halfClose\": false", "\"halfClose\": true"]));
        more.push(chance.pick(&[
            "\"limits\": { \"connections\": 3 }",
            "\"limits\": { \"connections\": 3, \"connectionsPerClient\": 2 }",
            "\"limits\": { \"bodyBytes\": 2000 }",
            "\"cors\": false",
        ]));
    } else {
        more[0] = "\"rateLimit\": false";
    }
    let text = match config(&plain, tls, &more.join(", ")) {
        config if is_guarded => guarded(&config),
        config => config,
    };
    // Three worlds in ten reload. Their own dice, so that the others stay as they were.
    let mut reload_dice = Rng::new(seed ^ 0x4e10ad);
    let reload = if reload_dice.hits(300) {
        reload_dice.pick(&[3, 30, 300])
    } else {
        0
    };
    Scenario {
        other: (reload > 0).then(|| other_edition(&text, calm, &mut reload_dice)),
        config: text,
        faults: match calm {
            true => Faults {
                reload,
                ..Faults::default()
            },
            false => Faults {
                reload,
                provider: dice.pick(&[0, 100, 500]),
                reset: dice.pick(&[0, 0, 2, 20]),
                ..faults(&mut chance)
            },
        },
        clients,
        secure: chance.hits(60),
        // From the number alone, so that the other worlds stay as they were.
        gathered_bytes: if seed.is_multiple_of(3) {
            0
        } else {
            BODY_GATHERED_BYTES
        },
        splice_min_bytes: chance.pick(&[1, 100, 5_000, u64::MAX]),
        window: if fine {
            chance.pick(&[1, 100])
        } else {
            chance.pick(&[2_000, 64 << 10, 256 << 10])
        },
        client_cut: None,
        upstream_cut: None,
        speed: if fine { 30 } else { chance.pick(&[300, 1000]) },
        calm,
        addresses: if calm { 200 } else { dice.pick(&[1, 2, 200]) },
        piece: if fine {
            chance.pick(&[1, 7])
        } else {
            chance.pick(&[1000, usize::MAX])
        },
    }
}

/// The same configuration with other paths of the targets and without security headers; in half of the worlds one of the
/// targets is another one, and in half of those that are not calm a provider has another definition.
fn other_edition(text: &str, calm: bool, dice: &mut Rng) -> String {
    let mut other = text
        .replace("/base\"", "/other/base\"")
        .replace("/a/longer/one/\"", "/short\"")
        .replace("http://10.0.0.3\"", "http://10.0.0.3/third\"");
    if dice.hits(500) {
        other = other.replace("http://10.0.0.1/", "http://10.0.0.4/");
    }
    // Where providers are replaced all the time, a request may find no time for an answer.
    if dice.hits(500) && !calm {
        other = other.replace("\"cache\": \"1s\"", "\"cache\": \"2s\"");
    }
    other.replacen(
        "\"timeouts\"",
        "\"securityHeaders\": false, \"timeouts\"",
        1,
    )
}

/// One target, a name, or several targets with all that goes with them.
fn service(chance: &mut Rng, calm: bool) -> String {
    let retries = chance.pick(&[0, 1, 2]);
    let passive = chance.pick(&[
        "false",
        r#"{ "failures": 1, "window": "2s", "eject": "1s" }"#,
        r#"{ "failures": 3 }"#,
    ]);
    let more = format!(r#""retries": {retries}, "passiveHealth": {passive}"#);
    match chance.below(10) {
        0..=3 => r#""target": "http://10.0.0.1/base""#.to_owned(),
        4..=5 => format!(r#""target": "http://plain.test/base", {more}"#),
        _ => {
            let strategy =
                chance.pick(&["round-robin", "least-connections", "random-two", "ip-hash"]);
            let check = format!(
                r#", "healthCheck": {{ "path": "{HEALTH}", "interval": "200ms", "timeout": "100ms", "fall": 2 }}"#
            );
            let check = if !calm && chance.hits(500) {
                check
            } else {
                String::new()
            };
            format!(
                r#""targets": ["http://10.0.0.1/base", {{ "url": "http://10.0.0.2/a/longer/one/", "weight": 2 }},
                   {{ "url": "http://10.0.0.3", "backup": true }}], "balance": "{strategy}", {more}{check}"#
            )
        }
    }
}

fn manners(chance: &mut Rng, calm: bool, fine: bool) -> ClientBehavior {
    let leaves = (!calm && chance.hits(250)).then(|| {
        let how = chance.pick(&[Leaving::Fin, Leaving::Reset, Leaving::Stall]);
        (chance.size(2000) - 1, how)
    });
    ClientBehavior {
        pipelines: chance.hits(300),
        pace: if fine {
            chance.pick(&[1, 30])
        } else {
            chance.pick(&[1000, 64 << 10])
        },
        leaves,
        garbage: !calm && chance.hits(50),
        pause: 0,
    }
}

/// Each fault of a world is off, rare or frequent.
fn faults(chance: &mut Rng) -> Faults {
    let mut often = |rare, frequent| chance.pick(&[0, 0, rare, frequent]);
    Faults {
        refused: often(50, 400),
        unanswered: often(20, 200),
        exhausted: often(20, 300),
        unresolved: often(100, 600),
        ill: often(200, 700),
        spurious: often(20, 400),
        interrupted: often(20, 300),
        delayed: often(100, 700),
        jump: often(0, 2),
        shed: often(0, 20),
        stop: often(0, 3),
        provider: 0,
        reload: 0,
        reset: 0,
    }
}

fn run(seed: u64) -> Outcome {
    World::new(seed, cast(seed)).run()
}

/// Runs worlds on every core; the first seeds that fail are named.
fn run_all(first: u64, count: u64) -> Outcome {
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let totals = Mutex::new(Vec::new());
    let work = || {
        let mut own = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count || failed.lock().expect("nobody panics here").len() >= 5 {
                break;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(outcome) => own.push(outcome),
                Err(_) => {
                    println!("SEED={seed} fails");
                    failed.lock().expect("nobody panics here").push(seed);
                }
            }
        }
        totals.lock().expect("nobody panics here").extend(own);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("nobody panics here");
    assert!(failed.is_empty(), "repeat with SEED=n, n one of {failed:?}");
    let mut sum = Outcome::default();
    for outcome in totals.into_inner().expect("nobody panics here") {
        sum.tally.add(outcome.tally);
        sum.client_heard += outcome.client_heard;
        sum.passed[0] += outcome.passed[0];
        sum.passed[1] += outcome.passed[1];
    }
    sum
}

#[test]
fn worlds() {
    if let Some(seed) = asked("SEED") {
        println!("seed {seed}: {:?}", run(seed));
        return;
    }
    let (first, count) = (asked("FIRST").unwrap_or(1), asked("SEEDS").unwrap_or(SEEDS));
    let sum = run_all(first, count);
    println!(
        "{count} seeds from {first} on: {:?}, {} bytes heard, {:?} passed",
        sum.tally, sum.client_heard, sum.passed
    );
    if count < SEEDS {
        return;
    }
    // What is checked must also happen.
    let Stats {
        whole,
        own,
        cut,
        unasked,
        switched,
        moved,
        out,
        back,
        unauthorized,
        private,
        kept,
        raced,
        reloads,
    } = sum.tally;
    let count = count as usize;
    assert!(
        whole > 2 * count && own > count / 2 && cut > count / 50,
        "the worlds are too quiet: {sum:?}"
    );
    assert!(
        sum.passed.iter().all(|&bytes| bytes > 100 * count),
        "the worlds are too quiet: {sum:?}"
    );
    assert!(
        moved > count / 50 && out > count / 50 && back > count / 100,
        "the worlds are too quiet: {sum:?}"
    );
    assert!(
        private > count / 50 && kept > count / 50 && raced > count / 50,
        "the worlds are too quiet: {sum:?}"
    );
    assert!(reloads > count / 2, "the worlds are too quiet: {sum:?}");
    assert!(
        unauthorized > count / 4,
        "the worlds are too quiet: {sum:?}"
    );
    assert!(
        switched > count / 50 && unasked < count / 50,
        "the worlds are too quiet: {sum:?}"
    );
}

#[test]
fn a_seed_repeats_its_world() {
    for seed in 1..=40 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
