//! URLs and cookie paths of a target, as its clients see them: `rewriteLocation` and
//! `rewriteCookiePath`.
//!
//! A URL is rewritten only if it surely names the target: the same scheme, host and port, a path
//! under the target's path, and nothing that a browser may read in another way. Everything else
//! stays as it is, relative references included.

use crate::digits;

/// Headers of responses that are rewritten.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rewrites {
    /// `rewriteLocation`: URLs in `Location`, `Content-Location` and `Refresh`.
    pub location: bool,
    /// `rewriteCookiePath`: `Path` in `Set-Cookie`.
    pub cookie_path: bool,
}

impl Rewrites {
    /// Returns true if there is something to rewrite.
    #[inline(always)]
    pub fn any(self) -> bool {
        self.location || self.cookie_path
    }
}

/// Place of a service at one of its targets.
#[derive(Clone, Copy)]
pub struct TargetPlace<'a> {
    /// True for `https`.
    pub tls: bool,
    /// Host, and the port if it is not that of the scheme.
    pub authority: &'a [u8],
    /// Path of the target as configured; empty, or it starts with `/`.
    pub path: &'a [u8],
}

/// Place of a service at the gateway.
#[derive(Clone, Copy)]
pub struct ClientPlace<'a> {
    /// Scheme and host as the client asked for them; empty if the client named no host.
    pub origin: &'a [u8],
    /// Path that stands in place of the target's path: that of the route, or empty.
    pub path: &'a [u8],
    /// True if the service has this path alone, and no URL below the target's path.
    pub is_exact: bool,
}

impl<'a> ClientPlace<'a> {
    /// Returns what follows [`path`](Self::path) in place of the part of a URL behind the target's
    /// path; `None`: the URL is not one of the service.
    fn behind<'u>(&self, rest: &'u [u8], target: &TargetPlace<'_>) -> Option<&'u [u8]> {
        if !self.is_exact {
            return Some(rest);
        }
        let rest = match target.path {
            [] | [.., b'/'] => rest.strip_prefix(b"/").unwrap_or(rest),
            _ => rest,
        };
        matches!(rest.first(), None | Some(b'?' | b'#')).then_some(rest)
    }

    /// Returns the path without a slash at its end, where something may follow it.
    fn stem(&self) -> &'a [u8] {
        match self.is_exact {
            true => self.path,
            false => stem(self.path),
        }
    }
}

/// Value of a field in parts.
pub type Parts<'a> = [&'a [u8]; 5];

/// Returns the part of a URL behind the target's path, with its query and fragment, and the number
/// of bytes of the path that it follows. `None`: the URL is not surely one of the target.
fn behind_target<'u>(url: &'u [u8], target: &TargetPlace<'_>) -> Option<(&'u [u8], usize)> {
    // Browsers drop tabs and read a backslash as a slash (URL standard, basic URL parser).
    if !url.iter().all(|byte| matches!(byte, b'!'..=b'~' | 0x80..)) || url.contains(&b'\\') {
        return None;
    }
    let colon = url.iter().position(|byte| *byte == b':')?;
    let (scheme, rest) = url.split_at_checked(colon)?;
    let own: &[u8] = if target.tls { b"https" } else { b"http" };
    let rest = rest.strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| b"/?#".contains(byte));
    let (authority, rest) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
    let (host, port) = host_and_port(authority, target.tls)?;
    let (own_host, own_port) = host_and_port(target.authority, target.tls)?;
    let is_same =
        scheme.eq_ignore_ascii_case(own) && host.eq_ignore_ascii_case(own_host) && port == own_port;
    let end = rest.iter().position(|byte| b"?#".contains(byte));
    let path = rest.get(..end.unwrap_or(rest.len()))?;
    if !is_same || path.split(|byte| *byte == b'/').any(is_dot_segment) {
        return None;
    }
    let base = stem(target.path);
    is_under(path, base).then_some((rest.get(base.len()..)?, base.len()))
}

