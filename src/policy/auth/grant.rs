//! Result of a valid credential: its scopes, and header lines for the upstream.

use ring::digest::{SHA256, digest};

use super::fault::CredentialFault;
use super::json::Json;
use crate::http::field::is_value_byte;
use crate::limits::{
    AUTH_CLIENT_LINES_BYTES, AUTH_COUNTED_CLAIMS, AUTH_FORWARDED_BYTES, AUTH_SCOPE_BYTES,
    AUTH_SUBJECT_BYTES,
};
use crate::time::UnixTime;

/// A claim that the gateway uses.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UsedClaim {
    /// Name of the claim.
    pub claim: String,
    /// Name of the header that carries it to the upstream, in the spelling that is sent. `None`: a
    /// rate limit counts by the claim.
    pub header: Option<String>,
}

/// Hash of the value of a claim, which rate limits count by. It begins with a byte that no text has:
/// no name of a consumer is equal to it.
type ClaimHash = [u8; 17];

/// Tolerance for the times of a credential, in milliseconds, because the issuer's clock may differ
/// from the gateway's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leeway {
    /// Tolerance before `nbf`.
    pub before: i64,
    /// Tolerance after `exp`.
    pub after: i64,
}

/// Owner of a credential.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Consumer {
    /// Subject of a token; empty without one. At most [`AUTH_SUBJECT_BYTES`].
    Subject(Box<str>),
    /// Start of a longer subject, which several tokens may share.
    SubjectStart(Box<str>),
    /// Name in the configuration.
    Name(Box<str>),
}

impl Default for Consumer {
    fn default() -> Consumer {
        Consumer::Subject(Box::default())
    }
}

/// Rights and header lines of a valid credential.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// Scopes, separated by single spaces; at most [`AUTH_SCOPE_BYTES`].
    scopes: String,
    /// Complete header lines for the upstream; at most [`AUTH_FORWARDED_BYTES`].
    lines: Vec<u8>,
    /// Complete header lines for the final response; at most [`AUTH_CLIENT_LINES_BYTES`].
    client_lines: Vec<u8>,
    consumer: Consumer,
    /// Claims that rate limits count by, of at most [`AUTH_COUNTED_CLAIMS`].
    counted: Vec<(Box<str>, ClaimHash)>,
    /// Period of validity in milliseconds since the epoch: from `from` until before `until`.
    from: Option<i64>,
    until: Option<i64>,
}

impl Grant {
    /// Creates the grant of these claims. Returns `None` if they contradict each other or exceed
    /// the memory bound.
    pub fn from_claims(claims: &Json, used: &[UsedClaim], leeway: Leeway) -> Option<Grant> {
        let date = |name: &str| match claims.get(name) {
            None => Some(None),
            Some(date) => date.numeric_date().map(Some),
        };
        let mut grant = Grant {
            scopes: scopes(claims)?,
            lines: Vec::new(),
            client_lines: Vec::new(),
            consumer: subject(claims),
            counted: Vec::new(),
            from: date("nbf")?.map(|from| from.saturating_sub(leeway.before)),
            until: date("exp")?.map(|until| until.saturating_add(leeway.after)),
        };
        for UsedClaim { claim, header } in used {
            let value = claims.get(claim);
            match header {
                Some(header) => {
                    if let Some(value) = value.and_then(header_value) {
                        grant.push_line(header.as_bytes(), value.as_bytes())?;
                    }
                }
                None => grant.count_by(claim, value),
            }
        }
        Some(grant)
    }

    /// Creates a grant without scopes and without an end, for a consumer that the configuration
    /// names.
    pub fn named(consumer: &str) -> Grant {
        Grant {
            consumer: Consumer::Name(consumer.into()),
            ..Grant::default()
        }
    }

