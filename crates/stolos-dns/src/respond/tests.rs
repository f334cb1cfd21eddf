//! Answers to bytes.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use stolos_api::network::MonitorConfig;
use stolos_core::network::traffic::profile::ProviderProfile;
use stolos_core::network::traffic::{ProfileId, ProviderError};

use super::{MAX_QUERY, Transport, respond};
use crate::Directory;

/// A directory and its clock, in seconds.
struct World {
    directory: Directory,
    now: Arc<AtomicI64>,
}

fn id(name: &str) -> ProfileId {
    ProfileId { resource_group: "rg".to_owned(), name: format!("fleet-{name}") }
}

fn profile(relative_name: &str) -> ProviderProfile {
    ProviderProfile {
        relative_name: relative_name.to_owned(),
        ttl_seconds: 60,
        location: "global".to_owned(),
        is_enabled: true,
        routing_method: "Weighted".to_owned(),
        monitor: MonitorConfig::default(),
        tags: std::collections::BTreeMap::new(),
    }
}

fn address(address: &str) -> String {
    format!(
        "/subscriptions/stolos/resourceGroups/east/providers/Microsoft.Network/publicIPAddresses/{address}"
    )
}

impl World {
    fn new() -> Self {
        Self::of("fleet.local")
    }

    fn of(zone: &str) -> Self {
        let now = Arc::new(AtomicI64::new(1_000));
        let told = now.clone();
        let clock = Arc::new(move || Timestamp::from_second(told.load(Ordering::SeqCst)).unwrap());
        let nameserver = Some("192.0.2.53".parse().unwrap());
        let directory = Directory::new(zone.parse().unwrap(), nameserver, clock);
        Self { directory, now }
    }

    /// A directory that is complete, with the names `app-shop` and `app-host`.
    fn filled() -> Self {
        let world = Self::new();
        world.directory.begin(SignedDuration::ZERO);
        world.name("app-shop", &["203.0.113.1", "203.0.113.2"]);
        world.name("app-host", &["lb.example.com"]);
        world.name("app-idle", &[]);
        world
    }

    fn name(&self, name: &str, addresses: &[&str]) {
        self.directory.put_profile(&id(name), &profile(name)).unwrap();
        for one in addresses {
            self.directory.put_endpoint(&id(name), one, &address(one), 1).unwrap();
        }
    }

    fn respond(&self, query: &Message) -> Message {
        let bytes = respond(&query.to_vec().unwrap(), &self.directory, Transport::Tcp, 0).unwrap();
        Message::from_vec(&bytes).unwrap()
    }

    fn ask(&self, name: &str, record_type: RecordType) -> Message {
        self.respond(&query(name, record_type))
    }

    /// Code, and the records of the answer, of the question that is asked.
    fn told(&self, name: &str, record_type: RecordType) -> (ResponseCode, Vec<String>) {
        let answer = self.ask(name, record_type);
        (answer.metadata.response_code, answer.answers.iter().map(shown).collect())
    }
}

fn query(name: &str, record_type: RecordType) -> Message {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    message
}

fn shown(record: &Record) -> String {
    format!("{} {} {} {}", record.name, record.ttl, record.record_type(), record.data)
}

#[test]
fn a_name_is_answered_with_authority() {
    let world = World::filled();
    let answer = world.ask("App-Shop.Fleet.LOCAL.", RecordType::A);
    assert_eq!((answer.metadata.id, answer.metadata.message_type), (7, MessageType::Response));
    assert!(answer.metadata.authoritative && answer.metadata.recursion_desired);
    assert!(!answer.metadata.recursion_available && !answer.metadata.truncation);
    assert_eq!(answer.queries, query("App-Shop.Fleet.LOCAL.", RecordType::A).queries);
    let shown: Vec<_> = answer.answers.iter().map(shown).collect();
    assert_eq!(shown, ["App-Shop.Fleet.LOCAL. 30 A 203.0.113.1"], "as it was asked for");
    for asked in [RecordType::A, RecordType::AAAA, RecordType::CNAME, RecordType::ANY] {
        let (code, answers) = world.told("app-host.fleet.local.", asked);
        assert_eq!(code, ResponseCode::NoError);
        assert_eq!(answers, ["app-host.fleet.local. 30 CNAME lb.example.com."], "{asked}");
    }
}

