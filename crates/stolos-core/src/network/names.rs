//! Names of the objects that stand for a service or a slice elsewhere (networking 4).

use std::collections::BTreeMap;

use k8s_openapi::api::discovery::v1::EndpointPort;
use stolos_api::network::Protocol;
use stolos_api::validation::is_qualified_name;

use crate::placement::hash::sha256;

/// Longest DNS label.
const MAX_LABEL: usize = 63;

/// Longest DNS subdomain, which is what most names are.
const MAX_SUBDOMAIN: usize = 253;

/// Characters of the hash at the end of a name that would otherwise not be unique.
const HASH_LENGTH: usize = 8;

/// Characters of the hash at the end of the name of an exported slice.
const SLICE_HASH_LENGTH: usize = 5;

/// Returns the name of a transport object of a service: `<namespace>-<name>` unless another service has taken it.
///
/// `existing` are the objects of this kind in the member's namespace with the `<namespace>/<name>` that they stand for;
/// the one that stands for this service keeps its name.
#[must_use]
pub fn transport(namespace: &str, name: &str, existing: &BTreeMap<String, String>) -> String {
    choose(namespace, name, MAX_SUBDOMAIN, existing)
}

/// Returns the name of the derived Service of a MultiClusterService, which must be a DNS label that begins with a
/// letter: `<namespace>-<name>` where that is one and is free.
#[must_use]
pub fn derived_service(namespace: &str, name: &str, existing: &BTreeMap<String, String>) -> String {
    choose(namespace, name, MAX_LABEL, existing)
}

/// Characters of the hash in names of derived Services of the clusterset and of their EndpointSlices.
const DERIVED_HASH_LENGTH: usize = 10;

/// Returns the name of the Service that has the address of a service of the clusterset. It is in the namespace of the
/// service, whose own name it must leave to a Service of the cluster.
#[must_use]
pub fn derived(namespace: &str, name: &str) -> String {
    format!("derived-{}", &sha256(format!("{namespace}/{name}"))[..DERIVED_HASH_LENGTH])
}

/// Returns how the names of EndpointSlices begin that hold the endpoints of a cluster: the type of their addresses and a number
/// follow.
#[must_use]
pub fn imported_slices(derived: &str, cluster: &str) -> String {
    let hash = &sha256(cluster)[..DERIVED_HASH_LENGTH];
    format!("{derived}-{}-{hash}", cut(cluster, MAX_LABEL))
}

fn choose(namespace: &str, name: &str, max: usize, existing: &BTreeMap<String, String>) -> String {
    let owner = format!("{namespace}/{name}");
    if let Some((kept, _)) = existing.iter().find(|(_, stands_for)| **stands_for == owner) {
        return kept.clone();
    }
    let plain = format!("{namespace}-{name}");
    let begins_with_letter = plain.starts_with(|c: char| c.is_ascii_lowercase());
    let is_free = !existing.contains_key(&plain);
    if is_free && plain.len() <= max && (max == MAX_SUBDOMAIN || begins_with_letter) {
        return plain;
    }
    let plain = if begins_with_letter { plain } else { format!("ns{plain}") };
    let hash = &sha256(&owner)[..HASH_LENGTH];
    format!("{}-{hash}", cut(&plain, max - HASH_LENGTH - 1))
}

/// Returns the name of the EndpointSliceExport of a slice, which is also that of its copies on other members:
/// `<cluster>-<namespace>-<name>-<hash>`, each part cut so that all fit.
///
/// The hash follows from the slice alone, so that an exporter that lost its answer does not export a slice twice.
/// `attempt` counts names that turned out to be taken.
#[must_use]
pub fn exported_slice(
    cluster: &str,
    namespace: &str,
    name: &str,
    uid: &str,
    attempt: u32,
) -> String {
    const N_PARTS: usize = 3;
    let max = (MAX_SUBDOMAIN - N_PARTS - SLICE_HASH_LENGTH) / N_PARTS;
    let hash = sha256(format!("{cluster}/{namespace}/{name}/{uid}/{attempt}"));
    let [cluster, namespace, name] = [cluster, namespace, name].map(|part| cut(part, max));
    format!("{cluster}-{namespace}-{name}-{}", &hash[..SLICE_HASH_LENGTH])
}

/// Cuts a name so that something can be appended to it.
fn cut(name: &str, max: usize) -> &str {
    let end =
        name.char_indices().map(|(i, c)| i + c.len_utf8()).take_while(|end| *end <= max).last();
    name[..end.unwrap_or(0)].trim_end_matches(['-', '.'])
}

