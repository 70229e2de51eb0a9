//! A certificate authority for a test, and the files it makes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wasmbed_broker::{Config, TlsConfig};

pub const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub struct Authority {
    pub certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    dir: TempDir,
}

/// What a client shows.
pub struct Shown {
    pub chain: Vec<CertificateDer<'static>>,
    pub key: PrivateKeyDer<'static>,
}

impl Authority {
    /// An authority whose folder holds the files of a broker: `ca.pem`, `crl.pem`, `broker.pem`, `broker.key`.
    pub fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "an authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).expect("a certificate");
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("ca.pem"), certificate.pem()).expect("written");
        let authority =
            Authority { certificate: certificate.der().clone(), issuer: Issuer::new(params, key), dir };
        authority.revoke(&[]);
        authority.renew_broker(1);
        authority
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Gives the broker another certificate.
    pub fn renew_broker(&self, serial: u64) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        params.serial_number = Some(SerialNumber::from(serial));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        // Each file is whole at once; the pair is not, and is read again when its second half comes.
        for (name, text) in [("broker.key", key.serialize_pem()), ("broker.pem", certificate.pem())] {
            self.replace(name, &text);
        }
    }

    /// Publishes the list of serial numbers that are revoked.
    pub fn revoke(&self, serials: &[u64]) {
        let now = time(SystemTime::now());
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: now,
            next_update: now + YEAR,
            crl_number: SerialNumber::from(serials.len() as u64 + 1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        self.replace("crl.pem", &list.signed_by(&self.issuer).expect("a list").pem().expect("PEM"));
    }

    fn replace(&self, name: &str, text: &str) {
        let draft = self.file("draft");
        std::fs::write(&draft, text).expect("written");
        std::fs::rename(draft, self.file(name)).expect("renamed");
    }

    /// A client's certificate, valid from now for `valid`, or up to now with `None`.
    pub fn issue(&self, name: &str, serial: u64, valid: Option<Duration>) -> Shown {
        let now = SystemTime::now();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = time(now - Duration::from_secs(3600));
        params.not_after = time(valid.map_or(now - Duration::from_secs(1), |valid| now + valid));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        Shown { chain: vec![certificate.der().clone()], key }
    }

    /// Changes a broker's configuration to listen for TLS only.
    pub fn configure(&self, config: &mut Config) {
        config.listen = String::new();
        config.listen_tls = Some("127.0.0.1:0".to_owned());
        config.tls = Some(TlsConfig {
            cert_file: self.file("broker.pem"),
            key_file: self.file("broker.key"),
            client_ca_file: Some(self.file("ca.pem")),
            crl_file: Some(self.file("crl.pem")),
        });
    }

    /// The client's side of TLS with a broker of this authority.
    pub async fn connect(
        &self,
        address: SocketAddr,
        shown: Option<Shown>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shown {
            Some(shown) => builder.with_client_auth_cert(shown.chain, shown.key).expect("a pair"),
            None => builder.with_no_client_auth(),
        };
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::from(address.ip());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

fn time(at: SystemTime) -> time::OffsetDateTime {
    at.into()
}
