//! Values of the document with their paths and their kinds, and how they are read.
//!
//! A value of the wrong kind is reported, and the function returns `None`; the caller goes on with
//! a default, so that one run finds every error. A value that was reported before (`Broken`) is not
//! reported again.

use std::collections::HashMap;

use crate::config::schema::{self, Fallback, Kind, Table, bridges};

use super::document::{Member, Node, Value};
use super::report::Report;
use super::stray::{self, Fault};
use super::suggestions;

/// Returns a path such as `services[2]`.
pub(crate) fn index_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// Returns a path such as `services[2].target`; a name with other characters is quoted.
pub(crate) fn member_path(path: &str, name: &str) -> String {
    let plain = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    let name = if plain {
        name.to_owned()
    } else {
        format!("{name:?}")
    };
    if path.is_empty() {
        name
    } else {
        format!("{path}.{name}")
    }
}

/// Value with its path in the file and its kind.
#[derive(Clone)]
pub(crate) struct Located<'a> {
    pub(crate) node: &'a Node,
    pub(crate) path: String,
    /// Kind that the table of keys has for this place.
    pub(crate) kind: &'static Kind,
}

/// A member of an object whose names are free.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_at: usize,
    pub(crate) place: Located<'a>,
}

impl<'a> Located<'a> {
    /// Reports what is wrong with this value. The fault is a predicate ("must be ..", "has no ..;
    /// write .."): a string, a number or a flag is put before it as its subject, so that the reader
    /// sees what was found.
    pub(crate) fn fail(&self, report: &mut Report<'_>, fault: impl Into<Fault>) {
        let several = stray::several(self.node, &self.path);
        let fault = several.unwrap_or_else(|| fault.into());
        let message = fault.about(&self.node.value);
        let named = self.node.shown().map(|value| format!("{value} {message}"));
        self.fail_bare(report, named.unwrap_or(message));
    }

    /// Reports what is wrong with this value, which the message names already, or must not repeat
    /// because it may be a secret.
    pub(crate) fn fail_bare(&self, report: &mut Report<'_>, message: impl Into<String>) {
        if self.node.value != Value::Broken {
            report.add(self.node.at, &self.path, message);
        }
    }

    /// Reports that this value is of the wrong kind.
    pub(crate) fn mismatch(&self, report: &mut Report<'_>) {
        self.mismatch_with(report, &self.kind.expected());
    }

    /// Reports that this value is of the wrong kind; `expected` are the words after "must be".
    pub(crate) fn mismatch_with(&self, report: &mut Report<'_>, expected: &str) {
        let Some(kind) = self.found() else { return };
        let message = format!("must be {expected}, not {kind}");
        match self.node.value {
            // Their kind is the value.
            Value::Null | Value::Flag(_) => self.fail_bare(report, message),
            _ => self.fail(report, Fault::uncured(message)),
        }
    }

    /// Does what [`Located::mismatch`] does without repeating the value, which may be a secret.
    pub(crate) fn secret_mismatch(&self, report: &mut Report<'_>) {
        let Some(kind) = self.found() else { return };
        let expected = self.kind.expected();
        self.fail_bare(report, format!("must be {expected}, not {kind}"));
    }

    fn found(&self) -> Option<&'static str> {
        Some(match &self.node.value {
            Value::Null => "null",
            Value::Flag(true) => "true",
            Value::Flag(false) => "false",
            Value::Number(_) => "a number",
            Value::Text(_) | Value::Parts(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
            Value::Broken => return None,
        })
    }

    pub(crate) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    pub(crate) fn is_false(&self) -> bool {
        self.flag_value() == Some(false)
    }

