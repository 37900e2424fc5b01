//! Small part of HTTP/1.1, for the origin and the load: the end of a message, and whether it is the right one.

use tollgate::http::chunked::{ChunkDecoder, ChunkStep};

/// Upper bound of the fields of a head; the gateways under test add about twenty.
const FIELDS: usize = 64;

/// Body that is being read.
pub enum Body {
    Sized(u64),
    Chunked(Box<ChunkDecoder>),
}

/// Result of a search for a head at the front of some bytes.
pub enum Parsed<T> {
    Partial,
    /// Head, and its number of bytes.
    Whole(T, usize),
    Broken(&'static str),
}

/// Facts of a response head.
pub struct ResponseStart {
    pub status: u16,
    pub body: Body,
}

/// Facts of a request head. The last segment of its path names the answer of the origin.
pub struct RequestStart {
    pub last_segment: (usize, usize),
    pub body: Body,
}

pub fn response(bytes: &[u8]) -> Parsed<ResponseStart> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Response::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => match framing(head.headers) {
            Some(body) => Parsed::Whole(
                ResponseStart {
                    status: head.code.unwrap_or(0),
                    body,
                },
                length,
            ),
            None => Parsed::Broken("a response without a length"),
        },
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Broken("a response head that is none"),
    }
}

pub fn request(bytes: &[u8]) -> Parsed<RequestStart> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut head = httparse::Request::new(&mut fields);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => {
            let target = head.path.unwrap_or("/");
            // The path is a part of `bytes`, right behind the method and a space.
            let start = head.method.map_or(0, str::len) + 1;
            let slash = target.rfind('/').map_or(0, |at| at + 1);
            let last_segment = (start + slash, start + target.len());
            let body = framing(head.headers).unwrap_or(Body::Sized(0));
            Parsed::Whole(RequestStart { last_segment, body }, length)
        }
        Ok(httparse::Status::Partial) => Parsed::Partial,
        Err(_) => Parsed::Broken("a request head that is none"),
    }
}

fn framing(fields: &[httparse::Header<'_>]) -> Option<Body> {
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            return core::str::from_utf8(field.value)
                .ok()?
                .parse()
                .ok()
                .map(Body::Sized);
        }
        if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Some(Body::Chunked(Box::new(ChunkDecoder::new())));
        }
    }
    None
}

impl Body {
    pub fn is_done(&self) -> bool {
        match self {
            Body::Sized(left) => *left == 0,
            Body::Chunked(decoder) => decoder.is_done(),
        }
    }

    /// Takes the part of the body at the front of `bytes`. Returns the bytes consumed, and the bytes of data among them.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(usize, u64), &'static str> {
        match self {
            Body::Sized(left) => {
                let n = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                *left -= n as u64;
                Ok((n, n as u64))
            }
            Body::Chunked(decoder) => take_chunks(decoder, bytes),
        }
    }
}

fn take_chunks(decoder: &mut ChunkDecoder, bytes: &[u8]) -> Result<(usize, u64), &'static str> {
    let (mut used, mut data) = (0, 0);
    while used < bytes.len() {
        match decoder.step(&bytes[used..]).map_err(|_| "broken chunks")? {
            ChunkStep::Need => used = bytes.len(),
            ChunkStep::Skip(n) => used += n,
            ChunkStep::Data { skip, len } => {
                used += skip + len;
                data += len as u64;
            }
            ChunkStep::End { skip } => return Ok((used + skip, data)),
        }
    }
    Ok((used, data))
}

/// Returns `body` in chunks of `size` bytes, with the last chunk.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / size * 8 + 16);
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}
