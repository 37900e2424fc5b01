//! DNS lookups. getaddrinfo blocks, so helper threads call it and wake the event loop with the
//! answers.
//!
//! Up to [`RESOLVER_THREADS`] names are looked up at once, each by one thread: all targets of a
//! name get the same answer. A thread starts if a lookup finds none idle, and ends after
//! [`RESOLVER_IDLE`] without work. A name whose last lookup was slow does not get the last thread,
//! so that names with a silent server cannot delay others.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::Waker;

use super::spawn;
use crate::limits::{ADDRESSES_PER_TARGET, RESOLVER_IDLE, RESOLVER_SLOW, RESOLVER_THREADS};
use crate::proxy::command::TargetId;

/// Result of a lookup: the target, and its addresses or the reason of the failure.
pub type LookupResult = (TargetId, Result<Vec<SocketAddr>, String>);

/// Function that looks up a name; tests use another.
type LookUp = fn(&str) -> Result<Vec<IpAddr>, String>;

struct LookupRequest {
    target: TargetId,
    host: String,
    port: u16,
}

/// The threads, seen from the event loop.
pub struct Resolver {
    shared: Arc<Shared>,
}

/// State that the event loop and the threads share.
struct Shared {
    state: Mutex<State>,
    /// Signalled when a request waits, and when a lookup has ended.
    work: Condvar,
    waker: Arc<Waker>,
    look_up: LookUp,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<LookupRequest>,
    /// Names that are being looked up now.
    in_progress: Vec<String>,
    /// Names whose last lookup took longer than [`RESOLVER_SLOW`].
    slow: Vec<String>,
    answers: VecDeque<LookupResult>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
}

impl Resolver {
    /// Creates a resolver without threads. Threads wake the loop by `waker` after each answer. The
    /// loop never waits for them: a lookup that hangs ends with the process.
    pub fn new(waker: Arc<Waker>) -> Resolver {
        Resolver::with(waker, look_up)
    }

    fn with(waker: Arc<Waker>, look_up: LookUp) -> Resolver {
        let state = Mutex::new(State::default());
        Resolver {
            shared: Arc::new(Shared {
                state,
                work: Condvar::new(),
                waker,
                look_up,
            }),
        }
    }

    /// Requests a lookup. The engine requests one target again only after its answer, so the queue
    /// is bounded. If no thread can be started, the reason is the answer.
    pub fn request(&self, target: TargetId, host: String, port: u16) {
        let mut state = self.shared.lock();
        state
            .waiting
            .push_back(LookupRequest { target, host, port });
        if state.threads < RESOLVER_THREADS && state.idle < state.waiting.len() {
            let shared = Arc::clone(&self.shared);
            match spawn("resolver", Box::new(move || shared.work())) {
                Ok(_) => state.threads = state.threads.saturating_add(1),
                // A running thread will take the request.
                Err(error) if state.threads > 0 => {
                    log::debug!("no further thread to look up names: {error}")
                }
                Err(error) => {
                    let reason = format!("no thread can be started: {error}");
                    let failed = state
                        .waiting
                        .drain(..)
                        .map(|request| (request.target, Err(reason.clone())));
                    let failed = failed.collect::<Vec<_>>();
                    state.answers.extend(failed);
                    let _ = self.shared.waker.wake();
                }
            }
        }
        drop(state);
        self.shared.work.notify_one();
    }

