// What a module for Wasmbed devices is written with in AssemblyScript.
//
// A module exports `tick(): void`, and if it wants to `init(): i32` and `health(): i32`. `init` is called once
// and answers 0 if the module is ready. `tick` is called at every interval, each second unless `timerSet` says
// otherwise. `health` answers 0 if all is well.
//
// Nothing here allocates: texts are put together in `text`, so that a module needs no heap. Answers below zero
// are errors.

// An argument is outside its range.
export const INVALID: i32 = -1;
// A pointer is outside the module's memory.
export const FAULT: i32 = -2;
// This device cannot do that.
export const UNSUPPORTED: i32 = -3;
// The module has no permission.
export const DENIED: i32 = -4;
// Too many bytes.
export const TOO_LONG: i32 = -5;
// Not now; the same call may succeed later.
export const BUSY: i32 = -6;
// No such key, pin, sensor, bus, file, connection, vehicle or ticket.
export const NOT_FOUND: i32 = -7;
// The answer does not fit.
export const NO_SPACE: i32 = -8;
// The hardware or the network failed.
export const IO: i32 = -9;
// A signature or tag does not belong to the bytes.
export const FORGED: i32 = -10;
// Nobody answered in time.
export const TIMED_OUT: i32 = -11;
// Only the main thread can do that.
export const WRONG_THREAD: i32 = -12;

// Levels of the log.
export const ERROR: i32 = 0;
export const WARN: i32 = 1;
export const INFO: i32 = 2;
export const DEBUG: i32 = 3;

// Sensors; readings are in thousandths of the unit.
export const TEMPERATURE: i32 = 0; // degrees Celsius
export const HUMIDITY: i32 = 1; // percent
export const PRESSURE: i32 = 2; // pascal
export const LIGHT: i32 = 3; // lux
export const SUPPLY: i32 = 4; // volt
export const ADC: i32 = 16; // volt; add the number of the analogue input, 0 to 15

