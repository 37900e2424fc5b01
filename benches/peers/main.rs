//! The comparison with the peers: `cargo bench --bench peers`, with `-- --help` for its options.
//!
//! One command starts an origin, a bare relay (the limit), tollgate twice (the noise) and every peer that is installed, each
//! as one worker on CPU 0; load and origin share CPU 1. It checks that all of them answer the same, measures them in
//! interleaved rounds, and prints Markdown tables: what each takes, tollgate's part of it, and which goals hold.
//!
//! The same binary is the origin, the relay and the load: `origin`, `relay` and `load` as the first argument.

#![allow(
    unreachable_pub,
    reason = "a bench exports nothing; `pub` marks what a module offers to its neighbours"
)]
#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a comparison that finds itself broken stops; what it prints is its purpose"
)]

mod arguments;
mod children;
mod comparison;
mod gateways;
mod goals;
mod load;
mod loader;
mod measure;
mod message;
mod origin;
mod priority;
mod procfs;
mod relay;
mod report;
mod results;
mod routes;
mod scenarios;
mod strace;
mod stream;
mod tokens;
mod verify;
mod worker;

use std::io;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use self::arguments::{Options, Order};
use self::children::LOAD_CPU;
use self::comparison::Comparison;

fn main() -> ExitCode {
    let arguments = std::env::args().skip(1).collect::<Vec<_>>();
    let outcome = match arguments.split_first() {
        Some((role, rest)) if role == "origin" => origin::run(rest),
        Some((role, rest)) if role == "relay" => relay::run(rest),
        Some((role, rest)) if role == "load" => load::run(rest),
        _ => match arguments::parse(&arguments) {
            Ok(Order::Say(text)) => {
                print!("{text}");
                Ok(())
            }
            Ok(Order::Compare(options)) => compare(&options),
            Err(error) => Err(io::Error::other(format!(
                "{error}; --help shows the options"
            ))),
        },
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Configurations and logs, gone when the run is over.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn compare(options: &Options) -> io::Result<()> {
    if procfs::cpus() < 2 {
        return Err(io::Error::other(
            "two CPUs are needed: one for the gateway, one for load and origin",
        ));
    }
    rlimit::increase_nofile_limit(u64::MAX)?;
    let folder =
        Folder(std::env::temp_dir().join(format!("tollgate-peers-{}", std::process::id())));
    std::fs::create_dir_all(&folder.0)?;
    children::end_on_signals(folder.0.clone())?;
    children::pin(LOAD_CPU)?;
    let mut comparison = Comparison::start(options, &folder.0)?;
    comparison.run();
    print!(
        "{}{}{}",
        report::write(&comparison),
        goals::write(&comparison.gateways, &comparison.results),
        footer(options, &comparison)
    );
    Ok(())
}

/// When, where and with what it was measured, and what to mind.
fn footer(options: &Options, comparison: &Comparison<'_>) -> String {
    let date = Command::new("date")
        .args(["-u", "+%d %B %Y"])
        .stdin(Stdio::null())
        .output();
    let date = date
        .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
        .unwrap_or_default();
    let mut out = format!(
        "Measured on {date}: {}, {} CPUs ({}), {}, TCP by {}. {} rounds of {} s, medians; gateway on one CPU, load and \
         origin on the other.\n",
        procfs::kernel(),
        procfs::cpus(),
        procfs::cpu_model(),
        std::env::consts::ARCH,
        procfs::congestion_control(),
        options.rounds,
        options.seconds,
    );
    for gateway in &comparison.gateways {
        if gateway.name == "tollgate" {
            let (path, bytes) = (gateway.program().display(), gateway.binary_bytes());
            out.push_str(&format!("tollgate's binary: {bytes} bytes ({path}).\n"));
        } else if !gateway.lacks.is_empty() {
            out.push_str(&format!(
                "{} does without: {}.\n",
                gateway.version, gateway.lacks
            ));
        }
    }
    for line in &comparison.missing {
        out.push_str(&format!("Left out: {line}.\n"));
    }
    for ((scenario, gateway), reason) in &comparison.results.errors {
        out.push_str(&format!("(!) {gateway}, {scenario}: {reason}\n"));
    }
    out
}
