//! Properties shared by the fuzz targets and the tests. Each takes arbitrary bytes, and fails only
//! on a defect of the gateway.
//!
//! A target in `fuzz/` is one call of a function here; plain `cargo test` replays the seeds in
//! `fuzz/seeds`. Each property also bounds the work that its bytes cost (`cost`).
//!
//! * `reference` is a second implementation of HTTP/1.1, and `parsers` compares the gateway's with
//!   it.
//! * `guarded` reads a path in all the ways in which upstreams read it.
//! * `matching` compares conditions on headers, cookies and queries with what programs behind read.
//! * `edits` compares heads with header edits and without.
//! * `exchange` runs the whole engine between two peers that send arbitrary bytes, and `transcript`
//!   checks the result.
//! * `tokens` has the parsers of authentication.
//! * `logs` reads an access log as `tollgate diff` does.
//! * `store` is a conversation with a store of counts, and that of a worker with its supervisor.
//! * `acme` orders certificates from an authority that sends anything.
//! * `tls` runs both ends of TLS over a wire that an attacker controls.

mod acme;
pub mod cost;
mod edits;
mod exchange;
mod guarded;
mod logs;
mod matching;
mod parsers;
pub mod reference;
mod store;
mod tls;
mod tokens;
mod transcript;

pub use self::acme::acme;
pub use self::edits::edits;
pub use self::exchange::exchange;
pub use self::logs::access_log;
pub use self::matching::matching;
pub use self::parsers::{chunked, proxy_header, request_head, response_head};
pub use self::store::{shared_counts, store};
pub use self::tls::tls;
pub use self::tokens::{jwks, token};
use crate::policy::rewrite::Rewrite;
use crate::policy::route::RouteTable;

/// A routed path is rewritten into one that begins with a single slash and has no dot segment. No
/// reading of it belongs to a route with another guard (`guarded.rs`).
pub fn route(path: &[u8]) {
    guarded::guarded(path);
    let table = RouteTable::new(["/auth", "/auth/admin", "/users/", "/a/b/c", "/"].into_iter());
    let resolved = cost::within(path.len(), cost::PATH_STEPS, 200, || table.resolve(path));
    let Ok(found) = resolved else { return };
    for (target, strip) in [("", true), ("/", true), ("/base/", true), ("/base", false)] {
        let rewrite = Rewrite::new(target, strip);
        let upstream = rewrite.parts(path, found.taken).concat();
        if path.starts_with(b"/") {
            assert!(
                upstream.starts_with(b"/") && !upstream.starts_with(b"//"),
                "starts with one slash"
            );
            assert!(
                !upstream
                    .split(|&byte| byte == b'/')
                    .any(|part| matches!(part, b"." | b"..")),
                "no dot segment"
            );
        }
    }
}

/// Arbitrary bytes come to the admin listener.
pub fn admin(bytes: &[u8]) {
    crate::net::admin::property::admin(bytes);
}

/// Arbitrary bytes are state of an old process, for a new one.
pub fn handover(bytes: &[u8]) {
    crate::net::upgrade::state::property(bytes);
}