/// Tells whether a name is a DNS subdomain (RFC 1123), as the name of nearly every object must be.
#[must_use]
pub fn is_subdomain(name: &str) -> bool {
    !name.is_empty() && name.len() <= MAX_SUBDOMAIN && name.split('.').all(is_dns_word)
}

/// Tells whether a name is a DNS label that begins with a letter (RFC 1035), as the name of a Service must be.
#[must_use]
pub fn is_service_name(name: &str) -> bool {
    name.len() <= MAX_LABEL
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && is_dns_word(name)
}

/// Tells whether a name is a DNS label (RFC 1123), as names of ports and hosts must be.
#[must_use]
pub fn is_label(name: &str) -> bool {
    name.len() <= MAX_LABEL && is_dns_word(name)
}

fn is_dns_word(word: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    !word.is_empty() && word.chars().all(is_inner) && !word.starts_with('-') && !word.ends_with('-')
}

/// Tells whether an EndpointSlice can have a port.
pub(super) fn is_slice_port(port: &EndpointPort) -> bool {
    let name = port.name.as_deref().unwrap_or_default();
    let protocol = port.protocol.as_deref().unwrap_or_default();
    (name.is_empty() || is_label(name))
        && Protocol::parse(protocol).is_some()
        && port.port.is_none_or(|number| (1..=65_535).contains(&number))
        && port.app_protocol.as_deref().is_none_or(is_qualified_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(names: &[(&str, &str)]) -> BTreeMap<String, String> {
        names.iter().map(|(name, owner)| ((*name).into(), (*owner).into())).collect()
    }

    #[test]
    fn a_name_is_plain_unless_it_is_taken_or_too_long() {
        let free = BTreeMap::new();
        assert_eq!(transport("a", "b", &free), "a-b");
        assert_eq!(derived_service("a", "b", &free), "a-b");
        let other = taken(&[("a-b-c", "a-b/c")]);
        assert_eq!(transport("a-b", "c", &other), "a-b-c", "it is its own");
        let hashed = transport("a", "b-c", &other);
        assert_eq!(hashed, "a-b-c-b88f83c8");
        let both = taken(&[("a-b-c", "a-b/c"), (&hashed, "a/b-c")]);
        assert_eq!(transport("a", "b-c", &both), hashed);
        let released = taken(&[(&hashed, "a/b-c")]);
        assert_eq!(transport("a", "b-c", &released), hashed, "a name that is in use stays");
    }

    #[test]
    fn the_name_of_a_derived_service_is_always_one_that_a_service_can_have() {
        let free = BTreeMap::new();
        let long = "x".repeat(63);
        for (namespace, name) in [("a", &*long), (&*long, &*long), ("1a", "b"), ("a", "b")] {
            let derived = derived_service(namespace, name, &free);
            assert!(is_service_name(&derived), "{derived}");
        }
        assert_eq!(derived_service("1a", "b", &free).len(), "ns1a-b-12345678".len());
        assert_ne!(derived_service("a", &long, &free), derived_service("a-", &long, &free));
    }

    #[test]
    fn the_name_of_an_exported_slice_fits_and_differs_by_slice_and_attempt() {
        let of = |uid, attempt| exported_slice("east", "app", "web-x7k2p", uid, attempt);
        assert!(of("1", 0).starts_with("east-app-web-x7k2p-"));
        assert_eq!(of("1", 0), of("1", 0));
        assert_ne!(of("1", 0), of("2", 0));
        assert_ne!(of("1", 0), of("1", 1));
        let dotted = format!("{}.{}", "a".repeat(80), "b".repeat(170));
        let long = exported_slice(&"c".repeat(200), &"n".repeat(63), &dotted, "1", 0);
        assert!(is_subdomain(&long), "{long}");
        assert_eq!(long.len(), 81 + 1 + 63 + 1 + 80 + 1 + 5);
    }

    #[test]
    fn names_of_the_clusterset_are_names_and_differ() {
        assert!(is_service_name(&derived("1a", &"x".repeat(63))));
        assert_ne!(derived("a", "b-c"), derived("a-b", "c"));
        let slices = imported_slices(&derived("a", "b"), &"c.d".repeat(80));
        assert!(is_subdomain(&format!("{slices}-12")), "{slices}");
        assert_ne!(imported_slices("derived-1", "a-1"), imported_slices("derived-1", "a"));
    }

    #[test]
    fn names_are_told_apart() {
        for (name, subdomain, service) in [
            ("a", true, true),
            ("a-1", true, true),
            ("1a", true, false),
            ("a.b", true, false),
            ("a.-b", false, false),
            ("a..b", false, false),
            ("A", false, false),
            ("", false, false),
            ("a-", false, false),
        ] {
            assert_eq!((is_subdomain(name), is_service_name(name)), (subdomain, service), "{name}");
        }
    }
}
