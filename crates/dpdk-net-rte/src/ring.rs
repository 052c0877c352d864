//! Ports made of rings: what one sends, the other receives, by reference. For tests and benchmarks of all
//! that is above a port, in one process and without a device (`rte_eth_from_rings`, driver net_ring).
//!
//! What holds:
//!
//! 1. A `Rings` owns its rings and the devices over them, and frees them when the last [`RingPorts`] handle
//!    and the last open port is gone: the devices first, then the packets that are still in a ring, then
//!    the rings.
//! 2. It holds the keeper of its driver, so the pools of those packets are alive until then.
//! 3. `ATTACHED` has an entry for each device that exists. Devices are made, opened and freed while no other
//!    port can be, so a port is never opened without its rings.
//!
//! What does not live here: rings that hand packets from one thread to another ([`crate::mbuf_ring`]).

use core::ptr::NonNull;
use std::ffi::{CStr, CString, c_void};
use std::sync::{Arc, Mutex, Weak};

use dpdk_net_sys as sys;

use crate::port::PortId;
use crate::port::inner::{Keeper, lock, with_open_ports};
use crate::{Eal, Error};

/// The driver of these ports.
const DRIVER: &str = "net_ring";

/// The devices that are made of rings.
static ATTACHED: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

#[derive(Debug)]
struct Entry {
    id: PortId,
    device: CString,
    /// Once it was, its number may become another device's.
    opened: bool,
    rings: Weak<Rings>,
}

/// What an open port holds of its rings.
#[derive(Debug)]
pub(crate) struct Attachment {
    _rings: Arc<Rings>,
}

/// The rings of a port that is being opened, if it is made of some; an error if they are being freed.
pub(crate) fn attach(id: PortId) -> Result<Option<Attachment>, Gone> {
    let mut attached = lock(&ATTACHED);
    let Some(entry) = attached
        .iter_mut()
        .find(|entry| entry.id == id && !entry.opened)
    else {
        return Ok(None);
    };
    let rings = entry.rings.upgrade().ok_or(Gone)?;
    entry.opened = true;
    Ok(Some(Attachment { _rings: rings }))
}

/// The port's rings are being freed.
#[derive(Debug)]
pub(crate) struct Gone;

/// Whether a virtual device is one of ours, by name.
pub(crate) fn owns(device: &CStr) -> bool {
    lock(&ATTACHED)
        .iter()
        .any(|entry| entry.device.as_c_str() == device)
}

/// Ports joined by rings. They exist as long as this or an opened port of them does.
#[derive(Debug, Clone)]
pub struct RingPorts {
    rings: Arc<Rings>,
}

/// Rings, and the devices made of them.
#[derive(Debug)]
struct Rings {
    rings: Vec<NonNull<sys::rte_ring>>,
    devices: Vec<Device>,
    _keeper: Arc<Keeper>,
    _eal: Eal,
}

#[derive(Debug)]
struct Device {
    id: PortId,
    /// As the bus of virtual devices knows it.
    name: CString,
}

// SAFETY: a ring's address may be used from any thread; it is only used when the rings are freed.
unsafe impl Send for Rings {}
// SAFETY: as above.
unsafe impl Sync for Rings {}

impl RingPorts {
    /// The ports, in the order of the names they were made by.
    pub fn ids(&self) -> Vec<PortId> {
        self.rings.devices.iter().map(|device| device.id).collect()
    }
}

/// Two ports: what queue `i` of one sends, queue `i` of the other receives. `depth` is how many packets a
/// queue holds, rounded up to one less than a power of two by DPDK.
///
/// # Errors
/// [`Error::InvalidArgument`] for a name, a depth or a number of queues that can't be, [`Error::Dpdk`] where
/// memory is short or a name is taken.
pub fn joined_ports(
    eal: &Eal,
    names: [&str; 2],
    queues: u16,
    depth: u32,
) -> Result<RingPorts, Error> {
    Rings::make(eal, |rings| {
        let there = rings.add_rings(names[0], queues, depth)?;
        let back = rings.add_rings(names[1], queues, depth)?;
        rings.add_device(names[0], &back, &there)?;
        rings.add_device(names[1], &there, &back)
    })
}

/// One port that receives what it sends.
///
/// # Errors
/// As [`joined_ports`].
pub fn looped_port(eal: &Eal, name: &str, queues: u16, depth: u32) -> Result<RingPorts, Error> {
    Rings::make(eal, |rings| {
        let own = rings.add_rings(name, queues, depth)?;
        rings.add_device(name, &own, &own)
    })
}

