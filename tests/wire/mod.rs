//! The protocol as tables: what a client or an upstream says, and what must come of it. Each row bears the number and the
//! words of the requirement, or the name of the peer that got it wrong, and is run whole, byte by byte and cut in two at
//! every byte; whatever the cut, the same must come of it.
//!
//! `rows` runs them, `kept` leaves their bytes for the readers of other people. The strict reference parser stands in for the origin: bytes that it cannot read fail the row.

mod bugs;
mod kept;
mod paths;
mod requests;
mod responses;
mod rows;
mod tokenizer;

/// Rows that need more than bytes: where their tests are.
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

/// Each of the first 85 rows of docs/http.md has a test that bears its number.
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
