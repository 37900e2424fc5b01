//! The load: a process of its own that sends one kind of request and checks every answer: over kept connections, plain or
//! TLS, or each over a TLS connection of its own.
//!
//! Orders come on standard input, reports go to standard output: `count N` and `for SECONDS` (closed loop: the
//! next request follows the answer), `rate PER_SECOND SECONDS` (open loop), `hold` (one request on each connection, the
//! answers are not waited for). It ends with its input.

mod client;
mod histogram;
mod open;
mod secure;
pub mod work;

use std::io::{self, BufRead, Write};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use self::client::{Client, Progress};
use self::secure::Secure;
use self::work::{Outcome, Work};
use crate::worker;

/// Requests at one time while the connections are tried.
const WARM_UP_AT_ONCE: usize = 64;
/// Time after which an answer counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);

struct Load {
    poll: Poll,
    events: Events,
    work: Work,
    /// State of TLS connections.
    secure: Option<Secure>,
    request: Vec<u8>,
    clients: Vec<Client>,
    scratch: Vec<u8>,
    outcome: Outcome,
}

pub fn run(arguments: &[String]) -> io::Result<()> {
    histogram::check();
    let work = Work::from_arguments(arguments).ok_or(io::Error::other("load: ten arguments"))?;
    let mut load = Load::connect(work)?;
    if load.work.warm_up {
        load.warm_up()?;
    }
    if let Some(secure) = &mut load.secure {
        secure.warm = true;
    }
    match load.outcome.errors {
        0 => load.say("ready")?,
        errors => load.say(&format!(
            "{errors} errors while connecting, the first: {}",
            load.outcome.first_error
        ))?,
    }
    for line in io::stdin().lock().lines() {
        let line = line?;
        let words = line.split(' ').collect::<Vec<_>>();
        let number = |at: usize| {
            words
                .get(at)
                .and_then(|word| word.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        load.outcome = Outcome::default();
        match words.first() {
            Some(&"count") => load.closed(number(1) as u64, PATIENCE * 10)?,
            Some(&"for") => load.closed(u64::MAX, Duration::from_secs_f64(number(1)))?,
            Some(&"rate") => load.open(number(1), Duration::from_secs_f64(number(2)))?,
            Some(&"hold") => load.hold()?,
            _ => return Err(io::Error::other(format!("load: {line:?} is no order"))),
        }
        load.say(&load.outcome.to_line())?;
    }
    Ok(())
}

impl Load {
    fn connect(work: Work) -> io::Result<Load> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(work.connections);
        let secure = work.tls.as_ref().map(Secure::new).transpose()?;
        for index in 0..work.connections {
            clients.push(connect(&work, secure.as_ref(), &poll, index)?);
        }
        Ok(Load {
            poll,
            events: Events::with_capacity(1024),
            request: work.request(),
            scratch: vec![0; work.piece],
            work,
            secure,
            clients,
            outcome: Outcome::default(),
        })
    }

    fn say(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        writeln!(out, "{line}")?;
        out.flush()
    }

    /// Sends one request on each connection.
    fn warm_up(&mut self) -> io::Result<()> {
        for first in (0..self.clients.len()).step_by(WARM_UP_AT_ONCE) {
            let group = first..(first + WARM_UP_AT_ONCE).min(self.clients.len());
            let mut left = group.len();
            for index in group {
                left -= usize::from(self.start(index)?);
            }
            while left > 0 && self.wait(Some(PATIENCE))? {
                left -= self.collect(&mut |_| {})?;
            }
        }
        Ok(())
    }

    /// Closed loop: as many requests as `budget` has, begun within `span`; those that were begun are waited for.
    fn closed(&mut self, budget: u64, span: Duration) -> io::Result<()> {
        let begun_at = Instant::now();
        let mut left = budget;
        let mut next = (0..self.clients.len()).collect::<Vec<_>>();
        let mut busy = 0;
        loop {
            while left > 0
                && begun_at.elapsed() < span
                && let Some(index) = next.pop()
            {
                left -= 1;
                busy += 1;
                if self.start(index)? {
                    busy -= 1;
                    next.push(index);
                }
            }
            if busy == 0 {
                break;
            }
            if !self.wait(Some(PATIENCE))? {
                self.outcome.errors += busy as u64;
                self.outcome.first_error = "no answer".to_owned();
                break;
            }
            busy -= self.collect(&mut |index| next.push(index))?;
        }
        self.outcome.nanos = begun_at.elapsed().as_nanos() as u64;
        Ok(())
    }

    /// Sends one request on each connection, and does not wait for the answers.
    fn hold(&mut self) -> io::Result<()> {
        for index in 0..self.clients.len() {
            if self.start(index)? {
                self.outcome.errors += 1;
                self.outcome.first_error = "answered at once".to_owned();
            }
        }
        Ok(())
    }

    // --- steps ---

    /// Begins a request. Returns true if it ended at once.
    fn start(&mut self, index: usize) -> io::Result<bool> {
        if let Some(client) = self.clients.get_mut(index) {
            if client.is_used() && self.secure.as_ref().is_some_and(Secure::is_fresh_each_time) {
                client.stream().say_goodbye();
                *client = connect(&self.work, self.secure.as_ref(), &self.poll, index)?;
            }
            client.begin();
        }
        self.advance(index)
    }

    /// Goes on with a request. Returns true if it ended, with success or not.
    fn advance(&mut self, index: usize) -> io::Result<bool> {
        let Some(client) = self.clients.get_mut(index) else {
            return Ok(false);
        };
        let was_busy = client.is_busy();
        let mut progress = client.advance(&self.request, self.work.expect, &mut self.scratch);
        if let (Progress::Done, Some(secure)) = (&progress, &self.secure)
            && let Some(complaint) = secure.complaint(client)
        {
            progress = Progress::Failed(complaint);
        }
        match progress {
            Progress::Waiting => Ok(false),
            Progress::Done => {
                self.outcome.requests += 1;
                Ok(true)
            }
            Progress::Failed(reason) => {
                self.outcome.errors += 1;
                if self.outcome.first_error.is_empty() {
                    self.outcome.first_error = reason;
                }
                *client = connect(&self.work, self.secure.as_ref(), &self.poll, index)?;
                Ok(was_busy)
            }
        }
    }

    /// Waits for events. Returns false if none came in time.
    fn wait(&mut self, patience: Option<Duration>) -> io::Result<bool> {
        worker::wait(&mut self.poll, &mut self.events, patience)?;
        Ok(!self.events.is_empty())
    }

    /// Goes on with every connection that has an event. Returns the number of requests that ended.
    fn collect(&mut self, ended: &mut dyn FnMut(usize)) -> io::Result<usize> {
        let mut count = 0;
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let Token(index) = event.token();
            let Some(client) = self.clients.get_mut(index) else {
                continue;
            };
            client.note(event);
            if self.advance(index)? {
                count += 1;
                ended(index);
            }
        }
        self.events = events;
        Ok(count)
    }
}

fn connect(work: &Work, secure: Option<&Secure>, poll: &Poll, index: usize) -> io::Result<Client> {
    let session = secure.map(Secure::session).transpose()?;
    Client::connect(work.address, session, poll.registry(), Token(index))
}
