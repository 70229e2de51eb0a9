//! AWS IoT: a policy for each role, to be attached to the certificates of its clients.

use serde_json::{Value, json};
use wasmbed_broker::{Patterns, credentials::Role};

use super::{AclError, AwsPlace, File, Request};

/// What AWS replaces by the name of the thing a certificate belongs to.
const THING: &str = "${iot:Connection.Thing.ThingName}";

pub(super) fn write(request: &Request) -> Result<Vec<File>, AclError> {
    let place = request.aws.as_ref().ok_or(AclError::NoAwsPlace)?;
    if request.prefix.contains('/') {
        return Err(AclError::PrefixTooDeep(request.prefix.clone()));
    }
    let mut device = policy(place, &[THING.to_owned()], &Patterns::of_device(THING, &request.prefix));
    // Otherwise a certificate without a thing would be one with an empty name.
    device["Statement"][0]["Condition"] = json!({ "Bool": { "iot:Connection.Thing.IsAttached": "true" } });
    let mut files = vec![file("device", &device)];
    for (role, patterns) in request.staff() {
        files.push(file(&name(&role), &policy(place, &clients(&role), &patterns)));
    }
    Ok(files)
}

fn file(name: &str, policy: &Value) -> File {
    File::new(format!("{name}.json"), format!("{policy:#}\n"))
}

fn name(role: &Role) -> String {
    match role {
        Role::Device(id) | Role::Enrolling(id) => format!("device-{id}"),
        Role::Host(id) => format!("host-{id}"),
        Role::Gateway(id) => format!("gateway-{id}"),
        Role::Service => "service".to_owned(),
        Role::Operator => "operator".to_owned(),
    }
}

/// The client ids a role's programs use.
fn clients(role: &Role) -> Vec<String> {
    match role {
        Role::Device(_) | Role::Enrolling(_) | Role::Host(_) | Role::Gateway(_) => vec![role.username()],
        Role::Service => vec!["wasmbed-service".to_owned(), "wasmbed-doctor-*".to_owned()],
        Role::Operator => vec!["wasmbed-cli-*".to_owned()],
    }
}

fn policy(place: &AwsPlace, clients: &[String], Patterns { publish, subscribe }: &Patterns) -> Value {
    let AwsPlace { region, account } = place;
    let resources = |kind: &str, names: &[String]| -> Vec<String> {
        names
            .iter()
            .map(|name| format!("arn:aws:iot:{region}:{account}:{kind}/{}", wildcards(name)))
            .collect()
    };
    let allow = |action: Value, resource: Vec<String>| json!({ "Effect": "Allow", "Action": action, "Resource": resource });
    json!({
        "Version": "2012-10-17",
        "Statement": [
            allow(json!("iot:Connect"), resources("client", clients)),
            allow(json!(["iot:Publish", "iot:RetainPublish"]), resources("topic", publish)),
            allow(json!("iot:Subscribe"), resources("topicfilter", subscribe)),
            allow(json!("iot:Receive"), resources("topic", subscribe)),
        ],
    })
}

/// In a policy `*` stands for any text; `+` and `#` stand for themselves.
fn wildcards(filter: &str) -> String {
    filter.replace(['+', '#'], "*")
}
