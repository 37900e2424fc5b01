//! Health of one endpoint, from active checks and from the requests sent to it.
//!
//! ```text
//!            `fall` checks fail in a row            `failures` within `window`, and not the last
//!      Up ------------------------------> Down   Up ------------------------------------------> Ejected
//!      Up <------------------------------ Down   Up <------------------------------------------ Ejected
//!            `rise` checks succeed in a row              `eject` is over
//! ```
//!
//! The two machines are independent: an endpoint is used if both allow it. An endpoint that returns
//! gets a small share of its weight at first (slow start). An endpoint that was ejected and fails
//! during its slow start is ejected again at once.

use crate::limits::{SLOW_START_PERCENT_MIN, SLOW_START_TIME};
use crate::time::{Duration, Instant};

/// Number of check results in a row that change the state (`healthCheck.rise`, `fall`), each at
/// least 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hysteresis {
    /// Successful checks until the endpoint is up.
    pub rise: u32,
    /// Failed checks until the endpoint is down.
    pub fall: u32,
}

/// Rule for ejecting an endpoint at which requests fail (`passiveHealth`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PassiveHealth {
    /// Failures that eject, at least 1.
    pub failures: u32,
    /// Counting window, from the first failure.
    pub window: Duration,
    /// Ejection time.
    pub eject: Duration,
}

/// Availability of an endpoint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Availability {
    /// Usable.
    Up,
    /// Used only if no other is up, because requests failed there recently.
    Ejected,
    /// Never used, because its health checks fail.
    Down,
}

/// Change that is reported to the operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Health checks failed.
    WentDown,
    /// Health checks fail for another reason than before.
    StillDown,
    /// Health checks succeed again.
    CameUp,
    /// Too many requests failed.
    Ejected,
    /// A request failed during the slow start that follows an ejection.
    EjectedAgain,
    /// The ejection ended; a slow start begins.
    Returned,
    /// A request was answered after an ejection, and the slow start ended without a failure.
    Recovered,
}

/// Health of one endpoint.
#[derive(Clone, Copy, Default, Debug)]
pub struct Health {
    /// Result of the active health checks.
    down: bool,
    /// Number of checks in a row whose result contradicts `down`.
    streak: u32,
    /// Failed requests in the counting window that ends at `window_end`.
    failures: u32,
    window_end: Instant,
    /// End of the ejection or absence.
    ejected: Option<Instant>,
    /// The endpoint is absent (cannot be reached), which does not count as an ejection.
    absent: bool,
    /// Slow start, while the endpoint has less than its full weight.
    slow_start: Option<SlowStart>,
    trial: Trial,
}

/// Answers of an endpoint since its last ejection ended.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Trial {
    /// No ejection before, or it has recovered.
    #[default]
    Over,
    /// No request was answered.
    Awaited,
    /// A request was answered.
    Answered,
}

/// Health of one endpoint, as another process takes it over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HealthRecord {
    /// Result of the active health checks.
    pub down: bool,
    /// Number of checks in a row whose result contradicts `down`.
    pub streak: u32,
    /// Time until the ejection or absence ends.
    pub ejected: Option<Duration>,
    /// The endpoint is absent, which does not count as an ejection.
    pub absent: bool,
    /// Time until the slow start ends.
    pub slow_start: Option<Duration>,
    /// The slow start follows an ejection.
    pub after_ejection: bool,
    /// Failed requests that have not ejected the endpoint.
    pub failures: u32,
    /// Time until the counting window of these failures ends.
    pub window: Duration,
}

#[derive(Clone, Copy, Debug)]
struct SlowStart {
    end: Instant,
    /// The slow start follows an ejection: the next failure ejects again.
    after_ejection: bool,
}

impl Health {
    /// Creates the health of an endpoint that joins busy ones, with a slow start.
    pub fn slow_starting(now: Instant) -> Health {
        Health {
            slow_start: Some(SlowStart {
                end: now.after(SLOW_START_TIME),
                after_ejection: false,
            }),
            ..Health::default()
        }
    }

