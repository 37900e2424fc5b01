//! Disguised Transfer-Encoding, after the mutations of `smuggler` and similar tools: one reader
//! recognizes the field, another does not, and the two read different bodies.
//!
//! In the gateway a line is exactly Transfer-Encoding, or another field, or refused. The reference
//! parser reads what an upstream receives: no disguise may be left.

use super::*;

pub fn bugs() -> Vec<Bug> {
    vec![
        bug(
            "smuggler, any byte",
            "a byte before, in or behind the name, or around the value",
            [Probe::Scene(any_byte_anywhere)],
        ),
        bug(
            "smuggler, white space",
            "white space where none belongs",
            [
                disguised(400, " Transfer-Encoding: chunked"),
                disguised(400, "\tTransfer-Encoding: chunked"),
                disguised(400, "Transfer-Encoding : chunked"),
                disguised(400, "Transfer-Encoding\t:\tchunked"),
                disguised(400, "Transfer Encoding: chunked"),
                disguised(400, "Transfer-Encoding: chun ked"),
                disguised(400, "Transfer-Encoding:\u{b}chunked"),
                disguised(400, "Transfer-Encoding:\u{c}chunked"),
                disguised(400, "Transfer-Encoding:\u{a0}chunked"),
                disguised(400, "Transfer-Encoding:\u{85}chunked"),
            ],
        ),
        bug(
            "smuggler, lines",
            "the field is within another, or its value on another line",
            [
                disguised(400, "X: X\nTransfer-Encoding: chunked"),
                disguised(400, "X: X\rTransfer-Encoding: chunked"),
                disguised(400, "X: X\r\n\rTransfer-Encoding: chunked"),
                disguised(400, "X: X\r\n\nTransfer-Encoding: chunked"),
                disguised(400, "X:\r\n Transfer-Encoding: chunked"),
                disguised(400, "X: X\0\nTransfer-Encoding: chunked"),
                disguised(400, "Transfer-Encoding\n: chunked"),
                disguised(400, "Transfer-Encoding:\nchunked"),
                disguised(400, "Transfer-Encoding:\n chunked"),
                disguised(400, "Transfer-Encoding:\r\n chunked"),
                disguised(400, "Transfer-Encoding:\r\n\tchunked"),
                disguised(400, "Transfer-Encoding: chunked\r\n\r"),
                disguised(400, "Transfer-Encoding\r\n : chunked"),
                refused(
                    400,
                    format!(
                        "POST /auth HTTP/1.1\nTransfer-Encoding: chunked\r\nHost: gate\r\n\r\n0\r\n\r\n{SMUGGLED}"
                    ),
                ),
                refused(
                    400,
                    format!(
                        "POST /auth HTTP/1.1 Transfer-Encoding: chunked\r\nHost: gate\r\n\r\n{SMUGGLED}"
                    ),
                ),
            ],
        ),
        bug(
            "smuggler, quotes",
            "quotes and brackets around name or value",
            [
                disguised(501, "Transfer-Encoding: \"chunked\""),
                disguised(501, "Transfer-Encoding: 'chunked'"),
                disguised(501, "Transfer-Encoding: <chunked>"),
                disguised(501, "Transfer-Encoding: chunked\\"),
                disguised(400, "\"Transfer-Encoding\": chunked"),
                disguised(400, "(Transfer-Encoding): chunked"),
                other("'Transfer-Encoding'", "chunked"),
            ],
        ),
        bug(
            "smuggler, values",
            "a value that is chunked to a lazy eye",
            [
                disguised(501, "Transfer-Encoding: xchunked"),
                disguised(501, "Transfer-Encoding: chunkedx"),
                disguised(501, "Transfer-Encoding: chunk"),
                disguised(501, "Transfer-Encoding: cow"),
                disguised(501, "Transfer-Encoding: identity, chunked"),
                disguised(400, "Transfer-Encoding: chunked, identity"),
                disguised(400, "Transfer-Encoding: chunked, cow"),
                disguised(400, "Transfer-Encoding: chunked;x=y"),
                disguised(400, "Transfer-Encoding: chunked, chunked"),
                disguised(400, "Transfer-Encoding: ,chunked"),
                disguised(400, "Transfer-Encoding: chunked,"),
                disguised(400, "Transfer-Encoding: chun\u{212a}ed"),
                disguised(400, "Transfer-Encoding: \u{ff43}hunked"),
                disguised(501, "Transfer-Encoding: %63hunked"),
                disguised(400, "Transfer-Encoding: "),
            ],
        ),
        bug(
            "smuggler, names",
            "a name that is Transfer-Encoding to a lazy eye",
            [
                other("X-Transfer-Encoding", "chunked"),
                other("Transfer-Encodings", "chunked"),
                other("Transfer-Encodin", "chunked"),
                other("Transfer--Encoding", "chunked"),
                other("Transfer%2DEncoding", "chunked"),
                other("Transfer.Encoding", "chunked"),
                other("Content-Encoding", "chunked"),
                // A name with `_` is dropped, because CGI reads it as `-`.
                client(
                    Requests::default(),
                    sized("Transfer_Encoding: chunked"),
                    [forward("POST /auth", CL, BODY)],
                    false,
                ),
                disguised(400, "Transfer-Encod\u{131}ng: chunked"),
                disguised(400, "Transfer\u{2010}Encoding: chunked"),
                disguised(400, "Transfer\\Encoding: chunked"),
                disguised(400, "Transfer-Encoding%3a chunked"),
                disguised(400, "Transfer-Encoding"),
            ],
        ),
        bug(
            "smuggler, twice",
            "two lines of which one is looked at",
            [
                disguised(400, "Transfer-Encoding: chunked\r\nTransfer-Encoding: x"),
                disguised(400, "Transfer-Encoding: x\r\nTransfer-Encoding: chunked"),
                disguised(
                    400,
                    "Transfer-Encoding: chunked\r\nTransfer-encoding: identity",
                ),
                disguised(
                    400,
                    "transfer-encoding: chunked\r\nTRANSFER-ENCODING: chunked",
                ),
            ],
        ),
        bug(
            "smuggler, case",
            "the field in other letters is another field",
            [
                disguised(200, "tRANSFER-eNCODING: cHUNKED"),
                disguised(200, "transfer-encoding:chunked"),
                disguised(200, "TRANSFER-ENCODING:   CHUNKED   "),
            ],
        ),
    ]
}

