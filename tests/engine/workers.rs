//! Limits that the workers of a gateway share through their supervisor (`workers`), in each algorithm.

use super::script::*;
use proptest::prelude::*;
use tollgate::policy::auth::base64::encode_url;
use tollgate::policy::store::counts::Counts;
use tollgate::policy::store::server::Server;

/// Supervisor, which counts for its workers.
struct Supervisor {
    counts: Counts,
    workers: Vec<Worker>,
}

struct Worker {
    world: World,
    line: Origin,
    server: Server,
    /// Answers on their way.
    wire: Vec<u8>,
}

impl Supervisor {
    fn new(config: &str, workers: usize) -> Supervisor {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let config = tollgate::config::load(config.as_bytes(), "test.json", &|_| None, &read);
        let mut config = config.unwrap_or_else(|errors| panic!("{errors:?}"));
        let counts = Counts::new(config.shared_clients(), 1);
        config.become_worker(workers);
        let worker = |_| {
            let mut world = World::new(config.settings.clone());
            Worker {
                line: world.accept(),
                world,
                server: Server::default(),
                wire: Vec::new(),
            }
        };
        let workers = (0..workers).map(worker).collect();
        let mut supervisor = Supervisor { counts, workers };
        (0..supervisor.workers.len()).for_each(|at| supervisor.exchange(at));
        supervisor
    }

    /// Ends the turn of a worker, and reads what it sends.
    fn read(&mut self, at: usize) {
        let Worker {
            world,
            line,
            server,
            wire,
        } = &mut self.workers[at];
        world.wait(0);
        let bytes = world.take_upstream(*line);
        let read = server.receive(&bytes, &mut self.counts, world.now, wire);
        assert_eq!(read, Ok(bytes.len()), "whole commands");
    }

    /// Has the answers to a worker arrive.
    fn answer(&mut self, at: usize) {
        let worker = &mut self.workers[at];
        let wire = std::mem::take(&mut worker.wire);
        worker.world.reply(worker.line, wire);
    }

    fn exchange(&mut self, at: usize) {
        self.read(at);
        self.answer(at);
    }

    fn wait(&mut self, millis: u64) {
        for worker in &mut self.workers {
            worker.world.wait(millis);
        }
    }

    fn ask(&mut self, at: usize) -> u16 {
        ask(&mut self.workers[at].world, "")
    }
}

/// Sends a request with these lines. Returns the status of its response.
fn ask(world: &mut World, lines: &str) -> u16 {
    let client = world.connect();
    world.send(
        client,
        format!("GET /a HTTP/1.1\r\nHost: gate\r\n{lines}\r\n"),
    );
    let text = world.received(client);
    world.finish(client);
    let status = text.get(9..12).expect("a status");
    status.parse().expect("a number")
}

/// Limits of four requests in a second, or, in a bucket, of four and three more each second.
const FIXED: (&str, i64) = (r#""requests": 4"#, 4);
const SLIDING: (&str, i64) = (r#""algorithm": "sliding", "requests": 4"#, 4);
const BUCKET: (&str, i64) = (r#""algorithm": "bucket", "burst": 4, "requests": 3"#, 4);
const WINDOW: u64 = 1000;

fn config(limit: &str) -> String {
    format!(
        r#"{{ "rateLimit": {{ {limit}, "window": "1s" }},
            "services": [ {{ "route": "/a", "respond": {{ "status": 204 }} }} ] }}"#
    )
}

/// Model of what all workers let pass, from the words of `docs/configuration.md`.
#[derive(Default)]
struct Model {
    start: u64,
    count: i64,
    before: i64,
    /// Parts of a request that a bucket misses, of which it takes as many as a window has milliseconds.
    missing: i64,
    last: u64,
}

impl Model {
    /// Counts a request. Returns the number of requests beyond the limit.
    fn pass(&mut self, limit: (&str, i64), now: u64) -> i64 {
        let window = WINDOW as i64;
        let share = |count: i64, until: u64| {
            let left = until.saturating_sub(now).min(WINDOW) as i64;
            count * left / window
        };
        if limit == BUCKET {
            let back = 3 * (now - self.last) as i64;
            self.missing = (self.missing - back).max(0) + window;
            self.last = now;
            let beyond = self.missing - limit.1 * window;
            return beyond.div_euclid(window) + i64::from(beyond.rem_euclid(window) > 0);
        }
        if now >= self.start + WINDOW {
            self.before = share(self.count, self.start + 2 * WINDOW);
            (self.start, self.count) = (now, 0);
        }
        self.count += 1;
        let before = match limit {
            SLIDING => share(self.before, self.start + WINDOW),
            _ => 0,
        };
        self.count + before - limit.1
    }
}

#[test]
fn each_algorithm_is_shared() {
    for limit in [FIXED, SLIDING, BUCKET] {
        let mut supervisor = Supervisor::new(&config(limit.0), 3);
        let mut passed = 0;
        for turn in 0..30 {
            passed += u32::from(supervisor.ask(turn % 3) == 204);
            supervisor.exchange(turn % 3);
        }
        assert!((4..=6).contains(&passed), "{limit:?}: {passed}");
        // Another worker, which has counted nothing, hears of the others with its first request.
        let mut again = Supervisor::new(&config(limit.0), 1);
        std::mem::swap(&mut supervisor.counts, &mut again.counts);
        let statuses = [(); 3].map(|()| {
            let status = again.ask(0);
            again.exchange(0);
            status
        });
        assert_eq!(statuses, [204, 429, 429], "{limit:?}");
    }
}

#[test]
fn what_a_limit_by_a_credential_refuses_is_given_back() {
    for limit in [FIXED, SLIDING, BUCKET] {
        let config = format!(
            r#"{{ "rateLimit": [ {{ {}, "window": "1s" }}, {{ "requests": 1, "window": "1s", "key": "consumer" }} ],
                "auth": {{ "keys": {{ "type": "apiKey", "header": "X-Key", "keys": {{
                    "a": "sha256:ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb",
                    "b": "sha256:3e23e8160039594a33894f6564e1b1348bbd7a0088d42c4acb73eeaed59c009d" }} }} }},
                "services": [ {{ "route": "/a", "respond": {{ "status": 204 }}, "auth": "keys" }} ] }}"#,
            limit.0
        );
        let mut supervisor = Supervisor::new(&config, 2);
        for key in ["a", "b"] {
            let mut passed = 0;
            for turn in 0..12 {
                let world = &mut supervisor.workers[turn % 2].world;
                passed += u32::from(ask(world, &format!("X-Key: {key}\r\n")) == 204);
                supervisor.exchange(turn % 2);
            }
            assert!((1..=2).contains(&passed), "{limit:?} {key}: {passed}");
        }
    }
}

