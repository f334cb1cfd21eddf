//! Feeds the catalogue: which kinds the hub serves, and a watch of each that may be placed.
//!
//! Built-in kinds are discovered once. Custom kinds come and go with their definitions, so a kind is gone only when its
//! definition is known to be gone; a discovery that shows less proves nothing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{AbortHandle, Abortable, BoxStream, SelectAll, Stream, StreamExt};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::Version;
use kube::core::object::Object as Slim;
use kube::discovery::{ApiCapabilities, ApiGroup, Discovery, Scope, verbs};
use kube::runtime::{WatchStreamExt, watcher};
use serde::Deserialize;
use stolos_controller::Key;
use stolos_core::placement::eligibility::Eligibility;
use stolos_core::placement::object::Gvk;
use stolos_core::placement::select::KindScope;
use tracing::{debug, warn};

use super::catalogue::{GroupKind, Kind};

/// First wait before a failed discovery is tried again; it doubles.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// Longest wait between two attempts at discovery.
const LAST_RETRY: Duration = Duration::from_secs(30);

/// What the feed tells the catalogue.
#[derive(Debug)]
pub(crate) enum Fed {
    /// All kinds that there are.
    Kinds(BTreeMap<GroupKind, Kind>),
    /// An object is in this state.
    Applied(GroupKind, Box<DynamicObject>),
    /// An object is gone.
    Deleted(GroupKind, Box<DynamicObject>),
    /// A complete list of a kind was seen; whatever else is known of it is gone.
    Listed(GroupKind, BTreeSet<Key>),
}

/// Returns the feed. It never ends.
pub(crate) fn feed(client: Client, eligibility: Eligibility) -> impl Stream<Item = Fed> + Send {
    let feed = Feed::new(client, eligibility);
    futures::stream::unfold(feed, |mut feed| async { Some((feed.next().await, feed)) })
}

type Watch = Abortable<BoxStream<'static, Fed>>;
type Kinds = BTreeMap<GroupKind, Kind>;

struct Feed {
    client: Client,
    eligibility: Eligibility,
    definitions: BoxStream<'static, watcher::Event<Definition>>,
    /// Custom kinds by name of their definition; absent until the first list of definitions is complete.
    custom: Option<Custom>,
    listing: Custom,
    /// Kinds found by discovery; absent until it has succeeded.
    discovered: Option<Kinds>,
    discovery: Option<BoxFuture<'static, Kinds>>,
    watches: SelectAll<Watch>,
    watched: BTreeMap<GroupKind, (ApiResource, AbortHandle)>,
    ready: VecDeque<Fed>,
}

/// Definitions by name, with the kind that each defines unless it was refused.
type Custom = BTreeMap<String, (GroupKind, Option<Kind>)>;

enum Event {
    Definition(Box<watcher::Event<Definition>>),
    Discovered(Kinds),
    Fed(Fed),
}