/// Returns host and port of an authority without userinfo.
fn host_and_port(authority: &[u8], tls: bool) -> Option<(&[u8], u64)> {
    let default = if tls { 443 } else { 80 };
    let end = match authority.first()? {
        b'[' => authority
            .iter()
            .position(|byte| *byte == b']')?
            .checked_add(1)?,
        _ => {
            let colon = authority.iter().position(|byte| *byte == b':');
            colon.unwrap_or(authority.len())
        }
    };
    let (host, port) = authority.split_at_checked(end)?;
    if host.is_empty() || authority.contains(&b'@') {
        return None;
    }
    match port.split_first() {
        // An empty port is that of the scheme (RFC 3986 6.2.3).
        None | Some((b':', [])) => Some((host, default)),
        Some((b':', digits)) => Some((host, digits::parse(digits)?)),
        Some(_) => None,
    }
}

/// Returns true for `.` and `..`, also where the dots are escaped.
fn is_dot_segment(segment: &[u8]) -> bool {
    let dot = |text: &mut &[u8]| {
        let escaped = text
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(b"%2e"));
        let bytes = match text.first() {
            Some(b'.') => 1,
            _ if escaped => 3,
            _ => return false,
        };
        *text = text.get(bytes..).unwrap_or_default();
        true
    };
    let mut rest = segment;
    dot(&mut rest) && (rest.is_empty() || (dot(&mut rest) && rest.is_empty()))
}

/// Returns a path without a slash at its end.
fn stem(path: &[u8]) -> &[u8] {
    path.strip_suffix(b"/").unwrap_or(path)
}

/// Returns true if a path is `base`, or follows it on a whole segment.
fn is_under(path: &[u8], base: &[u8]) -> bool {
    let rest = path.strip_prefix(base);
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Returns a URL of one of the targets as the client sees it; `None`: it stays as it is. The first
/// target is the one that answered. It wins; of the others the one with the longest path.
fn client_url<'a>(
    url: &'a [u8],
    targets: impl Iterator<Item = TargetPlace<'a>>,
    client: &ClientPlace<'a>,
) -> Option<[&'a [u8]; 4]> {
    let mut found: Option<(&[u8], usize)> = None;
    for (place, target) in targets.enumerate() {
        if let Some((rest, base)) = behind_target(url, &target)
            && let Some(rest) = client.behind(rest, &target)
            && found.is_none_or(|(_, known)| base > known)
        {
            found = Some((rest, base));
            if place == 0 {
                break;
            }
        }
    }
    let (rest, _) = found?;
    let path = client.stem();
    let slash: &[u8] = match rest.first() {
        Some(b'/') => b"",
        _ if path.is_empty() => b"/",
        _ => b"",
    };
    // Without a host the reference begins with its path, and `//x` would name another host.
    if client.origin.is_empty() && path.is_empty() && rest.starts_with(b"//") {
        return None;
    }
    Some([client.origin, path, slash, rest])
}

/// Returns the value of `Location` or `Content-Location` for the client; `None`: it stays.
pub fn location<'a>(
    value: &'a [u8],
    targets: impl Iterator<Item = TargetPlace<'a>>,
    client: &ClientPlace<'a>,
) -> Option<Parts<'a>> {
    let [origin, path, slash, rest] = client_url(value, targets, client)?;
    Some([origin, path, slash, rest, b""])
}

/// Returns the value of `Refresh` for the client, such as `5; url=http://..`; `None`: it stays (HTML
/// standard, shared declarative refresh steps). The parts stand behind the start of the value.
pub fn refresh<'a>(
    value: &'a [u8],
    targets: impl Iterator<Item = TargetPlace<'a>>,
    client: &ClientPlace<'a>,
) -> Option<(&'a [u8], Parts<'a>)> {
    const URL: &[u8] = b"url=";
    let at = value
        .windows(URL.len())
        .position(|four| four.eq_ignore_ascii_case(URL))?;
    let at = at.checked_add(URL.len())?;
    let (at, end) = match value.get(at) {
        Some(quote @ (b'"' | b'\'')) => {
            let start = at.checked_add(1)?;
            let length = value.get(start..)?.iter().position(|byte| byte == quote)?;
            (start, start.checked_add(length)?)
        }
        _ => (at, value.len()),
    };
    let [origin, path, slash, rest] = client_url(value.get(at..end)?, targets, client)?;
    Some((
        value.get(..at)?,
        [origin, path, slash, rest, value.get(end..)?],
    ))
}

