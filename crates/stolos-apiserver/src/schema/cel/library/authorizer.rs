//! Questions about rights: `authorizer.group('apps').resource('deployments').check('create').allowed()`.

use std::fmt;
use std::sync::Arc;

use super::opaque::Opaque;
use super::{Answer, Body, no_overload};
use crate::schema::cel::error::Error;
use crate::schema::cel::value::Value;

/// Answers questions about rights. The caller of an expression provides it.
pub trait Authorize: Send + Sync {
    /// Decides whether the user of the request may do something.
    fn authorize(&self, check: &Check) -> Verdict;
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    /// The service account to ask for, as namespace and name, instead of the user of the request.
    pub service_account: Option<(String, String)>,
    /// The verb.
    pub verb: String,
    /// Path, if the question is not about a resource.
    pub path: Option<String>,
    /// API group.
    pub group: String,
    /// Plural of the resource.
    pub resource: String,
    /// Subresource, empty for none.
    pub subresource: String,
    /// Namespace, empty for none.
    pub namespace: String,
    /// Name of the object, empty for all.
    pub name: String,
    /// Field selector as written, if there is one.
    pub field_selector: Option<String>,
    /// Label selector as written, if there is one.
    pub label_selector: Option<String>,
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The user may.
    pub allowed: bool,
    /// Why, or why not; may be empty.
    pub reason: String,
    /// What kept the question from being answered.
    pub error: Option<String>,
}

/// A question in the making, or its answer.
#[derive(Clone)]
pub enum Authorization<'a> {
    /// `authorizer`.
    Authorizer(Arc<dyn Authorize + 'a>, Arc<Check>),
    /// A question about a path.
    Path(Arc<dyn Authorize + 'a>, Arc<Check>),
    /// A group, of which a resource is to be named.
    Group(Arc<dyn Authorize + 'a>, Arc<Check>),
    /// A question about a resource.
    Resource(Arc<dyn Authorize + 'a>, Arc<Check>),
    /// The answer.
    Decision(Arc<Verdict>),
}

impl<'a> Authorization<'a> {
    /// Returns `authorizer`.
    #[must_use]
    pub fn authorizer(authorize: Arc<dyn Authorize + 'a>) -> Value<'a> {
        Value::Opaque(Opaque::Authorizer(Self::Authorizer(authorize, Arc::default())))
    }

    /// Returns `authorizer.requestResource`: a question about a resource that is filled in already.
    #[must_use]
    pub fn resource(authorize: Arc<dyn Authorize + 'a>, check: Check) -> Value<'a> {
        Value::Opaque(Opaque::Authorizer(Self::Resource(authorize, Arc::new(check))))
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::Authorizer(..) => "kubernetes.authorization.Authorizer",
            Self::Path(..) => "kubernetes.authorization.PathCheck",
            Self::Group(..) => "kubernetes.authorization.GroupCheck",
            Self::Resource(..) => "kubernetes.authorization.ResourceCheck",
            Self::Decision(_) => "kubernetes.authorization.Decision",
        }
    }
}

impl fmt::Debug for Authorization<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.type_name())
    }
}

pub(super) fn body(name: &str) -> Option<Body> {
    Some(match name {
        "path" => path,
        "group" => group,
        "serviceAccount" => service_account,
        "resource" => resource,
        "subresource" => |args| refine(args, |check, text| check.subresource = text),
        "namespace" => |args| refine(args, |check, text| check.namespace = text),
        "name" => |args| refine(args, |check, text| check.name = text),
        "fieldSelector" => |args| refine(args, |check, text| check.field_selector = Some(text)),
        "labelSelector" => |args| refine(args, |check, text| check.label_selector = Some(text)),
        "check" => check,
        "allowed" => |args| answer(args, |verdict| verdict.allowed.into()),
        "reason" => |args| answer(args, |verdict| Value::text(&verdict.reason)),
        "error" => {
            |args| answer(args, |verdict| Value::text(verdict.error.as_deref().unwrap_or_default()))
        }
        "errored" => |args| answer(args, |verdict| verdict.error.is_some().into()),
        _ => return None,
    })
}

fn wrap(authorization: Authorization<'_>) -> Value<'_> {
    Value::Opaque(Opaque::Authorizer(authorization))
}

fn path<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Authorizer(Authorization::Authorizer(authorize, check))),
            Value::String(path),
        ] => {
            let path = path.as_str();
            if path.is_empty() {
                return Err(Error::new("path must not be empty"));
            }
            let check = Check { path: Some(path.to_owned()), ..Check::clone(check) };
            Ok(wrap(Authorization::Path(authorize.clone(), Arc::new(check))))
        }
        _ => no_overload(),
    }
}

fn group<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Authorizer(Authorization::Authorizer(authorize, check))),
            Value::String(group),
        ] => {
            let check = Check { group: group.as_str().to_owned(), ..Check::clone(check) };
            Ok(wrap(Authorization::Group(authorize.clone(), Arc::new(check))))
        }
        _ => no_overload(),
    }
}

fn service_account<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Authorizer(Authorization::Authorizer(authorize, check))),
            Value::String(namespace),
            Value::String(name),
        ] => {
            let account = (namespace.as_str().to_owned(), name.as_str().to_owned());
            if !is_subdomain(&account.1) {
                return Err(Error::new("Invalid service account name"));
            }
            if !is_subdomain(&account.0) {
                return Err(Error::new("Invalid service account namespace"));
            }
            let check = Check { service_account: Some(account), ..Check::clone(check) };
            Ok(wrap(Authorization::Authorizer(authorize.clone(), Arc::new(check))))
        }
        _ => no_overload(),
    }
}

fn is_subdomain(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.'
        })
}

fn resource<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Authorizer(Authorization::Group(authorize, check))),
            Value::String(resource),
        ] => {
            let check = Check { resource: resource.as_str().to_owned(), ..Check::clone(check) };
            Ok(wrap(Authorization::Resource(authorize.clone(), Arc::new(check))))
        }
        _ => no_overload(),
    }
}

fn refine<'a>(args: &[Value<'a>], set: fn(&mut Check, String)) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Authorizer(Authorization::Resource(authorize, check))),
            Value::String(text),
        ] => {
            let mut check = Check::clone(check);
            set(&mut check, text.as_str().to_owned());
            Ok(wrap(Authorization::Resource(authorize.clone(), Arc::new(check))))
        }
        _ => no_overload(),
    }
}

fn check<'a>(args: &[Value<'a>]) -> Answer<'a> {
    match args {
        [
            Value::Opaque(Opaque::Authorizer(
                Authorization::Path(authorize, check) | Authorization::Resource(authorize, check),
            )),
            Value::String(verb),
        ] => {
            let check = Check { verb: verb.as_str().to_owned(), ..Check::clone(check) };
            Ok(wrap(Authorization::Decision(Arc::new(authorize.authorize(&check)))))
        }
        _ => no_overload(),
    }
}

fn answer<'a>(args: &[Value<'a>], get: fn(&Verdict) -> Value<'a>) -> Answer<'a> {
    match args {
        [Value::Opaque(Opaque::Authorizer(Authorization::Decision(verdict)))] => Ok(get(verdict)),
        _ => no_overload(),
    }
}
