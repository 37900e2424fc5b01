//! The run: everything is started and verified, then measured in interleaved rounds.

use std::io;
use std::path::Path;
use std::time::Instant;

use crate::arguments::Options;
use crate::children::{Group, LOAD_CPU, this_binary};
use crate::gateways::{self, Assignment, Gateway, Running, Surroundings};
use crate::measure;
use crate::origin;
use crate::priority::{Ahead, PIECE_BEHIND, Priority};
use crate::procfs;
use crate::results::{Results, Sample};
use crate::routes;
use crate::scenarios::{self, Need, SCENARIOS, Scenario};
use crate::tokens;
use crate::verify;

/// The names in the certificate: the TLS origin's, and the gateways'.
const TLS_NAMES: [&str; 2] = ["origin.test", "gate.test"];
/// Ports of one instance of a gateway.
const PORTS: u16 = 3;
/// Instances of one gateway: with few routes, with many, and the short-lived ones.
const INSTANCES: u16 = 3;

/// The run, while it goes on.
pub struct Comparison<'o> {
    options: &'o Options,
    pub surroundings: Surroundings,
    pub gateways: Vec<Gateway>,
    /// With the few routes; in the order of the gateways.
    running: Vec<Running>,
    many_routes: Vec<Running>,
    pub results: Results,
    /// Comparisons that are not possible here, with the reason, one a line.
    pub missing: Vec<String>,
    /// The origin, and the stream's. Ended last.
    origins: [Group; 2],
}

