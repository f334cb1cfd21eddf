//! What fuzzing checks: a law that must hold for whatever strangers send.
//!
//! The program in `fuzz/` feeds it with what libFuzzer invents; a test below with changed queries, so that every build runs
//! the same code. It panics when the law is broken.

use std::sync::{Arc, LazyLock};

use hickory_proto::op::{Message, MessageType};
use jiff::{SignedDuration, Timestamp};
use stolos_core::network::traffic::ProfileId;
use stolos_core::network::traffic::profile::ProviderProfile;

use crate::Directory;
use crate::respond::{MAX_UDP, Transport, respond};

/// Names with two addresses, with another name, and with nothing.
static DIRECTORY: LazyLock<Directory> = LazyLock::new(|| {
    let zone = "fleet.local".parse().expect("the name of a zone");
    let clock = Arc::new(|| Timestamp::UNIX_EPOCH);
    let directory = Directory::new(zone, Some([192, 0, 2, 53].into()), clock);
    directory.begin(SignedDuration::ZERO);
    let names = [
        ("app-shop", &["203.0.113.1", "203.0.113.2"][..]),
        ("app-host", &["lb.example.com"]),
        ("app-idle", &[]),
    ];
    for (name, endpoints) in names {
        put(&directory, name, endpoints);
    }
    directory
});

fn put(directory: &Directory, name: &str, endpoints: &[&str]) {
    let id = ProfileId { resource_group: "rg".to_owned(), name: format!("fleet-{name}") };
    let profile = ProviderProfile {
        relative_name: name.to_owned(),
        ttl_seconds: 60,
        location: "global".to_owned(),
        is_enabled: true,
        routing_method: "Weighted".to_owned(),
        monitor: stolos_api::network::MonitorConfig::default(),
        tags: std::collections::BTreeMap::new(),
    };
    directory.put_profile(&id, &profile).expect("the profile is well-formed");
    for endpoint in endpoints {
        let address = format!(
            "/subscriptions/stolos/resourceGroups/east/providers/Microsoft.Network/publicIPAddresses/{endpoint}"
        );
        directory.put_endpoint(&id, endpoint, &address, 1).expect("the endpoint is well-formed");
    }
}

/// Any bytes are a query with an answer that is a message, fits and is itself not answered; or get no answer.
///
/// # Panics
/// When that is not so.
pub fn dns(bytes: &[u8]) {
    for (transport, room) in [(Transport::Udp, usize::from(MAX_UDP)), (Transport::Tcp, 65_535)] {
        let Some(answer) = respond(bytes, &DIRECTORY, transport, 7) else { continue };
        assert!(answer.len() <= room, "{} bytes are more than {room}", answer.len());
        let message = Message::from_vec(&answer).expect("an answer is a message");
        assert_eq!(message.metadata.message_type, MessageType::Response);
        assert_eq!(answer[..2], bytes[..2], "the answer is to this query");
        assert!(respond(&answer, &DIRECTORY, transport, 7).is_none(), "an answer is answered");
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{OpCode, Query};
    use hickory_proto::rr::{Name, RecordType};
    use proptest::prelude::*;

    use super::*;

    fn query(name: &str, record_type: RecordType) -> Vec<u8> {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
        message.to_vec().unwrap()
    }

    proptest! {
        #[test]
        fn the_law_holds_for_changed_queries(
            name in prop::sample::select(vec![
                "app-shop.fleet.local.", "app-host.fleet.local.", "fleet.local.", "x.y.fleet.local.", ".",
            ]),
            record_type in prop::sample::select(vec![
                RecordType::A, RecordType::AAAA, RecordType::SOA, RecordType::ANY, RecordType::AXFR,
            ]),
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
            more in prop::collection::vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = query(name, record_type);
            for (place, byte) in changes {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
            bytes.extend(more);
            dns(&bytes);
        }

        #[test]
        fn the_law_holds_for_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            dns(&bytes);
        }
    }
}
