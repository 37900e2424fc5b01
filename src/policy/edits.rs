//! Header edits (`requestHeaders`, `responseHeaders`): names whose lines go, and lines that are
//! added. They are compiled when the configuration is read.
//!
//! A variable stands for bytes that a client or a token has chosen. [`Facts`] lets through what
//! cannot be taken for anything but a part of one value; any other value counts as empty.

use core::net::IpAddr;

use super::foreign;
use super::forward::Scheme;
use crate::cost;
use crate::digits;
use crate::http::field::is_value_byte;
use crate::http::target::is_authority;
use crate::limits::{CONFIG_PATH_BYTES_MAX, HEADER_VARIABLE_BYTES};

/// Header that tells an upstream the name of the consumer (`forwardConsumer`).
pub const CONSUMER: &str = "X-Consumer";

/// Variable in the value of an edit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "each variant is the variable of that name")]
pub enum Variable {
    ClientIp,
    Host,
    Scheme,
    Id,
    Service,
    Consumer,
}

impl Variable {
    /// All variables, with their names in the configuration.
    pub const ALL: [(&str, Variable); 6] = [
        ("client.ip", Variable::ClientIp),
        ("host", Variable::Host),
        ("scheme", Variable::Scheme),
        ("id", Variable::Id),
        ("service", Variable::Service),
        ("consumer", Variable::Consumer),
    ];

    /// Returns the variable of this name.
    pub fn of(name: &str) -> Option<Variable> {
        let mut all = Variable::ALL.into_iter();
        all.find(|(known, _)| *known == name)
            .map(|(_, variable)| variable)
    }

    /// Upper bound of the bytes of a value.
    const fn bytes_max(self) -> usize {
        match self {
            Variable::ClientIp => digits::ADDRESS,
            Variable::Scheme => b"https".len(),
            Variable::Service => CONFIG_PATH_BYTES_MAX,
            Variable::Host | Variable::Id | Variable::Consumer => HEADER_VARIABLE_BYTES,
        }
    }
}

/// Part of the value of an edit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// Text as configured; valid in a field value (RFC 9110 5.5).
    Text(Box<str>),
    /// Value of the request.
    Variable(Variable),
}

/// Line of an edit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// Name of the field.
    pub name: String,
    /// Parts of its value.
    pub parts: Vec<Part>,
    /// Value as the configuration has it: with the names of environment variables, whose values may
    /// be secret.
    pub written: String,
}

/// Values of the variables, as they are known.
#[derive(Clone, Copy, Default)]
pub struct Facts<'a> {
    /// Address of the client.
    pub client: Option<IpAddr>,
    /// Host that the client asked for, unchecked.
    pub host: &'a [u8],
    /// Scheme that the client used; `None` if that is not known.
    pub scheme: Option<Scheme>,
    /// Id of the request.
    pub id: &'a [u8],
    /// Route of the service.
    pub service: &'a [u8],
    /// Consumer that the credential belongs to, unchecked.
    pub consumer: &'a [u8],
}

impl<'a> Facts<'a> {
    /// Returns the value of a variable; empty if it is not known, or not safe in a field value.
    fn value<'t>(&self, variable: Variable, address: &'t mut [u8; digits::ADDRESS]) -> &'t [u8]
    where
        'a: 't,
    {
        let value = match variable {
            Variable::ClientIp => match self.client {
                Some(client) => digits::address(client, address),
                None => b"",
            },
            // The gateway forwards no other Host, but a reply to a malformed request could have one.
            Variable::Host if !is_authority(self.host) => b"",
            Variable::Host => self.host,
            Variable::Scheme => self.scheme.map_or("", Scheme::as_str).as_bytes(),
            Variable::Id => self.id,
            Variable::Service => self.service,
            Variable::Consumer => self.consumer,
        };
        cost::count(value.len());
        let is_safe = value.len() <= variable.bytes_max()
            && value
                .iter()
                .all(|&byte| is_value_byte(byte) && byte != b'\t')
            && !value.starts_with(b" ")
            && !value.ends_with(b" ");
        if is_safe { value } else { b"" }
    }
}

/// Edits of one kind of head.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct HeaderEdits {
    /// Names whose lines go: those of `set`, then those of `remove`.
    dropped: Box<[Box<str>]>,
    /// Number of the names of `set`.
    set: usize,
    /// A bit for each length of these names, by its remainder.
    lengths: u64,
    /// Lines that are added.
    pieces: Box<[Piece]>,
    /// Edits as text, without secrets.
    shown: Box<str>,
    /// Edits, as text, whose values have a variable of another program.
    foreign: Box<[Box<str>]>,
}

