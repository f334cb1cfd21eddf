//! The slot table: a weighted Maglev table, equal on every balancer that knows the same endpoints.

use std::collections::BTreeMap;

use twox_hash::XxHash64;

use super::EndpointId;

/// Sizes of tables; primes, so that every step through a table visits every slot.
pub const SIZES: [u16; 4] = [61, 251, 1021, 4093];

/// Slots per endpoint that a table has at least, if one of the sizes allows: those that leave keep the rest in place.
const SLOTS_PER_ENDPOINT: usize = 100;

/// Slots that the smallest share has at least, if one of the sizes allows: rounding then errs by less than 2 %.
const SLOTS_OF_SMALLEST: u128 = 50;

/// Seeds of the first slot and of the step of an endpoint. Any two do; other ones give other tables.
const OFFSET_SEED: u64 = 0x53_74_6f_6c_6f_73_00_01;
const STEP_SEED: u64 = 0x53_74_6f_6c_6f_73_00_02;

/// An endpoint and its share, relative to the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weighted {
    /// The endpoint.
    pub id: EndpointId,
    /// The share.
    pub weight: u64,
}

/// Which endpoint takes the connections of which slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SlotTable {
    endpoints: Vec<EndpointId>,
    /// Indices into `endpoints`. Empty without endpoints.
    slots: Vec<u16>,
}

impl SlotTable {
    /// Builds the table of these endpoints. Their order does not matter; of an endpoint that comes twice, the first
    /// counts.
    ///
    /// The share of a cluster is rounded to slots first and then spread over its endpoints, so that a cluster of many
    /// endpoints errs as little as one of few.
    #[must_use]
    pub fn build(endpoints: &[Weighted]) -> Self {
        let mut endpoints: Vec<_> = endpoints.iter().filter(|one| one.weight > 0).collect();
        endpoints.sort_by(|a, b| a.id.cmp(&b.id));
        endpoints.dedup_by(|a, b| a.id == b.id);
        let size = size(&endpoints);
        let claims = claims(&endpoints, size);
        Self::fill(&claims, size)
    }

    /// Lets the endpoints take turns, each in proportion to its slots, until all slots are taken.
    fn fill(claims: &[Claim<'_>], size: usize) -> Self {
        const FREE: u16 = u16::MAX;
        let mut turns = turns(claims);
        turns.sort_unstable();
        let mut slots = vec![FREE; if claims.is_empty() { 0 } else { size }];
        let mut next: Vec<usize> = claims.iter().map(|claim| claim.offset % size).collect();
        for (_, _, index) in turns {
            let step = claims[index].step % (size - 1) + 1;
            while slots[next[index]] != FREE {
                next[index] = (next[index] + step) % size;
            }
            slots[next[index]] = u16::try_from(index).expect("fewer endpoints than slots");
        }
        Self { endpoints: claims.iter().map(|claim| claim.id.clone()).collect(), slots }
    }

    /// Returns the endpoints that have slots, in order.
    #[must_use]
    pub fn endpoints(&self) -> &[EndpointId] {
        &self.endpoints
    }

    /// Returns how many slots there are; 0 if there is no endpoint.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Tells whether there is no endpoint.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns the endpoint of every slot, in order.
    pub fn slots(&self) -> impl Iterator<Item = &EndpointId> {
        self.slots.iter().map(|index| &self.endpoints[usize::from(*index)])
    }

    /// Returns how many slots each endpoint has.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<&EndpointId, usize> {
        let mut counts = BTreeMap::new();
        for endpoint in self.slots() {
            *counts.entry(endpoint).or_default() += 1;
        }
        counts
    }

    /// Returns the endpoint that takes a connection with this hash.
    #[must_use]
    pub fn pick(&self, hash: u64) -> Option<&EndpointId> {
        let slot = self.slot(hash)?;
        Some(&self.endpoints[usize::from(self.slots[slot])])
    }

    /// Returns up to `n` different endpoints for a connection with this hash: the one that takes it, and those to try
    /// after it.
    #[must_use]
    pub fn candidates(&self, hash: u64, n: usize) -> Vec<&EndpointId> {
        let Some(first) = self.slot(hash) else { return Vec::new() };
        let wanted = n.min(self.endpoints.len());
        let mut found: Vec<u16> = Vec::with_capacity(wanted);
        for slot in (first..self.slots.len()).chain(0..first) {
            if found.len() == wanted {
                break;
            }
            if !found.contains(&self.slots[slot]) {
                found.push(self.slots[slot]);
            }
        }
        found.into_iter().map(|index| &self.endpoints[usize::from(index)]).collect()
    }

    /// Returns the slots whose endpoint is another one than in an older table, with their endpoints. All slots if the
    /// sizes differ.
    pub fn changes<'a>(
        &'a self,
        older: &'a Self,
    ) -> impl Iterator<Item = (usize, &'a EndpointId)> + 'a {
        let comparable = self.len() == older.len();
        let before = older.slots().map(Some).chain(std::iter::repeat(None));
        let changed =
            move |was: Option<&EndpointId>, is: &EndpointId| !comparable || was != Some(is);
        self.slots()
            .zip(before)
            .enumerate()
            .filter(move |(_, (is, was))| changed(*was, is))
            .map(|(slot, (is, _))| (slot, is))
    }

    fn slot(&self, hash: u64) -> Option<usize> {
        let size = u64::try_from(self.slots.len()).ok().filter(|size| *size > 0)?;
        usize::try_from(hash % size).ok()
    }
}

