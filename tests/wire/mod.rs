//! Protocol as tables: the bytes of a client or an upstream, and the required result. Each row has
//! the number and the text of the requirement, or the name of the program that violated it. Each
//! row is run whole, byte by byte, and cut in two at every byte; the result must always be the
//! same.
//!
//! `rows` runs the rows, and `kept` stores their bytes for readers of other projects. The strict
//! reference parser replaces the upstream: bytes that it cannot read fail the row.

mod bugs;
mod kept;
mod paths;
mod requests;
mod responses;
mod rows;
mod tokenizer;

/// Rows that need more than bytes, with the places of their tests.
const ELSEWHERE: [(u32, &str, &str); 3] = [
    (
        73,
        include_str!("../engine/tunnels.rs"),
        "a_megabyte_each_way_through_small_reads",
    ),
    (
        80,
        include_str!("../loopback/traffic.rs"),
        "a_whole_reply_reaches_a_client_that_is_still_sending",
    ),
    (
        84,
        include_str!("../pipes.rs"),
        "our_close_notify_reaches_the_server_once",
    ),
];

/// Each of the first 85 rows of docs/http.md has a test with its number.
#[test]
fn every_row_has_a_test() {
    let sources = [include_str!("requests.rs"), include_str!("responses.rs")].concat();
    let mut rows = Vec::new();
    for line in sources.lines() {
        let Some(name) = line.strip_prefix("fn row") else {
            continue;
        };
        let numbers: Vec<u32> = name
            .split(['_', '('])
            .filter_map(|word| word.parse().ok())
            .collect();
        match numbers[..] {
            [first, last, ..] if name.contains("_to_") => rows.extend(first..=last),
            _ => rows.extend(numbers),
        }
    }
    for (row, source, name) in ELSEWHERE {
        assert!(
            source.contains(&format!("fn {name}()")),
            "row {row}: {name} is gone"
        );
        rows.push(row);
    }
    let missing: Vec<u32> = (1..=85).filter(|row| !rows.contains(row)).collect();
    assert!(missing.is_empty(), "rows without a test: {missing:?}");
}
