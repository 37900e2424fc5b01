//! Text of a scrape: the Prometheus text format 0.0.4, or OpenMetrics 1.0.

use super::histogram::{BOUNDS, Histogram};
use crate::digits;

/// Format of a scrape.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

/// Kind of a metric family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Number that grows. Its name ends in `_total`.
    Counter,
    /// Counter whose name without `_total` is that of another family. OpenMetrics has no counter of
    /// such a name, and no kind is said there.
    CounterBeside,
    /// Number that goes up and down.
    Gauge,
    /// Durations in buckets.
    Histogram,
    /// Facts in labels, with the value 1. Its name ends in `_info`.
    Info,
}

/// Metric family: series with one name.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// Name of its samples.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Sentence about it.
    pub help: &'static str,
}

/// Label of a sample: its name, and its value.
pub type Label<'a> = (&'static str, &'a str);

/// Writer of a scrape.
pub struct Exposition<'a> {
    out: &'a mut Vec<u8>,
    format: Format,
    /// Name of the family that is written.
    name: &'static str,
}

impl Format {
    /// Returns the media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl<'a> Exposition<'a> {
    /// Creates a writer that appends to `out`.
    pub fn new(format: Format, out: &'a mut Vec<u8>) -> Exposition<'a> {
        let name = "";
        Exposition { out, format, name }
    }

    /// Returns the number of bytes that were written.
    pub fn written(&self) -> usize {
        self.out.len()
    }

    /// Begins or continues a family; `is_new`: it begins.
    pub fn family(&mut self, family: &Family, is_new: bool) {
        self.name = family.name;
        if !is_new {
            return;
        }
        let is_open = self.format == Format::OpenMetrics;
        // OpenMetrics names a family without the ending of its samples.
        let name = match family.kind {
            Kind::Counter if is_open => family.name.strip_suffix("_total"),
            Kind::Info if is_open => family.name.strip_suffix("_info"),
            _ => None,
        };
        let name = name.unwrap_or(family.name);
        let kind = match family.kind {
            Kind::CounterBeside if is_open => "unknown",
            Kind::Counter | Kind::CounterBeside => "counter",
            Kind::Histogram => "histogram",
            Kind::Info if is_open => "info",
            Kind::Gauge | Kind::Info => "gauge",
        };
        let lines = [
            "# HELP ",
            name,
            " ",
            family.help,
            "\n# TYPE ",
            name,
            " ",
            kind,
            "\n",
        ];
        for part in lines {
            self.out.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes a sample.
    pub fn sample(&mut self, labels: &[Label<'_>], value: u64) {
        self.begin("", labels);
        self.number(value);
        self.out.push(b'\n');
    }

    /// Writes a sample in seconds, from milliseconds.
    pub fn seconds(&mut self, labels: &[Label<'_>], millis: u64) {
        self.begin("", labels);
        self.decimal(millis);
        self.out.push(b'\n');
    }

    /// Writes the samples of a histogram. `label` names it; the slice has room for `le`.
    pub fn histogram(&mut self, label: Label<'_>, histogram: &Histogram) {
        for (bound, count) in BOUNDS.iter().zip(histogram.cumulative()) {
            self.begin("_bucket", &[label, ("le", bound)]);
            self.number(count);
            self.out.push(b'\n');
        }
        self.begin("_sum", &[label]);
        self.decimal(histogram.millis());
        self.out.push(b'\n');
        self.begin("_count", &[label]);
        self.number(histogram.count());
        self.out.push(b'\n');
    }

    /// Writes the end of the scrape.
    pub fn end(&mut self) {
        if self.format == Format::OpenMetrics {
            self.out.extend_from_slice(b"# EOF\n");
        }
    }

    fn begin(&mut self, suffix: &str, labels: &[Label<'_>]) {
        self.out.extend_from_slice(self.name.as_bytes());
        self.out.extend_from_slice(suffix.as_bytes());
        for (index, (name, value)) in labels.iter().enumerate() {
            self.out.push(if index == 0 { b'{' } else { b',' });
            self.out.extend_from_slice(name.as_bytes());
            self.out.extend_from_slice(b"=\"");
            escaped(value, self.out);
            self.out.push(b'"');
        }
        if !labels.is_empty() {
            self.out.push(b'}');
        }
        self.out.push(b' ');
    }

    fn number(&mut self, value: u64) {
        self.out
            .extend_from_slice(digits::write(value, &mut [0; 20]));
    }

    fn decimal(&mut self, millis: u64) {
        self.number(millis / 1000);
        let rest = [millis / 100, millis / 10, millis].map(digits::last);
        self.out.push(b'.');
        self.out.extend_from_slice(&rest);
    }
}

/// Appends the value of a label. Both formats escape the same three characters.
fn escaped(value: &str, out: &mut Vec<u8>) {
    for &byte in value.as_bytes() {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: Format, write: impl FnOnce(&mut Exposition<'_>)) -> String {
        let mut out = Vec::new();
        write(&mut Exposition::new(format, &mut out));
        String::from_utf8(out).expect("text")
    }

    const COUNTER: Family = Family {
        name: "x_total",
        kind: Kind::Counter,
        help: "Things.",
    };

    #[test]
    fn families_and_samples() {
        let write = |exposition: &mut Exposition<'_>| {
            exposition.family(&COUNTER, true);
            exposition.sample(&[("a", "q\"b\\c\nd\u{fc}"), ("b", "")], u64::MAX);
            exposition.family(&COUNTER, false);
            exposition.sample(&[], 0);
            exposition.seconds(&[("a", "1")], 61_005);
            exposition.end();
        };
        let samples = "x_total{a=\"q\\\"b\\\\c\\nd\u{fc}\",b=\"\"} 18446744073709551615\nx_total 0\nx_total{a=\"1\"} 61.005\n";
        assert_eq!(
            written(Format::Text, write),
            format!("# HELP x_total Things.\n# TYPE x_total counter\n{samples}")
        );
        assert_eq!(
            written(Format::OpenMetrics, write),
            format!("# HELP x Things.\n# TYPE x counter\n{samples}# EOF\n")
        );
    }

    #[test]
    fn a_counter_beside_a_gauge_of_its_name_has_no_kind_in_openmetrics() {
        let kind = Kind::CounterBeside;
        let write = |exposition: &mut Exposition<'_>| {
            exposition.family(&Family { kind, ..COUNTER }, true);
        };
        assert!(written(Format::Text, write).ends_with("# TYPE x_total counter\n"));
        assert!(written(Format::OpenMetrics, write).ends_with("# TYPE x_total unknown\n"));
    }

    #[test]
    fn histograms() {
        let mut histogram = Histogram::default();
        histogram.add(3);
        let text = written(Format::Text, |exposition| {
            let kind = Kind::Histogram;
            exposition.family(
                &Family {
                    name: "d_seconds",
                    kind,
                    ..COUNTER
                },
                true,
            );
            exposition.histogram(("service", "/a"), &histogram);
        });
        assert!(text.contains("\nd_seconds_bucket{service=\"/a\",le=\"0.002\"} 0\n"));
        assert!(text.contains("\nd_seconds_bucket{service=\"/a\",le=\"0.004\"} 1\n"));
        assert!(text.ends_with(
            "le=\"+Inf\"} 1\nd_seconds_sum{service=\"/a\"} 0.003\nd_seconds_count{service=\"/a\"} 1\n"
        ));
        assert_eq!(text.lines().count(), 20);
    }
}
