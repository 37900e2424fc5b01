//! `tollgate fmt`: a configuration in its usual form. Keys and strings get double quotes, commas
//! behind the last item go, comments and blank lines stay. What stood in one line stays in one line
//! where it fits.

use super::syntax::literals;
use super::syntax::report::Report;
use super::syntax::tokens::{Bracket, Kind, Token, Tokens};
use super::{ConfigError, Node};

/// Columns up to which a list or an object stays in one line.
const LINE_COLUMNS: usize = 100;

/// Returns the text in its usual form. `file` is the path, for errors.
///
/// # Errors
/// The text has faults of the syntax.
pub fn format(text: &[u8], file: &str) -> Result<String, Vec<ConfigError>> {
    let mut report = Report::new(file, text);
    let root: Option<Node> = super::read_document(text, 0, &mut report);
    let root = report.finish(root)?;
    let text = core::str::from_utf8(text).unwrap_or_default();
    let mut reader = Reader {
        tokens: Tokens::new(text).collect::<Vec<_>>().into_iter().peekable(),
        end_line: 1,
    };
    let mut out = String::with_capacity(text.len());
    let (head, document) = reader.document(root.at);
    for comment in &head {
        write_comment(comment, 0, &mut out);
    }
    write_item(&document, 0, true, &mut out);
    let tail = reader.comments();
    for comment in tail {
        if comment.is_beside {
            let _ = out.pop();
            out.push(' ');
        }
        write_comment(&comment, 0, &mut out);
    }
    Ok(out)
}

/// Comment, which fills its line or stands behind something.
struct Comment<'t> {
    text: &'t str,
    /// Stands in the line of what is before it.
    is_beside: bool,
    /// A blank line stands before it.
    is_apart: bool,
}

/// Item of a list, or key and value of an object.
struct Item<'t> {
    /// Comments in lines of their own before the item.
    before: Vec<Comment<'t>>,
    /// A blank line stands before the item.
    is_apart: bool,
    key: Option<String>,
    value: Shape<'t>,
    /// Comments behind the item, in its line.
    behind: Vec<&'t str>,
}

enum Shape<'t> {
    /// A string, number or word as JSON has it.
    Single(String),
    Group(Group<'t>),
}

struct Group<'t> {
    bracket: Bracket,
    items: Vec<Item<'t>>,
    /// Comments behind the last item, in lines of their own.
    rest: Vec<Comment<'t>>,
    /// Stood in one line and has no comment.
    in_line: bool,
}

/// Reader of a document without faults.
struct Reader<'t> {
    tokens: core::iter::Peekable<std::vec::IntoIter<Token<'t>>>,
    /// Line in which the last token ended.
    end_line: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> Option<Token<'t>> {
        let token = self.tokens.next()?;
        self.end_line = token.line + token.text.matches('\n').count();
        Some(token)
    }

    /// Returns the comments that come next.
    fn comments(&mut self) -> Vec<Comment<'t>> {
        let mut comments = Vec::new();
        while let Some(token) = self.tokens.peek().copied() {
            match token.kind {
                Kind::Comment { .. } => comments.push(Comment {
                    text: token.text.trim_end(),
                    is_beside: token.line == self.end_line && token.at > 0,
                    is_apart: token.line > self.end_line + 1,
                }),
                Kind::Other(';') => {}
                _ => break,
            }
            let _ = self.next();
        }
        comments
    }

    /// Reads the document, which begins at `root`, and the comments before it. What JavaScript has
    /// in front of it goes.
    fn document(&mut self, root: usize) -> (Vec<Comment<'t>>, Item<'t>) {
        let mut head = self.comments();
        while self.tokens.peek().is_some_and(|token| token.at < root) {
            let _ = self.next();
            head.extend(self.comments());
        }
        for comment in &mut head {
            comment.is_beside = false;
        }
        let value = self.value();
        let document = Item {
            before: Vec::new(),
            is_apart: false,
            key: None,
            value,
            behind: Vec::new(),
        };
        (head, document)
    }

    fn value(&mut self) -> Shape<'t> {
        let Some(token) = self.next() else {
            return Shape::Single(String::new());
        };
        match token.kind {
            Kind::Open(bracket) => Shape::Group(self.group(bracket, token.line)),
            _ => Shape::Single(single(token)),
        }
    }

    /// Reads the items of a list or an object up to its closing bracket.
    fn group(&mut self, bracket: Bracket, line: usize) -> Group<'t> {
        let mut group = Group {
            bracket,
            items: Vec::new(),
            rest: Vec::new(),
            in_line: false,
        };
        let mut has_comment = false;
        loop {
            let mut before = self.comments();
            has_comment |= !before.is_empty();
            if let Some(last) = group.items.last_mut() {
                let beside = before
                    .iter()
                    .take_while(|comment| comment.is_beside)
                    .count();
                let beside = before.drain(..beside);
                last.behind.extend(beside.map(|comment| comment.text));
            }
            let Some(token) = self.tokens.peek().copied() else {
                break;
            };
            let is_apart = token.line > self.end_line + 1 && !group.items.is_empty();
            match token.kind {
                Kind::Close(_) => {
                    group.rest = before;
                    let is_single = |item: &Item<'_>| match &item.value {
                        Shape::Single(_) => true,
                        Shape::Group(inner) => inner.in_line,
                    };
                    let fits = !has_comment && group.items.iter().all(is_single);
                    group.in_line = token.line == line && fits;
                    let _ = self.next();
                    break;
                }
                Kind::Comma => {
                    let _ = self.next();
                    // Comments before a comma belong to the next item.
                    if let Some(last) = group.items.last_mut() {
                        last.behind
                            .extend(before.iter().map(|comment| comment.text));
                    }
                }
                _ => {
                    let key = (bracket == Bracket::Object).then(|| {
                        let key = self.next().map(name).unwrap_or_default();
                        before.extend(self.comments());
                        let _colon = self.next();
                        before.extend(self.comments());
                        key
                    });
                    has_comment |= !before.is_empty();
                    let value = self.value();
                    group.items.push(Item {
                        before,
                        is_apart,
                        key,
                        value,
                        behind: Vec::new(),
                    });
                }
            }
        }
        group
    }
}

