//! The fleet's certificate authority: a folder that says who is who.
//!
//! | file | what |
//! |---|---|
//! | `ca.pem` | its certificate, which brokers and clients are told to trust |
//! | `ca.key` | its key, readable for one user |
//! | `crl.pem` | what it has revoked (RFC 5280), for brokers |
//! | `index.jsonl` | what it has issued and revoked, a line each; only ever added to |
//!
//! The common name of a certificate is the MQTT user name of its holder ([`Role::username`]). Keys are ECDSA on P-256,
//! which boards can do. Service and command line may use one folder at the same time.
//!
//! Not here: who may have a certificate (`service::certificates`), and what a broker makes of one (`wasmbed-broker`).

mod index;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams,
    CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData, RevokedCertParams, SerialNumber,
    SubjectPublicKeyInfo,
};
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use wasmbed_broker::credentials::{Role, Token};
use wasmbed_wire::Digest;

pub use self::index::Issued;
use self::index::{Index, Line};

const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
const REVOKED: &str = "crl.pem";
/// How long the authority itself is good.
const LIFE: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How long a revocation list is good; a new one is made with each revocation, and brokers do not mind an old one.
const LIST_LIFE: Duration = Duration::from_secs(365 * 86_400);
/// Clocks of others may be behind.
const SKEW: Duration = Duration::from_secs(3600);
/// Bytes of a serial number (RFC 5280 section 4.1.2.2 allows 20).
const SERIAL_BYTES: usize = 16;

