//! Orders of certificates in a gateway: the driver, and what it wants of the listeners.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use log::{info, warn};
use mio::Waker;

use super::driver::Driver;
use super::edge::{Desk, Done};
use super::seen::Seen;
use super::shared;
use super::store::Store;
use super::wishes::Wishes;
use crate::acme::{Eab, Folder as _, Identifier, Kind, Machine, Plan, Row, Url, Wanted};
use crate::config::{Acme, Challenge, Order};
use crate::net::acceptor::Acceptor;
use crate::net::workers::file_stamp::stamp;
use crate::net::workers::queue::Receiver;
use crate::proxy::Proxy;
use crate::proxy::challenges::{self, Challenges};
use crate::proxy::command::Answered;
use crate::time::{Duration, Instant, UnixTime};
use crate::transport::server::ServerTls;

/// Time between the first tries to take the folder from another process, and between the later ones.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Tries with the shorter pause. Then the operator is told.
const QUICK_TRIES: u32 = 40;

/// Orders under way, the folder of their files, and the certificates that are there.
///
/// While another process has the folder nothing is ordered, and its certificates are served.
pub(in crate::net) struct Orders {
    driver: Driver,
    wishes: Rc<RefCell<Wishes>>,
    done: Receiver<Done>,
    store: Arc<Store>,
    /// Next try to take the folder, and the tries before, while another process has it.
    next_try: (Instant, u32),
    /// True in one of several workers, of which one has the folder.
    shares: bool,
    /// State of the folder when its files were read.
    seen: Seen,
}

impl Orders {
    /// Begins to order what the configuration asks for.
    ///
    /// # Errors
    /// The thread that writes files does not start, or the URL of the authority is none.
    pub(in crate::net) fn start(
        (acme, shares): (&Acme, bool),
        (store, before): (Store, Option<&Orders>),
        waker: &Arc<Waker>,
        (now, wall): (Instant, UnixTime),
    ) -> Result<Orders, String> {
        use std::hash::{BuildHasher, RandomState};
        let plan = plan(acme).ok_or("\"acme.directory\" is no URL of an authority")?;
        let store = Arc::new(store);
        let seed = RandomState::new().hash_one(0_u8);
        let (desk, done) = Desk::new(Arc::clone(&store), Arc::clone(waker), (seed, shares))
            .map_err(|error| format!("no thread can be started to write files: {error}"))?;
        let wishes = Rc::clone(&desk.wishes);
        let before = before.map(|before| before.seen);
        let read = || Machine::new(plan, &*store, wall);
        let (seen, machine) = Seen::read(before, || stamp(store.folder()), read);
        // Two reads are more than a tick of the disk's clock apart.
        let next_try = match shares && !store.is_own() {
            true => now.after(shared::LOOK),
            false => now,
        };
        let orders = Orders {
            driver: Driver::new(machine, Box::new(desk), acme.target, now),
            wishes,
            done,
            store,
            next_try: (next_try, 0),
            shares,
            seen,
        };
        orders.wishes.borrow_mut().is_started = true;
        orders.tell_awaited(acme);
        Ok(orders)
    }

    /// Follows a new configuration with the same folder.
    pub(in crate::net) fn replan(&mut self, acme: &Acme, (now, wall): (Instant, UnixTime)) {
        if let Some(plan) = plan(acme) {
            self.driver.machine(acme.target, now).replan(plan, wall);
        }
        self.tell_awaited(acme);
    }

    /// Returns true if the files are in this folder.
    pub(in crate::net) fn is_of(&self, acme: &Acme) -> bool {
        self.store.folder() == acme.state
    }

    /// Returns the time of the next step; `None`: behind a result.
    pub(in crate::net) fn due(&self) -> Option<Instant> {
        match self.is_waiting() {
            true => Some(self.next_try.0),
            false => self.driver.due(),
        }
    }

    /// Returns whether another process has the folder.
    pub(in crate::net) fn is_waiting(&self) -> bool {
        !self.store.is_own()
    }