/// Returns a key in double quotes.
fn name(token: Token<'_>) -> String {
    match token.kind {
        Kind::Quoted { .. } => single(token),
        _ => as_json(token.text),
    }
}

/// Returns a string, number or word as JSON has it. A string of JSON keeps its escapes.
fn single(token: Token<'_>) -> String {
    let Kind::Quoted { closed } = token.kind else {
        return token.text.to_owned();
    };
    if serde_json::from_str::<String>(token.text).is_ok() {
        return token.text.to_owned();
    }
    literals::quoted(token.text, closed).map_or(token.text.to_owned(), |text| as_json(&text))
}

fn as_json(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

fn indent(depth: usize, out: &mut String) {
    out.extend(core::iter::repeat_n("  ", depth));
}

fn write_comment(comment: &Comment<'_>, depth: usize, out: &mut String) {
    if comment.is_apart {
        out.push('\n');
    }
    if !comment.is_beside {
        indent(depth, out);
    }
    out.push_str(comment.text);
    out.push('\n');
}

/// Writes an item with the end of its line.
fn write_item(item: &Item<'_>, depth: usize, is_last: bool, out: &mut String) {
    for comment in &item.before {
        let own = Comment {
            is_beside: false,
            ..*comment
        };
        write_comment(&own, depth, out);
    }
    if item.is_apart && item.before.is_empty() {
        out.push('\n');
    }
    let start = out.len();
    indent(depth, out);
    if let Some(key) = &item.key {
        out.push_str(key);
        out.push_str(": ");
    }
    match &item.value {
        Shape::Single(text) => out.push_str(text),
        Shape::Group(group) => write_group(group, depth, start, out),
    }
    if !is_last {
        out.push(',');
    }
    for comment in &item.behind {
        out.push(' ');
        out.push_str(comment);
    }
    out.push('\n');
}

/// Writes a list or an object. `start`: where its line begins in `out`.
fn write_group(group: &Group<'_>, depth: usize, start: usize, out: &mut String) {
    let (opening, closing) = group.bracket.signs();
    if group.items.is_empty() && group.rest.is_empty() {
        out.extend([opening, closing]);
        return;
    }
    let before = out.len();
    if group.in_line {
        write_in_line(group, out);
        let columns = out.get(start..).map_or(0, |line| line.chars().count());
        if columns < LINE_COLUMNS {
            return;
        }
        out.truncate(before);
    }
    out.extend([opening, "\n"]);
    let last = group.items.len().saturating_sub(1);
    for (index, item) in group.items.iter().enumerate() {
        write_item(item, depth + 1, index == last, out);
    }
    for comment in &group.rest {
        let own = Comment {
            is_beside: false,
            ..*comment
        };
        write_comment(&own, depth + 1, out);
    }
    indent(depth, out);
    out.push_str(closing);
}

fn write_in_line(group: &Group<'_>, out: &mut String) {
    let (opening, closing) = group.bracket.signs();
    let space = if group.bracket == Bracket::Object {
        " "
    } else {
        ""
    };
    if group.items.is_empty() {
        out.extend([opening, closing]);
        return;
    }
    out.push_str(opening);
    out.push_str(space);
    for (index, item) in group.items.iter().enumerate() {
        if index > 0 {
            out.push_str(", ");
        }
        if let Some(key) = &item.key {
            out.push_str(key);
            out.push_str(": ");
        }
        match &item.value {
            Shape::Single(text) => out.push_str(text),
            Shape::Group(inner) => write_in_line(inner, out),
        }
    }
    out.push_str(space);
    out.push_str(closing);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::syntax::document::Value;
    use crate::config::syntax::parser;

    /// Returns `true` if two texts are the same document.
    fn same(one: &str, two: &str) -> bool {
        fn shape(node: &Node) -> String {
            match &node.value {
                Value::List(items) => format!("{:?}", items.iter().map(shape).collect::<Vec<_>>()),
                Value::Object(members) => format!(
                    "{:?}",
                    members
                        .iter()
                        .map(|member| (member.name.clone(), shape(&member.node)))
                        .collect::<Vec<_>>()
                ),
                value => format!("{value:?}"),
            }
        }
        let parse = |text: &str| parser::parse(text.as_bytes()).root.as_ref().map(shape);
        parse(one) == parse(two)
    }

    fn formatted(text: &str) -> String {
        format(text.as_bytes(), "t.json").unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
    }

    #[test]
    fn the_usual_form() {
        for (text, expected) in [
            ("{}", "{}\n"),
            ("[1,2]", "[1, 2]\n"),
            ("{a:1,'b':\"c\",}", "{ \"a\": 1, \"b\": \"c\" }\n"),
            (
                "// head\n\nconst services = [\n {route: '/a' , // first\n target:\"x\"},\n\n\n  /* two */ {},\n // rest\n];\n// end",
                "// head\n\n[\n  {\n    \"route\": \"/a\", // first\n    \"target\": \"x\"\n  },\n\n  /* two */\n  {}\n  // rest\n]\n// end\n"
                    .replace("// head\n\n", "// head\n")
                    .as_str(),
            ),
            (
                "{ // first\n\"a\": [ // list\n1 // one\n, 2 ] } // end",
                "{\n  // first\n  \"a\": [\n    // list\n    1, // one\n    2\n  ]\n} // end\n",
            ),
            ("{ 'a': 'it\\'s \"x\"\t' }", "{ \"a\": \"it's \\\"x\\\"\\t\" }\n"),
            (
                "[[/* d */ 1]]",
                "[\n  [\n    /* d */\n    1\n  ]\n]\n",
            ),
            ("{ \"a\": \"\\u00e9\" }", "{ \"a\": \"\\u00e9\" }\n"),
        ] {
            let out = formatted(text);
            assert_eq!(out, expected, "{text}");
            assert_eq!(formatted(&out), out, "{text}");
        }
        let long = format!("{{ a: [ {} ] }}", ["\"word\""; 20].join(", "));
        let out = formatted(&long);
        assert!(out.lines().count() > 20, "{out}");
        assert_eq!(formatted(&out), out);
    }

    #[test]
    fn faults_are_errors() {
        let errors = format(b"{ a = 1 }", "t.json").expect_err("a fault");
        assert_eq!(
            errors[0].to_string(),
            "t.json:1:5: key and value are divided by \":\""
        );
    }

    /// Text of a value, with comments and white space of any kind in it.
    fn text() -> impl Strategy<Value = String> {
        let gap = prop_oneof![
            Just(" "),
            Just(""),
            Just("\n"),
            Just("\n\n\n"),
            Just(" // c\n"),
            Just("/* d */"),
            Just("\n// e\n"),
        ];
        let leaf = prop_oneof![
            Just("1".to_owned()),
            Just("'x'".to_owned()),
            Just("\"y\\n\"".to_owned()),
            Just("true".to_owned())
        ];
        let group = move |inner: BoxedStrategy<String>| {
            let items = prop::collection::vec((gap.clone(), inner, gap.clone()), 0..4);
            (items, any::<bool>(), any::<bool>()).prop_map(|(items, is_object, trailing)| {
                let count = items.len();
                let mut out = String::from(if is_object { "{" } else { "[" });
                for (index, (before, item, behind)) in items.into_iter().enumerate() {
                    let key = if is_object {
                        format!("k{index}{behind}:")
                    } else {
                        String::new()
                    };
                    let comma = if index + 1 < count || trailing {
                        ","
                    } else {
                        ""
                    };
                    out.push_str(&format!(
                        "{before}{key}{before}{item}{behind}{comma}{behind}"
                    ));
                }
                out.push(if is_object { '}' } else { ']' });
                out
            })
        };
        leaf.boxed()
            .prop_recursive(4, 32, 4, move |inner| group(inner.boxed()).boxed())
    }

    proptest! {
        /// Formatting changes neither the document nor the comments, and a second time nothing.
        #[test]
        fn nothing_is_lost(text in text()) {
            let out = formatted(&text);
            prop_assert!(same(&text, &out), "{text}\n{out}");
            for sign in ["// c", "/* d */", "// e"] {
                prop_assert_eq!(text.matches(sign).count(), out.matches(sign).count(), "{}\n{}", text, out);
            }
            prop_assert_eq!(formatted(&out), out);
        }
    }
}
