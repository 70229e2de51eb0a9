//! TLS: who the broker is to its clients, and who a client with a certificate is.
//!
//! A certificate names its holder: the common name of its subject is the MQTT user name ([`Role::parse`]), as it is with
//! other brokers. Files are read again when they change, so that a renewed certificate or a new revocation list needs no
//! restart; a list that revokes a connected client's certificate ends the connection, and so does the certificate's
//! own end.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

use crate::credentials::Role;

/// How often the files are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The files TLS needs, PEM each; read again when they change.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// The broker's certificate, and those between it and the authority clients know.
    pub cert_file: PathBuf,
    /// The key of the broker's certificate.
    pub key_file: PathBuf,
    /// The authorities whose certificates clients may show; without it none is asked for.
    pub client_ca_file: Option<PathBuf>,
    /// What those authorities have revoked (RFC 5280 section 5); lists may follow each other in the file.
    pub crl_file: Option<PathBuf>,
}

/// Why TLS cannot be used as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or does not hold what it should.
    #[error("cannot use {path} as {what}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no such thing.
    #[error("{path} holds no {what} in PEM; write the paths of PEM files below [tls]")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The certificate cannot be read.
    #[error("{path} holds a certificate that cannot be read")]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: std::io::Error,
    },
    /// Certificate and key do not fit, or are of a kind that TLS does not take.
    #[error("certificate and key cannot be used together")]
    Pair(#[source] rustls::Error),
    /// The authority's certificate or the revocation list cannot be used.
    #[error("client certificates cannot be checked")]
    Verifier(#[source] VerifierBuilderError),
    /// The authority's certificate cannot be used.
    #[error("{path} holds a certificate that cannot be an authority's")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// A revocation list cannot be read.
    #[error("{path} holds a revocation list that cannot be read")]
    RevocationList {
        /// The file.
        path: PathBuf,
    },
}

/// A client that has shown a certificate of one of our authorities.
#[derive(Debug, Clone)]
pub(crate) struct Certified {
    /// Whose certificate it is; `None` if its common name is no user name.
    pub(crate) role: Option<Role>,
    serial: Vec<u8>,
    ends: SystemTime,
}

/// Why a client's certificate no longer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Void {
    Revoked,
    Expired,
}

impl fmt::Display for Void {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Void::Revoked => "its certificate was revoked",
            Void::Expired => "its certificate has expired",
        })
    }
}

/// What was read from the files.
struct State {
    acceptor: TlsAcceptor,
    revoked: HashSet<Vec<u8>>,
    /// When the broker's own certificate ends, in seconds of Unix time.
    expiry_s: u64,
}

/// TLS as it is now.
pub(crate) struct Tls {
    config: TlsConfig,
    state: watch::Sender<Arc<State>>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Tls {
    pub(crate) fn load(config: TlsConfig) -> Result<Self, TlsError> {
        let state = watch::Sender::new(Arc::new(State::load(&config)?));
        Ok(Tls { config, state })
    }

    /// The server's side of a handshake.
    pub(crate) async fn accept<S>(&self, stream: S) -> std::io::Result<(TlsStream<S>, Option<Certified>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let acceptor = self.state.borrow().acceptor.clone();
        let stream = acceptor.accept(stream).await?;
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certified = certificate.map(certified).transpose()?;
        Ok((stream, certified))
    }

    /// When the broker's own certificate ends, in seconds of Unix time.
    pub(crate) fn expiry_s(&self) -> u64 {
        self.state.borrow().expiry_s
    }

    /// Returns when a certificate no longer counts; a resumed TLS session may bring one that never did.
    pub(crate) async fn void(&self, certified: &Certified) -> Void {
        let mut state = self.state.subscribe();
        let left = certified.ends.duration_since(SystemTime::now()).unwrap_or_default();
        tokio::select! {
            biased;
            _ = state.wait_for(|state| state.revoked.contains(&certified.serial)) => Void::Revoked,
            () = sleep_until(Instant::now() + left) => Void::Expired,
        }
    }

    /// Reads the files again whenever one changes; what cannot be used is logged and what was there stays.
    pub(crate) async fn follow(&self) -> std::convert::Infallible {
        let mut seen = self.config.stamps();
        loop {
            tokio::time::sleep(LOOK).await;
            let now = self.config.stamps();
            if now == seen {
                continue;
            }
            seen = now;
            match State::load(&self.config) {
                Ok(state) => {
                    tracing::info!(
                        revoked = state.revoked.len(),
                        "certificates and revocation list read again"
                    );
                    self.state.send_replace(Arc::new(state));
                }
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the changed TLS files cannot be used; the old ones stay");
                }
            }
        }
    }
}

