//! MQTT over Ethernet: IPv4 with DHCP and DNS (`smoltcp`), one TCP connection, TLS where the provisioning has certificates
//! for it, and the client on top.
//!
//! [`Ip`] is an [`Uplink`]. A session goes through its stages one after the other, each with a time-out; when any of
//! them fails, the session has ended, and the agent decides when to try again. An address from DHCP outlives sessions.
//!
//! Not here: registers of network controllers (the architecture's crate, as a [`Nic`]), IPv6.

mod frames;
mod mqtt;
mod tls;

use alloc::{boxed::Box, vec};
use core::fmt;

use smoltcp::{
    iface::{Config, Interface, PollResult, SocketHandle, SocketSet},
    socket::{
        dhcpv4,
        dns::{self, GetQueryResultError},
        tcp,
    },
    time::{Duration, Instant},
    wire::{DnsQueryType, EthernetAddress, IpAddress, IpCidr, Ipv4Address},
};
use wasmbed_core::Token;
use wasmbed_wire::{
    bridge::ToBoard,
    provision::{Broker, Provision},
    topic::Up,
};

use crate::{Entropy, Nic, Uplink, port::Full};
use frames::Frames;
use mqtt::{Client, Ended, Event};
use tls::{Failed, Tls};

/// TCP's buffer for what arrives: what the broker may send before it has to wait, and a part of what a network
/// controller has to hold.
const RECEIVE_BYTES: usize = 4096;
const SEND_BYTES: usize = 4096;
/// How long an address, a name, a connection, or its securing may take.
const STAGE_MS: u64 = 10_000;
/// How long sent bytes may stay unacknowledged.
const PATIENCE: Duration = Duration::from_secs(15);
/// Ports of outgoing connections (RFC 6335, section 6): the first, and how many.
const PORTS: (u16, u16) = (49_152, 16_384);

/// The way to one broker.
pub struct Ip<N: Nic> {
    frames: Frames<N>,
    interface: Interface,
    sockets: SocketSet<'static>,
    tcp: SocketHandle,
    dhcp: SocketHandle,
    dns: SocketHandle,
    broker: Broker<'static>,
    /// Where the connection is secured.
    tls: Option<Tls>,
    entropy: Entropy,
    /// When the board started, in Unix time, or earlier.
    started_s: u64,
    client: Client,
    stage: Stage,
    /// Of the next connection.
    port: u16,
}

enum Stage {
    /// No session is wanted.
    Apart,
    /// There is no address yet.
    Addressing { until_ms: u64 },
    /// The broker's name is being looked up.
    Resolving { query: dns::QueryHandle, until_ms: u64 },
    /// The connection is being made.
    Connecting { until_ms: u64 },
    /// Board and broker come to know each other.
    Securing { until_ms: u64 },
    /// The client has the connection.
    Connected,
}

/// Why there is no session.
enum Failure {
    NoAddress,
    Unresolved,
    Unreachable,
    ConnectionLost,
    /// Before it was secured.
    NotSecured,
    Tls(Failed),
    Mqtt(Ended),
}

impl<N: Nic> Ip<N> {
    /// The way to the broker that the provisioning names, if it names one. `seed` should differ from start to start.
    pub fn uplink(
        nic: N,
        provision: &Provision<'static>,
        seed: u64,
        entropy: Entropy,
    ) -> Option<Box<dyn Uplink>>
    where
        N: 'static,
    {
        let broker = provision.broker?;
        let client = Client::new(provision.device, &broker);
        let tls = broker.tls.map(|settings| Tls::new(settings, broker.host));
        let started_s = provision.boot_floor.into();
        let mut frames = Frames::new(nic);
        let mut config = Config::new(EthernetAddress(frames.mac()).into());
        config.random_seed = seed;
        let interface = Interface::new(config, &mut frames, Instant::ZERO);
        let buffer = |bytes| tcp::SocketBuffer::new(vec![0; bytes]);
        let mut socket = tcp::Socket::new(buffer(RECEIVE_BYTES), buffer(SEND_BYTES));
        socket.set_timeout(Some(PATIENCE));
        // Messages are small and somebody waits for each.
        socket.set_nagle_enabled(false);
        let mut sockets = SocketSet::new(vec![]);
        let tcp = sockets.add(socket);
        let dhcp = sockets.add(dhcpv4::Socket::new());
        let dns = sockets.add(dns::Socket::new(&[], vec![]));
        let port = PORTS.0 + (seed % u64::from(PORTS.1)) as u16;
        let stage = Stage::Apart;
        Some(Box::new(Ip {
            frames,
            interface,
            sockets,
            tcp,
            dhcp,
            dns,
            broker,
            tls,
            entropy,
            started_s,
            client,
            stage,
            port,
        }))
    }

