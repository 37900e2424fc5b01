//! Which of several is next: smooth weighted round robin, least connections, random two, ip-hash.
//!
//! Every strategy takes the weights that hold now from its caller; a weight of 0 leaves one out. So who is down, a backup
//! or on its way back is not known here, and no strategy has to.

use core::net::IpAddr;

/// How the next one is chosen (`balance`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// Each in turn, as often as its weight says, and never twice in a row for want of mixing.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight; among equals in turn.
    LeastConnections,
    /// Two are drawn by weight, and the one with fewer requests in flight for its weight is taken: nearly as good as the
    /// least of all, and gateways that do not know of each other do not all run to the same one.
    RandomTwo,
    /// The same for the same client address. When one goes, only its own clients move (rendezvous hashing).
    IpHash,
}

/// The candidates of one strategy, by their index.
pub struct Balancer {
    strategy: Strategy,
    candidates: Vec<Candidate>,
    /// State of the generator; never a source of real randomness, so that a run can be repeated.
    random: u64,
}

/// What a strategy remembers of one candidate.
#[derive(Clone, Copy, Default)]
struct Candidate {
    /// Which one it is for ip-hash, whatever its index.
    identity: u64,
    /// Round robin's account: grows by its weight with each choice, and pays the sum of all weights when it is chosen.
    current_weight: i64,
    /// Requests in flight.
    load: u32,
}

impl Balancer {
    /// Bytes of one candidate.
    pub const CANDIDATE_BYTES: usize = size_of::<Candidate>();

    /// None to choose from yet.
    pub fn new(strategy: Strategy, seed: u64) -> Balancer {
        Balancer {
            strategy,
            candidates: Vec::new(),
            random: seed,
        }
    }

    /// One more, behind the others.
    pub fn add(&mut self, identity: u64) {
        self.candidates.push(Candidate {
            identity,
            ..Candidate::default()
        });
    }

    /// One less; those behind it move up.
    pub fn remove(&mut self, index: usize) {
        if index < self.candidates.len() {
            self.candidates.remove(index);
        }
    }