/// Returns where the values of the `Path` attributes of a `Set-Cookie` are (RFC 6265 5.2). The part
/// before the first semicolon is the cookie itself.
fn paths(value: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut at = 0_usize;
    let attributes = value.split(|byte| *byte == b';').map(move |part| {
        let start = at;
        at = at.saturating_add(part.len()).saturating_add(1);
        (start, part)
    });
    attributes.skip(1).filter_map(|(start, part)| {
        let equals = part.iter().position(|byte| *byte == b'=')?;
        let (name, rest) = part.split_at_checked(equals)?;
        if !name.trim_ascii().eq_ignore_ascii_case(b"path") {
            return None;
        }
        let rest = rest.get(1..)?;
        let path = rest.trim_ascii();
        let spaces = rest.len().checked_sub(rest.trim_ascii_start().len())?;
        let start = start
            .checked_add(equals)?
            .checked_add(1)?
            .checked_add(spaces)?;
        Some((start, path))
    })
}

/// Writes the value of a `Set-Cookie` for the client. `target`: path of the target as configured;
/// `route`: path in place of it; `service`: route of the service, in place of `/`.
pub fn set_cookie<'a>(
    value: &'a [u8],
    (target, route, service): (&[u8], &'a [u8], &'a [u8]),
    mut put: impl FnMut(&'a [u8]),
) {
    let mut written = 0;
    // Browsers take a cookie of this name only with the path "/" (RFC 6265bis 4.1.3.2).
    let name = value.trim_ascii_start().get(..7).unwrap_or_default();
    let is_host = name.eq_ignore_ascii_case(b"__Host-");
    let base = stem(target);
    for (start, path) in paths(value).filter(|_| !is_host) {
        let (prefix, rest) = match path {
            b"/" if !base.is_empty() => (stem(service), &b""[..]),
            [b'/', ..] if is_under(path, base) => {
                // A path that is the target's slash alone is the whole of it.
                let rest = path.get(base.len()..).unwrap_or_default();
                let is_root = base.is_empty() && rest == b"/";
                (stem(route), if is_root { b"" } else { rest })
            }
            _ => continue,
        };
        put(value.get(written..start).unwrap_or_default());
        put(prefix);
        if prefix.is_empty() && rest.is_empty() {
            put(b"/");
        }
        put(rest);
        written = start.saturating_add(path.len());
    }
    put(value.get(written..).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use super::super::route::RoutePath;
    use super::*;

    fn rewritten(url: &str, targets: &[(bool, &str, &str)], origin: &str, route: &str) -> String {
        let places = targets.iter().map(|(tls, authority, path)| TargetPlace {
            tls: *tls,
            authority: authority.as_bytes(),
            path: path.as_bytes(),
        });
        let route = RoutePath::of(route);
        let client = ClientPlace {
            origin: origin.as_bytes(),
            path: route.path.as_bytes(),
            is_exact: route.is_exact,
        };
        let parts = location(url.as_bytes(), places, &client);
        parts.map_or("-".to_owned(), |parts| {
            String::from_utf8_lossy(&parts.concat()).into_owned()
        })
    }

    #[test]
    fn urls_of_the_target_become_the_clients() {
        let gate = "https://gate:8443";
        for (url, path, route, expected) in [
            (
                "http://app:81/base/x",
                "/base",
                "/r",
                "https://gate:8443/r/x",
            ),
            (
                "HTTP://APP:81/base/x?y#z",
                "/base/",
                "/r",
                "https://gate:8443/r/x?y#z",
            ),
            ("http://app:81/base", "/base", "/r", "https://gate:8443/r"),
            ("http://app:81/base/", "/base", "/r", "https://gate:8443/r/"),
            (
                "http://app:81/base?q=/../",
                "/base/",
                "/r",
                "https://gate:8443/r?q=/../",
            ),
            ("http://app:081/x", "", "/r", "https://gate:8443/r/x"),
            ("http://app:81", "", "/r", "https://gate:8443/r"),
            ("http://app:81", "", "/", "https://gate:8443/"),
            ("http://app:81?q", "/", "/", "https://gate:8443/?q"),
            ("http://app:81//x", "", "/", "https://gate:8443//x"),
            (
                "http://app:81/n\u{e4}f",
                "",
                "/r",
                "https://gate:8443/r/n\u{e4}f",
            ),
            ("http://app:81/...", "", "/r", "https://gate:8443/r/..."),
            // A route for one path has nothing below it.
            ("http://app:81/base", "/base", "= /r", "https://gate:8443/r"),
            (
                "http://app:81/base?q",
                "/base",
                "= /",
                "https://gate:8443/?q",
            ),
            (
                "http://app:81/base/#z",
                "/base/",
                "= /r/",
                "https://gate:8443/r/#z",
            ),
            ("http://app:81", "", "= /r", "https://gate:8443/r"),
            ("http://app:81/", "", "= /r", "https://gate:8443/r"),
            ("http://app:81/base/", "/base", "= /r", "-"),
            ("http://app:81/base/x", "/base", "= /r", "-"),
            ("http://app:81/x", "", "= /r", "-"),
            // Not surely the target's.
            ("/base/x", "/base", "/r", "-"),
            ("//app:81/base/x", "/base", "/r", "-"),
            ("x", "/base", "/r", "-"),
            ("", "", "/r", "-"),
            ("http:/base", "", "/r", "-"),
            ("http://app:81/based", "/base", "/r", "-"),
            ("http://app:81/other", "/base", "/r", "-"),
            ("http://app:81", "/base", "/r", "-"),
            ("http://app/base/x", "/base", "/r", "-"),
            ("https://app:81/base/x", "/base", "/r", "-"),
            ("http://app:82/base/x", "/base", "/r", "-"),
            ("http://app.:81/base/x", "/base", "/r", "-"),
            ("http://other:81/base/x", "/base", "/r", "-"),
            ("http://u@app:81/base/x", "/base", "/r", "-"),
            ("http://app:81@evil/base/x", "/base", "/r", "-"),
            ("http://app:81\\@evil/base/x", "/base", "/r", "-"),
            ("http://app:8x/base/x", "/base", "/r", "-"),
            ("http://app:-81/base/x", "/base", "/r", "-"),
            ("http://app:81/base/../x", "/base", "/r", "-"),
            ("http://app:81/base/%2E./x", "/base", "/r", "-"),
            ("http://app:81/base/.", "/base", "/r", "-"),
            ("http://app:81/base/ x", "/base", "/r", "-"),
            ("http://app:81/base/.\t./x", "/base", "/r", "-"),
            ("http://app:81/base/x\\..", "/base", "/r", "-"),
            ("javascript:alert(1)", "/base", "/r", "-"),
        ] {
            let found = rewritten(url, &[(false, "app:81", path)], gate, route);
            assert_eq!(found, expected, "{url} {path} {route}");
        }
        // Default ports, TLS, addresses.
        for (url, tls, authority, expected) in [
            ("http://app:80/x", false, "app", "http://g/r/x"),
            ("http://app:/x", false, "app", "http://g/r/x"),
            ("https://app/x", true, "app", "http://g/r/x"),
            ("https://app:443/x", true, "app", "http://g/r/x"),
            ("https://app:80/x", true, "app", "-"),
            ("http://app/x", true, "app", "-"),
            ("http://[::1]:9000/x", false, "[::1]:9000", "http://g/r/x"),
            ("http://[::1]/x", false, "[::1]:9000", "-"),
            ("http://[::1]9000/x", false, "[::1]:9000", "-"),
            ("http://[::1/x", false, "[::1]", "-"),
        ] {
            assert_eq!(
                rewritten(url, &[(tls, authority, "")], "http://g", "/r"),
                expected,
                "{url}"
            );
        }
    }

    #[test]
    fn every_target_counts_and_the_longest_path_wins() {
        let targets = [
            (false, "a", "/v1"),
            (false, "b", ""),
            (false, "b", "/v2"),
            (true, "c", "/"),
        ];
        for (url, expected) in [
            ("http://a/v1/x", "http://g/r/x"),
            ("http://b/v2/x", "http://g/r/x"),
            ("http://b/v3/x", "http://g/r/v3/x"),
            ("https://c/x", "http://g/r/x"),
            ("http://a/v2/x", "-"),
        ] {
            assert_eq!(
                rewritten(url, &targets, "http://g", "/r"),
                expected,
                "{url}"
            );
        }
        // The target that answered comes first.
        let targets = [(false, "b", ""), (false, "b", "/v2")];
        assert_eq!(
            rewritten("http://b/v2/x", &targets, "http://g", "/r"),
            "http://g/r/v2/x"
        );
        // A client that named no host gets a path, and no reference to another host.
        assert_eq!(rewritten("http://b/x", &targets, "", "/r"), "/r/x");
        assert_eq!(rewritten("http://b//evil/x", &targets, "", "/"), "-");
    }

    #[test]
    fn urls_of_refresh() {
        let value = |text: &str| {
            let target = TargetPlace {
                tls: false,
                authority: b"app",
                path: b"/base",
            };
            let client = ClientPlace {
                origin: b"http://g",
                path: b"/r",
                is_exact: false,
            };
            let parts = refresh(text.as_bytes(), [target].into_iter(), &client);
            parts.map_or("-".to_owned(), |(start, parts)| {
                String::from_utf8_lossy(&[start, &parts.concat()].concat()).into_owned()
            })
        };
        assert_eq!(value("5; url=http://app/base/x"), "5; url=http://g/r/x");
        assert_eq!(value("0;URL='http://app/base/x'"), "0;URL='http://g/r/x'");
        for other in [
            "5",
            "5; url=/x",
            "5; url=\"http://app/base/x",
            "5; url=http://b/base",
            "url=",
        ] {
            assert_eq!(value(other), "-", "{other}");
        }
    }

    #[test]
    fn paths_of_cookies() {
        let value = |text: &str, target: &str, route: &str, service: &str| {
            let mut out = Vec::new();
            let places = (target.as_bytes(), route.as_bytes(), service.as_bytes());
            set_cookie(text.as_bytes(), places, |part| out.extend_from_slice(part));
            String::from_utf8_lossy(&out).into_owned()
        };
        for (given, expected) in [
            ("a=b; Path=/base", "a=b; Path=/r"),
            ("a=b; Path=/base/", "a=b; Path=/r/"),
            ("a=b;pAtH = /base/x ; Secure", "a=b;pAtH = /r/x ; Secure"),
            ("a=b; Path=/", "a=b; Path=/r"),
            ("a=Path=/base; HttpOnly", "a=Path=/base; HttpOnly"),
            ("Path=/base", "Path=/base"),
            ("a=b; Path=/based", "a=b; Path=/based"),
            ("a=b; Path=/other", "a=b; Path=/other"),
            ("a=b; Path=\"/base\"", "a=b; Path=\"/base\""),
            ("a=b; Path=", "a=b; Path="),
            ("a=b; Path", "a=b; Path"),
            ("a=b; Path=base", "a=b; Path=base"),
            ("a=b; Secure; xPath=/base", "a=b; Secure; xPath=/base"),
            ("a=b; Path=/base; Path=/base/x;", "a=b; Path=/r; Path=/r/x;"),
            ("__Host-a=b; Path=/; Secure", "__Host-a=b; Path=/; Secure"),
            ("__host-a=b; Path=/", "__host-a=b; Path=/"),
            ("", ""),
            (";;Path=/base;", ";;Path=/r;"),
        ] {
            assert_eq!(value(given, "/base/", "/r", "/r"), expected, "{given}");
        }
        // A target without a path, the route `/`, and a prefix that stays.
        assert_eq!(value("a=b; Path=/", "", "/r", "/r"), "a=b; Path=/r");
        assert_eq!(value("a=b; Path=/x", "/", "/r", "/r"), "a=b; Path=/r/x");
        assert_eq!(value("a=b; Path=/base", "/base", "/", "/"), "a=b; Path=/");
        assert_eq!(
            value("a=b; Path=/base/x", "/base", "/", "/"),
            "a=b; Path=/x"
        );
        assert_eq!(
            value("a=b; Path=/base/r/x", "/base", "", "/r"),
            "a=b; Path=/r/x"
        );
        assert_eq!(value("a=b; Path=/", "/base", "", "/r"), "a=b; Path=/r");
        assert_eq!(value("a=b; Path=/", "", "", "/r"), "a=b; Path=/");
        assert_eq!(value("a=b; Path=/x", "", "", "/r"), "a=b; Path=/x");
    }
}
