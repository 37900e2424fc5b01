//! Worlds whose scenario is drawn from a seed.

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
use super::world::{Faults, Outcome, Policies, Scenario, World, config, guarded};

/// Number of worlds in a usual run.
const SEEDS: u64 = 2000;

/// Credentials of which half are valid.
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

/// Returns a number from an environment variable.
pub fn env_number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")),
    )
}

/// Returns the scenario of a seed.
fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::new(seed ^ 0xca57);
    // One world in five is calm, to check that requests succeed without faults.
    let calm = rng.hits(200);
    let tls = rng.hits(250);
    // Bodies are short where bytes arrive one by one.
    let fine = rng.hits(300);
    let trouble = if calm { 0 } else { rng.pick(&[0, 100, 500]) };
    let mut ids = 0;
    let clients = (0..1 + rng.below(6))
        .map(|_| {
            let plans: VecDeque<Plan> = (0..1 + rng.below(5))
                .map(|_| {
                    ids += 1;
                    let mut plan =
                        Plan::of(seed, ids, tls, trouble, if fine { 300 } else { 90_000 });
                    if calm && plan.answer == Answer::ClosingLater {
                        // The end of an idle connection may cross the next request on it (F17). Not
                        // every request survives this.
                        plan.answer = Answer::Sized;
                    }
                    plan
                })
                .collect();
            let mut behavior = behavior(&mut rng, calm, fine);
            // After an HTTP/1.0 request, or a refused one whose body may not come, the gateway
            // answers no further request.
            behavior.pipelines &= !(calm
                && plans
                    .iter()
                    .any(|plan| plan.http10 || plan.no_route && plan.expects));
            (plans, behavior)
        })
        .collect();
    let mut clients: Vec<(VecDeque<Plan>, ClientBehavior)> = clients;
    // One world in four is guarded. The generator is separate, so that the scenarios of other seeds
    // do not change.
    let mut auth_rng = Rng::new(seed ^ 0xa07);
    let is_guarded = auth_rng.hits(250);
    if is_guarded {
        for plan in clients.iter_mut().flat_map(|(plans, _)| plans) {
            plan.credential = Some(auth_rng.pick(&CREDENTIALS));
        }
        // A refused request whose body may not come is the last one of its connection.
        for (plans, behavior) in &mut clients {
            behavior.pipelines &=
                !(calm && plans.iter().any(|plan| !plan.has_access() && plan.expects));
        }
    }
    if !calm {
        for plan in clients.iter_mut().flat_map(|(plans, _)| plans) {
            plan.ignores_input = auth_rng.hits(300);
        }
    }
    if calm {
        // The gateway reads only a limited part of the body of a refused request. Behind a longer
        // body the connection ends. If the body has no length, the answer cannot announce this.
        for plan in clients
            .iter_mut()
            .flat_map(|(plans, _)| plans)
            .filter(|plan| plan.no_route || !plan.has_access())
        {
            if let Some((len, true)) = &mut plan.body {
                *len = (*len).min(DRAIN_BYTES as usize / 2);
            }
        }
    }
    // Each client has a number as its principal. In one of three unguarded worlds some clients
    // authenticate their connection to the upstream.
    let mut principal_rng = Rng::new(seed ^ 0x517);
    let signs_in = !is_guarded && principal_rng.hits(330);
    for ((plans, behavior), principal) in clients.iter_mut().zip(1..) {
        behavior.pause = principal_rng.pick(&[0, 0, 900, 1700]);
        for plan in plans {
            plan.principal = principal;
            if plan.answer == Answer::Sized && principal_rng.hits(300) {
                plan.answer = Answer::KeptAlive;
            }
            if signs_in && principal_rng.hits(400) {
                plan.signs_in = Some(principal_rng.pick(&[SignIn::Brings, SignIn::Asked]));
            }
            if !matches!(
                plan.answer,
                Answer::Sized | Answer::KeptAlive | Answer::Interim | Answer::Extra
            ) {
                plan.signs_in = plan.signs_in.filter(|how| *how == SignIn::Brings);
            }
        }
    }
    let plain = service(&mut rng, calm);
    let mut more = vec![rng.pick(&[
        "\"rateLimit\": false",
        "\"rateLimit\": { \"requests\": 3, \"window\": \"5s\" }",
    ])];
    if !calm {
        more.push(rng.pick(&["\"halfClose\": false", "\"halfClose\": true"]));
        more.push(rng.pick(&[
            "\"limits\": { \"connections\": 3 }",
            "\"limits\": { \"connections\": 3, \"connectionsPerClient\": 2 }",
            "\"limits\": { \"bodyBytes\": 2000 }",
            "\"cors\": false",
        ]));
    } else {
        more[0] = "\"rateLimit\": false";
    }
    // The generator is separate, so that the scenarios of other seeds do not change.
    let mut policy_rng = Rng::new(seed ^ 0x9011_c135);
    let mut policies = Policies::default();
    let plain = with_policies(&plain, calm, &mut policies, &mut policy_rng);
    // Where nobody pipelines, the time of each decision is known.
    let mut decides_at_once = false;
    if !calm && policy_rng.hits(300) {
        more[0] = policy_rng.pick(&RATE_LIMITS);
        decides_at_once = policy_rng.hits(700);
    }
    for (_, behavior) in &mut clients {
        behavior.pipelines &= !decides_at_once;
    }
    policies.proxied = policy_rng.hits(200);
    let text = match config(&plain, tls, &more.join(", ")) {
        config if is_guarded => guarded(&config),
        config => config,
    };
    // Three worlds in ten reload. The generator is separate, so that the scenarios of other seeds
    // do not change.
    let mut reload_rng = Rng::new(seed ^ 0x4e10ad);
    let reload = if reload_rng.hits(300) {
        reload_rng.pick(&[3, 30, 300])
    } else {
        0
    };
    policies.never_moves = calm && reload == 0 && !signs_in;
    let other = (reload > 0).then(|| other_edition(&text, calm, &mut reload_rng));
    // Targets are unix sockets in one world of four. The generator is separate, so that the scenarios
    // of other seeds do not change.
    let mut socket_rng = Rng::new(seed ^ 0x50c_4e7);
    let has_sockets = socket_rng.hits(250);
    let is_socket = [(); 4].map(|()| has_sockets && socket_rng.hits(700));
    let socket_faults = socket_rng.pick(&[0, 20, 200]);
    Scenario {
        policies,
        other: other.map(|text| with_sockets(text, is_socket)),
        config: with_sockets(text, is_socket),
        faults: match calm {
            true => Faults {
                reload,
                ..Faults::default()
            },
            false => Faults {
                reload,
                sockets: match is_socket.contains(&true) {
                    true => socket_faults,
                    false => 0,
                },
                provider: auth_rng.pick(&[0, 100, 500]),
                reset: auth_rng.pick(&[0, 0, 2, 20]),
                ..faults(&mut rng)
            },
        },
        clients,
        secure: rng.hits(60),
        // The seed decides without a generator, so that the scenarios of other seeds do not change.
        gathered_bytes: if seed.is_multiple_of(3) {
            0
        } else {
            BODY_GATHERED_BYTES
        },
        splice_min_bytes: rng.pick(&[1, 100, 5_000, u64::MAX]),
        window: if fine {
            rng.pick(&[1, 100])
        } else {
            rng.pick(&[2_000, 64 << 10, 256 << 10])
        },
        client_cut: None,
        upstream_cut: None,
        speed: if fine { 30 } else { rng.pick(&[300, 1000]) },
        calm,
        addresses: if calm {
            200
        } else {
            auth_rng.pick(&[1, 2, 200])
        },
        piece: if fine {
            rng.pick(&[1, 7])
        } else {
            rng.pick(&[1000, usize::MAX])
        },
    }
}

