//! Variables of nginx, Caddy and HAProxy in texts of a configuration. Nothing replaces them here, so that they would
//! go out as they stand.

/// Starts of the names of nginx's variables, behind the `$`. In a path a `$` may stand for itself: OData has
/// `/$metadata`.
const OF_NGINX: &str = "request_ uri scheme host http_ server_ arg_ args is_args query remote_ cookie_ document_ upstream_ \
                        proxy_ ssl_ geoip binary_ realip_ time_";

/// Returns true if a text has a variable that is known by its name, as nginx writes it: `$remote_addr`.
pub fn has_known(text: &[u8]) -> bool {
    let starts = OF_NGINX.as_bytes();
    let is_known = |rest: &[u8]| {
        starts
            .split(|b| *b == b' ')
            .any(|start| rest.starts_with(start))
    };
    text.split(|byte| *byte == b'$').skip(1).any(is_known)
}

/// Returns true if a text has a variable of any name, as nginx (`$new_uri`) and HAProxy (`%[src]`) write it, or
/// is one as Caddy writes it (`{remote_host}`).
pub fn has_any(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.');
    let is_name = |rest: &str| rest.bytes().next().is_some_and(is_letter);
    let braced = text.strip_prefix('{');
    let braced = braced.and_then(|rest| rest.strip_suffix('}'));
    let is_caddy = braced.is_some_and(|name| !name.is_empty() && name.bytes().all(is_letter));
    is_caddy || text.contains("%[") || text.split('$').skip(1).any(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_other_programs() {
        for (text, known, any) in [
            ("$remote_addr", true, true),
            ("https://$host$request_uri", true, true),
            ("/x?u=$arg_u", true, true),
            ("a $new_uri b", false, true),
            ("/$metadata", false, true),
            ("%[src]", false, true),
            ("{remote_host}", false, true),
            ("{http.request.host}", false, true),
            ("{ \"a\": 1 }", false, false),
            ("{}", false, false),
            ("costs $5, or 5$", false, false),
            ("100%", false, false),
            ("", false, false),
        ] {
            assert_eq!(
                (has_known(text.as_bytes()), has_any(text)),
                (known, any),
                "{text}"
            );
        }
    }
}
