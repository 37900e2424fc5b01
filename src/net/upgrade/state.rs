//! State on its way from an old process to a new one, as bytes.
//!
//! ```text
//! state:   version (1), seed of clients (8), number of tables (4), tables, number of names (4), names,
//!          number of addresses (4), addresses, number of key sets (4), key sets,
//!          number of listeners (4), listeners, and in version 5 the log level that holds for a while
//! table:   owner, window in ms (4), IPv6 prefix (1), longest ms until a client is forgotten (8),
//!          number of windows (4),
//!          for each: client (16), requests (4), previous (4), ms until it is forgotten (8)
//! name:    target, number of addresses (4), for each: 4 or 6 (1), address (16)
//! address: service, target, flags (1), address (16), port (2), checks in a row (4),
//!          ms until the ejection, the slow start and the counting of failures end (4 each),
//!          failures (4), number of clients (4), for each: fingerprint (4)
//! key set: provider, set
//! listener: name, digest of its TLS settings (32), current key of its tickets (48), previous key or
//!          nothing, seconds of the clock at which the current key ends (8)
//! level:   place in the list of levels (1), ms for which it holds (4)
//! ```
//!
//! Owner, service, target, provider, set, name and previous key have their length (4) before them. Numbers are
//! big-endian. A piece without a log level has version 4, which tollgate 0.2 reads, too.

use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::config::LogLevel;
use crate::limits::{
    ADDRESSES_PER_TARGET, ADMIN_LOG_LEVEL_MAX, CARRIED_WINDOW_BYTES, CHECK_RUN_MAX, PASSIVE_CLIENTS,
};
use crate::policy::auth::key::Secret;
use crate::policy::rate::WindowRecord;
use crate::proxy::carried::{CarriedHealth, CarriedKeys, CarriedName, CarriedState, CarriedTable};
use crate::time::Duration;
use crate::transport::tickets::{KEY_BYTES, TicketKey, TicketKeys};
use crate::upstream::health::HealthRecord;

const VERSION: u8 = 4;
/// Version of a piece that ends with a log level.
const WITH_LEVEL: u8 = 5;
/// Least bytes of an address, and of a table.
const ADDRESS_BYTES: usize = 55;
const TABLE_BYTES: usize = 21;
/// Least bytes of a name or a key set.
const PAIR_BYTES: usize = 8;
/// Least bytes of a listener.
const LISTENER_BYTES: usize = 4 + 32 + KEY_BYTES + 4 + 8;
/// Bytes of an address of a name.
const IP_BYTES: usize = 17;

const DOWN: u8 = 1;
const EJECTED: u8 = 2;
const ABSENT: u8 = 4;
const SLOW_START: u8 = 8;
const AFTER_EJECTION: u8 = 16;
const IS_IPV4: u8 = 32;
const KNOWN_FLAGS: u8 = 63;

/// A piece of the state.
#[derive(PartialEq, Eq, Debug, Default)]
pub(in crate::net) struct Piece {
    /// State of the engine.
    pub(in crate::net) engine: CarriedState,
    /// Keys of the tickets of TLS listeners.
    pub(in crate::net) tickets: Vec<CarriedTickets>,
    /// Log level that holds for a while, and how long it does. That of the last piece counts.
    pub(in crate::net) level: Option<(LogLevel, Duration)>,
}

/// Keys of the tickets of a TLS listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::net) struct CarriedTickets {
    /// Address of the listener in the configuration.
    pub(in crate::net) listener: Vec<u8>,
    /// Digest of its TLS settings.
    pub(in crate::net) identity: [u8; 32],
    /// The keys.
    pub(in crate::net) keys: TicketKeys,
}

