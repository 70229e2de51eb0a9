//! A client's own key, which never leaves its folder, and the certificate it gets for it.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

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

    /// The key, PKCS #8 in DER.
    pub fn key_der(&self) -> &[u8] {
        self.key.serialized_der()
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
        assert_eq!(made.key_der(), read.key_der());
        let mode = fs::metadata(dir.path().join(KEY)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(made.request("pump-7").expect("a request").contains("CERTIFICATE REQUEST"));
        assert_eq!(made.certificate(), None);
        made.keep("certificate", "authority").expect("kept");
        assert_eq!(read.certificate().as_deref(), Some("certificate"));
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
