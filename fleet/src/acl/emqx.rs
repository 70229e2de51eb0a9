//! EMQX: an `acl.conf`, and settings for listener and authorization.

use std::fmt::Write as _;

use wasmbed_broker::Patterns;
use wasmbed_wire::limits::MAX_PAYLOAD_BYTES;

use super::{File, Request};

/// What EMQX replaces by the user name.
const USER: &str = "${username}";
/// Who is a device. Without it a user called `+` would be every device.
const DEVICES: &str = "{username, {re, \"^[a-z0-9-]{1,32}$\"}}";

pub(super) fn write(request: &Request) -> Vec<File> {
    vec![File::new("wasmbed-acl.conf", acl(request)), File::new("wasmbed.conf", settings())]
}

fn acl(request: &Request) -> String {
    let mut text = String::from("%% Every device, by its user name.\n");
    rules(&mut text, DEVICES, &Patterns::of_device(USER, &request.prefix));
    for (role, patterns) in request.staff() {
        text.push('\n');
        rules(&mut text, &format!("{{username, \"{}\"}}", role.username()), &patterns);
    }
    text.push_str("\n{deny, all}.\n");
    text
}

fn rules(text: &mut String, who: &str, Patterns { publish, subscribe }: &Patterns) {
    for (action, filters) in [("publish", publish), ("subscribe", subscribe)] {
        let filters: Vec<String> = filters.iter().map(|filter| format!("\"{filter}\"")).collect();
        // Writing to a string does not fail.
        let _ = writeln!(text, "{{allow, {who}, {action}, [{}]}}.", filters.join(", "));
    }
}

fn settings() -> String {
    let megabytes = MAX_PAYLOAD_BYTES.div_ceil(1 << 20) + 1;
    format!(
        "# For the end of etc/emqx.conf; put the files it names in place.\n\
         listeners.ssl.default {{\n\
         \x20 bind = \"0.0.0.0:8883\"\n\
         \x20 ssl_options {{\n\
         \x20   cacertfile = \"etc/certs/ca.pem\"\n\
         \x20   certfile = \"etc/certs/broker.pem\"\n\
         \x20   keyfile = \"etc/certs/broker.key\"\n\
         \x20   verify = verify_peer\n\
         \x20   fail_if_no_peer_cert = true\n\
         \x20 }}\n\
         }}\n\
         listeners.tcp.default.enable = false\n\
         listeners.ws.default.enable = false\n\
         listeners.wss.default.enable = false\n\
         mqtt {{\n\
         \x20 peer_cert_as_username = cn\n\
         \x20 # An upload is one message.\n\
         \x20 max_packet_size = {megabytes}MB\n\
         }}\n\
         authorization {{\n\
         \x20 no_match = deny\n\
         \x20 sources = [{{ type = file, enable = true, path = \"etc/wasmbed-acl.conf\" }}]\n\
         }}\n"
    )
}
