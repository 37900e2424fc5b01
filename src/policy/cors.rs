//! Cross-origin resource sharing (CORS), with the behaviour of the npm package `cors`.
//!
//! The header lines are built once, at startup. Only an echoed origin or an echoed list of headers
//! is inserted for each response.

use crate::buffer::joined_len;
use crate::http::field::{Name, NameSet};
use crate::sort;
use crate::time::Duration;

/// Configuration `cors`, if it is not false.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsPolicy {
    /// Allowed origins, which are echoed byte for byte; `None` allows any origin (`*`). The first label
    /// of a host may be `*`, for one or more labels.
    pub origins: Option<Vec<String>>,
    /// `Access-Control-Allow-Methods`, in order.
    pub methods: Vec<String>,
    /// List for `Access-Control-Allow-Headers`; `None` reflects the headers that the preflight asks
    /// for.
    pub headers: Option<Vec<String>>,
    /// `Access-Control-Expose-Headers`; empty: not sent.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// `Access-Control-Max-Age` in seconds; `None`: not sent.
    pub max_age: Option<Duration>,
    /// True if an OPTIONS request that is not a preflight is forwarded to the upstream.
    pub forward_options: bool,
}

impl CorsPolicy {
    /// Returns true if responses, or answers to preflights, have a header of this name.
    pub fn has(&self, name: &str) -> bool {
        [
            ("Access-Control-Allow-Origin", true),
            ("Access-Control-Allow-Methods", true),
            ("Access-Control-Allow-Headers", true),
            (
                "Access-Control-Expose-Headers",
                !self.expose_headers.is_empty(),
            ),
            ("Access-Control-Allow-Credentials", self.credentials),
            ("Access-Control-Max-Age", self.max_age.is_some()),
        ]
        .into_iter()
        .any(|(known, is_sent)| is_sent && known.eq_ignore_ascii_case(name))
    }
}

/// The CORS policy as header lines.
pub struct Cors {
    /// Allowed origins, which are echoed; `None` allows any origin (`*`).
    origins: Option<Origins>,
    /// Lines of every response, after the origin line.
    actual: Vec<u8>,
    /// Lines of a preflight's response between the origin and the allowed headers.
    methods: Vec<u8>,
    /// Line with the allowed headers; `None` reflects the headers that the preflight asks for.
    headers: Option<Vec<u8>>,
    /// Last lines of a preflight's response.
    tail: Vec<u8>,
    /// True if the lines include `Access-Control-Expose-Headers`.
    exposes: bool,
    forward_options: bool,
}

/// Named origins, sorted, so that one is found among thousands.
struct Origins {
    whole: Vec<Box<[u8]>>,
    /// Origins with a wildcard, without its `*`: `https://.example.com`.
    wild: Vec<Box<[u8]>>,
}

impl Origins {
    fn new(origins: &[String]) -> Origins {
        let (wild, whole): (Vec<_>, Vec<_>) =
            origins.iter().partition(|origin| origin.contains('*'));
        let sorted = |origins: Vec<&String>| {
            let origins = origins.iter().map(|origin| origin.replacen('*', "", 1));
            let mut origins = origins
                .map(|origin| origin.into_bytes().into())
                .collect::<Vec<Box<[u8]>>>();
            sort::sort(&mut origins);
            origins
        };
        Origins {
            whole: sorted(whole),
            wild: sorted(wild),
        }
    }

    fn has(&self, origin: &[u8]) -> bool {
        self.whole
            .binary_search_by(|known| (**known).cmp(origin))
            .is_ok()
            || (!self.wild.is_empty() && self.has_wild(origin))
    }

    /// Returns true if an origin stands below one with a wildcard. Its labels in place of the wildcard
    /// must be such as browsers send: lower case, and none empty.
    #[cold]
    #[inline(never)]
    fn has_wild(&self, origin: &[u8]) -> bool {
        let scheme = origin.windows(3).position(|three| three == b"://");
        let start = scheme.and_then(|end| end.checked_add(3)).unwrap_or(0);
        let Some((scheme, host)) = origin.split_at_checked(start).filter(|_| start > 3) else {
            return false;
        };
        let mut is_label = false;
        for (place, byte) in host.iter().take(HOST_BYTES).enumerate() {
            match byte {
                b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => is_label = true,
                b'.' if is_label => {
                    let rest = host.get(place..).unwrap_or_default();
                    let found = self
                        .wild
                        .binary_search_by(|known| known.iter().cmp(scheme.iter().chain(rest)));
                    if found.is_ok() {
                        return true;
                    }
                    is_label = false;
                }
                _ => return false,
            }
        }
        false
    }
}

/// Bytes of a host that are looked at: the longest name of the DNS.
const HOST_BYTES: usize = 255;

const ANY_ORIGIN: &[u8] = b"Access-Control-Allow-Origin: *\r\n";
const VARY_ORIGIN: &[u8] = b"Vary: Origin\r\n";
const VARY_HEADERS: &[u8] = b"Vary: Access-Control-Request-Headers\r\n";

