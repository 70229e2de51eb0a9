//! What is written into a device when it is created: who it is, whom it trusts, and where its broker is.
//!
//! On boards the blob sits at a fixed flash address of its own, so that any firmware finds it:
//! the magic `WBPV`, the length of the CBOR as `u16` little-endian, then the CBOR.

use core::fmt;

use minicbor::{
    Decode, Decoder, Encode, Encoder,
    decode::Error as DecodeError,
    encode::{Error as EncodeError, Write},
};

use crate::{DeviceId, PublicKey, Seq};

/// The first four bytes of a provisioning blob.
pub const MAGIC: [u8; 4] = *b"WBPV";
/// Bytes before the CBOR.
pub const HEADER_BYTES: usize = 6;
/// Largest blob with its header, in bytes: what every board keeps free for it.
pub const MAX_BYTES: usize = 4096;

/// Identity and trust of one device.
#[derive(Debug, Clone, Copy, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct Provision<'a> {
    /// The device.
    #[n(0)]
    pub device: DeviceId,
    /// Ed25519 public keys (RFC 8032) whose artifacts this device runs.
    #[b(1)]
    pub trusted: Seq<'a, PublicKey>,
    /// This start numbers its connects above this. Boards whose memory is lost with the power need it
    /// to number them upwards for ever: who starts them writes the time, in seconds of Unix time.
    #[n(2)]
    #[cbor(default)]
    pub boot_floor: u32,
    /// What the secrets of its modules are made from; absent in a device that was made without.
    #[n(3)]
    pub secret: Option<DeviceSecret>,
    /// The broker that the device connects to itself; absent where its messages take the serial link.
    #[b(4)]
    pub broker: Option<Broker<'a>>,
}

/// Where a device finds its broker, and as whom it connects. MQTT 5 over TCP, or over TLS 1.3 on top of it.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Broker<'a> {
    /// DNS name or IPv4 address.
    #[b(0)]
    pub host: &'a str,
    /// TCP port.
    #[n(1)]
    pub port: u16,
    /// MQTT user name.
    #[b(2)]
    pub username: &'a str,
    /// MQTT password; it is never shown. Empty where the device shows a certificate instead.
    #[b(3)]
    pub password: &'a str,
    /// First level or levels of every topic.
    #[b(4)]
    pub prefix: &'a str,
    /// How the connection is kept from others; absent where it is not.
    #[b(5)]
    pub tls: Option<Tls<'a>>,
}

/// Whom a device trusts to be its broker, and how it shows who it is itself. Signatures are ECDSA on P-256 with SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Tls<'a> {
    /// DER of the X.509 certificate of who issues the broker's.
    #[b(0)]
    #[cbor(with = "minicbor::bytes")]
    pub ca: &'a [u8],
    /// DER of the device's own X.509 certificate.
    #[b(1)]
    #[cbor(with = "minicbor::bytes")]
    pub certificate: &'a [u8],
    /// The private key for it.
    #[n(2)]
    pub key: PrivateKey,
    /// DNS name or IP address that the broker's certificate has to be for, where that is not [`Broker::host`]: a
    /// device in an emulator reaches a broker on its host under another address.
    #[b(3)]
    pub name: Option<&'a str>,
}

impl fmt::Debug for Broker<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("username", &self.username)
            .field("prefix", &self.prefix)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

/// 32 random bytes that only the device and its maker have. They are never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeviceSecret(pub [u8; 32]);

/// A private key on P-256: the scalar, most significant byte first (SEC 1, section 2.3.7). It is never shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PrivateKey(pub [u8; 32]);

/// 32 bytes that travel as such, and are not shown.
macro_rules! hidden {
    ($type:ident) => {
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), "(..)"))
            }
        }

        impl<C> Encode<C> for $type {
            fn encode<W: Write>(&self, e: &mut Encoder<W>, _: &mut C) -> Result<(), EncodeError<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> Decode<'b, C> for $type {
            fn decode(d: &mut Decoder<'b>, _: &mut C) -> Result<Self, DecodeError> {
                let at = d.position();
                let bytes = d.bytes()?.try_into();
                bytes.map($type).map_err(|_| DecodeError::message("not 32 bytes").at(at))
            }
        }
    };
}

hidden!(DeviceSecret);
hidden!(PrivateKey);

/// Why a provisioning area holds nothing usable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProvisionError {
    /// The area does not begin with [`MAGIC`]: the device was never provisioned.
    Missing,
    /// The contents cannot be read.
    Malformed,
}

impl<'a> Provision<'a> {
    /// Reads the blob at the start of `area`; what follows it does not matter.
    pub fn read(area: &'a [u8]) -> Result<Self, ProvisionError> {
        let rest = area.strip_prefix(&MAGIC).ok_or(ProvisionError::Missing)?;
        let (len, rest) = rest.split_first_chunk::<2>().ok_or(ProvisionError::Malformed)?;
        let cbor = rest.get(..usize::from(u16::from_le_bytes(*len))).ok_or(ProvisionError::Malformed)?;
        minicbor::decode(cbor).map_err(|_| ProvisionError::Malformed)
    }

    /// Writes the blob to the start of `area` and returns its length, or `None` if it does not fit.
    pub fn write(&self, area: &mut [u8]) -> Option<usize> {
        let (header, body) = area.split_at_mut_checked(HEADER_BYTES)?;
        let room = body.len();
        let mut rest = &mut body[..];
        minicbor::encode(self, &mut rest).ok()?;
        let len = room - rest.len();
        header[..4].copy_from_slice(&MAGIC);
        header[4..].copy_from_slice(&u16::try_from(len).ok()?.to_le_bytes());
        Some(HEADER_BYTES + len)
    }
}
