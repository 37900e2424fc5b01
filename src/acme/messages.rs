//! Messages of the authority (RFC 8555 7, RFC 9773 4). Any may be arbitrary bytes.

use super::{Identifier, Kind, Response, Url};
use crate::digits;
use crate::policy::auth::json::Json;
use crate::time::UnixTime;
use crate::transport::leaf::utc;

/// Resources of the authority (RFC 8555 7.1.1).
pub(super) struct Directory {
    pub(super) nonce: Url,
    pub(super) account: Url,
    pub(super) order: Url,
    /// Renewal information (RFC 9773 4), if it is offered.
    pub(super) renewal: Option<Url>,
    /// The authority wants an account outside of ACME.
    pub(super) wants_binding: bool,
}

/// State of an order or an authorization, as far as it matters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Status {
    Pending,
    Ready,
    Processing,
    Valid,
    Invalid,
}

/// Order (RFC 8555 7.1.3).
pub(super) struct Order {
    pub(super) status: Status,
    pub(super) authorizations: Vec<Url>,
    pub(super) finalize: Url,
    pub(super) certificate: Option<Url>,
    pub(super) problem: Option<String>,
}

/// Authorization (RFC 8555 7.1.4), with the challenge of the kind that was asked for.
pub(super) struct Authorization {
    pub(super) status: Status,
    pub(super) identifier: String,
    pub(super) challenge: Option<Offered>,
    pub(super) problem: Option<String>,
}

/// Challenge that the authority offers (RFC 8555 7.1.5).
pub(super) struct Offered {
    pub(super) url: Url,
    pub(super) token: Box<str>,
    pub(super) is_pending: bool,
}

/// Problem document (RFC 7807).
pub(super) struct Problem {
    /// Last part of the type.
    pub(super) kind: String,
    /// Type and detail, for people.
    pub(super) text: String,
}

/// Bytes of a text of the authority that is shown.
const SHOWN_BYTES: usize = 300;

/// Bytes of a token and of a nonce.
const TOKEN_BYTES: usize = 256;

impl Directory {
    /// Reads a directory.
    pub(super) fn read(body: &[u8], at: &Url) -> Result<Directory, String> {
        let json = Json::parse(body).ok_or("its directory is no JSON; is the URL right?")?;
        let meta = json.get("meta");
        let flag = meta.and_then(|meta| meta.get("externalAccountRequired"));
        Ok(Directory {
            nonce: url(&json, "newNonce", at)?,
            account: url(&json, "newAccount", at)?,
            order: url(&json, "newOrder", at)?,
            renewal: json
                .get("renewalInfo")
                .map(|_| url(&json, "renewalInfo", at))
                .transpose()?,
            wants_binding: flag == Some(&Json::Flag(true)),
        })
    }
}

impl Order {
    /// Reads an order for `count` names.
    pub(super) fn read(body: &[u8], at: &Url, count: usize) -> Result<Order, String> {
        let json = Json::parse(body).ok_or("its order is no JSON")?;
        let Some(Json::List(list)) = json.get("authorizations") else {
            return Err("its order has no authorizations".to_owned());
        };
        if list.len() > count {
            return Err("its order has more authorizations than names".to_owned());
        }
        let authorizations = list
            .iter()
            .map(|one| located(Some(one), "authorizations", at));
        Ok(Order {
            status: status(&json)?,
            authorizations: authorizations.collect::<Result<_, _>>()?,
            finalize: url(&json, "finalize", at)?,
            certificate: json
                .get("certificate")
                .map(|_| url(&json, "certificate", at))
                .transpose()?,
            problem: json.get("error").map(|error| Problem::of(error).text),
        })
    }
}

impl Authorization {
    /// Reads an authorization.
    pub(super) fn read(body: &[u8], at: &Url, kind: Kind) -> Result<Authorization, String> {
        let json = Json::parse(body).ok_or("its authorization is no JSON")?;
        let identifier = json.get("identifier").and_then(|one| one.get("value"));
        let identifier = identifier.and_then(Json::text).unwrap_or_default();
        let challenges = match json.get("challenges") {
            Some(Json::List(list)) => list.as_slice(),
            _ => &[],
        };
        let of_kind = challenges
            .iter()
            .find(|one| one.get("type").and_then(Json::text) == Some(kind.as_str()));
        let mut problems = challenges.iter().filter_map(|one| one.get("error"));
        Ok(Authorization {
            status: status(&json)?,
            identifier: shown(identifier),
            challenge: of_kind.map(|one| Offered::read(one, at)).transpose()?,
            problem: problems.next().map(|error| Problem::of(error).text),
        })
    }

    /// Returns true if it is for this name.
    pub(super) fn is_for(&self, name: &Identifier) -> bool {
        Identifier::parse(&self.identifier).as_ref() == Ok(name)
    }
}

impl Offered {
    fn read(json: &Json, at: &Url) -> Result<Offered, String> {
        let token = json.get("token").and_then(Json::text).unwrap_or_default();
        if !is_token(token) {
            return Err("its challenge has no token of letters, digits, - and _".to_owned());
        }
        let state = json.get("status").and_then(Json::text);
        Ok(Offered {
            url: url(json, "url", at)?,
            token: token.into(),
            is_pending: state == Some("pending"),
        })
    }
}

impl Problem {
    /// Reads the problem document of a response that says no.
    pub(super) fn read(response: &Response) -> Problem {
        let json = Json::parse(&response.body).filter(|json| json.get("type").is_some());
        json.as_ref().map(Problem::of).unwrap_or_else(|| Problem {
            kind: String::new(),
            text: format!("status {} without a problem document", response.status),
        })
    }

