//! Reader of the configuration file: a thread reads, checks and compiles it, so that neither a slow
//! disk nor thousands of services stop the event loop. With `watch` the thread looks for changes of
//! the file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;

use super::super::workers::file_stamp::{FileStamp, stamp};
use super::super::workers::queue::{Empty, Receiver, Sender, unbounded};
use super::super::workers::spawn;
use super::loaded::Loaded;
use crate::config::Config;
use crate::config::changes::{Changes, Summary};
use crate::limits::CONFIG_LOOK;
use crate::proxy::Prepared;

/// Function that reads and checks the configuration. Its errors are lines for the operator.
pub type ReadConfig = Box<dyn Fn() -> Result<Config, Vec<String>> + Send>;

/// Result of reading the configuration. Its errors are lines for the operator.
pub(super) type ReadResult = Result<Box<Candidate>, Vec<String>>;

/// A configuration that was read, and what can be computed of it without the loop.
pub(in crate::net) struct Candidate {
    pub(in crate::net) loaded: Loaded,
    /// A copy of its settings, for the engine.
    pub(in crate::net) prepared: Prepared,
    /// Changes from the configuration of the moment, as text: with thousands of services, the values
    /// take longer to be given back than a turn of the loop may.
    pub(in crate::net) summary: Summary,
}

/// File of the configuration.
pub struct ConfigSource {
    /// Path of the file.
    pub path: PathBuf,
    /// Function that reads it.
    pub read: ReadConfig,
    stamp: FileStamp,
}

/// Order to the thread.
enum Order {
    /// Read the file.
    Read,
    /// Use this as the configuration of the moment.
    Use(Arc<Config>),
}

/// The thread, seen from the event loop.
pub(super) struct ConfigReader {
    orders: Sender<Order>,
    results: Receiver<ReadResult>,
}

impl ConfigSource {
    /// Names the file. Call it before the file is read for the first time: what changes afterwards
    /// is seen by the watch.
    pub fn new(path: PathBuf, read: ReadConfig) -> ConfigSource {
        let stamp = stamp(&path);
        ConfigSource { path, read, stamp }
    }
}

impl ConfigReader {
    /// Starts the thread. It wakes the loop by `waker` after each reading. `current`: the
    /// configuration of the moment, which says whether the thread looks for changes of the file.
    ///
    /// # Errors
    /// The thread does not start.
    pub(super) fn start(
        source: ConfigSource,
        current: Arc<Config>,
        waker: Arc<Waker>,
    ) -> std::io::Result<ConfigReader> {
        let (orders, ordered) = unbounded();
        let (results, read) = unbounded();
        let tell = move |result| results.send(result).is_ok() && waker.wake().is_ok();
        let run = move || work(source, current, &ordered, &tell);
        spawn("configuration", Box::new(run))?;
        Ok(ConfigReader {
            orders,
            results: read,
        })
    }

    /// Has the file read. The thread lives as long as the loop does.
    pub(super) fn read(&self) {
        let _ = self.orders.send(Order::Read);
    }

    /// Tells the thread which configuration is the one of the moment. The thread gives the storage
    /// of the one before back.
    pub(super) fn use_current(&self, current: Arc<Config>) {
        let _ = self.orders.send(Order::Use(current));
    }

    /// Returns the result of the next reading, if there is one.
    pub(super) fn poll(&self) -> Option<ReadResult> {
        self.results.poll()
    }
}

/// Returns the stamps of the file, and of the files and folders that it includes.
fn stamps(path: &Path, config: &Config) -> Vec<FileStamp> {
    let included = config.included.iter().map(|path| stamp(path));
    core::iter::once(stamp(path)).chain(included).collect()
}

fn work(
    source: ConfigSource,
    mut current: Arc<Config>,
    orders: &Receiver<Order>,
    tell: &dyn Fn(ReadResult) -> bool,
) {
    let look = Duration::from_millis(CONFIG_LOOK.as_millis());
    // The file was looked at before it was read for the first time.
    let mut seen = stamps(&source.path, &current);
    if let Some(first) = seen.first_mut() {
        *first = source.stamp;
    }
    let mut last = seen.clone();
    loop {
        match orders.receive(current.watch.then_some(look)) {
            Ok(Order::Read) => {}
            Ok(Order::Use(config)) => {
                // Files that only one of the two reads are no change.
                if config.included != current.included {
                    seen = stamps(&source.path, &config);
                    last.clone_from(&seen);
                }
                current = config;
                continue;
            }
            Err(Empty::Closed) => return,
            Err(Empty::TimedOut) => {
                // Two equal looks in a row: the file is complete.
                let now = stamps(&source.path, &current);
                let settled = now == last && now != seen;
                last = now;
                if !settled {
                    continue;
                }
            }
        }
        // What changes while the files are read is seen by the next look.
        seen = stamps(&source.path, &current);
        last.clone_from(&seen);
        let result = (source.read)().and_then(Loaded::new);
        let result = result.map(|loaded| Box::new(Candidate::new(loaded, &current)));
        if !tell(result) {
            return;
        }
    }
}

impl Candidate {
    fn new(loaded: Loaded, current: &Config) -> Candidate {
        Candidate {
            prepared: loaded.config.settings.clone().into(),
            summary: Changes::between(current, &loaded.config).summary(),
            loaded,
        }
    }
}
