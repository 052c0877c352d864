//! TCP and UDP sockets with tokio's names and semantics.
//!
//! A socket belongs to the worker whose thread made it (or whose [`Handle`](crate::Handle) was entered):
//! it holds that worker's shard and an id in its stack. All are `Send` and `Sync`; on another thread they
//! work at the price of contending for the shard's lock.
//!
//! Errors are `std::io::Error`s with the kinds, and where one exists the errno, that the kernel gives.
//! Operations that the worker can no longer serve, because it has ended, fail with `NotConnected`.
//!
//! # Cancel safety
//! Every async method here that is not documented otherwise is cancel safe: dropped before it is ready, it
//! has moved no byte and taken no connection or datagram.

mod addr;
mod listener_group;
mod lookup;
mod tcp_listener;
mod tcp_options;
mod tcp_socket;
mod tcp_stream;
mod udp_multicast;
mod udp_socket;

pub mod tcp;

#[cfg(feature = "futures-io")]
mod futures_io;

pub use listener_group::ListenerGroup;
#[cfg(feature = "stream")]
pub use tcp_listener::Incoming;
pub use tcp_listener::TcpListener;
pub use tcp_options::TcpKeepalive;
pub use tcp_socket::TcpSocket;
pub use tcp_stream::TcpStream;
pub use udp_socket::{EcnCodepoint, RecvMeta, Transmit, UdpSocket};

pub use dpdk_net_stack::{CaState, CongestionAlgorithm, MtuDiscovery, TcpInfo};

pub use lookup::{ToSocketAddrs, lookup_host};

#[cfg(feature = "connector")]
pub(crate) use addr::no_addresses;

/// Compile-time proof that sockets go wherever tokio's go.
const _: () = {
    const fn send_and_sync<T: Send + Sync + Unpin + 'static>() {}
    send_and_sync::<ListenerGroup>();
    send_and_sync::<TcpListener>();
    send_and_sync::<TcpSocket>();
    send_and_sync::<TcpStream>();
    send_and_sync::<UdpSocket>();
    send_and_sync::<tcp::OwnedReadHalf>();
    send_and_sync::<tcp::OwnedWriteHalf>();
};

/// Its examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/udp.md")]
mod udp_md {}

/// Its examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/queues.md")]
mod queues_md {}
