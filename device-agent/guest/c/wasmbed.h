/* What a module for Wasmbed devices is written with in C or C++.
 *
 * A module exports `tick`, and if it wants to `init` and `health`:
 *
 *     WASMBED_EXPORT("tick") void tick(void) { wasmbed_log(WASMBED_INFO, "hello", 5); }
 *
 * `init` is called once and answers 0 if the module is ready. `tick` is called at every interval, each
 * second unless `wasmbed_timer_set` says otherwise. `health` answers 0 if all is well.
 *
 * Build it freestanding: there is no C library. examples/counter shows how.
 */
#ifndef WASMBED_H
#define WASMBED_H

#include <stdint.h>

#ifdef __cplusplus
#define WASMBED_EXTERN extern "C"
#else
#define WASMBED_EXTERN extern
#endif

/* Gives a function its name for the device. */
#define WASMBED_EXPORT(name) __attribute__((export_name(name)))
/* A module that defines WASMBED_OPTIONAL can do without every call: what it was not granted, or what its class
 * lacks, answers WASMBED_UNSUPPORTED instead of keeping it from being pushed or deployed. */
#ifdef WASMBED_OPTIONAL
#define WASMBED_IMPORT(name) __attribute__((import_module("wasmbed-optional"), import_name(name))) WASMBED_EXTERN
#else
#define WASMBED_IMPORT(name) __attribute__((import_module("wasmbed"), import_name(name))) WASMBED_EXTERN
#endif

/* Answers below zero. */
enum wasmbed_errno {
    WASMBED_INVALID = -1,     /* an argument is outside its range */
    WASMBED_FAULT = -2,       /* a pointer is outside the module's memory */
    WASMBED_UNSUPPORTED = -3, /* this device cannot do that */
    WASMBED_DENIED = -4,      /* the module has no permission */
    WASMBED_TOO_LONG = -5,    /* too many bytes */
    WASMBED_BUSY = -6,        /* not now; the same call may succeed later */
    WASMBED_NOT_FOUND = -7,   /* no such key, pin, sensor, bus, file, connection, vehicle or ticket */
    WASMBED_NO_SPACE = -8,    /* the answer does not fit */
    WASMBED_IO = -9,          /* the hardware or the network failed */
    WASMBED_FORGED = -10,     /* a signature or tag does not belong to the bytes */
    WASMBED_TIMED_OUT = -11,  /* nobody answered in time */
    WASMBED_WRONG_THREAD = -12 /* only the main thread can do that */
};

/* Levels of the log. */
enum wasmbed_level {
    WASMBED_ERROR = 0,
    WASMBED_WARN = 1,
    WASMBED_INFO = 2,
    WASMBED_DEBUG = 3
};

/* Sensors; readings are in thousandths of the unit. */
enum wasmbed_sensor {
    WASMBED_TEMPERATURE = 0, /* degrees Celsius */
    WASMBED_HUMIDITY = 1,    /* percent */
    WASMBED_PRESSURE = 2,    /* pascal */
    WASMBED_LIGHT = 3,       /* lux */
    WASMBED_SUPPLY = 4,      /* volt */
    WASMBED_ADC = 16         /* volt; add the number of the analogue input, 0 to 15 */
};

/* Writes a line of UTF-8 text, at most 200 bytes, to the device's log. */
WASMBED_IMPORT("log") int32_t wasmbed_log(int32_t level, const char *text, uint32_t len);

/* Publishes at most 1024 bytes on a channel named with 1 to 32 of a-z, 0-9 and -. */
WASMBED_IMPORT("telemetry")
int32_t wasmbed_telemetry(const char *channel, uint32_t channel_len, const void *bytes, uint32_t len);

/* Milliseconds since the device started. */
WASMBED_IMPORT("uptime_ms") int64_t wasmbed_uptime_ms(void);

/* Measures, and writes thousandths of the sensor's unit to `out`. */
WASMBED_IMPORT("sensor_read") int32_t wasmbed_sensor_read(int32_t sensor, int64_t *out);