impl<'o> Comparison<'o> {
    /// Starts all that is wanted.
    pub fn start(options: &'o Options, folder: &Path) -> io::Result<Comparison<'o>> {
        let surroundings = surroundings(options, folder)?;
        let origins = start_origins(&surroundings)?;
        let (found, missing) = gateways::find();
        let wanted = |name: &str| {
            options
                .only
                .as_ref()
                .is_none_or(|only| only.iter().any(|other| other == name))
        };
        let gateways = found
            .into_iter()
            .filter(|gateway| wanted(gateway.name))
            .collect::<Vec<_>>();
        let (running, many_routes, results) = (Vec::new(), Vec::new(), Results::default());
        let mut comparison = Comparison {
            options,
            surroundings,
            gateways,
            running,
            many_routes,
            results,
            missing,
            origins,
        };
        for gateway in comparison.gateways.clone() {
            if let Err(reason) = comparison.start_gateway(&gateway) {
                comparison
                    .missing
                    .push(format!("{}: {reason}", gateway.name));
                comparison
                    .gateways
                    .retain(|other| other.name != gateway.name);
            }
        }
        Ok(comparison)
    }

    fn start_gateway(&mut self, gateway: &Gateway) -> io::Result<()> {
        progress(&format!("starting {}", gateway.version));
        let first = self.port_of(gateway);
        let assignment = |port, routes| Assignment {
            port,
            routes,
            surroundings: self.surroundings.clone(),
        };
        let mut running = gateway.start(assignment(first, routes::few_routes()))?;
        for scenario in SCENARIOS
            .iter()
            .filter(|scenario| scenario.needs != Need::ManyRoutes)
        {
            if gateway.abilities.suit(scenario) {
                verify::answers(&running, scenario).map_err(io::Error::other)?;
            }
        }
        if gateway.abilities.fields {
            verify::adds_fields(&running).map_err(io::Error::other)?;
        }
        running.find_processes()?;
        if gateway.abilities.many_routes && self.options.wants("many-routes") {
            let mut running = gateway.start(assignment(first + PORTS, routes::many_routes()))?;
            verify::answers(&running, scenarios::named("many-routes")).map_err(io::Error::other)?;
            running.find_processes()?;
            self.many_routes.push(running);
        }
        self.running.push(running);
        Ok(())
    }

    /// The first of a gateway's ports.
    fn port_of(&self, gateway: &Gateway) -> u16 {
        let index = self
            .gateways
            .iter()
            .position(|other| other.name == gateway.name)
            .unwrap_or(0);
        self.options.port + 10 + u16::try_from(index).unwrap_or(0) * PORTS * INSTANCES
    }

    /// Measures all that is wanted. Memory and starts first, with instances of their own.
    pub fn run(&mut self) {
        if self.options.wants("start") {
            self.each_gateway("start", |comparison, gateway, port| {
                let millis = measure::start(gateway, port, &comparison.surroundings)?;
                comparison.results.start.insert(gateway.name, millis);
                Ok(None)
            });
        }
        if self.options.wants("memory") {
            self.each_gateway("memory", |comparison, gateway, port| {
                let (figures, wrong) = measure::memory(gateway, port, &comparison.surroundings)?;
                comparison.results.memory.insert(gateway.name, figures);
                Ok(wrong)
            });
        }
        for scenario in SCENARIOS
            .iter()
            .filter(|scenario| self.options.wants(scenario.name))
        {
            self.closed(scenario);
        }
        if self.options.wants("fixed-rate") {
            self.fixed_rate();
        }
        if self.options.wants("beside-stream") {
            self.beside_stream();
        }
        if self.options.wants("syscalls") {
            self.syscalls();
        }
    }

    fn each_gateway(
        &mut self,
        name: &'static str,
        measure: impl Fn(&mut Self, &Gateway, u16) -> io::Result<Option<String>>,
    ) {
        for gateway in self.gateways.clone() {
            progress(&format!("{name}: {}", gateway.name));
            let port = self.port_of(&gateway) + 2 * PORTS;
            match measure(self, &gateway, port) {
                Ok(None) => {}
                Ok(Some(wrong)) => self.results.blame(name, gateway.name, wrong),
                Err(error) => self.results.blame(name, gateway.name, error.to_string()),
            }
        }
    }

    fn closed(&mut self, scenario: &'static Scenario) {
        let Comparison {
            options,
            running,
            many_routes,
            results,
            ..
        } = self;
        let instances = if scenario.needs == Need::ManyRoutes {
            many_routes
        } else {
            running
        };
        for round in 1..=options.rounds {
            progress(&format!(
                "{} ({round} of {})",
                scenario.name, options.rounds
            ));
            for running in instances
                .iter()
                .filter(|running| running.gateway.abilities.suit(scenario))
            {
                keep(
                    results,
                    scenario.name,
                    running.gateway.name,
                    measure::closed(running, scenario, options.seconds),
                );
            }
        }
        if scenario.name == "small" {
            for running in instances {
                if let Ok(memory) = procfs::memory(&running.pids) {
                    results
                        .resident
                        .insert(running.gateway.name, memory.resident as f64);
                }
            }
        }
    }

    /// Half of what the slowest of the fast gateways can do; the slow ones get half of their own.
    fn rates(&mut self) -> Vec<f64> {
        if !self.results.has("small") {
            self.closed(scenarios::named("small"));
        }
        let half = |name| {
            self.results
                .median("small", name, |sample| sample.rate)
                .unwrap_or(1000.0)
                / 2.0
        };
        let fast = self
            .running
            .iter()
            .filter(|running| running.gateway.abilities.fast);
        let common = fast
            .map(|running| half(running.gateway.name))
            .fold(f64::INFINITY, f64::min);
        self.running
            .iter()
            .map(|running| common.min(half(running.gateway.name)).floor())
            .collect()
    }

    fn fixed_rate(&mut self) {
        let rates = self.rates();
        let Comparison {
            options,
            running,
            results,
            surroundings,
            ..
        } = self;
        let origin = ([127, 0, 0, 1], surroundings.plain_port).into();
        for round in 1..=options.rounds {
            progress(&format!("fixed-rate ({round} of {})", options.rounds));
            // Without a gateway: what the rig itself takes.
            let rate = rates.iter().copied().fold(0.0, f64::max);
            results.fixed_rate.insert("direct", rate);
            keep(
                results,
                "fixed-rate",
                "direct",
                measure::at_rate(origin, &[], rate, options.seconds, Priority::Usual),
            );
            for (running, rate) in running.iter().zip(&rates) {
                let name = running.gateway.name;
                results.fixed_rate.insert(name, *rate);
                let (address, pids) = (running.address(), &running.pids);
                let measured =
                    measure::at_rate(address, pids, *rate, options.seconds, Priority::Usual);
                running.empty_logs();
                keep(results, "fixed-rate", name, measured);
            }
        }
    }

    /// Quiet and beside a stream in turn, at half of the fixed rate. The Node original has no route to the stream's origin.
    fn beside_stream(&mut self) {
        let rates = self.rates();
        let Comparison {
            options,
            running,
            results,
            ..
        } = self;
        // Not at a higher rate: the kernel's own threads for what comes in over the network would have no CPU beside these.
        let _ahead = match Ahead::of(self.origins[0].id()) {
            Ok(ahead) => ahead,
            Err(error) => return results.blame("beside-stream", "tollgate", error.to_string()),
        };
        for round in 1..=options.rounds {
            progress(&format!("beside-stream ({round} of {})", options.rounds));
            for (running, rate) in running
                .iter()
                .zip(&rates)
                .filter(|(running, _)| running.gateway.name != "node")
            {
                let name = running.gateway.name;
                let rate = rate / 2.0;
                let (address, pids) = (running.address(), &running.pids);
                keep(
                    results,
                    "quiet",
                    name,
                    measure::at_rate(address, pids, rate, options.seconds, Priority::Ahead),
                );
                let beside = measure::beside_stream(running, rate, options.seconds).map(
                    |((sample, bytes), wrong)| {
                        results.stream.insert(name, bytes);
                        (sample, wrong)
                    },
                );
                keep(results, "beside-stream", name, beside);
            }
        }
    }

    fn syscalls(&mut self) {
        for running in &self.running {
            let name = running.gateway.name;
            progress(&format!("syscalls: {name}"));
            match measure::syscalls(running, &self.surroundings.folder) {
                Ok((calls, wrong)) => {
                    self.results.syscalls.insert(name, calls);
                    if let Some(wrong) = wrong {
                        self.results.blame("syscalls", name, wrong);
                    }
                }
                Err(error) => self.results.blame("syscalls", name, error.to_string()),
            }
        }
    }
}

/// Files a sample; what was wrong with it stays beside it. A round that failed has no figure, so that rounds of different
/// gateways no longer stand side by side: its row says so.
fn keep(
    results: &mut Results,
    scenario: &'static str,
    gateway: &'static str,
    measured: measure::Measured<Sample>,
) {
    match measured {
        Ok((sample, wrong)) => {
            results.add(scenario, gateway, sample);
            if let Some(wrong) = wrong {
                results.blame(scenario, gateway, wrong);
            }
        }
        Err(error) => results.blame(scenario, gateway, error.to_string()),
    }
}

/// On stderr: stdout has the tables and nothing else.
fn progress(line: &str) {
    eprintln!("peers: {line}");
}

fn surroundings(options: &Options, folder: &Path) -> io::Result<Surroundings> {
    let issued = rcgen::generate_simple_self_signed(TLS_NAMES.map(str::to_owned))
        .map_err(io::Error::other)?;
    // ECDSA with P-256. HAProxy finds the key by its name.
    let (certificate, key) = (folder.join("tls.pem"), folder.join("tls.pem.key"));
    std::fs::write(&certificate, issued.cert.pem())?;
    std::fs::write(&key, issued.signing_key.serialize_pem())?;
    Ok(Surroundings {
        folder: folder.to_owned(),
        plain_port: options.port,
        fat_port: options.port + 1,
        tls_port: options.port + 2,
        stream_port: options.port + 3,
        certificate,
        key,
        origin_name: TLS_NAMES[0],
        gateway_name: TLS_NAMES[1],
        guards: tokens::guards(folder)?,
        fields: origin::added_fields(),
    })
}

/// The origin, and the one for streams that takes only the CPU that others leave.
fn start_origins(around: &Surroundings) -> io::Result<[Group; 2]> {
    let arguments = [
        format!("plain={}", around.plain_port),
        format!("fat={}", around.fat_port),
        format!("tls={}", around.tls_port),
        format!("cert={}", around.certificate.display()),
        format!("key={}", around.key.display()),
    ];
    let origin = Group::start(this_binary("origin", &arguments)?, LOAD_CPU)?;
    let stream = this_binary(
        "origin",
        &[
            format!("plain={}", around.stream_port),
            format!("piece={PIECE_BEHIND}"),
        ],
    )?;
    let mut origins = [origin, Group::start(Priority::Behind.of(stream), LOAD_CPU)?];
    for (group, port) in [
        (0, around.plain_port),
        (0, around.fat_port),
        (0, around.tls_port),
        (1, around.stream_port),
    ] {
        gateways::await_listener(
            ([127, 0, 0, 1], port).into(),
            Instant::now(),
            &mut origins[group],
        )
        .map_err(|error| io::Error::other(format!("the origin on port {port} {error}")))?;
    }
    Ok(origins)
}
