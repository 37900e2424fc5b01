//! Limits for the work that a peer can request beside application data.
//!
//! A key update (RFC 8446 4.6.3) has 27 bytes and costs as much as 30 KB of application data. A
//! ticket of an upstream (RFC 8446 4.6.1) is work for a session that may never come. Peers need a
//! handful of each. rustls bounds warnings, renegotiation of TLS 1.2 and stray ChangeCipherSpec
//! records. Empty and small records cost in proportion to their bytes, which the budget of a loop
//! iteration counts.

use super::provider::WorkCount;
use crate::limits::{KEY_UPDATE_SPACING_BYTES, KEY_UPDATES_MAX, TICKETS_MAX};

/// Counter of the requests of a session's peer since the handshake.
#[derive(Default)]
pub(super) struct Meter {
    updates: u8,
    tickets: u8,
    /// Bytes of ciphertext, in both directions, since the last key update of the peer.
    since_update: u32,
}

impl Meter {
    /// Counts ciphertext of either direction.
    pub(super) fn count_bytes(&mut self, bytes: usize) {
        self.since_update = self
            .since_update
            .saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Counts the work that `bytes` of the peer's ciphertext caused. At most one record of
    /// application data follows a key update in them.
    ///
    /// # Errors
    /// The peer requests too much; the text says of what.
    pub(super) fn record(&mut self, bytes: usize, work: WorkCount) -> Result<(), &'static str> {
        self.count_bytes(bytes);
        if work == WorkCount::default() {
            return Ok(());
        }
        self.tickets = self
            .tickets
            .saturating_add(u8::try_from(work.tickets).unwrap_or(u8::MAX));
        if self.tickets > TICKETS_MAX {
            return Err("the peer has sent too many tickets on one connection");
        }
        if work.decrypters == 0 {
            return Ok(());
        }
        let is_first = self.updates == 0;
        self.updates = self
            .updates
            .saturating_add(u8::try_from(work.decrypters).unwrap_or(u8::MAX));
        let since = core::mem::take(&mut self.since_update);
        self.count_bytes(bytes);
        if self.updates > KEY_UPDATES_MAX {
            return Err("the peer has changed its keys too often on one connection");
        }
        if work.decrypters > 1 || (!is_first && since < KEY_UPDATE_SPACING_BYTES) {
            return Err("the peer has changed its keys again after too few bytes");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn updates(decrypters: u32) -> WorkCount {
        WorkCount {
            decrypters,
            ..WorkCount::default()
        }
    }

    #[test]
    fn key_updates_have_a_number_and_a_distance() {
        let spacing = KEY_UPDATE_SPACING_BYTES as usize;
        let mut meter = Meter::default();
        assert_eq!(
            meter.record(27, updates(1)),
            Ok(()),
            "the first one may come at once"
        );
        assert!(
            meter.record(27, updates(1)).is_err(),
            "the second one may not"
        );
        assert!(
            Meter::default().record(2 * spacing, updates(2)).is_err(),
            "and not in one step with it"
        );

        let mut meter = Meter::default();
        for number in 1..=KEY_UPDATES_MAX {
            assert_eq!(meter.record(27, updates(1)), Ok(()), "{number}");
            meter.count_bytes(spacing / 2);
            assert_eq!(meter.record(spacing / 2, updates(0)), Ok(()));
        }
        assert!(meter.record(27, updates(1)).is_err(), "one more");

        let mut meter = Meter::default();
        assert_eq!(meter.record(27, updates(1)), Ok(()));
        meter.count_bytes(spacing - 2 * 27 - 1);
        assert!(meter.record(27, updates(1)).is_err(), "a byte too few");
    }

    #[test]
    fn tickets_have_a_number() {
        let tickets = |tickets| WorkCount {
            tickets,
            ..WorkCount::default()
        };
        let mut meter = Meter::default();
        assert_eq!(
            meter.record(100_000, tickets(u32::from(TICKETS_MAX))),
            Ok(()),
            "several at once are usual"
        );
        assert!(meter.record(1 << 30, tickets(1)).is_err());
        assert!(Meter::default().record(0, tickets(1 << 20)).is_err());
    }
}