    /// A request begins there.
    pub fn begin(&mut self, index: usize) {
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.load = candidate.load.saturating_add(1);
        }
    }

    /// A request is over there.
    pub fn end(&mut self, index: usize) {
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.load = candidate.load.saturating_sub(1);
        }
    }

    /// Requests in flight there.
    pub fn load(&self, index: usize) -> u32 {
        self.candidates
            .get(index)
            .map_or(0, |candidate| candidate.load)
    }

    /// The next one for a client. `None`: all weights are 0.
    pub fn pick(&mut self, client: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
        match self.strategy {
            Strategy::RoundRobin => self.round_robin(|index, _| weight(index)),
            Strategy::LeastConnections => self.least_connections(weight),
            Strategy::RandomTwo => self.random_two(weight),
            Strategy::IpHash => self.ip_hash(client, weight),
        }
    }

    /// `weight` is told the load, too.
    fn round_robin(&mut self, weight: impl Fn(usize, u32) -> u32) -> Option<usize> {
        let mut sum = 0_i64;
        let mut best: Option<(usize, i64)> = None;
        for (index, candidate) in self.candidates.iter_mut().enumerate() {
            let weight = i64::from(weight(index, candidate.load));
            if weight == 0 {
                continue;
            }
            sum = sum.saturating_add(weight);
            candidate.current_weight = candidate.current_weight.saturating_add(weight);
            if best.is_none_or(|(_, most)| candidate.current_weight > most) {
                best = Some((index, candidate.current_weight));
            }
        }
        let (index, _) = best?;
        let chosen = self.candidates.get_mut(index)?;
        chosen.current_weight = chosen.current_weight.saturating_sub(sum);
        Some(index)
    }

    fn least_connections(&mut self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let weighted_loads = self
            .candidates
            .iter()
            .enumerate()
            .map(|(index, candidate)| WeightedLoad {
                load: candidate.load,
                weight: weight(index),
            });
        let least = weighted_loads
            .filter(|weighted_load| weighted_load.weight > 0)
            .reduce(|a, b| if b.is_less_than(a) { b } else { a })?;
        self.round_robin(|index, load| {
            let weight = weight(index);
            if least.is_less_than(WeightedLoad { load, weight }) {
                0
            } else {
                weight
            }
        })
    }

    fn random_two(&mut self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let first = self.draw(None, &weight)?;
        let Some(second) = self.draw(Some(first), &weight) else {
            return Some(first);
        };
        let weighted_load = |index| WeightedLoad {
            load: self.load(index),
            weight: weight(index),
        };
        Some(
            if weighted_load(second).is_less_than(weighted_load(first)) {
                second
            } else {
                first
            },
        )
    }

    /// One by weight, but not `other`.
    fn draw(&mut self, other: Option<usize>, weight: &impl Fn(usize) -> u32) -> Option<usize> {
        let weight = |index| {
            if Some(index) == other {
                0
            } else {
                u64::from(weight(index))
            }
        };
        let sum = (0..self.candidates.len())
            .map(weight)
            .fold(0_u64, u64::saturating_add);
        let mut left = self.next_random().checked_rem(sum)?;
        (0..self.candidates.len()).find(|&index| {
            let weight = weight(index);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        })
    }

    /// A number below `bound` from the generator of this group; 0 when there is none.
    pub fn random_below(&mut self, bound: u64) -> u64 {
        self.next_random().checked_rem(bound).unwrap_or(0)
    }

    /// splitmix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// Weighted rendezvous hashing: each candidate's score hangs on nothing but the client, itself and its weight. So the
    /// order of the others does not change when one goes, and one that grows takes clients from others without moving any
    /// between them.
    fn ip_hash(&self, client: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (index, candidate) in self.candidates.iter().enumerate() {
            let weight = weight(index);
            if weight == 0 {
                continue;
            }
            let score = f64::from(weight) / -unit(mix(client ^ candidate.identity)).ln();
            if best.is_none_or(|(_, most)| score > most) {
                best = Some((index, score));
            }
        }
        best.map(|(index, _)| index)
    }
}

/// Requests in flight, and for how many of them a candidate is good.
#[derive(Clone, Copy)]
struct WeightedLoad {
    load: u32,
    weight: u32,
}

impl WeightedLoad {
    /// `load / weight`, compared without a division. A weight of 0 is the heaviest burden.
    fn is_less_than(self, other: WeightedLoad) -> bool {
        let cross = |load: u32, weight: u32| u64::from(load).saturating_mul(u64::from(weight));
        cross(self.load, other.weight) < cross(other.load, self.weight)
    }
}

/// What ip-hash takes a client for: its address, always the same number, in every gateway.
pub fn client_hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mix((bits >> 64) as u64 ^ mix(bits as u64))
        }
    }
}

