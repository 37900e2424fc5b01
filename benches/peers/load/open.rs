//! Open loop: requests are due at fixed times, also when earlier ones are late. The time of a request counts from the
//! time that it was due, so that a stall counts for every request that it delayed.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Token};
use rustix::fd::OwnedFd;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

use super::histogram::Histogram;
use super::{Load, PATIENCE};

/// Timer in the poll itself: the timeout of epoll has milliseconds, and a busy loop would take the origin's CPU.
struct Alarm(OwnedFd);

const ALARM: Token = Token(usize::MAX - 2);

impl Alarm {
    fn new(load: &Load) -> io::Result<Alarm> {
        let timer = timerfd_create(
            TimerfdClockId::Monotonic,
            TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC,
        )?;
        load.poll.registry().register(
            &mut SourceFd(&timer.as_raw_fd()),
            ALARM,
            Interest::READABLE,
        )?;
        Ok(Alarm(timer))
    }

    fn ring_in(&self, span: Duration) -> io::Result<()> {
        let it_value = Timespec {
            tv_sec: span.as_secs() as i64,
            tv_nsec: i64::from(span.subsec_nanos().max(1)),
        };
        let once = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value,
        };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }
}

impl Load {
    /// Sends `rate` requests a second for `span`.
    pub(super) fn open(&mut self, rate: f64, span: Duration) -> io::Result<()> {
        let alarm = Alarm::new(self)?;
        let begun_at = Instant::now();
        let total = (rate * span.as_secs_f64()) as u64;
        let due = |nth: u64| begun_at + Duration::from_secs_f64(nth as f64 / rate);
        let mut times = Histogram::new();
        // Time that the request of each connection was due.
        let mut since = vec![begun_at; self.clients.len()];
        let mut idle = (0..self.clients.len()).collect::<VecDeque<_>>();
        let (mut begun, mut busy) = (0, 0);
        while begun < total || busy > 0 {
            let now = Instant::now();
            while begun < total
                && due(begun) <= now
                && let Some(index) = idle.pop_front()
            {
                since[index] = due(begun);
                begun += 1;
                busy += 1;
                if self.start(index)? {
                    busy -= 1;
                    times.record(since[index].elapsed().as_nanos() as u64);
                    idle.push_back(index);
                }
            }
            if begun < total && !idle.is_empty() {
                alarm.ring_in(due(begun).saturating_duration_since(Instant::now()))?;
            }
            if !self.wait(Some(PATIENCE))? {
                self.outcome.errors += busy;
                self.outcome.first_error = "no answer".to_owned();
                break;
            }
            busy -= self.collect(&mut |index| {
                times.record(since[index].elapsed().as_nanos() as u64);
                idle.push_back(index);
            })? as u64;
        }
        self.outcome.nanos = begun_at.elapsed().as_nanos() as u64;
        self.outcome.p50 = times.quantile(0.5);
        self.outcome.p99 = times.quantile(0.99);
        Ok(())
    }
}
