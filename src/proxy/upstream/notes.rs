//! Last change of the health of each endpoint of a service: since when it is down, and why.

use super::super::command::Cause;
use super::super::ids::EndpointId;
use super::super::reason::Reason;
use crate::observe::told::Told;
use crate::time::Instant;

/// Changes of the health of a service's endpoints: the last one of each endpoint that has had one.
#[derive(Default)]
pub(in crate::proxy) struct HealthNotes(Vec<HealthNote>);

/// Change of the health of an endpoint, as one service sees it.
pub(in crate::proxy) struct HealthNote {
    pub(super) endpoint: EndpointId,
    /// Number of the destination within the service.
    pub(super) destination: usize,
    /// Time of the change; `None`: before this process began.
    pub(in crate::proxy) at: Option<Instant>,
    /// Last event that showed this health.
    pub(super) cause: Cause,
    pub(super) reason: Option<Reason>,
    /// Requests that had had a connection to the endpoint.
    pub(super) requests: u64,
    /// Reason that the operator was told.
    told: Told,
}

impl HealthNote {
    pub(super) fn new(
        (destination, endpoint): (usize, EndpointId),
        at: Option<Instant>,
        (cause, reason): (Cause, Option<Reason>),
    ) -> HealthNote {
        let mut note = HealthNote {
            endpoint,
            destination,
            at,
            cause,
            reason,
            requests: 0,
            told: Told::default(),
        };
        note.told = Told::first(&note.why());
        note
    }

    /// Returns true if an endpoint that is used fails: no connection to it was made, and no request
    /// has had one since. `requests`: number of those that have had one up to now.
    pub(super) fn is_failing(&self, requests: u64) -> bool {
        self.is_failure() && self.requests == requests
    }

    /// Returns true if requests have shown the health, as opposed to checks or time.
    pub(super) fn is_failure(&self) -> bool {
        matches!(self.cause, Cause::Failure(_))
    }

    /// Returns the event that shows the health; empty: time has passed.
    pub(in crate::proxy) fn why(&self) -> String {
        match (&self.reason, self.cause) {
            (Some(reason), _) => reason.as_str().to_owned(),
            (None, Cause::Status(status)) => format!("status {status}"),
            (None, Cause::Failure(outcome)) => outcome.as_str().to_owned(),
            (None, Cause::Time) => String::new(),
        }
    }
}

impl HealthNotes {
    /// Size of the note of an endpoint in bytes.
    pub(in crate::proxy) const NOTE_BYTES: usize = size_of::<HealthNote>();

    /// Notes a change in place of the one before.
    pub(super) fn note(&mut self, note: HealthNote) {
        self.forget(note.endpoint, Some(note.destination));
        self.0.push(note);
    }

    /// Notes that an endpoint is out of use as before, and why it is now. Returns true if the operator is
    /// to be told: the reason has changed.
    pub(super) fn note_again(
        &mut self,
        place: (usize, EndpointId),
        (cause, reason): (Cause, Option<Reason>),
        now: Instant,
    ) -> bool {
        let mut notes = self.0.iter_mut();
        let known = notes.find(|note| (note.destination, note.endpoint) == place);
        let Some(known) = known else {
            // The process before this one has told of it.
            self.0.push(HealthNote::new(place, None, (cause, reason)));
            return false;
        };
        (known.cause, known.reason) = (cause, reason);
        let why = known.why();
        known.told.is_news(&why, now)
    }

    /// Forgets all endpoints.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets an endpoint, at one destination or at all.
    pub(super) fn forget(&mut self, endpoint: EndpointId, destination: Option<usize>) {
        self.0.retain(|note| {
            note.endpoint != endpoint || destination.is_some_and(|of| note.destination != of)
        });
    }

    /// Forgets the failure of an endpoint that is used.
    pub(super) fn forget_failure(&mut self, endpoint: EndpointId, destination: usize) {
        let note = self.of(endpoint, destination);
        if note.is_some_and(HealthNote::is_failure) {
            self.forget(endpoint, Some(destination));
        }
    }

    /// Returns the last change of an endpoint.
    pub(super) fn of(&self, endpoint: EndpointId, destination: usize) -> Option<&HealthNote> {
        let mut notes = self.0.iter();
        notes.find(|note| note.endpoint == endpoint && note.destination == destination)
    }
}
