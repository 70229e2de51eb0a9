//! Against rustls as the broker, through memory.

use std::{
    io::{Read as _, Write as _},
    sync::Arc,
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    date_time_ymd,
};
use rustls::{
    ServerConfig, ServerConnection,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
    server::WebPkiClientVerifier,
};
use wasmbed_wire::provision::PrivateKey;

use super::*;

const NAME: &str = "broker.example";
/// In 2026.
const NOW_S: u64 = 1_780_000_000;

struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    /// With all those above it, but for the topmost.
    chain: Vec<CertificateDer<'static>>,
}

/// A certificate and its key.
struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "a CA");
    params
}

impl Ca {
    fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = ca_params().self_signed(&key).expect("a certificate").der().clone();
        Ca { issuer: Issuer::new(ca_params(), key), certificate, chain: vec![] }
    }

    fn below(&self, params: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").der().clone();
        let chain = [vec![certificate.clone()], self.chain.clone()].concat();
        Ca { issuer: Issuer::new(params, key), certificate, chain }
    }

    fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate").der().clone();
        Identity { chain: [vec![certificate], self.chain.clone()].concat(), key }
    }
}

fn params(name: &str, purpose: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages.push(purpose);
    params
}

fn broker_params() -> CertificateParams {
    params(NAME, ExtendedKeyUsagePurpose::ServerAuth)
}

fn device_params() -> CertificateParams {
    params("pump-7", ExtendedKeyUsagePurpose::ClientAuth)
}

/// The scalar in PKCS #8 of a key on P-256 (RFC 5915): an octet string after the version.
fn scalar(key: &KeyPair) -> PrivateKey {
    const BEFORE: &[u8] = &[2, 1, 1, 4, 32];
    let der = key.serialize_der();
    let at = der.windows(BEFORE.len()).position(|bytes| bytes == BEFORE).expect("a version") + BEFORE.len();
    PrivateKey(der[at..at + 32].try_into().expect("32 bytes"))
}

fn leaked(der: &[u8]) -> &'static [u8] {
    der.to_vec().leak()
}

fn settings(ca: &Ca, device: &Identity) -> provision::Tls<'static> {
    let (ca, certificate) = (leaked(&ca.certificate), leaked(&device.chain[0]));
    provision::Tls { ca, certificate, key: scalar(&device.key), name: None }
}

