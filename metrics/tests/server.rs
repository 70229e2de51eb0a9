//! The listener, with clients of its own kind and with hostile ones.

use std::{
    net::SocketAddr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    process::Command,
    time::timeout,
};
use wasmbed_metrics::{AskError, MAX_CONNECTIONS, PATIENCE, Page, Server, Source, healthy};

/// Longest wait for anything that has to happen.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Role {
    fails: AtomicBool,
}

impl Source for Role {
    async fn health(&self) -> Result<(), String> {
        match self.fails.load(Ordering::Relaxed) {
            true => Err("the broker is away".to_owned()),
            false => Ok(()),
        }
    }

    async fn metrics(&self, page: &mut Page) {
        page.counter("wasmbed_test_messages_total", "Messages.").set(3u64);
        let mut devices = page.gauge("wasmbed_test_devices", "Devices by board.");
        devices.sample(&[("board", "netduino2")], 2u64);
        devices.sample(&[("board", "a \"quoted\" one")], 0.5);
    }
}

async fn start() -> (SocketAddr, Arc<Role>) {
    let server = Server::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await.expect("a server");
    let (address, role) = (server.local_addr(), Arc::new(Role::default()));
    tokio::spawn(server.serve(Arc::clone(&role)));
    (address, role)
}

/// Everything that is answered until the connection ends; what a reset cut off is not missed.
async fn rest(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let mut part = [0; 4096];
    let all = async {
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            answer.extend_from_slice(&part[..count]);
        }
    };
    timeout(LIMIT, all).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn say(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(request.as_bytes()).await.expect("sent");
    rest(&mut stream).await
}

async fn get(address: SocketAddr, path: &str) -> String {
    say(address, &format!("GET {path} HTTP/1.1\r\nHost: here\r\n\r\n")).await
}

/// Asks until there is a place again.
async fn get_in_the_end(address: SocketAddr, path: &str) -> String {
    let start = Instant::now();
    loop {
        let answer = get(address, path).await;
        if !answer.is_empty() {
            return answer;
        }
        assert!(start.elapsed() < LIMIT, "no place becomes free");
    }
}

#[tokio::test]
async fn a_role_tells_what_it_measures_and_whether_it_works() {
    let (address, role) = start().await;
    let metrics = get(address, "/metrics").await;
    assert!(metrics.starts_with("HTTP/1.1 200"), "{metrics}");
    for expected in [
        "content-type: text/plain; version=0.0.4",
        "# TYPE wasmbed_test_messages_total counter\nwasmbed_test_messages_total 3\n",
        "# TYPE process_resident_memory_bytes gauge",
    ] {
        assert!(metrics.contains(expected), "{expected}: {metrics}");
    }
    assert!(get(address, "/healthz").await.starts_with("HTTP/1.1 200"));
    assert!(healthy(&address.to_string()).await.is_ok());
    role.fails.store(true, Ordering::Relaxed);
    let answer = get(address, "/healthz").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("the broker is away\n"), "{answer}");
    let error = healthy(&address.to_string()).await.expect_err("it says so");
    assert!(matches!(&error, AskError::Unhealthy(reason) if reason == "the broker is away"), "{error}");
    assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
    assert!(say(address, "POST /metrics HTTP/1.1\r\nHost: here\r\n\r\n").await.starts_with("HTTP/1.1 405"));
}

#[tokio::test]
async fn who_is_not_there_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address");
    let error = Server::bind(address).await.expect_err("taken").to_string();
    assert!(error.contains(&address.to_string()) && error.contains("metrics_listen"), "{error}");
    drop(taken);
    let error = healthy(&address.to_string()).await.expect_err("nobody").to_string();
    assert!(error.contains(&address.to_string()), "{error}");
}

#[tokio::test]
async fn requests_that_are_none_or_too_long_are_refused() {
    let (address, _role) = start().await;
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    for (request, status) in [(long.as_str(), "431"), ("\x16\x03\x01\x02nonsense\r\n\r\n", "400")] {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        // The connection may be reset before all of it is sent.
        let _ = stream.write_all(request.as_bytes()).await;
        let answer = rest(&mut stream).await;
        assert!(answer.is_empty() || answer.contains(status), "{answer}");
    }
    assert!(get(address, "/metrics").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn slow_and_silent_clients_hold_a_place_for_a_while_only() {
    let (address, _role) = start().await;
    let start = Instant::now();
    let mut slow = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nX").await.expect("sent");
        slow.push(stream);
    }
    // One more is closed at once; it may be accepted before the last of the slow ones.
    let mut refused = false;
    for _ in 0..4 * MAX_CONNECTIONS {
        refused |= get(address, "/healthz").await.is_empty();
    }
    assert!(refused, "there is no limit of connections");
    for stream in &mut slow {
        rest(stream).await;
    }
    assert!(start.elapsed() < PATIENCE + Duration::from_secs(5), "slow clients were waited for");
    assert!(get_in_the_end(address, "/metrics").await.starts_with("HTTP/1.1 200"));
}

/// Prometheus' own tool, where there is one: Debian's package `prometheus` has it, and starts a server with it, which
/// is why `cargo xtask setup` does not install it. `cargo xtask test --compose` has one in a container.
#[tokio::test]
async fn promtool_accepts_a_page() {
    let (address, _role) = start().await;
    let answer = get(address, "/metrics").await;
    let (_, page) = answer.split_once("\r\n\r\n").expect("a body");
    let check = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut check = match check {
        Ok(check) => check,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: there is no promtool");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    check.stdin.take().expect("piped").write_all(page.as_bytes()).await.expect("read");
    let checked = timeout(LIMIT, check.wait_with_output()).await.expect("in time").expect("ended");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}");
}
