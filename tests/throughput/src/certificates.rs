//! An authority for the time of a measurement, and what it issues.

use std::{fs, path::Path, sync::Arc};

use anyhow::Result;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};
use tokio_rustls::TlsConnector;

pub(crate) struct Certificates {
    authority: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    /// One key for all clients: making thousands is not what is measured.
    client: KeyPair,
}

impl Certificates {
    /// Writes `ca.pem`, `broker.pem` and `broker.key` into a folder.
    pub(crate) fn write(dir: &Path) -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "bench");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key)?;
        fs::write(dir.join("ca.pem"), authority.pem())?;
        let der = authority.der().clone();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let broker = CertificateParams::new(["127.0.0.1".to_owned()])?.signed_by(&key, &issuer)?;
        fs::write(dir.join("broker.pem"), broker.pem())?;
        fs::write(dir.join("broker.key"), key.serialize_pem())?;
        Ok(Certificates { authority: der, issuer, client: KeyPair::generate()? })
    }

    /// What a client of this name connects with.
    pub(crate) fn connector(&self, name: &str) -> Result<TlsConnector> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&self.client, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.client.serialize_der()));
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![certificate.der().clone()], key)?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}
