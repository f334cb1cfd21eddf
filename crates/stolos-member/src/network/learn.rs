//! Takes changes on either side into the agent's world, and says what they concern.

use std::collections::BTreeSet;

use stolos_api::cluster::names::agent::{MULTI_CLUSTER_SERVICE_AGENT, SERVICE_EXPORT_IMPORT_AGENT};
use stolos_api::network::names::label;
use stolos_api::network::{EndpointSliceExport, MultiClusterService};
use stolos_controller::Key;

use super::act::Sought;
use super::objects::{hub, member};
use super::{Agent, Item, imported_by, label_of, origin_of, parse, text};

impl Agent {
    /// Takes in that something is not there, and returns what waited for that.
    pub(super) fn learn_of_absence(&mut self, sought: Sought) -> Vec<Item> {
        let items = match &sought {
            Sought::Export(key) => {
                let starved = self.forget_entry(key);
                self.of_export(key.clone()).into_iter().chain(starved).collect()
            }
            Sought::Import(key) => self.of_import(key.clone()),
            Sought::Service(key) => {
                // Which MultiClusterServices were given it cannot be asked of a Service that is not there.
                let given = self.services.iter().filter(|service| {
                    label_of(&service.metadata, label::DERIVED_SERVICE) == Some(key.name.as_str())
                });
                let given = given.map(|service| Item::Service(Key::of(&service.metadata)));
                given.chain([Item::Export(key.clone())]).collect()
            }
            Sought::Slice(key) => {
                let exported = self.exported_slices.indexed(&text(key));
                let exported = exported.filter_map(|slice| slice.metadata.name.clone());
                let imported = Item::ImportedSlice(key.name.clone());
                exported.map(Item::ExportedSlice).chain([imported]).collect()
            }
            Sought::Imported(key) => vec![Item::ImportedSlice(key.name.clone())],
        };
        self.absent.insert(sought);
        items
    }

    /// Takes in that something is there as it was told just before, and returns what waited for that.
    pub(super) fn learn_of_presence(&mut self, sought: Sought) -> Vec<Item> {
        let (metadata, item) = match &sought {
            Sought::Slice(key) => {
                (self.slices.get(key).map(|slice| &slice.metadata), Item::Slice(key.clone()))
            }
            Sought::Imported(key) => (
                self.imported_slices.get(key).map(|slice| &slice.metadata),
                Item::ImportedSlice(key.name.clone()),
            ),
            Sought::Export(_) | Sought::Import(_) | Sought::Service(_) => return Vec::new(),
        };
        let Some(metadata) = metadata else { return Vec::new() };
        self.confirmed.insert(sought, metadata.resource_version.clone());
        vec![item]
    }

    /// Returns what may be another once other addresses are guarded: the endpoints of other members.
    fn guarded(&self) -> Vec<Item> {
        let imported = self.imported_slices.iter().filter_map(|slice| slice.metadata.name.clone());
        imported.map(Item::ImportedSlice).collect()
    }

