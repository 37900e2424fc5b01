//! Log level of the configuration, and another one for a while.

use log::{info, warn};

use super::super::workers::logger;
use crate::config::LogLevel;
use crate::config::schema::units::show_duration;
use crate::time::{Duration, Instant};

/// Log level of the gateway.
pub(in crate::net) struct CurrentLogLevel {
    configured: LogLevel,
    /// Level in place of the configured one, and its end.
    other: Option<(LogLevel, Instant)>,
}

impl CurrentLogLevel {
    /// Creates the level of the configuration, with which the logger was started.
    pub(in crate::net) fn new(configured: LogLevel) -> CurrentLogLevel {
        CurrentLogLevel {
            configured,
            other: None,
        }
    }

    /// Changes the level for a while. `who`: what asked for it.
    pub(in crate::net) fn change(
        &mut self,
        who: &str,
        level: LogLevel,
        time: Duration,
        now: Instant,
    ) {
        let before = self.current();
        self.other = Some((level, now.after(time)));
        let line = || {
            warn!(
                "{who}: the log level is {} for {}; the configuration says {}",
                level.as_str(),
                show_duration(time),
                self.configured.as_str()
            );
        };
        set(before, level, line);
    }

    /// Sets the level of a new configuration. A level that was changed for a while stays until its
    /// end.
    pub(in crate::net) fn configure(&mut self, configured: LogLevel) {
        self.configured = configured;
        logger::set_level(logger::filter(self.current()));
    }

    /// Returns the changed level, and how long it holds.
    pub(in crate::net) fn other(&self, now: Instant) -> Option<(LogLevel, Duration)> {
        let (level, end) = self.other?;
        Some((level, end.since(now)))
    }

    /// Returns the end of the changed level.
    pub(in crate::net) fn due(&self) -> Option<Instant> {
        self.other.map(|(_, end)| end)
    }

    /// Goes back to the configuration if the time is over.
    pub(in crate::net) fn expire(&mut self, now: Instant) {
        let Some((level, _)) = self.other.take_if(|(_, end)| *end <= now) else {
            return;
        };
        let configured = self.configured;
        set(level, configured, || {
            info!(
                "the log level is {} again, as in the configuration",
                configured.as_str()
            );
        });
    }

    fn current(&self) -> LogLevel {
        self.other.map_or(self.configured, |(level, _)| level)
    }
}

/// Changes the level of the logger, and logs that while the more verbose one of both levels holds.
fn set(before: LogLevel, after: LogLevel, line: impl FnOnce()) {
    logger::set_level(logger::filter(before.max(after)));
    line();
    logger::set_level(logger::filter(after));
}
