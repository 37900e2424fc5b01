//! Response heads towards a client.

use super::own_urls::OwnUrls;
use crate::buffer::{Buffer, joined_len};
use crate::http::connection::Connection;
use crate::http::emit::{Framing, HeadTooLarge, HeadWriter};
use crate::http::field::{Name, NameSet};
use crate::http::head::{Field, Fields, ResponseHead};
use crate::policy::cors::Cors;
use crate::policy::rate_fields::RateFields;
use crate::policy::request_id::IdField;
use crate::policy::security::SecurityBlock;

/// Fields that belong to one connection, or that we write ourselves, in a response.
const RESPONSE_DROPS: NameSet = NameSet::of(&[
    Name::ContentLength,
    Name::TransferEncoding,
    Name::Connection,
    Name::KeepAlive,
    Name::ProxyConnection,
    Name::ProxyAuthenticate,
    Name::ProxyAuthenticationInfo,
    Name::Te,
    Name::Trailer,
    Name::Upgrade,
    Name::XPoweredBy,
]);

/// The header blocks that every response gets.
pub(in crate::proxy) struct Blocks<'a> {
    pub(in crate::proxy) cors: Option<&'a Cors>,
    pub(in crate::proxy) security: Option<&'a SecurityBlock>,
    /// The request's `Origin`.
    pub(in crate::proxy) origin: Option<&'a [u8]>,
}

impl Blocks<'_> {
    #[inline(always)]
    pub(super) fn bound(&self) -> usize {
        joined_len([
            self.security.map_or(0, |block| block.whole().len()),
            self.cors.map_or(0, Cors::bound),
            self.origin.map_or(0, <[u8]>::len),
        ])
    }

    /// Fields of the upstream's that these stand in for.
    fn replaces(&self, sent: &Fields<'_>) -> NameSet {
        match self.cors {
            Some(cors) if !sent.has(Name::AccessControlAllowOrigin) => cors.replaces(),
            _ => NameSet::EMPTY,
        }
    }

    /// Adds them, except what the upstream said itself.
    pub(super) fn write(&self, sent: Option<&Fields<'_>>, writer: &mut HeadWriter<'_>) {
        if let Some(cors) = self.cors
            && sent.is_none_or(|fields| !fields.has(Name::AccessControlAllowOrigin))
        {
            cors.origin_lines(self.origin, |line| writer.lines(line));
        }
        let Some(block) = self.security else { return };
        match sent.filter(|fields| block.may_overlap(fields.present())) {
            None => writer.lines(block.whole()),
            Some(fields) => {
                for (name, line) in block.lines() {
                    if !fields
                        .iter()
                        .any(|field| field.name.eq_ignore_ascii_case(name))
                    {
                        writer.lines(line);
                    }
                }
            }
        }
    }
}

/// Parts of a response head towards a client, besides the upstream's own head.
pub(in crate::proxy) struct ResponseParts<'a> {
    pub(in crate::proxy) connection: &'a Connection<'a>,
    pub(in crate::proxy) blocks: Blocks<'a>,
    /// IMF-fixdate, used when the upstream sent no `Date`, or an empty one (RFC 9110 6.6.1).
    pub(in crate::proxy) date: &'a [u8],
    pub(in crate::proxy) close: bool,
    pub(in crate::proxy) framing: Framing,
    /// Whole lines that go behind the upstream's own: see
    /// [`Grant::client_lines`](crate::policy::auth::grant::Grant::client_lines).
    pub(in crate::proxy) lines: &'a [u8],
    /// Field line with the id of the request.
    pub(in crate::proxy) id: IdField<'a>,
    /// Fields of the rate limit.
    pub(in crate::proxy) rate: Option<RateFields<'a>>,
    /// URLs and cookie paths that are rewritten; `None`: none.
    pub(in crate::proxy) urls: Option<OwnUrls<'a>>,
}

