//! Whole rollouts, step by step: members report when the story lets them, and the limits hold after every step.

use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use proptest::prelude::*;

use super::*;

/// What a version does to a member once it is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nature {
    Good,
    Bad,
    /// Nobody can tell whether it works.
    Untrackable,
}

/// One member and its binding.
#[derive(Clone, Debug)]
struct Cluster {
    binding: String,
    spec: ResourceBindingSpec,
    generation: i64,
    deleting: bool,
    conditions: Vec<Condition>,
}

/// A placement on its members.
#[derive(Clone, Debug)]
struct World {
    policy: PlacementPolicy,
    limits: RollingUpdateConfig,
    strategy: ApplyStrategy,
    clusters: Vec<Cluster>,
    versions: Vec<Nature>,
    now: i64,
    history: String,
}

impl World {
    fn new(max_unavailable: &str, max_surge: &str, policy: PlacementPolicy) -> Self {
        let limit = |text: &str| {
            text.parse().map_or_else(|_| IntOrString::String(text.to_owned()), IntOrString::Int)
        };
        Self {
            policy,
            limits: RollingUpdateConfig {
                max_unavailable: limit(max_unavailable),
                max_surge: limit(max_surge),
                unavailable_period_seconds: 60,
            },
            strategy: ApplyStrategy::default(),
            clusters: Vec::new(),
            versions: vec![Nature::Good],
            now: 0,
            history: String::new(),
        }
    }

    /// A placement whose first version serves everywhere.
    fn placed(max_unavailable: &str, max_surge: &str, names: &[&str]) -> Self {
        let mut world = Self::new(max_unavailable, max_surge, PlacementPolicy::default());
        for name in names {
            world.schedule(name);
        }
        world.settle();
        world.history.clear();
        world
    }

    fn note(&mut self, text: &str) {
        writeln!(self.history, "{:>4}s  {text}", self.now).expect("writing to a string");
    }

    fn schedule(&mut self, name: &str) {
        let spec = ResourceBindingSpec {
            target_cluster: name.to_owned(),
            apply_strategy: Some(self.strategy.clone()),
            ..ResourceBindingSpec::default()
        };
        let is_free = |binding: &String| self.clusters.iter().all(|c| c.binding != *binding);
        let mut names = (0..).map(|n| format!("{name}{}", "'".repeat(n)));
        let binding = names.find(is_free).expect("names do not run out");
        self.clusters.push(Cluster {
            binding,
            spec,
            generation: 1,
            deleting: false,
            conditions: Vec::new(),
        });
    }

    fn unschedule(&mut self, name: &str) {
        let mut live = self.clusters.iter_mut();
        if let Some(cluster) = live.find(|c| c.spec.target_cluster == name && !c.deleting) {
            cluster.spec.state = BindingState::Unscheduled;
            cluster.generation += 1;
        }
    }

    fn latest(&self) -> Desired {
        Desired { resource_snapshot: format!("v{}", self.versions.len() - 1), ..Desired::default() }
    }

