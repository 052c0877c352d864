//! The screen.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Row as TableRow, Table, TableState};

use super::sample::LATENCIES;
use super::state::{COLUMNS, Column, Row, State, View};
use super::units::{percent, short, since, time};
use crate::running::UNCOUNTED;

/// Rows of the panel with the causes of drops.
const PANEL: u16 = 6;
/// Characters of a queue's name at least.
const NAME: u16 = 11;

/// Draws all of it, with colours or without.
pub(super) fn draw(frame: &mut Frame<'_>, state: &State, colours: bool) {
    let look = Look(colours);
    let area = frame.area();
    // On a small screen the queues go before the causes.
    let panel = if area.height >= 16 { PANEL } else { 0 };
    let [head, middle, bottom, keys] = Layout::vertical([
        Constraint::Length(5),
        Constraint::Min(1),
        Constraint::Length(panel),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(header(state, look), head);
    match state.view {
        View::Detail => detail(frame, state, look, middle.union(bottom)),
        View::Queues | View::Help => {
            queues(frame, state, look, middle);
            if panel > 0 {
                drops(frame, state, look, bottom);
            }
        }
    }
    let hints = " q quit  p pause  s sort  r reverse  \u{2191}\u{2193} select  Enter queue  h help";
    frame.render_widget(Paragraph::new(hints).style(look.dim()), keys);
    if state.view == View::Help {
        help(frame, area);
    }
}

/// Styles, which say nothing that is not in the text too.
#[derive(Clone, Copy)]
struct Look(bool);

impl Look {
    fn colour(self, colour: Color) -> Style {
        if self.0 {
            Style::new().fg(colour)
        } else {
            Style::new()
        }
    }

    fn bold(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Of something that should not happen.
    fn bad(self, is: bool) -> Style {
        if is {
            self.colour(Color::Red).add_modifier(Modifier::BOLD)
        } else {
            Style::new()
        }
    }

    fn load(self, load: f64) -> Style {
        match load {
            l if l >= 0.9 => self.colour(Color::Red),
            l if l >= 0.7 => self.colour(Color::Yellow),
            _ => self.colour(Color::Green),
        }
    }
}

fn header(state: &State, look: Look) -> Text<'static> {
    let total = &state.total;
    let paused = if state.paused { "PAUSED  " } else { "" };
    let first = vec![
        Span::styled(" dpdk-net top  ", look.bold()),
        Span::styled(
            paused,
            look.colour(Color::Yellow).add_modifier(Modifier::BOLD),
        ),
        Span::raw(format!(
            "{}  pid {}  up {}",
            state.source,
            state.pid,
            since(state.uptime)
        )),
    ];
    let ports = state.ports.iter().map(|port| {
        let link = match port.link_up {
            Some(true) => "up",
            Some(false) => "DOWN",
            None => "?",
        };
        format!(
            "{} {link}, missed {}, errors {}",
            port.name,
            short(port.missed as f64),
            short(port.errors as f64)
        )
    });
    let ports: Vec<String> = ports.collect();
    let ports_amiss = state.ports.iter().any(|port| port.link_up == Some(false));
    let connections: u64 = state.rows.iter().map(|row| row.queue.connections).sum();
    let second = match &state.lost {
        Some(why) => Line::styled(format!(" NOT HEARD: {why}; trying again"), look.bad(true)),
        None => Line::styled(format!(" {}", ports.join("   ")), look.bad(ports_amiss)),
    };
    Text::from(vec![
        Line::from(first),
        second,
        Line::from(vec![
            Span::raw(format!(
                " in {}/s {}b/s   out {}/s {}b/s   ",
                short(total.rx_frames),
                short(total.rx_bits),
                short(total.tx_frames),
                short(total.tx_bits)
            )),
            Span::styled(
                format!("drops {}/s", short(total.drops)),
                look.bad(total.drops > 0.0),
            ),
            Span::raw(format!("   handed over {}/s", short(total.handed_over))),
        ]),
        Line::raw(format!(
            " connections {} (+{}/s)   retransmits {}/s   timeouts {}/s",
            short(connections as f64),
            short(total.opened),
            short(total.retransmits),
            short(total.timeouts)
        )),
        match state.uncounted {
            true => Line::styled(format!(" {UNCOUNTED}"), look.bad(true)),
            false => Line::raw(format!(" median/99%: {}", latencies(state))),
        },
    ])
}

fn latencies(state: &State) -> String {
    let all = LATENCIES.iter().enumerate().map(|(at, (name, _))| {
        let values = state.total.latency(at);
        let values = values.map_or("-".to_owned(), |(half, most)| {
            format!("{}/{}", time(half), time(most))
        });
        format!("{name} {values}")
    });
    all.collect::<Vec<_>>().join("   ")
}

fn queues(frame: &mut Frame<'_>, state: &State, look: Look, area: Rect) {
    let heading = |column: Column, name: &'static str| {
        let mark = match (state.sort == column, state.ascending) {
            (false, _) => "",
            (true, true) => "\u{2191}",
            (true, false) => "\u{2193}",
        };
        let text = Text::from(format!("{name}{mark}"));
        if column == Column::Queue {
            text
        } else {
            text.alignment(Alignment::Right)
        }
    };
    let mut headings: Vec<Text<'_>> = COLUMNS
        .iter()
        .map(|(column, name, _)| heading(*column, name))
        .collect();
    headings.insert(1, Text::from("cpu").alignment(Alignment::Right));
    // Of the columns behind the name; on a narrow screen the last ones go.
    let mut room = area.width.saturating_sub(NAME);
    let fitting = [3, 6, 6, 7, 8, 5, 5, 6, 7, 6]
        .into_iter()
        .take_while(|width| {
            let left = room.checked_sub(width + 1);
            room = left.unwrap_or(room);
            left.is_some()
        });
    let fitting: Vec<u16> = fitting.collect();
    let name = NAME + room;
    let columns = fitting.len() + 1;
    headings.truncate(columns);
    let widths = std::iter::once(name).chain(fitting);
    let widths = widths.map(Constraint::Length);
    let rows = state.rows.iter().map(|row| {
        let mut cells = cells(row, usize::from(name), look);
        cells.truncate(columns);
        TableRow::new(cells)
    });
    let table = Table::new(rows, widths)
        .header(TableRow::new(headings).style(look.bold()))
        .column_spacing(1)
        .row_highlight_style(Style::new().add_modifier(Modifier::REVERSED));
    let mut selection = TableState::new().with_selected(Some(state.selection()));
    frame.render_stateful_widget(table, area, &mut selection);
}

/// A queue's name in so many characters: of a long one the port's end goes.
fn fit(name: &str, room: usize) -> String {
    let length = name.chars().count();
    match name.rsplit_once('/') {
        Some((port, queue)) if length > room => {
            let port: String = port
                .chars()
                .take(room.saturating_sub(queue.len() + 2))
                .collect();
            format!("{port}~/{queue}")
        }
        _ => name.to_owned(),
    }
}

fn cells(row: &Row, room: usize, look: Look) -> Vec<Text<'static>> {
    let (queue, rates) = (&row.queue, &row.rates);
    let right = |text: String, style: Style| Text::styled(text, style).alignment(Alignment::Right);
    let plain = |text: String| right(text, Style::new());
    let pool = queue
        .pool
        .map(|(used, all)| used as f64 / all.max(1) as f64);
    vec![
        Text::from(fit(&queue.name, room)),
        plain(queue.cpu.map_or("?".to_owned(), |cpu| cpu.to_string())),
        plain(short(rates.rx_frames)),
        plain(short(rates.tx_frames)),
        plain(short(rates.rx_bits)),
        plain(short(rates.tx_bits)),
        right(percent(rates.load), look.load(rates.load)),
        right(
            pool.map_or("-".to_owned(), percent),
            look.bad(pool.is_some_and(|it| it > 0.95)),
        ),
        plain(short(queue.connections as f64)),
        right(short(rates.drops), look.bad(rates.drops > 0.0)),
        right(short(rates.retransmits), look.bad(false)),
    ]
}

