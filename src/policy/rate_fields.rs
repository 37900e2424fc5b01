//! Response fields that tell a client what its rate limit leaves it.
//!
//! `"draft"` are the fields of draft-ietf-httpapi-ratelimit-headers-11: `RateLimit-Policy` and
//! `RateLimit`. `"x"` are the older `X-RateLimit-Limit`, `-Remaining` and `-Reset`, the last one in
//! seconds from now. All of a limit's lines but two numbers are made once, from the settings.
//!
//! The gateway is a part of the service that clients see. Therefore its fields replace those that an
//! upstream sends under the same names. Most clients read one value, and `X-RateLimit-*` is no list.

use core::num::NonZeroU64;

use crate::digits;
use crate::limits::{RATE_LIMITS_MAX, RATE_REQUESTS_MAX};
use crate::time::{Duration, Instant};

/// `rateLimit.headers`: form of the fields.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RateHeaders {
    /// No fields.
    #[default]
    Off,
    /// `RateLimit-Policy` and `RateLimit`.
    Draft,
    /// `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`.
    X,
}

impl RateHeaders {
    /// Returns the note behind the text of a limit.
    pub const fn note(self) -> &'static str {
        match self {
            RateHeaders::Off => "",
            RateHeaders::Draft => ", headers draft",
            RateHeaders::X => ", headers x",
        }
    }

    /// Returns the names of the fields, each followed by a comma.
    const fn names(self) -> &'static str {
        match self {
            RateHeaders::Off => "",
            RateHeaders::Draft => "RateLimit-Policy,RateLimit,",
            RateHeaders::X => "X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset,",
        }
    }
}

/// Requests that a client has left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quota {
    /// Number of requests, and above [`PLACE_SHIFT`] the place of the limit in its list. A limit
    /// that stands alone has place 0, and costs nothing for it.
    left: u32,
    /// Milliseconds at which the client has all requests again; the origin of time is stored as 1, so
    /// that no quota takes no room.
    end: NonZeroU64,
}

/// Bits of a number of requests.
const PLACE_SHIFT: u32 = 30;
const _: () =
    assert!(RATE_REQUESTS_MAX < 1 << PLACE_SHIFT && RATE_LIMITS_MAX <= 1 << (32 - PLACE_SHIFT));

impl Quota {
    /// Creates the quota of a limit that stands alone. `remaining`: at most [`RATE_REQUESTS_MAX`].
    pub const fn new(remaining: u32, end: Instant) -> Quota {
        Quota {
            left: remaining,
            end: match NonZeroU64::new(end.as_millis()) {
                Some(end) => end,
                None => NonZeroU64::MIN,
            },
        }
    }

    /// Returns the time at which the client has all requests again: the end of a fixed window.
    pub const fn end(self) -> Instant {
        Instant::from_millis(self.end.get())
    }

    /// Returns the quota as that of the limit at this place of a list.
    #[must_use]
    pub const fn of_limit(self, place: usize) -> Quota {
        Quota {
            left: self.remaining() | (place as u32) << PLACE_SHIFT,
            ..self
        }
    }

    /// Returns the number of requests.
    pub const fn remaining(self) -> u32 {
        self.left & ((1 << PLACE_SHIFT) - 1)
    }

    /// Returns the place of the limit in its list.
    pub const fn place(self) -> usize {
        (self.left >> PLACE_SHIFT) as usize
    }
}

/// Field lines of one limit, without the two numbers that change.
pub struct RateLines {
    form: RateHeaders,
    /// Text up to the number of requests that are left.
    start: Box<[u8]>,
    /// Lines of the further limits of a list.
    others: Box<[RateLines]>,
}

/// Field lines of one response.
#[derive(Clone, Copy)]
pub struct RateFields<'a> {
    lines: &'a RateLines,
    quota: Quota,
    now: Instant,
}

