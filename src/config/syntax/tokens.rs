//! Tokens of the file: JSON, and what people write in its place (comments, single quotes, names
//! without quotes). Every byte that is no white space is part of one token. Not here: what may stand
//! where.

/// Kind of a token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// `{` or `[`.
    Open(Bracket),
    /// `}` or `]`.
    Close(Bracket),
    Comma,
    Colon,
    /// Quoted text, with quotes of any kind. `closed`: the closing quote stands in the same line.
    Quoted {
        closed: bool,
    },
    /// Bytes without white space, quotes, brackets and commas: a number, `true`, a name.
    Word,
    /// Comment from `//` to the end of the line, or between `/*` and `*/`. `closed` is `false` for
    /// a `/*` without `*/`.
    Comment {
        closed: bool,
    },
    /// Comment from `#` to the end of the line, as YAML and nginx have it.
    HashComment,
    /// Character that begins no other token, such as `=` or `(`.
    Other(char),
}

/// Kind of a bracket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bracket {
    /// `{` and `}`.
    Object,
    /// `[` and `]`.
    List,
}

impl Bracket {
    /// Returns the signs that open and close.
    pub(crate) fn signs(self) -> (&'static str, &'static str) {
        match self {
            Bracket::Object => ("{", "}"),
            Bracket::List => ("[", "]"),
        }
    }
}

/// Token and its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Token<'t> {
    pub(crate) kind: Kind,
    /// Offset of the first byte.
    pub(crate) at: usize,
    /// Text with its quotes or comment signs.
    pub(crate) text: &'t str,
    /// Line of the first byte, from 1.
    pub(crate) line: usize,
}

impl Token<'_> {
    /// Returns the offset behind the last byte.
    pub(crate) fn end(&self) -> usize {
        self.at + self.text.len()
    }
}

/// Reader of the tokens of a text.
pub(crate) struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// Line of the byte at `at`, from 1.
    line: usize,
    /// True if the bytes before `at` are a text in quotes, both quotes included.
    is_behind_text: bool,
}

/// Quotes that people write, with the one that closes each.
const QUOTES: [(char, char); 5] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('\u{201c}', '\u{201d}'),
    ('\u{2018}', '\u{2019}'),
];

impl<'t> Tokens<'t> {
    pub(crate) fn new(text: &'t str) -> Tokens<'t> {
        Tokens {
            text,
            at: 0,
            line: 1,
            is_behind_text: false,
        }
    }

    /// Returns the kind and the length of the token with which `rest` begins.
    fn measure(rest: &str, first: char) -> (Kind, usize) {
        let line = || rest.find('\n').unwrap_or(rest.len());
        if let Some((_, closing)) = QUOTES.iter().find(|(opening, _)| *opening == first) {
            return quoted(rest, first, *closing);
        }
        let kind = match first {
            '{' => Kind::Open(Bracket::Object),
            '}' => Kind::Close(Bracket::Object),
            '[' => Kind::Open(Bracket::List),
            ']' => Kind::Close(Bracket::List),
            ',' => Kind::Comma,
            ':' => Kind::Colon,
            '#' => return (Kind::HashComment, line()),
            '/' if rest.starts_with("//") => return (Kind::Comment { closed: true }, line()),
            '/' if rest.starts_with("/*") => {
                return match rest.get(2..).and_then(|body| body.find("*/")) {
                    Some(length) => (Kind::Comment { closed: true }, length + 4),
                    None => (Kind::Comment { closed: false }, rest.len()),
                };
            }
            _ if is_word(first) => {
                let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                return (Kind::Word, end);
            }
            other => Kind::Other(other),
        };
        (kind, first.len_utf8())
    }
}

/// Returns true for a quote behind a text in quotes that begins no text of its own: what closes an
/// item follows, or the end of the line.
fn is_extra_quote(rest: &str) -> bool {
    let Some(behind) = rest.strip_prefix(['"', '\'']) else {
        return false;
    };
    let next = behind.trim_start_matches([' ', '\t']).chars().next();
    next.is_none_or(|next| matches!(next, ',' | '}' | ']' | '\r' | '\n'))
}

fn lines(text: &str) -> usize {
    text.bytes().filter(|byte| *byte == b'\n').count()
}

/// Measures a text in quotes. Without its closing quote it ends with the line, a template of
/// JavaScript with the text.
fn quoted(rest: &str, opening: char, closing: char) -> (Kind, usize) {
    let mut escaped = false;
    let spans_lines = opening == '`';
    for (at, c) in rest.char_indices().skip(1) {
        if escaped {
            escaped = false;
        } else if c == '\\' {
            escaped = true;
        } else if c == closing {
            return (Kind::Quoted { closed: true }, at + c.len_utf8());
        }
        if c == '\n' && !spans_lines {
            return (Kind::Quoted { closed: false }, at);
        }
    }
    (Kind::Quoted { closed: false }, rest.len())
}

/// Returns `true` for a character of numbers, names, and values that somebody forgot to quote.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '-' | '+' | '.' | '%' | '*' | '@' | '&')
}

