//! Authentication. Everything here decides about bytes that are already there. The engine
//! (`proxy::auth`) makes requests to other services and runs slow computations.
//!
//! ```text
//! head --credentials--> Bearer --token, jwks, jwt-------> Grant | bad | unknown key
//!                              --introspection----------> a request, its response
//!                       Basic  --basic------------------> a computation, its result
//!                       key    --api_key----------------> known | unknown
//!                       (any)  --the forward endpoint---> its response
//! ```
//!
//! `grant` is the result of a valid credential, `challenge` the reply to the others,
//! `credential_cache` the results that are kept for later requests.

pub mod algorithm;
pub mod api_key;
pub mod base64;
pub mod basic;
pub mod challenge;
pub mod credential_cache;
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

pub mod signature;
pub mod sticky_key;
pub mod token;