impl RateLines {
    /// Builds the lines of a limit; `None`: it has none. `name`: name of the limit. `exposed`:
    /// browsers are told that scripts may read the fields (Fetch standard, CORS-exposed header-name
    /// list). A list over several lines is one list, so the line goes beside any other.
    pub fn new(
        form: RateHeaders,
        (requests, window): (u32, Duration),
        name: &str,
        exposed: bool,
    ) -> Option<RateLines> {
        let mut start = String::new();
        if exposed {
            let names = form.names().trim_end_matches(',');
            start = format!("Access-Control-Expose-Headers: {names}\r\n");
        }
        match form {
            RateHeaders::Off => return None,
            RateHeaders::Draft => {
                let name = quoted(name);
                // A structured Integer has no fraction.
                let window = window.as_secs_ceil();
                start.push_str(&format!(
                    "RateLimit-Policy: {name};q={requests};w={window}\r\nRateLimit: {name};r="
                ));
            }
            RateHeaders::X => start.push_str(&format!(
                "X-RateLimit-Limit: {requests}\r\nX-RateLimit-Remaining: "
            )),
        }
        Some(RateLines {
            form,
            start: start.into_bytes().into(),
            others: Box::default(),
        })
    }

    /// Builds the lines of a list of limits from those of each limit; `None`: no limit has any.
    pub fn of_list(list: Vec<Option<RateLines>>) -> Option<RateLines> {
        if list.iter().all(Option::is_none) {
            return None;
        }
        let none = || RateLines {
            form: RateHeaders::Off,
            start: Box::default(),
            others: Box::default(),
        };
        let mut lines = list.into_iter().map(|lines| lines.unwrap_or_else(none));
        let first = lines.next()?;
        Some(RateLines {
            others: lines.collect(),
            ..first
        })
    }

    /// Returns the lines of the limit at this place of the list.
    fn at(&self, place: usize) -> &RateLines {
        let other = place
            .checked_sub(1)
            .and_then(|place| self.others.get(place));
        other.unwrap_or(self)
    }

    /// Returns an upper bound of the bytes of the lines of a limit with this name.
    pub fn bytes(name: &str) -> usize {
        const OTHERS: usize = 320;
        // The name occurs twice, and each of its bytes may be escaped.
        name.len().saturating_mul(4).saturating_add(OTHERS)
    }

    /// Text between the two numbers.
    fn middle(&self) -> &'static [u8] {
        match self.form {
            RateHeaders::X => b"\r\nX-RateLimit-Reset: ",
            RateHeaders::Draft | RateHeaders::Off => b";t=",
        }
    }

    /// Returns true if a field of this name is replaced.
    fn replaces(&self, name: &[u8]) -> bool {
        let is_name =
            |known: &str| known.len() == name.len() && known.as_bytes().eq_ignore_ascii_case(name);
        self.form.names().split_terminator(',').any(is_name)
    }
}

impl<'a> RateFields<'a> {
    /// Returns the fields of a response that is written at `now`; `None`: it has none. `quota`: what
    /// the client had left when its request was counted.
    #[inline(always)]
    pub fn of(
        lines: Option<&'a RateLines>,
        quota: Option<Quota>,
        now: Instant,
    ) -> Option<RateFields<'a>> {
        let quota = quota?;
        Some(RateFields {
            lines: lines?,
            quota,
            now,
        })
    }

    /// Returns an upper bound of the bytes.
    pub fn bound(&self) -> usize {
        self.of_limit().start.len().saturating_add(80)
    }

    /// Returns the lines of the limit that the quota is of.
    fn of_limit(&self) -> &'a RateLines {
        self.lines.at(self.quota.place())
    }

    /// Returns true if a field of this name is replaced.
    pub fn replaces(&self, name: &[u8]) -> bool {
        self.of_limit().replaces(name)
    }

    /// Writes the lines.
    #[cold]
    pub fn write(&self, put: &mut dyn FnMut(&[u8])) {
        let lines = self.of_limit();
        if lines.form == RateHeaders::Off {
            return;
        }
        let reset = self.quota.end().since(self.now).as_secs_ceil();
        put(&lines.start);
        put(digits::write(self.quota.remaining().into(), &mut [0; 20]));
        put(lines.middle());
        put(digits::write(reset, &mut [0; 20]));
        put(b"\r\n");
    }
}

