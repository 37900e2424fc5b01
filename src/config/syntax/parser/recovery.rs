//! The way back to the document behind a fault.

use crate::config::syntax::document::{Node, Value};
use crate::config::syntax::tokens::{Bracket, Kind, Token};

use super::{Expected, Parser, Stop};

impl<'t> Parser<'t> {
    /// Gives a key that stands alone a value that is reported no further.
    pub(super) fn fill_in(&mut self, at: usize) -> Result<(), Stop> {
        let Some(open) = self.open.last() else {
            return Ok(());
        };
        let key = match open.expected {
            Expected::Colon | Expected::Value => open.key,
            Expected::Entry | Expected::Comma => None,
        };
        let Some(key) = key else { return Ok(()) };
        self.suspect();
        self.fault(key.at, "the key has no value; write \"key\": value")?;
        self.add(Node {
            at,
            value: Value::Broken,
            written: None,
        })
    }

    /// Reports the innermost bracket that the file does not close.
    pub(super) fn report_open(&mut self) {
        if let Some(open) = self.open.last().filter(|_| !self.in_doubt && !self.is_lost) {
            self.in_doubt = true;
            let (at, (_, sign)) = (open.at, open.bracket.signs());
            let message = format!("this is not closed before the file ends; add {sign:?}");
            let _ = self.fault(at, message);
        }
    }

    /// Reports an operator behind a value.
    pub(super) fn refuse_expression(&mut self, token: Token<'t>) -> Result<(), Stop> {
        self.line = token.line;
        self.skip_rest();
        if let Some(open) = self.open.last_mut() {
            // The value before the operator is a part of the expression.
            let member = open.members.last_mut().map(|member| &mut member.node);
            if let Some(node) = open.items.last_mut().or(member) {
                node.value = Value::Broken;
            }
        }
        self.fault(
            token.at,
            "expressions are not evaluated; write the value itself, or \"${NAME:-default}\" for a variable of the environment",
        )
    }

    /// Reports a token that cannot stand where it stands, and goes on behind its item.
    pub(super) fn refuse(&mut self, token: Token<'t>) -> Result<(), Stop> {
        let expected = match self.open.last().map(|open| (open.bracket, open.expected)) {
            Some((Bracket::Object, Expected::Entry)) => "a key in quotes, or \"}\"",
            Some((Bracket::Object, Expected::Colon)) => "\":\"",
            Some((Bracket::Object, Expected::Comma)) => "\",\" or \"}\"",
            Some((Bracket::List, Expected::Comma)) => "\",\" or \"]\"",
            _ => "a value: a text in quotes, a number, true, false, null, a list or an object",
        };
        // A word that touches the quote before it was meant to be inside of quotes.
        let is_cut = token.kind == Kind::Word && token.at == self.text_end && token.at > 0;
        let hint = match is_cut {
            true => "; the text in front of it may lack its closing quote",
            false => "",
        };
        self.fault(token.at, format!("expected {expected} here{hint}"))?;
        self.is_lost = true;
        self.line = token.line;
        self.skip_rest();
        // A value that was expected is broken, and is not missed a second time.
        match self.open.last().map(|open| (open.bracket, open.expected)) {
            Some((Bracket::Object, Expected::Value | Expected::Colon))
            | Some((Bracket::List, Expected::Entry)) => self.add(Node {
                at: token.at,
                value: Value::Broken,
                written: None,
            }),
            _ => {
                self.expect(Expected::Comma);
                Ok(())
            }
        }
    }

    /// Skips the rest of an item in this line: up to a comma or a bracket that closes it.
    pub(super) fn skip_rest(&mut self) {
        let mut depth = 0_usize;
        while let Some((kind, line)) = self.peek() {
            match kind {
                Kind::Comma | Kind::Other(';') | Kind::Close(_) if depth == 0 => return,
                _ if depth == 0 && line != self.line => return,
                Kind::Open(_) | Kind::Other('(') => depth += 1,
                Kind::Close(_) | Kind::Other(')') => depth = depth.saturating_sub(1),
                _ => {}
            }
            let _ = self.tokens.next();
        }
    }
}

/// Returns `true` for an operator of JavaScript: `+`, `||`, `?`.
pub(super) fn is_operator(token: Token<'_>) -> bool {
    match token.kind {
        Kind::Word => token
            .text
            .bytes()
            .all(|byte| matches!(byte, b'+' | b'-' | b'*' | b'%' | b'&' | b'.')),
        Kind::Other(sign) => matches!(sign, '|' | '?' | '(' | '<' | '>' | '!' | '/'),
        _ => false,
    }
}