    /// Lets packets in and out, and takes the address that DHCP gave.
    fn move_packets(&mut self, now_ms: u64) {
        let now = Instant::from_millis(now_ms as i64);
        while self.interface.poll(now, &mut self.frames, &mut self.sockets) == PollResult::SocketStateChanged
        {
        }
        let dhcp = self.sockets.get_mut::<dhcpv4::Socket<'_>>(self.dhcp);
        let Some(event) = dhcp.poll() else { return };
        let (address, router, servers) = match event {
            dhcpv4::Event::Configured(config) => (Some(config.address), config.router, config.dns_servers),
            dhcpv4::Event::Deconfigured => Default::default(),
        };
        // As many as there is room for.
        let servers: heapless::Vec<IpAddress, { smoltcp::config::DNS_MAX_SERVER_COUNT }> =
            servers.into_iter().map(IpAddress::Ipv4).take(smoltcp::config::DNS_MAX_SERVER_COUNT).collect();
        self.interface.update_ip_addrs(|addresses| {
            addresses.clear();
            // There is room for two.
            let _ = address.map(|address| addresses.push(IpCidr::Ipv4(address)));
        });
        let routes = self.interface.routes_mut();
        // There is room for two.
        let _ = match router {
            Some(router) => routes.add_default_ipv4_route(router).unwrap_or_default(),
            None => routes.remove_default_ipv4_route(),
        };
        self.sockets.get_mut::<dns::Socket<'_>>(self.dns).update_servers(&servers);
    }

    /// Goes to the next stage if this one is done.
    fn advance(&mut self, now_ms: u64) -> Result<(), Failure> {
        match self.stage {
            Stage::Apart => Ok(()),
            Stage::Addressing { until_ms } => match self.interface.ipv4_addr() {
                Some(_) => self.resolve(now_ms),
                None => within(now_ms, until_ms, Failure::NoAddress),
            },
            Stage::Resolving { query, until_ms } => {
                let dns = self.sockets.get_mut::<dns::Socket<'_>>(self.dns);
                match dns.get_query_result(query) {
                    Err(GetQueryResultError::Pending) => within(now_ms, until_ms, Failure::Unresolved),
                    // The query is over, and nobody may cancel it.
                    result => {
                        self.stage = Stage::Apart;
                        let addresses = result.map_err(|_| Failure::Unresolved)?;
                        let address = addresses.first().copied().ok_or(Failure::Unresolved)?;
                        self.connect(now_ms, address)
                    }
                }
            }
            Stage::Connecting { until_ms } => match self.socket().state() {
                tcp::State::Established => self.secure(now_ms),
                tcp::State::SynSent => within(now_ms, until_ms, Failure::Unreachable),
                _ => Err(Failure::Unreachable),
            },
            Stage::Securing { until_ms } => {
                self.exchange(now_ms)?;
                match &self.tls {
                    Some(tls) if !tls.is_up() => within(now_ms, until_ms, Failure::NotSecured),
                    _ => {
                        self.connected(now_ms);
                        Ok(())
                    }
                }
            }
            Stage::Connected => self.exchange(now_ms),
        }
    }

