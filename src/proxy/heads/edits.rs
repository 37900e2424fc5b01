//! Header edits: the last change of a head, made when all of it is written. Framing fields and
//! fields of the connection stay, whatever an edit says: `config` refuses their names, and here
//! their lines are kept.

use crate::buffer::Buffer;
use crate::cost;
use crate::http::emit::{HeadTooLarge, has_no_framing};
use crate::http::field::{Name, NameSet};
use crate::policy::edits::{Edits, Facts, HeaderEdits};

use super::retarget::HOST;

/// Fields that no edit removes.
const KEPT: NameSet = NameSet::of(&[
    Name::Host,
    Name::ContentLength,
    Name::TransferEncoding,
    Name::Connection,
    Name::Upgrade,
    Name::Via,
]);

/// Edits a request head, with which the buffer begins.
///
/// # Errors
/// The result does not fit: `out` needs room for the bound of the edits.
#[cold]
#[inline(never)]
pub(in crate::proxy) fn edit_request(
    out: &mut Buffer,
    edits: &Edits,
    facts: &Facts<'_>,
) -> Result<(), HeadTooLarge> {
    if let Some(host) = &edits.host {
        set_host(out, host.as_bytes()).ok_or(HeadTooLarge)?;
    }
    edit(out, 0, &edits.request, facts)
}

/// Replaces the value of `Host` in the head with which the buffer begins; `None`: it does not fit.
fn set_host(out: &mut Buffer, host: &[u8]) -> Option<()> {
    let head = out.filled();
    cost::count(head.len());
    let start = head.windows(HOST.len()).position(|window| window == HOST)?;
    let start = start.saturating_add(HOST.len());
    let end = head.get(start..)?.iter().position(|&byte| byte == b'\r')?;
    let end = start.saturating_add(end);
    let (before, new_end) = (head.len(), start.saturating_add(host.len()));
    let after = before.checked_sub(end)?.saturating_add(new_end);
    // The room for a longer value; what is in it does not matter.
    let longer = host.get(..after.saturating_sub(before)).unwrap_or(host);
    if !out.push(longer) {
        return None;
    }
    let head = out.filled_mut();
    head.copy_within(end..before, new_end);
    head.get_mut(start..new_end)?.copy_from_slice(host);
    out.truncate(after);
    Some(())
}

/// Edits the head that begins at the byte `start` of what `out` has. Bytes behind the head stay
/// behind it.
///
/// # Errors
/// The added lines do not fit: `out` needs room for their bound.
#[cold]
#[inline(never)]
pub(in crate::proxy) fn edit(
    out: &mut Buffer,
    start: usize,
    edits: &HeaderEdits,
    facts: &Facts<'_>,
) -> Result<(), HeadTooLarge> {
    if edits.is_empty() {
        return Ok(());
    }
    let message = out.filled_mut().get_mut(start..).unwrap_or_default();
    let (len, behind) = drop_lines(message, edits);
    out.truncate(start.saturating_add(len));
    let mut fits = true;
    edits.lines(facts, &mut |part| {
        debug_assert!(
            has_no_framing(part),
            "a framing field came in by another way"
        );
        fits &= out.push(part);
    });
    if !fits {
        return Err(HeadTooLarge);
    }
    // The lines go before the empty line and what follows it.
    let head_end = start.saturating_add(len).saturating_sub(behind);
    let rest = out.filled_mut().get_mut(head_end..).unwrap_or_default();
    cost::count(rest.len());
    rest.rotate_left(behind.min(rest.len()));
    Ok(())
}

/// Removes lines from the head at the start of a message. Returns the bytes that are left of the
/// message, and those of the empty line and what follows it.
fn drop_lines(message: &mut [u8], edits: &HeaderEdits) -> (usize, usize) {
    cost::count(message.len());
    let (mut read, mut write) = (0_usize, 0_usize);
    let mut is_field = false;
    loop {
        let rest = message.get(read..).unwrap_or_default();
        let line = rest.iter().position(|&byte| byte == b'\n');
        let line = line.map_or(rest.len(), |at| at.saturating_add(1));
        let text = rest.get(..line).unwrap_or_default();
        if text.is_empty() || text == b"\r\n" {
            let behind = rest.len();
            message.copy_within(read.., write);
            return (write.saturating_add(behind), behind);
        }
        let name = text.split(|&byte| byte == b':').next().unwrap_or_default();
        let is_dropped = is_field && edits.drops(name) && !KEPT.contains(Name::of(name));
        // The first line has no name.
        is_field = true;
        if !is_dropped {
            message.copy_within(read..read.saturating_add(line), write);
            write = write.saturating_add(line);
        }
        read = read.saturating_add(line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::buffer::BufferPool;
    use crate::policy::edits::{Line, Part};

    fn edited(message: &str, set: &[(&str, &str)], remove: &[&str]) -> String {
        let set = set.iter().map(|(name, value)| Line {
            name: (*name).to_owned(),
            parts: vec![Part::Text((*value).into())],
            written: String::new(),
        });
        let remove = remove.iter().map(|name| (*name).to_owned());
        let edits = HeaderEdits::new(&set.collect::<Vec<_>>(), &[], &remove.collect::<Vec<_>>());
        let mut out = BufferPool::new().lend(1000);
        assert!(out.push(b"before\r\n") && out.push(message.as_bytes()));
        edit(&mut out, 8, &edits, &Facts::default()).expect("room");
        let text = String::from_utf8_lossy(out.filled()).into_owned();
        text.strip_prefix("before\r\n")
            .expect("what was there")
            .to_owned()
    }

    #[test]
    fn lines_go_and_come() {
        let head = "HTTP/1.1 200 OK\r\nX-A: 1\r\nX-B: 2\r\nx-a: 3\r\nContent-Length: 5\r\n\r\nX-A: \r\n\r\n";
        for (set, remove, expected) in [
            (
                &[][..],
                &["X-A"][..],
                "HTTP/1.1 200 OK\r\nX-B: 2\r\nContent-Length: 5\r\n\r\nX-A: \r\n\r\n",
            ),
            (
                &[("X-A", "n"), ("X-C", "m")],
                &[],
                "HTTP/1.1 200 OK\r\nX-B: 2\r\nContent-Length: 5\r\nX-A: n\r\nX-C: m\r\n\r\nX-A: \r\n\r\n",
            ),
            (&[], &["HTTP/1.1 200 OK", "X-Z"], head),
        ] {
            assert_eq!(edited(head, set, remove), expected);
        }
        assert_eq!(
            edited("HTTP/1.1 204 \r\n\r\n", &[("X", "1")], &["X"]),
            "HTTP/1.1 204 \r\nX: 1\r\n\r\n"
        );
    }

    #[test]
    fn framing_stays_whatever_an_edit_says() {
        let head = "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 tollgate\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n";
        let names = [
            "host",
            "via",
            "connection",
            "upgrade",
            "content-length",
            "transfer-encoding",
        ];
        assert_eq!(edited(head, &[], &names), head);
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let add = [Line {
            name: "X".to_owned(),
            parts: vec![Part::Text("y".repeat(2000).into())],
            written: String::new(),
        }];
        let edits = HeaderEdits::new(&[], &add, &[]);
        let mut out = BufferPool::new().lend(100);
        assert!(out.push(b"HTTP/1.1 200 OK\r\n\r\n"));
        assert_eq!(
            edit(&mut out, 0, &edits, &Facts::default()),
            Err(HeadTooLarge)
        );
    }
}