/* Drives a pin low (0) or high (1). */
WASMBED_IMPORT("gpio_write") int32_t wasmbed_gpio_write(int32_t pin, int32_t level);

/* Reads a pin: 0 or 1. */
WASMBED_IMPORT("gpio_read") int32_t wasmbed_gpio_read(int32_t pin);

/* Has changes of a pin told to the export `gpio_edge(int32_t pin, int32_t level)`: 1 when it rises, 2 when it
 * falls, 3 both, 0 no more. */
WASMBED_IMPORT("gpio_watch") int32_t wasmbed_gpio_watch(int32_t pin, int32_t edges);

/* Messages within the instance's own topics, up/msg/{instance}/... and dn/msg/{instance}/... below the device's. */

/* Publishes at most 1024 bytes on a channel named with 1 to 32 of a-z, 0-9 and -. */
WASMBED_IMPORT("publish")
int32_t wasmbed_publish(const char *channel, uint32_t channel_len, const void *bytes, uint32_t len);

/* Has messages on a channel told to the export `message(int32_t subscription, int32_t len)`; answers the number of
 * the subscription. At most 16. */
WASMBED_IMPORT("subscribe") int32_t wasmbed_subscribe(const char *channel, uint32_t channel_len);

/* Ends a subscription. */
WASMBED_IMPORT("unsubscribe") int32_t wasmbed_unsubscribe(int32_t subscription);

/* Copies the message that is being told to `out`; answers its length. Only from within `message`. */
WASMBED_IMPORT("message_read") int32_t wasmbed_message_read(void *out, uint32_t out_cap);

/* Copies the value of one of the module's settings to `out`; answers its length. No zero follows it. */
WASMBED_IMPORT("config_get")
int32_t wasmbed_config_get(const char *key, uint32_t key_len, char *out, uint32_t out_cap);

/* Sets the time between the starts of two ticks: 10 ms to a day. */
WASMBED_IMPORT("timer_set") int32_t wasmbed_timer_set(int32_t interval_ms);

/* Values that survive restarts, updates and power cuts. A key is UTF-8 text of 1 to 64 bytes, a value has at
 * most 4096. */

/* Copies the value under a key to `out`; answers its length. */
WASMBED_IMPORT("kv_get")
int32_t wasmbed_kv_get(const char *key, uint32_t key_len, void *out, uint32_t out_cap);

/* Stores a value; WASMBED_NO_SPACE if the module has stored as much as it may. */
WASMBED_IMPORT("kv_set")
int32_t wasmbed_kv_set(const char *key, uint32_t key_len, const void *bytes, uint32_t len);

/* Forgets the value under a key. */
WASMBED_IMPORT("kv_remove") int32_t wasmbed_kv_remove(const char *key, uint32_t key_len);

/* Security, on Linux and RISC-V boards: at most 64 KiB at once. Keys are numbers 0 to 7: the device makes
 * them for each module and never shows them. */

/* Writes the SHA-256 of bytes to `out`, 32 bytes. */
WASMBED_IMPORT("sha256") int32_t wasmbed_sha256(const void *bytes, uint32_t len, uint8_t *out);

/* Writes the HMAC-SHA-256 of bytes to `out`, 32 bytes. */
WASMBED_IMPORT("hmac_sha256")
int32_t wasmbed_hmac_sha256(int32_t key, const void *bytes, uint32_t len, uint8_t *out);

/* Encrypts and authenticates with ChaCha20-Poly1305; answers what it wrote, 28 bytes more than `len`. At
 * most 64 bytes of `aad` are authenticated as well. */
WASMBED_IMPORT("seal")
int32_t wasmbed_seal(int32_t key, const void *aad, uint32_t aad_len, const void *bytes, uint32_t len,
                     void *out, uint32_t out_cap);

/* Decrypts what `wasmbed_seal` wrote; WASMBED_FORGED if it is not authentic. */
WASMBED_IMPORT("open")
int32_t wasmbed_open(int32_t key, const void *aad, uint32_t aad_len, const void *bytes, uint32_t len,
                     void *out, uint32_t out_cap);