#[test]
fn what_is_not_there_is_denied_with_how_long_that_may_be_kept() {
    let world = World::filled();
    for (name, asked, want) in [
        ("app-shop.fleet.local.", RecordType::AAAA, ResponseCode::NoError),
        ("app-shop.fleet.local.", RecordType::TXT, ResponseCode::NoError),
        ("app-idle.fleet.local.", RecordType::A, ResponseCode::NoError),
        ("fleet.local.", RecordType::A, ResponseCode::NoError),
        ("ns.fleet.local.", RecordType::AAAA, ResponseCode::NoError),
        ("app-other.fleet.local.", RecordType::A, ResponseCode::NXDomain),
        ("a.app-shop.fleet.local.", RecordType::A, ResponseCode::NXDomain),
    ] {
        let answer = world.ask(name, asked);
        assert_eq!(answer.metadata.response_code, want, "{name} {asked}");
        assert!(answer.metadata.authoritative && answer.answers.is_empty(), "{name} {asked}");
        let [soa] = answer.authorities.as_slice() else { panic!("no SOA for {name} {asked}") };
        assert_eq!(
            (soa.record_type(), soa.ttl, soa.name.to_string()),
            (RecordType::SOA, 10, "fleet.local.".into())
        );
    }
}

#[test]
fn the_zone_tells_of_itself() {
    let world = World::filled();
    let (_, ns) = world.told("fleet.local.", RecordType::NS);
    assert_eq!(ns, ["fleet.local. 3600 NS ns.fleet.local."]);
    let (_, server) = world.told("ns.fleet.local.", RecordType::A);
    assert_eq!(server, ["ns.fleet.local. 3600 A 192.0.2.53"]);
    let serial = || match &world.ask("fleet.local.", RecordType::SOA).answers[0].data {
        RData::SOA(soa) => soa.serial,
        other => panic!("not SOA: {other}"),
    };
    let before = serial();
    assert!(before >= 1_000, "of this time");
    world.name("app-new", &[]);
    assert!(serial() > before, "it grows with each change");
}

#[test]
fn what_is_not_ours_is_refused() {
    let world = World::filled();
    let refused = (ResponseCode::Refused, Vec::new());
    for name in ["example.com.", "local.", ".", "fleet.local.example.com.", "xfleet.local."] {
        assert_eq!(world.told(name, RecordType::A), refused, "{name}");
    }
    assert_eq!(world.told("fleet.local.", RecordType::AXFR), refused, "nobody gets a copy");
    let mut chaos = query("app-shop.fleet.local.", RecordType::A);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let answer = world.respond(&chaos);
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(!answer.metadata.authoritative);
}

#[test]
fn what_is_no_question_gets_an_error_and_what_is_no_query_nothing() {
    let world = World::filled();
    let ask = |change: &dyn Fn(&mut Message)| {
        let mut message = query("app-shop.fleet.local.", RecordType::A);
        change(&mut message);
        world.respond(&message).metadata.response_code
    };
    assert_eq!(ask(&|message| message.metadata.op_code = OpCode::Status), ResponseCode::NotImp);
    assert_eq!(ask(&|message| message.queries.clear()), ResponseCode::FormErr);
    let again = |message: &mut Message| message.queries.push(message.queries[0].clone());
    assert_eq!(ask(&again), ResponseCode::FormErr);

    let bytes = query("app-shop.fleet.local.", RecordType::A).to_vec().unwrap();
    let plain = |bytes: &[u8]| respond(bytes, &world.directory, Transport::Udp, 0);
    let cut = plain(&bytes[..bytes.len() - 3]).unwrap();
    let cut = Message::from_vec(&cut).unwrap();
    assert_eq!((cut.metadata.id, cut.metadata.response_code), (7, ResponseCode::FormErr));
    let mut response = bytes.clone();
    response[2] |= 0x80;
    assert_eq!(plain(&response), None, "answers are not answered");
    assert_eq!(plain(&bytes[..11]), None);
    assert_eq!(plain(&[0; MAX_QUERY + 1]), None);
    assert_eq!(plain(&[]), None);
}

