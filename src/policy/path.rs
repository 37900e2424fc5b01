//! Path safety: a path is refused if the upstream could read it differently from the gateway.
//!
//! Routes match raw bytes. An upstream may decode escapes (some decode twice), resolve dot
//! segments, remove `;parameters`, or read `\` as `/`. The gateway does not forward a path whose
//! meaning would change.

use crate::bytes;

/// Reason why the upstream could read a path differently.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PathFault {
    /// A byte that RFC 3986 3.3 does not allow in a path: `#`, `\`, white space, a control
    /// character, or a byte outside ASCII.
    Byte,
    /// A `%` without two hexadecimal digits (RFC 3986 2.1).
    Escape,
    /// An escape of the form `%uHHHH`, which no RFC defines.
    WideEscape,
    /// An encoded `\` or control character.
    EncodedByte,
    /// An overlong UTF-8 form (RFC 3629 3).
    Overlong,
    /// A dot segment in any spelling (RFC 3986 3.3).
    DotSegment,
    /// An encoded slash that the service does not keep.
    EncodedSlash,
    /// An encoded slash that only the second decoding shows, and that the service does not keep.
    TwiceEncodedSlash,
    /// Two slashes directly behind the route.
    EmptySegment,
    /// The decoded path has another route.
    OtherRoute,
    /// A loose reading of the path leads to a route that admits other clients.
    OtherGuard,
    /// A header, cookie or parameter that `match` asks for is unclear, and other services of the
    /// route admit other clients.
    OtherMatch,
}

impl PathFault {
    /// All faults.
    pub const ALL: &[PathFault] = &[
        PathFault::Byte,
        PathFault::Escape,
        PathFault::WideEscape,
        PathFault::EncodedByte,
        PathFault::Overlong,
        PathFault::DotSegment,
        PathFault::EncodedSlash,
        PathFault::TwiceEncodedSlash,
        PathFault::EmptySegment,
        PathFault::OtherRoute,
        PathFault::OtherGuard,
        PathFault::OtherMatch,
    ];

    /// Returns the text of the fault for the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            PathFault::Byte => "byte in the path",
            PathFault::Escape => "% without two hex digits in the path",
            PathFault::WideEscape => "%u escape in the path",
            PathFault::EncodedByte => "encoded backslash or control character in the path",
            PathFault::Overlong => "overlong UTF-8 in the path",
            PathFault::DotSegment => "dot segment in the path",
            PathFault::EncodedSlash => "encoded slash in the path, see encodedSlashes",
            PathFault::TwiceEncodedSlash => "slash encoded twice in the path, see encodedSlashes",
            PathFault::EmptySegment => "two slashes behind the route",
            PathFault::OtherRoute => "path that has another route once it is decoded",
            PathFault::OtherGuard => "path that resembles a guarded route",
            PathFault::OtherMatch => {
                "header, cookie or parameter of match in several values or spellings"
            }
        }
    }
}

/// Decoded forms of a path with escapes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Decoded {
    /// The path, decoded once.
    pub once: Vec<u8>,
    /// The path, decoded twice, if that differs from `once`.
    pub twice: Option<Vec<u8>>,
    /// Fault of the path for a service that keeps no encoded slash: it contains one (`%2F`, or
    /// `%252F`). `once` and `twice` contain it as a slash, as an upstream that decodes it sees it.
    pub slash: Option<PathFault>,
}

/// Checks a path. Returns `None` if it has no escapes.
///
/// # Errors
/// The path contains one of these, as sent or after a second decoding: a byte that is not allowed
/// in a path, a bad escape, an encoded `\` or control character, a dot segment in any spelling, or
/// an encoded slash next to a dot segment. An encoded slash alone is not an error.
pub fn check(path: &[u8]) -> Result<Option<Decoded>, PathFault> {
    // Fast path: nearly all paths have no escape and no special byte.
    if bytes::all(path, |byte| {
        (byte > b' ')
            & (byte < 0x7f)
            & (byte != b'#')
            & (byte != b'\\')
            & (byte != b'%')
            & (byte != b'.')
    }) {
        return Ok(None);
    }
    let mut previous = 0;
    let mut plain = true;
    for &byte in path {
        match byte {
            b'#' | b'\\' | 0..=b' ' | 0x7f.. => return Err(PathFault::Byte),
            b'%' => plain = false,
            // A segment that starts with a dot may be a dot segment.
            b'.' if previous == b'/' => plain = false,
            _ => {}
        }
        previous = byte;
    }
    if plain {
        return Ok(None);
    }
    refuse_dot_segments(path)?;
    if !path.contains(&b'%') {
        return Ok(None);
    }
    let mut slash = None;
    let once = decode(path, Pass::First, &mut slash)?;
    refuse_dot_segments(&once)?;
    let twice = match once.contains(&b'%') {
        true => Some(decode(&once, Pass::Second, &mut slash)?),
        false => None,
    };
    if let Some(twice) = &twice {
        refuse_dot_segments(twice)?;
    }
    Ok(Some(Decoded { once, twice, slash }))
}

