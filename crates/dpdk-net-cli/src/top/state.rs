//! What is shown, and what keys do to it. Neither terminal nor socket is known here.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::sample::{Port, Queue, Rates, Sample};

/// A column that rows are in the order of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    Queue,
    RxFrames,
    TxFrames,
    RxBits,
    TxBits,
    Load,
    Pool,
    Connections,
    Drops,
    Retransmits,
}

/// All of them in their order, with their headings and the keys that choose them.
pub(super) const COLUMNS: [(Column, &str, char); 10] = [
    (Column::Queue, "queue", 'n'),
    (Column::RxFrames, "in/s", 'i'),
    (Column::TxFrames, "out/s", 'o'),
    (Column::RxBits, "in b/s", 'I'),
    (Column::TxBits, "out b/s", 'O'),
    (Column::Load, "load", 'l'),
    (Column::Pool, "pool", 'm'),
    (Column::Connections, "conns", 'c'),
    (Column::Drops, "drop/s", 'd'),
    (Column::Retransmits, "rtx/s", 't'),
];

/// What fills the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    Queues,
    /// The selected queue alone.
    Detail,
    Help,
}

/// A queue, and what happens on it.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) queue: Queue,
    pub(super) rates: Rates,
}

/// All that is drawn.
#[derive(Debug)]
pub(super) struct State {
    /// Where the application is asked.
    pub(super) source: String,
    pub(super) pid: u64,
    pub(super) uptime: f64,
    /// The application counts nothing.
    pub(super) uncounted: bool,
    pub(super) rows: Vec<Row>,
    pub(super) ports: Vec<Port>,
    pub(super) total: Rates,
    pub(super) sort: Column,
    pub(super) ascending: bool,
    pub(super) paused: bool,
    pub(super) view: View,
    /// Why nothing is heard, while that is so.
    pub(super) lost: Option<String>,
    /// The name of the selected queue.
    selected: Option<String>,
    /// What was told last, whether it is shown or not.
    last: Option<Sample>,
}

impl State {
    pub(super) fn new(source: String) -> Self {
        Self {
            source,
            pid: 0,
            uptime: 0.0,
            uncounted: false,
            rows: Vec::new(),
            ports: Vec::new(),
            total: Rates::default(),
            sort: Column::Queue,
            ascending: true,
            paused: false,
            view: View::Queues,
            lost: None,
            selected: None,
            last: None,
        }
    }

    /// What the application tells now.
    pub(super) fn hear(&mut self, sample: Sample) {
        self.lost = None;
        // Another process has counted something else.
        let same = |last: &Sample| last.pid == sample.pid && last.uptime <= sample.uptime;
        let before = self.last.take().filter(same);
        if !self.paused {
            self.show(&sample, before.as_ref());
        }
        self.last = Some(sample);
    }

    /// The application is not heard any more.
    pub(super) fn lose(&mut self, why: String) {
        self.lost = Some(why);
    }

    fn show(&mut self, sample: &Sample, before: Option<&Sample>) {
        let row = |queue: &Queue| {
            let old = before.and_then(|before| {
                let mut queues = before.queues.iter();
                Some((queues.find(|old| old.name == queue.name)?, before.uptime))
            });
            let rates = old.map(|(old, then)| Rates::between(old, queue, sample.uptime - then));
            Row {
                queue: queue.clone(),
                rates: rates.unwrap_or_default(),
            }
        };
        self.rows = sample.queues.iter().map(row).collect();
        self.total = Rates::default();
        for row in &self.rows {
            self.total.add(&row.rates);
        }
        self.ports.clone_from(&sample.ports);
        (self.pid, self.uptime) = (sample.pid, sample.uptime);
        self.uncounted = sample.uncounted;
        self.order();
    }

    fn order(&mut self) {
        let (sort, ascending) = (self.sort, self.ascending);
        // Stable, and the application tells queues in their order.
        self.rows.sort_by(|one, other| {
            let order = match sort {
                Column::Queue => natural(&one.queue.name).cmp(&natural(&other.queue.name)),
                _ => value(one, sort).total_cmp(&value(other, sort)),
            };
            if ascending { order } else { order.reverse() }
        });
    }

    /// The number of the selected row.
    pub(super) fn selection(&self) -> usize {
        let selected = self.selected.as_ref();
        let mut rows = self.rows.iter();
        selected
            .and_then(|name| rows.position(|row| row.queue.name == *name))
            .unwrap_or(0)
    }

