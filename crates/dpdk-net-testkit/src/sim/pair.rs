//! Two hosts and the wire between them: what most stories need.

use std::ops::{Deref, DerefMut};

use super::{Host, HostId, LinkConfig, Sim};

/// A client and a server on a segment of their own.
///
/// What the wire does to frames from the client to the server is a setting of the client's uplink, and the other way
/// round; the downlinks are perfect.
#[derive(Debug)]
pub struct Pair {
    sim: Sim,
    /// The client.
    pub client: HostId,
    /// The server.
    pub server: HostId,
}

impl Pair {
    /// A client and a server, and what the wire between them does in each direction.
    pub fn new<C: Host, S: Host>(
        seed: u64,
        client: C,
        server: S,
        client_to_server: LinkConfig,
        server_to_client: LinkConfig,
    ) -> Self {
        let mut sim = Sim::new(seed);
        let client = sim.add_asymmetric(client, client_to_server, LinkConfig::perfect());
        let server = sim.add_asymmetric(server, server_to_client, LinkConfig::perfect());
        Self {
            sim,
            client,
            server,
        }
    }
}

impl Deref for Pair {
    type Target = Sim;

    fn deref(&self) -> &Sim {
        &self.sim
    }
}

impl DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut Sim {
        &mut self.sim
    }
}
