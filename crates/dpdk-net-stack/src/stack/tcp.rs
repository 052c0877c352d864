//! What sockets call of a stack's TCP, and what its owner asks and tells all connections.

use alloc::vec::Vec;
use core::net::SocketAddr;

use bytes::Bytes;

use super::Stack;
use crate::error::Error;
use crate::event::{ListenerId, Readiness, TcpId};
use crate::listing::{ListPage, ListPlace};
use crate::tcp::info::{TcpConnection, TcpInfo};
use crate::tcp::listener::{HalfId, ListenerInfo};
use crate::tcp::minisock::TcpMinisocket;
use crate::tcp::sockopt::{TcpOption, TcpOptions};
use crate::tcp::time_wait::TimeWaitId;
use crate::tcp::{Keepalive, ListenOptions, TcpState};
use crate::time::{Duration, Instant};

/// TCP. Ids are those that [`tcp_listen`](Stack::tcp_listen), [`tcp_accept`](Stack::tcp_accept) and
/// [`tcp_connect`](Stack::tcp_connect) gave; any other is `UnknownSocket`.
impl Stack {
    /// Listens.
    ///
    /// Errors: `AddrInUse`, `AddrNotAvailable` if the address is not the stack's (or still being probed),
    /// `InvalidInput`.
    pub fn tcp_listen(&mut self, options: ListenOptions) -> Result<ListenerId, Error> {
        self.tcp.listen(&self.link, &options)
    }

    /// The address and port that a listener has.
    pub fn tcp_listener_local(&self, id: ListenerId) -> Option<SocketAddr> {
        self.tcp.listener_local(id)
    }

    /// Sets the time to live or hop limit of connections accepted from now on.
    pub fn tcp_listener_set_ttl(&mut self, id: ListenerId, ttl: u8) -> Result<(), Error> {
        self.tcp_listener_set_option(id, TcpOption::Ttl(ttl))
    }

    /// Changes an option of connections whose handshake is answered from now on.
    ///
    /// Errors: `UnknownSocket`, `InvalidInput`.
    pub fn tcp_listener_set_option(
        &mut self,
        id: ListenerId,
        option: TcpOption,
    ) -> Result<(), Error> {
        self.tcp.set_listener_option(id, option)
    }

    /// The time to live or hop limit of accepted connections.
    pub fn tcp_listener_ttl(&self, id: ListenerId) -> Result<u8, Error> {
        self.tcp.listener_ttl(id)
    }

    /// Takes the connection that has waited longest, and its peer's address. It may have been ended by the peer
    /// already, as with Linux.
    ///
    /// Errors: `WouldBlock`.
    pub fn tcp_accept(&mut self, id: ListenerId) -> Result<(TcpId, SocketAddr), Error> {
        self.tcp.accept(self.now, id)
    }

    /// Stops listening. Connections that were not accepted are reset.
    pub fn tcp_listener_close(&mut self, id: ListenerId) {
        self.tcp.listener_close(self.now, &mut self.link, id);
    }