    /// Returns what another process is to know of this endpoint; `None`: it is up, and nothing else
    /// is to be known.
    pub fn record(&self, now: Instant) -> Option<HealthRecord> {
        let record = HealthRecord {
            down: self.down,
            streak: self.streak,
            ejected: self.ejected.map(|until| until.since(now)),
            absent: self.absent,
            slow_start: self.slow_start.map(|slow_start| slow_start.end.since(now)),
            after_ejection: self.is_after_ejection(),
            failures: if self.window_is_over(now) {
                0
            } else {
                self.failures
            },
            window: self.window_end.since(now),
        };
        let is_new = !record.down
            && record.streak == 0
            && record.ejected.is_none()
            && record.failures == 0
            && self.slow_start_percent(now) == 100;
        (!is_new).then_some(record)
    }

    /// Creates the health that another process knew.
    pub fn restored(record: HealthRecord, now: Instant) -> Health {
        let slow_start = record.slow_start.map(|left| SlowStart {
            end: now.after(left.min(SLOW_START_TIME)),
            after_ejection: record.after_ejection,
        });
        Health {
            down: record.down,
            streak: record.streak,
            ejected: record.ejected.map(|left| now.after(left)),
            absent: record.absent && record.ejected.is_some(),
            slow_start,
            failures: record.failures,
            window_end: now.after(record.window),
            trial: match record.after_ejection {
                true => Trial::Awaited,
                false => Trial::Over,
            },
        }
    }

    /// Returns the availability.
    pub fn availability(&self) -> Availability {
        match (self.down, self.ejected) {
            (true, _) => Availability::Down,
            (false, Some(_)) => Availability::Ejected,
            (false, None) => Availability::Up,
        }
    }

    /// Returns the availability that a request would find now: an ejection whose time is over ends with the
    /// next one.
    pub fn availability_at(&self, now: Instant) -> Availability {
        match self.availability() {
            Availability::Ejected if self.ejection_is_over(now) => Availability::Up,
            other => other,
        }
    }

    /// Returns true if no request was answered since an ejection ended, whether or not one has come.
    pub fn awaits_answer_at(&self, now: Instant) -> bool {
        self.awaits_answer() || (!self.absent && self.ejection_is_over(now))
    }

    fn ejection_is_over(&self, now: Instant) -> bool {
        self.ejected.is_some_and(|until| until <= now)
    }

    /// Returns true if failed requests ejected this endpoint.
    pub fn is_ejected(&self) -> bool {
        self.ejected.is_some() && !self.absent
    }

    /// Returns true if this endpoint is marked as absent.
    pub fn is_absent(&self) -> bool {
        self.absent
    }

    /// Marks this endpoint as absent until `until`. It returns with its full weight and without a
    /// history.
    pub fn mark_absent(&mut self, until: Instant) {
        if self.availability() == Availability::Up {
            (self.failures, self.ejected, self.absent, self.slow_start) =
                (0, Some(until), true, None);
            self.trial = Trial::Over;
        }
    }

    /// Forgets the results of active health checks, which are off from now on.
    pub fn forget_checks(&mut self) {
        (self.down, self.streak) = (false, 0);
    }

    /// Forgets failed requests and an ejection: requests do not eject from now on.
    pub fn forget_failures(&mut self) {
        if !self.absent {
            (self.failures, self.ejected) = (0, None);
        }
        self.trial = Trial::Over;
        self.slow_start = self
            .slow_start
            .filter(|slow_start| !slow_start.after_ejection);
    }

    /// Returns true if the next failure begins a new window.
    pub fn window_is_over(&self, now: Instant) -> bool {
        self.failures == 0 || now >= self.window_end
    }

    fn is_after_ejection(&self) -> bool {
        self.slow_start
            .is_some_and(|slow_start| slow_start.after_ejection)
    }

    /// Returns the percentage of its weight that the endpoint gets: small at the beginning of a
    /// slow start.
    pub fn slow_start_percent(&self, now: Instant) -> u32 {
        let Some(slow_start) = self.slow_start else {
            return 100;
        };
        let whole = SLOW_START_TIME.as_millis();
        let grown = whole
            .saturating_sub(slow_start.end.since(now).as_millis())
            .saturating_mul(100)
            .checked_div(whole);
        u32::try_from(grown.unwrap_or(100))
            .unwrap_or(100)
            .clamp(SLOW_START_PERCENT_MIN, 100)
    }

