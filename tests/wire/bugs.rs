//! Bugs of others.