    fn resolve(&mut self, now_ms: u64) -> Result<(), Failure> {
        if let Ok(address) = self.broker.host.parse::<Ipv4Address>() {
            return self.connect(now_ms, address.into());
        }
        let socket = self.sockets.get_mut::<dns::Socket<'_>>(self.dns);
        let query = socket.start_query(self.interface.context(), self.broker.host, DnsQueryType::A);
        let query = query.map_err(|_| Failure::Unresolved)?;
        self.stage = Stage::Resolving { query, until_ms: now_ms.saturating_add(STAGE_MS) };
        Ok(())
    }

    fn connect(&mut self, now_ms: u64, address: IpAddress) -> Result<(), Failure> {
        self.port = PORTS.0 + (self.port - PORTS.0 + 1) % PORTS.1;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        let connected = socket.connect(self.interface.context(), (address, self.broker.port), self.port);
        connected.map_err(|_| Failure::Unreachable)?;
        self.stage = Stage::Connecting { until_ms: now_ms.saturating_add(STAGE_MS) };
        Ok(())
    }

    /// Begins TLS, where there is to be any.
    fn secure(&mut self, now_ms: u64) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else {
            self.connected(now_ms);
            return Ok(());
        };
        let mut seed = [0; 32];
        let Entropy(keeper) = &self.entropy;
        let drawn = keeper.borrow_mut().random(now_ms.saturating_mul(1000), &mut seed);
        drawn.map_err(|_| Failure::Tls(Failed::NoRandom))?;
        tls.open(self.started_s.saturating_add(now_ms / 1000), seed).map_err(Failure::Tls)?;
        self.stage = Stage::Securing { until_ms: now_ms.saturating_add(STAGE_MS) };
        self.exchange(now_ms)
    }

    fn connected(&mut self, now_ms: u64) {
        self.stage = Stage::Connected;
        self.client.on_connected(now_ms);
    }

    /// Moves bytes between TCP and the client.
    fn exchange(&mut self, now_ms: u64) -> Result<(), Failure> {
        if self.tls.is_some() {
            return self.exchange_secured(now_ms);
        }
        let client = &mut self.client;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        if let Ok(sent) = socket.send_slice(client.output()) {
            client.on_sent(now_ms, sent);
        }
        // The ring may end in the middle of what is there.
        for _ in 0..2 {
            if socket.can_recv() {
                let _ = socket.recv(|bytes| (client.on_bytes(now_ms, bytes), ()));
            }
        }
        if socket.may_send() && (socket.may_recv() || client.has_packet()) {
            Ok(())
        } else {
            Err(Failure::ConnectionLost)
        }
    }

    /// The same with TLS between the two.
    fn exchange_secured(&mut self, now_ms: u64) -> Result<(), Failure> {
        let Some(tls) = &mut self.tls else { return Ok(()) };
        let client = &mut self.client;
        let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
        let mut more = true;
        while more {
            // The ring may end in the middle of what is there.
            for _ in 0..2 {
                if socket.can_recv() {
                    let _ = socket.recv(|bytes| (tls.on_bytes(bytes), ()));
                }
            }
            let sent = tls.advance(client.output()).map_err(Failure::Tls)?;
            client.on_sent(now_ms, sent);
            if let Ok(sent) = socket.send_slice(tls.output()) {
                tls.on_sent(sent);
            }
            let taken = client.on_bytes(now_ms, tls.received());
            tls.on_taken(taken);
            more = taken > 0;
        }
        let hears = socket.may_recv() && !tls.is_closed();
        if socket.may_send() && (hears || client.has_packet() || !tls.received().is_empty()) {
            Ok(())
        } else if tls.is_up() {
            Err(Failure::ConnectionLost)
        } else {
            Err(Failure::NotSecured)
        }
    }

    fn next(&mut self, now_ms: u64) -> Result<Option<Event>, Failure> {
        self.client.advance(now_ms).map_err(Failure::Mqtt)
    }

    fn socket(&mut self) -> &mut tcp::Socket<'static> {
        self.sockets.get_mut(self.tcp)
    }

    /// Ends connection and session at once: the broker publishes the last will.
    fn close(&mut self, now_ms: u64) {
        if let Stage::Resolving { query, .. } = self.stage {
            self.sockets.get_mut::<dns::Socket<'_>>(self.dns).cancel_query(query);
        }
        self.stage = Stage::Apart;
        self.client.on_disconnected();
        if let Some(tls) = &mut self.tls {
            // An alert for the broker's log, if one is left and gets there.
            let socket = self.sockets.get_mut::<tcp::Socket<'_>>(self.tcp);
            let _ = socket.send_slice(tls.output());
            tls.close();
            self.move_packets(now_ms);
        }
        self.socket().abort();
        // Its RST goes out before there is another connection.
        self.move_packets(now_ms);
    }
}

