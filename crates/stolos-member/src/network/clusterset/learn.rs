//! Takes changes on either side into the agent's world, and says what they concern.

use std::collections::BTreeSet;

use k8s_openapi::api::discovery::v1::EndpointSlice;
use stolos_api::network::clusterset::{ExportedService, ImportedService, service_of as stands_for};
use stolos_api::network::names::clusterset as names;
use stolos_controller::{Key, Tracked};
use stolos_core::network::names::derived;

use super::act::Sought;
use super::objects::{hub, member};
use super::{Agent, Item, service_of};
use crate::network::{label_of, parse, text};

/// Returns the service that an object of the hub stands for.
fn service<K: Tracked>(object: &K) -> Option<Key> {
    let (namespace, name) = stands_for(object.meta().name.as_deref()?)?;
    Some(Key::namespaced(namespace, name))
}

/// Names the namespace of a service in the index.
pub(super) fn namespace(imported: &ImportedService) -> Option<String> {
    Some(service(imported)?.namespace)
}

/// Returns `<namespace>/<name>` of the Service that has the address of a service.
pub(super) fn derived_service(imported: &ImportedService) -> Option<String> {
    let Key { namespace, name } = service(imported)?;
    Some(format!("{namespace}/{}", derived(&namespace, &name)))
}

fn export_of(exported: &ExportedService) -> Vec<Item> {
    service(exported).map(Item::Export).into_iter().collect()
}

fn import_of(imported: &ImportedService) -> Vec<Item> {
    service(imported).map(Item::Import).into_iter().collect()
}

impl Agent {
    /// Takes in that something is not there, and returns what waited for that.
    pub(super) fn learn_of_absence(&mut self, sought: Sought) -> Vec<Item> {
        let items = self.waits_for(&sought);
        self.confirmed.remove(&sought);
        self.absent.insert(sought);
        items
    }

    /// Takes in that something is there as it was told just before, and returns what waited for that.
    pub(super) fn learn_of_presence(&mut self, sought: Sought) -> Vec<Item> {
        let metadata = match &sought {
            Sought::Slice(key) => self.slices.get(key).map(|slice| &slice.metadata),
            Sought::Imported(key) => self.imported.get(key).map(|imported| &imported.metadata),
            Sought::Export(_) | Sought::Import(_) | Sought::Service(_) | Sought::Exported(_) => {
                return Vec::new();
            }
        };
        let Some(version) = metadata.map(|metadata| metadata.resource_version.clone()) else {
            return Vec::new();
        };
        let items = self.waits_for(&sought);
        self.confirmed.insert(sought, version);
        items
    }

    /// Returns what cannot be decided before this is known to be there or not.
    fn waits_for(&self, sought: &Sought) -> Vec<Item> {
        match sought {
            Sought::Export(key) => vec![Item::Export(key.clone())],
            Sought::Import(key) => vec![Item::Import(key.clone())],
            Sought::Service(key) => self.of_service(key),
            Sought::Slice(key) => self.of_missing_slice(key),
            Sought::Exported(key) | Sought::Imported(key) => {
                let service = stands_for(&key.name);
                let key = service.map(|(namespace, name)| Key::namespaced(namespace, name));
                key.into_iter()
                    .flat_map(|key| [Item::Export(key.clone()), Item::Import(key)])
                    .collect()
            }
        }
    }

    pub(super) fn learn_of_hub(&mut self, object: hub::Object) -> Vec<Item> {
        match object {
            hub::Object::InternalMemberCluster(internal) => {
                let state = internal.spec.state;
                match self.internal.insert(*internal) {
                    Ok(before) if before.as_ref().map(|one| one.spec.state) != Some(state) => {
                        self.everything()
                    }
                    Ok(_) | Err(()) => Vec::new(),
                }
            }
            hub::Object::ExportedService(exported) => {
                let items = export_of(&exported);
                self.absent.remove(&Sought::Exported(Key::of(&exported.metadata)));
                self.forget_absent_slices(&exported);
                self.exported.insert(*exported).map_or_else(|()| Vec::new(), |_| items)
            }
            hub::Object::ImportedService(imported) => {
                let items = import_of(&imported);
                self.absent.remove(&Sought::Imported(Key::of(&imported.metadata)));
                self.imported.insert(*imported).map_or_else(|()| Vec::new(), |_| items)
            }
        }
    }