/// The decoding step.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// First decoding, of the path as sent: each `%` must begin an escape.
    First,
    /// Second decoding: a single `%` is data (`100%25` is a valid name), but not in the form
    /// `%uHHHH`, which some servers decode.
    Second,
}

/// Decodes the escapes. `slash` gets the fault of the first slash among them.
fn decode(path: &[u8], pass: Pass, slash: &mut Option<PathFault>) -> Result<Vec<u8>, PathFault> {
    crate::cost::count(path.len());
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, tail @ ..] = rest {
        let escaped = if *first == b'%' { escape(tail) } else { None };
        match escaped {
            Some(byte) => {
                match byte {
                    b'/' => {
                        slash.get_or_insert(match pass {
                            Pass::First => PathFault::EncodedSlash,
                            Pass::Second => PathFault::TwiceEncodedSlash,
                        });
                    }
                    b'\\' | 0..=0x1f | 0x7f => return Err(PathFault::EncodedByte),
                    _ => {}
                }
                decoded.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            None if *first == b'%' && is_wide_escape(tail) => return Err(PathFault::WideEscape),
            None if *first == b'%' && pass == Pass::First => {
                return Err(PathFault::Escape);
            }
            None => {
                decoded.push(*first);
                rest = tail;
            }
        }
    }
    if has_overlong(&decoded) {
        Err(PathFault::Overlong)
    } else {
        Ok(decoded)
    }
}

fn escape(digits: &[u8]) -> Option<u8> {
    let value = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
    Some(value(digits.first()?)? << 4 | value(digits.get(1)?)?)
}

/// Returns true if the bytes after a `%` form a four-digit escape, which no RFC defines.
fn is_wide_escape(behind: &[u8]) -> bool {
    matches!(behind, [b'u' | b'U', digits @ ..] if digits.get(..4).is_some_and(|four| four.iter().all(u8::is_ascii_hexdigit)))
}

/// Returns true if the bytes contain an overlong UTF-8 form. Careless decoders read some of them as
/// `/` or `.` (`%c0%af`), and old ones also accept forms of five and six bytes.
fn has_overlong(bytes: &[u8]) -> bool {
    bytes.windows(2).any(|pair| {
        matches!(
            pair,
            [0xc0 | 0xc1, _]
                | [0xe0, 0x80..=0x9f]
                | [0xf0, 0x80..=0x8f]
                | [0xf8, 0x80..=0x87]
                | [0xfc, 0x80..=0x83]
        )
    })
}