@external("wasmbed", "log")
declare function raw_log(level: i32, ptr: usize, len: u32): i32;
@external("wasmbed", "telemetry")
declare function raw_telemetry(channel: usize, channelLen: u32, ptr: usize, len: u32): i32;
@external("wasmbed", "uptime_ms")
declare function raw_uptime_ms(): i64;
@external("wasmbed", "sensor_read")
declare function raw_sensor_read(sensor: i32, out: usize): i32;
@external("wasmbed", "gpio_write")
declare function raw_gpio_write(pin: i32, level: i32): i32;
@external("wasmbed", "gpio_read")
declare function raw_gpio_read(pin: i32): i32;
@external("wasmbed", "gpio_watch")
declare function raw_gpio_watch(pin: i32, edges: i32): i32;
@external("wasmbed", "publish")
declare function raw_publish(channel: usize, channelLen: u32, ptr: usize, len: u32): i32;
@external("wasmbed", "subscribe")
declare function raw_subscribe(channel: usize, channelLen: u32): i32;
@external("wasmbed", "unsubscribe")
declare function raw_unsubscribe(subscription: i32): i32;
@external("wasmbed", "message_read")
declare function raw_message_read(out: usize, outCap: u32): i32;
@external("wasmbed", "config_get")
declare function raw_config_get(key: usize, keyLen: u32, out: usize, outCap: u32): i32;
@external("wasmbed", "timer_set")
declare function raw_timer_set(intervalMs: i32): i32;
@external("wasmbed", "kv_get")
declare function raw_kv_get(key: usize, keyLen: u32, out: usize, outCap: u32): i32;
@external("wasmbed", "kv_set")
declare function raw_kv_set(key: usize, keyLen: u32, ptr: usize, len: u32): i32;
@external("wasmbed", "kv_remove")
declare function raw_kv_remove(key: usize, keyLen: u32): i32;
@external("wasmbed", "sha256")
declare function raw_sha256(ptr: usize, len: u32, out: usize): i32;
@external("wasmbed", "hmac_sha256")
declare function raw_hmac_sha256(key: i32, ptr: usize, len: u32, out: usize): i32;
@external("wasmbed", "seal")
declare function raw_seal(key: i32, aad: usize, aadLen: u32, ptr: usize, len: u32, out: usize, outCap: u32): i32;
@external("wasmbed", "open")
declare function raw_open(key: i32, aad: usize, aadLen: u32, ptr: usize, len: u32, out: usize, outCap: u32): i32;
@external("wasmbed", "ed25519_public")
declare function raw_ed25519_public(key: i32, out: usize): i32;
@external("wasmbed", "ed25519_sign")
declare function raw_ed25519_sign(key: i32, ptr: usize, len: u32, out: usize): i32;
@external("wasmbed", "ed25519_verify")
declare function raw_ed25519_verify(publicKey: usize, ptr: usize, len: u32, signature: usize): i32;
@external("wasmbed", "random")
declare function raw_random(ptr: usize, len: u32): i32;
@external("wasmbed", "i2c_transfer")
declare function raw_i2c_transfer(bus: i32, address: i32, write: usize, writeLen: u32, read: usize, readLen: u32): i32;
@external("wasmbed", "spi_transfer")
declare function raw_spi_transfer(bus: i32, chipSelect: i32, write: usize, read: usize, len: u32): i32;
@external("wasmbed", "net_connect")
declare function raw_net_connect(ptr: usize, len: u32): i32;
@external("wasmbed", "net_send")
declare function raw_net_send(number: i32, ptr: usize, len: u32): i32;
@external("wasmbed", "net_receive")
declare function raw_net_receive(number: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "net_close")
declare function raw_net_close(number: i32): i32;
@external("wasmbed", "file_read")
declare function raw_file_read(path: usize, pathLen: u32, offset: i64, out: usize, outCap: u32): i32;
@external("wasmbed", "file_write")
declare function raw_file_write(path: usize, pathLen: u32, offset: i64, ptr: usize, len: u32): i32;
@external("wasmbed", "file_size")
declare function raw_file_size(path: usize, pathLen: u32): i64;
@external("wasmbed", "file_truncate")
declare function raw_file_truncate(path: usize, pathLen: u32, size: i64): i32;
@external("wasmbed", "file_remove")
declare function raw_file_remove(path: usize, pathLen: u32): i32;
@external("wasmbed", "file_rename")
declare function raw_file_rename(from: usize, fromLen: u32, to: usize, toLen: u32): i32;
@external("wasmbed", "file_list")
declare function raw_file_list(nth: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "send_vehicle_command")
declare function raw_send_vehicle_command(command: usize, commandLen: u32): i32;
@external("wasmbed", "arm_vehicle")
declare function raw_arm_vehicle(vehicle: i32): i32;
@external("wasmbed", "disarm_vehicle")
declare function raw_disarm_vehicle(vehicle: i32): i32;
@external("wasmbed", "takeoff")
declare function raw_takeoff(vehicle: i32, altitude: f32): i32;
@external("wasmbed", "land")
declare function raw_land(vehicle: i32): i32;
@external("wasmbed", "vehicle_command_result")
declare function raw_vehicle_command_result(ticket: i32): i32;
@external("wasmbed", "get_vehicle_status")
declare function raw_get_vehicle_status(vehicle: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "get_battery_status")
declare function raw_get_battery_status(vehicle: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "get_vehicle_local_position")
declare function raw_get_vehicle_local_position(vehicle: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "get_vehicle_parameter")
declare function raw_get_vehicle_parameter(vehicle: i32, name: usize, nameLen: u32, out: usize, outCap: u32): i32;
@external("wasmbed", "publish_message")
declare function raw_publish_message(topic: usize, topicLen: u32, ptr: usize, len: u32): i32;
@external("wasmbed", "subscribe_topic")
declare function raw_subscribe_topic(topic: usize, topicLen: u32): i32;
@external("wasmbed", "create_service_client")
declare function raw_create_service_client(name: usize, nameLen: u32): i32;
@external("wasmbed", "call_service")
declare function raw_call_service(client: i32, ptr: usize, len: u32): i32;
@external("wasmbed", "service_response")
declare function raw_service_response(ticket: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "create_service")
declare function raw_create_service(name: usize, nameLen: u32): i32;
@external("wasmbed", "send_response")
declare function raw_send_response(ticket: i32, ptr: usize, len: u32): i32;
@external("wasmbed", "get_available_topics")
declare function raw_get_available_topics(nth: i32, out: usize, outCap: u32): i32;
@external("wasmbed", "get_node_info")
declare function raw_get_node_info(name: usize, nameLen: u32, out: usize, outCap: u32): i32;
@external("wasmbed", "thread_spawn")
declare function raw_thread_spawn(arg: i32): i32;

