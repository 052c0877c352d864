//! That what was bound is what is linked, without starting DPDK.

use std::ffi::CStr;

use dpdk_net_sys as sys;

#[test]
fn the_library_is_of_the_release_that_the_bindings_were_made_for() {
    // SAFETY: these return constants of the library.
    let (year, month) = unsafe { (sys::rte_version_year(), sys::rte_version_month()) };
    assert_eq!(
        (year, month),
        (
            sys::DN_RTE_VERSION >> 24,
            (sys::DN_RTE_VERSION >> 16) & 0xff
        )
    );
    assert!((year, month) >= (22, 11));
    // SAFETY: returns a static string.
    let text = unsafe { CStr::from_ptr(sys::rte_version()) };
    let release = format!("DPDK {year}.{month:02}");
    assert!(text.to_string_lossy().starts_with(&release), "{text:?}");
}

#[test]
fn functions_of_driver_libraries_are_linked_although_pkg_config_leaves_them_out() {
    // SAFETY: no function is called, their addresses are taken.
    assert_ne!(sys::rte_vdev_init as *const () as usize, 0);
    assert_ne!(sys::rte_eth_from_rings as *const () as usize, 0);
}

#[test]
fn a_thread_that_dpdk_does_not_know_has_no_lcore_number() {
    // SAFETY: reads a thread-local; needs no EAL.
    assert_eq!(unsafe { sys::dn_lcore_id() }, sys::DN_LCORE_ID_ANY);
}

#[test]
fn errno_is_kept_by_thread() {
    // SAFETY: writes and reads a thread-local; needs no EAL.
    unsafe { sys::dn_rte_errno_set(7) };
    let other = std::thread::spawn(|| {
        // SAFETY: as above.
        unsafe { sys::dn_rte_errno() }
    });
    assert_eq!(other.join().ok(), Some(0));
    // SAFETY: as above.
    assert_eq!(unsafe { sys::dn_rte_errno() }, 7);
}

#[test]
fn the_fields_of_an_mbuf_lie_within_it_and_apart() {
    let mut fields = [
        (sys::DN_MBUF_OFF_BUF_ADDR, 8),
        (sys::DN_MBUF_OFF_DATA_OFF, 2),
        (sys::DN_MBUF_OFF_REFCNT, 2),
        (sys::DN_MBUF_OFF_NB_SEGS, 2),
        (sys::DN_MBUF_OFF_PORT, 2),
        (sys::DN_MBUF_OFF_OL_FLAGS, 8),
        (sys::DN_MBUF_OFF_PACKET_TYPE, 4),
        (sys::DN_MBUF_OFF_PKT_LEN, 4),
        (sys::DN_MBUF_OFF_DATA_LEN, 2),
        (sys::DN_MBUF_OFF_VLAN_TCI, 2),
        (sys::DN_MBUF_OFF_HASH_RSS, 4),
        (sys::DN_MBUF_OFF_FLOW_MARK, 4),
        (sys::DN_MBUF_OFF_BUF_LEN, 2),
        (sys::DN_MBUF_OFF_POOL, 8),
        (sys::DN_MBUF_OFF_NEXT, 8),
        (sys::DN_MBUF_OFF_TX_OFFLOAD, 8),
        (sys::DN_MBUF_OFF_PRIV_SIZE, 2),
    ];
    fields.sort_unstable();
    for pair in fields.windows(2) {
        assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{pair:?}");
    }
    assert!(fields.iter().all(|(offset, size)| offset % size == 0));
    let (last, size) = fields[fields.len() - 1];
    assert!(last + size <= sys::DN_MBUF_SIZE);
    assert_eq!(size_of::<sys::rte_mbuf>(), sys::DN_MBUF_SIZE);
}
