//! Conversation with a store: commands out, replies in.
//!
//! ```text
//! AUTH, SELECT (where configured) --> counts, pipelined --> ..
//!
//! one count:   MULTI  SET key 0 PX window NX  INCRBY key number  PTTL key  EXEC
//! its replies: +OK    +QUEUED                 +QUEUED            +QUEUED   *3 (+OK or null) :total :ms
//! ```
//!
//! Replies come in the order of the commands, so that a queue of what is awaited gives each reply its
//! meaning. A reply that cannot stand where it stands ends the conversation: what follows could be
//! taken for another reply. An error of the server inside a count ends this count alone.

use core::fmt;
use std::collections::VecDeque;

use crate::digits;
use crate::resp::{self, Reader, Token};
use crate::time::Duration;

/// Time that the key of a probe lives.
const PROBE_WINDOW: Duration = Duration::from_secs(1);

/// Bytes of an error of the server that are kept.
const ERROR_BYTES: usize = 160;

/// Credentials of the gateway, and the database of the store that it uses.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Account {
    /// User of the access control list; `None`: the default user.
    pub user: Option<String>,
    /// Password; `None`: the server asks for none.
    pub password: Option<String>,
    /// Number of the database.
    pub database: u32,
}

/// Text without the secrets.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {}", self.database)
    }
}

/// A count that goes to the store.
#[derive(Clone, Copy)]
pub struct Count<'a> {
    /// Number by which the caller knows the count again.
    pub tag: u32,
    /// Key in the store.
    pub key: &'a [u8],
    /// Time that the key lives from its first count on.
    pub window: Duration,
    /// Number that is added; below zero: requests are taken back.
    pub number: i64,
}

/// Reply to a count.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Number of the count.
    pub tag: u32,
    /// Result.
    pub result: Result<Total, Box<str>>,
}

/// State of a key after a count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Total {
    /// Sum of all counts of the window, those of other gateways included.
    pub count: u64,
    /// Time until the window ends; `None`: the key has no end, which [`Session::expire`] repairs.
    pub left: Option<Duration>,
}

/// Reason why a conversation ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The server does not accept the user and the password, or the database. The text is its own.
    Refused(Box<str>),
    /// Bytes that are no RESP2.
    Syntax(resp::Fault),
    /// A reply that does not belong to the command.
    Unexpected,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Refused(text) => write!(f, "the store refuses the gateway: {text}"),
            Fault::Syntax(fault) => write!(f, "the store does not speak RESP2: {}", fault.as_str()),
            Fault::Unexpected => f.write_str("the store sent a reply to another command"),
        }
    }
}

/// Command whose reply is awaited.
#[derive(Clone, Copy)]
enum Awaited {
    /// AUTH or SELECT.
    Greeting,
    /// All commands of the count with this tag.
    Count(u32),
    /// PEXPIRE.
    Expire,
}

/// State of a conversation.
#[derive(Default)]
pub struct Session {
    awaited: VecDeque<Awaited>,
    reader: Reader,
    /// Replies that came to the first of the awaited commands.
    place: u8,
    /// Error of the server about the count whose replies come.
    error: Option<Box<str>>,
    total: u64,
}

impl Session {
    /// Returns a conversation, and appends the commands that it begins with.
    pub fn begin(account: &Account, out: &mut Vec<u8>) -> Session {
        let mut session = Session::default();
        if let Some(password) = &account.password {
            match &account.user {
                Some(user) => resp::command(&[b"AUTH", user.as_bytes(), password.as_bytes()], out),
                None => resp::command(&[b"AUTH", password.as_bytes()], out),
            }
            session.awaited.push_back(Awaited::Greeting);
        }
        if account.database > 0 {
            let mut text = [0; 20];
            let number = digits::write(account.database.into(), &mut text);
            resp::command(&[b"SELECT", number], out);
            session.awaited.push_back(Awaited::Greeting);
        }
        session
    }