impl Cors {
    /// Builds the lines of a policy. Its strings must be valid in a header.
    pub fn new(policy: &CorsPolicy) -> Cors {
        let line = |name: &str, values: &[String]| match values {
            [] => Vec::new(),
            _ => format!("{name}: {}\r\n", values.join(",")).into_bytes(),
        };
        let credentials: &[u8] = if policy.credentials {
            b"Access-Control-Allow-Credentials: true\r\n"
        } else {
            b""
        };
        let exposed = line("Access-Control-Expose-Headers", &policy.expose_headers);
        let age = policy
            .max_age
            .map(|age| format!("Access-Control-Max-Age: {}\r\n", age.as_millis() / 1000));
        Cors {
            origins: policy.origins.as_deref().map(Origins::new),
            actual: [credentials, &exposed].concat(),
            methods: [
                credentials,
                &line("Access-Control-Allow-Methods", &policy.methods),
            ]
            .concat(),
            headers: policy
                .headers
                .as_ref()
                .map(|headers| line("Access-Control-Allow-Headers", headers)),
            tail: [age.unwrap_or_default().as_bytes(), &exposed].concat(),
            exposes: !policy.expose_headers.is_empty(),
            forward_options: policy.forward_options,
        }
    }

    /// Returns true if the gateway answers an OPTIONS request itself. `preflight`: the request has
    /// Origin and Access-Control-Request-Method.
    pub fn answers_options(&self, preflight: bool) -> bool {
        preflight || !self.forward_options
    }

    /// Returns true if the response contains the request's `Origin`.
    pub fn echoes_origin(&self) -> bool {
        self.origins.is_some()
    }

    /// Returns true if pages of this origin may read responses.
    pub fn allows(&self, origin: &[u8]) -> bool {
        let origins = self.origins.as_ref();
        origins.is_none_or(|origins| origins.has(origin))
    }

    /// Names of response fields that these lines replace. If the upstream sent no
    /// `Access-Control-Allow-Origin`, the gateway removes the upstream's fields of these names: a
    /// browser rejects a response in which such a field occurs twice (Fetch standard, CORS check).
    pub fn replaces(&self) -> NameSet {
        match self.exposes {
            true => NameSet::of(&[
                Name::AccessControlAllowOther,
                Name::AccessControlExposeHeaders,
            ]),
            false => NameSet::of(&[Name::AccessControlAllowOther]),
        }
    }

    /// Upper bound of the bytes of the lines, without the echoed values.
    pub fn bound(&self) -> usize {
        const REFLECTED: usize = VARY_HEADERS.len() + 32;
        let headers = self.headers.as_ref().map_or(REFLECTED, Vec::len);
        let own = [
            self.actual.len(),
            self.methods.len(),
            headers,
            self.tail.len(),
        ];
        joined_len(own.into_iter().chain([ANY_ORIGIN.len(), VARY_ORIGIN.len()]))
    }

    /// Writes the lines that every response gets.
    pub fn origin_lines(&self, origin: Option<&[u8]>, mut put: impl FnMut(&[u8])) {
        self.origin_line(origin, &mut put);
        put(&self.actual);
    }

    /// Writes the lines of the response to an OPTIONS request. `asked`: the request's
    /// Access-Control-Request-Headers.
    pub fn preflight_lines(
        &self,
        origin: Option<&[u8]>,
        asked: Option<&[u8]>,
        mut put: impl FnMut(&[u8]),
    ) {
        self.origin_line(origin, &mut put);
        put(&self.methods);
        match &self.headers {
            Some(headers) => put(headers),
            None => {
                put(VARY_HEADERS);
                if let Some(asked) = asked.filter(|asked| !asked.is_empty()) {
                    put(b"Access-Control-Allow-Headers: ");
                    put(asked);
                    put(b"\r\n");
                }
            }
        }
        put(&self.tail);
    }

