//! States of several workers as that of one gateway.
//!
//! Numbers are added; latencies, the longest turn and the age are the largest, the days of a
//! certificate the least. A target is shown as the worker sees it that sees it down. Of the last
//! failures the newest of all workers stay.

use crate::observe::report::json;
use crate::policy::auth::json::Json;

/// Rows of `recent`, the newest at the front.
const RECENT: usize = 20;
/// Members that say which thing a row is about.
const IDENTITY: [&str; 11] = [
    "service", "hosts", "methods", "target", "address", "name", "listener", "provider", "type",
    "store", "names",
];

/// Facts that the supervisor knows itself.
pub(super) struct Own<'a> {
    pub(super) pid: u32,
    pub(super) reloads: u64,
    /// Lines about the last reload, if it failed.
    pub(super) error: Option<&'a str>,
    /// Number of ends of each worker.
    pub(super) ended: Vec<u64>,
    /// Processes of the workers that gave no answer in time.
    pub(super) silent: Vec<u32>,
}

/// Joins the states; each comes with the number of its worker.
pub(super) fn join(bodies: Vec<(usize, &str)>, own: &Own<'_>) -> String {
    let parsed = bodies.iter().filter_map(|(worker, body)| {
        let state = Json::parse(body.as_bytes())?;
        Some((*worker, state))
    });
    let parsed = parsed.collect::<Vec<_>>();
    let states = parsed.iter().map(|(_, state)| state).collect::<Vec<_>>();
    let mut out = b"{".to_vec();
    let Some(members) = states.first().and_then(|state| state.members()) else {
        return "{}\n".to_owned();
    };
    for (name, first) in members {
        let values = states.iter().filter_map(|state| state.get(name));
        let values = values.collect::<Vec<_>>();
        member(name, &mut out);
        match first {
            Json::List(_) if name == "recent" => recent(&values, &mut out),
            Json::List(_) => rows(&values, &mut out),
            Json::Object(_) if name == "config" => config(&values, own, &mut out),
            Json::Object(_) => flat(&values, &mut out),
            _ if name == "pid" => number(i64::from(own.pid), &mut out),
            _ => cell(name, &values, &mut out),
        }
    }
    member("workers", &mut out);
    out.push(b'[');
    for (place, (worker, state)) in parsed.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        let ended = own.ended.get(*worker).copied().unwrap_or_default();
        out.push(b'{');
        for (name, value) in [
            ("worker", i64::try_from(*worker).unwrap_or_default()),
            ("pid", whole(state.get("pid"))),
            ("uptime", whole(state.get("uptime"))),
            ("ended", i64::try_from(ended).unwrap_or(i64::MAX)),
        ] {
            member(name, &mut out);
            number(value, &mut out);
        }
        out.push(b'}');
    }
    out.push(b']');
    member("silentWorkers", &mut out);
    out.push(b'[');
    for (place, pid) in own.silent.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        number(i64::from(*pid), &mut out);
    }
    out.extend_from_slice(b"]}\n");
    String::from_utf8_lossy(&out).into_owned()
}

/// Writes the facts of the configuration: its reloads are the supervisor's.
fn config(values: &[&Json], own: &Own<'_>, out: &mut Vec<u8>) {
    out.push(b'{');
    for (name, value) in values
        .first()
        .and_then(|first| first.members())
        .unwrap_or_default()
    {
        member(name, out);
        match name.as_str() {
            "reloads" => number(i64::try_from(own.reloads).unwrap_or(i64::MAX), out),
            "lastError" => match own.error {
                Some(error) => json(error, out),
                None => out.extend_from_slice(b"null"),
            },
            _ => cell(name, &[value], out),
        }
    }
    out.push(b'}');
}

/// Writes the rows of all workers, those about one thing as one.
fn rows(lists: &[&Json], out: &mut Vec<u8>) {
    let mut groups: Vec<(String, Vec<&Json>)> = Vec::new();
    for row in lists.iter().flat_map(|list| items(list)) {
        let mut key = String::new();
        for name in IDENTITY {
            key.push('\0');
            key.push_str(row.get(name).and_then(Json::text).unwrap_or_default());
        }
        match groups.iter_mut().find(|(known, _)| *known == key) {
            Some((_, rows)) => rows.push(row),
            None => groups.push((key, vec![row])),
        }
    }
    out.push(b'[');
    for (place, (_, rows)) in groups.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        flat(rows, out);
    }
    out.push(b']');
}

/// Writes the newest failures.
fn recent(lists: &[&Json], out: &mut Vec<u8>) {
    let mut all = lists
        .iter()
        .flat_map(|list| items(list))
        .collect::<Vec<_>>();
    let time = |row: &Json| {
        row.get("time")
            .and_then(Json::text)
            .unwrap_or_default()
            .to_owned()
    };
    crate::sort::sort_by(&mut all, |one, other| time(other).cmp(&time(one)));
    out.push(b'[');
    for (place, row) in all.iter().take(RECENT).enumerate() {
        if place > 0 {
            out.push(b',');
        }
        flat(&[row], out);
    }
    out.push(b']');
}

/// Writes objects about one thing as one. What a worker says that sees it down goes first.
fn flat(values: &[&Json], out: &mut Vec<u8>) {
    let is_down = |value: &&&Json| {
        value
            .get("state")
            .and_then(Json::text)
            .is_some_and(|state| state != "up")
    };
    let first = values.iter().find(is_down).or(values.first());
    out.push(b'{');
    for (name, value) in first.and_then(|first| first.members()).unwrap_or_default() {
        member(name, out);
        let all = values.iter().filter_map(|value| value.get(name));
        let all = all.collect::<Vec<_>>();
        match value {
            Json::Whole(_) | Json::Real(_) => cell(name, &all, out),
            _ => cell(name, &[value], out),
        }
    }
    out.push(b'}');
}

