//! Expressions of match conditions and policies: what they see, and evaluating them.

mod declared;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use serde_json::Value as Json;

use super::Request;
use super::webhook::request_fields;
use crate::auth::{Access, Authorizer, UserInfo};
use crate::registry::Resource;
use crate::schema::cel::{
    self, Authorization, Authorize, Check, Error, LazyFields, Map, PER_CALL_LIMIT, Program,
    RUNTIME_BUDGET, Type, Value, Variables, Verdict,
};

pub(crate) use declared::{Declared, Returns};

/// Most that the match conditions of one webhook or policy may cost, as upstream.
const CONDITIONS_BUDGET: u64 = RUNTIME_BUDGET / 4;
/// What clients hear when an expression would go on for too long.
const OUT_OF_BUDGET: &str =
    "validation failed due to running out of cost budget, no further validation rules will be run";

/// What one expression sees.
#[derive(Clone)]
pub(super) struct Scene<'a> {
    pub(super) object: &'a Json,
    pub(super) old: &'a Json,
    pub(super) request: &'a Json,
    pub(super) namespace: &'a Json,
    pub(super) params: &'a Json,
    pub(super) rights: Option<Rights<'a>>,
    pub(super) variables: Option<Value<'a>>,
}

/// Null, for what is absent.
pub(super) static ABSENT: Json = Json::Null;

impl<'a> Scene<'a> {
    /// Builds what match conditions see.
    pub(super) fn new(
        object: Option<&'a Json>,
        old: Option<&'a Json>,
        request: &'a Json,
        rights: Rights<'a>,
    ) -> Self {
        Self {
            object: object.unwrap_or(&ABSENT),
            old: old.unwrap_or(&ABSENT),
            request,
            namespace: &ABSENT,
            params: &ABSENT,
            rights: Some(rights),
            variables: None,
        }
    }
}

impl<'a> Variables<'a> for Scene<'a> {
    fn variable(&self, name: &str) -> Result<Value<'a>, Error> {
        let json = match name {
            "object" => self.object,
            "oldObject" => self.old,
            "request" => self.request,
            "namespaceObject" => self.namespace,
            "params" => self.params,
            "variables" => return self.variables.clone().ok_or_else(|| unknown(name)),
            "authorizer" | "authorizer.requestResource" => {
                let rights = self.rights.clone().ok_or_else(|| unknown(name))?;
                let check = rights.own.clone();
                let authorize: Arc<dyn Authorize + 'a> = Arc::new(rights);
                return Ok(if name == "authorizer" {
                    Authorization::authorizer(authorize)
                } else {
                    Authorization::resource(authorize, check)
                });
            }
            _ => return Err(unknown(name)),
        };
        Ok(Value::of_json(json))
    }
}

fn unknown(name: &str) -> Error {
    Error::new(format!("no such attribute(s): {name}"))
}

/// Answers questions about the rights of the user of a request.
#[derive(Clone)]
pub(super) struct Rights<'a> {
    authorizer: &'a Authorizer,
    user: &'a UserInfo,
    /// The resource of the request.
    own: Check,
}

impl<'a> Rights<'a> {
    pub(super) fn new(authorizer: &'a Authorizer, request: &Request<'a>) -> Self {
        let own = Check {
            group: request.resource.group_version.group.clone(),
            resource: request.resource.plural.clone(),
            subresource: request.subresource.to_owned(),
            namespace: request.namespace.to_owned(),
            name: request.name.to_owned(),
            ..Check::default()
        };
        Self { authorizer, user: request.user, own }
    }
}

impl Authorize for Rights<'_> {
    fn authorize(&self, check: &Check) -> Verdict {
        let account = check.service_account.as_ref();
        let account =
            account.map(|(namespace, name)| UserInfo::service_account(namespace, name, ""));
        let user = account.as_ref().unwrap_or(self.user);
        let access = match &check.path {
            Some(path) => Access::path(&check.verb, path),
            None => Access::resource(
                &check.verb,
                &check.group,
                &check.resource,
                &check.namespace,
                &check.name,
            )
            .on_subresource(&check.subresource),
        };
        let decision = self.authorizer.decide(user, &access);
        Verdict { allowed: decision.allowed, reason: decision.reason, error: None }
    }
}

/// A compiled expression, or why it does not compile. Stored ones may come from times with other rules.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    program: Result<Program, String>,
}

impl Expression {
    pub(super) fn new(declared: &Declared, source: &str, returns: Returns) -> Self {
        Self { source: source.to_owned(), program: declared.compile(source, returns) }
    }

    pub(super) fn source(&self) -> &str {
        &self.source
    }

    /// Returns the type of the result; anything where the expression does not compile.
    pub(super) fn result_type(&self) -> Type {
        self.program.as_ref().map_or(Type::Dyn, |program| program.result_type().clone())
    }

