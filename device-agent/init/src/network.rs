//! The network of QEMU's `-netdev user`, whose addresses are always the same.

use std::{fs, net::Ipv4Addr};

use anyhow::Context;
use rtnetlink::{Handle, LinkUnspec, RouteMessageBuilder, new_connection};
use tokio::runtime;

const ETHERNET: &str = "eth0";
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 15);
const PREFIX_BITS: u8 = 24;
const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Brings up the loopback and the Ethernet interface.
pub(crate) fn bring_up() -> anyhow::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let (connection, handle, _) = new_connection()?;
        tokio::spawn(connection);
        configure(&handle).await
    })
}

async fn configure(network: &Handle) -> anyhow::Result<()> {
    let loopback = index("lo")?;
    let ethernet = index(ETHERNET)?;
    for link in [loopback, ethernet] {
        network.link().set(LinkUnspec::new_with_index(link).up().build()).execute().await?;
    }
    network.address().add(ethernet, ADDRESS.into(), PREFIX_BITS).execute().await?;
    let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(GATEWAY).build();
    network.route().add(route).execute().await?;
    Ok(())
}

fn index(interface: &str) -> anyhow::Result<u32> {
    let path = format!("/sys/class/net/{interface}/ifindex");
    let text = fs::read_to_string(&path).with_context(|| format!("there is no interface {interface}"))?;
    text.trim().parse().context(path)
}
