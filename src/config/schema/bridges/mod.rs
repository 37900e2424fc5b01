//! Words of other gateways and libraries: what the same thing is called here, or why it is not
//! needed. An unknown key is looked up here first, so that a file that was written for another
//! program can be mended in one go.
//!
//! `words.txt` has a block for each answer, parted by empty lines. Its first lines name words: `table: words`, or
//! `table = key: words` where that key has the same meaning and values of the same form. A table is
//! named as in the schema, the top level `top`, and `*` is any. Words have no `-` and `_`, and case does not
//! count. The last line is the sentence behind "unknown key; ".

use super::kind::Table;

/// The words, and what each means here. It is text because a row of it takes a fifth of the place that it takes as a value.
const WORDS: &str = include_str!("words.txt");

/// Words of other programs that have one answer.
#[derive(Clone, Copy)]
pub(crate) struct Bridge {
    /// Spellings with a space between them.
    words: &'static str,
    /// Name of the table in which they are met; `*`: in any.
    table: &'static str,
    /// Key of the same meaning, whose values have the same form.
    pub(crate) meant: Option<&'static str>,
    /// Sentence behind "unknown key; ".
    pub(crate) advice: &'static str,
}

impl Bridge {
    fn new(head: &'static str, advice: &'static str) -> Option<Bridge> {
        let (place, words) = head.split_once(": ")?;
        let (table, meant) = match place.split_once(" = ") {
            Some((table, meant)) => (table, Some(meant)),
            None => (place, None),
        };
        Some(Bridge {
            words,
            table: if table == "top" { "" } else { table },
            meant,
            advice,
        })
    }

    fn has(&self, word: &str) -> bool {
        let mut words = self.words.split(' ');
        words.any(|known| known.eq_ignore_ascii_case(word))
    }
}

/// Returns all bridges: the first that fits is taken.
fn bridges() -> impl Iterator<Item = Bridge> {
    let blocks = WORDS.trim_end().split("\n\n");
    let parts = blocks.filter_map(|block| block.rsplit_once('\n'));
    parts.flat_map(|(heads, advice)| {
        let heads = heads.split('\n');
        heads.filter_map(move |head| Bridge::new(head, advice))
    })
}

/// Returns a word without `-` and `_`.
fn plain(word: &str) -> String {
    word.replace(['-', '_'], "")
}

/// Returns what is known about a key that `table` does not have.
pub(crate) fn find(word: &str, table: &Table) -> Option<Bridge> {
    // No word of a bridge is longer.
    if word.len() > 32 {
        return None;
    }
    let word = plain(word);
    let here = |bridge: &Bridge| bridge.table == "*" || bridge.table == table.name;
    bridges().find(|bridge| here(bridge) && bridge.has(&word))
}

/// Number of keys up to which they are listed beside the place of a key that is elsewhere.
const LISTED_KEYS_MAX: usize = 10;

/// Start of a sentence that lists keys.
pub(crate) const KEYS_ARE: &str = "the keys here are ";

/// Returns the sentence about a word that is unknown where it stands: the place of the key of this
/// name or meaning, and otherwise the keys that are `known` there.
pub(crate) fn place_of(word: &str, known: &[&str]) -> String {
    if word.starts_with('/') && word.len() < 100 {
        return format!(
            "a path is the \"route\" of a service, as in \"services\": [{{ \"route\": {word:?}, \"target\": \"http://127.0.0.1:9000\" }}]"
        );
    }
    let keys = format!("{KEYS_ARE}{}", known.join(", "));
    // A long list says nothing more once the place is known.
    let is_short = known.len() <= LISTED_KEYS_MAX;
    match (super::home_of(word), elsewhere(word)) {
        (Some(home), _) if is_short => format!("it is a key of {home}, {keys}"),
        (Some(home), _) => format!("it is a key of {home}"),
        (None, Some((home, meant))) => format!("it is {meant:?} in {home}"),
        (None, None) => keys,
    }
}

/// Returns the place and the name of the key that a word means in other tables than the one where
/// it stands: the first in the order of the bridges.
fn elsewhere(word: &str) -> Option<(String, &'static str)> {
    if word.len() > 32 {
        return None;
    }
    let word = plain(word);
    let mut renamed = bridges().filter_map(|bridge| Some((bridge, bridge.meant?)));
    let (bridge, meant) = renamed.find(|(bridge, _)| bridge.has(&word))?;
    Some((super::place_of(bridge.table), meant))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{RATE_LIMIT, ROOT, SERVICE, TOP};

    #[test]
    fn words_of_other_programs() {
        for (word, table, part) in [
            ("changeOrigin", &SERVICE, "preserveHost"),
            ("change_origin", &SERVICE, "preserveHost"),
            ("windowMs", &RATE_LIMIT, "\"window\""),
            ("max", &RATE_LIMIT, "\"requests\""),
            ("nodelay", &RATE_LIMIT, "\"bucket\""),
            ("standardHeaders", &RATE_LIMIT, "\"draft\""),
            ("legacyHeaders", &RATE_LIMIT, "\"x\""),
            ("port", &TOP, "\"listen\""),
            ("port", &SERVICE, "\"target\""),
            ("proxy_pass", &SERVICE, "\"target\""),
            ("satisfy", &SERVICE, "satisfy all"),
            ("handle_errors", &TOP, "\"errorPages\""),
            ("handle_path", &SERVICE, "\"route\""),
            ("health_uri", &SERVICE, "\"healthCheck\""),
        ] {
            let advice = find(word, table).expect(word).advice;
            assert!(advice.contains(part), "{word}: {advice}");
        }
        assert!(find("windowMs", &SERVICE).is_none());
        assert!(find("colour", &TOP).is_none());
    }

    #[test]
    fn no_bridge_stands_for_a_key_of_its_table() {
        let (mut names, mut keys) = (vec!["*"], Vec::new());
        ROOT.tables(&mut |table| {
            names.push(table.name);
            for key in table.keys {
                keys.push((table.name, key.name));
                for bridge in bridges().filter(|bridge| bridge.table == table.name) {
                    assert!(
                        bridge.words.split(' ').all(|word| word != key.name),
                        "{}.{}",
                        table.name,
                        key.name
                    );
                }
            }
        });
        for bridge in bridges() {
            let meant = bridge.meant.map(|meant| (bridge.table, meant));
            assert!(meant.is_none_or(|meant| keys.contains(&meant)), "{meant:?}");
            assert!(names.contains(&bridge.table), "{}", bridge.table);
            let words = bridge.words.bytes();
            let mut others = words.filter(|b| !b.is_ascii_alphanumeric() && *b != b' ');
            assert_eq!(others.next(), None, "{}", bridge.words);
        }
    }

    #[test]
    fn each_line_of_the_text_is_read() {
        let blocks = WORDS.split("\n\n").count();
        let lines = WORDS.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(bridges().count(), lines - blocks);
        assert!(WORDS.lines().all(|line| line.trim() == line));
    }
}
