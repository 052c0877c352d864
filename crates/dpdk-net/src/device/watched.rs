//! A TX queue together with who watches the queue pair.

use dpdk_net_rte::TxBatch;
use dpdk_net_rte::queue::TxPrepareError;

use super::{BURST, Transmit};
use crate::capture::Watch;

/// See the module's documentation.
pub(super) struct Watched {
    queue: Box<dyn Transmit>,
    /// Who captures, if anybody does.
    pub(super) watch: Option<Box<Watch>>,
}

impl Watched {
    pub(super) fn new(queue: Box<dyn Transmit>) -> Self {
        Self { queue, watch: None }
    }

    /// As [`Transmit::burst`]; what is taken is shown.
    #[inline]
    pub(super) fn burst(&mut self, batch: &mut TxBatch<BURST>) -> usize {
        match &mut self.watch {
            None => self.queue.burst(batch),
            Some(watch) => watch.burst(&mut *self.queue, batch),
        }
    }

    /// As [`Transmit::prepare`].
    pub(super) fn prepare(&mut self, batch: &mut TxBatch<BURST>) -> Result<(), TxPrepareError> {
        self.queue.prepare(batch)
    }
}