#[test]
fn failures_of_credentials_are_shared() {
    let config = r#"{ "authFailures": { "requests": 4, "window": "10s" }, "rateLimit": false,
        "auth": { "main": { "type": "jwt", "secret": "a secret of more than thirty-two bytes", "audience": "gate" } },
        "services": [ { "route": "/a", "respond": { "status": 204 }, "auth": "main" } ] }"#;
    let mut supervisor = Supervisor::new(config, 3);
    let mut statuses = Vec::new();
    for turn in 0..30 {
        let token = encode_url(format!(r#"{{"n":{turn}}}"#).as_bytes());
        let lines = format!(
            "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.{token}.{}\r\n",
            "A".repeat(43)
        );
        statuses.push(ask(&mut supervisor.workers[turn % 3].world, &lines));
        supervisor.exchange(turn % 3);
    }
    let refused = statuses.iter().filter(|status| **status == 401).count();
    assert!((4..=6).contains(&refused), "{statuses:?}");
    assert_eq!(&statuses[20..], [429; 10]);
    supervisor.wait(10_000);
    assert_eq!(supervisor.ask(0), 401, "without a credential");
}

fn limits() -> impl Strategy<Value = (&'static str, i64)> {
    prop_oneof![Just(FIXED), Just(SLIDING), Just(BUCKET)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// A gateway with one worker decides as one without workers does.
    #[test]
    fn one_worker_decides_as_a_gateway_without_workers(limit in limits(), pauses in prop::collection::vec(0_u64..700, 1..80)) {
        let mut supervisor = Supervisor::new(&config(limit.0), 1);
        let mut alone = World::with(&config(limit.0));
        for pause in pauses {
            supervisor.wait(pause);
            alone.wait(pause);
            prop_assert_eq!(supervisor.ask(0), ask(&mut alone, ""));
            supervisor.exchange(0);
        }
    }

    /// Three workers and one client. Beyond the limit passes at most what each other worker counts before it
    /// hears of the rest: here at most `burst` requests (I15). What a sliding window weighs in a worker that
    /// counts nothing may end earlier than in the others: such a worker counts as often again.
    #[test]
    fn the_overshoot_of_workers_has_a_bound(
        limit in limits(),
        burst in 1..4_usize,
        turns in prop::collection::vec((0..3_usize, 1..4_usize, 0_u64..700), 1..80),
    ) {
        let mut supervisor = Supervisor::new(&config(limit.0), 3);
        let (mut model, mut most) = (Model::default(), i64::MIN);
        for (at, requests, pause) in turns {
            for _ in 0..requests.min(burst) {
                if supervisor.ask(at) == 204 {
                    let now = supervisor.workers[at].world.now.as_millis();
                    most = most.max(model.pass(limit, now));
                }
            }
            supervisor.exchange(at);
            supervisor.wait(pause / 10 * u64::from(pause > 300));
        }
        let workers = if limit == SLIDING { 6 } else { 2 };
        prop_assert!(most <= workers * burst as i64, "{most} beyond the limit");
    }

    /// Counts and answers that arrive late: no worker passes more than it would by itself, and once all have
    /// arrived, each worker that counts once more hears the truth.
    #[test]
    fn late_answers_of_a_supervisor(
        limit in limits(),
        events in prop::collection::vec((0..3_usize, 0..4_u8, 0_u64..80), 1..100),
    ) {
        let mut supervisor = Supervisor::new(&config(limit.0), 3);
        let mut models = [(); 3].map(|()| Model::default());
        let mut spent = 0;
        for (at, event, millis) in events {
            match event {
                0 | 1 => {
                    if supervisor.ask(at) == 204 {
                        let now = supervisor.workers[at].world.now.as_millis();
                        let beyond = models[at].pass(limit, now);
                        prop_assert!(beyond <= 0, "{beyond} beyond its own limit");
                    }
                    supervisor.workers[at].world.wait(0);
                }
                2 => supervisor.read(at),
                _ => supervisor.answer(at),
            }
            // Within one window, and before a connection without an answer ends.
            if spent + millis < 900 {
                spent += millis;
                supervisor.wait(millis);
            }
        }
        for _ in 0..4 {
            for at in 0..3 {
                supervisor.exchange(at);
                supervisor.ask(at);
                supervisor.exchange(at);
            }
        }
        let statuses = [0, 1, 2].map(|at| supervisor.ask(at));
        prop_assert_eq!(statuses, [429; 3]);
    }
}