/// Writes a piece.
pub(in crate::net) fn write(piece: &Piece) -> Vec<u8> {
    let state = &piece.engine;
    let windows = state.tables.iter().map(|table| table.windows.len());
    let windows = windows.fold(0_usize, usize::saturating_add);
    let mut out = Vec::with_capacity(windows.saturating_mul(CARRIED_WINDOW_BYTES));
    let has_level = piece.level.is_some();
    out.push(if has_level { WITH_LEVEL } else { VERSION });
    out.extend_from_slice(&state.client_seed.to_be_bytes());
    number(&mut out, state.tables.len() as u64);
    for table in &state.tables {
        text(&mut out, &table.owner);
        number(&mut out, table.window.as_millis());
        out.push(table.ipv6_prefix);
        out.extend_from_slice(&table.longest.as_millis().to_be_bytes());
        number(&mut out, table.windows.len() as u64);
        for window in &table.windows {
            out.extend_from_slice(&window.client.to_be_bytes());
            number(&mut out, window.passed.into());
            number(&mut out, window.previous.into());
            out.extend_from_slice(&window.left.as_millis().to_be_bytes());
        }
    }
    number(&mut out, state.names.len() as u64);
    for name in &state.names {
        text(&mut out, &name.target);
        number(&mut out, name.addresses.len() as u64);
        for ip in &name.addresses {
            out.push(if ip.is_ipv4() { 4 } else { 6 });
            out.extend_from_slice(&octets(*ip));
        }
    }
    number(&mut out, state.health.len() as u64);
    for carried in &state.health {
        write_health(&mut out, carried);
    }
    number(&mut out, state.keys.len() as u64);
    for keys in &state.keys {
        text(&mut out, &keys.provider);
        text(&mut out, keys.set.bytes());
    }
    number(&mut out, piece.tickets.len() as u64);
    for tickets in &piece.tickets {
        let keys = &tickets.keys;
        text(&mut out, &tickets.listener);
        out.extend_from_slice(&tickets.identity);
        out.extend_from_slice(&keys.current.0);
        text(
            &mut out,
            keys.previous.as_ref().map_or(&[][..], |key| &key.0),
        );
        out.extend_from_slice(&keys.until.to_be_bytes());
    }
    if let Some((level, time)) = piece.level {
        let place = LogLevel::ALL.iter().position(|one| *one == level);
        out.push(place.unwrap_or(0) as u8);
        number(&mut out, time.as_millis());
    }
    out
}

