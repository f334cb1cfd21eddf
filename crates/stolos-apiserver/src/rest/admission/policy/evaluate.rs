//! Evaluating one policy for one write and one object of parameters.

use serde_json::Value as Json;

use super::definition::{Policy, Validation};
use crate::rest::admission::expression::{
    ABSENT, Composed, MAX_MESSAGE_BYTES, Rights, Scene, text_of,
};
use crate::schema::cel::{RUNTIME_BUDGET, Value};

/// What is judged.
pub(super) struct Subject<'a> {
    pub(super) object: Option<&'a Json>,
    pub(super) old: Option<&'a Json>,
    pub(super) request: &'a Json,
    pub(super) namespace: &'a Json,
    pub(super) rights: Rights<'a>,
}

/// A validation that does not hold, or has no value and counts all the same.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Decision {
    pub(super) message: String,
    /// Reason of the Status; empty means `Invalid`.
    pub(super) reason: String,
}

impl Policy {
    /// Returns every reason for which the policy is against the write.
    pub(super) fn evaluate(&self, subject: &Subject<'_>, params: &Json) -> Vec<Decision> {
        let base = Scene {
            object: subject.object.unwrap_or(&ABSENT),
            old: subject.old.unwrap_or(&ABSENT),
            request: subject.request,
            namespace: subject.namespace,
            params,
            rights: Some(subject.rights.clone()),
            variables: None,
        };
        let variables = Composed::value(&base, &self.variables);
        // Match conditions do not see the namespace, as upstream.
        let scene =
            Scene { namespace: &ABSENT, variables: Some(variables.clone()), ..base.clone() };
        match self.conditions.hold(&scene, self.fails_open) {
            Ok(true) => {}
            Ok(false) => return Vec::new(),
            Err(why) => return self.failed(why).into_iter().collect(),
        }
        let scene = Scene { variables: Some(variables), ..base };
        let mut budget = RUNTIME_BUDGET;
        let mut decisions = Vec::new();
        for validation in &self.validations {
            match validation.expression.evaluate(&scene, &mut budget) {
                Ok(Ok(Value::Bool(true))) => {}
                Ok(Ok(_)) => decisions.push(Decision {
                    message: validation.text(&scene, &mut budget),
                    reason: validation.reason.clone(),
                }),
                Ok(Err(why)) => decisions.extend(self.failed(why)),
                Err(why) => return self.failed(why).into_iter().collect(),
            }
        }
        for annotation in &self.annotations {
            // Nobody keeps an audit log of them here, but one that has no value fails the policy.
            match annotation.evaluate(&scene, &mut budget) {
                Ok(Ok(_)) => {}
                Ok(Err(why)) | Err(why) => decisions.extend(self.failed(why)),
            }
        }
        decisions
    }

    fn failed(&self, message: String) -> Option<Decision> {
        if self.fails_open { None } else { Some(Decision { message, reason: String::new() }) }
    }
}

impl Validation {
    /// Returns the message for people: computed, fixed, or the expression itself.
    fn text(&self, scene: &Scene<'_>, budget: &mut u64) -> String {
        let computed = self.message_expression.as_ref().and_then(|expression| {
            let scene = Scene { rights: None, ..scene.clone() };
            let value = expression.evaluate(&scene, budget).ok()?.ok()?;
            let text = text_of(&value)?.trim().to_owned();
            let fits = text.len() <= MAX_MESSAGE_BYTES && !text.contains('\n') && !text.is_empty();
            fits.then_some(text)
        });
        let fixed = || Some(self.message.trim().to_owned()).filter(|message| !message.is_empty());
        let source = || format!("failed expression: {}", self.expression.source().trim());
        computed.or_else(fixed).unwrap_or_else(source)
    }
}
