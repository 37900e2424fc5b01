//! Query of a request: `name=value` pairs with percent-encoding (RFC 3986 2.1, 3.4).

/// Returns the values of the known names, in their order; `None`: the name does not stand there.
///
/// # Errors
/// A name that is not known, or stands twice, or a value that is malformed. The text says which.
pub(super) fn values<const N: usize>(
    query: &[u8],
    known: [&str; N],
) -> Result<[Option<String>; N], String> {
    let mut values = [const { None }; N];
    let pairs = query.strip_prefix(b"?").unwrap_or_default();
    for pair in pairs.split(|&byte| byte == b'&') {
        if pair.is_empty() {
            continue;
        }
        let shown = String::from_utf8_lossy(pair);
        let at = pair.iter().position(|&byte| byte == b'=');
        let Some((name, value)) = at.and_then(|at| pair.split_at_checked(at)) else {
            return Err(format!(
                "{shown:?} has no value; write it as in ?name=value"
            ));
        };
        let value = decoded(value.get(1..).unwrap_or_default())
            .ok_or_else(|| format!("{shown:?} is not UTF-8 with percent-encoding"))?;
        let slot = known
            .iter()
            .position(|known| known.as_bytes() == name)
            .and_then(|index| values.get_mut(index));
        match slot {
            None if N == 0 => {
                return Err(format!("{shown:?} is not known; no query is needed here"));
            }
            None => {
                return Err(format!(
                    "{shown:?} is not known; the names here are {}",
                    known.join(", ")
                ));
            }
            Some(Some(_)) => return Err(format!("{shown:?} stands twice; keep one of them")),
            Some(slot) => *slot = Some(value),
        }
    }
    Ok(values)
}

/// Decodes `%41`; a `+` stays a `+`. `None`: a `%` without two hex digits, or no UTF-8.
fn decoded(text: &[u8]) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_first_chunk::<2>()?;
        let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
        // Two hex digits are at most 255.
        bytes.push(u8::try_from(high?.wrapping_mul(16).wrapping_add(low?)).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        let read = |query: &str| values(query.as_bytes(), ["level", "for"]);
        let some = |text: &str| Some(text.to_owned());
        for (query, level, duration) in [
            ("", None, None),
            ("?", None, None),
            ("?&", None, None),
            ("?level=debug", some("debug"), None),
            ("?for=10m&level=debug", some("debug"), some("10m")),
            ("?level=%64ebug&for=", some("debug"), some("")),
            ("?level=a=b", some("a=b"), None),
            ("?level=a+b%2B%20", some("a+b+ "), None),
            ("?level=%C3%BC", some("ü"), None),
        ] {
            assert_eq!(read(query), Ok([level, duration]), "{query}");
        }
        for (query, error) in [
            (
                "?level",
                "\"level\" has no value; write it as in ?name=value",
            ),
            (
                "?x=1",
                "\"x=1\" is not known; the names here are level, for",
            ),
            ("?=1", "\"=1\" is not known; the names here are level, for"),
            (
                "?LEVEL=1",
                "\"LEVEL=1\" is not known; the names here are level, for",
            ),
            (
                "?%6cevel=1",
                "\"%6cevel=1\" is not known; the names here are level, for",
            ),
            (
                "?level=a&level=a",
                "\"level=a\" stands twice; keep one of them",
            ),
            ("?level=%", "\"level=%\" is not UTF-8 with percent-encoding"),
            (
                "?level=%4",
                "\"level=%4\" is not UTF-8 with percent-encoding",
            ),
            (
                "?level=%4g",
                "\"level=%4g\" is not UTF-8 with percent-encoding",
            ),
            (
                "?level=%+1",
                "\"level=%+1\" is not UTF-8 with percent-encoding",
            ),
            (
                "?level=%ff",
                "\"level=%ff\" is not UTF-8 with percent-encoding",
            ),
        ] {
            assert_eq!(read(query), Err(error.to_owned()), "{query}");
        }
        assert_eq!(
            values(b"?a=1", []),
            Err("\"a=1\" is not known; no query is needed here".to_owned())
        );
    }
}
