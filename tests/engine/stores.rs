//! Limits that gateways share through a store (`stores`, `rateLimit.store`).

use std::collections::HashMap;

use super::metrics::{scrape, table};
use super::script::*;
use proptest::prelude::*;
use tollgate::observe::metrics::exposition::Format;
use tollgate::proxy::command::{Fault, Report};
use tollgate::proxy::tables::Table;

/// Store that answers as Redis does.
#[derive(Default)]
struct Server {
    /// Count, and time at which the key ends.
    keys: HashMap<String, (i64, Option<u64>)>,
    /// Sum of all that was counted.
    counted: i64,
}

impl Server {
    /// Answers commands at a time, in milliseconds.
    fn answer(&mut self, bytes: &[u8], now: u64) -> String {
        let text = String::from_utf8(bytes.to_vec()).expect("ASCII");
        let words = text.split_terminator("\r\n");
        let mut words = words.filter(|word| !word.starts_with(['*', '$']));
        let mut answers = String::new();
        let mut queued: Option<Vec<String>> = None;
        while let Some(command) = words.next() {
            let mut next = || words.next().expect("a whole command").to_owned();
            let reply = match command {
                "MULTI" => {
                    queued = Some(Vec::new());
                    "+OK\r\n".to_owned()
                }
                "EXEC" => {
                    let replies = queued.take().expect("within MULTI");
                    answers.push_str(&format!("*{}\r\n{}", replies.len(), replies.concat()));
                    continue;
                }
                "AUTH" => {
                    next();
                    "+OK\r\n".to_owned()
                }
                name => {
                    let key = next();
                    if self
                        .keys
                        .get(&key)
                        .is_some_and(|(_, end)| end.is_some_and(|end| end <= now))
                    {
                        self.keys.remove(&key);
                    }
                    self.run(name, &key, &mut next, now)
                }
            };
            match &mut queued {
                Some(queued) if command != "MULTI" => {
                    queued.push(reply);
                    answers.push_str("+QUEUED\r\n");
                }
                _ => answers.push_str(&reply),
            }
        }
        answers
    }

    fn run(&mut self, name: &str, key: &str, next: &mut dyn FnMut() -> String, now: u64) -> String {
        match name {
            "SET" => {
                assert_eq!((next().as_str(), next().as_str()), ("0", "PX"));
                let end = now + next().parse::<u64>().expect("a time");
                assert_eq!(next(), "NX");
                if self.keys.contains_key(key) {
                    return "$-1\r\n".to_owned();
                }
                self.keys.insert(key.to_owned(), (0, Some(end)));
                "+OK\r\n".to_owned()
            }
            "INCRBY" => {
                let number = next().parse::<i64>().expect("a number");
                let entry = self.keys.entry(key.to_owned()).or_default();
                entry.0 += number;
                self.counted += number;
                format!(":{}\r\n", entry.0)
            }
            "PTTL" => {
                let end = self.keys.get(key).and_then(|(_, end)| *end);
                end.map_or(":-1\r\n".to_owned(), |end| format!(":{}\r\n", end - now))
            }
            "PEXPIRE" => {
                let end = now + next().parse::<u64>().expect("a time");
                match self.keys.get_mut(key) {
                    Some(entry) => {
                        entry.1 = Some(end);
                        ":1\r\n".to_owned()
                    }
                    None => ":0\r\n".to_owned(),
                }
            }
            other => panic!("{other}"),
        }
    }

    /// Returns the counts of all clients, without the probes.
    fn counts(&self) -> Vec<i64> {
        let keys = self.keys.iter().filter(|(key, _)| !key.ends_with("probe"));
        let mut counts = keys.map(|(_, (count, _))| *count).collect::<Vec<_>>();
        counts.sort_unstable();
        counts
    }
}

/// Returns a configuration with a limit of this many requests. `keys`: further ones of the store.
fn config(requests: u32, keys: &str) -> String {
    format!(
        r#"{{ "stores": {{ "main": {{ "url": "redis://:hush@10.0.0.9"{keys} }} }},
            "rateLimit": {{ "requests": {requests}, "window": "60s", "store": "main" }},
            "services": [ {{ "route": "/a", "respond": {{ "status": 204 }} }} ] }}"#
    )
}

/// Gateway whose store is connected.
struct Gateway {
    world: World,
    store: Origin,
}

impl Gateway {
    fn new(config: &str, server: &mut Server) -> Gateway {
        let mut world = World::with(config);
        let store = world.accept();
        let mut gateway = Gateway { world, store };
        gateway.exchange(server);
        gateway
    }

    /// Ends the turn, and has the store answer.
    fn exchange(&mut self, server: &mut Server) {
        self.world.wait(0);
        let bytes = self.world.take_upstream(self.store);
        let answers = server.answer(&bytes, self.world.now.as_millis());
        self.world.reply(self.store, answers);
    }

    fn ask(&mut self) -> u16 {
        ask(&mut self.world)
    }
}

/// Sends a request. Returns the status of its response.
fn ask(world: &mut World) -> u16 {
    let client = world.connect();
    world.send(client, "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n");
    let text = world.received(client);
    world.finish(client);
    text.get(9..12)
        .expect("a status")
        .parse()
        .expect("a number")
}

