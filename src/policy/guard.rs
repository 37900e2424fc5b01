//! Checks that a path cannot reach a guarded route's upstream by a route that admits other clients.
//!
//! Routes match whole segments and raw bytes. Many upstreams read a path less strictly. Java
//! servlets remove the `;parameters` of each segment. Windows and Express ignore case. Windows
//! ignores dots and spaces at the end of a segment. Many ignore empty segments, and a slash at the
//! end, which matters to a route for one path. If such an upstream reads a path as one of a guarded
//! route, the path must not reach it by a route that admits more clients.
//!
//! Each route and each path has a loose form, without these differences. A path is refused if its
//! loose form belongs to a route with another guard than the route that matches it. The loose forms
//! of the routes are built once. A path's check costs time in proportion to its bytes, and
//! allocates nothing if its loose form has at most `STACK_BYTES`.

use super::path::Decoded;
use super::route::{EXACT, RoutePath, RouteTable};
use super::tables::{Table, Tables, distinct};

/// Identifies the clients that a service admits: by `auth` and `scopes`, `allow` and `deny`, and
/// `clientCertificate`; a service that answers with 401, 403 or 404 itself admits nobody. 0 means
/// every client. Services that admit the same clients have the same number.
pub type GuardId = u32;

/// The [`GuardId`] of a service that admits every client.
pub const OPEN: GuardId = 0;

/// Bytes of a loose form that is built on the stack.
const STACK_BYTES: usize = 256;

/// The loose forms of all routes.
pub(super) struct Guard {
    /// Maps a loose form to an index of `groups`.
    tables: Tables,
    /// The groups of the router with this loose form; several if routes differ only in their
    /// spelling.
    groups: Vec<Vec<usize>>,
    /// True if each route equals its own loose form. A path that [`is_plain`] then belongs to the
    /// route that it matches.
    is_plain: bool,
    /// True if some routes are for one path. A slash at the end of a path then matters.
    has_exact: bool,
    /// Bytes of the longest loose form of a route, plus one, which shows if the path continues
    /// after it.
    room: usize,
}

impl Guard {
    /// Builds the loose forms of the routes of each table.
    pub(super) fn of(names: &[&str], routes_of_tables: &[Vec<&str>]) -> Guard {
        let (mut is_plain, mut has_exact, mut longest) = (true, false, 0_usize);
        let mut groups: Vec<Vec<usize>> = Vec::new();
        let mut routes_of_tables = routes_of_tables.iter();
        // The router's groups are in the order of the tables and their routes.
        let mut group = 0_usize;
        let tables = Tables::new(names, |_| {
            let first = groups.len();
            let mut forms = Vec::new();
            for route in routes_of_tables.next().into_iter().flatten() {
                let route = RoutePath::of(route);
                let mut room = vec![0; route.path.len()];
                let form = String::from_utf8_lossy(loose_form(route.path.as_bytes(), &mut room));
                is_plain &= form == route.matched() || route.path == "/";
                has_exact |= route.is_exact;
                longest = longest.max(form.len());
                let mark = if route.is_exact { EXACT } else { "" };
                forms.push(format!("{mark}{form}"));
            }
            let (names, members) = distinct(forms.iter().map(String::as_str).collect());
            let of_router = |place: &usize| group.saturating_add(*place);
            groups.extend(
                members
                    .iter()
                    .map(|places| places.iter().map(of_router).collect()),
            );
            group = group.saturating_add(forms.len());
            Table {
                routes: RouteTable::new(names.iter().copied()),
                first,
            }
        });
        Guard {
            tables,
            groups,
            is_plain,
            has_exact,
            room: longest.saturating_add(1),
        }
    }

    /// Returns true if any reading of `path` may belong to a group for which `is_foreign` returns
    /// true. `host`: the host that the request is for.
    pub(super) fn catches(
        &self,
        host: &[u8],
        path: &[u8],
        decoded: Option<&Decoded>,
        is_foreign: impl Fn(usize) -> bool,
    ) -> bool {
        let Some(Decoded { once, twice, .. }) = decoded else {
            let is_plain =
                self.is_plain && is_plain(path) && !(self.has_exact && path.ends_with(b"/"));
            return !is_plain && self.belongs(host, path, &is_foreign);
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
        // The shorter matches count too: an upstream that is loose in only some of these ways may
        // not see the longest match.
        self.tables
            .find_all(host, loose_form(path, room))
            .any(|found| {
                let groups = self.groups.get(found.service);
                groups.is_some_and(|groups| groups.iter().any(|group| is_foreign(*group)))
            })
    }
}

/// Returns true if the path without escapes equals its loose form, except for a slash at its end.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    path.iter().all(|&byte| {
        let doubled = byte == b'/' && previous == b'/';
        previous = byte;
        !(byte.is_ascii_uppercase() | doubled) && !matches!(byte, b';' | b'.' | b' ' | 0x80..)
    })
}

/// Builds the loose form of a path or route, cut off at the size of `room`. Each segment loses its
/// parameters, and the dots and spaces at its end. Letters become lower case, and empty segments
/// are removed. A decoded `?` or `#` ends the path.
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
                // Letters outside ASCII that some systems fold into ASCII: the Kelvin sign, the
                // long s, and the i with and without a dot.
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
