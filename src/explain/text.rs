//! Answer for a person.

use core::fmt::Write;

use super::policies::shown;
use super::{Explanation, Verdict};

/// Bytes of a body that are shown.
const BODY_SHOWN: usize = 2048;

/// Columns of the names.
const NAMES: usize = 16;

/// Writes the answer.
pub(super) fn write(told: &Explanation) -> String {
    let mut out = String::new();
    verdict(told, &mut out);
    out.push('\n');
    for check in &told.checks.rows {
        let mark = match check.verdict {
            Verdict::Passed => ' ',
            Verdict::Stopped => '>',
            Verdict::Open => '?',
        };
        // Writing to a string does not fail.
        let _ = writeln!(out, "{mark} {:NAMES$} {}", check.name, check.text);
    }
    for (at, (target, note)) in told.checks.targets.iter().enumerate() {
        let name = if at == 0 { "target" } else { "" };
        let _ = writeln!(out, "  {name:NAMES$} {target}: {note}");
    }
    if !told.checks.unreached.is_empty() {
        let _ = writeln!(
            out,
            "  {:NAMES$} {}",
            "not reached",
            told.checks.unreached.join(", ")
        );
    }
    let (lost, others) = (&told.candidates.lost, told.candidates.others);
    if !lost.is_empty() {
        out.push_str("\nnot chosen\n");
        let width = lost.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        let width = width.clamp(NAMES, 40);
        for (name, why) in lost {
            let _ = writeln!(out, "  {name:width$} {why}");
        }
        if others > 0 {
            let _ = writeln!(out, "  other services with other routes: {others}");
        }
    }
    let run = &told.run;
    if !run.up.is_empty() && told.status().is_none() {
        bytes("the upstream gets", &run.up, &mut out);
    }
    let client = told.for_client();
    if client.is_empty() {
        return out;
    }
    let what = match told.status().is_some() || told.url.is_none() {
        true => "the client gets",
        false => "the client gets, of an upstream's 200 without a field and a body",
    };
    bytes(what, &client, &mut out);
    out
}

/// Writes what becomes of the request, in a few lines.
fn verdict(told: &Explanation, out: &mut String) {
    let line = told.arrival.bytes.split(|&byte| byte == b'\r').next();
    let line = line.unwrap_or_default().escape_ascii();
    let _ = writeln!(out, "{line} from {}", shown(told.arrival.peer));
    for note in &told.arrival.notes {
        let _ = writeln!(out, "({note})");
    }
    out.push('\n');
    match (told.status(), &told.url) {
        (Some((status, phrase)), _) => {
            let reason = match told.reason.as_str() {
                "" => String::new(),
                reason => format!(": {reason}"),
            };
            let _ = writeln!(out, "{status} {phrase}, answered by the gateway{reason}");
        }
        (None, Some(url)) => {
            let _ = writeln!(out, "forwarded to {url}");
        }
        (None, None) if told.run.is_turned_away => {
            let _ = writeln!(out, "no response: {}", told.reason);
        }
        (None, None) => {
            let text = "no answer: the gateway waits for the rest of the request; give the body with --data";
            let _ = writeln!(out, "{text}");
        }
    }
    for provider in &told.run.asked {
        let _ = writeln!(
            out,
            "if the provider {} lets it in, which is asked first",
            provider.name
        );
    }
}

/// Writes bytes for a person: CRLF as the end of a line, other control bytes escaped.
fn bytes(what: &str, bytes: &[u8], out: &mut String) {
    let _ = writeln!(out, "\n{what} ({} bytes)", bytes.len());
    let body = head_end(bytes);
    let (head, body) = bytes.split_at_checked(body).unwrap_or((bytes, b""));
    lines(head, out);
    let (start, rest) = body.split_at_checked(BODY_SHOWN).unwrap_or((body, b""));
    if !start.is_empty() {
        lines(start, out);
    }
    if !rest.is_empty() {
        let _ = writeln!(out, "  (and {} more bytes, see --json)", rest.len());
    }
}

fn lines(bytes: &[u8], out: &mut String) {
    let mut rest = bytes;
    while !rest.is_empty() {
        let end = rest.windows(2).position(|two| two == b"\r\n");
        let (line, behind) = match end {
            Some(end) => {
                let behind = rest.get(end.saturating_add(2)..);
                (rest.get(..end), behind)
            }
            None => (Some(rest), None),
        };
        let _ = writeln!(out, "  | {}", printable(line.unwrap_or_default()));
        rest = behind.unwrap_or_default();
    }
}

/// Escapes what a terminal could act upon, and the backslash.
fn printable(line: &[u8]) -> String {
    let mut out = String::with_capacity(line.len());
    for &byte in line {
        match byte {
            b'\\' => out.push_str("\\\\"),
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out
}

/// Returns the number of bytes of a head, with the blank line.
fn head_end(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    end.map_or(bytes.len(), |end| end.saturating_add(4))
}
