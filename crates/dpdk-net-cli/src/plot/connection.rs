//! A connection as series over time, made of its events one by one.
//!
//! Times are in seconds from the first event of the connection, positions in bytes from the beginning of a direction's data.

use super::read::Data;

/// A piece of the stream at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    pub(crate) at: f64,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// One direction of a connection's data.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Data that left or came for the first time, and what was sent before.
    pub(crate) first: Vec<Piece>,
    pub(crate) again: Vec<Piece>,
    /// SACK blocks that were told.
    pub(crate) sacked: Vec<Piece>,
    /// What is thought lost, and what came and was not taken.
    pub(crate) lost: Vec<Piece>,
    pub(crate) dropped: Vec<Piece>,
    /// What is acknowledged, and how far the receiver's window reaches.
    pub(crate) acked: Vec<(f64, f64)>,
    pub(crate) window: Vec<(f64, f64)>,
    place: Place,
}

impl Stream {
    /// The other side tells what it has of it.
    fn answered(&mut self, segment: &Segment) {
        let at = segment.at;
        if let Some((ack, window)) = segment.ack {
            let acked = self.place.of(ack);
            push_step(&mut self.acked, at, acked);
            push_step(&mut self.window, at, acked + window);
        }
        for &(from, to) in &segment.sack {
            let (from, to) = (self.place.of(from), self.place.of(to));
            self.sacked.push(Piece { at, from, to });
        }
    }
}

/// Where sequence numbers are in a stream of any length.
///
/// They are told from the furthest one that this side has vouched for, by sending it or by acknowledging it: what a peer says may be
/// anything, and what is in between may be missing.
#[derive(Debug, Default)]
struct Place {
    mark: Option<(u32, i64)>,
}

impl Place {
    /// The largest window there is (RFC 7323 section 2.3): no segment is further behind.
    const BEHIND: u32 = 1 << 30;

    /// The stream begins with this sequence number.
    fn begin(&mut self, first: u32) {
        self.begin_at(first, first);
    }

    /// It began so, and has come as far as that. How often it has come around since nobody knows.
    fn begin_at(&mut self, first: u32, at: u32) {
        let position = at.wrapping_sub(first);
        self.mark.get_or_insert((at, position.into()));
    }

    /// The position of a sequence number.
    fn of(&mut self, seq: u32) -> f64 {
        self.position(seq) as f64
    }

    fn position(&mut self, seq: u32) -> i64 {
        let (mark, position) = *self.mark.get_or_insert((seq, 0));
        match mark.wrapping_sub(seq) {
            behind @ ..=Self::BEHIND => position - i64::from(behind),
            _ => position + i64::from(seq.wrapping_sub(mark)),
        }
    }

    /// The piece of so many bytes.
    fn piece(&mut self, at: f64, seq: u32, len: u32) -> Piece {
        let from = self.of(seq);
        let to = from + f64::from(len);
        Piece { at, from, to }
    }

    /// Begins after a SYN, in the midst if something behind that is named.
    fn begin_from(&mut self, syn: u32, at: Option<u32>) {
        let first = syn.wrapping_add(1);
        match at {
            Some(at) if at != syn => self.begin_at(first, at),
            _ => self.begin(first),
        }
    }

    /// This side has come as far as that.
    fn advance(&mut self, seq: u32) {
        let position = self.position(seq);
        if self.mark.is_none_or(|(_, mark)| position > mark) {
            self.mark = Some((seq, position));
        }
    }
}

/// A segment as it is told.
#[derive(Debug)]
struct Segment {
    at: f64,
    seq: u32,
    len: u32,
    /// The acknowledgment number, if it counts, and the window.
    ack: Option<(u32, f64)>,
    sack: Vec<(u32, u32)>,
    syn: bool,
}

impl Segment {
    fn new(at: f64, data: &Data<'_>) -> Result<Self, String> {
        let (seq, len, ack) = (data.seq("seq")?, data.seq("length")?, data.seq("ack")?);
        let counts = data.has_flag("ack") && !data.has_flag("rst");
        let window = data.number("window")?.unwrap_or_default();
        Ok(Self {
            at,
            seq,
            len,
            ack: counts.then_some((ack, window)),
            sack: data.sack()?,
            syn: data.has_flag("syn"),
        })
    }
}

/// A span of time during which something was being repaired.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Repair {
    pub(crate) from: f64,
    pub(crate) to: f64,
    /// Whether a timeout had begun it.
    pub(crate) timeout: bool,
}

