//! Mosquitto: an `acl_file`, and a listener that takes user names from certificates.

use std::fmt::Write as _;

use wasmbed_broker::Patterns;

use super::{File, Request};
use crate::connection::MAX_PACKET_BYTES;

/// What Mosquitto replaces by the user name.
const USER: &str = "%u";

pub(super) fn write(request: &Request) -> Vec<File> {
    vec![File::new("wasmbed.acl", acl(request)), File::new("wasmbed.conf", settings())]
}

fn acl(request: &Request) -> String {
    let mut text = String::from("# Every device, by its user name.\n");
    lines(&mut text, "pattern", &Patterns::of_device(USER, &request.prefix));
    for (role, patterns) in request.staff() {
        // Writing to a string does not fail.
        let _ = writeln!(text, "\nuser {}", role.username());
        lines(&mut text, "topic", &patterns);
    }
    text
}

fn lines(text: &mut String, word: &str, Patterns { publish, subscribe }: &Patterns) {
    if publish == subscribe {
        return publish.iter().for_each(|filter| line(text, word, "readwrite", filter));
    }
    publish.iter().for_each(|filter| line(text, word, "write", filter));
    subscribe.iter().for_each(|filter| line(text, word, "read", filter));
}

fn line(text: &mut String, word: &str, access: &str, filter: &str) {
    let _ = writeln!(text, "{word} {access} {filter}");
}

fn settings() -> String {
    format!(
        "# For /etc/mosquitto/conf.d; put the files it names in place.\n\
         listener 8883\n\
         cafile /etc/mosquitto/certs/ca.pem\n\
         certfile /etc/mosquitto/certs/broker.pem\n\
         keyfile /etc/mosquitto/certs/broker.key\n\
         crlfile /etc/mosquitto/certs/crl.pem\n\
         require_certificate true\n\
         use_identity_as_username true\n\
         \n\
         allow_anonymous false\n\
         acl_file /etc/mosquitto/wasmbed.acl\n\
         # An upload is one message.\n\
         max_packet_size {MAX_PACKET_BYTES}\n\
         # What a fleet says at once when the service comes back.\n\
         max_queued_messages 10000\n"
    )
}
