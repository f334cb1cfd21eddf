//! The task that owns the state of the proxy: it opens and closes VIP ports, lets each be planned, has endpoints checked.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;
use stolos_core::network::balance::{Check, Evidence, Lease, VipPort};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::checks::{self, Probe, Schedule, Target};
use crate::desired::{Desired, DesiredVip};
use crate::handover::{self, Door, Taken};
use crate::limits::{Limits, MAX_CHECKS};
use crate::plane::{Config, Report, Request, VipStats};
use crate::saved::Keeper;
use crate::served::Served;
use crate::sockets::{self, NotServed, Socket};
use crate::tls::Keys;
use crate::vip::{Shared, Witnessed};
use crate::worker::Worker;

/// What workers saw of endpoints and nobody has looked at yet.
const WITNESSED: usize = 1024;

/// The state of a proxy.
pub(crate) struct Control {
    workers: Vec<Worker>,
    shared: Arc<Shared>,
    vips: BTreeMap<VipPort, Served>,
    leases: BTreeMap<String, Lease>,
    schedule: Schedule,
    witnessed: mpsc::Receiver<Witnessed>,
    checked: mpsc::Receiver<Checked>,
    tell_checked: mpsc::Sender<Checked>,
    /// Who waits for the last connection to end.
    drainers: Vec<oneshot::Sender<()>>,
    links: Links,
    /// The hand-over that is going on, if one is.
    giving: Option<oneshot::Receiver<io::Result<()>>>,
}

/// What connects a proxy to the processes before and after it, and to its disk.
pub(crate) struct Links {
    /// Sockets of the predecessor, until the first state is applied.
    pub(crate) taken: Option<Taken>,
    /// Where a successor knocks. While the predecessor is there, the place is still its own.
    pub(crate) door: Option<Door>,
    pub(crate) door_path: PathBuf,
    /// Who keeps the last state on disk.
    pub(crate) keeper: Option<Arc<Keeper>>,
    /// Whether a successor has taken over.
    pub(crate) superseded: watch::Sender<bool>,
}

/// A check has ended.
struct Checked {
    target: Target,
    result: Result<(), String>,
}

impl Links {
    /// Tells the predecessor to take no more connections, and takes its place. What it served and is not asked for any
    /// more is closed here as well as there.
    fn relieve(&mut self, taken: &Taken) {
        if let Err(error) = taken.ready() {
            tracing::warn!(%error, "the predecessor was not told that its sockets are served");
        }
        match Door::open(&self.door_path) {
            Ok(door) => self.door = Some(door),
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "no successor can take over"
            ),
        }
    }
}

/// What the task waits for.
enum Event {
    Request(Request),
    Witnessed(Witnessed),
    Checked(Checked),
    Successor(io::Result<UnixStream>),
    /// The successor has the sockets, or has failed to take them.
    Given(io::Result<()>),
    /// A check is due.
    Check,
    /// A plan changes by itself, or the last connection has ended.
    Wake,
    /// The handle is gone.
    Abandoned,
}

impl Control {
    pub(crate) fn start(
        config: &Config,
        n_workers: usize,
        limits: Limits,
        links: Links,
    ) -> io::Result<Self> {
        let start = |index| Worker::start(index, limits.pipes);
        let workers = (0..n_workers).map(start).collect::<io::Result<_>>()?;
        let (witnesses, witnessed) = mpsc::channel(WITNESSED);
        // Room for every check that runs, so that none waits to be told of.
        let (tell_checked, checked) = mpsc::channel(MAX_CHECKS);
        Ok(Self {
            workers,
            shared: Arc::new(Shared::new(limits, config.timeouts, witnesses)),
            vips: BTreeMap::new(),
            leases: BTreeMap::new(),
            schedule: Schedule::new(config.seed),
            witnessed,
            checked,
            tell_checked,
            drainers: Vec::new(),
            links,
            giving: None,
        })
    }

    /// Returns who the data plane is to gateways of other members.
    pub(crate) fn keys(&self) -> Arc<Keys> {
        self.shared.keys.clone()
    }

    /// Applies the last state, if there is one, and serves requests until nobody can ask any more.
    pub(crate) async fn run(
        mut self,
        last: Option<Desired>,
        mut requests: mpsc::Receiver<Request>,
    ) {
        if let Some(last) = last {
            for (port, error) in self.apply(last, Timestamp::now()).await.not_served {
                tracing::warn!(%port, %error, "a VIP port of the last state is not served");
            }
        }
        loop {
            match self.select(&mut requests).await {
                Event::Request(Request::Apply(desired, answer)) => {
                    let _ = answer.send(self.apply(desired, Timestamp::now()).await);
                }
                Event::Request(Request::Stats(answer)) => {
                    let _ = answer.send(self.stats());
                }
                Event::Request(Request::Drain(answer)) => {
                    self.drainers.push(answer);
                    self.remove_all(Timestamp::now()).await;
                }
                Event::Witnessed(Witnessed { port, endpoint, evidence }) => {
                    self.witness(&(port, endpoint), evidence, Timestamp::now());
                }
                Event::Checked(checked) => self.checked(checked, Timestamp::now()),
                Event::Successor(peer) => self.give(peer),
                Event::Given(given) => self.given(given, Timestamp::now()).await,
                Event::Check => self.check(Instant::now()),
                Event::Wake => self.wake(Timestamp::now()),
                Event::Abandoned => return,
            }
        }
    }

