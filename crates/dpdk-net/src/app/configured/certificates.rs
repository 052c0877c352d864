//! TLS of a file's listeners: certificates are read before anything is started, and anew at each SIGHUP.

use dpdk_net_config::File;
#[cfg(feature = "tls")]
use dpdk_net_config::Tls;

use crate::app::AppBuilder;
use crate::error::Error;

/// Has the listeners that are to have TLS have it.
///
/// # Errors
/// What is wrong with a certificate or key, with the line of the file that names it.
#[cfg(feature = "tls")]
pub(super) fn read(file: &File, mut builder: AppBuilder) -> Result<AppBuilder, Error> {
    let mut all = Vec::new();
    let mut problems = Vec::new();
    for (index, listener) in file.config().listener.iter().enumerate() {
        let Some(tls) = &listener.tls else { continue };
        match config(tls).build() {
            Ok(config) => all.push((listener.name.clone(), config)),
            Err(error) => problems.push(refuse(file, index, tls, &error)),
        }
    }
    File::refused(problems)?;
    for (name, config) in &all {
        let mut listeners = builder.listeners.iter_mut();
        if let Some(listener) = listeners.find(|listener| listener.name == *name) {
            listener.tls = Some(config.clone());
        }
    }
    Ok(match all.is_empty() {
        true => builder,
        false => builder.subsystem(reload::Certificates(all)),
    })
}

#[cfg(not(feature = "tls"))]
pub(super) fn read(file: &File, builder: AppBuilder) -> Result<AppBuilder, Error> {
    let listeners = file.config().listener.iter().enumerate();
    let with_tls = listeners.filter(|(_, listener)| listener.tls.is_some());
    let problems = with_tls.map(|(index, _)| {
        file.refuse(
            &format!("listener[{index}].tls"),
            "this program was built without TLS",
            "build it with the feature `tls` of the crate dpdk-net",
        )
    });
    File::refused(problems.collect())?;
    Ok(builder)
}

#[cfg(feature = "tls")]
fn config(tls: &Tls) -> crate::tls::TlsConfigBuilder {
    use crate::tls::{ClientCertificates, HTTP, TlsConfig};

    let mut config = TlsConfig::builder().certificate_files(&tls.certificate, &tls.key);
    for one in &tls.more {
        config = config.certificate_files(&one.certificate, &one.key);
    }
    if let Some(ca) = &tls.client_ca {
        let asked = match tls.client_certificates {
            Some(dpdk_net_config::ClientCertificates::Optional) => ClientCertificates::Optional,
            _ => ClientCertificates::Required,
        };
        config = config.client_ca_file(ca, asked);
    }
    match tls.alpn.as_slice() {
        [] => config.alpn(HTTP),
        given => config.alpn(given),
    }
}

/// The problem at the key that names the file, as far as the error tells which.
#[cfg(feature = "tls")]
fn refuse(
    file: &File,
    index: usize,
    tls: &Tls,
    error: &crate::tls::TlsError,
) -> dpdk_net_config::Problem {
    let of = |key: &str, path: &std::path::Path| {
        let is_it = error.file() == Some(&*path.to_string_lossy());
        is_it.then(|| key.to_owned())
    };
    let more = tls.more.iter().enumerate().find_map(|(place, one)| {
        of(&format!("more[{place}].key"), &one.key)
            .or_else(|| of(&format!("more[{place}].certificate"), &one.certificate))
    });
    let key = of("key", &tls.key)
        .or_else(|| of("certificate", &tls.certificate))
        .or(more)
        .or_else(|| of("client_ca", tls.client_ca.as_deref()?));
    let path = match key {
        Some(key) => format!("listener[{index}].tls.{key}"),
        None => format!("listener[{index}].tls"),
    };
    file.refuse(
        &path,
        error.to_string(),
        "docs/tls.md tells how certificates are made and looked at",
    )
}

#[cfg(feature = "tls")]
mod reload {
    use crate::app::{Application, Subsystem, SubsystemFuture};
    use crate::tls::TlsConfig;

    /// Reads certificates anew at each SIGHUP, by the names of their listeners.
    pub(super) struct Certificates(pub(super) Vec<(String, TlsConfig)>);

    impl Subsystem for Certificates {
        fn name(&self) -> &str {
            "certificates"
        }

        fn start<'a>(&'a mut self, _: &'a Application) -> SubsystemFuture<'a> {
            Box::pin(async { Ok(()) })
        }

        fn hangup<'a>(&'a mut self, _: &'a Application) -> SubsystemFuture<'a> {
            Box::pin(async {
                for (listener, config) in &self.0 {
                    match config.reload() {
                        Ok(()) => {
                            tracing::info!(listener, "SIGHUP: the certificates were read anew");
                        }
                        Err(error) => {
                            tracing::error!(listener, "SIGHUP: the certificates stay: {error}");
                        }
                    }
                }
                Ok(())
            })
        }
    }
}