// Bytes of the longest name of a channel, setting, file or destination, each character taking up to three.
const NAME_BYTES: u32 = 789;
// Bytes of the longest text.
const TEXT_BYTES: u32 = 200;
// Digits of the longest number, with point and sign.
const DIGITS: u32 = 21;

const nameAt: usize = memory.data(NAME_BYTES);
const otherNameAt: usize = memory.data(NAME_BYTES);
const textAt: usize = memory.data(TEXT_BYTES);
const digitsAt: usize = memory.data(DIGITS);
const readingAt: usize = memory.data(8);
let textLen: u32 = 0;

// Writes UTF-8 to `to`; answers its length, or nothing where it may not fit.
function encode(value: string, to: usize, room: u32): u32 {
  if (<u32>value.length * 3 > room) return 0;
  return <u32>String.UTF8.encodeUnsafe(changetype<usize>(value), value.length, to);
}

// A text of at most 200 bytes, put together piece by piece; what may not fit is left out.
export namespace text {
  export function clear(): void {
    textLen = 0;
  }

  export function push(value: string): void {
    textLen += encode(value, textAt + textLen, TEXT_BYTES - textLen);
  }

  // Appends a number in decimal.
  export function pushInt(value: i64): void {
    pushDecimal(value, 0);
  }

  // Appends thousandths as a decimal number, as JSON writes it: 23500 becomes 23.5.
  export function pushThousandths(value: i64): void {
    pushDecimal(value, 3);
  }

  // Writes it to the device's log.
  export function log(level: i32): i32 {
    return raw_log(level, textAt, textLen);
  }

  // Publishes it on a channel, a name of a-z, 0-9 and -.
  export function publish(channel: string): i32 {
    return raw_telemetry(nameAt, encode(channel, nameAt, NAME_BYTES), textAt, textLen);
  }
}

function pushDecimal(value: i64, decimals: u32): void {
  let rest: u64 = value < 0 ? 0 - <u64>value : <u64>value;
  while (decimals > 0 && rest % 10 == 0) {
    rest /= 10;
    decimals--;
  }
  let at = digitsAt + DIGITS;
  let digits: u32 = 0;
  while (digits <= decimals || rest > 0) {
    if (digits == decimals && decimals > 0) store<u8>(--at, 0x2e);
    store<u8>(--at, 0x30 + <u8>(rest % 10));
    rest /= 10;
    digits++;
  }
  if (value < 0) store<u8>(--at, 0x2d);
  const len = <u32>(digitsAt + DIGITS - at);
  if (textLen + len > TEXT_BYTES) return;
  memory.copy(textAt + textLen, at, len);
  textLen += len;
}

// Writes a line to the device's log.
export function log(level: i32, line: string): i32 {
  text.clear();
  text.push(line);
  return text.log(level);
}

// Publishes bytes at an address as they are.
export function telemetry(channel: string, ptr: usize, len: u32): i32 {
  return raw_telemetry(nameAt, encode(channel, nameAt, NAME_BYTES), ptr, len);
}

// Milliseconds since the device started.
export function uptimeMs(): i64 {
  return raw_uptime_ms();
}

// Measures; if it answers 0, `reading` has thousandths of the sensor's unit.
export function sensorRead(sensor: i32): i32 {
  return raw_sensor_read(sensor, readingAt);
}

// What `sensorRead` measured last.
export function reading(): i64 {
  return load<i64>(readingAt);
}

// Drives a pin.
export function gpioWrite(pin: i32, high: bool): i32 {
  return raw_gpio_write(pin, high ? 1 : 0);
}

// Reads a pin: 0 or 1.
export function gpioRead(pin: i32): i32 {
  return raw_gpio_read(pin);
}

// Has changes of a pin told to the export `gpio_edge(pin: i32, level: i32): void`: 1 when it rises, 2 when it falls,
// 3 both, 0 no more.
export function gpioWatch(pin: i32, edges: i32): i32 {
  return raw_gpio_watch(pin, edges);
}

// Messages within the instance's own topics, up/msg/{instance}/… and dn/msg/{instance}/… below the device's.
export namespace messages {
  // Publishes at most 1024 bytes at an address.
  export function publish(channel: string, ptr: usize, len: u32): i32 {
    return raw_publish(nameAt, encode(channel, nameAt, NAME_BYTES), ptr, len);
  }

