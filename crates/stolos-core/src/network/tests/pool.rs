//! Addresses of services.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::super::pool::{Assignment, Claim, Pool, assign};
use super::at;

fn pool(text: &str) -> Pool {
    text.parse().unwrap()
}

fn claim(service: &str, second: i64, held: &str, asked: &str) -> Claim {
    let address = |text: &str| (!text.is_empty()).then(|| text.parse().unwrap());
    let (held, asked) = (address(held), address(asked));
    Claim { service: service.to_owned(), created: at(second), held, asked }
}

fn decide(pool: &Pool, claims: &[Claim]) -> Vec<String> {
    let shown = |(service, assignment): (String, Assignment)| {
        let address = assignment.address.map(|address| address.to_string());
        let refusal = assignment.refusal.map(|refusal| refusal.to_string());
        let both: Vec<_> = address.into_iter().chain(refusal).collect();
        format!("{service}: {}", both.join("; "))
    };
    assign(pool, claims).into_iter().map(shown).collect()
}

#[test]
fn new_services_get_the_first_free_addresses_the_oldest_first() {
    let claims = [claim("a", 2, "", ""), claim("b", 1, "", ""), claim("c", 3, "10.0.0.1", "")];
    let got = decide(&pool("10.0.0.0/29"), &claims);
    assert_eq!(got, ["a: 10.0.0.3", "b: 10.0.0.2", "c: 10.0.0.1"]);
}

#[test]
fn of_two_with_one_address_the_older_keeps_it() {
    let claims = [claim("new", 2, "10.0.0.4", ""), claim("old", 1, "10.0.0.4", "")];
    let got = decide(&pool("10.0.0.0/29"), &claims);
    assert_eq!(got, ["new: 10.0.0.1", "old: 10.0.0.4"]);
}

#[test]
fn whoever_asks_gets_the_address_unless_another_one_has_it() {
    let pool = pool("10.0.0.0/29");
    let free = [claim("a", 1, "10.0.0.1", "10.0.0.5"), claim("b", 2, "", "")];
    assert_eq!(decide(&pool, &free), ["a: 10.0.0.5", "b: 10.0.0.1"]);
    let taken = [claim("old", 1, "", "10.0.0.5"), claim("new", 2, "10.0.0.5", "")];
    let want = ["new: 10.0.0.5", "old: the address 10.0.0.5 is asked for, but `new` has it"];
    assert_eq!(decide(&pool, &taken), want);
    let both = [claim("old", 1, "", "10.0.0.1"), claim("new", 2, "", "10.0.0.1")];
    let want = ["new: the address 10.0.0.1 is asked for, but `old` has it", "old: 10.0.0.1"];
    assert_eq!(decide(&pool, &both), want);
    let kept = [claim("a", 2, "10.0.0.3", "10.0.0.1"), claim("b", 1, "10.0.0.1", "")];
    let want = ["a: 10.0.0.3; the address 10.0.0.1 is asked for, but `b` has it", "b: 10.0.0.1"];
    assert_eq!(decide(&pool, &kept), want, "it keeps what it has");
    let swap = [claim("a", 1, "10.0.0.1", "10.0.0.2"), claim("b", 2, "10.0.0.2", "10.0.0.1")];
    assert_eq!(decide(&pool, &swap), ["a: 10.0.0.2", "b: 10.0.0.1"]);
    let twice = [claim("a", 1, "10.0.0.1", ""), claim("b", 2, "10.0.0.1", "10.0.0.1")];
    let want = ["a: 10.0.0.1", "b: the address 10.0.0.1 is asked for, but `a` has it"];
    assert_eq!(decide(&pool, &twice), want);
    let outside = [claim("a", 1, "10.0.0.3", "0.0.0.0"), claim("b", 1, "", "10.0.0.7")];
    let want = [
        "a: 10.0.0.3; the address 0.0.0.0 is asked for, but services get addresses of 10.0.0.0/29",
        "b: the address 10.0.0.7 is asked for, but services get addresses of 10.0.0.0/29",
    ];
    assert_eq!(decide(&pool, &outside), want, "the last one is everybody's");
}

#[test]
fn a_service_moves_when_the_pool_does() {
    let claims = [claim("a", 1, "10.0.0.1", "")];
    assert_eq!(decide(&pool("10.9.0.0/24"), &claims), ["a: 10.9.0.1"]);
}

