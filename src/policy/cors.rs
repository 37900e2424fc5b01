//! Cross-origin resource sharing, as the npm package `cors` does it.
//!
//! The lines are built once; only an origin or a list of headers that is echoed is put in at the time.

use crate::buffer::total;
use crate::http::field::{Name, NameSet};
use crate::time::Duration;

/// `cors`, when it is not false.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CorsPolicy {
    /// `None`: any origin (`*`). Else the origins that are echoed, byte for byte.
    pub origins: Option<Vec<String>>,
    /// `Access-Control-Allow-Methods`, in order.
    pub methods: Vec<String>,
    /// `None`: reflect what the preflight asks for. Else the list for `Access-Control-Allow-Headers`.
    pub headers: Option<Vec<String>>,
    /// `Access-Control-Expose-Headers`; empty: not sent.
    pub expose_headers: Vec<String>,
    /// `Access-Control-Allow-Credentials: true`.
    pub credentials: bool,
    /// `Access-Control-Max-Age` in seconds; `None`: not sent.
    pub max_age: Option<Duration>,
    /// Whether an OPTIONS that is no preflight goes on to the upstream.
    pub forward_options: bool,
}

/// The policy, ready to be written.
pub struct Cors {
    /// The origins that are echoed; `None`: any origin, as `*`.
    origins: Option<Vec<Box<[u8]>>>,
    /// What every response gets behind its origin line.
    actual: Vec<u8>,
    /// What a preflight gets between origin and headers.
    methods: Vec<u8>,
    /// `None`: the headers asked for are reflected.
    headers: Option<Vec<u8>>,
    /// What a preflight gets at the end.
    tail: Vec<u8>,
    /// `Access-Control-Expose-Headers` is among them.
    exposes: bool,
    forward_options: bool,
}

const ANY_ORIGIN: &[u8] = b"Access-Control-Allow-Origin: *\r\n";
const VARY_ORIGIN: &[u8] = b"Vary: Origin\r\n";
const VARY_HEADERS: &[u8] = b"Vary: Access-Control-Request-Headers\r\n";

impl Cors {
    /// Builds the lines of a policy whose strings are valid in a header.
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
            origins: policy.origins.as_ref().map(|origins| {
                origins
                    .iter()
                    .map(|origin| origin.as_bytes().into())
                    .collect()
            }),
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

    /// Whether the gateway answers an OPTIONS itself; `preflight`: it has Origin and Access-Control-Request-Method.
    pub fn answers_options(&self, preflight: bool) -> bool {
        preflight || !self.forward_options
    }

    /// Whether the request's `Origin` shows in the response.
    pub fn echoes_origin(&self) -> bool {
        self.origins.is_some()
    }

    /// Fields of a response that these lines stand in for: what its upstream sent of them goes, where it sent no
    /// `Access-Control-Allow-Origin` of its own. Two lines of a name are none to a browser (Fetch standard, CORS check).
    pub fn replaces(&self) -> NameSet {
        match self.exposes {
            true => NameSet::of(&[
                Name::AccessControlAllowOther,
                Name::AccessControlExposeHeaders,
            ]),
            false => NameSet::of(&[Name::AccessControlAllowOther]),
        }
    }

    /// The most bytes the lines take, beside what is echoed.
    pub fn bound(&self) -> usize {
        const REFLECTED: usize = VARY_HEADERS.len() + 32;
        let headers = self.headers.as_ref().map_or(REFLECTED, Vec::len);
        let own = [
            self.actual.len(),
            self.methods.len(),
            headers,
            self.tail.len(),
        ];
        total(own.into_iter().chain([ANY_ORIGIN.len(), VARY_ORIGIN.len()]))
    }

    /// Puts out the lines that any response gets.
    pub fn origin_lines(&self, origin: Option<&[u8]>, mut put: impl FnMut(&[u8])) {
        self.origin_line(origin, &mut put);
        put(&self.actual);
    }

    /// Puts out the lines that answer an OPTIONS; `asked`: its Access-Control-Request-Headers.
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
        let Some(origins) = &self.origins else {
            return put(ANY_ORIGIN);
        };
        if let Some(origin) =
            origin.filter(|origin| origins.iter().any(|known| **known == **origin))
        {
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