    pub(super) fn forget_of_hub(&mut self, object: &hub::Object) -> Vec<Item> {
        match object {
            // Whoever left stays away until the hub says that it has joined again.
            hub::Object::InternalMemberCluster(_) => Vec::new(),
            hub::Object::ExportedService(exported) => {
                self.exported.remove(&exported.metadata);
                // Nothing depends any more on what there was besides.
                self.forget_absent_slices(exported);
                if let Some(key) = service(exported.as_ref()) {
                    self.absent.remove(&Sought::Export(key.clone()));
                    self.absent.remove(&Sought::Service(key));
                }
                export_of(exported)
            }
            hub::Object::ImportedService(imported) => {
                self.imported.remove(&imported.metadata);
                self.confirmed.remove(&Sought::Imported(Key::of(&imported.metadata)));
                import_of(imported)
            }
        }
    }

    pub(super) fn learn_of_member(&mut self, object: member::Object) -> Vec<Item> {
        match object {
            member::Object::Namespace(namespace) => {
                let name = namespace.metadata.name.clone().unwrap_or_default();
                let leaves = namespace.metadata.deletion_timestamp.is_some();
                match self.namespaces.insert(*namespace) {
                    Ok(before) if leaves || before.is_none() => self.of_namespace(&name),
                    Ok(_) | Err(()) => Vec::new(),
                }
            }
            member::Object::Node(node) => {
                let is_news = self.nodes.learn(&node, &mut self.guard.nodes);
                if is_news { self.guarded() } else { Vec::new() }
            }
            member::Object::Service(service) => {
                let key = Key::of(&service.metadata);
                self.absent.remove(&Sought::Service(key.clone()));
                if self.services.insert(*service).is_err() {
                    return Vec::new();
                }
                self.of_service(&key)
            }
            member::Object::EndpointSlice(slice) => {
                self.absent.remove(&Sought::Slice(Key::of(&slice.metadata)));
                let items = self.of_slice(&slice);
                match self.slices.insert(*slice) {
                    // It may have belonged to another Service.
                    Ok(before) => {
                        let before = before.map(|before| self.of_slice(&before));
                        items.into_iter().chain(before.into_iter().flatten()).collect()
                    }
                    Err(()) => Vec::new(),
                }
            }
            member::Object::ServiceExport(export) => {
                let key = Key::of(&export.metadata);
                self.absent.remove(&Sought::Export(key.clone()));
                self.exports
                    .insert(*export)
                    .map_or_else(|()| Vec::new(), |_| vec![Item::Export(key)])
            }
            member::Object::ServiceImport(import) => {
                let key = Key::of(&import.metadata);
                self.absent.remove(&Sought::Import(key.clone()));
                self.imports
                    .insert(*import)
                    .map_or_else(|()| Vec::new(), |_| vec![Item::Import(key)])
            }
            member::Object::Event(_) => Vec::new(),
        }
    }

    pub(super) fn forget_of_member(&mut self, object: &member::Object) -> Vec<Item> {
        match object {
            member::Object::Namespace(namespace) => {
                self.namespaces.remove(&namespace.metadata);
                self.of_namespace(namespace.metadata.name.as_deref().unwrap_or_default())
            }
            member::Object::Node(node) => {
                let is_news = self.nodes.forget(&node.metadata, &mut self.guard.nodes);
                if is_news { self.guarded() } else { Vec::new() }
            }
            member::Object::Service(service) => {
                self.services.remove(&service.metadata);
                self.of_service(&Key::of(&service.metadata))
            }
            member::Object::EndpointSlice(slice) => {
                self.slices.remove(&slice.metadata);
                self.confirmed.remove(&Sought::Slice(Key::of(&slice.metadata)));
                self.of_slice(slice)
            }
            member::Object::ServiceExport(export) => {
                self.exports.remove(&export.metadata);
                vec![Item::Export(Key::of(&export.metadata))]
            }
            member::Object::ServiceImport(import) => {
                self.imports.remove(&import.metadata);
                let key = Key::of(&import.metadata);
                self.absent.remove(&Sought::Imported(self.on_hub(&key)));
                vec![Item::Import(key)]
            }
            member::Object::Event(_) => Vec::new(),
        }
    }

