//! Goals that this comparison can measure, each with the measured value and the result.

use std::fmt::Write;

use crate::gateways::Gateway;
use crate::report::figure;
use crate::results::{Results, Sample};

const CPU: fn(&Sample) -> f64 = |sample| sample.cpu;
const MB: f64 = 1048576.0;

/// Goal: an upper bound of a value.
#[derive(Clone)]
struct Row {
    goal: String,
    measured: Option<f64>,
    at_most: f64,
    unit: &'static str,
}

pub fn write(gateways: &[Gateway], results: &Results) -> String {
    let rows = [
        small(results),
        https(results),
        bulk(results),
        sizes(gateways, results),
        times(results),
    ]
    .concat();
    let mut out = String::from("| goal | at most | measured | holds |\n|---|---|---|---|\n");
    for Row {
        goal,
        measured,
        at_most,
        unit,
    } in rows
    {
        let holds = match measured {
            None => "not measured",
            Some(value) if value <= at_most => "yes",
            Some(_) => "**no**",
        };
        let _ = writeln!(
            out,
            "| {goal} | {}{unit} | {}{} | {holds} |",
            exact(Some(at_most), unit),
            exact(measured, unit),
            if measured.is_some() { unit } else { "" }
        );
    }
    out + "\n"
}

/// Ratios have three digits behind the point, because some goals are that close.
fn exact(value: Option<f64>, unit: &str) -> String {
    match value {
        Some(ratio) if unit == "x" && ratio >= 0.1 => format!("{ratio:.3}"),
        Some(ratio) if unit == "x" => format!("{ratio:.4}"),
        other => figure(other),
    }
}

fn row(goal: impl Into<String>, measured: Option<f64>, at_most: f64, unit: &'static str) -> Row {
    Row {
        goal: goal.into(),
        measured,
        at_most,
        unit,
    }
}

/// Returns tollgate's CPU time divided by that of a peer.
fn over(results: &Results, scenario: &'static str, gateway: &'static str) -> Option<f64> {
    results
        .ratio((scenario, "tollgate"), (scenario, gateway), CPU)
        .map(|[median, ..]| median)
}

fn small(results: &Results) -> Vec<Row> {
    let peers = [
        ("the bare relay", "relay", 1.15),
        (
            "the bare relay whose origin sends the fields",
            "relay-fields",
            1.15,
        ),
        ("HAProxy in TCP mode", "haproxy-tcp", 1.0),
        ("nginx", "nginx", 0.7),
        ("HAProxy", "haproxy", 0.57),
        ("sozu", "sozu", 0.55),
        ("Caddy", "caddy", 0.1),
        ("the Node original", "node", 0.0125),
    ];
    let mut rows = peers
        .map(|(title, name, at_most)| {
            row(
                format!("CPU a small request over {title}"),
                over(results, "small", name),
                at_most,
                "x",
            )
        })
        .into_iter()
        .collect::<Vec<_>>();
    rows.push(row(
        "system calls a kept-alive request",
        results.syscalls.get("tollgate").copied(),
        4.1,
        "",
    ));
    let few = ("small", "tollgate");
    let against_plain = |scenario| {
        results
            .ratio((scenario, "tollgate"), few, CPU)
            .map(|[median, ..]| median)
    };
    rows.push(row(
        "CPU with 5,000 routes instead of a few",
        against_plain("many-routes"),
        1.02,
        "x",
    ));
    rows.push(row(
        "CPU with an https upstream instead of a plain one",
        against_plain("https-upstream"),
        1.3,
        "x",
    ));
    rows
}

/// "At least as many as nginx" is measured as "at most as much CPU for each".
fn https(results: &Results) -> Vec<Row> {
    let kept = results
        .ratio(("https", "tollgate"), ("small", "tollgate"), CPU)
        .map(|[median, ..]| median);
    vec![
        row(
            "CPU a small request over https, kept alive, over plain HTTP's",
            kept,
            1.3,
            "x",
        ),
        row(
            "CPU a resumed TLS handshake over nginx (1.7 times as many)",
            over(results, "resumed", "nginx"),
            1.0 / 1.7,
            "x",
        ),
        row(
            "CPU a full ECDSA handshake over nginx (as many)",
            over(results, "handshakes", "nginx"),
            1.0,
            "x",
        ),
    ]
}

/// Compares with the best of the measured peers.
fn bulk(results: &Results) -> Vec<Row> {
    let rows = [("10 MB up", "post-10m"), ("10 MB down", "get-10m")].map(|(title, scenario)| {
        let ratios = ["nginx", "haproxy", "sozu"]
            .iter()
            .filter_map(|name| over(results, scenario, name));
        let worst = ratios.reduce(f64::max);
        row(
            format!("CPU for {title} over the best of nginx, HAProxy and sozu"),
            worst,
            0.8,
            "x",
        )
    });
    rows.into_iter().collect()
}

fn sizes(gateways: &[Gateway], results: &Results) -> Vec<Row> {
    let memory = results.memory.get("tollgate");
    let binary = gateways
        .iter()
        .find(|gateway| gateway.name == "tollgate")
        .map(|gateway| gateway.binary_bytes() as f64 / MB);
    vec![
        row(
            "private memory of an idle connection",
            memory.map(|memory| memory.per_idle),
            320.0,
            " B",
        ),
        row(
            "private memory of an idle TLS connection",
            memory.and_then(|memory| memory.per_idle_tls),
            8192.0,
            " B",
        ),
        row(
            "private memory of a request in flight",
            memory.map(|memory| memory.per_flight),
            1536.0,
            " B",
        ),
        row(
            "private memory with no connection",
            memory.map(|memory| memory.empty / MB),
            2.0,
            " MB",
        ),
        row("binary, as it was measured", binary, 2.0, " MB"),
    ]
}

fn times(results: &Results) -> Vec<Row> {
    let p99 = |name| results.median("fixed-rate", name, |sample: &Sample| sample.p99);
    let added = |name| Some(p99(name)? - p99("direct")?);
    let against = added("tollgate")
        .zip(added("haproxy"))
        .map(|(ours, theirs)| ours / theirs);
    let beside = results.ratio(
        ("beside-stream", "tollgate"),
        ("quiet", "tollgate"),
        |sample| sample.p99,
    );
    vec![
        row("added p99 at half load over HAProxy's", against, 0.8, "x"),
        row(
            "p99 of small requests beside a stream over the quiet one",
            beside.map(|[median, ..]| median),
            1.3,
            "x",
        ),
        row(
            "start to listening",
            results.start.get("tollgate").copied(),
            5.0,
            " ms",
        ),
    ]
}
