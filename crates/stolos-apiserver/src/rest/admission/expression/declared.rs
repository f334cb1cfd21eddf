//! Which variables expressions have, of which types, and what they may return.

use crate::schema::cel::{Environment, ObjectType, Program, Type};

/// Which variables an expression may use beside the objects, the request and the namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Declared {
    pub(crate) params: bool,
    pub(crate) authorizer: bool,
    /// Composed variables of a policy, with their types; none where there is no `variables` at all.
    pub(crate) variables: Option<Vec<(String, Type)>>,
    /// Type of the objects, where it is known.
    pub(crate) object: Option<Type>,
    /// Type of the parameters, where it is known.
    pub(crate) params_type: Option<Type>,
}

/// What an expression must return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Returns {
    Bool,
    Text,
    TextOrNull,
    Anything,
}

impl Declared {
    fn environment(&self) -> Environment {
        let object = self.object.clone().unwrap_or(Type::Dyn);
        let mut environment = Environment::new()
            .with("object", object.clone())
            .with("oldObject", object)
            .with("namespaceObject", namespace_type())
            .with("request", request_type());
        if self.params {
            environment = environment.with("params", self.params_type.clone().unwrap_or(Type::Dyn));
        }
        if self.authorizer {
            environment = environment
                .with("authorizer", Type::Opaque("kubernetes.authorization.Authorizer"))
                .with(
                    "authorizer.requestResource",
                    Type::Opaque("kubernetes.authorization.ResourceCheck"),
                );
        }
        if let Some(variables) = &self.variables {
            let fields = variables.iter().cloned();
            let type_ = ObjectType::new("kubernetes.variables", fields);
            environment = environment.with("variables", Type::Object(type_));
        }
        environment
    }

    /// Compiles an expression; the error is what upstream says about it.
    pub(crate) fn compile(&self, source: &str, returns: Returns) -> Result<Program, String> {
        let program = self.environment().compile(source);
        let program = program.map_err(|why| format!("compilation failed: {why}"))?;
        let got = program.result_type();
        let fits = match returns {
            Returns::Bool => *got == Type::Bool,
            Returns::Text => *got == Type::String,
            Returns::TextOrNull => matches!(got, Type::String | Type::Null),
            Returns::Anything => true,
        };
        if fits {
            return Ok(program);
        }
        Err(match returns {
            Returns::Bool => format!("must evaluate to bool but got {got}"),
            Returns::Text => format!("must evaluate to string but got {got}"),
            Returns::TextOrNull | Returns::Anything => {
                format!("must evaluate to one of [string null_type] but got {got}")
            }
        })
    }
}

fn fields(name: &str, fields: &[(&str, Type)]) -> Type {
    let fields = fields.iter().map(|(name, type_)| ((*name).to_owned(), type_.clone()));
    Type::Object(ObjectType::new(name, fields))
}

fn request_type() -> Type {
    let text = Type::String;
    let kind = [("group", text.clone()), ("version", text.clone()), ("kind", text.clone())];
    let kind = fields("kubernetes.GroupVersionKind", &kind);
    let resource = [("group", text.clone()), ("version", text.clone()), ("resource", text.clone())];
    let resource = fields("kubernetes.GroupVersionResource", &resource);
    let user = [
        ("username", text.clone()),
        ("uid", text.clone()),
        ("groups", Type::list(text.clone())),
        ("extra", Type::map(text.clone(), Type::list(text.clone()))),
    ];
    let request = [
        ("kind", kind.clone()),
        ("resource", resource.clone()),
        ("subResource", text.clone()),
        ("requestKind", kind),
        ("requestResource", resource),
        ("requestSubResource", text.clone()),
        ("name", text.clone()),
        ("namespace", text.clone()),
        ("operation", text),
        ("userInfo", fields("kubernetes.UserInfo", &user)),
        ("dryRun", Type::Bool),
        ("options", Type::Dyn),
    ];
    fields("kubernetes.AdmissionRequest", &request)
}

fn namespace_type() -> Type {
    let text = Type::String;
    let texts = Type::list(text.clone());
    let map = Type::map(text.clone(), text.clone());
    let metadata = [
        ("name", text.clone()),
        ("generateName", text.clone()),
        ("namespace", text.clone()),
        ("labels", map.clone()),
        ("annotations", map),
        ("UID", text.clone()),
        ("creationTimestamp", Type::Timestamp),
        ("deletionGracePeriodSeconds", Type::Int),
        ("deletionTimestamp", Type::Timestamp),
        ("generation", Type::Int),
        ("resourceVersion", text.clone()),
        ("finalizers", texts.clone()),
    ];
    let condition = [
        ("status", text.clone()),
        ("type", text.clone()),
        ("lastTransitionTime", Type::Timestamp),
        ("message", text.clone()),
        ("reason", text.clone()),
    ];
    let condition = fields("kubernetes.NamespaceCondition", &condition);
    let status = [("conditions", Type::list(condition)), ("phase", text)];
    let namespace = [
        ("metadata", fields("kubernetes.NamespaceMetadata", &metadata)),
        ("spec", fields("kubernetes.NamespaceSpec", &[("finalizers", texts)])),
        ("status", fields("kubernetes.NamespaceStatus", &status)),
    ];
    fields("kubernetes.Namespace", &namespace)
}
