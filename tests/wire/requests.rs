//! Requests: docs/http.md (RFC 9110, RFC 9112), rows 1 to 54, 67 to 70 and 74 to 79.

use super::rows::*;
use crate::engine::script::{GET, OK, PLAIN};

const H: &str = "Host: gate\r\n";
const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[track_caller]
fn refuse(row: &str, status: u16, client: impl AsRef<[u8]>) {
    Requests::default().check(row, client, &[reply(status)], true);
}

#[track_caller]
fn pass(row: &str, expect: Expect, client: impl AsRef<[u8]>) {
    Requests::default().check(row, client, &[expect], false);
}

/// Checks a request that is forwarded once and after which the connection closes.
#[track_caller]
fn last(row: &str, expect: Expect, client: impl AsRef<[u8]>) {
    Requests::default().check(row, client, &[expect], true);
}

/// Checks a plain GET with one more field, which is forwarded once; the connection closes.
#[track_caller]
fn refuse_field(row: &str, status: u16, field: &str) {
    refuse(
        row,
        status,
        format!("GET /auth HTTP/1.1\r\n{H}{field}\r\n\r\n"),
    );
    refuse(
        &format!("{row}, first"),
        status,
        format!("GET /auth HTTP/1.1\r\n{field}\r\n{H}\r\n"),
    );
}

/// Checks fields that are forwarded as these fields, and change nothing else.
#[track_caller]
fn pass_field(row: &str, fields: &str, seen: &str) {
    pass(
        row,
        forward("GET /auth", seen, ""),
        format!("GET /auth HTTP/1.1\r\n{H}{fields}\r\n"),
    );
}

#[test]
fn row_01_any_byte_in_any_place() {
    let base = b"PUT /auth/a?b HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\nA: b\r\n\r\nhi";
    for at in 0..base.len() {
        for byte in 0..=255 {
            let mut client = base.to_vec();
            client[at] = byte;
            Requests::default().holds(&client);
        }
    }
}

#[test]
fn row_02_line_ends_are_crlf() {
    for head in [
        "GET /auth HTTP/1.1\nHost: gate\r\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\n\n",
        "GET /auth HTTP/1.1\nHost: gate\n\n",
        "GET /auth HTTP/1.1\rHost: gate\r\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\r\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nA: b\rC: d\r\n\r\n",
        "GET /auth HTTP/1.1\r\r\nHost: gate\r\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\n\rGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
    ] {
        refuse(&format!("2 {head:?}"), 400, head);
    }
}

#[test]
fn row_03_one_empty_line_before_a_request_is_ignored() {
    pass("3", get(), format!("\r\n{GET}"));
    Requests::default().check(
        "3 between",
        format!("{GET}\r\n{GET}"),
        &[get(), get()],
        false,
    );
    refuse("3 two", 400, format!("\r\n\r\n{GET}"));
    refuse("3 two, and nothing yet", 400, "\r\n\r\n");
    refuse("3 LF", 400, format!("\n{GET}"));
    refuse("3 CR", 400, format!("\r{GET}"));
}

#[test]
fn row_04_no_white_space_before_the_first_field() {
    refuse("4 SP", 400, "GET /auth HTTP/1.1\r\n Host: gate\r\n\r\n");
    refuse("4 HTAB", 400, "GET /auth HTTP/1.1\r\n\tHost: gate\r\n\r\n");
    refuse(
        "4 and a Host",
        400,
        "GET /auth HTTP/1.1\r\n X: y\r\nHost: gate\r\n\r\n",
    );
}

#[test]
fn row_05_what_is_no_request_reaches_nobody() {
    for client in [
        "\0",
        "\x16\x03\x01\x02\x00\x01\x00\x01\x7f",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET\r\n\r\n",
        "{}\r\n\r\n",
        "GET /auth\r\n\r\n",
    ] {
        let status = if client.starts_with("PRI") { 505 } else { 400 };
        refuse(&format!("5 {client:?}"), status, client);
    }
}

#[test]
fn row_06_versions() {
    last(
        "6 HTTP/1.0",
        forward("GET /auth", "Via: 1.0 tollgate\r\n", ""),
        format!("GET /auth HTTP/1.0\r\n{H}\r\n"),
    );
    for (version, status) in [
        ("HTTP/1.2", 505),
        ("HTTP/1.9", 505),
        ("HTTP/2.0", 505),
        ("HTTP/0.9", 505),
        ("http/1.1", 400),
        ("Http/1.1", 400),
        ("HTTP/1.10", 400),
        ("HTTP/11", 400),
        ("HTTP/1", 400),
        ("HTTP/1.1x", 400),
        ("HTTP/+1.1", 400),
        ("HTTP/1,1", 400),
        ("HTTP/x.1", 400),
        ("HTTP/2.x", 400),
        ("HTTP/x.x", 400),
        ("HTP/1.1", 400),
        ("HTTP 1.1", 400),
        ("HTTP/\u{661}.1", 400),
    ] {
        refuse(
            &format!("6 {version}"),
            status,
            format!("GET /auth {version}\r\n{H}\r\n"),
        );
    }
}

#[test]
fn row_07_the_gateway_speaks_its_own_version() {
    // `rows` checks the version of every forwarded request, and reads only HTTP/1.1 status lines.
    last(
        "7",
        forward("GET /auth", "Via: 1.0 tollgate\r\n", ""),
        "GET /auth HTTP/1.0\r\nHost: gate\r\nConnection: keep-alive\r\n\r\n",
    );
}

#[test]
fn row_08_single_spaces() {
    for line in [
        "GET  /auth HTTP/1.1",
        "GET /auth  HTTP/1.1",
        "GET\t/auth HTTP/1.1",
        "GET /auth\tHTTP/1.1",
        "GET /auth HTTP/1.1 ",
        " GET /auth HTTP/1.1",
        "GET /auth x HTTP/1.1",
        "GET\x0b/auth HTTP/1.1",
    ] {
        refuse(&format!("8 {line:?}"), 400, format!("{line}\r\n{H}\r\n"));
    }
}

