//! Nobody reads data while somebody writes it.
use dpdk_net_rte::Mbuf;

fn alias(mbuf: &mut Mbuf) -> u8 {
    let read = mbuf.data();
    mbuf.data_mut()[0] = 1;
    read[0]
}

fn twice(mbuf: &mut Mbuf) {
    let one = mbuf.append(4).unwrap();
    let two = mbuf.append(4).unwrap();
    one.copy_from_slice(two);
}

fn main() {}
