//! Messages to the service manager (`sd_notify`): ready, reloading, stopping, a line of status, and
//! a sign of life for its watchdog.
//!
//! Each message is a datagram to the unix socket that `$NOTIFY_SOCKET` names. Without that variable
//! nothing is sent, and nothing wakes the event loop. The event loop itself sends the signs of life:
//! a thread of its own would report a loop that is stuck as well.
//!
//! Out of scope: descriptors that the service manager passes on.

use core::fmt::Write;
use std::collections::VecDeque;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use log::warn;
use rustix::time::{ClockId, clock_gettime};

use crate::limits::{NOTIFY_RETRY, NOTIFY_STATUS_INTERVAL, NOTIFY_WAITING};
use crate::proxy::overview::Overview;
use crate::time::{Duration, Instant};

/// Variables of the environment that the service manager sets.
#[derive(Default)]
pub struct Environment {
    /// `NOTIFY_SOCKET`: path of the socket, or an abstract name behind `@`.
    pub socket: Option<String>,
    /// `WATCHDOG_USEC`: time in microseconds within which a sign of life is expected.
    pub watchdog: Option<String>,
    /// `WATCHDOG_PID`: process that is to send it.
    pub watchdog_pid: Option<String>,
}

impl Environment {
    /// Returns the variables of this process.
    pub fn of_process() -> Environment {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        Environment {
            socket: variable("NOTIFY_SOCKET"),
            watchdog: variable("WATCHDOG_USEC"),
            watchdog_pid: variable("WATCHDOG_PID"),
        }
    }
}

/// The service manager, seen from the event loop; without one every call does nothing.
pub struct Notifier {
    link: Option<Box<Link>>,
}

struct Link {
    socket: UnixDatagram,
    address: SocketAddr,
    /// Time between two signs of life; `None`: no watchdog.
    watchdog: Option<Duration>,
    /// Time of the next sign of life.
    next_sign: Instant,
    /// Status that was sent last.
    status: Option<Overview>,
    /// Time of the next look at the status; `None`: nothing has happened since the last one.
    look_at: Option<Instant>,
    /// Earliest time of a look.
    looks_from: Instant,
    /// Messages that found the socket full, in order.
    waiting: VecDeque<String>,
    /// Time at which they are sent again.
    retry_at: Option<Instant>,
    /// A failure was logged, which happens once.
    is_failure_logged: bool,
}

impl Notifier {
    /// Opens the socket. A name that cannot be used is logged.
    pub fn new(environment: &Environment) -> Notifier {
        let Some(name) = &environment.socket else {
            return Notifier { link: None };
        };
        match open(name) {
            Ok((socket, address)) => Notifier {
                link: Some(Box::new(Link {
                    socket,
                    address,
                    watchdog: watchdog(environment),
                    next_sign: Instant::ZERO,
                    status: None,
                    look_at: Some(Instant::ZERO),
                    looks_from: Instant::ZERO,
                    waiting: VecDeque::new(),
                    retry_at: None,
                    is_failure_logged: false,
                })),
            },
            Err(error) => {
                warn!("NOTIFY_SOCKET is {name:?}: {error}; the service manager is told nothing");
                Notifier { link: None }
            }
        }
    }

    /// Says that the gateway serves: at the start, and after a reload, successful or not.
    pub fn ready(&mut self) {
        self.send("READY=1");
    }

