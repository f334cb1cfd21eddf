//! Two members with the same pod network: the pods of both have one and the same address.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use stolos_core::network::balance::{
    Check, Endpoint, EndpointId, EndpointState, HealthSettings, Protocol, Standing, VipPort,
};
use stolos_dataplane::DesiredVip;

use crate::authority::Authority;
use crate::netlink;
use crate::plane::{Plane, id, port, socket, until, vip};
use crate::service::{Service, read_name};
use crate::world::{Space, World, address};

const POD: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 5);
const ENTRY: u16 = 20_001;

fn ready(cluster: &str, socket: SocketAddr) -> Endpoint {
    let (cluster, address, port) = (cluster.to_owned(), socket.ip(), socket.port());
    Endpoint { id: EndpointId { cluster, address, port }, state: EndpointState::Ready }
}

/// The gateway of a member in front of its only pod, which says which member it is of.
fn gateway(space: &Space, member: u8) -> (Plane, Service) {
    space.run(|| netlink::add_address("lo", POD, 32)).unwrap();
    let pod = Service::start_at(space, (POD, 80).into(), move |mut connection| {
        let _ = connection.write_all(&[member]);
    });
    let entry = VipPort { address: address(member).into(), ..port(Protocol::Tcp, ENTRY) };
    let mut entry = vip(entry, &[]);
    entry.balance.endpoints = vec![ready(&id(member).cluster, (POD, 80).into())];
    entry.options.is_gateway = true;
    let plane = Plane::start_in(space, None);
    plane.apply(&[entry]);
    (plane, pod)
}

fn through(web: VipPort) -> DesiredVip {
    let mut through = vip(web, &[]);
    let entry = |member| ready(&id(member).cluster, (address(member), ENTRY).into());
    through.balance.endpoints = (0..2).map(entry).collect();
    through.gateways = through.balance.endpoints.iter().map(|one| one.id.clone()).collect();
    through.balance.settings.health = HealthSettings {
        check: Some(Check::Tcp),
        interval_millis: 100,
        ..HealthSettings::default()
    };
    through
}

pub(crate) fn same_address() {
    let world = World::new(2).unwrap();
    let fleet = Authority::new();
    let members: Vec<_> =
        (0..2).zip(&world.endpoints).map(|(i, space)| gateway(space, i)).collect();
    for (i, (plane, _)) in (0..2).zip(&members) {
        plane.identify(fleet.identity(&id(i).cluster, &[&fleet]));
    }
    let balancer = Plane::start(&world);
    balancer.identify(fleet.identity("here", &[&fleet]));
    let web = port(Protocol::Tcp, 80);
    balancer.apply(&[through(web)]);
    let names = || -> BTreeSet<u8> {
        let ask = || read_name(&TcpStream::connect(socket(web)).unwrap());
        world.client.run(|| (0..40).map(|_| ask().unwrap()).collect())
    };
    until("both members serve", || names() == [0, 1].into());

    // One that shows the certificate of the other one is found out, and the other one serves.
    members[0].0.identify(fleet.identity(&id(1).cluster, &[&fleet]));
    let pretender = through(web).balance.endpoints[0].id.clone();
    until("the pretender is down", || {
        balancer.stats(web).endpoints[&pretender].standing == Some(Standing::Down)
    });
    assert_eq!(names(), [1].into());
    members[0].0.identify(fleet.identity(&id(0).cluster, &[&fleet]));
    until("both members serve again", || names() == [0, 1].into());
}
