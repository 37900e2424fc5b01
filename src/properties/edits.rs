//! Header edits: what leaves the gateway with edits is what leaves without them, but for what the
//! edits say.

use core::fmt::Write;

use super::reference::{self, Line, Response};
use crate::policy::forward::Peer;
use crate::proxy::Proxy;
use crate::proxy::command::{Command, ListenerKind, Side};
use crate::time::{Instant, UnixTime};

/// Edits, fields of a request and a response, with 0xff between them. A line of the edits begins
/// with `s`, `a` or `r` for its kind; name and value have a `=` between them.
pub fn edits(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |&byte| byte == 0xff);
    let (Some(lines), Some(fields), Some(response)) = (parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let edits = Edits::read(&String::from_utf8_lossy(lines));
    let request = [b"GET / HTTP/1.1\r\nHost: a\r\n", fields, b"\r\n\r\n"].concat();
    let edited = exchange(&edits.json(), &request, response);
    let plain = exchange("", &request, response);
    let (Some((up, down)), Some((plain_up, plain_down))) = (edited, plain) else {
        return;
    };
    let (up, plain_up) = (reference::request(&up), reference::request(&plain_up));
    assert_eq!(up.is_ok(), plain_up.is_ok());
    if let (Ok((up, _)), Ok((plain, _))) = (up, plain_up) {
        assert_eq!(up.body, plain.body);
        let (up, plain) = (up.head, plain.head);
        assert_eq!(
            (&up.method, &up.target, up.framing),
            (&plain.method, &plain.target, plain.framing)
        );
        edits.check(&up.fields, &plain.fields);
    }
    let ((interim, down), (plain_interim, plain_down)) =
        (final_response(&down), final_response(&plain_down));
    assert_eq!(interim, plain_interim, "interim heads stay");
    assert_eq!(down.is_some(), plain_down.is_some());
    if let (Some(down), Some(plain)) = (down, plain_down) {
        assert_eq!(
            (down.head.status, down.head.framing, &down.body),
            (plain.head.status, plain.head.framing, &plain.body)
        );
        edits.check(&down.head.fields, &plain.head.fields);
    }
}

/// Returns the bytes of the interim responses, and the front of the final one behind them.
fn final_response(bytes: &[u8]) -> (&[u8], Option<Response>) {
    let mut rest = bytes;
    while let Ok((head, behind)) = reference::response_head(rest, b"GET")
        && head.status < 200
        && head.status != 101
    {
        rest = behind;
    }
    let interim = bytes.len().saturating_sub(rest.len());
    let interim = bytes.get(..interim).unwrap_or_default();
    (interim, reference::response_front(rest, b"GET"))
}

/// Edits of an input.
#[derive(Default)]
struct Edits {
    set: Vec<(String, String)>,
    add: Vec<(String, String)>,
    remove: Vec<String>,
}

impl Edits {
    fn read(lines: &str) -> Edits {
        let mut edits = Edits::default();
        for line in lines.split('\n').take(16) {
            let mut letters = line.chars();
            let kind = letters.next();
            let rest = letters.as_str();
            let (name, value) = rest.split_once('=').unwrap_or((rest, ""));
            // A key of the file that begins so is a note.
            if name.starts_with("//") {
                continue;
            }
            let line = (name.to_owned(), value.to_owned());
            match kind {
                Some('s') => edits.set.push(line),
                Some('a') => edits.add.push(line),
                Some('r') => edits.remove.push(line.0),
                _ => {}
            }
        }
        edits
    }

