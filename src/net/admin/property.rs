//! Property of the admin listener's requests, for the fuzz target.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a property that does not hold panics"
)]

use super::facts::{ConfigFacts, Facts, GatewayState, Progress};
use super::paths::{AdminCommand, Answer, answer};
use super::request::{Access, Received, receive};
use crate::http::head::{FieldTable, HeadScan};
use crate::limits::ADMIN_RESPONSE_BYTES;
use crate::policy::auth::json::Json;
use crate::proxy::Proxy;
use crate::time::{Duration, UnixTime};

/// Arbitrary bytes from a client: the same commands whole and in pieces, none over TCP, and bounded
/// answers that are text or JSON. The first byte chooses access and progress, the second the length
/// of the pieces.
pub(crate) fn admin(bytes: &[u8]) {
    let [kind, piece, bytes @ ..] = bytes else {
        return;
    };
    let access = [Access::Commands, Access::ReadOnly][usize::from(kind & 1)];
    let progress = [Progress::Running, Progress::Reloading, Progress::Stopping];
    let progress = progress[usize::from(kind >> 1) % progress.len()];
    let whole = in_pieces(bytes, bytes.len().max(1), access, progress);
    let pieces = in_pieces(bytes, usize::from(*piece) + 1, access, progress);
    let commands = |all: &[Answer]| all.iter().filter_map(|one| one.command).collect::<Vec<_>>();
    assert_eq!(commands(&whole), commands(&pieces), "a command by its cuts");
    if access == Access::ReadOnly {
        assert_eq!(commands(&whole), [], "a command over TCP");
    }
    if progress != Progress::Running {
        assert!(!commands(&whole).contains(&AdminCommand::Reload));
    }
    for response in whole.iter().filter_map(|one| one.response.as_ref()) {
        assert!(response.body.len() <= ADMIN_RESPONSE_BYTES, "{response:?}");
        if response.kind == "application/json" {
            let body = Json::parse(response.body.as_bytes());
            assert!(body.is_some(), "{response:?}");
        }
    }
}

/// Answers to the bytes in pieces of one length.
fn in_pieces(bytes: &[u8], piece: usize, access: Access, progress: Progress) -> Vec<Answer> {
    let text = br#"[ { "route": "/a", "target": "http://127.0.0.1:9" } ]"#;
    let read = |_: &std::path::Path| Err(std::io::ErrorKind::NotFound.into());
    let config = crate::config::load(text, "a.json", &|_: &str| None, &read);
    let proxy = Proxy::new(config.expect("it is valid").settings, 1);
    let state = GatewayState {
        proxy: &proxy,
        facts: &no_facts,
        is_up: &|route| (route == "/a").then_some(true),
        progress,
        is_upgrading: false,
    };
    let cuts = (piece..bytes.len()).step_by(piece).collect::<Vec<_>>();
    let found = answers(bytes, &cuts, access, &state);
    found.into_iter().map(|(answer, _)| answer).collect()
}

/// Answers to the requests of a connection whose bytes come in parts that end at `cuts`, and whether
/// the connection stays open behind each. The last answer is that to a request which ends the
/// connection, if there is one.
pub(super) fn answers(
    bytes: &[u8],
    cuts: &[usize],
    access: Access,
    state: &GatewayState<'_>,
) -> Vec<(Answer, bool)> {
    let hosts = ["status.lan".to_owned()];
    let (mut scan, mut table) = (HeadScan::default(), FieldTable::default());
    let (mut start, mut found) = (0, Vec::new());
    for &cut in cuts.iter().chain([&bytes.len()]) {
        while start < cut {
            match receive(&bytes[start..cut], &mut scan, &mut table, access, &hosts) {
                Received::Incomplete => break,
                Received::Refused(response) => {
                    found.push((response.into(), false));
                    return found;
                }
                Received::Request {
                    request,
                    head,
                    body,
                    keeps_alive,
                } => {
                    found.push((answer(&request, access, state), keeps_alive));
                    if !keeps_alive {
                        return found;
                    }
                    start += head + body;
                    scan = HeadScan::default();
                }
            }
        }
    }
    found
}

fn no_facts() -> Facts {
    Facts {
        now: UnixTime::default(),
        started: UnixTime::default(),
        config: ConfigFacts {
            path: String::new(),
            read_at: UnixTime::default(),
            reloads: 0,
            errors: None,
        },
        longest_turn: Duration::ZERO,
        turns_per_10_s: 0,
        dropped_lines: 0,
        memory_bound: 0,
        listeners: Vec::new(),
        certificates: Vec::new(),
        orders: Vec::new(),
    }
}
