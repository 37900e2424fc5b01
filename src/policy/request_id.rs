//! Request ids: one field that names a request at the client, in the log and at the upstream.
//!
//! An id of the gateway is 32 hex digits: a permutation of a 128-bit counter under the key of the
//! process. The counter makes ids of one process differ. The key makes the ids of two processes
//! differ, and keeps clients from reading how many requests came between two ids.
//!
//! The permutation is a Feistel network, which is one whatever its round function is (Luby and
//! Rackoff, SIAM J. Comput. 1988). The round function is a multiplication by a secret number with
//! both halves of the product folded together. It needs no table, no clock and no system call. An
//! id is no secret and must not open anything.

use core::ops::Range;

use crate::http::field::{Name, NameSet};
use crate::http::head::Fields;
use crate::limits::{REQUEST_ID_BYTES, REQUEST_ID_NAME_BYTES};

/// Name of the field where the configuration has none.
pub const REQUEST_ID: &str = "X-Request-Id";

/// Most bytes of a field line with an id.
pub const LINE_BYTES: usize = REQUEST_ID_NAME_BYTES + REQUEST_ID_BYTES + 4;

/// Hex digits of an id that the gateway makes.
const DIGITS: usize = 32;

/// Source of ids.
pub struct RequestIds {
    rounds: [Round; ROUNDS],
    counter: u64,
    /// Field line of the last id, with its CRLF; empty if ids are off.
    line: Vec<u8>,
    shape: IdShape,
}

/// Keys of one round: what is added to the half, and an odd factor.
#[derive(Clone, Copy)]
struct Round {
    mask: u64,
    factor: u64,
}

/// Rounds of the network. Four make a permutation that looks random where the round function does;
/// two more are for a round function that is simple.
const ROUNDS: usize = 6;

/// Layout of a field line with an id.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdShape {
    /// Bytes of the whole line, with its CRLF; 0 without an id.
    line: u16,
    /// Bytes in front of the value.
    value_at: u16,
    /// True for `X-Request-Id`, the one name that the parser knows.
    is_known: bool,
}

/// Field line with an id, and the fields that it replaces.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdField<'a> {
    /// Whole line, with its CRLF; empty without an id.
    pub line: &'a [u8],
    /// Known names that the line replaces.
    pub replaces: NameSet,
    /// Name that the line replaces, if it is no known one; empty otherwise.
    pub name: &'a [u8],
}

impl RequestIds {
    /// Creates a source. `key`: random bits of the process. `name`: name of the field, a token of at
    /// most 64 bytes; `None`: no ids.
    pub fn new(key: u64, name: Option<&str>) -> RequestIds {
        let mut ids = RequestIds {
            rounds: rounds(key),
            counter: 0,
            line: Vec::new(),
            shape: IdShape::default(),
        };
        ids.set_name(name);
        ids
    }

    /// Sets the name of the field for the requests that come from now on.
    pub fn set_name(&mut self, name: Option<&str>) {
        self.line.clear();
        if let Some(name) = name {
            self.line.extend_from_slice(name.as_bytes());
            self.line.extend_from_slice(b": ");
        }
        self.shape = IdShape::of(name, self.line.len(), DIGITS);
        self.line.resize(usize::from(self.shape.line), b'0');
        if let Some(end) = self.line.last_chunk_mut() {
            *end = *b"\r\n";
        }
    }

    /// Makes the next id. Returns its line and the layout of it.
    #[inline]
    pub fn make(&mut self) -> (&[u8], IdShape) {
        if self.line.is_empty() {
            return (&[], self.shape);
        }
        self.counter = self.counter.wrapping_add(1);
        let words = permute(&self.rounds, self.counter);
        if let Some(value) = self.line.get_mut(self.shape.value())
            && let Some(value) = value.first_chunk_mut()
        {
            *value = digits(words);
        }
        (&self.line, self.shape)
    }