/* Writes the Ed25519 public key of a key to `out`, 32 bytes. */
WASMBED_IMPORT("ed25519_public") int32_t wasmbed_ed25519_public(int32_t key, uint8_t *out);

/* Signs bytes with Ed25519 and writes the signature to `out`, 64 bytes. */
WASMBED_IMPORT("ed25519_sign")
int32_t wasmbed_ed25519_sign(int32_t key, const void *bytes, uint32_t len, uint8_t *out);

/* Checks an Ed25519 signature of 64 bytes under a public key of 32: 0, or WASMBED_FORGED. */
WASMBED_IMPORT("ed25519_verify")
int32_t wasmbed_ed25519_verify(const uint8_t *public_key, const void *bytes, uint32_t len,
                               const uint8_t *signature);

/* Fills bytes at random, fit for keys. */
WASMBED_IMPORT("random") int32_t wasmbed_random(void *out, uint32_t len);

/* Buses: at most 256 bytes in each direction. */

/* Writes to the chip at an address of 7 bits on an I2C bus, then reads from it; either part may be empty. */
WASMBED_IMPORT("i2c_transfer")
int32_t wasmbed_i2c_transfer(int32_t bus, int32_t address, const void *write, uint32_t write_len, void *read,
                             uint32_t read_len);

/* Exchanges bytes with a chip on an SPI bus; `read` may be `write`. */
WASMBED_IMPORT("spi_transfer")
int32_t wasmbed_spi_transfer(int32_t bus, int32_t chip_select, const void *write, void *read, uint32_t len);

/* Connections to where the operator of the device allows, on Linux devices: at most 8, and 256 KiB a second. Nothing
 * here waits: WASMBED_BUSY means to ask again in a later tick. */

/* Begins to open a connection to tcp:HOST:PORT or udp:HOST:PORT, an IPv6 address in brackets; answers its number. */
WASMBED_IMPORT("net_connect") int32_t wasmbed_net_connect(const char *destination, uint32_t len);

/* Sends at most 16 KiB: a datagram, or as much of a stream as there is room for; answers how many bytes went. */
WASMBED_IMPORT("net_send") int32_t wasmbed_net_send(int32_t number, const void *bytes, uint32_t len);

/* Copies what has arrived to `out`; answers how many bytes: one datagram, or some of a stream, 0 at its end. */
WASMBED_IMPORT("net_receive") int32_t wasmbed_net_receive(int32_t number, void *out, uint32_t out_cap);

/* Closes a connection. */
WASMBED_IMPORT("net_close") int32_t wasmbed_net_close(int32_t number);

/* Files, on Linux devices. A path is names separated by /, at most 128 bytes of UTF-8; no name is . or .. . Folders
 * come and go with the files in them. A module has at most 256 files with their folders, 16 MiB in all. */

/* Copies bytes from `offset` on to `out`; answers how many, at most 64 KiB: 0 at the file's end. */
WASMBED_IMPORT("file_read")
int32_t wasmbed_file_read(const char *path, uint32_t path_len, int64_t offset, void *out, uint32_t out_cap);

/* Writes at most 64 KiB from `offset` on; makes the file. */
WASMBED_IMPORT("file_write")
int32_t wasmbed_file_write(const char *path, uint32_t path_len, int64_t offset, const void *bytes,
                           uint32_t len);

/* How many bytes a file has. */
WASMBED_IMPORT("file_size") int64_t wasmbed_file_size(const char *path, uint32_t path_len);

/* Cuts off what a file has beyond `size` bytes. */
WASMBED_IMPORT("file_truncate")
int32_t wasmbed_file_truncate(const char *path, uint32_t path_len, int64_t size);

/* Removes a file. */
WASMBED_IMPORT("file_remove") int32_t wasmbed_file_remove(const char *path, uint32_t path_len);

/* Gives a file another name in place of the file that has it; either is found there after a power cut, whole. */
WASMBED_IMPORT("file_rename")
int32_t wasmbed_file_rename(const char *from, uint32_t from_len, const char *to, uint32_t to_len);

/* Copies the path of file number `nth`, in the order of their paths, to `out`; answers its length, or
 * WASMBED_NOT_FOUND after the last one. No zero follows it. */
