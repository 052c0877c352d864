//! The whole stack: arbitrary frames in any order, applications that do anything, time that passes.

use std::net::SocketAddr;
use std::time::Duration;

use arbitrary::Arbitrary;
use dpdk_net_stack::TcpId;
use dpdk_net_testkit::addr::Family;

use crate::frame::Frame;
use crate::pieces::Pieced;
use crate::{check_sent, small_stack};

/// One step of a run.
#[derive(Arbitrary, Clone, Debug)]
pub enum Step {
    /// Frames arrive together.
    Frames(Vec<Frame>),
    /// Frames arrive together as a NIC hands them over: in pieces, with what it says about them.
    Pieces(Vec<Pieced>),
    /// Milliseconds pass.
    Wait(u16),
    /// The application takes what waits in the listener and the UDP socket.
    Accept,
    /// The application reads from one of its connections.
    Recv(u8),
    /// The application writes this many bytes.
    Send(u8, u16),
    /// The application ends its stream.
    Shutdown(u8),
    /// The application lets go of a connection.
    Close(u8),
    /// The application resets a connection.
    Abort(u8),
    /// The application connects to a peer.
    Connect { v6: bool, peer: u8, port: u8 },
    /// The application sends a datagram.
    SendTo { v6: bool, peer: u8, len: u16 },
}

/// Runs the steps. Panics if something does not hold.
pub fn run(steps: &[Step]) {
    let mut lab = small_stack();
    let mut conns: Vec<TcpId> = Vec::new();
    let remote = |v6: bool, peer: u8, port: u8| -> SocketAddr {
        let family = if v6 { Family::V6 } else { Family::V4 };
        family.socket(2 + u16::from(peer % 8), 1_000 + u16::from(port))
    };
    let mut buffer = vec![0; 4_096];
    for step in steps.iter().take(256) {
        let pick = |n: u8| (!conns.is_empty()).then(|| usize::from(n) % conns.len());
        match step {
            Step::Frames(frames) => {
                let frames: Vec<_> = frames.iter().take(64).map(Frame::bytes).collect();
                let sent = lab.feed_batch(&frames);
                check_sent(&sent);
            }
            Step::Pieces(frames) => {
                let frames: Vec<_> = frames.iter().take(64).map(Pieced::received).collect();
                let sent = lab.feed_received(&frames);
                check_sent(&sent);
            }
            Step::Wait(millis) => check_sent(&lab.wait(Duration::from_millis((*millis).into()))),
            Step::Accept => {
                while let Some((id, _)) = lab.accept() {
                    conns.push(id);
                }
                let udp = lab.udp();
                while lab.stack_mut().udp_recv(udp, &mut buffer).is_ok() {}
            }
            Step::Recv(n) => {
                if let Some(i) = pick(*n) {
                    let _ = lab.stack_mut().tcp_recv(conns[i], &mut buffer);
                }
            }
            Step::Send(n, len) => {
                if let Some(i) = pick(*n) {
                    let _ = lab
                        .stack_mut()
                        .tcp_send(conns[i], &vec![0x5a; (*len).into()]);
                }
            }
            Step::Shutdown(n) => {
                if let Some(i) = pick(*n) {
                    let _ = lab.stack_mut().tcp_shutdown_write(conns[i]);
                }
            }
            Step::Close(n) => {
                if let Some(i) = pick(*n) {
                    let (id, now) = (conns.swap_remove(i), lab.now());
                    lab.stack_mut().tcp_close(now, id);
                }
            }
            Step::Abort(n) => {
                if let Some(i) = pick(*n) {
                    let id = conns.swap_remove(i);
                    lab.stack_mut().tcp_abort(id);
                }
            }
            Step::Connect { v6, peer, port } => {
                let now = lab.now();
                conns.extend(
                    lab.stack_mut()
                        .tcp_connect(now, None, remote(*v6, *peer, *port)),
                );
            }
            Step::SendTo { v6, peer, len } => {
                let (now, udp) = (lab.now(), lab.udp());
                let _ = lab.stack_mut().udp_send(
                    now,
                    udp,
                    &vec![1; (*len).into()],
                    Some(remote(*v6, *peer, 1)),
                );
            }
        }
        check_sent(&lab.take());
        while lab.stack_mut().poll_event().is_some() {}
    }
    // Limits on replies are per second: let them pass.
    check_sent(&lab.wait(Duration::from_secs(2)));
    if let Err(what) = lab.check_service() {
        panic!("a stranger is not served any more: {what}");
    }
}
