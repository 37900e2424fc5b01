//! Sticky sessions: the endpoint that a client's cookie names.

use core::net::IpAddr;

use super::super::context::Context;
use super::super::ids::{ServiceId, UpstreamId};
use super::super::rules::ServiceRules;
use super::Upstreams;
use super::selection::Selection;
use crate::upstream::group::Member;
use crate::upstream::health::Availability;

impl Upstreams {
    /// Returns the endpoint of this name, where it is up and takes one more request.
    #[cold]
    pub(in crate::proxy) fn choose_named(
        &mut self,
        rules: &ServiceRules,
        client: Option<IpAddr>,
        name: u64,
        ctx: &mut Context,
    ) -> Option<Selection> {
        if !self.has_slot(rules) {
            return None;
        }
        let fits = |member: &Member<_>| {
            member.sticky_name() == name && member.availability() == Availability::Up
        };
        self.choose_among(rules, client, ctx, fits).ok()
    }

    /// Returns the name of the endpoint that the connection of an exchange goes to.
    #[cold]
    pub(in crate::proxy) fn sticky_name(
        &self,
        up: UpstreamId,
        service: ServiceId,
        destination: usize,
    ) -> Option<u64> {
        let endpoint = self.get(up)?.endpoint?;
        let mut members = self.group(service)?.members().iter();
        let member = members
            .find(|member| member.endpoint == endpoint && member.destination == destination)?;
        Some(member.sticky_name())
    }
}