WASMBED_IMPORT("file_list") int32_t wasmbed_file_list(int32_t nth, char *out, uint32_t out_cap);

/* Vehicles under an autopilot that speaks MAVLink, such as PX4. A vehicle is a MAVLink system id, 1 to 255; 0 is the
 * only one there is. Nothing here waits: a command answers a ticket, whose result is asked for in later ticks. */

/* In `flags`. */
enum wasmbed_vehicle_flag {
    WASMBED_STALE = 1, /* nothing was heard for too long: it is how it was and perhaps not how it is */
    WASMBED_ARMED = 2  /* of a status: motors may turn */
};

#define WASMBED_UNKNOWN INT32_MIN   /* a number that the vehicle does not know */
#define WASMBED_UNKNOWN_PERCENT 255 /* the same for what is left in a battery */
#define WASMBED_NO_FRAME 255        /* a command that is not about a position */

/* A command: MAV_CMD of MAVLink's common messages. Not a number leaves a parameter to the vehicle. */
struct wasmbed_vehicle_command {
    uint16_t command;  /* MAV_CMD, which says what the parameters are and in which units */
    uint8_t vehicle;   /* MAVLink system id, 0 the only one there is */
    uint8_t component; /* MAVLink component id of what is to carry it out, 0 the autopilot */
    uint8_t frame;     /* MAV_FRAME: param5 and param6 are degrees, or metres in a local frame, param7 metres */
    float param1;
    float param2;
    float param3;
    float param4;
    double param5; /* without a frame carried as float, as param6 */
    double param6;
    float param7;
};

/* How a vehicle is. */
struct wasmbed_vehicle_status {
    uint32_t age_ms;          /* since the heartbeat it is from */
    uint8_t flags;            /* WASMBED_STALE from 3 s on, WASMBED_ARMED */
    uint8_t vehicle;          /* MAVLink system id */
    uint8_t kind;             /* MAV_TYPE */
    uint8_t autopilot;        /* MAV_AUTOPILOT: 12 PX4 */
    uint8_t base_mode;        /* MAV_MODE_FLAG, bits */
    uint8_t system_status;    /* MAV_STATE: 3 standby, 4 active, 5 critical, 6 emergency */
    uint8_t landed_state;     /* MAV_LANDED_STATE: 0 unknown, 1 on ground, 2 in air, 3 taking off, 4 landing */
    uint8_t vtol_state;       /* MAV_VTOL_STATE */
    uint32_t custom_mode;     /* PX4: main mode in bits 16 to 23, sub mode in bits 24 to 31 */
    uint32_t sensors_present; /* MAV_SYS_STATUS_SENSOR, bits; 0 if unknown */
    uint32_t sensors_enabled;
    uint32_t sensors_health;
    uint16_t load;      /* thousandths */
    uint16_t drop_rate; /* hundredths of a percent */
};

/* How a vehicle's battery is: of several the one with the lowest number. */
struct wasmbed_battery_status {
    uint32_t age_ms;
    uint8_t flags;          /* WASMBED_STALE from 5 s on */
    uint8_t id;             /* which battery */
    uint8_t remaining;      /* percent */
    uint8_t charge_state;   /* MAV_BATTERY_CHARGE_STATE: 0 unknown, 1 good, 2 low, 3 critical, 4 emergency */
    int32_t voltage;        /* millivolts */
    int32_t current;        /* milliamperes */
    int32_t consumed;       /* milliampere hours */
    int32_t temperature;    /* thousandths of a degree Celsius */
    int32_t time_remaining; /* seconds */
    uint32_t faults;        /* MAV_BATTERY_FAULT, bits */
};

/* Where a vehicle is, in metres and metres per second from the place where its estimator started. */
struct wasmbed_local_position {
    uint32_t age_ms;
    uint8_t flags;         /* WASMBED_STALE from 1 s on */
    uint32_t time_boot_ms; /* since the vehicle started */
    float x;               /* north */
    float y;               /* east */
    float z;               /* down: below zero is up */
    float vx;
    float vy;
    float vz;
};

