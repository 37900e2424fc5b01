//! The lines of the access log on their way out, and the entries that are collected for them.

use core::net::IpAddr;

use super::log_entry::AccessLogEntry;
use super::rules::Rules;
use super::settings::AccessLogFormat;
use crate::http::head::RequestHead;
use crate::limits::ACCESS_LOG_BYTES;
use crate::limits::LISTENER_NAMES_MAX;
use crate::observe::access::{AccessFormat, Entrance, Outcome, render};
use crate::observe::date::DateCache;
use crate::policy::auth::grant::Grant;
use crate::policy::request_id::RequestIds;
use crate::time::{Instant, UnixTime};

/// Format of the lines.
#[derive(Clone, Copy)]
enum LineFormat {
    /// All lines have this format.
    Same(AccessFormat),
    /// Services differ.
    ByService,
}

/// The access log.
pub(super) struct AccessLog {
    format: LineFormat,
    /// Format of requests without a service, and of services without their own.
    top: AccessFormat,
    /// True if entries keep what is not in a combined line: for JSON lines of any service, and for
    /// header edits and error pages.
    keeps_details: bool,
    /// Whole lines that wait for the caller.
    lines: Vec<u8>,
    /// Lines that found no room.
    dropped: u64,
    dates: DateCache,
    /// Source of the ids of requests.
    ids: RequestIds,
    /// Names of the listeners that JSON lines name, at most [`LISTENER_NAMES_MAX`].
    listeners: Vec<Box<str>>,
    /// Time of day at [`Instant::ZERO`], in milliseconds.
    origin: u64,
    /// Entries of requests that ended, for the next ones: a request allocates nothing.
    #[expect(
        clippy::vec_box,
        reason = "an exchange holds its entry in a box; the boxes are what is reused"
    )]
    free: Vec<Box<AccessLogEntry>>,
}

impl AccessLog {
    /// An empty log of this format. `key`: random bits for the ids of requests.
    pub(super) fn new(rules: &Rules, key: u64) -> AccessLog {
        let (settings, (format, keeps_details)) = (&rules.settings, LineFormat::of(rules));
        AccessLog {
            format,
            top: line_format(settings.access_log),
            keeps_details,
            ids: RequestIds::new(key, settings.request_id.as_deref()),
            listeners: Vec::new(),
            lines: Vec::new(),
            dropped: 0,
            dates: DateCache::new(),
            origin: 0,
            free: Vec::new(),
        }
    }

    /// Replaces the format, for requests that end from now on, and the name of the field with the
    /// id, for requests that come from now on.
    pub(super) fn set(&mut self, rules: &Rules) {
        let settings = &rules.settings;
        (self.format, self.keeps_details) = LineFormat::of(rules);
        self.top = line_format(settings.access_log);
        self.ids.set_name(settings.request_id.as_deref());
    }

    /// Sets the time of day: it is `wall` when the monotonic clock says `now`.
    pub(super) fn set_clock(&mut self, now: Instant, wall: UnixTime) {
        self.origin = wall.as_millis().saturating_sub(now.as_millis());
    }

    /// Returns the time of day at `now`.
    pub(super) fn wall(&self, now: Instant) -> UnixTime {
        UnixTime::from_millis(self.origin.saturating_add(now.as_millis()))
    }

    /// Returns the `Date` of a response that is made at `now` (RFC 9110 6.6.1).
    #[inline(always)]
    pub(super) fn date(&mut self, now: Instant) -> &[u8] {
        let wall = self.wall(now);
        self.dates.imf_fixdate(wall)
    }

    /// Begins the entry of a request, which gets its id.
    #[inline(always)]
    pub(super) fn begin(
        &mut self,
        client: Option<IpAddr>,
        entrance: Entrance,
        now: Instant,
    ) -> Box<AccessLogEntry> {
        let mut entry = self.free.pop().unwrap_or_default();
        entry.restart(client, entrance, now);
        entry.set_id(self.ids.make());
        entry
    }

    /// Has an entry that was just begun keep the id that a trusted proxy gave to the request.
    #[cold]
    pub(super) fn keep_given_id(&self, entry: &mut AccessLogEntry, head: &RequestHead<'_>) {
        if let Some(id) = self.ids.given(&head.fields) {
            entry.set_given_id(&self.ids, id);
        }
    }

