//! The file of a record: lines of text, one for each input.
//!
//! ```text
//! tollgate-record 1
//! config {"services":[..]}
//! end upstream_refused 502
//! 0 bytes 0 GET /chats HTTP/1.1\r\nHost: xxxx\r\n\r\n
//! 0 attempt 1 new
//! 5 fault 1 refused connection refused (os error 111)
//! ```
//!
//! Connection 0 is the client. Bytes are ASCII with the escapes of [`escape`]. Behind a `cut` line
//! something is missing that the replay would need: the record had as much as it may have. Content
//! whose value nobody looks at is blank anyway, so it may be missing without being missed.

use core::fmt::Write;

use super::{blank, settings};
use crate::observe::date::DateCache;
use crate::proxy::command::{Fault, ListenerKind};
use crate::proxy::recorder::{Ending, Input, Recording, What};

/// First line of a record.
const FIRST: &str = "tollgate-record 1";

/// Words of the faults.
const FAULTS: [(&str, Fault); 8] = [
    ("refused", Fault::Refused),
    ("no_route", Fault::NoRoute),
    ("unreachable", Fault::Unreachable),
    ("tls", Fault::Tls),
    ("reset", Fault::Reset),
    ("truncated", Fault::Truncated),
    ("send_failed", Fault::SendFailed),
    ("exhausted", Fault::Exhausted),
];

/// Words of the kinds of listeners.
const LISTENERS: [(&str, ListenerKind); 3] = [
    ("plain", ListenerKind::Plain),
    ("tls", ListenerKind::Secure),
    ("redirect", ListenerKind::Redirect),
];

/// A record that was read.
pub(super) struct Record {
    pub(super) config: String,
    pub(super) listener: ListenerKind,
    /// Time of the engine at the first input, in milliseconds.
    pub(super) started: u64,
    /// Word of `end`, and the status.
    pub(super) end: String,
    /// Reason of the end as [`escape`] wrote it; empty without one.
    pub(super) reason: String,
    pub(super) inputs: Vec<Line>,
}

/// Input of a record: its time in milliseconds, its kind, and what follows.
pub(super) struct Line {
    pub(super) at: u64,
    pub(super) kind: String,
    /// Number of the connection; 0 is the client.
    pub(super) number: usize,
    pub(super) rest: String,
}

/// Returns the name of the file of a recording.
pub fn file_name(recording: &Recording) -> String {
    let mut dates = DateCache::new();
    let date = String::from_utf8_lossy(dates.rfc3339(recording.wall)).replace(':', "");
    let ending = recording.ending.as_deref();
    let id = ending.and_then(|ending| ending.id.as_deref());
    let id = String::from_utf8_lossy(id.unwrap_or_default());
    let is_plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let id = id.chars().filter(is_plain).take(64).collect::<String>();
    let end = ending.map_or("", |ending| ending.outcome.as_str());
    let millis = recording.wall.as_millis() % 1000;
    format!("{date}.{millis:03}Z-{end}-{id}.record")
}

/// Returns the file of a recording, in which everything that may be secret is blanked.
pub fn text(recording: &Recording) -> String {
    let mut out = format!("{FIRST}\n");
    let mut dates = DateCache::new();
    let date = String::from_utf8_lossy(dates.rfc3339(recording.wall)).into_owned();
    let listener = word_of(&LISTENERS, recording.listener);
    // Writing to a string cannot fail.
    let _ = writeln!(
        out,
        "version {}\ntime {date}Z\nlistener {listener}\nstarted {}",
        env!("CARGO_PKG_VERSION"),
        recording.started.as_millis()
    );
    if let Some(ending) = &recording.ending {
        write_ending(ending, &mut out);
    }
    let streams = blanked(recording);
    let mut places = vec![0_usize; streams.len()];
    for Input { at, what } in &recording.inputs {
        let _ = write!(out, "{at} ");
        let is_cut = write_input(what, &streams, &mut places, &mut out);
        out.push('\n');
        if is_cut {
            let _ = writeln!(out, "{at} cut 0");
        }
    }
    if let Some(at) = recording.dropped {
        let _ = writeln!(out, "{at} cut 0");
    }
    out
}