/// A broker that knows devices by certificates of this CA.
fn broker(devices: &Ca, identity: &Identity) -> ServerConnection {
    let mut roots = RootCertStore::empty();
    roots.add(devices.certificate.clone()).expect("a CA");
    let provider = Arc::new(ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let key = PrivateKeyDer::try_from(identity.key.serialize_der()).expect("PKCS #8");
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(identity.chain.clone(), key)
        .expect("an identity");
    ServerConnection::new(Arc::new(config)).expect("a connection")
}

/// A board and its broker.
struct World {
    board: Tls,
    broker: ServerConnection,
    /// What the broker did not like.
    refused: Option<Error>,
    /// What the client got.
    heard: Vec<u8>,
}

impl World {
    fn new(settings: provision::Tls<'static>, broker: ServerConnection) -> Self {
        let mut board = Tls::new(settings, NAME);
        board.open(NOW_S, [7; 32]).expect("usable settings");
        World { board, broker, refused: None, heard: vec![] }
    }

    /// One whose parties are of one CA.
    fn of(ca: &Ca) -> Self {
        let device = ca.issue(&device_params());
        World::new(settings(ca, &device), broker(ca, &ca.issue(&broker_params())))
    }

    /// What the board has to say.
    fn said(&mut self) -> Vec<u8> {
        let said = self.board.output().to_vec();
        self.board.on_sent(said.len());
        said
    }

    /// What the broker makes of this.
    fn tell_broker(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.refused.is_none() {
            self.broker.read_tls(&mut bytes).expect("memory");
            self.refused = self.broker.process_new_packets().err();
        }
    }

    /// What the broker has to say.
    fn answered(&mut self) -> Vec<u8> {
        let mut answered = vec![];
        while self.broker.wants_write() {
            self.broker.write_tls(&mut answered).expect("memory");
        }
        answered
    }

    /// The board hears this, in pieces of so many bytes.
    fn tell_board(&mut self, bytes: &[u8], piece: usize) -> Result<(), Failed> {
        for mut piece in bytes.chunks(piece) {
            while !piece.is_empty() {
                piece = &piece[self.board.on_bytes(piece)..];
                self.board.advance(&[])?;
                self.heard.extend_from_slice(self.board.received());
                self.board.on_taken(self.board.received().len());
            }
        }
        Ok(())
    }

    /// Lets both talk until neither has anything to say.
    fn run(&mut self, piece: usize) -> Result<(), Failed> {
        self.board.advance(&[])?;
        loop {
            let (said, answered) = (self.said(), self.answered());
            if said.is_empty() && answered.is_empty() {
                return Ok(());
            }
            self.tell_broker(&said);
            self.tell_board(&answered, piece)?;
        }
    }

    fn up(ca: &Ca) -> Self {
        let mut world = World::of(ca);
        assert_eq!(world.run(usize::MAX), Ok(()));
        assert!(world.board.is_up() && !world.broker.is_handshaking());
        world
    }
}

fn failure(world: &mut World) -> String {
    let failed = world.run(usize::MAX).expect_err("a failure");
    assert!(world.board.advance(b"hush").is_err(), "it does not go on");
    failed.to_string()
}

#[test]
fn board_and_broker_know_each_other_and_talk() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let mut world = World::new(settings(&ca, &device), broker(&ca, &ca.issue(&broker_params())));
    assert_eq!(world.run(usize::MAX), Ok(()));
    assert_eq!(world.broker.peer_certificates(), Some(&device.chain[..]));

    assert_eq!(world.board.advance(b"CONNECT"), Ok(7));
    assert_eq!(world.board.advance(b"more"), Ok(0), "TCP has not taken the last record yet");
    let said = world.said();
    assert!(!said.windows(7).any(|bytes| bytes == b"CONNECT"));
    world.tell_broker(&said);
    let mut heard = [0; 16];
    assert_eq!(world.broker.reader().read(&mut heard).expect("plaintext"), 7);
    assert_eq!(heard[..7], *b"CONNECT");

    // More than one record.
    let message: Vec<u8> = (0..50_000_u32).map(|n| n as u8).collect();
    for part in message.chunks(40_000) {
        world.broker.writer().write_all(part).expect("memory");
        let answered = world.answered();
        world.tell_board(&answered, 1460).expect("intact");
    }
    assert_eq!(world.heard, message);
}

#[test]
fn what_arrives_byte_by_byte_is_the_same() {
    let mut world = World::of(&Ca::new());
    assert_eq!(world.run(1), Ok(()));
    assert!(world.board.is_up());
}

#[test]
fn a_client_that_does_not_take_holds_the_broker_up() {
    let mut world = World::up(&Ca::new());
    world.broker.writer().write_all(&[1; 100]).expect("memory");
    let first = world.answered();
    assert_eq!(world.board.on_bytes(&first), first.len());
    assert_eq!(world.board.advance(b"ping"), Ok(4), "it can still speak");
    world.broker.writer().write_all(&[2; 100]).expect("memory");
    let second = world.answered();
    assert_eq!(world.board.on_bytes(&second), 0);
    world.board.on_taken(60);
    assert_eq!(world.board.on_bytes(&second), 0);
    assert_eq!(world.board.received(), [1; 40]);
    world.board.on_taken(40);
    assert_eq!(world.tell_board(&second, 1000), Ok(()));
    assert_eq!(world.heard, [2; 100]);
}

#[test]
fn a_broker_that_ends_it_is_heard_to_its_end() {
    let mut world = World::up(&Ca::new());
    world.broker.writer().write_all(b"DISCONNECT").expect("memory");
    world.broker.send_close_notify();
    let answered = world.answered();
    assert_eq!(world.tell_board(&answered, 1000), Ok(()));
    assert_eq!(world.heard, b"DISCONNECT");
    assert!(world.board.is_closed());
}

#[test]
fn keys_are_changed_when_the_broker_asks() {
    let mut world = World::up(&Ca::new());
    for round in 0..3 {
        world.broker.refresh_traffic_keys().expect("connected");
        world.broker.writer().write_all(&[round]).expect("memory");
        let answered = world.answered();
        assert_eq!(world.tell_board(&answered, 1000), Ok(()));
        assert_eq!(world.board.advance(b"x"), Ok(1));
        let said = world.said();
        world.tell_broker(&said);
        assert_eq!(world.refused, None);
    }
    assert_eq!(world.heard, [0, 1, 2]);
}

