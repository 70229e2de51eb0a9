//! The device's functions as they are imported. [The crate's root](crate) has safe ones.

#[cfg_attr(not(feature = "optional"), link(wasm_import_module = "wasmbed"))]
#[cfg_attr(feature = "optional", link(wasm_import_module = "wasmbed-optional"))]
unsafe extern "C" {
    /// Writes a line of text to the log.
    pub fn log(level: i32, ptr: *const u8, len: usize) -> i32;
    /// Publishes bytes on a channel.
    pub fn telemetry(channel_ptr: *const u8, channel_len: usize, ptr: *const u8, len: usize) -> i32;
    /// Milliseconds since the device started.
    pub safe fn uptime_ms() -> i64;
    /// Measures, and writes thousandths of the sensor's unit.
    pub fn sensor_read(sensor: i32, out_ptr: *mut i64) -> i32;
    /// Drives a pin.
    pub safe fn gpio_write(pin: i32, level: i32) -> i32;
    /// Reads a pin.
    pub safe fn gpio_read(pin: i32) -> i32;
    /// Copies a setting.
    pub fn config_get(key_ptr: *const u8, key_len: usize, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Sets the time between two ticks.
    pub safe fn timer_set(interval_ms: i32) -> i32;
    /// Writes the SHA-256 of bytes.
    pub fn sha256(ptr: *const u8, len: usize, out_ptr: *mut u8) -> i32;
    /// Writes the HMAC-SHA-256 of bytes.
    pub fn hmac_sha256(key: i32, ptr: *const u8, len: usize, out_ptr: *mut u8) -> i32;
    /// Encrypts and authenticates.
    pub fn seal(
        key: i32,
        aad_ptr: *const u8,
        aad_len: usize,
        ptr: *const u8,
        len: usize,
        out_ptr: *mut u8,
        out_cap: usize,
    ) -> i32;
    /// Decrypts what `seal` wrote.
    pub fn open(
        key: i32,
        aad_ptr: *const u8,
        aad_len: usize,
        ptr: *const u8,
        len: usize,
        out_ptr: *mut u8,
        out_cap: usize,
    ) -> i32;
    /// Writes a public key.
    pub fn ed25519_public(key: i32, out_ptr: *mut u8) -> i32;
    /// Signs bytes.
    pub fn ed25519_sign(key: i32, ptr: *const u8, len: usize, out_ptr: *mut u8) -> i32;
    /// Checks a signature.
    pub fn ed25519_verify(public_ptr: *const u8, ptr: *const u8, len: usize, signature_ptr: *const u8)
    -> i32;
    /// Copies a stored value.
    pub fn kv_get(key_ptr: *const u8, key_len: usize, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Stores a value.
    pub fn kv_set(key_ptr: *const u8, key_len: usize, ptr: *const u8, len: usize) -> i32;
    /// Forgets a value.
    pub fn kv_remove(key_ptr: *const u8, key_len: usize) -> i32;
    /// Publishes a message.
    pub fn publish(channel_ptr: *const u8, channel_len: usize, ptr: *const u8, len: usize) -> i32;
    /// Listens to a channel.
    pub fn subscribe(channel_ptr: *const u8, channel_len: usize) -> i32;
    /// Listens no longer.
    pub safe fn unsubscribe(subscription: i32) -> i32;
    /// Copies the message that is being delivered.
    pub fn message_read(out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Watches a pin.
    pub safe fn gpio_watch(pin: i32, edges: i32) -> i32;
    /// Fills bytes at random.
    pub fn random(ptr: *mut u8, len: usize) -> i32;
    /// Writes to a chip on an I2C bus and reads from it.
    pub fn i2c_transfer(
        bus: i32,
        address: i32,
        write_ptr: *const u8,
        write_len: usize,
        read_ptr: *mut u8,
        read_len: usize,
    ) -> i32;
    /// Exchanges bytes with a chip on an SPI bus.
    pub fn spi_transfer(
        bus: i32,
        chip_select: i32,
        write_ptr: *const u8,
        read_ptr: *mut u8,
        len: usize,
    ) -> i32;
    /// Copies bytes of a file.
    pub fn file_read(
        path_ptr: *const u8,
        path_len: usize,
        offset: i64,
        out_ptr: *mut u8,
        out_cap: usize,
    ) -> i32;
    /// Writes bytes into a file.
    pub fn file_write(path_ptr: *const u8, path_len: usize, offset: i64, ptr: *const u8, len: usize) -> i32;
    /// The bytes a file has.
    pub fn file_size(path_ptr: *const u8, path_len: usize) -> i64;
    /// Makes a file shorter.
    pub fn file_truncate(path_ptr: *const u8, path_len: usize, size: i64) -> i32;
    /// Removes a file.
    pub fn file_remove(path_ptr: *const u8, path_len: usize) -> i32;
    /// Gives a file another name.
    pub fn file_rename(from_ptr: *const u8, from_len: usize, to_ptr: *const u8, to_len: usize) -> i32;
    /// Begins to open a connection.
    pub fn net_connect(ptr: *const u8, len: usize) -> i32;
    /// Sends bytes.
    pub fn net_send(number: i32, ptr: *const u8, len: usize) -> i32;
    /// Copies what has arrived.
    pub fn net_receive(number: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Closes a connection.
    pub safe fn net_close(number: i32) -> i32;
    /// Copies the path of a file.
    pub fn file_list(nth: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Sends a command to a vehicle.
    pub fn send_vehicle_command(command_ptr: *const u8, command_len: usize) -> i32;
    /// Lets motors turn.
    pub safe fn arm_vehicle(vehicle: i32) -> i32;
    /// Stops motors.
    pub safe fn disarm_vehicle(vehicle: i32) -> i32;
    /// Goes up.
    pub safe fn takeoff(vehicle: i32, altitude: f32) -> i32;
    /// Lands.
    pub safe fn land(vehicle: i32) -> i32;
    /// What a vehicle answered to a command.
    pub safe fn vehicle_command_result(ticket: i32) -> i32;
    /// Writes how a vehicle is.
    pub fn get_vehicle_status(vehicle: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Writes how its battery is.
    pub fn get_battery_status(vehicle: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Writes where it is.
    pub fn get_vehicle_local_position(vehicle: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Writes one of its parameters.
    pub fn get_vehicle_parameter(
        vehicle: i32,
        name_ptr: *const u8,
        name_len: usize,
        out_ptr: *mut u8,
        out_cap: usize,
    ) -> i32;
    /// Publishes a message on a topic of ROS 2.
    pub fn publish_message(topic_ptr: *const u8, topic_len: usize, ptr: *const u8, len: usize) -> i32;
    /// Listens to a topic of ROS 2.
    pub fn subscribe_topic(topic_ptr: *const u8, topic_len: usize) -> i32;
    /// Makes a client of a service of ROS 2.
    pub fn create_service_client(name_ptr: *const u8, name_len: usize) -> i32;
    /// Sends a request.
    pub fn call_service(client: i32, ptr: *const u8, len: usize) -> i32;
    /// Writes the response to a request.
    pub fn service_response(ticket: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Offers a service of ROS 2.
    pub fn create_service(name_ptr: *const u8, name_len: usize) -> i32;
    /// Answers a request.
    pub fn send_response(ticket: i32, ptr: *const u8, len: usize) -> i32;
    /// Writes what a topic of ROS 2 is.
    pub fn get_available_topics(nth: i32, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Writes what a node of ROS 2 is.
    pub fn get_node_info(name_ptr: *const u8, name_len: usize, out_ptr: *mut u8, out_cap: usize) -> i32;
    /// Starts a thread.
    pub safe fn thread_spawn(arg: i32) -> i32;
}
