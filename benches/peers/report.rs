//! The tables, in Markdown.

use std::fmt::Write;

use crate::comparison::Comparison;
use crate::gateways::Gateway;
use crate::results::{Results, Sample};
use crate::scenarios::{self, SCENARIOS};

const CPU: fn(&Sample) -> f64 = |sample| sample.cpu;

pub fn write(comparison: &Comparison<'_>) -> String {
    let Comparison {
        gateways, results, ..
    } = comparison;
    [
        small(gateways, results),
        by_scenario(gateways, results),
        handshakes(gateways, results),
        streams(gateways, results),
        noise(gateways, results),
    ]
    .concat()
}

/// A figure with about three digits, or a dash.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.abs() >= 1e5 => thousands(value),
        Some(value) if value.abs() >= 100.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) if value.abs() >= 0.1 => format!("{value:.2}"),
        Some(value) => format!("{value:.4}"),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// tollgate's part of a gateway's CPU time, round by round.
fn tollgate_over(results: &Results, scenario: &'static str, gateway: &'static str) -> Option<f64> {
    results
        .ratio((scenario, "tollgate"), (scenario, gateway), CPU)
        .map(|[median, ..]| median)
}

fn small(gateways: &[Gateway], results: &Results) -> String {
    let mut out = String::from(
        "| small requests, 64 connections | CPU a request, us | tollgate takes | system calls a request | requests a second \
         | p50 / p99, us, at a fixed rate of | RSS after it, MB | private memory, empty, MB | idle connection, B \
         | idle TLS connection, B | request in flight, B | start, ms |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let times = |name| {
        let micros = |of| {
            results
                .median("fixed-rate", name, of)
                .map(|nanos: f64| nanos / 1e3)
        };
        let rate = results.fixed_rate.get(name)?;
        Some(format!(
            "{} / {} at {rate:.0}/s",
            figure(micros(|s| s.p50)),
            figure(micros(|s| s.p99))
        ))
    };
    for gateway in gateways {
        let name = gateway.name;
        let memory = results.memory.get(name);
        let cells = [
            figure(results.median("small", name, CPU).map(|nanos| nanos / 1e3)),
            tollgate_over(results, "small", name)
                .map_or("-".to_owned(), |ratio| format!("{ratio:.2}x")),
            figure(results.syscalls.get(name).copied()),
            results
                .median("small", name, |sample| sample.rate)
                .map_or("-".to_owned(), thousands),
            times(name).unwrap_or("-".to_owned()),
            figure(results.resident.get(name).map(|bytes| bytes / 1048576.0)),
            figure(memory.map(|memory| memory.empty / 1048576.0)),
            memory.map_or("-".to_owned(), |memory| thousands(memory.per_idle)),
            memory
                .and_then(|memory| memory.per_idle_tls)
                .map_or("-".to_owned(), thousands),
            memory.map_or("-".to_owned(), |memory| thousands(memory.per_flight)),
            figure(results.start.get(name).copied()),
        ];
        let measurements = ["small", "fixed-rate", "syscalls", "memory", "start"];
        let mark = if measurements
            .iter()
            .any(|scenario| results.is_blamed(scenario, name))
        {
            " (!)"
        } else {
            ""
        };
        let _ = writeln!(out, "| {}{mark} | {} |", gateway.version, cells.join(" | "));
    }
    if let Some(times) = times("direct") {
        let _ = writeln!(out, "| no gateway | | | | | {times} | | | | | | |");
    }
    out + "\n"
}

