//! Times of orders: renewals, pauses behind failures, and limits on their number.
//!
//! All times are in seconds since 1970.

/// Pauses behind the first, second, third and each further failure in a row.
const PAUSES: [u64; 4] = [60, 600, 3600, 6 * 3600];

/// Longest pause that an authority can ask for.
const LONGEST_PAUSE: u64 = 30 * DAY;

/// Seconds of a day.
pub(super) const DAY: u64 = 86_400;

/// Life of a certificate below which half of it is over at its renewal.
const SHORT_LIFE: u64 = 10 * DAY;

/// Time at which a certificate is renewed at the latest, as a part of its life before its end.
const LAST_PART: u64 = 10;

/// Part of the life of a certificate in which no word of the authority renews it: one that always
/// says "now" must not have an order each minute.
const FIRST_PART: u64 = 50;

/// First second of 2025: a clock that says less was not set.
pub(super) const EARLIEST: u64 = 1_735_689_600;

/// Seconds over which the authorities count new orders of an account.
pub(super) const ORDERS_SPAN: u64 = 3 * 3600;

/// New orders in one span: two spans in a row stay below 300, the limit of Let's Encrypt.
pub(super) const ORDERS_MAX: u64 = 140;

/// Certificates of one set in a week that were issued: the limit of Let's Encrypt.
pub(super) const ISSUED_MAX: usize = 5;

/// Seconds over which they are counted.
pub(super) const ISSUED_SPAN: u64 = 7 * DAY;

/// Life below which certificates are not counted: five in a week are fewer than they need.
pub(super) const UNCOUNTED_LIFE: u64 = 3 * DAY;

/// Returns the time of the next attempt behind `failures` in a row; `asked`: the pause that the
/// authority asks for, which only lengthens it.
pub(super) fn next_attempt(now: u64, failures: u32, asked: Option<u64>) -> u64 {
    let index = (failures.max(1) as usize).saturating_sub(1);
    let pause = PAUSES.get(index).or(PAUSES.last()).copied().unwrap_or(DAY);
    let asked = asked.unwrap_or(0).min(LONGEST_PAUSE);
    now.saturating_add(pause.max(asked))
}

/// Returns the time of a renewal without a word of the authority: two thirds of the life, half of a
/// short one, up to a tenth earlier.
pub(super) fn renewal(begin: u64, end: u64, random: u64) -> u64 {
    let life = end.saturating_sub(begin);
    let offset = match life < SHORT_LIFE {
        true => life / 2,
        false => (life / 3).saturating_mul(2),
    };
    let jitter = random.checked_rem(offset / 10).unwrap_or(0);
    begin.saturating_add(offset.saturating_sub(jitter))
}

/// Returns a time in a window of the authority (RFC 9773 4.2), and before the last tenth of the
/// life.
pub(super) fn in_window((start, end): (u64, u64), life: (u64, u64), random: u64) -> u64 {
    let width = end.saturating_sub(start);
    let chosen = start.saturating_add(random.checked_rem(width).unwrap_or(0));
    let length = life.1.saturating_sub(life.0);
    let first = life.0.saturating_add(length / FIRST_PART);
    let last = life.1.saturating_sub(length / LAST_PART);
    chosen.min(last).max(first)
}

/// Returns the time from which another certificate of a set may be issued.
pub(super) fn issue_from(issued: &[u64], now: u64) -> u64 {
    let is_recent = |at: &&u64| at.saturating_add(ISSUED_SPAN) > now;
    let recent = issued.iter().filter(is_recent).count();
    let surplus = recent.checked_sub(ISSUED_MAX);
    let freed = surplus.and_then(|surplus| issued.iter().filter(is_recent).nth(surplus));
    freed.map_or(0, |at| at.saturating_add(ISSUED_SPAN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_are_only_lengthened() {
        let pauses = [1, 2, 3, 4, 5, 99].map(|failures| next_attempt(0, failures, None));
        assert_eq!(pauses, [60, 600, 3600, 21_600, 21_600, 21_600]);
        assert_eq!(next_attempt(5, 2, Some(30)), 605);
        assert_eq!(next_attempt(5, 2, Some(4000)), 4005);
        assert_eq!(next_attempt(0, 1, Some(u64::MAX)), LONGEST_PAUSE);
    }

    #[test]
    fn renewals() {
        assert_eq!(renewal(0, 90 * DAY, 0), 60 * DAY);
        assert_eq!(renewal(0, 6 * DAY, 0), 3 * DAY);
        for random in 0..1000 {
            let at = renewal(0, 90 * DAY, random * 7919);
            assert!((54 * DAY..=60 * DAY).contains(&at), "{at}");
        }
        assert_eq!(renewal(5, 5, 3), 5);
        assert_eq!(in_window((10, 20), (0, 100), 13), 13);
        assert_eq!(in_window((200, 300), (0, 100), 13), 90);
    }

    #[test]
    fn issued_certificates_are_limited() {
        assert_eq!(issue_from(&[1, 2, 3, 4], 10), 0);
        assert_eq!(issue_from(&[1, 2, 3, 4, 5], 10), 1 + ISSUED_SPAN);
        assert_eq!(issue_from(&[1, 2, 3, 4, 5], ISSUED_SPAN + 2), 0);
    }
}
