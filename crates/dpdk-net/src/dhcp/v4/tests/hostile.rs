//! Messages that no honest server sends.

use proptest::prelude::*;

use super::*;

/// A message with a right head and anything as options.
fn any_options() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let code = prop_oneof![
        Just(1u8),
        Just(3),
        Just(6),
        Just(12),
        Just(15),
        Just(26),
        Just(51),
        Just(53),
        Just(54),
        Just(58),
        Just(59),
        Just(61),
        Just(81),
        Just(119),
        Just(121),
        any::<u8>()
    ];
    let value = proptest::collection::vec(any::<u8>(), 0..40);
    proptest::collection::vec((code, value), 0..12)
}

proptest! {
    /// Whatever a server says: nothing breaks, and an address that is ours by that can be one.
    #[test]
    fn hostile_messages_do_no_harm(
        messages in proptest::collection::vec((any_options(), any::<u32>(), 0usize..400), 1..6)
    ) {
        let mut client = client();
        let mut now = NOW;
        for (options, yiaddr, cut) in messages {
            client.handle_timeout(now);
            let head = {
                let none = Ipv4Addr::UNSPECIFIED;
                let mut head = v4::Message::new_with_id(
                    client.xid, none, yiaddr.into(), none, none, &MAC.octets(),
                );
                head.set_opcode(Opcode::BootReply);
                let mut bytes = Vec::new();
                head.encode(&mut Encoder::new(&mut bytes)).unwrap();
                bytes.truncate(240);
                bytes
            };
            let mut bytes = head;
            // Most often what it takes to be heard.
            if cut % 4 != 0 {
                bytes.extend([53, 1, [2, 5, 6][cut % 3], 54, 4, 198, 18, 0, 1, 51, 4, 0, 0, 1, 0]);
            }
            for (code, value) in options {
                bytes.extend([code, value.len() as u8]);
                bytes.extend(value);
            }
            bytes.push(255);
            if cut < 100 {
                bytes.truncate(bytes.len() - cut.min(bytes.len()));
            }
            client.receive(now, &bytes);
            while let Some(event) = client.poll_event() {
                if let Event::Offered(lease, _) | Event::Renewed(lease, _) = event {
                    prop_assert!(!lease.address.is_loopback() && !lease.address.is_multicast());
                    prop_assert!((1..=32).contains(&lease.prefix_len));
                    prop_assert!(lease.valid >= Duration::from_secs(10) && lease.t1 <= lease.t2);
                    prop_assert!(lease.routes.len() <= 130 && lease.search.len() <= 8);
                    client.confirmed();
                }
            }
            while client.poll_transmit().is_some() {}
            now += Duration::from_secs(200);
        }
    }
}
