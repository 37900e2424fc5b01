//! `admin`: addresses of the admin listener, and the names that it is reached by.

use std::net::IpAddr;

use crate::limits::ADMIN_LISTENERS_MAX;
use crate::proxy::settings::TargetHost;

use super::listen::address::{self as listen, Purpose};
use crate::config::model::{AdminAccess, Listen, ListenAddress};
use crate::config::schema::units::digits;
use crate::config::schema::{ROOT, TOP};
use crate::config::syntax::document::{Node, Value};
use crate::config::syntax::located::Located;
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::config::values::host;

/// Reads the admin listener. `listeners`: whose addresses it cannot have.
pub(crate) fn compile(
    place: Option<&Located<'_>>,
    listeners: &[Listen],
    report: &mut Report<'_>,
) -> AdminAccess {
    let Some(place) = place.filter(|place| !place.is_false()) else {
        return AdminAccess::default();
    };
    if !matches!(place.node.value, Value::Object(_)) {
        return AdminAccess {
            addresses: addresses(place, listeners, report),
            hosts: Vec::new(),
        };
    }
    let Some(object) = place.object(report) else {
        return AdminAccess::default();
    };
    let hosts = object.get("hosts").map(|place| hosts(place, report));
    let listen = object.get("listen");
    if listen.is_none() {
        place.fail(
            report,
            r#""listen" is missing; add one such as "unix:/run/tollgate/admin.sock""#,
        );
    }
    AdminAccess {
        addresses: listen
            .map(|place| addresses(place, listeners, report))
            .unwrap_or_default(),
        hosts: hosts.unwrap_or_default(),
    }
}

/// Reads the admin listener of a file whose other keys do not matter.
pub(crate) fn alone(root: &Node, report: &mut Report<'_>) -> AdminAccess {
    let Value::Object(members) = &root.value else {
        // A list of services has no other key.
        return AdminAccess::default();
    };
    let kind = TOP.key("admin").map_or(&ROOT, |key| &key.kind);
    let admin = members.iter().find(|member| member.name == "admin");
    let place = admin.map(|member| Located {
        node: &member.node,
        path: "admin".to_owned(),
        kind,
    });
    compile(place.as_ref(), &[], report)
}

fn addresses(
    place: &Located<'_>,
    listeners: &[Listen],
    report: &mut Report<'_>,
) -> Vec<ListenAddress> {
    let items = match &place.node.value {
        Value::List(items) if items.is_empty() => {
            place.fail(
                report,
                "is empty; name at least one address, or false for none",
            );
            return Vec::new();
        }
        Value::List(items) if items.len() > ADMIN_LISTENERS_MAX => {
            let message = format!(
                "has {} addresses; at most {ADMIN_LISTENERS_MAX} can be listened on",
                items.len()
            );
            place.fail(report, message);
            return Vec::new();
        }
        Value::List(_) => place.list(report).unwrap_or_default(),
        _ => vec![place.clone()],
    };
    let mut found: Vec<(Located<'_>, ListenAddress)> = Vec::with_capacity(items.len());
    for item in items {
        let Value::Text(text) = &item.node.value else {
            item.mismatch(report);
            continue;
        };
        let parsed = match parse(text) {
            Ok(parsed) => parsed,
            Err(message) => {
                item.fail(report, message);
                continue;
            }
        };
        let listen = listeners
            .iter()
            .find(|listen| listen.address.overlaps(&parsed));
        if let Some(listen) = listen {
            item.fail_bare(report, parsed.is_taken_by(&listen.address));
        } else if let Some((first, _)) = found.iter().find(|(_, other)| other.overlaps(&parsed)) {
            let message = format!(
                "{parsed} is listened on by {} already; remove one of them",
                first.path
            );
            item.fail_bare(report, message);
        } else {
            found.push((item, parsed));
        }
    }
    found.into_iter().map(|(_, address)| address).collect()
}

/// Parses an address of the admin listener, such as `unix:/run/tollgate/admin.sock`.
///
/// # Errors
/// Text that follows the wrong value in a message, and says what to write.
pub fn address(text: &str) -> Result<ListenAddress, String> {
    parse(text).map_err(|fault| fault.to_string())
}

fn parse(text: &str) -> Result<ListenAddress, Fault> {
    // A port alone means all addresses in `listen`, which is too many here.
    let bare = text.strip_prefix('*').unwrap_or(text);
    let bare = bare.strip_prefix(':').unwrap_or(bare);
    if let Some(port) = digits(bare).and_then(|port| u16::try_from(port).ok()) {
        return Err(format!(
            r#"is a port of all addresses of the machine; write "127.0.0.1:{port}""#
        )
        .into());
    }
    if text.parse::<IpAddr>().is_ok() {
        return Err(r#"has no port; write "127.0.0.1:5001""#.into());
    }
    listen::parse(text, Purpose::Admin)
}

fn hosts(place: &Located<'_>, report: &mut Report<'_>) -> Vec<String> {
    let mut names = Vec::new();
    for item in place.list(report).unwrap_or_default() {
        let Some(text) = item.text(report) else {
            continue;
        };
        match host::parse(text) {
            Ok(TargetHost::Name(name)) => {
                names.push(name.trim_end_matches('.').to_ascii_lowercase());
            }
            Ok(TargetHost::Address(_) | TargetHost::Unix(_)) => {
                item.fail(
                    report,
                    "is an address, which is accepted in any case; remove it",
                );
            }
            Err(_) => {
                let fault = "must be a host name such as \"status.lan\"";
                item.fail(report, Fault::uncured(fault));
            }
        }
    }
    names
}