    /// Returns whether the worker that has the folder has changed it.
    pub(in crate::net) fn is_outdated(&self) -> bool {
        self.shares && self.seen.is_outdated(stamp(self.store.folder()))
    }

    /// Waits for another try to take the folder. `reason`: why it could not be taken.
    pub(in crate::net) fn wait(&mut self, reason: &str, now: Instant) {
        let (_, tries) = self.next_try;
        if self.shares {
            self.next_try.0 = now.after(shared::LOOK);
            return;
        }
        if tries == QUICK_TRIES {
            warn!("no certificate is ordered yet: {reason}; it is tried again each second");
        }
        let [quick, slow] = PAUSES;
        let pause = if tries < QUICK_TRIES { quick } else { slow };
        self.next_try = (now.after(pause), tries.saturating_add(1));
    }

    /// Returns the state of each certificate.
    pub(in crate::net) fn rows(&self, wall: UnixTime) -> Vec<Row> {
        // The worker with the folder knows more.
        match self.shares && self.is_waiting() {
            true => Vec::new(),
            false => self.driver.rows(wall),
        }
    }

    /// Takes the answer of the authority.
    pub(in crate::net) fn answered(&mut self, answer: Answered, now: Instant) {
        self.driver.answered(answer, now);
    }

    /// Takes the results of the threads.
    pub(in crate::net) fn take_results(&mut self, now: Instant) {
        while let Some(done) = self.done.poll() {
            match done {
                Done::Saved(result) => self.driver.saved(result, now),
                Done::Probed(result) => {
                    let mut wishes = self.wishes.borrow_mut();
                    wishes.probe = None;
                    wishes.is_changed = true;
                    drop(wishes);
                    self.driver.probed(result, now);
                }
            }
        }
    }

    /// Does what is due, and carries out what follows for the listeners.
    pub(in crate::net) fn step(
        &mut self,
        (proxy, challenge): (&mut Proxy, &mut Option<ServerTls>),
        acceptor: &Acceptor,
        (now, wall): (Instant, UnixTime),
    ) {
        self.driver.step(proxy, now, wall);
        let has_new = core::mem::take(&mut self.wishes.borrow_mut().has_new);
        if has_new {
            self.install(acceptor);
        }
        if core::mem::take(&mut self.wishes.borrow_mut().is_changed) {
            self.answer_challenges(proxy, challenge);
        }
    }

    /// Answers the challenges that the worker with the folder has open.
    pub(in crate::net) fn answer_shared(
        &mut self,
        (proxy, challenge): (&mut Proxy, &mut Option<ServerTls>),
    ) {
        if self.shares && self.is_waiting() {
            let bytes = self.store.read(shared::NAME).unwrap_or_default();
            shared::read(&bytes, &mut self.wishes.borrow_mut());
            self.answer_challenges(proxy, challenge);
        }
    }

    /// Serves the certificates on all listeners that want them.
    pub(in crate::net) fn install(&self, acceptor: &Acceptor) {
        let wishes = self.wishes.borrow();
        for tls in acceptor.tls() {
            for (names, certificate) in &wishes.certificates {
                tls.install(names, certificate);
            }
        }
    }

    fn answer_challenges(&self, proxy: &mut Proxy, challenge: &mut Option<ServerTls>) {
        let wishes = self.wishes.borrow();
        let files = wishes.files.iter().chain(&wishes.probe);
        let files = files.cloned().collect::<Vec<_>>();
        *challenge = None;
        if !wishes.proofs.is_empty() {
            match ServerTls::challenge(&wishes.proofs) {
                Ok(tls) => *challenge = Some(tls),
                Err(reason) => warn!("names cannot be proved in handshakes: {reason}"),
            }
        }
        let in_handshakes = challenge.is_some();
        let is_open = in_handshakes || !files.is_empty();
        let open = Challenges {
            files,
            in_handshakes,
        };
        challenges::set(proxy, is_open.then_some(open));
    }

