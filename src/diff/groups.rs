//! Requests that go elsewhere, in groups of the same method, route and outcome.

use super::judge::Verdict;
use crate::limits::{DIFF_GROUPS_MAX, DIFF_SHOWN_BYTES};
use crate::sort;

/// Bytes of a method that has a group of its own.
const METHOD_BYTES: usize = 24;

/// Groups of requests; their number is bounded.
#[derive(Default)]
pub(super) struct Groups {
    /// Groups, sorted by key.
    known: Vec<(Key, Group)>,
    /// Requests of groups that found no room.
    pub(super) beyond: u64,
}

/// Properties that the requests of a group share.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    method: Vec<u8>,
    pub(super) before: Verdict,
    pub(super) after: Verdict,
}

/// A group.
#[derive(Debug)]
pub(super) struct Group {
    /// Number of its requests.
    pub(super) count: u64,
    /// First request, for the operator.
    pub(super) example: String,
}

impl Groups {
    /// Counts a request. `example` writes it; it is called for the first one of a group.
    pub(super) fn count(&mut self, key: Key, example: impl FnOnce() -> String) {
        match self.known.binary_search_by(|(known, _)| known.cmp(&key)) {
            Ok(place) => {
                if let Some((_, group)) = self.known.get_mut(place) {
                    group.count = group.count.saturating_add(1);
                }
            }
            Err(place) if self.known.len() < DIFF_GROUPS_MAX => {
                let example = example();
                self.known.insert(place, (key, Group { count: 1, example }));
            }
            Err(_) => self.beyond = self.beyond.saturating_add(1),
        }
    }

    /// Returns the groups, the largest first.
    pub(super) fn sorted(&self) -> Vec<(&Key, &Group)> {
        let count = |place: usize| self.known.get(place).map(|(_, group)| group.count);
        let order = sort::order(self.known.len(), &|one, other| {
            count(other).cmp(&count(one))
        });
        let sorted = order.iter().filter_map(|place| self.known.get(*place));
        sorted.map(|(key, group)| (key, group)).collect()
    }
}

impl Key {
    /// Creates a key. `line`: request line.
    pub(super) fn new(line: &[u8], before: Verdict, after: Verdict) -> Key {
        let method = line.split(|&byte| byte == b' ').next().unwrap_or_default();
        let method = if method.len() > METHOD_BYTES {
            b"(long method)"
        } else {
            method
        };
        Key {
            method: method.to_vec(),
            before,
            after,
        }
    }

    pub(super) fn method(&self) -> String {
        shown(&self.method)
    }
}

/// Returns bytes of a log for a terminal: printable ASCII, at most [`DIFF_SHOWN_BYTES`] of it.
pub(super) fn shown(bytes: &[u8]) -> String {
    let kept = bytes.get(..DIFF_SHOWN_BYTES).unwrap_or(bytes);
    let mut text = String::new();
    for &byte in kept {
        match byte {
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\x{byte:02X}")),
        }
    }
    if kept.len() < bytes.len() {
        text.push_str("..");
    }
    text
}

/// Returns a number with a comma before each three digits.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && digits.len().saturating_sub(at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bytes_for_the_eye() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(shown(b"/a\x1b[1m\xff"), "/a\\x1B[1m\\xFF");
        assert_eq!(
            shown(&[b'x'; 201]),
            format!("{}..", "x".repeat(DIFF_SHOWN_BYTES))
        );
    }

    #[test]
    fn the_number_of_groups_is_bounded() {
        let mut groups = Groups::default();
        let answer = Verdict::Answer;
        for number in 0..DIFF_GROUPS_MAX + 10 {
            let line = format!("M{number} / HTTP/1.1");
            let key = Key::new(line.as_bytes(), answer, answer);
            groups.count(key, || line.clone());
        }
        let key = || Key::new(b"M7 / HTTP/1.1", answer, answer);
        groups.count(key(), String::new);
        assert_eq!((groups.known.len(), groups.beyond), (DIFF_GROUPS_MAX, 10));
        let sorted = groups.sorted();
        assert_eq!((sorted[0].0, sorted[0].1.count), (&key(), 2));
        let long = [&[b'M'; 25][..], b" / HTTP/1.1"].concat();
        assert_eq!(Key::new(&long, answer, answer).method(), "(long method)");
    }
}
