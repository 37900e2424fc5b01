//! The state of the gateway: `/state.json`, and the status page.
//!
//! Both are written by the same calls. The page has a script, which asks for `/state.json` and puts
//! its values into the same tables. Without it the page stays as it was served.

use core::net::IpAddr;

use super::facts::{Facts, GatewayState, ProcessFacts};
use super::sections::{List, SECTIONS, Section};
use crate::acme::identifier::listed;
use crate::limits::{PAGE_ROW_BYTES, SCRAPE_PIECE_BYTES};
use crate::observe::date::DateCache;
use crate::observe::report::{Cell, Form, Rows, html, object};
use crate::proxy::Proxy;
use crate::proxy::metrics::Piece;
use crate::proxy::overview::ignored_forwarder;
use crate::proxy::tables::Tables;
use crate::time::UnixTime;

/// Value of `Content-Security-Policy` of the page: its own script and style, by their hashes, and
/// requests to its own origin.
pub(in crate::net) const POLICY: &str = "default-src 'none'; script-src 'sha256-55qcqxv1ZI5FbWk4plncOeVI/MSAXtlYWLHRJRSlJUc='; style-src 'sha256-duEdHPPQ4xHjShSedTxIRduFYqkuCXSgSe/qgnP6MZ4='; connect-src 'self'";

const STYLE: &str = include_str!("page/style.css");
/// Characters of the errors of a reload on the page.
const PAGE_ERRORS: usize = 400;

const SCRIPT: &str = include_str!("page/script.js");

/// The state that is being written.
pub(super) struct State {
    is_page: bool,
    facts: Facts,
    /// True if the facts of the process are written.
    is_begun: bool,
    tables: Tables,
    rows: Rows,
    /// Bytes that rows of the sections to come may take.
    room: usize,
    section: usize,
    /// Next of the tables of the section; `None`: its heading is not written.
    table: Option<usize>,
}

impl State {
    /// Begins to write the state. `is_page`: as a page, else as JSON.
    pub(super) fn new(state: &GatewayState<'_>, is_page: bool) -> State {
        let room = if is_page { PAGE_ROW_BYTES } else { usize::MAX };
        State {
            is_page,
            facts: (state.facts)(),
            is_begun: false,
            tables: Tables::new(state.proxy, is_page),
            rows: Rows::new(Form::Json, room),
            room,
            section: 0,
            table: None,
        }
    }

    /// Returns the bytes that the rows of a section may take: on the page, half of what is left, so
    /// that those behind it have some, too.
    fn share(&self, total: usize) -> usize {
        match self.is_page && self.section.saturating_add(1) < SECTIONS.len() && total > 0 {
            true => self.room / 2,
            false => self.room,
        }
    }

    /// Returns the number of rows of a section.
    fn len(&self, proxy: &Proxy, section: &Section) -> usize {
        let lists = section.on_page.iter().map(|list| match *list {
            List::Engine(table) => Tables::len(proxy, table),
            List::Listeners => self.facts.listeners.len(),
            List::Certificates => self.facts.certificates.len(),
            List::Orders => self.facts.orders.len(),
        });
        lists.sum()
    }

    fn form(&self, section: &Section) -> Form {
        if self.is_page {
            Form::Html(section.columns)
        } else {
            Form::Json
        }
    }

    /// Appends the next piece.
    pub(super) fn write(&mut self, state: &GatewayState<'_>, out: &mut Vec<u8>) -> Piece {
        if !core::mem::replace(&mut self.is_begun, true) {
            let forwarder = ignored_forwarder(state.proxy);
            let values = Values::new(&self.facts, forwarder);
            if self.is_page {
                values.write_page(out);
            } else {
                values.write_json(out);
            }
        }
        while let Some(section) = SECTIONS.get(self.section) {
            if out.len() >= SCRAPE_PIECE_BYTES {
                return Piece::More;
            }
            let total = self.len(state.proxy, section);
            if self.table.is_none() {
                open(section, self.is_page.then_some(total), out);
                self.rows = Rows::new(self.form(section), self.share(total));
            }
            let at = *self.table.get_or_insert(0);
            let tables = if self.is_page {
                section.on_page
            } else {
                section.in_json
            };
            let Some(table) = tables.get(at) else {
                if self.is_page {
                    close(&self.rows, total, out);
                } else {
                    out.push(b']');
                }
                self.room = self.room.saturating_sub(self.rows.used());
                self.section = self.section.saturating_add(1);
                self.table = None;
                continue;
            };
            let written = match *table {
                List::Engine(table) => {
                    let line = (&mut self.rows, &mut *out);
                    self.tables.write(state.proxy, table, line)
                }
                List::Listeners => write_listeners(&self.facts, &mut self.rows, out),
                List::Certificates => write_certificates(&self.facts, &mut self.rows, out),
                List::Orders => write_orders(&self.facts, &mut self.rows, out),
            };
            match written {
                Piece::Last => self.table = Some(at.saturating_add(1)),
                other => return other,
            }
        }
        let end = if self.is_page {
            ["</main>\n<script>", SCRIPT, "</script>\n</body></html>\n"]
        } else {
            ["}\n", "", ""]
        };
        for part in end {
            out.extend_from_slice(part.as_bytes());
        }
        Piece::Last
    }
}

