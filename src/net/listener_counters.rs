//! Numbers of the listeners: connections that were accepted and refused, and TLS handshakes.

use crate::proxy::command::Refused;
use crate::transport::TlsFacts;
use crate::transport::server::TlsVersion;

/// Numbers of a listener.
#[derive(Clone, Copy, Default)]
pub struct ListenerCounters {
    /// Connections that were accepted, those that were then refused included.
    pub accepted: u64,
    /// Connections that were refused, by [`Refused`].
    pub refused: [u64; Refused::ALL.len()],
    /// Handshakes that were finished, by version, then full ones and resumed ones.
    pub handshakes: [[u64; 2]; 2],
    /// Handshakes that failed.
    pub failed_handshakes: u64,
}

impl ListenerCounters {
    /// Counts the end of a handshake; `None`: it failed.
    pub fn count_handshake(&mut self, facts: Option<TlsFacts>) {
        let Some(TlsFacts {
            version,
            is_resumed,
        }) = facts
        else {
            self.failed_handshakes = self.failed_handshakes.saturating_add(1);
            return;
        };
        let [of_12, of_13] = &mut self.handshakes;
        let [full, resumed] = match version {
            TlsVersion::Tls12 => of_12,
            TlsVersion::Tls13 => of_13,
        };
        let count = if is_resumed { resumed } else { full };
        *count = count.saturating_add(1);
    }

    /// Counts a connection that was accepted, and what the engine refused since `before`.
    pub fn count_connection(
        &mut self,
        before: [u64; Refused::ALL.len()],
        after: [u64; Refused::ALL.len()],
    ) {
        self.accepted = self.accepted.saturating_add(1);
        self.count_refused(before, after);
    }

    /// Counts what the engine refused since `before`.
    pub fn count_refused(
        &mut self,
        before: [u64; Refused::ALL.len()],
        after: [u64; Refused::ALL.len()],
    ) {
        for (count, (before, after)) in self.refused.iter_mut().zip(before.into_iter().zip(after)) {
            *count = count.saturating_add(after.saturating_sub(before));
        }
    }
}

/// Connections that are open, by what they do.
#[derive(Clone, Copy, Default)]
pub struct OpenConnections {
    /// With a request under way.
    pub active: u64,
    /// Without one.
    pub idle: u64,
    /// In the TLS handshake.
    pub handshake: u64,
}
