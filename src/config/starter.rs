//! `tollgate init`: a file to start from.

/// Text of the file. Its comments say what else there is.
pub const TEXT: &str = r#"// Configuration of tollgate. "tollgate check" shows where each route leads.
{
  // Where clients are accepted.
  "listen": "0.0.0.0:5000",

  // The longest prefix wins; the route is removed, and the path of the target is put before the rest.
  "services": [
    { "route": "/users", "target": "http://127.0.0.1:9001/users/" },
    {
      "route": "/",
      // Several targets share the requests; one that fails is left out for a while.
      "targets": ["http://127.0.0.1:9002", "http://127.0.0.1:9003"],
      "healthCheck": { "path": "/health" }
    }
  ],

  // Requests of one client.
  "rateLimit": { "requests": 20, "window": "60s" },

  // Time for the head of a response; then the client gets 504.
  "timeouts": { "response": "15s" }

  // HTTPS: replace "listen" by
  //   "listen": [
  //     { "address": "0.0.0.0:443", "tls": { "certificates": [{ "cert": "site.pem", "key": "site.key" }] } },
  //     { "address": "0.0.0.0:80", "redirectToHttps": true }
  //   ]
  // Status page, metrics and "tollgate reload":
  //   "admin": ["unix:/run/tollgate/admin.sock", "127.0.0.1:5001"]
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_valid_and_in_the_usual_form() {
        let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
        let config = crate::config::load(TEXT.as_bytes(), "t.json", &|_| None, &read);
        assert_eq!(config.expect("a configuration").settings.services.len(), 2);
        let formatted = crate::config::format::format(TEXT.as_bytes(), "t.json");
        assert_eq!(formatted.as_deref(), Ok(TEXT));
    }
}
