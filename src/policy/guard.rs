//! Guarded routes that a path may belong to on the other side of the gateway, although it does not here.
//!
//! Routes are matched on whole segments and raw bytes. Many upstreams read a path more loosely: they strip `;parameters` of each
//! segment (Java servlets), ignore case (Windows, Express), trailing dots and spaces (Windows), and empty segments. A path that
//! such an upstream takes for one of a guarded route must not reach it by a route that lets more people in.
//!
//! Each route has a loose form, and so has each path. A path is refused when its loose form belongs to a route that is guarded
//! otherwise than the route that takes it. The loose forms of the routes are built once; a path costs its bytes once more, and
//! nothing is allocated for one whose loose form has at most `STACK_BYTES`.

use super::path::Decoded;
use super::router::Tables;

/// Who is let in by a service: 0 is everybody, and two services that ask for the same have the same number.
pub type GuardId = u32;

/// The [`GuardId`] of a service without providers.
pub const OPEN: GuardId = 0;

/// Bytes of a loose form that are built on the stack.
const STACK_BYTES: usize = 256;

/// The loose forms of all routes.
pub(super) struct Guard {
    /// Leads to a place in `groups`.
    tables: Tables,
    /// The groups of the router that have this loose form; several where routes differ in their spelling alone.
    groups: Vec<Vec<usize>>,
    /// Each route is its own loose form: so is a path that [`is_plain`], and it belongs where it goes.
    is_plain: bool,
    /// Bytes of the longest loose form of a route, and one more, which shows whether its last segment ends there.
    room: usize,
}

impl Guard {
    /// `tables`: of the loose forms, which lead to places in `groups`.
    pub(super) fn new(
        tables: Tables,
        groups: Vec<Vec<usize>>,
        is_plain: bool,
        longest: usize,
    ) -> Guard {
        Guard {
            tables,
            groups,
            is_plain,
            room: longest.saturating_add(1),
        }
    }

    /// Whether `path`, in any of its readings, may belong to a group of which `is_foreign` holds. `host`: the name that the request
    /// is for.
    pub(super) fn catches(
        &self,
        host: &[u8],
        path: &[u8],
        decoded: Option<&Decoded>,
        is_foreign: impl Fn(usize) -> bool,
    ) -> bool {
        let Some(Decoded { once, twice, .. }) = decoded else {
            return !(self.is_plain && is_plain(path)) && self.belongs(host, path, &is_foreign);
        };
        let readings = [Some(path), Some(once), twice.as_deref()];
        readings
            .into_iter()
            .flatten()
            .any(|path| self.belongs(host, path, &is_foreign))
    }

    fn belongs(&self, host: &[u8], path: &[u8], is_foreign: &impl Fn(usize) -> bool) -> bool {
        let mut stack = [0; STACK_BYTES];
        let mut heap = Vec::new();
        let room = match stack.get_mut(..self.room) {
            Some(room) => room,
            None => {
                heap.resize(self.room, 0);
                &mut heap
            }
        };
        // The shorter ones, too: an upstream may be loose in some of these ways alone, and not see the longest.
        self.tables
            .find_all(host, loose_form(path, room))
            .any(|found| {
                let groups = self.groups.get(found.service);
                groups.is_some_and(|groups| groups.iter().any(|group| is_foreign(*group)))
            })
    }
}

/// Whether the loose form of a path without escapes is the path, but for a slash at its end.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let doubled = byte == b'/' && previous == b'/';
        previous = byte;
        !(byte.is_ascii_uppercase() | doubled) && !matches!(byte, b';' | b'.' | b' ' | 0x80..)
    })
}

/// The loose form of a path or route, as much as there is room for: each segment without its parameters and without the dots and
/// spaces at its end, in lower case, and no empty segment. A decoded `?` or `#` ends it.
pub(super) fn loose_form<'b>(path: &[u8], room: &'b mut [u8]) -> &'b [u8] {
    crate::cost::count(path.len());
    let end = path
        .iter()
        .position(|byte| matches!(byte, b'?' | b'#'))
        .unwrap_or(path.len());
    let mut filled = 0_usize;
    let mut put = |byte: u8| {
        if let Some(place) = room.get_mut(filled) {
            *place = byte;
            filled = filled.saturating_add(1);
            return true;
        }
        false
    };
    'path: for segment in path.get(..end).unwrap_or(path).split(|&byte| byte == b'/') {
        let mut name = segment
            .split(|&byte| byte == b';')
            .next()
            .unwrap_or_default();
        while let [rest @ .., b'.' | b' '] = name {
            name = rest;
        }
        if !name.is_empty() && !put(b'/') {
            break;
        }
        while let [first, rest @ ..] = name {
            let (byte, rest) = match name {
                // The letters outside ASCII that some fold into it: the Kelvin sign, the long s, the i with and without a dot.
                [0xe2, 0x84, 0xaa, rest @ ..] => (b'k', rest),
                [0xc5, 0xbf, rest @ ..] => (b's', rest),
                [0xc4, 0xb0 | 0xb1, rest @ ..] => (b'i', rest),
                _ => (first.to_ascii_lowercase(), rest),
            };
            if !put(byte) {
                break 'path;
            }
            name = rest;
        }
    }
    room.get(..filled).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loose_forms() {
        for (path, form) in [
            ("/", ""),
            ("/auth/x", "/auth/x"),
            ("/auth/", "/auth"),
            ("/AuTH", "/auth"),
            ("/auth;v=1/x;y=/;z", "/auth/x"),
            ("/auth./x.. /...", "/auth/x"),
            ("/auth . .;x/.well-known", "/auth/.well-known"),
            ("/auth.;.", "/auth"),
            ("//a///b", "/a/b"),
            ("/;x/a", "/a"),
            ("/a?/b", "/a"),
            ("/a#b", "/a"),
            ("/a.b/c d", "/a.b/c d"),
            ("/\u{212a}\u{17f}\u{130}\u{131}\u{e9}", "/ksii\u{e9}"),
        ] {
            let mut room = [0; 64];
            let found = loose_form(path.as_bytes(), &mut room);
            assert_eq!(String::from_utf8_lossy(found), form, "{path}");
            // No path as sent has a `?` or `#`.
            let is_plain = is_plain(path.as_bytes()) && !path.contains(['?', '#']);
            assert!(!is_plain || path.trim_end_matches('/') == form, "{path}");
        }
        assert_eq!(
            loose_form(b"/Auth/x", &mut [0; 3]),
            b"/au",
            "as much as there is room for"
        );
        assert!(
            is_plain(b"/auth/x-y_z~1/")
                && !is_plain(b"/a//b")
                && !is_plain(b"/a.")
                && !is_plain(b"/A")
        );
    }
}
