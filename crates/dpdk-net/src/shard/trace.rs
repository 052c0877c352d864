//! Traces of single connections.

use std::sync::Arc;

use dpdk_net_stack::{self as stack, TcpId, TraceId};

use super::{Place, Shard, Socket, SocketKey};

impl Socket<TcpId> {
    /// Begins to trace the connection, where it is now.
    ///
    /// # Errors
    /// Those of [`Stack::tcp_trace`](stack::Stack::tcp_trace).
    pub(crate) fn trace(&self, events: usize) -> Result<(Arc<Shard>, TraceId), stack::Error> {
        loop {
            // Follows it, if it has been moved.
            self.with(|_, _| ());
            let Place { shard, key } = self.place();
            let begun = shard.lock().stack.tcp_trace(key, events);
            match begun {
                // Somebody has moved it meanwhile.
                Err(stack::Error::UnknownSocket) if key.gone(&shard.lock()).is_some() => {}
                begun => return begun.map(|trace| (shard, trace)),
            }
        }
    }
}
