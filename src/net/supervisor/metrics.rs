//! Metrics of several workers as those of one gateway.
//!
//! Counters, histograms and most gauges are added. A few gauges are facts that have no sum: see
//! [`Rule::of`]. Counters of workers that have ended stay in the sum as far as they were read, so
//! that no counter of a gateway goes down.

use std::collections::BTreeMap;

use crate::digits;

/// Rule by which the values of the workers become one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Rule {
    Sum,
    /// The smallest: one worker that sees a target down is enough.
    Least,
    Most,
}

impl Rule {
    fn of(family: &str) -> Rule {
        const LEAST: [&str; 6] = [
            "tollgate_target_up",
            "tollgate_store_up",
            "tollgate_config_last_reload_successful",
            "tollgate_config_last_reload_success_timestamp_seconds",
            "tollgate_certificate_expiry_timestamp_seconds",
            "process_start_time_seconds",
        ];
        const MOST: [&str; 4] = [
            "tollgate_build_info",
            "tollgate_build",
            "tollgate_config_reloads_total",
            "tollgate_loop_turn_max_seconds",
        ];
        if LEAST.contains(&family) {
            Rule::Least
        } else if MOST.contains(&family) {
            Rule::Most
        } else {
            Rule::Sum
        }
    }

    fn join(self, one: u64, two: u64) -> u64 {
        match self {
            Rule::Sum => one.saturating_add(two),
            Rule::Least => one.min(two),
            Rule::Most => one.max(two),
        }
    }
}

/// Values of counters of workers that have ended, by their samples.
pub(super) type Ended = BTreeMap<String, u64>;

#[derive(Default)]
struct Family<'a> {
    /// Lines about the family.
    about: Vec<&'a str>,
    /// Samples in their order.
    samples: Vec<Sample<'a>>,
}

struct Sample<'a> {
    /// Name and labels.
    name: &'a str,
    /// Place of its value.
    value: usize,
    /// True if the value has decimals.
    is_decimal: bool,
}

/// Places in a list, by name.
type Places<'a> = BTreeMap<&'a str, usize>;

/// Scrapes that become one.
#[derive(Default)]
pub(super) struct Merged<'a> {
    /// Families in their order.
    families: Vec<Family<'a>>,
    family_places: Places<'a>,
    /// Values of the samples in thousandths.
    values: Vec<u64>,
    value_places: Places<'a>,
}

impl<'a> Merged<'a> {
    /// Adds the scrape of a worker.
    pub(super) fn add(&mut self, scrape: &'a str) {
        let (mut name, mut place) = ("", usize::MAX);
        for line in scrape.lines() {
            if let Some(about) = line.strip_prefix("# ") {
                let mut words = about.split(' ');
                let (kind, family) = (words.next(), words.next());
                let (Some("HELP" | "TYPE"), Some(family)) = (kind, family) else {
                    continue;
                };
                name = family;
                place = place_of(name, &mut self.family_places, self.families.len());
                if place == self.families.len() {
                    self.families.push(Family::default());
                }
                if let Some(family) = self.families.get_mut(place)
                    && family.about.len() < 2
                    && !family.about.contains(&line)
                {
                    family.about.push(line);
                }
                continue;
            }
            let Some((sample, text)) = line.rsplit_once(' ') else {
                continue;
            };
            let (Some(thousandths), Some(family)) = (parse(text), self.families.get_mut(place))
            else {
                continue;
            };
            let at = place_of(sample, &mut self.value_places, self.values.len());
            if let Some(known) = self.values.get_mut(at) {
                *known = Rule::of(name).join(*known, thousandths);
                continue;
            }
            self.values.push(thousandths);
            family.samples.push(Sample {
                name: sample,
                value: at,
                is_decimal: text.contains('.'),
            });
        }
    }

    /// Writes the sum, with what workers have counted that have ended.
    pub(super) fn write(&self, ended: &Ended, is_open_metrics: bool) -> String {
        let mut out = String::new();
        for family in &self.families {
            for line in &family.about {
                out.push_str(line);
                out.push('\n');
            }
            for sample in &family.samples {
                let value = self.values.get(sample.value).copied().unwrap_or_default();
                let before = ended.get(sample.name).copied().unwrap_or_default();
                out.push_str(sample.name);
                out.push(' ');
                append(value.saturating_add(before), sample.is_decimal, &mut out);
                out.push('\n');
            }
        }
        if is_open_metrics {
            out.push_str("# EOF\n");
        }
        out
    }
}

/// Returns the place of a name, which is `next` if it is new.
fn place_of<'a>(name: &'a str, places: &mut Places<'a>, next: usize) -> usize {
    if let Some(known) = places.get(name) {
        return *known;
    }
    places.insert(name, next);
    next
}

