//! Lines of a response with URLs and cookie paths of the target, as the client sees them.

use super::super::rules::ServiceRules;
use crate::buffer::total;
use crate::http::emit::HeadWriter;
use crate::http::head::{Field, Fields};
use crate::limits::REWRITE_GROWTH_BYTES;
use crate::policy::own_url::{ClientPlace, TargetPlace, location, refresh, set_cookie};
use crate::policy::route::RoutePath;

/// Rules for the URLs of a response, and what its request said about them.
pub(in crate::proxy) struct OwnUrls<'a> {
    pub(in crate::proxy) rules: &'a ServiceRules,
    /// Number of the destination that answered.
    pub(in crate::proxy) destination: usize,
    /// Scheme and host as the client asked for them; may be empty.
    pub(in crate::proxy) origin: &'a [u8],
}

impl<'a> OwnUrls<'a> {
    /// Returns true if lines of this name are written by [`write`](Self::write).
    pub(super) fn takes(&self, name: &[u8]) -> bool {
        let rewrites = self.rules.service.headers.rewrites;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        rewrites.location && (is(b"Location") || is(b"Content-Location") || is(b"Refresh"))
            || rewrites.cookie_path && is(b"Set-Cookie")
    }

    /// Returns the most bytes that the lines may grow by. A head that grows more is refused.
    #[cold]
    #[inline(never)]
    pub(super) fn growth(&self, fields: &Fields<'_>) -> usize {
        let taken = fields.iter().filter(|field| self.takes(field.name)).count();
        let each = total([self.origin.len(), self.rules.service.route.len(), 1]);
        taken.saturating_mul(each).min(REWRITE_GROWTH_BYTES)
    }

    /// Writes the lines, except those for which `is_dropped` is true.
    #[cold]
    #[inline(never)]
    pub(super) fn write(
        &self,
        fields: &Fields<'_>,
        is_dropped: &dyn Fn(&Field<'_>) -> bool,
        writer: &mut HeadWriter<'_>,
    ) {
        for field in fields.iter() {
            if self.takes(field.name) && !is_dropped(&field) {
                writer.lines(field.name);
                writer.lines(b": ");
                self.write_value(&field, writer);
                writer.lines(b"\r\n");
            }
        }
    }

    fn write_value(&self, field: &Field<'_>, writer: &mut HeadWriter<'_>) {
        let service = &self.rules.service;
        let RoutePath { path, is_exact } = RoutePath::of(&service.route);
        let route = path.as_bytes();
        let path: &[u8] = if service.strip_prefix { route } else { b"" };
        if field.name.eq_ignore_ascii_case(b"Set-Cookie") {
            let target = self.targets().next().map_or(&b""[..], |target| target.path);
            let places = (target, path, route);
            return set_cookie(field.value, places, |part| writer.lines(part));
        }
        let origin = self.origin;
        let client = ClientPlace {
            origin,
            path,
            // Where the prefix stays, paths are the same on both sides.
            is_exact: is_exact && service.strip_prefix,
        };
        let (start, parts) = match field.name.eq_ignore_ascii_case(b"Refresh") {
            true => refresh(field.value, self.targets(), &client).unzip(),
            false => (None, location(field.value, self.targets(), &client)),
        };
        match parts {
            Some(parts) => {
                writer.lines(start.unwrap_or_default());
                parts.into_iter().for_each(|part| writer.lines(part));
            }
            None => writer.lines(field.value),
        }
    }

    /// Returns the places of the service at its targets, that of the answering one first.
    fn targets(&self) -> impl Iterator<Item = TargetPlace<'a>> + use<'a> {
        let rules = self.rules;
        let own = rules.destinations.iter();
        let places = own.zip(&rules.service.destinations);
        let number = self.destination;
        let (first, others) = (places.clone(), places);
        let first = first.filter(move |(known, _)| known.number == number);
        let others = others.filter(move |(known, _)| known.number != number);
        first.chain(others).map(|(known, to)| TargetPlace {
            tls: known.target.tls,
            authority: known.target.authority.as_bytes(),
            path: to.path.as_bytes(),
        })
    }
}
