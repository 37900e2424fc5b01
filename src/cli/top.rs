//! `tollgate top`: the state of the running gateway as text for a terminal.

use std::fmt::Write;

use crate::policy::auth::json::Json;
use crate::sort;

/// Widest column, in characters.
const WIDTH_MAX: usize = 40;

/// Table of the screen: list of the state, then names of its cells with their headings.
type Table = (&'static str, &'static [(&'static str, &'static str)]);

const TABLES: [Table; 4] = [
    (
        "targets",
        &[
            ("state", "STATE"),
            ("service", "SERVICE"),
            ("target", "TARGET"),
            ("address", "ADDRESS"),
            ("busy", "BUSY"),
            ("idle", "IDLE"),
            ("reuse", "REUSE%"),
            ("since", "SINCE"),
            ("why", "WHY"),
        ],
    ),
    (
        "stores",
        &[
            ("state", "STATE"),
            ("store", "STORE"),
            ("since", "SINCE"),
            ("lastError", "LAST ERROR"),
        ],
    ),
    (
        "services",
        &[
            ("service", "SERVICE"),
            ("hosts", "HOSTS"),
            ("rate", "REQ/S"),
            ("p50", "P50 MS"),
            ("p95", "P95 MS"),
            ("p99", "P99 MS"),
            ("inFlight", "IN FLIGHT"),
            ("requests", "REQUESTS"),
            ("4xx", "4XX"),
            ("5xx", "5XX"),
            ("limited", "LIMITED"),
        ],
    ),
    (
        "recent",
        &[
            ("time", "FAILED AT"),
            ("status", "STATUS"),
            ("end", "END"),
            ("service", "SERVICE"),
            ("target", "TARGET"),
            ("id", "ID"),
            ("reason", "REASON"),
        ],
    ),
];

/// Returns the screen: a line about the process, then the tables, each with at most `rows` rows.
/// Targets and stores that are down and slow services come first.
pub fn render(state: &Json, rows: usize) -> String {
    let at = |group: &str, name: &str| shown(state.get(group).and_then(|group| group.get(name)));
    let megabytes = |name| {
        let bytes = at("memory", name).parse::<u64>().unwrap_or(0);
        bytes.div_ceil(1 << 20)
    };
    let mut out = format!(
        "tollgate {}, pid {}, up {} s; {} of {} MB; {} of {} files; longest turn {} ms\nconfiguration {} read at {}\n",
        shown(state.get("version")),
        shown(state.get("pid")),
        shown(state.get("uptime")),
        megabytes("now"),
        megabytes("bound"),
        at("descriptors", "used"),
        at("descriptors", "limit"),
        at("loop", "longestTurnMs"),
        at("config", "path"),
        at("config", "readAt"),
    );
    let error = state
        .get("config")
        .and_then(|config| config.get("lastError"));
    if let Some(error) = error.and_then(Json::text) {
        out.push_str("THE LAST RELOAD FAILED:\n");
        for line in error.lines() {
            out.push_str(&plain(line));
            out.push('\n');
        }
    }
    for (name, columns) in TABLES {
        let Some(Json::List(items)) = state.get(name) else {
            continue;
        };
        let key = |item: &Json| match name {
            "targets" | "stores" => u64::from(shown(item.get("state")) == "up"),
            "services" => {
                let slowness = shown(item.get("p99")).parse::<u64>();
                u64::MAX.saturating_sub(slowness.unwrap_or(0))
            }
            _ => 0,
        };
        let keys = items.iter().map(key).collect::<Vec<_>>();
        // Sorting is stable, so that the rest keeps its order.
        let order = sort::order(keys.len(), &|one, other| {
            keys.get(one).cmp(&keys.get(other))
        });
        let items = order.iter().filter_map(|place| items.get(*place));
        // The supervisor, where workers count, is no store of the configuration.
        let items =
            items.filter(|item| item.get("store").and_then(Json::text) != Some("@supervisor"));
        let items = items.collect::<Vec<_>>();
        if !items.is_empty() {
            out.push('\n');
            table(&items, columns, rows, &mut out);
        }
    }
    out
}

