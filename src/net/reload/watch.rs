//! Watch of the files of a configuration: whether they have changed, without reading them.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::warn;

use super::super::workers::file_stamp::{FileStamp, stamp};
use crate::config::Config;
use crate::sort::sort_by;

/// Watch of the file, and of the files and folders that it includes.
pub(in crate::net) struct Watch {
    path: PathBuf,
    /// Each file and folder that was read, in the order of the paths, with its stamp before that.
    seen: Vec<(PathBuf, FileStamp)>,
    /// Stamps of the last look, in the order of the configuration.
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
        watch.begin_reading(config);
        watch.seen.retain(|(path, _)| *path != watch.path);
        watch.add(vec![(watch.path.clone(), first)]);
        watch
    }

    /// Looks at the files. Returns true if they have changed since they were read, and are complete:
    /// two looks in a row are equal.
    pub(in crate::net) fn look(&mut self, config: &Config) -> bool {
        let now = self.stamps(config);
        let is_changed = self
            .paths(config)
            .zip(&now)
            .any(|(path, now)| self.seen(path) != Some(now));
        let is_settled = now == self.last && is_changed;
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

    /// Notes that the files of the moment are about to be read. What changes afterwards is seen by
    /// the next look.
    pub(in crate::net) fn begin_reading(&mut self, config: &Config) {
        self.last = self.stamps(config);
        let paths = self.paths(config).cloned();
        self.seen = paths.zip(self.last.iter().copied()).collect();
        self.add(Vec::new());
    }

    /// Notes what was read, each with its stamp before that: a new configuration may include files
    /// that the one of the moment does not.
    pub(in crate::net) fn end_reading(&mut self, mut read: Vec<(PathBuf, FileStamp)>) {
        read.retain(|(path, _)| self.seen(path).is_none());
        self.add(read);
    }

    /// Looks at the files of this configuration from now on.
    pub(in crate::net) fn follow(&mut self, config: &Config) {
        let unseen = self.paths(config).filter(|path| self.seen(path).is_none());
        let unseen = unseen.map(|path| (path.clone(), stamp(path)));
        self.add(unseen.collect());
    }

    fn add(&mut self, more: Vec<(PathBuf, FileStamp)>) {
        self.seen.extend(more);
        sort_by(&mut self.seen, |one, other| one.0.cmp(&other.0));
    }

    /// Returns the stamp that a file had before it was read.
    fn seen(&self, path: &Path) -> Option<&FileStamp> {
        let found = self.seen.binary_search_by(|(known, _)| (**known).cmp(path));
        found.ok().and_then(|at| Some(&self.seen.get(at)?.1))
    }

    fn paths<'a>(&'a self, config: &'a Config) -> impl Iterator<Item = &'a PathBuf> {
        core::iter::once(&self.path).chain(&config.included)
    }

    fn stamps(&self, config: &Config) -> Vec<FileStamp> {
        self.paths(config).map(|path| stamp(path)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::config_files::ConfigFiles;
    use crate::net::workers::file_stamp::stamp;
    use std::fs::write;

    /// An included file may change between its reading and the moment at which its configuration is
    /// used: all workers take it first.
    #[test]
    fn a_change_before_the_configuration_is_used_is_seen() {
        let folder = std::env::temp_dir().join(format!("tollgate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let [main, one, two] = ["main.json", "one.json", "two.json"].map(|name| folder.join(name));
        let with = |name: &str| format!(r#"{{ "services": "{name}" }}"#);
        let service =
            |route: &str| format!(r#"[{{ "route": "{route}", "target": "http://127.0.0.1:1" }}]"#);
        for (path, text) in [
            (&main, with("one.json")),
            (&one, service("/one")),
            (&two, service("/two")),
        ] {
            write(path, text).expect("a file");
        }
        let read = || {
            let files = ConfigFiles::on_disk();
            let config = files.load(&main).expect("a good configuration");
            (config, files.stamps())
        };
        let first = stamp(&main);
        let (old, _) = read();
        let mut watch = Watch::new(main.clone(), first, &old);
        assert!(
            !watch.look(&old) && !watch.look(&old),
            "nothing has changed"
        );

        write(&main, with("two.json")).expect("a file");
        assert!(
            !watch.look(&old) && watch.look(&old),
            "it has, and is whole"
        );
        watch.begin_reading(&old);
        let (new, stamps) = read();
        watch.end_reading(stamps);
        write(&two, service("/three")).expect("a file");
        watch.follow(&new);
        assert!(!watch.look(&new) && watch.look(&new), "what is used is old");

        watch.begin_reading(&new);
        let (new, stamps) = read();
        watch.end_reading(stamps);
        watch.follow(&new);
        assert!(!watch.look(&new) && !watch.look(&new), "it is read");
        write(&one, "").expect("a file");
        assert!(!watch.look(&new) && !watch.look(&new), "nobody includes it");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