/// Writes a value: a number of all workers, or what the first of them says.
fn cell(name: &str, values: &[&Json], out: &mut Vec<u8>) {
    match values.first() {
        Some(Json::Whole(_) | Json::Real(_)) => {
            let tenths = values.iter().map(|value| tenths(value));
            let joined = match name {
                "p50" | "p95" | "p99" | "longestTurnMs" | "uptime" | "reuse" => tenths.max(),
                "daysLeft" => tenths.min(),
                _ => tenths.reduce(i64::saturating_add),
            };
            let joined = joined.unwrap_or_default();
            number(joined / 10, out);
            if joined % 10 != 0 {
                out.push(b'.');
                number((joined % 10).abs(), out);
            }
        }
        Some(Json::Text(text)) => json(text, out),
        Some(Json::Flag(flag)) => out.extend_from_slice(if *flag { b"true" } else { b"false" }),
        _ => out.extend_from_slice(b"null"),
    }
}

fn items(list: &Json) -> &[Json] {
    match list {
        Json::List(items) => items,
        _ => &[],
    }
}

fn tenths(value: &Json) -> i64 {
    match value {
        Json::Whole(number) => number.saturating_mul(10),
        // Truncation: the value has one decimal.
        Json::Real(number) => (number * 10.0).round() as i64,
        _ => 0,
    }
}

fn whole(value: Option<&Json>) -> i64 {
    match value {
        Some(Json::Whole(number)) => *number,
        _ => 0,
    }
}

fn number(value: i64, out: &mut Vec<u8>) {
    let value = u64::try_from(value).unwrap_or_default();
    out.extend_from_slice(crate::digits::write(value, &mut [0; 20]));
}

fn member(name: &str, out: &mut Vec<u8>) {
    if !matches!(out.last(), None | Some(b'{' | b'[')) {
        out.push(b',');
    }
    json(name, out);
    out.push(b':');
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = r#"{"version":"1","pid":5,"uptime":9,"config":{"path":"/t","reloads":3,"lastError":null},
        "loop":{"longestTurnMs":7,"turnsPerSecond":1.5},
        "targets":[{"state":"up","service":"/a","target":"b:1","address":"1.1.1.1:1","since":"x","why":null,"requests":4}],
        "services":[{"service":"/a","hosts":null,"methods":null,"rate":0.5,"p99":4,"requests":4}],
        "certificates":[{"name":"c","daysLeft":9}],
        "recent":[{"time":"2026-01-01T00:00:03Z","id":"c"},{"time":"2026-01-01T00:00:01Z","id":"a"}]}"#;
    const TWO: &str = r#"{"version":"1","pid":6,"uptime":2,"config":{"path":"/t","reloads":1,"lastError":null},
        "loop":{"longestTurnMs":3,"turnsPerSecond":2.5},
        "targets":[{"state":"down","service":"/a","target":"b:1","address":"1.1.1.1:1","since":"y","why":"refused","requests":1},
                   {"state":"up","service":"/a","target":"b:1","address":"2.2.2.2:1","since":"x","why":null,"requests":2}],
        "services":[{"service":"/a","hosts":null,"methods":null,"rate":1.2,"p99":9,"requests":3}],
        "certificates":[{"name":"c","daysLeft":8}],
        "recent":[{"time":"2026-01-01T00:00:02Z","id":"b"}]}"#;

    fn own() -> Own<'static> {
        Own {
            pid: 1,
            reloads: 2,
            error: Some("bad \"x\""),
            ended: vec![0, 4],
            silent: vec![70, 80],
        }
    }

    #[test]
    fn states_become_one() {
        let text = join(vec![(0, ONE), (1, TWO)], &own());
        let state: serde_json::Value = serde_json::from_str(&text).expect(&text);
        assert_eq!((&state["pid"], &state["uptime"]), (&1.into(), &9.into()));
        assert_eq!(state["config"]["reloads"], 2);
        assert_eq!(state["config"]["lastError"], "bad \"x\"");
        assert_eq!(state["loop"]["longestTurnMs"], 7);
        assert_eq!(state["loop"]["turnsPerSecond"], 4);
        let target = &state["targets"][0];
        assert_eq!(
            (&target["state"], &target["why"]),
            (&"down".into(), &"refused".into())
        );
        assert_eq!(
            (&target["since"], &target["requests"]),
            (&"y".into(), &5.into())
        );
        assert_eq!(state["targets"][1]["requests"], 2);
        assert_eq!(state["services"][0]["rate"], 1.7);
        assert_eq!(state["services"][0]["p99"], 9);
        assert_eq!(state["certificates"][0]["daysLeft"], 8);
        let ids = state["recent"].as_array().expect("a list").iter();
        assert_eq!(
            ids.map(|row| row["id"].as_str().expect("a string"))
                .collect::<String>(),
            "cba"
        );
        assert_eq!(state["workers"][1]["ended"], 4);
        assert_eq!(state["workers"][1]["pid"], 6);
        assert_eq!(state["silentWorkers"], serde_json::json!([70, 80]));
    }

    #[test]
    fn what_is_no_state_is_left_out() {
        assert_eq!(join(vec![(0, "no"), (1, "")], &own()), "{}\n");
        assert!(join(vec![(0, "no"), (1, TWO)], &own()).contains("\"version\":\"1\""));
    }
}
