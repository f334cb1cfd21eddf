//! Bounds what the rules of a schema can cost, one by one and together.

use crate::schema::causes::forbidden;
use crate::status::Cause;

/// Most that one rule may cost for the largest values, as upstream.
const RULE_LIMIT: u64 = 10_000_000;
/// Most that all rules of a schema may cost together, as upstream.
const TOTAL_LIMIT: u64 = 100_000_000;
/// How many rules are named when all together cost too much.
const MOST_NAMED: usize = 4;

/// What rules can cost.
#[derive(Default)]
pub(super) struct Costs {
    total: u64,
    /// The dearest rules, dearest first.
    dearest: Vec<(u64, String)>,
}

impl Costs {
    /// Adds the cost of an expression. `what` names its field.
    pub(super) fn add(&mut self, path: &str, what: &str, cost: u64, causes: &mut Vec<Cause>) {
        if cost > RULE_LIMIT {
            causes.push(forbidden(
                path,
                &exceeds(&format!("estimated {what} cost"), cost, RULE_LIMIT),
            ));
        }
        if cost == 0 {
            return;
        }
        self.total = self.total.saturating_add(cost);
        let place = self.dearest.partition_point(|(known, _)| *known >= cost);
        if place < MOST_NAMED {
            self.dearest.insert(place, (cost, path.to_owned()));
            self.dearest.truncate(MOST_NAMED);
        }
    }

    /// Refuses the schema if its rules together cost too much.
    pub(super) fn check_total(&self, causes: &mut Vec<Cause>) {
        if self.total <= TOTAL_LIMIT {
            return;
        }
        for (_, path) in &self.dearest {
            let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
            causes.push(forbidden(path, why));
        }
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        causes.push(forbidden(super::ROOT, &exceeds(what, self.total, TOTAL_LIMIT)));
    }
}

#[expect(clippy::cast_precision_loss, reason = "the factor is shown with one digit")]
fn exceeds(what: &str, cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    let factor = if factor > 100.0 {
        "more than 100x".to_owned()
    } else if factor < 1.5 {
        format!("{factor:.6}x")
    } else {
        format!("{factor:.1}x")
    };
    format!(
        "{what} exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, maxProperties, \
         and maxLength where arrays, maps, and strings are declared)"
    )
}