    /// Returns the next answer, if there is one.
    pub fn poll(&self) -> Option<LookupResult> {
        self.shared.lock().answers.pop_front()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs lookups until the thread has been idle for too long.
    fn work(&self) {
        while let Some(host) = self.next_name() {
            let began = Instant::now();
            let found = (self.look_up)(&host);
            if self.answer(&host, &found, began.elapsed()).is_err() {
                return;
            }
        }
    }

    /// Waits for a name that may be looked up now. Returns `None` after [`RESOLVER_IDLE`]; the
    /// thread is then no longer counted.
    fn next_name(&self) -> Option<String> {
        let mut state = self.lock();
        let until = Instant::now().checked_add(RESOLVER_IDLE)?;
        loop {
            if let Some(host) = state.next_name() {
                state.in_progress.push(host.clone());
                return Some(host);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                state.threads = state.threads.saturating_sub(1);
                return None;
            }
            state.idle = state.idle.saturating_add(1);
            let (again, _) = self
                .work
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
            state = again;
            state.idle = state.idle.saturating_sub(1);
        }
    }

    /// Hands the answer to every target that waits for this name.
    fn answer(
        &self,
        host: &str,
        found: &Result<Vec<IpAddr>, String>,
        took: Duration,
    ) -> io::Result<()> {
        let mut state = self.lock();
        state.in_progress.retain(|name| name != host);
        state.slow.retain(|name| name != host);
        if took >= RESOLVER_SLOW {
            state.slow.push(host.to_owned());
        }
        for request in core::mem::take(&mut state.waiting) {
            if request.host != host {
                state.waiting.push_back(request);
                continue;
            }
            let at = |addresses: &Vec<IpAddr>| {
                addresses
                    .iter()
                    .map(|address| SocketAddr::new(*address, request.port))
                    .collect::<Vec<_>>()
            };
            state.answers.push_back((
                request.target,
                found.as_ref().map(at).map_err(String::clone),
            ));
        }
        drop(state);
        // Requests for this name may have kept other threads from the next name.
        self.work.notify_all();
        self.waker.wake()
    }
}

impl State {
    /// Returns the first name in the queue that may be looked up now.
    fn next_name(&self) -> Option<String> {
        let is_slow = |name: &String| self.slow.contains(name);
        let slow_now = self.in_progress.iter().filter(|name| is_slow(name)).count();
        let room_for_slow = slow_now < RESOLVER_THREADS.saturating_sub(1);
        let may_begin = |request: &&LookupRequest| {
            !self.in_progress.contains(&request.host) && (room_for_slow || !is_slow(&request.host))
        };
        self.waiting
            .iter()
            .find(may_begin)
            .map(|request| request.host.clone())
    }
}

pub(in crate::net) fn look_up(host: &str) -> Result<Vec<IpAddr>, String> {
    unique_addresses((host, 0).to_socket_addrs(), host)
}

fn unique_addresses(
    found: io::Result<impl Iterator<Item = SocketAddr>>,
    host: &str,
) -> Result<Vec<IpAddr>, String> {
    match found {
        Ok(found) => {
            let mut addresses = Vec::new();
            for address in found.map(|address| address.ip()) {
                // /etc/hosts may list an address twice; trying it twice is useless.
                if addresses.len() < ADDRESSES_PER_TARGET && !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        // RFC 6761 6.3: localhost is always loopback. A system without /etc/hosts does not resolve
        // it.
        Err(_) if host.eq_ignore_ascii_case("localhost") => Ok(vec![
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};

    /// Returns a resolver and the poll that it wakes.
    fn resolver(look_up: LookUp) -> (Resolver, Poll) {
        let poll = Poll::new().expect("epoll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).expect("a waker"));
        (Resolver::with(waker, look_up), poll)
    }

    /// Returns the next answer, which comes within some seconds.
    fn answer(resolver: &Resolver, poll: &mut Poll) -> LookupResult {
        let mut events = Events::with_capacity(4);
        for _ in 0..20 {
            if let Some(answer) = resolver.poll() {
                return answer;
            }
            poll.poll(&mut events, Some(Duration::from_secs(1)))
                .expect("epoll");
        }
        panic!("no answer");
    }

    /// Returns the key of a target.
    fn key(slot: usize) -> TargetId {
        TargetId::from_parts(slot as u32, 0)
    }

    /// Answers names `slow…` after half a second, all others at once.
    fn paced(host: &str) -> Result<Vec<IpAddr>, String> {
        if host.starts_with("slow") {
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(vec![Ipv4Addr::new(10, 0, 0, 1).into()])
    }

    #[test]
    fn answers_wake_the_loop() {
        let (resolver, mut poll) = resolver(look_up);
        resolver.request(key(3), "localhost".to_owned(), 80);
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(20)))
            .expect("epoll");
        assert_eq!(
            events.iter().next().map(|event| event.token()),
            Some(Token(7))
        );
        let (target, addresses) = resolver.poll().expect("an answer");
        assert_eq!(target, key(3));
        assert!(
            addresses
                .expect("localhost")
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == 80)
        );
    }

    #[test]
    fn slow_names_do_not_hold_up_the_others() {
        let (resolver, mut poll) = resolver(paced);
        let began = Instant::now();
        for (target, host) in ["slow1", "slow2", "slow3", "quick"].into_iter().enumerate() {
            resolver.request(key(target), host.to_owned(), 80);
        }
        assert_eq!(answer(&resolver, &mut poll).0, key(3));
        assert!(
            began.elapsed() < Duration::from_millis(400),
            "{:?}",
            began.elapsed()
        );
        let mut slow = [0; 3].map(|_| answer(&resolver, &mut poll).0);
        slow.sort_unstable_by_key(|target| target.index());
        assert_eq!(slow, [0, 1, 2].map(key));
        assert!(
            began.elapsed() < Duration::from_millis(1400),
            "they were looked up side by side"
        );
    }

    #[test]
    fn the_targets_of_one_name_share_one_lookup() {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        fn counted(host: &str) -> Result<Vec<IpAddr>, String> {
            COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            paced(host)
        }
        let (resolver, mut poll) = resolver(counted);
        for target in 0..10 {
            resolver.request(key(target), "slow.test".to_owned(), 8000 + target as u16);
        }
        for _ in 0..10 {
            let (target, addresses) = answer(&resolver, &mut poll);
            assert_eq!(
                addresses,
                Ok(vec![SocketAddr::from((
                    [10, 0, 0, 1],
                    8000 + target.index() as u16
                ))])
            );
        }
        assert_eq!(COUNT.load(std::sync::atomic::Ordering::Relaxed), 1);
        assert!(resolver.shared.lock().threads <= RESOLVER_THREADS);
    }

    #[test]
    fn names_known_to_be_slow_leave_a_thread_to_the_others() {
        let name = |name: &str| LookupRequest {
            target: key(0),
            host: name.to_owned(),
            port: 1,
        };
        let mut state = State {
            slow: ["a", "b", "c", "d"].map(str::to_owned).to_vec(),
            in_progress: ["a", "b"].map(str::to_owned).to_vec(),
            waiting: ["a", "c", "d", "quick"].map(name).into(),
            ..State::default()
        };
        assert_eq!(
            state.next_name().as_deref(),
            Some("c"),
            "the first that is not under way"
        );
        state.in_progress.push("c".to_owned());
        assert_eq!(state.next_name().as_deref(), Some("quick"));
        state.in_progress.push("quick".to_owned());
        assert_eq!(state.next_name(), None);
    }

    #[test]
    fn a_name_that_cannot_be_gives_a_reason() {
        assert!(!look_up("no such name").expect_err("white space").is_empty());
        assert!(!look_up("").expect_err("nothing").is_empty());
    }

    #[test]
    fn answers_are_bounded_and_without_repetition() {
        let many = (0..100_u8).map(|last| SocketAddr::from(([10, 0, 0, last / 2], 0)));
        let addresses = unique_addresses(Ok(many), "a.test").expect("addresses");
        assert_eq!(addresses.len(), ADDRESSES_PER_TARGET);
        assert!(addresses.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn localhost_needs_no_files() {
        let failed = || Err::<std::vec::IntoIter<SocketAddr>, _>(io::Error::other("no /etc/hosts"));
        let expected: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        assert_eq!(
            unique_addresses(failed(), "LocalHost"),
            Ok(expected.to_vec())
        );
        assert_eq!(
            unique_addresses(failed(), "other"),
            Err("no /etc/hosts".to_owned())
        );
    }
}