#[test]
fn an_exhausted_pool_says_so_and_those_who_have_addresses_keep_them() {
    let claims = [claim("a", 1, "", ""), claim("b", 2, "10.0.0.1", ""), claim("c", 3, "", "")];
    let got = assign(&pool("10.0.0.0/30"), &claims);
    assert_eq!(got["a"].address, Some("10.0.0.2".parse().unwrap()));
    assert_eq!(got["b"].address, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(got["c"].address, None);
    let refusal = got["c"].refusal.clone().unwrap();
    assert_eq!(refusal.reason(), "AddressPoolExhausted");
    let want = "all 2 addresses of the pool 10.0.0.0/30 are taken; a larger pool or fewer services would help";
    assert_eq!(refusal.to_string(), want);
}

#[test]
fn pools_of_every_length_give_addresses_that_hosts_can_have() {
    for (text, first, size) in [
        ("10.0.0.9/32", "10.0.0.9", 1),
        ("10.0.0.9/31", "10.0.0.8", 2),
        ("10.0.0.9/24", "10.0.0.1", 254),
        ("127.101.0.0/16", "127.101.0.1", 65_534),
        ("fd00::9/128", "fd00::9", 1),
        ("fd00::/64", "fd00::", 1 << 64),
    ] {
        let pool = pool(text);
        assert_eq!(pool.size(), size, "{text}");
        assert_eq!(decide(&pool, &[claim("a", 1, "", "")]), [format!("a: {first}")], "{text}");
    }
    for (text, why) in [
        ("10.0.0.0", "must be a network such as 10.0.0.0/8"),
        ("0.0.0.0/0", "addresses hosts can have"),
        ("::/0", "addresses hosts can have"),
        ("224.0.0.0/8", "addresses hosts can have"),
    ] {
        let error = text.parse::<Pool>().unwrap_err();
        assert!(error.contains(text) && error.contains(why), "{error}");
    }
}

fn address() -> impl Strategy<Value = Option<IpAddr>> {
    // Some outside of the pool.
    prop::option::of((0u8..12).prop_map(|n| IpAddr::from([10, 0, 0, n])))
}

fn claims() -> impl Strategy<Value = Vec<Claim>> {
    let one = (0i64..3, address(), prop::option::weighted(0.3, address()));
    prop::collection::vec(one, 0..10).prop_map(|all| {
        let claim = |(n, (second, held, asked)): (usize, (i64, _, Option<Option<IpAddr>>))| Claim {
            service: format!("s{n}"),
            created: at(second),
            held,
            asked: asked.flatten(),
        };
        all.into_iter().enumerate().map(claim).collect()
    })
}

proptest! {
    #[test]
    fn addresses_are_unique_of_the_pool_and_stay(claims in claims()) {
        let pool = pool("10.0.0.0/29");
        let assigned = assign(&pool, &claims);
        prop_assert_eq!(assigned.len(), claims.len());
        let mut owners: BTreeMap<IpAddr, &str> = BTreeMap::new();
        for (service, assignment) in &assigned {
            let Some(address) = &assignment.address else {
                prop_assert!(assignment.refusal.is_some());
                continue;
            };
            prop_assert!(pool.contains(*address));
            prop_assert_eq!(owners.insert(*address, service), None);
        }
        // Carried out, the same is decided again, in whatever order it is read.
        let mut after = claims.clone();
        for claim in &mut after {
            claim.held = assigned[&claim.service].address;
        }
        prop_assert_eq!(&assign(&pool, &after), &assigned);
        after.reverse();
        prop_assert_eq!(&assign(&pool, &after), &assigned);
        // Whoever gets nothing has asked, or nothing is left.
        for claim in claims.iter().filter(|claim| claim.asked.is_none()) {
            let address = assigned[&claim.service].address;
            prop_assert!(address.is_some() || owners.len() as u128 == pool.size());
        }
        // One more service takes nobody's address.
        let more = Claim { service: "z".into(), created: at(-1), held: None, asked: None };
        let more: Vec<Claim> = after.into_iter().chain([more]).collect();
        let with_more = assign(&pool, &more);
        for (service, assignment) in assigned {
            if assignment.address.is_some() {
                prop_assert_eq!(&with_more[&service], &assignment);
            }
        }
    }
}