    /// Says once which names have no certificate yet.
    fn tell_awaited(&self, acme: &Acme) {
        if self.is_waiting() {
            return;
        }
        let wishes = self.wishes.borrow();
        let has = |name: &String| {
            let mut there = wishes.certificates.iter();
            there.any(|(names, _)| names.contains(name))
        };
        for order in &acme.orders {
            let awaited = order.names.iter().filter(|name| !has(name));
            let awaited = awaited.map(String::as_str).collect::<Vec<_>>();
            if !awaited.is_empty() {
                info!(
                    "no certificate for {} yet: it is ordered, and TLS clients that ask for it get an alert until it is there",
                    awaited.join(", ")
                );
            }
        }
    }
}

/// Ends orders: no challenge is answered any more.
#[cold]
pub(in crate::net) fn end(proxy: &mut Proxy, challenge: &mut Option<ServerTls>) {
    challenges::set(proxy, None);
    *challenge = None;
}

/// Returns what the configuration asks for, in the words of the orders.
pub(in crate::net) fn plan(acme: &Acme) -> Option<Plan> {
    let eab = acme.binding.as_ref().map(|binding| Eab {
        kid: binding.kid.as_str().into(),
        key: binding.key.as_slice().into(),
    });
    Some(Plan {
        directory: Url::parse(&acme.directory)?,
        emails: acme
            .emails
            .iter()
            .map(|email| email.as_str().into())
            .collect(),
        profile: acme.profile.as_deref().map(Into::into),
        eab,
        certificates: acme.orders.iter().filter_map(wanted).collect(),
    })
}

fn wanted(order: &Order) -> Option<Wanted> {
    let names = order.names.iter().map(|name| Identifier::parse(name).ok());
    let mut names = names.collect::<Option<Vec<_>>>()?;
    crate::sort::sort(&mut names);
    Some(Wanted {
        names,
        kind: match order.challenge {
            Challenge::Http01 => Kind::Http01,
            Challenge::TlsAlpn01 => Kind::TlsAlpn01,
        },
        port: order.port,
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration as StdDuration, SystemTime};

    use super::*;

    /// A worker that has not got the folder reads it until it did not change between two reads, and
    /// looks only after a while.
    #[test]
    fn a_worker_reads_the_folder_of_another() {
        let folder = std::env::temp_dir().join(format!("tollgate-orders-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir(&folder).expect("a folder");
        let change = |seconds| {
            let time = SystemTime::UNIX_EPOCH.checked_add(StdDuration::from_secs(seconds));
            let opened = File::open(&folder).expect("the folder");
            opened
                .set_modified(time.expect("a time"))
                .expect("its time");
        };
        let acme = Acme {
            directory: "https://authority.test/".to_owned(),
            target: 0,
            state: folder.clone(),
            emails: Vec::new(),
            profile: None,
            binding: None,
            orders: Vec::new(),
        };
        let poll = mio::Poll::new().expect("epoll");
        let waker = Waker::new(poll.registry(), mio::Token(0)).map(Arc::new);
        let waker = waker.expect("a waker");
        let (now, wall) = (Instant::from_millis(0), UnixTime::from_millis(0));
        let start = |before: Option<&Orders>| {
            let store = Store::of_another(&folder);
            let started = Orders::start((&acme, true), (store, before), &waker, (now, wall));
            started.expect("orders")
        };
        change(1);
        let first = start(None);
        assert!(first.is_outdated(), "one read is not enough");
        assert_eq!(first.due(), Some(now.after(shared::LOOK)));
        let second = start(Some(&first));
        assert!(!second.is_outdated());
        change(2);
        assert!(second.is_outdated());
        let third = start(Some(&second));
        assert!(third.is_outdated(), "the folder has just changed");
        assert!(!start(Some(&third)).is_outdated());
        fs::remove_dir_all(&folder).expect("removed");
    }
}