#[test]
fn a_broker_is_known_by_name_or_address() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let connects = |host: &'static str, name: Option<&'static str>, certified: &str| {
        let identity = ca.issue(&params(certified, ExtendedKeyUsagePurpose::ServerAuth));
        let mut board = Tls::new(provision::Tls { name, ..settings(&ca, &device) }, host);
        board.open(NOW_S, [7; 32]).expect("usable settings");
        World { board, broker: broker(&ca, &identity), refused: None, heard: vec![] }.run(usize::MAX)
    };
    assert_eq!(connects("10.0.2.2", None, "10.0.2.2"), Ok(()));
    assert_eq!(connects("10.0.2.2", None, "10.0.2.3"), Err(Failed::OtherName("10.0.2.2")));
    assert_eq!(connects("10.0.2.2", Some("localhost"), "localhost"), Ok(()));
    assert_eq!(connects("10.0.2.2", Some("localhost"), "10.0.2.2"), Err(Failed::OtherName("localhost")));
    assert_eq!(connects("a.plant.example", None, "*.plant.example"), Ok(()));
    assert_eq!(connects("plant.example", None, "*.plant.example"), Err(Failed::OtherName("plant.example")));
    let told = Failed::OtherName("localhost").to_string();
    assert_eq!(told, "the broker's certificate is not for localhost");
}

#[test]
fn a_broker_of_another_ca_is_refused_and_told_why() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let mut world = World::new(settings(&ca, &device), broker(&ca, &Ca::new().issue(&broker_params())));
    // Both are called the same, so only the signature tells.
    let expected = "the broker's certificate is not from the provisioned CA, or its private key is another: a signature is wrong";
    assert_eq!(failure(&mut world), expected);
    let alert = world.said();
    world.tell_broker(&alert);
    assert!(matches!(world.refused, Some(Error::AlertReceived(_))), "{:?}", world.refused);

    let mut stranger = ca_params();
    stranger.distinguished_name.push(DnType::CommonName, "another CA");
    let stranger = ca.below(stranger);
    let mut world = World::new(settings(&stranger, &device), broker(&ca, &ca.issue(&broker_params())));
    assert_eq!(failure(&mut world), "the broker's certificate is not from the provisioned CA");
}

#[test]
fn a_broker_may_be_below_another_ca_but_not_below_a_device() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let mut between = ca_params();
    between.distinguished_name.push(DnType::CommonName, "a CA below");
    let mut world =
        World::new(settings(&ca, &device), broker(&ca, &ca.below(between).issue(&broker_params())));
    assert_eq!(world.run(usize::MAX), Ok(()));

    let traitor = ca.below(device_params());
    let mut world = World::new(settings(&ca, &device), broker(&ca, &traitor.issue(&broker_params())));
    assert_eq!(failure(&mut world), "the broker's certificate cannot be used");
}

#[test]
fn a_device_cannot_be_the_broker() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let pretender = ca.issue(&params(NAME, ExtendedKeyUsagePurpose::ClientAuth));
    let mut world = World::new(settings(&ca, &device), broker(&ca, &pretender));
    assert_eq!(failure(&mut world), "the broker's certificate is not one for servers");
}

#[test]
fn a_certificate_that_ended_is_refused_and_one_that_begins_later_believed() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let connects = |from: i32, to: i32| {
        let mut params = broker_params();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(to, 1, 1));
        World::new(settings(&ca, &device), broker(&ca, &ca.issue(&params))).run(usize::MAX)
    };
    assert_eq!(connects(2020, 2030), Ok(()));
    assert_eq!(connects(2027, 2030), Ok(()));
    let expired = connects(2020, 2026).expect_err("it has ended");
    assert_eq!(expired.to_string(), "the broker's certificate has expired");
    assert!(connects(2030, 2028).is_err(), "it is never valid");
}

#[test]
fn a_chain_has_to_be_valid_as_a_whole_at_some_time() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let connects = |between: [i32; 2], broker_s: [i32; 2]| {
        let mut above = ca_params();
        above.distinguished_name.push(DnType::CommonName, "a CA below");
        [above.not_before, above.not_after] = between.map(|year| date_time_ymd(year, 1, 1));
        let mut params = broker_params();
        [params.not_before, params.not_after] = broker_s.map(|year| date_time_ymd(year, 1, 1));
        let identity = ca.below(above).issue(&params);
        World::new(settings(&ca, &device), broker(&ca, &identity)).run(usize::MAX)
    };
    assert_eq!(connects([2020, 2035], [2030, 2040]), Ok(()));
    assert_eq!(connects([2030, 2040], [2028, 2035]), Ok(()));
    assert!(connects([2020, 2030], [2032, 2040]).is_err(), "one has ended when the other begins");
    assert!(connects([2032, 2040], [2020, 2030]).is_err(), "one has ended when the other begins");
}

