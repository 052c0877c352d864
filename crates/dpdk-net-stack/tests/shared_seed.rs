//! Workers with one seed: what all must agree on is the same, and what each chooses for itself is not.

mod common;

use std::collections::BTreeSet;

use common::workers::Service;
use common::*;
use dpdk_net_stack::{Duration, ListenOptions, SteeringTable, UdpOptions};

fn service() -> Service {
    Service::with(3, SteeringTable::new(&[9; 32], 64, 64), |config| {
        config.seed = [5; 32];
        config.tcp.syn_queue = 1;
    })
}

fn syn(from: u16) -> Seg {
    Seg {
        from,
        to: PORT,
        seq: 77,
        flags: SYN,
        mss: Some(1_400),
        window: 1_000,
        ..Seg::default()
    }
}

/// What a worker answers to a segment.
fn give(service: &mut Service, worker: usize, family: Family, seg: &Seg) -> Vec<Seg> {
    let now = service.now;
    service.receive(worker, &[frame(family, 2, 1, seg)]);
    let mut frames = Vec::new();
    for stack in &mut service.workers {
        stack.poll_transmit(now, &mut frames);
    }
    frames.iter().filter_map(|frame| read(frame)).collect()
}

both_families! {
    fn a_cookie_is_good_whichever_worker_it_comes_back_to(family) {
        let mut service = service();
        let options = ListenOptions::new(family.any(PORT));
        let listeners = [0, 1].map(|worker| service.workers[worker].tcp_listen(options).unwrap());
        let unanswered = Seg { from: 4_999, ..syn(0) };
        give(&mut service, 0, family, &unanswered);
        for (n, back) in [1, 2, 0].into_iter().enumerate() {
            // With the queue full what comes next is answered with a cookie, here by worker 0.
            let cookie = give(&mut service, 0, family, &syn(5_000 + n as u16));
            assert_eq!(cookie.len(), 1);
            assert_eq!(service.workers[0].stats().tcp.syn_cookies_sent, n as u64 + 1);
            let ack = Seg {
                seq: 78,
                ack: cookie[0].seq.wrapping_add(1),
                flags: ACK,
                mss: None,
                ..syn(5_000 + n as u16)
            };
            let forged = Seg { ack: ack.ack.wrapping_add(256), ..ack.clone() };
            let answer = give(&mut service, back, family, &forged);
            assert_eq!(answer.iter().map(|seg| seg.flags).collect::<Vec<_>>(), [RST]);
            assert_eq!(give(&mut service, back, family, &ack), []);
        }
        let accepted = [0, 1].map(|worker| {
            std::iter::from_fn(|| service.workers[worker].tcp_accept(listeners[worker]).ok()).count()
        });
        // What came to the one that does not listen went to one that does.
        assert_eq!(accepted[0] + accepted[1], 3);
        assert!(accepted[0] >= 1 && accepted[1] >= 1);
        assert_eq!(service.handed, 1);
        // All of them, and the one that is half open.
        assert_eq!(service.steering.flows(), 4);
    }

    fn initial_sequence_numbers_and_timestamps_are_those_that_any_worker_would_choose(family) {
        let mut service = service();
        let answers = [0, 1].map(|worker| {
            let options = ListenOptions::new(family.any(PORT));
            let listener = service.workers[worker].tcp_listen(options).unwrap();
            let offered = Seg { timestamps: Some((1, 0)), ..syn(5_000) };
            let answer = give(&mut service, worker, family, &offered);
            assert_eq!(answer[0].flags, SYN | ACK);
            let seq = offered.seq + 1;
            give(&mut service, worker, family, &Seg { seq, flags: RST, ..offered });
            service.workers[worker].tcp_listener_close(listener);
            (answer[0].seq, answer[0].timestamps)
        });
        assert_eq!(answers[0], answers[1]);
        assert_eq!(service.steering.flows(), 0);
    }

    fn ports_and_identifications_are_each_worker_s_own(family) {
        let mut service = service();
        let now = service.now;
        let ports = |service: &mut Service| {
            let stacks = service.workers.iter_mut();
            let ports = stacks.map(|stack| {
                let udp = stack.udp_bind(UdpOptions::new(family.any(0))).unwrap();
                let tcp = stack.tcp_connect(now, None, family.at(2, PORT)).unwrap();
                stack.udp_send(now, udp, &pattern(2_000), Some(family.at(2, 9))).unwrap();
                (stack.udp_local(udp).unwrap().port(), stack.tcp_local(tcp).unwrap().port())
            });
            ports.collect::<Vec<_>>()
        };
        let ports = ports(&mut service);
        for (n, (udp, tcp)) in ports.iter().enumerate() {
            let near = |a: u16, b: u16| a.abs_diff(b) < 4;
            let others = ports[n + 1..].iter();
            assert!(others.clone().all(|(a, b)| !near(*a, *udp) && !near(*b, *tcp)), "{ports:?}");
        }
        service.run(Duration::from_millis(10));
        let ids: BTreeSet<_> = service
            .sent
            .iter()
            .filter_map(|(_, frame)| match family {
                Family::V4 => (frame[23] == 17).then(|| frame[18..20].to_vec()),
                Family::V6 => (frame[20] == 44).then(|| frame[58..62].to_vec()),
            })
            .collect();
        assert_eq!(ids.len(), 3, "two fragments each: {ids:?}");
    }
}
