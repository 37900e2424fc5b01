//! Names to addresses. getaddrinfo blocks, so one helper thread asks it and wakes the loop with the answer.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use mio::Waker;

use crate::limits::ADDRESSES_PER_TARGET;

/// What became of a lookup: the target's index, and its addresses or the reason.
pub type Answer = (usize, Result<Vec<SocketAddr>, String>);

struct Question {
    target: usize,
    host: String,
    port: u16,
}

/// The helper thread, seen from the loop.
pub struct Resolver {
    questions: Sender<Question>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts the thread; it wakes the loop by `waker` after each answer. It is never waited for: a lookup that hangs
    /// ends with the process.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn new(waker: Arc<Waker>) -> io::Result<Resolver> {
        let (questions, asked) = channel::<Question>();
        let (answer, answers) = channel();
        Builder::new().name("resolver".to_owned()).spawn(move || {
            while let Ok(question) = asked.recv() {
                let addresses = look_up(&question.host, question.port);
                if answer.send((question.target, addresses)).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        })?;
        Ok(Resolver { questions, answers })
    }

    /// Asks for a name. The engine asks for a target again only after its answer, so questions do not pile up.
    pub fn request(&self, target: usize, host: String, port: u16) {
        // The thread lives as long as the loop does.
        let _ = self.questions.send(Question { target, host, port });
    }

    /// The next answer that has come.
    pub fn poll(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    settle((host, port).to_socket_addrs(), host, port)
}

fn settle(
    found: io::Result<impl Iterator<Item = SocketAddr>>,
    host: &str,
    port: u16,
) -> Result<Vec<SocketAddr>, String> {
    match found {
        Ok(found) => {
            let mut addresses = Vec::new();
            for address in found {
                // /etc/hosts may name one twice; a second try would be no other.
                if addresses.len() < ADDRESSES_PER_TARGET && !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
            Ok(addresses)
        }
        // RFC 6761 6.3: always loopback. A root without /etc/hosts does not know it.
        Err(_) if host.eq_ignore_ascii_case("localhost") => {
            let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
            Ok(loopback.map(|address| SocketAddr::new(address, port)).to_vec())
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn answers_wake_the_loop() {
        let mut poll = Poll::new().expect("epoll");
        let resolver =
            Resolver::new(Arc::new(Waker::new(poll.registry(), Token(7)).expect("a waker"))).expect("a thread");
        resolver.request(3, "localhost".to_owned(), 80);
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_secs(20))).expect("epoll");
        assert_eq!(events.iter().next().map(|event| event.token()), Some(Token(7)));
        let (target, addresses) = resolver.poll().expect("an answer");
        assert_eq!(target, 3);
        assert!(addresses.expect("localhost").iter().all(|address| address.ip().is_loopback() && address.port() == 80));
    }

    #[test]
    fn a_name_that_cannot_be_gives_a_reason() {
        assert!(!look_up("no such name", 80).expect_err("white space").is_empty());
        assert!(!look_up("", 80).expect_err("nothing").is_empty());
    }

    #[test]
    fn answers_are_bounded_and_without_repetition() {
        let many = (0..100_u16).map(|port| SocketAddr::from(([10, 0, 0, 1], port / 2)));
        let addresses = settle(Ok(many), "a.test", 1).expect("addresses");
        assert_eq!(addresses.len(), ADDRESSES_PER_TARGET);
        assert!(addresses.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn localhost_needs_no_files() {
        let failed = || Err::<std::vec::IntoIter<SocketAddr>, _>(io::Error::other("no /etc/hosts"));
        let expected: [SocketAddr; 2] = [([127, 0, 0, 1], 80).into(), (Ipv6Addr::LOCALHOST, 80).into()];
        assert_eq!(settle(failed(), "LocalHost", 80), Ok(expected.to_vec()));
        assert_eq!(settle(failed(), "other", 80), Err("no /etc/hosts".to_owned()));
    }
}
