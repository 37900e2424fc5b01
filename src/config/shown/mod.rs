//! Values of the keys, as text for an operator: `tollgate diff` and `tollgate explain` print them.

pub(crate) mod limit;
pub(crate) mod listener;
pub(crate) mod service;
pub(crate) mod top;
