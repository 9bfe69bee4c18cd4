//! TLS settings of all clients: the trusted CAs, and ALPN with HTTP/2 only.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use crate::domain::pem;

/// Why no TLS settings could be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The extra CA file can't be read or holds no certificate.
    #[error("CA file {path}: {detail}")]
    CaFile {
        /// The path of the CA file.
        path: PathBuf,
        /// Why the file can't be used.
        detail: String,
    },
    /// Neither the system nor a CA file gave a root certificate.
    #[error("no root certificates on this system: install ca-certificates or name a CA file")]
    NoRoots,
    /// The cryptographic back end refused the settings.
    #[error("TLS settings: {0}")]
    Rustls(#[from] rustls::Error),
}

/// TLS client settings that trust the system's roots and those of `ca_file` (PEM), with ALPN `h2` only.
///
/// It reads files, so call it while the configuration is loaded, not per connection.
///
/// # Errors
/// Returns a [`TlsError`] if the CA file can't be used or no CA is trusted.
pub fn tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    // Some systems have certificates that rustls can't read. They are skipped, as other clients do.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca_file {
        let fault = |detail: String| TlsError::CaFile { path: path.to_owned(), detail };
        let before = roots.len();
        let text = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
        let text = String::from_utf8_lossy(&text);
        for certificate in CertificateDer::pem_slice_iter(pem::with_line_ends(&text).as_bytes()) {
            let certificate = certificate.map_err(|e| fault(e.to_string()))?;
            roots.add(certificate).map_err(|e| fault(e.to_string()))?;
        }
        if roots.len() == before {
            return Err(fault("holds no certificate".to_owned()));
        }
    }
    if roots.is_empty() {
        return Err(TlsError::NoRoots);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![super::dial::ALPN.to_vec()];
    Ok(Arc::new(config))
}