#[test]
fn disguised_transfer_encodings() {
    hold(bugs());
}

const CL: &str = "Content-Length: 48\r\n";
const BODY: &str = "0\r\n\r\nGET /auth/smuggled HTTP/1.1\r\nHost: gate\r\n\r\n";

fn sized(line: &str) -> String {
    assert_eq!(CL, format!("Content-Length: {}\r\n", BODY.len()));
    post(&format!("{line}\r\n{CL}"), BODY)
}

/// Returns a probe with the line and a chunked body. The status 200 means that the line is
/// Transfer-Encoding. In front of or behind a length it is always a 400.
fn disguised(status: u16, line: &str) -> Probe {
    let line = line.to_owned();
    Probe::Scenes(Box::new(move |row| {
        let check = |what: &str, client: String, expects: &[Expect], closed| {
            Requests::default().check(&format!("{row}, {what}: {line:?}"), client, expects, closed);
        };
        let alone = post(&format!("{line}\r\n"), BODY);
        match status {
            200 => check(
                "alone",
                alone,
                &[forward("POST /auth", CHUNKED, ""), smuggled()],
                false,
            ),
            _ => check("alone", alone, &[reply(status)], true),
        }
        check("before a length", sized(&line), &[reply(400)], true);
        check(
            "behind a length",
            post(&format!("{CL}{line}\r\n"), BODY),
            &[reply(400)],
            true,
        );
        let first = format!("POST /auth HTTP/1.1\r\n{line}\r\nHost: gate\r\n{CL}\r\n{BODY}");
        check("first", first, &[reply(400)], true);
    }))
}