/* A parameter of a vehicle. */
struct wasmbed_vehicle_parameter {
    double value; /* whole, if kind is that of whole numbers; NaN for another kind than those below */
    uint8_t kind; /* MAV_PARAM_TYPE: 1, 3, 5 whole numbers of 8, 16, 32 bits, 2, 4, 6 those with a sign, 9 float */
};

/* Sends a command, which has sizeof(struct wasmbed_vehicle_command) bytes; answers a ticket. */
WASMBED_IMPORT("send_vehicle_command")
int32_t wasmbed_send_vehicle_command(const struct wasmbed_vehicle_command *command, uint32_t len);

/* Lets motors turn; answers a ticket. */
WASMBED_IMPORT("arm_vehicle") int32_t wasmbed_arm_vehicle(int32_t vehicle);

/* Stops motors, which the vehicle refuses in the air; answers a ticket. */
WASMBED_IMPORT("disarm_vehicle") int32_t wasmbed_disarm_vehicle(int32_t vehicle);

/* Goes up so many metres above the place where it started; answers a ticket. */
WASMBED_IMPORT("takeoff") int32_t wasmbed_takeoff(int32_t vehicle, float altitude);

/* Lands; answers a ticket. */
WASMBED_IMPORT("land") int32_t wasmbed_land(int32_t vehicle);

/* The MAV_RESULT of a command, 0 accepted, 1 temporarily rejected, 2 denied, 3 unsupported, 4 failed; WASMBED_BUSY while
 * it is under way, WASMBED_TIMED_OUT if the vehicle does not answer. */
WASMBED_IMPORT("vehicle_command_result") int32_t wasmbed_vehicle_command_result(int32_t ticket);

/* Writes how a vehicle is; answers the length of the structure. WASMBED_NOT_FOUND if that was never heard. */
WASMBED_IMPORT("get_vehicle_status")
int32_t wasmbed_get_vehicle_status(int32_t vehicle, struct wasmbed_vehicle_status *out, uint32_t out_cap);

/* Writes how its battery is, likewise. */
WASMBED_IMPORT("get_battery_status")
int32_t wasmbed_get_battery_status(int32_t vehicle, struct wasmbed_battery_status *out, uint32_t out_cap);

/* Writes where it is, likewise. */
WASMBED_IMPORT("get_vehicle_local_position")
int32_t wasmbed_get_vehicle_local_position(int32_t vehicle, struct wasmbed_local_position *out, uint32_t out_cap);

/* Asks for a parameter, whose name has at most 16 bytes, and writes it once the vehicle has answered; WASMBED_BUSY until
 * then, so call again in the next tick. The answer is told once, within 5 seconds. WASMBED_TIMED_OUT if the vehicle does
 * not answer, WASMBED_NOT_FOUND if it says that it has none of this name, WASMBED_DENIED if it does not tell it. */
WASMBED_IMPORT("get_vehicle_parameter")
int32_t wasmbed_get_vehicle_parameter(int32_t vehicle, const char *name, uint32_t name_len,
                                      struct wasmbed_vehicle_parameter *out, uint32_t out_cap);

/* ROS 2: topics and services that the operator of the device allows, by fully qualified names such as /robot/chatter.
 * Messages, requests and responses are CDR after an encapsulation header of 4 bytes. Nothing here waits. */

/* A topic; its name and its type follow. Quality of service is 0 where it is unknown. */
struct wasmbed_topic_info {
    uint16_t publishers;
    uint16_t subscribers;
    uint8_t reliability;  /* 1 reliable, 2 best effort */
    uint8_t durability;   /* 1 transient local, 2 volatile */
    uint8_t history;      /* 1 keep last, 2 keep all */
    uint8_t liveliness;   /* 1 automatic, 3 manual by topic */
    uint32_t deadline_ms; /* 0 if there is none */
    uint8_t name_len;
    uint8_t type_len;
};

/* A node; so many entries follow, in this order: length of a name, length of its type, name, type. */
struct wasmbed_node_info {
    uint16_t publishers;
    uint16_t subscribers;
    uint16_t services;
    uint16_t clients;
};

