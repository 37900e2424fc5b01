//! Single measurement of one gateway.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::gateways::{Assignment, Gateway, Running, Surroundings};
use crate::load::work::{Outcome, Work};
use crate::loader::Loader;
use crate::priority::{PIECE_BEHIND, Priority};
use crate::procfs;
use crate::results::{MemoryFigures, Sample, median};
use crate::routes;
use crate::scenarios::{self, Scenario};
use crate::strace;

/// Number of idle connections, and of requests in flight, whose memory is measured.
const COUNTED: (usize, usize) = (5000, 1000);
/// Number for slow gateways: Node closes a connection that was idle for 5 s, and has not accepted 5,000 by then.
const COUNTED_SLOW: (usize, usize) = (500, 200);
/// Number of requests under strace.
const TRACED: u64 = 4000;
const STARTS: usize = 7;

/// Sample, or its fault.
pub type Measured<T> = io::Result<(T, Option<String>)>;

fn judged<T>(value: T, outcome: &Outcome) -> (T, Option<String>) {
    let wrong = || {
        format!(
            "{} errors in {} requests, the first: {}",
            outcome.errors, outcome.requests, outcome.first_error
        )
    };
    (value, (outcome.errors > 0).then(wrong))
}

/// Runs a closed loop for some seconds.
pub fn closed(running: &Running, scenario: &Scenario, seconds: f64) -> Measured<Sample> {
    let mut load = Loader::start(&running.work(scenario))?;
    let before = procfs::cpu_nanos(&running.pids)?;
    let outcome = load.order(&format!("for {seconds}"))?;
    let cpu = procfs::cpu_nanos(&running.pids)? - before;
    running.empty_logs();
    let requests = outcome.requests.max(1) as f64;
    let rate = requests / (outcome.nanos as f64 / 1e9);
    Ok(judged(
        Sample {
            cpu: cpu as f64 / requests,
            rate,
            ..Sample::default()
        },
        &outcome,
    ))
}

/// Sends small requests at a fixed rate.
pub fn at_rate(
    address: SocketAddr,
    pids: &[u32],
    rate: f64,
    seconds: f64,
    priority: Priority,
) -> Measured<Sample> {
    let mut load = Loader::start_with(&scenarios::named("small").work(address), priority)?;
    let before = procfs::cpu_nanos(pids)?;
    let outcome = load.order(&format!("rate {rate} {seconds}"))?;
    let cpu = procfs::cpu_nanos(pids)? - before;
    let requests = outcome.requests.max(1) as f64;
    let sample = Sample {
        cpu: cpu as f64 / requests,
        rate: requests / (outcome.nanos as f64 / 1e9),
        p50: outcome.p50 as f64,
        p99: outcome.p99 as f64,
    };
    Ok(judged(sample, &outcome))
}

/// Does the same beside a client that takes 10 MB answers as fast as they come. Returns the bytes a second of that stream, too.
///
/// The stream's client and its origin take only the CPU that the small requests leave, and those of the small requests have it
/// at once (the origin must be ahead already): what is measured is the gateway's fairness, not the scheduler's.
pub fn beside_stream(running: &Running, rate: f64, seconds: f64) -> Measured<(Sample, f64)> {
    let scenario = scenarios::named("get-10m");
    let target = scenario.path.replace("/users", "/payment");
    let work = Work {
        target,
        connections: 1,
        piece: PIECE_BEHIND,
        ..scenario.work(running.stream_address())
    };
    let mut stream = Loader::start_with(&work, Priority::Behind)?;
    stream.begin(&format!("for {}", seconds + 0.6))?;
    thread::sleep(Duration::from_millis(300));
    let (sample, wrong) = at_rate(
        running.address(),
        &running.pids,
        rate,
        seconds,
        Priority::Ahead,
    )?;
    let streamed = stream.finish()?;
    running.empty_logs();
    let bytes = (streamed.requests * work.body_bytes()) as f64 / (streamed.nanos as f64 / 1e9);
    let (value, wrong_stream) = judged((sample, bytes), &streamed);
    Ok((value, wrong.or(wrong_stream)))
}

/// Returns the system calls of a small request.
pub fn syscalls(running: &Running, folder: &Path) -> Measured<f64> {
    let mut load = Loader::start(&scenarios::named("small").work(running.address()))?;
    let mut outcome = Outcome::default();
    let calls = strace::count_calls(&running.pids, folder, || {
        outcome = load.order(&format!("count {TRACED}"))?;
        Ok(())
    })?;
    Ok(judged(
        calls as f64 / outcome.requests.max(1) as f64,
        &outcome,
    ))
}

/// Measures the memory of a fresh instance, empty and with idle connections; of others with idle TLS connections, and with requests in
/// flight.
pub fn memory(
    gateway: &Gateway,
    port: u16,
    surroundings: &Surroundings,
) -> Measured<MemoryFigures> {
    let small = scenarios::named("small");
    let (idle, flight) = if gateway.abilities.fast {
        COUNTED
    } else {
        COUNTED_SLOW
    };
    let kept = |scenario: &Scenario| {
        let (running, empty) = fresh(gateway, port, surroundings, scenario)?;
        let _load = Loader::start(&Work {
            connections: idle,
            ..running.work(scenario)
        })?;
        thread::sleep(Duration::from_millis(500));
        let with_idle = procfs::memory(&running.pids)?.private_dirty as f64;
        io::Result::Ok((empty, (with_idle - empty) / idle as f64))
    };
    let (empty, per_idle) = kept(small)?;
    let https = scenarios::named("https");
    let per_idle_tls = if gateway.abilities.suit(https) {
        Some(kept(https)?.1)
    } else {
        None
    };
    let (running, empty_again) = fresh(gateway, port, surroundings, small)?;
    let delayed = Work {
        target: small.path.replace("json", "delay"),
        connections: flight,
        warm_up: false,
        ..small.work(running.address())
    };
    let mut load = Loader::start(&delayed)?;
    let held = load.order("hold")?;
    thread::sleep(crate::origin::DELAY / 2);
    let in_flight = procfs::memory(&running.pids)?.private_dirty as f64;
    let figures = MemoryFigures {
        empty,
        per_idle,
        per_idle_tls,
        per_flight: (in_flight - empty_again) / flight as f64,
    };
    Ok(judged(figures, &held))
}

/// Starts an instance, sends some requests over one connection, and returns its private memory.
fn fresh(
    gateway: &Gateway,
    port: u16,
    surroundings: &Surroundings,
    scenario: &Scenario,
) -> io::Result<(Running, f64)> {
    let assignment = Assignment {
        port,
        routes: routes::few_routes(),
        surroundings: surroundings.clone(),
    };
    let mut running = gateway.start(assignment)?;
    let mut load = Loader::start(&Work {
        connections: 1,
        ..running.work(scenario)
    })?;
    load.order("count 500")?;
    drop(load);
    thread::sleep(Duration::from_millis(300));
    running.find_processes()?;
    let empty = procfs::memory(&running.pids)?.private_dirty as f64;
    Ok((running, empty))
}

/// Returns the milliseconds from start to listening: the median of a few starts.
pub fn start(gateway: &Gateway, port: u16, surroundings: &Surroundings) -> io::Result<f64> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let assignment = Assignment {
            port,
            routes: routes::few_routes(),
            surroundings: surroundings.clone(),
        };
        times.push(gateway.start(assignment)?.start.as_secs_f64() * 1e3);
    }
    Ok(median(times).unwrap_or(0.0))
}
