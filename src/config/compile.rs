//! Reading a document value by value, collecting everything that is wrong with it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::document::{Entry, Node, Value, place};
use crate::time::Duration;

/// One thing that is wrong with a configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file's name as given.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Where in the document: `services[2].target`; empty for the document itself.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// The longest span of time a configuration may name.
const LONGEST: Duration = Duration::from_secs(30 * 24 * 3600);

/// What everything is read with, and where the errors go.
pub(super) struct Compiler<'a> {
    pub(super) file: &'a str,
    pub(super) text: &'a str,
    pub(super) env: &'a dyn Fn(&str) -> Option<String>,
    pub(super) read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    errors: Vec<(usize, ConfigError)>,
}

/// The members of an object, none twice, all known.
#[derive(Clone, Copy)]
pub(super) struct Object<'n> {
    entries: &'n [Entry],
    pub(super) at: usize,
}

impl<'n> Object<'n> {
    /// The member of that name.
    pub(super) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

impl<'a> Compiler<'a> {
    pub(super) fn new(
        file: &'a str,
        text: &'a str,
        env: &'a dyn Fn(&str) -> Option<String>,
        read: &'a dyn Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Compiler<'a> {
        Compiler { file, text, env, read, errors: Vec::new() }
    }

    /// Notes an error at a byte offset.
    pub(super) fn fault(&mut self, at: usize, path: &str, message: impl Into<String>) {
        let (line, column) = place(self.text, at);
        let error =
            ConfigError { file: self.file.to_owned(), line, column, path: path.to_owned(), message: message.into() };
        self.errors.push((at, error));
    }

    /// All errors, in the order of the file.
    pub(super) fn into_errors(mut self) -> Vec<ConfigError> {
        self.errors.sort_by_key(|(at, _)| *at);
        self.errors.into_iter().map(|(_, error)| error).collect()
    }

    pub(super) fn object<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<Object<'n>> {
        let entries = self.members(node, path)?;
        for entry in entries {
            if !known.contains(&entry.key.as_str()) {
                let advice = match closest(&entry.key, known) {
                    Some(name) => format!("unknown key, did you mean \"{name}\"?"),
                    None => format!("unknown key; known here: {}", known.join(", ")),
                };
                self.fault(entry.key_at, &join(path, &entry.key), advice);
            }
        }
        Some(Object { entries, at: node.at })
    }

    /// The members of an object with keys of the user's own; a key that comes twice is an error.
    pub(super) fn members<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [Entry]> {
        let Value::Object(entries) = &node.value else {
            self.expected(node, path, "an object");
            return None;
        };
        for (index, entry) in entries.iter().enumerate() {
            if entries.iter().take(index).any(|before| before.key == entry.key) {
                self.fault(entry.key_at, &join(path, &entry.key), "the key is given twice; remove one");
            }
        }
        Some(entries)
    }

    pub(super) fn expected(&mut self, node: &Node, path: &str, what: &str) {
        let found = match &node.value {
            Value::Null => "null",
            Value::Bool(true) => "true",
            Value::Bool(false) => "false",
            Value::Number(_) => "a number",
            Value::String(_) => "a string",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.fault(node.at, path, format!("expected {what}, found {found}"));
    }

    pub(super) fn boolean(&mut self, node: &Node, path: &str) -> Option<bool> {
        if let Value::Bool(value) = node.value {
            return Some(value);
        }
        self.expected(node, path, "true or false");
        None
    }

    /// A string, with what it takes from the environment put in.
    pub(super) fn string(&mut self, node: &Node, path: &str) -> Option<String> {
        let Value::String(written) = &node.value else {
            self.expected(node, path, "a string");
            return None;
        };
        match expand(written, self.env) {
            Ok(text) => Some(text),
            Err(message) => {
                self.fault(node.at, path, message);
                None
            }
        }
    }

    pub(super) fn list<'n>(&mut self, node: &'n Node, path: &str) -> Option<&'n [Node]> {
        if let Value::Array(items) = &node.value {
            return Some(items);
        }
        self.expected(node, path, "a list");
        None
    }

