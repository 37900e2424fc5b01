//! The parser of the file: from tokens to nodes with places. It goes on behind a fault with what was
//! most likely meant (`recovery`), so that one run of `check` finds all faults.
//!
//! Taken beyond JSON (RFC 8259), because people paste it: comments (`//`, `/* */`), a comma behind
//! the last item, keys without quotes, single quotes, and `const NAME = .. ;` around the document.

mod entries;
mod recovery;

use core::iter::Peekable;

use crate::limits::{CONFIG_BYTES_MAX, CONFIG_FAULTS_MAX};

use super::document::{Fault, Member, Node, Value};
use super::tokens::{Bracket, Kind, Token, Tokens};

/// Result of a parser run.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// Document; `None` when a fault leaves its structure in doubt.
    pub(crate) root: Option<Node>,
    /// Document as far as it could be read, where `root` is `None`.
    pub(crate) partial: Option<Node>,
    /// Faults in the order of the text, at most [`CONFIG_FAULTS_MAX`].
    pub(crate) faults: Vec<Fault>,
}

/// Parses the bytes of a file.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let refused = |at, message: &str| Parsed {
        root: None,
        partial: None,
        faults: vec![Fault {
            at,
            message: message.to_owned(),
        }],
    };
    if bytes.len() > CONFIG_BYTES_MAX {
        return refused(0, "the file is larger than 16MB; is it the right one?");
    }
    let text = match core::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let message = "not UTF-8 from here on; save the file as UTF-8";
            return refused(error.valid_up_to(), message);
        }
    };
    let mut parser = Parser {
        tokens: Tokens::new(text).peekable(),
        open: Vec::new(),
        root: None,
        faults: Vec::new(),
        in_doubt: false,
        is_lost: false,
        is_program: false,
        is_foreign: false,
        line: 1,
        text_end: 0,
    };
    if parser.run().is_ok() {
        parser.report_open();
    }
    let Parser {
        root,
        faults,
        in_doubt,
        open,
        ..
    } = parser;
    if root.is_none() && faults.is_empty() {
        let message = r#"the file is empty; it needs at least { "services": [ ... ] }"#;
        return refused(0, message);
    }
    let (root, doubtful) = if in_doubt { (None, root) } else { (root, None) };
    let outermost = open.into_iter().next().map(|open| Node {
        at: open.at,
        value: Value::Object(open.members),
        written: None,
    });
    Parsed {
        root,
        partial: doubtful.or(outermost),
        faults,
    }
}

/// The parser reads no further.
struct Stop;

/// List or object that is not closed yet.
struct Open<'t> {
    bracket: Bracket,
    at: usize,
    line: usize,
    items: Vec<Node>,
    members: Vec<Member>,
    /// Key whose value follows.
    key: Option<Token<'t>>,
    expected: Expected,
}

/// Token that may come next in a list or an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// Item or key, or the closing bracket.
    Entry,
    /// Colon behind a key.
    Colon,
    /// Value behind a colon.
    Value,
    /// Comma or the closing bracket.
    Comma,
}

/// Said where a program begins.
const PROGRAM: &str = "the file begins with a program; keep the list of its services alone, from \"[\" to \"]\", or write each route that it passes on \
                       into { \"services\": [{ \"route\": \"/users\", \"target\": \"http://127.0.0.1:9000\" }] }";
/// Said of the first comment of a shell.
const HASH: &str = "comments begin with //, not with #, here and below";
/// Said where a file has another syntax.
const NO_JSON: &str = "this is no JSON; the file begins with { \"services\": [ ... ] } (docs/guides translates files of nginx, HAProxy, Caddy, \
                       Traefik, Envoy and Kong)";

struct Parser<'t> {
    tokens: Peekable<Tokens<'t>>,
    open: Vec<Open<'t>>,
    root: Option<Node>,
    faults: Vec<Fault>,
    /// Brackets do not fit: what is inside what is a guess.
    in_doubt: bool,
    /// A token could not stand where it stood: brackets behind it may belong to a broken string.
    is_lost: bool,
    /// The document stands behind words of a program.
    is_program: bool,
    /// The outermost brackets have what no JSON has: a key without `:`, as in the first block of a Caddyfile, or
    /// a list of names, as in TOML.
    is_foreign: bool,
    /// Line of the last token.
    line: usize,
    /// Offset behind the last text in quotes.
    text_end: usize,
}

impl<'t> Parser<'t> {
    fn run(&mut self) -> Result<(), Stop> {
        self.read_opening()?;
        while let Some(token) = self.take()? {
            match self.open.last().map(|open| (open.bracket, open.expected)) {
                None => self.read_outside(token)?,
                Some((Bracket::List, _)) => self.read_in_list(token)?,
                Some((Bracket::Object, expected)) => self.read_in_object(token, expected)?,
            }
            self.line = token.line;
            if let Kind::Quoted { .. } = token.kind {
                self.text_end = token.end();
            }
        }
        Ok(())
    }

