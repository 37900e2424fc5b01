//! Errors of a configuration: collected with their places, put in the order of the file.

use core::fmt;

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

/// Collects errors.
pub(crate) struct Report<'a> {
    file: &'a str,
    lines: Lines<'a>,
    errors: Vec<Unplaced>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Report<'a> {
        Report {
            file,
            lines: Lines::new(bytes),
            errors: Vec::new(),
        }
    }

    /// Adds an error. `at` is the offset at which the wrong key or value begins.
    pub(crate) fn add(&mut self, at: usize, path: &str, message: impl Into<String>) {
        self.errors.push(Unplaced {
            at,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Returns what was made when there is no error; else the errors in the order of the file.
    pub(crate) fn finish<T>(self, made: Option<T>) -> Result<T, Vec<ConfigError>> {
        let mut errors = self.errors.into_iter().enumerate().collect::<Vec<_>>();
        sort::sort_by(&mut errors, |(one, before), (other, after)| {
            (before.at, one).cmp(&(after.at, other))
        });
        let mut places = self.lines.places();
        let placed = |(_, Unplaced { at, path, message })| {
            let (line, column) = places.place(at);
            let file = self.file.to_owned();
            ConfigError {
                file,
                line,
                column,
                path,
                message,
            }
        };
        match made {
            Some(made) if errors.is_empty() => Ok(made),
            _ => Err(errors.into_iter().map(placed).collect()),
        }
    }

    /// Returns the line of a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.line(at)
    }
}

/// Offsets at which the lines of a text begin.
pub(crate) struct Lines<'a> {
    bytes: &'a [u8],
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Lines<'a> {
        let breaks = bytes
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .map(|(at, _)| at + 1);
        Lines {
            bytes,
            starts: core::iter::once(0).chain(breaks).collect(),
        }
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
        let bytes = self.lines.bytes;
        let end = at.min(bytes.len());
        let before = bytes.get(self.at..end).unwrap_or_default();
        crate::cost::count(before.len());
        // Every byte but the continuations of UTF-8 begins a character.
        self.column += before.iter().filter(|byte| **byte & 0xc0 != 0x80).count();
        self.at = end.max(self.at);
        (line, self.column)
    }
}
