//! Responses of the admin listener, as values and as bytes.

use super::json;
use crate::limits::ADMIN_RESPONSE_BYTES;

/// Framing of a response's body (RFC 9112 6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Framing {
    /// `Content-Length`.
    Length(usize),
    /// Chunks, for bodies whose length is not known.
    Chunked,
    /// The end of the connection, for HTTP/1.0 clients.
    Close,
}

impl Framing {
    /// Appends a piece of a body.
    pub(super) fn append(self, piece: &[u8], out: &mut Vec<u8>) {
        // A chunk of no bytes would be the end.
        let is_chunk = self == Framing::Chunked && !piece.is_empty();
        if is_chunk {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        }
        out.extend_from_slice(piece);
        if is_chunk {
            out.extend_from_slice(b"\r\n");
        }
    }

    /// Appends what follows the last piece.
    pub(super) fn end(self, out: &mut Vec<u8>) {
        if self == Framing::Chunked {
            out.extend_from_slice(b"0\r\n\r\n");
        }
    }
}

/// Response to one request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::net) struct Response {
    pub(in crate::net) status: u16,
    pub(in crate::net) kind: &'static str,
    /// Value of `Allow`, for 405.
    pub(super) allow: Option<&'static str>,
    /// Value of `Content-Security-Policy`, for the status page.
    pub(in crate::net) policy: Option<&'static str>,
    pub(in crate::net) body: String,
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

impl Response {
    /// Creates a response of plain text.
    pub(in crate::net) fn text(status: u16, body: impl Into<String>) -> Response {
        Response {
            status,
            kind: TEXT,
            allow: None,
            policy: None,
            body: body.into(),
        }
    }

    /// Creates a JSON object of strings.
    pub(in crate::net) fn json(status: u16, members: &[(&str, &str)]) -> Response {
        Response {
            status,
            kind: JSON,
            allow: None,
            policy: None,
            body: json::object(members),
        }
    }

    /// Creates a JSON object with one error.
    pub(in crate::net) fn error(status: u16, error: &str) -> Response {
        Response::json(status, &[("error", error)])
    }

    /// Creates the response to a reload: its summary, or the lines of its errors.
    pub(super) fn of_reload(result: &Result<String, String>) -> Response {
        match result {
            Ok(summary) => Response::json(200, &[("summary", summary)]),
            Err(errors) => Response {
                status: 422,
                kind: JSON,
                allow: None,
                policy: None,
                body: json::list("errors", errors.lines(), ADMIN_RESPONSE_BYTES),
            },
        }
    }

    /// Creates the response to an upgrade: the id of the new process, or why there is none.
    pub(super) fn of_upgrade(result: &Result<String, String>) -> Response {
        match result {
            Ok(pid) => Response::json(200, &[("pid", pid)]),
            Err(reason) => Response::error(422, reason),
        }
    }

    /// Appends the response to `out`. A HEAD gets the head alone.
    pub(super) fn write(&self, is_head: bool, keeps_alive: bool, date: &[u8], out: &mut Vec<u8>) {
        self.write_head(Framing::Length(self.body.len()), keeps_alive, date, out);
        if !is_head {
            out.extend_from_slice(self.body.as_bytes());
        }
    }

    /// Appends the head of the response to `out`, for a body that may be another one.
    pub(super) fn write_head(
        &self,
        framing: Framing,
        keeps_alive: bool,
        date: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(
            format!("HTTP/1.1 {} {}\r\nDate: ", self.status, reason(self.status)).as_bytes(),
        );
        out.extend_from_slice(date);
        let length = match framing {
            Framing::Length(length) => format!("Content-Length: {length}\r\n"),
            Framing::Chunked => "Transfer-Encoding: chunked\r\n".to_owned(),
            Framing::Close => String::new(),
        };
        let fields = format!(
            "\r\nContent-Type: {}\r\n{length}Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n",
            self.kind
        );
        out.extend_from_slice(fields.as_bytes());
        if let Some(methods) = self.allow {
            out.extend_from_slice(format!("Allow: {methods}\r\n").as_bytes());
        }
        if let Some(policy) = self.policy {
            out.extend_from_slice(format!("Content-Security-Policy: {policy}\r\n").as_bytes());
        }
        if !keeps_alive {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Creates the head of a document.
    pub(super) fn document(kind: &'static str, policy: Option<&'static str>) -> Response {
        Response {
            kind,
            policy,
            ..Response::text(200, "")
        }
    }
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        409 => "Conflict",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(response: &Response, is_head: bool, keeps_alive: bool) -> String {
        let mut out = Vec::new();
        response.write(is_head, keeps_alive, b"now", &mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn heads_and_bodies() {
        let ok = Response::text(200, "ok");
        let head = "HTTP/1.1 200 OK\r\nDate: now\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\
                    Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n";
        assert_eq!(written(&ok, false, true), format!("{head}\r\nok"));
        assert_eq!(written(&ok, true, true), format!("{head}\r\n"));
        assert_eq!(
            written(&ok, false, false),
            format!("{head}Connection: close\r\n\r\nok")
        );
        let mut refused = Response::error(405, "no");
        refused.allow = Some("POST");
        assert!(written(&refused, false, true).contains("\r\nAllow: POST\r\n"));
        assert!(written(&refused, false, true).ends_with("\r\n\r\n{ \"error\": \"no\" }\n"));
    }

    #[test]
    fn results_of_a_reload() {
        let good = Response::of_reload(&Ok("configuration read: ..".to_owned()));
        assert_eq!(
            (good.status, good.body.as_str()),
            (200, "{ \"summary\": \"configuration read: ..\" }\n")
        );
        let bad = Response::of_reload(&Err(
            "t.json:1:2: x\nthe running configuration is still the one of 12:03:07".to_owned(),
        ));
        let read: serde_json::Value = serde_json::from_str(&bad.body).expect("JSON");
        assert_eq!(bad.status, 422);
        assert_eq!(
            read["errors"][1],
            "the running configuration is still the one of 12:03:07"
        );
        let long = Response::of_reload(&Err("an error\n".repeat(100_000)));
        assert!(long.body.len() < ADMIN_RESPONSE_BYTES + 100 && long.body.contains("more lines"));
    }
}