impl ResponseParts<'_> {
    /// The most bytes the head can take, given the upstream's.
    #[inline(always)]
    pub(in crate::proxy) fn bound(&self, head: &ResponseHead<'_>) -> usize {
        let rate = self.rate.map_or(0, |rate| rate.bound());
        let lines = joined_len([self.lines.len(), self.id.line.len(), rate]);
        let bound = joined_len([head.len, self.blocks.bound(), lines, 192]);
        match &self.urls {
            None => bound,
            Some(urls) => bound.saturating_add(urls.growth(&head.fields)),
        }
    }

    /// Writes a final head.
    pub(in crate::proxy) fn write(
        &self,
        head: &ResponseHead<'_>,
        out: &mut Buffer,
    ) -> Result<(), HeadTooLarge> {
        let mut writer = HeadWriter::response(out, head.status, head.reason);
        let mut drops = RESPONSE_DROPS.union(self.blocks.replaces(&head.fields));
        let is_dated = head.fields.says(Name::Date);
        if !is_dated {
            drops.insert(Name::Date);
        }
        let ours = (self.id, self.rate);
        match &self.urls {
            None => copy_lines(&mut writer, &head.fields, drops, self.connection, ours),
            Some(urls) => {
                copy_rewritten(
                    &mut writer,
                    &head.fields,
                    drops,
                    self.connection,
                    ours,
                    urls,
                );
            }
        }
        writer.lines(self.lines);
        writer.lines(self.id.line);
        write_rate(self.rate, &mut writer);
        if !is_dated {
            writer.field(b"Date: ", self.date);
        }
        self.blocks.write(Some(&head.fields), &mut writer);
        if self.close {
            writer.field(b"Connection: ", b"close");
        }
        writer.finish(self.framing)
    }
}

/// The most bytes [`write_interim`] can take, given the upstream's head, without its lines.
pub(in crate::proxy) fn interim_bound(
    head: &ResponseHead<'_>,
    urls: Option<&OwnUrls<'_>>,
) -> usize {
    let growth = urls.map_or(0, |urls| urls.growth(&head.fields));
    joined_len([head.len, 64, growth])
}

/// Writes a 1xx head as it came, without what belongs to the connection; for a 101, with what makes
/// it one: whole `lines` that go behind the upstream's own, the id of the request, and the fields of
/// the rate limit. `urls`: URLs and cookie paths that are rewritten.
pub(in crate::proxy) fn write_interim(
    head: &ResponseHead<'_>,
    connection: &Connection<'_>,
    (lines, id, rate): (&[u8], IdField<'_>, Option<RateFields<'_>>),
    urls: Option<&OwnUrls<'_>>,
    out: &mut Buffer,
) -> Result<(), HeadTooLarge> {
    let mut writer = HeadWriter::response(out, head.status, head.reason);
    let ours = (id, rate);
    let fields = &head.fields;
    match urls {
        None => copy_lines(&mut writer, fields, RESPONSE_DROPS, connection, ours),
        Some(urls) => {
            copy_rewritten(&mut writer, fields, RESPONSE_DROPS, connection, ours, urls);
        }
    }
    writer.lines(lines);
    if head.status == 101 {
        writer.lines(id.line);
        write_rate(rate, &mut writer);
        writer.field(b"Connection: ", b"Upgrade");
        writer.field(b"Upgrade: ", b"websocket");
    }
    writer.finish(Framing::None)
}

/// Writes the fields of the rate limit.
#[inline(always)]
pub(super) fn write_rate(rate: Option<RateFields<'_>>, writer: &mut HeadWriter<'_>) {
    if let Some(rate) = rate {
        rate.write(&mut |part| writer.lines(part));
    }
}

/// Copies the lines of a response that stay. Lines with the id and of the rate limit are replaced.
fn copy_lines(
    writer: &mut HeadWriter<'_>,
    fields: &Fields<'_>,
    drops: NameSet,
    connection: &Connection<'_>,
    (id, rate): (IdField<'_>, Option<RateFields<'_>>),
) {
    let nominated = connection.nominated();
    let looks = nominated.is_some() || !id.name.is_empty() || rate.is_some();
    let is_dropped = looks.then_some(|field: &Field<'_>| {
        nominated
            .as_ref()
            .is_some_and(|nominated| nominated.has(field.name))
            || id.replaces_named(field.name)
            || rate.is_some_and(|rate| rate.replaces(field.name))
    });
    let drops = drops.union(id.replaces);
    fields.runs(drops, is_dropped, |lines| writer.lines(lines));
}

/// Copies the lines of a response that stay, those with URLs and cookie paths rewritten and behind the
/// others.
#[cold]
#[inline(never)]
fn copy_rewritten(
    writer: &mut HeadWriter<'_>,
    fields: &Fields<'_>,
    drops: NameSet,
    connection: &Connection<'_>,
    (id, rate): (IdField<'_>, Option<RateFields<'_>>),
    urls: &OwnUrls<'_>,
) {
    let nominated = connection.nominated();
    let is_dropped = |field: &Field<'_>| {
        nominated
            .as_ref()
            .is_some_and(|nominated| nominated.has(field.name))
            || id.replaces_named(field.name)
            || rate.is_some_and(|rate| rate.replaces(field.name))
    };
    let goes = |field: &Field<'_>| urls.takes(field.name) || is_dropped(field);
    let drops = drops.union(id.replaces);
    fields.runs(drops, Some(goes), |lines| writer.lines(lines));
    urls.write(fields, &is_dropped, writer);
}
