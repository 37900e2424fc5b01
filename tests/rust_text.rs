//! The text of a Rust source that is part of the program: without comments, without what is in literals, and
//! without what is built for tests alone.

/// Mark in front of an item that is built for tests alone.
const TEST: &str = "#[cfg(test)]";

/// Returns the code of a source, with its lines, that is built without tests.
pub fn production(text: &str) -> String {
    without_tests(&without_text(text))
}

/// Returns a source without its comments and without the contents of its literals.
fn without_text(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let follows_a_name = code.ends_with(is_name);
        let (skipped, kept) = if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), "")
        } else if rest.starts_with("/*") {
            (block_comment(rest), " ")
        } else if let Some(length) = raw_string(rest).filter(|_| !follows_a_name) {
            (length, "\"\"")
        } else if first == '"' {
            (quoted(rest, '"'), "\"\"")
        } else if first == '\'' && is_character(rest) {
            (quoted(rest, '\''), "' '")
        } else {
            code.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        code.push_str(kept);
        // The numbers of lines stay.
        code.extend(rest[..skipped].chars().filter(|letter| *letter == '\n'));
        rest = &rest[skipped..];
    }
    code
}

fn is_name(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// Returns the length of a comment that may have others inside.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < text.len() {
        let rest = &text[at..];
        match () {
            () if rest.starts_with("/*") => (depth, at) = (depth + 1, at + 2),
            () if rest.starts_with("*/") => (depth, at) = (depth - 1, at + 2),
            () => at += rest.chars().next().map_or(1, char::len_utf8),
        }
        if depth == 0 {
            return at;
        }
    }
    text.len()
}

/// Returns the length of a string without escapes, such as `r#".."#`, if the text begins with one.
fn raw_string(text: &str) -> Option<usize> {
    let behind = text.trim_start_matches(['b', 'c']).strip_prefix('r')?;
    let inside = behind.trim_start_matches('#');
    let marks = behind.len() - inside.len();
    let inside = inside.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(marks));
    let length = inside.find(&end).map_or(inside.len(), |at| at + end.len());
    Some(text.len() - inside.len() + length)
}

/// Returns the length of a literal with escapes between two marks.
fn quoted(text: &str, mark: char) -> usize {
    let mut is_escaped = false;
    for (at, letter) in text.char_indices().skip(1) {
        match letter {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            _ if letter == mark => return at + letter.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Returns true if a `'` begins a character, and not the name of a lifetime.
fn is_character(text: &str) -> bool {
    let mut letters = text.chars().skip(1);
    letters.next() == Some('\\') || letters.next() == Some('\'')
}

/// Returns code without the items, fields, arms and statements behind a mark of tests.
fn without_tests(code: &str) -> String {
    let mut parts = code.split(TEST);
    let mut found = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        found.push_str(&part[item(part)..]);
    }
    found
}

/// Returns the length of what stands behind an attribute: up to its `;` or `,`, up to the end of its block, or
/// to the end of what it is in.
fn item(code: &str) -> usize {
    let mut depth = 0_usize;
    let mut is_attribute = false;
    let mut last = ' ';
    for (at, letter) in code.char_indices() {
        match letter {
            '(' | '[' | '{' => {
                is_attribute |= depth == 0 && last == '#';
                depth += 1;
            }
            ')' | ']' | '}' if depth == 0 => return at,
            ')' | ']' | '}' => {
                depth -= 1;
                if depth == 0 && letter == '}' {
                    return at + 1;
                }
                if depth == 0 && letter == ']' {
                    is_attribute = false;
                }
            }
            ';' | ',' if depth == 0 && !is_attribute => return at + 1,
            _ => {}
        }
        if !letter.is_whitespace() {
            last = letter;
        }
    }
    code.len()
}

#[test]
fn comments_literals_and_tests_are_left_out() {
    for (text, expected) in [
        ("let a; // mio::Poll\nlet b;", "let a; \nlet b;"),
        ("a /* b /* c */\n d */ e", "a  \n e"),
        (
            r#"f("// no comment", b"\"", 'x', '"', '\'', 'é')"#,
            r#"f("", b"", ' ', ' ', ' ', ' ')"#,
        ),
        (
            "f(r#\"a \" // b\"#, br\"\\\"); g::<'a>(&'a b)",
            "f(\"\", \"\"); g::<'a>(&'a b)",
        ),
        ("var\"x\"", "var\"\""),
        (
            "a;\n#[cfg(test)]\nmod tests {\n fn f() { b }\n}\nc;",
            "a;\n\nc;",
        ),
        ("#[cfg(test)]\nmod tests;\npub mod a;", "\npub mod a;"),
        (
            "#[cfg(test)]\n#[expect(a, reason = \"b\")]\nfn f() -> [u8; 2] { c }\nd",
            "\nd",
        ),
        ("enum A { B, #[cfg(test)] Test(u8), C }", "enum A { B,  C }"),
        (
            "match a { #[cfg(test)] A::B(_) => { c } D => {} }",
            "match a {  D => {} }",
        ),
        ("S { a, #[cfg(test)] b: Vec::new() }", "S { a, }"),
    ] {
        assert_eq!(production(text), expected, "{text}");
    }
}
