//! Reader of the configuration file: a thread reads, checks and compiles it, so that neither a slow
//! disk nor thousands of services stop the event loop. With `watch` the thread looks for changes of
//! the file.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;

use super::super::config_files::ConfigFiles;
use super::super::workers::queue::{Empty, Receiver, Sender, unbounded};
use super::super::workers::spawn;
use super::loaded::Loaded;
use super::watch::Watch;
use crate::config::Config;
use crate::config::changes::{Changes, Summary};
use crate::limits::CONFIG_LOOK;
use crate::proxy::Prepared;

/// Function that reads and checks the configuration in these files. Its errors are lines for the
/// operator.
pub type ReadConfig = Box<dyn Fn(&ConfigFiles) -> Result<Config, Vec<String>> + Send>;

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
    watch: Watch,
}

/// Order to the thread.
enum Order {
    /// Read the file, or what a supervisor has accepted.
    Read(Option<OwnedFd>),
    /// Use this as the configuration of the moment.
    Use(Arc<Config>),
}

/// The thread, seen from the event loop.
pub(super) struct ConfigReader {
    orders: Sender<Order>,
    results: Receiver<ReadResult>,
}

impl ConfigSource {
    /// Names the file.
    pub fn new(path: PathBuf, read: ReadConfig) -> ConfigSource {
        let watch = Watch::new(path.clone());
        ConfigSource { path, read, watch }
    }

    /// Reads the configuration in these files, and all that it names.
    ///
    /// # Errors
    /// All faults found, a line for each.
    pub fn load(&mut self, files: &ConfigFiles) -> Result<Loaded, Vec<String>> {
        let read = (self.read)(files).and_then(|config| Loaded::new(config, files));
        let config = read.as_ref().ok().map(|loaded| &*loaded.config);
        self.watch.was_read(files, config);
        read
    }

    /// Returns true if the files have changed since they were read, and are complete.
    pub(in crate::net) fn is_changed(&mut self) -> bool {
        self.watch.look()
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

    /// Has the file read. `accepted`: what a supervisor has accepted, in place of the disk. The thread
    /// lives as long as the loop does.
    pub(super) fn read(&self, accepted: Option<OwnedFd>) {
        let _ = self.orders.send(Order::Read(accepted));
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

fn work(
    mut source: ConfigSource,
    mut current: Arc<Config>,
    orders: &Receiver<Order>,
    tell: &dyn Fn(ReadResult) -> bool,
) {
    let look = Duration::from_millis(CONFIG_LOOK.as_millis());
    loop {
        let mut files = Ok(ConfigFiles::on_disk());
        match orders.receive(current.watch.then_some(look)) {
            Ok(Order::Read(None)) => {}
            Ok(Order::Read(Some(accepted))) => files = ConfigFiles::accepted(accepted),
            Ok(Order::Use(config)) => {
                current = config;
                continue;
            }
            Err(Empty::Closed) => return,
            Err(Empty::TimedOut) => {
                if !source.is_changed() {
                    continue;
                }
            }
        }
        let files = files.map_err(|error| vec![format!("what came cannot be read: {error}")]);
        let result = files.and_then(|files| source.load(&files));
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
