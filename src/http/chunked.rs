//! Chunked transfer coding (RFC 9112 7.1): decoding and encoding. Received framing bytes end here.
//!
//! ```text
//!            HEXDIG           CR           LF, size > 0           data             CR         LF
//! SizeStart -------> Size ---------> SizeLf ------------> Data ---------> DataCr ----> DataLf ----> SizeStart
//!                     | ;             ^ \ LF, size = 0
//!                     v     CR        |  `--> TrailerStart --name--> Trailer --CR--> TrailerLf --> TrailerStart
//!                 Extension ----------'            | CR
//!                                                  `--> EndLf --LF--> Done
//! ```
//!
//! A bare CR or LF is an error everywhere: parsers that treat it differently would see different
//! messages (TERM.EXT, EXT.TERM, TERM.SPILL, SPILL.TERM). Extensions and trailers are checked,
//! bounded and dropped.

use super::field::{is_tchar, is_value_byte};
use crate::limits::{CHUNK_EXTENSION_BYTES, CHUNK_SIZE_DIGITS, TRAILER_BYTES, TRAILER_FIELDS};

/// Fault of a chunked body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkError {
    /// The size has no hex digit, too many, or another byte.
    Size,
    /// A bare CR or LF, or other bytes in place of a line end.
    LineEnd,
    /// An extension is not `*( ";" token [ "=" ( token / quoted-string ) ] )`.
    Extension,
    /// A trailer line is not a field line.
    Trailer,
    /// Too many bytes of extensions or trailers.
    TooLarge,
}

impl ChunkError {
    /// All faults.
    pub const ALL: &[ChunkError] = &[
        ChunkError::Size,
        ChunkError::LineEnd,
        ChunkError::Extension,
        ChunkError::Trailer,
        ChunkError::TooLarge,
    ];

    /// Returns the text of the fault for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            ChunkError::Size => "chunk size",
            ChunkError::LineEnd => "line end of a chunk",
            ChunkError::Extension => "chunk extension",
            ChunkError::Trailer => "trailer line",
            ChunkError::TooLarge => "chunk extensions or trailers too large",
        }
    }
}

/// Content at the front of the input.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChunkStep {
    /// The whole input is framing; more bytes are needed.
    Need,
    /// Framing of this many bytes; other bytes follow.
    Skip(usize),
    /// Framing, then data. Both count as consumed.
    Data {
        /// Bytes of framing.
        skip: usize,
        /// Bytes of data behind the framing.
        len: usize,
    },
    /// Framing up to the end of the body.
    End {
        /// Bytes of framing.
        skip: usize,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    SizeStart,
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    EndLf,
    Done,
}

/// Inside the extensions of a size line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Extension {
    NameStart,
    Name,
    ValueStart,
    Value,
    Quoted,
    Escaped,
    QuoteEnd,
}

/// Incremental decoder of a chunked body.
#[derive(Clone, Debug)]
pub struct ChunkDecoder {
    state: State,
    /// Size of the chunk while it is parsed, then the rest of its data.
    left: u64,
    digits: u16,
    extension_bytes: u16,
    trailer_bytes: u16,
    trailers: u16,
}

impl Default for ChunkDecoder {
    fn default() -> Self {
        ChunkDecoder::new()
    }
}

impl ChunkDecoder {
    /// Creates a decoder for a new body.
    pub fn new() -> ChunkDecoder {
        ChunkDecoder {
            state: State::SizeStart,
            left: 0,
            digits: 0,
            extension_bytes: 0,
            trailer_bytes: 0,
            trailers: 0,
        }
    }

    /// Returns true after the last chunk and its trailers.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Decodes the front of `input`: framing up to the next data or to the end. The reported bytes
    /// are consumed.
    ///
    /// # Errors
    /// The framing is invalid. The decoder must not be used any more.
    pub fn step(&mut self, input: &[u8]) -> Result<ChunkStep, ChunkError> {
        for (skip, &byte) in input.iter().enumerate() {
            if self.state == State::Data {
                let len = usize::try_from(self.left)
                    .unwrap_or(usize::MAX)
                    .min(input.len().saturating_sub(skip));
                self.left = self.left.saturating_sub(len as u64);
                if self.left == 0 {
                    self.state = State::DataCr;
                }
                return Ok(ChunkStep::Data { skip, len });
            }
            if self.state == State::Done {
                return Ok(ChunkStep::End { skip });
            }
            crate::cost::count(1);
            self.state = self.next(byte)?;
        }
        Ok(if self.state == State::Done {
            ChunkStep::End { skip: input.len() }
        } else {
            ChunkStep::Need
        })
    }

