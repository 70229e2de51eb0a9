//! Vehicles for tests: an autopilot of MAVSDK, a quadrotor framed by pymavlink, and a line to either that can be unplugged.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

/// A module, as text, that makes the call that the first letter of a message on `in` stands for, about the vehicle that its
/// second byte names, and says on `out` what it answered, 32 bits, and what was written. Letters: `a`rm, `d`isarm, `t`ake off
/// to 5 m, `l`and, a `c`ommand that follows, the `r`esult of a ticket, `s`tatus, `b`attery, `p`osition, the parameter whose
/// name follows (`n`).
pub const PILOT: &str = r#"(module
    (import "wasmbed" "subscribe" (func $subscribe (param i32 i32) (result i32)))
    (import "wasmbed" "publish" (func $publish (param i32 i32 i32 i32) (result i32)))
    (import "wasmbed" "message_read" (func $read (param i32 i32) (result i32)))
    (import "wasmbed" "arm_vehicle" (func $arm (param i32) (result i32)))
    (import "wasmbed" "disarm_vehicle" (func $disarm (param i32) (result i32)))
    (import "wasmbed" "takeoff" (func $takeoff (param i32 f32) (result i32)))
    (import "wasmbed" "land" (func $land (param i32) (result i32)))
    (import "wasmbed" "send_vehicle_command" (func $send (param i32 i32) (result i32)))
    (import "wasmbed" "vehicle_command_result" (func $result (param i32) (result i32)))
    (import "wasmbed" "get_vehicle_status" (func $status (param i32 i32 i32) (result i32)))
    (import "wasmbed" "get_battery_status" (func $battery (param i32 i32 i32) (result i32)))
    (import "wasmbed" "get_vehicle_local_position" (func $position (param i32 i32 i32) (result i32)))
    (import "wasmbed" "get_vehicle_parameter"
        (func $parameter (param i32 i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 256 256 (pagesize 1))
    (global $len (mut i32) (i32.const 0))
    (data (i32.const 0) "inout")
    (func (export "init") (result i32) (call $subscribe (i32.const 0) (i32.const 2)))
    (func (export "tick"))
    (func $asked (param $letter i32) (param $vehicle i32) (result i32)
        (if (i32.eq (local.get $letter) (i32.const 97)) (then (return (call $arm (local.get $vehicle)))))
        (if (i32.eq (local.get $letter) (i32.const 100)) (then (return (call $disarm (local.get $vehicle)))))
        (if (i32.eq (local.get $letter) (i32.const 116))
            (then (return (call $takeoff (local.get $vehicle) (f32.const 5)))))
        (if (i32.eq (local.get $letter) (i32.const 108)) (then (return (call $land (local.get $vehicle)))))
        (if (i32.eq (local.get $letter) (i32.const 99)) (then (return (call $send (i32.const 66) (i32.const 48)))))
        (if (i32.eq (local.get $letter) (i32.const 114)) (then (return (call $result (local.get $vehicle)))))
        (if (i32.eq (local.get $letter) (i32.const 115))
            (then (return (call $status (local.get $vehicle) (i32.const 204) (i32.const 36)))))
        (if (i32.eq (local.get $letter) (i32.const 98))
            (then (return (call $battery (local.get $vehicle) (i32.const 204) (i32.const 36)))))
        (if (i32.eq (local.get $letter) (i32.const 110))
            (then (return (call $parameter (local.get $vehicle)
                (i32.const 66) (i32.sub (global.get $len) (i32.const 2)) (i32.const 204) (i32.const 36)))))
        (call $position (local.get $vehicle) (i32.const 204) (i32.const 36)))
    (func (export "message") (param i32 i32)
        (global.set $len (call $read (i32.const 64) (i32.const 100)))
        (i32.store (i32.const 200) (call $asked (i32.load8_u (i32.const 64)) (i32.load8_u (i32.const 65))))
        (drop (call $publish (i32.const 2) (i32.const 3) (i32.const 200) (i32.const 40)))))"#;

/// A vehicle's process, which sends to a port of this machine over UDP; it ends when dropped.
pub struct Vehicle(Child);

impl Vehicle {
    /// Starts one of the programs in `device-agent/linux/tests/agent` with a port and arguments, and waits until it is
    /// there.
    pub fn start(python: &Path, script: &str, port: u16, arguments: &[&str]) -> Self {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../device-agent/linux/tests/agent");
        let mut child = Command::new(python)
            .arg(scripts.join(script))
            .arg(port.to_string())
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let ready = lines.any(|line| line.is_ok_and(|line| line == "ready"));
        // What it prints later is of no interest, and must not fill the pipe.
        thread::spawn(move || lines.for_each(drop));
        assert!(ready, "the vehicle did not start");
        Vehicle(child)
    }
}

impl Drop for Vehicle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A line: TCP for whoever commands, UDP for a [`Vehicle`]. It is unplugged until somebody plugs it in.
pub struct Line {
    /// Where whoever commands finds it.
    place: SocketAddr,
    wire: Arc<Wire>,
    plugged: Option<(JoinHandle<()>, Arc<AtomicBool>)>,
}

struct Wire {
    vehicle: UdpSocket,
    /// Where a vehicle was last heard.
    at: Mutex<Option<SocketAddr>>,
    /// Whoever commands, while there is a connection.
    commander: Mutex<Option<TcpStream>>,
}

impl Default for Line {
    /// On ports that nobody else has.
    fn default() -> Self {
        let vehicle = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let place = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        let wire = Arc::new(Wire { vehicle, at: Mutex::default(), commander: Mutex::default() });
        let carrier = Arc::clone(&wire);
        // Until the process of the test ends.
        thread::spawn(move || carrier.carry_down());
        Line { place: place.expect("a port"), wire, plugged: None }
    }
}

impl Line {
    /// Where it is found over TCP.
    pub fn place(&self) -> SocketAddr {
        self.place
    }

    /// The port that a vehicle is to send to.
    pub fn vehicle_port(&self) -> u16 {
        self.wire.vehicle.local_addr().expect("it is bound").port()
    }

    /// Lets one connection at a time in.
    pub fn plug(&mut self) {
        let listener = TcpListener::bind(self.place).expect("the port is free again");
        let (wire, ended) = (Arc::clone(&self.wire), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&ended);
        let carrier = thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if told.load(Ordering::SeqCst) {
                    break;
                }
                wire.carry_up(stream, &told);
            }
        });
        self.plugged = Some((carrier, ended));
    }

    /// Ends the connection, if there is one; until [`Line::plug`] nobody listens.
    pub fn unplug(&mut self) {
        let Some((carrier, ended)) = self.plugged.take() else { return };
        ended.store(true, Ordering::SeqCst);
        if let Some(stream) = &*self.wire.commander.lock().unwrap() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // It waits for a connection, or is about to.
        drop(TcpStream::connect(self.place));
        carrier.join().expect("it ends");
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.unplug();
    }
}

impl Wire {
    /// From the vehicle to whoever commands, if anybody does.
    fn carry_down(&self) {
        let mut datagram = [0; 65_535];
        while let Ok((len, from)) = self.vehicle.recv_from(&mut datagram) {
            *self.at.lock().unwrap() = Some(from);
            if let Some(stream) = &mut *self.commander.lock().unwrap() {
                // Who is gone is noticed by the other direction.
                let _ = stream.write_all(&datagram[..len]);
            }
        }
    }

    /// From this connection to the vehicle, until either ends.
    fn carry_up(&self, stream: TcpStream, ended: &AtomicBool) {
        let mut commander = stream.try_clone().expect("a descriptor");
        *self.commander.lock().unwrap() = Some(stream);
        let mut bytes = [0; 4096];
        while !ended.load(Ordering::SeqCst)
            && let Ok(len @ 1..) = commander.read(&mut bytes)
        {
            if let Some(at) = *self.at.lock().unwrap() {
                // As on a line whose other end is off.
                let _ = self.vehicle.send_to(&bytes[..len], at);
            }
        }
        *self.commander.lock().unwrap() = None;
    }
}
