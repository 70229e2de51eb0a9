//! What the broker tells about itself over HTTP.

use std::sync::Arc;
use std::time::Duration;

use wasmbed_metrics::{Page, Source};

use crate::counters::Snapshot;
use crate::hub::Hub;

/// The router is asked every second; it is slow when it takes longer than this, and given up a little later.
const SLOW: Duration = Duration::from_secs(3);

/// A broker as Prometheus and health checks see it.
pub(crate) struct Metrics(pub(crate) Arc<Hub>);

impl Source for Metrics {
    async fn health(&self) -> Result<(), String> {
        let silence = self.0.router.silence();
        if *self.0.ending.borrow() {
            return Err("the broker is ending".to_owned());
        }
        if silence > SLOW {
            return Err(format!("the message router has not answered for {} ms", silence.as_millis()));
        }
        Ok(())
    }

    async fn metrics(&self, page: &mut Page) {
        write(&self.0.counters.snapshot(), page);
        if let Some(tls) = &self.0.tls {
            let what = "When the broker's own certificate ends, in Unix time.";
            page.gauge("wasmbed_broker_certificate_expiry_timestamp_seconds", what).set(tls.expiry_s());
        }
    }
}

fn write(counters: &Snapshot, page: &mut Page) {
    // Taken apart, so that a counter cannot be forgotten here.
    let Snapshot {
        connections,
        accepted,
        kept_sessions,
        retained,
        retained_bytes,
        refused_timeout,
        refused_malformed,
        refused_transport,
        refused_credentials,
        refused_client_id,
        refused_will,
        refused_busy,
        taken_over,
        lost_silent,
        lost_slow,
        lost_violation,
        lost_certificate,
        messages_in,
        messages_out,
        bytes_in,
        bytes_out,
        publish_refused,
        retain_refused,
        subscribe_refused,
        dropped,
    } = *counters;
    page.gauge("wasmbed_broker_connections", "Clients connected.").set(connections);
    page.counter("wasmbed_broker_connections_accepted_total", "Clients that have connected.").set(accepted);
    page.gauge("wasmbed_broker_kept_sessions", "Sessions kept for clients that are away.").set(kept_sessions);
    page.gauge("wasmbed_broker_retained_messages", "Retained messages held.").set(retained);
    page.gauge("wasmbed_broker_retained_bytes", "Size of the retained messages held.").set(retained_bytes);
    let mut refused =
        page.counter("wasmbed_broker_connections_refused_total", "Clients that were not let in, by reason.");
    for (reason, count) in [
        ("timeout", refused_timeout),
        ("malformed", refused_malformed),
        ("transport", refused_transport),
        ("credentials", refused_credentials),
        ("client_id", refused_client_id),
        ("will", refused_will),
        ("busy", refused_busy),
    ] {
        refused.sample(&[("reason", reason)], count);
    }
    let mut lost = page.counter("wasmbed_broker_connections_lost_total", "Clients thrown out, by reason.");
    for (reason, count) in [
        ("taken_over", taken_over),
        ("silent", lost_silent),
        ("slow", lost_slow),
        ("violation", lost_violation),
        ("certificate", lost_certificate),
    ] {
        lost.sample(&[("reason", reason)], count);
    }
    page.counter("wasmbed_broker_messages_in_total", "Messages accepted from clients.").set(messages_in);
    page.counter("wasmbed_broker_messages_out_total", "Messages sent to clients, repeats not counted.")
        .set(messages_out);
    page.counter("wasmbed_broker_bytes_in_total", "Bytes that came from clients, TLS included.")
        .set(bytes_in);
    page.counter("wasmbed_broker_bytes_out_total", "Bytes that went to clients, TLS included.")
        .set(bytes_out);
    page.counter(
        "wasmbed_broker_messages_dropped_total",
        "Messages not delivered: expired, too large, or too many.",
    )
    .set(dropped);
    let mut denied =
        page.counter("wasmbed_broker_requests_denied_total", "What clients may not do, by what it was.");
    for (request, count) in
        [("publish", publish_refused), ("retain", retain_refused), ("subscribe", subscribe_refused)]
    {
        denied.sample(&[("request", request)], count);
    }
}
