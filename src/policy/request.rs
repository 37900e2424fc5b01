//! A request head whose parts are valid, as the decisions read it.

use super::conditions::Evidence;
use crate::http::connection::Connection;
use crate::http::error::RequestError;
use crate::http::field::Name;
use crate::http::framing::{RequestBody, expects_continue, keeps_alive, request_body};
use crate::http::head::RequestHead;
use crate::http::target::{Form, Target, parse_target};

/// Parts of a valid request head.
pub struct Request<'a> {
    /// The parsed head.
    pub head: &'a RequestHead<'a>,
    /// The parsed request target.
    pub target: Target<'a>,
    /// Framing of the body.
    pub body: RequestBody,
    /// Content of the `Connection` field.
    pub connection: Connection<'a>,
    /// True if the client waits for a 100 before it sends the body (RFC 9110 10.1.1).
    pub expects: bool,
    /// True if the connection may serve another request afterwards (RFC 9112 9.3).
    pub keep: bool,
}

impl<'a> Request<'a> {
    /// Reads all parts of a head and checks that each is valid.
    ///
    /// # Errors
    /// The first rule that the head breaks.
    #[inline(always)]
    pub fn read(head: &'a RequestHead<'a>) -> Result<Request<'a>, RequestError> {
        let target = parse_target(head)?;
        let body = request_body(head)?;
        let connection = Connection::of(&head.fields);
        connection.check_request()?;
        Ok(Request {
            head,
            target,
            body,
            connection,
            expects: expects_continue(head)?,
            keep: keeps_alive(head.version, &head.fields),
        })
    }

    /// Returns the host that the request is for. The host of an absolute target wins over the Host
    /// field (RFC 9112 3.2.2).
    #[inline(always)]
    pub fn asked_host(&self) -> Option<&'a [u8]> {
        match self.target.form {
            Form::Absolute { authority } => Some(authority),
            _ => self.head.fields.first(Name::Host),
        }
    }

    /// Returns the parts of the request that conditions of services are about.
    pub fn evidence(&self) -> Evidence<'a> {
        Evidence {
            fields: self.head.fields,
            query: self.target.query,
        }
    }

    /// Returns true for a CORS preflight (Fetch standard, CORS-preflight fetch). A request with
    /// content or credentials is not a preflight: browsers send neither in a preflight, and an
    /// upstream may act on them.
    pub fn is_preflight(&self) -> bool {
        let fields = &self.head.fields;
        self.head.method == b"OPTIONS"
            && fields.says(Name::Origin)
            && fields.says(Name::AccessControlRequestMethod)
            && self.body.is_empty()
            && !fields.has(Name::Authorization)
            && !fields
                .iter()
                .any(|field| field.name.eq_ignore_ascii_case(b"cookie"))
    }
}
