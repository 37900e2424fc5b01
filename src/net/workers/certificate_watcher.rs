//! Watcher of certificate files: a thread looks for changes, and warns before certificates expire.
//!
//! The thread reads the files, so that a slow disk does not stall the event loop. A change is acted
//! on once two looks in a row see the same: certificate and key are seldom replaced at the same
//! instant.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use log::{error, warn};
use mio::Waker;

use super::file_stamp::{FileStamp, stamp};
use super::queue::{Empty, Receiver, Sender, unbounded};
use super::spawn;
use crate::limits::{CERTIFICATES_LOOK, EXPIRY_WARNING};
use crate::time::UnixTime;
use crate::transport::server::{ServerTls, TlsFiles};

/// Files of a TLS listener, and the TLS settings made from them.
#[derive(Clone)]
pub struct WatchedListener {
    /// Index of the listener.
    pub listener: usize,
    /// Files of the listener.
    pub files: TlsFiles,
    /// TLS settings made from the files.
    pub tls: ServerTls,
}

/// The thread, seen from the event loop.
pub struct CertificateWatcher {
    /// Listeners, their files, and the TLS settings that were made from them.
    watched: Vec<WatchedListener>,
    /// Closed when the watcher is dropped, which ends the thread.
    _end: Sender<()>,
    fresh: Receiver<(usize, ServerTls)>,
}

impl CertificateWatcher {
    /// Starts the thread. It wakes the loop by `waker` after each reload.
    ///
    /// # Errors
    /// The thread does not start.
    pub fn watch(
        listeners: Vec<WatchedListener>,
        waker: Arc<Waker>,
    ) -> io::Result<CertificateWatcher> {
        let (end, ended) = unbounded();
        let watched = listeners.clone();
        let (found, fresh) = unbounded();
        let tell = move |listener, tls| found.send((listener, tls)).is_ok() && waker.wake().is_ok();
        let run = move || watch(listeners, &ended, &tell);
        spawn("certificates", Box::new(run))?;
        Ok(CertificateWatcher {
            watched,
            _end: end,
            fresh,
        })
    }

    /// Returns true if these are the listeners that it watches, with the same settings.
    pub fn watches(&self, listeners: &[WatchedListener]) -> bool {
        let is_same = |one: &WatchedListener, other: &WatchedListener| {
            one.listener == other.listener
                && one.files == other.files
                && one.tls.is_same(&other.tls)
        };
        self.watched.len() == listeners.len()
            && self
                .watched
                .iter()
                .zip(listeners)
                .all(|(one, other)| is_same(one, other))
    }

    /// Returns the index of a listener and its new TLS settings, if there are any.
    pub fn poll(&self) -> Option<(usize, ServerTls)> {
        self.fresh.poll()
    }
}

/// Files of one listener, with their stamps.
struct FileWatch {
    watched: WatchedListener,
    /// Stamps when this watch read the files; `None`: it has not. Another thread did so before, and they may
    /// have changed since, so they are read again at the first look.
    read: Option<Vec<FileStamp>>,
    /// Stamps at the last look.
    last: Vec<FileStamp>,
}

impl FileWatch {
    fn new(watched: WatchedListener) -> FileWatch {
        FileWatch {
            last: stamps(&watched.files),
            watched,
            read: None,
        }
    }

    /// Returns `true` if the files may differ from what was read, and did not change since the last
    /// look.
    fn has_settled_change(&mut self) -> bool {
        let now = stamps(&self.watched.files);
        let settled = now == self.last && self.read.as_ref() != Some(&now);
        self.last = now;
        settled
    }

    /// Reads the files. Returns new settings; `None`: the ones in use stay, because the files are the same
    /// or invalid.
    fn reload(&mut self) -> Option<ServerTls> {
        self.last = stamps(&self.watched.files);
        self.read = Some(self.last.clone());
        match ServerTls::load(&self.watched.files, &|path| std::fs::read(path)) {
            Ok(fresh) if fresh.is_same(&self.watched.tls) => None,
            Ok(fresh) => {
                self.watched.tls = fresh.clone();
                Some(fresh)
            }
            Err(faults) => {
                for fault in faults {
                    error!("{fault}; the certificates that were read before stay in use");
                }
                None
            }
        }
    }
}

