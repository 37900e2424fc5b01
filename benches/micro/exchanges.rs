//! Whole requests through the engine, everything on.

use tollgate::policy::security::SecurityHeaders;

use crate::engine::Engine;
use crate::harness::Case;

const GET: &str = "GET /users/1 HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n";
/// What a browser sends.
const BROWSER: &str = "GET /users/1?page=2&sort=name HTTP/1.1\r\nHost: gate.test\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n\
    Origin: https://page.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/130.0.0.0 Safari/537.36\r\nAccept: application/json, text/plain, */*\r\nSec-Fetch-Site: cross-site\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://page.example/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de-DE,de;q=0.9,en;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";

const SERVICE: &str = r#"{ "route": "/users", "target": "http://127.0.0.1:9000/users" }"#;

pub fn cases() -> Vec<Case> {
    let small = response(120);
    vec![
        exchange("exchange: GET, 120 bytes", SERVICE, GET.into(), small.clone()),
        exchange("exchange: a browser's GET", SERVICE, BROWSER.into(), small.clone()),
        exchange("exchange: GET, 5,000 routes", &many_services(), GET.replace("users", "r4321"), small.clone()),
        exchange("exchange: GET, the origin sends the fields itself", SERVICE, GET.into(), response_with_fields()),
        exchange("exchange: GET, 100 KB", SERVICE, GET.into(), response(100 << 10)),
        exchange("exchange: GET, 10 KB in chunks of 1 KB", SERVICE, GET.into(), chunked_response()),
        exchange("exchange: POST, 10 KB", SERVICE, post(10 << 10), small.clone()),
        exchange("exchange: POST, 100 KB", SERVICE, post(100 << 10), small.clone()),
        exchange("exchange: POST, 10 KB in chunks of 1 KB", SERVICE, chunked_post(), small),
    ]
}

/// Every pass must bring the client as many bytes as the second one did; the first one still dials.
fn exchange(name: &'static str, services: &str, request: String, response: String) -> Case {
    let mut engine = Engine::new(services);
    engine.exchange(request.as_bytes(), response.as_bytes());
    let expected = engine.exchange(request.as_bytes(), response.as_bytes());
    assert!(expected > response.len() / 2, "{name}: {expected} bytes came out");
    Case::new(name, move || {
        let out = engine.exchange(request.as_bytes(), response.as_bytes());
        assert!(out == expected, "{out} bytes came out, not {expected}");
    })
}

fn many_services() -> String {
    let service =
        |index| format!("{{ \"route\": \"/r{index:04}\", \"target\": \"http://127.0.0.1:9000/r{index:04}\" }}");
    (0..5000).map(service).collect::<Vec<_>>().join(",")
}

const RESPONSE: &str = "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n";

fn response(bytes: usize) -> String {
    format!("{RESPONSE}Content-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
}

/// An origin that sends the security fields itself: each must be found and left as it is.
fn response_with_fields() -> String {
    let fields = SecurityHeaders::helmet_defaults().fields;
    let fields = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect::<String>();
    format!("{RESPONSE}{fields}Content-Length: 120\r\n\r\n{}", "x".repeat(120))
}

fn chunks() -> String {
    format!("{}0\r\n\r\n", format!("400\r\n{}\r\n", "x".repeat(1 << 10)).repeat(10))
}

fn chunked_response() -> String {
    format!("{RESPONSE}Transfer-Encoding: chunked\r\n\r\n{}", chunks())
}

fn post(bytes: usize) -> String {
    format!("POST /users/1 HTTP/1.1\r\nHost: gate.test\r\nContent-Length: {bytes}\r\n\r\n{}", "y".repeat(bytes))
}

fn chunked_post() -> String {
    format!("POST /users/1 HTTP/1.1\r\nHost: gate.test\r\nTransfer-Encoding: chunked\r\n\r\n{}", chunks())
}