/// Returns a probe in which the line is another field: the length counts, and without a length
/// there is no body.
fn other(name: &'static str, value: &'static str) -> Probe {
    Probe::Scenes(Box::new(move |row| {
        let line = format!("{name}: {value}");
        let seen = format!("{line}\r\n{CL}");
        Requests::default().check(
            row,
            sized(&line),
            &[forward("POST /auth", &seen, BODY)],
            false,
        );
        let alone = post(&format!("{line}\r\n"), SMUGGLED);
        Requests::default().check(
            row,
            alone,
            &[
                forward("POST /auth", &format!("{line}\r\n"), ""),
                smuggled(),
            ],
            false,
        );
    }))
}

fn smuggled() -> Expect {
    forward("GET /auth/smuggled", "", "")
}

/// Meaning of a line.
enum Line {
    Refused(u16),
    Chunked,
    /// Field of this name and value, or a field that is dropped.
    Other(Option<String>),
}

/// Every byte is tried in seven places. Above 127 these are the bytes that some character set uses
/// for white space or a letter.
fn any_byte_anywhere() {
    const PLACES: [(&str, &str); 7] = [
        ("", "Transfer-Encoding: chunked"),
        ("Transfer", "-Encoding: chunked"),
        ("Transfer-Encoding", ": chunked"),
        ("Transfer-Encoding:", "chunked"),
        ("Transfer-Encoding: ", "chunked"),
        ("Transfer-Encoding: chun", "ked"),
        ("Transfer-Encoding: chunked", ""),
    ];
    let rules = Requests {
        uncut: true,
        ..Requests::default()
    };
    for (place, (front, rest)) in PLACES.into_iter().enumerate() {
        for byte in (0..=0x7f).chain([0x80, 0x85, 0xa0, 0xad, 0xff]) {
            let line = [front.as_bytes(), &[byte], rest.as_bytes()].concat();
            let row = format!("{:?}", String::from_utf8_lossy(&line));
            let with = |fields: &str, body: &str| {
                let head = b"POST /auth HTTP/1.1\r\nHost: gate\r\n";
                [
                    &head[..],
                    &line,
                    format!("\r\n{fields}\r\n{body}").as_bytes(),
                ]
                .concat()
            };
            let (alone, beside) = (with("", BODY), with(CL, BODY));
            match meaning(place, byte, &line) {
                Line::Refused(status) => {
                    rules.check(&row, alone, &[reply(status)], true);
                    rules.check(&row, beside, &[reply(400)], true);
                }
                Line::Chunked => {
                    rules.check(
                        &row,
                        alone,
                        &[forward("POST /auth", CHUNKED, ""), smuggled()],
                        false,
                    );
                    rules.check(&row, beside, &[reply(400)], true);
                }
                Line::Other(seen) => {
                    let seen = seen.map_or(String::new(), |field| format!("{field}\r\n"));
                    let expect = forward("POST /auth", &format!("{seen}{CL}"), BODY);
                    rules.check(&row, beside, &[expect], false);
                    let expects = [forward("POST /auth", &seen, ""), smuggled()];
                    rules.check(&row, with("", SMUGGLED), &expects, false);
                }
            }
        }
    }
}

/// Returns the meaning by the grammar of a field line (RFC 9112 5) and of Transfer-Encoding
/// (RFC 9112 6.1).
fn meaning(place: usize, byte: u8, line: &[u8]) -> Line {
    let token = byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let in_name = place <= 2;
    match byte {
        b'_' if in_name => Line::Other(None),
        // The first colon ends the name.
        b':' if place == 1 => Line::Other(Some("Transfer: -Encoding: chunked".to_owned())),
        _ if in_name && token => Line::Other(Some(String::from_utf8_lossy(line).into_owned())),
        _ if in_name => Line::Refused(400),
        b' ' | b'\t' if place != 5 => Line::Chunked,
        // The value has an empty element, parameters of chunked, or bytes that are neither tokens
        // nor delimiters.
        b',' if place != 5 => Line::Refused(400),
        b';' if place == 6 => Line::Refused(400),
        b'!'..=b'~' => Line::Refused(501),
        _ => Line::Refused(400),
    }
}
