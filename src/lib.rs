//! tollgate: a small, strict, fast HTTP/1.1 API gateway.
//!
//! ```text
//!            bytes                   values                  bytes
//!  client <=========> transport <====> proxy (engine) <====> transport <=========> upstream
//!          net                         |   |   |                      net
//!                                 policy upstream http
//!                                 (pure)  (data)  (wire syntax)
//! ```
//!
//! * **The core does no I/O.** `http`, `policy`, `upstream`, `observe` and `proxy` have no socket,
//!   clock, thread, randomness or logger. Time is an argument, bytes arrive through windows,
//!   decisions leave as values. So the whole gateway runs in a test, in a fuzzer and in a simulated
//!   network, byte for byte as in production.
//! * **The loop is thin.** [`net`] polls, moves bytes and executes the engine's commands. It decides
//!   nothing.
//! * **TLS is a pipe.** One [`transport::Transport`] serves plain and TLS; the engine does not know
//!   which it has.
//!
//! # Layers
//!
//! A module imports only from layers below its own (a test reads the `use` lines):
//!
//! | layer | modules | content |
//! |---|---|---|
//! | 0 | [`time`] [`slab`] [`cost`] | time as a value; generational keys; counted work |
//! | 1 | [`limits`] [`bytes`] [`sort`] | every limit with its unit and reason; tests on many bytes; a small sort |
//! | 2 | [`buffer`] [`wheel`] [`digits`] [`der`] | lent buffers; timers; decimal numbers; DER |
//! | 3 | [`http`] [`observe`] [`pem`] | strict wire syntax; log lines; PEM blocks |
//! | 4 | [`policy`] [`upstream`] [`transport`] | pure decisions; targets as data; byte pipes |
//! | 5 | [`proxy`] [`acme`] | the engine; certificates from an authority |
//! | 6 | [`config`] | the configuration, parsed into valid values |
//! | 7 | [`net`] | sockets, clock, threads, signals |
//! | 7 | [`cli`] [`prompt`] [`demo`] [`diff`] [`explain`] | command line; input without echo; demo upstream; two configurations compared; a request explained |
//! | 7 | [`record`] | flight records: written, and replayed |
//! | 7 | [`properties`] | properties for fuzzing |
//!
//! Files of a module do not import each other in a circle. `docs/ARCHITECTURE.md` says what each file
//! is for, and follows one request through them.
//!
//! # Driving the engine
//!
//! [`proxy::Proxy`] takes events (`handle_*`, each with the time) and returns commands
//! ([`proxy::Proxy::poll_command`], called until `None` after every `handle_*`). Each connection has
//! two windows: [`proxy::Proxy::room`] to read into (empty: back-pressure) and
//! [`proxy::Proxy::pending`] to write from (empty: nothing to write). The loop looks at them again
//! when [`proxy::Proxy::poll_ready`] names the connection. Interest in a socket is derived from the
//! two windows. A large body that is forwarded unchanged need not enter the process at all:
//! [`proxy::Proxy::splice_offer`] offers it, and the loop moves it through a pipe.
//!
//! # Scope
//!
//! HTTP/1.0 and HTTP/1.1, plain and over TLS, on both sides; WebSocket tunnels; several targets with
//! health checks; authentication. No HTTP/2, no caching, no compression, no transformation of
//! bodies.

// A peer's bytes must not cause an overflow: every sum says what happens at the end of the scale.
// The two modules exempt below read no bytes of a peer.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod acme;
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
pub mod diff;
pub mod digits;
pub mod explain;
pub mod fifo;
pub mod http;
pub mod limits;
pub mod net;
pub mod observe;
pub mod optional;
pub mod pem;
pub mod policy;
pub mod prompt;
#[expect(
    clippy::arithmetic_side_effects,
    reason = "a property that overflows fails, as it should"
)]
pub mod properties;
pub mod proxy;
pub mod record;
pub mod resp;
pub mod slab;
pub mod sort;
pub mod time;
pub mod transport;
pub mod upstream;
pub mod wheel;