#[test]
fn row_09_long_request_lines() {
    let long = Requests {
        uncut: true,
        ..Requests::default()
    };
    let line = |length: usize| {
        format!(
            "GET /auth/{} HTTP/1.1",
            "a".repeat(length - "GET /auth/ HTTP/1.1".len())
        )
    };
    for length in [8_000, 8_192] {
        let line = line(length);
        let seen = forward(line.trim_end_matches(" HTTP/1.1"), "", "");
        long.check(
            &format!("9 {length}"),
            format!("{line}\r\n{H}\r\n"),
            &[seen],
            false,
        );
    }
    for length in [8_193, 16_000, 100_000] {
        long.check(
            &format!("9 {length}"),
            format!("{}\r\n{H}\r\n", line(length)),
            &[reply(414)],
            true,
        );
    }
    // A line that is too long is refused for its length, whatever else is wrong with it.
    for (length, status) in [(8_192, 505), (8_193, 414), (8_194, 414)] {
        let line = line(length).replace("HTTP/1.1", "HTTP/2.0");
        long.check(
            &format!("9 {length}, another version"),
            format!("{line}\r\n{H}\r\n"),
            &[reply(status)],
            true,
        );
    }
}

#[test]
fn row_10_methods_are_case_sensitive_tokens() {
    for method in ["get", "Get", "PURGE", "M-SEARCH", "X", "!#$%&'*+-.^_`|~0aZ"] {
        pass(
            &format!("10 {method}"),
            forward(&format!("{method} /auth"), "", ""),
            format!("{method} /auth HTTP/1.1\r\n{H}\r\n"),
        );
    }
    for method in ["GE(T", "GET/", "G,T", "G\u{c9}T", "\"GET\"", ""] {
        refuse(
            &format!("10 {method}"),
            400,
            format!("{method} /auth HTTP/1.1\r\n{H}\r\n"),
        );
    }
    let long = Requests {
        uncut: true,
        ..Requests::default()
    };
    long.check(
        "10 long",
        format!("{} /auth HTTP/1.1\r\n{H}\r\n", "M".repeat(100_000)),
        &[reply(414)],
        true,
    );
}

#[test]
fn row_11_targets_are_not_corrected() {
    for byte in (0..=255_u8)
        .filter(|byte| !(0x21..=0x7e).contains(byte))
        .chain(*b"#\\")
    {
        let client = [
            b"GET /auth/",
            &[byte][..],
            b" HTTP/1.1\r\nHost: gate\r\n\r\n",
        ]
        .concat();
        Requests {
            uncut: true,
            ..Requests::default()
        }
        .check(&format!("11 {byte:#04x}"), client, &[reply(400)], true);
    }
    // A `\` is refused in a path in every form, and is data in a query.
    for byte in (0..=255_u8)
        .filter(|byte| !(0x21..=0x7e).contains(byte))
        .chain(*b"#")
    {
        let client = [
            b"GET /auth?a",
            &[byte][..],
            b"b HTTP/1.1\r\nHost: gate\r\n\r\n",
        ]
        .concat();
        Requests {
            uncut: true,
            ..Requests::default()
        }
        .check(
            &format!("11 query {byte:#04x}"),
            client,
            &[reply(400)],
            true,
        );
    }
    for target in [
        "/auth\\x?q",
        "/auth/\\..\\x?q=\\",
        "\\auth",
        "http://gate/auth\\x?q",
        "http://gate\\/auth",
        "*\\",
    ] {
        refuse(
            &format!("11 {target}"),
            400,
            format!("GET {target} HTTP/1.1\r\n{H}\r\n"),
        );
    }
}

#[test]
fn row_12_origin_form_starts_with_a_slash() {
    for target in ["auth", "?q", "gate/auth", "gate:80", "./auth"] {
        refuse(
            &format!("12 {target}"),
            400,
            format!("GET {target} HTTP/1.1\r\n{H}\r\n"),
        );
    }
}

#[test]
fn row_13_absolute_form() {
    for (target, line) in [
        ("http://gate/auth", "GET /auth"),
        ("HTTP://gate/auth?q", "GET /auth?q"),
        // The scheme shows the client's view and not this connection: a proxy in front may have
        // ended TLS.
        ("https://gate/auth", "GET /auth"),
    ] {
        pass(
            &format!("13 {target}"),
            forward(line, "", ""),
            format!("GET {target} HTTP/1.1\r\n{H}\r\n"),
        );
    }
    // The authority of the target replaces the field (RFC 9112 3.2.2).
    for authority in ["gate:80", "GATE", "gate:", "GATE:"] {
        let seen = forward(
            "GET /auth",
            &format!("X-Forwarded-Host: {authority}\r\n"),
            "",
        );
        pass(
            &format!("13 {authority}"),
            seen,
            format!("GET http://{authority}/auth HTTP/1.1\r\n{H}\r\n"),
        );
    }
    Requests::default().check(
        "13 no path",
        format!("GET http://gate HTTP/1.1\r\n{H}\r\n"),
        &[reply(404)],
        false,
    );
    for target in [
        "http://other/auth",
        "http://gate:81/auth",
        "http:///auth",
        "ftp://gate/auth",
        "http:/gate/auth",
        "http://u@gate/auth",
        "http://",
        "://gate/auth",
        "http://gate,x/auth",
        "http://:/auth",
        "http://gate::/auth",
    ] {
        refuse(
            &format!("13 {target}"),
            400,
            format!("GET {target} HTTP/1.1\r\n{H}\r\n"),
        );
    }
    refuse(
        "13 without Host",
        400,
        "GET http://gate/auth HTTP/1.1\r\n\r\n",
    );
}

#[test]
fn row_14_connect_is_refused_and_ends_the_connection() {
    for target in [
        "gate:443",
        "gate",
        "gate:",
        ":443",
        "/auth",
        "http://gate/auth",
    ] {
        refuse(
            &format!("14 {target}"),
            405,
            format!("CONNECT {target} HTTP/1.1\r\n{H}\r\n{GET}"),
        );
    }
}

#[test]
fn row_15_asterisk_form_is_for_options() {
    for target in ["*", "http://gate"] {
        Requests::default().check(
            &format!("15 {target}"),
            format!("OPTIONS {target} HTTP/1.1\r\n{H}\r\n"),
            &[reply(204)],
            false,
        );
    }
    for line in ["GET *", "POST *", "OPTIONS **", "OPTIONS */auth"] {
        refuse(
            &format!("15 {line}"),
            400,
            format!("{line} HTTP/1.1\r\n{H}\r\n"),
        );
    }
}