/// Returns the configuration with other paths of the targets and without security headers. Half of
/// the worlds also replace a target. Half of the worlds that are not calm also replace an auth
/// provider.
fn other_edition(text: &str, calm: bool, rng: &mut Rng) -> String {
    let mut other = text
        .replace("/base\"", "/other/base\"")
        .replace("/a/longer/one/\"", "/short\"")
        .replace("http://10.0.0.3\"", "http://10.0.0.3/third\"");
    if rng.hits(500) {
        other = other.replace("http://10.0.0.1/", "http://10.0.0.4/");
    }
    // With frequent replacement of providers, a request may not get its answer in time.
    if rng.hits(500) && !calm {
        other = other.replace("\"cache\": \"1s\"", "\"cache\": \"2s\"");
    }
    other.replacen(
        "\"timeouts\"",
        "\"securityHeaders\": false, \"timeouts\"",
        1,
    )
}

/// Limits that a few requests of an address reach, with windows that end while a world runs.
pub const RATE_LIMITS: [&str; 6] = [
    r#""rateLimit": { "requests": 2, "window": "1s" }"#,
    r#""rateLimit": { "requests": 3, "window": "2s", "algorithm": "sliding" }"#,
    r#""rateLimit": { "requests": 3, "window": "5s", "algorithm": "bucket", "burst": 2 }"#,
    r#""rateLimit": { "requests": 1, "window": "2s", "algorithm": "bucket", "burst": 4 }"#,
    r#""rateLimit": [ { "requests": 4, "window": "1s" }, { "requests": 3, "window": "5s" }, { "requests": 1, "window": "5s", "key": "header:X-Id" } ]"#,
    r#""rateLimit": [ { "requests": 2, "window": "1s", "algorithm": "sliding" }, { "requests": 3, "window": "3s", "algorithm": "bucket", "burst": 5 } ]"#,
];