/// Lines of an edit.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Piece {
    /// Whole lines, which are the same for every request.
    Fixed(Box<[u8]>),
    /// Name with its colon and space, and the parts of the value.
    Variable(Box<[u8]>, Box<[Part]>),
}

/// Returns true for the name of the field `Host`.
pub fn is_host(name: &str) -> bool {
    name.eq_ignore_ascii_case("host")
}

/// Edits of a service, or of the top level.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Edits {
    /// Value of `Host` in the request that goes to the upstream; `None`: that of the target or of the
    /// client.
    pub host: Option<Box<str>>,
    /// Edits of the request that goes to the upstream.
    pub request: HeaderEdits,
    /// Edits of the response that goes to the client.
    pub response: HeaderEdits,
}

impl Edits {
    /// Returns an upper bound of the bytes by which the edits make a request head longer.
    pub fn request_bound(&self) -> usize {
        let host = self.host.as_ref().map_or(0, |host| host.len());
        self.request.bound().saturating_add(host)
    }

    /// Returns the bytes that the edits occupy.
    pub fn bytes(&self) -> usize {
        let host = self.host.as_ref().map_or(0, |host| host.len());
        let parts = [host, self.request.bytes(), self.response.bytes()];
        parts
            .into_iter()
            .fold(size_of::<Edits>(), usize::saturating_add)
    }
}

impl HeaderEdits {
    /// Compiles edits. Names must be tokens, and must not be names of framing fields or of fields of
    /// one connection.
    pub fn new(set: &[Line], add: &[Line], remove: &[String]) -> HeaderEdits {
        let names = set.iter().map(|line| &line.name).chain(remove);
        let dropped = names.map(|name| name.as_str().into());
        let dropped = dropped.collect::<Box<[Box<str>]>>();
        let lengths = dropped
            .iter()
            .fold(0, |all, name| all | length_bit(name.len()));
        let mut pieces = Vec::new();
        let mut fixed = Vec::new();
        let lines = set.iter().chain(add);
        // `Host` has a place of its own in the head, see [`Edits::host`].
        for Line { name, parts, .. } in lines.filter(|line| !is_host(&line.name)) {
            let start = format!("{name}: ").into_bytes();
            if let [Part::Text(text)] = &parts[..] {
                fixed.extend_from_slice(&start);
                fixed.extend_from_slice(text.as_bytes());
                fixed.extend_from_slice(b"\r\n");
                continue;
            }
            if !fixed.is_empty() {
                pieces.push(Piece::Fixed(core::mem::take(&mut fixed).into()));
            }
            pieces.push(Piece::Variable(start.into(), parts.as_slice().into()));
        }
        if !fixed.is_empty() {
            pieces.push(Piece::Fixed(fixed.into()));
        }
        let (shown, foreign) = shown(set, add, remove);
        HeaderEdits {
            dropped,
            set: set.len(),
            lengths,
            pieces: pieces.into(),
            shown: shown.into(),
            foreign: foreign.into(),
        }
    }

