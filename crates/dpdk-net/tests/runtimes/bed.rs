//! A worker of any runtime, joined to a client's stack on the same thread.

use std::future::Future;
use std::time::Duration;

use dpdk_net::rte::ring;
use dpdk_net::runtime::Runtime;
use dpdk_net::time::timeout;
use dpdk_net::{Reactor, Worker};

use crate::common::{Net, eal, side, stack};

/// No test may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `test` as a task of the server's worker, with the client's reactor as another one; then `after` with the worker.
pub(crate) fn run_then<R, F, Fut, T>(test: F, after: impl FnOnce(Worker<R>, T))
where
    R: Runtime,
    F: FnOnce(Net) -> Fut,
    Fut: Future<Output = T> + 'static,
    T: 'static,
{
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let ids = rings.ids();
    let (_server_port, server) = side(&eal, ids[0], stack(1));
    let (_client_port, client) = side(&eal, ids[1], stack(2));
    let worker = Worker::<R>::on(vec![server]).unwrap();
    let client = Reactor::new(client).unwrap();
    let net = Net {
        server: worker.handle().clone(),
        client: client.handle(),
    };
    let client = worker.spawn_local(client);
    let test = worker.spawn_local(timeout(LIMIT, test(net)));
    let outcome = match worker.block_on(test) {
        Ok(outcome) => outcome.expect("the test ends in time"),
        Err(error) => std::panic::resume_unwind(error.try_into_panic().unwrap()),
    };
    after(worker, outcome);
    drop(client);
}

pub(crate) fn run<R, F, Fut>(test: F)
where
    R: Runtime,
    F: FnOnce(Net) -> Fut,
    Fut: Future<Output = ()> + 'static,
{
    run_then::<R, _, _, ()>(test, |worker, ()| drop(worker));
}
