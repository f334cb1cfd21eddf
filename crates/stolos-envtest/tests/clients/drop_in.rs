//! The protocol between envtest and the two programs, spoken by hand, so that it is checked without Go as well.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::run;

/// envtest waits this long for a start and for a stop.
const PATIENCE: Duration = Duration::from_secs(20);

const KUBE_APISERVER: &str = env!("CARGO_BIN_EXE_kube-apiserver");
const ETCD: &str = env!("CARGO_BIN_EXE_etcd");

/// A child that does not outlive its test.
struct Running(Child);

impl Running {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let child = Command::new(program).args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        Self(child)
    }

    /// Sends SIGTERM and returns whether the process ended well within the time.
    fn terminate(&mut self) -> bool {
        run(Command::new("kill").arg(self.0.id().to_string()));
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.0.try_wait().unwrap() {
                Some(status) => return status.success(),
                None if Instant::now() > deadline => return false,
                None => std::thread::yield_now(),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Waits until somebody listens.
fn connect(address: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "nobody listens: {error}"),
        }
    }
}

#[test]
fn help_lists_flags_and_none_of_them_is_insecure() {
    for program in [KUBE_APISERVER, ETCD] {
        let help = run(Command::new(program).arg("--help"));
        let is_flag = |line: &&str| line.trim_start().starts_with("--") && line.starts_with(' ');
        assert!(help.lines().filter(is_flag).count() > 5, "{help}");
        assert!(!help.contains("insecure-port"), "{help}");
    }
}

#[test]
fn etcd_is_healthy_and_ends_on_sigterm() {
    let address = free_address();
    let url = format!("--listen-client-urls=http://{address}");
    let mut etcd = Running::start(ETCD, &["--data-dir=/nowhere", "--unsafe-no-fsync=true", &url]);
    let mut stream = connect(address);
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: etcd\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with(r#"{"health":"true","reason":""}"#), "{answer}");
    assert!(etcd.terminate());
}

#[test]
fn the_api_server_makes_its_certificate_and_ends_on_sigterm() {
    let (address, folder) = (free_address(), tempfile::tempdir().unwrap());
    let port = format!("--secure-port={}", address.port());
    let certificates = format!("--cert-dir={}", folder.path().display());
    let arguments = [
        "--allow-privileged=true",
        "--authorization-mode=RBAC",
        "--bind-address=127.0.0.1",
        &port,
        &certificates,
        "--disable-admission-plugins=ServiceAccount",
        "--etcd-servers=http://127.0.0.1:1",
        "--service-cluster-ip-range=10.0.0.0/24",
        "--some-flag-of-the-future=value",
    ];
    let mut server = Running::start(KUBE_APISERVER, &arguments);
    connect(address);
    assert!(folder.path().join("apiserver.crt").is_file());
    assert!(server.terminate());
}

#[test]
fn what_cannot_be_served_is_said_and_ends_the_process() {
    for (program, argument, text) in [
        (KUBE_APISERVER, "--secure-port=many", "error: --secure-port: `many` is not a port number"),
        (KUBE_APISERVER, "--client-ca-file=/nowhere", "error: --client-ca-file: failed to read"),
        (ETCD, "--listen-client-urls=https://localhost:1", "is not of the form http://host:port"),
    ] {
        let mut failing = Running::start(program, &[argument]);
        let mut stderr = String::new();
        failing.0.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(stderr.contains(text), "{stderr}");
        assert_eq!(failing.0.wait().unwrap().code(), Some(1));
    }
}
