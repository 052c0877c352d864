//! The picture of a connection: three panels over one axis of time.
//!
//! What lies closer than a tenth of a pixel is drawn once, so that a picture of a long connection is no larger than it has to be.

use std::fmt::Write;

use super::connection::{Connection, Piece, Stream};
use super::svg::{Anchor, Svg};

const WIDTH: f64 = 1_000.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 62.0;
/// Between two panels: the upper one's axis, and the lower one's legend.
const BETWEEN: f64 = 48.0;
const BOTTOM: f64 = 40.0;
/// Heights of the panels.
const SEQUENCE: f64 = 330.0;
const WINDOWS: f64 = 190.0;
const ROUND_TRIPS: f64 = 150.0;
/// Between two marks of an axis, about, in pixels.
const MARKS_X: f64 = 110.0;
const MARKS_Y: f64 = 45.0;

const STYLE: &str = "\
text{font:11px sans-serif;fill:#333}.title{font-size:14px;font-weight:bold}.name{font-weight:bold}\
.paper{fill:#fff}.panel{fill:none;stroke:#888}.grid{stroke:#e4e4e4;fill:none}\
.recovery{fill:#ffe9c7}.loss{fill:#ffd6d6}path{fill:none;stroke-width:1}\
.sent{stroke:#1f5fb4;stroke-width:1.5}.again{stroke:#d62728;stroke-width:2}.sacked{stroke:#9467bd}\
.lost{stroke:#ff7f0e}.dropped{stroke:#8c564b;stroke-width:2}.acked{stroke:#2ca02c}.window{stroke:#b8b8b8}\
.cwnd{stroke:#1f5fb4;stroke-width:1.5}.ssthresh{stroke:#ff7f0e;stroke-dasharray:5 3}.flight{stroke:#8fa8c4}\
.rtt{stroke:#b8b8b8;stroke-width:2.5;stroke-linecap:round}.srtt{stroke:#1f5fb4;stroke-width:1.5}\
.timeout{stroke:#d62728;stroke-dasharray:2 3}.probe{stroke:#9467bd;stroke-dasharray:2 3}";

/// How an axis's values are told.
#[derive(Debug, Clone, Copy)]
struct Unit {
    name: &'static str,
    /// So much of the value is one of the unit.
    size: f64,
}

/// A range of values on a range of pixels.
#[derive(Debug, Clone, Copy)]
struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let share = (value - self.from) / (self.to - self.from);
        self.start + share.clamp(-0.01, 1.01) * (self.end - self.start)
    }

    /// Values for marks, about so many pixels apart: 1, 2 or 5 of some power of ten.
    fn marks(&self, unit: Unit, apart: f64) -> impl Iterator<Item = (f64, String)> + use<> {
        let count = ((self.end - self.start).abs() / apart).max(1.0);
        let rough = (self.to - self.from) / unit.size / count;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|it| it * power);
        let step = step
            .into_iter()
            .find(|step| *step >= rough)
            .unwrap_or(rough);
        let digits = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
        let (from, to) = (self.from / unit.size, self.to / unit.size);
        let first = (from / step).ceil();
        let marks = (0..200).map(move |index| (first + f64::from(index)) * step);
        marks
            .take_while(move |value| *value <= to * (1.0 + 1e-9))
            .map(move |value| (value * unit.size, format!("{value:.digits$}")))
    }
}

/// A panel.
struct Panel {
    x: Scale,
    y: Scale,
}

impl Panel {
    fn new(x: Scale, top: f64, height: f64, from: f64, to: f64) -> Self {
        let to = if to > from {
            to + (to - from) * 0.04
        } else {
            from + 1.0
        };
        let y = Scale {
            from,
            to,
            start: top + height,
            end: top,
        };
        Self { x, y }
    }

    fn top(&self) -> f64 {
        self.y.end
    }

    fn bottom(&self) -> f64 {
        self.y.start
    }

