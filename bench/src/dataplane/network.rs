//! Network namespaces and the cables between them.

use std::process::Stdio;

use anyhow::{Context, bail};
use tokio::process::Command;

/// The namespaces of a run; removed when dropped, with everything in them.
pub(super) struct Network {
    prefix: String,
}

/// One of the namespaces.
#[derive(Clone, Copy)]
pub(super) enum Space {
    Client,
    Balancer,
    Endpoint(u8),
}

/// Endpoints of the service.
pub(super) const ENDPOINTS: u8 = 2;
/// The balancer's address for clients.
pub(super) const VIP: &str = "10.9.0.1";

impl Network {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let network = Self { prefix: format!("stolos-bench-{}", std::process::id()) };
        network.make(Space::Client).await?;
        network.make(Space::Balancer).await?;
        network.cable("clients", Space::Client, "10.9.0.1/16", "10.9.1.1/16").await?;
        for endpoint in 0..ENDPOINTS {
            let space = Space::Endpoint(endpoint);
            network.make(space).await?;
            let (here, there) =
                (format!("10.10.{endpoint}.1/24"), format!("10.10.{endpoint}.2/24"));
            network.cable(&format!("endpoint{endpoint}"), space, &here, &there).await?;
            let gateway = format!("10.10.{endpoint}.1");
            network.ip_in(space, &["route", "add", "default", "via", &gateway]).await?;
        }
        network.ip_in(Space::Client, &["route", "add", "default", "via", VIP]).await?;
        let mut forward = network.command(Space::Balancer, "sysctl");
        run(forward.args(["-q", "-w", "net.ipv4.ip_forward=1"])).await?;
        Ok(network)
    }

    fn name(&self, space: Space) -> String {
        match space {
            Space::Client => format!("{}-client", self.prefix),
            Space::Balancer => format!("{}-balancer", self.prefix),
            Space::Endpoint(n) => format!("{}-endpoint{n}", self.prefix),
        }
    }

    async fn make(&self, space: Space) -> anyhow::Result<()> {
        ip(&["netns", "add", &self.name(space)]).await?;
        self.ip_in(space, &["link", "set", "lo", "up"]).await
    }

    /// Joins a namespace to the balancer's.
    async fn cable(&self, name: &str, space: Space, here: &str, there: &str) -> anyhow::Result<()> {
        let other = self.name(space);
        let veth = ["link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", &other];
        self.ip_in(Space::Balancer, &veth).await?;
        self.ip_in(Space::Balancer, &["addr", "add", here, "dev", name]).await?;
        self.ip_in(Space::Balancer, &["link", "set", name, "up"]).await?;
        self.ip_in(space, &["addr", "add", there, "dev", "eth0"]).await?;
        self.ip_in(space, &["link", "set", "eth0", "up"]).await
    }

    async fn ip_in(&self, space: Space, args: &[&str]) -> anyhow::Result<()> {
        let name = self.name(space);
        ip(&[&["-n", &name][..], args].concat()).await
    }

    /// Returns the beginning of a command that runs in a namespace. The process is killed when dropped.
    pub(super) fn command(&self, space: Space, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name(space), program]);
        command.stdin(Stdio::null()).kill_on_drop(true);
        command
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let spaces = (0..ENDPOINTS).map(Space::Endpoint).chain([Space::Client, Space::Balancer]);
        for space in spaces {
            let delete = ["netns", "del", &self.name(space)].map(str::to_owned);
            // One that was not made yet is not there to be removed.
            let _ = std::process::Command::new("ip").args(delete).stderr(Stdio::null()).status();
        }
    }
}

async fn ip(args: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(args)).await
}

/// Runs a command to its end.
pub(super) async fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().await.context("failed to run `ip`, of the package iproute2")?;
    if !output.status.success() {
        let command = command.as_std();
        bail!("`{command:?}` failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
