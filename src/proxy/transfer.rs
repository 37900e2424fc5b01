//! Transfer of a body in one direction: read in the framing it came in, written in the framing it
//! leaves in.
//!
//! Sized bytes move by handing buffers over. Chunked bytes are decoded and put into chunks of our
//! own: received framing bytes are never passed on (RFC 9112 7.1).

use crate::buffer::{Buffer, BufferPool};
use crate::http::chunked::{ChunkDecoder, ChunkError, ChunkStep, LAST_CHUNK, chunk_size_line};

use super::outbox::Outbox;
use crate::http::framing::ResponseBody;

/// Framing of an incoming body: what tells its end (RFC 9112 6.3).
pub(super) enum BodyReader {
    /// Number of bytes that are still to come.
    Sized(u64),
    /// Chunks are being decoded.
    Chunked(ChunkDecoder),
    /// Everything until the peer ends its stream.
    UntilClose,
}

impl BodyReader {
    /// Returns how a response's body is read.
    pub(super) fn of_response(body: &ResponseBody) -> BodyReader {
        match body {
            ResponseBody::Empty => BodyReader::Sized(0),
            ResponseBody::Sized(bytes) => BodyReader::Sized(*bytes),
            ResponseBody::Chunked => BodyReader::Chunked(ChunkDecoder::new()),
            ResponseBody::UntilClose => BodyReader::UntilClose,
        }
    }
}

/// Framing of an outgoing body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum BodyWriter {
    /// The bytes alone: a Content-Length announced them, or the end of the connection ends them.
    Plain,
    /// In chunks.
    Chunked,
    /// Not at all: read to know where the message ends, and dropped.
    Discard,
}

/// A one-way transfer of a body.
pub(super) struct Transfer {
    from: BodyReader,
    to: BodyWriter,
    moved: u64,
    /// Some of it went by unseen: the rest of it may, however short.
    has_spliced: bool,
}

/// Result of a step of a transfer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Progress {
    /// All that is there was moved, or there is no room for more.
    More,
    /// The body is complete, its end is written.
    Complete,
}

/// Bytes a chunk of ours costs beside its data: size line, CRLF, and the last chunk that may follow
/// it at once.
const CHUNK_OVERHEAD: usize = 18 + 2 + LAST_CHUNK.len();

impl Transfer {
    /// A transfer at its start.
    pub(super) fn new(from: BodyReader, to: BodyWriter) -> Transfer {
        Transfer {
            from,
            to,
            moved: 0,
            has_spliced: false,
        }
    }

    /// Body bytes moved so far, without framing.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Returns whether only the end of the stream ends this body.
    pub(super) fn ends_with_stream(&self) -> bool {
        matches!(self.from, BodyReader::UntilClose)
    }

    /// Returns the number of bytes that may be spliced; `None` where fewer than `least` do not pay.
    /// An end that is not known is taken to be as far away as the beginning.
    pub(super) fn spliceable(&self, least: u64) -> Option<u64> {
        let (most, expected) = match self.from {
            BodyReader::Sized(left) => (left, left),
            BodyReader::UntilClose => (u64::MAX, self.moved),
            BodyReader::Chunked(_) => return None,
        };
        (self.to == BodyWriter::Plain && most > 0 && (self.has_spliced || expected >= least))
            .then_some(most)
    }

    /// Notes `n` bytes that were spliced.
    pub(super) fn spliced(&mut self, n: usize) -> Progress {
        self.has_spliced = true;
        self.moved = self.moved.saturating_add(n as u64);
        match &mut self.from {
            BodyReader::Sized(left) => {
                debug_assert!(n as u64 <= *left, "more than was offered went by");
                *left = left.saturating_sub(n as u64);
                if *left == 0 {
                    Progress::Complete
                } else {
                    Progress::More
                }
            }
            BodyReader::UntilClose | BodyReader::Chunked(_) => Progress::More,
        }
    }

