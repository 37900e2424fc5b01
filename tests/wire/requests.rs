//! What a client may say: RFC 9110 and RFC 9112, row by row.

use super::rows::*;

const H: &str = "Host: gate\r\n";

#[track_caller]
fn refuse(row: &str, status: u16, client: impl AsRef<[u8]>) {
    Requests::default().check(row, client, &[reply(status)], true);
}

#[track_caller]
fn pass(row: &str, expect: Expect, client: impl AsRef<[u8]>) {
    Requests::default().check(row, client, &[expect], false);
}

#[test]
fn row_02_line_ends_are_crlf() {
    for (n, head) in [
        "GET /auth HTTP/1.1\nHost: gate\r\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\n\n",
        "GET /auth HTTP/1.1\rHost: gate\r\n\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\r\n",
        "GET /auth HTTP/1.1\r\nHost: gate\r\nA: b\rC: d\r\n\r\n",
        "GET /auth HTTP/1.1\r\r\nHost: gate\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        refuse(&format!("2.{n}"), 400, head);
    }
}

#[test]
fn row_03_one_empty_line_before_a_request_is_ignored() {
    pass("3", get(), format!("\r\nGET /auth HTTP/1.1\r\n{H}\r\n"));
    refuse("3 two", 400, format!("\r\n\r\nGET /auth HTTP/1.1\r\n{H}\r\n"));
    refuse("3 LF", 400, format!("\nGET /auth HTTP/1.1\r\n{H}\r\n"));
}
