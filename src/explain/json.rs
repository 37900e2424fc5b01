//! Answer as JSON. Bytes are in base64: not all of them are text.

use super::Explanation;
use super::policies::shown;
use crate::observe::report::{Cell, Form, json, object, row};
use crate::policy::auth::base64;

/// Writes the answer.
pub(super) fn write(told: &Explanation) -> Vec<u8> {
    let mut out = b"{\"request\":".to_vec();
    let peer = shown(told.arrival.peer);
    let bytes = base64::encode(&told.arrival.bytes);
    let request = [("from", Cell::Text(&peer)), ("bytes", Cell::Text(&bytes))];
    object(&request, &mut out);
    verdict(told, &mut out);
    list("checks", told.checks.rows.iter(), &mut out, |check| {
        [
            ("name", Cell::Text(check.name)),
            ("verdict", Cell::Text(check.verdict.as_str())),
            ("text", Cell::Text(&check.text)),
        ]
    });
    list("targets", told.checks.targets.iter(), &mut out, |target| {
        [
            ("target", Cell::Text(&target.0)),
            ("text", Cell::Text(&target.1)),
        ]
    });
    list("notChosen", told.candidates.lost.iter(), &mut out, |lost| {
        [
            ("service", Cell::Text(&lost.0)),
            ("why", Cell::Text(&lost.1)),
        ]
    });
    list("asks", told.run.asked.iter(), &mut out, |provider| {
        [
            ("provider", Cell::Text(&provider.name)),
            ("type", Cell::Text(provider.kind.name())),
        ]
    });
    texts(
        "notes",
        told.arrival.notes.iter().map(String::as_str),
        &mut out,
    );
    texts(
        "notReached",
        told.checks.unreached.iter().copied(),
        &mut out,
    );
    let is_answered = told.status().is_some();
    let up = base64::encode(&told.run.up);
    let client = base64::encode(&told.for_client());
    for (name, text, is_there) in [
        (
            "upstreamBytes",
            &up,
            !told.run.up.is_empty() && !is_answered,
        ),
        ("clientBytes", &client, !client.is_empty()),
    ] {
        out.push(b',');
        json(name, &mut out);
        out.push(b':');
        match is_there {
            true => json(text, &mut out),
            false => out.extend_from_slice(b"null"),
        }
    }
    out.extend_from_slice(b"}\n");
    out
}

fn verdict(told: &Explanation, out: &mut Vec<u8>) {
    let status = told.status().map(|(status, _)| u64::from(status));
    let text = |text: &'_ str| (!text.is_empty()).then(|| text.to_owned());
    let (reason, end) = match status {
        Some(_) => (text(&told.reason), text(&told.end)),
        None => (text(&told.reason), None),
    };
    let url = told.url.as_deref().filter(|_| status.is_none());
    out.extend_from_slice(b",\"verdict\":");
    let cells = [
        ("status", Cell::from(status)),
        ("reason", Cell::from(reason.as_deref())),
        ("end", Cell::from(end.as_deref())),
        ("url", Cell::from(url)),
    ];
    object(&cells, out);
}

fn list<'a, T: 'a, const N: usize>(
    name: &str,
    items: impl Iterator<Item = &'a T>,
    out: &mut Vec<u8>,
    cells: impl Fn(&'a T) -> [(&'static str, Cell<'a>); N],
) {
    out.push(b',');
    json(name, out);
    out.extend_from_slice(b":[");
    for (at, item) in items.enumerate() {
        row(Form::Json, at == 0, &cells(item), out);
    }
    out.push(b']');
}

fn texts<'a>(name: &str, texts: impl Iterator<Item = &'a str>, out: &mut Vec<u8>) {
    out.push(b',');
    json(name, out);
    out.extend_from_slice(b":[");
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        json(text, out);
    }
    out.push(b']');
}