/// A connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    group: String,
    pub(crate) title: String,
    began: Option<f64>,
    /// The time of the last event.
    pub(crate) end: f64,
    pub(crate) sent_bytes: u64,
    pub(crate) received_bytes: u64,
    pub(crate) segments_again: u64,
    /// Segments that came and were not taken.
    pub(crate) segments_dropped: u64,
    pub(crate) lost: u64,
    pub(crate) missed: u64,
    pub(crate) closed: Option<String>,
    pub(crate) sent: Stream,
    pub(crate) received: Stream,
    pub(crate) cwnd: Vec<(f64, f64)>,
    pub(crate) ssthresh: Vec<(f64, f64)>,
    pub(crate) in_flight: Vec<(f64, f64)>,
    pub(crate) rtt: Vec<(f64, f64)>,
    pub(crate) srtt: Vec<(f64, f64)>,
    pub(crate) repairs: Vec<Repair>,
    /// When the retransmission timer ran out, and when a tail loss probe was due.
    pub(crate) timeouts: Vec<f64>,
    pub(crate) probes: Vec<f64>,
    /// The segment that came last: whether it was taken is told behind it.
    came: Option<Segment>,
}

impl Connection {
    /// The connection of this group, of which nothing is known yet.
    pub(crate) fn new(group: &str) -> Self {
        let title = group.split_once(':').map_or(group, |(_, ends)| ends);
        Self {
            group: group.to_owned(),
            title: title.to_owned(),
            ..Self::default()
        }
    }

    /// What its events are told apart by.
    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Takes an event at a time of the file, in seconds.
    ///
    /// # Errors
    /// What is wrong with its data.
    pub(crate) fn event(&mut self, at: f64, name: &str, data: &Data<'_>) -> Result<(), String> {
        let at = at - *self.began.get_or_insert(at);
        self.end = self.end.max(at);
        self.take(name, at, data)
    }

    /// Nothing follows.
    pub(crate) fn finish(&mut self) {
        self.settle();
        if let Some(open) = self.repairs.last_mut()
            && open.to == f64::INFINITY
        {
            open.to = self.end;
        }
    }

    /// In one line.
    pub(crate) fn summary(&self) -> String {
        let mut text = format!(
            "{}: {} B sent, {} B received in {:.3} s, {} segments sent again",
            self.title, self.sent_bytes, self.received_bytes, self.end, self.segments_again
        );
        if self.segments_dropped > 0 {
            text += &format!(", {} received ones not taken", self.segments_dropped);
        }
        if let Some(closed) = &self.closed {
            text += &format!(", closed ({closed})");
        }
        if self.missed > 0 {
            text += &format!(", {} events missing", self.missed);
        }
        text
    }
}

impl Connection {
    fn take(&mut self, name: &str, at: f64, data: &Data<'_>) -> Result<(), String> {
        match name {
            "tcp:connection_started" => self.started(data)?,
            "tcp:segment_sent" => self.leave(Segment::new(at, data)?, data)?,
            "tcp:segment_received" => {
                self.settle();
                self.came = Some(Segment::new(at, data)?);
            }
            "tcp:segment_dropped" => self.drop_last(),
            "recovery:metrics_updated" => self.metrics(at, data)?,
            "recovery:packet_lost" => {
                let (from, len) = (data.seq("seq")?, data.seq("length")?);
                self.sent.lost.push(self.sent.place.piece(at, from, len));
                self.lost += 1;
            }
            "recovery:congestion_state_updated" => self.congestion(at, data.text("new")),
            "recovery:loss_timer_updated" => match data.text("timer_type") {
                "rto" => self.timeouts.push(at),
                "tlp" => self.probes.push(at),
                _ => {}
            },
            "tcp:events_missed" => self.missed += data.number("count")?.unwrap_or(1.0) as u64,
            "tcp:connection_closed" => self.closed = Some(data.text("trigger").to_owned()),
            // Others are of no interest here.
            _ => {}
        }
        Ok(())
    }

    /// A trace may begin in the midst of a connection.
    fn started(&mut self, data: &Data<'_>) -> Result<(), String> {
        let (first, at) = (data.seq("initial_seq")?, data.seq_or("unacknowledged_seq")?);
        self.sent.place.begin_from(first, at);
        match data.seq("remote_initial_seq")? {
            // Not known yet.
            0 => {}
            first => {
                let at = data.seq_or("remote_next_seq")?;
                self.received.place.begin_from(first, at);
            }
        }
        Ok(())
    }