impl TlsConfig {
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.cert_file, &self.key_file].into_iter().chain(&self.client_ca_file).chain(&self.crl_file)
    }

    /// What changes when a file does.
    fn stamps(&self) -> Vec<Option<(SystemTime, u64)>> {
        let stamp = |path: &PathBuf| {
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len()))
        };
        self.files().map(stamp).collect()
    }
}

impl State {
    fn load(config: &TlsConfig) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let chain = certificates(&config.cert_file, "certificate of the broker")?;
        let unreadable = |source| TlsError::Certificate { path: config.cert_file.clone(), source };
        let own = chain.first().map(certified).transpose().map_err(unreadable)?;
        let what = "key of the broker's certificate";
        let key = PrivateKeyDer::from_pem_file(&config.key_file).map_err(not_pem(&config.key_file, what))?;
        let revocations = match &config.crl_file {
            Some(path) => revocation_lists(path)?,
            None => Vec::new(),
        };
        let revoked = match &config.crl_file {
            Some(path) => serials(path, &revocations)?,
            None => HashSet::new(),
        };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Pair)?;
        let builder = match &config.client_ca_file {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(
                WebPkiClientVerifier::builder_with_provider(
                    authorities(path)?,
                    provider as Arc<CryptoProvider>,
                )
                .with_crls(revocations)
                .allow_unknown_revocation_status()
                .only_check_end_entity_revocation()
                .allow_unauthenticated()
                .build()
                .map_err(TlsError::Verifier)?,
            ),
        };
        let config = builder.with_single_cert(chain, key).map_err(TlsError::Pair)?;
        let ends = own.and_then(|own| own.ends.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        Ok(State { acceptor: TlsAcceptor::from(Arc::new(config)), revoked, expiry_s: ends.as_secs() })
    }
}

fn certified(certificate: &CertificateDer<'_>) -> std::io::Result<Certified> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(std::io::Error::other)?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let ends = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Certified {
        role: name.and_then(Role::parse),
        serial: certificate.raw_serial().to_vec(),
        ends: UNIX_EPOCH + Duration::from_secs(ends),
    })
}

fn certificates(path: &Path, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read.map_err(not_pem(path, what))? {
        none if none.is_empty() => Err(TlsError::Empty { path: path.to_owned(), what }),
        found => Ok(found),
    }
}

fn authorities(path: &Path) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, "certificate of an authority")? {
        let source = |source| TlsError::Authority { path: path.to_owned(), source };
        roots.add(certificate).map_err(source)?;
    }
    Ok(Arc::new(roots))
}

fn revocation_lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let read = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
    read.map_err(not_pem(path, "revocation list"))
}

fn serials(path: &Path, lists: &[CertificateRevocationListDer<'_>]) -> Result<HashSet<Vec<u8>>, TlsError> {
    let mut serials = HashSet::new();
    for list in lists {
        let (_, list) = CertificateRevocationList::from_der(list)
            .map_err(|_| TlsError::RevocationList { path: path.to_owned() })?;
        serials.extend(list.iter_revoked_certificates().map(|revoked| revoked.raw_serial().to_vec()));
    }
    Ok(serials)
}

fn not_pem(path: &Path, what: &'static str) -> impl FnOnce(rustls::pki_types::pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| match source {
        rustls::pki_types::pem::Error::NoItemsFound => TlsError::Empty { path, what },
        source => TlsError::File { path, what, source },
    }
}
