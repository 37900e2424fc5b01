//! Conditions of `match` beside programs that read the same request in their own way: what the
//! gateway says that a request has, all of them read, and what it says that a request does not have,
//! none of them reads.

use super::cost;
use crate::http::head::{FieldTable, Fields, HeadLimits, HeadScan, parse_request};
use crate::policy::conditions::{Answer, Condition, Evidence, Part, unmet};

const LIMITS: HeadLimits = HeadLimits::DEFAULT;

/// A condition and a request, in four parts with 0xff between them: a letter for the part of the
/// request with the name, the value, the field lines, and the query.
pub fn matching(bytes: &[u8]) {
    let mut parts = bytes.splitn(4, |&byte| byte == 0xff);
    let mut next = || parts.next().unwrap_or_default();
    let (name, value, lines, query) = (next(), next(), next(), next());
    let Some((condition, name)) = condition(name, value) else {
        return;
    };
    let head = [b"GET / HTTP/1.1\r\nHost: a\r\n", lines, b"\r\n\r\n"].concat();
    let with_mark = [b"?", query].concat();
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let Ok(Some(head)) = parse_request(&head, &mut scan, &mut table, &LIMITS) else {
        return;
    };
    let evidence = Evidence {
        fields: head.fields,
        query: &with_mark,
    };
    let conditions = [condition];
    let answer = cost::within(bytes.len(), cost::CONDITION_STEPS, 200, || {
        unmet(&conditions, &evidence).map_or(Answer::Holds, |(_, answer)| answer)
    });
    let [Condition { part, value, .. }] = &conditions;
    let wanted = value.as_bytes();
    for pairs in readings(*part, head.fields, query) {
        let named = |fold: Form| {
            let name = fold(&name);
            let pairs = pairs.iter().filter(move |(own, _)| fold(own) == name);
            pairs.map(|(_, value)| value).collect::<Vec<_>>()
        };
        if answer == Answer::Holds {
            let values = named(exact(*part));
            assert!(!values.is_empty(), "a condition holds that nobody reads");
            let read = values.iter().all(|read| exact_value(*part)(read) == wanted);
            assert!(read, "a condition holds, and a program reads another value");
        }
        if answer == Answer::Fails {
            for value in NAMES.iter().flat_map(|fold| named(*fold)) {
                let found = VALUES.iter().find(|view| view(value) == view(wanted));
                assert!(found.is_none(), "a condition fails, and a program reads it");
            }
        }
    }
}

/// Returns the condition of an input and the bytes of its name, if the configuration takes it.
fn condition(name: &[u8], value: &[u8]) -> Option<(Condition, Vec<u8>)> {
    let (letter, name) = name.split_first()?;
    let part = match letter {
        b'h' => Part::Header,
        b'c' => Part::Cookie,
        b'q' => Part::Query,
        _ => return None,
    };
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    if name.is_empty() || name.len() > 128 || !name.iter().all(is_name) {
        return None;
    }
    let is_value = |byte: &u8| byte.is_ascii_graphic() && !b"\"\\;,%+".contains(byte);
    if value.len() > 256 || !value.iter().all(is_value) {
        return None;
    }
    let name = match part {
        Part::Header => name.to_ascii_lowercase(),
        Part::Cookie | Part::Query => name.to_vec(),
    };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
    let condition = Condition {
        part,
        name: text(&name)?,
        value: text(value)?,
    };
    Some((condition, name))
}

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;
type Form = fn(&[u8]) -> Vec<u8>;

/// Forms in which programs compare names.
const NAMES: [Form; 4] = [
    <[u8]>::to_vec,
    <[u8]>::to_ascii_lowercase,
    decoded,
    underscored,
];

/// Forms in which programs read values.
const VALUES: [Form; 5] = [
    <[u8]>::to_vec,
    <[u8]>::to_ascii_lowercase,
    decoded,
    spaced,
    unquoted,
];

/// Returns how the gateway compares the names of a part.
fn exact(part: Part) -> Form {
    match part {
        Part::Header => <[u8]>::to_ascii_lowercase,
        Part::Cookie => <[u8]>::to_vec,
        Part::Query => decoded,
    }
}

/// Returns how the gateway reads the values of a part.
fn exact_value(part: Part) -> Form {
    match part {
        Part::Header | Part::Cookie => <[u8]>::to_vec,
        Part::Query => spaced,
    }
}

/// Returns names and values of a request, as programs with different separators read them.
fn readings(part: Part, fields: Fields<'_>, query: &[u8]) -> Vec<Pairs> {
    let lines = || fields.iter().map(|field| (field.name, field.value));
    let divided = |texts: &[&[u8]], separators: &[u8]| {
        let mut pairs = Pairs::new();
        for text in texts {
            for pair in text.split(|byte| separators.contains(byte)) {
                let pair = if part == Part::Cookie {
                    pair.trim_ascii()
                } else {
                    pair
                };
                let mut halves = pair.splitn(2, |&byte| byte == b'=');
                let (name, value) = (halves.next().unwrap_or_default(), halves.next());
                // A cookie without "=" has no name.
                if value.is_some() || part == Part::Query {
                    pairs.push((name.to_vec(), value.unwrap_or_default().to_vec()));
                }
            }
        }
        pairs
    };
    match part {
        Part::Header => vec![
            lines()
                .map(|(name, value)| (name.to_vec(), value.to_vec()))
                .collect(),
        ],
        Part::Cookie => {
            let cookies = lines().filter(|(name, _)| name.eq_ignore_ascii_case(b"cookie"));
            let texts = cookies.map(|(_, value)| value).collect::<Vec<_>>();
            vec![divided(&texts, b";"), divided(&texts, b";,")]
        }
        Part::Query => vec![divided(&[query], b"&"), divided(&[query], b"&;")],
    }
}

/// Decodes each escape once.
fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    while let Some((&first, behind)) = rest.split_first() {
        let digits = behind
            .get(..2)
            .and_then(|two| core::str::from_utf8(two).ok());
        let is_hex = |text: &&str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let value = digits
            .filter(is_hex)
            .and_then(|text| u8::from_str_radix(text, 16).ok());
        match value.filter(|_| first == b'%') {
            Some(value) => {
                decoded.push(value);
                rest = behind.get(2..).unwrap_or_default();
            }
            None => {
                decoded.push(first);
                rest = behind;
            }
        }
    }
    decoded
}

fn spaced(bytes: &[u8]) -> Vec<u8> {
    let spaced = bytes
        .iter()
        .map(|&byte| if byte == b'+' { b' ' } else { byte });
    decoded(&spaced.collect::<Vec<_>>())
}

fn unquoted(bytes: &[u8]) -> Vec<u8> {
    let inner = bytes
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""));
    inner.unwrap_or(bytes).to_vec()
}

fn underscored(bytes: &[u8]) -> Vec<u8> {
    let lower = bytes.iter().map(|byte| match byte {
        b'-' | b'.' => b'_',
        byte => byte.to_ascii_lowercase(),
    });
    lower.collect()
}