/// Why packets of the selected queue are dropped: what happens now first.
fn drops(frame: &mut Frame<'_>, state: &State, look: Look, area: Rect) {
    let Some(row) = state.selected() else {
        return;
    };
    let block = Block::bordered().title(format!(" drops of {} ", row.queue.name));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    frame.render_widget(causes(row, look, usize::from(inside.height)), inside);
}

fn causes(row: &Row, look: Look, most: usize) -> Text<'static> {
    if row.queue.drops.is_empty() {
        return Text::from("none since the start");
    }
    let total = |cause: &str| {
        let known = row.queue.drops.iter().find(|(name, _)| name == cause);
        known.map_or(0, |(_, count)| *count)
    };
    let now: Vec<(String, f64)> = if row.rates.drop_causes.is_empty() {
        row.queue
            .drops
            .iter()
            .map(|(cause, _)| (cause.clone(), 0.0))
            .collect()
    } else {
        row.rates.drop_causes.clone()
    };
    let line = |(cause, rate): &(String, f64)| {
        let text = format!(
            "{cause:<28} {:>7}/s {:>9} in all",
            short(*rate),
            short(total(cause) as f64)
        );
        Line::styled(text, look.bad(*rate > 0.0))
    };
    Text::from(now.iter().take(most).map(line).collect::<Vec<_>>())
}

