//! Virtual devices that come and go while the process runs.
//!
//! What does not live here: devices given to the EAL when it starts ([`EalBuilder::vdev`]), and rings
//! ([`crate::ring`]).
//!
//! [`EalBuilder::vdev`]: crate::EalBuilder::vdev

use std::ffi::CString;

use dpdk_net_sys as sys;

use crate::eal::Device;
use crate::port::PortId;
use crate::port::inner::with_open_ports;
use crate::{Eal, Error, ring};

impl Eal {
    /// Makes a virtual device, as `create_vdev("net_tap1", "iface=tap1")`, and returns its port
    /// (`rte_vdev_init`). The name begins with its driver's.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] for a name or arguments with a zero byte, or with an address in this process's
    /// memory (net_ring's `internal`), [`Error::Dpdk`] where there is no such driver, the name is taken, or the
    /// driver refuses.
    pub fn create_vdev(&self, name: &str, args: &str) -> Result<PortId, Error> {
        let subject = format!("virtual device {name:?}");
        let (device, arguments) = (text(&subject, name)?, text(&subject, args)?);
        if Device::parse(&format!("{name},{args}")).is_by_address() {
            return Err(Error::InvalidArgument {
                what: subject,
                problem: "`internal` hands DPDK an address in this process's memory: make ports of rings by \
                          `ring::joined_ports` or `ring::looped_port`"
                    .into(),
            });
        }
        // SAFETY: the EAL is initialised; both strings outlive the call.
        let rc = unsafe { sys::rte_vdev_init(device.as_ptr(), arguments.as_ptr()) };
        if rc < 0 {
            let error = Error::from_rc("rte_vdev_init", subject, rc);
            let remedy = match error.errno().map_or(0, |errno| errno.0) {
                libc::EEXIST => "Choose another name, or remove the device of this name first",
                libc::EPERM | libc::EACCES => {
                    "Run as root, or with CAP_NET_ADMIN, or in a user and network namespace of its own"
                }
                _ => {
                    "Check the name, which begins with that of a driver (as net_tap0, net_null0), its \
                     arguments against the driver's guide, and that what they name exists; DPDK's log says more"
                }
            };
            return Err(error.with_remedy(remedy));
        }
        let mut id = 0;
        // SAFETY: as above.
        let rc = unsafe { sys::rte_eth_dev_get_port_by_name(device.as_ptr(), &mut id) };
        if rc < 0 {
            return Err(
                Error::from_rc("rte_eth_dev_get_port_by_name", subject, rc).with_remedy(
                    "The device is no Ethernet port: give one whose name begins with `net_`",
                ),
            );
        }
        Ok(PortId::new(id))
    }

    /// Removes a virtual device (`rte_vdev_uninit`). Its port must not be open.
    ///
    /// # Errors
    /// [`Error::PortAlreadyOpen`] where it is, [`Error::InvalidArgument`] for a port made of rings, [`Error::Dpdk`] where there is no such device (`ENOENT`) or
    /// the driver refuses.
    pub fn remove_vdev(&self, name: &str) -> Result<(), Error> {
        let subject = format!("virtual device {name:?}");
        let device = text(&subject, name)?;
        with_open_ports(|is_open| {
            if ring::owns(&device) {
                return Err(Error::InvalidArgument {
                    what: subject,
                    problem: "it is made of rings: drop its `RingPorts` and its ports instead"
                        .into(),
                });
            }
            let mut id = 0;
            // SAFETY: the EAL is initialised; the name outlives the call.
            let found = unsafe { sys::rte_eth_dev_get_port_by_name(device.as_ptr(), &mut id) } == 0;
            if found && is_open(PortId::new(id)) {
                return Err(Error::PortAlreadyOpen {
                    port: format!("port {id} ({name})"),
                });
            }
            // SAFETY: as above; no port of the device is open, and none can be opened meanwhile.
            let rc = unsafe { sys::rte_vdev_uninit(device.as_ptr()) };
            if rc < 0 {
                return Err(Error::from_rc("rte_vdev_uninit", subject, rc).with_remedy(
                    "Name a virtual device that was made by `create_vdev` or `vdev`",
                ));
            }
            Ok(())
        })
    }
}

fn text(subject: &str, value: &str) -> Result<CString, Error> {
    CString::new(value).map_err(|_| Error::InvalidArgument {
        what: subject.to_owned(),
        problem: format!("{value:?} holds a zero byte"),
    })
}