/// Which endpoint it is for ip-hash: where it is and the path it is asked for, whatever its place in the file.
pub fn identity(address: core::net::SocketAddr, path: &str) -> u64 {
    let start = mix(client_hash(address.ip()).wrapping_add(u64::from(address.port())));
    path.bytes()
        .fold(start, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// The finalizer of splitmix64: every bit of the result hangs on every bit of the input.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// A number between 0 and 1, neither of them.
fn unit(hash: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) / STEPS
}

#[cfg(test)]
mod tests {
    // The prelude of proptest has a Strategy, too.
    use super::Strategy;
    use super::*;
    use core::net::Ipv4Addr;
    use proptest::prelude::*;

    fn balancer(strategy: Strategy, count: usize) -> Balancer {
        let mut balancer = Balancer::new(strategy, 7);
        (0..count as u64).for_each(|index| balancer.add(mix(index)));
        balancer
    }

    fn picks(balancer: &mut Balancer, weights: &[u32], count: usize) -> Vec<usize> {
        (0..count)
            .map(|_| {
                balancer
                    .pick(0, |index| weights[index])
                    .expect("one of them")
            })
            .collect()
    }

    fn client(number: u32) -> u64 {
        client_hash(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn round_robin_is_smooth() {
        let mut balancer = balancer(Strategy::RoundRobin, 3);
        assert_eq!(picks(&mut balancer, &[5, 1, 1], 7), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(picks(&mut balancer, &[1, 1, 1], 6), [0, 1, 2, 0, 1, 2]);
        assert_eq!(picks(&mut balancer, &[1, 0, 1], 4), [0, 2, 0, 2]);
    }

    #[test]
    fn nobody_is_nobody() {
        for strategy in [
            Strategy::RoundRobin,
            Strategy::LeastConnections,
            Strategy::RandomTwo,
            Strategy::IpHash,
        ] {
            assert_eq!(balancer(strategy, 0).pick(1, |_| 1), None);
            assert_eq!(balancer(strategy, 3).pick(1, |_| 0), None);
            assert_eq!(
                balancer(strategy, 3).pick(1, |index| u32::from(index == 1)),
                Some(1)
            );
        }
    }

    #[test]
    fn least_connections_fills_up_by_weight() {
        let mut balancer = balancer(Strategy::LeastConnections, 3);
        for _ in 0..70 {
            let index = balancer.pick(0, |index| [4, 2, 1][index]).expect("one");
            balancer.begin(index);
        }
        assert_eq!([0, 1, 2].map(|index| balancer.load(index)), [40, 20, 10]);
        (0..5).for_each(|_| balancer.end(2));
        assert_eq!(
            balancer.pick(0, |index| [4, 2, 1][index]),
            Some(2),
            "it has the fewest now"
        );
        balancer.begin(1);
        assert_eq!(balancer.pick(0, |index| [4, 2, 0][index]), Some(0));
    }

    /// Without load the least loaded are all of them: the weights hold by themselves.
    #[test]
    fn least_connections_without_load_is_round_robin() {
        let mut balancer = balancer(Strategy::LeastConnections, 2);
        assert_eq!(picks(&mut balancer, &[2, 1], 6), [0, 1, 0, 0, 1, 0]);
    }

    #[test]
    fn random_two_takes_the_better_of_two_and_never_the_worst_of_all() {
        let mut balancer = balancer(Strategy::RandomTwo, 4);
        (0..9).for_each(|_| balancer.begin(3));
        let mut counts = [0; 4];
        picks(&mut balancer, &[1; 4], 3000)
            .into_iter()
            .for_each(|index| counts[index] += 1);
        assert_eq!(counts[3], 0, "whoever it is compared with has less to do");
        assert!(
            counts[..3].iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = || picks(&mut balancer(Strategy::RandomTwo, 5), &[3, 1, 4, 1, 5], 50);
        assert_eq!(draw(), draw());
    }

    #[test]
    fn ip_hash_knows_its_clients_by_address_alone() {
        let mut balancer = balancer(Strategy::IpHash, 5);
        for number in 0..100 {
            let first = balancer.pick(client(number), |_| 1);
            balancer.begin(first.expect("one"));
            assert_eq!(balancer.pick(client(number), |_| 1), first);
        }
        let v6 = |text: &str| client_hash(text.parse().expect("an address"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8::2"));
        assert_ne!(v6("2001:db8::1"), v6("2001:db8:1::1"));
    }

    #[test]
    fn an_endpoint_is_known_by_where_it_is() {
        let id = |text: &str, path| identity(text.parse().expect("an address"), path);
        let all = [
            id("10.0.0.1:80", ""),
            id("10.0.0.1:81", ""),
            id("10.0.0.2:80", ""),
            id("10.0.0.1:80", "/a"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all[at + 1..].iter().all(|other| other != one));
        }
    }

    #[test]
    fn ip_hash_spreads_clients_by_weight() {
        let weights = [1_u32, 2, 3, 4];
        let mut balancer = balancer(Strategy::IpHash, 4);
        let mut counts = [0_u32; 4];
        for number in 0..100_000 {
            counts[balancer
                .pick(client(number), |index| weights[index])
                .expect("one")] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            assert!(count.abs_diff(weight * 10_000) < 600, "{counts:?}");
        }
    }

    proptest! {
        /// Over each full round the counts are exact, and nobody is ever more than one choice away from its share.
        #[test]
        fn round_robin_keeps_to_the_weights(weights in prop::collection::vec(1_u32..50, 1..12)) {
            let mut balancer = balancer(Strategy::RoundRobin, weights.len());
            let sum: u32 = weights.iter().sum();
            let mut counts = vec![0_u32; weights.len()];
            for turn in 1..=3 * sum {
                counts[balancer.pick(0, |index| weights[index]).expect("one")] += 1;
                for (count, weight) in counts.iter().zip(&weights) {
                    let expected = f64::from(turn) * f64::from(*weight) / f64::from(sum);
                    prop_assert!((f64::from(*count) - expected).abs() <= weights.len() as f64 / 2.0 + 1.0, "{counts:?} after {turn}");
                }
            }
            let exact: Vec<u32> = weights.iter().map(|weight| 3 * weight).collect();
            prop_assert_eq!(counts, exact);
        }

        /// However they come and go, what the accounts of round robin hold stays small: nobody starves and nobody is flooded.
        #[test]
        fn round_robin_forgets_who_was_away(away in prop::collection::vec(0_usize..4, 1..200)) {
            let mut balancer = balancer(Strategy::RoundRobin, 4);
            for gone in away {
                let index = balancer.pick(0, |index| u32::from(index != gone)).expect("one");
                prop_assert_ne!(index, gone);
            }
            let counts = picks(&mut balancer, &[1; 4], 400).into_iter().fold([0_u32; 4], |mut counts, index| {
                counts[index] += 1;
                counts
            });
            prop_assert!(counts.iter().all(|count| count.abs_diff(100) <= 60), "{counts:?}");
        }

        /// Rendezvous: when one goes only its clients move; when one's weight grows clients only move to it.
        #[test]
        fn ip_hash_moves_nobody_else(weights in prop::collection::vec(1_u32..20, 2..8), chosen in 0_usize..8, numbers in prop::collection::vec(any::<u32>(), 100)) {
            let chosen = chosen % weights.len();
            let mut balancer = balancer(Strategy::IpHash, weights.len());
            for number in numbers {
                let before = balancer.pick(client(number), |index| weights[index]);
                let without = balancer.pick(client(number), |index| if index == chosen { 0 } else { weights[index] });
                if before != Some(chosen) {
                    prop_assert_eq!(without, before);
                }
                let grown = balancer.pick(client(number), |index| if index == chosen { weights[index] * 3 } else { weights[index] });
                prop_assert!(grown == before || grown == Some(chosen));
            }
        }

        /// Least connections: whoever is taken, nobody else has less to do for its weight.
        #[test]
        fn least_is_least(state in prop::collection::vec((0_u32..20, 0_u32..10), 1..10)) {
            let mut balancer = balancer(Strategy::LeastConnections, state.len());
            for (index, (load, _)) in state.iter().enumerate() {
                (0..*load).for_each(|_| balancer.begin(index));
            }
            match balancer.pick(0, |index| state[index].1) {
                None => prop_assert!(state.iter().all(|(_, weight)| *weight == 0)),
                Some(index) => {
                    let (load, weight) = state[index];
                    prop_assert!(weight > 0);
                    prop_assert!(state.iter().all(|(other, w)| load * w <= other * weight));
                }
            }
        }
    }
}