/// An endpoint with the number of slots that it is to get, and its way through the table.
struct Claim<'a> {
    id: &'a EndpointId,
    n_slots: usize,
    offset: usize,
    step: usize,
}

/// Returns the smallest size at which endpoints have enough slots each. One endpoint fits any.
fn size(endpoints: &[&Weighted]) -> usize {
    let total: u128 = endpoints.iter().map(|one| u128::from(one.weight)).sum();
    let smallest = endpoints.iter().map(|one| u128::from(one.weight)).min().unwrap_or_default();
    let fits = |size: usize| {
        size >= endpoints.len() * SLOTS_PER_ENDPOINT
            && u128::try_from(size).unwrap_or_default() * smallest >= SLOTS_OF_SMALLEST * total
    };
    let [least, .., most] = SIZES;
    if endpoints.len() <= 1 {
        return usize::from(least);
    }
    SIZES.map(usize::from).into_iter().find(|size| fits(*size)).unwrap_or(usize::from(most))
}

/// Rounds the shares to slots, by cluster and then within each cluster. Endpoints without a slot are left out.
fn claims<'a>(endpoints: &[&'a Weighted], size: usize) -> Vec<Claim<'a>> {
    let clusters: Vec<_> = endpoints.chunk_by(|a, b| a.id.cluster == b.id.cluster).collect();
    let totals: Vec<_> = clusters
        .iter()
        .map(|cluster| Portion {
            weight: cluster.iter().map(|one| u128::from(one.weight)).sum(),
            tie: XxHash64::oneshot(OFFSET_SEED, cluster[0].id.cluster.as_bytes()),
        })
        .collect();
    let mut claims = Vec::with_capacity(endpoints.len().min(size));
    for (cluster, n_slots) in clusters.into_iter().zip(apportion(&totals, size)) {
        let hashes: Vec<_> = cluster.iter().map(|one| hashes(&one.id)).collect();
        let portions: Vec<_> = cluster
            .iter()
            .zip(&hashes)
            .map(|(one, (offset, _))| Portion { weight: one.weight.into(), tie: *offset })
            .collect();
        let counts = apportion(&portions, n_slots);
        for ((one, (offset, step)), n_slots) in cluster.iter().zip(hashes).zip(counts) {
            if n_slots > 0 {
                claims.push(Claim {
                    id: &one.id,
                    n_slots,
                    offset: reduce(offset),
                    step: reduce(step),
                });
            }
        }
    }
    claims
}

/// Returns where an endpoint begins in a table, and with which step it goes on.
fn hashes(id: &EndpointId) -> (u64, u64) {
    let mut bytes = id.cluster.as_bytes().to_vec();
    bytes.push(0);
    bytes.extend(match id.address {
        std::net::IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        std::net::IpAddr::V6(address) => address.octets(),
    });
    bytes.extend(id.port.to_be_bytes());
    (XxHash64::oneshot(OFFSET_SEED, &bytes), XxHash64::oneshot(STEP_SEED, &bytes))
}

/// Reduces a hash to what every machine can index with.
fn reduce(hash: u64) -> usize {
    usize::try_from(hash >> 33).expect("31 bits fit")
}

/// A share to be rounded; of two that round alike the one with the lower tie goes first.
struct Portion {
    weight: u128,
    tie: u64,
}

/// Divides `n` in proportion to weights by the largest remainders: each gets its exact share rounded down or up.
fn apportion(portions: &[Portion], n: usize) -> Vec<usize> {
    let total: u128 = portions.iter().map(|portion| portion.weight).sum();
    if total == 0 {
        return vec![0; portions.len()];
    }
    let exact = |portion: &Portion| portion.weight * n as u128;
    let down = |portion: &Portion| usize::try_from(exact(portion) / total).unwrap_or(n);
    let mut counts: Vec<usize> = portions.iter().map(down).collect();
    let left = n - counts.iter().sum::<usize>();
    let mut order: Vec<usize> = (0..portions.len()).collect();
    order.sort_by_key(|i| (std::cmp::Reverse(exact(&portions[*i]) % total), portions[*i].tie, *i));
    for i in order.into_iter().take(left) {
        counts[i] += 1;
    }
    counts
}

/// Returns when each endpoint takes its turns, as `(moment, tie, endpoint)`: its turns are spread evenly between 0 and
/// 2³².
fn turns(claims: &[Claim<'_>]) -> Vec<(u64, usize, usize)> {
    let turns_of = |(index, claim): (usize, &Claim<'_>)| {
        let (offset, n) = (claim.offset, claim.n_slots as u64);
        (0..n)
            .map(move |turn| (((2 * turn + 1) << 32) / (2 * n), offset, index))
            .collect::<Vec<_>>()
    };
    claims.iter().enumerate().flat_map(turns_of).collect()
}
