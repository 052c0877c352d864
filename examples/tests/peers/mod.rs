//! Foreign peers of the examples: nginx, and scripts in Python for Debian's interpreter and packages.
#![allow(dead_code, unreachable_pub)] // Each test file takes what it needs.

use dpdk_net_testkit::bed::Process;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::common::{Bed, Directory, KERNEL, START};

/// The command that runs a script of this directory.
pub fn script(name: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers");
    format!("/usr/bin/python3 -B '{path}/{name}'")
}

/// The same for a script that needs packages from PyPI: by the interpreter that `cargo xtask setup` gives them to.
pub fn pypi_script(name: &str) -> String {
    let test = std::env::current_exe().unwrap();
    let target = test.ancestors().nth(3).unwrap();
    let python = target.join("python-peers/bin/python");
    assert!(
        python.exists(),
        "{} is not there; `cargo xtask setup` makes it",
        python.display()
    );
    script(name).replace("/usr/bin/python3", &format!("'{}'", python.display()))
}

/// Starts a script on the kernel's side, which says when it is ready.
pub fn start(bed: &Bed, name: &str, args: &str) -> Process {
    let command = format!("exec {} {args}", script(name));
    let mut process = bed.netns().start(&["bash", "-c", &command]).unwrap();
    process.wait_for("ready", START).unwrap();
    process
}

/// Writes a CA's certificate, and a server's certificate and key for both ends' addresses.
pub fn certificates(directory: &Directory) {
    let write = |name: &str, text: String| std::fs::write(directory.0.join(name), text).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new([]).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL wants the issuer's name to be another than the subject's.
    ca.distinguished_name
        .push(DnType::CommonName, "CA of a test");
    write("ca.pem", ca.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(ca, key);
    let names = [KERNEL[0], KERNEL[1], "198.18.0.2", "fd00:198:18::2"];
    let server = CertificateParams::new(names.map(str::to_owned)).unwrap();
    let key = KeyPair::generate().unwrap();
    write("cert.pem", server.signed_by(&key, &issuer).unwrap().pem());
    write("key.pem", key.serialize_pem());
}

/// nginx with these servers in its configuration, where it serves `directory`.
pub fn nginx(bed: &Bed, directory: &Directory, servers: &str) -> Process {
    let root = directory.path();
    let config = format!(
        "daemon off; user root; worker_processes 1; pid {root}/pid; error_log stderr notice;\n\
         events {{}}\n\
         http {{\n\
         access_log off;\n\
         client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root};\n\
         uwsgi_temp_path {root}; scgi_temp_path {root};\n\
         {servers}\n\
         }}\n"
    );
    std::fs::write(directory.0.join("nginx.conf"), config).unwrap();
    let conf = format!("{root}/nginx.conf");
    let mut nginx = bed
        .netns()
        .start(&["nginx", "-p", root, "-c", &conf])
        .unwrap();
    nginx.wait_for("start worker process ", START).unwrap();
    nginx
}
