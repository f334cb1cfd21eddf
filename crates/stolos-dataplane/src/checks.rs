//! Health checks: when each endpoint is checked next, and what a check does.
//!
//! What follows from a check is decided by the model. Checks of one endpoint are never closer than its interval, and all
//! together never more than [`MAX_PER_SECOND`]: with very many endpoints each is checked less often.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use stolos_core::network::balance::{Check, EndpointId, HealthSettings, Protocol, VipPort};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout};

use crate::limits::MAX_CHECKS;
use crate::relay;
use crate::tls::{Keys, Side, Socket};

/// Checks per second over all endpoints: about a tenth of a core.
const MAX_PER_SECOND: u32 = 1_000;
/// An interval differs from the wished one by up to a tenth, so that checks of many balancers do not fall together.
const JITTER: f64 = 0.1;
/// Bytes of an HTTP answer that are looked at; its status is in the first line.
const MAX_ANSWER: usize = 256;

/// One endpoint of one VIP port.
pub(crate) type Target = (VipPort, EndpointId);

/// When each endpoint is checked next.
pub(crate) struct Schedule {
    targets: BTreeMap<Target, State>,
    due: BTreeSet<(Instant, Target)>,
    n_running: usize,
    random: SmallRng,
}

struct State {
    probe: Probe,
    /// None while the check runs.
    due: Option<Instant>,
}

/// How an endpoint is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Probe {
    address: SocketAddr,
    kind: Kind,
    /// The member whose gateway it is.
    gateway: Option<String>,
    interval: Duration,
    timeout: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
    Http(String),
}

impl Probe {
    /// Returns how `endpoint` of `port` is to be checked. A gateway has no other port for the same pods.
    pub(crate) fn new(
        port: &VipPort,
        endpoint: &EndpointId,
        settings: &HealthSettings,
        is_gateway: bool,
    ) -> Self {
        let mut address = endpoint.socket();
        if let Some(port) = settings.port.filter(|_| !is_gateway) {
            address.set_port(port);
        }
        let kind = match (&settings.check, port.protocol, settings.port) {
            (Some(Check::Http { path }), _, _) => Kind::Http(path.clone()),
            // Nobody promises that anything but datagrams is answered at the port of a UDP service.
            (Some(Check::Tcp) | None, Protocol::Udp, None) => Kind::Udp,
            (Some(Check::Tcp) | None, _, _) => Kind::Tcp,
        };
        let interval = Duration::from_millis(settings.interval_millis.max(1).into());
        let timeout = Duration::from_millis(settings.timeout_millis.max(1).into());
        let gateway = is_gateway.then(|| endpoint.cluster.clone());
        Self { address, kind, gateway, interval, timeout }
    }

    /// Finds out whether the endpoint answers, or why it does not.
    pub(crate) async fn make(&self, keys: &Keys) -> Result<(), String> {
        let answered = async {
            match &self.kind {
                Kind::Tcp => self.connect(keys).await.map(|side| {
                    // Nothing was said, so nothing is lost; an orderly end would keep the port busy for a minute.
                    relay::reset(side.tcp());
                    true
                }),
                Kind::Udp => is_not_refused(self.address, self.timeout / 2).await,
                Kind::Http(path) => answers(self.connect(keys).await?, self.address, path).await,
            }
        };
        match timeout(self.timeout, answered).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err("it does not answer as it should".to_owned()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("it does not answer in time".to_owned()),
        }
    }

    async fn connect(&self, keys: &Keys) -> io::Result<Side> {
        let socket = TcpStream::connect(self.address).await?;
        match &self.gateway {
            Some(member) => keys.connect(member, socket).await,
            None => Ok(Side::Plain(Socket::new(socket))),
        }
    }
}

/// Tells whether `path` can be part of a request.
pub(crate) fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Sends an empty datagram. Silence is no answer, but a machine whose port is closed says so.
async fn is_not_refused(address: SocketAddr, patience: Duration) -> io::Result<bool> {
    let any: SocketAddr =
        if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }.parse().expect("an address");
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    socket.send(&[]).await?;
    match timeout(patience, socket.recv(&mut [0])).await {
        Ok(Err(_)) => Ok(false),
        Ok(Ok(_)) | Err(_) => Ok(true),
    }
}

