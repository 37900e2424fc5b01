//! Tables of the keys that a reload compares. Each key has one row: how two values are compared, and
//! the value as text. The summary of a reload and `tollgate diff` come from the rows.

pub(crate) mod facts;
pub(crate) mod service;
pub(crate) mod top;

/// Compares a part of two values; one that is absent is the default.
fn differs<T: Default, P: PartialEq>(old: Option<&T>, new: Option<&T>, part: fn(&T) -> &P) -> bool {
    let none = T::default();
    part(old.unwrap_or(&none)) != part(new.unwrap_or(&none))
}
