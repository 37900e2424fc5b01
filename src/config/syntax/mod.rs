//! The file as it is written: JSON, places, variables and the report of errors. Not here: what a
//! key means.

pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod located;
pub(crate) mod report;
pub(crate) mod source;
pub(crate) mod suggestions;
