//! Another protocol in place of HTTP/1.1, told by its first bytes. A message then names what was
//! connected to the wrong port.

use super::error::{RequestFault, ResponseError};
use super::proxy_header;

/// First byte of a TLS handshake (RFC 8446 5.1): the hello of a client.
const TLS_HANDSHAKE: u8 = 0x16;
/// First byte of a TLS alert: the answer of a server to bytes that are no TLS.
const TLS_ALERT: u8 = 0x15;

/// Returns the fault of bytes that begin no request line. They may begin with an empty line.
#[cold]
pub(super) fn request_fault(bytes: &[u8]) -> RequestFault {
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        RequestFault::TlsOnPlain
    } else if proxy_header::is_shown_by(bytes) {
        RequestFault::ProxyHeader
    } else {
        RequestFault::LineStart
    }
}

/// Returns the fault of the first bytes of a client that does not begin a TLS handshake.
#[cold]
pub fn fault_on_tls(bytes: &[u8]) -> RequestFault {
    if proxy_header::is_shown_by(bytes) {
        RequestFault::ProxyHeader
    } else {
        RequestFault::PlainOnTls
    }
}

/// Returns true if a server that sends these bytes first speaks TLS.
pub fn is_tls(bytes: &[u8]) -> bool {
    matches!(bytes, [TLS_ALERT | TLS_HANDSHAKE, ..])
}

/// Returns the fault of bytes that begin no status line.
#[cold]
pub(super) fn response_fault(bytes: &[u8]) -> ResponseError {
    match bytes {
        _ if is_tls(bytes) => ResponseError::Tls,
        // A SETTINGS frame of at most 255 bytes, for the whole connection (RFC 9113 4.1, 6.5).
        [0, 0, _, 4, 0 | 1, 0, 0, 0, 0, ..] => ResponseError::Http2,
        _ => ResponseError::LineStart,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c";

    #[test]
    fn requests_of_other_protocols_have_names() {
        for (bytes, fault) in [
            (&b"\x16"[..], RequestFault::TlsOnPlain),
            (b"\x16\x03\x01\x02\x00\x01", RequestFault::TlsOnPlain),
            (VERSION_2, RequestFault::ProxyHeader),
            (b"\r\n\r\n\0", RequestFault::LineStart),
            (b"\r\n\r\nGET / HTTP/1.1", RequestFault::LineStart),
            (b"\x15\x03\x01", RequestFault::LineStart),
            (b"", RequestFault::LineStart),
        ] {
            assert_eq!(request_fault(bytes), fault, "{bytes:?}");
        }
        for (bytes, fault) in [
            (VERSION_2, RequestFault::ProxyHeader),
            (
                b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
                RequestFault::ProxyHeader,
            ),
            (b"PROXY / HTTP/1.1\r\n", RequestFault::PlainOnTls),
            (b"GET / HTTP/1.1\r\n", RequestFault::PlainOnTls),
            (b"\r\n", RequestFault::PlainOnTls),
        ] {
            assert_eq!(fault_on_tls(bytes), fault, "{bytes:?}");
        }
    }

    #[test]
    fn responses_of_other_protocols_have_names() {
        for (bytes, fault) in [
            (&b"\x15\x03\x03\0\x02\x02\x46"[..], ResponseError::Tls),
            (b"\x16\x03\x03", ResponseError::Tls),
            (b"\0\0\x06\x04\0\0\0\0\0\0\x05", ResponseError::Http2),
            (b"\0\0\0\x04\x01\0\0\0\0", ResponseError::Http2),
            (b"\0\0\x06\x04\0\0\0\0\x01", ResponseError::LineStart),
            (b"\0\0\x06\x04", ResponseError::LineStart),
            (b"SSH-2.0-x", ResponseError::LineStart),
        ] {
            assert_eq!(response_fault(bytes), fault, "{bytes:?}");
        }
    }
}