    fn next(&mut self, byte: u8) -> Result<State, ChunkError> {
        match self.state {
            State::SizeStart => {
                self.left = 0;
                self.digits = 0;
                self.digit(byte)
            }
            State::Size => match byte {
                b'\r' => Ok(State::SizeLf),
                b';' => self.extension(Extension::NameStart),
                _ => self.digit(byte),
            },
            State::Extension(part) => self.in_extension(part, byte),
            State::SizeLf => match (byte, self.left) {
                (b'\n', 0) => Ok(State::TrailerStart),
                (b'\n', _) => Ok(State::Data),
                _ => Err(ChunkError::LineEnd),
            },
            State::DataCr if byte == b'\r' => Ok(State::DataLf),
            State::DataLf if byte == b'\n' => Ok(State::SizeStart),
            State::EndLf if byte == b'\n' => Ok(State::Done),
            State::TrailerLf if byte == b'\n' => Ok(State::TrailerStart),
            State::DataCr | State::DataLf | State::EndLf | State::TrailerLf => {
                Err(ChunkError::LineEnd)
            }
            State::TrailerStart | State::TrailerName | State::TrailerValue => self.in_trailer(byte),
            State::Data | State::Done => Ok(self.state),
        }
    }

    fn digit(&mut self, byte: u8) -> Result<State, ChunkError> {
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Err(if byte == b'\n' {
                ChunkError::LineEnd
            } else {
                ChunkError::Size
            });
        };
        count(&mut self.digits, CHUNK_SIZE_DIGITS, ChunkError::Size)?;
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size)
    }

    fn extension(&mut self, part: Extension) -> Result<State, ChunkError> {
        count(
            &mut self.extension_bytes,
            CHUNK_EXTENSION_BYTES,
            ChunkError::TooLarge,
        )?;
        Ok(State::Extension(part))
    }

    fn in_extension(&mut self, part: Extension, byte: u8) -> Result<State, ChunkError> {
        use Extension::{Escaped, Name, NameStart, QuoteEnd, Quoted, Value, ValueStart};
        let next = match (part, byte) {
            (Name | Value | QuoteEnd, b'\r') => return Ok(State::SizeLf),
            (Name | Value | QuoteEnd, b';') => NameStart,
            (Name, b'=') => ValueStart,
            (ValueStart, b'"') => Quoted,
            (Quoted, b'"') => QuoteEnd,
            (Quoted, b'\\') => Escaped,
            (NameStart | Name, _) if is_tchar(byte) => Name,
            (ValueStart | Value, _) if is_tchar(byte) => Value,
            (Quoted | Escaped, _) if is_value_byte(byte) => Quoted,
            (_, b'\n' | b'\r') => return Err(ChunkError::LineEnd),
            _ => return Err(ChunkError::Extension),
        };
        self.extension(next)
    }

    fn in_trailer(&mut self, byte: u8) -> Result<State, ChunkError> {
        count(&mut self.trailer_bytes, TRAILER_BYTES, ChunkError::TooLarge)?;
        match (self.state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart, _) if is_tchar(byte) => {
                count(&mut self.trailers, TRAILER_FIELDS, ChunkError::TooLarge)?;
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerName, _) if is_tchar(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerValue, _) if is_value_byte(byte) => Ok(State::TrailerValue),
            (_, b'\n' | b'\r') => Err(ChunkError::LineEnd),
            _ => Err(ChunkError::Trailer),
        }
    }
}

/// Counts one more byte of extensions or trailers, up to their bound.
fn count(counter: &mut u16, bound: usize, past: ChunkError) -> Result<(), ChunkError> {
    *counter = counter.saturating_add(1);
    if usize::from(*counter) > bound {
        Err(past)
    } else {
        Ok(())
    }
}

// All of them are counted in 16 bits.
const _: () = {
    assert!(CHUNK_SIZE_DIGITS < u16::MAX as usize);
    assert!(CHUNK_EXTENSION_BYTES < u16::MAX as usize);
    assert!(TRAILER_BYTES < u16::MAX as usize);
    assert!(TRAILER_FIELDS < u16::MAX as usize);
};

