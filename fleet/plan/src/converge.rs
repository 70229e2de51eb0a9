//! When desired states are published.

use crate::{Action, Device, Host, Link, Plan, Presence, Sent, Time, View};

pub(crate) fn host(now: Time, view: &View, host: &Host, plan: &mut Plan) {
    let Some(link) = view.link else { return };
    let ahead = host.reported.filter(|reported| *reported > host.desired);
    let desired = ahead.map_or(host.desired, |ahead| ahead.saturating_add(1));
    if let Some(ahead) = ahead {
        plan.actions.push(Action::RaiseHost(host.id, ahead));
    }
    let lags = host.presence == Presence::Online && host.reported.is_some_and(|at| at < desired);
    if is_due(now, view, link, host.sent, desired, lags, plan) {
        plan.actions.push(Action::PublishHost(host.id));
    }
}

pub(crate) fn device(now: Time, view: &View, device: &Device, plan: &mut Plan) {
    let Some(link) = view.link else { return };
    let ahead = device.reported.filter(|reported| *reported > device.desired);
    let desired = ahead.map_or(device.desired, |ahead| ahead.saturating_add(1));
    if let Some(ahead) = ahead {
        plan.actions.push(Action::RaiseDevice(device.id, ahead));
    }
    let lags = device.presence == Presence::Online && device.reported.is_some_and(|at| at < desired);
    if is_due(now, view, link, device.sent, desired, lags, plan) {
        plan.actions.push(Action::PublishDevice(device.id));
    }
}

/// Whether to publish now: this broker never got this revision, or whom it is for has not reached it
/// although there was time.
fn is_due(
    now: Time,
    view: &View,
    link: Link,
    sent: Option<Sent>,
    desired: u64,
    lags: bool,
    plan: &mut Plan,
) -> bool {
    let Some(sent) = sent.filter(|sent| sent.session == link.session && sent.revision == desired) else {
        return true;
    };
    if !lags {
        return false;
    }
    let again = sent.at.after_ms(view.policy.resend_ms);
    if now >= again {
        return true;
    }
    plan.come_back(again);
    false
}
