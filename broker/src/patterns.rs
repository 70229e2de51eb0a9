//! The permissions of a role as topic filters, for brokers that are told them that way.
//!
//! Filters say a little more than [`crate::credentials`] does: `up/#` also matches `up`, and `+` also stands for
//! owners that begin with `_`. On neither does anybody say or hear anything.

use std::fmt::Display;

use wasmbed_wire::topic::{self, VERSION};

use crate::credentials::Role;

/// What a client may publish to and subscribe to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patterns {
    /// Filters of the topics it may publish to; its last will is a publication.
    pub publish: Vec<String>,
    /// Filters it may subscribe to, and whatever filter they cover.
    pub subscribe: Vec<String>,
}

impl Patterns {
    /// Those of a role whose topics begin with `prefix`.
    pub fn of(role: &Role, prefix: &str) -> Self {
        match role {
            Role::Device(id) => Self::of_device(id, prefix),
            Role::Enrolling(id) => {
                let own = |rest| vec![format!("{prefix}/{VERSION}/{id}/{rest}")];
                Patterns { publish: own(topic::ENROL), subscribe: own(topic::ENROLLED) }
            }
            Role::Host(id) => Self::of_owner(format_args!("_host/{id}"), prefix),
            Role::Gateway(id) => {
                let of_devices = |rest: &str| format!("{prefix}/{VERSION}/+/{rest}");
                Patterns {
                    publish: vec![format!("{prefix}/{VERSION}/_gateway/{id}/up/#"), of_devices("dn/ros/#")],
                    subscribe: ["up/ros/#", "up/state", "dn/desired", "dn/keys"].map(of_devices).into(),
                }
            }
            Role::Service => {
                let all = vec![format!("{prefix}/#")];
                Patterns { publish: all.clone(), subscribe: all }
            }
            Role::Operator => Patterns {
                publish: ["_fleet/cmd/+", "_fleet/put/#", "+/dn/msg/#"]
                    .map(|rest| format!("{prefix}/{VERSION}/{rest}"))
                    .into(),
                subscribe: vec![format!("{prefix}/{VERSION}/#")],
            },
        }
    }

    /// Those of the device with this id, or of every device if `id` is what a broker replaces by the user name.
    pub fn of_device(id: impl Display, prefix: &str) -> Self {
        Self::of_owner(id, prefix)
    }

    fn of_owner(owner: impl Display, prefix: &str) -> Self {
        Patterns {
            publish: vec![format!("{prefix}/{VERSION}/{owner}/up/#")],
            subscribe: vec![format!("{prefix}/{VERSION}/{owner}/dn/#")],
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;
    use crate::topic;

    const LEVELS: &[&str] = &[
        "p", "q", "v1", "v2", "pump-7", "pump-8", "_host", "_gateway", "lab", "_fleet", "up", "dn", "msg",
        "ros", "cmd", "put", "state", "desired", "keys",
    ];

    fn roles() -> [Role; 5] {
        ["pump-7", "_host.lab", "_gateway.lab", "_service", "_operator"]
            .map(|name| Role::parse(name).expect("a role"))
    }

    fn any_topic() -> impl Strategy<Value = String> {
        let rest = vec(select(LEVELS), 0..7).prop_map(|levels| levels.join("/"));
        (prop::bool::weighted(0.9), rest)
            .prop_map(|(ours, rest)| format!("{}{rest}", if ours { "p/v1/" } else { "" }))
    }

    /// Whether nobody speaks there: an owner or direction without anything below, or an owner that is no device.
    fn is_nobodys(topic: &str) -> bool {
        let levels: Vec<&str> = topic.split('/').collect();
        matches!(levels[..], ["p"] | ["p", "v1"] | ["p", "v1", _, "up" | "dn"])
            || matches!(
                levels[..],
                ["p", "v1", "_host" | "_gateway", _, "up" | "dn"] | ["p", "v1", _, "dn", "msg"]
            )
            || matches!(levels[..], ["p", "v1", "_fleet", "put"] | ["p", "v1", _, "up" | "dn", "ros"])
            || matches!(levels[..], ["p", "v1", owner, "up" | "dn", ..] if owner.starts_with('_'))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn filters_say_what_the_model_says(topic in any_topic()) {
            prop_assume!(topic::is_name(&topic));
            for role in roles() {
                let patterns = Patterns::of(&role, "p");
                for (filters, model) in [
                    (patterns.publish, role.may_publish("p", &topic)),
                    (patterns.subscribe, role.may_subscribe("p", &topic)),
                ] {
                    let covered = filters.iter().any(|filter| topic::matches(filter, &topic));
                    prop_assert!(covered == model || covered && is_nobodys(&topic), "{role:?} {topic} {model}");
                }
            }
        }
    }
}
