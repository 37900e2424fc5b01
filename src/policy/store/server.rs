//! Server of the commands of a conversation with a store (`session.rs`), for the counts that the
//! workers of one gateway share.
//!
//! ```text
//! SET key 0 PX ms NX --> +OK, or null where the key is there     MULTI --> +OK, then +QUEUED for each
//! INCRBY key number  --> :sum                                    EXEC  --> the replies to all of them
//! PTTL key           --> :ms, or :-2                             others --> an error
//! ```
//!
//! Under a marked key (`keys.rs`) the sum is what a meter remembers of the client, and `ms` the time until
//! it is forgotten.
//!
//! Commands are read where they are complete; nothing of one that is not is kept.

use super::counts::Counts;
use super::keys;
use crate::digits;
use crate::policy::meter::Meter;
use crate::resp::{self, Reader, Token};
use crate::time::{Duration, Instant};

/// Upper bound of the bytes of a command.
pub const COMMAND_BYTES_MAX: usize = 512;
/// Upper bound of the words of a command.
const WORDS_MAX: usize = 6;
/// Upper bound of the commands between MULTI and EXEC.
const QUEUED_MAX: usize = 8;

/// Error: bytes that are no command. What follows them cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// State of a conversation, on the side of the server.
#[derive(Default)]
pub struct Server {
    /// Commands since MULTI; `None`: there was none.
    queued: Option<Vec<Command>>,
    /// A command since MULTI was wrong, so that EXEC executes none.
    is_wrong: bool,
}

#[derive(Clone, Copy)]
enum Command {
    Begin {
        key: u128,
        life: Duration,
    },
    Add {
        key: u128,
        meter: Option<Meter>,
        number: i64,
    },
    Left {
        key: u128,
    },
}

impl Server {
    /// Executes the commands that `bytes` begin with, and appends the replies. Returns the number of
    /// bytes that were read. The rest is the start of a command, at most [`COMMAND_BYTES_MAX`], and
    /// comes again with what follows it.
    ///
    /// # Errors
    /// The conversation cannot go on.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        counts: &mut Counts,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<usize, Malformed> {
        let mut read = 0_usize;
        loop {
            let rest = bytes.get(read..).unwrap_or_default();
            let mut words = [&[][..]; WORDS_MAX];
            let found = parse(rest, &mut words)?;
            let length = found.map_or(rest.len(), |(_, length)| length);
            if length > COMMAND_BYTES_MAX {
                return Err(Malformed);
            }
            let Some((count, length)) = found else {
                return Ok(read);
            };
            read = read.saturating_add(length);
            let words = words.get(..count).unwrap_or_default();
            self.on_command(words, counts, now, out);
        }
    }

    fn on_command(
        &mut self,
        words: &[&[u8]],
        counts: &mut Counts,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        // Before each command: what is there must not depend on how many arrived together.
        counts.expire(now);
        match (words, &mut self.queued) {
            ([b"MULTI"], None) => {
                self.queued = Some(Vec::new());
                out.extend_from_slice(b"+OK\r\n");
            }
            ([b"EXEC"], Some(_)) => {
                let commands = self.queued.take().unwrap_or_default();
                if core::mem::take(&mut self.is_wrong) {
                    out.extend_from_slice(b"-EXECABORT a command was wrong\r\n");
                    return;
                }
                integer(b'*', i64::try_from(commands.len()).unwrap_or(0), out);
                for command in commands {
                    command.execute(counts, now, out);
                }
            }
            (words, queued) => match (Command::of(words), queued) {
                (Some(command), Some(queued)) if queued.len() < QUEUED_MAX => {
                    queued.push(command);
                    out.extend_from_slice(b"+QUEUED\r\n");
                }
                (Some(command), None) => command.execute(counts, now, out),
                (_, queued) => {
                    self.is_wrong = queued.is_some();
                    out.extend_from_slice(b"-ERR unknown command\r\n");
                }
            },
        }
    }
}

impl Command {
    fn of(words: &[&[u8]]) -> Option<Command> {
        match words {
            [b"SET", key, b"0", b"PX", window, b"NX"] => {
                let (key, meter) = keys::read(key);
                let window = Duration::from_millis(digits::parse(window)?);
                let life = meter.map_or(window, |meter| meter.first_memory());
                Some(Command::Begin { key, life })
            }
            [b"INCRBY", key, number] => {
                let (key, meter) = keys::read(key);
                let number = resp::integer(number)?;
                Some(Command::Add { key, meter, number })
            }
            [b"PTTL", key] => Some(Command::Left {
                key: keys::read(key).0,
            }),
            _ => None,
        }
    }

