//! Edge of the orders: what they want of the disk, the listeners and the machine.
//!
//! The event loop carries the wishes to the engine and the listeners behind each step of the orders.
//! Files are written, and the gateway asks itself, on threads that wait.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;

use mio::Waker;

use super::driver::Edge;
use super::probe;
use super::shared;
use super::store::Store;
use super::wishes::Wishes;
use crate::acme::{Challenge, File, Identifier, Kind, Proof, Stored};
use crate::net::workers::queue::{Receiver, Sender, unbounded};
use crate::net::workers::spawn;
use crate::time::Duration;
use crate::transport::ordered::{ChallengeCertificate, OrderedCertificate};

/// Result of a thread.
pub(super) enum Done {
    /// Files were written.
    Saved(Result<(), String>),
    /// The gateway has asked itself.
    Probed(Result<(), String>),
}

/// Edge of the orders in a gateway.
pub(super) struct Desk {
    pub(super) wishes: Rc<RefCell<Wishes>>,
    /// Files for the thread that writes, and whether the orders wait for them.
    files: Sender<(Vec<File>, bool)>,
    /// Other workers answer the challenges, too.
    shares: bool,
    done: Sender<Done>,
    waker: Arc<Waker>,
    /// Random bits of the file that the gateway asks itself for.
    seed: u64,
}

impl Desk {
    /// Starts the thread that writes. Returns what comes of the threads.
    ///
    /// # Errors
    /// The thread does not start.
    pub(super) fn new(
        store: Arc<Store>,
        waker: Arc<Waker>,
        (seed, shares): (u64, bool),
    ) -> io::Result<(Desk, Receiver<Done>)> {
        let (files, jobs) = unbounded::<(Vec<File>, bool)>();
        let (done, results) = unbounded();
        let (tell, wake) = (done.clone(), Arc::clone(&waker));
        let run = move || {
            while let Ok((files, is_awaited)) = jobs.receive(None) {
                let result = store.write(&files);
                if !is_awaited {
                    continue;
                }
                if tell.send(Done::Saved(result)).is_err() || wake.wake().is_err() {
                    return;
                }
            }
        };
        spawn("certificates", Box::new(run))?;
        let desk = Desk {
            wishes: Rc::default(),
            files,
            shares,
            done,
            waker,
            seed,
        };
        Ok((desk, results))
    }
}

impl Desk {
    /// Writes the open challenges for the other workers. Returns the time after which they answer them.
    fn share(&self) -> Option<Duration> {
        if !self.shares {
            return None;
        }
        let file = shared::write(&self.wishes.borrow());
        // Without the thread nothing is ordered either.
        let _ = self.files.send((vec![file], false));
        Some(shared::KNOWN)
    }
}

impl Edge for Desk {
    fn save(&mut self, files: Vec<File>) -> Option<Result<(), String>> {
        match self.files.send((files, true)) {
            Ok(()) => None,
            Err(_) => Some(Err("the thread that writes files has ended".to_owned())),
        }
    }

    fn offer(&mut self, challenge: Challenge) -> Option<Duration> {
        let mut wishes = self.wishes.borrow_mut();
        match challenge.proof {
            Proof::Http01 { token, text } => wishes.files.push((token, text)),
            Proof::TlsAlpn01 { certificate, key } => wishes.proofs.push(ChallengeCertificate {
                server_name: challenge.identifier.sni(),
                certificate,
                key,
            }),
        }
        wishes.is_changed = true;
        drop(wishes);
        self.share()
    }

    fn withdraw(&mut self) {
        let mut wishes = self.wishes.borrow_mut();
        wishes.files.clear();
        wishes.proofs.clear();
        wishes.is_changed = true;
        drop(wishes);
        self.share();
    }

    fn install(&mut self, stored: Stored) -> Result<(), String> {
        let certificate = OrderedCertificate::from_pem(&stored.pem)?;
        let names = stored.names.iter().map(ToString::to_string);
        let names = names.collect::<Vec<_>>();
        let mut wishes = self.wishes.borrow_mut();
        wishes.certificates.retain(|(known, _)| *known != names);
        // Those of the folder come with the best first.
        let place = match wishes.is_started {
            true => wishes.certificates.len(),
            false => 0,
        };
        wishes.certificates.insert(place, (names, certificate));
        wishes.has_new = true;
        Ok(())
    }

    fn probe(&mut self, names: Vec<Identifier>, kind: Kind) -> Option<Result<(), String>> {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let token = format!("probe-{:016x}", self.seed);
        let content = format!("tollgate {token}");
        let file = (token.as_str().into(), content.as_str().into());
        let (tell, wake) = (self.done.clone(), Arc::clone(&self.waker));
        let pause = self.shares.then_some(shared::KNOWN);
        let run = move || {
            if let Some(pause) = pause {
                std::thread::sleep(core::time::Duration::from_millis(pause.as_millis()));
            }
            let result = probe::ask(&names, probe::port(kind), (&token, &content));
            if tell.send(Done::Probed(result)).is_ok() {
                // The loop takes the result with the next event in any case.
                let _ = wake.wake();
            }
        };
        let mut wishes = self.wishes.borrow_mut();
        wishes.probe = Some(file);
        wishes.is_changed = true;
        drop(wishes);
        self.share();
        match spawn("probe", Box::new(run)) {
            Ok(()) => None,
            Err(error) => Some(Err(format!("no thread can be started: {error}"))),
        }
    }
}