fn detail(frame: &mut Frame<'_>, state: &State, look: Look, area: Rect) {
    let Some(row) = state.selected() else {
        return;
    };
    let (queue, rates) = (&row.queue, &row.rates);
    let block = Block::bordered().title(format!(" queue {} ", queue.name));
    let inside = block.inner(area);
    frame.render_widget(block, area);
    let [facts, why] = Layout::vertical([Constraint::Length(9), Constraint::Min(1)]).areas(inside);
    let number = |it: Option<u64>| it.map_or("none".to_owned(), |it| it.to_string());
    let pool = queue.pool.map_or("-".to_owned(), |(used, all)| {
        format!("{used} of {all} mbufs in use")
    });
    let cycles = rates
        .cycles_per_frame
        .map_or("-".to_owned(), |it| format!("{it:.0}"));
    let mut lines = vec![
        format!(
            "lcore {}, CPU {}, load {}, {cycles} cycles a frame",
            number(queue.lcore),
            number(queue.cpu),
            percent(rates.load)
        ),
        format!(
            "in   {:>6} frames/s {:>6}b/s",
            short(rates.rx_frames),
            short(rates.rx_bits)
        ),
        format!(
            "out  {:>6} frames/s {:>6}b/s",
            short(rates.tx_frames),
            short(rates.tx_bits)
        ),
        format!(
            "handed over {}/s   mempool {pool}",
            short(rates.handed_over)
        ),
        format!(
            "connections {} ({} orphans), +{}/s   retransmits {}/s   timeouts {}/s",
            queue.connections,
            queue.orphans,
            short(rates.opened),
            short(rates.retransmits),
            short(rates.timeouts)
        ),
    ];
    for (at, (name, _)) in LATENCIES.iter().enumerate() {
        let values = rates.latency(at);
        let values = values.map_or("-".to_owned(), |(half, most)| {
            format!("{} median, {} for 99%", time(half), time(most))
        });
        lines.push(format!("{name:<16} {values}"));
    }
    frame.render_widget(Paragraph::new(lines.join("\n")), facts);
    let title = Line::styled("drops by cause", look.bold());
    let mut text = Text::from(title);
    text.extend(causes(row, look, usize::from(why.height).saturating_sub(1)));
    frame.render_widget(text, why);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let columns = COLUMNS.iter().map(|(_, name, key)| format!("{key} {name}"));
    let columns: Vec<String> = columns.collect();
    let (one, two) = columns.split_at(columns.len() / 2);
    let text = format!(
        "up, down, j, k   select a queue\n\
         Enter            that queue alone, and back\n\
         s, >, <          order by the next column, the one before\n\
         r                the other way round\n\
         p, space         pause\n\
         q, Esc, Ctrl-C   quit\n\
         \n\
         Order by: {}\n          {}\n\
         \n\
         load: the share of the worker's time in turns with something to do\n\
         pool: mbufs of its mempool that are in use\n\
         rtx: TCP segments sent again",
        one.join("  "),
        two.join("  ")
    );
    let lines = text.lines().count() as u16 + 2;
    let width = 72.min(area.width);
    let height = lines.min(area.height);
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(
        Paragraph::new(text).block(Block::bordered().title(" keys ")),
        place,
    );
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::crossterm::event::KeyCode;

    use super::super::state::tests::{press, sample, state};
    use super::*;

    /// The screen as lines.
    fn screen(state: &State, width: u16, height: u16) -> Vec<String> {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, true)).unwrap();
        let buffer = terminal.backend().buffer();
        let rows = buffer.content().chunks(usize::from(width));
        rows.map(|row| {
            row.iter()
                .map(|cell| cell.symbol())
                .collect::<String>()
                .trim_end()
                .to_owned()
        })
        .collect()
    }

    #[test]
    fn eighty_columns_hold_all_of_it() {
        let wanted = " \
dpdk-net top  /run/dpdk-net/web.sock  pid 4711  up 01:00:01
 net_tap0 up, missed 4, errors 0
 in 12.0k/s 9.60Mb/s   out 6.00k/s 4.80Mb/s   drops 1.20k/s   handed over 0/s
 connections 25 (+0/s)   retransmits 120/s   timeouts 0/s
 median/99%: round trip 250 us/2.00 ms   wait for accept -   busy turn -
queue\u{2191}      cpu   in/s  out/s  in b/s  out b/s  load  pool  conns  drop/s  rtx/s
net_tap0/0    0  2.00k  1.00k   1.60M     800k   25%   13%     12     200     20
net_tap0/1    1  10.0k  5.00k   8.00M    4.00M   25%   13%     13   1.00k    100";
        let screen = screen(&state(), 80, 24);
        assert_eq!(screen[..8].join("\n"), wanted);
        assert!(screen[17].contains(" drops of net_tap0/0 "), "{screen:#?}");
        assert!(
            screen[18].contains("tcp_checksum                     200/s       300 in all"),
            "{screen:#?}"
        );
        assert!(
            screen[19].contains("ip_not_for_us                      0/s         5 in all"),
            "{screen:#?}"
        );
        assert!(screen[23].starts_with(" q quit"), "{screen:#?}");
    }

    #[test]
    fn that_nothing_is_counted_is_told_in_place_of_latencies() {
        let mut state = state();
        let mut sample = sample(3602, &[0, 0]);
        sample.uncounted = true;
        state.hear(sample);
        let screen = screen(&state, 80, 24);
        assert_eq!(screen[4], format!(" {UNCOUNTED}"));
    }

    #[test]
    fn the_queue_alone_has_its_cycles_and_latencies() {
        let mut state = state();
        press(&mut state, KeyCode::Enter);
        let screen = screen(&state, 80, 24).join("\n");
        for part in [
            " queue net_tap0/0 ",
            "lcore 0, CPU 0, load 25%, 67 cycles a frame",
            "mempool 1024 of 8191 mbufs in use",
            "round trip       250 us median, 2.00 ms for 99%",
            "drops by cause",
            "tcp_checksum",
        ] {
            assert!(screen.contains(part), "{part}: {screen}");
        }
    }

    #[test]
    fn help_lies_over_it_and_a_pause_and_a_loss_are_told() {
        let mut state = state();
        press(&mut state, KeyCode::Char('p'));
        state.lose("nobody listens".to_owned());
        let text = screen(&state, 80, 24).join("\n");
        assert!(
            text.contains("PAUSED") && text.contains("NOT HEARD: nobody listens; trying again"),
            "{text}"
        );
        press(&mut state, KeyCode::Char('h'));
        let text = screen(&state, 80, 24).join("\n");
        assert!(
            text.contains(" keys ") && text.contains("Order by: n queue"),
            "{text}"
        );
    }

    #[test]
    fn a_long_name_keeps_its_queue() {
        assert_eq!(fit("net_tap0/12", 11), "net_tap0/12");
        assert_eq!(fit("net_af_packet0/12", 11), "net_af_~/12");
        assert_eq!(fit("net_af_packet0/12", 2), "~/12");
    }

    #[test]
    fn a_narrow_screen_has_whole_columns_or_none() {
        let screen = screen(&state(), 49, 24);
        assert_eq!(
            screen[5],
            "queue\u{2191}         cpu   in/s  out/s  in b/s  out b/s"
        );
        assert_eq!(
            screen[6],
            "net_tap0/0       0  2.00k  1.00k   1.60M     800k"
        );
    }

    #[test]
    fn no_screen_is_too_small() {
        let mut state = state();
        for key in [KeyCode::Null, KeyCode::Enter, KeyCode::Char('h')] {
            press(&mut state, key);
            for (width, height) in [(1, 1), (10, 3), (40, 12), (80, 24), (200, 60)] {
                assert_eq!(screen(&state, width, height).len(), usize::from(height));
            }
        }
        let empty = State::new(String::new());
        assert_eq!(screen(&empty, 80, 24).len(), 24);
    }
}
