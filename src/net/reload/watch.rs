//! Watch of the files of a configuration: whether they have changed, without reading them.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use log::warn;

use super::super::workers::file_stamp::{FileStamp, stamp};
use crate::config::Config;

/// Watch of the file, and of the files and folders that it includes.
pub(in crate::net) struct Watch {
    path: PathBuf,
    /// Stamps when the files were read.
    seen: Vec<FileStamp>,
    /// Stamps of the last look.
    last: Vec<FileStamp>,
    /// The file is in no folder any more: it is only mounted here.
    is_orphan: bool,
}

impl Watch {
    /// Begins with what was read at the start. `first`: stamp of the file before that. `config`: the
    /// configuration of the moment.
    pub(super) fn new(path: PathBuf, first: FileStamp, config: &Config) -> Watch {
        let mut watch = Watch {
            path,
            seen: Vec::new(),
            last: Vec::new(),
            is_orphan: false,
        };
        watch.is_read(config);
        if let Some(stamp) = watch.seen.first_mut() {
            *stamp = first;
        }
        watch.last.clone_from(&watch.seen);
        watch
    }

    /// Looks at the files. Returns true if they have changed since they were read, and are complete:
    /// two looks in a row are equal.
    pub(in crate::net) fn look(&mut self, config: &Config) -> bool {
        let now = self.stamps(config);
        let is_settled = now == self.last && now != self.seen;
        self.last = now;
        let found = std::fs::metadata(&self.path);
        let is_orphan = found.is_ok_and(|found| found.nlink() == 0);
        if is_orphan && !self.is_orphan {
            warn!(
                "{}: another file has taken its place, but this one is still mounted here; mount its folder, or mount it again",
                self.path.display()
            );
        }
        self.is_orphan = is_orphan;
        is_settled
    }

    /// Notes that the files are about to be read, or that others are read from now on. What changes
    /// afterwards is seen by the next look.
    pub(in crate::net) fn is_read(&mut self, config: &Config) {
        self.seen = self.stamps(config);
        self.last.clone_from(&self.seen);
    }

    fn stamps(&self, config: &Config) -> Vec<FileStamp> {
        let included = config.included.iter().map(|path| stamp(path));
        core::iter::once(stamp(&self.path))
            .chain(included)
            .collect()
    }
}