#[test]
fn a_board_that_the_broker_does_not_know_is_told() {
    let ca = Ca::new();
    let mut other = ca_params();
    other.distinguished_name.push(DnType::CommonName, "another CA");
    let device = ca.below(other).issue(&device_params());
    let mut world = World::new(settings(&ca, &device), broker(&ca, &ca.issue(&broker_params())));
    assert_eq!(failure(&mut world), "the broker refuses the certificate: it is from another CA");
    let mut expired = device_params();
    expired.not_after = date_time_ymd(2020, 1, 1);
    let device = ca.issue(&expired);
    let mut world = World::new(settings(&ca, &device), broker(&ca, &ca.issue(&broker_params())));
    assert_eq!(failure(&mut world), "the broker refuses the certificate: it has expired");
}

#[test]
fn settings_that_cannot_be_used_are_named() {
    let ca = Ca::new();
    let device = ca.issue(&device_params());
    let good = settings(&ca, &device);
    let open = |settings, host| Tls::new(settings, host).open(NOW_S, [7; 32]);
    assert_eq!(open(good, NAME), Ok(()));
    assert_eq!(open(provision::Tls { ca: b"hush", ..good }, NAME), Err(Failed::BadCa));
    assert_eq!(open(provision::Tls { certificate: b"hush", ..good }, NAME), Err(Failed::BadKey));
    assert_eq!(open(provision::Tls { key: PrivateKey([0; 32]), ..good }, NAME), Err(Failed::BadKey));
    assert_eq!(open(provision::Tls { key: PrivateKey([1; 32]), ..good }, NAME), Err(Failed::BadKey));
    assert_eq!(open(good, "not a name"), Err(Failed::BadName));
}

#[test]
fn sessions_differ_as_their_seeds_do() {
    let ca = Ca::new();
    let settings = settings(&ca, &ca.issue(&device_params()));
    let hello = |seed| {
        // The source is one for all; nothing else of this test's thread comes between.
        critical_section::with(|_| {
            let mut board = Tls::new(settings, NAME);
            board.open(NOW_S, seed).expect("usable settings");
            board.advance(&[]).expect("a hello");
            board.output().to_vec()
        })
    };
    assert_eq!(hello([1; 32]), hello([1; 32]));
    // Random (4.1.2) and the share of the key exchange.
    assert_ne!(hello([1; 32])[11..43], hello([2; 32])[11..43]);
}

#[test]
fn a_private_key_is_not_shown() {
    let ca = Ca::new();
    let settings = settings(&ca, &ca.issue(&device_params()));
    let shown = format!("{:?} {:?}", SigningKey::new(&settings.key), settings.key);
    assert_eq!(shown, "Some(SigningKey(..)) PrivateKey(..)");
}

mod hostile {
    use super::*;

    /// Pseudo-random numbers (xorshift), the same each time.
    struct Numbers(u64);

    impl Numbers {
        fn next(&mut self) -> u64 {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0
        }
    }

    /// A board that has said its hello, and what the broker answers.
    fn answered(ca: &Ca) -> (World, Vec<u8>) {
        let mut world = World::of(ca);
        world.board.advance(&[]).expect("a hello");
        let hello = world.said();
        world.tell_broker(&hello);
        let answer = world.answered();
        (world, answer)
    }

    #[test]
    fn half_an_answer_is_none() {
        let ca = Ca::new();
        let (_, whole) = answered(&ca);
        for cut in (0..whole.len()).step_by(9) {
            let (mut world, answer) = answered(&ca);
            assert_eq!(world.tell_board(&answer[..cut.min(answer.len() - 1)], usize::MAX), Ok(()));
            assert!(!world.board.is_up() && world.board.advance(b"hush") == Ok(0), "cut at {cut}");
            // A change_cipher_spec, which means nothing (D.4), if the server hello is whole.
            let said = world.said();
            assert!(said.is_empty() || said == [20, 3, 3, 0, 1, 1], "cut at {cut}");
        }
    }