    /// Waits and changes nothing.
    async fn select(&mut self, requests: &mut mpsc::Receiver<Request>) -> Event {
        let wake_at = self.vips.values().filter_map(Served::wake_at).min();
        let now = Timestamp::now();
        let wake_at = wake_at
            .map(|at| Instant::now() + at.duration_since(now).try_into().unwrap_or_default());
        tokio::select! {
            request = requests.recv() => request.map_or(Event::Abandoned, Event::Request),
            Some(witnessed) = self.witnessed.recv() => Event::Witnessed(witnessed),
            Some(checked) = self.checked.recv() => Event::Checked(checked),
            peer = knock(self.links.door.as_ref()), if self.giving.is_none() => Event::Successor(peer),
            given = answer(self.giving.as_mut()) => Event::Given(given),
            () = until(self.schedule.next()) => Event::Check,
            () = until(wake_at) => Event::Wake,
            () = self.shared.all_ended.notified(), if !self.drainers.is_empty() => Event::Wake,
        }
    }

    async fn apply(&mut self, desired: Desired, now: Timestamp) -> Report {
        if let Some(keeper) = &self.links.keeper {
            keeper.set(desired.clone());
        }
        let Desired { vips, leases } = desired;
        self.leases = leases;
        let vips: BTreeMap<VipPort, DesiredVip> =
            vips.into_iter().map(|vip| (vip.balance.vip, vip)).collect();
        // Ports that go make room for those that come.
        for (port, served) in &mut self.vips {
            if !vips.contains_key(port) {
                served.remove(now).await;
                self.schedule.set(*port, BTreeMap::new(), Instant::now());
            }
        }
        let mut report = Report::default();
        for (port, desired) in vips {
            if let Err(error) = self.serve(desired, now) {
                report.not_served.insert(port, error);
            }
        }
        if let Some(taken) = self.links.taken.take() {
            self.links.relieve(&taken);
        }
        self.wake(now);
        report
    }

    fn serve(&mut self, desired: DesiredVip, now: Timestamp) -> Result<(), NotServed> {
        let port = desired.balance.vip;
        if let Some(Check::Http { path }) = &desired.balance.settings.health.check
            && !checks::is_path(path)
        {
            return Err(NotServed::CheckPath { port, path: path.clone() });
        }
        let is_open = self.vips.get(&port).is_some_and(Served::is_open);
        let opened = if is_open { None } else { Some(self.open(port)?) };
        let is_new = opened.is_some();
        let served = self.vips.entry(port).or_insert_with(|| Served::new(desired.clone()));
        let is_changed = served.desired != desired || served.is_changed_by(&self.leases, now);
        served.desired = desired;
        if is_new || is_changed {
            self.replan(port, now);
        }
        if let Some(sockets) = opened {
            self.listen(port, sockets).map_err(|source| NotServed::Listen { port, source })?;
        }
        Ok(())
    }

    fn open(&mut self, port: VipPort) -> Result<Vec<Socket>, NotServed> {
        let most = self.shared.limits.vip_ports;
        if self.vips.values().filter(|served| served.is_open()).count() >= most {
            return Err(NotServed::TooManyVipPorts { port, most });
        }
        let taken = self.links.taken.as_mut().and_then(|taken| taken.sockets.remove(&port));
        match taken {
            Some(sockets) => Ok(sockets),
            None => sockets::open(port, self.workers.len(), &self.shared.timeouts),
        }
    }

    /// Gives each worker its sockets.
    fn listen(&mut self, port: VipPort, sockets: Vec<Socket>) -> io::Result<()> {
        let Some(served) = self.vips.get_mut(&port) else { return Ok(()) };
        let listen = |(socket, worker): (Socket, &Worker)| {
            worker.listen(socket, served.vip.clone(), self.shared.clone())
        };
        let sockets = sockets.into_iter().zip(self.workers.iter().cycle());
        let listening = sockets.map(listen).collect::<io::Result<_>>()?;
        served.listen(listening);
        Ok(())
    }

    fn replan(&mut self, port: VipPort, now: Timestamp) {
        let Some(served) = self.vips.get_mut(&port) else { return };
        served.replan(&self.leases, now);
        let health = &served.desired.balance.settings.health;
        let gateways = &served.desired.gateways;
        let probe = |id| Probe::new(&port, id, health, gateways.contains(id));
        let probes = served.checks().keys().map(|id| (id.clone(), probe(id))).collect();
        self.schedule.set(port, probes, Instant::now());
    }

