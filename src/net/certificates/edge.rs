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
use super::store::Store;
use crate::acme::{Challenge, File, Identifier, Kind, Proof, Stored};
use crate::net::workers::queue::{Receiver, Sender, unbounded};
use crate::net::workers::spawn;
use crate::transport::ordered::{ChallengeCertificate, OrderedCertificate};

/// Result of a thread.
pub(super) enum Done {
    /// Files were written.
    Saved(Result<(), String>),
    /// The gateway has asked itself.
    Probed(Result<(), String>),
}

/// Wishes that the event loop carries out.
#[derive(Default)]
pub(super) struct Wishes {
    /// Files that plain listeners have, by name.
    pub(super) files: Vec<(Box<str>, Box<str>)>,
    /// File that the gateway asks itself for, while it does.
    pub(super) probe: Option<(Box<str>, Box<str>)>,
    /// Certificates of handshakes that prove names.
    pub(super) proofs: Vec<ChallengeCertificate>,
    /// True if the challenges changed.
    pub(super) is_changed: bool,
    /// True once the certificates of the folder are there.
    pub(super) is_started: bool,
    /// Certificates to serve, each with its names; of those with a name in common the last serves it.
    pub(super) certificates: Vec<(Vec<String>, OrderedCertificate)>,
    /// True if certificates came.
    pub(super) has_new: bool,
}

/// Edge of the orders in a gateway.
pub(super) struct Desk {
    pub(super) wishes: Rc<RefCell<Wishes>>,
    /// Files for the thread that writes.
    files: Sender<Vec<File>>,
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
        seed: u64,
    ) -> io::Result<(Desk, Receiver<Done>)> {
        let (files, jobs) = unbounded::<Vec<File>>();
        let (done, results) = unbounded();
        let (tell, wake) = (done.clone(), Arc::clone(&waker));
        let run = move || {
            while let Ok(files) = jobs.receive(None) {
                let result = store.write(&files);
                if tell.send(Done::Saved(result)).is_err() || wake.wake().is_err() {
                    return;
                }
            }
        };
        spawn("certificates", Box::new(run))?;
        let desk = Desk {
            wishes: Rc::default(),
            files,
            done,
            waker,
            seed,
        };
        Ok((desk, results))
    }
}

impl Edge for Desk {
    fn save(&mut self, files: Vec<File>) -> Option<Result<(), String>> {
        match self.files.send(files) {
            Ok(()) => None,
            Err(_) => Some(Err("the thread that writes files has ended".to_owned())),
        }
    }

    fn offer(&mut self, challenge: Challenge) {
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
    }

    fn withdraw(&mut self) {
        let mut wishes = self.wishes.borrow_mut();
        wishes.files.clear();
        wishes.proofs.clear();
        wishes.is_changed = true;
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
        let run = move || {
            let result = probe::ask(&names, probe::port(kind), (&token, &content));
            if tell.send(Done::Probed(result)).is_ok() {
                // The loop takes the result with the next event in any case.
                let _ = wake.wake();
            }
        };
        let mut wishes = self.wishes.borrow_mut();
        wishes.probe = Some(file);
        wishes.is_changed = true;
        match spawn("probe", Box::new(run)) {
            Ok(()) => None,
            Err(error) => Some(Err(format!("no thread can be started: {error}"))),
        }
    }
}
