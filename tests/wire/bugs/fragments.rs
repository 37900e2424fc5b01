//! Fragments of requests, after the list with which `h1spec` tests servers. An incomplete request
//! waits, bytes that cannot become a request are refused at once, and a complete request is
//! answered.
//!
//! Each fragment is also run byte by byte and cut at every byte, so that the result does not depend
//! on the cuts.

use super::*;

/// Result of a fragment.
enum Comes {
    Waits,
    Refused(u16),
    Forwarded,
    Answered(u16),
}
use Comes::{Answered, Forwarded, Refused, Waits};

const FRAGMENTS: [(&str, &str, Comes); 52] = [
    ("a part of a method", "G", Waits),
    ("a method", "GET ", Waits),
    ("a part of a target", "GET /hello", Waits),
    ("a target", "GET /hello ", Waits),
    ("a part of a version", "GET /auth HTTP", Waits),
    ("a version without its minor", "GET /auth HTTP/1.", Waits),
    ("a line without its end", "GET /auth HTTP/1.1", Waits),
    ("half the end of a line", "GET /auth HTTP/1.1\r", Waits),
    ("a request line", "GET /auth HTTP/1.1\r\n", Waits),
    ("a part of a name", "GET /auth HTTP/1.1\r\nHos", Waits),
    ("a name", "GET /auth HTTP/1.1\r\nHost:", Waits),
    (
        "a part of a value",
        "GET /auth HTTP/1.1\r\nHost: loc",
        Waits,
    ),
    ("a field", "GET /auth HTTP/1.1\r\nHost: gate\r\n", Waits),
    (
        "half the blank line",
        "GET /auth HTTP/1.1\r\nHost: gate\r\n\r",
        Waits,
    ),
    ("an empty line", "\r\n", Waits),
    ("half an empty line", "\r", Waits),
    (
        "a whole request",
        "GET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        Forwarded,
    ),
    (
        "behind an empty line",
        "\r\nGET /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        Forwarded,
    ),
    (
        "no white space in a field",
        "GET /auth HTTP/1.1\r\nHost:gate\r\n\r\n",
        Forwarded,
    ),
    (
        "white space around a value",
        "GET /auth HTTP/1.1\r\nHost: \t gate \t \r\n\r\n",
        Forwarded,
    ),
    (
        "a name in small letters",
        "GET /auth HTTP/1.1\r\nhost: gate\r\n\r\n",
        Forwarded,
    ),
    (
        "a name in capitals",
        "GET /auth HTTP/1.1\r\nHOST: gate\r\n\r\n",
        Forwarded,
    ),
    (
        "a path of nobody",
        "GET /hello HTTP/1.1\r\nHost: gate\r\n\r\n",
        Answered(404),
    ),
    (
        "OPTIONS *",
        "OPTIONS * HTTP/1.1\r\nHost: gate\r\n\r\n",
        Answered(204),
    ),
    ("no Host", "GET /auth HTTP/1.1\r\n\r\n", Refused(400)),
    (
        "another field, no Host",
        "GET /auth HTTP/1.1\r\nA: b\r\n\r\n",
        Refused(400),
    ),
    (
        "two Hosts",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nHost: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "an empty Host",
        "GET /auth HTTP/1.1\r\nHost:\r\n\r\n",
        Refused(400),
    ),
    (
        "two colons",
        "GET /auth HTTP/1.1\r\nHost:: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a space within a name",
        "GET /auth HTTP/1.1\r\nHo st: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a space behind a name",
        "GET /auth HTTP/1.1\r\nHost : gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a tab behind a name",
        "GET /auth HTTP/1.1\r\nHost\t: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a name that is no token",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nA[b]: c\r\n\r\n",
        Refused(400),
    ),
    (
        "a name without a colon",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nA\r\n\r\n",
        Refused(400),
    ),
    (
        "a control byte in a value",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nA: b\x01\r\n\r\n",
        Refused(400),
    ),
    (
        "a NUL in a value",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nA: \0\r\n\r\n",
        Refused(400),
    ),
    (
        "line feeds alone",
        "GET /auth HTTP/1.1\nHost: gate\n\n",
        Refused(400),
    ),
    (
        "CRs alone",
        "GET /auth HTTP/1.1\rHost: gate\r\r",
        Refused(400),
    ),
    (
        "a method with a control byte",
        "G\x02T /auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a target without a slash",
        "GET auth HTTP/1.1\r\nHost: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "no target",
        "GET HTTP/1.1\r\nHost: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "no version",
        "GET /auth\r\nHost: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a version of another protocol",
        "GET /auth HTTPS/1.1\r\nHost: gate\r\n\r\n",
        Refused(400),
    ),
    (
        "a later version",
        "GET /auth HTTP/9.9\r\nHost: gate\r\n\r\n",
        Refused(505),
    ),
    (
        "lengths that differ",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        Refused(400),
    ),
    (
        "lengths that agree",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
        Refused(400),
    ),
    (
        "a length that is no number",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: abc\r\n\r\n",
        Refused(400),
    ),
    (
        "a length below zero",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: -123\r\n\r\n",
        Refused(400),
    ),
    (
        "a length with a fraction",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 1.5\r\n\r\n",
        Refused(400),
    ),
    (
        "a length and chunks",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        Refused(400),
    ),
    (
        "a coding nobody knows",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nTransfer-Encoding: gzip\r\n\r\n",
        Refused(501),
    ),
    (
        "a body that is not all here",
        "POST /auth HTTP/1.1\r\nHost: gate\r\nContent-Length: 9\r\n\r\nhello",
        Waits,
    ),
];

#[test]
fn every_fragment() {
    for (what, bytes, comes) in FRAGMENTS {
        let probe = match comes {
            Waits => waits(bytes),
            Refused(status) => refused(status, bytes),
            Forwarded => read_as(bytes, [get()]),
            Answered(status) => read_as(bytes, [reply(status)]),
        };
        probe.run(&format!("h1spec, {what}"));
    }
}