impl<N: Nic> Uplink for Ip<N> {
    fn open(&mut self, now_ms: u64, keep_alive_s: u16, will: &[u8]) {
        self.close(now_ms);
        self.client.open(keep_alive_s, will);
        self.stage = Stage::Addressing { until_ms: now_ms.saturating_add(STAGE_MS) };
    }

    fn publish(&mut self, now_ms: u64, topic: Up, payload: &[u8], token: Token) -> Result<(), Full> {
        self.client.publish(topic, payload, token)?;
        self.transmit(now_ms);
        Ok(())
    }

    fn has_room(&self, bytes: usize) -> bool {
        self.client.has_room(bytes)
    }

    fn poll(&mut self, now_ms: u64, say: &mut dyn FnMut(fmt::Arguments<'_>)) -> Option<ToBoard<'_>> {
        self.move_packets(now_ms);
        let mut next = self.advance(now_ms).and_then(|()| self.next(now_ms));
        while let Ok(Some(Event::TooLarge(bytes))) = next {
            say(format_args!("a message of {bytes} bytes is too large"));
            next = self.next(now_ms);
        }
        match next {
            Ok(Some(Event::Up)) => Some(ToBoard::Session { up: true }),
            Ok(Some(Event::Acked(token))) => Some(ToBoard::Acked { token: token.0 }),
            Ok(Some(Event::Message)) => {
                let (topic, payload) = self.client.message();
                Some(ToBoard::Deliver { topic, payload })
            }
            Ok(Some(Event::TooLarge(_)) | None) => None,
            Err(why) => {
                say(format_args!("no session with {} port {}: {why}", self.broker.host, self.broker.port));
                self.close(now_ms);
                Some(ToBoard::Session { up: false })
            }
        }
    }

    fn transmit(&mut self, now_ms: u64) {
        if let Stage::Securing { .. } | Stage::Connected = self.stage {
            // An end of the connection is noticed by the next poll.
            let _ = self.exchange(now_ms);
            self.move_packets(now_ms);
        }
    }

    fn next_deadline(&mut self, now_ms: u64) -> Option<u64> {
        let now = Instant::from_millis(now_ms as i64);
        let stack = self.interface.poll_delay(now, &self.sockets);
        let stack = stack.map(|delay| now_ms.saturating_add(delay.total_millis()));
        let own = match self.stage {
            Stage::Apart => None,
            Stage::Addressing { until_ms }
            | Stage::Resolving { until_ms, .. }
            | Stage::Connecting { until_ms }
            | Stage::Securing { until_ms } => Some(until_ms),
            Stage::Connected => self.client.next_deadline(),
        };
        [stack, own].into_iter().flatten().min()
    }
}

fn within(now_ms: u64, until_ms: u64, failure: Failure) -> Result<(), Failure> {
    if now_ms < until_ms { Ok(()) } else { Err(failure) }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Failure::NoAddress => "DHCP gives no address",
            Failure::Unresolved => "DNS does not know the name",
            Failure::Unreachable => "nobody answers there",
            Failure::ConnectionLost => "the connection was lost",
            Failure::NotSecured => {
                "the connection ended before it was secured; is this the broker's port for TLS?"
            }
            Failure::Tls(failed) => return failed.fmt(f),
            Failure::Mqtt(ended) => return ended.fmt(f),
        })
    }
}
