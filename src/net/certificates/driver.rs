//! Drives the orders of [`crate::acme`]: carries their steps out with the engine and an [`Edge`].

use log::{info, warn};

use super::keys::RingKeys;
use crate::acme::{
    BODY_BYTES, Challenge, File, Identifier, Kind, Level, Machine, Method, Request, Response, Row,
    Step, Stored,
};
use crate::proxy::Proxy;
use crate::proxy::command::Answered;
use crate::proxy::errands::{self, Errand};
use crate::time::{Duration, Instant, UnixTime};

/// Time for one answer of the authority.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// Longest time between two looks at the time of day, which may be set.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Type of signed bodies (RFC 8555 6.2).
const JOSE: &str = "application/jose+json";

/// Disk, listeners and the rest of the machine, as orders need them.
pub trait Edge {
    /// Writes files. Returns `None` if the result comes later by [`Driver::saved`].
    fn save(&mut self, files: Vec<File>) -> Option<Result<(), String>>;
    /// Answers a challenge from now on, beside those before. Returns the time until other workers
    /// answer it, too; `None`: there are none.
    fn offer(&mut self, challenge: Challenge) -> Option<Duration>;
    /// Answers no challenge any more.
    fn withdraw(&mut self);
    /// Serves a certificate from now on.
    ///
    /// # Errors
    /// The certificate cannot be served; the one before stays.
    fn install(&mut self, stored: Stored) -> Result<(), String>;
    /// Asks the gateway itself by these names. Returns `None` if the result comes later by
    /// [`Driver::probed`].
    fn probe(&mut self, names: Vec<Identifier>, kind: Kind) -> Option<Result<(), String>>;
}

/// Orders under way.
pub struct Driver {
    machine: Machine,
    edge: Box<dyn Edge>,
    keys: RingKeys,
    /// Index of the authority's target in the settings.
    target: usize,
    due: Option<Instant>,
}

impl Driver {
    /// Creates a driver, and serves what the state folder has.
    pub fn new(machine: Machine, edge: Box<dyn Edge>, target: usize, now: Instant) -> Driver {
        let mut driver = Driver {
            machine,
            edge,
            keys: RingKeys::new(),
            target,
            due: Some(now),
        };
        for stored in driver.machine.certificates() {
            driver.install(stored);
        }
        driver
    }

    /// Returns the time of the next step; `None`: behind a result.
    pub fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Returns the machine, for a new plan. A step must follow.
    pub fn machine(&mut self, target: usize, now: Instant) -> &mut Machine {
        self.target = target;
        self.due = Some(now);
        &mut self.machine
    }

    /// Returns the state of each certificate.
    pub fn rows(&self, wall: UnixTime) -> Vec<Row> {
        self.machine.rows(wall)
    }

    /// Takes the answer to the errand.
    pub(in crate::net) fn answered(&mut self, answer: Answered, now: Instant) {
        self.machine.answered(answer.map(|answer| Response {
            status: answer.status,
            fields: answer.fields,
            body: answer.body,
        }));
        self.due = Some(now);
    }

    /// Takes the result of saving.
    pub fn saved(&mut self, result: Result<(), String>, now: Instant) {
        self.machine.saved(result);
        self.due = Some(now);
    }

    /// Takes the result of a probe.
    pub fn probed(&mut self, result: Result<(), String>, now: Instant) {
        self.machine.probed(result);
        self.due = Some(now);
    }

    /// Does what is due, until something must be waited for.
    pub(in crate::net) fn step(&mut self, proxy: &mut Proxy, now: Instant, wall: UnixTime) {
        loop {
            match self.machine.next(wall, &mut self.keys) {
                Step::Wait(until) => {
                    let millis = until.as_millis().saturating_sub(wall.as_millis());
                    let span = Duration::from_millis(millis).min(LONGEST_WAIT);
                    self.due = Some(now.after(span));
                    return;
                }
                Step::Request(request) => {
                    if self.request(&request, proxy, now) {
                        self.due = None;
                        return;
                    }
                    let text = "its target is not in the configuration any more".to_owned();
                    self.machine.answered(Err(text));
                }
                Step::Save(files) => match self.edge.save(files) {
                    Some(result) => self.machine.saved(result),
                    None => self.due = None,
                },
                Step::Probe(names, kind) => match self.edge.probe(names, kind) {
                    Some(result) => self.machine.probed(result),
                    None => {
                        self.due = None;
                        return;
                    }
                },
                Step::Offer(challenge) => {
                    if let Some(span) = self.edge.offer(challenge) {
                        self.due = Some(now.after(span));
                        return;
                    }
                }
                Step::Withdraw => self.edge.withdraw(),
                Step::Install(stored) => self.install(stored),
                Step::Report(report) => match report.level {
                    Level::Info => info!("{}", report.text),
                    Level::Warn => warn!("{}", report.text),
                },
            }
        }
    }

    fn install(&mut self, stored: Stored) {
        if let Err(text) = self.edge.install(stored) {
            warn!("a certificate cannot be served: {text}");
        }
    }

    fn request(&self, request: &Request, proxy: &mut Proxy, now: Instant) -> bool {
        let errand = Errand {
            target: self.target,
            path: &request.path,
            body: match request.method {
                Method::Get => None,
                Method::Post => Some((JOSE, request.body.as_slice())),
            },
            answer_bytes: BODY_BYTES,
            within: ANSWER_TIME,
        };
        errands::start(proxy, &errand, now)
    }
}
