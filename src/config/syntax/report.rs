//! Errors of a configuration: collected with their places, put in the order of the file.

use core::fmt;

/// One thing that is wrong with the file. Displayed as `FILE:LINE:COL: PATH: MESSAGE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConfigError {
    /// The file as the caller named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `services[2].target`; empty for the document itself.
    pub path: String,
    /// What is wrong and what to do, in one line.
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

/// Collects errors.
pub(crate) struct Report<'a> {
    file: &'a str,
    lines: Lines<'a>,
    errors: Vec<(usize, ConfigError)>,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, bytes: &'a [u8]) -> Report<'a> {
        Report {
            file,
            lines: Lines::new(bytes),
            errors: Vec::new(),
        }
    }

    /// `at`: the byte where the offending key or value begins.
    pub(crate) fn add(&mut self, at: usize, path: &str, message: impl Into<String>) {
        let (line, column) = self.lines.place(at);
        let (file, path) = (self.file.to_owned(), path.to_owned());
        self.errors.push((
            at,
            ConfigError {
                file,
                line,
                column,
                path,
                message: message.into(),
            },
        ));
    }

    /// What was made, when nothing was wrong; else the errors in the order of the file.
    pub(crate) fn finish<T>(mut self, made: Option<T>) -> Result<T, Vec<ConfigError>> {
        self.errors.sort_by_key(|(at, _)| *at);
        match made {
            Some(made) if self.errors.is_empty() => Ok(made),
            _ => Err(self.errors.into_iter().map(|(_, error)| error).collect()),
        }
    }

    /// The line of a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.lines.place(at).0
    }
}

/// Where the lines of a text begin.
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

    /// Line and column of a byte, both from 1; the column counts characters.
    pub(crate) fn place(&self, at: usize) -> (usize, usize) {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = line
            .checked_sub(1)
            .and_then(|index| self.starts.get(index))
            .copied()
            .unwrap_or(0);
        let before = self
            .bytes
            .get(start..at.min(self.bytes.len()))
            .unwrap_or_default();
        // Every byte but the continuations of UTF-8 begins a character.
        (
            line,
            1 + before.iter().filter(|byte| **byte & 0xc0 != 0x80).count(),
        )
    }
}