/// Writes the size line of an outgoing chunk: hex without leading zeros, CRLF.
pub fn chunk_size_line(len: usize, line: &mut [u8; 18]) -> &[u8] {
    let [digits @ .., cr, lf] = line;
    [*cr, *lf] = *b"\r\n";
    let mut left = len;
    let mut start = digits.len();
    for (at, digit) in digits.iter_mut().enumerate().rev() {
        *digit = b"0123456789abcdef".get(left & 15).copied().unwrap_or(b'0');
        start = at;
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    line.get(start..).unwrap_or_default()
}

/// Last chunk with an empty trailer section.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes in pieces. Returns the data and the consumed bytes; `None` if the body is
    /// incomplete.
    fn feed(bytes: &[u8], piece: usize) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
        let (mut decoder, mut data, mut at) = (ChunkDecoder::new(), Vec::new(), 0);
        while at < bytes.len() {
            let input = &bytes[at..(at + piece).min(bytes.len())];
            match decoder.step(input)? {
                ChunkStep::Need => {
                    assert!(!decoder.is_done());
                    at += input.len();
                }
                ChunkStep::Skip(n) => at += n,
                ChunkStep::Data { skip, len } => {
                    data.extend_from_slice(&input[skip..skip + len]);
                    at += skip + len;
                }
                ChunkStep::End { skip } => {
                    assert!(decoder.is_done());
                    return Ok(Some((data, at + skip)));
                }
            }
        }
        Ok(None)
    }

    fn decode(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, ChunkError> {
        let whole = feed(bytes, usize::MAX / 2);
        for piece in 1..bytes.len().min(40) {
            assert_eq!(
                feed(bytes, piece),
                whole,
                "pieces of {piece}: {:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        whole
    }

    #[test]
    fn bodies() {
        for (bytes, data) in [
            (&b"0\r\n\r\n"[..], &b""[..]),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"005\r\nhello\r\n000\r\n\r\n", b"hello"),
            (
                b"000000000000005\r\nhello\r\n000000000000000\r\n\r\n",
                b"hello",
            ),
            (
                b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
                b"01234567890123456789",
            ),
            (b"5;a\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"5;a=b;c=\"d\\\"; \xe4\"\r\nhello\r\n0;x\r\n\r\n", b"hello"),
            (
                b"2\r\n\r\n\r\n0\r\nX: y\r\nContent-Length: 5\r\nZ:\r\n\r\n",
                b"\r\n",
            ),
        ] {
            assert_eq!(
                decode(bytes),
                Ok(Some((data.to_vec(), bytes.len()))),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
            let trailing = [bytes, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(
                decode(&trailing),
                Ok(Some((data.to_vec(), bytes.len()))),
                "bytes behind the body stay there"
            );
            for cut in 0..bytes.len() {
                assert_eq!(decode(&bytes[..cut]), Ok(None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn broken_bodies() {
        use ChunkError::{Extension, LineEnd, Size, TooLarge, Trailer};
        for (row, bytes, error) in [
            ("no digit", &b"\r\n"[..], Size),
            ("50 sign", b"+5\r\nhello", Size),
            ("50 minus", b"-1\r\n", Size),
            ("50 0x", b"0x5\r\nhello", Size),
            ("50 space before", b" 5\r\nhello", Size),
            ("50 space behind", b"5 \r\nhello", Size),
            ("50 tab behind", b"5\t\r\nhello", Size),
            ("50 sixteen digits", b"1000000000000000\r\n", Size),
            ("50 sixteen zeros", b"0000000000000000\r\n", Size),
            ("TERM bare LF", b"5\nhello\r\n0\r\n\r\n", LineEnd),
            ("TERM bare CR", b"5\rhello\r\n0\r\n\r\n", LineEnd),
            ("TERM CR CR LF", b"5\r\r\nhello", LineEnd),
            ("TERM.EXT LF in an extension", b"5;a\nb\r\nhello", LineEnd),
            ("EXT.TERM CR in an extension", b"5;a\rb\r\nhello", LineEnd),
            (
                "EXT LF in a quoted extension",
                b"5;a=\"\n\"\r\nhello",
                LineEnd,
            ),
            ("EXT empty name", b"5;\r\nhello", LineEnd),
            ("EXT empty value", b"5;a=\r\nhello", LineEnd),
            ("EXT space", b"5; a\r\nhello", Extension),
            ("EXT behind a quote", b"5;a=\"b\"c\r\nhello", Extension),
            ("EXT NUL", b"5;a\0\r\nhello", Extension),
            (
                "SPILL data longer than its size",
                b"5\r\nhello!\r\n0\r\n\r\n",
                LineEnd,
            ),
            (
                "SPILL bare LF behind data",
                b"5\r\nhello\n0\r\n\r\n",
                LineEnd,
            ),
            (
                "SPILL bare CR behind data",
                b"5\r\nhello\r0\r\n\r\n",
                LineEnd,
            ),
            (
                "SPILL two other bytes behind data",
                b"5\r\nhelloXX0\r\n\r\n",
                LineEnd,
            ),
            (
                "SPILL another byte in place of the CR",
                b"5\r\nhelloX\n0\r\n\r\n",
                LineEnd,
            ),
            (
                "SPILL another byte in place of the LF",
                b"5\r\nhello\rX0\r\n\r\n",
                LineEnd,
            ),
            ("end bare LF", b"0\r\n\n", LineEnd),
            ("end bare CR", b"0\r\n\rX", LineEnd),
            ("trailer without a colon", b"0\r\nX\r\n\r\n", LineEnd),
            (
                "trailer with a space before the colon",
                b"0\r\nX : y\r\n\r\n",
                Trailer,
            ),
            ("trailer folded", b"0\r\nX: y\r\n z\r\n\r\n", Trailer),
            ("trailer bare LF", b"0\r\nX: y\n\r\n", LineEnd),
            ("trailer bare CR", b"0\r\nX: y\rZ\r\n\r\n", LineEnd),
            ("trailer NUL", b"0\r\nX: \0\r\n\r\n", Trailer),
            ("trailer empty name", b"0\r\n: y\r\n\r\n", Trailer),
        ] {
            assert_eq!(decode(bytes), Err(error), "row {row}");
        }
        let extension = format!("1;{}\r\n", "a".repeat(CHUNK_EXTENSION_BYTES));
        assert_eq!(feed(extension.as_bytes(), 4096), Err(TooLarge));
        let spread = "1;a\r\nx\r\n".repeat(CHUNK_EXTENSION_BYTES);
        assert_eq!(
            feed(spread.as_bytes(), 4096),
            Err(TooLarge),
            "the bound is over the whole body"
        );
        let trailer = format!("0\r\nX: {}\r\n\r\n", "a".repeat(TRAILER_BYTES));
        assert_eq!(feed(trailer.as_bytes(), 4096), Err(TooLarge));
        let trailers = format!("0\r\n{}\r\n", "X: y\r\n".repeat(TRAILER_FIELDS + 1));
        assert_eq!(feed(trailers.as_bytes(), 4096), Err(TooLarge));
    }

    #[test]
    fn what_just_fits() {
        for body in [
            format!(
                "1;{}\r\nx\r\n0\r\n\r\n",
                "a".repeat(CHUNK_EXTENSION_BYTES - 1)
            ),
            // Every byte of a trailer counts except its LF, and so does the CR behind all trailers.
            format!(
                "1\r\nx\r\n0\r\nX: {}\r\n\r\n",
                "a".repeat(TRAILER_BYTES - "X: \r\r".len())
            ),
            format!("1\r\nx\r\n0\r\n{}\r\n", "X: y\r\n".repeat(TRAILER_FIELDS)),
        ] {
            assert_eq!(
                feed(body.as_bytes(), 4096),
                Ok(Some((b"x".to_vec(), body.len())))
            );
        }
    }

    #[test]
    fn size_lines() {
        for (len, line) in [
            (0, "0\r\n"),
            (15, "f\r\n"),
            (16, "10\r\n"),
            (65_536, "10000\r\n"),
        ] {
            assert_eq!(chunk_size_line(len, &mut [0; 18]), line.as_bytes());
        }
        assert_eq!(
            chunk_size_line(usize::MAX, &mut [0; 18]).len(),
            usize::BITS as usize / 4 + 2
        );
    }

    proptest! {
        #[test]
        fn what_we_write_we_read(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..300), 0..8), piece in 1_usize..400) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(chunk_size_line(chunk.len(), &mut [0; 18]));
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(LAST_CHUNK);
            prop_assert_eq!(feed(&wire, piece), Ok(Some((chunks.concat(), wire.len()))));
        }

        #[test]
        fn any_bytes_read_the_same_in_any_pieces(bytes in prop::collection::vec(prop::sample::select(b"015aF;=\"\\x: \r\n\0".to_vec()), 0..60), piece in 1_usize..60) {
            prop_assert_eq!(feed(&bytes, piece), feed(&bytes, usize::MAX / 2));
        }
    }
}