    /// Takes account of evidence; tells whether that changes whether the endpoint counts as up.
    fn witness(&mut self, target: &Target, evidence: Evidence, now: Timestamp) -> bool {
        let (port, endpoint) = target;
        let Some(served) = self.vips.get_mut(port) else { return false };
        let is_news = served.witness(endpoint, evidence, now);
        if is_news && served.is_open() {
            self.replan(*port, now);
        }
        is_news
    }

    fn checked(&mut self, checked: Checked, now: Timestamp) {
        let Checked { target, result } = checked;
        let passed = result.is_ok();
        let evidence = if passed { Evidence::CheckPassed } else { Evidence::CheckFailed };
        let is_news = self.witness(&target, evidence, now);
        let is_up = self.vips.get(&target.0).is_some_and(|served| served.is_up(&target.1));
        if let (Err(reason), true) = (result, is_news) {
            tracing::info!(vip = %target.0, endpoint = %target.1, reason, "an endpoint failed its checks");
        }
        self.schedule.ended(target, is_up && !passed, Instant::now());
    }

    /// Starts the checks that are due.
    fn check(&mut self, now: Instant) {
        while let Some((target, probe)) = self.schedule.start(now) {
            let (tell, keys) = (self.tell_checked.clone(), self.keys());
            tokio::spawn(async move {
                let result = probe.make(&keys).await;
                // Nobody hears it when the data plane is gone.
                let _ = tell.send(Checked { target, result }).await;
            });
        }
    }

    /// Plans anew what changes by itself at this time, and forgets what has ended.
    fn wake(&mut self, now: Timestamp) {
        self.vips.retain(|_, served| !served.is_over(now));
        let due =
            |served: &Served| served.is_open() && served.wake_at().is_some_and(|at| at <= now);
        let due: Vec<VipPort> =
            self.vips.iter().filter(|(_, served)| due(served)).map(|(port, _)| *port).collect();
        for port in due {
            self.replan(port, now);
        }
        if self.vips.values().all(|served| !served.is_open()) && self.shared.is_idle()
            || self.vips.is_empty()
        {
            for drainer in self.drainers.drain(..) {
                let _ = drainer.send(());
            }
        }
    }

    async fn remove_all(&mut self, now: Timestamp) {
        for (port, served) in &mut self.vips {
            served.remove(now).await;
            self.schedule.set(*port, BTreeMap::new(), Instant::now());
        }
        self.wake(now);
    }

    /// Gives all sockets to a successor, beside the task. Connections are taken as before until it says that it does.
    fn give(&mut self, peer: io::Result<UnixStream>) {
        let peer = match peer {
            Ok(peer) => peer,
            Err(error) => {
                tracing::warn!(%error, "no successor can take over any more");
                self.links.door = None;
                return;
            }
        };
        let open = self.vips.iter().filter(|(_, served)| served.is_open());
        let sockets: Vec<_> = open.map(|(port, served)| (*port, served.sockets())).collect();
        let (tell, given) = oneshot::channel();
        self.giving = Some(given);
        let keeper = self.links.keeper.clone();
        let give = move || {
            // The successor reads the file before it serves.
            let saved = keeper.map_or(Ok(()), |keeper| keeper.write());
            let _ = tell.send(saved.and_then(|()| handover::give(&peer, &sockets)));
        };
        if let Err(error) = std::thread::Builder::new().spawn(give) {
            tracing::warn!(%error, "a successor cannot be served");
        }
    }

    async fn given(&mut self, given: io::Result<()>, now: Timestamp) {
        self.giving = None;
        if let Err(error) = given {
            tracing::warn!(%error, "a successor failed to take over");
            return;
        }
        // From here on the place on the disk and at the door is the successor's.
        if let Some(keeper) = self.links.keeper.take() {
            keeper.leave();
        }
        self.links.door = None;
        self.remove_all(now).await;
        self.links.superseded.send_replace(true);
    }

    fn stats(&self) -> BTreeMap<VipPort, VipStats> {
        self.vips.iter().map(|(port, served)| (*port, served.stats())).collect()
    }
}

/// Waits until a time, or for ever.
async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn knock(door: Option<&Door>) -> io::Result<UnixStream> {
    match door {
        Some(door) => door.knock().await,
        None => std::future::pending().await,
    }
}

/// Waits for the end of a hand-over, if one is going on.
async fn answer(giving: Option<&mut oneshot::Receiver<io::Result<()>>>) -> io::Result<()> {
    match giving {
        // Without an answer, its thread did not even start.
        Some(giving) => giving.await.unwrap_or_else(|_| Err(io::ErrorKind::Other.into())),
        None => std::future::pending().await,
    }
}
