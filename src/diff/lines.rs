//! Lines of a log, read one after the other into one buffer.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, stdin};
use std::path::Path;

use crate::limits::DIFF_LOG_LINE_BYTES;

/// Lines of a log.
pub(super) struct Lines<'a> {
    input: &'a mut dyn BufRead,
    line: Vec<u8>,
    number: u64,
}

/// A line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Line<'a> {
    /// Number of the line, from 1.
    pub(super) number: u64,
    /// Bytes of the line without its end; `None`: it is longer than [`DIFF_LOG_LINE_BYTES`].
    pub(super) text: Option<&'a [u8]>,
}

impl<'a> Lines<'a> {
    /// Creates the reader.
    pub(super) fn new(input: &'a mut dyn BufRead) -> Lines<'a> {
        Lines {
            input,
            line: Vec::new(),
            number: 0,
        }
    }

    /// Returns the next line; `None` at the end of the log. The last line need not have an end.
    ///
    /// # Errors
    /// The log cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.line.clear();
        let mut is_begun = false;
        let mut is_long = false;
        loop {
            let found = match self.input.fill_buf() {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if found.is_empty() && !is_begun {
                return Ok(None);
            }
            is_begun = true;
            let end = found.iter().position(|&byte| byte == b'\n');
            let part = found.get(..end.unwrap_or(found.len())).unwrap_or(found);
            if self.line.len().saturating_add(part.len()) > DIFF_LOG_LINE_BYTES {
                is_long = true;
            }
            if !is_long {
                self.line.extend_from_slice(part);
            }
            let is_last = found.is_empty() || end.is_some();
            let used = part.len().saturating_add(usize::from(end.is_some()));
            self.input.consume(used);
            if is_last {
                break;
            }
        }
        self.number = self.number.saturating_add(1);
        let text = self.line.strip_suffix(b"\r").unwrap_or(&self.line);
        Ok(Some(Line {
            number: self.number,
            text: (!is_long).then_some(text),
        }))
    }
}

/// Opens an access log; `-` is standard input.
///
/// # Errors
/// The file cannot be opened. The text names it.
pub fn open(path: &Path) -> Result<Box<dyn BufRead>, String> {
    if path.as_os_str() == "-" {
        return Ok(Box::new(stdin().lock()));
    }
    match File::open(path) {
        Ok(file) => Ok(Box::new(BufReader::with_capacity(64 << 10, file))),
        Err(error) => Err(format!("{}: cannot be read: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufReader;

    fn read(text: &[u8], buffer: usize) -> Vec<(u64, Option<Vec<u8>>)> {
        let mut input = BufReader::with_capacity(buffer, text);
        let mut lines = Lines::new(&mut input);
        let mut all = Vec::new();
        while let Some(line) = lines.next().expect("readable") {
            all.push((line.number, line.text.map(<[u8]>::to_vec)));
            assert!(lines.line.capacity() <= 2 * DIFF_LOG_LINE_BYTES);
        }
        all
    }

    #[test]
    fn lines_of_a_log() {
        for buffer in [1, 2, 7, 1000] {
            for (text, expected) in [
                (&b""[..], &[][..]),
                (b"\n", &["".as_bytes()][..]),
                (b"a", &[b"a"]),
                (b"a\n", &[b"a"]),
                (b"a\r\nb\n\nc", &[b"a", b"b", b"", b"c"]),
                (b"\r\r\n", &[b"\r"]),
                (b"\xff\0\n", &[b"\xff\0"]),
            ] {
                let found = read(text, buffer);
                let found = found.into_iter().map(|(_, line)| line.expect("short"));
                assert_eq!(found.collect::<Vec<_>>(), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn a_long_line_is_skipped() {
        let longest = vec![b'x'; DIFF_LOG_LINE_BYTES];
        let text = [
            &longest[..],
            b"y\nshort\n",
            &longest,
            b"\n",
            &longest,
            &longest,
        ]
        .concat();
        for buffer in [100, 8192, 1 << 20] {
            let expected = [
                (1, None),
                (2, Some(b"short".to_vec())),
                (3, Some(longest.clone())),
                (4, None),
            ];
            assert!(read(&text, buffer) == expected);
        }
    }
}
