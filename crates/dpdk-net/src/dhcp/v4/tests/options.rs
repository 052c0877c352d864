//! Options in parts and in other fields: RFC 3396, RFC 2131 section 4.1.

use super::*;

/// An offer with these bytes in the fields `sname` and `file`, and these options in the last place.
fn offer(discover: &v4::Message, sname: &[u8], file: &[u8], options: &[u8]) -> Vec<u8> {
    let mut bytes = bytes(&answer(discover, MessageType::Offer, SERVER));
    bytes[44..44 + sname.len()].copy_from_slice(sname);
    bytes[108..108 + file.len()].copy_from_slice(file);
    let end = bytes.iter().rposition(|byte| *byte == 255).unwrap();
    bytes.truncate(end);
    bytes.extend_from_slice(options);
    bytes.push(255);
    bytes
}

/// What is offered by that, if it is taken.
fn taken(sname: &[u8], file: &[u8], options: &[u8]) -> Option<Lease> {
    let mut client = client();
    let (_, discover) = said(&mut client, NOW, MessageType::Discover);
    client.receive(NOW, &offer(&discover, sname, file, options));
    match client.state {
        State::Requesting { offer, .. } => Some(offer),
        _ => None,
    }
}

#[test]
fn an_option_in_parts_is_one() {
    // Two servers in three parts, of which none is a multiple of four, with another option between.
    let lease = taken(
        &[],
        &[],
        &[
            6, 3, 198, 18, 0, 26, 2, 5, 0, 6, 1, 53, 6, 4, 198, 18, 0, 54,
        ],
    )
    .unwrap();
    let servers = [53, 54].map(|host| Ipv4Addr::new(198, 18, 0, host));
    assert_eq!(
        (lease.resolvers, lease.mtu),
        (servers.to_vec(), Some(1_280))
    );
}

#[test]
fn an_option_of_more_than_255_bytes_is_taken_whole() {
    let mut value = Vec::new();
    for net in 0..60 {
        value.extend([24, 10, 0, net, 198, 18, 0, 1]);
    }
    let mut options = Vec::new();
    for part in value.chunks(250) {
        options.extend([121, part.len() as u8]);
        options.extend(part);
    }
    let routes = taken(&[], &[], &options).unwrap().routes;
    assert_eq!(routes.len(), 60);
    assert_eq!(routes[59].dest, Ipv4Addr::new(10, 0, 59, 0));
}

#[test]
fn options_overflow_into_the_names_of_file_and_server() {
    let file = [6, 4, 198, 18, 0, 53, 255];
    let sname = [6, 4, 198, 18, 0, 54, 255];
    let resolvers = |overload| taken(&sname, &file, &[52, 1, overload]).unwrap().resolvers;
    let [first, second] = [53, 54].map(|host| Ipv4Addr::new(198, 18, 0, host));
    assert_eq!(resolvers(1), [first]);
    assert_eq!(resolvers(2), [second]);
    assert_eq!(resolvers(3), [first, second]);
    assert!(resolvers(0).is_empty());
    assert!(taken(&sname, &file, &[]).unwrap().resolvers.is_empty());
    // It has to end where the field does.
    assert_eq!(taken(&[6, 200, 1], &[], &[52, 1, 2]), None);
}
