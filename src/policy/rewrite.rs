//! What becomes of a path on its way upstream. A stand-in until the policy room's own.

/// The rewriting of one service.
pub struct Rewrite {
    target_path: String,
    strip_prefix: bool,
}

impl Rewrite {
    /// For a target path that is empty or starts with `/`.
    pub fn new(target_path: &str, strip_prefix: bool) -> Rewrite {
        Rewrite { target_path: target_path.to_owned(), strip_prefix }
    }

    /// The upstream path in two parts; `taken`: bytes of the path that the route took.
    pub fn parts<'a>(&'a self, path: &'a [u8], taken: usize) -> [&'a [u8]; 2] {
        let target = self.target_path.as_bytes();
        match path.get(if self.strip_prefix { taken } else { 0 }..).unwrap_or_default() {
            [] if target.is_empty() => [b"/", b""],
            [] => [target, b""],
            rest => [target.strip_suffix(b"/").unwrap_or(target), rest],
        }
    }
}
