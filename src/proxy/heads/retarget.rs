//! A written request head, written anew for another target.
//!
//! A request that goes on to another target needs another head, and its client's is gone by then. All that hangs on the target
//! is the start of the path and `Host`, in the first two lines; so these two are exchanged, and nothing has to be kept for a
//! retry that hardly ever comes.

use crate::buffer::Buffer;
use crate::http::emit::HeadTooLarge;

/// What cannot be seen in a written head, and must be known to write it anew for another target.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::proxy) struct HeadVariant {
    /// The client's path is the route itself: the target's path stands as it is written.
    pub(in crate::proxy) is_bare: bool,
    /// `Host` is the client's.
    pub(in crate::proxy) keeps_host: bool,
}

/// What of a request's head hangs on its target.
#[derive(Clone, Copy)]
pub(in crate::proxy) struct TargetParts<'a> {
    /// What stands before what the client's path has behind the route.
    pub(in crate::proxy) path: &'a [u8],
    /// The target's authority.
    pub(in crate::proxy) host: &'a [u8],
}

/// Writes `head`, which was written for a target that is spelled `from`, for one that is spelled `to`. What follows the first two
/// lines stays, and so does what stands behind the head.
///
/// # Errors
/// It does not fit, or was written for another target.
pub(in crate::proxy) fn retarget(
    head: &[u8],
    keeps_host: bool,
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
    let fits = if keeps_host {
        out.push(method) && out.push(to.path) && out.push(rest)
    } else {
        let host_at = rest
            .windows(HOST.len())
            .position(|window| window == HOST)
            .ok_or(HeadTooLarge)?;
        let (line, rest) = rest
            .split_at_checked(host_at.saturating_add(HOST.len()))
            .ok_or(HeadTooLarge)?;
        let rest = rest.strip_prefix(from.host).ok_or(HeadTooLarge)?;
        [method, to.path, line, to.host, rest]
            .into_iter()
            .all(|part| out.push(part))
    };
    if fits { Ok(()) } else { Err(HeadTooLarge) }
}

/// How the second line of a request's head begins, and the end of the first.
const HOST: &[u8] = b"\r\nHost: ";

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
        };
        let (from, to) = (target_parts(from), target_parts(to));
        let mut out = BufferPool::new().lend(1000);
        retarget(head.as_bytes(), keeps_host, from, to, &mut out).ok()?;
        Some(String::from_utf8_lossy(out.filled()).into_owned())
    }

    #[test]
    fn the_first_two_lines_change_and_nothing_else_does() {
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
    fn a_head_for_somebody_else_is_none() {
        let head = "GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(retargeted(head, false, ("/b", "a"), ("/c", "c")), None);
        assert_eq!(retargeted(head, false, ("/a", "b"), ("/c", "c")), None);
        assert_eq!(retargeted("", false, ("/a", "a"), ("/c", "c")), None);
    }
}
