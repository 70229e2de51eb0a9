//! The client's side of TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rumqttc::{TlsConfiguration, Transport};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use serde::{Deserialize, Serialize};

/// The files TLS needs, PEM each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsFiles {
    /// The authorities that vouch for the broker; those of the system if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The certificate that says who this client is, and those between it and its authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The key of that certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// Why TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("cannot use {path} as {what}; it must hold PEM")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: pem::Error,
    },
    /// A certificate without key or the other way round.
    #[error("cert_file and key_file go together; {missing} is missing")]
    Half {
        /// The setting that is not set.
        missing: &'static str,
    },
    /// There is nobody to trust.
    #[error("no certificate authority to check the broker with; set ca_file")]
    NoAuthority,
    /// Certificate and key do not fit, or are of a kind that TLS does not take.
    #[error("{path} cannot be used for TLS")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// Whether a certificate says who this client is.
    pub fn has_certificate(&self) -> bool {
        self.cert_file.is_some()
    }
}

/// Files that have been read and can be used.
///
/// The client's own certificate is read again at every connect, so that a renewed one needs no restart.
#[derive(Clone)]
pub struct Tls {
    files: TlsFiles,
    config: Arc<ClientConfig>,
    /// The same without a certificate.
    nameless: Arc<ClientConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.files.fmt(f)
    }
}

impl PartialEq for Tls {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
    }
}

impl Eq for Tls {}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one cannot be used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let unusable =
            |source| TlsError::Unusable { path: files.ca_file.clone().unwrap_or_default(), source };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable)?
            .with_root_certificates(authorities(files.ca_file.as_deref())?);
        let nameless = Arc::new(builder.clone().with_no_client_auth());
        let config = match (&files.cert_file, &files.key_file) {
            (None, None) => Arc::clone(&nameless),
            (Some(_), None) => return Err(TlsError::Half { missing: "key_file" }),
            (None, Some(_)) => return Err(TlsError::Half { missing: "cert_file" }),
            (Some(certificate), Some(key)) => {
                let own = Own::load(certificate.clone(), key.clone(), provider)?;
                Arc::new(builder.with_client_cert_resolver(Arc::new(own)))
            }
        };
        Ok(Tls { files, config, nameless })
    }

    /// The files it was read from.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// The same trust for a client that shows no certificate.
    #[must_use]
    pub fn without_certificate(&self) -> Self {
        let files = TlsFiles { ca_file: self.files.ca_file.clone(), ..TlsFiles::default() };
        Tls { files, config: Arc::clone(&self.nameless), nameless: Arc::clone(&self.nameless) }
    }

    /// For [`rumqttc`].
    pub fn transport(&self) -> Transport {
        Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(&self.config)))
    }
}

/// The client's own certificate, whichever its files hold now.
#[derive(Debug)]
struct Own {
    certificate: PathBuf,
    key: PathBuf,
    provider: Arc<CryptoProvider>,
    last: Mutex<Arc<CertifiedKey>>,
}

impl Own {
    fn load(certificate: PathBuf, key: PathBuf, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let last = Mutex::new(Arc::new(pair(&certificate, &key, &provider)?));
        Ok(Own { certificate, key, provider, last })
    }
}

impl ResolvesClientCert for Own {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match pair(&self.certificate, &self.key, &self.provider) {
            Ok(pair) => *last = Arc::new(pair),
            // Between the two halves of a renewal; the broker will say so if the old one does not do.
            Err(error) => tracing::warn!(%error, "the client's certificate cannot be read again"),
        }
        Some(Arc::clone(&last))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn pair(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = certificates(certificate, "the client's certificate")?;
    let what = "the key of the client's certificate";
    let key = PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::File {
        path: key.to_owned(),
        what,
        source,
    })?;
    let unusable = |source| TlsError::Unusable { path: certificate.to_owned(), source };
    CertifiedKey::from_der(chain, key, provider).map_err(unusable)
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let none = || Err(pem::Error::NoItemsFound);
    let read = read.and_then(|found| if found.is_empty() { none() } else { Ok(found) });
    read.map_err(|source| TlsError::File { path: path.to_owned(), what, source })
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(path) => {
            for certificate in certificates(path, "the authority that vouches for the broker")? {
                let unusable = |source| TlsError::Unusable { path: path.to_owned(), source };
                roots.add(certificate).map_err(unusable)?;
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    if roots.is_empty() { Err(TlsError::NoAuthority) } else { Ok(roots) }
}
