//! What the resources of a cluster cost, from the prices of its nodes (placement-clusters 2.4).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::Node;

use super::properties::{capacity_of, sku_of};

/// What a node of each SKU costs an hour, in any one currency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prices(BTreeMap<String, f64>);

/// A price that cannot be one.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the price of SKU `{sku}` is {price}; it must be a number above 0, such as 0.192 an hour")]
pub struct NotAPrice {
    sku: String,
    price: f64,
}

/// What is known of the costs of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub enum Costs {
    /// They were calculated.
    Known {
        /// Of one core an hour.
        per_core: f64,
        /// Of 1 GiB of memory an hour.
        per_gib: f64,
        /// SKUs of nodes that were left out because they have no price.
        without_price: BTreeSet<String>,
        /// Nodes that were left out because they do not name their SKU.
        n_unnamed: usize,
    },
    /// They cannot be calculated, for this reason.
    Unknown(String),
}

impl Prices {
    /// Returns prices by SKU.
    ///
    /// # Errors
    /// On the first price that is not a number above 0.
    pub fn new(prices: BTreeMap<String, f64>) -> Result<Self, NotAPrice> {
        match prices.iter().find(|(_, price)| !(price.is_finite() && **price > 0.0)) {
            Some((sku, price)) => Err(NotAPrice { sku: sku.clone(), price: *price }),
            None => Ok(Self(prices)),
        }
    }

    /// Returns what one core and 1 GiB of these nodes cost: what all of them cost, divided by what they have.
    #[must_use]
    pub fn costs(&self, nodes: &[Node]) -> Costs {
        if self.0.is_empty() {
            return Costs::Unknown("the prices of nodes are not known".to_owned());
        }
        let mut total = Total::default();
        for node in nodes {
            match sku_of(node).map(|sku| (sku, self.0.get(sku))) {
                Some((_, Some(price))) => total.add(node, *price),
                Some((sku, None)) => {
                    total.without_price.insert(sku.to_owned());
                }
                None => total.n_unnamed += 1,
            }
        }
        total.costs()
    }
}

/// Sums over the nodes that have a price.
#[derive(Default)]
struct Total {
    price: f64,
    cores: f64,
    gib: f64,
    without_price: BTreeSet<String>,
    n_unnamed: usize,
}

impl Total {
    fn add(&mut self, node: &Node, price: f64) {
        self.price += price;
        self.cores += capacity_of(node, "cpu").to_f64();
        self.gib += capacity_of(node, "memory").to_f64() / f64::from(1 << 30);
    }

    fn costs(self) -> Costs {
        let Self { price, cores, gib, without_price, n_unnamed } = self;
        if cores <= 0.0 || gib <= 0.0 {
            let skus = listed(&without_price);
            return Costs::Unknown(match (without_price.is_empty(), n_unnamed) {
                (true, 0) => "no node tells its capacity".to_owned(),
                (true, n) => format!("{n} node(s) do not name their SKU, and there are no others"),
                (false, _) => format!("no node has a price; SKUs without one: {skus}"),
            });
        }
        Costs::Known { per_core: price / cores, per_gib: price / gib, without_price, n_unnamed }
    }
}

impl Costs {
    /// Returns what was left out, unless nothing was.
    #[must_use]
    pub fn left_out(&self) -> Option<String> {
        let Self::Known { without_price, n_unnamed, .. } = self else { return None };
        let skus = listed(without_price);
        match (without_price.is_empty(), n_unnamed) {
            (true, 0) => None,
            (true, n) => Some(format!("{n} node(s) that do not name their SKU are left out")),
            (false, 0) => Some(format!("nodes of SKUs without a price are left out: {skus}")),
            (false, n) => Some(format!(
                "nodes of SKUs without a price are left out: {skus}; so are {n} that do not name theirs"
            )),
        }
    }
}

/// Most SKUs that a message names.
const MAX_NAMED: usize = 5;

fn listed(skus: &BTreeSet<String>) -> String {
    let named: Vec<_> = skus.iter().take(MAX_NAMED).map(|sku| format!("`{sku}`")).collect();
    let more = skus.len().saturating_sub(MAX_NAMED);
    if more == 0 { named.join(", ") } else { format!("{} and {more} more", named.join(", ")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(sku: Option<&str>, cpu: &str, memory: &str) -> Node {
        let labels = sku.map(|sku| json!({ "node.kubernetes.io/instance-type": sku }));
        serde_json::from_value(json!({
            "metadata": { "name": "n", "labels": labels },
            "status": { "capacity": { "cpu": cpu, "memory": memory } },
        }))
        .expect("a node")
    }

    fn prices() -> Prices {
        Prices::new([("small".to_owned(), 0.1), ("large".to_owned(), 0.4)].into()).expect("prices")
    }

    /// Prints costs as they are told.
    fn told(nodes: &[Node]) -> String {
        let costs = prices().costs(nodes);
        match &costs {
            Costs::Known { per_core, per_gib, .. } => {
                format!("{per_core:.3} {per_gib:.3} {}", costs.left_out().unwrap_or_default())
            }
            Costs::Unknown(why) => why.clone(),
        }
    }

    #[test]
    fn all_that_nodes_cost_is_divided_by_all_that_they_have() {
        let nodes = [node(Some("small"), "2", "8Gi"), node(Some("large"), "8", "32Gi")];
        assert_eq!(told(&nodes), "0.050 0.013 ");
    }

    #[test]
    fn nodes_without_a_price_are_left_out_with_what_they_have_and_named() {
        let small = node(Some("small"), "2", "8Gi");
        let odd = node(Some("odd"), "64", "8Gi");
        assert_eq!(
            told(&[small.clone(), odd.clone()]),
            "0.050 0.013 nodes of SKUs without a price are left out: `odd`"
        );
        assert_eq!(
            told(&[small.clone(), node(None, "2", "1Gi")]),
            "0.050 0.013 1 node(s) that do not name their SKU are left out"
        );
        assert_eq!(told(&[odd]), "no node has a price; SKUs without one: `odd`");
        assert_eq!(told(&[]), "no node tells its capacity");
        assert_eq!(told(&[node(Some("small"), "0", "8Gi")]), "no node tells its capacity");
        let unpriced = Prices::default().costs(&[small]);
        assert_eq!(unpriced, Costs::Unknown("the prices of nodes are not known".to_owned()));
    }

    #[test]
    fn a_message_names_a_few_skus_only() {
        let nodes: Vec<_> = (0..7).map(|i| node(Some(&format!("odd-{i}")), "1", "1Gi")).collect();
        assert!(told(&nodes).ends_with("`odd-4` and 2 more"), "{}", told(&nodes));
    }

    #[test]
    fn prices_are_numbers_above_zero() {
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let refused = Prices::new([("small".to_owned(), wrong)].into());
            let text = refused.expect_err("it is refused").to_string();
            assert!(text.contains("`small`") && text.contains("above 0"), "{text}");
        }
    }
}