/// Writes the rows of the listeners, of which there are few.
fn write_listeners(facts: &Facts, rows: &mut Rows, out: &mut Vec<u8>) -> Piece {
    for listener in &facts.listeners {
        let (open, counters) = (listener.open, listener.counters);
        let sum = |counts: &[u64]| {
            counts
                .iter()
                .fold(0, |sum: u64, it| sum.saturating_add(*it))
        };
        let cells = [
            ("listener", Cell::Text(&listener.address)),
            ("active", Cell::Number(open.active)),
            ("idle", Cell::Number(open.idle)),
            ("handshake", Cell::Number(open.handshake)),
            ("accepted", Cell::Number(counters.accepted)),
            ("refused", Cell::Number(sum(&counters.refused))),
            (
                "handshakes",
                Cell::Number(sum(counters.handshakes.as_flattened())),
            ),
            ("failedHandshakes", Cell::Number(counters.failed_handshakes)),
        ];
        rows.row(&cells, out);
    }
    Piece::Last
}

/// Writes the rows of the certificates, those that end first at the top.
fn write_certificates(facts: &Facts, rows: &mut Rows, out: &mut Vec<u8>) -> Piece {
    let mut dates = DateCache::new();
    for (name, end) in &facts.certificates {
        let days = end.as_secs().saturating_sub(facts.now.as_secs()) / 86_400;
        let date = format!("{}Z", String::from_utf8_lossy(dates.rfc3339(*end)));
        let cells = [
            ("name", Cell::Text(name)),
            ("daysLeft", Cell::Number(days)),
            ("ends", Cell::Text(&date)),
        ];
        rows.row(&cells, out);
    }
    Piece::Last
}

/// Writes the rows of the certificates that are ordered from an authority.
fn write_orders(facts: &Facts, rows: &mut Rows, out: &mut Vec<u8>) -> Piece {
    let mut dates = DateCache::new();
    let mut date = |time: Option<UnixTime>| {
        time.map(|time| format!("{}Z", String::from_utf8_lossy(dates.rfc3339(time))))
    };
    for order in &facts.orders {
        let (next, ends) = (date(order.next), date(order.not_after));
        let cells = [
            ("names", Cell::Text(&listed(&order.names))),
            ("state", Cell::Text(order.step)),
            ("next", Cell::from(next.as_deref())),
            ("ends", Cell::from(ends.as_deref())),
            ("problem", Cell::from(order.problem.as_deref())),
        ];
        rows.row(&cells, out);
    }
    Piece::Last
}

/// Writes what comes before the rows of a section. `total`: rows that it has, on a page. Without rows
/// the section is hidden.
fn open(section: &Section, total: Option<usize>, out: &mut Vec<u8>) {
    let Some(total) = total else {
        for part in [",\"", section.name, "\":["] {
            out.extend_from_slice(part.as_bytes());
        }
        return;
    };
    let hidden = if total == 0 { " hidden" } else { "" };
    let (name, title) = (section.name, section.title);
    let start = format!(
        "<section{hidden}><h2 id=\"{name}\">{title}</h2><div class=\"wide\" role=\"region\" aria-labelledby=\"{name}\" tabindex=\"0\">\
         <table data-s=\"{name}\"><thead><tr>"
    );
    out.extend_from_slice(start.as_bytes());
    for (column, heading) in section.columns.iter().zip(section.headings) {
        let cell = format!("<th scope=\"col\" data-k=\"{column}\">{heading}</th>");
        out.extend_from_slice(cell.as_bytes());
    }
    out.extend_from_slice(b"</tr></thead><tbody>\n");
}

/// Writes what comes behind the rows of a section on the page: how many found no room.
fn close(rows: &Rows, total: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"</tbody></table></div><p class=\"dim more\">");
    if rows.is_full() {
        let more = match total.saturating_sub(rows.written()) {
            0 => "and more".to_owned(),
            more => format!("and {more} more"),
        };
        out.extend_from_slice(more.as_bytes());
        out.extend_from_slice(b", see <a href=\"state.json\">/state.json</a>");
    }
    out.extend_from_slice(b"</p></section>\n");
}

