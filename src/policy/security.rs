//! The security headers: helmet 8's defaults, each unless the upstream sent one of that name.

/// `securityHeaders`, when it is not false: name and value of each header, in the order they are sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SecurityHeaders {
    /// Valid field names and values (RFC 9110 5.1, 5.5).
    pub fields: Vec<(String, String)>,
}

impl SecurityHeaders {
    /// The twelve headers that helmet 8 sends.
    pub fn helmet_defaults() -> SecurityHeaders {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let fields = [
            (
                "Content-Security-Policy",
                "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';\
                 frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';\
                 script-src-attr 'none';style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
            ),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Origin-Agent-Cluster", "?1"),
            ("Referrer-Policy", "no-referrer"),
            ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-DNS-Prefetch-Control", "off"),
            ("X-Download-Options", "noopen"),
            ("X-Frame-Options", "SAMEORIGIN"),
            ("X-Permitted-Cross-Domain-Policies", "none"),
            ("X-XSS-Protection", "0"),
        ];
        SecurityHeaders { fields: fields.map(own).to_vec() }
    }

    /// Replaces or adds a header, or removes it (`None`).
    pub fn with_change(&mut self, name: &str, value: Option<&str>) {
        let known = self.fields.iter_mut().find(|(known, _)| known.eq_ignore_ascii_case(name));
        match (known, value) {
            (Some(field), Some(value)) => field.1 = value.to_owned(),
            (None, Some(value)) => self.fields.push((name.to_owned(), value.to_owned())),
            (_, None) => self.fields.retain(|(known, _)| !known.eq_ignore_ascii_case(name)),
        }
    }
}