impl Feed {
    fn new(client: Client, eligibility: Eligibility) -> Self {
        let definitions = watch_definitions(&client);
        Self {
            client,
            eligibility,
            definitions,
            custom: None,
            listing: Custom::new(),
            discovered: None,
            discovery: None,
            watches: SelectAll::new(),
            watched: BTreeMap::new(),
            ready: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Fed {
        loop {
            if let Some(fed) = self.ready.pop_front() {
                return fed;
            }
            match self.event().await {
                Event::Fed(fed) => return fed,
                Event::Definition(event) => self.define(*event),
                Event::Discovered(kinds) => {
                    self.discovery = None;
                    self.discovered = Some(kinds);
                    self.publish();
                }
            }
        }
    }

    /// Waits for something to happen. Safe to cancel.
    async fn event(&mut self) -> Event {
        let Self { definitions, discovery, watches, .. } = self;
        let defined = async {
            match definitions.next().await {
                Some(event) => Event::Definition(Box::new(event)),
                None => futures::future::pending().await,
            }
        };
        let discovered = async {
            match discovery {
                Some(discovery) => Event::Discovered(discovery.await),
                None => futures::future::pending().await,
            }
        };
        let fed = async {
            match watches.next().await {
                Some(fed) => Event::Fed(fed),
                None => futures::future::pending().await,
            }
        };
        tokio::select! {
            event = defined => event,
            event = discovered => event,
            event = fed => event,
        }
    }

    fn define(&mut self, event: watcher::Event<Definition>) {
        match event {
            watcher::Event::Init => self.listing.clear(),
            watcher::Event::InitApply(definition) => {
                let (name, kind) = self.read(&definition);
                self.listing.insert(name, kind);
            }
            watcher::Event::InitDone => {
                let listed = std::mem::take(&mut self.listing);
                let before = self.custom.replace(listed).unwrap_or_default();
                self.forget(before.into_values().map(|(kind, _)| kind));
                // Only now: a kind that goes after this moment has a definition whose end will be seen.
                if self.discovered.is_none() && self.discovery.is_none() {
                    let groups = self.eligibility.kinds.excluded_groups();
                    self.discovery = Some(Box::pin(discover(self.client.clone(), groups)));
                }
                self.publish();
            }
            watcher::Event::Apply(definition) => {
                let (name, kind) = self.read(&definition);
                let Some(custom) = &mut self.custom else { return };
                if custom.insert(name, kind.clone()) != Some(kind) {
                    self.publish();
                }
            }
            watcher::Event::Delete(definition) => {
                let (name, (kind, _)) = self.read(&definition);
                let Some(custom) = &mut self.custom else { return };
                custom.remove(&name);
                self.forget([kind]);
                self.publish();
            }
        }
    }

    /// Forgets kinds that only discovery still knows, because their definitions are gone.
    fn forget(&mut self, kinds: impl IntoIterator<Item = GroupKind>) {
        let Some(discovered) = &mut self.discovered else { return };
        kinds.into_iter().for_each(|kind| drop(discovered.remove(&kind)));
    }

    fn read(&self, definition: &Definition) -> (String, (GroupKind, Option<Kind>)) {
        let name = definition.metadata.name.clone().unwrap_or_default();
        let kind = GroupKind {
            group: definition.spec.group.clone(),
            kind: definition.spec.names.kind.clone(),
        };
        (name, (kind, self.defined(definition)))
    }

    /// Returns the kind of a definition unless the hub has refused it. One that is only about to be served counts: until
    /// its objects are known, nobody can tell that there are none.
    fn defined(&self, definition: &Definition) -> Option<Kind> {
        let conditions = definition.status.as_ref().map_or(&[][..], |status| &status.conditions);
        let has = |type_: &str, status: &str| {
            conditions
                .iter()
                .any(|condition| condition.type_ == type_ && condition.status == status)
        };
        let is_established = has("Established", "True");
        if !is_established && has("NamesAccepted", "False") {
            return None;
        }
        let spec = &definition.spec;
        let served: Vec<&str> = spec
            .versions
            .iter()
            .filter(|version| version.served)
            .map(|version| version.name.as_str())
            .collect();
        let preferred =
            served.iter().max_by_key(|version| Version::parse(version).priority())?.to_string();
        let gvk = Gvk::new(&spec.group, &preferred, &spec.names.kind);
        Some(Kind {
            resource: ApiResource {
                api_version: format!("{}/{preferred}", spec.group),
                group: spec.group.clone(),
                version: preferred,
                kind: spec.names.kind.clone(),
                plural: spec.names.plural.clone(),
            },
            scope: match spec.scope.as_str() {
                "Namespaced" => KindScope::Namespaced,
                _ => KindScope::Cluster,
            },
            versions: served.into_iter().map(str::to_owned).collect(),
            watched: self.is_wanted(&gvk),
            served: is_established,
        })
    }

    /// Namespaces and Services are needed to decide about other objects.
    fn is_wanted(&self, gvk: &Gvk) -> bool {
        self.eligibility.kinds.permit(gvk) || gvk.is("", "Namespace") || gvk.is("", "Service")
    }

    /// Tells the kinds and starts and ends watches, once both sources of kinds are known.
    fn publish(&mut self) {
        let (Some(custom), Some(discovered)) = (&self.custom, &self.discovered) else { return };
        let mut kinds: Kinds = discovered.clone();
        for (name, kind) in &mut kinds {
            kind.watched = kind.watched
                && self.is_wanted(&Gvk::new(&name.group, &kind.resource.version, &name.kind));
        }
        for (name, kind) in custom.values() {
            match kind {
                Some(kind) => drop(kinds.insert(name.clone(), kind.clone())),
                None => drop(kinds.remove(name)),
            }
        }
        self.watch(&kinds);
        self.ready.push_back(Fed::Kinds(kinds));
    }

    fn watch(&mut self, kinds: &Kinds) {
        self.watched.retain(|name, (resource, watch)| {
            let stays = kinds
                .get(name)
                .is_some_and(|kind| kind.is_readable() && kind.resource == *resource);
            if !stays {
                watch.abort();
            }
            stays
        });
        for (name, kind) in kinds.iter().filter(|(_, kind)| kind.is_readable()) {
            if self.watched.contains_key(name) {
                continue;
            }
            let (watch, handle) =
                futures::stream::abortable(watch_kind(&self.client, name.clone(), &kind.resource));
            self.watches.push(watch);
            self.watched.insert(name.clone(), (kind.resource.clone(), handle));
        }
    }
}

fn watch_kind(client: &Client, kind: GroupKind, resource: &ApiResource) -> BoxStream<'static, Fed> {
    let api: Api<DynamicObject> = Api::all_with(client.clone(), resource);
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let mut listing = BTreeSet::new();
    let fed = events.filter_map(move |event| {
        let kind = kind.clone();
        let fed = match event {
            Ok(watcher::Event::Init) => {
                listing.clear();
                None
            }
            Ok(watcher::Event::InitApply(object)) => {
                listing.insert(Key::of(&object.metadata));
                Some(Fed::Applied(kind, Box::new(object)))
            }
            Ok(watcher::Event::InitDone) => Some(Fed::Listed(kind, std::mem::take(&mut listing))),
            Ok(watcher::Event::Apply(object)) => Some(Fed::Applied(kind, Box::new(object))),
            Ok(watcher::Event::Delete(object)) => Some(Fed::Deleted(kind, Box::new(object))),
            Err(error) => {
                debug!(group = kind.group, kind = kind.kind, %error, "watch failed; it starts over");
                None
            }
        };
        std::future::ready(fed)
    });
    fed.boxed()
}

/// What counts of a CustomResourceDefinition. Their schemas are large, and nobody here reads them.
type Definition = Slim<DefinitionSpec, DefinitionStatus>;

#[derive(Clone, Debug, Deserialize)]
struct DefinitionSpec {
    group: String,
    names: Names,
    scope: String,
    versions: Vec<DefinedVersion>,
}

#[derive(Clone, Debug, Deserialize)]
struct Names {
    kind: String,
    plural: String,
}

#[derive(Clone, Debug, Deserialize)]
struct DefinedVersion {
    name: String,
    served: bool,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct DefinitionStatus {
    #[serde(default)]
    conditions: Vec<Condition>,
}

fn watch_definitions(client: &Client) -> BoxStream<'static, watcher::Event<Definition>> {
    let resource = ApiResource::erase::<CustomResourceDefinition>(&());
    let api: Api<Definition> = Api::all_with(client.clone(), &resource);
    let events = watcher(api, watcher::Config::default().timeout(0)).default_backoff();
    let heard = events.filter_map(|event| {
        std::future::ready(match event {
            Ok(event) => Some(event),
            Err(error) => {
                debug!(%error, "watch of definitions failed; it starts over");
                None
            }
        })
    });
    heard.boxed()
}

/// Asks which kinds the hub serves until it says so completely.
async fn discover(client: Client, excluded: &'static [&'static str]) -> Kinds {
    let mut wait = FIRST_RETRY;
    loop {
        match Discovery::new(client.clone()).exclude(excluded).run().await {
            Ok(discovery) => return discovery.groups().flat_map(kinds_of).collect(),
            Err(error) => {
                warn!(%error, "failed to discover the kinds of the hub; nothing is selected until that works");
                tokio::time::sleep(wait).await;
                wait = (wait * 2).min(LAST_RETRY);
            }
        }
    }
}

/// Returns the kinds of a group, each in the preferred version of the group if it has the kind, else in its latest.
fn kinds_of(group: &ApiGroup) -> Vec<(GroupKind, Kind)> {
    let preferred = group.preferred_version_or_latest();
    let others = group.versions().filter(|version| *version != preferred);
    let mut kinds = Kinds::new();
    for version in std::iter::once(preferred).chain(others) {
        for (resource, capabilities) in group.versioned_resources(version) {
            let name = GroupKind { group: resource.group.clone(), kind: resource.kind.clone() };
            let kind = kinds.entry(name).or_insert_with(|| discovered(resource, &capabilities));
            kind.versions.insert(version.to_owned());
        }
    }
    kinds.into_iter().collect()
}

fn discovered(resource: ApiResource, capabilities: &ApiCapabilities) -> Kind {
    let supports = |verb| capabilities.supports_operation(verb);
    Kind {
        resource,
        scope: match capabilities.scope {
            Scope::Cluster => KindScope::Cluster,
            Scope::Namespaced => KindScope::Namespaced,
        },
        versions: BTreeSet::new(),
        watched: supports(verbs::LIST) && supports(verbs::WATCH),
        served: true,
    }
}