    /// Starts to connect; an event with `CONNECTED` tells the end, [`tcp_take_error`](Self::tcp_take_error) whether it
    /// failed. Without a local address one is chosen, and a port if that is 0.
    ///
    /// Errors: `NetworkUnreachable`, `AddrNotAvailable` (also when no port is left), `AddrInUse`, `NoBufferSpace`,
    /// `InvalidInput`.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) -> Result<TcpId, Error> {
        self.tcp_connect_with(now, local, remote, &TcpOptions::default())
    }

    /// As [`tcp_connect`](Self::tcp_connect), with options that hold from the SYN on.
    ///
    /// Errors: as [`tcp_connect`](Self::tcp_connect), `InvalidInput` for an option with a value that it can't have too.
    pub fn tcp_connect_with(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        options: &TcpOptions,
    ) -> Result<TcpId, Error> {
        self.advance(now);
        self.tcp
            .connect(now, &mut self.link, local, remote, options)
    }

    /// Bytes received in order and not yet read.
    pub fn tcp_recv_queue(&self, id: TcpId) -> usize {
        self.tcp.recv_queue(id)
    }

    /// Reads; 0 is the end of the stream. Data that was received before an error is read before the error is told.
    ///
    /// Errors: `WouldBlock`, or once what ended the connection.
    pub fn tcp_recv(&mut self, id: TcpId, buf: &mut [u8]) -> Result<usize, Error> {
        self.tcp.recv(self.now, id, buf)
    }

    /// As [`tcp_recv`](Self::tcp_recv), into the buffer that `buf` gives when it is told how many bytes there are. Where
    /// there are none it is not asked.
    ///
    /// Errors: as [`tcp_recv`](Self::tcp_recv).
    #[inline]
    pub fn tcp_recv_into<'b>(
        &mut self,
        id: TcpId,
        buf: impl FnOnce(usize) -> &'b mut [u8],
    ) -> Result<usize, Error> {
        self.tcp.recv_into(self.now, id, buf)
    }

    /// As [`tcp_recv`](Self::tcp_recv), into several buffers.
    pub fn tcp_recv_vectored(&mut self, id: TcpId, bufs: &mut [&mut [u8]]) -> Result<usize, Error> {
        self.tcp.recv_vectored(self.now, id, bufs)
    }

    /// As [`tcp_recv`](Self::tcp_recv), but hands over at most `max` bytes as they lie, without copying them where they
    /// lie in one piece. An empty buffer is the end of the stream.
    pub fn tcp_recv_bytes(&mut self, id: TcpId, max: usize) -> Result<Bytes, Error> {
        self.tcp.recv_bytes(self.now, id, max)
    }

    /// As [`tcp_send`](Self::tcp_send), but takes the buffer as it is, without copying it (small ones are copied
    /// all the same). What there is no room for stays in `data`.
    pub fn tcp_send_bytes(&mut self, id: TcpId, data: &mut Bytes) -> Result<usize, Error> {
        self.tcp.send_bytes(self.now, id, data)
    }

    /// Takes all of the buffer as it is if there is room for any of it: its memory is taken already. So what is queued may
    /// exceed the send buffer by one such call.
    ///
    /// Errors: as [`tcp_send`](Self::tcp_send), and `InvalidInput` for more than 512 MiB at once.
    pub fn tcp_send_all_bytes(&mut self, id: TcpId, data: &Bytes) -> Result<(), Error> {
        self.tcp.send_all_bytes(self.now, id, data)
    }

    /// As [`tcp_recv`](Self::tcp_recv), but what is read stays.
    pub fn tcp_peek(&mut self, id: TcpId, buf: &mut [u8]) -> Result<usize, Error> {
        self.tcp.peek(id, buf)
    }

    /// Writes as much as there is room for.
    ///
    /// Errors: `WouldBlock`, `BrokenPipe`, or once what ended the connection.
    #[inline]
    pub fn tcp_send(&mut self, id: TcpId, data: &[u8]) -> Result<usize, Error> {
        self.tcp.send(self.now, id, data)
    }

    /// As [`tcp_send`](Self::tcp_send), from several buffers.
    pub fn tcp_send_vectored(&mut self, id: TcpId, data: &[&[u8]]) -> Result<usize, Error> {
        self.tcp.send_vectored(self.now, id, data)
    }

    /// Shuts the sending side: a FIN follows what was written.
    pub fn tcp_shutdown_write(&mut self, id: TcpId) -> Result<(), Error> {
        self.tcp.shutdown_write(self.now, id)
    }

    /// Shuts the receiving side: reads end where there is no data.
    pub fn tcp_shutdown_read(&mut self, id: TcpId) -> Result<(), Error> {
        self.tcp.shutdown_read(id)
    }

    /// The application lets go: the id is dead, and what was written is still delivered, by a connection that finishes by
    /// itself. It is reset at once if there is unread data, or with a linger of zero.
    pub fn tcp_close(&mut self, now: Instant, id: TcpId) {
        self.advance(now);
        self.tcp.close(now, &mut self.link, id);
    }

    /// Ends a connection with a RST; the id is dead.
    pub fn tcp_abort(&mut self, id: TcpId) {
        self.tcp.abort_by_application(self.now, &mut self.link, id);
    }

    /// The local address and port.
    pub fn tcp_local(&self, id: TcpId) -> Option<SocketAddr> {
        self.tcp.local(id)
    }

    /// The peer's address and port.
    pub fn tcp_peer(&self, id: TcpId) -> Option<SocketAddr> {
        self.tcp.peer(id)
    }

    /// The state; `Closed` for an unknown id.
    pub fn tcp_state(&self, id: TcpId) -> TcpState {
        self.tcp.state(id)
    }

    /// What would not block now; everything for an unknown id.
    pub fn tcp_readiness(&self, id: TcpId) -> Readiness {
        self.tcp.readiness(id)
    }

    /// The error that ended the connection, once.
    pub fn tcp_take_error(&mut self, id: TcpId) -> Option<Error> {
        self.tcp.take_error(id)
    }

    /// Whether [`tcp_take_error`](Self::tcp_take_error) would have one to tell (`POLLERR`).
    pub fn tcp_has_error(&self, id: TcpId) -> bool {
        self.tcp.has_error(id)
    }

    /// Changes an option of a connection.
    ///
    /// Errors: `InvalidInput` for a value that it can't have.
    pub fn tcp_set_option(&mut self, id: TcpId, option: TcpOption) -> Result<(), Error> {
        self.tcp.set_option(self.now, &self.link, id, option)
    }

    /// The options of a connection as they stand: buffer sizes and the largest segment are those in force, the congestion
    /// control is the one that it has.
    pub fn tcp_options(&self, id: TcpId) -> Result<TcpOptions, Error> {
        self.tcp.options(id)
    }

    /// What a connection to be made with these options would have: as [`tcp_options`](Self::tcp_options), where none is
    /// chosen the configuration's.
    pub fn tcp_defaults(&self, options: &TcpOptions, v6: bool) -> TcpOptions {
        self.tcp.defaults(options, v6)
    }

    /// The times of keep-alive of connections that only switch it on.
    pub fn tcp_default_keepalive(&self) -> Keepalive {
        self.keepalive
    }

    /// What a connection tells of itself: the kernel's `TCP_INFO`.
    pub fn tcp_info(&self, id: TcpId) -> Result<TcpInfo, Error> {
        self.tcp.info(self.now, id)
    }

    /// Switches Nagle's algorithm off (`true`) or on.
    pub fn tcp_set_nodelay(&mut self, id: TcpId, nodelay: bool) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::NoDelay(nodelay))
    }

    /// Whether Nagle's algorithm is off.
    pub fn tcp_nodelay(&self, id: TcpId) -> Result<bool, Error> {
        Ok(self.tcp_options(id)?.nodelay.unwrap_or_default())
    }

    /// Sets the time to live or hop limit.
    pub fn tcp_set_ttl(&mut self, id: TcpId, ttl: u8) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Ttl(ttl))
    }

    /// The time to live or hop limit.
    pub fn tcp_ttl(&self, id: TcpId) -> Result<u8, Error> {
        Ok(self.tcp_options(id)?.hop_limit())
    }

    /// Sets `SO_LINGER`: with zero, closing resets. A longer time is kept, but closing never blocks here, so the connection
    /// finishes by itself as without.
    pub fn tcp_set_linger(&mut self, id: TcpId, linger: Option<Duration>) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Linger(linger))
    }

    /// What [`tcp_set_linger`](Self::tcp_set_linger) set.
    pub fn tcp_linger(&self, id: TcpId) -> Result<Option<Duration>, Error> {
        Ok(self.tcp_options(id)?.linger)
    }

    /// Switches keep-alive on, with the configuration's times, or off.
    pub fn tcp_set_keepalive(&mut self, id: TcpId, on: bool) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Keepalive(on.then_some(self.keepalive)))
    }

    /// Switches keep-alive on with these times.
    pub fn tcp_set_keepalive_times(&mut self, id: TcpId, times: Keepalive) -> Result<(), Error> {
        self.tcp_set_option(id, TcpOption::Keepalive(Some(times)))
    }

    /// The times of keep-alive, if it is on.
    pub fn tcp_keepalive(&self, id: TcpId) -> Result<Option<Keepalive>, Error> {
        Ok(self.tcp_options(id)?.keepalive)
    }

    /// Whether all that was written has been acknowledged, the FIN too if there is one.
    pub fn is_send_drained(&self, id: TcpId) -> bool {
        self.tcp.is_send_drained(id)
    }

    /// Connections, those included that the application let go of and that finish by themselves.
    pub fn tcp_count(&self) -> usize {
        self.tcp.flows.len()
    }

    /// Connections that the application let go of and that finish by themselves, TIME-WAIT not counted.
    pub fn tcp_orphans(&self) -> usize {
        self.tcp.orphan_count()
    }

    /// Connections in TIME-WAIT that the application let go of.
    pub fn tcp_time_waits(&self) -> usize {
        self.tcp.time_wait_count()
    }

    /// Connections whose SYN has come and whose handshake is not complete.
    pub fn tcp_half_open(&self) -> usize {
        self.tcp.half_open_count()
    }

    /// Connections in the accept queues of all listeners.
    pub fn tcp_unaccepted(&self) -> usize {
        self.tcp.unaccepted_count()
    }

    /// All connections. Takes as long as there are many: for people, not for the packet path.
    pub fn tcp_connections(&self) -> Vec<TcpConnection> {
        self.tcp.connections()
    }

    /// As [`tcp_connections`](Self::tcp_connections), with their ids.
    pub fn tcp_connections_by_id(&self) -> Vec<(TcpId, TcpConnection)> {
        self.tcp.connections_by_id()
    }

    /// Connections in detail, orphans too, a page at a time: at most `most` of them, from [`ListPlace::START`] on or from where the
    /// page before says that the list goes on. Each that is there all the time is told once; those that begin meanwhile may be missed.
    ///
    /// A page looks at 4,096 places at most, so it takes a bounded time however many connections there are, and the last page takes no
    /// longer than the first one.
    pub fn tcp_infos(&self, from: ListPlace, most: usize) -> ListPage<(TcpId, TcpInfo)> {
        self.tcp.infos(self.now, from, most)
    }

    /// Handshakes that listeners have not completed yet, a page at a time as [`tcp_infos`](Self::tcp_infos) has connections.
    pub fn tcp_half_open_infos(
        &self,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(HalfId, TcpMinisocket)> {
        self.tcp.halves(self.now, from, most)
    }

    /// Connections in TIME-WAIT that the application has let go of, a page at a time as [`tcp_infos`](Self::tcp_infos) has connections.
    /// Those it still holds are in that list.
    pub fn tcp_time_wait_infos(
        &self,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(TimeWaitId, TcpMinisocket)> {
        self.tcp.time_waits(self.now, from, most)
    }

    /// All listeners. Takes as long as there are many; [`listener_infos`](Self::listener_infos) has them in pages.
    pub fn listeners(&self) -> Vec<ListenerInfo> {
        self.tcp.listener_infos()
    }

    /// Listeners, a page at a time as [`tcp_infos`](Self::tcp_infos) has connections.
    pub fn listener_infos(&self, from: ListPlace, most: usize) -> ListPage<ListenerInfo> {
        self.tcp.listener_page(from, most)
    }

    /// Resets every connection, accepted or not. For a shutdown whose deadline has passed.
    pub fn reset_all(&mut self, now: Instant) {
        self.advance(now);
        self.tcp.reset_all(now, &mut self.link);
    }

    /// Answers SYNs as if nobody listened (`true`), or takes them again.
    pub fn refuse_new(&mut self, refuse: bool) {
        self.tcp.refuse_new(refuse);
    }
}
