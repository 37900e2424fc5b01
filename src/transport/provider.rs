//! Cryptography for rustls: ring's provider, with counters for the work that a peer can request
//! after the handshake.
//!
//! rustls does not report that a peer changed its keys (RFC 8446 4.6.3) or sent a ticket
//! (RFC 8446 4.6.1): both are records without plaintext, like padding. But a key update creates a
//! decrypter, and a ticket is stored, and both happen through objects of this module. The counters
//! are per thread, so only the difference over a call of rustls is meaningful.

use core::cell::Cell;
use core::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Tls12ClientSessionValue, Tls13ClientSessionValue,
};
use rustls::crypto::cipher::{
    AeadKey, Iv, MessageDecrypter, MessageEncrypter, Tls13AeadAlgorithm, UnsupportedOperationError,
};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::ServerName;
use rustls::{
    CipherSuiteCommon, ConnectionTrafficSecrets, NamedGroup, SupportedCipherSuite, Tls13CipherSuite,
};

/// Counters of the work that peers requested on this thread. They wrap around.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub(super) struct WorkCount {
    /// TLS 1.3 decrypters created: one for each key update of a peer.
    pub(super) decrypters: u32,
    /// Tickets stored.
    pub(super) tickets: u32,
}

thread_local! {
    static WORK: Cell<WorkCount> = const { Cell::new(WorkCount { decrypters: 0, tickets: 0 }) };
}

impl WorkCount {
    /// Returns the counters of this thread.
    pub(super) fn now() -> WorkCount {
        WORK.get()
    }

    /// Returns the work between `earlier` and now.
    pub(super) fn since(earlier: WorkCount) -> WorkCount {
        let now = WORK.get();
        WorkCount {
            decrypters: now.decrypters.wrapping_sub(earlier.decrypters),
            tickets: now.tickets.wrapping_sub(earlier.tickets),
        }
    }
}

/// Returns ring's algorithms, with counters on those of TLS 1.3.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        let mut provider = ring::default_provider();
        for suite in &mut provider.cipher_suites {
            if let SupportedCipherSuite::Tls13(plain) = *suite {
                // rustls compares suites by address, so they are created once and live as long as
                // the process.
                let aead: &'static CountedAead = Box::leak(Box::new(CountedAead(plain.aead_alg)));
                *suite = SupportedCipherSuite::Tls13(Box::leak(Box::new(Tls13CipherSuite {
                    common: CipherSuiteCommon {
                        suite: plain.common.suite,
                        hash_provider: plain.common.hash_provider,
                        confidentiality_limit: plain.common.confidentiality_limit,
                    },
                    hkdf_provider: plain.hkdf_provider,
                    aead_alg: aead,
                    quic: None,
                })));
            }
        }
        Arc::new(provider)
    });
    Arc::clone(&PROVIDER)
}

struct CountedAead(&'static dyn Tls13AeadAlgorithm);

impl Tls13AeadAlgorithm for CountedAead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.0.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        let work = WORK.get();
        WORK.set(WorkCount {
            decrypters: work.decrypters.wrapping_add(1),
            ..work
        });
        self.0.decrypter(key, iv)
    }

    fn key_len(&self) -> usize {
        self.0.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.0.extract_keys(key, iv)
    }

    fn fips(&self) -> bool {
        self.0.fips()
    }
}

/// Cache of sessions with upstreams that counts arriving tickets.
pub(super) struct CountedSessions(ClientSessionMemoryCache);

impl CountedSessions {
    /// Creates a cache for `size` sessions.
    pub(super) fn new(size: usize) -> CountedSessions {
        CountedSessions(ClientSessionMemoryCache::new(size))
    }
}

impl fmt::Debug for CountedSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ClientSessionStore for CountedSessions {
    fn set_kx_hint(&self, server_name: ServerName<'static>, group: NamedGroup) {
        self.0.set_kx_hint(server_name, group);
    }

    fn kx_hint(&self, server_name: &ServerName<'_>) -> Option<NamedGroup> {
        self.0.kx_hint(server_name)
    }

    fn set_tls12_session(&self, server_name: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.0.set_tls12_session(server_name, value);
    }

    fn tls12_session(&self, server_name: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.0.tls12_session(server_name)
    }

    fn remove_tls12_session(&self, server_name: &ServerName<'static>) {
        self.0.remove_tls12_session(server_name);
    }

    fn insert_tls13_ticket(
        &self,
        server_name: ServerName<'static>,
        value: Tls13ClientSessionValue,
    ) {
        let work = WORK.get();
        WORK.set(WorkCount {
            tickets: work.tickets.wrapping_add(1),
            ..work
        });
        self.0.insert_tls13_ticket(server_name, value);
    }

    fn take_tls13_ticket(
        &self,
        server_name: &ServerName<'static>,
    ) -> Option<Tls13ClientSessionValue> {
        self.0.take_tls13_ticket(server_name)
    }
}
