//! Certificates: who is let in by one, and for how long.

use std::time::Duration;

use crate::common::authority::{Authority, Shown, YEAR};
use crate::common::*;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use wasmbed_broker::credentials::{Role, RoleKind};

const ACCEPTED: (u8, [u8; 2]) = (0x20, [0, 0]);

async fn start(authority: &Authority) -> Running {
    Running::with(|config| authority.configure(config)).await
}

/// What CONNECT without user name and password is answered.
fn nameless(id: &str) -> Connect {
    Connect { username: String::new(), ..Connect::new(Role::Operator, id) }
}

async fn open(running: &Running, authority: &Authority, shown: Option<Shown>) -> Raw {
    Raw::new(authority.connect(running.address, shown).await.expect("TLS"))
}

/// The client that `shown` belongs to, connected.
async fn admitted(running: &Running, authority: &Authority, shown: Shown, id: &str) -> Raw {
    let mut raw = open(running, authority, Some(shown)).await;
    raw.send(&nameless(id).bytes()).await;
    let (first, body) = raw.packet().await;
    assert_eq!((first, &body[..]), (ACCEPTED.0, &ACCEPTED.1[..]));
    raw
}

/// A certificate that is refused during the handshake: with TLS 1.3 the client learns of it from its first read.
async fn refused_by_tls(running: &Running, authority: &Authority, shown: Shown) {
    let Ok(mut stream) = authority.connect(running.address, Some(shown)).await else { return };
    assert!(within(stream.read_u8()).await.is_err());
}

#[tokio::test]
async fn a_certificate_says_who_its_holder_is_and_what_it_may_do() {
    let authority = Authority::new();
    let running = start(&authority).await;
    let mut device = admitted(&running, &authority, authority.issue("pump-7", 2, Some(YEAR)), "pump-7").await;
    let mut service = admitted(&running, &authority, authority.issue("_service", 3, Some(YEAR)), "x").await;
    service.subscribe("wasmbed/#", 1).await;
    device.publish_acknowledged(STATE, b"mine", false).await;
    assert_eq!(service.received().await.payload, b"mine");
    device.publish_acknowledged("wasmbed/v1/pump-8/up/state", b"not mine", false).await;
    service.is_quiet().await;
    running.until(|count| count.publish_refused == 1).await;
}

#[tokio::test]
async fn a_name_that_is_not_the_certificates_is_refused() {
    let authority = Authority::new();
    let running = start(&authority).await;
    for (common_name, connect) in [
        ("pump-7", Connect::new(device("pump-8"), "pump-8")),
        ("pump-7", Connect::new(Role::Operator, "pump-7")),
        ("Somebody Else", nameless("x")),
        ("_root", nameless("x")),
    ] {
        let mut raw = open(&running, &authority, Some(authority.issue(common_name, 2, Some(YEAR)))).await;
        raw.send(&connect.bytes()).await;
        assert_eq!(raw.packet().await, (0x20, vec![0, 4]), "{common_name}");
        raw.ends().await;
    }
    running.until(|count| count.refused_credentials == 4).await;
    let mut foreign_id = open(&running, &authority, Some(authority.issue("pump-7", 2, Some(YEAR)))).await;
    foreign_id.send(&nameless("pump-8").bytes()).await;
    assert_eq!(foreign_id.packet().await, (0x20, vec![0, 2]));
}

#[tokio::test]
async fn foreign_expired_and_revoked_certificates_get_no_connection() {
    let (authority, other) = (Authority::new(), Authority::new());
    authority.revoke(&[9]);
    let running = start(&authority).await;
    refused_by_tls(&running, &authority, other.issue("pump-7", 2, Some(YEAR))).await;
    refused_by_tls(&running, &authority, authority.issue("pump-7", 2, None)).await;
    refused_by_tls(&running, &authority, authority.issue("pump-7", 9, Some(YEAR))).await;
    running.until(|count| count.refused_transport == 3).await;
    admitted(&running, &authority, authority.issue("pump-7", 8, Some(YEAR)), "pump-7").await;
}

#[tokio::test]
async fn a_revocation_ends_the_connections_it_concerns_and_no_other() {
    let authority = Authority::new();
    let running = start(&authority).await;
    let mut revoked =
        admitted(&running, &authority, authority.issue("pump-7", 7, Some(YEAR)), "pump-7").await;
    let mut other = admitted(&running, &authority, authority.issue("pump-8", 8, Some(YEAR)), "pump-8").await;
    authority.revoke(&[7]);
    revoked.ends().await;
    running.until(|count| count.lost_certificate == 1 && count.connections == 1).await;
    other.is_quiet().await;
    refused_by_tls(&running, &authority, authority.issue("pump-7", 7, Some(YEAR))).await;
}

