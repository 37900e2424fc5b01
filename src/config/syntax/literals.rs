//! Single values of the file: strings in quotes, numbers, `true`, `false`, `null`; and what people
//! write in their place. Not here: lists and objects.

use super::document::Value;

/// Fault of a literal.
#[derive(PartialEq, Debug)]
pub(crate) struct Wrong {
    /// Offset within the token.
    pub(crate) at: usize,
    pub(crate) message: String,
    /// Value with which the check goes on; it is what was most likely meant.
    pub(crate) meant: Value,
}

/// Reads a text in quotes, quotes included. Single quotes, templates without `${..}` of JavaScript,
/// and tabs within a string are taken as they are meant.
pub(crate) fn quoted(text: &str, closed: bool) -> Result<String, Wrong> {
    let mut inside = text.chars();
    let opening = inside.next().unwrap_or('"');
    if closed {
        let _ = inside.next_back();
    }
    let inside = inside.as_str();
    let strict = strict(inside);
    let wrong = |at: usize, message: String| {
        let meant = Value::Text(inside.to_owned());
        let at = at + opening.len_utf8();
        Err(Wrong { at, message, meant })
    };
    if matches!(opening, '\u{201c}' | '\u{2018}') {
        let message = format!(
            "{opening} is a typographic quote; write strings in plain quotes, as in \"text\""
        );
        return Err(Wrong {
            at: 0,
            message,
            meant: Value::Text(inside.to_owned()),
        });
    }
    if !closed {
        return Err(Wrong {
            at: 0,
            message: "the string does not end in its line; close it with a quote".to_owned(),
            meant: Value::Broken,
        });
    }
    match strict {
        Ok(strict) => serde_json::from_str(&strict).or_else(|_| {
            wrong(
                0,
                "the string has half of a surrogate pair (\\ud800 to \\udfff); write the character itself".to_owned(),
            )
        }),
        Err((at, message)) => wrong(at, message),
    }
}

/// Returns the inside of a string as strict JSON, in double quotes; or the offset of what JSON does
/// not have, and the message.
fn strict(inside: &str) -> Result<String, (usize, String)> {
    let mut out = String::with_capacity(inside.len() + 2);
    out.push('"');
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\\' => match chars.next().map(|(_, escape)| escape) {
                Some(quote @ ('\'' | '`')) => out.push(quote),
                Some(escape @ ('"' | '\\' | '/' | 'b' | 'f' | 'n' | 'r' | 't')) => {
                    out.extend(['\\', escape]);
                }
                Some('u') if has_four_digits(chars.as_str()) => out.push_str("\\u"),
                Some('u') => {
                    let message = "\\u needs four hexadecimal digits, as in \\u00e9".to_owned();
                    return Err((at, message));
                }
                Some(escape) => {
                    let message = format!(
                        "\\{} is no escape; a backslash itself is written \\\\",
                        escape.escape_default()
                    );
                    return Err((at, message));
                }
                None => out.push_str("\\\\"),
            },
            c if c < ' ' => {
                let message = format!(
                    "the string has the control character \\u{:04x}; remove it",
                    u32::from(c)
                );
                return Err((at, message));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    Ok(out)
}

