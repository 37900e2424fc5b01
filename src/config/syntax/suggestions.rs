//! "Did you mean": the known word nearest to a wrong one.

/// Returns the known word that `word` is most likely a misspelling of; case, `-` and `_` do not
/// count.
pub(crate) fn nearest<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    let plain = |word: &str| {
        word.chars()
            .filter(|c| !matches!(c, '-' | '_'))
            .flat_map(char::to_lowercase)
            .collect()
    };
    let wrong: Vec<char> = plain(word);
    // A third of the letters may be wrong, and one in a short word.
    let allowed = (wrong.len() / 3).max(1);
    if wrong.is_empty() || wrong.len() > 64 {
        return None;
    }
    known
        .iter()
        .map(|candidate| (distance(&wrong, &plain(candidate)), *candidate))
        .filter(|(steps, candidate)| *steps <= allowed && *steps < candidate.len())
        .min_by_key(|(steps, _)| *steps)
        .map(|(_, candidate)| candidate)
}

/// Returns the number of letters to insert, drop, replace or swap with their neighbour (optimal
/// string alignment).
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    crate::cost::count(from.len().saturating_mul(to.len()));
    for (row, letter) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let at =
                |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX / 2);
            let replaced = at(&last, column) + usize::from(letter != other);
            let mut steps = replaced
                .min(at(&last, column + 1) + 1)
                .min(at(&next, column) + 1);
            let neighbours = row
                .checked_sub(1)
                .and_then(|up| from.get(up))
                .zip(column.checked_sub(1));
            if let Some((upper, left)) = neighbours
                && upper == other
                && to.get(left) == Some(letter)
            {
                steps = steps.min(at(&before, left) + 1);
            }
            next.push(steps);
        }
        before = core::mem::replace(&mut last, next);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found() {
        let known = [
            "route",
            "target",
            "stripPrefix",
            "preserveHost",
            "tls",
            "rateLimit",
            "timeouts",
        ];
        for (word, meant) in [
            ("taget", "target"),
            ("tagret", "target"),
            ("Target", "target"),
            ("targets", "target"),
            ("strip_prefix", "stripPrefix"),
            ("strip-prefx", "stripPrefix"),
            ("timeout", "timeouts"),
            ("ratelimits", "rateLimit"),
            ("tsl", "tls"),
        ] {
            assert_eq!(nearest(word, &known), Some(meant), "{word}");
        }
        for word in ["auth", "balance", "x", "", "ssl2", "upstream"] {
            assert_eq!(nearest(word, &known), None, "{word}");
        }
    }

    #[test]
    fn steps() {
        let steps = |a: &str, b: &str| {
            distance(
                &a.chars().collect::<Vec<_>>(),
                &b.chars().collect::<Vec<_>>(),
            )
        };
        assert_eq!((steps("", ""), steps("", "ab"), steps("ab", "")), (0, 2, 2));
        assert_eq!(
            (
                steps("kitten", "sitting"),
                steps("ab", "ba"),
                steps("abc", "abc")
            ),
            (3, 1, 0)
        );
    }
}
