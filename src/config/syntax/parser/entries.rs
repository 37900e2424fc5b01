//! Items of a list, keys and values of an object.

use crate::config::syntax::document::{Member, Node, Value};
use crate::config::syntax::literals;
use crate::config::syntax::tokens::{Bracket, Kind, Token};
use crate::limits::CONFIG_DEPTH_MAX;

use super::recovery::is_operator;
use super::{Expected, Open, Parser, Stop};

/// Message for a quote that closes nothing.
const EXTRA_QUOTE: &str = "one quote too many; remove it";

impl<'t> Parser<'t> {
    pub(super) fn read_in_list(&mut self, token: Token<'t>) -> Result<(), Stop> {
        let expected = self.open.last().map(|open| open.expected);
        match token.kind {
            Kind::Close(bracket) => self.close(bracket, token),
            Kind::Comma | Kind::Other(';') => self.read_comma(token),
            Kind::Colon => {
                self.fault(
                    token.at,
                    "a list has no keys; write { \"key\": value } for an object",
                )?;
                self.skip_rest();
                Ok(())
            }
            Kind::Other('"' | '\'') => self.fault(token.at, EXTRA_QUOTE),
            _ if is_operator(token) => self.refuse_expression(token),
            Kind::Open(_) | Kind::Quoted { .. } | Kind::Word => {
                if expected == Some(Expected::Comma) {
                    self.fault(token.at, "a comma is missing before this")?;
                }
                self.read_value(token)
            }
            _ => self.refuse(token),
        }
    }

    pub(super) fn read_in_object(
        &mut self,
        token: Token<'t>,
        expected: Expected,
    ) -> Result<(), Stop> {
        match (token.kind, expected) {
            (Kind::Close(bracket), _) => {
                self.fill_in(token.at)?;
                self.close(bracket, token)
            }
            (Kind::Comma | Kind::Other(';'), _) => {
                self.fill_in(token.at)?;
                self.read_comma(token)
            }
            (Kind::Other('"' | '\''), _) => self.fault(token.at, EXTRA_QUOTE),
            (Kind::Quoted { .. } | Kind::Word, Expected::Entry) => self.read_key(token),
            (Kind::Open(_), Expected::Entry) => {
                self.fault(token.at, "a key is missing before this, as in \"key\": ..")?;
                self.read_value(token)
            }
            (Kind::Colon, Expected::Colon) => {
                self.expect(Expected::Value);
                Ok(())
            }
            (Kind::Other('='), Expected::Colon) => {
                self.expect(Expected::Value);
                // The arrow `=>` is one fault.
                if let Some((Kind::Other('>'), _)) = self.peek() {
                    let _ = self.take()?;
                }
                self.fault(token.at, "key and value are divided by \":\"")
            }
            (Kind::Open(_) | Kind::Quoted { .. } | Kind::Word, Expected::Colon) => {
                self.suspect();
                self.fault(token.at, "\":\" is missing between the key and this")?;
                self.read_value(token)
            }
            (_, Expected::Comma) if is_operator(token) => self.refuse_expression(token),
            (Kind::Open(_) | Kind::Quoted { .. } | Kind::Word, Expected::Value) => {
                self.read_value(token)
            }
            (Kind::Quoted { .. } | Kind::Word, Expected::Comma) => {
                let is_key = matches!(self.peek(), Some((Kind::Colon | Kind::Other('='), _)));
                if !is_key {
                    return self.refuse(token);
                }
                self.fault(token.at, "a comma is missing before this")?;
                self.read_key(token)
            }
            _ => self.refuse(token),
        }
    }

    /// Reads a key, with or without quotes.
    pub(super) fn read_key(&mut self, token: Token<'t>) -> Result<(), Stop> {
        if token.text.starts_with("...") {
            self.fault(
                token.at,
                "\"...\" is not evaluated; write the keys out, or put them at the top level as the default of all services",
            )?;
            self.skip_rest();
            self.expect(Expected::Comma);
            return Ok(());
        }
        if let Some(open) = self.open.last_mut() {
            open.key = Some(token);
            open.expected = Expected::Colon;
        }
        Ok(())
    }