    fn origin_line(&self, origin: Option<&[u8]>, put: &mut impl FnMut(&[u8])) {
        if self.origins.is_none() {
            return put(ANY_ORIGIN);
        }
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            put(b"Access-Control-Allow-Origin: ");
            put(origin);
            put(b"\r\n");
        }
        put(VARY_ORIGIN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> CorsPolicy {
        CorsPolicy {
            origins: None,
            methods: ["GET", "HEAD", "PUT", "PATCH", "POST", "DELETE"]
                .map(str::to_owned)
                .to_vec(),
            headers: None,
            expose_headers: Vec::new(),
            credentials: false,
            max_age: None,
            forward_options: false,
        }
    }

    fn response(policy: &CorsPolicy, origin: Option<&str>) -> String {
        let mut out = Vec::new();
        Cors::new(policy).origin_lines(origin.map(str::as_bytes), |line| {
            out.extend_from_slice(line)
        });
        String::from_utf8(out).expect("ASCII")
    }

    fn preflight(policy: &CorsPolicy, origin: Option<&str>, asked: Option<&str>) -> String {
        let cors = Cors::new(policy);
        let mut out = Vec::new();
        cors.preflight_lines(
            origin.map(str::as_bytes),
            asked.map(str::as_bytes),
            |line| out.extend_from_slice(line),
        );
        assert!(out.len() <= cors.bound() + origin.map_or(0, str::len) + asked.map_or(0, str::len));
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn any_origin_is_the_default() {
        assert_eq!(
            response(&policy(), None),
            "Access-Control-Allow-Origin: *\r\n"
        );
        assert_eq!(
            response(&policy(), Some("http://a")),
            "Access-Control-Allow-Origin: *\r\n"
        );
        assert_eq!(
            preflight(&policy(), Some("http://a"), Some("x-token")),
            "Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Methods: GET,HEAD,PUT,PATCH,POST,DELETE\r\n\
             Vary: Access-Control-Request-Headers\r\nAccess-Control-Allow-Headers: x-token\r\n"
        );
        for asked in [None, Some("")] {
            assert!(
                !preflight(&policy(), None, asked).contains("Allow-Headers"),
                "{asked:?}"
            );
        }
    }

    #[test]
    fn named_origins_are_echoed() {
        let named = CorsPolicy {
            origins: Some(vec!["http://a".to_owned(), "http://b".to_owned()]),
            credentials: true,
            expose_headers: vec!["X-One".to_owned(), "X-Two".to_owned()],
            ..policy()
        };
        assert_eq!(
            response(&named, Some("http://b")),
            "Access-Control-Allow-Origin: http://b\r\nVary: Origin\r\nAccess-Control-Allow-Credentials: true\r\n\
             Access-Control-Expose-Headers: X-One,X-Two\r\n"
        );
        for other in [Some("http://c"), Some("http://a.b"), Some(""), None] {
            assert!(
                !response(&named, other).contains("Allow-Origin"),
                "{other:?}"
            );
            assert!(
                response(&named, other).contains("Vary: Origin"),
                "{other:?}"
            );
        }
    }

    /// A wildcard takes one label or more in its place; scheme and port are those of the pattern.
    #[test]
    fn wildcard_origins() {
        let origins = [
            "https://*.preview.test",
            "http://*.preview.test:8080",
            "https://one.test",
            "null",
        ];
        let cors = Cors::new(&CorsPolicy {
            origins: Some(origins.map(str::to_owned).to_vec()),
            ..policy()
        });
        for allowed in [
            "https://a.preview.test",
            "https://a.b.c.preview.test",
            "https://x--y.preview.test",
            "https://my_app.preview.test",
            "https://preview.test.preview.test",
            "http://a.preview.test:8080",
            "https://one.test",
            "null",
        ] {
            assert!(cors.allows(allowed.as_bytes()), "{allowed}");
        }
        for refused in [
            "",
            "https://preview.test",
            "https://.preview.test",
            "https://a..preview.test",
            "https://.a.preview.test",
            "https://apreview.test",
            "https://a.preview.test.",
            "https://a.preview.test:443",
            "https://a.preview.test:8080",
            "http://a.preview.test",
            "http://a.preview.test:80",
            "http://a.preview.test:80800",
            "HTTPS://a.preview.test",
            "https://A.preview.test",
            "https://a.Preview.test",
            "https://u@a.preview.test",
            "https://evil.test@a.preview.test",
            "https://evil.test/.preview.test",
            "https://evil.test?.preview.test",
            "https://evil.test#.preview.test",
            "https://evil.test:1.preview.test",
            "https://evil.test\\.preview.test",
            "https://a\u{e4}.preview.test",
            "https://a .preview.test",
            "https://a%2e.preview.test",
            "https://*.preview.test",
            "https://[::1].preview.test",
            "https://a.preview.test.evil.test",
            "https://a.preview.test/",
            "ftp://a.preview.test",
            "://a.preview.test",
            "a.preview.test",
            "nullx",
        ] {
            assert!(!cors.allows(refused.as_bytes()), "{refused}");
        }
        let long = format!("https://{}preview.test", "a.".repeat(200));
        assert!(!cors.allows(long.as_bytes()), "longer than a name may be");
        let echoed = response(
            &CorsPolicy {
                origins: Some(vec!["https://*.preview.test".to_owned()]),
                ..policy()
            },
            Some("https://a.preview.test"),
        );
        assert_eq!(
            echoed,
            "Access-Control-Allow-Origin: https://a.preview.test\r\nVary: Origin\r\n"
        );
    }

    #[test]
    fn fixed_headers_and_age() {
        let fixed = CorsPolicy {
            headers: Some(vec!["X-A".to_owned(), "X-B".to_owned()]),
            max_age: Some(Duration::from_secs(600)),
            forward_options: true,
            ..policy()
        };
        let text = preflight(&fixed, None, Some("x-other"));
        assert!(
            text.contains(
                "Access-Control-Allow-Headers: X-A,X-B\r\nAccess-Control-Max-Age: 600\r\n"
            ),
            "{text}"
        );
        assert!(!text.contains("x-other") && !text.contains("Vary"));
        assert!(
            Cors::new(&fixed).answers_options(true) && !Cors::new(&fixed).answers_options(false)
        );
    }
}
