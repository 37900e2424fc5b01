//! Redirect target of a `redirectToHttps` listener: the same host, the TLS listener's port, the
//! same request target.

/// Builds the `Location` line. `host`: the request's host, perhaps with the port of the plain
/// listener. `port` is not written if it is `None` or 443 (RFC 9110 4.2.2). `path` and `query` are
/// copied byte for byte.
pub fn location(host: &[u8], port: Option<u16>, path: &[u8], query: &[u8]) -> Vec<u8> {
    let port = port
        .filter(|port| *port != 443)
        .map_or(String::new(), |port| format!(":{port}"));
    [
        b"Location: https://",
        without_port(host),
        port.as_bytes(),
        path,
        query,
        b"\r\n",
    ]
    .concat()
}

/// Returns the host of a valid authority: a name, an IPv4 address, or an IPv6 address in brackets.
pub(super) fn without_port(authority: &[u8]) -> &[u8] {
    let behind = authority
        .iter()
        .rposition(|byte| *byte == b']')
        .map_or(0, |at| at.saturating_add(1));
    match authority
        .get(behind..)
        .and_then(|rest| rest.iter().position(|byte| *byte == b':'))
    {
        Some(colon) => authority
            .get(..behind.saturating_add(colon))
            .unwrap_or(authority),
        None => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_host_and_target_on_the_other_port() {
        for (host, port, target, expected) in [
            ("a.test", None, ("/x", "?q=%2F"), "https://a.test/x?q=%2F"),
            ("a.test:8080", Some(443), ("/", ""), "https://a.test/"),
            (
                "a.test:80",
                Some(8443),
                ("/a//b", "?"),
                "https://a.test:8443/a//b?",
            ),
            (
                "192.0.2.1:80",
                Some(8443),
                ("/", ""),
                "https://192.0.2.1:8443/",
            ),
            (
                "[2001:db8::1]",
                Some(8443),
                ("/", ""),
                "https://[2001:db8::1]:8443/",
            ),
            (
                "[2001:db8::1]:80",
                Some(443),
                ("/", ""),
                "https://[2001:db8::1]/",
            ),
            ("a.test:", Some(443), ("/", ""), "https://a.test/"),
        ] {
            let line = location(
                host.as_bytes(),
                port,
                target.0.as_bytes(),
                target.1.as_bytes(),
            );
            assert_eq!(
                String::from_utf8_lossy(&line),
                format!("Location: {expected}\r\n"),
                "{host}"
            );
        }
    }
}