    /// A list of strings that `valid` takes.
    pub(super) fn strings(
        &mut self,
        node: &Node,
        path: &str,
        what: &str,
        valid: fn(&str) -> bool,
    ) -> Option<Vec<String>> {
        let items = self.list(node, path)?;
        let mut strings = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let text = self.string(item, &path)?;
            if !valid(&text) {
                self.fault(item.at, &path, format!("\"{}\" is not {what}", text.escape_debug()));
                return None;
            }
            strings.push(text);
        }
        Some(strings)
    }

    /// An integer within bounds.
    pub(super) fn integer(&mut self, node: &Node, path: &str, bounds: core::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = match &node.value {
            Value::Number(written) => written.parse::<u64>().ok(),
            Value::String(_) => crate::digits::parse(self.string(node, path)?.as_bytes()),
            _ => None,
        };
        match value.filter(|value| bounds.contains(value)) {
            Some(value) => Some(value),
            None => {
                self.fault(
                    node.at,
                    path,
                    format!("expected a whole number from {} to {}", bounds.start(), bounds.end()),
                );
                None
            }
        }
    }

    /// A span of time: `"15s"`, `"250ms"`, `"1m"`, `"1h"`, or whole milliseconds.
    pub(super) fn duration(&mut self, node: &Node, path: &str) -> Option<Duration> {
        let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
        let span = self.quantity(node, path, &units).map(|value| value.map(Duration::from_millis))?;
        match span.filter(|span| *span > Duration::ZERO && *span <= LONGEST) {
            Some(span) => Some(span),
            None => {
                let advice = "expected a duration above zero such as \"15s\", \"250ms\", \"1m\", \"1h\", or whole milliseconds; at most 30 days";
                self.fault(node.at, path, advice);
                None
            }
        }
    }

    /// A size: `"16KB"`, `"10MB"`, or bytes, within bounds.
    pub(super) fn size(&mut self, node: &Node, path: &str, bounds: core::ops::RangeInclusive<u64>) -> Option<u64> {
        let units = [("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30), ("B", 1)];
        match self.quantity(node, path, &units)?.filter(|size| bounds.contains(size)) {
            Some(size) => Some(size),
            None => {
                let advice = format!(
                    "expected a size such as \"16KB\" or \"10MB\", or bytes, from {} to {}",
                    bounds.start(),
                    bounds.end()
                );
                self.fault(node.at, path, advice);
                None
            }
        }
    }

    /// A number alone, or digits and a unit. `None` inside: neither; outside: an error was noted.
    fn quantity(&mut self, node: &Node, path: &str, units: &[(&str, u64)]) -> Option<Option<u64>> {
        match &node.value {
            Value::Number(written) => Some(written.parse::<u64>().ok()),
            Value::String(_) => {
                let text = self.string(node, path)?;
                let digits = text.bytes().take_while(u8::is_ascii_digit).count();
                let (number, unit) = text.split_at_checked(digits).unwrap_or_default();
                let factor = units.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
                let factor = if unit.is_empty() { Some(1) } else { factor };
                let number = crate::digits::parse(number.as_bytes());
                Some(number.zip(factor).and_then(|(number, factor)| number.checked_mul(factor)))
            }
            _ => Some(None),
        }
    }

    /// A timeout: a duration, or false for none.
    pub(super) fn timeout(&mut self, node: &Node, path: &str) -> Option<Option<Duration>> {
        match node.value {
            Value::Bool(false) => Some(None),
            _ => self.duration(node, path).map(Some),
        }
    }

    /// A path in the configuration, relative to the file it stands in.
    pub(super) fn beside(&self, path: &str) -> PathBuf {
        Path::new(self.file).parent().unwrap_or(Path::new("")).join(path)
    }
}

pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Puts `${VAR}` and `${VAR:-default}` in; a `$` without a brace is a `$`.
fn expand(written: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut text = String::new();
    let mut rest = written;
    while let Some((before, after)) = rest.split_once("${") {
        text.push_str(before);
        let (inside, tail) = after.split_once('}').ok_or("\"${\" without a \"}\"")?;
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let value = env(name).filter(|value| default.is_none() || !value.is_empty());
        match value.or(default.map(str::to_owned)) {
            Some(value) => text.push_str(&value),
            None => {
                return Err(format!(
                    "the environment variable {name} is not set; set it, or write ${{{name}:-default}}"
                ));
            }
        }
        rest = tail;
    }
    text.push_str(rest);
    Ok(text)
}

/// The known key that was probably meant.
fn closest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let lower = key.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&lower, &name.to_lowercase()), *name))
        .min()
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .map(|(_, name)| name)
}

/// Insertions, removals, replacements and swaps of neighbours between two words.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    let at = |rows: &[Vec<usize>], i: usize, j: usize| {
        rows.get(i).and_then(|row| row.get(j)).copied().unwrap_or(usize::MAX / 2)
    };
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let left = row.last().copied().unwrap_or(0) + 1;
            let mut best = left.min(at(&rows, i, j + 1) + 1).min(at(&rows, i, j) + usize::from(x != y));
            if i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x) {
                best = best.min(at(&rows, i - 1, j - 1) + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    at(&rows, a.len(), b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["route", "target", "stripPrefix", "tls"];
        for (key, meant) in [
            ("taget", Some("target")),
            ("Target", Some("target")),
            ("tragets", Some("target")),
            ("strip_prefix", Some("stripPrefix")),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(closest(key, &known), meant, "{key}");
        }
    }

    #[test]
    fn the_environment() {
        let env = |name: &str| match name {
            "A" => Some("x".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        };
        for (written, text) in [
            ("a", Ok("a")),
            ("${A}/${A}", Ok("x/x")),
            ("${B:-y}", Ok("y")),
            ("${B:-}", Ok("")),
            ("${A:-y}", Ok("x")),
            ("${EMPTY:-y}", Ok("y")),
            ("${EMPTY}", Ok("")),
            ("$A $$ $", Ok("$A $$ $")),
        ] {
            assert_eq!(expand(written, &env), text.map(str::to_owned).map_err(|()| String::new()), "{written}");
        }
        assert!(expand("${B}", &env).expect_err("unset").contains("B is not set"));
        assert!(expand("${A", &env).is_err());
    }
}
