//! Path rewrite: upstream path = target path + the part of the path after the route. The caller
//! appends the query, byte for byte.

use super::route::RoutePath;

/// Start of the line that tells an upstream which prefix its paths have outside.
pub const PREFIX: &str = "X-Forwarded-Prefix: ";

/// Returns the prefix that stands before the upstream's path in the client's path; empty without
/// one. A route that does not end with the target's path is replaced, and no prefix leads back.
fn stripped_prefix<'r>(route: &'r str, target_path: &str, strip_prefix: bool) -> &'r str {
    if !strip_prefix {
        return "";
    }
    let route = RoutePath::of(route).matched();
    let stem = target_path.strip_suffix('/').unwrap_or(target_path);
    route.strip_suffix(stem).unwrap_or_default()
}

/// Returns the line of `X-Forwarded-Prefix`; empty if no prefix is stripped.
pub fn prefix_line(route: &str, target_path: &str, strip_prefix: bool) -> Box<[u8]> {
    match stripped_prefix(route, target_path, strip_prefix) {
        "" => Box::default(),
        // One allocation: a reload does this for each service.
        prefix => [PREFIX, prefix, "\r\n"].concat().into_bytes().into(),
    }
}

/// Rewrite of the paths of one service.
pub struct Rewrite {
    /// The target path as configured, for a path that equals the route; empty for `/`.
    whole: Box<[u8]>,
    /// Length of that path without a trailing slash, for a rest that starts with a slash.
    stem: u32,
    strip_prefix: bool,
}

impl Rewrite {
    /// Creates the rewrite. `target_path` is empty or starts with `/`.
    pub fn new(target_path: &str, strip_prefix: bool) -> Rewrite {
        let stem = target_path.strip_suffix('/').unwrap_or(target_path);
        Rewrite {
            whole: target_path.as_bytes().into(),
            // The configuration has no path of such a length.
            stem: u32::try_from(stem.len()).unwrap_or(u32::MAX),
            strip_prefix,
        }
    }

    /// Returns the part of the upstream path before the rest. `is_bare`: there is no rest after the
    /// route.
    pub fn start(&self, is_bare: bool) -> &[u8] {
        match self.whole.get(..self.stem as usize) {
            Some(stem) if !is_bare => stem,
            _ if self.whole.is_empty() => b"/",
            _ => &self.whole,
        }
    }

    /// Returns the upstream path in two parts. `taken`: number of bytes of the path that the route
    /// matches.
    pub fn parts<'a>(&'a self, path: &'a [u8], taken: usize) -> [&'a [u8]; 2] {
        let rest = if self.strip_prefix {
            path.get(taken..).unwrap_or_default()
        } else {
            path
        };
        [self.start(rest.is_empty()), rest]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(path: &str, route: &str, target_path: &str, strip: bool) -> String {
        let rewrite = Rewrite::new(target_path, strip);
        let taken = route.strip_suffix('/').unwrap_or(route).len();
        String::from_utf8_lossy(&rewrite.parts(path.as_bytes(), taken).concat()).into_owned()
    }

    #[test]
    fn the_prefix_and_the_upstreams_path_are_the_clients() {
        for (route, target_path, prefix) in [
            ("/users", "", "/users"),
            ("/users", "/", "/users"),
            ("/api/users", "/users", "/api"),
            ("/api/users", "/users/", "/api"),
            ("/users", "/users", ""),
            ("/users", "/users/", ""),
            ("/users", "/people", ""),
            ("/users", "/api/users", ""),
            ("/", "", ""),
            ("/", "/base", ""),
        ] {
            assert_eq!(stripped_prefix(route, target_path, true), prefix, "{route}");
            assert_eq!(stripped_prefix(route, target_path, false), "", "{route}");
            if !prefix.is_empty() {
                let path = format!("{route}/x");
                let inside = rewritten(&path, route, target_path, true);
                assert_eq!(format!("{prefix}{inside}"), path);
            }
        }
        assert_eq!(stripped_prefix("= /api/in", "/in", true), "/api");
    }

    #[test]
    fn the_rewrite_table() {
        for (path, route, target, upstream) in [
            ("/auth", "/auth", "/auth", "/auth"),
            ("/auth/", "/auth", "/auth", "/auth/"),
            ("/auth/x", "/auth", "/auth", "/auth/x"),
            ("/auth/auth", "/auth", "/auth", "/auth/auth"),
            ("/users", "/users", "/users/", "/users/"),
            ("/users/", "/users", "/users/", "/users/"),
            ("/users/1", "/users", "/users/", "/users/1"),
            ("/auth", "/auth", "", "/"),
            ("/auth/", "/auth", "", "/"),
            ("/auth/x", "/auth", "/", "/x"),
            (
                "/auth/fetch/http://h//y",
                "/auth",
                "/auth",
                "/auth/fetch/http://h//y",
            ),
            ("/", "/", "", "/"),
            ("/x", "/", "/base", "/base/x"),
            ("/", "/", "/base", "/base/"),
        ] {
            assert_eq!(
                rewritten(path, route, target, true),
                upstream,
                "{path} {target}"
            );
        }
        for (path, target, upstream) in [
            ("/auth/x", "", "/auth/x"),
            ("/auth/x", "/base/", "/base/auth/x"),
            ("/auth", "/", "/auth"),
        ] {
            assert_eq!(
                rewritten(path, "/auth", target, false),
                upstream,
                "{path} {target}, prefix kept"
            );
        }
    }
}
