//! Watch of the files of a configuration: whether they have changed, without reading them.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use log::warn;

use super::super::config_files::ConfigFiles;
use super::super::workers::file_stamp::{FileStamp, stamp};
use crate::config::Config;

/// Watch of the files and folders that a reload alone reads again. After a reading that failed all
/// files that it looked for are watched: what is missing may come.
pub(super) struct Watch {
    path: PathBuf,
    /// Each file and folder of the last reading, with its stamp before that.
    seen: Vec<(PathBuf, FileStamp)>,
    /// Stamps of the last look, in the same order.
    last: Vec<FileStamp>,
    /// The file is in no folder any more: it is only mounted here.
    is_orphan: bool,
}

impl Watch {
    /// Watches nothing until [`was_read`](Self::was_read).
    pub(super) fn new(path: PathBuf) -> Watch {
        Watch {
            path,
            seen: Vec::new(),
            last: Vec::new(),
            is_orphan: false,
        }
    }

    /// Looks at the files. Returns true if they have changed since they were read, and are complete:
    /// two looks in a row are equal.
    pub(super) fn look(&mut self) -> bool {
        let now: Vec<_> = self.seen.iter().map(|(path, _)| stamp(path)).collect();
        let mut before = self.seen.iter().zip(&now);
        let is_changed = before.any(|((_, before), now)| before != now);
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

    /// Notes what was read, or looked for, and what came of it. What has changed since is seen by the
    /// next look.
    pub(super) fn was_read(&mut self, files: &ConfigFiles, config: Option<&Config>) {
        self.seen = files.stamps();
        if let Some(config) = config {
            let is_ours = |path: &PathBuf| config.included.binary_search(path).is_ok();
            self.seen
                .retain(|(path, _)| *path == self.path || is_ours(path));
        }
        self.last.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{remove_file, write};

    /// A file may change between its reading and the moment at which its configuration is used: all
    /// workers take it first. A file that was missing may come.
    #[test]
    fn what_changes_after_it_was_looked_for_is_seen() {
        let folder = std::env::temp_dir().join(format!("tollgate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let [main, one, two] = ["main.json", "one.json", "two.json"].map(|name| folder.join(name));
        let with = |name: &str| format!(r#"{{ "services": "{name}" }}"#);
        let service =
            |route: &str| format!(r#"[{{ "route": "{route}", "target": "http://127.0.0.1:1" }}]"#);
        let put = |path: &PathBuf, text: String| write(path, text).expect("a file");
        let mut watch = Watch::new(main.clone());
        let read = |watch: &mut Watch| {
            let files = ConfigFiles::on_disk();
            let config = files.load(&main);
            watch.was_read(&files, config.as_ref().ok());
            config.is_ok()
        };
        let looks = |watch: &mut Watch| [watch.look(), watch.look()];
        let (none, whole) = ([false, false], [false, true]);
        put(&main, with("one.json"));
        put(&one, service("/one"));
        assert!(read(&mut watch));
        assert_eq!(looks(&mut watch), none, "nothing has changed");

        put(&main, with("two.json"));
        assert_eq!(looks(&mut watch), whole, "it has, and is whole");
        assert!(!read(&mut watch), "it names a file that is missing");
        assert_eq!(looks(&mut watch), none, "it is read");
        put(&two, service("/two"));
        assert_eq!(looks(&mut watch), whole, "the file has come");
        assert!(read(&mut watch));
        put(&two, service("/three"));
        assert_eq!(looks(&mut watch), whole, "what is used is old");

        assert!(read(&mut watch));
        assert_eq!(looks(&mut watch), none, "it is read");
        put(&one, String::new());
        assert_eq!(looks(&mut watch), none, "nobody includes it");
        remove_file(&two).expect("there");
        assert_eq!(looks(&mut watch), whole, "it is gone");
        let _ = std::fs::remove_dir_all(&folder);
    }
}
