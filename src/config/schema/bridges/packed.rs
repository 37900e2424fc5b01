//! Text that `build.rs` has packed, which says how.

/// Returns the text.
pub(super) fn unpacked(packed: &[u8]) -> String {
    let mut text = Vec::new();
    let mut bytes = packed.iter().map(|byte| usize::from(*byte));
    while let Some(first) = bytes.next() {
        if first < 0x80 {
            text.push(first as u8);
            continue;
        }
        let distance = (first & 0xf) << 8 | bytes.next().unwrap_or(0);
        for _ in 0..(first >> 4 & 7) + 3 {
            let before = text.iter().nth_back(distance);
            text.push(before.copied().unwrap_or(b'?'));
        }
    }
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::unpacked;

    #[test]
    fn the_words_are_packed_and_unpacked() {
        let packed = include_bytes!(concat!(env!("OUT_DIR"), "/words.packed"));
        let text = include_str!("words.txt");
        assert_eq!(unpacked(packed), text);
        assert!(packed.len() < text.len() * 6 / 10, "{}", packed.len());
    }

    #[test]
    fn runs_may_reach_into_themselves_and_before_the_start() {
        assert_eq!(unpacked(b"ab\xf0\x01c"), "ababababababc");
        assert_eq!(unpacked(b"\x80\x00"), "???");
        assert_eq!(unpacked(b"a\x80"), "aaaa");
        assert_eq!(unpacked(b""), "");
    }
}