    /// Evaluates the expression and takes what that cost from the budget. The inner error concerns this expression, the
    /// outer one all that follow.
    pub(super) fn evaluate<'a>(
        &self,
        scene: &Scene<'a>,
        budget: &mut u64,
    ) -> Result<Result<Value<'a>, String>, String> {
        let program = match &self.program {
            Ok(program) => program,
            Err(why) => return Ok(Err(format!("compilation error: {why}"))),
        };
        let (value, cost) = program.evaluate(scene, PER_CALL_LIMIT);
        *budget = budget.checked_sub(cost).ok_or(OUT_OF_BUDGET)?;
        Ok(value
            .map_err(|error| format!("expression '{}' resulted in error: {error}", self.source)))
    }
}

/// Conditions under which a webhook or policy is asked at all.
#[derive(Debug, Default)]
pub(super) struct Conditions(Vec<Expression>);

impl Conditions {
    pub(super) fn parse(declared: &Declared, conditions: &Json) -> Self {
        let conditions = conditions.as_array().into_iter().flatten();
        let source =
            |condition: &Json| condition["expression"].as_str().unwrap_or_default().to_owned();
        Self(
            conditions
                .map(|c| Expression::new(declared, source(c).trim(), Returns::Bool))
                .collect(),
        )
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells whether all conditions hold. One that is false decides, whatever goes wrong with the others.
    ///
    /// # Errors
    ///
    /// When a condition has no value and failures count.
    pub(super) fn hold(&self, scene: &Scene<'_>, fails_open: bool) -> Result<bool, String> {
        let mut errors = Vec::new();
        let mut budget = CONDITIONS_BUDGET;
        for condition in &self.0 {
            match condition.evaluate(scene, &mut budget) {
                Ok(Ok(Value::Bool(false))) => return Ok(false),
                Ok(Ok(_)) => {}
                Ok(Err(why)) => errors.push(why),
                Err(why) if fails_open => {
                    tracing::debug!(%why, "match conditions take too long");
                    return Ok(false);
                }
                Err(why) => return Err(why),
            }
        }
        match errors.as_slice() {
            [] => Ok(true),
            _ if fails_open => Ok(false),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}

/// The composed variables of a policy: each is computed when it is first read, and once.
pub(super) struct Composed<'a> {
    own: Weak<Self>,
    scene: Scene<'a>,
    expressions: &'a [(String, Expression)],
    known: Mutex<BTreeMap<String, Result<Value<'a>, Error>>>,
}

impl<'a> Composed<'a> {
    /// Returns `variables` for a scene.
    pub(super) fn value(scene: &Scene<'a>, expressions: &'a [(String, Expression)]) -> Value<'a> {
        let scene = scene.clone();
        let composed: Arc<dyn LazyFields<'a> + 'a> = Arc::new_cyclic(|own| Self {
            own: own.clone(),
            scene,
            expressions,
            known: Mutex::default(),
        });
        Value::Map(Map::Lazy(composed))
    }

    fn compute(&self, expression: &Expression) -> Result<Value<'a>, Error> {
        let own: Option<Arc<dyn LazyFields<'a> + 'a>> =
            self.own.upgrade().map(|own| own as Arc<dyn LazyFields<'a> + 'a>);
        let variables = own.map(|own| Value::Map(Map::Lazy(own)));
        let scene = Scene { variables, ..self.scene.clone() };
        match &expression.program {
            // Each variable may cost as much as one expression; there is a bounded number of them.
            Ok(program) => program.evaluate(&scene, PER_CALL_LIMIT).0,
            Err(why) => Err(Error::new(format!("compilation error: {why}"))),
        }
    }
}

impl<'a> LazyFields<'a> for Composed<'a> {
    fn field(&self, name: &str) -> Result<Option<Value<'a>>, Error> {
        let found = self.expressions.iter().find(|(known, _)| known == name);
        let Some((_, expression)) = found else { return Ok(None) };
        // Never held while an expression runs: it may read other variables.
        let known = self.known.lock().expect("a map insertion does not panic").get(name).cloned();
        let value = known.unwrap_or_else(|| {
            let value = self.compute(expression);
            let mut known = self.known.lock().expect("a map insertion does not panic");
            known.insert(name.to_owned(), value.clone());
            value
        });
        let failed = |error: Error| {
            Error::new(format!("composited variable {name:?} fails to evaluate: {error}"))
        };
        value.map(Some).map_err(failed)
    }
}

/// Builds `request` for expressions.
pub(super) fn request_json(request: &Request<'_>, resource: &Resource) -> Json {
    request_fields(request, resource)
}

/// Most bytes of a computed message, as upstream.
pub(super) const MAX_MESSAGE_BYTES: usize = 5 * 1024;

/// Returns the text of a value, if it is one.
pub(super) fn text_of(value: &cel::Value<'_>) -> Option<String> {
    match value {
        Value::String(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