/// Returns a name as a String of structured fields (RFC 9651 3.3.3). Bytes that such a String cannot
/// have become `?`; no route has one.
fn quoted(name: &str) -> String {
    let mut text = String::from("\"");
    for c in name.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            ' '..='~' => text.push(c),
            _ => text.push('?'),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(headers: RateHeaders, name: &str, window: u64, exposed: bool) -> String {
        let limit = (20, Duration::from_millis(window));
        let Some(lines) = RateLines::new(headers, limit, name, exposed) else {
            return String::new();
        };
        let quota = Quota::new(19, Instant::from_millis(42_500));
        let fields = RateFields::of(Some(&lines), Some(quota), Instant::from_millis(1_000));
        let fields = fields.expect("fields");
        let mut out = Vec::new();
        fields.write(&mut |part| out.extend_from_slice(part));
        assert!(out.len() <= fields.bound() && out.len() <= RateLines::bytes(name));
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn lines_of_each_form() {
        use RateHeaders::{Draft, Off, X};
        let long = "/a".repeat(4096);
        for (form, name, window, exposed, expected) in [
            (Off, "default", 60_000, true, String::new()),
            (
                Draft,
                "default",
                60_000,
                false,
                "RateLimit-Policy: \"default\";q=20;w=60\r\nRateLimit: \"default\";r=19;t=42\r\n".to_owned(),
            ),
            (
                Draft,
                "/a",
                250,
                true,
                "Access-Control-Expose-Headers: RateLimit-Policy,RateLimit\r\n\
                 RateLimit-Policy: \"/a\";q=20;w=1\r\nRateLimit: \"/a\";r=19;t=42\r\n".to_owned(),
            ),
            (
                Draft,
                "a\"b\\c\u{e9}\n",
                1_001,
                false,
                "RateLimit-Policy: \"a\\\"b\\\\c??\";q=20;w=2\r\nRateLimit: \"a\\\"b\\\\c??\";r=19;t=42\r\n".to_owned(),
            ),
            (
                Draft,
                &long,
                60_000,
                false,
                format!("RateLimit-Policy: \"{long}\";q=20;w=60\r\nRateLimit: \"{long}\";r=19;t=42\r\n"),
            ),
            (
                X,
                "/a",
                60_000,
                false,
                "X-RateLimit-Limit: 20\r\nX-RateLimit-Remaining: 19\r\nX-RateLimit-Reset: 42\r\n".to_owned(),
            ),
            (
                X,
                "default",
                60_000,
                true,
                "Access-Control-Expose-Headers: X-RateLimit-Limit,X-RateLimit-Remaining,X-RateLimit-Reset\r\n\
                 X-RateLimit-Limit: 20\r\nX-RateLimit-Remaining: 19\r\nX-RateLimit-Reset: 42\r\n".to_owned(),
            ),
        ] {
            assert_eq!(lines(form, name, window, exposed), expected);
        }
    }

    #[test]
    fn only_names_of_the_form_are_replaced() {
        for (form, replaced, kept) in [
            (
                RateHeaders::Draft,
                &["ratelimit", "RATELIMIT-Policy"][..],
                &["", "RateLimit-", "X-RateLimit-Limit", "RateLimit-Reset"][..],
            ),
            (
                RateHeaders::X,
                &[
                    "x-ratelimit-limit",
                    "X-RateLimit-Remaining",
                    "X-Ratelimit-Reset",
                ],
                &["", "RateLimit", "X-RateLimit", "X-RateLimit-Used"],
            ),
        ] {
            let limit = (1, Duration::from_secs(1));
            let lines = RateLines::new(form, limit, "a", false).expect("lines");
            assert!(replaced.iter().all(|name| lines.replaces(name.as_bytes())));
            assert!(!kept.iter().any(|name| lines.replaces(name.as_bytes())));
        }
    }
}
