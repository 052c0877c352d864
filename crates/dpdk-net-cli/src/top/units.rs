//! Numbers in five characters.

/// Three digits and a prefix: `0`, `999`, `1.23k`, `12.3M`.
pub(super) fn short(value: f64) -> String {
    const PREFIXES: [&str; 6] = ["", "k", "M", "G", "T", "P"];
    if !value.is_finite() {
        return "?".to_owned();
    }
    let mut scaled = value.max(0.0);
    let mut prefixes = PREFIXES.iter();
    let mut prefix = prefixes.next();
    // What would be rounded to a fourth digit has the next prefix.
    while scaled >= 999.5 {
        match prefixes.next() {
            Some(next) => prefix = Some(next),
            None => break,
        }
        scaled /= 1000.0;
    }
    let prefix = prefix.copied().unwrap_or("");
    let decimals = match scaled {
        _ if prefix.is_empty() && (scaled == scaled.trunc() || scaled >= 9.95) => 0,
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        _ if prefix.is_empty() => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$}{prefix}")
}

/// A time: `840 ns`, `12.5 us`, `1.25 ms`, `3.1 s`; beyond what was measured `?`.
pub(super) fn time(seconds: f64) -> String {
    let (factor, unit) = match seconds {
        s if !s.is_finite() => return "?".to_owned(),
        s if s < 1e-6 => (1e9, "ns"),
        s if s < 1e-3 => (1e6, "us"),
        s if s < 1.0 => (1e3, "ms"),
        _ => (1.0, "s"),
    };
    let scaled = seconds * factor;
    let decimals = match scaled {
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        _ => 2,
    };
    format!("{scaled:.decimals$} {unit}")
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    format!("{:.0}%", (share * 100.0).clamp(0.0, 9999.0))
}

/// How long something has been running: `2d 03:04:05`, or without days.
pub(super) fn since(seconds: f64) -> String {
    let seconds = seconds.clamp(0.0, 1e12) as u64;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    let days = if days > 0 {
        format!("{days}d ")
    } else {
        String::new()
    };
    format!("{days}{hours:02}:{minutes:02}:{:02}", seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_characters_hold_any_number() {
        for (value, wanted) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (7.0, "7"),
            (42.4, "42"),
            (999.0, "999"),
            (999.6, "1.00k"),
            (1234.0, "1.23k"),
            (12_345.0, "12.3k"),
            (999_499.0, "999k"),
            (1e6, "1.00M"),
            (14.88e6, "14.9M"),
            (1e20, "100000P"),
            (-5.0, "0"),
            (f64::NAN, "?"),
        ] {
            assert_eq!(short(value), wanted, "{value}");
        }
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!(time(0.000_000_840), "840 ns");
        assert_eq!(time(0.000_012_5), "12.5 us");
        assert_eq!(time(0.001_25), "1.25 ms");
        assert_eq!(time(3.1), "3.10 s");
        assert_eq!(since(183_845.9), "2d 03:04:05");
        assert_eq!(since(59.0), "00:00:59");
        assert_eq!(percent(0.256), "26%");
    }
}