/* Publishes a message. */
WASMBED_IMPORT("publish_message")
int32_t wasmbed_publish_message(const char *topic, uint32_t topic_len, const void *bytes, uint32_t len);

/* Has messages on a topic told to the export `message`; answers the number of the subscription, as wasmbed_subscribe. */
WASMBED_IMPORT("subscribe_topic") int32_t wasmbed_subscribe_topic(const char *topic, uint32_t topic_len);

/* Makes a client of a service; answers its number. At most 8. */
WASMBED_IMPORT("create_service_client")
int32_t wasmbed_create_service_client(const char *name, uint32_t name_len);

/* Sends a request; answers a ticket. */
WASMBED_IMPORT("call_service")
int32_t wasmbed_call_service(int32_t client, const void *bytes, uint32_t len);

/* Writes the response to a request; answers its length, WASMBED_BUSY while there is none, WASMBED_TIMED_OUT if none
 * came. */
WASMBED_IMPORT("service_response")
int32_t wasmbed_service_response(int32_t ticket, void *out, uint32_t out_cap);

/* Has requests to a service told to the export `service_request(int32_t service, int32_t ticket, int32_t len)`; answers its number.
 * At most 8. wasmbed_message_read copies the request. */
WASMBED_IMPORT("create_service") int32_t wasmbed_create_service(const char *name, uint32_t name_len);

/* Answers a request, once, now or later. */
WASMBED_IMPORT("send_response")
int32_t wasmbed_send_response(int32_t ticket, const void *bytes, uint32_t len);

/* Writes a struct wasmbed_topic_info with name and type; answers their length, WASMBED_NOT_FOUND after the last topic. */
WASMBED_IMPORT("get_available_topics")
int32_t wasmbed_get_available_topics(int32_t nth, void *out, uint32_t out_cap);

/* Writes a struct wasmbed_node_info with its entries; answers their length. */
WASMBED_IMPORT("get_node_info")
int32_t wasmbed_get_node_info(const char *name, uint32_t name_len, void *out, uint32_t out_cap);

/* Threads share the memory of a module that is linked with `--shared-memory`; examples/sum shows how. They may make
 * no calls but wasmbed_uptime_ms and wasmbed_thread_spawn, and have no _Thread_local variables. */

/* What a thread does, and the stack that it does it on. Stays where it is while the thread runs. */
struct wasmbed_thread {
    void *stack_end; /* the address after its stack, a multiple of 16 */
    void (*run)(void *context);
    void *context;
};

/* Has the export `thread_start` called with the thread's id and `arg` in an instance of its own; answers the id, from 1,
 * or WASMBED_BUSY if too many run. */
WASMBED_IMPORT("thread_spawn") int32_t wasmbed_thread_spawn(int32_t arg);

/* Starts a thread; answers as wasmbed_thread_spawn. */
static inline int32_t wasmbed_thread_start(const struct wasmbed_thread *thread) {
    return wasmbed_thread_spawn((int32_t)(uintptr_t)thread);
}

/* Once in a module that uses wasmbed_thread_start: its export `thread_start`. An instance begins with the stack of the
 * main thread, so that it leaves it before anything else, which C cannot say. */
#define WASMBED_THREADS                                                                                          \
    __attribute__((used, noinline)) void wasmbed_thread_run(int32_t id, const struct wasmbed_thread *thread) {   \
        (void)id;                                                                                                \
        thread->run(thread->context);                                                                            \
    }                                                                                                            \
    __attribute__((naked)) WASMBED_EXPORT("thread_start") void wasmbed_thread_entry(int32_t id, void *thread) {  \
        __asm__(".globaltype __stack_pointer, i32\n"                                                             \
                "local.get 1\n"                                                                                  \
                "i32.load 0\n"                                                                                   \
                "global.set __stack_pointer\n"                                                                   \
                "local.get 0\n"                                                                                  \
                "local.get 1\n"                                                                                  \
                "call wasmbed_thread_run\n"                                                                      \
                "return\n");                                                                                     \
    }                                                                                                            \
    _Static_assert(1, "ends with a semicolon")

#endif
