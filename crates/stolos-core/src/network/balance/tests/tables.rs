//! Slot tables by example.

use super::super::{SlotTable, Weighted};
use super::{equal, id};

#[test]
fn a_table_is_as_large_as_its_endpoints_need() {
    let sizes: Vec<_> = [0, 1, 2, 3, 10, 11, 40, 41, 1_000]
        .into_iter()
        .map(|n| (n, SlotTable::build(&equal("a", n)).len()))
        .collect();
    let want = [
        (0, 0),
        (1, 61),
        (2, 251),
        (3, 1021),
        (10, 1021),
        (11, 4093),
        (40, 4093),
        (41, 4093),
        (1_000, 4093),
    ];
    assert_eq!(sizes, want);
}

#[test]
fn a_small_share_makes_the_table_larger() {
    let of = |weights: [u64; 2]| {
        let endpoints = [
            Weighted { id: id("a", 1), weight: weights[0] },
            Weighted { id: id("b", 1), weight: weights[1] },
        ];
        let table = SlotTable::build(&endpoints);
        (table.len(), table.counts().values().copied().collect::<Vec<_>>())
    };
    assert_eq!(of([1, 2]), (251, vec![84, 167]));
    assert_eq!(of([1, 9]), (1021, vec![102, 919]));
    assert_eq!(of([1, 99]), (4093, vec![41, 4052]));
    assert_eq!(of([0, 7]), (61, vec![61]));
}

#[test]
fn clusters_get_their_share_whatever_the_number_of_their_endpoints() {
    let of = |weight: u64, cluster: &str, n: u16| {
        (0..n).map(|i| Weighted { id: id(cluster, i), weight: weight / u64::from(n) }).collect()
    };
    let endpoints: [Vec<_>; 2] = [of(600_000, "a", 500), of(600_000, "b", 300)];
    let table = SlotTable::build(&endpoints.concat());
    let counts = super::by_cluster(&table);
    assert_eq!((counts["a"], counts["b"]), (2046, 2047));
    assert!(table.counts().into_values().all(|n| (4..=7).contains(&n)));
}

#[test]
fn candidates_are_different_endpoints_and_begin_with_the_one_that_takes_the_connection() {
    let table = SlotTable::build(&equal("a", 3));
    for hash in 0..5_000 {
        let found = table.candidates(hash, 4);
        assert_eq!(found.first().copied(), table.pick(hash));
        let different: std::collections::BTreeSet<_> = found.iter().collect();
        assert_eq!((found.len(), different.len()), (3, 3));
    }
    assert_eq!(table.candidates(7, 2).len(), 2);
    assert_eq!(SlotTable::default().candidates(7, 2), Vec::<&super::EndpointId>::new());
    assert_eq!(SlotTable::default().pick(7), None);
}

#[test]
fn the_first_slots_of_a_table_are_the_same_on_every_machine() {
    let table = SlotTable::build(&equal("a", 4));
    let first: Vec<_> = table.slots().take(24).map(|id| id.address.to_string()).collect();
    insta::assert_snapshot!(first.join(" ").replace("10.1.0.", ""), @"0 1 1 0 3 1 3 0 2 2 0 0 2 2 0 3 1 2 0 3 1 2 1 2");
}

#[test]
fn changes_name_the_slots_that_are_different() {
    let older = SlotTable::build(&equal("a", 5));
    let newer = SlotTable::build(&equal("a", 4));
    assert_eq!(older.changes(&older).count(), 0);
    let mut patched: Vec<_> = older.slots().collect();
    for (slot, endpoint) in newer.changes(&older) {
        assert_ne!(patched[slot], endpoint);
        patched[slot] = endpoint;
    }
    assert!(patched.into_iter().eq(newer.slots()));
    let smaller = SlotTable::build(&equal("a", 2));
    assert_eq!(smaller.changes(&older).count(), smaller.len());
}
