//! Whole requests through the engine, everything on.

use tollgate::policy::security::SecurityHeaders;

use crate::engine::{Engine, Message};
use crate::harness::Case;

const GET: &str =
    "GET /users/1 HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n";
/// Request of a browser.
const BROWSER: &str = "GET /users/1?page=2&sort=name HTTP/1.1\r\nHost: gate.test\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n\
    Origin: https://page.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/130.0.0.0 Safari/537.36\r\nAccept: application/json, text/plain, */*\r\nSec-Fetch-Site: cross-site\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://page.example/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de-DE,de;q=0.9,en;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

const POST: &str = "POST /users/1 HTTP/1.1\r\nHost: gate.test\r\n";

const SERVICE: &str = r#"{ "route": "/users", "target": "http://127.0.0.1:9000/users" }"#;

pub fn cases() -> Vec<Case> {
    vec![
        exchange("exchange: GET, 120 bytes", || {
            (SERVICE.into(), whole(GET), response(120))
        }),
        exchange("exchange: a browser's GET", || {
            (SERVICE.into(), whole(BROWSER), response(120))
        }),
        exchange("exchange: GET, 5,000 routes", || {
            (
                many_services(),
                whole(&GET.replace("users", "r4321")),
                response(120),
            )
        }),
        exchange("exchange: GET, the origin sends the fields itself", || {
            (SERVICE.into(), whole(GET), response_with_fields())
        }),
        exchange("exchange: GET, 100 KB", || {
            (SERVICE.into(), whole(GET), response(100 << 10))
        }),
        exchange("exchange: GET, 10 KB in chunks of 1 KB", || {
            (SERVICE.into(), whole(GET), chunked(RESPONSE))
        }),
        exchange("exchange: POST, 10 KB", || {
            (SERVICE.into(), sized(POST, 10 << 10), response(120))
        }),
        exchange("exchange: POST, 100 KB", || {
            (SERVICE.into(), sized(POST, 100 << 10), response(120))
        }),
        exchange("exchange: POST, 10 KB in chunks of 1 KB", || {
            (SERVICE.into(), chunked(POST), response(120))
        }),
    ]
}

/// Services, request and response. Every pass must bring the client as many bytes as the second one did; the first one dials.
fn exchange(
    name: &'static str,
    messages: impl FnOnce() -> (String, Message, Message) + 'static,
) -> Case {
    Case::new(name, || {
        let (services, request, response) = messages();
        let mut engine = Engine::new(&services);
        engine.exchange(&request, &response);
        let expected = engine.exchange(&request, &response);
        assert!(
            expected > response.bytes.len(),
            "only {expected} bytes came out"
        );
        move || {
            let out = engine.exchange(&request, &response);
            assert!(out == expected, "{out} bytes came out, not {expected}");
        }
    })
}

fn many_services() -> String {
    let service = |index| {
        format!(
            "{{ \"route\": \"/r{index:04}\", \"target\": \"http://127.0.0.1:9000/r{index:04}\" }}"
        )
    };
    (0..5000).map(service).collect::<Vec<_>>().join(",")
}

const RESPONSE: &str =
    "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n";

/// A message of which every byte counts.
fn whole(text: &str) -> Message {
    Message {
        bytes: text.as_bytes().to_vec(),
        copied: text.len(),
    }
}

/// A head that announces a body of so many bytes, and the body.
fn sized(head: &str, bytes: usize) -> Message {
    let head = format!("{head}Content-Length: {bytes}\r\n\r\n").into_bytes();
    Message {
        copied: head.len(),
        bytes: [head, vec![b'x'; bytes]].concat(),
    }
}

/// A head, and ten chunks of 1 KB.
fn chunked(head: &str) -> Message {
    let chunks = format!("400\r\n{}\r\n", "x".repeat(1 << 10)).repeat(10);
    whole(&format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"
    ))
}

fn response(bytes: usize) -> Message {
    sized(RESPONSE, bytes)
}

/// An origin that sends the security fields itself: each must be found and left as it is.
fn response_with_fields() -> Message {
    let fields = SecurityHeaders::helmet_defaults().fields;
    let fields = fields
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect::<String>();
    sized(&format!("{RESPONSE}{fields}"), 120)
}