    /// Appends the commands of a count.
    pub fn count(&mut self, count: Count<'_>, out: &mut Vec<u8>) {
        let (mut window, mut number) = ([0; 20], [0; 20]);
        // A server refuses an expiry of 0 ms.
        let window = digits::write(count.window.as_millis().max(1), &mut window);
        let digits = digits::write(count.number.unsigned_abs(), &mut number);
        let mut signed = [b'-'; 21];
        let number = match count.number {
            0.. => digits,
            _ => {
                let end = digits.len().saturating_add(1);
                let signed = signed.get_mut(..end).unwrap_or_default();
                if let Some(room) = signed.get_mut(1..) {
                    room.copy_from_slice(digits);
                }
                signed
            }
        };
        resp::command(&[b"MULTI"], out);
        resp::command(&[b"SET", count.key, b"0", b"PX", window, b"NX"], out);
        resp::command(&[b"INCRBY", count.key, number], out);
        resp::command(&[b"PTTL", count.key], out);
        resp::command(&[b"EXEC"], out);
        self.awaited.push_back(Awaited::Count(count.tag));
    }

    /// Appends a count of nothing. Its answer shows that the store takes counts.
    pub fn probe(&mut self, prefix: &str, out: &mut Vec<u8>) {
        let count = Count {
            tag: 0,
            key: &[prefix.as_bytes(), b"probe"].concat(),
            window: PROBE_WINDOW,
            number: 0,
        };
        self.count(count, out);
    }

    /// Appends a command that gives a key an end.
    pub fn expire(&mut self, key: &[u8], window: Duration, out: &mut Vec<u8>) {
        let mut text = [0; 20];
        let window = digits::write(window.as_millis().max(1), &mut text);
        resp::command(&[b"PEXPIRE", key, window], out);
        self.awaited.push_back(Awaited::Expire);
    }

    /// Returns the number of commands, counts as one, whose replies are awaited.
    pub fn awaited(&self) -> usize {
        self.awaited.len()
    }

    /// Reads replies. Adds the answers to counts to `answers`, and returns the number of bytes that
    /// were read; the rest is the start of a reply, and comes again with what follows it.
    ///
    /// # Errors
    /// The conversation cannot go on.
    pub fn receive(&mut self, bytes: &[u8], answers: &mut Vec<Answer>) -> Result<usize, Fault> {
        let mut read = 0_usize;
        loop {
            let rest = bytes.get(read..).unwrap_or_default();
            let Some((token, length)) = self.reader.token(rest).map_err(Fault::Syntax)? else {
                return Ok(read);
            };
            read = read.saturating_add(length);
            answers.extend(self.on_token(token)?);
        }
    }

    fn on_token(&mut self, token: Token<'_>) -> Result<Option<Answer>, Fault> {
        match self.awaited.front().copied() {
            None => Err(Fault::Unexpected),
            Some(Awaited::Greeting) => {
                self.awaited.pop_front();
                match token {
                    Token::Status(_) => Ok(None),
                    Token::Error(text) => Err(Fault::Refused(words(text))),
                    _ => Err(Fault::Unexpected),
                }
            }
            Some(Awaited::Expire) => {
                self.awaited.pop_front();
                match token {
                    // The key may be gone again; an error shows at the next count.
                    Token::Integer(_) | Token::Error(_) => Ok(None),
                    _ => Err(Fault::Unexpected),
                }
            }
            Some(Awaited::Count(tag)) => self.on_count(tag, token),
        }
    }

