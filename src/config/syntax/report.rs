//! Errors of a configuration: collected with their places, put in the order of the file.

use core::fmt;
use std::borrow::Cow;

use crate::config::schema::bridges::KEYS_ARE;
use crate::sort;

/// Error of the file, displayed as `FILE:LINE:COL: PATH: MESSAGE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file as the caller named it.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1, in characters.
    pub column: usize,
    /// Path such as `services[2].target`; empty for the document itself.
    pub path: String,
    /// Message in one line: what is wrong and what to do.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ConfigError {
            file,
            line,
            column,
            path,
            message,
        } = self;
        match path.is_empty() {
            true => write!(f, "{file}:{line}:{column}: {message}"),
            false => write!(f, "{file}:{line}:{column}: {path}: {message}"),
        }
    }
}

impl core::error::Error for ConfigError {}

/// Error whose line and column are not known yet.
struct Unplaced {
    at: usize,
    path: String,
    message: String,
}

/// File with the offset that its first byte has in the report.
struct File<'a> {
    name: String,
    base: usize,
    lines: Lines<'a>,
}

/// Collects errors of a file and of the files that it includes. All of them share one range of
/// offsets.
pub(crate) struct Report<'a> {
    /// The files in the order of their offsets; at least one.
    files: Vec<File<'a>>,
    errors: Vec<Unplaced>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &str, bytes: &'a [u8]) -> Report<'a> {
        let mut report = Report {
            files: Vec::new(),
            errors: Vec::new(),
        };
        let _ = report.add_file(file, Cow::Borrowed(bytes));
        report
    }

    /// Adds a file. Returns the offset of its first byte in this report.
    pub(crate) fn add_file(&mut self, name: &str, bytes: Cow<'a, [u8]>) -> usize {
        // One byte between two files: the end of a file is a place, too.
        let after = |file: &File<'_>| file.base + file.lines.bytes.len() + 1;
        let base = self.files.last().map_or(0, after);
        self.files.push(File {
            name: name.to_owned(),
            base,
            lines: Lines::new(bytes),
        });
        base
    }

    /// Adds an error. `at` is the offset at which the wrong key or value begins.
    pub(crate) fn add(&mut self, at: usize, path: &str, message: impl Into<String>) {
        self.errors.push(Unplaced {
            at,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Returns true if there is no error.
    pub(crate) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    /// Number of errors.
    pub(crate) fn count(&self) -> usize {
        self.errors.len()
    }

    /// Returns what was made when there is no error; else the errors in the order of the files.
    pub(crate) fn finish<T>(self, made: Option<T>) -> Result<T, Vec<ConfigError>> {
        match made {
            Some(made) if self.errors.is_empty() => return Ok(made),
            _ => {}
        }
        let mut errors = self.errors.into_iter().enumerate().collect::<Vec<_>>();
        sort::sort_by(&mut errors, |(one, before), (other, after)| {
            (before.at, one).cmp(&(after.at, other))
        });
        let mut errors = errors.into_iter().map(|(_, error)| error).peekable();
        let mut placed = Vec::with_capacity(errors.len());
        let mut lists = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            let end = self
                .files
                .get(index + 1)
                .map_or(usize::MAX, |next| next.base);
            let mut places = file.lines.places();
            while let Some(Unplaced { at, path, message }) = errors.next_if(|error| error.at < end)
            {
                let (line, column) = places.place(at.saturating_sub(file.base));
                let message = with_list_once(message, &mut lists);
                placed.push(ConfigError {
                    file: file.name.clone(),
                    line,
                    column,
                    path,
                    message,
                });
            }
        }
        Err(placed)
    }

    /// Returns the line of a byte for a message about the byte `from`: with the name of its file, if
    /// that is another one.
    pub(crate) fn line(&self, at: usize, from: usize) -> String {
        let index_of = |at| {
            self.files
                .partition_point(|file| file.base <= at)
                .saturating_sub(1)
        };
        let Some(file) = self.files.get(index_of(at)) else {
            return String::new();
        };
        let line = file.lines.line(at.saturating_sub(file.base));
        match index_of(at) == index_of(from) {
            true => format!("line {line}"),
            false => format!("line {line} of {}", file.name),
        }
    }
}

/// Length from which on a list is printed once.
const LONG_LIST_BYTES: usize = 120;

/// Returns a message without the long list of keys at its end, if an earlier message has the same list.
fn with_list_once(mut message: String, lists: &mut Vec<String>) -> String {
    let begin = message.find(KEYS_ARE);
    let Some((begin, list)) = begin.and_then(|at| Some((at, message.get(at..)?))) else {
        return message;
    };
    if list.len() < LONG_LIST_BYTES {
        return message;
    }
    if lists.iter().any(|known| known == list) {
        message.truncate(begin);
        message.push_str("the keys here are listed above");
    } else {
        lists.push(list.to_owned());
    }
    message
}

/// Offsets at which the lines of a text begin.
pub(crate) struct Lines<'a> {
    bytes: Cow<'a, [u8]>,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: Cow<'a, [u8]>) -> Lines<'a> {
        let breaks = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        let starts = core::iter::once(0).chain(breaks).collect();
        Lines { bytes, starts }
    }

    /// Returns the line of a byte, from 1.
    fn line(&self, at: usize) -> usize {
        self.starts.partition_point(|start| *start <= at)
    }

    /// Returns a finder of places.
    pub(crate) fn places(&self) -> Places<'_> {
        Places {
            lines: self,
            line: 0,
            at: 0,
            column: 1,
        }
    }
}

/// Finder of lines and columns. Bytes in ascending order cost one walk over the text, even if it is
/// one long line.
pub(crate) struct Places<'a> {
    lines: &'a Lines<'a>,
    /// Line of the last byte.
    line: usize,
    /// Offset of the last byte.
    at: usize,
    /// Column of the last byte.
    column: usize,
}

impl Places<'_> {
    /// Returns line and column of a byte, both from 1; the column counts characters.
    pub(crate) fn place(&mut self, at: usize) -> (usize, usize) {
        let line = self.lines.line(at);
        if line != self.line || at < self.at {
            let start = line
                .checked_sub(1)
                .and_then(|index| self.lines.starts.get(index));
            (self.line, self.at, self.column) = (line, start.copied().unwrap_or(0), 1);
        }
        let bytes = self.lines.bytes.as_ref();
        let end = at.min(bytes.len());
        let before = bytes.get(self.at..end).unwrap_or_default();
        crate::cost::count(before.len());
        // Every byte but the continuations of UTF-8 begins a character.
        self.column += before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        self.at = end.max(self.at);
        (line, self.column)
    }
}
