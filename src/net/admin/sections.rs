//! Sections of the state: which lists it has, and which columns the page shows.

use crate::proxy::tables::Table;

/// Part of the state with one list.
pub(super) struct Section {
    /// Name in JSON.
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Names of the cells on the page.
    pub(super) columns: &'static [&'static str],
    /// Headings of these columns.
    pub(super) headings: &'static [&'static str],
    pub(super) in_json: &'static [List],
    pub(super) on_page: &'static [List],
}

/// List of a section.
#[derive(Clone, Copy)]
pub(super) enum List {
    Engine(Table),
    Listeners,
    Certificates,
    Orders,
}

/// All sections, in the order of the page.
pub(super) static SECTIONS: [Section; 8] = [
    Section {
        name: "targets",
        title: "Targets",
        columns: &[
            "state", "service", "target", "address", "since", "why", "requests", "busy", "idle",
            "reuse",
        ],
        headings: &[
            "State", "Service", "Target", "Address", "Since", "Why", "Requests", "Busy", "Idle",
            "Reuse %",
        ],
        in_json: &[List::Engine(Table::Targets)],
        on_page: &[List::Engine(Table::Troubles), List::Engine(Table::Usable)],
    },
    Section {
        name: "services",
        title: "Services",
        columns: &[
            "service", "hosts", "methods", "match", "rate", "p50", "p95", "p99", "inFlight",
            "requests", "4xx", "5xx", "limited",
        ],
        headings: &[
            "Service",
            "Hosts",
            "Methods",
            "Match",
            "Requests/s",
            "p50 ms",
            "p95 ms",
            "p99 ms",
            "In flight",
            "Requests",
            "4xx",
            "5xx",
            "Limited",
        ],
        in_json: &[List::Engine(Table::Services)],
        on_page: &[List::Engine(Table::Services)],
    },
    Section {
        name: "certificates",
        title: "Certificates",
        columns: &["name", "daysLeft", "ends"],
        headings: &["File", "Days left", "Ends"],
        in_json: &[List::Certificates],
        on_page: &[List::Certificates],
    },
    Section {
        name: "orders",
        title: "Ordered certificates",
        columns: &["names", "state", "next", "ends", "problem"],
        headings: &["Names", "State", "Next order", "Ends", "Last problem"],
        in_json: &[List::Orders],
        on_page: &[List::Orders],
    },
    Section {
        name: "listeners",
        title: "Listeners",
        columns: &[
            "listener",
            "active",
            "idle",
            "handshake",
            "accepted",
            "refused",
            "handshakes",
            "failedHandshakes",
        ],
        headings: &[
            "Listener",
            "Active",
            "Idle",
            "In handshake",
            "Accepted",
            "Refused",
            "Handshakes",
            "Failed handshakes",
        ],
        in_json: &[List::Listeners],
        on_page: &[List::Listeners],
    },
    Section {
        name: "providers",
        title: "Auth providers",
        columns: &[
            "provider", "type", "good", "missing", "bad", "denied", "down",
        ],
        headings: &[
            "Provider", "Type", "Good", "Missing", "Bad", "Denied", "Down",
        ],
        in_json: &[List::Engine(Table::Providers)],
        on_page: &[List::Engine(Table::Providers)],
    },
    Section {
        name: "stores",
        title: "Stores",
        columns: &["state", "store", "url", "since", "lastError", "counts"],
        headings: &["State", "Store", "URL", "Since", "Last error", "Counts"],
        in_json: &[List::Engine(Table::Stores)],
        on_page: &[List::Engine(Table::Stores)],
    },
    Section {
        name: "recent",
        title: "Last failures",
        columns: &[
            "time", "service", "target", "request", "client", "status", "end", "reason", "id",
        ],
        headings: &[
            "Time", "Service", "Target", "Request", "Client", "Status", "End", "Reason", "Id",
        ],
        in_json: &[List::Engine(Table::Recent)],
        on_page: &[List::Engine(Table::Recent)],
    },
];