    pub(crate) fn text(&self, report: &mut Report<'_>) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.mismatch(report);
                None
            }
        }
    }

    /// Reads a string that no message repeats.
    pub(crate) fn secret_text(&self, report: &mut Report<'_>) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.secret_mismatch(report);
                None
            }
        }
    }

    pub(crate) fn flag(&self, report: &mut Report<'_>) -> Option<bool> {
        let flag = self.flag_value();
        if flag.is_none() {
            self.mismatch_with(report, "true or false");
        }
        flag
    }

    /// Reads a string that is one of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        report: &mut Report<'_>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        debug_assert_eq!(self.kind.words(), Some(words.as_slice()), "{}", self.path);
        let Value::Text(text) = &self.node.value else {
            self.mismatch(report);
            return None;
        };
        let found = choices
            .iter()
            .find(|(word, _)| word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let hint = suggestions::nearest(text, &words)
                .map_or(String::new(), |word| format!("; did you mean {word:?}?"));
            let expected = self.kind.expected();
            self.fail(report, Fault::uncured(format!("must be {expected}{hint}")));
        }
        found
    }

    pub(crate) fn list(&self, report: &mut Report<'_>) -> Option<Vec<Located<'a>>> {
        let Value::List(items) = &self.node.value else {
            self.mismatch(report);
            return None;
        };
        let kind = self.kind.items().unwrap_or(&Kind::Null);
        let place = |(index, node)| Located {
            node,
            path: index_path(&self.path, index),
            kind,
        };
        Some(items.iter().enumerate().map(place).collect())
    }

    /// Returns the digits of a number. A string that consists of one variable or more, such as
    /// `"${PORT}"`, may stand for a number.
    pub(crate) fn digits(&self) -> Option<&'a str> {
        match &self.node.value {
            Value::Number(text) => Some(text),
            Value::Text(text) if self.node.is_variable() => {
                let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                is_digits.then_some(text)
            }
            _ => None,
        }
    }

    /// Returns a flag, which a variable may stand for.
    pub(crate) fn flag_value(&self) -> Option<bool> {
        match &self.node.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) if self.node.is_variable() => text.parse().ok(),
            _ => None,
        }
    }

    /// Reads the members of an object. A name that stands twice is reported, and its first value
    /// kept.
    pub(crate) fn entries(&self, report: &mut Report<'_>) -> Option<Vec<Entry<'a>>> {
        let Value::Object(members) = &self.node.value else {
            self.mismatch(report);
            return None;
        };
        Some(self.distinct(members, report))
    }

    /// Reads an object; the error does not repeat a value that may be a secret.
    pub(crate) fn secret_entries(&self, report: &mut Report<'_>) -> Option<Vec<Entry<'a>>> {
        let Value::Object(members) = &self.node.value else {
            self.secret_mismatch(report);
            return None;
        };
        Some(self.distinct(members, report))
    }

    fn distinct(&self, members: &'a [Member], report: &mut Report<'_>) -> Vec<Entry<'a>> {
        let mut seen = HashMap::new();
        let mut entries = Vec::with_capacity(members.len());
        let kind = self.kind.values().unwrap_or(&Kind::Null);
        for member in members {
            // A note, in files that other programs read as well.
            if member.name.starts_with("//") {
                continue;
            }
            let path = member_path(&self.path, &member.name);
            if let Some(first) = seen.insert(member.name.as_str(), member.name_at) {
                let line = report.line(first, member.name_at);
                report.add(
                    member.name_at,
                    &path,
                    format!("given twice, first in {line}; keep one of them"),
                );
                seen.insert(&member.name, first);
                continue;
            }
            let place = Located {
                node: &member.node,
                path,
                kind,
            };
            entries.push(Entry {
                name: &member.name,
                name_at: member.name_at,
                place,
            });
        }
        entries
    }

    /// Reads an object with the keys of its table; any other key is reported.
    pub(crate) fn object(&self, report: &mut Report<'_>) -> Option<Object<'a>> {
        debug_assert!(self.kind.table().is_some(), "{}", self.path);
        let entries = self.entries(report)?;
        let table = self.kind.table()?;
        Some(Object::new(entries, table, report))
    }

    /// Reads an object with the keys of this table; any other key is reported.
    pub(crate) fn object_of(
        &self,
        table: &'static Table,
        report: &mut Report<'_>,
    ) -> Option<Object<'a>> {
        Some(Object::new(self.entries(report)?, table, report))
    }
}

