//! Long answers, which are written piece by piece: a piece each time that the client has taken the
//! one before. So neither their memory nor the time of one turn grows with the configuration.

use super::facts::GatewayState;
use super::metrics;
use super::state::{POLICY, State};
use crate::observe::metrics::exposition::Format;
use crate::proxy::metrics::{Piece, Scrape};

/// Answer that is made while it is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Document {
    /// Metrics of the process, then those of the engine.
    Metrics(Format),
    /// The state as JSON.
    State,
    /// The status page.
    Page,
}

/// A document that is being written.
pub(super) struct Stream {
    source: Source,
    is_begun: bool,
}

enum Source {
    Metrics(Scrape),
    State(Box<State>),
}

impl Document {
    /// Returns the media type.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Document::Metrics(format) => format.media_type(),
            Document::State => "application/json",
            Document::Page => "text/html; charset=utf-8",
        }
    }

    /// Returns the value of `Content-Security-Policy`.
    pub(super) fn policy(self) -> Option<&'static str> {
        (self == Document::Page).then_some(POLICY)
    }

    /// Begins the document.
    pub(super) fn open(self, state: &GatewayState<'_>) -> Stream {
        let source = match self {
            Document::Metrics(format) => Source::Metrics(Scrape::new(state.proxy, format)),
            Document::State | Document::Page => {
                let is_page = self == Document::Page;
                Source::State(Box::new(State::new(state, is_page)))
            }
        };
        Stream {
            source,
            is_begun: false,
        }
    }
}

impl Stream {
    /// Appends the next piece.
    pub(super) fn write(&mut self, state: &GatewayState<'_>, out: &mut Vec<u8>) -> Piece {
        let is_first = !core::mem::replace(&mut self.is_begun, true);
        match &mut self.source {
            Source::Metrics(scrape) => {
                if is_first {
                    metrics::write(&(state.facts)(), scrape.format(), out);
                }
                scrape.write(state.proxy, out)
            }
            Source::State(source) => source.write(state, out),
        }
    }
}