impl<'t> Iterator for Tokens<'t> {
    type Item = Token<'t>;

    fn next(&mut self) -> Option<Token<'t>> {
        let rest = self.text.get(self.at..)?;
        // A byte order mark and a no-break space are white space here: editors put them in.
        let is_space = |c: char| c.is_whitespace() || c == '\u{feff}';
        let begin = rest.find(|c| !is_space(c))?;
        let (space, rest) = rest.split_at_checked(begin)?;
        let first = rest.chars().next()?;
        let is_extra = begin == 0 && self.is_behind_text && is_extra_quote(rest);
        let (kind, length) = match is_extra {
            true => (Kind::Other(first), first.len_utf8()),
            false => Tokens::measure(rest, first),
        };
        let token = Token {
            kind,
            at: self.at + begin,
            text: rest.get(..length)?,
            line: self.line + lines(space),
        };
        crate::cost::count(begin + length);
        (self.at, self.line) = (token.end(), token.line + lines(token.text));
        self.is_behind_text = kind == Kind::Quoted { closed: true };
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str) -> Vec<(Kind, &str)> {
        Tokens::new(text)
            .map(|token| (token.kind, token.text))
            .collect()
    }

    #[test]
    fn each_byte_that_is_no_space_is_part_of_a_token() {
        let text = "{ // c\n'a\\'b': [1.5e3, true] /* x\n */, k-1: \"é\u{201d}\" } # y";
        let tokens = Tokens::new(text).collect::<Vec<_>>();
        let mut end = 0;
        for token in &tokens {
            let between = text.get(end..token.at).expect("bytes in order");
            assert!(between.chars().all(char::is_whitespace), "{between:?}");
            assert_eq!(text.get(token.at..token.end()), Some(token.text));
            assert_eq!(
                token.line,
                1 + text.get(..token.at).expect("a place").matches('\n').count()
            );
            end = token.end();
        }
        assert_eq!(end, text.len());
        assert_eq!(tokens.len(), 16, "{tokens:?}");
    }

    #[test]
    fn quotes_and_comments_end_where_they_should() {
        let closed = Kind::Quoted { closed: true };
        let open = Kind::Quoted { closed: false };
        let word = Kind::Word;
        for (text, expected) in [
            (r#""a\"b" x"#, vec![(closed, r#""a\"b""#), (word, "x")]),
            ("\"a\nb", vec![(open, "\"a"), (word, "b")]),
            ("\"a\\\nb", vec![(open, "\"a\\"), (word, "b")]),
            ("`a\nb`", vec![(closed, "`a\nb`")]),
            ("\u{201c}a\u{201d}", vec![(closed, "\u{201c}a\u{201d}")]),
            ("/* a", vec![(Kind::Comment { closed: false }, "/* a")]),
            (
                "/**/x//",
                vec![
                    (Kind::Comment { closed: true }, "/**/"),
                    (word, "x"),
                    (Kind::Comment { closed: true }, "//"),
                ],
            ),
            ("/*/", vec![(Kind::Comment { closed: false }, "/*/")]),
            (
                "a=1",
                vec![(word, "a"), (Kind::Other('='), "="), (word, "1")],
            ),
            ("\u{feff}\u{a0}1", vec![(word, "1")]),
            (
                r#""a"",1"#,
                vec![
                    (closed, r#""a""#),
                    (Kind::Other('"'), "\""),
                    (Kind::Comma, ","),
                    (word, "1"),
                ],
            ),
            (r#""a""b""#, vec![(closed, r#""a""#), (closed, r#""b""#)]),
            (
                r#""","""#,
                vec![(closed, r#""""#), (Kind::Comma, ","), (closed, r#""""#)],
            ),
        ] {
            assert_eq!(kinds(text), expected, "{text:?}");
        }
    }
}
