//! The programs between the client and the endpoints, and those at the endpoints.

use std::path::Path as FilePath;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

use super::network::{ENDPOINTS, Network, Space, VIP};
use super::{Path, proxy};
use crate::process::{Usage, usage_of};

/// How long a program may take until it listens.
const LISTENS_WITHIN: Duration = Duration::from_secs(20);
/// How long a program may take to end; it is killed then.
const ENDS_WITHIN: Duration = Duration::from_secs(5);
/// Of the web service and of iperf3.
pub(super) const WEB: u16 = 8080;
pub(super) const BULK: u16 = 5201;

/// A program, ended with its children when dropped.
struct Program(Child);

/// Programs at the endpoints; ended when dropped.
pub(super) struct Endpoints {
    _programs: Vec<Program>,
}

/// A way to the endpoints. Its program is ended when dropped.
pub(super) struct Running {
    program: Option<Program>,
    address: String,
}

pub(super) async fn start_endpoints(
    network: &Network,
    scratch: &FilePath,
) -> anyhow::Result<Endpoints> {
    let mut programs = Vec::new();
    for endpoint in 0..ENDPOINTS {
        let space = Space::Endpoint(endpoint);
        let body = "x".repeat(64);
        let server = format!(
            "http {{ access_log off; keepalive_requests 1000000000; server {{
                listen {WEB} backlog=4096; location / {{ return 200 {body}; }} }} }}"
        );
        programs.push(start_nginx(network, space, scratch, &format!("web{endpoint}"), 1, &server)?);
        let mut iperf = network.command(space, "iperf3");
        iperf.args(["-s", "-p", &BULK.to_string()]);
        programs.push(spawn(&mut iperf)?);
        for port in [WEB, BULK] {
            wait_until_listening(network, space, port).await?;
        }
    }
    Ok(Endpoints { _programs: programs })
}

impl Running {
    pub(super) async fn start(
        network: &Network,
        path: Path,
        scratch: &FilePath,
    ) -> anyhow::Result<Self> {
        let program = match path {
            Path::Routed => {
                return Ok(Self { program: None, address: "10.10.0.2".to_owned() });
            }
            Path::Stolos => {
                let this = std::env::current_exe().context("this program has no path")?;
                let mut proxy = network.command(Space::Balancer, &this.to_string_lossy());
                spawn(proxy.args(["dataplane-proxy", VIP]))?
            }
            Path::Haproxy => start_haproxy(network, scratch, "")?,
            Path::HaproxySplice => start_haproxy(network, scratch, "option splice-auto")?,
            Path::Nginx => start_nginx_stream(network, scratch)?,
        };
        let running = Self { program: Some(program), address: VIP.to_owned() };
        for port in [WEB, BULK] {
            wait_until_listening(network, Space::Balancer, port).await?;
        }
        Ok(running)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// CPU time until now.
    pub(super) fn cpu_s(&self) -> anyhow::Result<f64> {
        Ok(self.usage()?.cpu_s)
    }

    pub(super) fn rss_mib(&self) -> anyhow::Result<f64> {
        Ok(self.usage()?.rss_mib)
    }

    pub(super) fn peak_rss_mib(&self) -> anyhow::Result<f64> {
        Ok(self.usage()?.peak_rss_mib)
    }

    /// What the program and its children use.
    fn usage(&self) -> anyhow::Result<Usage> {
        let Some(pid) = self.program.as_ref().and_then(|program| program.0.id()) else {
            return Ok(Usage::default());
        };
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = std::fs::read_to_string(&children)
            .with_context(|| format!("failed to read `{children}`"))?;
        let children = children.split_whitespace().map(str::parse).collect::<Result<Vec<u32>, _>>();
        children?.into_iter().try_fold(usage_of(pid)?, |sum, child| Ok(sum + usage_of(child)?))
    }
}

fn start_haproxy(network: &Network, scratch: &FilePath, option: &str) -> anyhow::Result<Program> {
    let servers: String =
        (0..ENDPOINTS).map(|n| format!("  server web{n} 10.10.{n}.2:{WEB}\n")).collect();
    let config = format!(
        "global\n  maxconn 4000\n  nbthread {threads}\n\
         defaults\n  mode tcp\n  timeout connect 2s\n  timeout client 1h\n  timeout server 1h\n  {option}\n\
         listen web\n  bind {VIP}:{WEB}\n  balance roundrobin\n{servers}\
         listen bulk\n  bind {VIP}:{BULK}\n  server bulk 10.10.0.2:{BULK}\n",
        threads = proxy::workers(),
    );
    let file = scratch.join("haproxy.cfg");
    std::fs::write(&file, config).context("failed to write a configuration")?;
    spawn(network.command(Space::Balancer, "haproxy").args(["-db", "-f"]).arg(&file))
}

fn start_nginx_stream(network: &Network, scratch: &FilePath) -> anyhow::Result<Program> {
    let servers: String = (0..ENDPOINTS).map(|n| format!("server 10.10.{n}.2:{WEB};")).collect();
    let stream = format!(
        "stream {{ tcp_nodelay on; proxy_timeout 1h; upstream web {{ {servers} }}
            server {{ listen {VIP}:{WEB} reuseport backlog=4096; proxy_pass web; }}
            server {{ listen {VIP}:{BULK} reuseport; proxy_pass 10.10.0.2:{BULK}; }} }}"
    );
    start_nginx(network, Space::Balancer, scratch, "balancer", proxy::workers(), &stream)
}

