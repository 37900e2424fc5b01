//! Balancing strategies: smooth weighted round robin, least connections, random two, ip-hash.
//!
//! The caller passes the current weights to every choice; a weight of 0 excludes a candidate. So
//! health, backups and slow start are unknown here.

use core::net::IpAddr;

/// Strategy that chooses the next endpoint (`balance`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Strategy {
    /// Smooth weighted round robin: endpoints alternate in proportion to their weights, and heavy
    /// ones are spread over the round.
    #[default]
    RoundRobin,
    /// Fewest requests in flight for its weight; round robin among equals.
    LeastConnections,
    /// Two are drawn by weight, and the one with fewer requests in flight for its weight is chosen.
    /// The result is nearly as good as least connections, and gateways that do not share state do
    /// not all choose the same endpoint.
    RandomTwo,
    /// Rendezvous hashing of the client address. When an endpoint leaves, only its own clients
    /// move.
    IpHash,
}

/// Balancer of one service. Candidates are named by their index.
pub struct Balancer {
    strategy: Strategy,
    candidates: Vec<Candidate>,
    /// State of the pseudo-random generator. It is seeded by the caller, so that a run can be
    /// repeated.
    random: u64,
    /// Greatest weight of every candidate; 0: they differ.
    common_weight: u32,
    /// Candidate whose turn is next, where all have one greatest weight.
    next: usize,
}

/// State of one candidate.
#[derive(Clone, Copy, Default)]
struct Candidate {
    /// Identity for ip-hash, independent of the index.
    identity: u64,
    /// Counter of smooth weighted round robin: each choice adds the candidate's weight, and being
    /// chosen subtracts the sum of all weights. Where all have one greatest weight, each turn adds
    /// the candidate's weight, and being chosen subtracts the greatest one.
    current_weight: i64,
    /// Requests in flight.
    load: u32,
}

impl Balancer {
    /// Size of one candidate in bytes.
    pub const CANDIDATE_BYTES: usize = size_of::<Candidate>();

    /// Creates an empty balancer.
    pub fn new(strategy: Strategy, seed: u64) -> Balancer {
        Balancer {
            strategy,
            candidates: Vec::new(),
            random: seed,
            common_weight: 0,
            next: 0,
        }
    }

    /// Replaces the weight that every candidate has at most, and has but for a while; 0: they
    /// differ. Round robin then looks at the next candidate in turn, rather than at all.
    pub fn set_common_weight(&mut self, weight: u32) {
        self.common_weight = weight;
    }

    /// Replaces the strategy. Requests in flight and identities stay.
    pub fn set_strategy(&mut self, strategy: Strategy) {
        self.strategy = strategy;
    }

    /// Returns the identity of a candidate.
    pub fn identity(&self, index: usize) -> u64 {
        self.candidates
            .get(index)
            .map_or(0, |candidate| candidate.identity)
    }

