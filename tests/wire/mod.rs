//! The protocol as tables: what a client or an upstream says, and what must come of it. Each row bears the number and the
//! words of the requirement, or the name of the peer that got it wrong, and is run whole, byte by byte and cut in two at
//! every byte; whatever the cut, the same must come of it.
//!
//! `rows` runs them. The strict reference parser stands in for the origin: bytes that it cannot read fail the row.

mod bugs;
mod paths;
mod requests;
mod responses;
mod rows;
mod tokenizer;