    /// The frame, the grid and what it is called.
    fn frame(&self, svg: &mut Svg, name: &str, unit: Unit, legend: &[(&str, &str)]) {
        let (width, height) = (self.x.end - self.x.start, self.bottom() - self.top());
        let (mut grid, seconds) = (
            String::new(),
            Unit {
                name: "s",
                size: 1.0,
            },
        );
        for (value, label) in self.x.marks(seconds, MARKS_X) {
            let x = self.x.at(value);
            let _ = write!(grid, "M{x:.1} {:.1}V{:.1}", self.top(), self.bottom());
            svg.text("mark", (x, self.bottom() + 14.0), Anchor::Middle, &label);
        }
        for (value, label) in self.y.marks(unit, MARKS_Y) {
            let y = self.y.at(value);
            let _ = write!(grid, "M{:.1} {y:.1}H{:.1}", self.x.start, self.x.end);
            svg.text("mark", (self.x.start - 6.0, y + 4.0), Anchor::End, &label);
        }
        svg.path("grid", &grid);
        svg.rect("panel", (self.x.start, self.top()), (width, height));
        let name = format!("{name} ({})", unit.name);
        svg.text(
            "name",
            (self.x.start, self.top() - 8.0),
            Anchor::Start,
            &name,
        );
        let mut x = self.x.end;
        for (class, label) in legend.iter().rev() {
            svg.text("mark", (x, self.top() - 8.0), Anchor::End, label);
            x -= 6.5 * label.chars().count() as f64 + 8.0;
            let y = self.top() - 12.0;
            svg.path(class, &format!("M{:.1} {y:.1}H{x:.1}", x - 18.0));
            x -= 30.0;
        }
    }

    /// Pieces, each a line upwards.
    fn pieces(&self, svg: &mut Svg, class: &str, pieces: &[Piece]) {
        let mut commands = String::new();
        let mut open: Option<(i64, f64, f64)> = None;
        let mut draw = |(x, from, to): (i64, f64, f64)| {
            // One that is too short to be seen is made longer.
            let to = if (from - to).abs() < 1.0 {
                from - 1.0
            } else {
                to
            };
            let _ = write!(commands, "M{:.1} {from:.1}V{to:.1}", x as f64 / 10.0);
        };
        for piece in pieces {
            let x = (self.x.at(piece.at) * 10.0).round() as i64;
            let (from, to) = (self.y.at(piece.from), self.y.at(piece.to));
            open = match open {
                Some((at, start, end)) if at == x && (end - from).abs() < 0.1 => {
                    Some((x, start, to))
                }
                other => {
                    other.into_iter().for_each(&mut draw);
                    Some((x, from, to))
                }
            };
        }
        open.into_iter().for_each(&mut draw);
        svg.path(class, &commands);
    }

    /// Values that hold until the next one, up to `end`.
    fn steps(&self, svg: &mut Svg, class: &str, series: &[(f64, f64)], end: f64) {
        let mut commands = String::new();
        let mut last: Option<(f64, f64)> = None;
        for &(at, value) in series {
            let (x, y) = (tenth(self.x.at(at)), tenth(self.y.at(value)));
            match last {
                None => {
                    let _ = write!(commands, "M{x:.1} {y:.1}");
                }
                Some((_, old)) if old == y => continue,
                Some((old, _)) if old == x => {
                    let _ = write!(commands, "V{y:.1}");
                }
                Some(_) => {
                    let _ = write!(commands, "H{x:.1}V{y:.1}");
                }
            }
            last = Some((x, y));
        }
        if last.is_some() {
            let _ = write!(commands, "H{:.1}", self.x.at(end));
        }
        svg.path(class, &commands);
    }

    fn dots(&self, svg: &mut Svg, class: &str, series: &[(f64, f64)]) {
        let mut commands = String::new();
        let mut last = None;
        for &(at, value) in series {
            let place = (tenth(self.x.at(at)), tenth(self.y.at(value)));
            if last != Some(place) {
                let _ = write!(commands, "M{:.1} {:.1}h0", place.0, place.1);
            }
            last = Some(place);
        }
        svg.path(class, &commands);
    }

