//! What rustls calculates with: RustCrypto's ChaCha20-Poly1305, SHA-256 and P-256, one of each.
//!
//! TLS_CHACHA20_POLY1305_SHA256 is fast and takes the same time for all keys without hardware for it, which AES does not.
//! P-256 is the curve that certificates of the fleet have; so the key exchange needs no second one. Signatures are made
//! without random numbers (RFC 6979): a bad source of them does not give the private key away.

use alloc::{boxed::Box, sync::Arc, vec, vec::Vec};
use core::{cell::RefCell, fmt};

use chacha20poly1305::{AeadInPlace as _, ChaCha20Poly1305, KeyInit as _, Tag};
use critical_section::Mutex;
use hmac::Mac;
use p256::{
    EncodedPoint, PublicKey, SecretKey,
    ecdh::diffie_hellman,
    ecdsa::{
        Signature, VerifyingKey,
        signature::{Signer as _, Verifier as _},
    },
    elliptic_curve::sec1::ToEncodedPoint as _,
};
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, NamedGroup, PeerMisbehaved, ProtocolVersion,
    SignatureAlgorithm, SignatureScheme, SupportedCipherSuite, Tls13CipherSuite,
    crypto::{
        ActiveKeyExchange, CipherSuiteCommon, CryptoProvider, GetRandomFailed, KeyProvider, SecureRandom,
        SharedSecret, SupportedKxGroup, WebPkiSupportedAlgorithms,
        cipher::{
            AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter,
            Nonce, OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
            UnsupportedOperationError, make_tls13_aad,
        },
        hash, hmac as mac,
        tls13::HkdfUsingHmac,
    },
    ffdhe_groups::FfdheGroup,
    pki_types::{
        AlgorithmIdentifier, InvalidSignature, PrivateKeyDer, SignatureVerificationAlgorithm,
        SubjectPublicKeyInfoDer, alg_id,
    },
    sign::{self, public_key_to_spki},
};
use sha2::{Digest as _, Sha256};
use wasmbed_wire::provision::PrivateKey;

use crate::random::Random;

/// What all sessions draw from, one after the other: rustls wants it to be there for ever.
static RANDOM: Mutex<RefCell<Option<Random>>> = Mutex::new(RefCell::new(None));

static SUITE: Tls13CipherSuite = Tls13CipherSuite {
    common: CipherSuiteCommon {
        suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
        hash_provider: &Sha256Hash,
        // RFC 8446, section 5.5: sequence numbers end first.
        confidentiality_limit: u64::MAX,
    },
    hkdf_provider: &HkdfUsingHmac(&HmacSha256),
    aead_alg: &Chacha20Poly1305Aead,
    quic: None,
};

const SIGNATURES: WebPkiSupportedAlgorithms = WebPkiSupportedAlgorithms {
    all: &[&EcdsaP256Sha256],
    mapping: &[(SignatureScheme::ECDSA_NISTP256_SHA256, &[&EcdsaP256Sha256])],
};

/// Everything together.
pub(super) fn provider() -> CryptoProvider {
    CryptoProvider {
        cipher_suites: vec![SupportedCipherSuite::Tls13(&SUITE)],
        kx_groups: vec![&Secp256r1],
        signature_verification_algorithms: SIGNATURES,
        secure_random: &Drawn,
        key_provider: &NoFiles,
    }
}

/// Sets the key of the next draw.
pub(super) fn seed(key: [u8; 32]) {
    critical_section::with(|cs| RANDOM.replace(cs, Some(Random::new(key))));
}

/// Random bytes from [`RANDOM`].
#[derive(Debug)]
struct Drawn;

impl SecureRandom for Drawn {
    fn fill(&self, out: &mut [u8]) -> Result<(), GetRandomFailed> {
        critical_section::with(|cs| match &mut *RANDOM.borrow_ref_mut(cs) {
            Some(random) => random.draw(out).map_err(|_| GetRandomFailed),
            None => Err(GetRandomFailed),
        })
    }
}

/// Private keys are provisioned as numbers.
#[derive(Debug)]
struct NoFiles;

impl KeyProvider for NoFiles {
    fn load_private_key(&self, _: PrivateKeyDer<'static>) -> Result<Arc<dyn sign::SigningKey>, Error> {
        Err(Error::General("private keys are no files here".into()))
    }
}

struct Sha256Hash;

impl hash::Hash for Sha256Hash {
    fn start(&self) -> Box<dyn hash::Context> {
        Box::new(Hashing(Sha256::new()))
    }

    fn hash(&self, data: &[u8]) -> hash::Output {
        hash::Output::new(&Sha256::digest(data))
    }

    fn output_len(&self) -> usize {
        Sha256::output_size()
    }

    fn algorithm(&self) -> hash::HashAlgorithm {
        hash::HashAlgorithm::SHA256
    }
}

struct Hashing(Sha256);

impl hash::Context for Hashing {
    fn fork_finish(&self) -> hash::Output {
        hash::Output::new(&self.0.clone().finalize())
    }

    fn fork(&self) -> Box<dyn hash::Context> {
        Box::new(Hashing(self.0.clone()))
    }

    fn finish(self: Box<Self>) -> hash::Output {
        hash::Output::new(&self.0.finalize())
    }

    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
}

struct HmacSha256;

impl mac::Hmac for HmacSha256 {
    fn with_key(&self, key: &[u8]) -> Box<dyn mac::Key> {
        // RFC 2104, section 2: longer keys are hashed, shorter ones are filled up with zeros.
        let mut block = [0; 64];
        match block.get_mut(..key.len()) {
            Some(place) => place.copy_from_slice(key),
            None => block[..32].copy_from_slice(&Sha256::digest(key)),
        }
        Box::new(HmacKey(Mac::new(&block.into())))
    }