/// Bytes of one connection.
#[derive(Clone, Default)]
struct Stream {
    /// Bytes that were kept, blanked.
    bytes: Vec<u8>,
    /// True if every byte behind them is one of content.
    ends_in_content: bool,
}

fn write_ending(ending: &Ending, out: &mut String) {
    let status = ending
        .status
        .map_or("-".to_owned(), |status| status.to_string());
    let _ = writeln!(out, "end {} {status}", ending.outcome.as_str());
    if let Some(reason) = &ending.reason {
        let _ = writeln!(out, "reason {}", escape(reason.as_bytes()));
    }
    if let Some(id) = &ending.id {
        let _ = writeln!(out, "id {}", escape(id));
    }
    let _ = writeln!(out, "config {}", settings::json(&ending.settings));
}

/// Returns the bytes of each connection, blanked.
fn blanked(recording: &Recording) -> Vec<Stream> {
    let mut streams: Vec<Stream> = Vec::new();
    let mut rest = recording.bytes.as_slice();
    for input in &recording.inputs {
        if let What::Bytes(number, _, kept) = input.what {
            let number = usize::from(number);
            if streams.len() <= number {
                streams.resize(number.saturating_add(1), Stream::default());
            }
            let (bytes, behind) = rest.split_at_checked(kept).unwrap_or((rest, &[]));
            rest = behind;
            if let Some(stream) = streams.get_mut(number) {
                stream.bytes.extend_from_slice(bytes);
            }
        }
    }
    let mut is_head = false;
    for (number, stream) in streams.iter_mut().enumerate() {
        let bytes = &mut stream.bytes;
        stream.ends_in_content = if number == 0 {
            is_head = bytes.starts_with(b"HEAD ");
            blank::request(bytes)
        } else {
            blank::response(bytes, is_head)
        };
    }
    streams
}

/// Writes an input. Returns true if bytes of it are missing that the replay would need.
fn write_input(what: &What, streams: &[Stream], places: &mut [usize], out: &mut String) -> bool {
    let mut is_cut = false;
    let _ = match what {
        What::Bytes(number, length, kept) => {
            let number = usize::from(*number);
            let place = places.get_mut(number);
            let start = place.as_deref().copied().unwrap_or(0);
            let end = start.saturating_add(*kept);
            if let Some(place) = place {
                *place = end;
            }
            let stream = streams.get(number);
            let bytes = stream.and_then(|stream| stream.bytes.get(start..end));
            let more = length.saturating_sub(*kept);
            is_cut = more > 0 && !stream.is_some_and(|stream| stream.ends_in_content);
            let bytes = escape(bytes.unwrap_or_default());
            if more == 0 || is_cut {
                write!(out, "bytes {number} {bytes}")
            } else {
                // A run of blanks.
                write!(out, "bytes {number} {bytes}\\{{{more}}}")
            }
        }
        What::End(number) => write!(out, "end {number}"),
        What::Hangup => write!(out, "hangup 0"),
        What::Fault(number, fault, why) => {
            let why = escape(why.as_deref().unwrap_or_default().as_bytes());
            write!(out, "fault {number} {} {why}", word_of(&FAULTS, *fault))
        }
        What::Attempt(number, is_kept) => {
            let word = if *is_kept { "kept" } else { "new" };
            write!(out, "attempt {number} {word}")
        }
        What::Connected(number) => write!(out, "connected {number}"),
        What::Names(addresses) => {
            let addresses = addresses.iter().map(ToString::to_string);
            write!(out, "names 0 {}", addresses.collect::<Vec<_>>().join(" "))
        }
        What::Stall => write!(out, "stall 0"),
    };
    is_cut
}