/// An object with the keys of a table.
pub(crate) struct Object<'a> {
    entries: Vec<Entry<'a>>,
    table: &'static Table,
}

impl<'a> Object<'a> {
    /// Creates an object without keys, whose values are the defaults of the table.
    pub(crate) fn empty(table: &'static Table) -> Object<'a> {
        Object {
            entries: Vec::new(),
            table,
        }
    }

    fn new(entries: Vec<Entry<'a>>, table: &'static Table, report: &mut Report<'_>) -> Object<'a> {
        let mut known = Vec::with_capacity(entries.len());
        let mut meant = Vec::new();
        for mut entry in entries {
            match table.key(entry.name) {
                Some(key) => {
                    entry.place.kind = &key.kind;
                    known.push(entry);
                }
                None => meant.extend(report_unknown(entry, table, report)),
            }
        }
        // The value of a misspelled key is checked as well, so that one run finds its errors.
        for entry in meant {
            if known.iter().all(|other| other.name != entry.name) {
                known.push(entry);
            }
        }
        Object {
            entries: known,
            table,
        }
    }

    /// Returns the value of a key that the table has.
    #[inline(never)] // 170 callers would have a copy each
    pub(crate) fn get(&self, name: &str) -> Option<&Located<'a>> {
        debug_assert!(
            self.table.key(name).is_some(),
            "{name} is read, and the table of {} does not have it",
            self.table.name
        );
        #[cfg(test)]
        reads::note(self.table, name);
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| &entry.place)
    }

    /// Returns the default of a key.
    pub(crate) fn default(&self, name: &str) -> &'static Fallback {
        self.table
            .key(name)
            .map_or(&Fallback::Nothing, |key| &key.default)
    }

    /// Returns a flag; a missing one has the default of the table.
    pub(crate) fn flag(&self, name: &str, report: &mut Report<'_>) -> bool {
        let given = self.get(name).and_then(|place| place.flag(report));
        given.unwrap_or(matches!(self.default(name), Fallback::Flag(true)))
    }
}

/// Reports an unknown key. Returns it under the name that was most likely meant.
fn report_unknown<'a>(
    mut entry: Entry<'a>,
    table: &'static Table,
    report: &mut Report<'_>,
) -> Option<Entry<'a>> {
    let known = table.keys.iter().map(|key| key.name);
    let known = known
        .filter(|name| !name.starts_with('$'))
        .collect::<Vec<_>>();
    // A key that is known in another place is no misspelling, unless it is the start of the right one.
    let near = suggestions::nearest(entry.name, &known)
        .filter(|near| near.starts_with(entry.name) || !schema::is_elsewhere(entry.name));
    let bridge = bridges::find(entry.name, table);
    let hint = match (near, bridge) {
        (_, Some(bridge)) => format!("; {}", bridge.said()),
        (Some(near), None) => format!(", did you mean {near:?}?"),
        (None, None) => format!("; {}", bridges::place_of(entry.name, &known)),
    };
    report.add(
        entry.name_at,
        &entry.place.path,
        format!("unknown key{hint}"),
    );
    let key = table.key(bridge.map_or(near, |bridge| bridge.meant)?)?;
    (entry.name, entry.place.kind) = (key.name, &key.kind);
    Some(entry)
}

/// Keys that this thread has read, for the test that compares them with the table.
#[cfg(test)]
pub(crate) mod reads {
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    use super::Table;

    thread_local! {
        static READS: RefCell<BTreeSet<(&'static str, String)>> = const { RefCell::new(BTreeSet::new()) };
    }

    pub(super) fn note(table: &'static Table, key: &str) {
        READS.with_borrow_mut(|reads| reads.insert((table.name, key.to_owned())));
    }

    /// Returns the table and the name of each key that was read.
    pub(crate) fn take() -> BTreeSet<(&'static str, String)> {
        READS.take()
    }
}
