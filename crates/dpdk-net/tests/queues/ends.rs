//! A worker that ends while the others go on.

use std::io::ErrorKind;
use std::time::Duration;

use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::rte::port::Reta;
use dpdk_net::rte::ring;
use dpdk_net::{Reactor, Worker};

use super::bed::{ask, echo, listen, side};
use super::common::{FAMILIES, at, eal};
use super::wire::{RETA, Spreading};

#[test]
fn what_belonged_to_a_worker_that_has_ended_belongs_to_nobody() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 2, 8_192).unwrap();
    let ids = rings.ids();
    let server = side(&eal, ids[0], 1, 2, Spreading::Rss);
    let client = side(&eal, ids[1], 2, 2, Spreading::Rss);
    let worker = Worker::serving(client.workers).unwrap();
    let reactors = server
        .workers
        .into_iter()
        .map(|config| Reactor::new(config).unwrap());
    let reactors: Vec<Reactor> = reactors.collect();
    let handles: Vec<_> = reactors.iter().map(Reactor::handle).collect();
    let tasks: Vec<_> = reactors
        .into_iter()
        .map(|reactor| worker.spawn_local(reactor))
        .collect();
    let limit = Duration::from_secs(60);
    let test = async {
        // All that is sent to the servers comes to the first one.
        *client.wire.reta.lock().unwrap() = Reta::uniform(RETA as u16, 1).unwrap();
        let mut held = Vec::new();
        let mut bound = Vec::new();
        for (server, client) in FAMILIES {
            let stays = listen(&handles[0], at(server, 79)).await;
            echo(&handles[0], stays);
            let listener: TcpListener = listen(&handles[1], at(server, 80)).await;
            let (stream, accepted) =
                tokio::join!(TcpStream::connect(at(server, 80)), listener.accept());
            held.push((stream.unwrap(), accepted.unwrap(), listener));
            let socket = handles[1]
                .scope(UdpSocket::bind(at(server, 53)))
                .await
                .unwrap();
            socket.connect(at(client, 9)).await.unwrap();
            bound.push(socket);
        }
        assert_eq!(server.control.entries().0, 4);
        let [first, second] = <[_; 2]>::try_from(tasks).unwrap();
        second.abort();
        assert!(second.await.unwrap_err().is_cancelled());
        // Sockets are held still, and are nobody's: of the first one's there are two listeners.
        let (flows, bindings) = server.control.entries();
        assert_eq!((flows, bindings), (0, 2));
        for (server, _) in FAMILIES {
            let refused = TcpStream::connect(at(server, 80)).await.unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
            ask(at(server, 79), 0, 100).await;
        }
        let handed = handles[0].stats().worker;
        assert!(handed.handed_over > 0, "before it ended");
        drop((held, bound));
        first.abort();
    };
    worker.block_on(async {
        tokio::time::timeout(limit, test)
            .await
            .expect("it takes too long")
    });
    drop(worker);
    for wire in [&server.wire, &client.wire] {
        wire.queues.lock().unwrap().clear();
    }
    drop((server.port, client.port));
}