fn table(items: &[&Json], columns: &[(&str, &str)], rows: usize, out: &mut String) {
    let shown_rows = items.iter().take(rows).map(|item| {
        let cells = columns.iter().map(|(name, _)| shown(item.get(name)));
        let mut cells = cells.collect::<Vec<_>>();
        // Nothing stands behind the last column, which says why: it is shown whole.
        if let (Some(cell), Some((name, _))) = (cells.last_mut(), columns.last())
            && let Some(text) = item.get(name).and_then(Json::text)
        {
            *cell = plain(text);
        }
        cells
    });
    let heading = columns.iter().map(|(_, heading)| (*heading).to_owned());
    let lines = core::iter::once(heading.collect())
        .chain(shown_rows)
        .collect::<Vec<Vec<String>>>();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths = (0..columns.len()).map(width).collect::<Vec<_>>();
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell:width$}  ");
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    let left_out = items.len().saturating_sub(rows);
    if left_out > 0 {
        let _ = writeln!(out, "and {left_out} more");
    }
}

/// Returns a value as it is shown, cut to the widest column.
fn shown(value: Option<&Json>) -> String {
    match value {
        Some(Json::Text(text)) => plain(text).chars().take(WIDTH_MAX).collect(),
        Some(Json::Whole(number)) => number.to_string(),
        Some(Json::Real(number)) => format!("{number:.1}"),
        _ => String::new(),
    }
}

/// Replaces what could be an escape sequence of the terminal.
fn plain(text: &str) -> String {
    let safe = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(safe).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_screen_puts_trouble_first_and_no_escape_sequence_through() {
        let text = r#"{ "version": "1", "pid": 7, "uptime": 60, "memory": { "now": 1048577, "bound": 9000000 },
            "descriptors": { "used": 9, "limit": 1024 }, "loop": { "longestTurnMs": 3 },
            "config": { "path": "t.json", "readAt": "now", "lastError": "bad\nworse\u001b[2J" },
            "targets": [ { "state": "up", "service": "/a" }, { "state": "up", "service": "/b" },
                         { "state": "down", "service": "/c", "why": "status 503" } ],
            "services": [ { "service": "/quick", "p99": 3, "rate": 0.5 }, { "service": "/slow", "p99": 4096, "rate": 12 } ],
            "recent": [] }"#;
        let screen = render(&Json::parse(text.as_bytes()).expect("JSON"), 2);
        let lines = screen.lines().collect::<Vec<_>>();
        assert_eq!(
            lines[0],
            "tollgate 1, pid 7, up 60 s; 2 of 9 MB; 9 of 1024 files; longest turn 3 ms"
        );
        assert_eq!(lines[2..5], ["THE LAST RELOAD FAILED:", "bad", "worse?[2J"]);
        assert!(lines[6].starts_with("STATE  SERVICE  TARGET  ADDRESS "));
        assert!(lines[7].starts_with("down   /c ") && lines[7].ends_with(" status 503"));
        assert_eq!(lines[8..10], ["up     /a", "and 1 more"]);
        let slowest = lines[12].split_whitespace().collect::<Vec<_>>();
        assert_eq!(slowest, ["/slow", "12", "4096"], "{screen}");
        assert!(!screen.contains('\u{1b}') && !screen.contains("FAILED AT"));
    }

    /// Limits of a store that is down may count here alone: then no request fails, and no other table shows it.
    #[test]
    fn stores_are_shown_where_there_are_any() {
        let text = r#"{ "stores": [
            { "store": "main", "url": "redis://b", "state": "up", "since": "noon", "lastError": null, "counts": 7 },
            { "store": "spare", "url": "redis://c", "state": "down", "since": "one", "lastError": "connection refused", "counts": 0 } ] }"#;
        let screen = render(&Json::parse(text.as_bytes()).expect("JSON"), 2);
        let rows = "\nSTATE  STORE  SINCE  LAST ERROR\ndown   spare  one    connection refused\nup     main   noon\n";
        assert!(screen.ends_with(rows), "{screen}");
        let own = br#"{ "stores": [ { "store": "@supervisor", "state": "up" } ] }"#;
        let screen = render(&Json::parse(own).expect("JSON"), 2);
        assert!(!screen.contains("STORE"), "{screen}");
    }

    #[test]
    fn the_reason_of_a_failure_is_shown_whole_and_its_id_for_why() {
        let reason = "x".repeat(100);
        let id = "0123456789abcdef0123456789abcdef";
        let text = format!(r#"{{ "recent": [ {{ "id": "{id}", "reason": "{reason}\u001b" }} ] }}"#);
        let screen = render(&Json::parse(text.as_bytes()).expect("JSON"), 2);
        assert!(screen.ends_with(&format!("{id}  {reason}?\n")), "{screen}");
    }
}