    /// Creates a grant without scopes and without an end, with these header lines for the upstream
    /// and for the client. Returns `None` if they exceed the memory bound.
    pub fn with_lines<'a>(
        upstream: impl Iterator<Item = (&'a [u8], &'a [u8])>,
        client: impl Iterator<Item = (&'a [u8], &'a [u8])>,
    ) -> Option<Grant> {
        let mut grant = Grant::default();
        for (name, value) in upstream {
            grant.push_line(name, value)?;
        }
        for (name, value) in client {
            for part in [name, b": ", value, b"\r\n"] {
                grant.client_lines.extend_from_slice(part);
            }
        }
        (grant.client_lines.len() <= AUTH_CLIENT_LINES_BYTES).then_some(grant)
    }

    fn push_line(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        self.lines.extend_from_slice(value);
        self.lines.extend_from_slice(b"\r\n");
        (self.lines.len() <= AUTH_FORWARDED_BYTES).then_some(())
    }

    /// Keeps a hash of a claim's value. Objects, lists, null and the empty text are no values.
    fn count_by(&mut self, claim: &str, value: Option<&Json>) {
        let text = value.and_then(scalar).unwrap_or_default();
        if text.is_empty() || self.counted.len() == AUTH_COUNTED_CLAIMS {
            return;
        }
        let digest = digest(&SHA256, text.as_bytes());
        let mut hash = [u8::MAX; size_of::<ClaimHash>()];
        for (to, from) in hash.iter_mut().skip(1).zip(digest.as_ref()) {
            *to = *from;
        }
        self.counted.reserve_exact(1);
        self.counted.push((claim.into(), hash));
    }

    /// Returns true if the grant is valid at this time (RFC 7519 4.1.4, 4.1.5).
    pub fn holds_at(&self, wall: UnixTime) -> bool {
        let now = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    /// Checks that the grant is valid at this time.
    ///
    /// # Errors
    /// The grant is not valid yet, or not any more.
    pub fn check_time(&self, wall: UnixTime) -> Result<(), CredentialFault> {
        let now = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        match (self.holds_at(wall), self.from) {
            (true, _) => Ok(()),
            (false, Some(from)) if from > now => Err(CredentialFault::NotYet),
            (false, _) => Err(CredentialFault::Expired),
        }
    }

    /// Returns true if the grant has an end.
    pub fn ends(&self) -> bool {
        self.until.is_some()
    }

    /// Returns true if the grant has all of these scopes.
    pub fn has_scopes(&self, needed: &[String]) -> bool {
        needed
            .iter()
            .all(|scope| self.scopes.split(' ').any(|own| own == scope))
    }

    /// Returns the header lines for the upstream, each with its line end.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Returns the grant with more lines for the client.
    pub fn with_client_lines(mut self, lines: &[u8]) -> Grant {
        self.client_lines.extend_from_slice(lines);
        self
    }

    /// Returns the header lines for the client, each with its line end. The final response contains
    /// them, whatever its source.
    pub fn client_lines(&self) -> &[u8] {
        &self.client_lines
    }

    /// Returns the subject of the token, or the start of a long one, for the access log; empty
    /// without one.
    pub fn subject(&self) -> &str {
        match &self.consumer {
            Consumer::Subject(text) | Consumer::SubjectStart(text) => text,
            Consumer::Name(_) => "",
        }
    }

    /// Returns the name of the consumer: of the API key, the Basic user, or the whole subject of the
    /// token, with any character that the token has. `None` without one, and for a subject of more
    /// than [`AUTH_SUBJECT_BYTES`].
    pub fn consumer(&self) -> Option<&str> {
        match &self.consumer {
            Consumer::Subject(text) | Consumer::Name(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// Returns the hash of the value of a claim that rate limits count by; `None` if the credential
    /// does not have it.
    pub fn claim(&self, name: &str) -> Option<&[u8]> {
        let mut counted = self.counted.iter();
        let (_, hash) = counted.find(|(claim, _)| **claim == *name)?;
        Some(hash)
    }

    /// Returns the bytes that the grant occupies.
    pub fn bytes(&self) -> usize {
        let names = self.counted.iter().map(|(claim, _)| claim.len());
        let texts = [
            size_of_val(&self.counted[..]),
            self.scopes.len(),
            self.lines.len(),
            self.client_lines.len(),
            match &self.consumer {
                Consumer::Subject(text) | Consumer::SubjectStart(text) | Consumer::Name(text) => {
                    text.len()
                }
            },
        ];
        texts
            .into_iter()
            .chain(names)
            .fold(size_of::<Grant>(), usize::saturating_add)
    }
}

/// Reads `sub` (RFC 7519 4.1.2), or `username` (RFC 7662 2.2) without it.
fn subject(claims: &Json) -> Consumer {
    let claim = claims
        .get_filled("sub")
        .or_else(|| claims.get_filled("username"));
    let Some(Json::Text(text)) = claim else {
        return Consumer::default();
    };
    if text.len() <= AUTH_SUBJECT_BYTES {
        return Consumer::Subject(text.as_str().into());
    }
    let mut ends = (0..=AUTH_SUBJECT_BYTES).rev();
    let end = ends.find(|&at| text.is_char_boundary(at));
    let start = end.and_then(|end| text.get(..end));
    Consumer::SubjectStart(start.unwrap_or_default().into())
}

/// Reads `scope` (RFC 8693 4.2, RFC 7662 2.2), or `scp` if `scope` is empty, as a string or a list
/// of strings.
fn scopes(claims: &Json) -> Option<String> {
    let claim = claims
        .get_filled("scope")
        .or_else(|| claims.get_filled("scp"));
    let Some(claim) = claim else {
        return Some(String::new());
    };
    let scopes = claim.texts()?.join(" ");
    (scopes.len() <= AUTH_SCOPE_BYTES).then_some(scopes)
}

/// Formats a claim as a header value: text and numbers as they are, lists separated by commas.
/// Returns `None` for values that the other side would read differently: objects, null, bytes that
/// a field value must not contain, and list elements with a comma.
fn header_value(claim: &Json) -> Option<String> {
    let value = match claim {
        Json::List(items) => {
            let parts = items.iter().map(scalar).collect::<Option<Vec<_>>>()?;
            if parts.iter().any(|part| part.contains(',')) {
                return None;
            }
            parts.join(",")
        }
        other => scalar(other)?,
    };
    let fits = !value.is_empty() && value.trim() == value && value.bytes().all(is_value_byte);
    fits.then_some(value)
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::Text(text) => Some(text.clone()),
        Json::Whole(number) => Some(number.to_string()),
        Json::Real(number) => Some(number.to_string()),
        Json::Flag(flag) => Some(flag.to_string()),
        Json::Null | Json::List(_) | Json::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(claims: &str) -> Option<Grant> {
        let forwarded = ["sub", "n"].map(|claim| UsedClaim {
            claim: claim.to_owned(),
            header: Some(format!("X-{claim}")),
        });
        granted(claims, &forwarded)
    }

    fn granted(claims: &str, used: &[UsedClaim]) -> Option<Grant> {
        let claims = Json::parse(claims.as_bytes()).expect("JSON");
        Grant::from_claims(&claims, used, Leeway::default())
    }

    fn lines(claims: &str) -> String {
        String::from_utf8(grant(claims).expect("a grant").lines().to_vec()).expect("text")
    }

    #[test]
    fn claims_become_headers() {
        for (claims, expected) in [
            (r#"{"sub":"ann"}"#, "X-sub: ann\r\n"),
            (r#"{"n":7,"sub":"a b"}"#, "X-sub: a b\r\nX-n: 7\r\n"),
            (r#"{"n":true}"#, "X-n: true\r\n"),
            (r#"{"n":1.5}"#, "X-n: 1.5\r\n"),
            (r#"{"n":["a","b",1]}"#, "X-n: a,b,1\r\n"),
            (r#"{"sub":"é"}"#, "X-sub: é\r\n"),
            (r#"{"other":"x"}"#, ""),
            (r#"{"n":null}"#, ""),
            (r#"{"n":{"a":1}}"#, ""),
            (r#"{"n":[["a"]]}"#, ""),
            (r#"{"n":["a,b"]}"#, ""),
            (r#"{"n":[]}"#, ""),
            (r#"{"sub":""}"#, ""),
            (r#"{"sub":" a"}"#, ""),
            (r#"{"sub":"a\r\nX-Admin: yes"}"#, ""),
            (r#"{"sub":"a\u0000"}"#, ""),
        ] {
            assert_eq!(lines(claims), expected, "{claims}");
        }
        let long = format!(r#"{{"sub":"{}"}}"#, "a".repeat(AUTH_FORWARDED_BYTES));
        assert_eq!(grant(&long), None);
    }

    #[test]
    fn a_consumer_has_its_whole_name() {
        let claims = |sub: &str| grant(&format!(r#"{{"sub":"{sub}"}}"#)).expect("a grant");
        assert_eq!(claims("ann").consumer(), Some("ann"));
        assert_eq!(claims("").consumer(), None);
        let most = "a".repeat(AUTH_SUBJECT_BYTES);
        assert_eq!(claims(&most).consumer(), Some(&*most));
        // Another subject may begin with the same bytes.
        let long = claims(&format!("{most}b"));
        assert_eq!((long.consumer(), long.subject()), (None, &*most));
        let named = Grant::named("key-1");
        assert_eq!((named.consumer(), named.subject()), (Some("key-1"), ""));
        assert!(named.has_scopes(&[]) && !named.has_scopes(&["a".to_owned()]));
    }

    #[test]
    fn counted_claims_have_a_hash_and_no_header() {
        let counted = |names: &[&str]| {
            let names = names.iter().map(|name| UsedClaim {
                claim: (*name).to_owned(),
                header: None,
            });
            names.collect::<Vec<_>>()
        };
        let hash = |claims: &str| {
            let grant = granted(claims, &counted(&["t", "https://a.example/t"])).expect("a grant");
            assert_eq!(grant.lines(), b"");
            assert_eq!(grant.claim("sub"), None, "nothing counts by it");
            grant.claim("t").map(<[u8]>::to_vec)
        };
        let a = hash(r#"{"t":"a"}"#).expect("a value");
        // The start of SHA-256 of "a" (FIPS 180-4), behind a byte that no text has.
        let start = digest(&SHA256, b"a").as_ref()[..16].to_vec();
        assert_eq!(a, [&[0xff][..], &start].concat());
        assert!(core::str::from_utf8(&a).is_err());
        for (claims, is_a) in [
            (r#"{"t":"a","sub":"b"}"#, true),
            (r#"{"t":"A"}"#, false),
            (r#"{"t":"a "}"#, false),
            (r#"{"t":7}"#, false),
        ] {
            let found = hash(claims);
            assert!(
                found.is_some() && (found == Some(a.clone())) == is_a,
                "{claims}"
            );
        }
        assert_eq!(hash(r#"{"t":7}"#), hash(r#"{"t":"7"}"#));
        assert_eq!(hash(r#"{"t":true}"#), hash(r#"{"t":"true"}"#));
        for none in [
            "{}",
            r#"{"t":null}"#,
            r#"{"t":""}"#,
            r#"{"t":[]}"#,
            r#"{"t":["a"]}"#,
            r#"{"t":{"a":1}}"#,
        ] {
            assert_eq!(hash(none), None, "{none}");
        }
        // A long value costs no memory.
        let long = format!(r#"{{"t":"{}"}}"#, "a".repeat(10_000));
        let bytes = |claims: &str| granted(claims, &counted(&["t"])).expect("a grant").bytes();
        assert_eq!(bytes(&long), bytes(r#"{"t":"a"}"#));
        assert!(bytes(&long) > bytes("{}"));
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let all = names.map(|name| format!("\"{name}\":1")).join(",");
        let most = granted(&format!("{{{all}}}"), &counted(&names)).expect("a grant");
        assert_eq!(most.claim("h"), most.claim("a"));
        assert_eq!(most.claim("i"), None, "more than there can be");
    }

    #[test]
    fn scopes_are_whole_words() {
        for claims in [
            r#"{"scope":"read:users write"}"#,
            r#"{"scp":["read:users","write"]}"#,
            r#"{"scp":"read:users write"}"#,
        ] {
            let grant = grant(claims).expect("a grant");
            let has = |needed: &[&str]| {
                grant.has_scopes(
                    &needed
                        .iter()
                        .map(|&scope| scope.to_owned())
                        .collect::<Vec<_>>(),
                )
            };
            assert!(has(&[]) && has(&["write"]) && has(&["write", "read:users"]));
            assert!(
                !has(&["read"])
                    && !has(&["write", "admin"])
                    && !has(&["read:users write"])
                    && !has(&["WRITE"])
            );
        }
        for none in [
            "{}",
            r#"{"scope":null}"#,
            r#"{"scope":""}"#,
            r#"{"scope":[],"scp":null}"#,
        ] {
            assert!(
                !grant(none).expect("a grant").has_scopes(&["a".to_owned()]),
                "{none}"
            );
        }
        for one in [
            r#"{"scope":null,"scp":"a"}"#,
            r#"{"scope":"","scp":["a"]}"#,
            r#"{"scope":[],"scp":["a"]}"#,
        ] {
            assert!(
                grant(one).expect("a grant").has_scopes(&["a".to_owned()]),
                "{one}"
            );
        }
        assert_eq!(grant(r#"{"scope":1}"#), None);
        assert_eq!(
            grant(&format!(
                r#"{{"scope":"{}"}}"#,
                "a".repeat(AUTH_SCOPE_BYTES + 1)
            )),
            None
        );
    }

    #[test]
    fn a_grant_holds_from_and_until() {
        let at = |millis| UnixTime::from_millis(millis);
        let bounded = grant(r#"{"nbf":10,"exp":20.5}"#).expect("a grant");
        assert!(!bounded.holds_at(at(9_999)) && bounded.holds_at(at(10_000)));
        assert!(bounded.holds_at(at(20_499)) && !bounded.holds_at(at(20_500)));
        assert!(
            grant("{}").expect("a grant").holds_at(at(0)) && !grant("{}").expect("a grant").ends()
        );
        assert_eq!(grant(r#"{"exp":"20"}"#), None);
        assert_eq!(
            grant(r#"{"nbf":null,"exp":null,"scope":null}"#),
            grant("{}")
        );
        let both = Json::parse(br#"{"nbf":10,"exp":20}"#).expect("JSON");
        let lenient = Grant::from_claims(
            &both,
            &[],
            Leeway {
                before: 1000,
                after: 2000,
            },
        )
        .expect("a grant");
        assert!(!lenient.holds_at(at(8_999)) && lenient.holds_at(at(9_000)));
        assert!(lenient.holds_at(at(21_999)) && !lenient.holds_at(at(22_000)));
    }
}