    /// The selected queue.
    pub(super) fn selected(&self) -> Option<&Row> {
        self.rows.get(self.selection())
    }

    fn select(&mut self, number: usize) {
        let number = number.min(self.rows.len().saturating_sub(1));
        self.selected = self.rows.get(number).map(|row| row.queue.name.clone());
    }

    fn sort_by(&mut self, column: Column) {
        // Chosen again, it is turned round. Names begin with the first, figures with the highest.
        self.ascending = match column == self.sort {
            true => !self.ascending,
            false => column == Column::Queue,
        };
        self.sort = column;
        self.order();
    }

    /// What a key does. Whether that is to end it all.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if control => return true,
            _ if control => {}
            KeyCode::Char('q') => return true,
            KeyCode::Esc if self.view == View::Queues => return true,
            KeyCode::Esc => self.view = View::Queues,
            KeyCode::Char('h' | '?') | KeyCode::F(1) => self.toggle(View::Help),
            // Any other key ends the help.
            _ if self.view == View::Help => self.view = View::Queues,
            KeyCode::Enter => self.toggle(View::Detail),
            KeyCode::Char('p' | ' ') => self.paused = !self.paused,
            KeyCode::Up | KeyCode::Char('k') => self.select(self.selection().saturating_sub(1)),
            KeyCode::Down | KeyCode::Char('j') => self.select(self.selection() + 1),
            KeyCode::Home => self.select(0),
            KeyCode::End => self.select(usize::MAX),
            KeyCode::Char('r') => {
                self.ascending = !self.ascending;
                self.order();
            }
            KeyCode::Char('<') | KeyCode::Left => self.next_column(COLUMNS.len() - 1),
            KeyCode::Char('>' | 's') | KeyCode::Right => self.next_column(1),
            KeyCode::Char(letter) => {
                let mut columns = COLUMNS.iter();
                if let Some((column, ..)) = columns.find(|(_, _, key)| *key == letter) {
                    self.sort_by(*column);
                }
            }
            _ => {}
        }
        false
    }

    fn toggle(&mut self, view: View) {
        self.view = if self.view == view {
            View::Queues
        } else {
            view
        };
    }

    fn next_column(&mut self, steps: usize) {
        let at = COLUMNS.iter().position(|(column, ..)| *column == self.sort);
        let next = (at.unwrap_or(0) + steps) % COLUMNS.len();
        if let Some((column, ..)) = COLUMNS.get(next) {
            self.sort_by(*column);
        }
    }
}

/// The port, and the number of the queue as a number: `p/10` is behind `p/9`.
fn natural(name: &str) -> (&str, u64) {
    let (port, queue) = name.rsplit_once('/').unwrap_or((name, ""));
    (port, queue.parse().unwrap_or(0))
}