    fn hash_output_len(&self) -> usize {
        Sha256::output_size()
    }
}

struct HmacKey(hmac::Hmac<Sha256>);

impl mac::Key for HmacKey {
    fn sign_concat(&self, first: &[u8], middle: &[&[u8]], last: &[u8]) -> mac::Tag {
        let mut hmac = self.0.clone();
        hmac.update(first);
        middle.iter().for_each(|part| hmac.update(part));
        hmac.update(last);
        mac::Tag::new(&hmac.finalize().into_bytes())
    }

    fn tag_len(&self) -> usize {
        Sha256::output_size()
    }
}

struct Chacha20Poly1305Aead;

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

impl Tls13AeadAlgorithm for Chacha20Poly1305Aead {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Sealing::new(&key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Sealing::new(&key, iv))
    }

    fn key_len(&self) -> usize {
        KEY_BYTES
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Ok(ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv })
    }
}

/// One direction of a session.
struct Sealing {
    cipher: ChaCha20Poly1305,
    iv: Iv,
}

impl Sealing {
    fn new(key: &AeadKey, iv: Iv) -> Self {
        // It has as many bytes as it was asked for.
        let cipher = ChaCha20Poly1305::new(chacha20poly1305::Key::from_slice(key.as_ref()));
        Sealing { cipher, iv }
    }
}

impl MessageEncrypter for Sealing {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        seq: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let bytes = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(bytes);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let nonce = Nonce::new(&self.iv, seq).0.into();
        let sealed = self.cipher.encrypt_in_place_detached(&nonce, &make_tls13_aad(bytes), payload.as_mut());
        payload.extend_from_slice(&sealed.map_err(|_| Error::EncryptError)?);
        // What a record says of itself (RFC 8446, section 5.2).
        let (typ, version) = (ContentType::ApplicationData, ProtocolVersion::TLSv1_2);
        Ok(OutboundOpaqueMessage::new(typ, version, payload))
    }

    fn encrypted_payload_len(&self, payload_len: usize) -> usize {
        payload_len + 1 + TAG_BYTES
    }
}

impl MessageDecrypter for Sealing {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        seq: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let bytes = message.payload.len();
        let nonce = Nonce::new(&self.iv, seq).0.into();
        let text_bytes = bytes.checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let (text, tag) = message.payload.split_at_mut(text_bytes);
        self.cipher
            .decrypt_in_place_detached(&nonce, &make_tls13_aad(bytes), text, Tag::from_slice(tag))
            .map_err(|_| Error::DecryptError)?;
        message.payload.truncate(text_bytes);
        message.into_tls13_unpadded_message()
    }
}

#[derive(Debug)]
struct Secp256r1;

impl SupportedKxGroup for Secp256r1 {
    fn start(&self) -> Result<Box<dyn ActiveKeyExchange>, Error> {
        // Of 2^32 draws one is no key.
        loop {
            let mut scalar = [0; 32];
            Drawn.fill(&mut scalar)?;
            if let Ok(key) = SecretKey::from_slice(&scalar) {
                let public = key.public_key().to_encoded_point(false);
                return Ok(Box::new(Exchange { key, public }));
            }
        }
    }

    fn ffdhe_group(&self) -> Option<FfdheGroup<'static>> {
        None
    }

    fn name(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

struct Exchange {
    key: SecretKey,
    public: EncodedPoint,
}

impl ActiveKeyExchange for Exchange {
    fn complete(self: Box<Self>, peer: &[u8]) -> Result<SharedSecret, Error> {
        let peer = PublicKey::from_sec1_bytes(peer).map_err(|_| PeerMisbehaved::InvalidKeyShare)?;
        let shared = diffie_hellman(self.key.to_nonzero_scalar(), peer.as_affine());
        Ok(SharedSecret::from(&shared.raw_secret_bytes()[..]))
    }

    fn pub_key(&self) -> &[u8] {
        self.public.as_bytes()
    }

    fn group(&self) -> NamedGroup {
        NamedGroup::secp256r1
    }
}

#[derive(Debug)]
struct EcdsaP256Sha256;

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let key = VerifyingKey::from_sec1_bytes(public_key).map_err(|_| InvalidSignature)?;
        let signature = Signature::from_der(signature).map_err(|_| InvalidSignature)?;
        key.verify(message, &signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

/// The device's own private key. It is not shown.
#[derive(Clone)]
pub(super) struct SigningKey(Arc<p256::ecdsa::SigningKey>);

impl SigningKey {
    /// `None` if it is no private key.
    pub(super) fn new(PrivateKey(scalar): &PrivateKey) -> Option<Self> {
        p256::ecdsa::SigningKey::from_slice(scalar).ok().map(|key| SigningKey(Arc::new(key)))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

impl sign::SigningKey for SigningKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn sign::Signer>> {
        let is_offered = offered.contains(&SignatureScheme::ECDSA_NISTP256_SHA256);
        is_offered.then(|| Box::new(self.clone()) as Box<dyn sign::Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let point = self.0.verifying_key().to_encoded_point(false);
        Some(public_key_to_spki(&alg_id::ECDSA_P256, point))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

impl sign::Signer for SigningKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signed: Result<Signature, _> = self.0.try_sign(message);
        let signature = signed.map_err(|_| Error::General("this key does not sign".into()))?;
        Ok(signature.to_der().as_bytes().to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ECDSA_NISTP256_SHA256
    }
}