/// Why the authority cannot do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// There is none.
    #[error("there is no certificate authority in {}; make one with `wasmbed ca init`", .0.display())]
    Missing(PathBuf),
    /// There is one already.
    #[error("there is a certificate authority in {} already; it stays as it is", .0.display())]
    Exists(PathBuf),
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file does not hold what it should.
    #[error("{} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rcgen::Error,
    },
    /// The request is none, or is not signed by its own key.
    #[error("this is no certificate request that can be signed (RFC 2986, PEM, signed by the key it is for)")]
    Request(#[source] rcgen::Error),
    /// A certificate or list cannot be made.
    #[error("cannot sign")]
    Sign(#[from] rcgen::Error),
    /// No certificate is known by that name.
    #[error("no certificate that is still good was issued to {0:?}; `wasmbed ca list` shows those that were")]
    Unknown(String),
    /// It was revoked, and what was revoked does not come back by itself.
    #[error("the certificate of {0:?} was revoked; only `wasmbed ca issue` gives it another one")]
    Revoked(String),
    /// A token is good for one certificate.
    #[error("the token was used already; have another one made")]
    Used,
    /// The system has no random numbers.
    #[error("the system gives no random numbers ({0})")]
    Random(getrandom::Error),
}

/// Whom a certificate is for.
#[derive(Debug, Clone)]
pub enum Holder {
    /// A client of the broker.
    Client(Role),
    /// A broker, under these DNS names and IP addresses.
    Broker(Vec<String>),
}

impl Holder {
    /// The common name in its certificate.
    pub fn name(&self) -> String {
        match self {
            Holder::Client(role) => role.username(),
            Holder::Broker(names) => names.first().cloned().unwrap_or_default(),
        }
    }
}

/// A certificate authority whose key is at hand.
pub struct Ca {
    dir: PathBuf,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    index: Index,
}

impl std::fmt::Debug for Ca {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ca").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Ca {
    /// Makes an authority in a folder that has none.
    ///
    /// # Errors
    /// If there is one, or the files cannot be written.
    pub fn init(dir: &Path) -> Result<Self, CaError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(file(dir))?;
        if dir.join(KEY).exists() {
            return Err(CaError::Exists(dir.to_owned()));
        }
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Wasmbed fleet");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.serial_number = Some(serial()?);
        (params.not_before, params.not_after) = validity(LIFE);
        let certificate = params.self_signed(&key)?.pem();
        write(&dir.join(CERTIFICATE), &certificate, 0o644)?;
        write(&dir.join(KEY), &key.serialize_pem(), 0o600)?;
        let ca = Ca {
            dir: dir.to_owned(),
            certificate,
            issuer: Issuer::new(params, key),
            index: Index::open(dir).map_err(file(dir))?,
        };
        ca.publish_list()?;
        Ok(ca)
    }

    /// The authority in a folder.
    ///
    /// # Errors
    /// If there is none, or its files cannot be used.
    pub fn load(dir: &Path) -> Result<Self, CaError> {
        let (certificate_path, key_path) = (dir.join(CERTIFICATE), dir.join(KEY));
        if !key_path.exists() {
            return Err(CaError::Missing(dir.to_owned()));
        }
        let damaged = |path: &Path| {
            let path = path.to_owned();
            move |source| CaError::Damaged { path, source }
        };
        let certificate = fs::read_to_string(&certificate_path).map_err(file(&certificate_path))?;
        let key = fs::read_to_string(&key_path).map_err(file(&key_path))?;
        let key = KeyPair::from_pem(&key).map_err(damaged(&key_path))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).map_err(damaged(&certificate_path))?;
        Ok(Ca { dir: dir.to_owned(), certificate, issuer, index: Index::open(dir).map_err(file(dir))? })
    }

    /// Its own certificate, PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Everything it has issued, the newest last.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn issued(&mut self) -> Result<&[Issued], CaError> {
        self.index.read().map_err(file(&self.dir))?;
        Ok(self.index.issued())
    }

    /// Signs a request, whatever it says about its subject: the key is its, the name is `holder`'s.
    ///
    /// # Errors
    /// If it is no request, or cannot be signed.
    pub fn sign(&mut self, request: &str, holder: &Holder, life: Duration) -> Result<Issued, CaError> {
        let request = CertificateSigningRequestParams::from_pem(request).map_err(CaError::Request)?;
        self.certify(&request.public_key, holder, life, None)
    }

    /// Signs a device's request for a token, once.
    ///
    /// # Errors
    /// If the token was used, it is no request, or it cannot be signed.
    pub fn enrol(
        &mut self,
        request: &str,
        token: &Token,
        role: Role,
        life: Duration,
    ) -> Result<Issued, CaError> {
        let request = CertificateSigningRequestParams::from_pem(request).map_err(CaError::Request)?;
        self.index.read().map_err(file(&self.dir))?;
        if self.index.is_used(&token.number) {
            return Err(CaError::Used);
        }
        self.certify(&request.public_key, &Holder::Client(role), life, Some(token.number.clone()))
    }

    fn certify(
        &mut self,
        key: &impl PublicKeyData,
        holder: &Holder,
        life: Duration,
        token: Option<String>,
    ) -> Result<Issued, CaError> {
        let number = serial()?;
        let name = holder.name();
        let mut params = match holder {
            Holder::Client(_) => CertificateParams::default(),
            Holder::Broker(names) => CertificateParams::new(names.clone())?,
        };
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name.as_str());
        params.serial_number = Some(number.clone());
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match holder {
            Holder::Client(_) => ExtendedKeyUsagePurpose::ClientAuth,
            Holder::Broker(_) => ExtendedKeyUsagePurpose::ServerAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        (params.not_before, params.not_after) = validity(life);
        let ends_s = u64::try_from(params.not_after.unix_timestamp()).unwrap_or(0);
        let certificate: Certificate = params.signed_by(key, &self.issuer)?;
        let issued = Issued {
            name,
            serial: Hex(number.to_bytes()).to_string(),
            key: digest(key.der_bytes()),
            ends_s,
            is_revoked: false,
            token,
            certificate: certificate.pem(),
        };
        self.index.add(Line::Issued(issued.clone())).map_err(file(&self.dir))?;
        Ok(issued)
    }

    /// The certificate of a client for the key of this request: the one it has, unless a third of its life or less is
    /// left, or a new one.
    ///
    /// # Errors
    /// If the last one of that name was revoked, it is no request, or it cannot be signed.
    pub fn renew(&mut self, request: &str, role: Role, life: Duration) -> Result<Issued, CaError> {
        let key = CertificateSigningRequestParams::from_pem(request).map_err(CaError::Request)?;
        let key = digest(key.public_key.der_bytes());
        let name = role.username();
        self.index.read().map_err(file(&self.dir))?;
        match self.index.last(&name) {
            Some(last) if last.is_revoked => Err(CaError::Revoked(name)),
            Some(last) if last.key == key && last.left() > life / 3 => Ok(last.clone()),
            _ => self.sign(request, &Holder::Client(role), life),
        }
    }

    /// The certificate a client has, if one is known that was not revoked.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn certificate_of(&mut self, role: Role) -> Result<Option<Issued>, CaError> {
        self.index.read().map_err(file(&self.dir))?;
        Ok(self.index.last(&role.username()).filter(|last| !last.is_revoked).cloned())
    }

    /// Another certificate for the key of one that comes to its end.
    ///
    /// # Errors
    /// If it was revoked, or cannot be signed.
    pub fn extend(&mut self, issued: &Issued, role: Role, life: Duration) -> Result<Issued, CaError> {
        if self.certificate_of(role)?.is_none() {
            return Err(CaError::Revoked(role.username()));
        }
        let damaged = |_| CaError::Sign(rcgen::Error::CouldNotParseCertificate);
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate.as_bytes()).map_err(damaged)?;
        let certificate =
            pem.parse_x509().map_err(|_| CaError::Sign(rcgen::Error::CouldNotParseCertificate))?;
        let key = SubjectPublicKeyInfo::from_der(certificate.public_key().raw)?;
        self.certify(&key, &Holder::Client(role), life, None)
    }

    /// Revokes what a name has, and leaves the name to whoever gets it next.
    ///
    /// # Errors
    /// If the list cannot be written.
    pub fn release(&mut self, name: &str) -> Result<(), CaError> {
        match self.revoke(name) {
            Ok(_) | Err(CaError::Unknown(_)) => {}
            Err(error) => return Err(error),
        }
        self.index.add(Line::Released { name: name.to_owned() }).map_err(file(&self.dir))
    }

    /// Revokes every certificate of a name that is still good, and tells which.
    ///
    /// # Errors
    /// If there is none, or the list cannot be written.
    pub fn revoke(&mut self, name: &str) -> Result<Vec<Issued>, CaError> {
        self.index.read().map_err(file(&self.dir))?;
        let is_concerned =
            |issued: &&Issued| issued.name == name && !issued.is_revoked && !issued.left().is_zero();
        let concerned: Vec<Issued> = self.index.issued().iter().filter(is_concerned).cloned().collect();
        if concerned.is_empty() {
            return Err(CaError::Unknown(name.to_owned()));
        }
        for issued in &concerned {
            let line = Line::Revoked { serial: issued.serial.clone(), at_s: unix_s(SystemTime::now()) };
            self.index.add(line).map_err(file(&self.dir))?;
        }
        self.publish_list()?;
        Ok(concerned)
    }

    /// Writes the revocation list anew.
    fn publish_list(&self) -> Result<(), CaError> {
        let now = OffsetDateTime::from(SystemTime::now());
        let revoked = self.index.revoked().iter().map(|(serial, at_s)| {
            let at = i64::try_from(*at_s).ok().and_then(|at| OffsetDateTime::from_unix_timestamp(at).ok());
            RevokedCertParams {
                serial_number: SerialNumber::from_slice(&Hex::parse(serial)),
                revocation_time: at.unwrap_or(now),
                reason_code: None,
                invalidity_date: None,
            }
        });
        let revoked_certs: Vec<_> = revoked.collect();
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + LIST_LIFE,
            crl_number: SerialNumber::from(revoked_certs.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        write(&self.dir.join(REVOKED), &list.signed_by(&self.issuer)?.pem()?, 0o644)
    }
}

