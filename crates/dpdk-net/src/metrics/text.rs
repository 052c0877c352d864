//! Prometheus' text format (0.0.4) and OpenMetrics (1.0), of families.
//!
//! The two differ in what a counter's family is called, in `# UNIT` and in `# EOF`; so one writer has both.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>, <https://prometheus.io/docs/specs/om/open_metrics_spec/>

use std::fmt::{self, Write};

use dpdk_net_stack::metrics::{HistogramSnapshot, Kind};

use super::family::{Family, Sample, Told, Value};

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What HTTP calls it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The one that somebody prefers who sends such an `Accept` header (RFC 9110 section 12.5.1): OpenMetrics where it is named and
    /// not less welcome than plain text.
    pub fn accepted(accept: &str) -> Self {
        let mut quality = [0_u16; 2];
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let named = |parameter: &'static str| {
                let mut parts = parts.clone();
                parts.find_map(move |part| part.strip_prefix(parameter))
            };
            let q = named("q=").map_or(1000, |q| {
                let q = q.trim().parse::<f32>().unwrap_or(0.0);
                (q.clamp(0.0, 1.0) * 1000.0) as u16
            });
            let place = match kind.to_ascii_lowercase().as_str() {
                "application/openmetrics-text" => {
                    // Other versions are not spoken; without one it is the reader's choice.
                    let version = named("version=").map(|version| version.trim_matches('"'));
                    if !matches!(version, None | Some("1.0.0" | "0.0.1")) {
                        continue;
                    }
                    1
                }
                "text/plain" | "text/*" | "*/*" => 0,
                _ => continue,
            };
            if let Some(quality) = quality.get_mut(place) {
                *quality = q.max(*quality);
            }
        }
        match quality {
            [text, open] if open > 0 && open >= text => Self::OpenMetrics,
            _ => Self::Prometheus,
        }
    }
}

/// The families in a text format.
pub fn to_text(families: &[Family], format: Format) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_all(&mut text, families, format);
    text
}

fn write_all(out: &mut String, families: &[Family], format: Format) -> fmt::Result {
    let open = format == Format::OpenMetrics;
    for family in families.iter().filter(|it| !it.samples.is_empty()) {
        let (base, name) = (family.base_name(), family.name());
        let kind = match family.metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let title = if open { &base } else { &name };
        writeln!(out, "# TYPE {title} {kind}")?;
        let unit = family.metric.unit.base();
        if open && !unit.is_empty() {
            writeln!(out, "# UNIT {title} {unit}")?;
        }
        write!(out, "# HELP {title} ")?;
        // A quotation mark is escaped by OpenMetrics alone.
        escape(out, family.metric.help, open)?;
        if let Some(linux) = family.metric.linux {
            write!(out, " (Linux: {linux})")?;
        }
        out.push('\n');
        for sample in &family.samples {
            let told = match &sample.value {
                Value::Histogram(histogram) => {
                    write_histogram(out, &base, family, sample, histogram)?;
                    continue;
                }
                Value::Integer(raw) => Told::new(family.metric, *raw),
                Value::Number(level) => Told::Number(*level),
            };
            out.push_str(&name);
            write_labels(out, sample, None)?;
            match told {
                Told::Integer(count) => writeln!(out, " {count}")?,
                Told::Number(level) => writeln!(out, " {}", Float(level))?,
            }
        }
    }
    if open {
        out.push_str("# EOF\n");
    }
    Ok(())
}

fn write_histogram(
    out: &mut String,
    name: &str,
    family: &Family,
    sample: &Sample,
    histogram: &HistogramSnapshot,
) -> fmt::Result {
    let told = |raw| Told::new(family.metric, raw).as_f64();
    let mut below = 0;
    // Bounds are powers of two: finer ones would cost four times the series.
    for (bound, count) in histogram.octaves() {
        below += count;
        write!(out, "{name}_bucket")?;
        write_labels(out, sample, Some(bound.map_or(f64::INFINITY, told)))?;
        writeln!(out, " {below}")?;
    }
    write!(out, "{name}_sum")?;
    write_labels(out, sample, None)?;
    writeln!(out, " {}", Float(told(histogram.sum())))?;
    write!(out, "{name}_count")?;
    write_labels(out, sample, None)?;
    writeln!(out, " {below}")
}

fn write_labels(out: &mut String, sample: &Sample, bound: Option<f64>) -> fmt::Result {
    let mut separator = '{';
    for (name, value) in &sample.labels {
        write!(out, "{separator}{name}=\"")?;
        escape(out, value, true)?;
        out.push('"');
        separator = ',';
    }
    if let Some(bound) = bound {
        write!(out, "{separator}le=\"{}\"", Float(bound))?;
        separator = ',';
    }
    if separator == ',' {
        out.push('}');
    }
    Ok(())
}

fn escape(out: &mut String, text: &str, quotes: bool) -> fmt::Result {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '"' if quotes => out.push_str("\\\""),
            c => out.push(c),
        }
    }
    Ok(())
}

/// A figure as both formats have it: with a point or an exponent, `1.0` (OpenMetrics asks for that of bounds).
struct Float(f64);

impl fmt::Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            figure if figure == f64::INFINITY => f.write_str("+Inf"),
            figure if figure == f64::NEG_INFINITY => f.write_str("-Inf"),
            figure if figure.is_nan() => f.write_str("NaN"),
            figure => write!(f, "{figure:?}"),
        }
    }
}
