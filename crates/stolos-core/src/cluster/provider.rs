//! What a property provider adds to the properties of every cluster (placement-clusters 2.4).

use stolos_api::cluster::ResourceUsage;
use stolos_api::cluster::names::{condition as type_, reason};

/// Which properties a member tells besides those of every cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Provider {
    /// No others.
    #[default]
    BuiltIn,
    /// Those of KubeFleet's provider for Azure. Sizes of nodes are told by every member, and prices are known to none.
    Azure {
        /// Whether costs are asked for.
        costs: bool,
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
    pub fn named(name: &str, costs: bool, available: bool) -> Self {
        match name {
            "" | "none" => Self::BuiltIn,
            "azure" => Self::Azure { costs, available },
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

    /// Returns what is to be said about it.
    #[must_use]
    pub fn told(&self) -> Vec<Told> {
        let problem = self.problem();
        let mut told = vec![Told {
            type_: type_::PROPERTY_PROVIDER_STARTED,
            holds: problem.is_none(),
            reason: if problem.is_none() { reason::STARTED } else { reason::FAILED_TO_START },
            message: problem.unwrap_or_default(),
        }];
        if matches!(self, Self::Azure { costs: true, .. }) {
            told.push(Told {
                type_: type_::COST_COLLECTION_SUCCEEDED,
                holds: false,
                reason: reason::COSTS_CALCULATION_FAILED,
                message: "the prices of nodes are not known, so no cost is told".to_owned(),
            });
        }
        told
    }

    /// Leaves out of the resources of a cluster what is not to be told.
    pub fn narrow(&self, usage: &mut ResourceUsage) {
        if matches!(self, Self::Azure { available: false, .. }) {
            usage.available.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, costs: bool) -> Vec<String> {
        let told = Provider::named(name, costs, true).told();
        told.into_iter().map(|t| format!("{}={}/{}", t.type_, t.holds, t.reason)).collect()
    }

    #[test]
    fn each_provider_says_how_it_is() {
        let started = "ClusterPropertyProviderStarted=true/Started";
        assert_eq!(told("", true), [started]);
        assert_eq!(told("none", true), [started]);
        assert_eq!(told("azure", false), [started]);
        assert_eq!(
            told("azure", true),
            [started, "AKSClusterCostPropertiesCollectionSucceeded=false/CostsCalculationFailed"]
        );
        assert_eq!(told("gcp", true), ["ClusterPropertyProviderStarted=false/FailedToStart"]);
        let problem = Provider::named("gcp", true, true).problem().unwrap_or_default();
        assert!(problem.contains("`gcp`") && problem.contains("`azure`"), "{problem}");
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
            Provider::named(name, true, available).narrow(&mut usage);
            assert_eq!(usage.available.len(), n, "{name} {available}");
        }
    }
}
