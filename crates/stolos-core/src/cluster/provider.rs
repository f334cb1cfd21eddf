//! What a property provider adds to the properties of every cluster (placement-clusters 2.4).

use k8s_openapi::api::core::v1::Node;
use stolos_api::cluster::ResourceUsage;
use stolos_api::cluster::names::{condition as type_, property, reason};

use super::costs::{Costs, Prices};

/// Which properties a member tells besides those of every cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Provider {
    /// No others.
    #[default]
    BuiltIn,
    /// Those of KubeFleet's provider for Azure. Sizes of nodes are told by every member.
    Azure {
        /// From what costs are calculated, if they are asked for.
        prices: Option<Prices>,
        /// Whether available resources are told.
        available: bool,
    },
    /// Somebody else's, which does not exist here.
    Unknown(String),
}

/// What a member says about its provider, as a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Type of the condition.
    pub type_: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Its reason.
    pub reason: &'static str,
    /// Its message.
    pub message: String,
}

impl Provider {
    /// Returns the provider of this name (KubeFleet's `property-provider`).
    #[must_use]
    pub fn named(name: &str, prices: Option<Prices>, available: bool) -> Self {
        match name {
            "" | "none" => Self::BuiltIn,
            "azure" => Self::Azure { prices, available },
            other => Self::Unknown(other.to_owned()),
        }
    }

    /// Returns what is wrong with it, if anything.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        match self {
            Self::BuiltIn | Self::Azure { .. } => None,
            Self::Unknown(name) => Some(format!(
                "there is no property provider `{name}`, only `azure` and `none`; the properties of every cluster are told"
            )),
        }
    }

    /// Returns what these nodes cost, if that is asked for.
    #[must_use]
    pub fn costs(&self, nodes: &[Node]) -> Option<Costs> {
        match self {
            Self::Azure { prices: Some(prices), .. } => Some(prices.costs(nodes)),
            Self::BuiltIn | Self::Azure { prices: None, .. } | Self::Unknown(_) => None,
        }
    }

    /// Returns what is to be said about it.
    #[must_use]
    pub fn told(&self, costs: Option<&Costs>) -> Vec<Told> {
        let problem = self.problem();
        let started = Told {
            type_: type_::PROPERTY_PROVIDER_STARTED,
            holds: problem.is_none(),
            reason: if problem.is_none() { reason::STARTED } else { reason::FAILED_TO_START },
            message: problem.unwrap_or_default(),
        };
        std::iter::once(started).chain(costs.map(told_of_costs)).collect()
    }

    /// Leaves out of the resources of a cluster what is not to be told.
    pub fn narrow(&self, usage: &mut ResourceUsage) {
        if matches!(self, Self::Azure { available: false, .. }) {
            usage.available.clear();
        }
    }
}

fn told_of_costs(costs: &Costs) -> Told {
    let (holds, reason, message) = match (costs, costs.left_out()) {
        (Costs::Unknown(why), _) => {
            (false, reason::COSTS_CALCULATION_FAILED, format!("{why}, so no cost is told"))
        }
        (Costs::Known { .. }, Some(message)) => (true, reason::COSTS_CALCULATION_DEGRADED, message),
        (Costs::Known { .. }, None) => (true, reason::COSTS_CALCULATED, String::new()),
    };
    Told { type_: type_::COST_COLLECTION_SUCCEEDED, holds, reason, message }
}

impl Costs {
    /// Returns the properties that tell them, with 3 decimals.
    #[must_use]
    pub fn properties(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Known { per_core, per_gib, .. } => vec![
                (property::PER_CPU_CORE_COST, format!("{per_core:.3}")),
                (property::PER_GB_MEMORY_COST, format!("{per_gib:.3}")),
            ],
            Self::Unknown(_) => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(name: &str, prices: Option<Prices>) -> Vec<String> {
        let node = |sku: &str| -> Node {
            serde_json::from_value(json!({
                "metadata": { "labels": { "node.kubernetes.io/instance-type": sku } },
                "status": { "capacity": { "cpu": "2", "memory": "8Gi" } },
            }))
            .expect("a node")
        };
        let provider = Provider::named(name, prices, true);
        let costs = provider.costs(&[node("small"), node("large")]);
        let told = provider.told(costs.as_ref());
        let properties = costs.iter().flat_map(Costs::properties);
        let told = told.into_iter().map(|t| format!("{}={}/{}", t.type_, t.holds, t.reason));
        told.chain(properties.map(|(name, value)| format!("{name}={value}"))).collect()
    }

    fn prices(skus: &[&str]) -> Prices {
        let prices = skus.iter().map(|sku| ((*sku).to_owned(), 0.5)).collect();
        Prices::new(prices).expect("prices")
    }

    #[test]
    fn each_provider_says_how_it_is() {
        let started = "ClusterPropertyProviderStarted=true/Started";
        assert_eq!(told("", Some(prices(&["small"]))), [started]);
        assert_eq!(told("none", Some(prices(&["small"]))), [started]);
        assert_eq!(told("azure", None), [started]);
        let refused = ["ClusterPropertyProviderStarted=false/FailedToStart"];
        assert_eq!(told("gcp", Some(prices(&["small"]))), refused);
        let problem = Provider::named("gcp", None, true).problem().unwrap_or_default();
        assert!(problem.contains("`gcp`") && problem.contains("`azure`"), "{problem}");
    }

    #[test]
    fn costs_are_told_as_far_as_prices_are_known() {
        let costs = "AKSClusterCostPropertiesCollectionSucceeded=";
        let known = [
            "kubernetes.azure.com/per-cpu-core-cost=0.250",
            "kubernetes.azure.com/per-gb-memory-cost=0.062",
        ];
        for (skus, condition, properties) in [
            (&["small", "large"][..], "true/CostsCalculated", &known[..]),
            (&["small"][..], "true/CostsCalculationDegraded", &known[..]),
            (&[][..], "false/CostsCalculationFailed", &[][..]),
        ] {
            let all = told("azure", Some(prices(skus)));
            assert_eq!(all[1], format!("{costs}{condition}"));
            assert_eq!(&all[2..], properties);
        }
    }

    #[test]
    fn available_resources_are_left_out_when_nobody_wants_them() {
        let usage = ResourceUsage {
            available: [(
                "cpu".to_owned(),
                k8s_openapi::apimachinery::pkg::api::resource::Quantity("1".to_owned()),
            )]
            .into(),
            ..ResourceUsage::default()
        };
        for (name, available, n) in [("azure", false, 0), ("azure", true, 1), ("", false, 1)] {
            let mut usage = usage.clone();
            Provider::named(name, None, available).narrow(&mut usage);
            assert_eq!(usage.available.len(), n, "{name} {available}");
        }
    }
}
