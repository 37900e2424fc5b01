//! Challenges for rejected clients: `WWW-Authenticate` (RFC 9110 11.6.1). Each challenge has its
//! own line, because every client understands that form.

use super::fault::CredentialFault;
use super::provider::{Kind, Reads};

/// Builds the lines of a 401, with one challenge for each kind of provider. `bad_token`: the reason
/// why a Bearer token was rejected, if there was one (RFC 6750 3: without a token there is no
/// `error`).
pub fn unauthorized<'a>(
    providers: impl Iterator<Item = &'a Kind> + Clone,
    bad_token: Option<CredentialFault>,
) -> Vec<u8> {
    let mut lines = String::new();
    let has = |reads| providers.clone().any(|kind| kind.reads() == reads);
    if has(Reads::Bearer) {
        lines.push_str("WWW-Authenticate: Bearer realm=\"tollgate\"");
        if let Some(fault) = bad_token {
            lines.push_str(", error=\"invalid_token\", error_description=\"");
            lines.push_str(fault.as_str());
            lines.push('"');
        }
        lines.push_str("\r\n");
    }
    if has(Reads::Basic) {
        // RFC 7617 2.1: the parameter asks for UTF-8, which is what the password hashes are made
        // of.
        lines.push_str("WWW-Authenticate: Basic realm=\"tollgate\", charset=\"UTF-8\"\r\n");
    }
    let header = providers.clone().find_map(|kind| match kind.reads() {
        Reads::Header(header) => Some(header),
        Reads::Bearer | Reads::Basic | Reads::Request => None,
    });
    if let Some(header) = header {
        // No scheme is registered for keys in a header. The parameter names the header.
        lines.push_str("WWW-Authenticate: ApiKey realm=\"tollgate\", header=\"");
        lines.push_str(header);
        lines.push_str("\"\r\n");
    }
    if has(Reads::Request) {
        lines.push_str("WWW-Authenticate: Forward realm=\"tollgate\"\r\n");
    }
    lines.into_bytes()
}

/// Builds the line of a 403: the token is valid, but lacks a scope (RFC 6750 3.1).
pub fn insufficient_scope(needed: &[String]) -> Vec<u8> {
    let scopes = needed.join(" ");
    format!("WWW-Authenticate: Bearer realm=\"tollgate\", error=\"insufficient_scope\", scope=\"{scopes}\"\r\n")
        .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kinds: &[Kind], bad_token: Option<CredentialFault>) -> String {
        String::from_utf8(unauthorized(kinds.iter(), bad_token)).expect("text")
    }

    #[test]
    fn one_challenge_for_each_kind() {
        let key = Kind::ApiKey {
            header: "X-Api-Key".to_owned(),
            keys: Vec::new(),
        };
        let basic = Kind::Basic { users: Vec::new() };
        assert_eq!(
            text(
                &[key.clone(), basic.clone(), basic, key],
                Some(CredentialFault::Expired)
            ),
            "WWW-Authenticate: Basic realm=\"tollgate\", charset=\"UTF-8\"\r\n\
             WWW-Authenticate: ApiKey realm=\"tollgate\", header=\"X-Api-Key\"\r\n"
        );
        assert_eq!(text(&[], None), "");
        let line = String::from_utf8(insufficient_scope(&["a".to_owned(), "b:c".to_owned()]))
            .expect("text");
        assert_eq!(
            line,
            "WWW-Authenticate: Bearer realm=\"tollgate\", error=\"insufficient_scope\", scope=\"a b:c\"\r\n"
        );
    }
}
