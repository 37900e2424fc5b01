//! URLs of the authority.

/// URL of an authority: `https`, a host, a path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Url {
    text: Box<str>,
    /// Length of scheme and authority.
    origin: usize,
    /// Host as in the URL, without brackets.
    host: Box<str>,
    port: u16,
}

/// Bytes of a URL.
const URL_BYTES: usize = 1024;

const SCHEME: &str = "https://";

impl Url {
    /// Parses a URL. Returns `None` if it is not `https`, has user information or a fragment, or is
    /// longer than 1,024 bytes.
    pub fn parse(text: &str) -> Option<Url> {
        let rest = text.strip_prefix(SCHEME)?;
        let is_visible = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'#');
        if text.len() > URL_BYTES || !text.bytes().all(is_visible) {
            return None;
        }
        let length = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(length)?;
        if authority.contains('@') || path.starts_with('?') {
            return None;
        }
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']')?;
                host.parse::<core::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => authority.split_at_checked(authority.find(':').unwrap_or(authority.len()))?,
        };
        let port = match port.strip_prefix(':') {
            Some(digits) => u16::try_from(crate::digits::parse(digits.as_bytes())?).ok()?,
            None if port.is_empty() => 443,
            None => return None,
        };
        if host.is_empty() || port == 0 {
            return None;
        }
        Some(Url {
            origin: SCHEME.len().saturating_add(length),
            host: host.into(),
            port,
            text: text.into(),
        })
    }

    /// Returns the whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the host, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns path and query.
    pub fn path(&self) -> &str {
        match self.text.get(self.origin..) {
            Some("") | None => "/",
            Some(path) => path,
        }
    }

    /// Returns true if both URLs lead to the same server.
    pub fn is_of_same_origin(&self, other: &Url) -> bool {
        self.port == other.port && self.host.eq_ignore_ascii_case(&other.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        let parts = |text| {
            Url::parse(text).map(|url| (url.host().to_owned(), url.port(), url.path().to_owned()))
        };
        let some = |host: &str, port, path: &str| Some((host.to_owned(), port, path.to_owned()));
        assert_eq!(parts("https://a.b/c?d=e"), some("a.b", 443, "/c?d=e"));
        assert_eq!(parts("https://a.b:14000"), some("a.b", 14000, "/"));
        assert_eq!(parts("https://[::1]:1/x"), some("::1", 1, "/x"));
        for bad in [
            "http://a/",
            "https://",
            "https://u@a/",
            "https://a/#f",
            "https://a:0/",
            "https://a:x/",
            "https://[::1/",
            "https://[::1]x/",
            "https://a?b",
            "https://a/ b",
            "https://a/\r\nb",
        ] {
            assert_eq!(parts(bad), None, "{bad}");
        }
        let [one, same, other] = ["https://a/x", "https://A:443/y", "https://a:444/x"]
            .map(|text| Url::parse(text).expect(text));
        assert!(one.is_of_same_origin(&same) && !one.is_of_same_origin(&other));
    }
}
