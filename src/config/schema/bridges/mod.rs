//! Words of other gateways and libraries: what the same thing is called here, or why it is not
//! needed. An unknown key is looked up here first, so that a file that was written for another
//! program can be mended in one go.
//!
//! `words.txt` has a block for each answer, parted by empty lines. Its first lines name words: `tables: words`, or
//! `tables = key: words` where that key has the same meaning and values of the same form. A table is
//! named as in the schema, the top level `top`, and `*` is any but those of `CLOSED`. Words have no `-`, `_` and spaces, and case does not
//! count; `ssl*` is every word that begins so, `*timeout` every one that ends so, and both come behind
//! whole words. The last line is the sentence behind "unknown key; ", in which `%` is that key.

use std::sync::LazyLock;

use super::kind::Table;

/// Words, and what each means here. Text takes less of the binary than a table of values, which the loader
/// has to relocate.
const WORDS: &str = include_str!("words.txt");

/// Tables that no section of another program becomes. What a word means elsewhere is wrong in them, where
/// `secure` is not that of a target, so that they tell their own keys.
const CLOSED: [&str; 17] = [
    "acme",
    "admin",
    "apiKey",
    "authFailures",
    "basic",
    "forward",
    "introspection",
    "jwt",
    "listen[].tls.acme",
    "listen[].tls.certificates[]",
    "maintenance",
    "record",
    "services[].passiveHealth",
    "services[].redirect",
    "services[].respond",
    "services[].sticky",
    "stores.NAME",
];

/// Words of other programs that have one answer.
pub(crate) struct Bridge {
    /// Spellings with a space between them.
    words: &'static str,
    /// Names of the tables in which they are met; `*`: in any.
    tables: &'static str,
    /// Key of the same meaning, whose values have the same form.
    pub(crate) meant: Option<&'static str>,
    /// Sentence behind "unknown key; ", in which `%` is that key.
    advice: &'static str,
}

impl Bridge {
    fn new(head: &'static str, advice: &'static str) -> Option<Bridge> {
        let (place, words) = head.split_once(": ")?;
        let (tables, meant) = match place.split_once(" = ") {
            Some((tables, meant)) => (tables, Some(meant)),
            None => (place, None),
        };
        Some(Bridge {
            words,
            tables,
            meant,
            advice,
        })
    }

    /// Returns the sentence behind "unknown key; ".
    pub(crate) fn said(&self) -> String {
        self.advice.replace('%', self.meant.unwrap_or_default())
    }

    fn is_in(&self, table: &Table) -> bool {
        let name = if table.name.is_empty() {
            "top"
        } else {
            table.name
        };
        let mut tables = self.tables.split(' ');
        tables.any(|known| known == name || known == "*" && !CLOSED.contains(&name))
    }

    fn has(&self, word: &str) -> bool {
        let mut words = self.words.split(' ');
        words.any(|known| known.eq_ignore_ascii_case(word))
    }

    /// Returns true if the word begins or ends as one that has a `*`.
    fn resembles(&self, word: &str) -> bool {
        let same = |part: Option<&str>, known: &str| {
            part.is_some_and(|part| part.eq_ignore_ascii_case(known))
        };
        let mut words = self.words.split(' ');
        words.any(|known| match known.split_once('*') {
            Some((start, "")) => same(word.get(..start.len()), start),
            Some((_, end)) => {
                let at = word.len().checked_sub(end.len());
                same(at.and_then(|at| word.get(at..)), end)
            }
            None => false,
        })
    }
}

/// All bridges: the first that fits is taken.
static BRIDGES: LazyLock<Vec<Bridge>> = LazyLock::new(|| {
    let mut bridges = Vec::new();
    for block in WORDS.trim_end().split("\n\n") {
        let (heads, advice) = block.rsplit_once('\n').unwrap_or_default();
        for head in heads.split('\n') {
            bridges.extend(Bridge::new(head, advice));
        }
    }
    bridges
});

/// Returns a word without `-`, `_` and spaces: HAProxy writes `option httpchk`.
pub(super) fn plain(word: &str) -> String {
    word.replace(['-', '_', ' '], "")
}

/// Returns what is known about a key that `table` does not have.
pub(crate) fn find(word: &str, table: &Table) -> Option<&'static Bridge> {
    // No word of a bridge is longer; a label of Traefik is, and its start says enough.
    let word = word.get(..32).unwrap_or(word);
    // A key in the wrong place is told its place.
    let is_key = super::is_elsewhere(word);
    let word = plain(word);
    let here = BRIDGES.iter().filter(|bridge| bridge.is_in(table));
    let here = here.collect::<Vec<_>>();
    let whole = here.iter().find(|bridge| bridge.has(&word));
    let found = whole.or_else(|| {
        here.iter()
            .find(|bridge| !is_key && bridge.resembles(&word))
    });
    found.copied()
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
    if let Some((host, path)) = as_host(word) {
        return format!(
            "a host is one of the \"hosts\" of a service, as in \"services\": [{{ \"route\": {path:?}, \"hosts\": [{host:?}], \"target\": \"http://127.0.0.1:9000\" }}]"
        );
    }
    let keys = format!("{KEYS_ARE}{}", known.join(", "));
    // A long list says nothing more once the place is known.
    let is_short = known.len() <= LISTED_KEYS_MAX;
    match (super::home_of(word), elsewhere(word)) {
        (Some((name, home)), _) if name != word => format!("it is {name:?} in {home}"),
        (Some((_, home)), _) if is_short => format!("it is a key of {home}, {keys}"),
        (Some((_, home)), _) => format!("it is a key of {home}"),
        (None, Some((home, meant))) if is_short => format!("it is {meant:?} in {home}, {keys}"),
        (None, Some((home, meant))) => format!("it is {meant:?} in {home}"),
        (None, None) => keys,
    }
}

