//! TLS towards PostgreSQL and ClickHouse: whom to trust, and what it means that a certificate was not accepted.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslConnectorBuilder, SslMethod, SslVerifyMode, SslVersion};
use openssl::x509::store::X509StoreBuilder;
use openssl::x509::{X509, X509VerifyResult};

use crate::config::ConfigError;

/// Settings of TLS that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// One of them makes no sense, or its file has something else in it.
    #[error("{key}: {why}")]
    Unusable {
        /// Key of the configuration or parameter of the URL.
        key: &'static str,
        /// What is wrong and the way out.
        why: String,
    },
    /// The file of a private key.
    #[error(transparent)]
    Key(#[from] ConfigError),
    /// OpenSSL does not work.
    #[error("OpenSSL")]
    Library(#[from] ErrorStack),
}

/// One side does not trust the other, and waiting does not help: what is wrong and the way out.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Distrust(pub String);

/// What OpenSSL found wrong with the certificate that a server showed last.
#[derive(Debug, Clone, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<X509VerifyResult>>>);

impl Refusal {
    fn set(&self, found: X509VerifyResult) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(found);
    }

    /// Takes what was found, in words: what is wrong and the way out. `roots` is the setting that names whom to trust.
    pub(crate) fn take(&self, roots: &str) -> Option<String> {
        let found = self.0.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let way_out = match found.as_raw() {
            9 => "it is not valid yet; look at the clocks of both machines".to_owned(),
            10 => "it, or its authority's, has expired; have it renewed there, and look at this machine's clock"
                .to_owned(),
            // The chain ends at nobody, or at somebody, who is not known here.
            2 | 7 | 18..=21 | 30 => format!("nobody trusted here has signed it; name the file with its authority's certificate by {roots}"),
            62 | 64 => {
                "it is for other names; connect by a host name that stands in it, or have one issued for this name"
                    .to_owned()
            }
            _ => "have a right one issued".to_owned(),
        };
        Some(format!("the server's certificate is not accepted ({}): {way_out}", found.error_string()))
    }
}

/// Begins a connector that trusts the authorities of a PEM file, or without one those of the system, and that checks
/// the host's name. `key` is the setting that named the file; what is found wrong goes into `refusal`.
pub(crate) fn builder(
    key: &'static str,
    roots: Option<&Path>,
    refusal: &Refusal,
) -> Result<SslConnectorBuilder, TlsError> {
    let mut builder = SslConnector::builder(SslMethod::tls_client())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    if let Some(path) = roots {
        let unusable = |why: String| TlsError::Unusable { key, why: format!("{} {why}", path.display()) };
        let pem = std::fs::read(path).map_err(|error| unusable(format!("cannot be read: {error}")))?;
        let certificates = X509::stack_from_pem(&pem).unwrap_or_default();
        if certificates.is_empty() {
            return Err(unusable("holds no certificate in PEM".into()));
        }
        let mut store = X509StoreBuilder::new()?;
        for certificate in certificates {
            store.add_cert(certificate)?;
        }
        builder.set_cert_store(store.build());
    }
    let refusal = refusal.clone();
    builder.set_verify_callback(SslVerifyMode::PEER, move |accepted, context| {
        if !accepted {
            refusal.set(context.error());
        }
        accepted
    });
    Ok(builder)
}