    /// Says that a reload begins. [`ready`](Self::ready) must follow.
    pub fn reloading(&mut self) {
        if self.link.is_some() {
            let now = clock_gettime(ClockId::Monotonic);
            let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
            let micros = u64::try_from(now.tv_nsec).unwrap_or_default() / 1000;
            let micros = seconds.saturating_mul(1_000_000).saturating_add(micros);
            self.send(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// Says that the gateway stops.
    pub fn stopping(&mut self) {
        self.send("STOPPING=1");
    }

    /// Says that another process is the service's main one. This process says nothing more: the
    /// service manager listens to the main process alone.
    pub(super) fn hand_over(&mut self, pid: u32) {
        self.send(&format!("MAINPID={pid}"));
        self.link = None;
    }

    /// Returns the time at which [`tend`](Self::tend) has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        let link = self.link.as_deref()?;
        let sign = link.watchdog.map(|_| link.next_sign);
        [sign, link.look_at, link.retry_at]
            .into_iter()
            .flatten()
            .min()
    }

    /// Sends what is due. Call it once in each iteration of the loop.
    #[inline]
    pub(super) fn tend(&mut self, now: Instant, overview: impl FnOnce() -> Overview) {
        if let Some(link) = &mut self.link {
            link.tend(now, overview);
        }
    }

    /// Returns true if there is a service manager.
    pub(super) fn is_open(&self) -> bool {
        self.link.is_some()
    }

    /// Says how things are, in words.
    pub(super) fn status(&mut self, text: &str) {
        self.send(&format!("STATUS={text}"));
    }

    /// Sends what is due beside the status of targets, which a supervisor does not know.
    pub(super) fn tend_supervisor(&mut self, now: Instant) {
        if let Some(link) = &mut self.link {
            link.looks_from = Instant::from_millis(u64::MAX);
            link.tend_signs(now);
            link.look_at = None;
        }
    }

    fn send(&mut self, message: &str) {
        if let Some(link) = &mut self.link {
            link.send(message);
        }
    }
}

impl Link {
    /// Sends messages that wait, and the sign of life.
    fn tend_signs(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry();
        }
        if let Some(period) = self.watchdog
            && self.next_sign <= now
        {
            self.next_sign = now.after(period);
            self.send("WATCHDOG=1");
        }
    }

    #[inline(never)]
    fn tend(&mut self, now: Instant, overview: impl FnOnce() -> Overview) {
        self.tend_signs(now);
        if self.looks_from > now {
            // The state may have changed in this iteration.
            self.look_at = Some(self.looks_from);
        } else {
            self.look_at = None;
            self.looks_from = now.after(NOTIFY_STATUS_INTERVAL);
            self.look(overview());
        }
        if !self.waiting.is_empty() && self.retry_at.is_none() {
            self.retry_at = Some(now.after(NOTIFY_RETRY));
        }
    }

    fn look(&mut self, found: Overview) {
        if self.status == Some(found) {
            return;
        }
        self.status = Some(found);
        let Overview {
            services,
            targets,
            targets_up,
        } = found;
        let mut text = String::new();
        let s = |count| if count == 1 { "" } else { "s" };
        let _ = write!(
            text,
            "STATUS={services} service{}, {targets_up} of {targets} target{} up",
            s(services),
            s(targets)
        );
        self.send(&text);
    }

    fn send(&mut self, message: &str) {
        if self.waiting.is_empty() {
            match self.try_send(message) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return self.log_failure(&error),
                Ok(()) => return,
            }
        }
        if self.waiting.len() < NOTIFY_WAITING {
            self.waiting.push_back(message.to_owned());
        } else {
            self.log_failure(&io::ErrorKind::WouldBlock.into());
        }
    }

    /// Sends the messages that wait, as far as there is room.
    fn retry(&mut self) {
        self.retry_at = None;
        while let Some(message) = self.waiting.pop_front() {
            match self.try_send(&message) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return self.waiting.push_front(message);
                }
                Err(error) => self.log_failure(&error),
            }
        }
    }

    fn try_send(&self, message: &str) -> io::Result<()> {
        self.socket
            .send_to_addr(message.as_bytes(), &self.address)
            .map(drop)
    }

    #[cold]
    fn log_failure(&mut self, error: &io::Error) {
        if !core::mem::replace(&mut self.is_failure_logged, true) {
            warn!("the service manager cannot be told what happens ($NOTIFY_SOCKET): {error}");
        }
    }
}

fn open(name: &str) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.strip_prefix('@') {
        Some(hidden) => SocketAddr::from_abstract_name(hidden)?,
        None if name.starts_with('/') => SocketAddr::from_pathname(name)?,
        None => {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "it must be a path that begins with / or an abstract name behind @",
            ));
        }
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, address))
}

