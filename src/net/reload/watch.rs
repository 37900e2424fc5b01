//! Watch of the files of a configuration: whether they have changed, without reading them.

use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use log::{info, warn};

use super::super::config_files::ConfigFiles;
use super::super::workers::certificate_watcher::ExpiryWarnings;
use super::super::workers::file_stamp::{FileStamp, stamp};
use crate::config::Config;
use crate::limits::{CERTIFICATES_LOOK, CONFIG_LOOK};
use crate::time::Duration;

/// Watch of the files that a configuration is made of, but for the certificates of listeners.
pub(super) struct Watch {
    path: PathBuf,
    /// Files that a reload alone reads again. After a reading that failed these are all that it looked
    /// for: what is missing may come.
    own: Looks,
    /// Files of the TLS settings of targets, which are read again without a reload.
    upstream: Looks,
    /// The file is in no folder any more: it is only mounted here.
    is_orphan: bool,
    warnings: ExpiryWarnings,
}

/// Files and folders, and what was seen of them.
#[derive(Default)]
struct Looks {
    /// Each file and folder of the last reading, with its stamp before that.
    seen: Vec<(PathBuf, FileStamp)>,
    /// Stamps of the last look, in the same order.
    last: Vec<FileStamp>,
}

impl Looks {
    fn of(seen: Vec<(PathBuf, FileStamp)>) -> Looks {
        let last = Vec::new();
        Looks { seen, last }
    }

    /// Returns true if the files have changed since they were read, and are complete: two looks in a
    /// row are equal.
    fn look(&mut self) -> bool {
        let now: Vec<_> = self.seen.iter().map(|(path, _)| stamp(path)).collect();
        let mut before = self.seen.iter().zip(&now);
        let is_changed = before.any(|((_, before), now)| before != now);
        let is_settled = now == self.last && is_changed;
        self.last = now;
        is_settled
    }
}

/// Returns the time from one look to the next; `None`: nothing is looked at.
pub(in crate::net) fn look_every(config: &Config) -> Option<Duration> {
    match (config.watch, config.upstream_files.is_empty()) {
        (true, _) => Some(CONFIG_LOOK),
        (false, false) => Some(CERTIFICATES_LOOK),
        (false, true) => None,
    }
}

fn holds(sorted: &[PathBuf], path: &Path) -> bool {
    sorted.binary_search_by(|one| (**one).cmp(path)).is_ok()
}

impl Watch {
    /// Watches nothing until [`was_read`](Self::was_read).
    pub(super) fn new(path: PathBuf) -> Watch {
        Watch {
            path,
            own: Looks::default(),
            upstream: Looks::default(),
            is_orphan: false,
            warnings: ExpiryWarnings::default(),
        }
    }

    /// Looks at the files. Returns those to read now: all, or of the configuration that was `accepted`
    /// what its targets are verified with. Warns of certificates that end.
    pub(super) fn look(
        &mut self,
        config: &Config,
        accepted: Option<&OwnedFd>,
    ) -> Option<std::io::Result<ConfigFiles>> {
        self.warnings
            .warn("upstreams", config.client_certificates());
        if config.watch {
            self.look_for_mount();
            if self.own.look() {
                return Some(Ok(ConfigFiles::on_disk()));
            }
        }
        let accepted = accepted?;
        if !self.upstream.look() {
            return None;
        }
        info!(
            "a file of the \"tls\" of a target has changed; it is read with the configuration of the moment"
        );
        let is_kept = |path: &Path| self.is_own(config, path);
        let accepted = accepted.try_clone();
        Some(accepted.and_then(|accepted| ConfigFiles::renewed(accepted, is_kept)))
    }

    /// Returns true if a reload alone reads a file again.
    fn is_own(&self, config: &Config, path: &Path) -> bool {
        path == self.path || holds(&config.included, path)
    }

    fn look_for_mount(&mut self) {
        let found = std::fs::metadata(&self.path);
        let is_orphan = found.is_ok_and(|found| found.nlink() == 0);
        if is_orphan && !self.is_orphan {
            warn!(
                "{}: another file has taken its place, but this one is still mounted here; mount its folder, or mount it again",
                self.path.display()
            );
        }
        self.is_orphan = is_orphan;
    }

    /// Notes what was read, or looked for, and what came of it. What has changed since is seen by the
    /// next look.
    pub(super) fn was_read(&mut self, files: &ConfigFiles, config: Option<&Config>) {
        let read = files.stamps();
        let of = |is_in: &dyn Fn(&Path) -> bool| {
            let read = read.iter().filter(|(path, _)| is_in(path));
            Looks::of(read.cloned().collect())
        };
        // Otherwise the configuration of the moment was read with other files of targets.
        let is_whole = read.first().is_some_and(|(path, _)| *path == self.path);
        let Some(config) = config else {
            let looks = if is_whole {
                &mut self.own
            } else {
                &mut self.upstream
            };
            *looks = of(&|_| true);
            return;
        };
        self.upstream = of(&|path| holds(&config.upstream_files, path));
        if is_whole {
            self.own = of(&|path| self.is_own(config, path));
            self.warnings = ExpiryWarnings::default();
        }
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
        let looks = |watch: &mut Watch| [watch.own.look(), watch.own.look()];
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
