//! Who serves what: lcores, ports and their queues.

use std::fmt;

use dpdk_net_rte::lcore::Lcore;
use dpdk_net_rte::port::PortInfo;
use dpdk_net_rte::{Eal, SocketId};
use dpdk_net_stack::MAX_WORKERS;

use crate::error::Error;

/// Which lcore serves which queues of which ports. It prints as a table.
#[derive(Debug)]
pub(super) struct QueuePlan {
    pub(super) lcores: Vec<Lcore>,
    /// Lcores that have nothing to do.
    idle: Vec<Lcore>,
    pub(super) ports: Vec<PortQueues>,
}

/// A port of the plan.
#[derive(Debug)]
pub(super) struct PortQueues {
    name: String,
    socket: SocketId,
    pub(super) queues: u16,
    /// The worker that serves its first queue; the others come in turn.
    first: usize,
}

/// What is known of a port before it has queues.
pub(super) struct Wanted<'a> {
    pub(super) info: &'a PortInfo,
    pub(super) name: String,
    pub(super) queues: Option<u16>,
}

impl QueuePlan {
    /// The calling thread's lcore is the first; the others come in the order of their numbers, those on the first port's NUMA node
    /// before the rest. Queues go to workers in turn, so that ports with few of them do not all end on the same.
    pub(super) fn new(
        eal: &Eal,
        ports: &[Wanted<'_>],
        workers: Option<u16>,
    ) -> Result<Self, Error> {
        let mut lcores = vec![eal.main_lcore()];
        let mut others: Vec<Lcore> = eal.worker_lcores().collect();
        if let Some(port) = ports.first() {
            others.sort_by_key(|lcore| is_far(lcore, port.info.socket));
        }
        lcores.extend(others);
        if let Some(wished) = workers
            && !(1..=lcores.len()).contains(&wished.into())
        {
            return Err(Error::BadValue {
                what: "the number of workers",
                given: wished.into(),
                expected: format!(
                    "EAL has {} lcores: give it more (EalBuilder::lcores), several may share a CPU",
                    lcores.len()
                ),
            });
        }
        let wished = workers.map_or(lcores.len(), usize::from);
        let mut planned = Vec::new();
        let mut total = 0;
        for port in ports {
            let info = port.info;
            let most = info.max_rx_queues.min(info.max_tx_queues).min(MAX_WORKERS);
            if let Some(wished) = port.queues
                && !(1..=most).contains(&wished)
            {
                return Err(Error::BadQueues {
                    port: port.name.clone(),
                    driver: info.driver.clone(),
                    given: wished,
                    most,
                });
            }
            let queues = u16::try_from(wished).unwrap_or(most).min(most);
            let queues = port.queues.unwrap_or(queues);
            planned.push(PortQueues {
                name: port.name.clone(),
                socket: info.socket,
                queues,
                first: total,
            });
            total += usize::from(queues);
        }
        let idle = lcores.split_off(wished.min(total));
        Ok(Self {
            lcores,
            idle,
            ports: planned,
        })
    }

    /// The queues that the worker with this place serves, as the port's place and the queue's number.
    pub(super) fn served_by(&self, worker: usize) -> impl Iterator<Item = (usize, u16)> {
        let step = self.lcores.len().max(1);
        let ports = self.ports.iter().enumerate();
        ports.flat_map(move |(place, port)| {
            let first = (worker + step - port.first % step) % step;
            let queues = (first..usize::from(port.queues)).step_by(step);
            queues.map(move |queue| (place, queue as u16))
        })
    }

    /// What the application calls the ports.
    pub(super) fn names(&self) -> Vec<String> {
        self.ports.iter().map(|port| port.name.clone()).collect()
    }

    /// Queues of all ports.
    pub(super) fn queues(&self) -> usize {
        self.ports.iter().map(|port| usize::from(port.queues)).sum()
    }
}

/// Whether an lcore is on another NUMA node than the port.
fn is_far(lcore: &Lcore, socket: SocketId) -> bool {
    let own = lcore.socket_id();
    own != SocketId::ANY && socket != SocketId::ANY && own != socket
}

/// Ascending numbers as people write them: `0-3, 8`.
fn ranges(numbers: &[u32]) -> String {
    let runs = numbers.chunk_by(|one, next| one + 1 == *next);
    let runs = runs.filter_map(|run| match (run.first()?, run.last()?) {
        (first, last) if first == last => Some(first.to_string()),
        (first, last) => Some(format!("{first}-{last}")),
    });
    runs.collect::<Vec<_>>().join(", ")
}

impl fmt::Display for QueuePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (worker, lcore) in self.lcores.iter().enumerate() {
            write!(f, "{}", lcore.id())?;
            match lcore.cpus().as_slice() {
                [] => {}
                [cpu] => write!(f, " (CPU {cpu})")?,
                several => write!(f, " (CPUs {})", ranges(several))?,
            }
            let mut before = ":";
            for (place, port) in self.ports.iter().enumerate() {
                let served = self.served_by(worker).filter(|(own, _)| *own == place);
                let queues: Vec<String> = served.map(|(_, queue)| queue.to_string()).collect();
                if queues.is_empty() {
                    continue;
                }
                let plural = if queues.len() == 1 { "" } else { "s" };
                write!(f, "{before} queue{plural} {}", queues.join(", "))?;
                before = ";";
                if self.ports.len() > 1 {
                    write!(f, " of {}", port.name)?;
                }
                if is_far(lcore, port.socket) {
                    write!(f, ", on another NUMA node than the port")?;
                }
            }
            writeln!(f)?;
        }
        for lcore in &self.idle {
            writeln!(
                f,
                "{}: idle, there are {} queues",
                lcore.id(),
                self.queues()
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dpdk_net_rte::Port;

    /// Four lcores and a port; how many queues a port has is told to the plan, whatever it has.
    fn with_port(test: impl Fn(&Eal, PortInfo)) {
        let name = format!("dpdk-net-plan-{}", std::process::id());
        let eal = Eal::builder("plan").no_huge().no_pci().no_shconf();
        let eal = eal.no_telemetry().memory_mb(64).file_prefix(name);
        let eal = eal.lcores("0@0,1@0,2@0,3@0").vdev("net_null0");
        let eal = eal.init().unwrap();
        let info = Port::open(&eal, "net_null0").unwrap().info().unwrap();
        test(&eal, info);
    }

    #[test]
    fn cpus_are_written_as_ranges() {
        assert_eq!(ranges(&[]), "");
        assert_eq!(ranges(&[5]), "5");
        assert_eq!(ranges(&[0, 1, 2, 3, 8, 10, 11]), "0-3, 8, 10-11");
    }

    #[test]
    fn lcores_without_queues_are_idle_and_queues_without_lcores_are_shared() {
        with_port(|eal, port| {
            let several = |queues: &[Option<u16>], max: u16, workers| {
                let mut port = port.clone();
                port.max_rx_queues = max;
                let wanted = queues.iter().enumerate().map(|(index, queues)| Wanted {
                    info: &port,
                    name: format!("p{index}"),
                    queues: *queues,
                });
                let plan = QueuePlan::new(eal, &wanted.collect::<Vec<_>>(), workers).unwrap();
                let plan = plan.to_string();
                assert_eq!(plan.matches("lcore").count(), 4);
                plan.replace(" (CPU 0)", "")
            };
            let plan = |max, workers, queues| several(&[queues], max, workers);
            let idle = "lcore 2: idle, there are 2 queues\nlcore 3: idle, there are 2 queues\n";
            let two = format!("lcore 0: queue 0\nlcore 1: queue 1\n{idle}");
            assert_eq!(plan(2, None, None), two, "the port has no more");
            assert_eq!(plan(8, None, Some(2)), two, "no more are wished for");
            let shared = "lcore 0: queues 0, 3\nlcore 1: queues 1, 4\nlcore 2: queue 2\n\
                          lcore 3: idle, there are 5 queues\n";
            assert_eq!(plan(8, Some(3), Some(5)), shared);
            let all =
                "lcore 0: queues 0, 4\nlcore 1: queues 1, 5\nlcore 2: queue 2\nlcore 3: queue 3\n";
            assert_eq!(plan(8, None, Some(6)), all);
            let both = several(&[Some(2), Some(3)], 8, Some(2));
            let ports = "lcore 0: queue 0 of p0; queues 0, 2 of p1\nlcore 1: queue 1 of p0; queue 1 of p1\n";
            assert_eq!(
                both,
                format!(
                    "{ports}lcore 2: idle, there are 5 queues\nlcore 3: idle, there are 5 queues\n"
                )
            );
            let one_each = several(&[Some(1), Some(1)], 8, Some(2));
            assert!(
                one_each.starts_with("lcore 0: queue 0 of p0\nlcore 1: queue 0 of p1\n"),
                "{one_each}"
            );
        });
    }
}
