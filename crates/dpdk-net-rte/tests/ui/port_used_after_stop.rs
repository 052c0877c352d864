//! Stopping takes the started port: nobody takes queues from it afterwards.
use dpdk_net_rte::Port;
use dpdk_net_rte::port::Started;

fn stop(port: Port<Started>) {
    let stopped = port.stop().unwrap();
    port.take_queues();
    drop(stopped);
}

fn main() {}