async fn answers(mut socket: Side, address: SocketAddr, path: &str) -> io::Result<bool> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: stolos\r\nConnection: close\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await?;
    socket.flush().await?;
    let mut answer = Vec::with_capacity(MAX_ANSWER);
    while answer.len() < "HTTP/1.1 200".len() {
        if socket.read_buf(&mut answer).await? == 0 {
            break;
        }
    }
    Ok(status(&answer).is_some_and(|status| (200..400).contains(&status)))
}

/// Returns the status of an HTTP/1 answer.
fn status(answer: &[u8]) -> Option<u16> {
    let version_and_rest = answer.strip_prefix(b"HTTP/1.")?;
    let status = version_and_rest.get(2..5)?;
    std::str::from_utf8(status).ok()?.parse().ok()
}

impl Schedule {
    /// Makes an empty schedule whose jitter comes from `seed`.
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            targets: BTreeMap::new(),
            due: BTreeSet::new(),
            n_running: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Lets exactly these endpoints of a VIP port be checked. Those that were checked before go on as planned.
    pub(crate) fn set(&mut self, port: VipPort, probes: BTreeMap<EndpointId, Probe>, now: Instant) {
        let first = (port, EndpointId { cluster: String::new(), address: UNSPECIFIED, port: 0 });
        let known: Vec<Target> = self
            .targets
            .range(first..)
            .take_while(|((of, _), _)| *of == port)
            .map(|(target, _)| target.clone())
            .collect();
        for target in known {
            if probes.get(&target.1) != self.targets.get(&target).map(|state| &state.probe) {
                self.forget(&target);
            }
        }
        for (id, probe) in probes {
            let target = (port, id);
            if !self.targets.contains_key(&target) {
                // Anywhere in the first interval, so that the load is even from the beginning.
                let wait = self.interval(&probe).mul_f64(self.random.random_range(0.0..1.0));
                self.targets.insert(target.clone(), State { probe, due: Some(now + wait) });
                self.due.insert((now + wait, target));
            }
        }
    }

    fn forget(&mut self, target: &Target) {
        if let Some(State { due: Some(due), .. }) = self.targets.remove(target) {
            self.due.remove(&(due, target.clone()));
        }
    }

    /// Returns when the next check is due. None while as many run as may, as the end of one wakes the schedule too.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().filter(|_| self.n_running < MAX_CHECKS).map(|(due, _)| *due)
    }

    /// Returns the next check if it is due; it counts as running from then on.
    pub(crate) fn start(&mut self, now: Instant) -> Option<(Target, Probe)> {
        if self.next()? > now {
            return None;
        }
        let (_, target) = self.due.pop_first()?;
        let state = self.targets.get_mut(&target)?;
        state.due = None;
        self.n_running += 1;
        Some((target, state.probe.clone()))
    }

    /// Plans the next check after one has ended. `in_doubt`: the endpoint counted as up and did not answer, which is
    /// cleared up sooner.
    pub(crate) fn ended(&mut self, target: Target, in_doubt: bool, now: Instant) {
        self.n_running -= 1;
        let Some(state) = self.targets.get(&target).filter(|state| state.due.is_none()) else {
            return;
        };
        let interval = self.interval(&state.probe) / if in_doubt { 4 } else { 1 };
        let due = now + interval.mul_f64(self.random.random_range(1.0 - JITTER..1.0 + JITTER));
        if let Some(state) = self.targets.get_mut(&target) {
            state.due = Some(due);
        }
        self.due.insert((due, target));
    }

    fn interval(&self, probe: &Probe) -> Duration {
        let n_targets = u32::try_from(self.targets.len()).unwrap_or(u32::MAX);
        probe.interval.max(Duration::from_secs(1) * n_targets / MAX_PER_SECOND)
    }
}