/// Rejects dot segments (RFC 3986 3.3), and segments that become one after their parameters are
/// removed, or if a decoded `?` or `#` ends the path.
fn refuse_dot_segments(path: &[u8]) -> Result<(), PathFault> {
    crate::cost::count(path.len());
    let dots = path.split(|&byte| byte == b'/').any(|segment| {
        let name = segment
            .split(|byte| matches!(byte, b';' | b'?' | b'#'))
            .next()
            .unwrap_or_default();
        matches!(name, b"." | b"..")
    });
    if dots {
        Err(PathFault::DotSegment)
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_paths() {
        use PathFault::{Byte, DotSegment, EncodedByte, Escape, Overlong, WideEscape};
        let rows: &[(PathFault, &[&str])] = &[
            (
                DotSegment,
                &[
                    "/..",
                    "/.",
                    "/a/..",
                    "/a/../b",
                    "/a/./b",
                    "/a/%2e",
                    "/a/%2E%2e/b",
                    "/a/.%2e/b",
                    "/a/..;x",
                    "/a/..;x/b",
                    "/a/.;",
                    "/a/%2e%2e%3bx",
                    "/a%2f..",
                    "/a/..%2fb",
                    "/a%2F%2e%2E%2fb",
                    "/a/.%2fb",
                    "/a%2f.%2Fb",
                    "/a/..;x%2fb",
                    "/a;x%2f..;y/b",
                    "/a%2f%252e%252e",
                    "/a%2f..%3fx",
                    "/..%2f",
                    "/a/%252e%252e/b",
                    "/a/%252e",
                    "/a/..%3fx",
                    "/a/..%23x",
                    "/a/%2e%2e%3f",
                    "/a/..%253fx",
                    "/a%252f..",
                    "/a/..%252fb",
                    "/a%252f%2e%2E%252Fb",
                    "/a%252f%252e;x",
                    "/a%2f..%252fb",
                ],
            ),
            (
                EncodedByte,
                &[
                    "/a%2f%5cb",
                    "/a%2f%00",
                    "/a%252f%255c",
                    "/a%5cb",
                    "/a%00",
                    "/a%0d%0aX:1",
                    "/a%1f",
                    "/a%7f",
                    "/a%255c",
                    "/a%2500",
                ],
            ),
            (Byte, &["/a\\b", "/a#b", "/a b", "/a\x7f", "/a\u{e4}"]),
            (Escape, &["/a%", "/a%2", "/a%zz"]),
            (
                WideEscape,
                &["/a%u002f", "/a%25u002f", "/a%25U002e%25U002e"],
            ),
            (
                Overlong,
                &[
                    "/a%c0%af",
                    "/a%e0%80%af",
                    "/a%25c0%25af",
                    "/a%c0%25af",
                    "/a%f0%80%80%af",
                    "/a%f8%80%80%80%af",
                    "/a%fc%80%80%80%80%af",
                ],
            ),
        ];
        for (fault, paths) in rows {
            for path in *paths {
                assert_eq!(check(path.as_bytes()), Err(*fault), "{path}");
            }
        }
    }

    #[test]
    fn safe_paths() {
        for path in [
            "/",
            "/a",
            "/a/",
            "/a//b",
            "/a..b",
            "/..a",
            "/...",
            "/a/.well-known/x",
            "/a;b=1",
            "/a:b@c",
            "/a+b~c_d-e",
            "/a/http://h//y",
            "/100%25",
            "/%20",
            "/%C3%A4",
            "/%E4",
            "/%FF",
            "/a%3Fb",
            "/a%23b",
            "/%7Euser",
            "/a%3bx",
            "/a!$&'()*,=",
            "/a%26%3D",
            "/%2ea",
            "/50%25upward",
            "/a%25u00",
            "/a..%3fx",
            "/%F8%FF",
        ] {
            assert!(check(path.as_bytes()).is_ok(), "{path}");
        }
        assert_eq!(check(b"/a/b"), Ok(None));
        let decoded = |once: &[u8], twice: Option<&[u8]>, slash| {
            Ok(Some(Decoded {
                once: once.to_vec(),
                twice: twice.map(<[u8]>::to_vec),
                slash,
            }))
        };
        assert_eq!(check(b"/%61"), decoded(b"/a", None, None));
        assert_eq!(check(b"/%2561"), decoded(b"/%61", Some(b"/a"), None));
        // The service decides if an encoded slash is allowed.
        let (once, twice) = (
            Some(PathFault::EncodedSlash),
            Some(PathFault::TwiceEncodedSlash),
        );
        assert_eq!(check(b"/a%2fb"), decoded(b"/a/b", None, once));
        assert_eq!(check(b"/%2F/x%2F"), decoded(b"///x/", None, once));
        assert_eq!(
            check(b"/a%2F%2541"),
            decoded(b"/a/%41", Some(b"/a/A"), once)
        );
        assert_eq!(check(b"/a%252Fb"), decoded(b"/a%2Fb", Some(b"/a/b"), twice));
        assert_eq!(
            check(b"/a%252F%2f"),
            decoded(b"/a%2F/", Some(b"/a//"), once),
            "the first decoding shows one, too"
        );
    }
}
