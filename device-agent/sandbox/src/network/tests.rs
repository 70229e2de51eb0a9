use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

use super::*;

/// Longer than anything here takes on a machine that has other work.
const PATIENCE: Duration = Duration::from_secs(20);

struct World {
    runtime: Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        World { runtime: runtime.expect("a runtime") }
    }

    fn connections(&self, allowed: &str) -> Connections {
        Network::new(self.runtime.handle().clone()).connections(allowed)
    }
}

fn to(text: &str) -> Destination<'_> {
    Destination::parse(text).expect(text)
}

/// Asks until the answer is another than "busy".
fn once_ready<T>(mut ask: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask() {
            Err(Errno::Busy) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
            answer => return answer,
        }
    }
}

fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let destination = format!("tcp:{}", listener.local_addr().expect("an address"));
    (listener, destination)
}

#[test]
fn a_stream_carries_bytes_both_ways_until_its_end() {
    let world = World::new();
    let (listener, destination) = listener();
    let mut connections = world.connections(&destination);
    let number = connections.connect(to(&destination)).expect("a number");
    let (mut peer, _) = listener.accept().expect("a connection");
    assert_eq!(once_ready(|| connections.send(number, b"hello")), Ok(5));
    let mut heard = [0; 5];
    peer.read_exact(&mut heard).expect("five bytes");
    assert_eq!(&heard, b"hello");
    let mut out = [0; 8];
    assert_eq!(connections.receive(number, &mut out), Err(Errno::Busy), "nothing was said yet");
    peer.write_all(b"hi").expect("room");
    drop(peer);
    assert_eq!((once_ready(|| connections.receive(number, &mut out)), &out[..2]), (Ok(2), &b"hi"[..]));
    assert_eq!(once_ready(|| connections.receive(number, &mut out)), Ok(0));
    assert_eq!(once_ready(|| connections.receive(number, &mut out)), Ok(0), "an end stays one");
    assert_eq!(connections.close(number), Ok(()));
    assert_eq!(connections.close(number), Err(Errno::NotFound));
    assert_eq!(connections.send(number, b"x"), Err(Errno::NotFound));
}

#[test]
fn a_refused_connection_and_an_unknown_name_are_failures() {
    let world = World::new();
    let (listener, destination) = listener();
    drop(listener);
    let mut connections = world.connections(&format!("{destination} tcp:no-such-name.invalid:80"));
    for destination in [destination.as_str(), "tcp:no-such-name.invalid:80"] {
        let number = connections.connect(to(destination)).expect("a number");
        assert_eq!(once_ready(|| connections.send(number, b"x")), Err(Errno::Io), "{destination}");
        assert_eq!(connections.receive(number, &mut [0; 1]), Err(Errno::Io), "it stays one");
        assert_eq!(connections.close(number), Ok(()));
    }
}

#[test]
fn datagrams_arrive_whole_or_wait_for_more_room() {
    let world = World::new();
    let peer = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let destination = format!("udp:{}", peer.local_addr().expect("an address"));
    let mut connections = world.connections("udp:127.0.0.1:*");
    let number = connections.connect(to(&destination)).expect("a number");
    assert_eq!(once_ready(|| connections.send(number, b"ping")), Ok(4));
    let mut out = [0; 64];
    let (len, from) = peer.recv_from(&mut out).expect("a datagram");
    assert_eq!(&out[..len], b"ping");
    for datagram in [&b"pong!"[..], b""] {
        peer.send_to(datagram, from).expect("room");
    }
    assert_eq!(once_ready(|| connections.receive(number, &mut out[..4])), Err(Errno::NoSpace));
    assert_eq!((connections.receive(number, &mut out), &out[..5]), (Ok(5), &b"pong!"[..]));
    assert_eq!(once_ready(|| connections.receive(number, &mut out)), Ok(0), "one without bytes");
}

#[test]
fn only_what_is_listed_is_reached() {
    let world = World::new();
    let (listener, destination) = listener();
    listener.set_nonblocking(true).expect("it is a socket");
    let port = listener.local_addr().expect("an address").port();
    let mut nothing = world.connections("");
    let mut by_name = world.connections(&format!("tcp:localhost:{port}"));
    let mut by_address = world.connections(&format!("tcp:127.0.0.2:{port} {destination}"));
    assert_eq!(nothing.connect(to(&destination)), Err(Errno::Denied));
    assert_eq!(by_name.connect(to(&destination)), Err(Errno::Denied));
    assert_eq!(by_address.connect(to(&format!("tcp:localhost:{port}"))), Err(Errno::Denied));
    assert_eq!(by_address.connect(to(&format!("tcp:[::7f00:1]:{port}"))), Err(Errno::Denied));
    assert_eq!(listener.accept().map_err(|error| error.kind()).err(), Some(io::ErrorKind::WouldBlock));
    let number = by_name.connect(to(&format!("tcp:localhost:{port}"))).expect("a number");
    assert_eq!(once_ready(|| by_name.send(number, b"x")), Ok(1));
}

#[test]
fn there_are_so_many_sockets_and_they_close_with_their_instance() {
    let world = World::new();
    let (listener, destination) = listener();
    let mut connections = world.connections(&destination);
    let numbers: Vec<u32> =
        (0..MAX_SOCKETS).map(|_| connections.connect(to(&destination)).expect("a number")).collect();
    assert_eq!(connections.connect(to(&destination)), Err(Errno::NoSpace));
    assert_eq!(connections.close(numbers[3]), Ok(()));
    assert_eq!(connections.connect(to(&destination)), Ok(numbers[3]), "the place is free again");
    for number in &numbers {
        assert_eq!(once_ready(|| connections.send(*number, b"x")), Ok(1));
    }
    let mut peers: Vec<TcpStream> =
        numbers.iter().map(|_| listener.accept().expect("a connection").0).collect();
    drop(connections);
    for peer in &mut peers {
        peer.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
        let mut said = Vec::new();
        peer.read_to_end(&mut said).expect("the end");
    }
    assert_eq!(World::new().connections("").close(u32::MAX), Err(Errno::NotFound));
}

#[test]
fn an_instance_sends_so_much_a_second() {
    let world = World::new();
    let (listener, destination) = listener();
    let mut connections = world.connections(&destination);
    let number = connections.connect(to(&destination)).expect("a number");
    let (mut peer, _) = listener.accept().expect("a connection");
    let sink = std::thread::spawn(move || io::copy(&mut peer, &mut io::sink()));
    once_ready(|| connections.send(number, b"x")).expect("it is open");
    let (start, chunk) = (Instant::now(), vec![0; 16 * 1024]);
    let mut sent = 0;
    while start.elapsed() < Duration::from_millis(500) {
        sent += match connections.send(number, &chunk) {
            Err(Errno::Busy) => 0,
            answer => answer.expect("it is open"),
        };
    }
    let most = NET_BYTES_PER_SECOND as f64 * (1.0 + start.elapsed().as_secs_f64());
    assert!(sent as f64 <= most, "{sent} bytes, and {most} are allowed");
    assert!(sent > NET_BYTES_PER_SECOND / 2, "{sent} bytes");
    drop(connections);
    assert_eq!(sink.join().expect("it ends").expect("all bytes"), 1 + sent as u64);
}
