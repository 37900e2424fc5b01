//! Names that the operator gives to listeners and services.

use crate::config::schema::NAME_EXPECTED;
use crate::config::syntax::located::Object;
use crate::config::syntax::report::Report;
use crate::config::syntax::stray::Fault;
use crate::limits::NAME_BYTES_MAX;

/// Reads `name` of an object.
pub(crate) fn of(object: &Object<'_>, report: &mut Report<'_>) -> Option<String> {
    let place = object.get("name")?;
    let text = place.text(report)?;
    let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_valid) {
        place.fail(
            report,
            Fault::uncured(format!(
                "must be {NAME_EXPECTED}, of at most {NAME_BYTES_MAX} bytes"
            )),
        );
        return None;
    }
    Some(text.to_owned())
}
