//! Options of the `Connection` field (RFC 9110 7.6.1).

use core::cmp::Ordering;

use super::error::{RequestError, RequestFault, ResponseError};
use super::field::{Name, NameSet, is_tchar, tokens};
use super::head::Fields;
use crate::cost;
use crate::limits::CONNECTION_OPTIONS_MAX;

/// Options of all `Connection` lines (RFC 9110 7.6.1).
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    fields: Fields<'a>,
    /// `close` is an option.
    pub close: bool,
    /// `upgrade` is an option.
    pub upgrade: bool,
    /// An option may name a field of the message.
    nominates: bool,
    /// An option is not a token, or there are more than [`CONNECTION_OPTIONS_MAX`]: the options
    /// behind it were not parsed.
    pub(super) malformed: bool,
}

impl<'a> Connection<'a> {
    /// Parses the options.
    #[inline]
    pub fn of(fields: &Fields<'a>) -> Connection<'a> {
        let none = Connection {
            fields: *fields,
            close: false,
            upgrade: false,
            nominates: false,
            malformed: false,
        };
        if fields.has(Name::Connection) {
            Connection::read(none)
        } else {
            none
        }
    }

    fn read(mut connection: Connection<'a>) -> Connection<'a> {
        let mut count = 0_usize;
        for option in connection.options() {
            count = count.saturating_add(1);
            if option.eq_ignore_ascii_case(b"close") {
                connection.close = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                connection.upgrade = true;
            } else if !option.eq_ignore_ascii_case(b"keep-alive") {
                connection.nominates = true;
                connection.malformed |= !option.iter().all(|&byte| is_tchar(byte));
            }
            connection.malformed |= count > CONNECTION_OPTIONS_MAX;
            if connection.malformed {
                break;
            }
        }
        connection
    }

    /// Returns the options that may name a field; `None` if there are none, so that only the fixed
    /// hop-by-hop fields are removed.
    pub fn nominated(&self) -> Option<Nominated<'a>> {
        if !self.nominates {
            return None;
        }
        let mut nominated = Nominated {
            options: [&[]; CONNECTION_OPTIONS_MAX],
            count: 0,
        };
        for (place, option) in nominated.options.iter_mut().zip(self.options()) {
            *place = option;
            nominated.count = nominated.count.saturating_add(1);
        }
        nominated
            .options
            .get_mut(..nominated.count)
            .unwrap_or_default()
            .sort_unstable_by(|a, b| folded(a, b));
        Some(nominated)
    }

    /// Checks the options of a request.
    ///
    /// # Errors
    /// An option is not a token (RFC 9110 7.6.1), there are more than [`CONNECTION_OPTIONS_MAX`],
    /// or an option names Host or a framing field.
    #[inline(always)]
    pub fn check_request(&self) -> Result<(), RequestError> {
        if self.malformed {
            return Err(RequestFault::ConnectionOptions.into());
        }
        if self.nominates
            && self
                .options()
                .any(|option| FRAMING.contains(Name::of(option)))
        {
            return Err(RequestFault::FramingOption.into());
        }
        Ok(())
    }

    /// Checks the options of a response.
    ///
    /// # Errors
    /// An option is not a token (RFC 9110 7.6.1), or there are more than
    /// [`CONNECTION_OPTIONS_MAX`].
    pub fn check_response(&self) -> Result<(), ResponseError> {
        if self.malformed {
            Err(ResponseError::ConnectionOptions)
        } else {
            Ok(())
        }
    }

    fn options(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.fields.get_all(Name::Connection).flat_map(tokens)
    }
}

/// Options of a message's `Connection` lines that may name its fields, sorted for search. So a head
/// with many fields and many options costs a few times its bytes, and not fields times options.
pub struct Nominated<'a> {
    /// Options in [`folded`] order up to `count`; the rest is empty.
    options: [&'a [u8]; CONNECTION_OPTIONS_MAX],
    count: usize,
}

/// Order of two names, ignoring case.
fn folded(a: &[u8], b: &[u8]) -> Ordering {
    cost::count(a.len().min(b.len()).saturating_add(1));
    cost::count(a.len().min(b.len()).saturating_add(1));
    a.iter()
        .map(u8::to_ascii_lowercase)
        .cmp(b.iter().map(u8::to_ascii_lowercase))
}

impl Nominated<'_> {
    /// Returns true if an option names the field, so that it belongs to this connection only.
    pub fn has(&self, name: &[u8]) -> bool {
        let options = self.options.get(..self.count).unwrap_or_default();
        options
            .binary_search_by(|option| folded(option, name))
            .is_ok()
            && !UNREMOVABLE.contains(Name::of(name))
            && ![&b"cookie"[..], b"set-cookie", b"content-type"]
                .iter()
                .any(|kept| kept.eq_ignore_ascii_case(name))
    }
}

/// End-to-end fields, which a nomination does not remove. The forwarder omits its own
/// X-Forwarded-*, CORS and security fields if the message has them, so removing these would leave
/// neither.
const UNREMOVABLE: NameSet = NameSet::of(&[
    Name::Authorization,
    Name::Origin,
    Name::Date,
    Name::XForwardedFor,
    Name::XForwardedProto,
    Name::XForwardedHost,
    Name::XForwardedOther,
    Name::XRealIp,
    Name::Forwarded,
    Name::AccessControlAllowOrigin,
    Name::AccessControlAllowOther,
    Name::AccessControlExposeHeaders,
    Name::ContentSecurityPolicy,
    Name::CrossOriginOpenerPolicy,
    Name::CrossOriginResourcePolicy,
    Name::OriginAgentCluster,
    Name::ReferrerPolicy,
    Name::StrictTransportSecurity,
    Name::XContentTypeOptions,
    Name::XDnsPrefetchControl,
    Name::XDownloadOptions,
    Name::XFrameOptions,
    Name::XPermittedCrossDomainPolicies,
    Name::XXssProtection,
]);

/// Fields whose nomination is an attack on framing or routing.
const FRAMING: NameSet = NameSet::of(&[Name::Host, Name::ContentLength, Name::TransferEncoding]);
