//! One etcd, and a kube-apiserver with its kube-controller-manager for each cluster.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use base64::Engine as _;

use super::{Running, free_port, pki};
use crate::process;

/// Token of the administrator of every test cluster; they listen on loopback and live as long as a test.
const ADMIN_TOKEN: &str = "test-admin";

/// Controllers of a hub: it refuses to run workloads, so none of theirs.
const HUB_CONTROLLERS: &[&str] = &[
    "clusterrole-aggregation-controller",
    "garbage-collector-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "validatingadmissionpolicy-status-controller",
];

/// What a member has in addition. Scheduling and kubelets are simulated by `stolos simulate`.
const WORKLOAD_CONTROLLERS: &[&str] = &[
    "cronjob-controller",
    "daemonset-controller",
    "deployment-controller",
    "disruption-controller",
    "endpointslice-controller",
    "job-controller",
    "replicaset-controller",
    "statefulset-controller",
    "ttl-after-finished-controller",
];

struct Cluster {
    name: String,
    port: u16,
    dir: PathBuf,
}

/// Starts everything and returns the kubeconfig, with contexts `hub`, `member-1` and so on.
pub(crate) fn start_all(
    programs: &Path,
    dir: &Path,
    members: u32,
    running: &mut Running,
) -> anyhow::Result<PathBuf> {
    pki::write(dir)?;
    let tokens = dir.join("tokens.csv");
    fs::write(&tokens, format!("{ADMIN_TOKEN},admin,admin,\"system:masters\"\n"))
        .context("failed to write the tokens")?;
    let etcd = start_etcd(programs, dir, running)?;
    let names =
        std::iter::once("hub".to_owned()).chain((1..=members).map(|n| format!("member-{n}")));
    let mut clusters = Vec::new();
    for name in names {
        let cluster = Cluster { port: free_port()?, dir: dir.join(&name), name };
        fs::create_dir_all(&cluster.dir).context("failed to create a cluster's folder")?;
        start_apiserver(programs, dir, &cluster, &etcd, running)?;
        clusters.push(cluster);
    }
    let kubeconfig = dir.join("kubeconfig");
    write_kubeconfig(&kubeconfig, dir, &clusters)?;
    for cluster in &clusters {
        running.wait_until(&format!("the API server of `{}`", cluster.name), || {
            is_ready(programs, &kubeconfig, &cluster.name)
        })?;
        start_controllers(programs, dir, cluster, running)?;
    }
    for cluster in &clusters {
        running.wait_until(&format!("the controllers of `{}`", cluster.name), || {
            let account =
                ["--context", &cluster.name, "-n", "default", "get", "serviceaccount", "default"];
            kubectl(programs, &kubeconfig, &account)
        })?;
    }
    Ok(kubeconfig)
}

fn start_etcd(programs: &Path, dir: &Path, running: &mut Running) -> anyhow::Result<String> {
    let client = format!("http://127.0.0.1:{}", free_port()?);
    let peer = format!("http://127.0.0.1:{}", free_port()?);
    let args = [
        format!("--data-dir={}", dir.join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--logger=zap".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    running.start(&programs.join("etcd"), &args, &dir.join("etcd.log"))?;
    Ok(client)
}

fn start_apiserver(
    programs: &Path,
    dir: &Path,
    cluster: &Cluster,
    etcd: &str,
    running: &mut Running,
) -> anyhow::Result<()> {
    let file = |name: &str| dir.join(name).display().to_string();
    let args = [
        format!("--etcd-servers={etcd}"),
        format!("--etcd-prefix=/{}", cluster.name),
        "--bind-address=127.0.0.1".to_owned(),
        "--advertise-address=10.255.255.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--secure-port={}", cluster.port),
        format!("--cert-dir={}", cluster.dir.display()),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-key-file={}", file("service-account.pub")),
        format!("--service-account-signing-key-file={}", file("service-account.key")),
        "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--allow-privileged=true".to_owned(),
        "--profiling=false".to_owned(),
    ];
    running.start(
        &programs.join("kube-apiserver"),
        &args,
        &dir.join(format!("{}.log", cluster.name)),
    )
}

fn start_controllers(
    programs: &Path,
    dir: &Path,
    cluster: &Cluster,
    running: &mut Running,
) -> anyhow::Result<()> {
    let kubeconfig = cluster.dir.join("kubeconfig");
    write_kubeconfig(&kubeconfig, dir, std::slice::from_ref(cluster))?;
    let workloads = if cluster.name == "hub" { &[] } else { WORKLOAD_CONTROLLERS };
    let controllers: Vec<&str> = HUB_CONTROLLERS.iter().chain(workloads).copied().collect();
    let args = [
        format!("--kubeconfig={}", kubeconfig.display()),
        format!("--controllers={}", controllers.join(",")),
        format!("--root-ca-file={}", dir.join("ca.crt").display()),
        format!("--service-account-private-key-file={}", dir.join("service-account.key").display()),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={}", free_port()?),
    ];
    let log = dir.join(format!("{}-controllers.log", cluster.name));
    running.start(&programs.join("kube-controller-manager"), &args, &log)
}

fn is_ready(programs: &Path, kubeconfig: &Path, context: &str) -> bool {
    kubectl(programs, kubeconfig, &["--context", context, "get", "--raw", "/readyz"])
}

fn kubectl(programs: &Path, kubeconfig: &Path, args: &[&str]) -> bool {
    let own = programs.join("kubectl");
    let program = if own.is_file() || !process::exists("kubectl") { own } else { "kubectl".into() };
    let output =
        std::process::Command::new(program).arg("--kubeconfig").arg(kubeconfig).args(args).output();
    output.is_ok_and(|output| output.status.success())
}

/// Writes a kubeconfig as JSON, which every client reads as YAML. It names no files, so that it may lie in a secret.
fn write_kubeconfig(path: &Path, dir: &Path, clusters: &[Cluster]) -> anyhow::Result<()> {
    let ca_path = dir.join("ca.crt");
    let ca = fs::read(&ca_path).with_context(|| format!("failed to read {}", ca_path.display()))?;
    let ca = base64::engine::general_purpose::STANDARD.encode(ca);
    let list = |entry: &dyn Fn(&Cluster) -> serde_json::Value| {
        clusters.iter().map(entry).collect::<Vec<_>>()
    };
    let config = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": clusters[0].name,
        "clusters": list(&|c| serde_json::json!({
            "name": c.name,
            "cluster": { "server": format!("https://127.0.0.1:{}", c.port), "certificate-authority-data": ca },
        })),
        "users": [{ "name": "admin", "user": { "token": ADMIN_TOKEN } }],
        "contexts": list(&|c| serde_json::json!({
            "name": c.name, "context": { "cluster": c.name, "user": "admin" },
        })),
    });
    let text = serde_json::to_string_pretty(&config).expect("a JSON value serialises");
    fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}
