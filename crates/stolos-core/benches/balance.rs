//! Time to build the slot table of one VIP port.

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use stolos_core::network::balance::{EndpointId, SlotTable, Weighted};

/// Endpoints of five clusters with weights from 1 to 5.
fn endpoints(n: u16) -> Vec<Weighted> {
    let endpoint = |i: u16| {
        let (cluster, [high, low]) = (i % 5, i.to_be_bytes());
        let address = Ipv4Addr::new(10, 1, high, low).into();
        let id = EndpointId { cluster: format!("member-{cluster}"), address, port: 8080 };
        Weighted { id, weight: u64::from(cluster + 1) << 24 }
    };
    (0..n).map(endpoint).collect()
}

fn tables(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("slot table");
    for n in [20, 200, 1000] {
        let endpoints = endpoints(n);
        group.bench_with_input(BenchmarkId::from_parameter(n), &endpoints, |bencher, endpoints| {
            bencher.iter(|| SlotTable::build(black_box(endpoints)));
        });
    }
    group.finish();
}

criterion_group!(benches, tables);
criterion_main!(benches);