impl Rings {
    /// Makes rings and devices by `build`, and lists the devices before anybody can open one. Where it
    /// fails, what was made is freed.
    fn make(
        eal: &Eal,
        build: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<RingPorts, Error> {
        let mut made = Self {
            rings: Vec::new(),
            devices: Vec::new(),
            _keeper: Keeper::for_driver(DRIVER),
            _eal: eal.clone(),
        };
        let (ports, result) = with_open_ports(|_| {
            let result = build(&mut made);
            let rings = Arc::new(made);
            lock(&ATTACHED).extend(rings.devices.iter().map(|device| Entry {
                id: device.id,
                device: device.name.clone(),
                opened: false,
                rings: Arc::downgrade(&rings),
            }));
            (RingPorts { rings }, result)
        });
        result.map(|()| ports)
    }

    fn add_rings(
        &mut self,
        name: &str,
        queues: u16,
        depth: u32,
    ) -> Result<Vec<*mut sys::rte_ring>, Error> {
        if !(1..=MOST_QUEUES).contains(&queues) {
            return Err(Error::InvalidArgument {
                what: format!("queues of ring port {name:?}"),
                problem: format!("{queues} asked for, {DRIVER} takes 1 to {MOST_QUEUES}"),
            });
        }
        let size = depth
            .checked_add(1)
            .filter(|size| (2..=1 << 20).contains(size))
            .ok_or_else(|| Error::InvalidArgument {
                what: format!("depth of ring port {name:?}"),
                problem: format!("{depth} packets: a ring holds 1 to {}", (1 << 20) - 1),
            })?
            .next_power_of_two();
        (0..queues)
            .map(|queue| {
                let ring_name = ring_name(&format!("{name}_{queue}"))?;
                // One queue each end, and a queue is used by one thread at a time.
                let flags = (sys::DN_RING_F_SP_ENQ | sys::DN_RING_F_SC_DEQ) as u32;
                // SAFETY: the EAL is initialised; the name is a C string that outlives the call.
                let ring = unsafe {
                    sys::rte_ring_create(ring_name.as_ptr(), size, sys::DN_SOCKET_ID_ANY, flags)
                };
                let Some(ring) = NonNull::new(ring) else {
                    return Err(
                        Error::last("rte_ring_create", format!("ring {ring_name:?}")).with_remedy(
                            "Choose a name that no other ring has, or give the EAL more memory",
                        ),
                    );
                };
                self.rings.push(ring);
                Ok(ring.as_ptr())
            })
            .collect()
    }

    fn add_device(
        &mut self,
        name: &str,
        rx: &[*mut sys::rte_ring],
        tx: &[*mut sys::rte_ring],
    ) -> Result<(), Error> {
        let name = ring_name(name)?;
        let device = device_name(&name)?;
        // SAFETY: the EAL is initialised; the rings are alive until the device is closed (`Drop`).
        let id = unsafe {
            sys::rte_eth_from_rings(
                name.as_ptr(),
                rx.as_ptr(),
                rx.len() as u32,
                tx.as_ptr(),
                tx.len() as u32,
                0,
            )
        };
        let Ok(id) = u16::try_from(id) else {
            return Err(
                Error::last("rte_eth_from_rings", format!("ring port {name:?}")).with_remedy(
                    "Choose a name that no other port has; there are at most 32 ports",
                ),
            );
        };
        self.devices.push(Device {
            id: PortId::new(id),
            name: device,
        });
        Ok(())
    }
}

/// rte_eth_from_rings() takes 16.
const MOST_QUEUES: u16 = 16;

/// DPDK puts `RG_` in front of a ring's name, and `net_ring_` in front of a port's.
pub(crate) fn ring_name(name: &str) -> Result<CString, Error> {
    let most = sys::DN_RING_NAMESIZE - 1;
    CString::new(name)
        .ok()
        .filter(|name| (1..=most).contains(&name.count_bytes()))
        .ok_or_else(|| Error::InvalidArgument {
            what: format!("name {name:?} of a ring"),
            problem: format!("it must have 1 to {most} bytes and no zero byte"),
        })
}

/// The name of the virtual device that rte_eth_from_rings() makes.
fn device_name(name: &CStr) -> Result<CString, Error> {
    ring_name(&format!("net_ring_{}", name.to_string_lossy()))
}

impl Drop for Rings {
    fn drop(&mut self) {
        with_open_ports(|_| {
            for device in &self.devices {
                // SAFETY: no port of the device is open, as an open one holds these rings, and none can be
                // opened meanwhile. A port that never was is closed by this.
                let rc = unsafe { sys::rte_vdev_uninit(device.name.as_ptr()) };
                if rc < 0 {
                    let error = Error::from_rc("rte_vdev_uninit", format!("{:?}", device.name), rc);
                    tracing::warn!(%error, "removing a port made of rings");
                }
            }
            let this: *const Self = self;
            lock(&ATTACHED).retain(|entry| !core::ptr::eq(entry.rings.as_ptr(), this));
        });
        for ring in &self.rings {
            let mut packet: *mut c_void = core::ptr::null_mut();
            // SAFETY: the devices over the ring are closed, so it is ours alone. What it holds are packets
            // that nobody counts, of pools that the keeper holds.
            unsafe {
                while sys::dn_ring_dequeue(ring.as_ptr(), &mut packet) == 0 {
                    sys::dn_pktmbuf_free(packet.cast());
                }
                sys::rte_ring_free(ring.as_ptr());
            }
        }
    }
}
