//! Connections that move from one shard to another, with all who wait for them.

use std::sync::Arc;
use std::task::Waker;

use dpdk_net_stack::{self as stack, Readiness, TcpId};

use super::{Place, Shard, Socket, SocketKey, State};
use crate::wakers::SocketWakers;

impl Socket<TcpId> {
    /// Moves the connection to another shard of the same port.
    ///
    /// # Errors
    /// Those of [`migrate`].
    pub(crate) fn migrate(&self, to: &Arc<Shard>) -> Result<(), stack::Error> {
        loop {
            // Follows it, if it has been moved.
            self.with(|_, _| ());
            let Place { shard, key } = self.place();
            match migrate(&shard, key, to) {
                // Somebody else has moved it meanwhile.
                Err(stack::Error::UnknownSocket) if key.gone(&shard.lock()).is_some() => {}
                result => return result,
            }
        }
    }
}

/// Moves a connection from one shard to another of the same port, with all who wait for it.
///
/// # Errors
/// `UnknownSocket` if there is no such connection; `InvalidInput` if both do not serve the same port or the connection can't
/// be moved ([`Stack::tcp_export`]); `NotConnected` if it is over; and what [`Stack::tcp_import`] may have against it, after which it
/// is where it was.
pub(crate) fn migrate(from: &Arc<Shard>, key: TcpId, to: &Arc<Shard>) -> Result<(), stack::Error> {
    if Arc::ptr_eq(from, to) {
        return Ok(());
    }
    let mut lost = Vec::new();
    let result = {
        let (mut source, mut target);
        if Arc::as_ptr(from) < Arc::as_ptr(to) {
            source = from.lock();
            target = to.lock();
        } else {
            target = to.lock();
            source = from.lock();
        }
        hand_on((from, &mut source), key, (to, &mut target), &mut lost)
    };
    lost.into_iter().for_each(Waker::wake);
    result
}

/// As [`migrate`], both shards being locked. Who waited for a connection that is lost goes to `lost`.
fn hand_on(
    (from, source): (&Arc<Shard>, &mut State),
    key: TcpId,
    (to, target): (&Arc<Shard>, &mut State),
    lost: &mut Vec<Waker>,
) -> Result<(), stack::Error> {
    let worker = source
        .stack
        .worker_of_peer(&target.stack)
        .filter(|_| !target.ended && !target.closing)
        .ok_or(stack::Error::InvalidInput(
            "a connection moves between running workers of the same port only",
        ))?;
    let now = source.now.max(target.now);
    let parcel = source.stack.tcp_export(now, key, worker)?;
    let wakers = source.tcp.remove(key);
    source.unnoticed.remove(&key);
    let refused = match target.stack.tcp_import(now, parcel) {
        Ok(new) => {
            let place = target.arrived(to, new, wakers);
            source.gone.insert(key, place);
            return Ok(());
        }
        Err(refused) => refused,
    };
    match source.stack.tcp_import(now, refused.parcel) {
        Ok(new) => {
            let place = source.arrived(from, new, wakers);
            source.gone.insert(key, place);
        }
        // It was there a moment ago: this can't be, but if it were, nobody would wait for ever.
        Err(_) => {
            if let Some(mut wakers) = wakers {
                wakers.take(Readiness::all(), lost);
            }
        }
    }
    Err(refused.error)
}

impl State {
    /// A connection has come here, with who waits for it; its socket will follow.
    fn arrived(
        &mut self,
        shard: &Arc<Shard>,
        key: TcpId,
        wakers: Option<SocketWakers>,
    ) -> Place<TcpId> {
        if let Some(wakers) = wakers {
            self.tcp.insert(key, wakers);
        }
        self.unnoticed.insert(key);
        Place {
            shard: shard.clone(),
            key,
        }
    }

    /// Whether a connection has come from another shard and its socket does not know yet.
    pub(crate) fn is_unnoticed(&self, key: TcpId) -> bool {
        self.unnoticed.contains(&key)
    }
}
