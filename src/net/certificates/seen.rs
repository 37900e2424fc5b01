//! Changes of a folder that another process writes, since it was read.
//!
//! The stamp is taken before the folder is read: a change in between is noticed at the next look.
//! Changes within one tick of the disk's clock have one stamp, so one that was taken right behind a
//! change may hide the next change. A stamp counts when the read before had the same one.

use crate::net::workers::file_stamp::FileStamp;

/// State of a folder when it was read.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    stamp: FileStamp,
    /// The read before had the same stamp.
    is_settled: bool,
}

impl Seen {
    /// Takes the stamp of a folder, and reads the folder. `before`: its state at the read before, at
    /// least one tick ago.
    pub(super) fn read<T>(
        before: Option<Seen>,
        stamp: impl FnOnce() -> FileStamp,
        read: impl FnOnce() -> T,
    ) -> (Seen, T) {
        let stamp = stamp();
        let seen = Seen {
            stamp,
            is_settled: before.is_some_and(|before| before.stamp == stamp),
        };
        (seen, read())
    }

    /// Returns true if the folder must be read again. `now`: its stamp now.
    pub(super) fn is_outdated(self, now: FileStamp) -> bool {
        !self.is_settled || now != self.stamp
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;

    /// Folder with a number as its content, and the tick of its last change.
    #[derive(Default)]
    struct Folder {
        content: Cell<u32>,
        changed: Cell<i64>,
        tick: Cell<i64>,
    }

    impl Folder {
        fn change_if(&self, is_changed: bool) {
            if is_changed {
                self.content.set(self.content.get() + 1);
                self.changed.set(self.tick.get());
            }
        }

        fn stamp(&self) -> FileStamp {
            Some((1, 1, self.changed.get(), 0, 0))
        }
    }

    /// Changes come before a look, between stamp and read, and behind the read, all within one tick.
    /// After each series of looks with such changes, two quiet looks are enough.
    #[test]
    fn no_change_is_missed() {
        const LOOKS: u32 = 4;
        for changes in 0..1_u32 << (3 * LOOKS) {
            let folder = Folder::default();
            let mut seen = None;
            let mut known = 0;
            for look in 0..LOOKS + 2 {
                let changes = changes >> (3 * look).min(31);
                folder.tick.set(folder.tick.get() + 1);
                folder.change_if(changes & 1 != 0);
                if seen.is_none_or(|seen: Seen| seen.is_outdated(folder.stamp())) {
                    let read = || {
                        folder.change_if(changes & 2 != 0);
                        folder.content.get()
                    };
                    let (now, content) = Seen::read(seen, || folder.stamp(), read);
                    (seen, known) = (Some(now), content);
                }
                folder.change_if(changes & 4 != 0);
            }
            assert_eq!(known, folder.content.get(), "{changes:b}");
            let is_outdated = seen.is_some_and(|seen| seen.is_outdated(folder.stamp()));
            assert!(!is_outdated, "{changes:b}: a quiet folder is not read");
        }
    }
}