/// Writes the health of an address.
fn write_health(out: &mut Vec<u8>, carried: &CarriedHealth) {
    let health = &carried.health;
    text(out, &carried.service);
    text(out, &carried.target);
    let flag = |holds, flag| if holds { flag } else { 0 };
    out.push(
        flag(health.down, DOWN)
            | flag(health.ejected.is_some(), EJECTED)
            | flag(health.absent, ABSENT)
            | flag(health.slow_start.is_some(), SLOW_START)
            | flag(health.after_ejection, AFTER_EJECTION)
            | flag(carried.address.is_ipv4(), IS_IPV4),
    );
    out.extend_from_slice(&octets(carried.address.ip()));
    out.extend_from_slice(&carried.address.port().to_be_bytes());
    number(out, health.streak.into());
    for time in [health.ejected, health.slow_start, Some(health.window)] {
        number(out, time.unwrap_or_default().as_millis());
    }
    number(out, health.failures.into());
    number(out, carried.failed_clients.len() as u64);
    for client in &carried.failed_clients {
        number(out, u64::from(*client));
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    let ip = match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    ip.octets()
}

/// Writes a number in 4 bytes. All numbers fit: the configuration bounds them.
fn number(out: &mut Vec<u8>, value: u64) {
    let value = u32::try_from(value).unwrap_or(u32::MAX);
    out.extend_from_slice(&value.to_be_bytes());
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a state.
///
/// # Errors
/// The bytes are another version, or no state. The text says which.
pub(in crate::net) fn read(bytes: &[u8]) -> Result<Piece, &'static str> {
    match bytes.split_first() {
        Some((&version @ (VERSION | WITH_LEVEL), rest)) => {
            let piece = Reader(rest).piece(version == WITH_LEVEL);
            piece.ok_or("it is malformed")
        }
        _ => Err("it has another form than this version reads"),
    }
}

/// Property for the fuzz target: arbitrary bytes are no state, or one that is the same when it is
/// written and read again.
#[expect(clippy::expect_used, reason = "a property that does not hold panics")]
pub(crate) fn property(bytes: &[u8]) {
    if let Ok(piece) = read(bytes) {
        let again = read(&write(&piece)).expect("what is written can be read");
        assert!(again == piece, "{piece:?} is written as {again:?}");
    }
}

/// Bytes that are not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn piece(&mut self, has_level: bool) -> Option<Piece> {
        let engine = self.state()?;
        let tickets = 0..self.count(LISTENER_BYTES)?;
        let piece = Piece {
            engine,
            tickets: tickets.map(|_| self.tickets()).collect::<Option<_>>()?,
            level: if has_level { Some(self.level()?) } else { None },
        };
        self.0.is_empty().then_some(piece)
    }

    fn level(&mut self) -> Option<(LogLevel, Duration)> {
        let level = LogLevel::ALL.get(self.number(1)? as usize);
        let time = self.duration().filter(|time| *time <= ADMIN_LOG_LEVEL_MAX);
        level.copied().zip(time)
    }

    fn tickets(&mut self) -> Option<CarriedTickets> {
        let listener = self.text()?.to_vec();
        let identity = self.take(32)?.try_into().ok()?;
        let current = TicketKey(self.take(KEY_BYTES)?.try_into().ok()?);
        let previous = match self.text()? {
            [] => None,
            key => Some(TicketKey(key.try_into().ok()?)),
        };
        let until = self.number(8)? as u64;
        let keys = TicketKeys {
            current,
            previous,
            until,
        };
        Some(CarriedTickets {
            listener,
            identity,
            keys,
        })
    }

    fn state(&mut self) -> Option<CarriedState> {
        let mut state = CarriedState {
            client_seed: self.number(8)? as u64,
            ..CarriedState::default()
        };
        for _ in 0..self.count(TABLE_BYTES)? {
            state.tables.push(self.table()?);
        }
        for _ in 0..self.count(PAIR_BYTES)? {
            state.names.push(self.name()?);
        }
        for _ in 0..self.count(ADDRESS_BYTES)? {
            state.health.push(self.health()?);
        }
        for _ in 0..self.count(PAIR_BYTES)? {
            let (provider, set) = (self.text()?.to_vec(), self.text()?.to_vec());
            let set = Secret::new(set);
            state.keys.push(CarriedKeys { provider, set });
        }
        Some(state)
    }

    fn table(&mut self) -> Option<CarriedTable> {
        let owner = self.text()?.to_vec();
        let window = self.duration()?;
        let ipv6_prefix = self.number(1)? as u8;
        let longest = Duration::from_millis(self.number(8)? as u64);
        let count = self.count(CARRIED_WINDOW_BYTES)?;
        if window == Duration::ZERO || !(1..=128).contains(&ipv6_prefix) {
            return None;
        }
        let mut windows = Vec::with_capacity(count);
        let mut last = Duration::ZERO;
        for _ in 0..count {
            let record = WindowRecord {
                client: self.number(16)?,
                passed: self.number(4)? as u32,
                previous: self.number(4)? as u32,
                left: Duration::from_millis(self.number(8)? as u64),
            };
            if record.left < last || record.left > longest {
                return None;
            }
            last = record.left;
            windows.push(record);
        }
        Some(CarriedTable {
            owner,
            window,
            ipv6_prefix,
            longest,
            windows,
        })
    }

    fn name(&mut self) -> Option<CarriedName> {
        let target = self.text()?.to_vec();
        let count = self.count(IP_BYTES)?;
        if count > ADDRESSES_PER_TARGET {
            return None;
        }
        let addresses = (0..count).map(|_| match self.number(1)? {
            4 => self.ip(true),
            6 => self.ip(false),
            _ => None,
        });
        let addresses = addresses.collect::<Option<_>>()?;
        Some(CarriedName { target, addresses })
    }

    /// Reads an address, which must be an IPv4 address if `is_v4` says so.
    fn ip(&mut self, is_v4: bool) -> Option<IpAddr> {
        let ip = Ipv6Addr::from_bits(self.number(16)?);
        match ip.to_ipv4_mapped() {
            Some(ip) if is_v4 => Some(IpAddr::V4(ip)),
            None if is_v4 => None,
            _ => Some(IpAddr::V6(ip)),
        }
    }

    fn health(&mut self) -> Option<CarriedHealth> {
        let (service, target) = (self.text()?.to_vec(), self.text()?.to_vec());
        let flags = self.number(1)? as u8;
        let has = |flag| flags & flag != 0;
        let ip = self.ip(has(IS_IPV4))?;
        let port = self.number(2)? as u16;
        let streak = self.number(4)? as u32;
        let [ejected, slow_start, window] = [self.duration()?, self.duration()?, self.duration()?];
        let failures = self.number(4)? as u32;
        let count = self.count(4)?;
        if count > PASSIVE_CLIENTS {
            return None;
        }
        let clients = (0..count).map(|_| Some(self.number(4)? as u32));
        let failed_clients = clients.collect::<Option<Vec<_>>>()?;
        if flags & !KNOWN_FLAGS != 0 || streak > CHECK_RUN_MAX {
            return None;
        }
        Some(CarriedHealth {
            service,
            target,
            address: SocketAddr::new(ip, port),
            health: HealthRecord {
                down: has(DOWN),
                streak,
                ejected: has(EJECTED).then_some(ejected),
                absent: has(ABSENT),
                slow_start: has(SLOW_START).then_some(slow_start),
                after_ejection: has(AFTER_EJECTION),
                failures,
                window,
            },
            failed_clients,
        })
    }

    /// Reads the number of items that follow, each of at least so many bytes.
    fn count(&mut self, bytes: usize) -> Option<usize> {
        let count = self.number(4)? as usize;
        (count <= self.0.len().checked_div(bytes)?).then_some(count)
    }

    fn duration(&mut self) -> Option<Duration> {
        Some(Duration::from_millis(self.number(4)? as u64))
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number(4)? as usize;
        self.take(length)
    }

    /// Reads a number of so many bytes, at most 16.
    fn number(&mut self, bytes: usize) -> Option<u128> {
        let bytes = self.take(bytes)?;
        Some(
            bytes
                .iter()
                .fold(0, |value, &byte| value << 8 | u128::from(byte)),
        )
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(client: u128, left: u64) -> WindowRecord {
        WindowRecord {
            client,
            passed: 3,
            previous: 9,
            left: Duration::from_millis(left),
        }
    }

    fn example() -> Piece {
        let table = |owner: &[u8], windows| CarriedTable {
            owner: owner.to_vec(),
            window: Duration::from_secs(30 * 24 * 3600),
            ipv6_prefix: 64,
            longest: Duration::from_secs(30 * 24 * 3600),
            windows,
        };
        let health = |address: &str, health| CarriedHealth {
            service: b"/users\0\0".to_vec(),
            target: b"http://a.test".to_vec(),
            address: address.parse().expect("an address"),
            health,
            failed_clients: Vec::new(),
        };
        let down = HealthRecord {
            down: true,
            streak: 2,
            ejected: None,
            absent: false,
            slow_start: None,
            after_ejection: false,
            failures: 0,
            window: Duration::ZERO,
        };
        let ejected = HealthRecord {
            down: false,
            streak: 0,
            ejected: Some(Duration::from_millis(u64::from(u32::MAX))),
            absent: true,
            slow_start: Some(Duration::from_secs(9)),
            after_ejection: true,
            failures: u32::MAX,
            window: Duration::from_millis(u64::from(u32::MAX)),
        };
        let slow = HealthRecord {
            ejected: None,
            absent: false,
            after_ejection: false,
            ..ejected
        };
        let mut failed = health("[::ffff:10.0.0.1]:80", slow);
        failed.failed_clients = vec![0, u32::MAX, 7];
        let tickets = |previous| CarriedTickets {
            listener: b"0.0.0.0:443".to_vec(),
            identity: [7; 32],
            keys: TicketKeys {
                current: TicketKey([8; KEY_BYTES]),
                previous,
                until: u64::MAX,
            },
        };
        let engine = CarriedState {
            client_seed: 7 << 60,
            tables: vec![
                table(
                    b"",
                    vec![window(u128::MAX, 1), window(0, 1), window(7, 2_592_000_000)],
                ),
                table(b"/users\0\0", vec![window(1, 60_000)]),
            ],
            names: vec![
                CarriedName {
                    target: b"http://a.test".to_vec(),
                    addresses: ["10.0.0.1", "2001:db8::1", "::ffff:10.0.0.2"]
                        .map(|ip| ip.parse().expect(ip))
                        .to_vec(),
                },
                CarriedName {
                    target: Vec::new(),
                    addresses: Vec::new(),
                },
            ],
            keys: vec![CarriedKeys {
                provider: b"main\0".to_vec(),
                set: Secret::new(b"{}".to_vec()),
            }],
            health: vec![
                health("10.0.0.1:80", down),
                health("[2001:db8::1]:65535", ejected),
                failed,
            ],
        };
        Piece {
            engine,
            tickets: vec![tickets(None), tickets(Some(TicketKey([9; KEY_BYTES])))],
            level: Some((LogLevel::Debug, ADMIN_LOG_LEVEL_MAX)),
        }
    }

    #[test]
    fn what_is_written_is_read_and_nothing_shorter_or_longer() {
        let without = Piece {
            level: None,
            ..example()
        };
        for state in [Piece::default(), without, example()] {
            let bytes = write(&state);
            let version = if state.level.is_some() { 5 } else { 4 };
            assert_eq!(bytes[0], version, "0.2 reads what it can");
            assert_eq!(read(&bytes), Ok(state));
            for cut in 0..bytes.len() {
                assert!(read(&bytes[..cut]).is_err(), "cut at {cut}");
            }
            assert!(read(&[&bytes[..], b"\0"].concat()).is_err());
        }
    }

    #[test]
    fn every_byte_may_be_another() {
        let bytes = write(&example());
        for at in 0..bytes.len() {
            for change in [1, 0x7f, 0x80, 0xff] {
                let mut changed = bytes.clone();
                changed[at] ^= change;
                // No change of a byte makes more than the bytes can hold.
                if let Ok(state) = read(&changed) {
                    assert!(at > 0 && write(&state).len() == bytes.len(), "byte {at}");
                }
            }
        }
    }

    #[test]
    fn values_have_bounds() {
        assert_eq!(read(b""), read(b"\x01\0\0\0\0\0\0\0\0"), "another version");
        let spoil = |spoil: &dyn Fn(&mut CarriedState)| {
            let mut state = example();
            spoil(&mut state.engine);
            read(&write(&state))
        };
        assert_eq!(spoil(&|_| {}), Ok(example()));
        let cases: [&dyn Fn(&mut CarriedState); 8] = [
            &|state| state.tables[0].window = Duration::ZERO,
            &|state| state.tables[0].ipv6_prefix = 0,
            &|state| state.tables[0].ipv6_prefix = 129,
            &|state| state.tables[0].windows.swap(1, 2),
            &|state| state.tables[0].windows[2].left = Duration::from_millis(2_592_000_001),
            &|state| state.health[0].health.streak = CHECK_RUN_MAX + 1,
            &|state| state.health[0].failed_clients = vec![1; PASSIVE_CLIENTS + 1],
            &|state| {
                let ip = state.names[0].addresses[0];
                state.names[0].addresses = vec![ip; ADDRESSES_PER_TARGET + 1];
            },
        ];
        for (number, case) in cases.into_iter().enumerate() {
            assert_eq!(spoil(case), Err("it is malformed"), "case {number}");
        }
        let level = |time| Piece {
            level: Some((LogLevel::Trace, time)),
            ..Piece::default()
        };
        let day = ADMIN_LOG_LEVEL_MAX.as_millis();
        assert!(read(&write(&level(Duration::from_millis(day)))).is_ok());
        assert!(read(&write(&level(Duration::from_millis(day + 1)))).is_err());
        // An IPv4 address that is none, an unknown flag, and an unknown level.
        let bytes = write(&example());
        let flags = bytes.windows(2).position(|two| two == [DOWN | IS_IPV4, 0]);
        let flags = flags.expect("the first address");
        let family = bytes.windows(2).position(|two| two == [4, 0]);
        let family = family.expect("the first address of a name");
        for (at, byte) in [
            (flags + 1, 1),
            (flags, DOWN | IS_IPV4 | 64),
            (family, 5),
            (family + 1, 1),
            (bytes.len() - 5, LogLevel::ALL.len() as u8),
        ] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            assert_eq!(read(&changed), Err("it is malformed"));
        }
    }
}