    fn execute(self, counts: &mut Counts, now: Instant, out: &mut Vec<u8>) {
        match self {
            Command::Begin { key, life } => {
                let is_new = counts.begin(key, life, now);
                out.extend_from_slice(if is_new { b"+OK\r\n" } else { b"$-1\r\n" });
            }
            Command::Add { key, meter, number } => match counts.add(key, meter, number, now) {
                Some(total) => integer(b':', total, out),
                None => out.extend_from_slice(b"-ERR there is no such key\r\n"),
            },
            Command::Left { key } => {
                let left = counts.left(key, now);
                let left = left.map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX));
                integer(b':', left.unwrap_or(-2), out);
            }
        }
    }
}

/// Reads the words of the command that `bytes` begin with. Returns their number, and the length of
/// the command; `None`: it is not complete.
fn parse<'a>(
    bytes: &'a [u8],
    words: &mut [&'a [u8]; WORDS_MAX],
) -> Result<Option<(usize, usize)>, Malformed> {
    let (count, mut length) = match token(bytes)? {
        None => return Ok(None),
        Some((Token::Array(count @ 1..), length)) => (count, length),
        Some(_) => return Err(Malformed),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let slots = words.get_mut(..count).ok_or(Malformed)?;
    for slot in slots {
        match token(bytes.get(length..).unwrap_or_default())? {
            None => return Ok(None),
            Some((Token::Bulk(word), read)) => {
                *slot = word;
                length = length.saturating_add(read);
            }
            Some(_) => return Err(Malformed),
        }
    }
    Ok(Some((count, length)))
}

fn token(bytes: &[u8]) -> Result<Option<(Token<'_>, usize)>, Malformed> {
    Reader::default().token(bytes).map_err(|_| Malformed)
}

/// Appends a number. `kind`: byte before it.
fn integer(kind: u8, value: i64, out: &mut Vec<u8>) {
    out.push(kind);
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(digits::write(value.unsigned_abs(), &mut [0; 20]));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::store::session::{Account, Answer, Count, Session, Total};

    const WINDOW: Duration = Duration::from_secs(60);
    const CLIENT: &[u8] = b"000000000000000000000000000000a7";

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Sends bytes in pieces of this size. Returns the replies, and whether the server goes on.
    fn send(bytes: &[u8], piece: usize, counts: &mut Counts) -> (Vec<u8>, bool) {
        let (mut server, mut out) = (Server::default(), Vec::new());
        let (mut start, mut end) = (0, 0);
        while end < bytes.len() {
            end = bytes.len().min(end + piece);
            match server.receive(&bytes[start..end], counts, at(0), &mut out) {
                Ok(read) => start += read,
                Err(Malformed) => return (out, false),
            }
        }
        assert!(bytes.len() - start <= COMMAND_BYTES_MAX);
        (out, true)
    }

    fn command(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        let words = text.split(' ').map(str::as_bytes).collect::<Vec<_>>();
        resp::command(&words, &mut out);
        out
    }

    /// The client of the stores and this server understand each other, wherever the bytes are cut.
    #[test]
    fn a_conversation_of_two_workers() {
        let mut counts = Counts::new(10, 1);
        let mut now = at(0);
        let mut ask = |numbers: &[i64], piece: usize, counts: &mut Counts| {
            let mut out = Vec::new();
            let mut session = Session::begin(&Account::default(), &mut out);
            for (tag, number) in (0..).zip(numbers) {
                let count = Count {
                    tag,
                    key: CLIENT,
                    window: WINDOW,
                    number: *number,
                };
                session.count(count, &mut out);
            }
            session.expire(CLIENT, WINDOW, &mut out);
            let (mut server, mut replies, mut start, mut end) =
                (Server::default(), Vec::new(), 0, 0);
            while end < out.len() {
                end = out.len().min(end + piece);
                let read = server.receive(&out[start..end], counts, now, &mut replies);
                start += read.expect("commands");
            }
            let mut answers = Vec::new();
            assert_eq!(session.receive(&replies, &mut answers), Ok(replies.len()));
            assert_eq!(session.awaited(), 0);
            now = now.after(Duration::from_millis(1));
            answers
        };
        let answer = |tag, count, left| {
            let left = Some(Duration::from_millis(left));
            Answer {
                tag,
                result: Ok(Total { count, left }),
            }
        };
        let first = ask(&[3, 0], 1000, &mut counts);
        assert_eq!(first, [answer(0, 3, 60_000), answer(1, 3, 60_000)]);
        let second = ask(&[4, -2], 1000, &mut counts);
        assert_eq!(second, [answer(0, 7, 59_999), answer(1, 5, 59_999)]);
        for (turn, piece) in (2..).zip(1..200) {
            let third = ask(&[1], piece, &mut counts);
            assert_eq!(
                third,
                [answer(0, turn + 4, 60_000 - turn)],
                "pieces of {piece}"
            );
        }
        // Less than nothing is nothing.
        let last = ask(&[-1000], 1000, &mut counts);
        assert_eq!(last, [answer(0, 0, 59_799)]);
    }

    #[test]
    fn replies_to_single_commands() {
        let set_bucket = "SET 000000000000000000000000000000a7b1000/5 0 PX 60000 NX";
        let take_two = "INCRBY 000000000000000000000000000000a7b1000/5 2";
        let rows = [
            ("SET k 0 PX 60000 NX", "+OK"),
            ("SET k 0 PX 5 NX", "$-1"),
            ("INCRBY k 5", ":5"),
            ("INCRBY k -7", ":-2"),
            ("PTTL k", ":60000"),
            ("PTTL other", ":-2"),
            ("INCRBY other 1", "-ERR there is no such key"),
            ("MULTI", "+OK"),
            ("PTTL k", "+QUEUED"),
            ("INCRBY k 1", "+QUEUED"),
            ("EXEC", "*2\r\n:60000\r\n:-1"),
            ("MULTI", "+OK"),
            ("INCRBY k 1", "+QUEUED"),
            ("MULTI", "-ERR unknown command"),
            ("INCRBY k x", "-ERR unknown command"),
            ("EXEC", "-EXECABORT a command was wrong"),
            ("INCRBY k 0", ":-1"),
            ("EXEC", "-ERR unknown command"),
            ("SET k 1 PX 5 NX", "-ERR unknown command"),
            ("SET k 0 PX -5 NX", "-ERR unknown command"),
            ("SET k 0 PX 5", "-ERR unknown command"),
            ("GET k", "-ERR unknown command"),
            ("multi", "-ERR unknown command"),
            ("PEXPIRE k 5", "-ERR unknown command"),
            ("AUTH a b", "-ERR unknown command"),
            ("INCRBY k 99999999999999999999", "-ERR unknown command"),
            // A bucket is there for as long as it is not full.
            (set_bucket, "+OK"),
            (set_bucket, "+OK"),
            ("MULTI", "+OK"),
            (set_bucket, "+QUEUED"),
            (take_two, "+QUEUED"),
            ("EXEC", "*2\r\n+OK\r\n:2000"),
            (set_bucket, "$-1"),
            (take_two, ":4000"),
        ];
        let bytes = rows.iter().flat_map(|(text, _)| command(text));
        let bytes = bytes.collect::<Vec<_>>();
        let replies = rows.iter().map(|(_, reply)| format!("{reply}\r\n"));
        let replies = replies.collect::<String>();
        for piece in 1..=bytes.len() {
            let (out, goes_on) = send(&bytes, piece, &mut Counts::new(10, 1));
            assert_eq!(String::from_utf8_lossy(&out), replies, "pieces of {piece}");
            assert!(goes_on);
        }
    }

    #[test]
    fn commands_that_wait_have_a_bound() {
        let mut bytes = command("MULTI");
        for _ in 0..=QUEUED_MAX {
            bytes.extend(command("PTTL k"));
        }
        bytes.extend(command("EXEC"));
        let (out, goes_on) = send(&bytes, bytes.len(), &mut Counts::new(10, 1));
        let text = String::from_utf8_lossy(&out);
        assert!(
            goes_on && text.ends_with("-ERR unknown command\r\n-EXECABORT a command was wrong\r\n"),
            "{text}"
        );
    }

    #[test]
    fn what_ends_a_conversation() {
        let long = format!("PTTL {}", "k".repeat(COMMAND_BYTES_MAX));
        let rows: [&[u8]; 10] = [
            b"GET / HTTP/1.1\r\n",
            b"PTTL k\r\n",
            b"*0\r\n",
            b"*-1\r\n",
            b"*7\r\n",
            b"*1\r\n:5\r\n",
            b"*1\r\n*1\r\n$1\r\nk\r\n",
            b"*1\r\n$-1\r\n",
            b"*2\r\n$4\r\nPTTL\r\n$1\r\nkk\r\n",
            &command(&long),
        ];
        for bytes in rows {
            let bytes = [&command("PTTL k")[..], bytes].concat();
            for piece in 1..=bytes.len() {
                let (out, goes_on) = send(&bytes, piece, &mut Counts::new(10, 1));
                let shown = String::from_utf8_lossy(&bytes);
                assert_eq!(
                    (&out[..], goes_on),
                    (&b":-2\r\n"[..], false),
                    "{shown} by {piece}"
                );
            }
        }
    }
}