    /// Returns the id that a trusted proxy gave to a request: the value of the only field of the
    /// name, if it is 1 to 128 characters of `[A-Za-z0-9._-]`.
    #[cold]
    pub fn given<'a>(&self, fields: &Fields<'a>) -> Option<&'a [u8]> {
        let (line, shape) = (&self.line, self.shape);
        let name = shape.name(line)?;
        let mut values = fields.iter();
        let mut values = values.by_ref().filter(|field| {
            field.name.len() == name.len() && field.name.eq_ignore_ascii_case(name)
        });
        let id = values.next()?.value;
        (values.next().is_none() && is_id(id)).then_some(id)
    }

    /// Writes the line of a given id. Returns the layout of it.
    #[cold]
    pub fn write_given(&self, id: &[u8], out: &mut Vec<u8>) -> IdShape {
        let start = self.line.get(..usize::from(self.shape.value_at));
        let parts = [start.unwrap_or_default(), id, b"\r\n"];
        parts.iter().for_each(|part| out.extend_from_slice(part));
        IdShape {
            line: parts.iter().map(|part| part.len()).sum::<usize>() as u16,
            ..self.shape
        }
    }
}

impl IdField<'_> {
    /// Returns true if the line replaces a field of this name, which is no known one.
    pub fn replaces_named(&self, name: &[u8]) -> bool {
        !self.name.is_empty() && name.eq_ignore_ascii_case(self.name)
    }
}

impl IdShape {
    fn of(name: Option<&str>, value_at: usize, value: usize) -> IdShape {
        let Some(name) = name else {
            return IdShape::default();
        };
        IdShape {
            line: crate::buffer::joined_len([value_at, value, 2]) as u16,
            value_at: value_at as u16,
            is_known: Name::of(name.as_bytes()) == Name::XRequestId,
        }
    }

    /// Returns the number of bytes of the line.
    pub fn bytes(self) -> usize {
        self.line.into()
    }

    /// Returns the place of the id within the line.
    fn value(self) -> Range<usize> {
        usize::from(self.value_at)..usize::from(self.line.saturating_sub(2))
    }

    /// Returns the number of bytes in front of the id; `None` without an id.
    #[inline]
    pub fn value_start(self) -> Option<usize> {
        (self.line != 0).then_some(self.value_at.into())
    }

    /// Returns the number of bytes of the id.
    #[inline]
    pub fn value_bytes(self) -> usize {
        usize::from(self.line.saturating_sub(2).saturating_sub(self.value_at))
    }

    fn name(self, line: &[u8]) -> Option<&[u8]> {
        line.get(..usize::from(self.value_at.checked_sub(2)?))
    }

    /// Returns the id within its line; `None` without an id.
    pub fn id(self, line: &[u8]) -> Option<&[u8]> {
        line.get(self.value()).filter(|id| !id.is_empty())
    }

    /// Returns the line as a field that replaces others.
    #[inline]
    pub fn field(self, line: &[u8]) -> IdField<'_> {
        match self.is_known {
            true => IdField {
                line,
                replaces: NameSet::of(&[Name::XRequestId]),
                name: b"",
            },
            false => IdField {
                line,
                replaces: NameSet::EMPTY,
                name: self.name(line).unwrap_or_default(),
            },
        }
    }
}

/// Tells whether a value is an id that may be kept.
fn is_id(value: &[u8]) -> bool {
    let is_good = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=REQUEST_ID_BYTES).contains(&value.len()) && value.iter().all(is_good)
}

/// Derives the keys of the rounds, by SplitMix64.
fn rounds(key: u64) -> [Round; ROUNDS] {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = key;
    let mut next = || {
        state = state.wrapping_add(STEP);
        mix(state)
    };
    [(); ROUNDS].map(|()| Round {
        mask: next(),
        factor: next() | 1,
    })
}

/// Returns the permutation of a counter, as two words.
#[inline]
fn permute(rounds: &[Round; ROUNDS], counter: u64) -> [u64; 2] {
    let [mut left, mut right] = [0, counter];
    for round in rounds {
        let product = u128::from(right ^ round.mask).wrapping_mul(u128::from(round.factor));
        let folded = product as u64 ^ (product >> 64) as u64;
        (left, right) = (right, left ^ folded);
    }
    [left, right]
}

