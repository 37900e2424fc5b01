//! tollgate: a small, strict, fast HTTP/1.1 API gateway.
//!
//! ```text
//!            bytes                      values                     bytes
//!  client <=========> transport  <====>  proxy (engine)  <====> transport <=========> upstream
//!          net                          |    |    |                        net
//!                                    policy upstream http
//!                                       (pure)  (data)  (wire syntax)
//! ```
//!
//! * **The core never touches the world.** `http`, `policy`, `upstream`, `observe` and `proxy` have no socket, no clock, no
//!   thread, no randomness. Time comes in as an argument, bytes come in through windows, decisions go out as values. So the
//!   whole gateway runs in a test, in a fuzzer and under a simulated network, byte for byte as in production.
//! * **The loop is thin.** [`net`] waits, moves bytes, and asks the engine what next. It decides nothing.
//! * **TLS is a pipe.** One [`transport::Transport`] for plain and TLS; the engine does not know which it has.
//!
//! # Floors
//!
//! A module imports only from floors below its own (a test reads the `use` lines):
//!
//! | floor | modules | |
//! |---|---|---|
//! | 0 | [`time`] [`slab`] [`cost`] | time as a value; generational keys; work, counted for tests |
//! | 1 | [`limits`] [`bytes`] | every number with its unit and its reason; many bytes at a time |
//! | 2 | [`buffer`] [`wheel`] [`digits`] [`der`] | lent byte buffers; lazy timers; numbers as digits; elements of DER |
//! | 3 | [`http`] [`observe`] [`pem`] | strict wire syntax; what happened, as lines; blocks of PEM |
//! | 4 | [`policy`] [`upstream`] [`transport`] | pure decisions; targets as data; byte pipes |
//! | 5 | [`proxy`] | the engine |
//! | 6 | [`config`] | JSON to values that cannot be wrong |
//! | 7 | [`net`] [`cli`] [`prompt`] [`demo`] [`properties`] | sockets, clock, threads, signals; argv; a line without echo; the newcomer's first command; properties for fuzzing |
//!
//! # Driving the engine
//!
//! [`proxy::Proxy`] is told what happened (`handle_*`, each with the time), asked what to do
//! ([`proxy::Proxy::poll_command`], drained to `None` after every `handle_*`), and gives two windows a connection that are
//! looked at again when [`proxy::Proxy::poll_ready`] names it:
//! [`proxy::Proxy::room`] to read into (empty: back-pressure) and [`proxy::Proxy::pending`] to write from (empty: nothing
//! to write). Interest in a socket is derived from the two, never set by hand. A large body whose framing stays as it is need
//! not come into the process at all: [`proxy::Proxy::passage`] offers it, and the loop moves it through a pipe.
//!
//! # Scope
//!
//! HTTP/1.0 and HTTP/1.1, plain and over TLS, on both sides; WebSocket tunnels; several targets with health; authentication. No
//! HTTP/2, no caching, no compression, no transformation of bodies.

// Whoever sends bytes must not be able to make a sum go wrong: every `+` says what happens at the end of the scale. The two
// rooms exempt below read no bytes of a peer's.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod buffer;
pub mod bytes;
pub mod cli;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "lines, columns and edit distances of a file of bounded size"
)]
pub mod config;
pub mod cost;
pub mod demo;
pub mod der;
pub mod digits;
pub mod http;
pub mod limits;
pub mod net;
pub mod observe;
pub mod pem;
pub mod policy;
pub mod prompt;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a property that overflows fails, as it should"
)]
pub mod properties;
pub mod proxy;
pub mod slab;
pub mod time;
pub mod transport;
pub mod upstream;
pub mod wheel;
