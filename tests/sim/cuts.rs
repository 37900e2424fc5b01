//! Common exchanges, cut by FIN, RST and stall at every byte of each direction: plain, over TLS,
//! and with spliced bodies.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::client::ClientBehavior;
use super::link::{Cut, How};
use super::plan::{Answer, Plan};
use super::world::{Outcome, Scenario, World};

/// Returns a plan for the table below.
fn plan(
    id: u64,
    method: &'static str,
    body: Option<(usize, bool)>,
    answer: Answer,
    answer_len: usize,
) -> Plan {
    Plan {
        id,
        tls: false,
        method,
        body,
        expects: false,
        http10: false,
        no_route: false,
        credential: None,
        principal: 0,
        signs_in: None,
        cookie: None,
        answer,
        answer_len,
        ignores_input: false,
    }
}

/// Returns the 20 exchanges. Each runs plain and with TLS on either side. Most send a second
/// request on the same connection, which finds the state that the first one has left.
fn exchanges() -> Vec<(&'static str, Vec<Plan>)> {
    let get = |id| plan(id, "GET", None, Answer::Sized, 5);
    let last = |plan: Plan| vec![plan, get(2)];
    vec![
        ("GET", vec![get(1)]),
        ("GET twice", last(get(1))),
        ("HEAD", last(plan(1, "HEAD", None, Answer::Sized, 5))),
        (
            "GET, chunked answer",
            last(plan(1, "GET", None, Answer::Chunked, 40)),
        ),
        (
            "GET, answer that ends with the stream",
            last(plan(1, "GET", None, Answer::UntilClose, 20)),
        ),
        ("GET, 204", last(plan(1, "GET", None, Answer::NoContent, 0))),
        (
            "GET, 304",
            last(plan(1, "GET", None, Answer::NotModified, 0)),
        ),
        (
            "GET, interim answers",
            last(plan(1, "GET", None, Answer::Interim, 5)),
        ),
        (
            "GET, the upstream closes",
            last(plan(1, "GET", None, Answer::Closing, 5)),
        ),
        (
            "GET, the upstream closes the idle connection",
            last(plan(1, "GET", None, Answer::ClosingLater, 5)),
        ),
        (
            "GET, unasked bytes behind the answer",
            last(plan(1, "GET", None, Answer::Extra, 5)),
        ),
        (
            "GET by HTTP/1.0",
            vec![Plan {
                http10: true,
                ..plan(1, "GET", None, Answer::Chunked, 20)
            }],
        ),
        (
            "POST",
            last(plan(1, "POST", Some((20, false)), Answer::Sized, 5)),
        ),
        (
            "POST, chunked",
            last(plan(1, "POST", Some((30, true)), Answer::Sized, 5)),
        ),
        (
            "PUT, both chunked",
            last(plan(1, "PUT", Some((30, true)), Answer::Chunked, 30)),
        ),
        (
            "POST, with a 100",
            last(Plan {
                expects: true,
                ..plan(1, "POST", Some((20, false)), Answer::Sized, 5)
            }),
        ),
        (
            "POST, early answer",
            last(plan(1, "POST", Some((60, false)), Answer::Early, 5)),
        ),
        (
            "DELETE with a body",
            last(plan(1, "DELETE", Some((10, false)), Answer::NoContent, 0)),
        ),
        (
            "POST to nowhere",
            last(Plan {
                no_route: true,
                ..plan(1, "POST", Some((10, false)), Answer::Sized, 5)
            }),
        ),
        ("WebSocket", vec![plan(1, "GET", None, Answer::Switch, 30)]),
    ]
}

/// Transport of the bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Plain,
    Tls,
    /// TLS between the client and the gateway.
    Secure,
    Unseen,
}

/// Runs one exchange with one cut. The seed decides the speed of the peers.
fn run(
    plans: &[Plan],
    way: Way,
    seed: u64,
    client_cut: Option<Cut>,
    upstream_cut: Option<Cut>,
) -> Outcome {
    let plans: VecDeque<Plan> = plans
        .iter()
        .map(|plan| Plan {
            tls: way == Way::Tls,
            ..plan.clone()
        })
        .collect();
    let behavior = ClientBehavior {
        pipelines: false,
        pace: 64 << 10,
        leaves: None,
        garbage: false,
        pause: 0,
    };
    let calm = client_cut.is_none()
        && upstream_cut.is_none()
        && plans.iter().all(|plan| plan.answer != Answer::Early);
    let secure = way == Way::Secure;
    let mut scenario = Scenario {
        client_cut,
        upstream_cut,
        calm,
        secure,
        ..Scenario::calm(vec![(plans, behavior)])
    };
    if way == Way::Unseen {
        // The settings make the rest of the body arrive while its beginning is being forwarded.
        scenario = Scenario {
            splice_min_bytes: 1,
            gathered_bytes: 0,
            piece: 40,
            window: 200,
            ..scenario
        };
    }
    World::new(seed, scenario).run()
}