    /// Returns the slices of a Service.
    fn slices_of(&self, service: &str) -> impl Iterator<Item = Item> + use<'_> {
        self.slices.indexed(service).map(|slice| Item::Slice(Key::of(&slice.metadata)))
    }

    /// Returns the endpoints of other members that wait for what a MultiClusterService decides.
    fn endpoints_of(&self, service: &MultiClusterService) -> Vec<Item> {
        let imported = imported_by(service).unwrap_or_default();
        let names = self.imported_slices.indexed(&imported);
        names.filter_map(|slice| slice.metadata.name.clone()).map(Item::ImportedSlice).collect()
    }

    pub(super) fn learn_of_hub(&mut self, object: hub::Object) -> Vec<Item> {
        let known = match object {
            hub::Object::InternalMemberCluster(internal) => {
                let news = self.internal.insert(*internal).is_ok();
                return if news { memberships() } else { Vec::new() };
            }
            hub::Object::InternalServiceExport(export) => {
                let items = parse(&export.spec.service_reference.namespaced_name).map(Item::Export);
                self.internal_exports.insert(*export).map(|_| items.into_iter().collect())
            }
            hub::Object::InternalServiceImport(import) => {
                let service = &import.spec.service_import_reference.namespaced_name;
                let items = parse(service).map(Item::Import);
                self.internal_imports.insert(*import).map(|_| items.into_iter().collect())
            }
            hub::Object::EndpointSliceExport(slice) => {
                let items = of_exported(&slice);
                self.exported_slices.insert(*slice).map(|_| items)
            }
            hub::Object::EndpointSliceImport(slice) => {
                let name = slice.metadata.name.clone().unwrap_or_default();
                self.absent.remove(&Sought::Imported(Key::of(&slice.metadata)));
                self.imported_slices.insert(*slice).map(|_| vec![Item::ImportedSlice(name)])
            }
        };
        known.unwrap_or_default()
    }

    pub(super) fn forget_of_hub(&mut self, object: &hub::Object) -> Vec<Item> {
        match object {
            hub::Object::InternalMemberCluster(internal) => {
                self.internal.remove(&internal.metadata);
                Vec::new()
            }
            hub::Object::InternalServiceExport(export) => {
                self.internal_exports.remove(&export.metadata);
                let key = parse(&export.spec.service_reference.namespaced_name);
                key.map(Item::Export).into_iter().collect()
            }
            hub::Object::InternalServiceImport(import) => {
                self.internal_imports.remove(&import.metadata);
                let key = parse(&import.spec.service_import_reference.namespaced_name);
                key.map(Item::Import).into_iter().collect()
            }
            hub::Object::EndpointSliceExport(slice) => {
                self.exported_slices.remove(&slice.metadata);
                of_exported(slice)
            }
            // Its finalizer is ours; when it is gone, so is what it stood for.
            hub::Object::EndpointSliceImport(slice) => {
                self.imported_slices.remove(&slice.metadata);
                vec![Item::Membership(MULTI_CLUSTER_SERVICE_AGENT)]
            }
        }
    }

    pub(super) fn learn_of_member(&mut self, object: member::Object) -> Vec<Item> {
        match object {
            member::Object::Node(node) => {
                let is_news = self.nodes.learn(&node, &mut self.guard.nodes);
                if is_news { self.guarded() } else { Vec::new() }
            }
            member::Object::Service(service) => {
                let key = Key::of(&service.metadata);
                let origin = origin_of(&service);
                self.absent.remove(&Sought::Service(key.clone()));
                if self.clusters_services.insert(*service).is_err() {
                    return Vec::new();
                }
                self.of_service(&key, origin)
            }
            member::Object::EndpointSlice(slice) => {
                let key = Key::of(&slice.metadata);
                self.absent.remove(&Sought::Slice(key.clone()));
                let imported =
                    self.is_imported(&key).then(|| Item::ImportedSlice(key.name.clone()));
                match self.slices.insert(*slice) {
                    Ok(_) => vec![imported.unwrap_or(Item::Slice(key))],
                    Err(()) => Vec::new(),
                }
            }
            member::Object::ServiceExport(export) => {
                let key = Key::of(&export.metadata);
                self.absent.remove(&Sought::Export(key.clone()));
                if self.exports.insert(*export).is_err() {
                    return Vec::new();
                }
                let rivals = self.learn_entry(&key);
                self.of_export(key).into_iter().chain(rivals).collect()
            }
            member::Object::ServiceImport(import) => {
                let key = Key::of(&import.metadata);
                self.absent.remove(&Sought::Import(key.clone()));
                if self.imports.insert(*import).is_err() {
                    return Vec::new();
                }
                self.of_import(key)
            }
            member::Object::MultiClusterService(service) => {
                let key = Key::of(&service.metadata);
                let mut items = self.endpoints_of(&service);
                if self.services.insert(*service).is_err() {
                    return Vec::new();
                }
                items.extend([Item::Service(key), Item::Membership(MULTI_CLUSTER_SERVICE_AGENT)]);
                items
            }
            member::Object::Event(_) => Vec::new(),
        }
    }

    pub(super) fn forget_of_member(&mut self, object: &member::Object) -> Vec<Item> {
        match object {
            member::Object::Node(node) => {
                let is_news = self.nodes.forget(&node.metadata, &mut self.guard.nodes);
                if is_news { self.guarded() } else { Vec::new() }
            }
            member::Object::Service(service) => {
                self.clusters_services.remove(&service.metadata);
                self.of_service(&Key::of(&service.metadata), origin_of(service))
            }
            member::Object::EndpointSlice(slice) => {
                self.slices.remove(&slice.metadata);
                let key = Key::of(&slice.metadata);
                self.confirmed.remove(&Sought::Slice(key.clone()));
                if self.is_imported(&key) {
                    return vec![Item::ImportedSlice(key.name)];
                }
                let exported = self.exported_slices.indexed(&text(&key));
                let exported = exported.filter_map(|slice| slice.metadata.name.clone());
                exported.map(Item::ExportedSlice).collect()
            }
            member::Object::ServiceExport(export) => {
                self.exports.remove(&export.metadata);
                let key = Key::of(&export.metadata);
                let starved = self.forget_entry(&key);
                self.of_export(key).into_iter().chain(starved).collect()
            }
            member::Object::ServiceImport(import) => {
                self.imports.remove(&import.metadata);
                let mut items = self.of_import(Key::of(&import.metadata));
                items.push(Item::Membership(MULTI_CLUSTER_SERVICE_AGENT));
                items
            }
            member::Object::MultiClusterService(service) => {
                self.services.remove(&service.metadata);
                let mut items = self.endpoints_of(service);
                // Another one may have waited for the service.
                items.extend(self.users_of(&imported_by(service).unwrap_or_default()));
                items.push(Item::Membership(MULTI_CLUSTER_SERVICE_AGENT));
                items
            }
            member::Object::Event(_) => Vec::new(),
        }
    }

    /// Tells whether a slice of the member is one of another member.
    fn is_imported(&self, key: &Key) -> bool {
        key.namespace == self.config.network.system_namespace
            && self.imported_slices.get(&Key::namespaced(&self.namespace, &key.name)).is_some()
    }

    /// Returns what a Service concerns: its export, and the MultiClusterService that it is derived from.
    fn of_service(&self, key: &Key, origin: Option<String>) -> Vec<Item> {
        let mut items = Vec::new();
        if let Some(origin) = origin.as_deref().and_then(parse) {
            items.extend(
                self.services.get(&origin).into_iter().flat_map(|one| self.endpoints_of(one)),
            );
            items.push(Item::Service(origin));
        }
        if self.exports.get(key).is_some() {
            items.push(Item::Export(key.clone()));
        }
        items
    }

    fn of_export(&self, key: Key) -> Vec<Item> {
        let slices = self.slices_of(&text(&key));
        let rest = [Item::Export(key), Item::Membership(SERVICE_EXPORT_IMPORT_AGENT)];
        slices.chain(rest).collect()
    }

    fn of_import(&self, key: Key) -> Vec<Item> {
        self.users_of(&text(&key)).into_iter().chain([Item::Import(key)]).collect()
    }

    /// Returns the MultiClusterServices that import a service.
    fn users_of(&self, imported: &str) -> Vec<Item> {
        let users = self.services.indexed(imported);
        users.map(|service| Item::Service(Key::of(&service.metadata))).collect()
    }

    pub(super) fn relist(&mut self, kind: &str, keys: &BTreeSet<Key>) {
        match kind {
            "EndpointSlice" => drop(self.slices.retain(keys)),
            "EndpointSliceExport" => drop(self.exported_slices.retain(keys)),
            "EndpointSliceImport" => drop(self.imported_slices.retain(keys)),
            "InternalMemberCluster" => drop(self.internal.retain(keys)),
            "InternalServiceExport" => drop(self.internal_exports.retain(keys)),
            "InternalServiceImport" => drop(self.internal_imports.retain(keys)),
            "MultiClusterService" => drop(self.services.retain(keys)),
            "Node" => self.nodes.retain(keys, &mut self.guard.nodes),
            "Service" => drop(self.clusters_services.retain(keys)),
            "ServiceExport" => drop(self.exports.retain(keys)),
            _ => drop(self.imports.retain(keys)),
        }
    }

    pub(super) fn everything(&self) -> Vec<Item> {
        let exports = self.exports.iter().map(|export| Key::of(&export.metadata));
        let exported = self.internal_exports.iter();
        let exported =
            exported.filter_map(|one| parse(&one.spec.service_reference.namespaced_name));
        let imports = self.imports.iter().map(|import| Key::of(&import.metadata));
        let asked = self.internal_imports.iter();
        let asked =
            asked.filter_map(|one| parse(&one.spec.service_import_reference.namespaced_name));
        let slices = self.slices.iter().map(|slice| Key::of(&slice.metadata));
        let services = self.services.iter().map(|service| Key::of(&service.metadata));
        let mut items: Vec<Item> = exports.chain(exported).map(Item::Export).collect();
        items.extend(imports.chain(asked).map(Item::Import));
        items.extend(slices.map(Item::Slice));
        items.extend(services.map(Item::Service));
        let exported = self.exported_slices.iter().filter_map(|slice| slice.metadata.name.clone());
        items.extend(exported.map(Item::ExportedSlice));
        let imported = self.imported_slices.iter().filter_map(|slice| slice.metadata.name.clone());
        items.extend(imported.map(Item::ImportedSlice));
        items.extend(memberships());
        items
    }
}

fn memberships() -> Vec<Item> {
    [SERVICE_EXPORT_IMPORT_AGENT, MULTI_CLUSTER_SERVICE_AGENT].map(Item::Membership).into()
}

/// Returns what an exported slice concerns: itself, and the slice that it stands for.
fn of_exported(slice: &EndpointSliceExport) -> Vec<Item> {
    let name = slice.metadata.name.clone().unwrap_or_default();
    let key = parse(&slice.spec.endpoint_slice_reference.namespaced_name);
    [Item::ExportedSlice(name)].into_iter().chain(key.map(Item::Slice)).collect()
}
