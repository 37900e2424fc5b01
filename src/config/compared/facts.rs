//! Facts of a service that the rows compare and show.

use super::differs;
use crate::config::shown::service as shown;
use crate::config::shown::service::{Parts, one};
use crate::policy::edits::{Edits, HeaderEdits};
use crate::policy::own_url::Rewrites;
use crate::proxy::settings::{Gate, Role, Service, Settings, Target};

/// A service, and the settings that it is part of.
#[derive(Clone, Copy)]
pub(crate) struct Of<'a> {
    pub(super) service: &'a Service,
    pub(super) settings: &'a Settings,
}

impl<'a> Of<'a> {
    pub(crate) fn new(service: &'a Service, settings: &'a Settings) -> Of<'a> {
        Of { service, settings }
    }
}

pub(super) fn inherited() -> Parts {
    one("that of the top level".to_owned())
}

pub(super) fn chosen(is_on: bool, on: &str, off: &str) -> Parts {
    one(if is_on { on } else { off }.to_owned())
}

pub(super) fn is_several(old: Of<'_>, new: Of<'_>) -> bool {
    old.service.destinations.len() > 1 || new.service.destinations.len() > 1
}

/// Returns where the requests of a service go.
pub(super) fn destinations(of: Of<'_>) -> Vec<(Option<&Target>, &str, Role)> {
    let destinations = of.service.destinations.iter();
    let known = destinations.map(|to| {
        let target = of.settings.targets.get(to.target);
        (target, to.path.as_str(), to.role)
    });
    known.collect()
}

pub(super) fn targets(of: Of<'_>) -> Parts {
    one(match &of.service.destinations[..] {
        [] => "none".to_owned(),
        _ => shown::destinations(of.service, of.settings),
    })
}

pub(super) fn providers(of: Of<'_>) -> impl Iterator<Item = &String> {
    shown::providers(of.service, of.settings)
}

pub(super) fn rewrites(of: Of<'_>) -> Rewrites {
    of.service.headers.rewrites
}

pub(super) fn is_edit_changed(old: Of<'_>, new: Of<'_>, kind: fn(&Edits) -> &HeaderEdits) -> bool {
    differs(
        old.service.edits.as_deref(),
        new.service.edits.as_deref(),
        kind,
    )
}

pub(super) fn is_consumer_changed(old: Of<'_>, new: Of<'_>) -> bool {
    old.service.auth.forwards_consumer != new.service.auth.forwards_consumer
}

/// Returns true if the fixed reply changed, and the key has the name of the new one, or of the old
/// one where it goes.
pub(super) fn is_reply_changed(name: &str, old: Of<'_>, new: Of<'_>) -> bool {
    let (old, new) = (&old.service.reply, &new.service.reply);
    let named = new.as_ref().or(old.as_ref());
    old != new && named.is_some_and(|reply| reply.key() == name)
}

pub(super) fn reply(name: &str, of: Of<'_>) -> Parts {
    let reply = of.service.reply.as_deref();
    let reply = reply.filter(|reply| reply.key() == name);
    one(reply.map_or("none".to_owned(), shown::fixed))
}

pub(super) fn is_gate_changed<T: PartialEq>(
    old: Of<'_>,
    new: Of<'_>,
    part: fn(&Gate) -> &T,
) -> bool {
    differs(
        old.service.gate.as_deref(),
        new.service.gate.as_deref(),
        part,
    )
}

pub(super) fn of_gate(of: Of<'_>, text: fn(&Gate) -> String) -> Parts {
    let gate = of.service.gate.as_deref();
    one(gate.map_or_else(|| text(&Gate::default()), text))
}