  // Has messages on a channel told to the export `message(subscription: i32, len: i32): void`; answers the number
  // of the subscription. At most 16.
  export function subscribe(channel: string): i32 {
    return raw_subscribe(nameAt, encode(channel, nameAt, NAME_BYTES));
  }

  // Ends a subscription.
  export function unsubscribe(subscription: i32): i32 {
    return raw_unsubscribe(subscription);
  }

  // Copies the message that is being told to an address; answers its length. Only from within `message`.
  export function read(out: usize, outCap: u32): i32 {
    return raw_message_read(out, outCap);
  }
}

// Copies the value of one of the module's settings, UTF-8, to an address; answers its length.
export function configGet(key: string, out: usize, outCap: u32): i32 {
  return raw_config_get(nameAt, encode(key, nameAt, NAME_BYTES), out, outCap);
}

// The value of a setting that is a whole number, or `otherwise` if it is not set or no such number.
export function configNumber(key: string, otherwise: i32): i32 {
  const len = configGet(key, digitsAt, 9);
  if (len <= 0) return otherwise;
  let number = 0;
  for (let at = digitsAt; at < digitsAt + len; at++) {
    const digit = <i32>load<u8>(at) - 0x30;
    if (digit < 0 || digit > 9) return otherwise;
    number = number * 10 + digit;
  }
  return number;
}

// Sets the time between the starts of two ticks: 10 ms to a day.
export function timerSet(intervalMs: i32): i32 {
  return raw_timer_set(intervalMs);
}

// Copies the value that was stored under a key to an address; answers its length.
export function kvGet(key: string, out: usize, outCap: u32): i32 {
  return raw_kv_get(nameAt, encode(key, nameAt, NAME_BYTES), out, outCap);
}

// Stores at most 4096 bytes under a key; they survive restarts, updates and power cuts.
export function kvSet(key: string, ptr: usize, len: u32): i32 {
  return raw_kv_set(nameAt, encode(key, nameAt, NAME_BYTES), ptr, len);
}

// Forgets the value under a key.
export function kvRemove(key: string): i32 {
  return raw_kv_remove(nameAt, encode(key, nameAt, NAME_BYTES));
}

// Security, on Linux and RISC-V devices: at most 64 KiB at once. Keys are numbers 0 to 7: the device makes them
// for each module and never shows them.
export namespace security {
  // Writes the SHA-256 of bytes, 32 of its own.
  export function sha256(ptr: usize, len: u32, out: usize): i32 {
    return raw_sha256(ptr, len, out);
  }

  // Writes the HMAC-SHA-256 of bytes, 32 of its own.
  export function hmacSha256(key: i32, ptr: usize, len: u32, out: usize): i32 {
    return raw_hmac_sha256(key, ptr, len, out);
  }

  // Encrypts and authenticates; answers what it wrote, 28 bytes more than `len`. At most 64 bytes of `aad` are
  // authenticated as well.
  export function seal(key: i32, aad: usize, aadLen: u32, ptr: usize, len: u32, out: usize, outCap: u32): i32 {
    return raw_seal(key, aad, aadLen, ptr, len, out, outCap);
  }

  // Decrypts what `seal` wrote; FORGED if it is not authentic.
  export function open(key: i32, aad: usize, aadLen: u32, ptr: usize, len: u32, out: usize, outCap: u32): i32 {
    return raw_open(key, aad, aadLen, ptr, len, out, outCap);
  }

  // Writes the Ed25519 public key of a key, 32 bytes.
  export function publicKey(key: i32, out: usize): i32 {
    return raw_ed25519_public(key, out);
  }

  // Signs bytes with Ed25519 and writes the signature, 64 bytes.
  export function sign(key: i32, ptr: usize, len: u32, out: usize): i32 {
    return raw_ed25519_sign(key, ptr, len, out);
  }

  // Checks a signature of 64 bytes under a public key of 32: 0, or FORGED.
  export function verify(publicKey: usize, ptr: usize, len: u32, signature: usize): i32 {
    return raw_ed25519_verify(publicKey, ptr, len, signature);
  }

  // Fills bytes at random, fit for keys.
  export function random(ptr: usize, len: u32): i32 {
    return raw_random(ptr, len);
  }
}