    /// Returns the time at which [`expire`](Self::expire) has something to do.
    pub fn expires_at(&self) -> Option<Instant> {
        let after_ejection = self
            .slow_start
            .filter(|slow_start| slow_start.after_ejection);
        let recovered = (self.trial == Trial::Answered).then_some(Instant::ZERO);
        self.ejected
            .or(after_ejection.map(|slow_start| slow_start.end))
            .or(recovered)
    }

    /// Returns true if no request was answered since an ejection ended.
    pub fn awaits_answer(&self) -> bool {
        self.trial == Trial::Awaited
    }

    /// Notes that a request was answered.
    pub fn answered(&mut self) {
        if self.awaits_answer() {
            self.trial = Trial::Answered;
        }
    }

    /// Records the result of an active health check.
    pub fn checked(&mut self, good: bool, rule: Hysteresis, now: Instant) -> Option<Change> {
        if good != self.down {
            self.streak = 0;
            return None;
        }
        self.streak = self.streak.saturating_add(1);
        if self.streak < if good { rule.rise } else { rule.fall } {
            return None;
        }
        self.streak = 0;
        self.down = !good;
        if !good {
            return Some(Change::WentDown);
        }
        // Failures from before the endpoint went down no longer count.
        (self.failures, self.ejected, self.absent) = (0, None, false);
        self.trial = Trial::Over;
        self.slow_start = Some(SlowStart {
            end: now.after(SLOW_START_TIME),
            after_ejection: false,
        });
        Some(Change::CameUp)
    }

    /// Records a failed request. With `is_protected` the endpoint is not ejected, because too many
    /// others are out of use.
    pub fn failed(
        &mut self,
        rule: PassiveHealth,
        is_protected: bool,
        now: Instant,
    ) -> Option<Change> {
        if self.availability() != Availability::Up {
            return None;
        }
        if self.window_is_over(now) {
            (self.failures, self.window_end) = (0, now.after(rule.window));
        }
        self.failures = self.failures.saturating_add(1);
        let after_ejection = self.slow_start_percent(now) < 100 && self.is_after_ejection();
        if is_protected || (self.failures < rule.failures && !after_ejection) {
            return None;
        }
        (self.failures, self.trial) = (0, Trial::Over);
        self.ejected = Some(now.after(rule.eject));
        Some(if after_ejection {
            Change::EjectedAgain
        } else {
            Change::Ejected
        })
    }