    /// Lines from top to bottom at these times.
    fn moments(&self, svg: &mut Svg, class: &str, times: &[f64]) {
        let mut commands = String::new();
        for at in times {
            let (x, top, bottom) = (self.x.at(*at), self.top(), self.bottom());
            let _ = write!(commands, "M{x:.1} {top:.1}V{bottom:.1}");
        }
        svg.path(class, &commands);
    }

    /// Bands during which something was being repaired.
    fn repairs(&self, svg: &mut Svg, connection: &Connection) {
        for repair in &connection.repairs {
            let (x, to) = (self.x.at(repair.from), self.x.at(repair.to));
            let class = if repair.timeout { "loss" } else { "recovery" };
            let height = self.bottom() - self.top();
            svg.rect(class, (x, self.top()), (to - x, height));
        }
    }
}

fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

fn most(series: &[(f64, f64)]) -> f64 {
    series.iter().map(|&(_, value)| value).fold(0.0, f64::max)
}

/// Bytes in a unit in which the most of them is a number of few digits.
fn bytes(most: f64) -> Unit {
    let (name, size) = match most {
        most if most >= 2e9 => ("GB", 1e9),
        most if most >= 2e6 => ("MB", 1e6),
        most if most >= 2e3 => ("kB", 1e3),
        _ => ("bytes", 1.0),
    };
    Unit { name, size }
}

/// The whole picture.
pub(crate) fn picture(connection: &Connection) -> String {
    let panels = [SEQUENCE, WINDOWS, ROUND_TRIPS];
    let height = TOP + panels.iter().sum::<f64>() + BETWEEN * 2.0 + BOTTOM;
    let mut svg = Svg::new(WIDTH, height, STYLE);
    svg.text("title", (LEFT, 20.0), Anchor::Start, &connection.title);
    let summary = connection.summary();
    let about = summary.get(connection.title.len() + 2..).unwrap_or("");
    svg.text("mark", (LEFT, 36.0), Anchor::Start, about);
    let x = Scale {
        from: 0.0,
        to: if connection.end > 0.0 {
            connection.end
        } else {
            1.0
        },
        start: LEFT,
        end: WIDTH - RIGHT,
    };
    let mut top = TOP;
    sequence(&mut svg, connection, x, top);
    top += SEQUENCE + BETWEEN;
    windows(&mut svg, connection, x, top);
    top += WINDOWS + BETWEEN;
    round_trips(&mut svg, connection, x, top);
    svg.text(
        "mark",
        (WIDTH / 2.0, height - 6.0),
        Anchor::Middle,
        "time (s)",
    );
    svg.finish()
}

/// Sequence numbers of the direction in which more was moved.
fn sequence(svg: &mut Svg, connection: &Connection, x: Scale, top: f64) {
    let outward = connection.sent_bytes >= connection.received_bytes;
    let (stream, name, legend): (&Stream, _, &[_]) = if outward {
        let legend = &[
            ("sent", "sent"),
            ("again", "sent again"),
            ("lost", "thought lost"),
            ("sacked", "SACK"),
            ("acked", "acknowledged"),
            ("window", "peer's window"),
        ];
        (&connection.sent, "Data sent", legend)
    } else {
        let legend = &[
            ("sent", "received"),
            ("again", "received late"),
            ("dropped", "not taken"),
            ("sacked", "SACK"),
            ("acked", "acknowledged"),
            ("window", "our window"),
        ];
        (&connection.received, "Data received", legend)
    };
    // A trace may begin in the midst.
    let pieces = stream.first.iter().chain(&stream.again);
    let (mut from, mut to) = (f64::INFINITY, f64::NEG_INFINITY);
    for piece in pieces {
        (from, to) = (from.min(piece.from), to.max(piece.to));
    }
    if from > to {
        (from, to) = (0.0, 0.0);
    }
    let panel = Panel::new(x, top, SEQUENCE, from, to);
    panel.repairs(svg, connection);
    panel.frame(svg, name, bytes(to), legend);
    panel.moments(svg, "timeout", &connection.timeouts);
    panel.moments(svg, "probe", &connection.probes);
    let within = |series: &[(f64, f64)]| -> Vec<(f64, f64)> {
        series
            .iter()
            .map(|&(at, value)| (at, value.clamp(from, panel.y.to)))
            .collect()
    };
    // What was not taken may be anywhere.
    let seen = |piece: &&Piece| piece.from <= panel.y.to && piece.to >= from;
    let dropped: Vec<Piece> = stream.dropped.iter().filter(seen).copied().collect();
    panel.steps(svg, "window", &within(&stream.window), connection.end);
    panel.steps(svg, "acked", &within(&stream.acked), connection.end);
    panel.pieces(svg, "sacked", &stream.sacked);
    panel.pieces(svg, "lost", &stream.lost);
    panel.pieces(svg, "sent", &stream.first);
    panel.pieces(svg, "again", &stream.again);
    panel.pieces(svg, "dropped", &dropped);
}

