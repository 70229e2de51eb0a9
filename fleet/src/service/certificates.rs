//! Certificates of the devices that hosts run: their hosts make the keys and ask, the service answers with what is
//! desired of the host. And of those that run elsewhere: they ask themselves.

use std::{collections::BTreeMap, time::Duration};

use wasmbed_broker::credentials::Role;
use wasmbed_broker_client::{EnrolAnswer, EnrolRequest};
use wasmbed_plan::Time;
use wasmbed_wire::{DeviceId, HostId, topic};

use super::{Publish, change::Change, fleet::Fleet};
use crate::{
    ca::{CaError, Issued},
    host_api,
    store::{NewEvent, Severity},
};

/// How long a device's certificate is good unless it is configured. It is renewed when a third of that is left.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 86_400);
/// How often what was revoked is looked at, and one certificate is renewed: devices start again for it, and not all at
/// once.
const PACE_MS: u64 = 60_000;

/// What was issued to devices.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    issued: BTreeMap<DeviceId, Issued>,
    tended: Time,
}

impl Fleet {
    /// Reads what was issued before.
    pub(super) fn load_certificates(&mut self) {
        let Some(ca) = &mut self.ca else { return };
        for device in self.records.keys() {
            match ca.certificate_of(Role::Device(*device)) {
                Ok(Some(issued)) => {
                    self.certificates.issued.insert(*device, issued);
                }
                Ok(None) => {}
                Err(error) => tracing::error!(%device, %error, "what was issued to it cannot be read"),
            }
        }
    }

    /// What the device shows to its broker.
    pub(super) fn certificate_of(&self, device: &DeviceId) -> Option<host_api::Certificate> {
        let (ca, issued) = (self.ca.as_ref()?, self.certificates.issued.get(device)?);
        Some(host_api::Certificate {
            certificate: issued.certificate.clone(),
            authority: ca.certificate().to_owned(),
        })
    }

    pub(super) fn on_certificate_request(
        &mut self,
        now: Time,
        host: HostId,
        device: DeviceId,
        request: &str,
    ) {
        let life = self.options.certificate_life;
        let Some(ca) = &mut self.ca else { return };
        match ca.renew(request, Role::Device(device), life) {
            Ok(issued) => self.give(now, device, issued, format!("asked for by host {host}")),
            Err(CaError::Revoked(_)) => self.refuse(now, device),
            Err(error) => tracing::warn!(%device, %error, "a request for a certificate was refused"),
        }
    }

    /// Takes note of what was revoked, and renews the certificate that ends first, if it is time.
    pub(super) fn tend_certificates(&mut self, now: Time) {
        if now.0 < self.certificates.tended.0 + PACE_MS {
            return;
        }
        self.certificates.tended = now;
        let life = self.options.certificate_life;
        let Some(ca) = &mut self.ca else { return };
        let is_revoked = |device: &&DeviceId| matches!(ca.certificate_of(Role::Device(**device)), Ok(None));
        let revoked: Vec<DeviceId> = self.certificates.issued.keys().filter(is_revoked).copied().collect();
        revoked.into_iter().for_each(|device| self.refuse(now, device));
        let is_hosted =
            |device: &DeviceId| self.records.get(device).is_some_and(|record| record.row.host.is_some());
        let hosted = self.certificates.issued.iter().filter(|(device, _)| is_hosted(device));
        let first = hosted.min_by_key(|(_, issued)| issued.ends_s);
        let Some((device, issued)) = first.filter(|(_, issued)| issued.left() < life / 3) else { return };
        let device = *device;
        match self.ca.as_mut().map(|ca| ca.extend(issued, Role::Device(device), life)) {
            Some(Ok(renewed)) => self.give(now, device, renewed, "the last one comes to its end".to_owned()),
            Some(Err(error)) => tracing::error!(%device, %error, "cannot renew its certificate"),
            None => {}
        }
    }

    /// A device asks for its first certificate with a token, or for another one before its own ends.
    pub(super) fn on_enrol(&mut self, now: Time, device: DeviceId, payload: &[u8], is_first: bool) {
        let answer = match self.enrol(device, payload, is_first) {
            Ok(issued) => {
                let answer = EnrolAnswer::Issued {
                    certificate: issued.certificate.clone(),
                    authority: self.ca.as_ref().map(|ca| ca.certificate().to_owned()).unwrap_or_default(),
                };
                let why = if is_first { "asked for with a token" } else { "asked for by the device" };
                self.give(now, device, issued, why.to_owned());
                answer
            }
            Err(problem) => {
                tracing::warn!(%device, problem, "its request for a certificate was refused");
                EnrolAnswer::Refused { problem }
            }
        };
        let topic = topic::Full { prefix: &self.options.prefix, device, rest: topic::ENROLLED }.to_string();
        self.publish(Publish::json(topic, &answer, false));
    }

    fn enrol(&mut self, device: DeviceId, payload: &[u8], is_first: bool) -> Result<Issued, String> {
        let asked: EnrolRequest = serde_json::from_slice(payload)
            .map_err(|error| format!("this is no request, {{\"request\": PEM, \"token\": TEXT}}: {error}"))?;
        if !self.records.contains_key(&device) {
            return Err("no device of that name is registered".to_owned());
        }
        let life = self.options.certificate_life;
        let ca = self.ca.as_mut().ok_or("this fleet has no certificate authority (service.ca_dir)")?;
        let role = Role::Device(device);
        let issued = match (is_first, &asked.token) {
            (true, Some(token)) => {
                let token = self.options.secret.read_token(device, token.as_bytes());
                let token = token.filter(|token| !token.has_expired());
                let token = token.ok_or("the token is not this device's, or has expired")?;
                ca.enrol(&asked.request, &token, role, life)
            }
            (true, None) => {
                return Err(format!("a token is missing; who has a certificate asks on {}", topic::RENEW));
            }
            (false, _) => ca.renew(&asked.request, role, life),
        };
        issued.map_err(|error| error.to_string())
    }

    /// Nothing happens if it is the one the device has.
    fn give(&mut self, now: Time, device: DeviceId, issued: Issued, why: String) {
        if self.certificates.issued.get(&device) == Some(&issued) {
            return;
        }
        let reason = format!("serial number {}: {why}", issued.serial);
        self.certificates.issued.insert(device, issued);
        self.tell(now, device, NewEvent::new(Severity::Info, "certificate-issued", reason));
    }

    /// Its host stops the device for want of a certificate. Said once: the host asks for another one again and again.
    fn refuse(&mut self, now: Time, device: DeviceId) {
        if self.certificates.issued.remove(&device).is_some() {
            let reason = CaError::Revoked(device.to_string()).to_string();
            self.tell(now, device, NewEvent::new(Severity::Alert, "certificate-revoked", reason));
        }
    }

    fn tell(&mut self, now: Time, device: DeviceId, event: NewEvent) {
        let mut change = Change { events: vec![event.device(device)], ..Change::default() };
        change.raise_host(self.records.get(&device).and_then(|record| record.row.host));
        self.commit_or_log(now, change);
    }

    /// A device that is gone does not come back by what it had.
    pub(super) fn release_certificate(&mut self, device: &DeviceId) {
        self.certificates.issued.remove(device);
        if let Some(ca) = &mut self.ca
            && let Err(error) = ca.release(device.as_str())
        {
            tracing::error!(%device, %error, "cannot revoke the certificate of a device that was removed");
        }
    }
}
