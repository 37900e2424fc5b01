//! The rewrite: upstream path = target path + what follows the route. The query is the caller's to append, byte for byte.

/// What becomes of the paths of one service.
pub struct Rewrite {
    /// The target path as written, for a path that is the route itself.
    whole: Box<[u8]>,
    /// The target path without a trailing slash, for what has a slash of its own.
    stem: Box<[u8]>,
    strip_prefix: bool,
}

impl Rewrite {
    /// For a target path that is empty or starts with `/`.
    pub fn new(target_path: &str, strip_prefix: bool) -> Rewrite {
        let whole = if target_path.is_empty() {
            "/"
        } else {
            target_path
        };
        let stem = target_path.strip_suffix('/').unwrap_or(target_path);
        Rewrite {
            whole: whole.as_bytes().into(),
            stem: stem.as_bytes().into(),
            strip_prefix,
        }
    }

    /// What stands before what a path has behind the route; bare: it has nothing there.
    pub fn start(&self, is_bare: bool) -> &[u8] {
        if is_bare { &self.whole } else { &self.stem }
    }

    /// The upstream path in two parts; `taken`: how many bytes of the path are the route.
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