    /// Replaces the identity of a candidate.
    pub fn set_identity(&mut self, index: usize, identity: u64) {
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.identity = identity;
        }
    }

    /// Appends a candidate.
    pub fn add(&mut self, identity: u64) {
        self.candidates.push(Candidate {
            identity,
            ..Candidate::default()
        });
    }

    /// Removes a candidate; later indices shift down.
    pub fn remove(&mut self, index: usize) {
        if index < self.candidates.len() {
            self.candidates.remove(index);
            if index < self.next {
                self.next = self.next.saturating_sub(1);
            }
        }
    }

    /// Counts a request that starts at a candidate.
    pub fn begin(&mut self, index: usize) {
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.load = candidate.load.saturating_add(1);
        }
    }

    /// Counts a request that ended at a candidate.
    pub fn end(&mut self, index: usize) {
        if let Some(candidate) = self.candidates.get_mut(index) {
            candidate.load = candidate.load.saturating_sub(1);
        }
    }

    /// Forgets the requests in flight of all candidates.
    pub fn clear_loads(&mut self) {
        for candidate in &mut self.candidates {
            candidate.load = 0;
        }
    }

    /// Returns the candidate whose turn is next.
    pub fn turn(&self) -> usize {
        self.next
    }

    /// Goes on with the turn of a candidate.
    pub fn set_turn(&mut self, next: usize) {
        self.next = next;
    }

    /// Returns the number of requests in flight at a candidate.
    pub fn load(&self, index: usize) -> u32 {
        self.candidates
            .get(index)
            .map_or(0, |candidate| candidate.load)
    }

    /// Returns the next candidate for a client; `None` if all weights are 0.
    pub fn pick(&mut self, client: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
        match self.strategy {
            Strategy::RoundRobin if self.common_weight > 0 => self.in_turn(weight),
            Strategy::RoundRobin => self.round_robin(|index, _| weight(index)),
            Strategy::LeastConnections => self.least_connections(weight),
            Strategy::RandomTwo => self.random_two(weight),
            Strategy::IpHash => self.ip_hash(client, weight),
        }
    }

    /// Chooses by smooth weighted round robin. `weight` takes the index and the load of a
    /// candidate.
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

    /// Chooses in turn, where all candidates have one greatest weight. One that has less for a while
    /// is passed over until its turns add up to it.
    fn in_turn(&mut self, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let whole = i64::from(self.common_weight);
        let mut best: Option<(usize, i64)> = None;
        let next = self.next.min(self.candidates.len());
        let (earlier, later) = self.candidates.split_at_mut_checked(next)?;
        let all = (next..).zip(later).chain((0..).zip(earlier));
        for (index, candidate) in all {
            let weight = i64::from(weight(index));
            if weight == 0 {
                continue;
            }
            // Other strategies leave other numbers.
            let before = candidate.current_weight.clamp(0, whole.saturating_sub(1));
            candidate.current_weight = before.saturating_add(weight);
            if best.is_none_or(|(_, most)| candidate.current_weight > most) {
                best = Some((index, candidate.current_weight));
            }
            if candidate.current_weight >= whole {
                break;
            }
        }
        let (index, most) = best?;
        let chosen = self.candidates.get_mut(index)?;
        chosen.current_weight = most.saturating_sub(whole).max(0);
        self.next = index.saturating_add(1);
        if self.next >= self.candidates.len() {
            self.next = 0;
        }
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

    /// Draws a candidate by weight, never `other`.
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

    /// Returns a pseudo-random number below `bound`; 0 if `bound` is 0.
    pub fn random_below(&mut self, bound: u64) -> u64 {
        self.next_random().checked_rem(bound).unwrap_or(0)
    }

    /// Returns the next number of splitmix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }

    /// Chooses by weighted rendezvous hashing. A candidate's score depends only on the client, its
    /// identity and its weight. So the order of the others does not change when one leaves, and a
    /// candidate whose weight grows takes clients from others without moving any between them.
    fn ip_hash(&self, client: u64, weight: impl Fn(usize) -> u32) -> Option<usize> {
        let mut best: Option<(usize, f64)> = None;
        for (index, candidate) in self.candidates.iter().enumerate() {
            let weight = weight(index);
            if weight == 0 {
                continue;
            }
            let weight = f64::from(weight);
            let unit = unit(mix(client ^ candidate.identity));
            // A logarithm costs more than the rest, and `1 - x <= -ln x`: most candidates cannot
            // have the best score.
            if best.is_some_and(|(_, most)| weight < most * (1.0 - unit)) {
                continue;
            }
            let score = weight / -unit.ln();
            if best.is_none_or(|(_, most)| score > most) {
                best = Some((index, score));
            }
        }
        best.map(|(index, _)| index)
    }
}

/// Requests in flight, with the weight that they are compared by.
#[derive(Clone, Copy)]
struct WeightedLoad {
    load: u32,
    weight: u32,
}

impl WeightedLoad {
    /// Compares `load / weight` without a division. A weight of 0 is the heaviest load.
    fn is_less_than(self, other: WeightedLoad) -> bool {
        let cross = |load: u32, weight: u32| u64::from(load).saturating_mul(u64::from(weight));
        cross(self.load, other.weight) < cross(other.load, self.weight)
    }
}

/// Hash of a client's address for ip-hash: the same in every gateway.
pub fn client_hash(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => mix(u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let bits = address.to_bits();
            mix((bits >> 64) as u64 ^ mix(bits as u64))
        }
    }
}

