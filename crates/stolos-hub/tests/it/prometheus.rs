//! Checks that ask a real Prometheus server, as Debian packages it. Without one on this machine the test says so.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use stolos_api::update::{CheckState, Gate, State, UpdateRun};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::updatable::{FLEET, Fleet};

/// Series that are all 0.
const MANY: usize = 50;

/// A wait that only a broken build, or a broken Prometheus, reaches.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server with its data. It ends when this is dropped.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}

impl Prometheus {
    /// Starts a server that reads the figures of a shop each second; nothing where there is no Prometheus.
    #[expect(clippy::print_stderr, reason = "says that a test was skipped")]
    async fn start(shop: Shop) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("prometheus.yml");
        let text = json!({
            "global": {"scrape_interval": "1s"},
            "scrape_configs": [{"job_name": "shop", "static_configs": [{"targets": [shop.address.to_string()]}]}],
        });
        std::fs::write(&config, text.to_string()).unwrap();
        let address = free().await;
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = started else {
            eprintln!("skipped: no prometheus on PATH (Debian has it in the package prometheus)");
            return None;
        };
        let server = Self { process, address, _directory: directory };
        // When it asks for the second time, it has stored what it was told the first time.
        let mut n_asked = shop.n_asked;
        let asked = n_asked.wait_for(|n_asked| *n_asked > 1);
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        asked.expect("Prometheus does not read figures").expect("the shop is open");
        assert!(server.knows("shop_up").await);
        Some(server)
    }

    /// Whether the server has a value for a series.
    async fn knows(&self, series: &str) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address).await else { return false };
        let request = format!(
            "GET /api/v1/query?query={series} HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n"
        );
        let mut answer = String::new();
        stream.write_all(request.as_bytes()).await.is_ok()
            && stream.read_to_string(&mut answer).await.is_ok()
            && answer.contains("\"value\"")
    }
}

/// Returns an address of this machine where nobody listens.
async fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Serves figures.
struct Shop {
    address: SocketAddr,
    /// How often somebody has asked for them.
    n_asked: watch::Receiver<usize>,
}

/// Opens a shop.
async fn shop() -> Shop {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let many: String =
        (0..MANY).map(|index| format!("shop_orders{{till=\"{index}\"}} 0\n")).collect();
    let figures = format!("shop_up{{city=\"x\"}} 1\n{many}");
    let (asked, n_asked) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            asked.send_modify(|n_asked| *n_asked += 1);
            let figures = figures.clone();
            tokio::spawn(async move {
                let mut request = vec![0; 4096];
                let _length = stream.read(&mut request).await;
                let head = format!(
                    "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n\r\n",
                    figures.len()
                );
                let _gone = stream.write_all(format!("{head}{figures}").as_bytes()).await;
            });
        }
    });
    Shop { address, n_asked }
}

fn check(name: &str, url: &str, query: &str) -> Value {
    json!({"name": name, "prometheus": {"url": url, "query": query, "intervalSeconds": 1}})
}

fn gated(checks: &[Value]) -> Value {
    json!([{
        "name": "first", "groups": [{"name": "all"}],
        "beforeGates": [{"type": "HealthCheck", "healthCheck": {"checks": checks}}],
    }])
}

#[tokio::test]
async fn a_gate_understands_what_a_real_prometheus_answers() {
    let Some(server) = Prometheus::start(shop().await).await else { return };
    let url = format!("http://{}", server.address);
    let nobody = format!("http://{}", free().await);
    let fleet = Fleet::start(&[("m1", "all")]).await;
    fleet.control();
    let checks = [
        check("bad-query", &url, "sum("),
        check("failing", &url, "shop_up == bool 2"),
        check("many", &url, "shop_orders"),
        check("nothing", &url, "shop_up > 5"),
        check("passing", &url, "shop_up"),
        check("range", &url, "shop_up[1m]"),
        check("scalar", &url, "scalar(shop_up)"),
        check("unreachable", &nobody, "shop_up"),
    ];
    fleet.run("all", "1.34.1", gated(&checks)).await;
    let waits = |run: &UpdateRun| gate_id(run).is_some();
    let id = gate_id(&fleet.until("all", waits).await).unwrap();
    let asked = |gate: &Gate| {
        let found = gate.status.as_ref().map(|status| status.checks.as_slice()).unwrap_or_default();
        let fresh = |message: &Option<String>| message.as_deref() == Some("not looked at yet");
        found.len() == checks.len() && !found.iter().any(|check| fresh(&check.message))
    };
    let gate: Gate = fleet.until(&id, asked).await;
    let found = gate.status.unwrap().checks;
    let told = |name: &str| {
        let check = found.iter().find(|check| check.name == name).unwrap();
        (check.state, check.message.clone().unwrap_or_default())
    };
    assert_eq!(told("passing"), (CheckState::Passing, String::new()));
    assert_eq!(told("scalar"), (CheckState::Passing, String::new()));
    assert_eq!(told("nothing"), (CheckState::Failing, "the query returns nothing".into()));
    for (name, state, part) in [
        ("failing", CheckState::Failing, "city=\"x\""),
        ("failing", CheckState::Failing, " is 0"),
        ("many", CheckState::Failing, &format!("; and {} more", MANY - 3)),
        ("bad-query", CheckState::Unknown, "parse error"),
        ("range", CheckState::Unknown, "the query gives a matrix"),
        ("unreachable", CheckState::Unknown, "the server does not answer"),
    ] {
        let (is, message) = told(name);
        assert!(is == state && message.contains(part), "{name}: {is:?} {message}");
    }
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.33.0 0")));

    let stop = json!({"spec": {"state": "Stop"}});
    fleet.patch::<UpdateRun>("all", stop).await.unwrap();
    fleet.run("healthy", "1.34.1", gated(&checks[4..5])).await;
    let done = |run: &UpdateRun| {
        run.status.as_ref().is_some_and(|status| status.status.state == State::Completed)
    };
    fleet.until("healthy", done).await;
    assert!(fleet.nodes().await.iter().all(|node| node.ends_with(" v1.34.1 1")), "{FLEET}");
}

fn gate_id(run: &UpdateRun) -> Option<String> {
    run.status.as_ref()?.stages.first()?.before_gates.first()?.gate_id.clone()
}
