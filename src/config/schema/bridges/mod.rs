//! Words of other gateways and libraries: what the same thing is called here, or why it is not
//! needed. An unknown key is looked up here first, so that a file that was written for another
//! program can be mended in one go.

mod gateways;
mod libraries;

use super::kind::Table;

/// Word of other programs.
pub(crate) struct Bridge {
    /// Spellings with a space between them, compared without case, `-` and `_`.
    words: &'static str,
    /// Name of the table in which they are met; `*`: in any.
    table: &'static str,
    /// Key of the same meaning, whose values have the same form.
    pub(crate) meant: Option<&'static str>,
    /// Sentence behind "unknown key; ".
    pub(crate) advice: &'static str,
}

impl Bridge {
    fn has(&self, word: &str) -> bool {
        self.words.split(' ').any(|known| plain(known) == word)
    }
}

const fn bridge(words: &'static str, table: &'static str, advice: &'static str) -> Bridge {
    Bridge {
        words,
        table,
        meant: None,
        advice,
    }
}

const fn renamed(
    words: &'static str,
    table: &'static str,
    meant: &'static str,
    advice: &'static str,
) -> Bridge {
    Bridge {
        words,
        table,
        meant: Some(meant),
        advice,
    }
}

/// Returns all bridges: the first that fits is taken.
fn bridges() -> impl Iterator<Item = &'static Bridge> {
    libraries::BRIDGES.iter().chain(gateways::BRIDGES)
}

/// Returns a word without `-`, `_` and capitals.
fn plain(word: &str) -> String {
    word.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

/// Returns what is known about a key that `table` does not have.
pub(crate) fn find(word: &str, table: &Table) -> Option<&'static Bridge> {
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
        }
    }
}
