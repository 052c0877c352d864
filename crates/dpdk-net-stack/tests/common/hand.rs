//! A stack whose peer is made by hand.

use dpdk_net_stack::{Config, Duration, Error, Instant, ListenOptions, ListenerId, Stack, TcpId};

use super::{ACK, CWR, ECE, FIN, Family, PORT, SYN, Seg, config, frame, mac, read};

/// One stack, host 1, and a peer, host 2, whose segments are made by hand.
pub struct Hand {
    pub family: Family,
    pub stack: Stack,
    pub now: Instant,
    /// The peer's port, what it sends next and what it has acknowledged.
    pub port: u16,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    /// The stack's port.
    pub local_port: u16,
    /// What the peer offers in its SYN.
    pub mss: Option<u16>,
    pub wscale: Option<u8>,
    pub sack_ok: bool,
    /// Value and echo in each of its segments.
    pub timestamps: Option<(u32, u32)>,
}

impl Hand {
    pub fn new(family: Family) -> Self {
        Self::with(family, config(1))
    }

    pub fn with(family: Family, config: Config) -> Self {
        let now = Instant::from_secs(1_000);
        let mut stack = Stack::new(config, now).unwrap();
        stack.add_neighbor(family.host(2), mac(2));
        let mut hand = Hand {
            family,
            stack,
            now,
            port: 5_000,
            seq: 1_000_000,
            ack: 0,
            window: 65_535,
            local_port: PORT,
            mss: Some(1_400),
            wscale: None,
            sack_ok: false,
            timestamps: None,
        };
        hand.out();
        hand
    }

    /// The segments that the stack sends now.
    pub fn out(&mut self) -> Vec<Seg> {
        let mut frames = Vec::new();
        self.stack.poll_transmit(self.now, &mut frames);
        // In debug builds gauges check that what is kept by state is what there is.
        let _ = self.stack.gauges();
        frames.iter().filter_map(|frame| read(frame)).collect()
    }

    /// Gives a segment to the stack and tells what it sends.
    pub fn give(&mut self, seg: &Seg) -> Vec<Seg> {
        self.stack
            .ingest(self.now, &[frame(self.family, 2, 1, seg)]);
        self.out()
    }

    /// A segment of the peer in its present state.
    pub fn seg(&self, flags: u8, payload: &[u8]) -> Seg {
        Seg {
            from: self.port,
            to: self.local_port,
            seq: self.seq,
            ack: self.ack,
            flags,
            window: self.window,
            timestamps: self.timestamps,
            payload: payload.to_vec(),
            ..Seg::default()
        }
    }

    pub fn syn(&self) -> Seg {
        Seg {
            ack: 0,
            mss: self.mss,
            wscale: self.wscale,
            sack_ok: self.sack_ok,
            ..self.seg(SYN, &[])
        }
    }

    /// Gives a segment in sequence, and takes what it occupies for sent.
    pub fn send(&mut self, flags: u8, payload: &[u8]) -> Vec<Seg> {
        let seg = self.seg(flags, payload);
        let space = payload.len() as u32 + u32::from(flags & FIN != 0);
        self.seq = self.seq.wrapping_add(space);
        self.give(&seg)
    }

    /// Acknowledges so many bytes more.
    pub fn acknowledge(&mut self, bytes: u32) -> Vec<Seg> {
        self.ack = self.ack.wrapping_add(bytes);
        self.give(&self.seg(ACK, &[]))
    }

    /// Opens a connection from the stack to the peer and tells its SYN.
    pub fn start_connect(&mut self) -> (TcpId, Seg) {
        let remote = self.family.at(2, self.port);
        let id = self.stack.tcp_connect(self.now, None, remote).unwrap();
        let mut sent = self.out();
        assert_eq!(sent.len(), 1, "{sent:?}");
        assert_eq!(sent[0].flags & !(ECE | CWR), SYN);
        self.local_port = sent[0].from;
        self.ack = sent[0].seq.wrapping_add(1);
        (id, sent.remove(0))
    }

    /// The peer's answer to a SYN.
    pub fn syn_ack(&self) -> Seg {
        Seg {
            flags: SYN | ACK,
            ack: self.ack,
            ..self.syn()
        }
    }

    /// A connection opened by the stack.
    pub fn connect(&mut self) -> TcpId {
        let (id, _) = self.start_connect();
        let answers = self.give(&self.syn_ack());
        assert_eq!(answers.len(), 1, "{answers:?}");
        self.seq = self.seq.wrapping_add(1);
        id
    }

    /// Lets time pass, timers run, and gathers what is sent.
    pub fn pass(&mut self, time: Duration) -> Vec<Seg> {
        let until = self.now + time;
        let mut sent = Vec::new();
        while let Some(at) = self.stack.next_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at) + Duration::from_nanos(1);
            self.stack.handle_timeout(self.now);
            sent.extend(self.out());
        }
        self.now = until;
        sent.extend(self.out());
        sent
    }

    /// The peer's side of the handshake up to the SYN-ACK, which is returned.
    pub fn half_open(&mut self) -> Seg {
        let answers = self.give(&self.syn());
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!(answers[0].flags, SYN | ACK);
        assert_eq!(answers[0].ack, self.seq.wrapping_add(1));
        self.seq = self.seq.wrapping_add(1);
        self.ack = answers[0].seq.wrapping_add(1);
        answers[0].clone()
    }

    /// A connection accepted by the stack.
    pub fn establish(&mut self, listener: ListenerId) -> TcpId {
        self.half_open();
        let answers = self.give(&self.seg(ACK, &[]));
        assert_eq!(answers, []);
        let (id, peer) = self.stack.tcp_accept(listener).unwrap();
        assert_eq!(peer, self.family.at(2, self.port));
        id
    }

    pub fn listen(&mut self) -> ListenerId {
        self.stack
            .tcp_listen(ListenOptions::new(self.family.any(PORT)))
            .unwrap()
    }
}

/// A stack with an accepted connection.
pub fn accepted(family: Family) -> (Hand, TcpId) {
    accepted_with(family, config(1))
}

pub fn accepted_with(family: Family, config: Config) -> (Hand, TcpId) {
    let mut hand = Hand::with(family, config);
    let listener = hand.listen();
    let id = hand.establish(listener);
    (hand, id)
}

/// Reads all there is.
pub fn read_all(hand: &mut Hand, id: TcpId) -> Vec<u8> {
    let mut buf = vec![0; 1 << 20];
    match hand.stack.tcp_recv(id, &mut buf) {
        Ok(n) => buf[..n].to_vec(),
        Err(Error::WouldBlock) => Vec::new(),
        Err(error) => panic!("{error}"),
    }
}
