//! Measured values by scenario and gateway, and their summary: medians, and medians of the ratios of each round.

use std::collections::BTreeMap;

/// Values of one gateway in one round.
#[derive(Clone, Default, Debug)]
pub struct Sample {
    /// CPU time of the gateway for one request, in ns.
    pub cpu: f64,
    /// Requests a second.
    pub rate: f64,
    /// Time from the due time of a request, in ns; 0 in a closed loop.
    pub p50: f64,
    pub p99: f64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Default, Debug)]
pub struct MemoryFigures {
    /// Private memory after some requests over one connection, which is closed again.
    pub empty: f64,
    pub per_idle: f64,
    /// Idle TLS connection; `None` for a gateway without TLS.
    pub per_idle_tls: Option<f64>,
    pub per_flight: f64,
}

type Key = (&'static str, &'static str);

#[derive(Default)]
pub struct Results {
    samples: BTreeMap<Key, Vec<Sample>>,
    pub memory: BTreeMap<&'static str, MemoryFigures>,
    /// Resident bytes after the load of the small requests.
    pub resident: BTreeMap<&'static str, f64>,
    pub syscalls: BTreeMap<&'static str, f64>,
    /// Milliseconds from start to listening.
    pub start: BTreeMap<&'static str, f64>,
    /// Requests a second at which the times of each were measured.
    pub fixed_rate: BTreeMap<&'static str, f64>,
    /// Bytes a second of the stream beside the small requests.
    pub stream: BTreeMap<&'static str, f64>,
    /// Faults, one a line. The figures of a gateway that is named here mean little.
    pub errors: Vec<(Key, String)>,
}

impl Results {
    pub fn add(&mut self, scenario: &'static str, gateway: &'static str, sample: Sample) {
        self.samples
            .entry((scenario, gateway))
            .or_default()
            .push(sample);
    }

    pub fn blame(&mut self, scenario: &'static str, gateway: &'static str, reason: String) {
        self.errors.push(((scenario, gateway), reason));
    }

    pub fn is_blamed(&self, scenario: &str, gateway: &str) -> bool {
        self.errors.iter().any(|((its_scenario, its_gateway), _)| {
            *its_scenario == scenario && *its_gateway == gateway
        })
    }

    pub fn has(&self, scenario: &'static str) -> bool {
        self.samples.keys().any(|(other, _)| *other == scenario)
    }

    /// Median over the rounds.
    pub fn median(
        &self,
        scenario: &'static str,
        gateway: &'static str,
        of: fn(&Sample) -> f64,
    ) -> Option<f64> {
        median(
            self.samples
                .get(&(scenario, gateway))?
                .iter()
                .map(of)
                .collect(),
        )
    }

    /// Round by round, one gateway's figure over another's: median, least, most.
    pub fn ratio(
        &self,
        upper: (&'static str, &'static str),
        lower: (&'static str, &'static str),
        of: fn(&Sample) -> f64,
    ) -> Option<[f64; 3]> {
        let pairs = self
            .samples
            .get(&upper)?
            .iter()
            .zip(self.samples.get(&lower)?);
        let ratios = pairs
            .map(|(upper, lower)| of(upper) / of(lower))
            .filter(|ratio| ratio.is_finite());
        let ratios = ratios.collect::<Vec<_>>();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Some([median(ratios)?, least, most])
    }
}

/// The middle one; of an even number, the mean of the middle two.
pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some((upper + lower) / 2.0)
}
