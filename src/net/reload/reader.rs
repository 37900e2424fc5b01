//! Reader of the configuration file: a thread reads, checks and compiles it, so that neither a slow
//! disk nor thousands of services stop the event loop. With `watch` the thread looks for changes of
//! the file.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mio::Waker;

use super::super::config_files::ConfigFiles;
use super::super::worker_count;
use super::super::workers::queue::{Empty, Receiver, Sender, unbounded};
use super::super::workers::spawn;
use super::loaded::Loaded;
use super::watch::{Watch, look_every};
use crate::config::Config;
use crate::config::changes::{Changes, Summary};
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
    /// Files of the last reading, if their targets' are read again alone; a supervisor has its own.
    read_last: Option<OwnedFd>,
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
        ConfigSource {
            path,
            read,
            watch,
            read_last: None,
        }
    }

    /// Reads the configuration in these files, and all that it names.
    ///
    /// # Errors
    /// All faults found, a line for each.
    pub fn load(&mut self, files: &ConfigFiles) -> Result<Loaded, Vec<String>> {
        let read = (self.read)(files).and_then(|config| Loaded::new(config, files));
        let config = read.as_ref().ok().map(|loaded| &*loaded.config);
        self.watch.was_read(files, config);
        let keeps =
            |config: &&Config| !config.upstream_files.is_empty() && worker_count(config) == 1;
        let kept = config.filter(keeps).map(|_| files.to_memory());
        self.read_last = kept.and_then(Result::ok);
        read
    }

    /// Looks at the files. Returns those to read now, if some have changed and are complete.
    /// `accepted`: files of the configuration of the moment.
    pub(in crate::net) fn look(
        &mut self,
        config: &Config,
        accepted: Option<&OwnedFd>,
    ) -> Option<std::io::Result<ConfigFiles>> {
        self.watch.look(config, accepted)
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
    let mut accepted_now = source.read_last.take();
    loop {
        let look = look_every(&current).map(|every| Duration::from_millis(every.as_millis()));
        let files = match orders.receive(look) {
            Ok(Order::Read(None)) => Ok(ConfigFiles::on_disk()),
            Ok(Order::Read(Some(accepted))) => ConfigFiles::accepted(accepted),
            Ok(Order::Use(config)) => {
                current = config;
                accepted_now = source.read_last.take();
                continue;
            }
            Err(Empty::Closed) => return,
            Err(Empty::TimedOut) => match source.look(&current, accepted_now.as_ref()) {
                Some(changed) => changed,
                None => continue,
            },
        };
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