/// Returns what was said about the store.
fn told(world: &mut World) -> Vec<String> {
    let reports = std::mem::take(&mut world.reports);
    let texts = reports.iter().filter_map(|report| match report {
        Report::Store { why, .. } => Some(why.as_deref().unwrap_or("up").to_owned()),
        _ => None,
    });
    texts.collect()
}

#[test]
fn what_is_counted_elsewhere_is_refused_here() {
    let mut server = Server::default();
    let [mut one, mut two] = [(), ()].map(|()| Gateway::new(&config(4, ""), &mut server));
    assert_eq!(server.counts(), [0; 0], "the probe counts nothing");
    for gateway in [&mut one, &mut two] {
        assert_eq!([gateway.ask(), gateway.ask()], [204, 204]);
        gateway.exchange(&mut server);
    }
    assert_eq!(server.counts(), [4]);
    assert_eq!(two.ask(), 429, "two here, two there");
    // The first one hears of the others with its next request.
    assert_eq!(one.ask(), 204);
    one.exchange(&mut server);
    assert_eq!(one.ask(), 429);
    for gateway in [&mut one, &mut two] {
        gateway.world.wait(60_000);
        assert_eq!(gateway.ask(), 204, "a new window");
        gateway.exchange(&mut server);
    }
    assert_eq!(server.counts(), [2]);
    assert!(told(&mut one.world).is_empty());
}