/// Arbitrary bytes are a configuration or a list of errors, each with its place.
pub fn config(bytes: &[u8]) {
    let env = |name: &str| (name == "A").then(|| "value".to_owned());
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let loaded = cost::within(bytes.len(), cost::CONFIG_STEPS, 1_000, || {
        crate::config::load(bytes, "fuzz.json", &env, &read)
    });
    match loaded {
        Ok(config) => assert!(!config.settings.services.is_empty() && !config.listeners.is_empty()),
        Err(errors) => {
            assert!(!errors.is_empty());
            assert!(errors.iter().all(|error| error.line > 0
                && error.column > 0
                && !error.to_string().contains('\n')));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use proptest::prelude::*;

    /// Replays the seeds of a target.
    fn replay(target: &str, check: Check) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/seeds")
            .join(target);
        let mut seeds = 0;
        let entries = std::fs::read_dir(&folder);
        for entry in entries
            .unwrap_or_else(|error| {
                panic!("{target} needs its seeds in fuzz/seeds/{target}: {error}")
            })
            .flatten()
        {
            let path = entry.path();
            let seed = std::fs::read(&path).expect("a seed");
            let held = std::panic::catch_unwind(|| check(&seed));
            assert!(held.is_ok(), "{} fails, see above", path.display());
            seeds += 1;
        }
        assert!(
            seeds >= 5,
            "fuzz/seeds/{target} has {seeds} seeds; five are the least"
        );
    }

    #[test]
    fn the_seeds_hold() {
        for (target, check) in TARGETS {
            replay(target, check);
        }
    }

    #[test]
    fn each_fuzz_target_has_its_row() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
        let mut files: Vec<String> = std::fs::read_dir(folder)
            .expect("the targets are in the tree")
            .flatten()
            .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
            .collect();
        let mut rows = TARGETS.map(|(target, _)| target);
        files.sort();
        rows.sort();
        assert_eq!(
            files, rows,
            "files in fuzz/fuzz_targets, and rows of TARGETS in this file"
        );
        // `cargo fuzz` builds and runs those alone that the manifest names.
        let manifest = include_str!("../../fuzz/Cargo.toml");
        for file in files {
            let path = format!("path = \"fuzz_targets/{file}.rs\"");
            assert!(
                manifest.contains(&path),
                "fuzz/Cargo.toml has no [[bin]] with {path}"
            );
        }
    }

    type Check = fn(&[u8]);

    const TARGETS: [(&str, Check); 18] = [
        ("acme", acme),
        ("proxy_header", proxy_header),
        ("request_head", request_head),
        ("response_head", response_head),
        ("chunked", chunked),
        ("route", route),
        ("config", config),
        ("access_log", access_log),
        ("admin", admin),
        ("handover", handover),
        ("edits", super::edits),
        ("matching", matching),
        ("exchange", exchange),
        ("token", token),
        ("jwks", jwks),
        ("store", store),
        ("shared_counts", shared_counts),
        ("tls", tls),
    ];

    /// Returns everything one edit away from these bytes: each byte replaced, inserted or removed.
    fn edits(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> {
        (0..bytes.len()).flat_map(move |at| {
            let edit =
                move |taken: usize, put: &[u8]| [&bytes[..at], put, &bytes[at + taken..]].concat();
            (0..=255)
                .flat_map(move |byte| [edit(1, &[byte]), edit(0, &[byte])])
                .chain([edit(1, b"")])
        })
    }

    #[test]
    fn every_edit_of_a_request_head_is_read_as_the_reference_reads_it() {
        for base in [
            &b"GET /p HTTP/1.1\r\nHost: h\r\nA: b c\r\n\r\n"[..],
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET /?q HTTP/2.0\r\nHost: h\r\n\r\n",
            b"\r\nP /?q HTTP/1.1\r\nX:\r\nHost:h:80\r\nY: \t z \t\r\n\r\n",
            b"OPTIONS http://[::1]:80 HTTP/1.1\r\nHost: [::1]\r\n\r\n",
            b"POST * HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\nConnection: close, x\r\nExpect: 100-continue\r\n\r\n",
            b"PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\nContent-Length: 1\r\n\r\n",
        ] {
            edits(base).for_each(|head| request_head(&head));
        }
    }

    #[test]
    fn every_edit_of_a_response_head_is_read_as_the_reference_reads_it() {
        for base in [
            &b"HTTP/1.1 200 OK\r\nA: b c\r\nB:\r\n\r\n"[..],
            b"HTTP/1.0 404\r\nY: \t z \t\r\n\r\n",
            b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 205 \r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\n",
        ] {
            edits(base).for_each(|head| response_head(&head));
        }
    }

    #[test]
    fn every_edit_of_a_chunked_body_is_decoded_as_the_reference_decodes_it() {
        for base in [
            &b"3\r\nabc\r\n0\r\n\r\n"[..],
            b"A;x;y=z;q=\"a\\\"b\"\r\n0123456789\r\n000;e\r\nT: v\r\nU:\r\n\r\nrest",
            b"00000000000001f\r\n",
        ] {
            edits(base).for_each(|body| chunked(&body));
        }
    }

    #[test]
    fn every_edit_of_a_path_keeps_to_its_guard() {
        for base in [
            "/auth/admin/x",
            "/AUTH;a/./x",
            "/auth%2fadmin%20.;",
            "/users./%2541",
            "//a/b//c",
            "/auth/open%253b/",
            "/V1.2./a",
            "/auth/",
            "/Auth/ok/",
            "/only/x;/",
        ] {
            edits(base.as_bytes())
                .step_by(3)
                .for_each(|path| route(&path));
        }
    }

    #[test]
    fn every_edit_of_a_condition_and_its_request_is_read_as_programs_read_it() {
        for base in [
            &b"hx-beta\xff1\xffX-Beta: 1\r\nx_beta: 1\xff"[..],
            b"cbeta\xff1\xffCookie: a=b,c; beta=1\r\nCookie: beta=1\xff",
            b"qv\xff2\xffA: b\xff%76=%32&v=2&a=v",
        ] {
            edits(base).for_each(|bytes| matching(&bytes));
        }
    }

    #[test]
    fn edits_of_a_token_and_a_key_set_hold() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        let seed = |name: &str| std::fs::read(seeds.join(name)).expect("a seed");
        // Verifying signatures is slow: one edit in eleven, which reaches every position.
        edits(&seed("token/rfc7515-a1"))
            .step_by(11)
            .for_each(|bytes| token(&bytes));
        edits(&seed("jwks/ed25519"))
            .step_by(11)
            .for_each(|bytes| jwks(&bytes));
    }

    proptest! {
        #[test]
        fn any_bytes_hold(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, check) in TARGETS {
                check(&bytes);
            }
        }

        #[test]
        fn any_script_around_a_real_request_holds(steps in prop::collection::vec(any::<u8>(), 0..120)) {
            let client = b"POST /auth HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\nGET /auth/../x HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n";
            let upstream = b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello extra bytes that nobody asked for ";
            let mut script = vec![(steps.len() / 2) as u8];
            script.extend_from_slice(&steps[..steps.len() / 2 * 2]);
            let mut said = client.to_vec();
            said.resize(client.len().max(upstream.len()), b' ');
            script.extend_from_slice(&said);
            let mut said = upstream.to_vec();
            said.resize(client.len().max(upstream.len()), b' ');
            script.extend_from_slice(&said);
            exchange(&script);
        }
    }
}