/// Returns a service with limits of requests in flight and a sticky session, or without.
fn with_policies(service: &str, calm: bool, policies: &mut Policies, rng: &mut Rng) -> String {
    let mut service = service.to_owned();
    if !calm && rng.hits(250) {
        let limit = rng.size(2);
        policies.in_flight = Some(limit);
        service += &format!(r#", "limits": {{ "inFlight": {limit} }}"#);
    }
    if !calm && rng.hits(300) {
        policies.of_targets = true;
        service = with_max_in_flight(&service, rng);
    }
    policies.sticky = rng.hits(250);
    if policies.sticky {
        service += r#", "sticky": { "ttl": "1h" }"#;
    }
    service
}

/// Returns the service with `maxInFlight` of its first target, or of all of them.
fn with_max_in_flight(service: &str, rng: &mut Rng) -> String {
    let limit = format!(r#""maxInFlight": {}"#, rng.size(2));
    let mut service = service.to_owned();
    for url in ["http://10.0.0.1/base", "http://plain.test/base"] {
        let limited = format!(r#"{{ "url": "{url}", {limit} }}"#);
        service = service
            .replace(
                &format!(r#""target": "{url}""#),
                &format!(r#""targets": [{limited}]"#),
            )
            .replace(&format!(r#"["{url}""#), &format!("[{limited}"));
    }
    if rng.hits(500) {
        for role in [r#""weight": 2"#, r#""backup": true"#] {
            service = service.replace(role, &format!("{role}, {limit}"));
        }
    }
    service
}

/// Returns the configuration with unix sockets in place of the addresses 10.0.0.1 to 10.0.0.4 where
/// `is_socket` says so.
fn with_sockets(text: String, is_socket: [bool; 4]) -> String {
    (1..)
        .zip(is_socket)
        .filter(|(_, is_socket)| *is_socket)
        .fold(text, |text, (number, _)| {
            let address = format!("http://10.0.0.{number}");
            let socket = format!("http://unix:/run/{number}.sock");
            text.replace(&format!("{address}/"), &format!("{socket}:/"))
                .replace(&format!("{address}\""), &format!("{socket}\""))
        })
}

/// Returns a service with one target, a name, or several targets with the keys of load balancing.
fn service(rng: &mut Rng, calm: bool) -> String {
    let retries = rng.pick(&[0, 1, 2]);
    let passive = rng.pick(&[
        "false",
        r#"{ "failures": 1, "window": "2s", "eject": "1s" }"#,
        r#"{ "failures": 3 }"#,
    ]);
    let more = format!(r#""retries": {retries}, "passiveHealth": {passive}"#);
    match rng.below(10) {
        0..=3 => r#""target": "http://10.0.0.1/base""#.to_owned(),
        4..=5 => format!(r#""target": "http://plain.test/base", {more}"#),
        _ => {
            let strategy = rng.pick(&["round-robin", "least-connections", "random-two", "ip-hash"]);
            let check = format!(
                r#", "healthCheck": {{ "path": "{HEALTH}", "interval": "200ms", "timeout": "100ms", "fall": 2 }}"#
            );
            let check = if !calm && rng.hits(500) {
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

fn behavior(rng: &mut Rng, calm: bool, fine: bool) -> ClientBehavior {
    let leaves = (!calm && rng.hits(250)).then(|| {
        let how = rng.pick(&[Leaving::Fin, Leaving::Reset, Leaving::Stall]);
        (rng.size(2000) - 1, how)
    });
    ClientBehavior {
        pipelines: rng.hits(300),
        pace: if fine {
            rng.pick(&[1, 30])
        } else {
            rng.pick(&[1000, 64 << 10])
        },
        leaves,
        garbage: !calm && rng.hits(50),
        pause: 0,
    }
}

/// Draws the rate of each fault: off, rare or frequent.
fn faults(rng: &mut Rng) -> Faults {
    let mut often = |rare, frequent| rng.pick(&[0, 0, rare, frequent]);
    Faults {
        refused: often(50, 400),
        unanswered: often(20, 200),
        exhausted: often(20, 300),
        unresolved: often(100, 600),
        unhealthy: often(200, 700),
        spurious: often(20, 400),
        interrupted: often(20, 300),
        delayed: often(100, 700),
        jump: often(0, 2),
        shed: often(0, 20),
        stop: often(0, 3),
        provider: 0,
        reload: 0,
        sockets: 0,
        reset: 0,
    }
}

fn run(seed: u64) -> Outcome {
    World::new(seed, scenario(seed)).run()
}

/// Runs worlds on all cores. The message names the first seeds that fail.
fn run_all(first: u64, count: u64) -> Outcome {
    let next = AtomicU64::new(first);
    let failed = Mutex::new(Vec::new());
    let totals = Mutex::new(Vec::new());
    let work = || {
        let mut own = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count
                || failed.lock().expect("no thread panics with the lock").len() >= 5
            {
                break;
            }
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(outcome) => own.push(outcome),
                Err(_) => {
                    println!("SEED={seed} fails");
                    failed
                        .lock()
                        .expect("no thread panics with the lock")
                        .push(seed);
                }
            }
        }
        totals
            .lock()
            .expect("no thread panics with the lock")
            .extend(own);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().expect("no thread panics with the lock");
    assert!(failed.is_empty(), "repeat with SEED=n, n one of {failed:?}");
    let mut sum = Outcome::default();
    for outcome in totals.into_inner().expect("no thread panics with the lock") {
        sum.stats.add(outcome.stats);
        sum.client_received += outcome.client_received;
        sum.spliced[0] += outcome.spliced[0];
        sum.spliced[1] += outcome.spliced[1];
    }
    sum
}

#[test]
fn worlds() {
    if let Some(seed) = env_number("SEED") {
        println!("seed {seed}: {:?}", run(seed));
        return;
    }
    let (first, count) = (
        env_number("FIRST").unwrap_or(1),
        env_number("SEEDS").unwrap_or(SEEDS),
    );
    let sum = run_all(first, count);
    println!(
        "{count} seeds from {first} on: {:?}, {} bytes received, {:?} spliced",
        sum.stats, sum.client_received, sum.spliced
    );
    if count < SEEDS {
        return;
    }
    // A check proves nothing if its situation does not occur, so each must occur often enough.
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
        stuck,
        full,
        limited,
        at_sockets,
        stuck_at_sockets,
        refused_by_sockets,
    } = sum.stats;
    let count = count as usize;
    assert!(
        whole > 2 * count && own > count / 2 && cut > count / 50,
        "too few events: {sum:?}"
    );
    assert!(
        sum.spliced.iter().all(|&bytes| bytes > 100 * count),
        "too few events: {sum:?}"
    );
    assert!(
        moved > count / 50 && out > count / 50 && back > count / 100,
        "too few events: {sum:?}"
    );
    assert!(
        private > count / 50 && kept > count / 50 && raced > count / 50,
        "too few events: {sum:?}"
    );
    assert!(reloads > count / 2, "too few events: {sum:?}");
    assert!(unauthorized > count / 4, "too few events: {sum:?}");
    assert!(
        stuck > count / 20 && full > count / 50,
        "too few events: {sum:?}"
    );
    assert!(
        at_sockets > count / 20 && stuck_at_sockets > count / 100,
        "too few events: {sum:?}"
    );
    assert!(
        refused_by_sockets > count / 50 && limited > count / 20,
        "too few events: {sum:?}"
    );
    assert!(
        switched > count / 50 && unasked < count / 50,
        "too few events: {sum:?}"
    );
}

#[test]
fn a_seed_repeats_its_world() {
    for seed in 1..=40 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}
