//! TLS 1.3 (RFC 8446) under the client, sans-I/O: what TCP brings and what the client has to say come in, what the
//! client gets and what TCP is to carry come out.
//!
//! rustls speaks the protocol, in its form without buffers and sockets. The broker is who its certificate says: issued by
//! the provisioned CA, for the name or address that the provisioning has. The board shows its own certificate.
//! Sessions are not resumed.
//!
//! Not here: the arithmetic ([`provider`]), and what time it is ([`trust`]).

mod provider;
mod trust;

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::fmt;

use rustls::{
    AlertDescription, CertificateError, ClientConfig, Error, RootCertStore,
    client::{ClientConnectionData, Resumption, UnbufferedClientConnection},
    pki_types::{CertificateDer, ServerName},
    sign::{CertifiedKey, SingleCertAndKey},
    unbuffered::{
        ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError, UnbufferedStatus,
        WriteTraffic,
    },
    version::TLS13,
};
use wasmbed_wire::provision;

use provider::SigningKey;
use trust::{AtLeast, Now};

/// Room for the largest record: its header and what it may hold (5.2), as rustls takes it.
const RECORD_BYTES: usize = 5 + 16_384 + 2048;

/// One session at a time.
pub(super) struct Tls {
    settings: provision::Tls<'static>,
    name: &'static str,
    connection: Option<Box<UnbufferedClientConnection>>,
    /// Records that were received.
    incoming: Box<[u8]>,
    filled: usize,
    /// Records that wait for TCP.
    outgoing: Vec<u8>,
    /// Plaintext that waits for the client.
    received: Vec<u8>,
    is_up: bool,
    is_closed: bool,
    failure: Option<Failed>,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Failed {
    /// The provisioned CA cannot be read.
    BadCa,
    /// The provisioned private key is none, or not that of the certificate.
    BadKey,
    /// The provisioned name is neither a DNS name nor an address.
    BadName,
    /// The broker's certificate is not for this name.
    OtherName(&'static str),
    /// There is nothing to make keys from.
    NoRandom,
    /// A message of the handshake is larger than what there is room for.
    TooLarge,
    /// What rustls says.
    Tls(Error),
}

impl Tls {
    /// Sessions with a broker that is known by this name if the settings have no other.
    pub(super) fn new(settings: provision::Tls<'static>, host: &'static str) -> Self {
        Tls {
            settings,
            name: settings.name.unwrap_or(host),
            connection: None,
            incoming: vec![0; RECORD_BYTES].into_boxed_slice(),
            filled: 0,
            outgoing: Vec::new(),
            received: Vec::new(),
            is_up: false,
            is_closed: false,
            failure: None,
        }
    }

    /// Begins a session. It is `least_s` in Unix time or later; `seed` has nobody else, and no other session.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub(super) fn open(&mut self, least_s: u64, seed: [u8; 32]) -> Result<(), Failed> {
        self.close();
        provider::seed(seed);
        let config = self.config(least_s)?;
        let name = ServerName::try_from(self.name).map_err(|_| Failed::BadName)?;
        let connection = UnbufferedClientConnection::new(Arc::new(config), name)?;
        self.connection = Some(Box::new(connection));
        Ok(())
    }

    /// Drops the session, if there is one.
    pub(super) fn close(&mut self) {
        self.connection = None;
        self.filled = 0;
        self.outgoing = Vec::new();
        self.received = Vec::new();
        (self.is_up, self.is_closed, self.failure) = (false, false, None);
    }

    /// Takes records from TCP and returns how many bytes of them; the rest has to wait until the client has taken what
    /// was received before.
    pub(super) fn on_bytes(&mut self, bytes: &[u8]) -> usize {
        if !self.received.is_empty() {
            return 0;
        }
        let free = self.incoming.get_mut(self.filled..).unwrap_or_default();
        let taken = free.iter_mut().zip(bytes).map(|(place, byte)| *place = *byte).count();
        self.filled += taken;
        taken
    }

    /// Does what can be done with what was received, and takes of the plaintext for the broker: how many bytes.
    ///
    /// # Errors
    /// Why the session is over. What there is of [`Tls::output`] tells the broker.
    pub(super) fn advance(&mut self, plaintext: &[u8]) -> Result<usize, Failed> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let done = self.process(plaintext);
        if let Err(failure) = &done {
            self.say_why();
            self.failure = Some(failure.clone());
        }
        done
    }