    /// Returns the edits of both kinds, as members of the configuration.
    fn json(&self) -> String {
        let map = |lines: &[(String, String)]| {
            let lines = lines.iter();
            let members = lines.map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)));
            members.collect::<Vec<_>>().join(", ")
        };
        let removed = self.remove.iter().map(|name| quoted(name));
        let removed = removed.collect::<Vec<_>>().join(", ");
        let (set, add) = (map(&self.set), map(&self.add));
        let edits =
            format!("{{ \"set\": {{ {set} }}, \"add\": {{ {add} }}, \"remove\": [{removed}] }}");
        format!("\"requestHeaders\": {edits}, \"responseHeaders\": {edits},")
    }

    /// Checks fields with edits against those without.
    fn check(&self, edited: &[Line], plain: &[Line]) {
        let is = |name: &[u8], other: &str| name.eq_ignore_ascii_case(other.as_bytes());
        let names = self.set.iter().chain(&self.add).map(|(name, _)| name);
        let is_named = |name: &[u8]| {
            names
                .clone()
                .chain(&self.remove)
                .any(|other| is(name, other))
        };
        let others = |lines: &[Line]| {
            let lines = lines.iter().filter(|(name, _)| !is_named(name));
            lines.cloned().collect::<Vec<_>>()
        };
        assert_eq!(others(edited), others(plain), "other lines stay");
        for name in &self.remove {
            assert!(!edited.iter().any(|(other, _)| is(other, name)), "{name}");
        }
        for (name, value) in &self.set {
            let mut lines = edited.iter().filter(|(other, _)| is(other, name));
            let first = lines.next();
            assert!(value.contains("${") || first.is_some_and(|line| line.1 == value.as_bytes()));
            let is_added = self.add.iter().any(|(other, _)| is(other.as_bytes(), name));
            assert!(is_added || lines.next().is_none(), "{name} has one line");
        }
        for (name, value) in &self.add {
            let is_there = edited
                .iter()
                .any(|line| is(&line.0, name) && line.1 == value.as_bytes());
            assert!(is_there || value.contains("${"), "{name}");
        }
    }
}

/// Returns a text as a JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = "\"".to_owned();
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            // Writing to a string does not fail.
            '\0'..=' ' => drop(write!(quoted, "\\u{:04x}", u32::from(letter))),
            _ => quoted.push(letter),
        }
    }
    quoted.push('"');
    quoted
}

/// Returns what the upstream and the client get. `None`: the configuration is refused.
fn exchange(edits: &str, request: &[u8], response: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let text =
        format!(r#"{{ {edits} "services": [{{ "route": "/", "target": "http://10.0.0.1" }}] }}"#);
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = crate::config::load(text.as_bytes(), "fuzz.json", &|_| None, &read).ok()?;
    let mut proxy = Proxy::new(loaded.settings, 1);
    let now = Instant::from_millis(1);
    proxy.handle_clock(now, UnixTime::from_millis(1_800_000_000_000));
    let client =
        proxy.handle_accepted(Peer::Ip([192, 0, 2, 1].into()), ListenerKind::Plain, now)?;
    let client = Side::Client(client);
    deliver(&mut proxy, client, request, now);
    let mut upstream = None;
    while let Some(command) = proxy.poll_command() {
        if let Command::Dial { upstream: up, .. } = command {
            upstream = Some(up);
        }
    }
    let Some(up) = upstream else {
        return Some((Vec::new(), take(&mut proxy, client, now)));
    };
    proxy.handle_connected(up, now);
    let received = take(&mut proxy, Side::Upstream(up), now);
    deliver(&mut proxy, Side::Upstream(up), response, now);
    Some((received, take(&mut proxy, client, now)))
}

fn deliver(proxy: &mut Proxy, side: Side, bytes: &[u8], now: Instant) {
    let room = proxy.room(side);
    let n = bytes.len().min(room.len());
    if let (Some(to), Some(from)) = (room.get_mut(..n), bytes.get(..n))
        && n > 0
    {
        to.copy_from_slice(from);
        proxy.handle_received(side, n, now);
    }
}

fn take(proxy: &mut Proxy, side: Side, now: Instant) -> Vec<u8> {
    let (head, body) = proxy.pending(side);
    let bytes = [head, body].concat();
    if !bytes.is_empty() {
        proxy.handle_sent(side, bytes.len(), now);
    }
    bytes
}