/// The first of all addresses.
const UNSPECIFIED: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn port(number: u16) -> VipPort {
        VipPort { address: UNSPECIFIED, protocol: Protocol::Tcp, port: number }
    }

    fn id(number: u16) -> EndpointId {
        let address = Ipv4Addr::new(192, 0, 2, 1).into();
        EndpointId { cluster: "one".to_owned(), address, port: number }
    }

    fn probes(port: VipPort, endpoints: std::ops::Range<u16>) -> BTreeMap<EndpointId, Probe> {
        let settings = HealthSettings::default();
        endpoints.map(|n| (id(n), Probe::new(&port, &id(n), &settings, false))).collect()
    }

    /// Lets checks take no time until `end`; returns when each endpoint was checked.
    fn play(
        schedule: &mut Schedule,
        end: Instant,
        in_doubt: bool,
    ) -> BTreeMap<Target, Vec<Instant>> {
        let mut checked: BTreeMap<Target, Vec<Instant>> = BTreeMap::new();
        while let Some(now) = schedule.next().filter(|now| *now <= end) {
            while let Some((target, _)) = schedule.start(now) {
                checked.entry(target.clone()).or_default().push(now);
                schedule.ended(target, in_doubt, now);
            }
        }
        checked
    }

    #[tokio::test(start_paused = true)]
    async fn every_endpoint_is_checked_at_its_interval_and_not_all_at_once() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(port(80), probes(port(80), 0..50), now);
        let checked = play(&mut schedule, now + Duration::from_secs(21), false);
        assert_eq!(checked.len(), 50);
        for times in checked.values() {
            let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            assert!(
                gaps.iter()
                    .all(|gap| gap.abs_diff(Duration::from_secs(2)) <= Duration::from_millis(200))
            );
            assert!(times.len() >= 9, "{} checks in 21 s", times.len());
        }
        let first: BTreeSet<_> = checked.values().map(|times| times[0]).collect();
        assert!(first.len() > 40, "first checks fall together");
    }

    #[tokio::test(start_paused = true)]
    async fn doubt_is_cleared_up_sooner() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(port(80), probes(port(80), 0..1), now);
        let checked = play(&mut schedule, now + Duration::from_secs(12), true);
        assert!(checked.values().all(|times| times.len() >= 18), "{checked:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn very_many_endpoints_are_checked_less_often() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        for number in 0..20 {
            schedule.set(port(number), probes(port(number), 0..500), now);
        }
        let checked = play(&mut schedule, now + Duration::from_secs(20), false);
        let n: usize = checked.values().map(Vec::len).sum();
        // 10,000 endpoints every 2 s would be 100,000.
        assert!((15_000..=25_000).contains(&n), "{n} checks in 20 s");
    }

    #[test]
    fn no_more_checks_run_at_once_than_allowed() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(port(80), probes(port(80), 0..1000), now);
        let late = now + Duration::from_secs(10);
        let running: Vec<_> = std::iter::from_fn(|| schedule.start(late)).collect();
        assert_eq!(running.len(), MAX_CHECKS);
        assert_eq!(schedule.next(), None);
        schedule.ended(running[0].0.clone(), false, late);
        assert!(schedule.start(late).is_some());
    }

    #[test]
    fn what_is_not_wanted_any_more_is_not_checked_and_its_result_changes_nothing() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(port(80), probes(port(80), 0..2), now);
        schedule.set(port(81), probes(port(81), 0..1), now);
        let late = now + Duration::from_secs(10);
        let (running, _) = schedule.start(late).unwrap();
        schedule.set(port(80), BTreeMap::new(), now);
        schedule.set(port(81), BTreeMap::new(), now);
        schedule.ended(running, false, late);
        assert_eq!((schedule.next(), schedule.targets.len(), schedule.n_running), (None, 0, 0));
    }

    #[test]
    fn setting_the_same_again_puts_nothing_off() {
        let mut schedule = Schedule::new(1);
        let now = Instant::now();
        schedule.set(port(80), probes(port(80), 0..5), now);
        let before = schedule.due.clone();
        schedule.set(port(80), probes(port(80), 0..5), now + Duration::from_secs(1));
        assert_eq!(schedule.due, before);
    }

    #[test]
    fn a_udp_service_is_checked_by_datagrams_unless_a_port_is_named() {
        let udp = VipPort { protocol: Protocol::Udp, ..port(53) };
        let plain = HealthSettings::default();
        let named = HealthSettings { port: Some(8080), ..HealthSettings::default() };
        assert_eq!(Probe::new(&udp, &id(53), &plain, false).kind, Kind::Udp);
        let probe = Probe::new(&udp, &id(53), &named, false);
        assert_eq!((probe.kind, probe.address.port()), (Kind::Tcp, 8080));
    }

    #[test]
    fn only_the_status_of_an_http_answer_counts() {
        let cases: [(&[u8], Option<u16>); 5] = [
            (b"HTTP/1.1 200 OK\r\n", Some(200)),
            (b"HTTP/1.0 503 No\r\n", Some(503)),
            (b"SSH-2.0-OpenSSH_9.2 200", None),
            (b"HTTP/1.1 2", None),
            (b"", None),
        ];
        for (answer, want) in cases {
            assert_eq!(status(answer), want, "{}", String::from_utf8_lossy(answer));
        }
    }
}
