//! What TCP tells of what it has at present.

use super::{Tcp, TcpState};
use crate::gauges::{TcpGauges, TcpStates};

impl Tcp {
    fn in_state(&self, state: TcpState) -> u64 {
        self.flows.in_state(state) as u64
    }

    pub(crate) fn states(&self) -> TcpStates {
        TcpStates {
            closed: self.in_state(TcpState::Closed),
            syn_sent: self.in_state(TcpState::SynSent),
            syn_received: self.in_state(TcpState::SynReceived) + self.half_open_count() as u64,
            established: self.in_state(TcpState::Established),
            fin_wait_1: self.in_state(TcpState::FinWait1),
            fin_wait_2: self.in_state(TcpState::FinWait2),
            close_wait: self.in_state(TcpState::CloseWait),
            closing: self.in_state(TcpState::Closing),
            last_ack: self.in_state(TcpState::LastAck),
            time_wait: self.in_state(TcpState::TimeWait) + self.time_wait_count() as u64,
        }
    }

    pub(crate) fn gauges(&self) -> TcpGauges {
        TcpGauges {
            current_established: self.in_state(TcpState::Established)
                + self.in_state(TcpState::CloseWait),
            orphans: self.orphan_count() as u64,
            half_open: self.half_open_count() as u64,
            unaccepted: self.unaccepted_count() as u64,
            listeners: self.listeners.map.len() as u64,
            buffered: self.pool.lent() as u64,
            buffer_growth: self.pool.grown() as u64,
            timers: self.wheel.armed() as u64,
        }
    }
}