    /// Moves what is there and fits.
    ///
    /// # Errors
    /// The chunked framing of the source is broken; nothing behind it can be trusted.
    pub(super) fn step(
        &mut self,
        inbox: &mut Buffer,
        outbox: &mut Outbox,
        pool: &mut BufferPool,
    ) -> Result<Progress, ChunkError> {
        let (n, done) = match &mut self.from {
            BodyReader::Sized(left) => {
                let offered = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(inbox.len());
                let n = pass(self.to, inbox, offered, outbox, pool);
                *left = left.saturating_sub(n as u64);
                (n, *left == 0)
            }
            BodyReader::UntilClose => {
                let offered = inbox.len();
                (pass(self.to, inbox, offered, outbox, pool), false)
            }
            BodyReader::Chunked(decoder) => recode(decoder, self.to, inbox, outbox, pool)?,
        };
        self.moved = self.moved.saturating_add(n as u64);
        if !done {
            return Ok(Progress::More);
        }
        self.finish(outbox, pool);
        Ok(Progress::Complete)
    }

    /// The source ended its stream cleanly, and that is the end of this body.
    pub(super) fn finish(&mut self, outbox: &mut Outbox, pool: &mut BufferPool) {
        if self.to == BodyWriter::Chunked {
            let written = outbox.push(&[LAST_CHUNK], pool);
            debug_assert!(written, "room for the last chunk is kept free");
        }
    }
}

/// Moves up to `offered` bytes as they are.
#[inline(always)]
fn pass(
    to: BodyWriter,
    inbox: &mut Buffer,
    offered: usize,
    outbox: &mut Outbox,
    pool: &mut BufferPool,
) -> usize {
    match to {
        BodyWriter::Plain if outbox.accepts() => outbox.take(inbox, offered, pool),
        BodyWriter::Plain => 0,
        BodyWriter::Discard => {
            inbox.consume(offered);
            offered
        }
        BodyWriter::Chunked => {
            let n = offered.min(outbox.push_room().saturating_sub(CHUNK_OVERHEAD));
            let data = inbox.filled().get(..n).unwrap_or_default();
            if n == 0 || !push_chunk(data, outbox, pool) {
                return 0;
            }
            inbox.consume(n);
            n
        }
    }
}

/// Decodes chunks and writes their data; the number of data bytes and whether the last chunk was
/// seen.
fn recode(
    decoder: &mut ChunkDecoder,
    to: BodyWriter,
    inbox: &mut Buffer,
    outbox: &mut Outbox,
    pool: &mut BufferPool,
) -> Result<(usize, bool), ChunkError> {
    let mut moved = 0_usize;
    while !inbox.is_empty() {
        let room = match to {
            BodyWriter::Discard => inbox.len(),
            BodyWriter::Plain | BodyWriter::Chunked => {
                outbox.push_room().saturating_sub(CHUNK_OVERHEAD)
            }
        };
        if room == 0 {
            break;
        }
        let input = inbox.filled();
        let input = input.get(..room.min(input.len())).unwrap_or(input);
        match decoder.step(input)? {
            ChunkStep::Need => inbox.consume(input.len()),
            ChunkStep::Skip(n) => inbox.consume(n),
            ChunkStep::Data { skip, len } => {
                let end = skip.saturating_add(len);
                let data = input.get(skip..end).unwrap_or_default();
                let written = match to {
                    BodyWriter::Discard => true,
                    BodyWriter::Plain => outbox.push(&[data], pool),
                    BodyWriter::Chunked => push_chunk(data, outbox, pool),
                };
                debug_assert!(written, "no more than fits was decoded");
                moved = moved.saturating_add(len);
                inbox.consume(end);
            }
            ChunkStep::End { skip } => {
                inbox.consume(skip);
                return Ok((moved, true));
            }
        }
    }
    Ok((moved, false))
}

fn push_chunk(data: &[u8], outbox: &mut Outbox, pool: &mut BufferPool) -> bool {
    let mut line = [0; 18];
    outbox.push(
        &[chunk_size_line(data.len(), &mut line), data, b"\r\n"],
        pool,
    )
}
