//! Allocations of the engine: a plain request on a kept-alive connection makes none.

use allocation_counter::measure;

use super::traffic::Traffic;

/// Rounds before the count. In these rounds every slot of the timer wheel is used several times,
/// the log is written a few times, and the window of the rate limit ends.
const WARM_UP: usize = 4000;
const ROUNDS: usize = 100;

const GET: &str =
    "GET /users/1 HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n";
const BROWSER: &str = "GET /users/1?page=2&sort=name HTTP/1.1\r\nHost: gate.test\r\nConnection: keep-alive\r\n\
    sec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n\
    Origin: https://page.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) \
    Chrome/130.0.0.0 Safari/537.36\r\nAccept: application/json, text/plain, */*\r\nSec-Fetch-Site: cross-site\r\n\
    Sec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\nReferer: https://page.example/\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\nAccept-Language: de-DE,de;q=0.9,en;q=0.8\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\r\n";
const PREFLIGHT: &str = "OPTIONS /users/1 HTTP/1.1\r\nHost: gate.test\r\nOrigin: https://page.example\r\n\
    Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: content-type, x-token\r\n\r\n";
const RESPONSE: &str =
    "HTTP/1.1 200 OK\r\nDate: Tue, 24 Nov 2026 12:00:00 GMT\r\nContent-Type: application/json\r\n";

/// Returns a configuration with all features on, and limits that no client reaches. `more` are
/// further keys.
fn open(more: &str) -> String {
    format!(
        "{{ \"rateLimit\": {{ \"requests\": 1000000000 }}, {more}
           \"services\": [ {{ \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000/users\" }} ] }}"
    )
}

/// Returns a head that announces a body of `bytes`, and the body.
fn sized(head: &str, bytes: usize) -> String {
    format!("{head}Content-Length: {bytes}\r\n\r\n{}", "x".repeat(bytes))
}

/// Returns a head and ten chunks of 1 KB.
fn chunked(head: &str) -> String {
    let chunks = format!("400\r\n{}\r\n", "x".repeat(1 << 10)).repeat(10);
    format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

/// Returns the number of allocations in the counted rounds with `clients` clients.
fn count(config: &str, clients: usize, request: &str, response: &str, status: [u8; 3]) -> u64 {
    let mut traffic = Traffic::new(config, clients);
    let mut rounds = |times| {
        for _ in 0..times {
            traffic.round(request.as_bytes(), response.as_bytes(), status);
        }
    };
    rounds(WARM_UP);
    measure(|| rounds(ROUNDS)).count_total
}

#[track_caller]
fn assert_none(config: &str, request: &str, response: &str, status: [u8; 3]) {
    assert_eq!(
        count(config, 1, request, response, status),
        0,
        "allocations in {ROUNDS} requests"
    );
}

#[test]
fn a_get() {
    assert_none(&open(""), GET, &sized(RESPONSE, 120), *b"200");
}

#[test]
fn a_browsers_get() {
    assert_none(&open(""), BROWSER, &sized(RESPONSE, 120), *b"200");
}

#[test]
fn a_browsers_get_in_a_json_log() {
    assert_none(
        &open("\"accessLog\": \"json\","),
        BROWSER,
        &sized(RESPONSE, 120),
        *b"200",
    );
}

#[test]
fn a_head() {
    let response = format!("{RESPONSE}Content-Length: 120\r\n\r\n");
    assert_none(&open(""), &GET.replace("GET", "HEAD"), &response, *b"200");
}

#[test]
fn a_sized_post() {
    let request = sized("POST /users/1 HTTP/1.1\r\nHost: gate.test\r\n", 10 << 10);
    assert_none(&open(""), &request, &sized(RESPONSE, 120), *b"200");
}

#[test]
fn chunks_both_ways() {
    let request = chunked("POST /users/1 HTTP/1.1\r\nHost: gate.test\r\n");
    assert_none(&open(""), &request, &chunked(RESPONSE), *b"200");
}

#[test]
fn an_options_that_the_gateway_answers() {
    assert_none(&open(""), PREFLIGHT, "", *b"204");
}

#[test]
fn no_route() {
    assert_none(&open(""), &GET.replace("users", "none"), "", *b"404");
}

/// A limit of 0 requests cannot be configured, so the only allowed request is used before the
/// rounds.
#[test]
fn too_many_requests() {
    let config = open("").replace(
        "\"requests\": 1000000000",
        "\"requests\": 1, \"window\": \"24h\"",
    );
    let mut traffic = Traffic::new(&config, 1);
    traffic.round(GET.as_bytes(), sized(RESPONSE, 120).as_bytes(), *b"200");
    let mut rounds = |times| {
        for _ in 0..times {
            traffic.round(GET.as_bytes(), b"", *b"429");
        }
    };
    rounds(WARM_UP);
    assert_eq!(
        measure(|| rounds(ROUNDS)).count_total,
        0,
        "allocations in {ROUNDS} requests"
    );
}

/// With many requests in flight, buffers and upstream connections change their users.
#[test]
fn eight_in_flight() {
    assert_eq!(
        count(&open(""), 8, BROWSER, &chunked(RESPONSE), *b"200"),
        0,
        "allocations in {ROUNDS} rounds"
    );
}

/// Every strategy chooses among several targets without an allocation.
#[test]
fn balanced_gets() {
    for strategy in ["round-robin", "least-connections", "random-two", "ip-hash"] {
        let config = open("").replace(
            r#""target": "http://127.0.0.1:9000/users""#,
            &format!(
                r#""targets": ["http://10.0.0.1/a", "http://10.0.0.2/b", "http://10.0.0.3"], "balance": "{strategy}""#
            ),
        );
        assert!(config.contains(strategy));
        assert_eq!(
            count(&config, 4, GET, &sized(RESPONSE, 120), *b"200"),
            0,
            "{strategy}: allocations in {ROUNDS} rounds"
        );
    }
}

#[test]
fn the_counter_counts() {
    assert_eq!(
        measure(|| drop(std::hint::black_box(Vec::<u8>::with_capacity(1)))).count_total,
        1
    );
}