/// Permutation of 64-bit numbers (the finalizer of SplitMix64).
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// Returns the lower-case hex digits of two words.
#[inline]
fn digits(words: [u64; 2]) -> [u8; DIGITS] {
    let mut text = [0; DIGITS];
    let (eights, _) = text.as_chunks_mut::<8>();
    let [first, second] = words;
    let halves = [first >> 32, first & LOW, second >> 32, second & LOW];
    for (eight, half) in eights.iter_mut().zip(halves) {
        *eight = eight_digits(half).to_be_bytes();
    }
    text
}

/// Lower half of a word.
const LOW: u64 = 0xffff_ffff;

/// Returns the eight hex digits of the lower half of a word, each in a byte. Each step works on all
/// digits at once, with no branch and no table.
#[inline(always)]
fn eight_digits(half: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let pairs = (half | half << 16) & 0x0000_ffff_0000_ffff;
    let bytes = (pairs | pairs << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (bytes | bytes << 4) & (ONES * 15);
    let letters = (values.wrapping_add(ONES * 6) >> 4) & ONES;
    let to_letters = letters.wrapping_mul(u64::from(b'a' - b'0' - 10));
    values
        .wrapping_add(ONES * u64::from(b'0'))
        .wrapping_add(to_letters)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::{FieldTable, HeadLimits, HeadScan, parse_request};
    use std::collections::BTreeSet;

    fn next(ids: &mut RequestIds) -> String {
        let (line, shape) = ids.make();
        String::from_utf8(shape.id(line).expect("an id").to_vec()).expect("ASCII")
    }

    #[test]
    fn ids_of_a_process_differ_and_so_do_those_of_two() {
        let mut seen = BTreeSet::new();
        for key in [0, 1, 2, u64::MAX, 1 << 63] {
            let mut ids = RequestIds::new(key, Some(REQUEST_ID));
            for _ in 0..10_000 {
                let id = next(&mut ids);
                assert_eq!(id.len(), 32);
                assert!(
                    id.bytes()
                        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
                );
                assert!(is_id(id.as_bytes()));
                assert!(seen.insert(id));
            }
        }
    }

    /// About half of the bits differ from one id to the next, in both halves.
    #[test]
    fn neighbours_have_nothing_in_common() {
        let mut ids = RequestIds::new(7, Some(REQUEST_ID));
        let word = |id: &str, at: usize| {
            let digits = id.get(at..at + 16).expect("32 digits");
            u64::from_str_radix(digits, 16).expect("hex")
        };
        let mut before = next(&mut ids);
        for at in [0, 16] {
            let mut bits = 0;
            for _ in 0..1000 {
                let id = next(&mut ids);
                bits += (word(&id, at) ^ word(&before, at)).count_ones();
                before = id;
            }
            assert!((31_000..33_000).contains(&bits), "{bits}");
        }
    }

    /// Inverse of [`mix`], which everybody can compute.
    fn unmix(number: u64) -> u64 {
        let undo =
            |number: u64, by: u32| (0..64 / by).fold(number, |found, _| number ^ (found >> by));
        let number = undo(number, 31).wrapping_mul(0x3196_42b2_d24d_8ec3);
        let number = undo(number, 27).wrapping_mul(0x96de_1b17_3f11_9089);
        undo(number, 30)
    }

    /// Two ids do not tell how many requests came between them, with what is public.
    #[test]
    fn the_distance_of_two_ids_is_not_that_of_the_counter() {
        assert_eq!(unmix(mix(12_345)), 12_345);
        let is_far =
            |one: u64, other: u64| one.wrapping_sub(other).min(other.wrapping_sub(one)) > 1 << 40;
        for key in 0..100 {
            let rounds = rounds(key);
            let [one, other] = [7, 9].map(|counter| permute(&rounds, counter));
            for (a, b) in one.into_iter().flat_map(|a| other.map(|b| (a, b))) {
                assert!(is_far(a, b) && is_far(unmix(a), unmix(b)), "{key}");
                assert!(a ^ b > 1 << 40 && unmix(a) ^ unmix(b) > 1 << 40, "{key}");
            }
        }
    }

    /// Each bit of the counter changes about half of the bits of an id.
    #[test]
    fn each_bit_of_the_counter_counts() {
        for bit in 0..64 {
            let mut changed = 0;
            for key in 0..200 {
                let rounds = rounds(key);
                let [one, other] = [0, 1 << bit].map(|flip| permute(&rounds, key ^ flip));
                let pairs = one.iter().zip(other);
                changed += pairs.map(|(a, b)| (a ^ b).count_ones()).sum::<u32>();
            }
            assert!((62 * 200..66 * 200).contains(&changed), "{bit}: {changed}");
        }
    }

    #[test]
    fn every_byte_has_its_digits() {
        for byte in 0..=u8::MAX {
            let text = digits([u64::from(byte) << 56, u64::from(byte)]);
            let expected = format!("{byte:02x}{:014}{:014}{byte:02x}", 0, 0);
            assert_eq!(String::from_utf8_lossy(&text), expected);
        }
    }

    fn given(name: Option<&str>, lines: &str) -> Option<String> {
        let ids = RequestIds::new(1, name);
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n");
        let mut table = FieldTable::default();
        let limits = HeadLimits {
            head_bytes: 4096,
            request_line_bytes: 4096,
            fields: 100,
        };
        let head = parse_request(
            head.as_bytes(),
            &mut HeadScan::default(),
            &mut table,
            &limits,
        );
        let head = head.expect("a head").expect("a whole head");
        let id = ids.given(&head.fields)?;
        let mut line = Vec::new();
        let shape = ids.write_given(id, &mut line);
        assert_eq!(shape.bytes(), line.len());
        assert_eq!(shape.id(&line), Some(id));
        Some(String::from_utf8_lossy(&line).into_owned())
    }

    #[test]
    fn an_id_is_kept_where_it_is_single_and_valid() {
        let long = "x".repeat(128);
        for id in ["a", "0", "Root-1_67891233.abcdef", &long] {
            let found = given(Some("X-Request-Id"), &format!("x-request-ID: {id}\r\n"));
            assert_eq!(found, Some(format!("X-Request-Id: {id}\r\n")));
            let found = given(Some("X-Own"), &format!("x-own:{id} \r\n"));
            assert_eq!(found, Some(format!("X-Own: {id}\r\n")));
            assert_eq!(given(None, &format!("X-Request-Id: {id}\r\n")), None);
        }
        let long = format!("X-Request-Id: {long}x\r\n");
        for lines in [
            "",
            "X-Request-Id:\r\n",
            "X-Request-Id: a b\r\n",
            "X-Request-Id: a,b\r\n",
            "X-Request-Id: a\"\r\n",
            "X-Request-Id: \u{e9}\r\n",
            "X-Request-Id: a\r\nX-Request-Id: a\r\n",
            "X-Request-Id: a\r\nx-request-id:\r\n",
            "X-Request-Ids: a\r\n",
            "X_Request_Id: a\r\n",
            &long,
        ] {
            assert_eq!(given(Some("X-Request-Id"), lines), None, "{lines:?}");
        }
    }

    #[test]
    fn a_line_replaces_its_own_name_only() {
        for (name, known, other) in [
            (Some("X-Request-Id"), true, ""),
            (Some("x-request-id"), true, ""),
            (Some("X-Own"), false, "X-Own"),
            (None, false, ""),
        ] {
            let mut ids = RequestIds::new(1, name);
            let (line, shape) = ids.make();
            let field = shape.field(line);
            assert_eq!(field.replaces.contains(Name::XRequestId), known);
            assert!(!field.replaces.contains(Name::Other));
            assert_eq!(field.name, other.as_bytes());
            assert_eq!(field.line.is_empty(), name.is_none());
            assert_eq!(shape.id(line).is_some(), name.is_some());
            assert_eq!(line.ends_with(b"\r\n"), name.is_some());
        }
    }
}