#[test]
fn a_turn_is_one_pipeline_of_each_client_once() {
    let mut server = Server::default();
    let mut gateway = Gateway::new(&config(9, r#", "prefix": "p:""#), &mut server);
    for _ in 0..3 {
        assert_eq!(gateway.ask(), 204);
    }
    let sent = |gateway: &mut Gateway| {
        gateway.world.wait(0);
        let bytes = gateway.world.take_upstream(gateway.store);
        String::from_utf8(bytes).expect("ASCII")
    };
    let first = sent(&mut gateway);
    assert_eq!(first.matches("MULTI").count(), 1, "{first}");
    assert!(first.contains("\r\nINCRBY\r\n$34\r\np:"), "{first}");
    assert!(first.contains("\r\n$1\r\n3\r\n"), "{first}");
    // The next turn does not wait for the answer.
    assert_eq!(gateway.ask(), 204);
    assert!(sent(&mut gateway).contains("\r\n$1\r\n1\r\n"));
    assert_eq!(sent(&mut gateway), "", "nothing is sent without a count");
}

#[test]
fn a_store_that_is_down_costs_no_request() {
    for (keys, expected) in [("", 204), (r#", "onFailure": "closed""#, 503)] {
        let mut world = World::with(&config(3, keys));
        assert_eq!(ask(&mut world), expected, "not connected yet");
        world.refuse_because(Fault::Refused, "Connection refused (os error 111)");
        assert_eq!(told(&mut world), ["Connection refused (os error 111)"]);
        // 100 ms, doubling, and told once. The wheel fires a slot late.
        for pause in [100, 200, 400, 800, 1600, 3200, 5000, 5000] {
            world.wait(pause - 1);
            world.expect_no_dial();
            world.wait(130);
            world.refuse_because(Fault::Refused, "Connection refused (os error 111)");
        }
        assert_eq!(ask(&mut world), expected);
        assert!(told(&mut world).is_empty());
        world.wait(5_100);
        let mut gateway = Gateway {
            store: world.accept(),
            world,
        };
        let mut server = Server::default();
        assert_eq!(gateway.ask(), expected, "connected, and not answered");
        gateway.exchange(&mut server);
        assert_eq!(told(&mut gateway.world), ["up"]);
        assert_eq!(server.counts(), [0; 0], "only new counts go");
        let left = if expected == 204 { 0 } else { 3 };
        for nth in 0..4 {
            let status = if nth < left { 204 } else { 429 };
            assert_eq!(gateway.ask(), status, "{keys} {nth}");
        }
    }
}

/// A server that asks for a password from now on ends its connections first, and refuses the next one.
#[test]
fn a_store_that_is_down_for_another_reason_is_told_again() {
    let mut world = World::with(&config(3, ""));
    let store = world.accept();
    let mut gateway = Gateway { store, world };
    gateway.exchange(&mut Server::default());
    gateway.world.fail_upstream(store, Fault::Reset);
    assert_eq!(told(&mut gateway.world).len(), 1);
    let refused = "-NOAUTH Authentication required.\r\n";
    for expected in [1, 0, 0] {
        gateway.world.wait(1_000);
        gateway.store = gateway.world.accept();
        gateway.world.reply(gateway.store, refused);
        let told = told(&mut gateway.world);
        assert_eq!(told.len(), expected, "{told:?}");
        assert!(told.iter().all(|why| why.contains("NOAUTH")), "{told:?}");
    }
}

/// A worker that was started again serves clients that waited for it before it is connected.
#[test]
fn what_is_counted_before_the_first_connection_goes_out_on_it() {
    let mut server = Server::default();
    let mut world = World::with(&config(9, ""));
    for _ in 0..3 {
        assert_eq!(ask(&mut world), 204);
        world.wait(0);
    }
    let mut gateway = Gateway {
        store: world.accept(),
        world,
    };
    assert_eq!(gateway.ask(), 204, "connected, and not answered");
    // The answer to the probe, and to the counts.
    gateway.exchange(&mut server);
    gateway.exchange(&mut server);
    assert_eq!(server.counts(), [4]);
}

#[test]
fn a_store_that_is_silent_is_left() {
    let mut server = Server::default();
    let mut gateway = Gateway::new(&config(100, ""), &mut server);
    assert_eq!(gateway.ask(), 204);
    gateway.world.wait(0);
    gateway.world.wait(900);
    assert!(!gateway.world.closed_upstream(gateway.store));
    assert_eq!(gateway.ask(), 204, "no request waits");
    gateway.world.wait(200);
    assert!(gateway.world.closed_upstream(gateway.store));
    assert_eq!(told(&mut gateway.world), ["no answer within 1 s"]);
    gateway.world.wait(300);
    gateway.store = gateway.world.accept();
    gateway.exchange(&mut server);
    assert_eq!(told(&mut gateway.world), ["up"]);
    // What was on its way is not sent again.
    assert_eq!(gateway.ask(), 204);
    gateway.exchange(&mut server);
    assert_eq!(server.counts(), [1]);
}

#[test]
fn a_store_that_lost_its_counts_lowers_none() {
    let mut server = Server::default();
    let mut gateway = Gateway::new(&config(3, ""), &mut server);
    for _ in 0..2 {
        assert_eq!(gateway.ask(), 204);
        gateway.exchange(&mut server);
    }
    server.keys.clear();
    assert_eq!(gateway.ask(), 204);
    gateway.exchange(&mut server);
    assert_eq!(server.counts(), [1]);
    assert_eq!(gateway.ask(), 429);
}

#[test]
fn a_key_without_an_end_gets_one() {
    let mut server = Server::default();
    let mut gateway = Gateway::new(&config(3, ""), &mut server);
    assert_eq!(gateway.ask(), 204);
    gateway.exchange(&mut server);
    for (_, end) in server.keys.values_mut() {
        *end = None;
    }
    assert_eq!(gateway.ask(), 204);
    gateway.exchange(&mut server);
    gateway.exchange(&mut server);
    let mut keys = server.keys.iter();
    let (_, end) = keys
        .find(|(key, _)| !key.ends_with("probe"))
        .expect("a key")
        .1;
    assert_eq!(*end, Some(gateway.world.now.as_millis() + 60_000));
}

/// Rows: what the store sends in place of an answer, and what the operator is told.
#[test]
fn odd_answers_end_the_connection() {
    let aborted = "+OK\r\n-OOM command not allowed\r\n-OOM x\r\n+QUEUED\r\n-EXECABORT x\r\n";
    let good = "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:1\r\n:60000\r\n";
    for (bytes, why) in [
        (
            aborted.to_owned(),
            "it refuses a count: OOM command not allowed",
        ),
        (
            "HTTP/1.1 400 Bad Request\r\n\r\n".to_owned(),
            "does not speak RESP2",
        ),
        (":1\r\n".to_owned(), "a reply to another command"),
        (format!("{good}{good}"), "a reply to another command"),
        (format!("{good}{good}{good}"), "a reply to another command"),
    ] {
        for cut in 0..bytes.len() {
            let mut gateway = Gateway::new(&config(100, ""), &mut Server::default());
            assert_eq!(gateway.ask(), 204);
            gateway.world.wait(0);
            gateway.world.take_upstream(gateway.store);
            gateway.world.reply(gateway.store, &bytes[..cut]);
            gateway.world.reply(gateway.store, &bytes[cut..]);
            let told = told(&mut gateway.world);
            assert!(
                told.len() == 1 && told[0].contains(why),
                "{bytes:?}: {told:?}"
            );
            assert!(gateway.world.closed_upstream(gateway.store));
            assert_eq!(gateway.ask(), 204);
        }
    }
}

/// Rows: what the store says first, and what the operator is told.
#[test]
fn a_store_that_does_not_let_the_gateway_in() {
    for (bytes, why) in [
        (
            "-WRONGPASS invalid username-password pair\r\n",
            "the store refuses the gateway: WRONGPASS invalid username-password pair",
        ),
        ("HTTP/1.1 400\r\n", "does not speak RESP2"),
        (
            "+OK\r\n-NOPERM x\r\n-NOPERM x\r\n-NOPERM x\r\n-NOPERM x\r\n-ERR EXEC without MULTI\r\n",
            "it refuses a count: NOPERM x",
        ),
        ("", "no answer within 1 s"),
    ] {
        let mut world = World::with(&config(100, r#", "onFailure": "closed""#));
        let store = world.accept();
        let greeting = String::from_utf8(world.take_upstream(store)).expect("ASCII");
        assert!(
            greeting.starts_with("*2\r\n$4\r\nAUTH\r\n$4\r\nhush\r\n"),
            "{greeting}"
        );
        world.reply(store, bytes);
        world.wait(1_100);
        let told = told(&mut world);
        assert!(told.len() == 1 && told[0].contains(why), "{told:?}");
        assert!(!told[0].contains("hush"), "{told:?}");
        assert_eq!(ask(&mut world), 503);
    }
}

#[test]
fn a_reload_keeps_the_connection_of_the_same_server() {
    let mut server = Server::default();
    let mut gateway = Gateway::new(&config(2, ""), &mut server);
    assert_eq!([gateway.ask(), gateway.ask()], [204, 204]);
    gateway.exchange(&mut server);
    // Another prefix: the connection and the counts stay.
    gateway
        .world
        .reload(&config(3, r#", "prefix": "x:", "onFailure": "closed""#));
    gateway.world.expect_no_dial();
    assert_eq!([gateway.ask(), gateway.ask()], [204, 429]);
    gateway.exchange(&mut server);
    assert_eq!(server.counts(), [1, 2]);
    // Another password: a new connection.
    let other = config(9, "").replace("hush", "other");
    gateway.world.reload(&other);
    assert!(gateway.world.closed_upstream(gateway.store));
    gateway.store = gateway.world.accept();
    gateway.exchange(&mut server);
    assert_eq!(gateway.ask(), 204);
    gateway.exchange(&mut server);
    assert_eq!(server.counts(), [1, 3]);
    // Without the store the limit counts alone, in a table of its own.
    let none = other.replace(r#", "store": "main""#, "");
    gateway.world.reload(&none);
    assert_eq!(gateway.ask(), 204);
    let away = none.replace(r#""stores""#, r#""//stores""#);
    gateway.world.reload(&away);
    assert!(gateway.world.closed_upstream(gateway.store));
    gateway.world.expect_quiet();
}

/// The state has the server without its password, since when it is up or down, and the last error.
#[test]
fn the_state_shows_each_store() {
    let row = |world: &World| table(world, Table::Stores)[0].take();
    let mut world = World::with(&config(9, ""));
    let first = row(&world);
    assert_eq!(first["store"], "main");
    assert_eq!(first["url"], "redis://10.0.0.9:6379/0");
    assert_eq!(first["state"], "unknown");
    assert!(first["since"].is_null() && first["lastError"].is_null());
    world.wait(3_000);
    world.refuse_because(Fault::Refused, "Connection refused (os error 111)");
    let down = row(&world);
    assert_eq!(down["state"], "down");
    assert_eq!(down["lastError"], "Connection refused (os error 111)");
    world.wait(300);
    world.refuse_because(Fault::Refused, "another reason");
    let still = row(&world);
    assert_eq!(still["since"], down["since"], "since the first failure");
    assert_eq!(still["lastError"], "another reason");
    world.wait(1_500);
    let store = world.accept();
    let mut gateway = Gateway { world, store };
    let mut server = Server::default();
    gateway.exchange(&mut server);
    gateway.ask();
    gateway.exchange(&mut server);
    let up = row(&gateway.world);
    assert_eq!((&up["state"], &up["counts"]), (&"up".into(), &1.into()));
    assert_eq!(up["lastError"], "another reason", "it stays for who asks");
    assert_ne!(up["since"], down["since"]);
    let long = "x".repeat(1000);
    gateway.world.reply(gateway.store, format!("-{long}\r\n"));
    let end = row(&gateway.world);
    let length = end["lastError"].as_str().expect("a text").len();
    assert!(length <= 240, "{length}");
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A gateway gets requests in one turn.
    Requests(usize, u8),
    /// The store reads what a gateway has sent, and its answers set out.
    Reads(usize),
    /// Answers arrive.
    Arrives(usize),
    /// Time passes.
    Passes(u64),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let gateway = 0..3_usize;
    let event = prop_oneof![
        4 => (gateway.clone(), 1..5_u8).prop_map(|(gateway, count)| Event::Requests(gateway, count)),
        3 => gateway.clone().prop_map(Event::Reads),
        3 => gateway.prop_map(Event::Arrives),
        1 => (1..400_u64).prop_map(Event::Passes),
    ];
    proptest::collection::vec(event, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Three gateways and one store. A gateway passes no more in a window than its limit, and beyond
    /// what all have together at most one request of each other gateway, and what came to a gateway
    /// between a request that the store counted when the limit was reached and the answer to it (I15).
    #[test]
    fn the_overshoot_has_a_bound(events in events(), limit in 3..20_u32) {
        let mut server = Server::default();
        let mut gateways = [(), (), ()].map(|()| Gateway::new(&config(limit, ""), &mut server));
        let mut wires = [const { String::new() }; 3];
        let (mut passed, mut spent) = ([0_u32; 3], 0);
        // Requests beyond the limit that a gateway let pass before it could know.
        let mut excused = [0_u32; 3];
        let mut has_heard = [false; 3];
        for event in events {
            match event {
                Event::Requests(at, count) => {
                    for _ in 0..count {
                        let before = passed.iter().sum::<u32>();
                        if gateways[at].ask() == 204 {
                            passed[at] += 1;
                            prop_assert!(!has_heard[at], "the answer said that none is left");
                            excused[at] += u32::from(before >= limit);
                        }
                    }
                    gateways[at].world.wait(0);
                }
                Event::Reads(at) => {
                    let bytes = gateways[at].world.take_upstream(gateways[at].store);
                    wires[at].push_str(&server.answer(&bytes, gateways[at].world.now.as_millis()));
                }
                Event::Arrives(at) => {
                    let text = std::mem::take(&mut wires[at]);
                    let totals = text.split("*3\r\n").skip(1);
                    let mut totals = totals.filter_map(|rest| rest.split(':').nth(1)?.trim_end().parse::<u32>().ok());
                    has_heard[at] |= totals.any(|total| total >= limit);
                    gateways[at].world.reply(gateways[at].store, text);
                }
                Event::Passes(millis) if spent + millis < 800 => {
                    spent += millis;
                    for gateway in &mut gateways {
                        gateway.world.wait(millis);
                    }
                }
                Event::Passes(_) => {}
            }
            prop_assert!(passed.iter().all(|passed| *passed <= limit));
            let all = passed.iter().sum::<u32>();
            prop_assert!(all <= limit + excused.iter().sum::<u32>());
        }
        // Once everything has arrived, each gateway that counts once more hears the truth.
        for _ in 0..2 {
            for gateway in &mut gateways {
                gateway.ask();
            }
            for (gateway, wire) in gateways.iter_mut().zip(&mut wires) {
                let text = std::mem::take(wire);
                gateway.world.reply(gateway.store, text);
                gateway.exchange(&mut server);
            }
        }
        let total = server.counts().iter().sum::<i64>();
        if total >= limit.into() {
            for gateway in &mut gateways {
                gateway.ask();
                gateway.exchange(&mut server);
                prop_assert_eq!(gateway.ask(), 429);
            }
        }
    }
}

/// Replies that no count has, or that no store should give. The last ones look like answers.
const WRONG: [&str; 7] = [
    "HTTP/1.1 400 Bad Request\r\n\r\n",
    ":1\r\n",
    "-LOADING Redis is loading the dataset in memory\r\n",
    "+OK\r\n+QUEUED\r\n",
    "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:0\r\n:60000\r\n",
    "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:-9223372036854775808\r\n:-1\r\n",
    "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:9223372036854775807\r\n:60000\r\n",
];

#[derive(Clone, Copy, Debug)]
enum Deed {
    /// A gateway gets requests in one turn.
    Requests(usize, u8),
    /// The store reads what a gateway has sent, and its answers set out.
    Reads(usize),
    /// Answers arrive, so many times.
    Arrives(usize, u8),
    /// Answers get lost.
    Drops(usize),
    /// Something else arrives.
    Wrong(usize, usize),
    /// The connection ends.
    Ends(usize),
    /// The store starts again without its counts.
    Loses,
    /// Time passes.
    Passes(u64),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let at = 0..3_usize;
    let deed = prop_oneof![
        6 => (at.clone(), 1..5_u8).prop_map(|(at, count)| Deed::Requests(at, count)),
        5 => at.clone().prop_map(Deed::Reads),
        5 => (at.clone(), 1..3_u8).prop_map(|(at, times)| Deed::Arrives(at, times)),
        1 => at.clone().prop_map(Deed::Drops),
        1 => (at.clone(), 0..WRONG.len()).prop_map(|(at, which)| Deed::Wrong(at, which)),
        1 => at.prop_map(Deed::Ends),
        1 => Just(Deed::Loses),
        3 => (1..1500_u64).prop_map(Deed::Passes),
    ];
    proptest::collection::vec(deed, 0..160)
}

/// Accepts the connection that a gateway makes, if there is one. What was on the way is gone.
fn accept_again(gateway: &mut Gateway, wire: &mut String) -> bool {
    let has_dialed = !gateway.world.dials.is_empty();
    if has_dialed {
        gateway.store = gateway.world.accept();
        wire.clear();
    }
    has_dialed
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// A store that answers late, twice, never or wrong, ends connections and loses its counts (F22): each
    /// request has its answer at once, no gateway passes more than its limit, and the store hears of no
    /// request twice. Once the store is well, each request that passes is counted there (I15).
    #[test]
    fn whatever_a_store_does(deeds in deeds(), limit in 3..40_u32) {
        let mut server = Server::default();
        let mut gateways = [(), (), ()].map(|()| Gateway::new(&config(limit, ""), &mut server));
        let mut wires = [const { String::new() }; 3];
        let (mut passed, mut spent) = ([0_u32; 3], 0);
        for deed in deeds {
            match deed {
                Deed::Requests(at, count) => {
                    for _ in 0..count {
                        match gateways[at].ask() {
                            204 => passed[at] += 1,
                            status => prop_assert_eq!(status, 429),
                        }
                    }
                    gateways[at].world.wait(0);
                }
                Deed::Reads(at) => {
                    let bytes = gateways[at].world.take_upstream(gateways[at].store);
                    wires[at].push_str(&server.answer(&bytes, gateways[at].world.now.as_millis()));
                }
                Deed::Arrives(at, times) => {
                    let text = std::mem::take(&mut wires[at]);
                    for _ in 0..times {
                        gateways[at].world.reply(gateways[at].store, &text);
                    }
                }
                Deed::Drops(at) => wires[at].clear(),
                Deed::Wrong(at, which) => gateways[at].world.reply(gateways[at].store, WRONG[which]),
                Deed::Ends(at) => gateways[at].world.finish_upstream(gateways[at].store),
                Deed::Loses => server.keys.clear(),
                Deed::Passes(millis) if spent + millis < 40_000 => {
                    spent += millis;
                    for (gateway, wire) in gateways.iter_mut().zip(&mut wires) {
                        gateway.world.wait(millis);
                        accept_again(gateway, wire);
                    }
                }
                Deed::Passes(_) => {}
            }
            prop_assert!(passed.iter().all(|passed| *passed <= limit), "{passed:?} of {limit}");
            let all = i64::from(passed.iter().sum::<u32>());
            prop_assert!(server.counted <= all, "{} counted of {all}", server.counted);
        }
        // Connections that wait for an answer end after 1 s, and the next one comes at most 5 s later.
        for _ in 0..80 {
            for (gateway, wire) in gateways.iter_mut().zip(&mut wires) {
                gateway.world.wait(100);
                accept_again(gateway, wire);
                // An answer to a count that was answered wrongly before ends the connection.
                gateway.exchange(&mut server);
            }
        }
        for (gateway, passed) in gateways.iter_mut().zip(passed) {
            gateway.exchange(&mut server);
            let before = server.counted;
            let status = gateway.ask();
            prop_assert!(status == 429 || passed < limit);
            gateway.exchange(&mut server);
            prop_assert_eq!(server.counted - before, i64::from(status == 204));
        }
    }
}

// --- exact ---

/// Returns a configuration with an `exact` limit of this many requests. `keys`: further ones of the
/// store.
fn exact(requests: u32, keys: &str) -> String {
    config(requests, keys).replace(r#""window": "60s""#, r#""window": "60s", "exact": true"#)
}

/// Sends a request over a connection of its own.
fn begin(world: &mut World) -> Client {
    let client = world.connect();
    world.send(client, "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n");
    client
}

/// Returns the status of the response that has come; `None`: none has.
fn status(world: &mut World, client: Client) -> Option<u16> {
    let text = world.received(client);
    let status = text.get(9..12)?;
    Some(status.parse().expect("a number"))
}

impl Gateway {
    fn begin(&mut self, count: usize) -> Vec<Client> {
        (0..count).map(|_| begin(&mut self.world)).collect()
    }

    fn statuses(&mut self, clients: &[Client]) -> Vec<Option<u16>> {
        let clients = clients.iter();
        clients
            .map(|client| status(&mut self.world, *client))
            .collect()
    }
}

#[test]
fn an_exact_limit_waits_for_the_store_and_passes_as_many_as_it_says() {
    let mut server = Server::default();
    let [mut one, mut two] = [(), ()].map(|()| Gateway::new(&exact(5, ""), &mut server));
    let (of_one, of_two) = (one.begin(4), two.begin(4));
    assert_eq!(one.statuses(&of_one), [None; 4], "they wait");
    one.exchange(&mut server);
    assert_eq!(one.statuses(&of_one), [Some(204); 4]);
    assert_eq!(two.statuses(&of_two), [None; 4]);
    two.exchange(&mut server);
    let limited = Some(429);
    assert_eq!(
        two.statuses(&of_two),
        [Some(204), limited, limited, limited]
    );
    assert_eq!(server.counts(), [8]);
    // What was refused is given back.
    two.exchange(&mut server);
    assert_eq!(server.counts(), [5]);
    assert_eq!(two.ask(), 429, "known here: the store is not asked");
    two.world.wait(0);
    assert!(two.world.take_upstream(two.store).is_empty());
    let last = one.begin(1);
    one.exchange(&mut server);
    assert_eq!(one.statuses(&last), [limited]);
}

#[test]
fn an_exact_limit_waits_no_longer_than_the_store_may_take() {
    for (keys, expected) in [("", 204), (r#", "onFailure": "closed""#, 503)] {
        let mut server = Server::default();
        let mut gateway = Gateway::new(&exact(3, keys), &mut server);
        let clients = gateway.begin(2);
        gateway.world.wait(0);
        gateway.world.wait(49);
        assert_eq!(gateway.statuses(&clients), [None; 2]);
        // The wheel fires a slot late.
        gateway.world.wait(130);
        assert_eq!(gateway.statuses(&clients), [Some(expected); 2]);
        // Late answers are those to other requests: the next one of the connection still waits.
        let bytes = gateway.world.take_upstream(gateway.store);
        gateway
            .world
            .send(clients[0], "GET /a HTTP/1.1\r\nHost: gate\r\n\r\n");
        let late = server.answer(&bytes, gateway.world.now.as_millis());
        gateway.world.reply(gateway.store, late);
        assert_eq!(gateway.statuses(&clients), [None; 2], "{keys}");
        gateway.exchange(&mut server);
        assert_eq!(gateway.statuses(&clients)[0], Some(204));
        let metrics = scrape(&gateway.world, Format::Text);
        assert!(
            metrics.contains("\ntollgate_store_late_total{store=\"main\"} 2\n"),
            "{metrics}"
        );
        let counted = if expected == 204 { 3 } else { 1 };
        assert_eq!(server.counts(), [counted], "{keys}: refused is given back");
    }
}

#[test]
fn an_exact_limit_waits_for_no_store_that_is_down() {
    for (keys, expected) in [("", 204), (r#", "onFailure": "closed""#, 503)] {
        let mut server = Server::default();
        let mut gateway = Gateway::new(&exact(9, keys), &mut server);
        let clients = gateway.begin(2);
        gateway.world.wait(0);
        let more = gateway.begin(1);
        // Some are on the way, one is in the queue.
        gateway.world.finish_upstream(gateway.store);
        gateway.world.wait(0);
        assert_eq!(gateway.statuses(&clients), [Some(expected); 2]);
        assert_eq!(gateway.statuses(&more), [Some(expected)]);
        assert_eq!(gateway.ask(), expected);
        let metrics = scrape(&gateway.world, Format::Text);
        assert!(
            !metrics.contains("\ntollgate_store_late_total{"),
            "none has waited too long: {metrics}"
        );
    }
}

#[test]
fn an_exact_limit_of_a_list_counts_in_all_or_none() {
    let config = r#"{ "stores": { "main": { "url": "redis://10.0.0.9" } },
        "rateLimit": [ { "requests": 3, "window": "60s", "headers": "x" },
            { "requests": 2, "window": "60s", "store": "main", "exact": true, "key": "header:X-T" } ],
        "services": [ { "route": "/a", "respond": { "status": 204 } } ] }"#;
    let mut server = Server::default();
    let [mut one, mut two] = [(), ()].map(|()| Gateway::new(config, &mut server));
    let mut ask = |gateway: &mut Gateway, tenant: &str| {
        let client = gateway.world.connect();
        let text = format!("GET /a HTTP/1.1\r\nHost: gate\r\nX-T: {tenant}\r\n\r\n");
        gateway.world.send(client, text);
        gateway.exchange(&mut server);
        gateway.world.received(client)
    };
    for (tenant, of_one, of_two) in [
        ("a", "204", "204"),
        ("a", "429", "429"),
        ("b", "204", "204"),
        ("c", "204", "204"),
    ] {
        for (gateway, expected) in [(&mut one, of_one), (&mut two, of_two)] {
            let text = ask(gateway, tenant);
            assert_eq!(&text[9..12], expected, "{tenant}: {text}");
        }
    }
    // The three that have passed are all that the first limit has counted.
    assert_eq!(&ask(&mut one, "d")[9..12], "429");
    assert_eq!(server.counts(), [2, 2, 2]);
}

/// Limits by a credential wait after authentication, and what the others have counted is given back.
#[test]
fn an_exact_limit_by_a_credential() {
    let key = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    let config = format!(
        r#"{{ "stores": {{ "main": {{ "url": "redis://10.0.0.9" }} }},
            "auth": {{ "keys": {{ "type": "apiKey", "header": "X-API-Key", "keys": {{ "a": "sha256:{key}" }} }} }},
            "rateLimit": [ {{ "requests": 9, "window": "60s" }},
                {{ "requests": 2, "window": "60s", "store": "main", "exact": true, "key": "consumer" }} ],
            "services": [ {{ "route": "/a", "auth": "keys", "respond": {{ "status": 204 }} }} ] }}"#
    );
    let mut server = Server::default();
    let [mut one, mut two] = [(), ()].map(|()| Gateway::new(&config, &mut server));
    let ask = |gateway: &mut Gateway, key: &str| {
        let client = gateway.world.connect();
        let text = format!("GET /a HTTP/1.1\r\nHost: gate\r\nX-API-Key: {key}\r\n\r\n");
        gateway.world.send(client, text);
        client
    };
    let refused = ask(&mut one, "wrong");
    assert_eq!(one.statuses(&[refused]), [Some(401)]);
    let good = [ask(&mut one, "test"), ask(&mut one, "test")];
    assert_eq!(one.statuses(&good), [None; 2]);
    one.exchange(&mut server);
    assert_eq!(one.statuses(&good), [Some(204); 2]);
    let late = ask(&mut two, "test");
    two.exchange(&mut server);
    assert_eq!(two.statuses(&[late]), [Some(429)]);
    two.exchange(&mut server);
    assert_eq!(server.counts(), [2]);
}

#[test]
fn a_client_that_goes_while_it_waits() {
    let mut server = Server::default();
    let mut gateway = Gateway::new(&exact(2, ""), &mut server);
    let clients = gateway.begin(2);
    gateway.world.wait(0);
    gateway.world.finish(clients[0]);
    gateway.exchange(&mut server);
    assert_eq!(status(&mut gateway.world, clients[1]), Some(204));
    assert_eq!(gateway.ask(), 429, "it has counted");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Three gateways, an exact limit and a store that answers in time: whatever the order in which counts
    /// and answers arrive, never one request too many passes, and never one too few (I15).
    #[test]
    fn an_exact_limit_is_exact(events in events(), limit in 3..20_usize) {
        let mut server = Server::default();
        let requests = u32::try_from(limit).expect("small");
        let mut gateways = [(), (), ()].map(|()| Gateway::new(&exact(requests, ""), &mut server));
        let mut wires = [const { String::new() }; 3];
        let mut waiting = [const { Vec::new() }; 3];
        let (mut asked, mut passed) = (0, 0);
        let take = |waiting: &mut Vec<Client>, gateway: &mut Gateway| {
            let mut passed = 0;
            waiting.retain(|client| match status(&mut gateway.world, *client) {
                None => true,
                Some(status) => {
                    assert!([204, 429].contains(&status));
                    passed += usize::from(status == 204);
                    false
                }
            });
            passed
        };
        for event in events {
            match event {
                Event::Requests(at, count) => {
                    asked += usize::from(count);
                    waiting[at].extend(gateways[at].begin(count.into()));
                    gateways[at].world.wait(0);
                }
                Event::Reads(at) => {
                    let bytes = gateways[at].world.take_upstream(gateways[at].store);
                    wires[at].push_str(&server.answer(&bytes, gateways[at].world.now.as_millis()));
                }
                Event::Arrives(at) => {
                    let text = std::mem::take(&mut wires[at]);
                    gateways[at].world.reply(gateways[at].store, text);
                }
                // Answers are in time.
                Event::Passes(_) => {}
            }
            for (waiting, gateway) in waiting.iter_mut().zip(&mut gateways) {
                passed += take(waiting, gateway);
            }
            prop_assert!(passed <= limit, "{passed} of {limit}");
        }
        for _ in 0..3 {
            for (gateway, wire) in gateways.iter_mut().zip(&mut wires) {
                let text = std::mem::take(wire);
                gateway.world.reply(gateway.store, text);
                gateway.exchange(&mut server);
            }
        }
        for (waiting, gateway) in waiting.iter_mut().zip(&mut gateways) {
            passed += take(waiting, gateway);
            prop_assert!(waiting.is_empty(), "each has its answer");
        }
        prop_assert_eq!(passed, limit.min(asked));
        prop_assert_eq!(server.counts().iter().sum::<i64>(), i64::try_from(passed).expect("small"));
    }

    /// An exact limit, and a store that answers late, twice, never or wrong, ends connections and loses its
    /// counts (F22): each request has its answer in time, and no gateway passes more than its limit (I15).
    #[test]
    fn an_exact_limit_whatever_a_store_does(deeds in deeds(), limit in 3..40_u32) {
        let mut server = Server::default();
        let mut gateways = [(), (), ()].map(|()| Gateway::new(&exact(limit, ""), &mut server));
        let mut wires = [const { String::new() }; 3];
        // Clients that wait, each with the time of its request.
        let mut waiting = [const { Vec::<(Client, u64)>::new() }; 3];
        let (mut passed, mut spent) = ([0_u32; 3], 0);
        for deed in deeds {
            match deed {
                Deed::Requests(at, count) => {
                    let now = gateways[at].world.now.as_millis();
                    let clients = gateways[at].begin(count.into());
                    waiting[at].extend(clients.into_iter().map(|client| (client, now)));
                    gateways[at].world.wait(0);
                }
                Deed::Reads(at) => {
                    let bytes = gateways[at].world.take_upstream(gateways[at].store);
                    wires[at].push_str(&server.answer(&bytes, gateways[at].world.now.as_millis()));
                }
                Deed::Arrives(at, times) => {
                    let text = std::mem::take(&mut wires[at]);
                    for _ in 0..times {
                        gateways[at].world.reply(gateways[at].store, &text);
                    }
                }
                Deed::Drops(at) => wires[at].clear(),
                Deed::Wrong(at, which) => gateways[at].world.reply(gateways[at].store, WRONG[which]),
                Deed::Ends(at) => gateways[at].world.finish_upstream(gateways[at].store),
                Deed::Loses => server.keys.clear(),
                Deed::Passes(millis) if spent + millis < 40_000 => {
                    spent += millis;
                    for (gateway, wire) in gateways.iter_mut().zip(&mut wires) {
                        gateway.world.wait(millis);
                        accept_again(gateway, wire);
                    }
                }
                Deed::Passes(_) => {}
            }
            for ((waiting, gateway), passed) in waiting.iter_mut().zip(&mut gateways).zip(&mut passed) {
                let now = gateway.world.now.as_millis();
                waiting.retain(|(client, since)| match status(&mut gateway.world, *client) {
                    None => {
                        assert!(now < since + 300, "it waits for {} ms", now - since);
                        true
                    }
                    Some(status) => {
                        assert!([204, 429].contains(&status));
                        *passed += u32::from(status == 204);
                        false
                    }
                });
            }
            prop_assert!(passed.iter().all(|passed| *passed <= limit), "{passed:?} of {limit}");
        }
    }
}