    /// Ends an ejection or a slow start whose time is over. Call until `None`.
    pub fn expire(&mut self, now: Instant) -> Option<Change> {
        if self.expires_at().is_none_or(|at| at > now) {
            return None;
        }
        let change = match self.ejected.take() {
            Some(_) if core::mem::take(&mut self.absent) => return None,
            Some(until) => {
                self.slow_start = Some(SlowStart {
                    end: until.after(SLOW_START_TIME),
                    after_ejection: true,
                });
                self.trial = Trial::Awaited;
                Change::Returned
            }
            None => {
                self.slow_start = None;
                if self.awaits_answer() {
                    return None;
                }
                self.trial = Trial::Over;
                Change::Recovered
            }
        };
        (!self.down).then_some(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHECKS: Hysteresis = Hysteresis { rise: 2, fall: 3 };
    const PASSIVE: PassiveHealth = PassiveHealth {
        failures: 3,
        window: Duration::from_secs(10),
        eject: Duration::from_secs(30),
    };

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn fail(health: &mut Health, times: usize) {
        (0..times).for_each(|_| {
            health.failed(PASSIVE, false, at(0));
        });
    }

    #[test]
    fn checks_need_a_run_to_change_anything() {
        let mut health = Health::default();
        let mut says = |results: &str| {
            let step = |good| health.checked(good == '+', CHECKS, at(1));
            (
                results.chars().filter_map(step).collect::<Vec<_>>(),
                health.availability(),
            )
        };
        assert_eq!(
            says("--+--+--"),
            (vec![], Availability::Up),
            "two in a row are not three"
        );
        assert_eq!(says("-"), (vec![Change::WentDown], Availability::Down));
        assert_eq!(says("---+-+-"), (vec![], Availability::Down));
        assert_eq!(says("++"), (vec![Change::CameUp], Availability::Up));
        assert_eq!(says("++++"), (vec![], Availability::Up));
    }

    #[test]
    fn another_process_takes_the_health_over() {
        let mut health = Health::default();
        assert_eq!(health.record(at(1)), None);
        fail(&mut health, 2);
        let record = health.record(at(1)).expect("failures");
        let mut other = Health::restored(record, at(0));
        assert!(!other.window_is_over(at(8)) && other.window_is_over(at(9)));
        assert_eq!(other.failed(PASSIVE, false, at(8)), Some(Change::Ejected));
        assert_eq!(health.record(at(10)), None, "their window is over");
        fail(&mut health, 1);
        let record = health.record(at(10)).expect("ejected");
        assert_eq!(record.ejected, Some(Duration::from_secs(20)));
        let mut other = Health::restored(record, at(0));
        assert!(other.is_ejected());
        assert_eq!(other.expire(at(19)), None);
        assert_eq!(other.expire(at(20)), Some(Change::Returned));
        let record = other.record(at(21)).expect("a slow start");
        let mut third = Health::restored(record, at(1));
        assert_eq!(third.slow_start_percent(at(1)), SLOW_START_PERCENT_MIN);
        assert_eq!(third.slow_start_percent(at(5)), 50, "it goes on");
        assert_eq!(
            third.failed(PASSIVE, false, at(2)),
            Some(Change::EjectedAgain)
        );
        // Down, and one check of two is good.
        let mut health = Health::default();
        for good in [false, false, false, true] {
            health.checked(good, CHECKS, at(1));
        }
        let record = health.record(at(2)).expect("down");
        let mut other = Health::restored(record, at(0));
        assert_eq!(other.availability(), Availability::Down);
        assert_eq!(other.checked(true, CHECKS, at(1)), Some(Change::CameUp));
        // Absent.
        let mut health = Health::default();
        health.mark_absent(at(9));
        let other = Health::restored(health.record(at(3)).expect("absent"), at(0));
        assert!(other.is_absent() && !other.is_ejected());
        assert_eq!(other.expires_at(), Some(at(6)));
    }

    #[test]
    fn failures_within_the_window_put_it_aside_for_a_while() {
        let mut health = Health::default();
        let mut fail = |second| health.failed(PASSIVE, false, at(second));
        assert_eq!(
            [fail(1), fail(2), fail(11), fail(12)],
            [None; 4],
            "a new window began"
        );
        assert_eq!(fail(13), Some(Change::Ejected));
        assert_eq!(
            (health.availability(), health.expires_at()),
            (Availability::Ejected, Some(at(43)))
        );
        assert_eq!(
            health.failed(PASSIVE, false, at(14)),
            None,
            "what was in flight there changes nothing"
        );
        assert_eq!(health.expire(at(42)), None);
        assert_eq!(health.expire(at(43)), Some(Change::Returned));
        assert_eq!(
            (health.availability(), health.expires_at()),
            (Availability::Up, Some(at(53)))
        );
        health.answered();
        assert_eq!(
            [
                health.expire(at(52)),
                health.expire(at(53)),
                health.expire(at(99))
            ],
            [None, Some(Change::Recovered), None]
        );
    }

    #[test]
    fn who_has_not_answered_is_not_well_again() {
        let mut health = Health::default();
        fail(&mut health, 3);
        assert_eq!(health.expire(at(30)), Some(Change::Returned));
        assert_eq!(health.expire(at(99)), None, "nobody has asked it");
        assert_eq!((health.awaits_answer(), health.expires_at()), (true, None));
        health.answered();
        assert_eq!(health.expire(at(99)), Some(Change::Recovered));
        assert_eq!((health.expire(at(99)), health.expires_at()), (None, None));
        // Another process goes on with it.
        fail(&mut health, 3);
        assert!(health.expire(at(30)).is_some());
        let record = health.record(at(31)).expect("a slow start");
        let mut other = Health::restored(record, at(0));
        assert_eq!((other.awaits_answer(), other.expire(at(9))), (true, None));
        // A failure ends what it has shown.
        health.answered();
        assert!(health.failed(PASSIVE, false, at(32)).is_some());
        assert_eq!(health.expire(at(62)), Some(Change::Returned));
        assert_eq!(health.expire(at(99)), None);
    }

    #[test]
    fn the_last_is_never_put_aside() {
        let mut health = Health::default();
        for second in 0..100 {
            assert_eq!(health.failed(PASSIVE, true, at(second)), None);
        }
        assert_eq!(health.availability(), Availability::Up);
    }

    #[test]
    fn who_comes_back_gets_little_at_first_and_goes_at_the_next_failure() {
        let mut health = Health::default();
        assert_eq!(health.slow_start_percent(at(0)), 100);
        fail(&mut health, 3);
        health.expire(at(30));
        let shares = [30, 32, 35, 40, 50].map(|second| health.slow_start_percent(at(second)));
        assert_eq!(shares, [SLOW_START_PERCENT_MIN, 20, 50, 100, 100]);
        let mut again = health;
        assert_eq!(
            again.failed(PASSIVE, false, at(35)),
            Some(Change::EjectedAgain),
            "on probation"
        );
        assert_eq!(health.failed(PASSIVE, false, at(40)), None, "not any more");
    }

    #[test]
    fn who_is_up_again_by_its_checks_has_no_history() {
        let mut health = Health::default();
        fail(&mut health, 3);
        assert!((0..3).any(|_| health.checked(false, CHECKS, at(1)).is_some()));
        assert_eq!(health.expire(at(30)), None, "it is down all the same");
        assert!((0..2).any(|_| health.checked(true, CHECKS, at(31)) == Some(Change::CameUp)));
        assert_eq!(
            (health.availability(), health.slow_start_percent(at(31))),
            (Availability::Up, SLOW_START_PERCENT_MIN)
        );
        assert_eq!(
            health.failed(PASSIVE, false, at(32)),
            None,
            "its checks speak for it"
        );
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Check(bool),
        Failure { is_protected: bool },
        Answer,
        Wait(u64),
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            any::<bool>().prop_map(Event::Check),
            any::<bool>().prop_map(|is_protected| Event::Failure { is_protected }),
            Just(Event::Answer),
            (1_u64..20_000).prop_map(Event::Wait),
        ]
    }

    proptest! {
        /// Compares with a plain reading of the rules: the last results alone decide.
        #[test]
        fn the_machine_keeps_to_its_rules(events in prop::collection::vec(event(), 0..200), rise in 1_u32..5, fall in 1_u32..5) {
            let rule = Hysteresis { rise, fall };
            let (mut health, mut now, mut run) = (Health::default(), Instant::ZERO, (true, 0_u32));
            for event in events {
                let before = health.availability();
                match event {
                    Event::Wait(millis) => {
                        now = now.after(Duration::from_millis(millis));
                        let change = health.expire(now);
                        let after = (before, health.availability());
                        match change {
                            None => prop_assert!(before == after.1 || before == Availability::Ejected),
                            Some(Change::Returned) => prop_assert_eq!(after, (Availability::Ejected, Availability::Up)),
                            Some(change) => prop_assert_eq!((change, after), (Change::Recovered, (Availability::Up, Availability::Up))),
                        }
                        while health.expire(now).is_some() {}
                        prop_assert!(health.expires_at().is_none_or(|at| at > now) || health.availability() == Availability::Down);
                    }
                    Event::Answer => {
                        health.answered();
                        prop_assert_eq!(before, health.availability());
                    }
                    Event::Check(good) => {
                        run = if run.0 == good { (good, run.1 + 1) } else { (good, 1) };
                        let change = health.checked(good, rule, now);
                        match change {
                            Some(Change::WentDown) => prop_assert!(!good && run.1 >= fall && before != Availability::Down),
                            Some(Change::CameUp) => prop_assert!(good && run.1 >= rise && before == Availability::Down),
                            Some(other) => prop_assert!(false, "{:?}", other),
                            None => prop_assert_eq!(before, health.availability()),
                        }
                        prop_assert!(good || run.1 < fall || health.availability() == Availability::Down);
                        prop_assert!(!good || run.1 < rise || health.availability() != Availability::Down);
                    }
                    Event::Failure { is_protected } => {
                        let change = health.failed(PASSIVE, is_protected, now);
                        let ejected = matches!(change, Some(Change::Ejected | Change::EjectedAgain));
                        prop_assert!(change.is_none() || (ejected && !is_protected && before == Availability::Up));
                        prop_assert!(change.is_some() || before == health.availability());
                    }
                }
                prop_assert!((SLOW_START_PERCENT_MIN..=100).contains(&health.slow_start_percent(now)));
            }
        }
    }
}