    /// Reads a value, or the start of one.
    pub(super) fn read_value(&mut self, token: Token<'t>) -> Result<(), Stop> {
        let value = match token.kind {
            Kind::Open(bracket) => {
                if self.open.len() >= CONFIG_DEPTH_MAX {
                    let message = format!(
                        "nested deeper than {CONFIG_DEPTH_MAX} levels, as no file of tollgate is; docs/guides translates those of other programs"
                    );
                    return self.fatal(token.at, message);
                }
                self.open.push(Open {
                    bracket,
                    at: token.at,
                    line: token.line,
                    items: Vec::new(),
                    members: Vec::new(),
                    key: None,
                    expected: Expected::Entry,
                });
                return Ok(());
            }
            Kind::Quoted { closed } => {
                // Brackets in the rest of the line may belong to the document.
                self.in_doubt |= !closed;
                literals::quoted(token.text, closed).map(Value::Text)
            }
            _ => literals::word(token.text),
        };
        let value = match value {
            Ok(value) => value,
            Err(wrong) => {
                let outer = self.open.last().map(|open| open.bracket);
                if token.kind == Kind::Word && outer == Some(Bracket::List) {
                    self.suspect();
                }
                self.fault(token.at + wrong.at, wrong.message)?;
                // `process.env.PORT || 5000` is one fault.
                if token.kind == Kind::Word {
                    self.line = token.line;
                    self.skip_rest();
                }
                wrong.meant
            }
        };
        self.add(Node {
            at: token.at,
            value,
            written: None,
        })
    }

    /// Adds a value to the list or object that is open.
    pub(super) fn add(&mut self, node: Node) -> Result<(), Stop> {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.expected = Expected::Comma;
        if open.bracket == Bracket::List {
            open.items.push(node);
            return Ok(());
        }
        // A value without a key was reported.
        let Some(key) = open.key.take() else {
            return Ok(());
        };
        let (name, wrong) = match key.kind {
            Kind::Quoted { closed } => match literals::quoted(key.text, closed) {
                Ok(name) => (name, None),
                Err(wrong) => {
                    let meant = match wrong.meant {
                        Value::Text(name) => Some(name),
                        _ => None,
                    };
                    (
                        meant.unwrap_or_default(),
                        Some((key.at + wrong.at, wrong.message)),
                    )
                }
            },
            _ => (key.text.to_owned(), None),
        };
        open.members.push(Member {
            name,
            name_at: key.at,
            node,
        });
        match wrong {
            Some((at, message)) => self.fault(at, message),
            None => Ok(()),
        }
    }

    /// Reads a comma, or a semicolon in its place.
    pub(super) fn read_comma(&mut self, token: Token<'t>) -> Result<(), Stop> {
        let expected = self.open.last().map(|open| open.expected);
        self.expect(Expected::Entry);
        if token.kind != Kind::Comma {
            return self.fault(token.at, "write \",\" in place of \";\"");
        }
        match expected {
            Some(Expected::Comma) => Ok(()),
            _ => self.fault(token.at, "nothing stands before this comma; remove it"),
        }
    }

    /// Closes the innermost list or object.
    pub(super) fn close(&mut self, bracket: Bracket, token: Token<'t>) -> Result<(), Stop> {
        let Some(open) = self.open.last() else {
            return Ok(());
        };
        if open.bracket != bracket {
            let (begins, ends) = open.bracket.signs();
            let line = open.line;
            self.in_doubt = true;
            self.fault(
                token.at,
                format!(
                    "expected {ends:?} before this: the {begins:?} of line {line} is not closed"
                ),
            )?;
            // With no other bracket that this one closes, it is the one too many.
            if !self.open.iter().any(|open| open.bracket == bracket) {
                return Ok(());
            }
            while self.open.last().is_some_and(|open| open.bracket != bracket) {
                self.pop()?;
            }
        }
        self.pop()
    }

    pub(super) fn pop(&mut self) -> Result<(), Stop> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let value = match open.bracket {
            Bracket::List => Value::List(open.items),
            Bracket::Object => Value::Object(open.members),
        };
        self.add(Node {
            at: open.at,
            value,
            written: None,
        })
    }

    pub(super) fn expect(&mut self, expected: Expected) {
        if let Some(open) = self.open.last_mut() {
            open.expected = expected;
        }
    }
}