/// Rows are scenarios; each cell has the CPU time, and what part of it tollgate takes.
fn by_scenario(gateways: &[Gateway], results: &Results) -> String {
    let names = gateways
        .iter()
        .map(|gateway| gateway.name)
        .collect::<Vec<_>>();
    let mut out = format!(
        "| CPU a request, us (tollgate takes) | {} |\n",
        names.join(" | ")
    );
    let _ = writeln!(out, "|---|{}", "---|".repeat(names.len()));
    for scenario in SCENARIOS
        .iter()
        .filter(|scenario| results.has(scenario.name))
    {
        let cell = |name: &&'static str| {
            let mark = if results.is_blamed(scenario.name, name) {
                " (!)"
            } else {
                ""
            };
            let cpu = results
                .median(scenario.name, name, CPU)
                .map(|nanos| nanos / 1e3);
            match tollgate_over(results, scenario.name, name) {
                Some(ratio) if *name != "tollgate" => {
                    format!("{} ({ratio:.2}x){mark}", figure(cpu))
                }
                _ => format!("{}{mark}", figure(cpu)),
            }
        };
        let cells = names.iter().map(cell).collect::<Vec<_>>();
        let _ = writeln!(out, "| {} | {} |", scenario.title, cells.join(" | "));
    }
    out + "\n"
}

/// Returns the number of handshakes for a second of CPU, each with a connection and one request.
fn handshakes(gateways: &[Gateway], results: &Results) -> String {
    if !results.has("handshakes") && !results.has("resumed") {
        return String::new();
    }
    let mut out = String::from(
        "| TLS handshakes (with a connection and one request) a second of CPU | full, ECDSA P-256 | resumed |\n|---|---|---|\n",
    );
    for gateway in gateways.iter().filter(|gateway| gateway.abilities.https) {
        let cell = |scenario| {
            let mark = if results.is_blamed(scenario, gateway.name) {
                " (!)"
            } else {
                ""
            };
            let rate = results
                .median(scenario, gateway.name, CPU)
                .map(|nanos| 1e9 / nanos);
            format!("{}{mark}", rate.map_or("-".to_owned(), thousands))
        };
        let _ = writeln!(
            out,
            "| {} | {} | {} |",
            gateway.version,
            cell("handshakes"),
            cell("resumed")
        );
    }
    out + "\n"
}

fn streams(gateways: &[Gateway], results: &Results) -> String {
    if !results.has("beside-stream") {
        return String::new();
    }
    let mut out = String::from(
        "| small requests beside a stream | p99 quiet, us | p99 beside it, us | ratio | the stream, MB/s |\n|---|---|---|---|---|\n",
    );
    for gateway in gateways {
        let name = gateway.name;
        let p99 = |scenario| {
            results
                .median(scenario, name, |sample| sample.p99)
                .map(|nanos| nanos / 1e3)
        };
        let ratio = results.ratio(("beside-stream", name), ("quiet", name), |sample| {
            sample.p99
        });
        let stream = results.stream.get(name).map(|bytes| bytes / 1e6);
        let mark = if results.is_blamed("beside-stream", name) || results.is_blamed("quiet", name) {
            " (!)"
        } else {
            ""
        };
        let cells = [
            figure(p99("quiet")),
            figure(p99("beside-stream")),
            figure(ratio.map(|[median, ..]| median)),
            figure(stream),
        ];
        let _ = writeln!(out, "| {}{mark} | {} |", gateway.version, cells.join(" | "));
    }
    out + "\n"
}

/// Returns the difference between two equal gateways. A smaller difference means nothing.
/// The second tollgate is the same, for the noise, or another build.
fn noise(gateways: &[Gateway], results: &Results) -> String {
    let Some(again) = gateways
        .iter()
        .find(|gateway| gateway.name == "tollgate-again")
    else {
        return String::new();
    };
    let mut out = format!(
        "tollgate over {}, CPU a request, median and range of the rounds: ",
        again.version
    );
    let mut any = false;
    for scenario in scenarios::names() {
        let ratio = results.ratio((scenario, "tollgate"), (scenario, "tollgate-again"), CPU);
        if let Some([median, least, most]) = ratio {
            let comma = if any { ", " } else { "" };
            let _ = write!(
                out,
                "{comma}{scenario} {median:.3} ({least:.2} to {most:.2})"
            );
            any = true;
        }
    }
    if any { out + "\n\n" } else { String::new() }
}