/// Returns half of the watchdog's time, or `None` if there is no watchdog or it waits for another
/// process.
fn watchdog(environment: &Environment) -> Option<Duration> {
    let own = std::process::id().to_string();
    if environment
        .watchdog_pid
        .as_ref()
        .is_some_and(|pid| *pid != own)
    {
        return None;
    }
    let micros: u64 = environment.watchdog.as_ref()?.parse().ok()?;
    (micros > 0).then(|| Duration::from_millis((micros / 2000).max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    /// A service manager's socket, and what it has received.
    struct Manager(UnixDatagram, PathBuf);

    impl Manager {
        fn new(name: &str) -> Manager {
            let file = format!("tollgate-notify-{}-{name}", std::process::id());
            let path = std::env::temp_dir().join(file);
            let socket = UnixDatagram::bind(&path).expect("a fresh path");
            socket.set_nonblocking(true).expect("an option");
            Manager(socket, path)
        }

        fn environment(&self) -> Environment {
            Environment {
                socket: Some(self.1.display().to_string()),
                ..Environment::default()
            }
        }

        fn next(&self) -> Option<String> {
            let mut bytes = [0; 256];
            let length = self.0.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
        }
    }

    impl Drop for Manager {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.1);
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn state(targets_up: usize) -> impl FnOnce() -> Overview {
        move || Overview {
            services: 4,
            targets: 4,
            targets_up,
        }
    }

    #[test]
    fn without_a_socket_nothing_is_due() {
        let mut notifier = Notifier::new(&Environment {
            watchdog: Some("1000".to_owned()),
            ..Environment::default()
        });
        notifier.ready();
        notifier.tend(at(5), || panic!("the state is not looked at"));
        assert_eq!(notifier.due(), None);
    }

    #[test]
    fn messages_are_datagrams() {
        let manager = Manager::new("messages");
        let mut notifier = Notifier::new(&manager.environment());
        notifier.ready();
        assert_eq!(manager.next().as_deref(), Some("READY=1"));
        notifier.reloading();
        let text = manager.next().expect("a datagram");
        let micros = text
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .expect(&text);
        assert!(micros.parse::<u64>().is_ok_and(|micros| micros > 0));
        notifier.stopping();
        assert_eq!(manager.next().as_deref(), Some("STOPPING=1"));
        assert_eq!(manager.next(), None);
    }

    #[test]
    fn the_status_is_sent_when_it_changes_and_once_a_second_at_most() {
        let manager = Manager::new("status");
        let mut notifier = Notifier::new(&manager.environment());
        assert_eq!(notifier.due(), Some(Instant::ZERO));
        notifier.tend(at(10), state(4));
        let first = "STATUS=4 services, 4 of 4 targets up";
        assert_eq!(manager.next().as_deref(), Some(first));
        assert_eq!(
            notifier.due(),
            None,
            "nothing wakes the loop while nothing happens"
        );
        notifier.tend(at(20), || panic!("too early for a look"));
        assert_eq!(
            notifier.due(),
            Some(at(1010)),
            "the iteration may have changed it"
        );
        notifier.tend(at(1010), state(3));
        assert_eq!(
            manager.next().as_deref(),
            Some("STATUS=4 services, 3 of 4 targets up")
        );
        notifier.tend(at(2020), state(3));
        assert_eq!((manager.next(), notifier.due()), (None, None));
    }

    #[test]
    fn one_service_and_one_target_are_singular() {
        let manager = Manager::new("singular");
        let mut notifier = Notifier::new(&manager.environment());
        notifier.tend(at(0), || Overview {
            services: 1,
            targets: 1,
            targets_up: 0,
        });
        let wanted = "STATUS=1 service, 0 of 1 target up";
        assert_eq!(manager.next().as_deref(), Some(wanted));
    }

    #[test]
    fn the_watchdog_gets_a_sign_of_life_at_half_of_its_time() {
        let manager = Manager::new("watchdog");
        let mut notifier = Notifier::new(&Environment {
            watchdog: Some("3000000".to_owned()),
            watchdog_pid: Some(std::process::id().to_string()),
            ..manager.environment()
        });
        notifier.tend(at(0), state(4));
        assert_eq!(manager.next().as_deref(), Some("WATCHDOG=1"));
        manager.next().expect("the status");
        assert_eq!(notifier.due(), Some(at(1500)));
        notifier.tend(at(1500), state(4));
        assert_eq!(manager.next().as_deref(), Some("WATCHDOG=1"));
    }

    #[test]
    fn the_watchdog_of_another_process_is_left_alone() {
        for (micros, pid) in [
            ("3000000", Some("1")),
            ("0", None),
            ("soon", None),
            ("-5", None),
        ] {
            let environment = Environment {
                socket: None,
                watchdog: Some(micros.to_owned()),
                watchdog_pid: pid.map(str::to_owned),
            };
            assert_eq!(watchdog(&environment), None, "{micros} {pid:?}");
        }
    }

    #[test]
    fn abstract_names_stand_behind_an_at_sign() {
        let name = format!("tollgate-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a fresh name");
        let mut notifier = Notifier::new(&Environment {
            socket: Some(format!("@{name}")),
            ..Environment::default()
        });
        notifier.ready();
        let mut bytes = [0; 16];
        assert_eq!(manager.recv(&mut bytes).expect("a datagram"), 7);
    }

    #[test]
    fn messages_wait_while_the_socket_is_full_and_keep_their_order() {
        let manager = Manager::new("full");
        let mut notifier = Notifier::new(&manager.environment());
        // More than the kernel queues for one socket (net.unix.max_dgram_qlen).
        let flood = UnixDatagram::unbound().expect("a socket");
        flood.set_nonblocking(true).expect("an option");
        let mut queued = 0;
        while flood.send_to(b"noise", &manager.1).is_ok() {
            queued += 1;
        }
        notifier.reloading();
        notifier.ready();
        notifier.tend(at(50), state(4));
        assert_eq!(notifier.due(), Some(at(150)), "it tries again");
        for _ in 0..queued {
            assert_eq!(manager.next().as_deref(), Some("noise"));
        }
        assert_eq!(manager.next(), None);
        notifier.tend(at(150), state(4));
        let text = manager.next().expect("the first");
        assert!(text.starts_with("RELOADING=1\n"), "{text}");
        assert_eq!(manager.next().as_deref(), Some("READY=1"));
        assert!(
            manager
                .next()
                .is_some_and(|text| text.starts_with("STATUS="))
        );
    }

    #[test]
    fn names_that_are_no_unix_socket_are_refused() {
        for name in ["relative", "vsock:2:1234", &format!("/{}", "x".repeat(200))] {
            assert!(open(name).is_err(), "{name}");
        }
        let mut notifier = Notifier::new(&Environment {
            socket: Some("/nowhere/at/all".to_owned()),
            ..Environment::default()
        });
        notifier.ready();
        notifier.ready();
        assert!(
            notifier.link.is_some_and(|link| link.is_failure_logged),
            "logged once, and the gateway goes on"
        );
    }
}