#[tokio::test]
async fn a_connection_does_not_outlive_its_certificate() {
    let authority = Authority::new();
    let running = start(&authority).await;
    let shown = authority.issue("pump-7", 7, Some(Duration::from_secs(3)));
    let mut raw = admitted(&running, &authority, shown, "pump-7").await;
    raw.ends().await;
    running.until(|count| count.lost_certificate == 1).await;
}

#[tokio::test]
async fn passwords_work_over_tls_for_the_roles_that_may_use_them() {
    let authority = Authority::new();
    let running = Running::with(|config| {
        authority.configure(config);
        config.password_roles = vec![RoleKind::Operator];
    })
    .await;
    for (role, id, answer) in
        [(Role::Operator, "me", 0), (device("pump-7"), "pump-7", 4), (Role::Service, "x", 4)]
    {
        let mut raw = open(&running, &authority, None).await;
        raw.send(&Connect::new(role, id).bytes()).await;
        assert_eq!(raw.packet().await, (0x20, vec![0, answer]), "{role:?}");
    }
    let mut nobody = open(&running, &authority, None).await;
    nobody.send(&nameless("pump-7").bytes()).await;
    assert_eq!(nobody.packet().await, (0x20, vec![0, 4]));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let authority = Authority::new();
    let running = start(&authority).await;
    let serial = async || {
        let stream = authority.connect(running.address, None).await.expect("TLS");
        let shown = stream.get_ref().1.peer_certificates().expect("a chain")[0].clone();
        let (_, shown) = x509_parser::parse_x509_certificate(&shown).expect("a certificate");
        shown.tbs_certificate.serial.to_string()
    };
    assert_eq!(serial().await, "1");
    authority.renew_broker(77);
    within(async { while serial().await != "77" {} }).await;
    std::fs::write(authority.file("broker.pem"), "no certificate").expect("written");
    let mut raw = open(&running, &authority, None).await;
    raw.send(&Connect::new(Role::Operator, "me").bytes()).await;
    assert_eq!(raw.packet().await, (0x20, vec![0, 0]));
}

#[tokio::test]
async fn silent_and_foreign_clients_do_not_keep_others_out() {
    let authority = Authority::new();
    let running = Running::with(|config| {
        authority.configure(config);
        config.handshake_timeout_ms = 500;
    })
    .await;
    let mut silent = TcpStream::connect(running.address).await.expect("connected");
    let mut plain = Raw::new(TcpStream::connect(running.address).await.expect("connected"));
    plain.send(&Connect::new(Role::Operator, "me").bytes()).await;
    admitted(&running, &authority, authority.issue("pump-7", 7, Some(YEAR)), "pump-7").await;
    running.until(|count| count.refused_transport == 1 && count.refused_timeout == 1).await;
    assert_eq!(within(silent.read(&mut [0])).await.ok(), Some(0));
}

#[test]
fn files_that_cannot_be_used_are_named() {
    use wasmbed_broker::{Config, credentials::Secret};
    let authority = Authority::new();
    let problem = |change: fn(&Authority, &mut Config)| {
        let mut config = Config::default();
        authority.configure(&mut config);
        change(&authority, &mut config);
        let mut error: &dyn std::error::Error =
            &config.with_secret(Secret::new(SECRET)).expect_err("refused");
        let mut text = error.to_string();
        while let Some(source) = error.source() {
            text = format!("{text}: {source}");
            error = source;
        }
        text
    };
    let missing = problem(|_, config| config.tls.as_mut().expect("set").cert_file = "nowhere.pem".into());
    assert!(missing.contains("nowhere.pem"), "{missing}");
    let no_key = problem(|authority, config| {
        config.tls.as_mut().expect("set").key_file = authority.file("broker.pem");
    });
    assert!(no_key.contains("holds no key"), "{no_key}");
    let mismatch = problem(|authority, config| {
        config.tls.as_mut().expect("set").cert_file = authority.file("ca.pem");
    });
    assert!(mismatch.contains("certificate and key"), "{mismatch}");
    let crl = problem(|authority, config| {
        std::fs::write(authority.file("bad.pem"), "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n")
            .expect("written");
        config.tls.as_mut().expect("set").crl_file = Some(authority.file("bad.pem"));
    });
    assert!(crl.contains("bad.pem"), "{crl}");
}
