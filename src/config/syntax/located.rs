//! The document as written: values with their paths, and the report of what is wrong with them.
//!
//! A value of the wrong kind is reported and answers `None`; the caller goes on with a default, so that one run finds every
//! error. A value that was reported before (`Broken`) says nothing again.

use std::collections::HashMap;

use super::document::{Member, Node, Value};
use super::report::Report;
use super::suggestions;

/// `services[2]`.
pub(crate) fn index_path(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// `services[2].target`; a name that would not read as one is quoted.
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

/// A value and how the file names it.
#[derive(Clone)]
pub(crate) struct Located<'a> {
    pub(crate) node: &'a Node<'a>,
    pub(crate) path: String,
}

/// A member of an object whose names are free.
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_at: usize,
    pub(crate) place: Located<'a>,
}

impl<'a> Located<'a> {
    /// Reports what is wrong with this value. The message is a predicate ("must be ..", "has no ..; write .."): a string, a
    /// number or a flag is put before it as its subject, so that whoever reads it sees what was met.
    pub(crate) fn fail(&self, report: &mut Report<'_>, message: impl Into<String>) {
        let message = message.into();
        let named = self.node.shown().map(|value| format!("{value} {message}"));
        self.fail_bare(report, named.unwrap_or(message));
    }

    /// Reports what is wrong with this value, which the message names already, or must not repeat because it may be a secret.
    pub(crate) fn fail_bare(&self, report: &mut Report<'_>, message: impl Into<String>) {
        if self.node.value != Value::Broken {
            report.add(self.node.at, &self.path, message);
        }
    }

    /// Reports that this value is of the wrong kind.
    pub(crate) fn mismatch(&self, report: &mut Report<'_>, expected: &str) {
        let Some(kind) = self.kind() else { return };
        let message = format!("must be {expected}, not {kind}");
        match self.node.value {
            // Their kind is the value.
            Value::Null | Value::Flag(_) => self.fail_bare(report, message),
            _ => self.fail(report, message),
        }
    }

    /// As [`Located::mismatch`], without the value: it may be a secret.
    pub(crate) fn secret_mismatch(&self, report: &mut Report<'_>, expected: &str) {
        let Some(kind) = self.kind() else { return };
        self.fail_bare(report, format!("must be {expected}, not {kind}"));
    }

    fn kind(&self) -> Option<&'static str> {
        Some(match &self.node.value {
            Value::Null => "null",
            Value::Flag(true) => "true",
            Value::Flag(false) => "false",
            Value::Number(_) => "a number",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
            Value::Broken => return None,
        })
    }

    pub(crate) fn is_null(&self) -> bool {
        self.node.value == Value::Null
    }

    pub(crate) fn is_false(&self) -> bool {
        self.node.value == Value::Flag(false)
    }

    pub(crate) fn text(&self, report: &mut Report<'_>, expected: &str) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.mismatch(report, expected);
                None
            }
        }
    }

    /// A string that no message repeats.
    pub(crate) fn secret_text(&self, report: &mut Report<'_>, expected: &str) -> Option<&'a str> {
        match &self.node.value {
            Value::Text(text) => Some(text),
            _ => {
                self.secret_mismatch(report, expected);
                None
            }
        }
    }

    pub(crate) fn flag(&self, report: &mut Report<'_>) -> Option<bool> {
        match self.node.value {
            Value::Flag(flag) => Some(flag),
            _ => {
                self.mismatch(report, "true or false");
                None
            }
        }
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(
        &self,
        report: &mut Report<'_>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let words = choices.iter().map(|(word, _)| *word).collect::<Vec<_>>();
        let listed = words
            .iter()
            .map(|word| format!("{word:?}"))
            .collect::<Vec<_>>()
            .join(", ");
        let text = self.text(report, &format!("one of {listed}"))?;
        let found = choices
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value);
        if found.is_none() {
            let hint = suggestions::nearest(text, &words)
                .map_or(String::new(), |word| format!("; did you mean {word:?}?"));
            self.fail(report, format!("must be one of {listed}{hint}"));
        }
        found
    }

    pub(crate) fn list(&self, report: &mut Report<'_>, expected: &str) -> Option<Vec<Located<'a>>> {
        let Value::List(items) = &self.node.value else {
            self.mismatch(report, expected);
            return None;
        };
        let place = |(index, node)| Located {
            node,
            path: index_path(&self.path, index),
        };
        Some(items.iter().enumerate().map(place).collect())
    }

    /// The members of an object, each name once: a second one is reported.
    pub(crate) fn entries(
        &self,
        report: &mut Report<'_>,
        expected: &str,
    ) -> Option<Vec<Entry<'a>>> {
        let Value::Object(members) = &self.node.value else {
            self.mismatch(report, expected);
            return None;
        };
        Some(self.distinct(members, report))
    }

    /// Reads an object; the error does not repeat a value that may be a secret.
    pub(crate) fn secret_entries(
        &self,
        report: &mut Report<'_>,
        expected: &str,
    ) -> Option<Vec<Entry<'a>>> {
        let Value::Object(members) = &self.node.value else {
            self.secret_mismatch(report, expected);
            return None;
        };
        Some(self.distinct(members, report))
    }

    fn distinct(&self, members: &'a [Member<'a>], report: &mut Report<'_>) -> Vec<Entry<'a>> {
        let mut seen = HashMap::new();
        let mut entries = Vec::with_capacity(members.len());
        for member in members {
            let path = member_path(&self.path, &member.name);
            if let Some(first) = seen.insert(member.name.as_str(), member.name_at) {
                let line = report.line(first);
                report.add(
                    member.name_at,
                    &path,
                    format!("given twice, first in line {line}; keep one of them"),
                );
                seen.insert(&member.name, first);
                continue;
            }
            let place = Located {
                node: &member.node,
                path,
            };
            entries.push(Entry {
                name: &member.name,
                name_at: member.name_at,
                place,
            });
        }
        entries
    }

    /// An object of known keys; any other key is reported.
    pub(crate) fn object(
        &self,
        report: &mut Report<'_>,
        expected: &str,
        known: &[&str],
    ) -> Option<Object<'a>> {
        let mut entries = self.entries(report, expected)?;
        entries.retain(|entry| {
            let is_known = known.contains(&entry.name);
            if !is_known {
                let hint = match suggestions::nearest(entry.name, known) {
                    Some(name) => format!(", did you mean {name:?}?"),
                    None => format!("; the keys here are {}", known.join(", ")),
                };
                report.add(
                    entry.name_at,
                    &entry.place.path,
                    format!("unknown key{hint}"),
                );
            }
            is_known
        });
        Some(Object { entries })
    }
}

/// An object whose keys are known ones.
pub(crate) struct Object<'a> {
    entries: Vec<Entry<'a>>,
}

impl<'a> Object<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<&Located<'a>> {
        self.entries
            .iter()
            .find(|entry| entry.name == name)
            .map(|entry| &entry.place)
    }

    /// A flag with a default.
    pub(crate) fn flag(&self, name: &str, default: bool, report: &mut Report<'_>) -> bool {
        self.get(name)
            .and_then(|place| place.flag(report))
            .unwrap_or(default)
    }
}
