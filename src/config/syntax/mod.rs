//! The file as it is written: JSON and what people write in its place, places, variables and the report of errors. Not here: what a
//! key means.

pub(crate) mod document;
pub(crate) mod environment;
pub(crate) mod literals;
pub(crate) mod located;
pub(crate) mod parser;
pub(crate) mod report;
pub(crate) mod source;
pub(crate) mod stray;
pub(crate) mod suggestions;
pub(crate) mod tokens;
