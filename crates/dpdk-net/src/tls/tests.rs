//! Configuration and handshakes without a network: both sides in one task, over a pipe.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rustls::ProtocolVersion;
use rustls::client::ResolvesClientCert;
use rustls::sign::CertifiedKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::identity::Identity;
use super::stats::Cause;
use super::*;

/// An authority, and what it has signed.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Certificate and key.
    fn sign(&self, names: &[&str]) -> (String, String) {
        self.sign_until(names, 4096)
    }

    fn sign_until(&self, names: &[&str], year: i32) -> (String, String) {
        self.sign_as(names, |params| {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        })
    }

    fn sign_as(&self, names: &[&str], so: impl FnOnce(&mut CertificateParams)) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        so(&mut params);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    fn client(&self) -> TlsConnectorBuilder {
        TlsConnector::builder().roots_pem(&self.pem)
    }
}

fn server((certificate, key): &(String, String)) -> TlsConfigBuilder {
    TlsConfig::builder().certificate_pem(certificate, key)
}

type Ends = (
    tokio_rustls::server::TlsStream<DuplexStream>,
    tokio_rustls::client::TlsStream<DuplexStream>,
);

/// Shakes hands, and has a byte go either way, so that tickets have come.
async fn shake(
    config: &TlsConfig,
    connector: &TlsConnector,
    name: &str,
) -> Result<Ends, [Option<io::Error>; 2]> {
    let (near, far) = tokio::io::duplex(1 << 16);
    let server = async {
        let mut stream = config.accept(near).await?;
        stream.write_all(b"s").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    let client = async {
        let mut stream = connector.handshake(name, far).await?;
        stream.write_all(b"c").await?;
        stream.flush().await?;
        stream.read_u8().await?;
        Ok(stream)
    };
    match tokio::join!(server, client) {
        (Ok(server), Ok(client)) => Ok((server, client)),
        (server, client) => Err([server.err(), client.err()]),
    }
}

/// Why the server's side fails.
async fn refusal(config: &TlsConfig, connector: &TlsConnector, name: &str) -> Cause {
    let [server, _] = shake(config, connector, name).await.unwrap_err();
    Cause::of(&server.unwrap())
}

#[tokio::test]
async fn both_sides_are_told_what_was_agreed() {
    let authority = Authority::new("one");
    let config = server(&authority.sign(&["a.example"])).alpn(HTTP).build();
    let (config, client) = (config.unwrap(), authority.client());
    let both = client.clone().alpn(["http/1.1", "h2"]).build().unwrap();
    let (server, stream) = shake(&config, &both, "a.example").await.unwrap();
    let (near, far) = (TlsInfo::of(&server), TlsInfo::of(&stream));
    assert_eq!(near.version, ProtocolVersion::TLSv1_3);
    assert_eq!(near.cipher, far.cipher);
    assert_eq!(near.alpn.as_deref(), Some(&b"h2"[..]), "the server chooses");
    assert_eq!(far.alpn, near.alpn);
    assert_eq!(near.server_name.as_deref(), Some("a.example"));
    assert_eq!(
        (near.peer_certificates.len(), far.peer_certificates.len()),
        (0, 1)
    );
    assert!(!near.resumed);
    assert_eq!(near.to_string(), "TLS 1.3, TLS13_AES_256_GCM_SHA384, h2");
    let unified = TlsInfo::of(&tokio_rustls::TlsStream::from(server));
    assert_eq!(unified, near);

    let other = client.alpn(["spdy/1"]).build().unwrap();
    assert_eq!(refusal(&config, &other, "a.example").await, Cause::Protocol);
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_that_it_asks_for() {
    let authority = Authority::new("one");
    let signed = [
        authority.sign(&["first.example"]),
        authority.sign(&["a.example", "b.example"]),
        authority.sign(&["*.c.example", "*.deep.example"]),
    ];
    let mut builder = TlsConfig::builder();
    for (certificate, key) in &signed {
        builder = builder.certificate_pem(certificate, key);
    }
    let config = builder.build().unwrap();
    let client = authority.client().build().unwrap();
    for (name, of) in [
        ("first.example", 0),
        ("a.example", 1),
        ("B.example", 1),
        ("www.c.example", 2),
        ("x.deep.example", 2),
    ] {
        let (_, stream) = shake(&config, &client, name).await.unwrap();
        let shown = &TlsInfo::of(&stream).peer_certificates[0];
        let (_, expected) = (
            name,
            pem::Source::Memory("", signed[of].0.as_bytes().into()),
        );
        assert_eq!(
            shown,
            &expected.read().unwrap().certificates().unwrap()[0].1,
            "{name}"
        );
    }
    // Nobody's name: the first certificate, which this client does not take for it.
    let [server, client] = shake(&config, &client, "b.c.other").await.unwrap_err();
    assert_eq!(Cause::of(&server.unwrap()), Cause::Alert);
    assert_eq!(Cause::of(&client.unwrap()), Cause::BadCertificate);
}

#[tokio::test]
async fn a_certificate_of_a_client_is_required_or_looked_at_if_there_is_one() {
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let signed = authority.sign(&["a.example"]);
    let with = |asked| {
        server(&signed)
            .client_ca_pem(&authority.pem, asked)
            .build()
            .unwrap()
    };
    let required = with(ClientCertificates::Required);
    let optional = with(ClientCertificates::Optional);
    let (certificate, key) = authority.sign(&["client.example"]);
    let known = authority
        .client()
        .certificate_pem(certificate, key)
        .build()
        .unwrap();
    let (certificate, key) = other.sign(&["client.example"]);
    let unknown = authority
        .client()
        .certificate_pem(certificate, key)
        .build()
        .unwrap();
    let nobody = authority.client().build().unwrap();

    for config in [&required, &optional] {
        let (server, _) = shake(config, &known, "a.example").await.unwrap();
        let info = TlsInfo::of(&server);
        assert_eq!(info.peer_certificates.len(), 1);
        assert_eq!(info.peer_names(), ["client.example"]);
        assert_eq!(
            refusal(config, &unknown, "a.example").await,
            Cause::BadCertificate
        );
    }
    assert_eq!(
        refusal(&required, &nobody, "a.example").await,
        Cause::NoCertificate
    );
    let (server, _) = shake(&optional, &nobody, "a.example").await.unwrap();
    assert!(TlsInfo::of(&server).peer_certificates.is_empty());
}

#[tokio::test]
async fn a_session_is_resumed_also_after_a_reload_unless_others_are_let_in() {
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let signed = authority.sign(&["a.example"]);
    let (certificate, key) = authority.sign(&["client.example"]);
    let asked = ClientCertificates::Required;
    let builder = server(&signed)
        .client_ca_pem(&authority.pem, asked)
        .resumption(true);
    let config = builder.clone().build().unwrap();
    let client = authority
        .client()
        .certificate_pem(certificate, key)
        .build()
        .unwrap();
    let resumed = async || {
        let (server, client) = shake(&config, &client, "a.example").await.unwrap();
        let (server, client) = (TlsInfo::of(&server), TlsInfo::of(&client));
        assert_eq!(server.resumed, client.resumed);
        assert_eq!(server.peer_certificates.len(), 1, "of a session as well");
        server.resumed
    };
    assert!(!resumed().await);
    assert!(resumed().await);
    config.reload().unwrap();
    assert!(resumed().await);
    let both = builder.client_ca_pem(&other.pem, asked);
    config.reload_with(both).unwrap();
    assert!(!resumed().await, "others are let in");
    assert!(resumed().await);

    let without = server(&signed).resumption(false).build().unwrap();
    let client = authority.client().build().unwrap();
    for _ in 0..2 {
        let (server, _) = shake(&without, &client, "a.example").await.unwrap();
        assert!(!TlsInfo::of(&server).resumed);
    }
}

#[tokio::test]
async fn a_session_is_not_resumed_once_its_clients_certificate_has_expired() {
    let authority = Authority::new("one");
    // Certificates count in seconds.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let end = now + Duration::from_secs(4);
    let config = server(&authority.sign(&["a.example"]))
        .client_ca_pem(&authority.pem, ClientCertificates::Required)
        .resumption(true)
        .build()
        .unwrap();
    let (certificate, key) = authority.sign_as(&["client.example"], |params| {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
    });
    let client = authority
        .client()
        .certificate_pem(certificate, key)
        .build()
        .unwrap();
    for resumed in [false, true] {
        let (server, _) = shake(&config, &client, "a.example").await.unwrap();
        assert_eq!(TlsInfo::of(&server).resumed, resumed);
    }
    tokio::time::sleep(end - now + Duration::from_millis(100)).await;
    assert_eq!(
        refusal(&config, &client, "a.example").await,
        Cause::BadCertificate
    );
}

/// What a client shows, which may be changed while it runs: its sessions stay.
#[derive(Debug)]
struct Renewable(parking_lot::Mutex<Arc<CertifiedKey>>);

impl ResolvesClientCert for Renewable {
    fn resolve(&self, _: &[&[u8]], _: &[rustls::SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

#[tokio::test]
async fn a_client_that_has_renewed_its_certificate_is_known_by_the_new_one_by_default() {
    let authority = Authority::new("one");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let certified = |name| {
        let (certificate, key) = authority.sign(&[name]);
        let identity = Identity {
            certificate: pem::Source::Memory("", certificate.as_bytes().into()),
            key: pem::Source::Memory("", key.as_bytes().into()),
        };
        identity.load(&provider).unwrap().certified
    };
    let asks = server(&authority.sign(&["a.example"]))
        .client_ca_pem(&authority.pem, ClientCertificates::Required);
    let both = server(&authority.sign(&["a.example"]))
        .client_ca_pem(&authority.pem, ClientCertificates::Optional);
    let resumes = asks.clone().resumption(true);
    for (builder, second) in [(asks, "new"), (both, "new"), (resumes, "old")] {
        for version in [
            TlsConnectorBuilder::tls12_only,
            TlsConnectorBuilder::tls13_only,
        ] {
            let config = builder.clone().build().unwrap();
            let mut client = version(authority.client()).build().unwrap();
            let shown = Arc::new(Renewable(parking_lot::Mutex::new(certified("old"))));
            let mut changed = (*client.config).clone();
            changed.client_auth_cert_resolver = shown.clone();
            client.config = Arc::new(changed);
            for expected in ["old", second] {
                let (server, _) = shake(&config, &client, "a.example").await.unwrap();
                let info = TlsInfo::of(&server);
                assert_eq!(info.peer_names(), [expected]);
                *shown.0.lock() = certified("new");
            }
        }
    }
}

#[test]
fn a_certificate_is_valid_up_to_its_last_second() {
    let (certificate, _) = Authority::new("one").sign_until(&["a.example"], 2024);
    let source = pem::Source::Memory("", certificate.as_bytes().into());
    let read = source.read().unwrap().certificates().unwrap();
    let chain = [read[0].1.clone()];
    // `date -u -d 2024-01-01 +%s`
    let end = UNIX_EPOCH + Duration::from_secs(1_704_067_200);
    let second = Duration::from_secs(1);
    assert_eq!(server::still_valid(&chain, end), Ok(()));
    assert_eq!(
        server::still_valid(&chain, end + second),
        Err(rustls::CertificateError::Expired.into())
    );
    assert_eq!(server::still_valid(&[], end + second), Ok(()));
    assert_eq!(
        server::still_valid(&[vec![0; 3].into()], end),
        Err(rustls::CertificateError::BadEncoding.into())
    );
}

#[tokio::test]
async fn an_authority_that_can_not_be_used_is_left_out_by_clients_and_refused_by_servers() {
    let authority = Authority::new("one");
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let bundle = format!("{nonsense}{}", authority.pem);
    let signed = authority.sign(&["a.example"]);
    let config = server(&signed).build().unwrap();
    let client = TlsConnector::builder().roots_pem(&bundle).build().unwrap();
    shake(&config, &client, "a.example").await.unwrap();
    let nobody = TlsConnector::builder().roots_pem(nonsense).build();
    assert!(matches!(
        nobody,
        Err(TlsError::UnusableCertificate { line: 1, .. })
    ));
    let refused = server(&signed)
        .client_ca_pem(&bundle, ClientCertificates::Optional)
        .build();
    assert!(matches!(
        refused,
        Err(TlsError::UnusableCertificate { line: 1, .. })
    ));
}

#[tokio::test]
async fn a_connector_trusts_nobody_that_it_was_not_told_of() {
    assert!(matches!(
        TlsConnector::builder().build(),
        Err(TlsError::NoRoots)
    ));
    let (authority, other) = (Authority::new("one"), Authority::new("two"));
    let config = server(&authority.sign(&["a.example", "198.18.0.2"]))
        .build()
        .unwrap();
    let stranger = other.client().build().unwrap();
    let [_, client] = shake(&config, &stranger, "a.example").await.unwrap_err();
    assert!(client.unwrap().to_string().contains("UnknownIssuer"));
    let friend = authority.client().tls13_only().build().unwrap();
    let [_, client] = shake(&config, &friend, "b.example").await.unwrap_err();
    assert_eq!(Cause::of(&client.unwrap()), Cause::BadCertificate);
    shake(&config, &friend, "198.18.0.2").await.unwrap();
    let (_, far) = tokio::io::duplex(64);
    let error = friend.handshake("not a name", far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up() {
    let limit = Duration::from_millis(20);
    let client = Authority::new("one").client().handshake_timeout(limit);
    let client = client.build().unwrap();
    let (_silent, far) = tokio::io::duplex(1 << 16);
    let error = client.handshake("a.example", far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn what_is_no_handshake_has_its_cause() {
    let authority = Authority::new("one");
    let config = server(&authority.sign(&["a.example"]))
        .tls13_only()
        .build()
        .unwrap();
    for (sent, cause) in [
        (
            &b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
            Cause::Malformed,
        ),
        // The begin of a record of a ClientHello.
        (&[22, 3, 1, 2, 0, 1, 0, 1], Cause::Closed),
        (&[], Cause::Closed),
        (&[0xff; 300], Cause::Malformed),
    ] {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(sent).await.unwrap();
        far.shutdown().await.unwrap();
        let error = config.accept(near).await.unwrap_err();
        assert_eq!(Cause::of(&error), cause, "{error}");
    }
}

/// Files of a test.
struct Directory(tempfile::TempDir);

impl Directory {
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn told(certificate: &Path, key: &Path) -> String {
    let error = TlsConfig::from_pem_files(certificate, key).unwrap_err();
    // The directory is another one each time.
    error
        .to_string()
        .replace(&format!("{}/", certificate.parent().unwrap().display()), "")
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_place_and_what_to_do() {
    let directory = Directory(tempfile::tempdir().unwrap());
    let authority = Authority::new("one");
    let (certificate, key) = authority.sign(&["a.example"]);
    let (_, other_key) = authority.sign(&["b.example"]);
    let good = directory.write("cert.pem", &certificate);
    let good_key = directory.write("key.pem", &key);
    let write = |name, text: &str| directory.write(name, text);
    TlsConfig::from_pem_files(&good, &good_key).unwrap();

    let missing = directory.0.path().join("none.pem");
    let text = told(&missing, &good_key);
    assert!(
        text.starts_with("cannot read none.pem: No such file"),
        "{text}"
    );

    let text = told(&write("empty.pem", "\n \n"), &good_key);
    assert!(
        text.starts_with("empty.pem has no certificate: it is empty;"),
        "{text}"
    );
    let text = told(&write("text.pem", "hello\n"), &good_key);
    assert!(
        text.starts_with("text.pem has no certificate: nothing in it is PEM;"),
        "{text}"
    );
    let text = told(&good_key, &good_key);
    assert!(
        text.starts_with("key.pem has no certificate: it has PRIVATE KEY (line 1);"),
        "{text}"
    );
    let text = told(&good, &good);
    assert!(
        text.starts_with("cert.pem has no private key: it has CERTIFICATE (line 1);"),
        "{text}"
    );

    let text = told(
        &good,
        &write("two.pem", &format!("first\n{key}{other_key}")),
    );
    assert_eq!(
        text,
        "two.pem has 2 private keys, at the lines 2, 7: leave the one that belongs to the certificate"
    );
    let text = told(&good, &write("other.pem", &other_key));
    assert!(
        text.starts_with(
            "the private key in other.pem does not belong to the certificate in cert.pem: both have"
        ),
        "{text}"
    );
    let upside_down = write("chain.pem", &format!("{}{certificate}", authority.pem));
    let text = told(&upside_down, &good_key);
    let line = authority.pem.lines().count() + 1;
    assert!(
        text.contains(&format!(
            "but to the one at its line {line}: the server's own"
        )),
        "{text}"
    );

    let cut = &certificate[..certificate.len() / 2];
    let text = told(&write("cut.pem", cut), &good_key);
    assert!(
        text.starts_with(
            "cut.pem, line 1: the CERTIFICATE that begins here has no end; the file was cut"
        ),
        "{text}"
    );
    let mixed = certificate.replace("END CERTIFICATE", "END PRIVATE KEY");
    let text = told(&write("mixed.pem", &mixed), &good_key);
    let last = certificate.lines().count();
    assert!(
        text.starts_with(&format!(
            "mixed.pem, line {last}: the CERTIFICATE of line 1 ends here as PRIVATE KEY"
        )),
        "{text}"
    );
    let broken = certificate.replacen("MII", "M!!", 1);
    let text = told(&write("broken.pem", &format!("\n\n{broken}")), &good_key);
    assert!(
        text.starts_with("broken.pem, line 3: the CERTIFICATE that begins here can't be decoded"),
        "{text}"
    );

    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let text = told(&good, &write("secret.pem", encrypted));
    assert!(
        text.starts_with(
            "secret.pem, line 1: the private key is encrypted; decrypt it: openssl pkey"
        ),
        "{text}"
    );
    let old = "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END EC PRIVATE KEY-----\n";
    let text = told(&good, &write("old.pem", old));
    assert!(
        text.starts_with("old.pem, line 1: the private key is encrypted;"),
        "{text}"
    );
    let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let text = told(&good, &write("nonsense.pem", nonsense));
    assert!(
        text.starts_with("nonsense.pem, line 1: the private key can't be used:"),
        "{text}"
    );
    let nonsense = nonsense.replace("PRIVATE KEY", "CERTIFICATE");
    let text = told(&write("nocert.pem", &nonsense), &good_key);
    assert!(
        text.starts_with("nocert.pem, line 1: the certificate can't be used:"),
        "{text}"
    );
    let der = pem::Source::File(good.clone())
        .read()
        .unwrap()
        .certificates()
        .unwrap();
    let text = told(&directory.write("der.pem", &der[0].1), &good_key);
    assert!(
        text.starts_with(
            "der.pem, line 1: this is DER, not PEM; convert it: openssl x509 -inform der"
        ),
        "{text}"
    );

    assert!(matches!(
        TlsConfig::builder().build(),
        Err(TlsError::NothingToShow)
    ));
    let empty = server(&(certificate, key)).alpn(["h2", ""]).build();
    assert!(matches!(empty, Err(TlsError::Alpn(name)) if name.is_empty()));
}

#[test]
fn one_file_may_have_certificate_and_key_with_what_openssl_writes_around_them() {
    let (certificate, key) = Authority::new("one").sign(&["a.example"]);
    let text = format!(
        "subject=CN = a.example\r\n{}\r\n-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{key}",
        certificate.replace('\n', "\r\n")
    );
    TlsConfig::from_pem(&text, &text).unwrap();
}

#[test]
fn an_expired_certificate_is_taken() {
    let signed = Authority::new("one").sign_until(&["a.example"], 2020);
    server(&signed).build().unwrap();
}

#[tokio::test]
async fn a_bad_new_certificate_is_refused_and_the_old_one_goes_on_to_be_shown() {
    let directory = Directory(tempfile::tempdir().unwrap());
    let authority = Authority::new("one");
    let (certificate, key) = authority.sign(&["a.example"]);
    let files = [
        directory.write("cert.pem", &certificate),
        directory.write("key.pem", &key),
    ];
    let config = TlsConfig::from_pem_files(&files[0], &files[1]).unwrap();
    let client = authority.client().resumption(false).build().unwrap();
    let shown = async || {
        let (_, stream) = shake(&config, &client, "a.example").await.unwrap();
        TlsInfo::of(&stream).peer_certificates
    };
    let before = shown().await;

    let (certificate, key) = authority.sign(&["a.example"]);
    directory.write("cert.pem", &certificate);
    let refused = config.reload();
    assert!(matches!(
        refused,
        Err(TlsError::KeyMismatch { other: None, .. })
    ));
    assert_eq!(shown().await, before);
    let nothing = config.reload_with(TlsConfig::builder());
    assert!(matches!(nothing, Err(TlsError::NothingToShow)));
    assert_eq!(shown().await, before);
    directory.write("key.pem", &key);
    config.reload().unwrap();
    assert_ne!(shown().await, before);
}

#[test]
fn no_key_is_written_where_a_configuration_is() {
    let (certificate, key) = Authority::new("one").sign(&["a.example"]);
    let config = TlsConfig::from_pem(&certificate, &key).unwrap();
    let told = format!("{config:?}");
    assert!(told.contains("the key given"), "{told}");
    assert!(!told.contains(key.lines().nth(1).unwrap()), "{told}");
}