fn has_four_digits(text: &str) -> bool {
    text.get(..4)
        .is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// Length up to which the name of a variable, or a number, is repeated.
const SHOWN_NAME_BYTES: usize = 64;
/// Length up to which a number with a unit is repeated.
const MEASURE_BYTES: usize = 12;

/// Reads a word as a value.
pub(crate) fn word(text: &str) -> Result<Value, Wrong> {
    let wrong = |message: String, meant: Value| {
        Err(Wrong {
            at: 0,
            message,
            meant,
        })
    };
    match text {
        "true" => return Ok(Value::Flag(true)),
        "false" => return Ok(Value::Flag(false)),
        "null" => return Ok(Value::Null),
        _ if is_number(text) => return Ok(Value::Number(text.to_owned())),
        _ => {}
    }
    let say = |word: &str| format!("{text} is no value of JSON; write {word}");
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" => return wrong(say("true"), Value::Flag(true)),
        "false" | "no" | "off" => return wrong(say("false"), Value::Flag(false)),
        "null" | "none" | "nil" | "undefined" => return wrong(say("null"), Value::Null),
        _ => {}
    }
    if let Some(name) = text
        .strip_prefix("process.env.")
        .filter(|name| name.len() <= SHOWN_NAME_BYTES)
    {
        let message = format!(
            "variables of the environment are written \"${{{name}}}\", or \"${{{name}:-default}}\""
        );
        return wrong(message, Value::Broken);
    }
    let plain = text.trim_start_matches('+').replace('_', "");
    if plain.len() < text.len() && plain.len() <= SHOWN_NAME_BYTES && is_number(&plain) {
        let message = format!("{text} is no number of JSON; write {plain}");
        return wrong(message, Value::Number(plain));
    }
    let is_measure = text.starts_with(|c: char| c.is_ascii_digit())
        && text.len() <= MEASURE_BYTES
        && text.ends_with(|c: char| c.is_ascii_alphabetic());
    if is_measure {
        let message = format!("{text} needs quotes: write \"{text}\"");
        return wrong(message, Value::Text(text.to_owned()));
    }
    if !text.contains(char::is_alphabetic) {
        let message = "this is no number of JSON; write digits alone, as in 1000 or 0.5".to_owned();
        return wrong(message, Value::Broken);
    }
    // The word may be a secret.
    let message = "a text needs quotes, as in \"text\"".to_owned();
    wrong(message, Value::Text(text.to_owned()))
}

/// Returns `true` for a number of JSON (RFC 8259 6).
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (rest, exponent) = match rest.split_once(['e', 'E']) {
        Some((rest, exponent)) => (rest, Some(exponent)),
        None => (rest, None),
    };
    let (whole, fraction) = match rest.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (rest, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent
            .is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        for (text, value) in [
            (r#""a""#, "a"),
            (r#"'a"b\'c'"#, "a\"b'c"),
            ("`a\nb`", "a\nb"),
            ("\"a\tb\"", "a\tb"),
            (r#""\u00e9\n\/\\""#, "é\n/\\"),
            (r#""\ud83d\ude00""#, "😀"),
        ] {
            assert_eq!(quoted(text, true), Ok(value.to_owned()), "{text}");
        }
        for (text, closed, at, message) in [
            (r#""a\d""#, true, 2, "\\d is no escape"),
            (r#""\u12""#, true, 1, "four hexadecimal digits"),
            (r#""\ud800""#, true, 1, "surrogate"),
            ("\"a\u{1}\"", true, 2, "control character \\u0001"),
            ("\"a", false, 0, "does not end"),
            ("\u{201c}a\u{201d}", true, 0, "typographic"),
        ] {
            let wrong = quoted(text, closed).expect_err(text);
            assert_eq!(wrong.at, at, "{text}: {wrong:?}");
            assert!(wrong.message.contains(message), "{wrong:?}");
        }
    }

    #[test]
    fn words() {
        for number in ["0", "-1.50", "1e3", "1.5E-3", "20"] {
            assert_eq!(word(number), Ok(Value::Number(number.to_owned())));
        }
        for (text, message, meant) in [
            ("True", "write true", Value::Flag(true)),
            ("off", "write false", Value::Flag(false)),
            ("None", "write null", Value::Null),
            ("1_000", "write 1000", Value::Number("1000".to_owned())),
            ("+5", "write 5", Value::Number("5".to_owned())),
            ("01", "digits alone", Value::Broken),
            (".5", "digits alone", Value::Broken),
            ("15s", "write \"15s\"", Value::Text("15s".to_owned())),
            ("localhost", "quotes", Value::Text("localhost".to_owned())),
            ("process.env.PORT", "\"${PORT}\"", Value::Broken),
        ] {
            let wrong = word(text).expect_err(text);
            assert!(wrong.message.contains(message), "{wrong:?}");
            assert_eq!(wrong.meant, meant, "{text}");
        }
    }
}
