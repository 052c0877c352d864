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

/// Both ends' addresses, as the names of a certificate.
pub const ADDRESSES: [&str; 4] = [KERNEL[0], KERNEL[1], "198.18.0.2", "fd00:198:18::2"];

/// A CA.
#[derive(Debug)]
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// One of this name: OpenSSL wants the issuer's to be another than the subject's.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// Writes its certificate, `NAME.pem`.
    pub fn write(&self, directory: &Directory, name: &str) {
        std::fs::write(directory.0.join(format!("{name}.pem")), &self.pem).unwrap();
    }

    /// Writes a certificate for these hosts and its key: `NAME.pem` and `NAME-key.pem`.
    pub fn sign(&self, directory: &Directory, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let params = CertificateParams::new(hosts).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        let write = |name: String, text| std::fs::write(directory.0.join(name), text).unwrap();
        write(format!("{name}.pem"), certificate);
        write(format!("{name}-key.pem"), key.serialize_pem());
    }
}

/// Writes a CA's certificate, and a server's certificate and key for both ends' addresses.
pub fn certificates(directory: &Directory) {
    let authority = Authority::new("CA of a test");
    authority.write(directory, "ca");
    authority.sign(directory, "cert", &ADDRESSES);
    let key = directory.0.join("cert-key.pem");
    std::fs::rename(key, directory.0.join("key.pem")).unwrap();
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
