//! Tests on many bytes at a time.

/// Returns true if `test` holds for every byte. A test without branches runs on sixteen bytes at
/// once where the machine can.
#[inline(always)]
pub fn all(bytes: &[u8], test: impl Fn(u8) -> bool) -> bool {
    crate::cost::count(bytes.len());
    // The last sixteen bytes overlap with earlier ones, so that there is no shorter rest.
    if let Some(last) = bytes.last_chunk::<16>() {
        return bytes
            .as_chunks::<16>()
            .0
            .iter()
            .all(|chunk| each(chunk, &test))
            && each(last, &test);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        return each(first, &test) & each(last, &test);
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        return each(first, &test) & each(last, &test);
    }
    bytes.iter().all(|byte| test(*byte))
}

/// Tests every byte. A loop without an early exit is vectorized.
#[inline(always)]
fn each<const N: usize>(bytes: &[u8; N], test: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(true, |all, byte| all & test(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_anywhere_is_found() {
        for len in 0..50 {
            let mut bytes = vec![b'a'; len];
            assert!(all(&bytes, |byte| byte == b'a'), "{len}");
            for at in 0..len {
                bytes[at] = b'b';
                assert!(!all(&bytes, |byte| byte == b'a'), "{at} of {len}");
                bytes[at] = b'a';
            }
        }
    }
}