    fn of(json: &Json) -> Problem {
        let member = |name: &str| json.get(name).and_then(Json::text).unwrap_or_default();
        let kind = member("type");
        let kind = shown(kind.rsplit(':').next().unwrap_or_default());
        let mut text = format!("{kind}: {}", shown(member("detail")));
        // RFC 8555 6.7.1: the names that are at fault.
        if let Some(Json::List(list)) = json.get("subproblems") {
            for one in list.iter().take(3) {
                let detail = one.get("detail").and_then(Json::text).unwrap_or_default();
                text.push_str("; ");
                text.push_str(&shown(detail));
            }
        }
        Problem { kind, text }
    }
}

impl Response {
    /// Returns the value of a field, if it is there once or more: the first.
    pub(super) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(one, _)| one.eq_ignore_ascii_case(name.as_bytes()));
        found.and_then(|(_, value)| core::str::from_utf8(value).ok())
    }

    /// Returns the nonce for the next request (RFC 8555 6.5.1).
    pub(super) fn nonce(&self) -> Option<String> {
        let nonce = self.field("Replay-Nonce")?.trim();
        is_token(nonce).then(|| nonce.to_owned())
    }

    /// Returns the URL of what was made.
    pub(super) fn location(&self, at: &Url) -> Result<Url, String> {
        let text = self
            .field("Location")
            .map(|text| Json::Text(text.trim().to_owned()));
        located(text.as_ref(), "Location", at)
    }

    /// Returns the seconds that the authority wants the gateway to wait (RFC 9110 10.2.3).
    pub(super) fn retry_after(&self, now: u64) -> Option<u64> {
        let text = self.field("Retry-After")?.trim();
        if let Some(seconds) = digits::parse(text.as_bytes()) {
            return Some(seconds);
        }
        let date = httpdate::parse_http_date(text).ok()?;
        let since = date.duration_since(std::time::UNIX_EPOCH).ok()?;
        Some(since.as_secs().saturating_sub(now))
    }
}

/// Reads renewal information (RFC 9773 4.2): the seconds at which its window begins and ends.
pub(super) fn window(body: &[u8]) -> Option<(u64, u64)> {
    let json = Json::parse(body)?;
    let window = json.get("suggestedWindow")?;
    let time = |name: &str| window.get(name).and_then(Json::text).and_then(rfc3339);
    let (start, end) = (time("start")?, time("end")?);
    (start < end).then_some((start.as_secs(), end.as_secs()))
}

/// Parses a time of RFC 3339 5.6.
fn rfc3339(text: &str) -> Option<UnixTime> {
    let bytes = text.as_bytes();
    let (date, rest) = bytes.split_at_checked(19)?;
    let digits = date.iter().filter(|byte| byte.is_ascii_digit()).copied();
    let mut plain = digits.collect::<Vec<_>>();
    let is_shaped = plain.len() == 14
        && date.get(4) == Some(&b'-')
        && date.get(7) == Some(&b'-')
        && matches!(date.get(10), Some(b'T' | b't' | b' '))
        && date.get(13) == Some(&b':')
        && date.get(16) == Some(&b':');
    if !is_shaped {
        return None;
    }
    plain.push(b'Z');
    let local = utc(&plain)?.as_millis();
    let fraction = rest
        .iter()
        .take_while(|byte| byte.is_ascii_digit() || **byte == b'.');
    let offset = rest.get(fraction.count()..)?;
    let minutes = |text: &[u8]| {
        let (hours, minutes) = text.split_at_checked(2)?;
        let minutes = digits::parse(minutes.strip_prefix(b":")?)?;
        Some(
            digits::parse(hours)?
                .saturating_mul(60)
                .saturating_add(minutes),
        )
    };
    let millis = |digits| minutes(digits).map(|count| count.saturating_mul(60_000));
    let at = match offset.split_first()? {
        (b'Z' | b'z', []) => local,
        (b'+', digits) => local.saturating_sub(millis(digits)?),
        (b'-', digits) => local.saturating_add(millis(digits)?),
        _ => return None,
    };
    Some(UnixTime::from_millis(at))
}

fn status(json: &Json) -> Result<Status, String> {
    match json.get("status").and_then(Json::text) {
        Some("pending") => Ok(Status::Pending),
        Some("ready") => Ok(Status::Ready),
        Some("processing") => Ok(Status::Processing),
        Some("valid") => Ok(Status::Valid),
        Some("invalid" | "expired" | "deactivated" | "revoked") => Ok(Status::Invalid),
        other => Err(format!(
            "its status {:?} is unknown",
            shown(other.unwrap_or_default())
        )),
    }
}

fn url(json: &Json, name: &'static str, at: &Url) -> Result<Url, String> {
    located(json.get(name), name, at)
}

/// Returns a URL of the authority, which must lead to the server of its directory.
fn located(json: Option<&Json>, name: &'static str, at: &Url) -> Result<Url, String> {
    let Some(text) = json.and_then(Json::text) else {
        return Err(format!("its answer has no {name}"));
    };
    match Url::parse(text) {
        Some(url) if url.is_of_same_origin(at) => Ok(url),
        Some(url) => Err(format!(
            "its {name} is on another server ({}) than its directory, which is not supported",
            url.host()
        )),
        None => Err(format!("its {name} {:?} is no https URL", shown(text))),
    }
}

fn is_token(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=TOKEN_BYTES).contains(&text.len()) && text.bytes().all(is_letter)
}

/// Returns the beginning of a text without control characters.
pub(super) fn shown(text: &str) -> String {
    let visible = text.chars().map(|letter| match letter.is_control() {
        true => ' ',
        false => letter,
    });
    visible.take(SHOWN_BYTES).collect()
}