    /// Returns true if there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.dropped.is_empty() && self.pieces.is_empty()
    }

    /// Returns true if lines of this name go.
    pub fn drops(&self, name: &[u8]) -> bool {
        if self.lengths & length_bit(name.len()) == 0 {
            return false;
        }
        cost::count(self.dropped.len());
        let mut names = self.dropped.iter();
        names.any(|dropped| dropped.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Returns the names of `remove`.
    pub fn removed(&self) -> impl Iterator<Item = &str> {
        self.dropped.iter().skip(self.set).map(|name| &**name)
    }

    /// Returns true if lines go at all.
    pub fn drops_any(&self) -> bool {
        !self.dropped.is_empty()
    }

    /// Writes the lines that are added. A line whose value is empty is left out.
    pub fn lines(&self, facts: &Facts<'_>, put: &mut dyn FnMut(&[u8])) {
        let mut address = [0; digits::ADDRESS];
        for piece in &self.pieces {
            let (start, parts) = match piece {
                Piece::Fixed(lines) => {
                    put(lines);
                    continue;
                }
                Piece::Variable(start, parts) => (start, parts),
            };
            let mut is_begun = false;
            for part in parts {
                let bytes = match part {
                    Part::Text(text) => text.as_bytes(),
                    Part::Variable(variable) => facts.value(*variable, &mut address),
                };
                if !bytes.is_empty() && !core::mem::replace(&mut is_begun, true) {
                    put(start);
                }
                put(bytes);
            }
            if is_begun {
                put(b"\r\n");
            }
        }
    }

    /// Returns an upper bound of the bytes of the lines that are added, whatever the request is.
    pub fn bound(&self) -> usize {
        let pieces = self.pieces.iter().map(|piece| match piece {
            Piece::Fixed(lines) => lines.len(),
            Piece::Variable(start, parts) => {
                let parts = parts.iter().map(|part| match part {
                    Part::Text(text) => text.len(),
                    Part::Variable(variable) => variable.bytes_max(),
                });
                parts.fold(start.len().saturating_add(2), usize::saturating_add)
            }
        });
        pieces.fold(0, usize::saturating_add)
    }

    /// Returns true if a value stands for something that only the head of the request says.
    pub fn needs_request(&self) -> bool {
        let mut parts = self.pieces.iter().flat_map(|piece| match piece {
            Piece::Fixed(_) => &[][..],
            Piece::Variable(_, parts) => parts,
        });
        parts.any(|part| {
            matches!(
                part,
                Part::Variable(Variable::Host | Variable::Scheme | Variable::Consumer)
            )
        })
    }

    /// Returns the bytes that the edits occupy outside of themselves.
    fn bytes(&self) -> usize {
        let names = self.dropped.iter();
        let names = names.map(|name| name.len().saturating_add(size_of::<Box<str>>()));
        let pieces = self.pieces.iter().map(|piece| {
            let owned = match piece {
                Piece::Fixed(lines) => lines.len(),
                Piece::Variable(start, parts) => {
                    let parts = parts.iter().map(|part| match part {
                        Part::Text(text) => text.len().saturating_add(size_of::<Part>()),
                        Part::Variable(_) => size_of::<Part>(),
                    });
                    parts.fold(start.len(), usize::saturating_add)
                }
            };
            owned.saturating_add(size_of::<Piece>())
        });
        let foreign = self.foreign.iter();
        let foreign = foreign.map(|line| line.len().saturating_add(size_of::<Box<str>>()));
        names
            .chain(pieces)
            .chain(foreign)
            .fold(self.shown.len(), usize::saturating_add)
    }

    /// Returns the edits as text, such as `X-Env: b, Cookie removed`.
    pub fn shown(&self) -> &str {
        match self.is_empty() {
            true => "none",
            false => &self.shown,
        }
    }

    /// Returns each edit, as text, whose value has a variable of another program. It goes out as it
    /// stands. A value that is likely secret is not looked at.
    pub fn foreign(&self) -> impl Iterator<Item = &str> {
        self.foreign.iter().map(|line| &**line)
    }
}

/// Returns edits as text, without values that are likely secret, and those with a foreign variable.
fn shown(set: &[Line], add: &[Line], remove: &[String]) -> (String, Vec<Box<str>>) {
    const SECRET: [&str; 6] = [
        "authorization",
        "cookie",
        "key",
        "token",
        "secret",
        "password",
    ];
    let mut found = Vec::new();
    let mut line = |line: &Line, end: &str| {
        let name = line.name.to_ascii_lowercase();
        let is_secret = SECRET.iter().any(|word| name.contains(word));
        let value = if is_secret { "..." } else { &*line.written };
        let shown = format!("{}: {value}{end}", line.name);
        // A secret may have a `$` of its own.
        if foreign::has_known(line.written.as_bytes()) || (!is_secret && foreign::has_any(value)) {
            found.push(shown.as_str().into());
        }
        shown
    };
    let mut all = Vec::with_capacity(set.len().saturating_add(add.len()));
    for (lines, end) in [(set, ""), (add, " added")] {
        all.extend(lines.iter().map(|one| line(one, end)));
    }
    all.extend(remove.iter().map(|name| format!("{name} removed")));
    (all.join(", "), found)
}

/// Returns the bit of a name's length.
const fn length_bit(length: usize) -> u64 {
    1 << (length % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Part {
        Part::Text(text.into())
    }

    fn line(name: &str, parts: &[Part]) -> Line {
        let written = parts.iter().map(|part| match part {
            Part::Text(text) => text.to_string(),
            Part::Variable(of) => {
                let mut all = Variable::ALL.into_iter();
                let name = all.find(|(_, variable)| variable == of);
                format!("${{{}}}", name.expect("a variable").0)
            }
        });
        Line {
            name: name.to_owned(),
            parts: parts.to_vec(),
            written: written.collect(),
        }
    }

    fn written(edits: &HeaderEdits, facts: &Facts<'_>) -> String {
        let mut out = Vec::new();
        edits.lines(facts, &mut |bytes| out.extend_from_slice(bytes));
        assert!(out.len() <= edits.bound());
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn edits_without_variables_are_one_slice() {
        let set = [line("X-A", &[text("1")]), line("X-B", &[text("2")])];
        let edits = HeaderEdits::new(&set, &[line("X-C", &[text("3")])], &["Cookie".to_owned()]);
        assert_eq!(edits.pieces.len(), 1);
        assert_eq!(
            written(&edits, &Facts::default()),
            "X-A: 1\r\nX-B: 2\r\nX-C: 3\r\n"
        );
        for name in ["x-a", "X-B", "cookie", "COOKIE"] {
            assert!(edits.drops(name.as_bytes()), "{name}");
        }
        for name in ["X-C", "X-AB", "Set-Cookie", "", &"x".repeat(67)] {
            assert!(!edits.drops(name.as_bytes()), "{name}");
        }
        assert_eq!(
            edits.shown(),
            "X-A: 1, X-B: 2, X-C: 3 added, Cookie removed"
        );
        assert!(HeaderEdits::new(&[], &[], &[]).is_empty() && !edits.is_empty());
    }

    #[test]
    fn variables_hold_what_is_safe_in_a_value() {
        let of = |variable, facts: &Facts<'_>| {
            let set = [line("X", &[Part::Variable(variable)])];
            let edits = HeaderEdits::new(&set, &[], &[]);
            let out = written(&edits, facts);
            let value = out
                .strip_prefix("X: ")
                .and_then(|line| line.strip_suffix("\r\n"));
            value.unwrap_or(&out).to_owned()
        };
        let facts = Facts {
            client: Some([192, 0, 2, 1].into()),
            host: b"a.test:8080",
            scheme: Some(Scheme::Https),
            id: b"4f",
            service: b"/users",
            consumer: b"ann lee",
        };
        for (variable, value) in [
            (Variable::ClientIp, "192.0.2.1"),
            (Variable::Host, "a.test:8080"),
            (Variable::Scheme, "https"),
            (Variable::Id, "4f"),
            (Variable::Service, "/users"),
            (Variable::Consumer, "ann lee"),
        ] {
            assert_eq!(of(variable, &facts), value, "{variable:?}");
            assert_eq!(of(variable, &Facts::default()), "", "{variable:?}");
        }
        let most = [b'a'; HEADER_VARIABLE_BYTES];
        let long = [b'a'; HEADER_VARIABLE_BYTES + 1];
        for consumer in [
            &b"a\r\nX-Admin: 1"[..],
            b"a\n",
            b"\0",
            b"a\tb",
            b"\x7f",
            b" a",
            b"a ",
            &long,
        ] {
            let facts = Facts { consumer, ..facts };
            assert_eq!(of(Variable::Consumer, &facts), "", "{consumer:?}");
        }
        let facts = Facts {
            consumer: &most,
            ..facts
        };
        assert_eq!(of(Variable::Consumer, &facts).len(), HEADER_VARIABLE_BYTES);
        for host in [&b"a b"[..], b"a;b", b"a,b", b"\"a\"", b"a\xff", &long] {
            let facts = Facts { host, ..facts };
            assert_eq!(of(Variable::Host, &facts), "", "{host:?}");
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let mut from_environment = line("X-Env", &[text("hidden")]);
        from_environment.written = "${ENV}".to_owned();
        let key = line("X-Api-Key", &[text("hidden")]);
        let edits = HeaderEdits::new(&[from_environment, key], &[], &[]);
        assert_eq!(edits.shown(), "X-Env: ${ENV}, X-Api-Key: ...");
    }

    #[test]
    fn an_empty_value_makes_no_line() {
        let set = [
            line("X-None", &[Part::Variable(Variable::Consumer)]),
            line(
                "X-Some",
                &[text("user="), Part::Variable(Variable::Consumer), text(";")],
            ),
            line("X-Fixed", &[text("a")]),
        ];
        let edits = HeaderEdits::new(&set, &[], &[]);
        assert_eq!(
            written(&edits, &Facts::default()),
            "X-Some: user=;\r\nX-Fixed: a\r\n"
        );
        assert!(edits.drops(b"x-none"), "a client's own goes in any case");
        assert_eq!(
            edits.shown(),
            "X-None: ${consumer}, X-Some: user=${consumer};, X-Fixed: a"
        );
        assert!(edits.needs_request());
    }
}