    /// A segment left.
    fn leave(&mut self, segment: Segment, data: &Data<'_>) -> Result<(), String> {
        let Segment { at, seq, len, .. } = segment;
        if segment.syn {
            self.sent.place.begin(seq.wrapping_add(1));
        }
        let again = data.is("retransmission");
        if again {
            // What the NIC cuts is several.
            let each = data.number("segment_length")?.filter(|each| *each >= 1.0);
            let segments = each.map_or(1, |each| u64::from(len).div_ceil(each as u64));
            self.segments_again += segments.max(1);
        }
        if len > 0 {
            self.sent.place.advance(seq.wrapping_add(len));
            let piece = self.sent.place.piece(at, seq, len);
            match again {
                true => self.sent.again.push(piece),
                false => self.sent.first.push(piece),
            }
            self.sent_bytes += u64::from(len);
        }
        if let Some((ack, _)) = segment.ack {
            self.received.place.advance(ack);
        }
        self.received.answered(&segment);
        Ok(())
    }

    /// The segment that came last was taken, if it was not said otherwise.
    fn settle(&mut self) {
        let Some(segment) = self.came.take() else {
            return;
        };
        let Segment { at, seq, len, .. } = segment;
        if segment.syn {
            self.received.place.begin(seq.wrapping_add(1));
        }
        if len > 0 {
            let piece = self.received.place.piece(at, seq, len);
            // What came before what has come already was late: sent again, or overtaken.
            let last = self.received.first.last();
            let late = last.is_some_and(|last| piece.to <= last.to);
            match late {
                true => self.received.again.push(piece),
                false => self.received.first.push(piece),
            }
            self.received_bytes += u64::from(len);
        }
        self.sent.answered(&segment);
    }

    /// The segment that came last was not taken: nothing of it counts.
    fn drop_last(&mut self) {
        let Some(Segment { at, seq, len, .. }) = self.came.take() else {
            return;
        };
        self.segments_dropped += 1;
        if len > 0 {
            let piece = self.received.place.piece(at, seq, len);
            self.received.dropped.push(piece);
        }
    }

    fn metrics(&mut self, at: f64, data: &Data<'_>) -> Result<(), String> {
        let series = [
            ("congestion_window", &mut self.cwnd),
            ("ssthresh", &mut self.ssthresh),
            ("bytes_in_flight", &mut self.in_flight),
            ("latest_rtt", &mut self.rtt),
            ("smoothed_rtt", &mut self.srtt),
        ];
        for (name, series) in series {
            if let Some(value) = data.number(name)? {
                series.push((at, value));
            }
        }
        Ok(())
    }

    fn congestion(&mut self, at: f64, state: &str) {
        let open = self
            .repairs
            .last_mut()
            .filter(|repair| repair.to == f64::INFINITY);
        let timeout = match state {
            "recovery" => false,
            "loss" => true,
            _ => {
                if let Some(open) = open {
                    open.to = at;
                }
                return;
            }
        };
        if let Some(open) = open {
            if open.timeout == timeout {
                return;
            }
            open.to = at;
        }
        let to = f64::INFINITY;
        self.repairs.push(Repair {
            from: at,
            to,
            timeout,
        });
    }
}