/// Cuts an exchange at every `stride`th byte of each direction, on either side.
fn cut_everywhere(name: &str, plans: &[Plan], way: Way, stride: usize, first: usize) -> usize {
    let mut runs = 0;
    let whole = run(plans, way, 1, None, None);
    for (side, inbound, bytes) in [
        ("from the client", true, whole.client_sent),
        ("to the client", false, whole.client_received),
        ("from the upstream", true, whole.upstream_sent),
        ("to the upstream", false, whole.upstream_received),
    ] {
        for at in (first % stride..bytes).step_by(stride) {
            for how in [How::Fin, How::Reset, How::Stall] {
                let cut = Some(Cut { inbound, at, how });
                let (client, upstream) = if side.ends_with("client") {
                    (cut, None)
                } else {
                    (None, cut)
                };
                let run = AssertUnwindSafe(|| run(plans, way, at as u64, client, upstream));
                assert!(
                    catch_unwind(run).is_ok(),
                    "{name}, {way:?}: {how:?} at byte {at} {side}"
                );
                runs += 1;
            }
        }
    }
    runs
}

#[test]
fn the_exchanges_work_uncut() {
    for (name, plans) in exchanges() {
        for way in [Way::Plain, Way::Tls, Way::Secure, Way::Unseen] {
            let outcome = run(&plans, way, 1, None, None);
            let answered = outcome.stats.whole + outcome.stats.own + outcome.stats.switched;
            assert_eq!(
                (answered, outcome.stats.cut),
                (plans.len(), 0),
                "{name}, {way:?}: {outcome:?}"
            );
        }
    }
}

#[test]
fn cut_at_every_byte() {
    let runs: usize = exchanges()
        .iter()
        .map(|(name, plans)| cut_everywhere(name, plans, Way::Plain, 1, 0))
        .sum();
    println!("{runs} cuts");
    assert!(runs > 20_000, "only {runs} cuts");
}

#[test]
fn cut_while_bytes_pass_unseen() {
    let get = plan(2, "GET", None, Answer::Sized, 5);
    let last = |plan: Plan| vec![plan, get.clone()];
    let exchanges = [
        ("GET", last(plan(1, "GET", None, Answer::Sized, 400))),
        (
            "GET by HTTP/1.0",
            vec![Plan {
                http10: true,
                ..plan(1, "GET", None, Answer::UntilClose, 400)
            }],
        ),
        (
            "POST",
            last(plan(1, "POST", Some((400, false)), Answer::Sized, 5)),
        ),
        (
            "POST, early answer",
            last(plan(1, "POST", Some((400, false)), Answer::Early, 400)),
        ),
    ];
    for (name, plans) in &exchanges {
        let [up, down] = run(plans, Way::Unseen, 1, None, None).spliced;
        assert!(
            up + down >= 150,
            "{name}: {up} bytes passed up, {down} down"
        );
    }
    let runs: usize = exchanges
        .iter()
        .enumerate()
        .map(|(nth, (name, plans))| cut_everywhere(name, plans, Way::Unseen, 3, nth))
        .sum();
    assert!(runs > 5_000, "only {runs} cuts");
}

/// Every handshake is slow, so a usual run cuts at every 150th byte. `CUTS=1` cuts at every byte.
#[test]
fn cut_over_tls() {
    let stride = std::env::var("CUTS").map_or(150, |_| 1);
    let runs: usize = exchanges()
        .iter()
        .enumerate()
        .map(|(nth, (name, plans))| {
            cut_everywhere(name, plans, Way::Tls, stride, nth)
                + cut_everywhere(name, plans, Way::Secure, stride, nth)
        })
        .sum();
    println!("{runs} cuts over TLS");
    assert!(runs > 1_000, "only {runs} cuts");
}
