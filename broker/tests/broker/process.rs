//! The broker as a process.

use std::process::Output;

use crate::common::process::{address, addresses, broker};
use crate::common::{Connect, Raw, within};
use tokio::net::TcpStream;
use tokio::process::Command;
use wasmbed_broker::credentials::{Role, Secret};

async fn failure(arguments: &[&str]) -> String {
    let Output { status, stderr, .. } = within(broker(arguments).output()).await.expect("started");
    assert!(!status.success());
    String::from_utf8_lossy(&stderr).into_owned()
}

#[tokio::test]
async fn it_serves_until_told_to_end() {
    for signal in ["-TERM", "-INT"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (config, secret) = (folder.path().join("broker.toml"), folder.path().join("secret"));
        std::fs::write(&config, "listen = \"127.0.0.1:1\"\nprefix = \"lab\"").expect("written");
        let paths = [config.to_string_lossy(), secret.to_string_lossy()];
        let arguments = ["--config", &paths[0], "--secret-file", &paths[1], "--listen", "127.0.0.1:0"];
        let mut child = broker(&arguments).spawn().expect("started");
        let address = address(&mut child).await;
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut raw = Raw::new(stream);
        let password = Secret::load_or_create(&secret).expect("made by the broker").password(&Role::Operator);
        raw.send(&Connect { password, ..Connect::new(Role::Operator, "me") }.bytes()).await;
        assert_eq!(raw.packet().await, (0x20, vec![0, 0]));
        raw.subscribe("lab/v1/#", 0).await;
        let id = child.id().expect("running").to_string();
        assert!(Command::new("kill").args([signal, &id]).status().await.expect("started").success());
        assert!(within(child.wait()).await.expect("ended").success());
        raw.ends().await;
    }
}

#[tokio::test]
async fn what_it_cannot_use_it_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (secret, config) = (path("secret"), path("broker.toml"));

    let missing = failure(&["--config", &path("missing.toml"), "--secret-file", &secret]).await;
    assert!(missing.contains("missing.toml"), "{missing}");

    std::fs::write(&config, "lisen = \"127.0.0.1:0\"").expect("written");
    let misspelt = failure(&["--config", &config, "--secret-file", &secret]).await;
    assert!(misspelt.contains("lisen"), "{misspelt}");

    let address = failure(&["--listen", "nowhere", "--secret-file", &secret]).await;
    assert!(address.contains("nowhere") && address.contains("127.0.0.1:1883"), "{address}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").to_string();
    let in_use = failure(&["--listen", &port, "--secret-file", &secret]).await;
    assert!(in_use.contains(&port), "{in_use}");

    std::fs::write(&secret, "password").expect("written");
    let no_secret = failure(&["--secret-file", &secret]).await;
    assert!(no_secret.contains("64 hexadecimal digits"), "{no_secret}");
}

#[tokio::test]
async fn the_environment_configures_too_and_its_unknown_keys_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    let mut child = broker(&[])
        .env("WASMBED_BROKER__LISTEN", "127.0.0.1:0")
        .env("WASMBED_BROKER__MAX_CONNECTIONS", "5")
        .env("WASMBED_BROKER__SECRET_FILE", &secret)
        .spawn()
        .expect("started");
    address(&mut child).await;
    child.kill().await.expect("killed");
    let unknown = within(broker(&[]).env("WASMBED_BROKER__COLOUR", "red").output()).await.expect("started");
    assert!(!unknown.status.success());
    let log = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert!(log.contains("colour"), "{log}");
}

#[tokio::test]
async fn it_tells_how_it_is_where_it_is_asked_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    let mut child = broker(&["--listen", "127.0.0.1:0"])
        .env("WASMBED_BROKER__METRICS_LISTEN", "127.0.0.1:0")
        .env("WASMBED_BROKER__SECRET_FILE", &secret)
        .spawn()
        .expect("started");
    let [mqtt, metrics] = addresses(&mut child, ["listening address=", "metrics listen address="]).await;
    wasmbed_metrics::healthy(&metrics).await.expect("healthy");
    for is_right in [true, false] {
        let mut raw = Raw::new(TcpStream::connect(&mqtt).await.expect("connected"));
        let password = match is_right {
            true => Secret::load_or_create(&secret).expect("made by the broker").password(&Role::Operator),
            false => "guessed".to_owned(),
        };
        raw.send(&Connect { password, ..Connect::new(Role::Operator, "me") }.bytes()).await;
        raw.packet().await;
    }
    let (status, page) = wasmbed_metrics::get(&metrics, "/metrics").await.expect("an answer");
    assert_eq!(status.as_u16(), 200);
    for expected in [
        "wasmbed_broker_connections_accepted_total 1\n",
        "wasmbed_broker_connections_refused_total{reason=\"credentials\"} 1\n",
        "process_resident_memory_bytes ",
    ] {
        assert!(page.contains(expected), "{expected}: {page}");
    }
    child.kill().await.expect("killed");
}