/// Returns the host and the path of a word that names a site, as a Caddyfile does: `api.example.com`,
/// `https://*.example.com:8443/v1`. The port belongs to a listener.
fn as_host(word: &str) -> Option<(&str, &str)> {
    let (_, site) = word.split_once("://").unwrap_or(("", word));
    let (authority, path) = site.split_at(site.find('/').unwrap_or(site.len()));
    let (host, _) = authority.split_once(':').unwrap_or((authority, ""));
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b"-.*".contains(&b);
    let is_host = (host.contains('.') || host == "localhost")
        && host.bytes().all(is_name)
        && word.len() < 100;
    is_host.then_some((host, if path.is_empty() { "/" } else { path }))
}

/// Returns the place and the name of the key that a word means in other tables than the one where
/// it stands: the first in the order of the bridges.
fn elsewhere(word: &str) -> Option<(String, &'static str)> {
    if word.len() > 32 {
        return None;
    }
    let word = plain(word);
    let mut bridges = BRIDGES.iter();
    let bridge = bridges.find(|bridge| bridge.meant.is_some() && bridge.has(&word))?;
    let table = bridge.tables.split(' ').next()?;
    Some((super::place_of(table), bridge.meant?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::schema::{RATE_LIMIT, RESPOND, ROOT, SERVICE, STICKY, TOP};

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
            ("port", &SERVICE, "URL of the target"),
            ("proxy_pass", &SERVICE, "\"target\""),
            ("satisfy", &SERVICE, "satisfy all"),
            ("handle_errors", &TOP, "\"errorPages\""),
            ("handle_path", &SERVICE, "\"route\""),
            ("gzip_types", &SERVICE, "not in tollgate"),
            ("ssl_certificate", &TOP, "\"certificates\""),
            ("ssl_session_timeout", &TOP, "needs no key"),
            ("response-timeout", &SERVICE, "\"response\""),
            ("stream_idle_timeout", &SERVICE, "\"timeouts\""),
            ("health_uri", &SERVICE, "\"healthCheck\""),
            ("server_name", &TOP, "\"hosts\""),
            ("internal", &SERVICE, "open to clients"),
            ("ssl_crl", &SERVICE, "no revocation lists"),
            ("proxy_bind", &SERVICE, "nothing sets this"),
            ("proxy_pass_request_body", &SERVICE, "nothing sets this"),
            ("contentType", &SERVICE, "needs no key"),
            ("contentType", &RESPOND, "\"type\""),
            ("json", &RESPOND, "\"type\""),
            ("charset", &RESPOND, "\"type\""),
        ] {
            let advice = find(word, table).expect(word).said();
            assert!(advice.contains(part), "{word}: {advice}");
        }
        assert!(find("windowMs", &SERVICE).is_none());
        assert!(find("colour", &TOP).is_none());
        // The cookie's, and not the target's.
        assert!(find("secure", &STICKY).is_none());
    }

    #[test]
    fn sites_as_keys() {
        for (word, host, path) in [
            ("api.example.com", "api.example.com", "/"),
            ("*.example.com:8443", "*.example.com", "/"),
            ("https://a.example.com/v1", "a.example.com", "/v1"),
            ("localhost:8080", "localhost", "/"),
        ] {
            assert_eq!(as_host(word), Some((host, path)), "{word}");
        }
        for word in ["api", ":80", "a b.com", "", "/a.b", "ca.pem é"] {
            assert_eq!(as_host(word), None, "{word}");
        }
    }

    #[test]
    fn no_bridge_hides_a_key() {
        let mut tables = Vec::new();
        ROOT.tables(&mut |table| tables.push(table));
        let everywhere = BRIDGES.iter().filter(|bridge| bridge.tables == "*");
        let everywhere = everywhere.collect::<Vec<_>>();
        let keys = tables.iter().flat_map(|table| table.keys);
        // A word that has one answer in all tables has it in the place of a key, too.
        let keys = keys.filter(|key| !everywhere.iter().any(|bridge| bridge.has(key.name)));
        let keys = keys.collect::<Vec<_>>();
        for bridge in BRIDGES.iter() {
            let own = |table: &&&Table| bridge.is_in(table);
            let own = tables.iter().filter(own).collect::<Vec<_>>();
            let places = bridge.tables.split(' ').filter(|name| *name != "*");
            assert!(own.len() >= places.count(), "{}", bridge.tables);
            if let Some(meant) = bridge.meant {
                assert!(
                    own.iter().all(|table| table.key(meant).is_some()),
                    "{meant}"
                );
            }
            for key in &keys {
                let mut words = bridge.words.split(' ');
                let is_own = own.iter().any(|table| table.key(key.name).is_some());
                // What is said of a key in the wrong table is its place.
                let is_hidden = match is_own {
                    true => words.any(|word| word == key.name),
                    false => bridge.words != "*" && bridge.resembles(key.name),
                };
                let words = bridge.words;
                let advice = "is a key: take the word out of words.txt, or make it longer there";
                assert!(!is_hidden, "{} {advice}: {words}", key.name);
            }
            let words = bridge.words.bytes();
            let mut others = words.filter(|b| !b.is_ascii_alphanumeric() && !b" *".contains(b));
            assert_eq!(others.next(), None, "{}", bridge.words);
        }
    }

    #[test]
    fn each_line_of_the_text_is_read() {
        let blocks = WORDS.split("\n\n").count();
        let lines = WORDS.lines().filter(|line| !line.is_empty()).count();
        assert_eq!(BRIDGES.len(), lines - blocks);
        assert!(WORDS.lines().all(|line| line.trim() == line));
    }
}