// Writes to the chip at an address of 7 bits on an I2C bus, then reads from it; either part may be empty. At most 256
// bytes in each direction.
export function i2cTransfer(
  bus: i32, address: i32, write: usize, writeLen: u32, read: usize, readLen: u32
): i32 {
  return raw_i2c_transfer(bus, address, write, writeLen, read, readLen);
}

// Exchanges at most 256 bytes with a chip on an SPI bus; `read` may be `write`.
export function spiTransfer(bus: i32, chipSelect: i32, write: usize, read: usize, len: u32): i32 {
  return raw_spi_transfer(bus, chipSelect, write, read, len);
}

// Connections to where the operator of the device allows, on Linux devices: at most 8, and 256 KiB a second. Nothing
// here waits: BUSY means to ask again in a later tick.
export namespace network {
  // Begins to open a connection to tcp:HOST:PORT or udp:HOST:PORT, an IPv6 address in brackets; answers its number.
  export function connect(destination: string): i32 {
    return raw_net_connect(nameAt, encode(destination, nameAt, NAME_BYTES));
  }

  // Sends at most 16 KiB: a datagram, or as much of a stream as there is room for; answers how many bytes went.
  export function send(number: i32, ptr: usize, len: u32): i32 {
    return raw_net_send(number, ptr, len);
  }

  // Copies what has arrived to an address; answers how many bytes: one datagram, or some of a stream, 0 at its end.
  export function receive(number: i32, out: usize, outCap: u32): i32 {
    return raw_net_receive(number, out, outCap);
  }

  // Closes a connection.
  export function close(number: i32): i32 {
    return raw_net_close(number);
  }
}

// Files, on Linux devices. A path is names separated by /, at most 128 bytes of UTF-8; no name is . or .. . Folders
// come and go with the files in them. A module has at most 256 files with their folders, 16 MiB in all.
export namespace files {
  // Copies bytes from `offset` on to an address; answers how many, at most 64 KiB: 0 at the file's end.
  export function read(path: string, offset: i64, out: usize, outCap: u32): i32 {
    return raw_file_read(nameAt, encode(path, nameAt, NAME_BYTES), offset, out, outCap);
  }

  // Writes at most 64 KiB from `offset` on; makes the file.
  export function write(path: string, offset: i64, ptr: usize, len: u32): i32 {
    return raw_file_write(nameAt, encode(path, nameAt, NAME_BYTES), offset, ptr, len);
  }

  // How many bytes a file has.
  export function size(path: string): i64 {
    return raw_file_size(nameAt, encode(path, nameAt, NAME_BYTES));
  }

  // Cuts off what a file has beyond `size` bytes.
  export function truncate(path: string, size: i64): i32 {
    return raw_file_truncate(nameAt, encode(path, nameAt, NAME_BYTES), size);
  }

  // Removes a file.
  export function remove(path: string): i32 {
    return raw_file_remove(nameAt, encode(path, nameAt, NAME_BYTES));
  }

  // Gives a file another name in place of the file that has it; either is found there after a power cut, whole.
  export function rename(from: string, to: string): i32 {
    const fromLen = encode(from, nameAt, NAME_BYTES);
    return raw_file_rename(nameAt, fromLen, otherNameAt, encode(to, otherNameAt, NAME_BYTES));
  }

  // Copies the path of file number `nth` to an address; answers its length, or NOT_FOUND after the last one.
  export function list(nth: i32, out: usize, outCap: u32): i32 {
    return raw_file_list(nth, out, outCap);
  }
}

// Vehicles under an autopilot that speaks MAVLink, such as PX4. A vehicle is a MAVLink system id, 1 to 255; 0 is the
// only one there is. Nothing here waits: a command answers a ticket, whose result is asked for in later ticks.
// Structures are those of docs/abi.md; an @unmanaged class with their fields in order reads them in place.
export namespace vehicle {
  // Sends a command, a structure of 48 bytes; answers a ticket.
  export function send(command: usize): i32 {
    return raw_send_vehicle_command(command, 48);
  }

  // Lets motors turn; answers a ticket.
  export function arm(vehicle: i32): i32 {
    return raw_arm_vehicle(vehicle);
  }

  // Stops motors, which the vehicle refuses in the air; answers a ticket.
  export function disarm(vehicle: i32): i32 {
    return raw_disarm_vehicle(vehicle);
  }