/// Adds the counters of a worker that has ended. `scrape`: the last that it gave.
pub(super) fn keep(scrape: &str, ended: &mut Ended) {
    let mut grows = false;
    for line in scrape.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let kind = about.split_once(' ');
            grows = kind.is_some_and(|(name, kind)| {
                matches!(kind, "counter" | "histogram" | "unknown") && Rule::of(name) == Rule::Sum
            });
        } else if let Some((sample, value)) = line.rsplit_once(' ').filter(|_| grows)
            && !line.starts_with('#')
            && let Some(value) = parse(value)
        {
            let known = ended.entry(sample.to_owned()).or_default();
            *known = known.saturating_add(value);
        }
    }
}

/// Parses a number with at most three decimals, in thousandths.
fn parse(text: &str) -> Option<u64> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let whole = digits::parse(whole.as_bytes())?.checked_mul(1000)?;
    let scale = match decimals.len() {
        0 => return Some(whole),
        1 => 100,
        2 => 10,
        3 => 1,
        _ => return None,
    };
    let decimals = digits::parse(decimals.as_bytes())?;
    whole.checked_add(decimals.checked_mul(scale)?)
}

fn append(thousandths: u64, is_decimal: bool, out: &mut String) {
    let mut number = |value: u64, width: usize| {
        let mut room = [0; 20];
        let text = String::from_utf8_lossy(digits::write(value, &mut room)).into_owned();
        for _ in text.len()..width {
            out.push('0');
        }
        out.push_str(&text);
    };
    number(thousandths / 1000, 1);
    if is_decimal {
        out.push('.');
        let mut room = [0; 20];
        let rest = digits::write(thousandths % 1000, &mut room);
        for _ in rest.len()..3 {
            out.push('0');
        }
        out.push_str(&String::from_utf8_lossy(rest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "# HELP tollgate_requests_total Requests.\n# TYPE tollgate_requests_total counter\n\
        tollgate_requests_total{service=\"/a\",code=\"2xx\"} 5\n\
        # HELP tollgate_target_up Up.\n# TYPE tollgate_target_up gauge\ntollgate_target_up{target=\"a b\"} 1\n\
        # HELP process_cpu_seconds_total Time.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.950\n";
    const TWO: &str = "# HELP tollgate_requests_total Requests.\n# TYPE tollgate_requests_total counter\n\
        tollgate_requests_total{service=\"/a\",code=\"2xx\"} 7\n\
        tollgate_requests_total{service=\"/a\",code=\"5xx\"} 1\n\
        # HELP tollgate_target_up Up.\n# TYPE tollgate_target_up gauge\ntollgate_target_up{target=\"a b\"} 0\n\
        # HELP process_cpu_seconds_total Time.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 0.060\n";

    #[test]
    fn counters_are_added_and_a_target_is_up_where_all_say_so() {
        let mut merged = Merged::default();
        merged.add(ONE);
        merged.add(TWO);
        let text = merged.write(&Ended::new(), false);
        let wanted = "# HELP tollgate_requests_total Requests.\n# TYPE tollgate_requests_total counter\n\
            tollgate_requests_total{service=\"/a\",code=\"2xx\"} 12\n\
            tollgate_requests_total{service=\"/a\",code=\"5xx\"} 1\n\
            # HELP tollgate_target_up Up.\n# TYPE tollgate_target_up gauge\ntollgate_target_up{target=\"a b\"} 0\n\
            # HELP process_cpu_seconds_total Time.\n# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 2.010\n";
        assert_eq!(text, wanted);
        assert!(merged.write(&Ended::new(), true).ends_with("\n# EOF\n"));
    }

    #[test]
    fn counters_of_workers_that_ended_stay_and_gauges_go() {
        let mut ended = Ended::new();
        keep(ONE, &mut ended);
        keep(TWO, &mut ended);
        let mut merged = Merged::default();
        merged.add(TWO);
        let text = merged.write(&ended, false);
        assert!(text.contains("code=\"2xx\"} 19\n"), "{text}");
        assert!(text.contains("code=\"5xx\"} 2\n"), "{text}");
        assert!(
            text.contains("tollgate_target_up{target=\"a b\"} 0\n"),
            "{text}"
        );
        assert!(text.contains("process_cpu_seconds_total 2.070\n"), "{text}");
    }

    #[test]
    fn numbers_have_at_most_three_decimals() {
        for (text, value) in [("0", Some(0)), ("1.5", Some(1500)), ("2.010", Some(2010))] {
            assert_eq!(parse(text), value);
        }
        for text in [
            "",
            ".",
            "-1",
            "1e5",
            "NaN",
            "+Inf",
            "1.0000",
            "99999999999999999999",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