    /// Whether the broker and the board know each other, as far as the board can tell: it hears later if the broker
    /// refuses its certificate.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether the broker has said that it says no more.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Plaintext for the client.
    pub(super) fn received(&self) -> &[u8] {
        &self.received
    }

    /// The client took so many bytes.
    pub(super) fn on_taken(&mut self, bytes: usize) {
        self.received.drain(..bytes.min(self.received.len()));
    }

    /// Records for TCP.
    pub(super) fn output(&self) -> &[u8] {
        &self.outgoing
    }

    /// TCP took so many bytes.
    pub(super) fn on_sent(&mut self, bytes: usize) {
        self.outgoing.drain(..bytes.min(self.outgoing.len()));
    }

    fn config(&self, least_s: u64) -> Result<ClientConfig, Failed> {
        let provision::Tls { ca, certificate, key, .. } = self.settings;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(ca)).map_err(|_| Failed::BadCa)?;
        let provider = Arc::new(provider::provider());
        let verifier = AtLeast::new(roots, provider.signature_verification_algorithms);
        let key = SigningKey::new(&key).ok_or(Failed::BadKey)?;
        let key = CertifiedKey::new(vec![CertificateDer::from(certificate)], Arc::new(key));
        key.keys_match().map_err(|_| Failed::BadKey)?;
        let mut config = ClientConfig::builder_with_details(provider, Arc::new(Now::new(least_s)))
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn process(&mut self, plaintext: &[u8]) -> Result<usize, Failed> {
        let Some(connection) = &mut self.connection else { return Ok(0) };
        loop {
            let records = self.incoming.get_mut(..self.filled).unwrap_or_default();
            let UnbufferedStatus { discard, state } = connection.process_tls_records(records);
            // How much was taken, once there is nothing more to do.
            let done = match state {
                Ok(ConnectionState::EncodeTlsData(mut record)) => {
                    encode(&mut record, &mut self.outgoing).map(|()| None)
                }
                // They wait for TCP in a buffer of ours.
                Ok(ConnectionState::TransmitTlsData(records)) => {
                    records.done();
                    Ok(None)
                }
                Ok(ConnectionState::ReadTraffic(mut traffic)) => loop {
                    match traffic.next_record() {
                        Some(Ok(record)) => self.received.extend_from_slice(record.payload),
                        Some(Err(error)) => break Err(error.into()),
                        None => break Ok(None),
                    }
                },
                Ok(ConnectionState::PeerClosed) => {
                    self.is_closed = true;
                    Ok(None)
                }
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    self.is_up = true;
                    // One record at a time, so that what waits for TCP does not grow.
                    let taken = if self.outgoing.is_empty() { plaintext } else { &[] };
                    encrypt(&mut traffic, taken, &mut self.outgoing).map(|()| Some(taken.len()))
                }
                Ok(_) => Ok(Some(0)),
                Err(Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                )) => Err(Failed::OtherName(self.name)),
                Err(error) => Err(error.into()),
            };
            self.incoming.copy_within(discard.min(self.filled)..self.filled, 0);
            self.filled = self.filled.saturating_sub(discard);
            match done? {
                Some(_) if self.filled == self.incoming.len() => return Err(Failed::TooLarge),
                Some(taken) => return Ok(taken),
                None => {}
            }
        }
    }

    /// Takes the alert that rustls has for the broker.
    fn say_why(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        let records = self.incoming.get_mut(..self.filled).unwrap_or_default();
        if let Ok(ConnectionState::EncodeTlsData(mut alert)) = connection.process_tls_records(records).state {
            // The session is over, with an alert or without.
            let _ = encode(&mut alert, &mut self.outgoing);
        }
    }
}

