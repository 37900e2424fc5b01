//! What a good credential says of its owner, reduced to what is needed: its scopes, and header lines for the upstream.

use super::fault::CredentialFault;
use super::json::Json;
use crate::http::field::is_value_byte;
use crate::limits::{AUTH_CLIENT_LINES_BYTES, AUTH_FORWARDED_BYTES, AUTH_SCOPE_BYTES};
use crate::time::UnixTime;

/// A claim, and the header it goes upstream in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forwarded {
    /// The claim's name.
    pub claim: String,
    /// A header's name, as it is to be spelled.
    pub header: String,
}

/// How much longer than its claims say a credential holds, in milliseconds: the clock that they were written by is not ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Leeway {
    /// Before `nbf`.
    pub before: i64,
    /// After `exp`.
    pub after: i64,
}

/// What a credential is good for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Grant {
    /// Scopes with a space between each two; at most [`AUTH_SCOPE_BYTES`].
    scopes: String,
    /// Whole header lines; at most [`AUTH_FORWARDED_BYTES`].
    lines: Vec<u8>,
    /// Whole header lines for the final response; at most [`AUTH_CLIENT_LINES_BYTES`].
    client_lines: Vec<u8>,
    /// From when on, and until when, in milliseconds since the epoch; the end is not part of it.
    from: Option<i64>,
    until: Option<i64>,
}

impl Grant {
    /// What claims say. `None`: they contradict themselves, or say more than there is room for.
    pub fn of(claims: &Json, forwarded: &[Forwarded], leeway: Leeway) -> Option<Grant> {
        let date = |name: &str| match claims.get(name) {
            None => Some(None),
            Some(date) => date.numeric_date().map(Some),
        };
        let mut grant = Grant {
            scopes: scopes(claims)?,
            lines: Vec::new(),
            client_lines: Vec::new(),
            from: date("nbf")?.map(|from| from.saturating_sub(leeway.before)),
            until: date("exp")?.map(|until| until.saturating_add(leeway.after)),
        };
        for Forwarded { claim, header } in forwarded {
            if let Some(value) = claims.get(claim).and_then(header_value) {
                grant.push_line(header.as_bytes(), value.as_bytes())?;
            }
        }
        Some(grant)
    }

    /// One without scopes and end, with these header lines for the upstream and for the client. `None`: they need more room than
    /// there is.
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

    /// Whether it holds at this moment (RFC 7519 4.1.4, 4.1.5).
    pub fn holds_at(&self, wall: UnixTime) -> bool {
        let now = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        self.from.is_none_or(|from| from <= now) && self.until.is_none_or(|until| now < until)
    }

    /// Says why it does not hold at this moment.
    ///
    /// # Errors
    /// It does not hold yet, or not any more.
    pub fn check_time(&self, wall: UnixTime) -> Result<(), CredentialFault> {
        let now = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
        match (self.holds_at(wall), self.from) {
            (true, _) => Ok(()),
            (false, Some(from)) if from > now => Err(CredentialFault::NotYet),
            (false, _) => Err(CredentialFault::Expired),
        }
    }

    /// Whether it ends at all.
    pub fn ends(&self) -> bool {
        self.until.is_some()
    }

    /// Whether each of these is among its scopes.
    pub fn has_scopes(&self, needed: &[String]) -> bool {
        needed
            .iter()
            .all(|scope| self.scopes.split(' ').any(|own| own == scope))
    }

    /// Header lines for the upstream, each with its end.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Header lines for the client, each with its end: they stand in the final response, whoever it comes from.
    pub fn client_lines(&self) -> &[u8] {
        &self.client_lines
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> usize {
        let texts = [self.scopes.len(), self.lines.len(), self.client_lines.len()];
        texts
            .into_iter()
            .fold(size_of::<Grant>(), usize::saturating_add)
    }
}

/// `scope` (RFC 8693 4.2, RFC 7662 2.2) or `scp`, whichever says something, as a string or a list of strings.
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

/// A claim as a header's value: text and numbers as they are, lists of them with commas. `None` for what would not read the
/// same on the other side: objects, nothing, bytes that no value may have, an element with a comma in it.
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
        let forwarded = ["sub", "n"].map(|claim| Forwarded {
            claim: claim.to_owned(),
            header: format!("X-{claim}"),
        });
        Grant::of(
            &Json::parse(claims.as_bytes()).expect("JSON"),
            &forwarded,
            Leeway::default(),
        )
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
        let lenient = Grant::of(
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
