//! Figures in columns.

use std::fmt::Write;
use std::time::Duration;

use super::figures::Figure;

/// Names and values.
pub(super) fn once(figures: &[Figure]) -> String {
    let width = widest(figures);
    let mut text = String::new();
    for figure in figures {
        let _ = writeln!(
            text,
            "{:<width$}  {:>16}",
            figure.name,
            number(figure.value)
        );
    }
    text
}

/// Names, values, what was added to each since `before`, and how much that is a second.
pub(super) fn rates(figures: &[Figure], before: &[Figure], time: Duration) -> String {
    let width = widest(figures);
    let mut text = format!(
        "{:<width$}  {:>16}  {:>14}  {:>14}\n",
        "", "value", "added", "per second"
    );
    for figure in figures {
        let old = before.iter().find(|old| old.name == figure.name);
        // One that was not there before was zero. One that has become less was counted anew.
        let added = (figure.value - old.map_or(0.0, |old| old.value)).max(0.0);
        let value = number(figure.value);
        let _ = if figure.counts {
            let rate = added / time.as_secs_f64().max(1e-9);
            writeln!(
                text,
                "{:<width$}  {value:>16}  {:>14}  {:>14}",
                figure.name,
                number(added),
                number(rate)
            )
        } else {
            writeln!(text, "{:<width$}  {value:>16}", figure.name)
        };
    }
    text
}

/// As much as a terminal of so many columns and rows has room for, with the cursor below, and how many lines that leaves out.
pub(super) fn cut(text: &str, terminal: Option<(usize, usize)>) -> String {
    let Some((columns, rows)) = terminal else {
        return text.to_owned();
    };
    let room = rows.saturating_sub(1);
    // Long lines go on in the next row.
    let height = |line: &str| line.chars().count().div_ceil(columns).max(1);
    if text.lines().map(height).sum::<usize>() <= room {
        return text.to_owned();
    }
    let mut left = room.saturating_sub(1);
    let fits = |line: &&str| {
        let more = left.checked_sub(height(line));
        left = more.unwrap_or(0);
        more.is_some()
    };
    let shown: Vec<&str> = text.lines().take_while(fits).collect();
    let more = text.lines().count() - shown.len();
    let told = format!("{more} more: name those that are wanted");
    let told: String = told.chars().take(columns).collect();
    shown
        .into_iter()
        .chain([told.as_str()])
        .map(|line| format!("{line}\n"))
        .collect()
}

fn widest(figures: &[Figure]) -> usize {
    figures.iter().map(|it| it.name.len()).max().unwrap_or(0)
}

/// Whole numbers as they are, others with three digits behind the point, or nine if they are below one.
fn number(value: f64) -> String {
    if value == value.trunc() && value.abs() < 1e15 {
        format!("{value:.0}")
    } else if value.abs() >= 1.0 {
        format!("{value:.3}")
    } else {
        format!("{value:.9}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(name: &str, value: f64, counts: bool) -> Figure {
        Figure {
            name: name.to_owned(),
            value,
            counts,
        }
    }

    #[test]
    fn counters_have_rates_and_levels_have_none() {
        let before = [figure("a", 10.0, true), figure("b", 5.0, false)];
        let now = [
            figure("a", 30.0, true),
            figure("b", 7.0, false),
            figure("new", 4.0, true),
        ];
        let text = rates(&now, &before, Duration::from_secs(2));
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[1], ["a", "30", "20", "10"]);
        assert_eq!(lines[2], ["b", "7"]);
        assert_eq!(lines[3], ["new", "4", "4", "2"]);
    }

    #[test]
    fn what_a_terminal_has_no_room_for_is_left_out_and_counted() {
        let text: String = (0..10).map(|line| format!("line {line}\n")).collect();
        assert_eq!(cut(&text, None), text);
        // One row more, for the cursor.
        assert_eq!(cut(&text, Some((80, 11))), text);
        let some = cut(&text, Some((80, 10)));
        assert_eq!(some.lines().count(), 9);
        assert!(
            some.ends_with("line 7\n2 more: name those that are wanted\n"),
            "{some}"
        );
        // Each line takes two rows.
        let narrow = cut(&text, Some((4, 10)));
        assert_eq!(narrow, "line 0\nline 1\nline 2\nline 3\n6 mo\n");
        for rows in 1..4 {
            assert_eq!(
                cut(&text, Some((80, rows))).lines().count(),
                rows.max(2) - 1
            );
        }
    }

    #[test]
    fn numbers_are_told_as_far_as_they_say_something() {
        assert_eq!(number(12.0), "12");
        assert_eq!(number(12.3456), "12.346");
        assert_eq!(number(0.000_012_5), "0.000012500");
    }
}