/// Adds a record of the handshake.
fn encode(record: &mut EncodeTlsData<'_, ClientConnectionData>, out: &mut Vec<u8>) -> Result<(), Failed> {
    append(out, |place| {
        record.encode(place).map_err(|error| match error {
            EncodeError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
            EncodeError::AlreadyEncoded => None,
        })
    })
}

/// Adds a record with this plaintext, if there is any.
fn encrypt(
    traffic: &mut WriteTraffic<'_, ClientConnectionData>,
    plaintext: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Failed> {
    if plaintext.is_empty() {
        return Ok(());
    }
    append(out, |place| {
        traffic.encrypt(plaintext, place).map_err(|error| match error {
            EncryptError::InsufficientSize(InsufficientSizeError { required_size }) => Some(required_size),
            EncryptError::EncryptExhausted => None,
        })
    })
}

/// Adds what `write` writes: how much room it needs is in its first answer.
fn append(
    out: &mut Vec<u8>,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Option<usize>>,
) -> Result<(), Failed> {
    let end = out.len();
    let mut written = write(&mut []);
    if let Err(Some(needed)) = written {
        out.resize(end + needed, 0);
        written = write(out.get_mut(end..).unwrap_or_default());
    }
    out.truncate(end + written.unwrap_or(0));
    written.map(drop).map_err(|_| Failed::Tls(Error::EncryptError))
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Failed::Tls(error)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failed::BadCa => "the provisioned certificate of the CA cannot be read",
            Failed::BadKey => "the provisioned private key is not that of the provisioned certificate",
            Failed::BadName => "the provisioned name of the broker is neither a DNS name nor an address",
            Failed::OtherName(name) => return write!(f, "the broker's certificate is not for {name}"),
            Failed::NoRandom => "there are no random bytes for TLS; provision the board with a secret",
            Failed::TooLarge => "what the broker says in the handshake is too large",
            Failed::Tls(Error::InvalidCertificate(error)) => return certificate_error(error, f),
            Failed::Tls(Error::AlertReceived(alert)) => return alert_received(*alert, f),
            Failed::Tls(Error::InvalidMessage(_)) => {
                "what the broker says is not TLS; is this its port for TLS?"
            }
            Failed::Tls(Error::PeerIncompatible(_)) => {
                "the broker has neither TLS 1.3 nor what else it takes"
            }
            Failed::Tls(Error::DecryptError) => "what the broker says was changed on its way",
            Failed::Tls(_) => "the broker does not keep to TLS 1.3",
        })
    }
}

fn certificate_error(error: &CertificateError, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("the broker's certificate ")?;
    f.write_str(match error {
        CertificateError::UnknownIssuer => "is not from the provisioned CA",
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "is not one for servers"
        }
        CertificateError::BadSignature => {
            "is not from the provisioned CA, or its private key is another: a signature is wrong"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "is not signed with ECDSA on P-256 and SHA-256"
        }
        CertificateError::BadEncoding => "cannot be read",
        _ => "cannot be used",
    })
}

fn alert_received(alert: AlertDescription, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(match alert {
        AlertDescription::CertificateRequired => "the broker wants a certificate",
        AlertDescription::CertificateRevoked => "the broker refuses the certificate: it is revoked",
        AlertDescription::CertificateExpired => "the broker refuses the certificate: it has expired",
        AlertDescription::UnknownCA => "the broker refuses the certificate: it is from another CA",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::AccessDenied => "the broker refuses the certificate",
        AlertDescription::ProtocolVersion => "the broker has no TLS 1.3",
        AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
            "the broker has neither this cipher suite, TLS_CHACHA20_POLY1305_SHA256, nor what else it takes"
        }
        alert => return write!(f, "the broker ended TLS with alert {}", u8::from(alert)),
    })
}

#[cfg(test)]
mod tests;
