//! The shared object itself, loaded as packetdrill loads it.

mod runner;

use std::ffi::CString;
use std::path::PathBuf;

use runner::client::{Client, Init};

/// Cargo puts it beside the tests.
fn shared_object() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let directory = test.parent().expect("a directory");
    directory.join("libdpdk_net_packetdrill.so")
}

fn load() -> Init {
    let path = CString::new(shared_object().into_os_string().into_encoded_bytes()).expect("a path");
    let flags = libc::RTLD_NOW | libc::RTLD_LOCAL | libc::RTLD_NODELETE | libc::RTLD_DEEPBIND;
    // SAFETY: a path; the object has no initialisers but those of the standard library.
    let handle = unsafe { libc::dlopen(path.as_ptr(), flags) };
    assert!(!handle.is_null(), "{path:?} can't be loaded");
    // SAFETY: a handle, and the name of a symbol.
    let symbol = unsafe { libc::dlsym(handle, c"packetdrill_interface_init".as_ptr()) };
    assert!(
        !symbol.is_null(),
        "the object has no packetdrill_interface_init"
    );
    // SAFETY: the symbol is the function of this type.
    unsafe { std::mem::transmute::<*mut std::ffi::c_void, Init>(symbol) }
}

#[test]
fn the_object_is_loaded_and_sends_a_syn() {
    let client = Client::with(load(), "local=192.168.7.9");
    let fd = client.socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    assert!(fd.value > 2, "{fd:?}");
    let fd = fd.value as i32;
    assert_eq!(
        client
            .fcntl(fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK)
            .value,
        0
    );
    assert_eq!(
        client.fcntl(fd, libc::F_GETFL, 0).value,
        i64::from(libc::O_RDWR | libc::O_NONBLOCK)
    );
    let connect = client.connect(fd, "192.0.2.1:8080".parse().expect("an address"));
    assert_eq!((connect.value, connect.errno), (-1, libc::EINPROGRESS));
    let (received, packet, at) = client.netdev_receive();
    assert_eq!(received.value, 0);
    assert_eq!(at, client.now());
    let segment = runner::wire::Segment::read(&packet).expect("a TCP segment");
    assert_eq!(segment.flags, runner::script::SYN);
    assert_eq!(segment.from.ip().to_string(), "192.168.7.9");
    client.free();
}

#[test]
fn flags_that_make_no_sense_let_every_call_fail() {
    let client = Client::with(load(), "colour=red");
    let fd = client.socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_TCP);
    assert_eq!((fd.value, fd.errno), (-1, libc::EINVAL));
    client.free();
}
