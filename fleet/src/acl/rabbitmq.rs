//! RabbitMQ: users and permissions as definitions, its configuration, and the plugins it needs.
//!
//! The MQTT plugin publishes on the exchange `amq.topic` and reads from a queue named after the client id. So a client
//! needs permissions for that exchange and its own queues, and for routing keys: topics with `.` for `/`.

use serde_json::{Value, json};
use wasmbed_broker::{Patterns, credentials::Role};

use super::{File, Request};

const VHOST: &str = "/";
const EXCHANGE: &str = "amq.topic";

pub(super) fn write(request: &Request) -> Vec<File> {
    vec![
        File::new("definitions.json", format!("{:#}\n", definitions(request))),
        File::new("rabbitmq.conf", SETTINGS),
        File::new("enabled_plugins", "[rabbitmq_auth_mechanism_ssl,rabbitmq_mqtt].\n"),
    ]
}

fn definitions(request: &Request) -> Value {
    let devices = request.devices.iter().copied().map(Role::Device);
    let devices = devices.map(|role| (role, Patterns::of(&role, &request.prefix)));
    let everybody: Vec<(Role, Patterns)> = devices.chain(request.staff()).collect();
    // Without a password nobody gets in by one.
    let users = everybody.iter().map(|(role, _)| {
        json!({
            "name": role.username(), "password_hash": "", "tags": [],
            "hashing_algorithm": "rabbit_password_hashing_sha256",
        })
    });
    let permissions = everybody.iter().map(|(role, _)| {
        let queues = queues(role);
        let both = format!("^({queues}|{})$", literal(EXCHANGE));
        json!({
            "user": role.username(), "vhost": VHOST,
            "configure": format!("^{queues}$"), "write": both, "read": both,
        })
    });
    let topics = everybody.iter().map(|(role, Patterns { publish, subscribe })| {
        json!({
            "user": role.username(), "vhost": VHOST, "exchange": EXCHANGE,
            "write": any_of(publish), "read": any_of(subscribe),
        })
    });
    json!({
        "vhosts": [{ "name": VHOST }],
        "users": users.collect::<Vec<_>>(),
        "permissions": permissions.collect::<Vec<_>>(),
        "topic_permissions": topics.collect::<Vec<_>>(),
    })
}

/// The queues of a client. A device, a host and a gateway are called what their user is called, so nobody else may be.
fn queues(role: &Role) -> String {
    let client = match role {
        Role::Device(_) | Role::Enrolling(_) | Role::Host(_) | Role::Gateway(_) => literal(&role.username()),
        Role::Service | Role::Operator => ".*".to_owned(),
    };
    format!("mqtt-subscription-{client}qos[01]")
}

/// A regular expression for the routing keys of these topic filters.
fn any_of(filters: &[String]) -> String {
    let keys: Vec<String> = filters.iter().map(|filter| routing_keys(filter)).collect();
    match keys.as_slice() {
        [key] => format!("^{key}$"),
        keys => format!("^({})$", keys.join("|")),
    }
}

fn routing_keys(filter: &str) -> String {
    let mut expression = String::new();
    for (at, level) in filter.split('/').enumerate() {
        match level {
            // The level above matches too, as it does in a filter.
            "#" => expression.push_str("(\\..*)?"),
            _ => {
                expression.push_str(if at == 0 { "" } else { "\\." });
                expression.push_str(&if level == "+" { "[^.]+".to_owned() } else { literal(level) });
            }
        }
    }
    expression
}

/// Prefixes, ids and names hold no other character that means something in a regular expression.
fn literal(text: &str) -> String {
    text.replace('.', "\\.")
}

const SETTINGS: &str = "\
# For /etc/rabbitmq/rabbitmq.conf; put the files it names in place.
load_definitions = /etc/rabbitmq/definitions.json
mqtt.allow_anonymous = false
mqtt.vhost = /
mqtt.exchange = amq.topic
mqtt.listeners.tcp = none
mqtt.listeners.ssl.default = 8883
mqtt.ssl_cert_login = true
ssl_cert_login_from = common_name
ssl_options.cacertfile = /etc/rabbitmq/certs/ca.pem
ssl_options.certfile = /etc/rabbitmq/certs/broker.pem
ssl_options.keyfile = /etc/rabbitmq/certs/broker.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
";