    /// Reads a part of the replies to a count.
    fn on_count(&mut self, tag: u32, token: Token<'_>) -> Result<Option<Answer>, Fault> {
        let place = self.place;
        self.place = place.saturating_add(1);
        match (place, token) {
            // MULTI to PTTL are taken or not; EXEC says the rest.
            (0..=3, Token::Status(_))
            | (4, Token::Array(3))
            // Some servers send the OK of a SET as a bulk string.
            | (5, Token::Status(_) | Token::Bulk(_) | Token::Null) => Ok(None),
            (0..=3 | 5 | 6, Token::Error(text)) => {
                self.note(text);
                Ok(None)
            }
            (6, Token::Integer(total)) => {
                self.total = u64::try_from(total).unwrap_or(0);
                Ok(None)
            }
            (7, Token::Integer(left)) => Ok(Some(self.end(tag, Some(left)))),
            // The server executed nothing.
            (4 | 7, Token::Error(text)) => {
                self.note(text);
                Ok(Some(self.end(tag, None)))
            }
            _ => Err(Fault::Unexpected),
        }
    }

    /// Keeps the first error, which says more than that of EXEC.
    fn note(&mut self, text: &[u8]) {
        self.error.get_or_insert_with(|| words(text));
    }

    /// Ends a count. `left`: milliseconds, as PTTL gives them.
    fn end(&mut self, tag: u32, left: Option<i64>) -> Answer {
        self.awaited.pop_front();
        self.place = 0;
        let left = match left {
            Some(-1) => None,
            left => Some(u64::try_from(left.unwrap_or(0)).unwrap_or(0)),
        };
        let total = Total {
            count: core::mem::take(&mut self.total),
            left: left.map(Duration::from_millis),
        };
        Answer {
            tag,
            result: self.error.take().map_or(Ok(total), Err),
        }
    }
}

