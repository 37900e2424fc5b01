//! Passwords are verified by a helper thread: PBKDF2 takes a good part of a second on purpose, and the loop has none to spare.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Builder;

use mio::Waker;

use crate::policy::auth::basic::Verification;
use crate::proxy::command::VerificationId;

/// The helper thread, seen from the loop.
pub struct Verifier {
    work: Sender<(VerificationId, Box<Verification>)>,
    answers: Receiver<(VerificationId, bool)>,
}

impl Verifier {
    /// Starts the thread; it wakes the loop by `waker` after each answer. It is never waited for.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn new(waker: Arc<Waker>) -> io::Result<Verifier> {
        let (work, given) = channel::<(VerificationId, Box<Verification>)>();
        let (answer, answers) = channel();
        Builder::new().name("verifier".to_owned()).spawn(move || {
            while let Ok((id, verification)) = given.recv() {
                if answer.send((id, verification.run())).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        })?;
        Ok(Verifier { work, answers })
    }

    /// Gives it one more password. The engine counts those that wait, so they do not pile up.
    pub fn request(&self, id: VerificationId, work: Box<Verification>) {
        // The thread lives as long as the loop does.
        let _ = self.work.send((id, work));
    }

    /// The next answer that has come.
    pub fn poll(&self) -> Option<(VerificationId, bool)> {
        self.answers.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::basic::{PasswordHash, User};
    use crate::policy::auth::key::Secret;
    use crate::slab::Key;
    use mio::{Events, Poll, Token};
    use std::time::Duration;

    #[test]
    fn answers_wake_the_loop() {
        let mut poll = Poll::new().expect("epoll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).expect("a waker"));
        let verifier = Verifier::new(waker).expect("a thread");
        // RFC 7914 11
        let hash = "pbkdf2-sha256:1:c2FsdA:VawEbjHja-XsJWXvxyLwWSL7blCf-5_HGFbPHP0xxp8";
        let hash = PasswordHash::parse(hash).expect("a hash");
        let users = [User {
            name: "ann".to_owned(),
            hash,
        }];
        for (number, (user, password)) in
            [("ann", "wrong"), ("bob", "wrong")].into_iter().enumerate()
        {
            let password = Secret::new(password.as_bytes().to_vec());
            let work = Verification::of(&users, user.as_bytes(), password).expect("work");
            verifier.request(Key::from_parts(number as u32, 0), Box::new(work));
        }
        let mut answers = Vec::new();
        while answers.len() < 2 {
            let mut events = Events::with_capacity(4);
            poll.poll(&mut events, Some(Duration::from_secs(20)))
                .expect("epoll");
            assert_eq!(
                events.iter().next().map(|event| event.token()),
                Some(Token(7))
            );
            answers.extend(
                std::iter::from_fn(|| verifier.poll()).map(|(id, good)| (id.index(), good)),
            );
        }
        assert_eq!(answers, [(0, false), (1, false)]);
    }
}