/// Facts as they are written.
struct Values<'a> {
    facts: &'a Facts,
    process: ProcessFacts,
    now: String,
    started: String,
    read_at: String,
    /// Proxy whose `X-Forwarded-For` is ignored.
    forwarder: Option<String>,
}

impl Values<'_> {
    fn new(facts: &Facts, forwarder: Option<IpAddr>) -> Values<'_> {
        let mut dates = DateCache::new();
        let mut time = |at: UnixTime| format!("{}Z", String::from_utf8_lossy(dates.rfc3339(at)));
        Values {
            facts,
            process: ProcessFacts::read(),
            now: time(facts.now),
            started: time(facts.started),
            read_at: time(facts.config.read_at),
            forwarder: forwarder.map(|address| address.to_string()),
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let (facts, process) = (self.facts, &self.process);
        let uptime = facts.now.as_secs().saturating_sub(facts.started.as_secs());
        let front = [
            ("version", Cell::Text(env!("CARGO_PKG_VERSION"))),
            ("pid", Cell::Number(std::process::id().into())),
            ("now", Cell::Text(&self.now)),
            ("started", Cell::Text(&self.started)),
            ("uptime", Cell::Number(uptime)),
            ("logLinesDropped", Cell::Number(facts.dropped_lines)),
        ];
        let config = [
            ("path", Cell::Text(&facts.config.path)),
            ("readAt", Cell::Text(&self.read_at)),
            ("reloads", Cell::Number(facts.config.reloads)),
            ("lastError", facts.config.errors.as_deref().into()),
            ("ignoredForwarder", self.forwarder.as_deref().into()),
        ];
        let turns = [
            (
                "longestTurnMs",
                Cell::Number(facts.longest_turn.as_millis()),
            ),
            ("turnsPerSecond", Cell::Tenths(facts.turns_per_10_s)),
        ];
        let memory = [
            ("now", Cell::Number(process.resident_bytes)),
            ("bound", Cell::Number(facts.memory_bound as u64)),
        ];
        let descriptors = [
            ("used", Cell::Number(process.descriptors)),
            ("limit", Cell::Number(process.descriptors_max)),
        ];
        object(&front, out);
        // What follows are its members, too.
        out.pop();
        for (name, cells) in [
            ("config", &config[..]),
            ("loop", &turns),
            ("memory", &memory),
            ("descriptors", &descriptors),
        ] {
            for part in [",\"", name, "\":"] {
                out.extend_from_slice(part.as_bytes());
            }
            object(cells, out);
        }
    }

    fn write_page(&self, out: &mut Vec<u8>) {
        let (facts, process) = (self.facts, &self.process);
        let megabytes = |bytes: u64| format!("{} MB", bytes.div_ceil(1 << 20));
        let hidden = match facts.config.errors {
            Some(_) => "",
            None => " hidden",
        };
        let start = [
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>tollgate: status</title>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<style>",
            STYLE,
            "</style></head><body>\n<header><h1>tollgate ",
            env!("CARGO_PKG_VERSION"),
            "</h1><p class=\"dim\" id=\"live\" role=\"status\">The state at ",
            &self.now,
            ".</p></header>\n<main><div class=\"banner\" id=\"banner\" role=\"alert\"",
            hidden,
            "><strong>The last reload failed.</strong> The running configuration is the one before.<pre id=\"errors\">",
        ];
        for part in start {
            out.extend_from_slice(part.as_bytes());
        }
        let errors = facts.config.errors.as_deref().unwrap_or_default();
        let cut = errors.char_indices().nth(PAGE_ERRORS);
        let (shown, rest) = errors.split_at(cut.map_or(errors.len(), |(at, _)| at));
        html(shown, out);
        if !rest.is_empty() {
            out.extend_from_slice(b".. (see /state.json)");
        }
        out.extend_from_slice(b"</pre></div>\n<dl>");
        let memory = format!(
            "{} of at most {}",
            megabytes(process.resident_bytes),
            megabytes(facts.memory_bound as u64)
        );
        let files = format!("{} of {}", process.descriptors, process.descriptors_max);
        let turn = format!("{} ms", facts.longest_turn.as_millis());
        for (name, title, text) in [
            ("path", "Configuration", facts.config.path.as_str()),
            ("readAt", "read at", &self.read_at),
            ("started", "Started", &self.started),
            ("memory", "Memory", &memory),
            ("files", "Open files", &files),
            ("turn", "Longest turn of the event loop", &turn),
        ] {
            for part in ["<div><dt>", title, "</dt> <dd id=\"", name, "\">"] {
                out.extend_from_slice(part.as_bytes());
            }
            html(text, out);
            out.extend_from_slice(b"</dd></div>");
        }
        out.extend_from_slice(b"</dl>\n");
    }
}