/// Identity of an endpoint for ip-hash: a hash of its address and of its target's path, independent
/// of the order in the file.
pub fn identity(address: core::net::SocketAddr, path: &str) -> u64 {
    let start = mix(client_hash(address.ip()).wrapping_add(u64::from(address.port())));
    path.bytes()
        .fold(start, |hash, byte| mix(hash ^ u64::from(byte)))
}

/// Finalizer of splitmix64: every bit of the result depends on every bit of the input.
const fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Maps a hash to a number strictly between 0 and 1.
fn unit(hash: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) / STEPS
}

#[cfg(test)]
mod tests {
    // proptest's prelude exports a Strategy, too.
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
    fn turns_look_at_the_next_candidate_alone() {
        let mut balancer = balancer(Strategy::RoundRobin, 1000);
        balancer.set_common_weight(1);
        let looks = core::cell::Cell::new(0);
        for turn in 0..3000 {
            let weight = |_| {
                looks.set(looks.get() + 1);
                1
            };
            assert_eq!(balancer.pick(0, weight), Some(turn % 1000));
        }
        assert_eq!(looks.get(), 3000);
        balancer.pick(0, |_| 1);
        balancer.remove(0);
        assert_eq!(balancer.pick(0, |_| 1), Some(0), "the second one of before");
    }

    /// While all candidates have less, they share what there is by their weights.
    #[test]
    fn turns_of_candidates_without_a_whole_weight() {
        let mut balancer = balancer(Strategy::RoundRobin, 2);
        balancer.set_common_weight(100);
        assert_eq!(picks(&mut balancer, &[10, 10], 4), [0, 1, 0, 1]);
        let chosen = picks(&mut balancer, &[10, 30], 400);
        let first = chosen.iter().filter(|index| **index == 0).count();
        assert!((90..=150).contains(&first), "{first}");
        assert_eq!(
            picks(&mut balancer, &[100, 100], 400).iter().sum::<usize>(),
            200
        );
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

    /// Without load all candidates are equal, so the weights alone decide.
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
        /// After each full round the counts are exact, and within a round no candidate is more than
        /// one choice away from its share.
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

        /// Candidates that leave and return do not unbalance round robin: no candidate starves and
        /// none is flooded.
        #[test]
        fn round_robin_forgets_who_was_away(away in prop::collection::vec(0_usize..4, 1..200), common in 0_u32..2) {
            let mut balancer = balancer(Strategy::RoundRobin, 4);
            balancer.set_common_weight(common);
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

        /// In turn: whole candidates are chosen equally often, and one that has less for a while in
        /// proportion to it.
        #[test]
        fn turns_keep_to_the_weights(percents in prop::collection::vec(1_u32..=100, 1..12)) {
            let mut balancer = balancer(Strategy::RoundRobin, percents.len() + 1);
            balancer.set_common_weight(300);
            let weight = |index: usize| percents.get(index).map_or(300, |percent| percent * 3);
            let mut counts = vec![0_u32; percents.len() + 1];
            while counts[percents.len()] < 1000 {
                counts[balancer.pick(0, weight).expect("one")] += 1;
            }
            for (count, percent) in counts.iter().zip(&percents) {
                prop_assert!(count.abs_diff(percent * 10) <= 1, "{counts:?} {percents:?}");
            }
        }

        /// The score that is chosen is the best one of all.
        #[test]
        fn ip_hash_takes_the_best_score(weights in prop::collection::vec(0_u32..400, 1..40), number in any::<u32>()) {
            let mut balancer = balancer(Strategy::IpHash, weights.len());
            let score = |index: usize| {
                let hash = mix(client(number) ^ balancer.identity(index));
                f64::from(weights[index]) / -unit(hash).ln()
            };
            let all = (0..weights.len()).map(|index| (index, score(index)));
            let best = all.filter(|(_, score)| *score > 0.0).max_by(|(_, one), (_, other)| one.total_cmp(other));
            prop_assert_eq!(balancer.pick(client(number), |index| weights[index]), best.map(|(index, _)| index));
        }

        /// Rendezvous hashing: when a candidate leaves, only its clients move; when its weight
        /// grows, clients move only to it.
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

        /// Least connections: no other candidate has less load for its weight than the chosen one.
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