/// From an hour ago until `life` from now, in whole seconds.
fn validity(life: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = SystemTime::now();
    (OffsetDateTime::from(now - SKEW), OffsetDateTime::from(now + life))
}

/// A positive number that nobody can guess, of one length.
fn serial() -> Result<SerialNumber, CaError> {
    let mut bytes = [0; SERIAL_BYTES];
    getrandom::fill(&mut bytes).map_err(CaError::Random)?;
    bytes[0] = bytes[0] & 0x3F | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

fn digest(bytes: &[u8]) -> Digest {
    Digest(Sha256::digest(bytes).into())
}

fn unix_s(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::File { path, source }
}

/// Replaces a file at once.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), CaError> {
    let unfinished = path.with_extension("new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(mode).open(&unfinished)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    write().map_err(file(path))
}

/// Bytes as hexadecimal digits.
struct Hex(Vec<u8>);

impl Hex {
    /// The bytes of digits that [`Hex`] wrote; others are left out.
    fn parse(text: &str) -> Vec<u8> {
        let pairs = text.as_bytes().chunks_exact(2);
        pairs.filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
    }
}

impl std::fmt::Display for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;
    use wasmbed_broker_client::Identity;
    use x509_parser::prelude::{CertificateRevocationList, FromDer, X509Certificate};

    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 86_400);

    fn pump() -> Role {
        Role::parse("pump-7").expect("a device")
    }

    fn request(dir: &TempDir) -> String {
        Identity::load_or_make(dir.path()).expect("a key").request("whoever").expect("a request")
    }

    fn der(pem: &str) -> Vec<u8> {
        x509_parser::pem::parse_x509_pem(pem.as_bytes()).expect("PEM").1.contents
    }

    #[test]
    fn a_certificate_names_its_holder_whatever_the_request_says() {
        let (dir, device) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut ca = Ca::init(dir.path()).expect("an authority");
        let issued = ca.sign(&request(&device), &Holder::Client(pump()), YEAR).expect("signed");
        let (certificate, authority) = (der(&issued.certificate), der(ca.certificate()));
        let (_, certificate) = X509Certificate::from_der(&certificate).expect("a certificate");
        let (_, authority) = X509Certificate::from_der(&authority).expect("a certificate");
        assert_eq!(certificate.subject().to_string(), "CN=pump-7");
        certificate.verify_signature(Some(authority.public_key())).expect("signed by the authority");
        assert!(certificate.validity().is_valid() && !certificate.is_ca());
        assert!(authority.is_ca());
        let mode = fs::metadata(dir.path().join(KEY)).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Ca::init(dir.path()), Err(CaError::Exists(_))));
    }

    #[test]
    fn a_certificate_is_renewed_for_another_key_or_towards_its_end() {
        let (dir, device) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut ca = Ca::init(dir.path()).expect("an authority");
        let mut renew = |request: &str, life| ca.renew(request, pump(), life).expect("signed").serial;
        let first = renew(&request(&device), YEAR);
        assert_eq!(renew(&request(&device), YEAR), first);
        assert_ne!(renew(&request(&tempfile::tempdir().expect("a folder")), YEAR), first, "another key");
        let second = renew(&request(&device), YEAR);
        assert_ne!(renew(&request(&device), YEAR * 4), second, "it ends too soon for that life");
    }

    #[test]
    fn what_was_revoked_is_listed_and_does_not_come_back_by_itself() {
        let (dir, device) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut service = Ca::init(dir.path()).expect("an authority");
        let issued = service.renew(&request(&device), pump(), YEAR).expect("signed");
        // Another process revokes it.
        let mut operator = Ca::load(dir.path()).expect("the authority");
        assert_eq!(operator.revoke("pump-7").expect("revoked"), std::slice::from_ref(&issued));
        let list = der(&fs::read_to_string(dir.path().join(REVOKED)).expect("a list"));
        let (_, list) = CertificateRevocationList::from_der(&list).expect("a list");
        let serials: Vec<_> = list
            .iter_revoked_certificates()
            .map(|revoked| Hex(revoked.raw_serial().to_vec()).to_string())
            .collect();
        assert_eq!(serials, [issued.serial]);
        assert!(matches!(service.renew(&request(&device), pump(), YEAR), Err(CaError::Revoked(_))));
        assert!(matches!(operator.revoke("pump-7"), Err(CaError::Unknown(_))));
        operator.sign(&request(&device), &Holder::Client(pump()), YEAR).expect("by hand it does");
        let good = service.renew(&request(&device), pump(), YEAR).expect("signed");
        service.release("pump-7").expect("released");
        assert_eq!(service.certificate_of(pump()).expect("known"), None);
        let next = service.renew(&request(&device), pump(), YEAR).expect("signed: somebody else's now");
        assert_ne!(next.serial, good.serial);
        let longer = service.extend(&next, pump(), YEAR * 2).expect("signed");
        assert_eq!((longer.key, longer.name.as_str()), (next.key, "pump-7"));
        assert_eq!(service.certificate_of(pump()).expect("known"), Some(longer));
    }

    #[test]
    fn a_token_is_good_for_one_certificate() {
        let (dir, device) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut ca = Ca::init(dir.path()).expect("an authority");
        let token = |number: &str| Token { text: String::new(), number: number.to_owned(), expires_s: 0 };
        let mut enrol = |number| ca.enrol(&request(&device), &token(number), pump(), YEAR);
        enrol("1").expect("signed");
        assert!(matches!(enrol("1"), Err(CaError::Used)));
        enrol("2").expect("signed");
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let dir = tempfile::tempdir().expect("a folder");
        let mut ca = Ca::init(dir.path()).expect("an authority");
        let own = ca.certificate().to_owned();
        for bad in ["", "nothing", own.as_str()] {
            assert!(matches!(ca.renew(bad, pump(), YEAR), Err(CaError::Request(_))), "{bad}");
        }
        assert!(matches!(Ca::load(&dir.path().join("nowhere")), Err(CaError::Missing(_))));
    }
}
