//! Cluster affinity: required terms filter, preferred terms score.

use std::collections::BTreeMap;

use stolos_api::cluster::MemberCluster;
use stolos_api::cluster::names::property;
use stolos_api::placement::{
    ClusterSelectorTerm, PreferredClusterSelector, PropertySelectorOperator,
    PropertySelectorRequirement, PropertySortOrder, PropertySorter,
};
use stolos_api::quantity::Amount;

use super::Error;
use crate::selector::{self, NO_LABELS};

/// Tells whether a cluster satisfies one of the terms. No terms: every cluster does.
pub(super) fn satisfies_any(
    terms: &[ClusterSelectorTerm],
    cluster: &MemberCluster,
) -> Result<bool, Error> {
    if terms.is_empty() {
        return Ok(true);
    }
    for term in terms {
        if satisfies(term, cluster)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Tells whether a cluster satisfies the label selector and all property expressions of a term.
fn satisfies(term: &ClusterSelectorTerm, cluster: &MemberCluster) -> Result<bool, Error> {
    if !labels_match(term, cluster) {
        return Ok(false);
    }
    for expression in term.property_selector.iter().flat_map(|selector| &selector.match_expressions)
    {
        if !holds(expression, cluster)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn labels_match(term: &ClusterSelectorTerm, cluster: &MemberCluster) -> bool {
    let labels = cluster.metadata.labels.as_ref().unwrap_or(NO_LABELS);
    term.label_selector.as_ref().is_none_or(|selector| selector::matches(selector, labels))
}

fn holds(expression: &PropertySelectorRequirement, cluster: &MemberCluster) -> Result<bool, Error> {
    let Some(observed) = amount(cluster, &expression.name)? else { return Ok(false) };
    let [expected] = expression.values.as_slice() else {
        return Err(Error::Property {
            name: expression.name.clone(),
            problem: "exactly one value is needed",
        });
    };
    let Ok(expected) = expected.parse::<Amount>() else {
        return Err(Error::Property {
            name: expression.name.clone(),
            problem: "its value must be a quantity",
        });
    };
    let Some(operator) = PropertySelectorOperator::parse(&expression.operator) else {
        let problem = "its operator must be one of Gt, Ge, Lt, Le, Eq, Ne";
        return Err(Error::Property { name: expression.name.clone(), problem });
    };
    Ok(match operator {
        PropertySelectorOperator::Gt => observed > expected,
        PropertySelectorOperator::Ge => observed >= expected,
        PropertySelectorOperator::Lt => observed < expected,
        PropertySelectorOperator::Le => observed <= expected,
        PropertySelectorOperator::Eq => observed == expected,
        PropertySelectorOperator::Ne => observed != expected,
    })
}

/// Reads a property of a cluster; names under `resources.kubernetes-fleet.io/` are `<capacity>-<resource>`.
fn amount(cluster: &MemberCluster, name: &str) -> Result<Option<Amount>, Error> {
    let Some(status) = &cluster.status else { return Ok(None) };
    let malformed = |problem| Error::Property { name: name.to_owned(), problem };
    let text = match name.strip_prefix(property::RESOURCE_PREFIX) {
        None => status.properties.get(name).map(|property| property.value.as_str()),
        Some(resource) => {
            let parts: Vec<&str> = resource.split('-').collect();
            let [capacity, resource] = parts.as_slice() else {
                return Err(malformed("it must be <total|allocatable|available>-<resource>"));
            };
            let Some(usage) = &status.resource_usage else { return Ok(None) };
            let list = match *capacity {
                "total" => &usage.capacity,
                "allocatable" => &usage.allocatable,
                "available" => &usage.available,
                _ => {
                    return Err(malformed("it must begin with total-, allocatable- or available-"));
                }
            };
            list.get(*resource).map(|quantity| quantity.0.as_str())
        }
    };
    match text {
        None => Ok(None),
        Some(text) => {
            text.parse().map(Some).map_err(|_| malformed("a cluster reports no quantity for it"))
        }
    }
}

/// Scores clusters by preferred terms. Sorters look at all clusters of the fleet, so that a score does not depend on
/// which of them are filtered.
#[derive(Debug, Default)]
pub(super) struct Scorer<'a> {
    terms: Vec<&'a PreferredClusterSelector>,
    /// Smallest and largest amount of each sorted property over the fleet.
    ranges: BTreeMap<&'a str, (Amount, Amount)>,
}

impl<'a> Scorer<'a> {
    /// Prepares the terms with a weight against the whole fleet.
    pub(super) fn new(
        terms: &'a [PreferredClusterSelector],
        fleet: &[&MemberCluster],
    ) -> Result<Self, Error> {
        let terms: Vec<_> = terms.iter().filter(|term| term.weight != 0).collect();
        let mut ranges: BTreeMap<&str, (Amount, Amount)> = BTreeMap::new();
        for sorter in terms.iter().filter_map(|term| term.preference.property_sorter.as_ref()) {
            for cluster in fleet {
                let Some(value) = amount(cluster, &sorter.name)? else { continue };
                let range = ranges.entry(&sorter.name).or_insert((value, value));
                *range = (range.0.min(value), range.1.max(value));
            }
        }
        Ok(Self { terms, ranges })
    }

    /// Returns the affinity score of one cluster.
    pub(super) fn score(&self, cluster: &MemberCluster) -> Result<i32, Error> {
        let mut total = 0;
        for term in &self.terms {
            let preference = &term.preference;
            total += match &preference.property_sorter {
                _ if !satisfies(preference, cluster)? => 0,
                None => term.weight,
                Some(sorter) => self.interpolate(sorter, term.weight, cluster)?,
            };
        }
        Ok(total)
    }

    /// Places a cluster between the smallest and the largest of the fleet, rounding half away from zero.
    fn interpolate(
        &self,
        sorter: &PropertySorter,
        weight: i32,
        cluster: &MemberCluster,
    ) -> Result<i32, Error> {
        let (Some(value), Some((min, max))) =
            (amount(cluster, &sorter.name)?, self.ranges.get(sorter.name.as_str()))
        else {
            return Ok(0);
        };
        if min == max {
            return Ok(0);
        }
        let share = (value.to_f64() - min.to_f64()) / (max.to_f64() - min.to_f64());
        let share = match sorter.sort_order {
            PropertySortOrder::Descending => share,
            PropertySortOrder::Ascending => 1.0 - share,
        };
        #[expect(clippy::cast_possible_truncation, reason = "a share of a weight of at most 100")]
        Ok((share * f64::from(weight)).round() as i32)
    }
}