  // Goes up so many metres above the place where it started; answers a ticket.
  export function takeoff(vehicle: i32, altitude: f32): i32 {
    return raw_takeoff(vehicle, altitude);
  }

  // Lands; answers a ticket.
  export function land(vehicle: i32): i32 {
    return raw_land(vehicle);
  }

  // The MAV_RESULT of a command, 0 accepted; BUSY while it is under way, TIMED_OUT if the vehicle does not answer.
  export function result(ticket: i32): i32 {
    return raw_vehicle_command_result(ticket);
  }

  // Writes how a vehicle is to an address; answers how many bytes. NOT_FOUND if that was never heard.
  export function status(vehicle: i32, out: usize, outCap: u32): i32 {
    return raw_get_vehicle_status(vehicle, out, outCap);
  }

  // Writes how its battery is, likewise.
  export function battery(vehicle: i32, out: usize, outCap: u32): i32 {
    return raw_get_battery_status(vehicle, out, outCap);
  }

  // Writes where it is, likewise.
  export function localPosition(vehicle: i32, out: usize, outCap: u32): i32 {
    return raw_get_vehicle_local_position(vehicle, out, outCap);
  }

  // Asks for a parameter by its name, at most 16 bytes, and writes it, 16 bytes, once the vehicle has answered; BUSY
  // until then, so call again in the next tick. The answer is told once, within 5 seconds.
  export function parameter(vehicle: i32, name: string, out: usize, outCap: u32): i32 {
    return raw_get_vehicle_parameter(vehicle, nameAt, encode(name, nameAt, NAME_BYTES), out, outCap);
  }
}

// ROS 2: topics and services that the operator of the device allows, by fully qualified names such as /robot/chatter.
// Messages, requests and responses are CDR after an encapsulation header of 4 bytes, or JSON where the device says so.
// Nothing here waits.
export namespace ros {
  // Publishes a message.
  export function publish(topic: string, ptr: usize, len: u32): i32 {
    return raw_publish_message(nameAt, encode(topic, nameAt, NAME_BYTES), ptr, len);
  }

  // Has messages on a topic told to the export `message`; answers the number of the subscription.
  export function subscribe(topic: string): i32 {
    return raw_subscribe_topic(nameAt, encode(topic, nameAt, NAME_BYTES));
  }

  // Makes a client of a service; answers its number.
  export function client(name: string): i32 {
    return raw_create_service_client(nameAt, encode(name, nameAt, NAME_BYTES));
  }

  // Sends a request; answers a ticket.
  export function call(client: i32, ptr: usize, len: u32): i32 {
    return raw_call_service(client, ptr, len);
  }

  // Writes the response to a request to an address; answers its length, BUSY while there is none.
  export function response(ticket: i32, out: usize, outCap: u32): i32 {
    return raw_service_response(ticket, out, outCap);
  }

  // Has requests to a service told to the export `service_request(service: i32, ticket: i32, len: i32): void`; answers its number.
  export function service(name: string): i32 {
    return raw_create_service(nameAt, encode(name, nameAt, NAME_BYTES));
  }

  // Answers a request, once, now or later.
  export function respond(ticket: i32, ptr: usize, len: u32): i32 {
    return raw_send_response(ticket, ptr, len);
  }

  // Writes what topic number `nth` is to an address; answers how many bytes, NOT_FOUND after the last one.
  export function topic(nth: i32, out: usize, outCap: u32): i32 {
    return raw_get_available_topics(nth, out, outCap);
  }

  // Writes what a node is to an address; answers how many bytes.
  export function node(name: string, out: usize, outCap: u32): i32 {
    return raw_get_node_info(nameAt, encode(name, nameAt, NAME_BYTES), out, outCap);
  }
}

// Starts a thread of a module that is compiled with `--enable threads --importMemory --sharedMemory`: the export
// `thread_start(id: i32, arg: i32): void` is called in another instance over the same memory. Answers the thread's
// id, from 1; BUSY if too many run.
export function threadSpawn(arg: i32): i32 {
  return raw_thread_spawn(arg);
}

// What a failed assertion or an error that is thrown comes to: one line of the log and a trap. The compiler is
// told so in asconfig.json.
function abort(message: string | null, file: string | null, line: u32, column: u32): void {
  text.clear();
  text.push("abort at ");
  if (file) text.push(file);
  text.push(":");
  text.pushInt(line);
  text.log(ERROR);
  unreachable();
}
