//! Helper threads that verify credentials, which takes too long for the event loop: PBKDF2 takes a
//! good part of a second on purpose, a signature with a large key some milliseconds. Each kind has
//! a thread of its own, so that no signature waits for passwords.

use std::io;
use std::sync::Arc;

use mio::Waker;

use super::queue::{Receiver, Sender, unbounded};
use super::spawn;
use crate::policy::auth::basic::Verification;
use crate::policy::auth::provider::Kind;
use crate::policy::auth::signature::CostlySignature;
use crate::proxy::command::{LookupId, Work};
use crate::proxy::settings::Settings;

/// Kinds of credentials that the configuration can need verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kinds {
    /// Passwords (PBKDF2).
    pub passwords: bool,
    /// Signatures with large keys.
    pub signatures: bool,
}

/// The threads, seen from the event loop.
pub struct Verifier {
    passwords: Option<Sender<(LookupId, Box<Verification>)>>,
    signatures: Option<Sender<(LookupId, Arc<CostlySignature>)>>,
    answer: Sender<(LookupId, bool)>,
    answers: Receiver<(LookupId, bool)>,
}

impl Kinds {
    /// Returns the kinds that the providers of these settings need.
    pub fn of(settings: &Settings) -> Kinds {
        let any =
            |test: fn(&Kind) -> bool| settings.auth.iter().any(|provider| test(&provider.kind));
        Kinds {
            passwords: any(|kind| matches!(kind, Kind::Basic { .. })),
            signatures: any(Kind::has_costly_signatures),
        }
    }
}

impl Verifier {
    /// Starts a thread for each kind. It wakes the loop by `waker` after each answer. The loop
    /// never waits for it.
    ///
    /// # Errors
    /// A thread does not start.
    pub fn new(kinds: Kinds, waker: &Arc<Waker>) -> io::Result<Verifier> {
        let (answer, answers) = unbounded();
        let mut verifier = Verifier {
            passwords: None,
            signatures: None,
            answer,
            answers,
        };
        verifier.start_missing(kinds, waker)?;
        Ok(verifier)
    }

    /// Starts a thread for each kind that has none yet.
    ///
    /// # Errors
    /// A thread does not start.
    pub fn start_missing(&mut self, kinds: Kinds, waker: &Arc<Waker>) -> io::Result<()> {
        let (answer, waker) = (&self.answer, || Arc::clone(waker));
        if kinds.passwords && self.passwords.is_none() {
            let run = |work: Box<Verification>| work.run();
            self.passwords = Some(start("passwords", run, answer.clone(), waker())?);
        }
        if kinds.signatures && self.signatures.is_none() {
            let run = |work: Arc<CostlySignature>| work.verify();
            self.signatures = Some(start("signatures", run, answer.clone(), waker())?);
        }
        Ok(())
    }

    /// Hands work to the thread of its kind. The engine bounds the work that waits.
    pub fn request(&self, id: LookupId, work: Work) {
        // The threads live as long as the loop does.
        match work {
            Work::Password(work) => {
                let _ = self.passwords.as_ref().map(|to| to.send((id, work)));
            }
            Work::Signature(work) => {
                let _ = self.signatures.as_ref().map(|to| to.send((id, work)));
            }
        }
    }

    /// Returns the next answer, if there is one.
    pub fn poll(&self) -> Option<(LookupId, bool)> {
        self.answers.poll()
    }
}

/// Starts a thread that runs what it is sent, until a queue is closed.
fn start<W: Send + 'static>(
    name: &str,
    run: fn(W) -> bool,
    answer: Sender<(LookupId, bool)>,
    waker: Arc<Waker>,
) -> io::Result<Sender<(LookupId, W)>> {
    let (work, given) = unbounded::<(LookupId, W)>();
    let thread = move || {
        while let Ok((id, work)) = given.receive(None) {
            if answer.send((id, run(work))).is_err() || waker.wake().is_err() {
                return;
            }
        }
    };
    spawn(name, Box::new(thread))?;
    Ok(work)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::auth::algorithm::{Algorithm, AlgorithmSet};
    use crate::policy::auth::basic::{PasswordHash, User};
    use crate::policy::auth::key::{Material, Secret, VerifyingKey};
    use crate::slab::Key;
    use mio::{Events, Poll, Token};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
    use std::time::Duration;

    #[test]
    fn answers_wake_the_loop() {
        let mut poll = Poll::new().expect("epoll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).expect("a waker"));
        let kinds = Kinds {
            passwords: true,
            signatures: true,
        };
        let verifier = Verifier::new(kinds, &waker).expect("a thread");
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
            let work = Verification::new(&users, user.as_bytes(), password).expect("work");
            verifier.request(
                Key::from_parts(number as u32, 0),
                Work::Password(Box::new(work)),
            );
        }
        let (key, _) = es384();
        let forged = CostlySignature::new(Algorithm::Es384, vec![key], b"a.b", vec![7; 96]);
        let work = Work::Signature(Arc::new(forged));
        verifier.request(Key::from_parts(2, 0), work);
        let mut answers = Vec::new();
        while answers.len() < 3 {
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
        answers.sort_unstable();
        assert_eq!(answers, [(0, false), (1, false), (2, false)]);
    }

    /// Returns a key pair and its public key.
    fn es384() -> (VerifyingKey, EcdsaKeyPair) {
        let (random, kind) = (SystemRandom::new(), &ECDSA_P384_SHA384_FIXED_SIGNING);
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(kind, &random).expect("a key");
        let pair = EcdsaKeyPair::from_pkcs8(kind, pkcs8.as_ref(), &random).expect("a pair");
        let material = Material::P384(pair.public_key().as_ref().to_vec());
        let key = VerifyingKey::new(None, material, AlgorithmSet::PUBLIC);
        (key, pair)
    }

    #[test]
    fn a_signature_does_not_wait_for_passwords() {
        let poll = Poll::new().expect("epoll");
        let waker = Arc::new(Waker::new(poll.registry(), Token(7)).expect("a waker"));
        let kinds = Kinds {
            passwords: true,
            signatures: true,
        };
        let verifier = Verifier::new(kinds, &waker).expect("threads");
        // Waits some seconds at most.
        let hash = "pbkdf2-sha256:10000000:c2FsdA:VawEbjHja-XsJWXvxyLwWSL7blCf-5_HGFbPHP0xxp8";
        let users = [User {
            name: "ann".to_owned(),
            hash: PasswordHash::parse(hash).expect("a hash"),
        }];
        let password = Secret::new(b"slow".to_vec());
        let work = Verification::new(&users, b"ann", password).expect("work");
        verifier.request(Key::from_parts(0, 0), Work::Password(Box::new(work)));
        let (key, pair) = es384();
        let signature = pair.sign(&SystemRandom::new(), b"a.b").expect("one");
        let signature = signature.as_ref().to_vec();
        let good = CostlySignature::new(Algorithm::Es384, vec![key], b"a.b", signature);
        verifier.request(Key::from_parts(1, 0), Work::Signature(Arc::new(good)));
        let first = verifier
            .answers
            .receive(Some(Duration::from_secs(20)))
            .map(|(id, good)| (id.index(), good));
        assert_eq!(first, Ok((1, true)));
    }
}
