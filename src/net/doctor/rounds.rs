//! Questions to targets, in two rounds.

use std::net::{IpAddr, SocketAddr};

use super::Examined;
use super::ask::{self, Answered, Question, Trouble};
use super::parallel::{Done, Job, run};
use super::probes::{Probe, question};
use crate::net::Loaded;
use crate::proxy::settings::{Target, TargetHost};
use crate::sort;
use crate::upstream::addresses::of_socket;

/// Most questions of services to an address: one that hangs costs some seconds, however many health checks it has.
pub(super) const MOST: usize = 64;

/// Names and their addresses, sorted by name.
pub(super) type Addresses<'a> = Vec<(&'a str, Vec<IpAddr>)>;

/// Result of a question to one address.
pub(super) struct Told<'a> {
    pub(super) probe: &'a Probe<'a>,
    pub(super) address: SocketAddr,
    pub(super) done: Done,
}

/// Asks each target the first of its questions, then the others where it takes any. Returns the results of each
/// target, those of one question behind each other.
pub(super) fn ask<'a>(
    loaded: &Loaded,
    targets: &[&'a [Probe<'a>]],
    names: &Addresses<'_>,
    examined: &mut Examined,
) -> Vec<Vec<Told<'a>>> {
    let mut results = Vec::new();
    results.resize_with(targets.len(), Vec::new);
    let mut asked = Vec::new();
    for (number, probes) in targets.iter().enumerate() {
        let Some(probe) = probes.first() else {
            continue;
        };
        for address in addresses(probe.target, names) {
            asked.push((number, probe, address));
        }
    }
    ask_all(loaded, &asked, &mut results, examined);
    asked.clear();
    // An address that takes no connection is at fault once, whatever it would be asked.
    for (number, (probes, results)) in targets.iter().zip(&results).enumerate() {
        for probe in probes.iter().take(MOST).skip(1) {
            for first in results {
                if !is_closed(&first.done) {
                    asked.push((number, probe, first.address));
                }
            }
        }
    }
    ask_all(loaded, &asked, &mut results, examined);
    results
}

fn addresses(target: &Target, names: &Addresses<'_>) -> Vec<SocketAddr> {
    let hosts = match &target.host {
        TargetHost::Address(address) => vec![*address],
        TargetHost::Name(name) => sort::value_of(names, name.as_str())
            .cloned()
            .unwrap_or_default(),
        TargetHost::Unix(_) => {
            let path = target.host.socket().unwrap_or_default();
            return vec![of_socket(path)];
        }
    };
    let with_port = hosts.into_iter();
    with_port
        .map(|host| SocketAddr::new(host, target.port))
        .collect()
}

/// Asks, several at once, and puts the results to those of each target.
#[inline(never)]
fn ask_all<'a>(
    loaded: &Loaded,
    asked: &[(usize, &'a Probe<'a>, SocketAddr)],
    results: &mut [Vec<Told<'a>>],
    examined: &mut Examined,
) {
    let mut jobs: Vec<Job> = Vec::new();
    for (_, probe, address) in asked {
        let question = Question {
            address: *address,
            socket: probe.target.host.socket().map(str::to_owned),
            tls: loaded.client_tls.get(probe.index).cloned().flatten(),
            asked: question(probe),
        };
        jobs.push(Box::new(move || Done::Answer(ask::ask(question))));
    }
    examined.begin(jobs.len());
    for ((number, probe, address), done) in asked.iter().zip(run(jobs)) {
        if let Some(results) = results.get_mut(*number) {
            results.push(Told {
                probe,
                address: *address,
                done,
            });
        }
    }
}

/// Returns true if the address took no question, so that the fault is none of the question.
pub(super) fn is_closed(done: &Done) -> bool {
    match done {
        Done::Answer(Err(Trouble::Connect(_) | Trouble::Tls(..))) => true,
        Done::Answer(_) => false,
        Done::Addresses(_) | Done::Late => true,
    }
}

impl Told<'_> {
    /// Returns the answer, if there is one.
    pub(super) fn good(&self) -> Option<&Answered> {
        match &self.done {
            Done::Answer(Ok(answered)) => Some(answered),
            Done::Answer(Err(_)) | Done::Addresses(_) | Done::Late => None,
        }
    }
}

/// Returns true if there is an answer.
pub(super) fn is_served(results: &[Told<'_>]) -> bool {
    results.iter().any(|told| told.good().is_some())
}