/// Returns the start of a server's text, for a message.
fn words(text: &[u8]) -> Box<str> {
    let text = text.get(..ERROR_BYTES).unwrap_or(text);
    let shown = |byte: &u8| match byte {
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    };
    text.iter().map(shown).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOW: Duration = Duration::from_secs(60);
    const COUNTED: &[u8] = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n:7\r\n:59000\r\n";

    fn answer(tag: u32, count: u64, left: Option<u64>) -> Answer {
        let left = left.map(Duration::from_millis);
        Answer {
            tag,
            result: Ok(Total { count, left }),
        }
    }

    fn failed(tag: u32, text: &str) -> Answer {
        Answer {
            tag,
            result: Err(text.into()),
        }
    }

    /// Returns a conversation with counts of the tags 0 to `counts`.
    fn session(account: &Account, counts: u32) -> Session {
        let mut out = Vec::new();
        let mut session = Session::begin(account, &mut out);
        for tag in 0..counts {
            let count = Count {
                tag,
                key: b"k",
                window: WINDOW,
                number: 1,
            };
            session.count(count, &mut out);
        }
        session
    }

    /// Feeds bytes in pieces of this size.
    fn feed(session: &mut Session, bytes: &[u8], piece: usize) -> Result<Vec<Answer>, Fault> {
        let (mut answers, mut start, mut end) = (Vec::new(), 0, 0);
        while end < bytes.len() {
            end = bytes.len().min(end + piece);
            start += session.receive(&bytes[start..end], &mut answers)?;
        }
        assert_eq!(start, bytes.len(), "all is read");
        Ok(answers)
    }

    #[test]
    fn commands_are_those_of_the_contract() {
        let account = Account {
            user: Some("gate".to_owned()),
            password: Some("pw".to_owned()),
            database: 2,
        };
        let mut out = Vec::new();
        let mut session = Session::begin(&account, &mut out);
        let count = Count {
            tag: 0,
            key: b"tollgate:a",
            window: WINDOW,
            number: 3,
        };
        session.count(count, &mut out);
        session.count(
            Count {
                number: -12,
                ..count
            },
            &mut out,
        );
        session.expire(b"tollgate:a", WINDOW, &mut out);
        let text = String::from_utf8(out).expect("ASCII");
        let words = text
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']));
        assert_eq!(
            words.collect::<Vec<_>>().join(" "),
            "AUTH gate pw SELECT 2 MULTI SET tollgate:a 0 PX 60000 NX INCRBY tollgate:a 3 PTTL tollgate:a EXEC \
             MULTI SET tollgate:a 0 PX 60000 NX INCRBY tollgate:a -12 PTTL tollgate:a EXEC \
             PEXPIRE tollgate:a 60000 "
        );
        assert_eq!(session.awaited(), 5);
    }

    #[test]
    fn replies_whole_and_byte_by_byte() {
        let aborted = b"+OK\r\n-OOM command not allowed\r\n-OOM command not allowed\r\n+QUEUED\r\n-EXECABORT no\r\n";
        let wrong_type =
            b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n-WRONGTYPE x\r\n:-1\r\n";
        let last_fails = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:4\r\n-ERR x\r\n";
        let no_end = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:8\r\n:-1\r\n";
        let gone = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$-1\r\n:9\r\n:-2\r\n";
        let as_bulk = b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n$2\r\nOK\r\n:1\r\n:60000\r\n";
        let bytes = [
            COUNTED, aborted, wrong_type, last_fails, no_end, gone, as_bulk,
        ]
        .concat();
        let expected = vec![
            answer(0, 7, Some(59000)),
            failed(1, "OOM command not allowed"),
            failed(2, "WRONGTYPE x"),
            failed(3, "ERR x"),
            answer(4, 8, None),
            answer(5, 9, Some(0)),
            answer(6, 1, Some(60000)),
        ];
        for piece in 1..=bytes.len() {
            let mut session = session(&Account::default(), 7);
            assert_eq!(feed(&mut session, &bytes, piece), Ok(expected.clone()));
            assert_eq!(session.awaited(), 0);
        }
    }

    #[test]
    fn what_ends_a_conversation() {
        let secret = Account {
            password: Some("pw".to_owned()),
            ..Account::default()
        };
        let refused = |text: &str| Fault::Refused(text.into());
        let rows: &[(&Account, &[u8], Fault)] = &[
            (
                &secret,
                b"-WRONGPASS no\x07\r\n",
                Fault::Syntax(resp::Fault::LineEnd),
            ),
            (&secret, b"-WRONGPASS no\xff\r\n", refused("WRONGPASS no?")),
            (&secret, b":1\r\n", Fault::Unexpected),
            (&Account::default(), b":1\r\n", Fault::Unexpected),
            (&Account::default(), b"*3\r\n", Fault::Unexpected),
            (
                &Account::default(),
                b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n",
                Fault::Unexpected,
            ),
            (
                &Account::default(),
                b"+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*-1\r\n",
                Fault::Unexpected,
            ),
            (
                &Account::default(),
                b"HTTP/1.1 400\r\n",
                Fault::Syntax(resp::Fault::Kind),
            ),
            (
                &Account::default(),
                &[COUNTED, b"+OK\r\n"].concat(),
                Fault::Unexpected,
            ),
        ];
        for (account, bytes, fault) in rows {
            for piece in 1..=bytes.len() {
                let mut session = session(account, 1);
                assert_eq!(
                    feed(&mut session, bytes, piece),
                    Err(fault.clone()),
                    "{bytes:?}"
                );
            }
        }
    }

    proptest! {
        /// Each count is answered at most once and in order, for any replies.
        #[test]
        fn any_replies(
            parts in proptest::collection::vec(
                proptest::sample::select(vec![
                    "+OK\r\n", "+QUEUED\r\n", "*3\r\n", ":7\r\n", ":-1\r\n", "$-1\r\n", "-ERR x\r\n", "$1\r\nx\r\n",
                ]),
                0..40,
            ),
            piece in 1_usize..9,
        ) {
            let mut session = session(&Account::default(), 3);
            let bytes = parts.concat().into_bytes();
            if let Ok(answers) = feed(&mut session, &bytes, piece) {
                let tags = answers.iter().map(|answer| answer.tag).collect::<Vec<_>>();
                prop_assert_eq!(&tags[..], &[0, 1, 2][..tags.len()]);
                prop_assert_eq!(session.awaited() + tags.len(), 3);
            }
        }
    }
}