#[test]
fn an_extended_query_gets_an_extended_answer() {
    let world = World::filled();
    let mut extended = query("app-shop.fleet.local.", RecordType::A);
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    extended.set_edns(edns.clone());
    let answer = world.respond(&extended);
    assert_eq!(answer.edns.as_ref().map(Edns::max_payload), Some(1232));
    assert_eq!(answer.answers.len(), 1);
    edns.set_version(1);
    extended.set_edns(edns);
    let answer = world.respond(&extended);
    // The upper bits of the code are in the extension.
    assert_eq!(u16::from(answer.metadata.response_code), 16);
    assert!(answer.answers.is_empty());
    assert!(world.ask("app-shop.fleet.local.", RecordType::A).edns.is_none());
}

#[test]
fn until_all_names_can_be_there_nobody_hears_that_one_is_not() {
    let world = World::new();
    let not_yet = (ResponseCode::ServFail, Vec::new());
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A), not_yet, "before it begins");
    world.directory.begin(SignedDuration::from_secs(10));
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A), not_yet);
    world.name("app-shop", &[]);
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A), not_yet, "no endpoint yet");
    world.name("app-shop", &["203.0.113.1"]);
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A).1.len(), 1, "known is known");
    world.now.fetch_add(10, Ordering::SeqCst);
    let gone = (ResponseCode::NXDomain, Vec::new());
    assert_eq!(world.told("app-other.fleet.local.", RecordType::A), gone);
}

#[test]
fn an_answer_that_does_not_fit_a_datagram_says_so() {
    let long = |n: usize| vec!["a".repeat(62); n].join(".");
    let world = World::of(&long(3));
    world.directory.begin(SignedDuration::ZERO);
    let name = format!("app-{}", "b".repeat(59));
    world.name(&name, &[&format!("{}.{}", long(3), "c".repeat(62))]);
    let mut asked = query(&format!("{name}.{}.", long(3)), RecordType::A);
    let respond = |asked: &Message, transport| {
        let bytes = respond(&asked.to_vec().unwrap(), &world.directory, transport, 0).unwrap();
        (bytes.len(), Message::from_vec(&bytes).unwrap())
    };
    let (length, answer) = respond(&asked, Transport::Udp);
    assert!(length <= 512 && answer.metadata.truncation && answer.answers.is_empty(), "{length}");
    let (length, answer) = respond(&asked, Transport::Tcp);
    assert!(length > 512 && !answer.metadata.truncation && answer.answers.len() == 1, "{length}");
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    asked.set_edns(edns);
    assert_eq!(respond(&asked, Transport::Udp).1.answers.len(), 1, "whoever has room gets all");
}

#[test]
fn what_cannot_be_answered_is_refused_when_it_is_put() {
    let world = World::filled();
    let directory = &world.directory;
    let refusal = |result: Result<(), ProviderError>| {
        let error = result.unwrap_err();
        (error.status.unwrap(), error.message)
    };
    let put_profile = |name: &str, profile: &ProviderProfile| {
        refusal(directory.put_profile(&id(name), profile).map(drop))
    };
    let (status, message) = put_profile("else", &profile("App-Shop"));
    assert_eq!((status, &*message), (409, "`app-shop` is the name of profile `fleet-app-shop`"));
    let (status, message) = put_profile("long", &profile(&"a".repeat(64)));
    assert!(status == 400 && message.contains("has 64 characters"), "{message}");
    assert_eq!(put_profile("dot", &profile("a.b")).0, 400);
    let mut odd = profile("odd");
    odd.monitor.port = 0;
    let (status, message) = put_profile("odd", &odd);
    assert!(status == 400 && message.contains("monitorConfig.port"), "{message}");

    let put = |profile: &str, name: &str, target: &str, weight| {
        refusal(directory.put_endpoint(&id(profile), name, target, weight).map(drop))
    };
    assert_eq!(put("none", "x", &address("203.0.113.9"), 1).0, 404);
    let (status, message) = put("app-shop", "x", &address("203.0.113.1"), 1);
    assert!(status == 409 && message.contains("is endpoint `203.0.113.1` already"), "{message}");
    let azure =
        "/subscriptions/1/resourceGroups/rg/providers/Microsoft.Network/publicIPAddresses/ip";
    let (status, message) = put("app-shop", "x", azure, 1);
    assert!(status == 400 && message.contains("is an address of Azure"), "{message}");
    for useless in
        ["0.0.0.0", "224.0.0.1", "169.254.169.254", "::", "fe80::1", "::ffff:1.2.3.4", "a b"]
    {
        assert_eq!(put("app-shop", "x", &address(useless), 1).0, 400, "{useless}");
    }
    assert_eq!(put("app-shop", "x", &address("203.0.113.9"), -1).0, 400);
    assert_eq!(put("app-shop", "x", &address("203.0.113.9"), 1001).0, 400);
    assert_eq!(refusal(directory.delete_endpoint(&id("app-shop"), "x")).0, 404);
    assert_eq!(refusal(directory.delete_profile(&id("none"))).0, 404);
    assert_eq!(directory.profile(&id("none")).unwrap_err().status, Some(404));
    assert_eq!(directory.profile(&id("app-shop")).unwrap().endpoints.len(), 2, "nothing changed");
}

