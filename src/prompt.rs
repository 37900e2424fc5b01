//! Reads a secret line from standard input. On a terminal it prompts on stderr and turns the echo
//! off; from a pipe or file it reads the line as it is.

use std::io::{self, BufRead, IsTerminal, Write};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// Result of the prompt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// A line without its end. A line that is longer than allowed is cut, and still longer than
    /// allowed.
    Line(Vec<u8>),
    /// The user pressed the interrupt key.
    Interrupted,
}

/// Reads a line of at most `most` bytes. `question` is the prompt on a terminal.
///
/// # Errors
/// The input cannot be read.
pub fn secret_line(question: &str, most: usize) -> io::Result<Answer> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_line(&mut input.lock(), &[], most);
    }
    let echo = EchoOff::new()?;
    let mut out = io::stderr().lock();
    // A prompt that cannot be printed is no error.
    let _ = write!(out, "{question}").and_then(|()| out.flush());
    let answer = read_line(&mut input.lock(), &echo.interrupts, most);
    let _ = writeln!(out);
    answer
}

/// Reads a line, or until one of the `interrupts` comes.
fn read_line(input: &mut impl BufRead, interrupts: &[u8], most: usize) -> io::Result<Answer> {
    let mut line = Vec::new();
    let most = most.saturating_add(2);
    loop {
        let bytes = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let end = bytes
            .iter()
            .position(|byte| *byte == b'\n' || interrupts.contains(byte));
        let ended_by = end.and_then(|end| bytes.get(end)).copied();
        let found = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        line.extend_from_slice(
            found
                .get(..most.saturating_sub(line.len()))
                .unwrap_or(found),
        );
        let (is_last, used) = (
            bytes.is_empty() || end.is_some(),
            end.map_or(bytes.len(), |end| end.saturating_add(1)),
        );
        input.consume(used);
        if ended_by.is_some_and(|byte| byte != b'\n') {
            return Ok(Answer::Interrupted);
        }
        if is_last || line.len() >= most {
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Answer::Line(line));
        }
    }
}

/// Terminal without echo; dropping this restores its settings.
///
/// A signal would end the process without that. So the keys that send signals end the line instead,
/// and the reader of the line recognizes them.
struct EchoOff {
    before: Termios,
    interrupts: Vec<u8>,
}

impl EchoOff {
    fn new() -> io::Result<EchoOff> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent
            .local_modes
            .remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        let keys = [
            (SpecialCodeIndex::VINTR, SpecialCodeIndex::VEOL),
            (SpecialCodeIndex::VQUIT, SpecialCodeIndex::VEOL2),
        ];
        for (key, line_end) in keys {
            silent.special_codes[line_end] = before.special_codes[key];
        }
        let interrupts = keys
            .map(|(key, _)| before.special_codes[key])
            .into_iter()
            .filter(|key| *key != 0)
            .collect();
        tcsetattr(io::stdin(), OptionalActions::Now, &silent)?;
        Ok(EchoOff { before, interrupts })
    }
}

impl Drop for EchoOff {
    fn drop(&mut self) {
        // A closed terminal needs no echo.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let read = |input: &str| {
            read_line(
                &mut io::BufReader::with_capacity(3, input.as_bytes()),
                &[3],
                8,
            )
        };
        for (input, line) in [
            ("", ""),
            ("\n", ""),
            ("ab", "ab"),
            ("ab\ncd", "ab"),
            ("abcdef\r\n", "abcdef"),
            ("a b\tc\n", "a b\tc"),
            ("12345678\r\n", "12345678"),
            ("123456789\n", "123456789"),
        ] {
            assert_eq!(
                read(input).expect("no error"),
                Answer::Line(line.as_bytes().to_vec()),
                "{input:?}"
            );
        }
        assert_eq!(read("ab\u{3}").expect("no error"), Answer::Interrupted);
        let Answer::Line(long) = read(&"x".repeat(1000)).expect("no error") else {
            panic!("a line")
        };
        assert!(
            long.len() > 8 && long.len() <= 10,
            "too long, and no longer than that shows"
        );
    }
}
