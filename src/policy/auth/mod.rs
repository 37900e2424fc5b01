//! Who is let in. Everything here is a decision about bytes that are already there: what must be asked of others, or computed
//! at length, the engine asks for (`proxy::auth`).
//!
//! ```text
//! head --credentials--> Bearer --token, jwks, jwt-------> Grant | bad | a key we do not have
//!                              --introspection----------> a question, its answer
//!                       Basic  --basic------------------> a computation, its answer
//!                       a key  --api_key----------------> known | not
//!                       (any)  --the forward endpoint---> its answer
//! ```
//!
//! `grant` is what remains of a good credential, `challenge` what is said to the others, `remembered` what need not be asked
//! twice.

pub mod algorithm;
pub mod api_key;
pub mod base64;
pub mod basic;
pub mod challenge;
pub mod credentials;
pub mod fault;
pub mod grant;
pub mod introspection;
pub mod json;
pub mod jwks;
pub mod jwt;
pub mod key;
pub mod pem;
pub mod provider;
pub mod remembered;
pub mod signature;
pub mod token;