    #[test]
    fn an_answer_with_any_byte_changed_is_refused() {
        let ca = Ca::new();
        let mut numbers = Numbers(7);
        let (_, whole) = answered(&ca);
        for at in (0..whole.len() - 8).step_by(4) {
            let (mut world, mut answer) = answered(&ca);
            answer[at] ^= (numbers.next() % 255) as u8 + 1;
            // Lengths may promise more than comes.
            let told = world.tell_board(&answer, usize::MAX);
            // 5.1: what a record says of its version does not matter.
            let is_version = told.is_ok() && world.board.is_up();
            assert!(!is_version || whole[at] == 3, "byte {at}, {:#04x}", whole[at]);
        }
    }

    #[test]
    fn noise_is_refused() {
        let ca = Ca::new();
        let settings = settings(&ca, &ca.issue(&device_params()));
        let mut numbers = Numbers(1);
        let mut refused = 0;
        for _ in 0..500 {
            let mut board = Tls::new(settings, NAME);
            board.open(NOW_S, [7; 32]).expect("usable settings");
            let len = numbers.next() as usize % 300;
            let mut noise: Vec<u8> = (0..len).map(|_| numbers.next() as u8).collect();
            // Half of them begin like a record.
            if numbers.next().is_multiple_of(2) && noise.len() > 5 {
                noise[0] = 20 + (numbers.next() % 4) as u8;
                noise[1..5].copy_from_slice(&[3, 3, 0, (len - 5) as u8]);
            }
            assert_eq!(board.on_bytes(&noise), noise.len());
            refused += usize::from(board.advance(&[]).is_err());
            assert!(!board.is_up());
        }
        assert!(refused > 300, "{refused}");
    }

    #[test]
    fn after_the_handshake_noise_and_replays_end_the_session() {
        let ca = Ca::new();
        let mut numbers = Numbers(3);
        for _ in 0..20 {
            let mut world = World::up(&ca);
            world.broker.writer().write_all(b"hello").expect("memory");
            let record = world.answered();
            let mut wrong = record.clone();
            wrong[5 + numbers.next() as usize % (record.len() - 5)] ^= 1 << (numbers.next() % 8);
            let failed = world.tell_board(&wrong, usize::MAX).expect_err("changed");
            assert_eq!(failed.to_string(), "what the broker says was changed on its way");
            assert_eq!(world.heard, b"");

            let mut world = World::up(&ca);
            world.broker.writer().write_all(b"hello").expect("memory");
            let record = world.answered();
            assert_eq!(world.tell_board(&record, usize::MAX), Ok(()));
            assert!(world.tell_board(&record, usize::MAX).is_err(), "a replay");
            assert_eq!(world.heard, b"hello");
        }
    }

    #[test]
    fn a_record_that_is_too_large_is_refused() {
        for len in [16_384 + 2048, u16::MAX as usize] {
            let (mut world, _) = answered(&Ca::new());
            let [high, low] = (len as u16).to_be_bytes();
            let record = [vec![22, 3, 3, high, low], vec![0; len]].concat();
            assert!(world.tell_board(&record, 1460).is_err(), "{len} bytes");
        }
    }

    #[test]
    fn a_handshake_without_end_is_refused() {
        let (mut world, _) = answered(&Ca::new());
        // A server hello that says it has 65535 bytes, in records.
        let mut hello = vec![2, 0, 255, 255];
        hello.resize(60_000, 3);
        let records: Vec<u8> = hello
            .chunks(1000)
            .flat_map(|part| {
                let [high, low] = (part.len() as u16).to_be_bytes();
                [&[22, 3, 3, high, low], part].concat()
            })
            .collect();
        assert_eq!(world.tell_board(&records, 1460), Err(Failed::TooLarge));
    }

    #[test]
    fn a_broker_without_tls_is_told_from_one_that_refuses() {
        let told = |bytes: &[u8]| {
            let (mut world, _) = answered(&Ca::new());
            let failed = world.tell_board(bytes, usize::MAX).expect_err("no handshake");
            failed.to_string()
        };
        // CONNACK: unsupported protocol version.
        assert_eq!(
            told(&[0x20, 3, 0, 0x84, 0]),
            "what the broker says is not TLS; is this its port for TLS?"
        );
        let no_tls = told(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        assert_eq!(no_tls, "what the broker says is not TLS; is this its port for TLS?");
        assert_eq!(told(&[21, 3, 3, 0, 2, 2, 70]), "the broker has no TLS 1.3");
        assert_eq!(told(&[21, 3, 3, 0, 2, 2, 80]), "the broker ended TLS with alert 80");
    }
}