    /// Returns the next token that is no comment.
    fn take(&mut self) -> Result<Option<Token<'t>>, Stop> {
        while let Some(token) = self.tokens.next() {
            match token.kind {
                Kind::Comment { closed: true } => {}
                Kind::Comment { closed: false } => {
                    self.fault(token.at, "the comment does not end; close it with */")?;
                    self.in_doubt = true;
                }
                // A file with many of them has room for its other faults.
                Kind::HashComment if self.faults.iter().all(|fault| fault.message != HASH) => {
                    self.fault(token.at, HASH)?;
                }
                Kind::HashComment => {}
                _ => return Ok(Some(token)),
            }
        }
        Ok(None)
    }

    /// Returns the kind and line of the next token that is no comment, and leaves it where it is.
    fn peek(&mut self) -> Option<(Kind, usize)> {
        while let Some(token) = self.tokens.peek() {
            match token.kind {
                Kind::Comment { closed: true } => {
                    let _ = self.tokens.next();
                }
                kind => return Some((kind, token.line)),
            }
        }
        None
    }

    fn fault(&mut self, at: usize, message: impl Into<String>) -> Result<(), Stop> {
        if self.faults.len() >= CONFIG_FAULTS_MAX {
            self.in_doubt = true;
            return Err(Stop);
        }
        self.faults.push(Fault {
            at,
            message: message.into(),
        });
        Ok(())
    }

    /// Notes that the outermost brackets may be those of another syntax: what follows them says it.
    fn suspect(&mut self) {
        self.is_foreign |= self.open.len() == 1 && !self.is_program;
    }

    /// Reports that the whole file is of another syntax, in place of what was said of its parts.
    fn is_of_other_syntax(&mut self, at: usize, message: &str) -> Result<(), Stop> {
        self.faults.clear();
        self.fatal(at, message)
    }

    /// Reports a fault behind which nothing can be read.
    fn fatal(&mut self, at: usize, message: impl Into<String>) -> Result<(), Stop> {
        self.fault(at, message)?;
        self.in_doubt = true;
        Err(Stop)
    }

    /// Reads what JavaScript has in front of a document: `const services =`, `export default`,
    /// `module.exports =`.
    fn read_opening(&mut self) -> Result<(), Stop> {
        let Some((Kind::Word, _)) = self.peek() else {
            return Ok(());
        };
        let Some(first) = self.take()? else {
            return Ok(());
        };
        match first.text {
            "const" | "let" | "var" | "export" | "module.exports" => {}
            _ => return self.read_first_word(first),
        }
        // The longest is `export const services: Service[] =`.
        for _ in 0..8 {
            match self.take()? {
                Some(Token {
                    kind: Kind::Other('='),
                    ..
                }) => break,
                Some(token) if token.text == "default" => break,
                Some(_) => {}
                None => break,
            }
        }
        match self.peek() {
            Some((Kind::Open(_), _)) => {
                self.is_program = true;
                Ok(())
            }
            _ => self.fatal(first.at, PROGRAM),
        }
    }

    /// Reads a first word with which no usual document begins.
    fn read_first_word(&mut self, first: Token<'t>) -> Result<(), Stop> {
        if matches!(first.text, "import" | "function" | "async") {
            return self.fatal(first.at, PROGRAM);
        }
        match self.peek() {
            Some((Kind::Other('('), _)) => self.fatal(first.at, PROGRAM),
            Some((Kind::Colon, _)) => self.is_of_other_syntax(
                first.at,
                "the file begins with a key; put \"{\" before it and \"}\" at the end (YAML is not read; docs/guides translates files of \
                 Traefik, Envoy, Kong and Caddy)",
            ),
            Some((
                Kind::Open(Bracket::Object)
                | Kind::Word
                | Kind::Quoted { .. }
                | Kind::Comma
                | Kind::Other(_),
                _,
            )) => self.is_of_other_syntax(first.at, NO_JSON),
            _ => self.read_value(first),
        }
    }

    /// Reads a token outside of all brackets.
    fn read_outside(&mut self, token: Token<'t>) -> Result<(), Stop> {
        match (&self.root, token.kind) {
            (None, Kind::Word) => self.read_first_word(token),
            (None, Kind::Open(_) | Kind::Quoted { .. }) => self.read_value(token),
            (None, _) => self.is_of_other_syntax(token.at, NO_JSON),
            (Some(_), Kind::Other(';')) => Ok(()),
            (Some(_), Kind::Close(_)) => {
                self.in_doubt = true;
                self.fault(
                    token.at,
                    format!("{} closes nothing; remove it", token.text),
                )
            }
            (Some(root), _) if self.is_foreign => {
                let at = root.at;
                self.is_of_other_syntax(at, NO_JSON)
            }
            (Some(_), _) => {
                // The rest of a program would be a fault at each token.
                self.fault(
                    token.at,
                    "the configuration has ended before this; remove what follows it",
                )?;
                Err(Stop)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::syntax::document::Value;
    use crate::config::syntax::report::Lines;
    use crate::limits::CONFIG_DEPTH_MAX;

    /// Returns the faults with their places.
    fn faults(text: &[u8]) -> Vec<(usize, usize, String)> {
        let lines = Lines::new(text.into());
        let parsed = parse(text);
        let place = |fault: Fault| {
            let (line, column) = lines.places().place(fault.at);
            (line, column, fault.message)
        };
        parsed.faults.into_iter().map(place).collect()
    }

    #[test]
    fn everything_knows_its_place() {
        let text = "{ \"a\" : [1.5e3, \"\\u00e9\"],\n  \"é\": {\"a\":null, \"a\":true} }";
        let Some(Value::Object(members)) = parse(text.as_bytes()).root.map(|root| root.value)
        else {
            panic!("an object")
        };
        let lines = Lines::new(text.as_bytes().into());
        let mut places = lines.places();
        let [a, e] = members.as_slice() else {
            panic!("two members")
        };
        assert_eq!(
            (
                a.name.as_str(),
                places.place(a.name_at),
                places.place(a.node.at)
            ),
            ("a", (1, 3), (1, 9))
        );
        let Value::List(items) = &a.node.value else {
            panic!("a list")
        };
        assert_eq!(items[0].value, Value::Number("1.5e3".to_owned()));
        assert_eq!(items[1].value, Value::Text("é".to_owned()));
        assert_eq!(places.place(items[1].at), (1, 17));
        assert_eq!(
            (
                e.name.as_str(),
                places.place(e.name_at),
                places.place(e.node.at)
            ),
            ("é", (2, 3), (2, 8))
        );
        let Value::Object(inner) = &e.node.value else {
            panic!("an object")
        };
        assert_eq!(
            inner
                .iter()
                .map(|member| member.name.as_str())
                .collect::<Vec<_>>(),
            ["a", "a"]
        );
        assert_eq!(places.place(inner[1].name_at), (2, 19));
    }

    #[test]
    fn files_as_people_paste_them() {
        let strict = "[ { \"route\": \"/a\", \"n\": 1 }, [] ]";
        let values = |text: &str| {
            let parsed = parse(text.as_bytes());
            assert_eq!(parsed.faults, [], "{text}");
            shape(&parsed.root.expect("a document"))
        };
        for text in [
            "[ { route: '/a', n: 1, }, [], ]",
            "\u{feff}// services\n[ { /* x */ 'route': `/a`, // y\n n: 1 }, [] ]",
            "const services = [ { route: \"/a\", n: 1 }, [] ];\n",
            "export const services: Service[] = [ { route: \"/a\", n: 1 }, [] ]",
            "module.exports = [ { route: \"/a\", n: 1 }, [] ];",
            "export default [ { route: \"/a\", n: 1 }, [] ]",
        ] {
            assert_eq!(values(text), values(strict), "{text}");
        }
    }

    /// Returns a document without its places.
    fn shape(node: &Node) -> String {
        match &node.value {
            Value::List(items) => {
                let items = items.iter().map(shape).collect::<Vec<_>>();
                format!("[{}]", items.join(","))
            }
            Value::Object(members) => {
                let member = |member: &Member| format!("{}:{}", member.name, shape(&member.node));
                let members = members.iter().map(member).collect::<Vec<_>>();
                format!("{{{}}}", members.join(","))
            }
            Value::Broken => "broken".to_owned(),
            _ => node.shown().expect("a value"),
        }
    }

    #[test]
    fn faults_say_where() {
        for (text, line, column, message) in [
            (&b""[..], 1, 1, "the file is empty"),
            (b" \n", 1, 1, "the file is empty"),
            (b"// a\n", 1, 1, "the file is empty"),
            (b"{\n\"a\": \"\xff\"}", 2, 7, "not UTF-8"),
            (b"{\n  # x\n  \"a\": 1 }", 2, 3, "begin with //"),
            (b"{ services [] } x", 1, 1, "this is no JSON"),
            (b"{ \"a\": 1 /* }", 1, 10, "close it with */"),
            (b"{\"a\": 1} x", 1, 10, "remove what follows"),
            (b"{\"a\": 1} }", 1, 10, "closes nothing"),
            (b"[01]", 1, 2, "no number"),
            (b"[\"\\ud800\"]", 1, 3, "surrogate"),
            (b"{\"\\ud800\":1}", 1, 3, "surrogate"),
            ("[\"é\", nul]".as_bytes(), 1, 7, "needs quotes"),
            (b"[1 2]", 1, 4, "a comma is missing"),
            (b"[1,,2]", 1, 4, "nothing stands before this comma"),
            (b"{\"a\" 1}", 1, 6, "\":\" is missing"),
            (b"{\"a\" = 1}", 1, 6, "divided by \":\""),
            (b"{\"a\" => 1}", 1, 6, "divided by \":\""),
            (b"{\"a\": 1 \"b\": 2}", 1, 9, "a comma is missing"),
            (b"{\"a\": 1; \"b\": 2}", 1, 8, "in place of \";\""),
            (b"{\"a\", \"b\": 2}", 1, 2, "the key has no value"),
            (b"{\"a\": }", 1, 2, "the key has no value"),
            (b"{\"a\": \"b\" + c}", 1, 11, "not evaluated"),
            (b"{\"a\": process.env.A || 5}", 1, 7, "${A}"),
            (b"{...x, \"a\": 1}", 1, 2, "\"...\""),
            (b"{\"a\": [1, 2 }", 1, 13, "the \"[\" of line 1"),
            (b"{\"a\": [1, 2]", 1, 1, "add \"}\""),
            (b"[\"a\": 1]", 1, 5, "a list has no keys"),
            (b"[\"a]", 1, 2, "does not end in its line"),
            (b"services: []", 1, 1, "YAML"),
            (b"server { }", 1, 1, "this is no JSON"),
            (b"# my site\n# second\nserver { }", 3, 1, "this is no JSON"),
            (
                b"# a\n{\n\temail a@b.c\n\tadmin off\n}\napp.example.com {\n}",
                2,
                1,
                "HAProxy, Caddy",
            ),
            (
                b"{\n\tservers {\n\t\tmetrics\n\t}\n}\n\n:80 {\n}",
                1,
                1,
                "HAProxy, Caddy",
            ),
            (b"{\n\tdebug\n}\n(snippet) {\n}", 1, 1, "HAProxy, Caddy"),
            (b"{$DOMAIN} {\n}", 1, 1, "HAProxy, Caddy"),
            (b"a.example.com, b.example.com {\n}", 1, 1, "HAProxy, Caddy"),
            (
                b"[entryPoints]\n  [entryPoints.web]\n",
                1,
                1,
                "Traefik, Envoy",
            ),
            (b"# a\nhttp:\n  routers: {}", 2, 1, "YAML is not read"),
            (b"---\nhttp:\n", 1, 1, "this is no JSON"),
            (b"- route: /a\n", 1, 1, "this is no JSON"),
            (b"# a\n{\n  # b\n  \"a\": 1 # c\n}", 1, 1, "begin with //"),
            (b"const express = require('express')", 1, 1, "a program"),
            (b"{ [1] }", 1, 3, "a key is missing"),
            (b"{ \"a\": /^x/ }", 1, 8, "expected a value"),
        ] {
            let found = faults(text);
            let [only] = found.as_slice() else {
                panic!("{:?}: {found:?}", String::from_utf8_lossy(text))
            };
            assert_eq!(
                (only.0, only.1),
                (line, column),
                "{:?}: {found:?}",
                String::from_utf8_lossy(text)
            );
            assert!(only.2.contains(message), "{found:?}");
        }
    }

    #[test]
    fn all_faults_are_found_in_one_run() {
        let text = "{\n  services: [\n    { route = '/a' target: http },\n    { 'route': True; }\n  ]\n\
                    \"port\": 05\n}";
        let found = faults(text.as_bytes())
            .into_iter()
            .map(|(line, column, _)| (line, column))
            .collect::<Vec<_>>();
        assert_eq!(
            found,
            [(3, 13), (3, 20), (3, 28), (4, 16), (4, 20), (6, 1), (6, 9)]
        );
        let root = parse(text.as_bytes()).root.expect("a document");
        assert_eq!(
            shape(&root),
            r#"{services:[{route:"/a",target:"http"},{route:true}],port:broken}"#
        );
        let many = parse("x\n".repeat(10_000).replacen("x", "[x", 1).as_bytes());
        assert_eq!((many.root, many.faults.len()), (None, CONFIG_FAULTS_MAX));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(faults(nested(CONFIG_DEPTH_MAX).as_bytes()), []);
        for levels in [CONFIG_DEPTH_MAX + 1, 100_000] {
            let found = faults(nested(levels).as_bytes());
            assert_eq!(found.len(), 1);
            assert!(found[0].2.contains("nested deeper"));
        }
    }
}