fn windows(svg: &mut Svg, connection: &Connection, x: Scale, top: f64) {
    let highest = most(&connection.cwnd).max(most(&connection.in_flight));
    let panel = Panel::new(x, top, WINDOWS, 0.0, highest);
    panel.repairs(svg, connection);
    let legend = [
        ("cwnd", "congestion window"),
        ("ssthresh", "ssthresh"),
        ("flight", "in flight"),
        ("timeout", "timeout"),
        ("probe", "tail loss probe"),
    ];
    panel.frame(svg, "Windows", bytes(highest), &legend);
    panel.moments(svg, "timeout", &connection.timeouts);
    panel.moments(svg, "probe", &connection.probes);
    panel.steps(svg, "flight", &connection.in_flight, connection.end);
    // Where it begins it is without bounds, or as good as.
    let shown = connection
        .ssthresh
        .iter()
        .filter(|(_, value)| *value <= panel.y.to);
    let shown: Vec<_> = shown.copied().collect();
    panel.steps(svg, "ssthresh", &shown, connection.end);
    panel.steps(svg, "cwnd", &connection.cwnd, connection.end);
}

fn round_trips(svg: &mut Svg, connection: &Connection, x: Scale, top: f64) {
    let highest = most(&connection.rtt).max(most(&connection.srtt));
    let panel = Panel::new(x, top, ROUND_TRIPS, 0.0, highest);
    panel.repairs(svg, connection);
    let (name, size) = if highest >= 2.0 {
        ("ms", 1.0)
    } else {
        ("µs", 1e-3)
    };
    let legend = [("rtt", "each sample"), ("srtt", "smoothed")];
    panel.frame(svg, "Round trips", Unit { name, size }, &legend);
    panel.dots(svg, "rtt", &connection.rtt);
    panel.steps(svg, "srtt", &connection.srtt, connection.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_numbers_within_the_axis() {
        let marks = |from: f64, to: f64, size: f64| -> Vec<String> {
            let scale = Scale {
                from,
                to,
                start: 0.0,
                end: 100.0,
            };
            let unit = Unit { name: "", size };
            scale.marks(unit, 20.0).map(|(_, label)| label).collect()
        };
        assert_eq!(
            marks(0.0, 1.0, 1.0),
            ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
        );
        assert_eq!(marks(0.0, 9e6, 1e6), ["0", "2", "4", "6", "8"]);
        assert_eq!(
            marks(0.013, 0.02, 1.0),
            ["0.014", "0.016", "0.018", "0.020"]
        );
    }

    #[test]
    fn nothing_at_all_is_a_picture_too() {
        let text = picture(&Connection::default());
        assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
        assert!(!text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    #[test]
    fn what_can_t_be_told_apart_is_drawn_once() {
        let panel = Panel::new(
            Scale {
                from: 0.0,
                to: 1.0,
                start: 0.0,
                end: 100.0,
            },
            0.0,
            100.0,
            0.0,
            1e6,
        );
        let piece = |index: u32| Piece {
            at: 0.5,
            from: f64::from(index) * 1e3,
            to: f64::from(index + 1) * 1e3,
        };
        let pieces: Vec<_> = (0..1_000).map(piece).collect();
        let mut svg = Svg::new(1.0, 1.0, "");
        panel.pieces(&mut svg, "sent", &pieces);
        let text = svg.finish();
        assert_eq!(text.matches("M50.0").count(), 1, "{text}");
    }
}
