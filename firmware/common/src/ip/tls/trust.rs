//! Whom a device believes that has no clock.
//!
//! It knows a time before which it cannot be: its provisioning's, and what has passed since. So a certificate that ended
//! before then is refused. One that begins later is believed: since it was issued, the device knows that its clock is
//! behind, and the whole chain has to be valid at one such later time.

use alloc::vec::Vec;
use core::time::Duration;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
    time_provider::TimeProvider,
};

/// The time that a session begins with: no later than it is.
#[derive(Debug)]
pub(super) struct Now(UnixTime);

impl Now {
    pub(super) fn new(unix_s: u64) -> Self {
        Now(UnixTime::since_unix_epoch(Duration::from_secs(unix_s)))
    }
}

impl TimeProvider for Now {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// Believes what webpki does at some time that is no earlier than the given one.
#[derive(Debug)]
pub(super) struct AtLeast {
    roots: RootCertStore,
    signatures: WebPkiSupportedAlgorithms,
}

impl AtLeast {
    /// A verifier that believes these roots.
    pub(super) fn new(roots: RootCertStore, signatures: WebPkiSupportedAlgorithms) -> Self {
        AtLeast { roots, signatures }
    }
}

impl ServerCertVerifier for AtLeast {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let verify = |now| {
            let (roots, algorithms) = (&self.roots, self.signatures.all);
            verify_server_cert_signed_by_trust_anchor(&certificate, roots, intermediates, now, algorithms)
        };
        let mut verified = verify(now);
        // Each turn one certificate more has begun.
        for _ in 0..=intermediates.len() {
            let Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) =
                verified
            else {
                break;
            };
            verified = verify(not_before);
        }
        verified?;
        verify_server_name(&certificate, name)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(PeerIncompatible::Tls12NotOffered.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}