fn watch(
    listeners: Vec<WatchedListener>,
    ended: &Receiver<()>,
    tell: &dyn Fn(usize, ServerTls) -> bool,
) {
    let mut watches = listeners
        .into_iter()
        .map(FileWatch::new)
        .collect::<Vec<_>>();
    let mut warnings = ExpiryWarnings::default();
    loop {
        let ends = watches
            .iter()
            .flat_map(|watch| watch.watched.tls.expiries());
        warnings.warn("clients", ends);
        let look = Duration::from_millis(CERTIFICATES_LOOK.as_millis());
        if ended.receive(Some(look)) != Err(Empty::TimedOut) {
            return;
        }
        for watch in &mut watches {
            if !watch.has_settled_change() {
                continue;
            }
            let Some(fresh) = watch.reload() else {
                continue;
            };
            warn_of_expiry("clients", fresh.expiries());
            if !tell(watch.watched.listener, fresh) {
                return;
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> Vec<FileStamp> {
    let pairs = files
        .certificates
        .iter()
        .flat_map(|pair| [pair.certificate.as_path(), pair.key.as_path()]);
    pairs.chain(files.client_ca.as_deref()).map(stamp).collect()
}

/// Warnings about certificates that end, once a day.
#[derive(Default)]
pub(in crate::net) struct ExpiryWarnings(Option<Instant>);

impl ExpiryWarnings {
    /// Warns, if it is time, of those that end soon. `who`: those who refuse them afterwards.
    pub(in crate::net) fn warn<'a>(
        &mut self,
        who: &str,
        ends: impl Iterator<Item = (&'a Path, UnixTime)>,
    ) {
        let day = Duration::from_secs(24 * 3600);
        if self.0.is_none_or(|at| at.elapsed() >= day) {
            self.0 = Some(Instant::now());
            warn_of_expiry(who, ends);
        }
    }
}

fn warn_of_expiry<'a>(who: &str, ends: impl Iterator<Item = (&'a Path, UnixTime)>) {
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let now = UnixTime::from_millis(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX));
    for (path, end) in ends {
        if let Some(notice) = expiry_notice(who, end, now) {
            warn!("{}: {notice}", path.display());
        }
    }
}

/// Returns the warning for a certificate that ends soon or has ended.
fn expiry_notice(who: &str, end: UnixTime, now: UnixTime) -> Option<String> {
    let left = end.as_millis().saturating_sub(now.as_millis());
    if left == 0 {
        return Some(format!(
            "this certificate has expired, and {who} refuse it; put a new one in its place"
        ));
    }
    if left >= EXPIRY_WARNING.as_millis() {
        return None;
    }
    let hours = left / 3_600_000;
    let left = if hours < 48 {
        format!("{hours} hours")
    } else {
        format!("{} days", hours / 24)
    };
    Some(format!(
        "this certificate expires in {left}; put a new one in its place, it is read without a restart"
    ))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::transport::server::{CertificateFiles, ClientAuth, TlsVersion};

    /// Writes a new certificate and its key into a folder.
    fn put(folder: &Path) -> TlsFiles {
        let made = rcgen::generate_simple_self_signed(vec!["gate.test".to_owned()]).expect("made");
        let write = |name: &str, text: String| -> PathBuf {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        TlsFiles {
            certificates: vec![CertificateFiles {
                certificate: write("a.pem", made.cert.pem()),
                key: write("a.key", made.signing_key.serialize_pem()),
            }],
            ordered: Vec::new(),
            contact: None,
            min_version: TlsVersion::Tls12,
            client_ca: None,
            client_auth: ClientAuth::Required,
        }
    }

    /// A reload reads the files, and its watch begins later. What changes between the two is found.
    #[test]
    fn a_change_before_the_watch_begins_is_noticed() {
        let folder = std::env::temp_dir().join(format!("tollgate-watch-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        for changes in [true, false] {
            let files = put(&folder);
            let tls = ServerTls::load(&files, &|path| std::fs::read(path)).expect("valid");
            if changes {
                put(&folder);
            }
            let mut watch = FileWatch::new(WatchedListener {
                listener: 0,
                files,
                tls: tls.clone(),
            });
            assert!(watch.has_settled_change(), "the first look");
            let fresh = watch.reload();
            assert_eq!(fresh.is_some(), changes);
            assert_eq!(watch.watched.tls.is_same(&tls), !changes);
            assert!(!watch.has_settled_change(), "nothing changed since");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
    }

    #[test]
    fn expiry_is_announced_two_weeks_ahead() {
        const HOUR: u64 = 3_600_000;
        let now = UnixTime::from_millis(1_000 * HOUR);
        for (hours, part) in [
            (14 * 24, None),
            (13 * 24 + 23, Some("in 13 days")),
            (47, Some("in 47 hours")),
            (0, Some("has expired")),
        ] {
            let notice = expiry_notice(
                "clients",
                UnixTime::from_millis((1_000 + hours) * HOUR),
                now,
            );
            match part {
                None => assert_eq!(notice, None),
                Some(part) => {
                    assert!(
                        notice.as_ref().is_some_and(|notice| notice.contains(part)),
                        "{hours}: {notice:?}"
                    )
                }
            }
        }
        assert!(expiry_notice("clients", UnixTime::from_millis(0), now).is_some());
    }
}