    /// Has the entry keep what JSON lines and header edits show of the head. `is_trusted`: what the
    /// peer forwards is believed.
    #[inline]
    pub(super) fn note_details(
        &self,
        entry: &mut AccessLogEntry,
        head: &RequestHead<'_>,
        is_trusted: bool,
    ) {
        if self.keeps_details {
            entry.note_details(head, is_trusted);
        }
    }

    /// Has the entry keep who was let in; [`note_details`](Self::note_details) comes before.
    #[inline]
    pub(super) fn note_grant(&self, entry: &mut AccessLogEntry, grant: &Grant) {
        if self.keeps_details {
            entry.note_grant(grant);
        }
    }

    /// Returns the number of a listener's name for an [`Entrance`]; 0 without one.
    #[cold]
    pub(super) fn listener(&mut self, name: &str) -> u16 {
        let known = self.listeners.iter().position(|known| **known == *name);
        let at = known.unwrap_or(self.listeners.len());
        if known.is_none() {
            if self.listeners.len() >= LISTENER_NAMES_MAX {
                return 0;
            }
            self.listeners.push(name.into());
        }
        at.saturating_add(1) as u16
    }

    /// Returns the name of a listener by its number.
    pub(super) fn listener_name(&self, number: u16) -> Option<&str> {
        let place = usize::from(number).checked_sub(1)?;
        self.listeners.get(place).map(|name| &**name)
    }

    /// Keeps an entry for a later request, without what an unusual one made it grow to.
    #[inline]
    pub(super) fn recycle(&mut self, mut entry: Box<AccessLogEntry>) {
        entry.shrink();
        self.free.push(entry);
    }

    /// Writes the line of a request that ends at `now`.
    pub(super) fn record(&mut self, entry: &AccessLogEntry, outcome: Outcome, now: Instant) {
        if self.lines.len() > ACCESS_LOG_BYTES {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        let wall = self.wall(now);
        let (dates, lines) = (&mut self.dates, &mut self.lines);
        // A record of its own for each format: the compiler leaves out what a format does not show.
        match self.format {
            LineFormat::Same(AccessFormat::Combined) => {
                let record = entry.record(false, None, outcome, now, wall);
                render(&record, AccessFormat::Combined, dates, lines);
            }
            LineFormat::Same(AccessFormat::Json) => {
                let number = usize::from(entry.listener());
                let listener = number.checked_sub(1).and_then(|at| self.listeners.get(at));
                let listener = listener.map(|name| &**name);
                let record = entry.record(true, listener, outcome, now, wall);
                render(&record, AccessFormat::Json, dates, lines);
            }
            LineFormat::Same(AccessFormat::Off) => {}
            LineFormat::ByService => self.record_by_service(entry, outcome, now),
        }
    }

    /// Writes the line in the format of its service.
    #[cold]
    fn record_by_service(&mut self, entry: &AccessLogEntry, outcome: Outcome, now: Instant) {
        let rules = entry.service.as_deref();
        let own = rules.and_then(|rules| rules.service.access_log);
        self.format = LineFormat::Same(own.map_or(self.top, line_format));
        self.record(entry, outcome, now);
        self.format = LineFormat::ByService;
    }

    /// Whole lines that wait; the caller takes what it can.
    pub(super) fn lines(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// Bytes that wait.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.lines.len()
    }

    /// Entries that are kept for later requests.
    pub(super) fn kept_entries(&self) -> usize {
        self.free.len()
    }

    /// Returns the number of lines that found no room since this was called last.
    pub(super) fn take_dropped(&mut self) -> u64 {
        core::mem::take(&mut self.dropped)
    }
}

impl LineFormat {
    /// Returns the format, and whether entries keep what is not in a combined line.
    fn of(rules: &Rules) -> (LineFormat, bool) {
        let top = rules.settings.access_log;
        let (mut is_same, mut keeps_details) = (true, rules.notes_requests);
        keeps_details |= top == AccessLogFormat::Json || rules.settings.error_pages.is_some();
        for rules in &rules.services {
            let own = rules.service.access_log.unwrap_or(top);
            is_same &= own == top;
            let has_pages = rules.service.error_pages.is_some();
            keeps_details |= own == AccessLogFormat::Json || has_pages;
        }
        let format = match is_same {
            true => LineFormat::Same(line_format(top)),
            false => LineFormat::ByService,
        };
        (format, keeps_details)
    }
}

fn line_format(format: AccessLogFormat) -> AccessFormat {
    match format {
        AccessLogFormat::Combined => AccessFormat::Combined,
        AccessLogFormat::Json => AccessFormat::Json,
        AccessLogFormat::Off => AccessFormat::Off,
    }
}
