//! Costs of a hostile head in the engine, in steps (`tollgate::cost`), as a multiple of a plain
//! exchange.

use tollgate::cost::steps;
use tollgate::properties::cost::exchange_steps;
use tollgate::proxy::settings::Settings;

const CONFIG: &str = r#"{ "services": [ { "route": "/users", "target": "http://127.0.0.1:9000/users" } ], "trustedProxies": ["127.0.0.0/8", "10.0.0.0/8"],
    "limits": { "headBytes": 32768, "requestLine": 16384, "headers": 256 } }"#;
const PLAIN: &str =
    "GET /users/1 HTTP/1.1\r\nHost: gate.test\r\nUser-Agent: load/1\r\nAccept: */*\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok";

fn settings() -> Settings {
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    tollgate::config::load(CONFIG.as_bytes(), "budgets.json", &|_| None, &read)
        .expect("a configuration")
        .settings
}

fn cost(request: &str) -> u64 {
    exchange_steps(settings(), request.as_bytes(), OK.as_bytes(), usize::MAX)
}

/// Each head may cost a number of plain exchanges. All heads have about 15 KB, as many bytes as 190
/// plain requests.
#[test]
fn hostile_heads_cost_no_more_than_as_many_bytes_of_plain_ones() {
    let plain = cost(PLAIN);
    if steps() == 0 {
        return;
    }
    let with = |fields: String| format!("GET /users/1 HTTP/1.1\r\nHost: gate.test\r\n{fields}\r\n");
    let rows = [
        (
            "7,400 options of Connection",
            with(format!("Connection: {}close\r\n", "a,".repeat(7_400))),
            30,
        ),
        (
            "180 fields, 2,400 options of Connection",
            with(format!(
                "{}Connection: {}close\r\n",
                "a: x\r\n".repeat(180),
                "o0000,".repeat(2_400)
            )),
            31,
        ),
        (
            "180 fields, 60 options of Connection",
            with(format!(
                "{}Connection: {}close\r\n",
                "a: x\r\n".repeat(180),
                "o0000,".repeat(60)
            )),
            14,
        ),
        (
            "7,400 elements of Via",
            with(format!("Via: {}a\r\n", "a,".repeat(7_400))),
            44,
        ),
        (
            "15,000 commas",
            with(format!(
                "X-Forwarded-For: {}10.0.0.1\r\n",
                ",".repeat(15_000)
            )),
            45,
        ),
        (
            "1,600 trusted proxies",
            with(format!(
                "X-Forwarded-For: {}10.0.0.1\r\n",
                "10.0.0.1,".repeat(1_600)
            )),
            58,
        ),
        (
            "220 fields",
            with(
                "X-Some-Field: and what it has to say, at some length of fifty bytes\r\n"
                    .repeat(220),
            ),
            34,
        ),
        ("250 empty fields", with("a:\r\n".repeat(250)), 4),
        (
            "15,000 bytes of cookies",
            with(format!("Cookie: {}\r\n", "a=b; ".repeat(3_000))),
            30,
        ),
        (
            "5,000 escapes",
            format!(
                "GET /users/{} HTTP/1.1\r\nHost: gate.test\r\n\r\n",
                "%41".repeat(5_000)
            ),
            116,
        ),
        (
            "3,000 double escapes",
            format!(
                "GET /users/{} HTTP/1.1\r\nHost: gate.test\r\n\r\n",
                "%2541".repeat(3_000)
            ),
            132,
        ),
        (
            "7,500 segments",
            format!(
                "GET /users{} HTTP/1.1\r\nHost: gate.test\r\n\r\n",
                "/a".repeat(7_500)
            ),
            82,
        ),
        ("no line end", "G".repeat(15_000), 44),
        (
            "no field line",
            format!("GET /users/1 HTTP/1.1\r\n{}", "a".repeat(15_000)),
            44,
        ),
    ];
    for (name, request, budget) in rows {
        let cost = cost(&request);
        println!(
            "{name}: {:.1} plain exchanges for {} bytes, budget {budget}",
            cost as f64 / plain as f64,
            request.len()
        );
        assert!(
            cost <= budget * plain,
            "{name}: {cost} steps, more than {budget} plain exchanges of {plain}"
        );
    }
}