fn word_of<T: PartialEq>(words: &[(&'static str, T)], value: T) -> &'static str {
    let found = words.iter().find(|(_, known)| *known == value);
    found.map_or("", |(word, _)| word)
}

/// Returns the fault of a word.
pub(super) fn fault(word: &str) -> Option<Fault> {
    let found = FAULTS.iter().find(|(known, _)| *known == word);
    found.map(|(_, fault)| *fault)
}

/// Writes bytes as ASCII: `\r`, `\n`, `\t`, `\\`, `\xHH`, and `\{N}` for N times `x`.
fn escape(bytes: &[u8]) -> String {
    /// Length from which a run of blanks is counted.
    const RUN: usize = 12;
    let mut out = String::new();
    let mut rest = bytes;
    while let Some((&first, behind)) = rest.split_first() {
        let run = rest.iter().take_while(|&&byte| byte == b'x').count();
        if run >= RUN {
            let _ = write!(out, "\\{{{run}}}");
            rest = rest.get(run..).unwrap_or_default();
            continue;
        }
        let _ = match first {
            b'\r' => out.write_str("\\r"),
            b'\n' => out.write_str("\\n"),
            b'\t' => out.write_str("\\t"),
            b'\\' => out.write_str("\\\\"),
            b' '..=b'~' => out.write_char(char::from(first)),
            _ => write!(out, "\\x{first:02x}"),
        };
        rest = behind;
    }
    out
}

/// Reads what [`escape`] wrote; `None`: it is malformed. At most `most` bytes.
pub(super) fn unescape(text: &str, most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        rest = rest.get(first.len_utf8()..)?;
        if first != '\\' {
            out.push(u8::try_from(u32::from(first)).ok()?);
            continue;
        }
        let kind = rest.chars().next()?;
        rest = rest.get(kind.len_utf8()..)?;
        match kind {
            'r' => out.push(b'\r'),
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            '\\' => out.push(b'\\'),
            'x' => {
                let (digits, behind) = rest.split_at_checked(2)?;
                rest = behind;
                let digit = |at: usize| char::from(*digits.as_bytes().get(at)?).to_digit(16);
                // Two hex digits are at most 255.
                out.push(u8::try_from(digit(0)?.wrapping_mul(16).wrapping_add(digit(1)?)).ok()?);
            }
            '{' => {
                let (count, behind) = rest.split_once('}')?;
                rest = behind;
                let count = usize::try_from(number(count)?).ok()?;
                let length = out
                    .len()
                    .checked_add(count)
                    .filter(|length| *length <= most)?;
                out.resize(length, b'x');
            }
            _ => return None,
        }
        if out.len() > most {
            return None;
        }
    }
    Some(out)
}

fn number(text: &str) -> Option<u64> {
    crate::digits::parse(text.as_bytes())
}

/// Reads a record.
///
/// # Errors
/// The text is no record. The error says which line.
pub(super) fn parse(text: &str) -> Result<Record, String> {
    let mut lines = text.lines().enumerate();
    if lines.next().map(|(_, line)| line) != Some(FIRST) {
        return Err(format!(
            "it is no record: the first line must be {FIRST:?}; a record is a file of \"record\".\"dir\""
        ));
    }
    let mut record = Record {
        config: String::new(),
        listener: ListenerKind::Plain,
        started: 0,
        end: String::new(),
        reason: String::new(),
        inputs: Vec::new(),
    };
    for (place, line) in lines {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let malformed = || format!("line {} is malformed", place.saturating_add(1));
        match word {
            "config" => rest.clone_into(&mut record.config),
            "end" => rest.clone_into(&mut record.end),
            "started" => record.started = number(rest).ok_or_else(malformed)?,
            "listener" => {
                let found = LISTENERS.iter().find(|(known, _)| *known == rest);
                record.listener = found.ok_or_else(malformed)?.1;
            }
            "reason" => rest.clone_into(&mut record.reason),
            "version" | "time" | "id" => {}
            _ => record.inputs.push(input(word, rest).ok_or_else(malformed)?),
        }
    }
    Ok(record)
}

fn input(at: &str, rest: &str) -> Option<Line> {
    let (kind, rest) = rest.split_once(' ')?;
    let (place, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    Some(Line {
        at: number(at)?,
        kind: kind.to_owned(),
        number: usize::try_from(number(place)?).ok()?,
        rest: rest.to_owned(),
    })
}
