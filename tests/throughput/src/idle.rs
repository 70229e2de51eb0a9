//! What connections take that only stand.

use std::time::Duration;

use anyhow::Result;
use tokio::time::sleep;

use crate::{
    broker::{Broker, Link, Login},
    client::connect,
};

/// Until what handshakes needed has been given back.
const SETTLE: Duration = Duration::from_secs(3);

/// Memory of a broker.
pub(crate) struct Idle {
    /// With all connections, in bytes.
    pub(crate) resident: f64,
    /// What each connection adds, in bytes.
    pub(crate) each: f64,
}

/// Connects devices with a subscription each.
pub(crate) async fn measure(broker: &Broker, link: Link, connections: usize) -> Result<Idle> {
    let before = broker.resident()?;
    let mut open = Vec::with_capacity(connections);
    for number in 0..connections {
        let id = format!("device-{number}");
        let login = Login::new(&id, id.clone())?;
        let (mut reader, mut writer) = connect(broker, link, &login).await?;
        writer.subscribe(&mut reader, &format!("wasmbed/v1/{id}/dn/#"), 1).await?;
        open.push((reader, writer));
    }
    sleep(SETTLE).await;
    let resident = broker.resident()?;
    Ok(Idle { resident, each: (resident - before) / connections as f64 })
}
