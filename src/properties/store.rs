//! The conversation with a store of counts, from both sides.

use super::cost;
use crate::policy::store::counts::Counts;
use crate::policy::store::server::{COMMAND_BYTES_MAX, Malformed, Server};
use crate::policy::store::session::{Account, Answer, Count, Fault, Session};
use crate::resp::LINE_BYTES_MAX;
use crate::time::{Duration, Instant};

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

/// A worker sends arbitrary commands to its supervisor. The first byte is the size of the pieces that
/// the others come in, the second the number of keys that there is room for. Pieces change nothing,
/// replies are not much longer than commands, and neither keys nor commands pile up.
pub fn shared_counts(bytes: &[u8]) {
    let [piece, most, commands @ ..] = bytes else {
        return;
    };
    let most = usize::from(*most).max(1);
    let serve = |piece: usize| {
        let (mut counts, mut server) = (Counts::new(most, 1), Server::default());
        let (mut out, mut start, mut end) = (Vec::new(), 0_usize, 0_usize);
        while end < commands.len() {
            end = commands.len().min(end.saturating_add(piece));
            let fresh = commands.get(start..end).unwrap_or_default();
            match server.receive(fresh, &mut counts, Instant::ZERO, &mut out) {
                Ok(read) => start = start.saturating_add(read),
                Err(Malformed) => return (out, None),
            }
            assert!(counts.len() <= most, "keys beyond the bound");
            assert!(
                end.saturating_sub(start) <= COMMAND_BYTES_MAX,
                "a command piles up"
            );
        }
        (out, Some(start))
    };
    let whole = serve(commands.len().max(1));
    assert_eq!(whole, serve(usize::from(*piece).max(1)), "pieces");
    let longest = commands.len().saturating_mul(3);
    assert!(
        whole.0.len() <= longest,
        "{} bytes of replies",
        whole.0.len()
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Commands that are nearly right reach further than arbitrary bytes.
        #[test]
        fn workers_that_send_anything(
            parts in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(vec![
                        "*1\r\n$5\r\nMULTI\r\n", "*1\r\n$4\r\nEXEC\r\n", "*2\r\n$4\r\nPTTL\r\n$1\r\na\r\n",
                        "*6\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n0\r\n$2\r\nPX\r\n$2\r\n50\r\n$2\r\nNX\r\n",
                        "*6\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n0\r\n$2\r\nPX\r\n$2\r\n60\r\n$2\r\nNX\r\n",
                        "*3\r\n$6\r\nINCRBY\r\n$1\r\na\r\n$2\r\n-5\r\n", "*3\r\n$6\r\nINCRBY\r\n$1\r\nb\r\n$1\r\n9\r\n",
                        "*6\r\n$3\r\nSET\r\n$35\r\n00000000000000000000000000000000s50\r\n$1\r\n0\r\n$2\r\nPX\r\n$2\r\n50\r\n$2\r\nNX\r\n",
                        "*3\r\n$6\r\nINCRBY\r\n$35\r\n00000000000000000000000000000000s50\r\n$1\r\n9\r\n",
                        "*6\r\n$3\r\nSET\r\n$36\r\n00000000000000000000000000000000b0/0\r\n$1\r\n0\r\n$2\r\nPX\r\n$2\r\n50\r\n$2\r\nNX\r\n",
                        "*3\r\n$6\r\nINCRBY\r\n$36\r\n00000000000000000000000000000000b0/0\r\n$20\r\n-9223372036854775808\r\n",
                        "*1\r\n$1\r\nx\r\n", "*1\r\n", "$4\r\n", "\r\n", "*0\r\n", "$4097\r\n",
                    ]).prop_map(|text| text.as_bytes().to_vec()),
                    proptest::collection::vec(any::<u8>(), 0..4),
                ],
                0..60,
            ),
            piece in 1_u8..40,
            most in 0_u8..3,
        ) {
            shared_counts(&[&[piece, most][..], &parts.concat()].concat());
        }
    }
}
