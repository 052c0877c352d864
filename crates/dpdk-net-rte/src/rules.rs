//! What safe code can't say, each rule with the program that breaks it. Nothing else lives here.
//!
//! Each program must fail to compile, with the error that names its rule. The compiler's wording is not part of
//! that, as it changes from release to release. (A stable compiler only checks that it fails, a nightly one the
//! error's code as well.) The program in front of it is the same but for the line that breaks the rule, and
//! compiles: so it is that line that fails, not a name that changed.
//!
//! # Packets
//!
//! A packet has one owner:
//! ```no_run
//! # use dpdk_net_rte::Mbuf;
//! fn look(mbuf: &Mbuf) -> &Mbuf { mbuf }
//! ```
//! ```compile_fail,E0308
//! # use dpdk_net_rte::Mbuf;
//! fn look(mbuf: &Mbuf) -> Mbuf { mbuf.clone() }
//! ```
//!
//! Data is borrowed from its mbuf:
//! ```no_run
//! # use dpdk_net_rte::Mbuf;
//! fn freed(mbuf: Mbuf) -> usize {
//!     let data = mbuf.data();
//!     let len = data.len();
//!     drop(mbuf);
//!     len
//! }
//! ```
//! ```compile_fail,E0505
//! # use dpdk_net_rte::Mbuf;
//! fn freed(mbuf: Mbuf) -> usize {
//!     let data = mbuf.data();
//!     drop(mbuf);
//!     data.len()
//! }
//! ```
//!
//! An mbuf in a batch is borrowed from the batch, which gives it to the driver:
//! ```no_run
//! # use dpdk_net_rte::{MbufBatch, TxQueue};
//! fn sent(queue: &mut TxQueue, batch: &mut MbufBatch) -> usize {
//!     let first = &batch.as_slice()[0];
//!     let len = first.data().len();
//!     queue.tx_burst(batch);
//!     len
//! }
//! ```
//! ```compile_fail,E0502
//! # use dpdk_net_rte::{MbufBatch, TxQueue};
//! fn sent(queue: &mut TxQueue, batch: &mut MbufBatch) -> usize {
//!     let first = &batch.as_slice()[0];
//!     queue.tx_burst(batch);
//!     first.data().len()
//! }
//! ```
//!
//! What was put into a batch is not read any more:
//! ```no_run
//! # use dpdk_net_rte::{Mbuf, MbufBatch, TxQueue};
//! fn send(queue: &mut TxQueue, mbuf: Mbuf) -> usize {
//!     let mut batch: MbufBatch = MbufBatch::new();
//!     let len = mbuf.data().len();
//!     batch.push(mbuf).unwrap();
//!     queue.tx_burst(&mut batch);
//!     len
//! }
//! ```
//! ```compile_fail,E0382
//! # use dpdk_net_rte::{Mbuf, MbufBatch, TxQueue};
//! fn send(queue: &mut TxQueue, mbuf: Mbuf) -> usize {
//!     let mut batch: MbufBatch = MbufBatch::new();
//!     batch.push(mbuf).unwrap();
//!     queue.tx_burst(&mut batch);
//!     mbuf.data().len()
//! }
//! ```
//!
//! Nobody reads data while somebody writes it:
//! ```no_run
//! # use dpdk_net_rte::Mbuf;
//! fn alias(mbuf: &mut Mbuf) -> u8 {
//!     let read = mbuf.data()[0];
//!     mbuf.data_mut()[0] = 1;
//!     read
//! }
//! ```
//! ```compile_fail,E0502
//! # use dpdk_net_rte::Mbuf;
//! fn alias(mbuf: &mut Mbuf) -> u8 {
//!     let read = mbuf.data();
//!     mbuf.data_mut()[0] = 1;
//!     read[0]
//! }
//! ```
//!
//! Two pieces of one packet are not written at once:
//! ```no_run
//! # use dpdk_net_rte::Mbuf;
//! fn twice(mbuf: &mut Mbuf) {
//!     let one = mbuf.append(4).unwrap();
//!     one.fill(0);
//!     let two = mbuf.append(4).unwrap();
//!     two.fill(0);
//! }
//! ```
//! ```compile_fail,E0499
//! # use dpdk_net_rte::Mbuf;
//! fn twice(mbuf: &mut Mbuf) {
//!     let one = mbuf.append(4).unwrap();
//!     let two = mbuf.append(4).unwrap();
//!     one.copy_from_slice(two);
//! }
//! ```
//!
//! # Ports and queues
//!
//! Configure, start, take queues, stop: in that order.
//! ```no_run
//! # use dpdk_net_rte::{Error, Mempool, Port, PortConfig, port::{Unconfigured, Configured, Started}};
//! fn configure(port: Port<Unconfigured>, pool: Mempool) {
//!     port.configure(&PortConfig::queues(2), &[pool]);
//! }
//! fn start(port: Port<Configured>) {
//!     port.start();
//! }
//! fn take(port: Port<Started>) {
//!     port.take_queues();
//! }
//! fn stop(port: Port<Started>) {
//!     port.take_queues();
//!     let stopped = port.stop().unwrap();
//!     drop(stopped);
//! }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::{Mempool, Port, PortConfig, port::Started};
//! fn configure(port: Port<Started>, pool: Mempool) {
//!     port.configure(&PortConfig::queues(2), &[pool]);
//! }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::{Port, port::Unconfigured};
//! fn start(port: Port<Unconfigured>) {
//!     port.start();
//! }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::{Port, port::Configured};
//! fn take(port: Port<Configured>) {
//!     port.take_queues();
//! }
//! ```
//! ```compile_fail,E0382
//! # use dpdk_net_rte::{Port, port::Started};
//! fn stop(port: Port<Started>) {
//!     let stopped = port.stop().unwrap();
//!     port.take_queues();
//!     drop(stopped);
//! }
//! ```
//!
//! A queue has one owner, and comes from its port, never from a pair of numbers:
//! ```no_run
//! # use dpdk_net_rte::{Error, Port, RxQueue, TxQueue, port::Started};
//! fn rx(port: &Port<Started>) -> Result<RxQueue, Error> { port.take_rx(0) }
//! fn tx(port: &Port<Started>) -> Result<TxQueue, Error> { port.take_tx(0) }
//! fn look(queue: &TxQueue) -> &TxQueue { queue }
//! ```
//! ```compile_fail,E0308
//! # use dpdk_net_rte::TxQueue;
//! fn look(queue: &TxQueue) -> TxQueue { queue.clone() }
//! ```
//! ```compile_fail,E0624
//! # use dpdk_net_rte::RxQueue;
//! fn rx() -> RxQueue { unsafe { RxQueue::new(0, 0) } }
//! ```
//! ```compile_fail,E0624
//! # use dpdk_net_rte::TxQueue;
//! fn tx() -> TxQueue { unsafe { TxQueue::new(0, 0) } }
//! ```
//!
//! A queue may move to another thread, but two threads can't have it:
//! ```no_run
//! # use dpdk_net_rte::RxQueue;
//! fn poll(queue: RxQueue) {
//!     std::thread::spawn(move || queue.id());
//! }
//! ```
//! ```compile_fail,E0277
//! # use dpdk_net_rte::RxQueue;
//! fn poll(queue: &RxQueue) {
//!     std::thread::scope(|scope| {
//!         scope.spawn(|| queue.id());
//!     });
//! }
//! ```
//! ```compile_fail,E0499
//! # use dpdk_net_rte::{MbufBatch, RxQueue};
//! fn twice(queue: &mut RxQueue) {
//!     std::thread::scope(|scope| {
//!         scope.spawn(|| queue.rx_burst(&mut MbufBatch::<32>::new()));
//!         queue.rx_burst(&mut MbufBatch::<32>::new());
//!     });
//! }
//! ```
//!
//! # Lcores and threads
//!
//! A launched closure owns what it uses, and so does what it returns: the function may outlive the caller.
//! ```no_run
//! # use dpdk_net_rte::{Error, Lcore, lcore::LaunchHandle};
//! fn count(lcore: &Lcore) -> Result<usize, Error> {
//!     let words = vec!["burst", "mbuf"];
//!     lcore.launch(move || words.len())?.join()
//! }
//! fn first(lcore: &Lcore, words: Vec<String>) -> Result<LaunchHandle<String>, Error> {
//!     lcore.launch(move || words[0].clone())
//! }
//! ```
//! ```compile_fail,E0373
//! # use dpdk_net_rte::{Error, Lcore};
//! fn count(lcore: &Lcore) -> Result<usize, Error> {
//!     let words = vec!["burst", "mbuf"];
//!     lcore.launch(|| words.len())?.join()
//! }
//! ```
//! ```compile_fail
//! # use dpdk_net_rte::{Error, Lcore, lcore::LaunchHandle};
//! fn first<'a>(lcore: &Lcore, words: &'a [String]) -> Result<LaunchHandle<&'a String>, Error> {
//!     lcore.launch(move || &words[0])
//! }
//! ```
//!
//! A closure that is not `Send` stays on its thread, launched or scoped:
//! ```no_run
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! # use std::sync::Arc;
//! fn launched(lcore: &Lcore, count: Arc<u32>) -> Result<(), Error> {
//!     lcore.launch(move || drop(count))?.join()
//! }
//! fn scoped(eal: &Eal, lcore: &Lcore, count: &Arc<u32>) -> Result<(), Error> {
//!     eal.scope(|scope| scope.launch(lcore, || drop(count.clone())).map(drop))?
//! }
//! ```
//! ```compile_fail,E0277
//! # use dpdk_net_rte::{Error, Lcore};
//! # use std::rc::Rc;
//! fn launched(lcore: &Lcore, count: Rc<u32>) -> Result<(), Error> {
//!     lcore.launch(move || drop(count))?.join()
//! }
//! ```
//! ```compile_fail,E0277
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! # use std::rc::Rc;
//! fn scoped(eal: &Eal, lcore: &Lcore, count: &Rc<u32>) -> Result<(), Error> {
//!     eal.scope(|scope| scope.launch(lcore, || drop(count.clone())).map(drop))?
//! }
//! ```
//!
//! A scoped closure may borrow from outside of the scope, not from inside: that is gone when the scope waits.
//! ```no_run
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! fn count(eal: &Eal, lcore: &Lcore) -> Result<(), Error> {
//!     let words = vec!["burst", "mbuf"];
//!     eal.scope(|scope| scope.launch(lcore, || words.len()).map(drop))?
//! }
//! ```
//! ```compile_fail,E0373
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! fn count(eal: &Eal, lcore: &Lcore) -> Result<(), Error> {
//!     eal.scope(|scope| {
//!         let words = vec!["burst", "mbuf"];
//!         scope.launch(lcore, || words.len()).map(drop)
//!     })?
//! }
//! ```
//!
//! Two scoped functions can't both change one variable:
//! ```no_run
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! fn race(eal: &Eal, first: &Lcore, second: &Lcore) -> Result<(), Error> {
//!     let (mut one, mut two) = (0, 0);
//!     eal.scope(|scope| {
//!         let _first = scope.launch(first, || one += 1);
//!         let _second = scope.launch(second, || two += 1);
//!     })
//! }
//! ```
//! ```compile_fail,E0499
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! fn race(eal: &Eal, first: &Lcore, second: &Lcore) -> Result<(), Error> {
//!     let mut one = 0;
//!     eal.scope(|scope| {
//!         let _first = scope.launch(first, || one += 1);
//!         let _second = scope.launch(second, || one += 1);
//!     })
//! }
//! ```
//!
//! The handle of a scoped function can't leave its scope, as the result it holds may borrow:
//! ```no_run
//! # use dpdk_net_rte::{Eal, Error, Lcore};
//! fn escape(eal: &Eal, lcore: &Lcore) -> Result<(), Error> {
//!     let mut kept: Option<usize> = None;
//!     eal.scope(|scope| {
//!         kept = scope.launch(lcore, || 1).and_then(|handle| handle.join()).ok();
//!     })
//! }
//! ```
//! ```compile_fail,E0521
//! # use dpdk_net_rte::{Eal, Error, Lcore, lcore::ScopedLaunch};
//! fn escape(eal: &Eal, lcore: &Lcore) -> Result<(), Error> {
//!     let mut kept: Option<ScopedLaunch<'_, usize>> = None;
//!     eal.scope(|scope| {
//!         kept = scope.launch(lcore, || 1).ok();
//!     })
//! }
//! ```
//!
//! A thread's registration ends on that thread:
//! ```no_run
//! # use dpdk_net_rte::{Error, Eal, ThreadRegistration};
//! fn elsewhere(eal: Eal) {
//!     std::thread::spawn(move || drop(eal.register_thread()));
//! }
//! ```
//! ```compile_fail,E0277
//! # use dpdk_net_rte::ThreadRegistration;
//! fn elsewhere(registration: ThreadRegistration) {
//!     std::thread::spawn(move || drop(registration));
//! }
//! ```
//!
//! # Payload to send
//!
//! What was written into a buffer stays as it is, as it may be in flight:
//! ```no_run
//! # use dpdk_net_rte::TxBuf;
//! fn write(buf: &mut TxBuf) -> usize { buf.append(b"more") }
//! ```
//! ```compile_fail,E0594
//! # use dpdk_net_rte::TxBuf;
//! fn write(buf: &mut TxBuf) { buf.as_slice()[0] = b'x'; }
//! ```
//!
//! A packet that may refer to data elsewhere is no packet to change:
//! ```no_run
//! # use dpdk_net_rte::{Mbuf, TxMbuf};
//! fn change(packet: TxMbuf) -> Result<Mbuf, TxMbuf> { packet.try_into_mbuf() }
//! ```
//! ```compile_fail,E0308
//! # use dpdk_net_rte::{Mbuf, TxMbuf};
//! fn change(packet: TxMbuf) -> Mbuf { packet }
//! ```
//!
//! # The EAL
//!
//! Nothing of DPDK can be had without an EAL that was started:
//! ```no_run
//! # use dpdk_net_rte::{Eal, Lcore, Error, ThreadRegistration};
//! fn eal() -> Result<Eal, Error> { Eal::builder("program").init() }
//! fn lcore(eal: &Eal) -> Lcore { Lcore::main(eal) }
//! fn registration(eal: &Eal) -> Result<ThreadRegistration, Error> { eal.register_thread() }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::Eal;
//! fn eal() -> Eal { Eal::default() }
//! ```
//! ```compile_fail,E0061
//! # use dpdk_net_rte::Lcore;
//! fn lcore() -> Lcore { Lcore::main() }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::ThreadRegistration;
//! fn registration() -> ThreadRegistration { ThreadRegistration::default() }
//! ```
//!
//! # Flow rules
//!
//! Headers are matched in the order in which they are in a packet:
//! ```no_run
//! # use dpdk_net_rte::flow::{Icmpv4Item, Ipv4Item, Ipv6Item, Rule, TcpItem, VlanItem};
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::ingress().vlan(VlanItem::default()).ipv4(Ipv4Item::default()).tcp(TcpItem::default()).to_queue(1)?;
//! # Ok(()) }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::flow::{Icmpv4Item, Ipv4Item, Ipv6Item, Rule, TcpItem, VlanItem};
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::ingress().vlan(VlanItem::default()).tcp(TcpItem::default()).to_queue(1)?;
//! # Ok(()) }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::flow::{Icmpv4Item, Ipv4Item, Ipv6Item, Rule, TcpItem, VlanItem};
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::ingress().ipv4(Ipv4Item::default()).vlan(VlanItem::default()).to_queue(1)?;
//! # Ok(()) }
//! ```
//!
//! ICMP is IPv4's:
//! ```no_run
//! # use dpdk_net_rte::flow::{Icmpv4Item, Ipv4Item, Ipv6Item, Rule};
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::ingress().ipv4(Ipv4Item::default()).icmp(Icmpv4Item::default()).to_queue(1)?;
//! # Ok(()) }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::flow::{Icmpv4Item, Ipv4Item, Ipv6Item, Rule};
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::ingress().ipv6(Ipv6Item::default()).icmp(Icmpv4Item::default()).to_queue(1)?;
//! # Ok(()) }
//! ```
//!
//! What is sent has no receive queue:
//! ```no_run
//! # use dpdk_net_rte::flow::Rule;
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::egress().drop_packets()?;
//! # Ok(()) }
//! ```
//! ```compile_fail,E0599
//! # use dpdk_net_rte::flow::Rule;
//! # fn f() -> Result<(), dpdk_net_rte::Error> {
//! Rule::egress().to_queue(1)?;
//! # Ok(()) }
//! ```
//!
//! A rule has one handle:
//! ```no_run
//! # use dpdk_net_rte::flow::Flow;
//! fn look(flow: &Flow) -> &Flow { flow }
//! ```
//! ```compile_fail,E0308
//! # use dpdk_net_rte::flow::Flow;
//! fn look(flow: &Flow) -> Flow { flow.clone() }
//! ```
//!
//! A ring has one receiver, which takes turns:
//! ```no_run
//! # use dpdk_net_rte::{MbufReceiver, RxBatch};
//! fn take(receiver: &mut MbufReceiver, batch: &mut RxBatch) -> usize { receiver.dequeue(batch) }
//! ```
//! ```compile_fail,E0596
//! # use dpdk_net_rte::{MbufReceiver, RxBatch};
//! fn take(receiver: &MbufReceiver, batch: &mut RxBatch) -> usize { receiver.dequeue(batch) }
//! ```
