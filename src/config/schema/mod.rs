//! The table of keys: name, type, bounds, default and one sentence for every key of the
//! configuration.
//!
//! The parser reads every key through this table: types, bounds and defaults stand here and nowhere
//! else, and so do the words "must be .." of an error and the names that a misspelled key is
//! compared with. A test fails when the parser does not read a key of the table. A JSON Schema and
//! a reference page can be written from [`ROOT`].
//!
//! Not here: rules that need more than one key, and what is inside a string (`values`).

mod acme;
mod auth;
pub(crate) mod bridges;
mod header_edits;
mod headers;
mod health;
pub mod json_schema;
mod kind;
mod limits;
mod listener;
mod matching;
mod replies;
mod services;
mod stores;
mod targets;
mod top;
pub(crate) mod units;

#[cfg(test)]
mod tests;

pub use self::acme::{ACME, ACME_EAB, LISTENER_ACME};
pub use self::auth::{API_KEY, BASIC, FORWARD, INTROSPECTION, JWT, PROVIDER_TYPE, PROVIDERS};
pub use self::headers::CORS;
pub use self::health::{HEALTH_CHECK, PASSIVE_HEALTH};
pub use self::kind::{Fallback, Key, Kind, Table};
pub use self::limits::{
    AUTH_FAILURES, LIMITS, RATE_KEY_EXPECTED, RATE_LIMIT, RECORD, SERVICE_LIMITS, TIMEOUTS,
};
pub use self::listener::{ADDRESS_EXPECTED, CERTIFICATE, LISTENER, LISTENER_TLS, NAME_EXPECTED};
pub use self::matching::MATCH;
pub use self::replies::{MAINTENANCE, NETWORK_EXPECTED, REDIRECT, RESPOND};
pub use self::services::SERVICE;
pub use self::stores::STORE;
pub use self::targets::{STICKY, TARGET, UPSTREAM_TLS};
pub use self::top::{ADMIN, ADMIN_EXPECTED, ROOT, TOP, WORKERS_EXPECTED};

/// Returns the key of this name, whatever its spelling, and where it stands, as words: the first place in the order
/// of the tables. A table that overrides one of the top level comes behind that.
fn home_of(name: &str) -> Option<(&'static str, String)> {
    let plain = bridges::plain(name);
    let mut homes = Vec::new();
    ROOT.tables(&mut |table| {
        let spelled = |key: &&Key| key.name.eq_ignore_ascii_case(&plain);
        if let Some(key) = table.keys.iter().find(spelled) {
            homes.push((key.name, table.name));
        }
    });
    let is_override = |home: &str| {
        home.strip_prefix("services[].")
            .is_some_and(|name| homes.iter().any(|(_, home)| *home == name))
    };
    let mut found = homes.iter().filter(|(_, home)| !is_override(home));
    let (key, home) = found.next()?;
    Some((*key, place_of(home)))
}

/// Returns true if another table has a key of exactly this name.
pub(crate) fn is_elsewhere(name: &str) -> bool {
    home_of(name).is_some_and(|(key, _)| key == name)
}

/// Returns the place of a table, by its name, as words.
fn place_of(table: &str) -> String {
    match table {
        "" | "top" => "the top level".to_owned(),
        place => match provider(place) {
            Some(_) => format!("a provider of \"type\": {place:?}"),
            None => format!("{place:?}"),
        },
    }
}

/// Returns the keys of a provider of this type.
pub(crate) fn provider(name: &str) -> Option<&'static Table> {
    PROVIDERS.into_iter().find(|table| table.name == name)
}

/// Returns the key at a path such as `services[].tls.ca`, where `[]` and a free name are written as
/// `[]` or left out.
pub fn find(path: &str) -> Option<&'static Key> {
    let mut table = &TOP;
    let mut names = path.split('.').peekable();
    while let Some(name) = names.next() {
        let key = table.key(name.trim_end_matches("[]"))?;
        if names.peek().is_none() {
            return Some(key);
        }
        let mut kind = &key.kind;
        while let Some(inner) = kind.items().or_else(|| kind.values()) {
            kind = inner;
        }
        table = kind.table()?;
    }
    None
}