#[test]
fn case_of_names_does_not_count_and_a_name_is_free_once_its_profile_is_gone() {
    let world = World::filled();
    let upper = ProfileId { name: "FLEET-APP-SHOP".to_owned(), ..id("app-shop") };
    let found = world.directory.profile(&upper).unwrap();
    assert_eq!(found.dns_name.as_deref(), Some("app-shop.fleet.local"));
    world.directory.put_endpoint(&upper, "203.0.113.1", &address("203.0.113.1"), 0).unwrap();
    let weight = |n: usize| world.directory.profile(&upper).unwrap().endpoints[n].endpoint.weight;
    assert_eq!((weight(0), weight(1)), (0, 1), "changed, not added");
    world.directory.delete_profile(&upper).unwrap();
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A).0, ResponseCode::NXDomain);
    world.directory.put_profile(&id("other"), &profile("app-shop")).unwrap();
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A).0, ResponseCode::NoError);
    // Renamed, it leaves its former name.
    world.directory.put_profile(&id("other"), &profile("app-else")).unwrap();
    assert_eq!(world.told("app-shop.fleet.local.", RecordType::A).0, ResponseCode::NXDomain);
}

#[test]
fn what_came_of_a_check_counts_while_the_endpoint_is_checked_in_this_way() {
    let world = World::new();
    world.directory.begin(SignedDuration::ZERO);
    world.name("app-shop", &["203.0.113.1", "203.0.113.2"]);
    let directory = &world.directory;
    let (key, probe) = directory.probes().pop_first().unwrap();
    let check = |n: usize, passed| (0..n).for_each(|_| directory.checked(&key, &probe, passed));
    // Random number 0 draws the first that is up.
    let first = || world.told("app-shop.fleet.local.", RecordType::A).1.remove(0);
    let (one, two) =
        ("app-shop.fleet.local. 30 A 203.0.113.1", "app-shop.fleet.local. 30 A 203.0.113.2");
    check(3, false);
    assert_eq!(first(), one, "three failures in a row are tolerated");
    check(1, true);
    check(3, false);
    assert_eq!(first(), one, "and again after a success");
    check(1, false);
    assert_eq!(first(), two);
    world.name("app-shop", &["203.0.113.1"]);
    assert_eq!(first(), two, "put again, it is as down as before");
    check(1, true);
    assert_eq!(first(), one);

    let mut changed = profile("app-shop");
    changed.monitor.port = 8080;
    directory.put_profile(&id("app-shop"), &changed).unwrap();
    check(9, false);
    assert_eq!(first(), one, "checks of the former port say nothing");
    directory.delete_profile(&id("app-shop")).unwrap();
    check(1, false);
}

static WORLD: LazyLock<World> = LazyLock::new(World::filled);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_get_a_message_or_nothing(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Some(answer) = respond(&bytes, &WORLD.directory, Transport::Udp, 0) {
            prop_assert!(Message::from_vec(&answer).is_ok());
            prop_assert!(answer[..2] == bytes[..2] && answer[2] & 0x80 != 0);
        }
    }

    #[test]
    fn a_query_with_bytes_changed_gets_a_message_or_nothing(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in 0..8_usize,
    ) {
        let mut query = query("app-shop.fleet.local.", RecordType::A);
        query.set_edns(Edns::new());
        let mut bytes = query.to_vec().unwrap();
        bytes.truncate(bytes.len() - cut);
        for (index, byte) in changes {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        if let Some(answer) = respond(&bytes, &WORLD.directory, Transport::Udp, 0) {
            prop_assert!(Message::from_vec(&answer).is_ok());
            prop_assert!(answer.len() <= 1232);
        }
    }
}
