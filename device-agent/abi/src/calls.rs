//! The calls a module may import.

use crate::{Capability, Signature, ValueType};

macro_rules! calls {
    ($($(#[doc = $doc:literal])* $call:ident = $name:literal ($($param:ident: $ty:ident),*) -> $result:ident, $capability:ident;)*) => {
        /// A function of the host.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Call {
            $($(#[doc = $doc])* $call,)*
        }

        impl Call {
            /// Every call.
            pub const ALL: &'static [Call] = &[$(Call::$call),*];

            /// Its name as an import.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Call::$call => $name,)*
                }
            }

            /// Its type.
            pub const fn signature(self) -> Signature {
                match self {
                    $(Call::$call => Signature {
                        params: &[$(ValueType::$ty),*],
                        results: &[ValueType::$result],
                    },)*
                }
            }

            /// What its parameters are called.
            pub const fn params(self) -> &'static [&'static str] {
                match self {
                    $(Call::$call => &[$(stringify!($param)),*],)*
                }
            }

            /// What a module needs to be granted to use it.
            pub const fn capability(self) -> Capability {
                match self {
                    $(Call::$call => Capability::$capability,)*
                }
            }
        }
    };
}

calls! {
    /// Writes one line of UTF-8 text to the device's log; levels are 0 error, 1 warn, 2 info, 3 debug.
    /// At most [`MAX_LOG_BYTES`](crate::MAX_LOG_BYTES). Answers 0.
    Log = "log" (level: I32, ptr: I32, len: I32) -> I32, Base;

    /// Publishes bytes as they are on a channel, a name of `[a-z0-9-]{1,32}`. At most
    /// [`MAX_TELEMETRY_BYTES`](crate::MAX_TELEMETRY_BYTES). Answers 0; `Busy` while the link is behind.
    Telemetry = "telemetry" (channel_ptr: I32, channel_len: I32, ptr: I32, len: I32) -> I32, Telemetry;

    /// Milliseconds since the device started. Never fails.
    UptimeMs = "uptime_ms" () -> I64, Base;

    /// Measures [`Sensor`](crate::Sensor) number `sensor` and writes thousandths of its unit as a
    /// little-endian `i64` to `out_ptr`, which needs no alignment. Answers 0.
    SensorRead = "sensor_read" (sensor: I32, out_ptr: I32) -> I32, Sensors;

    /// Drives a pin low (0) or high (1). Answers 0.
    GpioWrite = "gpio_write" (pin: I32, level: I32) -> I32, Gpio;

    /// Reads a pin. Answers 0 or 1.
    GpioRead = "gpio_read" (pin: I32) -> I32, Gpio;

    /// Copies the value of one of the module's settings, UTF-8 text, to `out_ptr`. Answers its length in
    /// bytes; `NotFound` if it is not set, `NoSpace` if it is longer than `out_cap`.
    ConfigGet = "config_get" (key_ptr: I32, key_len: I32, out_ptr: I32, out_cap: I32) -> I32, Base;

    /// Sets the time between the starts of two ticks, within [`INTERVAL_MS`](crate::INTERVAL_MS).
    /// Answers 0.
    TimerSet = "timer_set" (interval_ms: I32) -> I32, Base;

    /// Writes the SHA-256 (FIPS 180-4) of bytes, 32 of its own, to `out_ptr`. Like all calls of its kind
    /// it takes at most [`MAX_SECURITY_BYTES`](crate::MAX_SECURITY_BYTES). Answers 0.
    Sha256 = "sha256" (ptr: I32, len: I32, out_ptr: I32) -> I32, Security;

    /// Writes the HMAC-SHA-256 (RFC 2104) of bytes, 32 of its own, to `out_ptr`. Keys are the module's, by
    /// number below [`KEYS`](crate::KEYS); the device makes them and never shows them. Answers 0;
    /// `NotFound` for another number, `Unsupported` on devices that keep no secrets.
    HmacSha256 = "hmac_sha256" (key: I32, ptr: I32, len: I32, out_ptr: I32) -> I32, Security;

    /// Encrypts bytes and vouches for them and for `aad` with ChaCha20-Poly1305 (RFC 8439). Writes nonce, the
    /// bytes and tag, [`SEAL_BYTES`](crate::SEAL_BYTES) more than it took, to `out_ptr`; the nonce is the
    /// device's. `aad` has at most [`MAX_AAD_BYTES`](crate::MAX_AAD_BYTES). Both places may overlap. Answers
    /// how many bytes it wrote; `NoSpace` if they do not fit.
    Seal = "seal" (key: I32, aad_ptr: I32, aad_len: I32, ptr: I32, len: I32, out_ptr: I32, out_cap: I32) -> I32, Security;

    /// Decrypts what `seal` wrote with this key and `aad`. Both places may overlap. Answers how many bytes
    /// it wrote; `Forged` if they are not authentic: then the place for them is zeroed.
    Open = "open" (key: I32, aad_ptr: I32, aad_len: I32, ptr: I32, len: I32, out_ptr: I32, out_cap: I32) -> I32, Security;

    /// Writes the Ed25519 (RFC 8032) public key that belongs to key number `key`, 32 bytes. Answers 0.
    Ed25519Public = "ed25519_public" (key: I32, out_ptr: I32) -> I32, Security;

    /// Signs bytes with Ed25519 and writes the signature, 64 bytes. Answers 0.
    Ed25519Sign = "ed25519_sign" (key: I32, ptr: I32, len: I32, out_ptr: I32) -> I32, Security;

    /// Checks an Ed25519 signature of 64 bytes under a public key of 32. Answers 0; `Forged` if it is not
    /// one of these bytes by this key.
    Ed25519Verify = "ed25519_verify" (public_ptr: I32, ptr: I32, len: I32, signature_ptr: I32) -> I32, Security;

    /// Copies the value that the module stored under a key, UTF-8 text of 1 to [`MAX_KEY_BYTES`](crate::MAX_KEY_BYTES)
    /// bytes, to `out_ptr`. Answers its length in bytes; `NotFound` if there is none, `NoSpace` if it is
    /// longer than `out_cap`.
    KvGet = "kv_get" (key_ptr: I32, key_len: I32, out_ptr: I32, out_cap: I32) -> I32, Store;

    /// Stores a value of at most [`MAX_VALUE_BYTES`](crate::MAX_VALUE_BYTES) under a key; it replaces the one
    /// before and survives restarts, updates and power cuts: afterwards the old or the new one is there.
    /// Answers 0; `NoSpace` if the module has stored as much as it may.
    KvSet = "kv_set" (key_ptr: I32, key_len: I32, ptr: I32, len: I32) -> I32, Store;

    /// Forgets the value under a key. Answers 0; `NotFound` if there is none.
    KvRemove = "kv_remove" (key_ptr: I32, key_len: I32) -> I32, Store;

    /// Publishes a message on a channel of the instance's own, `up/msg/{instance}/{channel}` below the device's
    /// topics. At most [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES). Answers 0; `Busy` while the link is behind.
    Publish = "publish" (channel_ptr: I32, channel_len: I32, ptr: I32, len: I32) -> I32, Messages;

    /// Has messages on `dn/msg/{instance}/{channel}` delivered to the export `message`. Answers the
    /// subscription's number, from 0; that of an earlier call for this channel if there is one. `NoSpace` if
    /// there are [`MAX_SUBSCRIPTIONS`](crate::MAX_SUBSCRIPTIONS) already.
    Subscribe = "subscribe" (channel_ptr: I32, channel_len: I32) -> I32, Messages;

    /// Ends a subscription. Answers 0; `NotFound` if there is none with this number.
    Unsubscribe = "unsubscribe" (subscription: I32) -> I32, Messages;

    /// Copies the message that is being delivered to `out_ptr`; only from within `message`. Answers its length
    /// in bytes; `NotFound` if none is being delivered, `NoSpace` if it is longer than `out_cap`.
    MessageRead = "message_read" (out_ptr: I32, out_cap: I32) -> I32, Messages;

    /// Has changes of a pin delivered to the export `gpio_edge`: 1 when it rises, 2 when it falls, 3 both, 0 no
    /// more. Answers 0.
    GpioWatch = "gpio_watch" (pin: I32, edges: I32) -> I32, Gpio;

    /// Fills bytes at random, fit for keys. Answers 0; `Unsupported` on devices that have no randomness.
    Random = "random" (out_ptr: I32, len: I32) -> I32, Security;

    /// Writes to the chip with an address of 7 bits on an I2C bus, then reads from it, in one transaction with a
    /// repeated start; either part may be empty. Both places may overlap. Each part has at most
    /// [`MAX_BUS_BYTES`](crate::MAX_BUS_BYTES). Answers 0; `NotFound` if modules have no such bus, `Invalid` for an
    /// address outside of [`I2C_ADDRESSES`](crate::I2C_ADDRESSES) or if both parts are empty, `Io` if nobody answers.
    I2cTransfer = "i2c_transfer" (bus: I32, address: I32, write_ptr: I32, write_len: I32, read_ptr: I32, read_len: I32) -> I32, Bus;

    /// Exchanges bytes with a chip on an SPI bus while its chip select is active: writes those at `write_ptr` and puts
    /// those that come back at the same time at `read_ptr`. Both places may overlap. At most
    /// [`MAX_BUS_BYTES`](crate::MAX_BUS_BYTES) and at least one. Answers 0; `NotFound` if modules have no such bus or
    /// chip select.
    SpiTransfer = "spi_transfer" (bus: I32, chip_select: I32, write_ptr: I32, read_ptr: I32, len: I32) -> I32, Bus;

    /// Copies bytes of one of the module's files, from `offset` on, to `out_ptr`. A [`FilePath`](crate::FilePath)
    /// names it. Answers how many there were, at most [`MAX_FILE_CALL_BYTES`](crate::MAX_FILE_CALL_BYTES); 0 at
    /// its end and beyond, `NotFound` if there is no such file.
    FileRead = "file_read" (path_ptr: I32, path_len: I32, offset: I64, out_ptr: I32, out_cap: I32) -> I32, Files;

    /// Writes at most [`MAX_FILE_CALL_BYTES`](crate::MAX_FILE_CALL_BYTES) bytes into a file, from `offset` on. It
    /// makes the file and the folders it lies in; a gap before `offset` reads as zeros and counts as if it were
    /// written. Answers 0; `NoSpace`, and nothing is written, if the module's files would have more than
    /// [`FILES_BYTES`](crate::FILES_BYTES) or be more than [`MAX_FILES`](crate::MAX_FILES) with their folders.
    FileWrite = "file_write" (path_ptr: I32, path_len: I32, offset: I64, ptr: I32, len: I32) -> I32, Files;

    /// Answers how many bytes a file has; `NotFound` if there is none.
    FileSize = "file_size" (path_ptr: I32, path_len: I32) -> I64, Files;

    /// Cuts off what a file has beyond `size` bytes. Answers 0, also if that is nothing.
    FileTruncate = "file_truncate" (path_ptr: I32, path_len: I32, size: I64) -> I32, Files;

    /// Removes a file, and the folders that are empty without it. Answers 0; `NotFound` if there is none.
    FileRemove = "file_remove" (path_ptr: I32, path_len: I32) -> I32, Files;

    /// Gives a file another name in place of the file that has it, if there is one. Afterwards, also after a
    /// power cut, either the old or the new one is found under that name, whole. Answers 0.
    FileRename = "file_rename" (from_ptr: I32, from_len: I32, to_ptr: I32, to_len: I32) -> I32, Files;

    /// Copies the path of the module's file number `nth`, in the order of their paths, to `out_ptr`. Answers its
    /// length; `NotFound` after the last one.
    FileList = "file_list" (nth: I32, out_ptr: I32, out_cap: I32) -> I32, Files;

    /// Begins to open a connection to a [`Destination`](crate::Destination), UTF-8 text. Answers its number, less than
    /// [`MAX_SOCKETS`](crate::MAX_SOCKETS), at once; `Denied` if the module may not go there, `NoSpace` if it has too
    /// many connections, `Busy` if it has sent or looked up too much just now.
    NetConnect = "net_connect" (ptr: I32, len: I32) -> I32, Network;

    /// Sends at most [`MAX_NET_CALL_BYTES`](crate::MAX_NET_CALL_BYTES) bytes; for UDP they are a datagram. Answers how
    /// many went, for TCP perhaps not all; `Busy` while the connection opens, is slower, or has used up the instance's
    /// [`NET_BYTES_PER_SECOND`](crate::NET_BYTES_PER_SECOND); `Io` if it was refused, ended, or its name is unknown.
    NetSend = "net_send" (number: I32, ptr: I32, len: I32) -> I32, Network;

    /// Copies what has arrived to `out_ptr`, for UDP one datagram. Answers how many bytes there were: 0 at the end of
    /// a stream; `Busy` if there is nothing yet and as for `net_send`; `NoSpace` if a datagram is longer than
    /// `out_cap`, which stays for the next call, or if that is 0.
    NetReceive = "net_receive" (number: I32, out_ptr: I32, out_cap: I32) -> I32, Network;

    /// Closes a connection. Answers 0; `NotFound` if there is no such connection.
    NetClose = "net_close" (number: I32) -> I32, Network;

    /// Sends a [`VehicleCommand`](crate::VehicleCommand), as long as it is. Answers a ticket, from 0, at once;
    /// `NotFound` if the vehicle was never heard of, `Busy` if too many commands are under way.
    SendVehicleCommand = "send_vehicle_command" (command_ptr: I32, command_len: I32) -> I32, Px4Command;

    /// Lets a vehicle's motors turn. `vehicle` is its MAVLink system id, 1 to 255, here and below; 0 is the only one
    /// there is, and `NotFound` if there are several. Answers as `send_vehicle_command`.
    ArmVehicle = "arm_vehicle" (vehicle: I32) -> I32, Px4Command;

    /// Stops a vehicle's motors; the vehicle refuses that in the air. Answers as `send_vehicle_command`.
    DisarmVehicle = "disarm_vehicle" (vehicle: I32) -> I32, Px4Command;

    /// Has a vehicle go up so many metres above the place where it started, more than 0. Answers as
    /// `send_vehicle_command`; `Busy` too as long as the vehicle does not know how high that place is.
    Takeoff = "takeoff" (vehicle: I32, altitude: F32) -> I32, Px4Command;

    /// Has a vehicle land where it is. Answers as `send_vehicle_command`.
    Land = "land" (vehicle: I32) -> I32, Px4Command;

    /// What a vehicle answered to a command: its `MAV_RESULT`, where 0 is accepted, 1 temporarily rejected, 2 denied,
    /// 3 unsupported, 4 failed, 6 cancelled. `Busy` while it is under way, `TimedOut` if the vehicle does not answer,
    /// `NotFound` if there is no such ticket or [`MAX_VEHICLE_COMMANDS`](crate::MAX_VEHICLE_COMMANDS) came after it.
    VehicleCommandResult = "vehicle_command_result" (ticket: I32) -> I32, Px4Command;

    /// Writes a [`VehicleStatus`](crate::VehicleStatus). Answers its length; `NotFound` if none was ever heard,
    /// `NoSpace` if it is longer than `out_cap`.
    GetVehicleStatus = "get_vehicle_status" (vehicle: I32, out_ptr: I32, out_cap: I32) -> I32, Px4Telemetry;

    /// Writes a [`BatteryStatus`](crate::BatteryStatus). Answers as `get_vehicle_status`.
    GetBatteryStatus = "get_battery_status" (vehicle: I32, out_ptr: I32, out_cap: I32) -> I32, Px4Telemetry;

    /// Writes a [`LocalPosition`](crate::LocalPosition). Answers as `get_vehicle_status`.
    GetVehicleLocalPosition = "get_vehicle_local_position" (vehicle: I32, out_ptr: I32, out_cap: I32) -> I32, Px4Telemetry;

    /// Asks a vehicle for the parameter of a [`ParameterName`](crate::ParameterName), and writes a
    /// [`VehicleParameter`](crate::VehicleParameter) once it has answered. Answers its length; `Busy` until then,
    /// `TimedOut` if the vehicle does not answer, as most do not that have no such parameter, `NotFound` if it says that
    /// it has none, or was never heard of, `Denied` if it does not tell it, `Io` if it cannot. What it answered is told
    /// once, within [`ANSWER_STALE_MS`](crate::ANSWER_STALE_MS): the next call asks again. `Busy` too if
    /// [`MAX_VEHICLE_QUESTIONS`](crate::MAX_VEHICLE_QUESTIONS) are under way.
    GetVehicleParameter = "get_vehicle_parameter" (vehicle: I32, name_ptr: I32, name_len: I32, out_ptr: I32, out_cap: I32) -> I32, Px4Telemetry;

    /// Publishes a message of at most [`MAX_ROS_BYTES`](crate::MAX_ROS_BYTES) on a topic of ROS 2, a
    /// [`RosName`](crate::RosName). Answers 0; `Denied` if the module may not, `NotFound` if the device has no type for
    /// it, `Invalid` if it is no message of that type, `Busy` if it cannot be sent now.
    PublishMessage = "publish_message" (topic_ptr: I32, topic_len: I32, ptr: I32, len: I32) -> I32, RosPublish;

    /// Has messages on a topic of ROS 2 delivered to the export `message`. Answers a number as `subscribe` does, and
    /// among its numbers: `message_read` and `unsubscribe` are for both. `Denied` if the module may not, `NotFound` if
    /// the device has no type for it.
    SubscribeTopic = "subscribe_topic" (topic_ptr: I32, topic_len: I32) -> I32, RosSubscribe;

    /// Makes a client of a service of ROS 2. Answers its number, less than
    /// [`MAX_SERVICE_CLIENTS`](crate::MAX_SERVICE_CLIENTS), that of an earlier call for this name if there is one;
    /// `Denied` if the module may not, `NotFound` if the device has no type for it, `NoSpace` if it has too many.
    CreateServiceClient = "create_service_client" (name_ptr: I32, name_len: I32) -> I32, RosCall;

    /// Sends a request of at most [`MAX_ROS_BYTES`](crate::MAX_ROS_BYTES). Answers a ticket, from 0, at once;
    /// `NotFound` if there is no such client, `Invalid` if it is no request of the service's type, `Busy` if too many calls
    /// are under way.
    CallService = "call_service" (client: I32, ptr: I32, len: I32) -> I32, RosCall;

    /// Writes the response to a request. Answers its length; `Busy` while there is none, `TimedOut` if none came, `Io` if it
    /// is not of the service's type or too long,
    /// `NoSpace` if it is longer than `out_cap`: it stays; `NotFound` if there is no such ticket or
    /// [`MAX_SERVICE_CALLS`](crate::MAX_SERVICE_CALLS) came after it.
    ServiceResponse = "service_response" (ticket: I32, out_ptr: I32, out_cap: I32) -> I32, RosCall;

    /// Offers a service of ROS 2: requests are delivered to the export `service_request`. Answers its number, less than
    /// [`MAX_SERVICES`](crate::MAX_SERVICES), that of an earlier call for this name if there is one; `Denied` if the module
    /// may not, `NotFound` if the device has no type for it, `NoSpace` if it has too many.
    CreateService = "create_service" (name_ptr: I32, name_len: I32) -> I32, RosServe;

    /// Answers a request, once, with at most [`MAX_ROS_BYTES`](crate::MAX_ROS_BYTES); `ticket` is what `service_request` was called
    /// with, and may be answered later. Answers 0; `NotFound` if there is no such ticket or
    /// [`MAX_SERVICE_CALLS`](crate::MAX_SERVICE_CALLS) requests came after it, `Invalid` if it is no response of the service's
    /// type, `Busy` if it cannot be sent now.
    SendResponse = "send_response" (ticket: I32, ptr: I32, len: I32) -> I32, RosServe;

    /// Writes the [`TopicInfo`](crate::TopicInfo) of topic number `nth`, in the order of their names, of those the
    /// module may subscribe to. Answers its length; `NotFound` after the last one, `NoSpace` if it is longer than
    /// `out_cap`, `Busy` until a gateway has answered the same question, `TimedOut` if it does not.
    GetAvailableTopics = "get_available_topics" (nth: I32, out_ptr: I32, out_cap: I32) -> I32, RosSubscribe;

    /// Writes the [`NodeInfo`](crate::NodeInfo) of a node, of what the module may subscribe to, publish on or call.
    /// Answers its length; `NotFound` if there is no such node, `NoSpace`, `Busy` and `TimedOut` as
    /// `get_available_topics`.
    GetNodeInfo = "get_node_info" (name_ptr: I32, name_len: I32, out_ptr: I32, out_cap: I32) -> I32, RosSubscribe;

    /// Starts a thread: another instance of the module over the same shared memory, whose export `thread_start` is
    /// called with the thread's id and `arg`, once. Answers the id, from 1; `Busy` if as many threads run as the class
    /// allows, or the device has none left, `Unsupported` if the module has no shared memory or no `thread_start`.
    /// From other threads than the main one, besides this only `uptime_ms` does anything: the rest is `WrongThread`.
    ThreadSpawn = "thread_spawn" (arg: I32) -> I32, Threads;
}

impl Call {
    /// The call imported as this name.
    pub fn by_name(name: &str) -> Option<Call> {
        Call::ALL.iter().copied().find(|call| call.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        for call in Call::ALL {
            assert_eq!(Call::by_name(call.name()), Some(*call));
        }
    }
}
