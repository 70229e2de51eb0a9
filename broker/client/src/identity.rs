//! A client's own key, which never leaves its folder, and the certificate it gets for it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use p256::pkcs8::DecodePrivateKey;
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;

use crate::TlsFiles;

const KEY: &str = "identity.key";
const CERTIFICATE: &str = "identity.pem";
const AUTHORITY: &str = "ca.pem";

/// Key and certificate in a folder: `identity.key` (PKCS #8, ECDSA on P-256), `identity.pem`, and `ca.pem`, the authority.
#[derive(Debug)]
pub struct Identity {
    dir: PathBuf,
    key: KeyPair,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read or written.
    #[error("cannot use {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The key cannot be made or used.
    #[error(
        "{path} holds no key that can be used; remove it to have another one made, and a certificate for it"
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: rcgen::Error,
    },
}

impl Identity {
    /// The identity in `dir`; its key is made if there is none.
    ///
    /// # Errors
    /// If the folder cannot be used, or holds a key that cannot.
    pub fn load_or_make(dir: &Path) -> Result<Self, IdentityError> {
        let path = dir.join(KEY);
        let unusable = |source| IdentityError::Key { path: path.clone(), source };
        let key = match fs::read_to_string(&path) {
            Ok(text) => KeyPair::from_pem(&text).map_err(unusable)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(unusable)?;
                write_private(&path, key.serialize_pem().as_bytes())?;
                key
            }
            Err(source) => return Err(IdentityError::File { path, source }),
        };
        Ok(Identity { dir: dir.to_owned(), key })
    }

    /// The key as a scalar of P-256, most significant byte first (SEC 1 section 2.3.7); `None` for a key of another kind.
    pub fn key_scalar(&self) -> Option<[u8; 32]> {
        let key = p256::SecretKey::from_pkcs8_der(self.key.serialized_der()).ok()?;
        Some(key.to_bytes().into())
    }

    /// A request for a certificate for `name`, PEM (RFC 2986).
    ///
    /// # Errors
    /// If the key cannot sign.
    pub fn request(&self, name: &str) -> Result<String, IdentityError> {
        let unusable = |source| IdentityError::Key { path: self.dir.join(KEY), source };
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serialize_request(&self.key).and_then(|request| request.pem()).map_err(unusable)
    }

    /// Whether a certificate, PEM, is one for this key.
    pub fn fits(&self, certificate: &str) -> bool {
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).collect::<Result<Vec<_>, _>>();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let provider = rustls::crypto::ring::default_provider();
        chain.is_ok_and(|chain| CertifiedKey::from_der(chain, key, &provider).is_ok())
    }

    /// Keeps a certificate for this key, and the authority that made it, PEM both.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep(&self, certificate: &str, authority: &str) -> Result<(), IdentityError> {
        write_private(&self.dir.join(AUTHORITY), authority.as_bytes())?;
        write_private(&self.dir.join(CERTIFICATE), certificate.as_bytes())
    }

    /// The certificate, PEM, if there is one.
    pub fn certificate(&self) -> Option<String> {
        fs::read_to_string(self.dir.join(CERTIFICATE)).ok()
    }

    /// How much of the life of its certificate is left, 0 to 1; `None` without one.
    pub fn life_left(&self) -> Option<f64> {
        let text = self.certificate().filter(|text| self.fits(text))?;
        let (_, pem) = x509_parser::pem::parse_x509_pem(text.as_bytes()).ok()?;
        let validity = pem.parse_x509().ok()?.validity().clone();
        let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
        Some((to as f64 - now as f64).max(0.0) / (to - from).max(1) as f64)
    }

    /// The files to connect with.
    pub fn files(&self) -> TlsFiles {
        TlsFiles {
            ca_file: Some(self.dir.join(AUTHORITY)),
            cert_file: Some(self.dir.join(CERTIFICATE)),
            key_file: Some(self.dir.join(KEY)),
        }
    }
}

/// Replaces a file at once, readable for its user only.
fn write_private(path: &Path, contents: &[u8]) -> Result<(), IdentityError> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_for_its_user_only() {
        let dir = tempfile::tempdir().expect("a folder");
        let made = Identity::load_or_make(dir.path()).expect("made");
        let read = Identity::load_or_make(dir.path()).expect("read");
        assert_eq!(made.key_scalar().expect("of P-256"), read.key_scalar().expect("of P-256"));
        let mode = fs::metadata(dir.path().join(KEY)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(made.request("pump-7").expect("a request").contains("CERTIFICATE REQUEST"));
        assert_eq!(made.certificate(), None);
        made.keep("certificate", "authority").expect("kept");
        assert_eq!(read.certificate().as_deref(), Some("certificate"));
    }

    #[test]
    fn a_certificate_fits_the_key_it_is_for() {
        let (dir, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let own = Identity::load_or_make(dir.path()).expect("made");
        let foreign = Identity::load_or_make(other.path()).expect("made");
        let certificate = CertificateParams::default().self_signed(&own.key).expect("a certificate").pem();
        assert!(own.fits(&certificate));
        own.keep(&certificate, "authority").expect("kept");
        assert!(own.life_left().is_some_and(|left| (0.9..1.0).contains(&left)));
        assert_eq!(foreign.life_left(), None);
        assert!(!foreign.fits(&certificate) && !own.fits("nothing") && !own.fits(""));
    }

    #[test]
    fn a_damaged_key_is_told_and_stays() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join(KEY), "nothing").expect("written");
        let error = Identity::load_or_make(dir.path()).expect_err("damaged").to_string();
        assert!(error.contains("identity.key"), "{error}");
        assert_eq!(fs::read(dir.path().join(KEY)).expect("a file"), b"nothing");
    }
}