/// A point, if it is another value than the last.
fn push_step(series: &mut Vec<(f64, f64)>, at: f64, value: f64) {
    if series.last().is_none_or(|&(_, last)| last != value) {
        series.push((at, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(it: &mut Connection, at: f64, name: &str, data: &str) {
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        it.event(at, name, &Data(data.as_object().unwrap()))
            .unwrap();
    }

    #[test]
    fn positions_go_on_where_sequence_numbers_come_around() {
        let mut place = Place::default();
        place.begin(u32::MAX - 9);
        assert_eq!(place.of(u32::MAX - 9), 0.0);
        assert_eq!(place.of(0), 10.0);
        place.advance(1 << 30);
        assert_eq!(place.of(1 << 30), 10.0 + f64::from(1u32 << 30));
        // As far behind as can be.
        assert_eq!(place.of(0), 10.0);
        // It does not go back with what is sent again, and goes on after events that are missing.
        place.advance(0);
        let far = (1u32 << 30) + 3_000_000_000;
        place.advance(far);
        let wanted = 10.0 + f64::from(1u32 << 30) + 3e9;
        assert_eq!((place.of(far), place.of(far - 7)), (wanted, wanted - 7.0));
    }

    #[test]
    fn a_stream_that_is_long_when_the_trace_begins_is_drawn_where_it_is() {
        let mut it = Connection::new("0:a-b");
        let started = r#"{"initial_seq":99,"unacknowledged_seq":3000000100,"next_seq":3000000100,"remote_initial_seq":199,
            "remote_next_seq":2500000200}"#;
        take(&mut it, 0.0, "tcp:connection_started", started);
        let sent =
            r#"{"seq":3000000100,"length":100,"ack":2500000200,"flags":["ack"],"window":1000}"#;
        take(&mut it, 1.0, "tcp:segment_sent", sent);
        let came =
            r#"{"seq":2500000200,"length":50,"ack":3000000200,"flags":["ack"],"window":1000}"#;
        take(&mut it, 2.0, "tcp:segment_received", came);
        it.finish();
        assert_eq!(
            (it.sent.first[0].from, it.sent.first[0].to),
            (3e9, 3e9 + 100.0)
        );
        assert_eq!(it.received.first[0].from, 2.5e9);
        assert_eq!(it.sent.acked, [(2.0, 3e9 + 100.0)]);
    }

    #[test]
    fn what_a_peer_says_without_being_believed_moves_nothing() {
        let mut it = Connection::new("0:a-b");
        let sent = |seq: u32| {
            format!(r#"{{"seq":{seq},"length":100,"ack":500,"flags":["ack"],"window":1000}}"#)
        };
        take(&mut it, 0.0, "tcp:segment_sent", &sent(1_000));
        let stray = r#"{"seq":2147484000,"length":70,"ack":2147484000,"flags":["ack"],"window":9,"sack":[[1,2]]}"#;
        take(&mut it, 1.0, "tcp:segment_received", stray);
        take(
            &mut it,
            1.0,
            "tcp:segment_dropped",
            r#"{"trigger":"out_of_window"}"#,
        );
        take(&mut it, 2.0, "tcp:segment_sent", &sent(1_100));
        let came = r#"{"seq":500,"length":30,"ack":1200,"flags":["ack"],"window":1000}"#;
        take(&mut it, 3.0, "tcp:segment_received", came);
        it.finish();
        assert_eq!((it.segments_dropped, it.received.dropped.len()), (1, 1));
        assert_eq!((it.received_bytes, it.received.first.len()), (30, 1));
        assert_eq!((it.sent.acked.len(), it.sent.sacked.len()), (1, 0));
        assert_eq!(it.sent.first[1].from - it.sent.first[0].from, 100.0);
        assert_eq!(it.sent.acked[0].1, it.sent.first[1].to);
        assert!(
            it.summary().contains(", 1 received ones not taken"),
            "{}",
            it.summary()
        );
    }

    #[test]
    fn what_is_sent_again_is_counted_in_segments_without_data_too() {
        let mut it = Connection::new("0:a-b");
        for data in [
            r#"{"seq":1,"length":0,"flags":["syn"],"ack":0,"window":9}"#,
            r#"{"seq":1,"length":0,"flags":["syn"],"ack":0,"window":9,"retransmission":true}"#,
            r#"{"seq":2,"length":2500,"flags":["ack"],"ack":1,"window":9,"segment_length":1000}"#,
            r#"{"seq":2,"length":2500,"flags":["ack"],"ack":1,"window":9,"segment_length":1000,"retransmission":true}"#,
            r#"{"seq":2502,"length":0,"flags":["fin","ack"],"ack":1,"window":9,"retransmission":true}"#,
        ] {
            take(&mut it, 0.0, "tcp:segment_sent", data);
        }
        assert_eq!(it.segments_again, 1 + 3 + 1);
    }

    #[test]
    fn recovery_lasts_until_another_state_is_told() {
        let mut it = Connection::default();
        for (at, state) in [
            (1.0, "recovery"),
            (2.0, "recovery"),
            (3.0, "loss"),
            (4.0, "slow_start"),
        ] {
            it.congestion(at, state);
        }
        let (first, second) = (it.repairs[0], it.repairs[1]);
        assert_eq!((first.from, first.to, first.timeout), (1.0, 3.0, false));
        assert_eq!((second.from, second.to, second.timeout), (3.0, 4.0, true));
    }
}
