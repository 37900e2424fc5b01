//! Second implementation of HTTP/1.1, written directly from the grammars of RFC 9112 and RFC 9110:
//! slow, without httparse and without any code of `http`. The gateway's parsers are compared with
//! it, and it reads the gateway's output.
//!
//! If the RFCs leave a choice, it makes the gateway's (`docs/http.md`, protocol notes), so that both accept
//! the same messages.

mod bodies;
mod heads;
mod syntax;
mod types;

use self::bodies::{chunked_front, sized};

pub use self::bodies::chunked;
pub use self::heads::{request_head, response_head};
pub use self::syntax::values;
pub use self::types::{Framing, Line, Read, Request, RequestHead, Response, ResponseHead, Stop};

/// Parses a request and its body.
///
/// # Errors
/// The request is incomplete or invalid.
pub fn request(bytes: &[u8]) -> Read<'_, Request> {
    let (head, rest) = request_head(bytes)?;
    let (body, rest) = match head.framing {
        Framing::Length(length) => sized(rest, length)?,
        Framing::Chunked => chunked(rest)?,
        Framing::None | Framing::UntilClose => (Vec::new(), rest),
    };
    Ok((Request { head, body }, rest))
}

/// Parses all requests of a stream. Returns the reason why it stopped; `None` if the stream ends
/// with a request.
pub fn requests(mut bytes: &[u8]) -> (Vec<Request>, Option<Stop>) {
    let mut requests = Vec::new();
    while !bytes.is_empty() {
        match request(bytes) {
            Ok((request, rest)) => {
                requests.push(request);
                bytes = rest;
            }
            Err(stop) => return (requests, Some(stop)),
        }
    }
    (requests, None)
}

/// Parses a response to a request with this method, with the arrived part of its body. `ended`
/// tells that the stream ended.
///
/// # Errors
/// The head is incomplete or invalid, or the body is invalid.
pub fn response<'a>(bytes: &'a [u8], method: &[u8], ended: bool) -> Read<'a, Response> {
    let (head, rest) = response_head(bytes, method)?;
    let body = match head.framing {
        Framing::None => Ok((Vec::new(), rest)),
        Framing::Length(length) => sized(rest, length),
        Framing::Chunked => chunked(rest),
        Framing::UntilClose if ended => Ok((rest.to_vec(), &[][..])),
        Framing::UntilClose => Err(Stop::More),
    };
    match body {
        Ok((body, rest)) => Ok((
            Response {
                head,
                body,
                complete: true,
            },
            rest,
        )),
        Err(Stop::Bad) => Err(Stop::Bad),
        Err(Stop::More) => {
            let body = if head.framing == Framing::Chunked {
                chunked_front(rest)
            } else {
                rest.to_vec()
            };
            Ok((
                Response {
                    head,
                    body,
                    complete: false,
                },
                &[],
            ))
        }
    }
}

/// Parses the head of a response whose body is incomplete or invalid, and the valid front of that
/// body.
pub fn response_front(bytes: &[u8], method: &[u8]) -> Option<Response> {
    let (head, rest) = response_head(bytes, method).ok()?;
    let body = if head.framing == Framing::Chunked {
        chunked_front(rest)
    } else {
        rest.to_vec()
    };
    Some(Response {
        head,
        body,
        complete: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_of_requests_is_read_to_its_end() {
        let stream = b"POST /a?b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"\\\"\"\r\nabc\r\n0\r\nT: t\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
        let (seen, stop) = requests(stream);
        let bodies: Vec<&[u8]> = seen.iter().map(|request| &request.body[..]).collect();
        assert_eq!((bodies, stop), (vec![&b"abc"[..], b"hi"], None));
        assert_eq!(
            (&seen[0].head.path[..], &seen[0].head.query[..]),
            (&b"/a"[..], &b"?b"[..])
        );
        assert_eq!(requests(&stream[..stream.len() - 1]).1, Some(Stop::More));
        assert_eq!(requests(b"GET / HTTP/1.1\nHost: h\n\n").1, Some(Stop::Bad));
    }

    #[test]
    fn a_response_says_whether_it_is_all_there() {
        let read = |bytes: &'static [u8], ended| {
            response(bytes, b"GET", ended).map(|(read, _)| (read.body, read.complete))
        };
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\n\r\nhi", true),
            Ok((b"hi".to_vec(), true))
        );
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\n\r\nhi", false),
            Ok((b"hi".to_vec(), false))
        );
        assert_eq!(
            read(b"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\nhi", true),
            Ok((b"hi".to_vec(), false))
        );
        let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n5\r\nabc";
        assert_eq!(read(cut, true), Ok((b"hiabc".to_vec(), false)));
        assert_eq!(
            read(b"HTTP/1.1 204 No\r\n\r\nhi", true),
            Ok((Vec::new(), true))
        );
        assert_eq!(
            read(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\nhi", true),
            Err(Stop::Bad)
        );
    }
}
