//! Retargeting: changes a written request head so that it fits another target.
//!
//! A request that is retried at another target needs another head, but the client's head is no
//! longer available. Only the start of the path, `Host` and `X-Forwarded-Prefix` depend on the
//! target, and they are in the first three lines. So only these lines are replaced, and nothing must
//! be kept for a rare retry.

use crate::buffer::Buffer;
use crate::http::emit::HeadTooLarge;

/// Properties of a written head that are needed to retarget it and cannot be read from it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct HeadVariant {
    /// True if the client's path equals the route, so that the target's path is used as configured.
    pub(in crate::proxy) is_bare: bool,
    /// True if `Host` is not the target's: it is the client's, or that of the service.
    pub(in crate::proxy) keeps_host: bool,
    /// True if `X-Forwarded-Prefix` is the gateway's to say; it follows `Host`.
    pub(in crate::proxy) says_prefix: bool,
}

/// Parts of a request head that depend on the target.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct TargetParts<'a> {
    /// Part of the path before the client's rest after the route.
    pub(in crate::proxy) path: &'a [u8],
    /// Authority of the target.
    pub(in crate::proxy) host: &'a [u8],
    /// `X-Forwarded-Prefix` as a whole line, or empty.
    pub(in crate::proxy) prefix_line: &'a [u8],
}

/// Rewrites `head` from the target `from` to the target `to`. All bytes after the first three lines
/// stay, including those behind the head.
///
/// # Errors
/// The result does not fit, or the head was written for another target.
pub(in crate::proxy) fn retarget(
    head: &[u8],
    variant: HeadVariant,
    from: TargetParts<'_>,
    to: TargetParts<'_>,
    out: &mut Buffer,
) -> Result<(), HeadTooLarge> {
    let path_at = head
        .iter()
        .position(|&byte| byte == b' ')
        .map_or(0, |at| at.saturating_add(1));
    let (method, rest) = head.split_at_checked(path_at).ok_or(HeadTooLarge)?;
    let rest = rest.strip_prefix(from.path).ok_or(HeadTooLarge)?;
    let host_at = rest
        .windows(HOST.len())
        .position(|window| window == HOST)
        .ok_or(HeadTooLarge)?;
    let (line, rest) = rest
        .split_at_checked(host_at.saturating_add(HOST.len()))
        .ok_or(HeadTooLarge)?;
    let host_end = rest.iter().position(|&byte| byte == b'\r');
    let (host, rest) = rest
        .split_at_checked(host_end.ok_or(HeadTooLarge)?)
        .ok_or(HeadTooLarge)?;
    let host = match variant.keeps_host {
        true => host,
        false if host == from.host => to.host,
        false => return Err(HeadTooLarge),
    };
    let rest = rest.strip_prefix(b"\r\n").ok_or(HeadTooLarge)?;
    let (prefix_line, rest) = match variant.says_prefix {
        true => (to.prefix_line, rest.strip_prefix(from.prefix_line)),
        false => (&[][..], Some(rest)),
    };
    let rest = rest.ok_or(HeadTooLarge)?;
    let fits = [method, to.path, line, host, b"\r\n", prefix_line, rest]
        .into_iter()
        .all(|part| out.push(part));
    if fits { Ok(()) } else { Err(HeadTooLarge) }
}

/// End of the first line, and start of the second line.
pub(super) const HOST: &[u8] = b"\r\nHost: ";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;

    /// Path and authority.
    type Words = (&'static str, &'static str);

    fn retargeted(head: &str, keeps_host: bool, from: Words, to: Words) -> Option<String> {
        let target_parts = |(path, host): Words| TargetParts {
            path: path.as_bytes(),
            host: host.as_bytes(),
            prefix_line: b"",
        };
        let variant = HeadVariant {
            is_bare: false,
            keeps_host,
            says_prefix: true,
        };
        let (from, to) = (target_parts(from), target_parts(to));
        let mut out = BufferPool::new().lend(1000);
        retarget(head.as_bytes(), variant, from, to, &mut out).ok()?;
        Some(String::from_utf8_lossy(out.filled()).into_owned())
    }

    #[test]
    fn the_first_lines_change_and_nothing_else_does() {
        let rest = "X: a\r\nHost: a\r\nVia: 1.1 tollgate\r\n\r\nGET /a\r\nHost: a\r\n";
        let head = |line: &str, host: &str| format!("{line} HTTP/1.1\r\nHost: {host}\r\n{rest}");
        for (before, after, from, to) in [
            ("GET /a/x?/a", "GET /deep/er/x?/a", "/a", "/deep/er"),
            ("PUT /x", "PUT /b/x", "", "/b"),
            ("GET /a/a", "GET /a", "/a", ""),
        ] {
            let found = retargeted(&head(before, "a"), false, (from, "a"), (to, "b:81"));
            assert_eq!(found, Some(head(after, "b:81")));
            let kept = retargeted(&head(before, "mine"), true, (from, "a"), (to, "b:81"));
            assert_eq!(kept, Some(head(after, "mine")), "the client's Host stays");
        }
    }

    #[test]
    fn the_prefix_follows_the_host() {
        const PREFIX: &str = "X-Forwarded-Prefix: /a\r\n";
        let head = |prefix: &str| format!("GET /x HTTP/1.1\r\nHost: h\r\n{prefix}X: y\r\n\r\n");
        for (before, says_prefix, from, to, after) in [
            ("", true, "", PREFIX, PREFIX),
            (PREFIX, true, PREFIX, "", ""),
            (PREFIX, true, PREFIX, PREFIX, PREFIX),
            // A trusted peer has said it.
            (PREFIX, false, PREFIX, "", PREFIX),
            ("", false, "", PREFIX, ""),
        ] {
            for keeps_host in [false, true] {
                let target = |prefix: &'static str| TargetParts {
                    path: b"",
                    host: b"h",
                    prefix_line: prefix.as_bytes(),
                };
                let variant = HeadVariant {
                    is_bare: false,
                    keeps_host,
                    says_prefix,
                };
                let mut out = BufferPool::new().lend(1000);
                let written = retarget(
                    head(before).as_bytes(),
                    variant,
                    target(from),
                    target(to),
                    &mut out,
                );
                assert_eq!(written, Ok(()));
                assert_eq!(String::from_utf8_lossy(out.filled()), head(after));
            }
        }
    }

    #[test]
    fn a_head_for_somebody_else_is_none() {
        let head = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(retargeted(head, false, ("/b", "a"), ("/c", "c")), None);
        assert_eq!(retargeted(head, false, ("/a", "b"), ("/c", "c")), None);
        assert_eq!(retargeted("", false, ("/a", "a"), ("/c", "c")), None);
    }
}