    fn observe<T>(&self, look: impl FnOnce(&Observed<'_>) -> T) -> T {
        let bindings: Vec<_> = self
            .clusters
            .iter()
            .map(|cluster| {
                let Cluster { binding, spec, generation, deleting, conditions } = cluster;
                let (generation, deleting) = (*generation, *deleting);
                let binding = Binding { name: binding, generation, deleting, spec, conditions };
                (binding, Some(self.latest()))
            })
            .collect();
        look(&Observed {
            policy: Some(&self.policy),
            limits: &self.limits,
            apply_strategy: &self.strategy,
            bindings: &bindings,
            now: Timestamp::from_second(self.now).expect("a timestamp"),
        })
    }

    fn plan(&self) -> Plan {
        self.observe(|observed| plan(observed).expect("no cluster has two bindings"))
    }

    fn get(&mut self, binding: &str) -> &mut Cluster {
        let mut clusters = self.clusters.iter_mut();
        clusters.find(|cluster| cluster.binding == binding).expect("a known binding")
    }

    /// Carries one plan out.
    fn step(&mut self) -> Plan {
        let plan = self.plan();
        for name in &plan.apply_strategy {
            let strategy = self.strategy.clone();
            let cluster = self.get(name);
            cluster.spec.apply_strategy = Some(strategy);
            cluster.generation += 1;
        }
        for (name, desired) in &plan.roll {
            let cluster = self.get(name);
            let verb = if cluster.spec.state == BindingState::Bound { "update" } else { "bind" };
            cluster.spec.state = BindingState::Bound;
            cluster.spec.resource_snapshot_name.clone_from(&desired.resource_snapshot);
            cluster.generation += 1;
            // Writing the Works takes the word on the version before away.
            cluster.conditions.clear();
            self.note(&format!("{verb} {name} to {}", desired.resource_snapshot));
        }
        for name in &plan.remove {
            self.get(name).deleting = true;
            self.note(&format!("remove {name}"));
        }
        plan
    }

    /// A member reports on what its binding says.
    fn report(&mut self, index: usize) {
        let Some(version) = self.clusters[index].spec.resource_snapshot_name.strip_prefix('v')
        else {
            return;
        };
        let nature = self.versions[version.parse::<usize>().expect("a number")];
        let (status, reason) = match nature {
            Nature::Good => ("True", reason::ALL_WORK_ARE_AVAILABLE),
            Nature::Bad => ("False", reason::NOT_ALL_WORK_ARE_AVAILABLE),
            Nature::Untrackable => ("True", reason::NOT_ALL_WORK_ARE_AVAILABILITY_TRACKABLE),
        };
        let now = Timestamp::from_second(self.now).expect("a timestamp");
        let cluster = &mut self.clusters[index];
        let since = cluster.conditions.first().filter(|known| known.status == status);
        let since = since.map_or(Time(now), |known| known.last_transition_time.clone());
        cluster.conditions = vec![Condition {
            type_: condition::AVAILABLE.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: String::new(),
            last_transition_time: since,
            observed_generation: Some(cluster.generation),
        }];
    }

    fn release(&mut self, version: Nature) {
        self.versions.push(version);
        self.note(&format!("release v{}: {version:?}", self.versions.len() - 1));
    }

    /// Plays on, with every member reporting a second after each change, until nothing more happens.
    fn settle(&mut self) {
        for _ in 0..100 {
            let plan = self.step();
            let is_news = |cluster: &Cluster| {
                let told = cluster.conditions.first().and_then(|c| c.observed_generation);
                let has_something = !cluster.spec.resource_snapshot_name.is_empty();
                has_something && told != Some(cluster.generation)
            };
            let news: Vec<_> =
                (0..self.clusters.len()).filter(|i| is_news(&self.clusters[*i])).collect();
            let n_before = self.clusters.len();
            self.clusters.retain(|cluster| !cluster.deleting);
            if self.clusters.len() < n_before {
                continue;
            }
            if !news.is_empty() {
                self.now += 1;
                for index in news {
                    self.report(index);
                }
            } else if let Some(at) = plan.wake_at {
                self.now = at.as_second();
            } else {
                let waits: Vec<_> = plan.hold.iter().chain(&plan.keep).collect();
                let waits = waits.iter().map(|hold| hold.binding.clone()).collect::<Vec<_>>();
                self.note(&format!("rest, waiting: [{}]", waits.join(" ")));
                return;
            }
        }
        panic!("the rollout does not come to rest:\n{}", self.history);
    }

    fn ready(&self, cluster: &Cluster) -> bool {
        let Cluster { binding, spec, generation, deleting, conditions } = cluster;
        let (generation, deleting) = (*generation, *deleting);
        let binding = Binding { name: binding, generation, deleting, spec, conditions };
        let now = Timestamp::from_second(self.now).expect("a timestamp");
        let patience = SignedDuration::from_secs(self.limits.unavailable_period_seconds);
        spec.state != BindingState::Scheduled
            && readiness(&binding, patience, now) == Readiness::Ready
    }

    fn n_ready(&self) -> usize {
        self.clusters.iter().filter(|cluster| !cluster.deleting && self.ready(cluster)).count()
    }

    /// How many clusters have the resources, or may come to have them.
    fn n_holding(&self) -> usize {
        let holds = |cluster: &&Cluster| {
            let Cluster { binding, spec, generation, deleting, conditions } = cluster;
            let (generation, deleting) = (*generation, *deleting);
            let binding = Binding { name: binding, generation, deleting, spec, conditions };
            spec.state != BindingState::Scheduled && !failed(&binding)
        };
        self.clusters.iter().filter(holds).count()
    }

    fn target(&self) -> usize {
        let wanted = |cluster: &&Cluster| cluster.spec.state != BindingState::Unscheduled;
        match self.policy.number_of_clusters {
            Some(number) => usize::try_from(number).expect("not negative"),
            None => self.clusters.iter().filter(wanted).count(),
        }
    }
}

fn pick_n(n: i32) -> PlacementPolicy {
    PlacementPolicy {
        placement_type: PlacementType::PickN,
        number_of_clusters: Some(n),
        ..PlacementPolicy::default()
    }
}

#[test]
fn a_good_version_goes_from_cluster_to_cluster() {
    let mut world = World::placed("1", "0", &["a", "b", "c"]);
    world.release(Nature::Good);
    world.settle();
    insta::assert_snapshot!(world.history, @"
    1s  release v1: Good
    1s  update a to v1
    2s  update b to v1
    3s  update c to v1
    4s  rest, waiting: []
    ");
}

#[test]
fn a_bad_version_stops_at_the_limit_and_the_next_one_starts_there() {
    let mut world = World::placed("1", "0", &["a", "b", "c"]);
    world.release(Nature::Bad);
    world.settle();
    world.release(Nature::Good);
    world.settle();
    insta::assert_snapshot!(world.history, @"
    1s  release v1: Bad
    1s  update a to v1
    2s  rest, waiting: [b c]
    2s  release v2: Good
    2s  update a to v2
    3s  update b to v2
    4s  update c to v2
    5s  rest, waiting: []
    ");
}

#[test]
fn what_cannot_be_tracked_is_given_its_time() {
    let mut world = World::placed("25%", "25%", &["a", "b", "c", "d", "e"]);
    world.release(Nature::Untrackable);
    world.settle();
    insta::assert_snapshot!(world.history, @"
      1s  release v1: Untrackable
      1s  update a to v1
      1s  update b to v1
     62s  update c to v1
     62s  update d to v1
    123s  update e to v1
    124s  rest, waiting: []
    ");
}

#[test]
fn a_placement_moves_without_a_gap() {
    let mut world = World::new("0", "1", pick_n(2));
    for name in ["a", "b"] {
        world.schedule(name);
    }
    world.settle();
    for name in ["a", "b"] {
        world.unschedule(name);
    }
    for name in ["c", "d"] {
        world.schedule(name);
    }
    world.note("the policy picks c and d in place of a and b");
    world.settle();
    insta::assert_snapshot!(world.history, @"
    0s  bind a to v0
    0s  bind b to v0
    1s  rest, waiting: []
    1s  the policy picks c and d in place of a and b
    1s  bind c to v0
    2s  remove a
    2s  bind d to v0
    3s  remove b
    3s  rest, waiting: []
    ");
}

#[test]
fn a_new_way_to_apply_reaches_all_and_a_new_version_waits_for_them() {
    let mut world = World::placed("1", "0", &["a", "b", "c"]);
    world.strategy.allow_co_ownership = true;
    world.release(Nature::Good);
    let first = world.step();
    assert_eq!(first.apply_strategy, ["a", "b", "c"]);
    assert!(first.roll.is_empty());
    assert!(world.step().roll.is_empty(), "nobody has reported on the new way");
    world.settle();
    insta::assert_snapshot!(world.history, @"
    1s  release v1: Good
    2s  update a to v1
    3s  update b to v1
    4s  update c to v1
    5s  rest, waiting: []
    ");
}

#[test]
fn nothing_may_be_unavailable_so_nothing_is_updated_in_place() {
    let mut world = World::placed("0", "1", &["a", "b"]);
    world.release(Nature::Good);
    world.settle();
    insta::assert_snapshot!(world.history, @"
    1s  release v1: Good
    1s  rest, waiting: [a b]
    ");
}

/// Something that happens to a placement.
#[derive(Clone, Debug)]
enum Event {
    Release(usize),
    Schedule(usize),
    Unschedule(usize),
    Report(usize),
    Gone(usize),
    Strategy,
    Pass(i64),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..3usize).prop_map(Event::Release),
        2 => (0..8usize).prop_map(Event::Schedule),
        2 => (0..8usize).prop_map(Event::Unschedule),
        8 => (0..8usize).prop_map(Event::Report),
        3 => (0..8usize).prop_map(Event::Gone),
        1 => Just(Event::Strategy),
        2 => (1..90i64).prop_map(Event::Pass),
    ]
}

fn happen(world: &mut World, event: &Event) {
    let name = |index: &usize| format!("m{index}");
    match event {
        Event::Release(nature) => {
            world.release([Nature::Good, Nature::Bad, Nature::Untrackable][*nature]);
        }
        Event::Schedule(index) => {
            let name = name(index);
            let is_live = |c: &Cluster| c.spec.target_cluster == name && !c.deleting;
            if !world.clusters.iter().any(is_live) {
                world.schedule(&name);
            }
        }
        Event::Unschedule(index) => world.unschedule(&name(index)),
        Event::Report(index) if !world.clusters.is_empty() => {
            let index = index % world.clusters.len();
            world.report(index);
        }
        Event::Gone(index) => {
            let name = name(index);
            world.clusters.retain(|c| !(c.deleting && c.spec.target_cluster == name));
        }
        Event::Strategy => {
            world.strategy.allow_co_ownership = !world.strategy.allow_co_ownership;
        }
        Event::Report(_) => {}
        Event::Pass(seconds) => world.now += seconds,
    }
}

proptest! {
    #[test]
    fn limits_hold_whatever_happens(
        max_unavailable in 0..4i32, max_surge in 0..4i32, n in prop::option::of(0..6i32),
        percent in any::<bool>(),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let text = |limit: i32| if percent { format!("{}%", limit * 30) } else { limit.to_string() };
        let policy = n.map_or_else(PlacementPolicy::default, pick_n);
        let mut world = World::new(&text(max_unavailable), &text(max_surge), policy);
        for event in &events {
            happen(&mut world, event);
            let target = world.target();
            let floor = target.saturating_sub(resolve(&world.limits.max_unavailable, target));
            let ceiling = target + resolve(&world.limits.max_surge, target);
            let (ready, holding) = (world.n_ready(), world.n_holding());
            let is_held = |world: &World, name: &str| {
                let live = |c: &&Cluster| c.spec.target_cluster == name;
                world.clusters.iter().filter(live).count() > 1
            };
            let before = world.clone();
            let plan = world.step();
            if world.n_ready() < ready && plan.apply_strategy.is_empty() {
                prop_assert!(world.n_ready() >= floor, "{ready} → {} of {target}, floor {floor}", world.n_ready());
            }
            let bound = |(name, _): &&(String, Desired)| {
                before.clusters.iter().any(|c| c.binding == *name && c.spec.state == BindingState::Scheduled)
            };
            let n_bound = plan.roll.iter().filter(bound).count();
            if n_bound > 0 {
                prop_assert!(holding + n_bound <= ceiling, "{holding} + {n_bound}, ceiling {ceiling}");
            }
            for (name, _) in &plan.roll {
                let cluster = before.clusters.iter().find(|c| c.binding == *name).expect("a binding");
                prop_assert!(!is_held(&before, &cluster.spec.target_cluster), "{name} has an earlier binding");
            }
            // Deciding again after the plan was carried out changes nothing.
            let again = world.plan();
            if plan.apply_strategy.is_empty() {
                prop_assert!(again.roll.is_empty() && again.remove.is_empty(), "{again:?}");
            } else {
                prop_assert!(again.apply_strategy.is_empty());
            }
        }
    }

    #[test]
    fn the_order_of_bindings_does_not_matter(events in prop::collection::vec(event(), 1..60), seed in any::<u64>()) {
        use rand::SeedableRng;
        use rand::seq::SliceRandom;
        let mut world = World::new("1", "1", pick_n(3));
        for event in &events {
            happen(&mut world, event);
            let mut shuffled = world.clone();
            shuffled.clusters.shuffle(&mut rand::rngs::StdRng::seed_from_u64(seed));
            prop_assert_eq!(shuffled.plan(), world.plan());
            world.step();
        }
    }

    #[test]
    fn a_good_version_reaches_everybody(
        max_unavailable in 1..4i32, n in 1..12usize,
        events in prop::collection::vec(event(), 0..40),
    ) {
        let mut world = World::new(&max_unavailable.to_string(), "1", PlacementPolicy::default());
        for index in 0..n {
            world.schedule(&format!("m{index}"));
        }
        for event in &events {
            happen(&mut world, event);
            world.step();
        }
        world.release(Nature::Good);
        world.settle();
        let latest = world.latest().resource_snapshot;
        for cluster in &world.clusters {
            prop_assert_eq!(&cluster.spec.resource_snapshot_name, &latest);
            prop_assert_eq!(cluster.spec.state, BindingState::Bound);
        }
    }
}