fn start_nginx(
    network: &Network,
    space: Space,
    scratch: &FilePath,
    name: &str,
    workers: usize,
    blocks: &str,
) -> anyhow::Result<Program> {
    let folder = scratch.join(name);
    std::fs::create_dir_all(&folder).context("failed to make a directory")?;
    let module = "/usr/lib/nginx/modules/ngx_stream_module.so";
    let load = if FilePath::new(module).exists() {
        format!("load_module {module};")
    } else {
        String::new()
    };
    let config = format!(
        "{load} daemon off; user root; worker_processes {workers}; pid {folder}/pid; error_log stderr crit;
         events {{ worker_connections 9000; }} {blocks}",
        folder = folder.display(),
    );
    let file = folder.join("nginx.conf");
    std::fs::write(&file, config).context("failed to write a configuration")?;
    let mut nginx = network.command(space, "nginx");
    spawn(nginx.arg("-c").arg(&file).arg("-p").arg(&folder).args(["-e", "stderr"]))
}

fn spawn(command: &mut Command) -> anyhow::Result<Program> {
    command.stdout(Stdio::null());
    let child = command.spawn();
    Ok(Program(child.with_context(|| format!("failed to start `{:?}`", command.as_std()))?))
}

impl Drop for Program {
    fn drop(&mut self) {
        let Some(pid) = self.0.id() else { return };
        // Asked and not killed: the workers of nginx would live on without their master, and keep its ports.
        let _ = std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status();
        let begin = std::time::Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) && begin.elapsed() < ENDS_WITHIN {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Waits until a program in a namespace listens at a port, as the kernel's list of sockets says.
async fn wait_until_listening(network: &Network, space: Space, port: u16) -> anyhow::Result<()> {
    let listening = async {
        loop {
            let mut list = network.command(space, "cat");
            let list = list.args(["/proc/net/tcp", "/proc/net/tcp6"]).output().await?;
            if is_listening(&String::from_utf8_lossy(&list.stdout), port) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(LISTENS_WITHIN, listening).await {
        Ok(listening) => listening,
        Err(_) => bail!("nothing listens at port {port} after {} s", LISTENS_WITHIN.as_secs()),
    }
}

/// Reads `  0: 0100090A:1F90 00000000:0000 0A …`: local and remote address, and 0A for a listening socket.
fn is_listening(list: &str, port: u16) -> bool {
    let suffix = format!(":{port:04X}");
    list.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().unwrap_or_default();
        local.ends_with(&suffix) && fields.nth(1) == Some("0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_listening_socket_of_the_port_counts() {
        let listening =
            "  sl  local_address rem_address   st\n   0: 0100090A:1F90 00000000:0000 0A 0";
        let connected = "   0: 0100090A:1F90 0101090A:8000 01 0";
        assert!(is_listening(listening, 8080));
        assert!(!is_listening(listening, 80));
        assert!(!is_listening(connected, 8080));
    }
}