/// What a row is sorted by.
fn value(row: &Row, column: Column) -> f64 {
    let (queue, rates) = (&row.queue, &row.rates);
    match column {
        Column::Queue => 0.0,
        Column::RxFrames => rates.rx_frames,
        Column::TxFrames => rates.tx_frames,
        Column::RxBits => rates.rx_bits,
        Column::TxBits => rates.tx_bits,
        Column::Load => rates.load,
        Column::Pool => queue
            .pool
            .map_or(0.0, |(used, all)| used as f64 / (all.max(1)) as f64),
        Column::Connections => queue.connections as f64,
        Column::Drops => rates.drops,
        Column::Retransmits => rates.retransmits,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A second of an application: each queue has received this many frames in all.
    pub(in crate::top) fn sample(second: u32, frames: &[u64]) -> Sample {
        let queues: Value = frames
            .iter()
            .enumerate()
            .map(|(queue, frames)| {
                json!({
                    "port": "net_tap0", "queue": queue, "lcore": queue, "cpu": queue, "rx_frames": frames, "rx_bytes": frames * 100,
                    "tx_frames": frames / 2, "tx_bytes": frames * 50, "turns": 10 * frames, "busy_turns": 2 * frames,
                    "busy_cycles": 100 * frames, "idle_cycles": 300 * frames, "connections": 12 + queue,
                    "tcp_retransmits": frames / 100, "mempool": { "name": "pool", "capacity": 8191, "in_use": 1024 },
                    "drops": { "tcp_checksum": frames / 10, "ip_not_for_us": 5 },
                })
            })
            .collect();
        let answer = json!({
            "pid": 4711, "uptime_s": second, "queues": queues,
            "ports": [{ "port": "net_tap0", "link_up": true, "rx_missed": 3, "rx_no_mbuf": 1, "rx_errors": 0, "tx_errors": 0 }],
        });
        let stats = json!([{ "name": "dpdk_net_tcp_rtt_seconds", "samples": [
            { "labels": { "port": "net_tap0", "queue": "0" }, "value": { "buckets": [[0.00025, 10 * second], [0.002, second]] } },
        ] }]);
        Sample::from_json(&answer, &stats)
    }

    pub(in crate::top) fn state() -> State {
        let mut state = State::new("/run/dpdk-net/web.sock".to_owned());
        state.hear(sample(3600, &[1000, 5000]));
        state.hear(sample(3601, &[3000, 15_000]));
        state
    }

    pub(in crate::top) fn press(state: &mut State, code: KeyCode) -> bool {
        state.key(KeyEvent::new(code, KeyModifiers::NONE))
    }

    fn names(state: &State) -> Vec<&str> {
        state
            .rows
            .iter()
            .map(|row| row.queue.name.as_str())
            .collect()
    }

    #[test]
    fn rows_are_in_the_order_of_the_column_that_a_key_chooses() {
        let mut state = state();
        assert_eq!(names(&state), ["net_tap0/0", "net_tap0/1"]);
        press(&mut state, KeyCode::Char('i'));
        assert_eq!(names(&state), ["net_tap0/1", "net_tap0/0"]);
        press(&mut state, KeyCode::Char('i'));
        assert_eq!(names(&state), ["net_tap0/0", "net_tap0/1"]);
        press(&mut state, KeyCode::Char('>'));
        assert_eq!((state.sort, state.ascending), (Column::TxFrames, false));
        press(&mut state, KeyCode::Char('r'));
        assert!(state.ascending);
        for _ in 0..COLUMNS.len() {
            press(&mut state, KeyCode::Left);
        }
        assert_eq!(state.sort, Column::TxFrames);
        assert!(natural("p/9") < natural("p/10"));
    }

    #[test]
    fn a_selected_queue_stays_selected_wherever_it_goes() {
        let mut state = state();
        press(&mut state, KeyCode::Down);
        press(&mut state, KeyCode::Down);
        assert_eq!(state.selection(), 1);
        press(&mut state, KeyCode::Char('i'));
        assert_eq!(state.selection(), 0);
        assert_eq!(state.selected().unwrap().queue.name, "net_tap0/1");
        press(&mut state, KeyCode::Home);
        press(&mut state, KeyCode::End);
        assert_eq!(state.selected().unwrap().queue.name, "net_tap0/0");
    }

    #[test]
    fn a_pause_keeps_what_is_shown_and_the_next_rates_are_of_the_last_second() {
        let mut state = state();
        assert_eq!(state.total.rx_frames, 12_000.0);
        press(&mut state, KeyCode::Char('p'));
        state.hear(sample(3602, &[3000, 15_001]));
        assert_eq!(state.total.rx_frames, 12_000.0);
        press(&mut state, KeyCode::Char(' '));
        state.hear(sample(3603, &[3000, 15_011]));
        assert_eq!(state.total.rx_frames, 10.0);
    }

    #[test]
    fn an_application_that_comes_again_has_no_rates_of_the_old_one() {
        let mut state = state();
        state.lose("gone".to_owned());
        assert_eq!(state.lost.as_deref(), Some("gone"));
        state.hear(sample(1, &[7, 7]));
        assert_eq!((state.lost.as_deref(), state.total.rx_frames), (None, 0.0));
    }

    #[test]
    fn keys_open_views_and_end_it() {
        let mut state = state();
        press(&mut state, KeyCode::Char('?'));
        assert_eq!(state.view, View::Help);
        press(&mut state, KeyCode::Char('x'));
        assert_eq!(state.view, View::Queues);
        press(&mut state, KeyCode::Enter);
        assert_eq!(state.view, View::Detail);
        assert!(!press(&mut state, KeyCode::Esc));
        assert_eq!(state.view, View::Queues);
        assert!(press(&mut state, KeyCode::Esc));
        assert!(press(&mut state, KeyCode::Char('q')));
        assert!(state.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!state.key(KeyEvent::new(KeyCode::Char('q'), KeyModifiers::CONTROL)));
    }
}