    /// Forgets which slices of a namespace are not there: what is exported of it has changed.
    fn forget_absent_slices(&mut self, exported: &ExportedService) {
        let Some(changed) = service(exported) else { return };
        let is_derived = |key: &Key| key.name.starts_with(DERIVED);
        self.absent.retain(|sought| match sought {
            Sought::Slice(key) => key.namespace != changed.namespace || is_derived(key),
            _ => true,
        });
    }

    /// Returns the services of the clusterset that an index names.
    fn imported_by(&self, index: &str) -> Vec<Item> {
        let imported = self.imported.indexed(index);
        imported.filter_map(|one| service(one.as_ref())).map(Item::Import).collect()
    }

    fn of_namespace(&self, name: &str) -> Vec<Item> {
        self.imported_by(name)
    }

    /// Returns what a Service concerns: its export, and the service of the clusterset that it has the address of.
    fn of_service(&self, key: &Key) -> Vec<Item> {
        let mut items = self.imported_by(&text(key));
        items.extend(self.exports.get(key).map(|_| Item::Export(key.clone())));
        items
    }

    /// Returns what an EndpointSlice concerns: the export of its Service, and the service of the clusterset.
    fn of_slice(&self, slice: &EndpointSlice) -> Vec<Item> {
        let service = service_of(slice).as_deref().and_then(parse);
        let exported = service.filter(|service| self.exports.get(service).is_some());
        let namespace = slice.metadata.namespace.as_deref().unwrap_or_default();
        let imported = label_of(&slice.metadata, names::SERVICE_NAME);
        let imported = imported.map(|name| Item::Import(Key::namespaced(namespace, name)));
        exported.map(Item::Export).into_iter().chain(imported).collect()
    }

    /// Returns what waited for an EndpointSlice that is not there: the exports that had it, and services of the clusterset
    /// that need it.
    fn of_missing_slice(&self, key: &Key) -> Vec<Item> {
        let had = self
            .exported
            .iter()
            .filter(|exported| exported.spec.slices.iter().any(|slice| slice.name == key.name));
        let had = had.filter_map(|exported| service(exported.as_ref()));
        let had = had.filter(|service| service.namespace == key.namespace).map(Item::Export);
        // Its name is that of the derived Service, and the cluster.
        let parts: Vec<_> = key.name.splitn(3, '-').take(2).collect();
        let derived = Key::namespaced(&key.namespace, &parts.join("-"));
        had.chain(self.imported_by(&text(&derived))).collect()
    }

    pub(super) fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) {
        match kind {
            "EndpointSlice" => drop(self.slices.retain(keys)),
            "ExportedService" => drop(self.exported.retain(keys)),
            "ImportedService" => drop(self.imported.retain(keys)),
            "InternalMemberCluster" => {}
            "Namespace" => drop(self.namespaces.retain(keys)),
            "Node" => self.nodes.retain(keys, &mut self.guard.nodes),
            "Service" => drop(self.services.retain(keys)),
            "ServiceExport" => drop(self.exports.retain(keys)),
            _ => drop(self.imports.retain(keys)),
        }
    }

    /// Returns what may be another once other addresses are guarded: what other members export.
    fn guarded(&self) -> Vec<Item> {
        let imported = self.imported.iter().filter_map(|imported| service(imported.as_ref()));
        imported.map(Item::Import).collect()
    }

    pub(super) fn everything(&self) -> Vec<Item> {
        let exports = self.exports.iter().map(|export| Key::of(&export.metadata));
        let exported = self.exported.iter().filter_map(|exported| service(exported.as_ref()));
        let imports = self.imports.iter().map(|import| Key::of(&import.metadata));
        let imported = self.imported.iter().filter_map(|imported| service(imported.as_ref()));
        let exports = exports.chain(exported).map(Item::Export);
        exports.chain(imports.chain(imported).map(Item::Import)).collect()
    }
}

/// How the names of derived Services and of their EndpointSlices begin.
const DERIVED: &str = "derived-";