#[test]
fn rows_16_and_17_one_valid_host() {
    refuse("16 none", 400, "GET /auth HTTP/1.1\r\n\r\n");
    refuse("16 two", 400, format!("GET /auth HTTP/1.1\r\n{H}{H}\r\n"));
    refuse(
        "16 two that differ",
        400,
        format!("GET /auth HTTP/1.1\r\n{H}host: other\r\n\r\n"),
    );
    for host in [
        "",
        " ",
        "a,b",
        "a b",
        "a/b",
        "a?b",
        "a#b",
        "a\\b",
        "u@gate",
        "u:p@gate",
        "@gate",
        "gate:x",
        "gate:-1",
        "gate:+80",
        "gate:65536",
        "gate:99999999999999999999",
        "gate:80:80",
        ":80",
        "[::1",
        "::1",
        "[::1]x",
        "[::1%eth0]",
        "[]",
        "[1.2.3.4]",
        "gate:80 ",
        "http://gate",
        "*",
        "g%61te",
        "g\u{e4}te",
        "gate;x",
        "<gate>",
        "\"gate\"",
        "(gate)",
        ":",
        "gate::",
        "gate:80:",
        "[::1]::",
        "[]:",
    ] {
        let trimmed = host.trim();
        if trimmed == "gate:80" {
            continue;
        }
        refuse(
            &format!("16 {host:?}"),
            400,
            format!("GET /auth HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        );
    }
    for host in [
        "gate",
        "GATE.example",
        "gate:80",
        "127.0.0.1:5000",
        "[::1]",
        "[2001:db8::1]:443",
        "a_b",
        "gate.",
        "xn--bcher-kva.example",
        "1",
        "gate:",
        "gate.:",
        "[::1]:",
    ] {
        let seen = if host == "gate" {
            String::new()
        } else {
            format!("X-Forwarded-Host: {host}\r\n")
        };
        pass(
            &format!("16 {host}"),
            forward("GET /auth", &seen, ""),
            format!("GET /auth HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        );
    }
    last(
        "16 HTTP/1.0 needs none",
        forward("GET /auth", "Via: 1.0 tollgate\r\n", ""),
        "GET /auth HTTP/1.0\r\n\r\n",
    );
}

#[test]
fn row_18_no_white_space_before_the_colon() {
    for field in [
        "A : b",
        "A\t: b",
        "Content-Length : 5",
        "Transfer-Encoding : chunked",
        "A\x0b: b",
    ] {
        refuse_field(&format!("18 {field:?}"), 400, field);
    }
}

#[test]
fn row_19_no_folded_lines() {
    for field in [
        "A: b\r\n c",
        "A: b\r\n\tc",
        "Transfer-Encoding:\r\n chunked",
        "Content-Length: 1\r\n 0",
        "A:\r\n ",
    ] {
        refuse_field(&format!("19 {field:?}"), 400, field);
    }
}

#[test]
fn row_20_no_control_bytes_in_a_value() {
    for byte in (0..=255_u8).filter(|byte| (*byte < 0x20 && *byte != b'\t') || *byte == 0x7f) {
        for value in [
            &[byte][..],
            &[b'a', byte],
            &[b'a', byte, b'b'],
            &[byte, b'b'],
        ] {
            let client = [
                b"GET /auth HTTP/1.1\r\nHost: gate\r\nA: ",
                value,
                b"\r\n\r\n",
            ]
            .concat();
            Requests {
                uncut: true,
                ..Requests::default()
            }
            .check(&format!("20 {value:?}"), client, &[reply(400)], true);
        }
    }
    pass_field("20 HTAB", "A: b\tc\r\n", "A: b\tc\r\n");
}

#[test]
fn row_21_names_are_tokens() {
    for field in [
        ": b",
        "(A): b",
        "A B: c",
        "A/: b",
        "A\u{e9}: b",
        "A\0: b",
        "A",
        "[A]: b",
        "\"A\": b",
        "A,B: c",
    ] {
        refuse_field(&format!("21 {field:?}"), 400, field);
    }
    // Names with `_` are dropped, because other readers treat them as `-`.
    pass_field(
        "21 _",
        "Content_Length: 5\r\nTransfer_Encoding: chunked\r\nX_Forwarded_For: 1.2.3.4\r\nA_: b\r\n",
        "",
    );
}

#[test]
fn row_22_unknown_fields_keep_their_order() {
    let fields: String = (0..17)
        .map(|n| format!("x-{}: {n}\r\nSame: {n}\r\n", n % 3))
        .collect();
    pass_field("22", &fields, &fields);
}

#[test]
fn row_23_lines_are_never_combined() {
    pass_field(
        "23",
        "Cookie: a\r\nCookie: b\r\nAccept: x\r\nAccept: y\r\n",
        "Cookie: a\r\nCookie: b\r\nAccept: x\r\nAccept: y\r\n",
    );
}

#[test]
fn row_24_empty_list_elements() {
    last(
        "24 Connection",
        get(),
        format!("GET /auth HTTP/1.1\r\n{H}Connection: ,close,\r\n\r\n"),
    );
    last(
        "24 in the middle",
        get(),
        format!("GET /auth HTTP/1.1\r\n{H}Connection: x,, ,\tclose\r\n\r\n"),
    );
    pass_field("24 nothing", "Connection: , ,\r\nConnection:\r\n", "");
    refuse_field("24 TE", 400, "Transfer-Encoding: ,chunked");
    refuse_field("24 TE", 400, "Transfer-Encoding: chunked,");
}

#[test]
fn row_25_conditions_are_forwarded() {
    let fields = "If-None-Match: \"x\"\r\nIf-Modified-Since: Tue, 24 Nov 2026 12:00:00 GMT\r\nIf-Range: \"x\"\r\nRange: bytes=0-1\r\n";
    pass_field("25", fields, fields);
}

#[test]
fn row_27_limits_of_a_head() {
    let long = Requests {
        uncut: true,
        ..Requests::default()
    };
    let many = |n: usize| (0..n).map(|n| format!("a{n}: b\r\n")).collect::<String>();
    long.check(
        "27 100 fields",
        format!("GET /auth HTTP/1.1\r\n{H}{}\r\n", many(99)),
        &[forward("GET /auth", &many(99), "")],
        false,
    );
    for n in [100, 256, 1_000] {
        long.check(
            &format!("27 {n} more"),
            format!("GET /auth HTTP/1.1\r\n{H}{}\r\n", many(n)),
            &[reply(431)],
            true,
        );
    }
    let sized = |n: usize| {
        let front = format!("GET /auth HTTP/1.1\r\n{H}A: ");
        let value = "v".repeat(n - front.len() - 4);
        (format!("{front}{value}\r\n\r\n"), format!("A: {value}\r\n"))
    };
    let (client, field) = sized(16_384);
    long.check(
        "27 16 KB",
        client,
        &[forward("GET /auth", &field, "")],
        false,
    );
    for n in [16_385, 20_000, 70_000] {
        long.check(&format!("27 {n} bytes"), sized(n).0, &[reply(431)], true);
    }
}

#[test]
fn row_28_nominated_fields_are_removed() {
    for connection in [
        "Connection: x-secret\r\n",
        "Connection: close-not, X-Secret\r\n",
        "Connection:\r\nConnection: a\r\nconnection: b,\tx-SECRET ,c\r\n",
    ] {
        pass_field(
            &format!("28 {connection:?}"),
            &format!("X-Secret: a\r\n{connection}X-Secret: b\r\nX-Secrets: c\r\n"),
            "X-Secrets: c\r\n",
        );
    }
    // There are more options than in real messages, and all of them are tokens (RFC 9110 7.6.1).
    let options = |count: usize| {
        (0..count)
            .map(|n| format!("n{n}"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let uncut = || Requests {
        uncut: true,
        ..Requests::default()
    };
    for (row, options, good) in [
        ("64 options", options(64), true),
        ("65 options", options(65), false),
        ("7,400 options", "a,".repeat(7_400), false),
        ("7,400 empty ones", ",".repeat(7_400), true),
    ] {
        let client = format!("GET /auth HTTP/1.1\r\n{H}Connection: {options}\r\nn63: x\r\n\r\n");
        let seen = if options.contains("n63") {
            ""
        } else {
            "n63: x\r\n"
        };
        let expect = if good {
            forward("GET /auth", seen, "")
        } else {
            reply(400)
        };
        uncut().check(&format!("28 {row}"), client, &[expect], !good);
    }
    for option in [
        "a b",
        "x/y",
        "\"close\"",
        "close;q=1",
        "keep-alive, (a)",
        "x,\u{e4}",
        "a\tb",
        "close=1",
        "@",
    ] {
        refuse_field(
            &format!("28 {option}"),
            400,
            &format!("Connection: {option}"),
        );
    }
    refuse_field(
        "28 spread over lines",
        400,
        &format!("Connection: {}\r\nConnection: {}", options(40), options(25)),
    );
    let names = |n: u32| format!("n{:x}", n.wrapping_mul(2_654_435_761));
    for n in 0..100 {
        let (a, b) = (names(n), names(n + 1));
        let client = format!(
            "GET /auth HTTP/1.1\r\n{H}{a}: x\r\nConnection: {b}, {a}\r\nkept: y\r\n{b}: z\r\n\r\n"
        );
        Requests {
            uncut: true,
            ..Requests::default()
        }
        .check(
            "28 any",
            client,
            &[forward("GET /auth", "kept: y\r\n", "")],
            false,
        );
    }
}

#[test]
fn row_29_nominations_that_would_change_the_message() {
    for name in ["Host", "content-length", "Transfer-Encoding"] {
        refuse_field(&format!("29 {name}"), 400, &format!("Connection: {name}"));
        refuse_field(
            &format!("29 {name} behind an empty line"),
            400,
            &format!("Connection:\r\nConnection: close, {name}"),
        );
    }
    let kept = "Authorization: a\r\nCookie: b\r\nContent-Type: c\r\nOrigin: d\r\n";
    pass_field(
        "29 kept",
        &format!("{kept}Connection: authorization, cookie, content-type, origin\r\n"),
        kept,
    );
    // The gateway's own fields stay, whatever the client nominates: `USUAL` are five, and `noted`
    // accepts no sixth.
    pass_field(
        "29 ours",
        "Connection: X-Forwarded-For, X-Forwarded-Proto, X-Forwarded-Host, Via\r\nX-Forwarded-For: 1.2.3.4\r\n",
        "",
    );
    // The client's own forwarding fields are removed, nominated or not.
    let said = "Forwarded: for=1.2.3.4;proto=https;host=admin\r\nforwarded: for=_x\r\nX-Real-IP: 1.2.3.4\r\nX-Forwarded-Port: 1\r\nX-Forwarded-Ssl: on\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Server: x\r\nX-Forwarded-Uri: /x\r\nX-Client-Subject: CN=x\r\nProxy: http://evil\r\nPROXY: x\r\n";
    pass_field("29 of itself", said, "");
    pass_field(
        "29 of itself, named",
        &format!("{said}Connection: Forwarded, X-Real-IP, Proxy, X-Forwarded-Port\r\n"),
        "",
    );
    let others =
        "Forwarded-For: a\r\nX-Real: b\r\nX-Real-IP2: c\r\nProxy-Status: d\r\nX-Proxy: e\r\n";
    pass_field("29 other names", others, others);
}

#[test]
fn rows_30_and_31_hop_by_hop_fields_stay_here() {
    pass_field(
        "30",
        "Proxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\nProxy-Authorization: Basic eDp5\r\nTrailer: x\r\nConnection: keep-alive, TE, Upgrade, HTTP2-Settings\r\n",
        "",
    );
    pass_field("31 TE alone", "TE: trailers, gzip;q=0.5\r\n", "");
}

#[test]
fn row_32_via() {
    let via = "Via: 1.0 a, 1.1 b\r\nVia: 1.1 c\r\nvia: 2.0 d\r\n";
    pass_field("32", via, via);
}

#[test]
fn row_33_a_request_that_runs_in_a_circle() {
    let lines = |n: usize| "Via: 1.1 tollgate\r\n".repeat(n);
    let seen = |n: usize| format!("GET /auth HTTP/1.1\r\n{H}{}\r\n", lines(n));
    Requests::default().check("33 8 times", seen(8), &[reply(502)], true);
    Requests::default().check(
        "33 8 in a line",
        format!(
            "GET /auth HTTP/1.1\r\n{H}Via: {}1.0 x\r\n\r\n",
            "1.1 tollgate, ".repeat(8)
        ),
        &[reply(502)],
        true,
    );
}

#[test]
fn row_34_max_forwards() {
    let options =
        |value: &str| format!("OPTIONS /auth HTTP/1.1\r\n{H}Max-Forwards: {value}\r\n\r\n");
    Requests::default().check("34 0", options("0"), &[reply(204)], false);
    for (value, seen) in [("1", "0"), ("010", "9"), ("7", "6")] {
        pass(
            &format!("34 {value}"),
            forward("OPTIONS /auth", &format!("Max-Forwards: {seen}\r\n"), ""),
            options(value),
        );
    }
    for value in ["x", "", "-1", "1.5", "99999999999999999999"] {
        refuse(&format!("34 {value}"), 400, options(value));
    }
    pass_field(
        "34 not for GET",
        "Max-Forwards: 0\r\n",
        "Max-Forwards: 0\r\n",
    );
}

#[test]
fn row_35_trace_is_refused() {
    refuse(
        "35",
        405,
        format!("TRACE /auth HTTP/1.1\r\n{H}Max-Forwards: 0\r\n\r\n"),
    );
    refuse(
        "35 with content",
        405,
        format!(
            "TRACE /auth HTTP/1.1\r\n{H}Content-Length: {}\r\n\r\n{GET}",
            GET.len()
        ),
    );
}

#[test]
fn row_36_path_and_query_are_left_alone() {
    let visible: String = (0x21..=0x7e_u8)
        .filter(|byte| *byte != b'#')
        .map(char::from)
        .collect();
    pass(
        "36 query",
        forward(&format!("GET /auth?{visible}"), "", ""),
        format!("GET /auth?{visible} HTTP/1.1\r\n{H}\r\n"),
    );
    let path = "/auth/!$&'()*+,-.0:=@A_a~%41%c3%a9/x/";
    pass(
        "36 path",
        forward(&format!("GET {path}"), "", ""),
        format!("GET {path} HTTP/1.1\r\n{H}\r\n"),
    );
    for query in [
        "?",
        "??",
        "?/../..//%2e%zz%",
        "?a=http://h/?b",
        "?path=C:\\temp",
        "?re=\\d+",
        "?a=\\&b=/\\..\\",
    ] {
        pass(
            &format!("36 {query}"),
            forward(&format!("GET /auth{query}"), "", ""),
            format!("GET /auth{query} HTTP/1.1\r\n{H}\r\n"),
        );
    }
}

#[test]
fn row_37_content_is_left_alone() {
    let body: Vec<u8> = (0..=255).collect();
    let head = format!(
        "POST /auth HTTP/1.1\r\n{H}Content-Encoding: gzip\r\nCache-Control: no-transform\r\nContent-Length: 256\r\n\r\n"
    );
    let seen = "Content-Encoding: gzip\r\nCache-Control: no-transform\r\nContent-Length: 256\r\n";
    pass(
        "37",
        forward("POST /auth", seen, &body),
        [head.as_bytes(), &body].concat(),
    );
}

#[test]
fn row_38_fields_of_others_pass() {
    let fields = "Authorization: Basic eDp5\r\nReferer: http://x/\r\nAllow: GET\r\nWWW-Authenticate: Basic\r\nX: \u{e9}\r\n";
    pass_field("38", fields, fields);
}

#[test]
fn row_39_transfer_encoding_and_content_length() {
    for te in [
        "Transfer-Encoding: chunked\r\n",
        "transfer-encoding: CHUNKED\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
    ] {
        for cl in ["Content-Length: 5\r\n", "content-length: 0\r\n"] {
            for fields in [
                format!("{te}{cl}"),
                format!("{cl}{te}"),
                format!("{cl}A: b\r\n{te}"),
                format!("{te}{H2}{cl}", H2 = "B: c\r\n"),
            ] {
                refuse(
                    &format!("39 {fields:?}"),
                    400,
                    format!("POST /auth HTTP/1.1\r\n{H}{fields}\r\n0\r\n\r\n"),
                );
            }
        }
    }
}

#[test]
fn row_40_transfer_encoding_in_http_1_0() {
    for te in ["chunked", "identity", "gzip, chunked"] {
        refuse(
            &format!("40 {te}"),
            400,
            format!("POST /auth HTTP/1.0\r\n{H}Transfer-Encoding: {te}\r\n\r\n0\r\n\r\n"),
        );
    }
}

#[test]
fn rows_41_to_45_transfer_codings() {
    for (row, value, status) in [
        ("41", "gzip, chunked", 501),
        ("41", "identity", 501),
        ("41", "xchunked", 501),
        ("41", "chunkedx", 501),
        ("41", "gzip", 501),
        ("41", "identity, chunked", 501),
        ("42", "chunked, gzip", 400),
        ("42", "chunked, identity", 400),
        ("42", "chunked;q=1", 400),
        ("43", "chunked, chunked", 400),
        ("43", "chunked,chunked", 400),
        ("44", "chunked;a=b", 400),
        ("44", "chunked ;a", 400),
        ("45", "", 400),
        ("45", " ", 400),
        ("45", ",", 400),
        ("43", "chunked x", 400),
        ("43", "\u{212a}chunked", 400),
    ] {
        refuse(
            &format!("{row} {value}"),
            status,
            format!("POST /auth HTTP/1.1\r\n{H}Transfer-Encoding: {value}\r\n\r\n0\r\n\r\n"),
        );
    }
    refuse(
        "43 two lines",
        400,
        format!("POST /auth HTTP/1.1\r\n{H}{CHUNKED}{CHUNKED}\r\n0\r\n\r\n"),
    );
    refuse(
        "43 two lines, one empty",
        400,
        format!("POST /auth HTTP/1.1\r\n{H}Transfer-Encoding:\r\n{CHUNKED}\r\n0\r\n\r\n"),
    );
    for value in ["chunked", "Chunked", "CHUNKED", " chunked\t", "cHUNKeD"] {
        pass(
            &format!("44 {value}"),
            forward("POST /auth", CHUNKED, "hi"),
            format!(
                "POST /auth HTTP/1.1\r\n{H}Transfer-Encoding: {value}\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
            ),
        );
    }
}

#[test]
fn rows_46_and_47_content_length() {
    for value in [
        "+5",
        "-0",
        "-5",
        "0x5",
        "5_0",
        "5 5",
        "5,5",
        "5, 5",
        "5;",
        "5.0",
        "5e0",
        "",
        " ",
        "010",
        "00",
        "05",
        "10000000000000000000",
        "18446744073709551621",
        "1000000000000000000",
        "\u{665}",
        "five",
        "\"5\"",
        "5\t5",
        "=5",
    ] {
        refuse(
            &format!("46 {value:?}"),
            400,
            format!("POST /auth HTTP/1.1\r\n{H}Content-Length: {value}\r\n\r\nhello"),
        );
    }
    for second in ["5", "6", "", "x"] {
        refuse(
            &format!("46 and {second}"),
            400,
            format!(
                "POST /auth HTTP/1.1\r\n{H}Content-Length: 5\r\nContent-Length: {second}\r\n\r\nhello"
            ),
        );
        refuse(
            &format!("46 {second} and"),
            400,
            format!(
                "POST /auth HTTP/1.1\r\n{H}Content-Length: {second}\r\nA: b\r\ncontent-length: 5\r\n\r\nhello"
            ),
        );
    }
    for value in ["5", "  5\t"] {
        pass(
            &format!("47 {value:?}"),
            forward("POST /auth", "Content-Length: 5\r\n", "hello"),
            format!("POST /auth HTTP/1.1\r\n{H}content-length:{value}\r\n\r\nhello"),
        );
    }
    pass(
        "46 0",
        forward("POST /auth", "Content-Length: 0\r\n", ""),
        format!("POST /auth HTTP/1.1\r\n{H}Content-Length: 0\r\n\r\n"),
    );
}

#[test]
fn row_48_without_a_length_there_is_no_body() {
    Requests::default().check(
        "48",
        format!("POST /auth HTTP/1.1\r\n{H}\r\n{GET}"),
        &[forward("POST /auth", "", ""), get()],
        false,
    );
    // After an HTTP/1.0 request the connection also closes: later bytes are not read.
    last(
        "48 HTTP/1.0",
        forward("POST /auth", "Via: 1.0 tollgate\r\n", ""),
        format!("POST /auth HTTP/1.0\r\n{H}\r\n{GET}"),
    );
}

#[test]
fn row_49_framing_does_not_depend_on_the_method() {
    for method in ["GET", "DELETE", "OPTIONS", "PURGE", "get"] {
        let sized = format!(
            "{method} /auth HTTP/1.1\r\n{H}Content-Length: {}\r\n\r\n{GET}",
            GET.len()
        );
        let fields = format!("Content-Length: {}\r\n", GET.len());
        pass(
            &format!("49 {method}"),
            forward(&format!("{method} /auth"), &fields, GET),
            sized,
        );
        let chunked = format!(
            "{method} /auth HTTP/1.1\r\n{H}{CHUNKED}\r\n{:x}\r\n{GET}\r\n0\r\n\r\n",
            GET.len()
        );
        pass(
            &format!("49 {method}, chunked"),
            forward(&format!("{method} /auth"), CHUNKED, GET),
            chunked,
        );
    }
}

#[test]
fn row_50_chunks() {
    let post = |body: &str| format!("POST /auth HTTP/1.1\r\n{H}{CHUNKED}\r\n{body}");
    let broken = Requests {
        in_body: true,
        ..Requests::default()
    };
    for body in [
        "\r\nhi\r\n0\r\n\r\n",
        "x\r\nhi\r\n0\r\n\r\n",
        "+2\r\nhi\r\n0\r\n\r\n",
        "-2\r\nhi\r\n0\r\n\r\n",
        "0x2\r\nhi\r\n0\r\n\r\n",
        " 2\r\nhi\r\n0\r\n\r\n",
        "2 \r\nhi\r\n0\r\n\r\n",
        "2\t\r\nhi\r\n0\r\n\r\n",
        "2_\r\nhi\r\n0\r\n\r\n",
        "2\nhi\r\n0\r\n\r\n",
        "2\rhi\r\n0\r\n\r\n",
        "2\r\rhi\r\n0\r\n\r\n",
        "2\r\n\nhi0\r\n\r\n",
        "2\r\nhi\n0\r\n\r\n",
        "2\r\nhi\r0\r\n\r\n",
        "2\r\nhix\r\n0\r\n\r\n",
        "2\r\nhi0\r\n\r\n",
        "2\r\nhi\r\n\r\n0\r\n\r\n",
        "2\r\nhi\r\n0\n\r\n",
        "2\r\nhi\r\n0\r\n\n",
        "2\r\nhi\r\n0\r\n\r\r\n",
        "2\r\nhi\r\n0\r\nX\r\n\r\n",
        "ffffffffffffffff\r\nhi",
        "10000000000000002\r\nhi\r\n0\r\n\r\n",
        "1000000000000000\r\nhi",
        "0000000000000000\r\n\r\n",
        "8000000000000002\r\nhi",
        "2\0\r\nhi\r\n0\r\n\r\n",
        "\u{0}\r\n",
        "g\r\n",
        "2,2\r\nhi\r\n0\r\n\r\n",
    ] {
        broken.check(&format!("50 {body:?}"), post(body), &[reply(400)], true);
    }
    for (body, data) in [
        ("0\r\n\r\n", ""),
        ("2\r\nhi\r\n0\r\n\r\n", "hi"),
        ("02\r\nhi\r\n000\r\n\r\n", "hi"),
        ("000000000000002\r\nhi\r\n000000000000000\r\n\r\n", "hi"),
        ("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
        ("a\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n0\r\n\r\n"),
    ] {
        pass(
            &format!("50 {body:?}"),
            forward("POST /auth", CHUNKED, data),
            post(body),
        );
    }
}

#[test]
fn row_51_chunk_extensions() {
    let post = |extension: &str| {
        format!("POST /auth HTTP/1.1\r\n{H}{CHUNKED}\r\n2{extension}\r\nhi\r\n0\r\n\r\n")
    };
    for extension in [
        ";a",
        ";a=b",
        ";a=\"b\"",
        ";a=\"b;\\\"c\"",
        ";a=b;c",
        ";a=\"\"",
        ";a=\"\u{e9}\t \"",
    ] {
        pass(
            &format!("51 {extension}"),
            forward("POST /auth", CHUNKED, "hi"),
            post(extension),
        );
    }
    let broken = Requests {
        in_body: true,
        ..Requests::default()
    };
    for extension in [
        ";",
        ";;a",
        ";=b",
        ";a=",
        ";a=b c",
        " ;a",
        "; a",
        ";a =b",
        ";a=\"b",
        ";a=\"b\n\"",
        ";a\n",
        ";a\rb",
        ";a=\"\r\n\"",
        ";a=\"\0\"",
        ";a=\"b\"c",
        ";\u{7f}",
        ";a=(b)",
    ] {
        broken.check(
            &format!("51 {extension:?}"),
            post(extension),
            &[reply(400)],
            true,
        );
    }
    let long = Requests {
        in_body: true,
        uncut: true,
        ..Requests::default()
    };
    long.check(
        "51 16 KB",
        post(&format!(";{}", "e".repeat(16_383))),
        &[forward("POST /auth", CHUNKED, "hi")],
        false,
    );
    long.check(
        "51 more",
        post(&format!(";{}", "e".repeat(16_384))),
        &[reply(400)],
        true,
    );
    let many: String = "1;eeeeeee\r\nx\r\n".repeat(3_000);
    long.check(
        "51 in all",
        format!("POST /auth HTTP/1.1\r\n{H}{CHUNKED}\r\n{many}0\r\n\r\n"),
        &[reply(400)],
        true,
    );
}

#[test]
fn row_52_trailers_are_checked_and_dropped() {
    let post = |trailers: &str| {
        format!(
            "POST /auth HTTP/1.1\r\n{H}Trailer: Authorization\r\n{CHUNKED}\r\n2\r\nhi\r\n0\r\n{trailers}\r\n"
        )
    };
    for trailers in [
        "A: b\r\n",
        "Content-Length: 7\r\nTransfer-Encoding: gzip\r\nHost: other\r\nAuthorization: x\r\n",
        "A:\r\nB: \t c \t\r\n",
    ] {
        Requests::default().check(
            "52",
            format!("{}{GET}", post(trailers)),
            &[forward("POST /auth", CHUNKED, "hi"), get()],
            false,
        );
    }
    let broken = Requests {
        in_body: true,
        ..Requests::default()
    };
    for trailers in [
        ": b\r\n",
        "A : b\r\n",
        " A: b\r\n",
        "A: b\r\n c\r\n",
        "A\r\n",
        "A: b\n",
        "A: \0\r\n",
        "A: b\rC: d\r\n",
    ] {
        broken.check(
            &format!("52 {trailers:?}"),
            post(trailers),
            &[reply(400)],
            true,
        );
    }
    let long = Requests {
        in_body: true,
        uncut: true,
        ..Requests::default()
    };
    let many = |n: usize| (0..n).map(|n| format!("t{n}: v\r\n")).collect::<String>();
    long.check(
        "52 100",
        post(&many(100)),
        &[forward("POST /auth", CHUNKED, "hi")],
        false,
    );
    long.check("52 101", post(&many(101)), &[reply(400)], true);
    long.check(
        "52 bytes",
        post(&format!("A: {}\r\n", "v".repeat(17_000))),
        &[reply(400)],
        true,
    );
}

#[test]
fn row_53_bodies_go_up_in_chunks_of_the_gateways_own() {
    // The reference reads the same body and the next request, wherever the bytes were cut.
    let mut body = String::new();
    let mut data = String::new();
    for n in 1..40_usize {
        let piece = "0\r\n\r\n".repeat(n).split_off(n);
        body += &format!(
            "{:0width$X};n={n}\r\n{piece}\r\n",
            piece.len(),
            width = 1 + n % 5
        );
        data += &piece;
    }
    let long = Requests {
        uncut: true,
        ..Requests::default()
    };
    let client = format!("PUT /auth HTTP/1.1\r\n{H}{CHUNKED}\r\n{body}0\r\n\r\n{GET}");
    long.check(
        "53",
        client,
        &[forward("PUT /auth", CHUNKED, data), get()],
        false,
    );
}

#[test]
fn rows_67_to_69_expectations() {
    let post = |path: &str, expect: &str| {
        format!("POST {path} HTTP/1.1\r\n{H}Expect: {expect}\r\nContent-Length: 2\r\n\r\n")
    };
    let seen = forward("POST /auth", "Content-Length: 2\r\n", "hi");
    for expect in ["100-continue", "100-Continue", " 100-continue "] {
        pass(
            &format!("67 {expect}"),
            seen.clone(),
            post("/auth", expect) + "hi",
        );
    }
    // The client waits for the 100. It gets the final status, and the connection ends, because its
    // body may or may not follow.
    refuse("67 no route", 404, post("/none", "100-continue"));
    for expect in [
        "200-ok",
        "",
        "100-continue, x",
        "100-continue;a=b",
        "100-contin\u{fc}e",
    ] {
        refuse(&format!("69 {expect}"), 417, post("/auth", expect) + "hi");
    }
    refuse(
        "69 two lines",
        417,
        format!(
            "POST /auth HTTP/1.1\r\n{H}Expect: 100-continue\r\nExpect: x\r\nContent-Length: 2\r\n\r\nhi"
        ),
    );
    last(
        "67 HTTP/1.0 knows none",
        forward(
            "POST /auth",
            "Via: 1.0 tollgate\r\nContent-Length: 2\r\n",
            "hi",
        ),
        format!("POST /auth HTTP/1.0\r\n{H}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi"),
    );
}

#[test]
fn row_70_what_is_no_websocket_handshake_is_a_plain_request() {
    let fields = |connection: &str, upgrade: &str, version: &str, key: &str| {
        format!("{connection}{upgrade}{version}{key}")
    };
    let (connection, upgrade) = ("Connection: Upgrade\r\n", "Upgrade: websocket\r\n");
    let (version, key) = ("Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Key: a\r\n");
    for (row, fields, seen) in [
        (
            "no Connection",
            fields("", upgrade, version, key),
            [version, key].concat(),
        ),
        (
            "Connection: close",
            fields("Connection: x\r\n", upgrade, version, key),
            [version, key].concat(),
        ),
        (
            "h2c",
            fields(connection, "Upgrade: h2c\r\n", version, key),
            [version, key].concat(),
        ),
        (
            "two protocols",
            fields(connection, "Upgrade: websocket, h2c\r\n", version, key),
            [version, key].concat(),
        ),
        (
            "two lines",
            fields(
                connection,
                "Upgrade: websocket\r\nUpgrade: websocket\r\n",
                version,
                key,
            ),
            [version, key].concat(),
        ),
        (
            "version 8",
            fields(connection, upgrade, "Sec-WebSocket-Version: 8\r\n", key),
            ["Sec-WebSocket-Version: 8\r\n", key].concat(),
        ),
        (
            "no version",
            fields(connection, upgrade, "", key),
            key.to_owned(),
        ),
        (
            "no key",
            fields(connection, upgrade, version, ""),
            version.to_owned(),
        ),
        (
            "empty key",
            fields(connection, upgrade, version, "Sec-WebSocket-Key:\r\n"),
            format!("{version}Sec-WebSocket-Key: \r\n"),
        ),
    ] {
        pass(
            &format!("70 {row}"),
            forward("GET /auth", &seen, ""),
            format!("GET /auth HTTP/1.1\r\n{H}{fields}\r\n"),
        );
    }
    let all = fields(connection, upgrade, version, key);
    let seen = [version, key].concat();
    pass(
        "70 POST",
        forward("POST /auth", &seen, ""),
        format!("POST /auth HTTP/1.1\r\n{H}{all}\r\n"),
    );
    pass(
        "70 with a body",
        forward("GET /auth", &format!("{seen}Content-Length: 2\r\n"), "hi"),
        format!("GET /auth HTTP/1.1\r\n{H}{all}Content-Length: 2\r\n\r\nhi"),
    );
    pass(
        "70 with a chunked body that is empty",
        forward("GET /auth", &format!("{seen}{CHUNKED}"), ""),
        format!("GET /auth HTTP/1.1\r\n{H}{all}{CHUNKED}\r\n0\r\n\r\n"),
    );
    // No byte follows, so this is a WebSocket handshake, which the upstream refuses.
    last(
        "70 with a length of 0",
        forward(
            "GET /auth",
            &format!("{seen}Connection: Upgrade\r\nUpgrade: websocket\r\n"),
            "",
        ),
        format!("GET /auth HTTP/1.1\r\n{H}{all}Content-Length: 0\r\n\r\n"),
    );
    last(
        "70 HTTP/1.0",
        forward("GET /auth", &format!("{seen}Via: 1.0 tollgate\r\n"), ""),
        format!("GET /auth HTTP/1.0\r\n{H}{all}\r\n"),
    );
}

#[test]
fn row_72_nothing_behind_an_upgrade_is_a_request_until_the_answer() {
    let handshake = format!(
        "GET /auth HTTP/1.1\r\n{H}Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\n\r\n"
    );
    let seen = "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
    last(
        "72",
        forward("GET /auth", seen, ""),
        format!("{handshake}{GET}{GET}"),
    );
}

#[test]
fn row_74_http_1_0_connections_end() {
    for connection in [
        "",
        "Connection: keep-alive\r\n",
        "Connection: Keep-Alive, x\r\n",
    ] {
        last(
            &format!("74 {connection}"),
            forward("GET /auth", "Via: 1.0 tollgate\r\n", ""),
            format!("GET /auth HTTP/1.0\r\n{H}{connection}\r\n{GET}"),
        );
    }
}

#[test]
fn row_75_a_body_nobody_wants_is_never_a_request() {
    let body = format!("Content-Length: {}\r\n\r\n{GET}", GET.len());
    let chunked = format!("{CHUNKED}\r\n{:x}\r\n{GET}\r\n0\r\n\r\n", GET.len());
    for body in [&body, &chunked] {
        let client = format!("POST /none HTTP/1.1\r\n{H}{body}{GET}");
        Requests::default().check("75 404", client, &[reply(404), get()], false);
    }
    // The body is larger than the limit for draining, so the reply is the last one.
    let large = "x".repeat(200_000);
    let client = format!("POST /none HTTP/1.1\r\n{H}Content-Length: 200000\r\n\r\n{large}{GET}");
    Requests {
        uncut: true,
        ..Requests::default()
    }
    .check("75 large", client, &[reply(404)], true);
}

#[test]
fn row_76_pipelined_requests_are_answered_in_order() {
    let (mut client, mut expects) = (String::new(), Vec::new());
    for n in 0..100 {
        match n % 4 {
            0 => {
                client += &format!("GET /none{n} HTTP/1.1\r\n{H}\r\n");
                expects.push(reply(404));
            }
            1 => {
                client += &format!("POST /auth/{n} HTTP/1.1\r\n{H}Content-Length: 3\r\n\r\n{n:03}");
                expects.push(forward(
                    &format!("POST /auth/{n}"),
                    "Content-Length: 3\r\n",
                    format!("{n:03}"),
                ));
            }
            2 => {
                client +=
                    &format!("PUT /auth/{n} HTTP/1.1\r\n{H}{CHUNKED}\r\n3\r\n{n:03}\r\n0\r\n\r\n");
                expects.push(forward(
                    &format!("PUT /auth/{n}"),
                    CHUNKED,
                    format!("{n:03}"),
                ));
            }
            _ => {
                client += &format!("GET /auth/{n} HTTP/1.1\r\n{H}\r\n");
                expects.push(forward(&format!("GET /auth/{n}"), "", ""));
            }
        }
    }
    Requests {
        uncut: true,
        ..Requests::default()
    }
    .check("76", client, &expects, false);
    let limited = PLAIN.replacen(
        "\"rateLimit\": false",
        "\"rateLimit\": { \"requests\": 2 }",
        1,
    );
    let limited: &'static str = Box::leak(limited.into_boxed_str());
    Requests {
        config: limited,
        ..Requests::default()
    }
    .check(
        "76 429",
        GET.repeat(4),
        &[get(), get(), reply(429), reply(429)],
        false,
    );
}

#[test]
fn row_79_nothing_follows_a_close() {
    for connection in [
        "close",
        "Close",
        "x, CLOSE",
        "close, keep-alive",
        "keep-alive, close",
    ] {
        last(
            &format!("79 {connection}"),
            get(),
            format!("GET /auth HTTP/1.1\r\n{H}Connection: {connection}\r\n\r\n{GET}"),
        );
    }
    // If the upstream sends `close`, only its own connection ends.
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
    Requests {
        answer,
        ..Requests::default()
    }
    .check("79 upstream", GET.repeat(2), &[get(), get()], false);
    assert!(OK.ends_with("hi"), "the usual answer has the usual body");
}
