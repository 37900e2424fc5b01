//! The conversation with a store of counts.

use super::cost;
use crate::policy::store::session::{Account, Answer, Count, Fault, Session};
use crate::resp::LINE_BYTES_MAX;
use crate::time::Duration;

/// A store sends arbitrary replies. The first byte says how many counts await an answer, and whether
/// there is a password; the second the size of the pieces that the others come in. Pieces change
/// nothing, each count is answered at most once and in order, and no message is long.
pub fn store(bytes: &[u8]) {
    let [setup, piece, replies @ ..] = bytes else {
        return;
    };
    let piece = usize::from(*piece).max(1);
    let whole = converse(*setup, replies, replies.len().max(1));
    let cut = cost::within(replies.len(), cost::STORE_STEPS, 100, || {
        converse(*setup, replies, piece)
    });
    assert_eq!(whole, cut, "pieces of {piece} bytes");
    let (answers, fault) = whole;
    for (tag, answer) in (0..).zip(&answers) {
        assert_eq!(answer.tag, tag, "answers are in order");
        if let Err(text) = &answer.result {
            assert!(text.len() <= LINE_BYTES_MAX && text.is_ascii());
        }
    }
    assert!(answers.len() <= usize::from(setup >> 1), "one answer each");
    if let Some(Fault::Refused(text)) = fault {
        assert!(text.is_ascii(), "a message has no odd bytes");
    }
}

/// Feeds a conversation with replies. Returns its answers, and the fault that ended it.
fn converse(setup: u8, replies: &[u8], piece: usize) -> (Vec<Answer>, Option<Fault>) {
    let account = Account {
        password: (setup & 1 == 1).then(|| "pw".to_owned()),
        ..Account::default()
    };
    let mut out = Vec::new();
    let mut session = Session::begin(&account, &mut out);
    for tag in 0..u32::from(setup >> 1) {
        let count = Count {
            tag,
            key: b"tollgate:a",
            window: Duration::from_secs(60),
            number: 1,
        };
        session.count(count, &mut out);
    }
    let (mut answers, mut start, mut end) = (Vec::new(), 0_usize, 0_usize);
    while end < replies.len() {
        end = replies.len().min(end.saturating_add(piece));
        let fresh = replies.get(start..end).unwrap_or_default();
        match session.receive(fresh, &mut answers) {
            Ok(read) => start = start.saturating_add(read),
            Err(fault) => return (answers, Some(fault)),
        }
    }
    (answers, None)
}
