//! The writes of a plan.

use std::fmt::Debug;
use std::future::Future;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{DeleteParams, PostParams, Preconditions, PropagationPolicy, Request};
use kube::{Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Change;
use crate::watch::slim;

/// One write. Each carries what it was decided on.
#[derive(Clone, Debug)]
pub enum Write<O> {
    /// Creates an object that must not exist.
    Create(O),
    /// Replaces an object at its resource version.
    Replace(O),
    /// Replaces the status of an object at its resource version.
    ReplaceStatus(O),
    /// Deletes this very object, by uid, in the background.
    Delete(O),
    /// Deletes this very object if it is still in this very state, by uid and resource version.
    DeleteUnchanged(O),
    /// Deletes this very object, by uid, after everything it owns.
    DeleteForeground(O),
}

/// Why a write failed.
#[derive(Debug)]
pub enum WriteError {
    /// The world has moved on: conflict, already exists, not found. The item is planned again.
    Outdated(kube::Error),
    /// Anything else.
    Failed(kube::Error),
}

impl From<kube::Error> for WriteError {
    fn from(error: kube::Error) -> Self {
        match &error {
            kube::Error::Api(status)
                if status.is_conflict() || status.is_not_found() || status.is_already_exists() =>
            {
                Self::Outdated(error)
            }
            _ => Self::Failed(error),
        }
    }
}

/// An object of any watched kind that can be written; [`kinds!`](crate::kinds) implements it.
pub trait Stored: Clone + Debug + Send + Sync + 'static {
    /// Returns the metadata.
    fn meta(&self) -> &ObjectMeta;

    /// Carries out a write and returns the new state; nothing when the object is gone.
    fn write(
        client: &Client,
        write: &Write<Self>,
    ) -> impl Future<Output = Result<Option<Self>, kube::Error>> + Send;
}

impl<O: Stored> crate::Effect for Write<O> {
    type Object = O;

    async fn carry_out(&self, client: &Client) -> Result<Vec<Change<O>>, kube::Error> {
        Ok(vec![match O::write(client, self).await? {
            Some(object) => Change::Applied(object),
            None => Change::Deleted(split(self).1.clone()),
        }])
    }
}

/// Carries out a write of one kind, whatever its scope.
#[doc(hidden)]
pub async fn write_one<K>(
    client: &Client,
    how: How,
    object: &K,
    manager: &str,
) -> Result<Option<K>, kube::Error>
where
    K: Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let meta = object.meta();
    let name = meta.name.as_deref().unwrap_or_default();
    let request = Request::new(K::url_path(&(), meta.namespace.as_deref()));
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let body = || serde_json::to_vec(object).map_err(kube::Error::SerdeError);
    let request = match how {
        How::Create => request.create(&params, body()?),
        How::Replace => request.replace(name, &params, body()?),
        How::ReplaceStatus => request.replace_subresource("status", name, &params, body()?),
        How::Delete { policy, unchanged } => {
            let this_one = Preconditions {
                uid: meta.uid.clone(),
                resource_version: meta.resource_version.clone().filter(|_| unchanged),
            };
            let params =
                DeleteParams { propagation_policy: Some(policy), ..DeleteParams::default() }
                    .preconditions(this_one);
            let request = request.delete(name, &params).map_err(kube::Error::BuildRequest)?;
            // What waits for its finalizers comes back with a deletion time; of anything else there is a Status, or the
            // last state.
            let answer = client.request_status::<K>(request).await?;
            let remains = |object: &K| object.meta().deletion_timestamp.is_some();
            return Ok(answer.left().filter(remains).map(slim));
        }
    };
    let written = client.request(request.map_err(kube::Error::BuildRequest)?).await?;
    Ok(Some(slim(written)))
}

/// What [`write_one`] does.
#[doc(hidden)]
#[derive(Clone, Debug)]
pub enum How {
    Create,
    Replace,
    ReplaceStatus,
    Delete { policy: PropagationPolicy, unchanged: bool },
}

/// Declares the watched kinds of a controller once: `Object`, an enum with a variant per kind.
///
/// ```ignore
/// stolos_controller::kinds! { "manager-name"; ConfigMap, Pod }
/// ```
#[macro_export]
macro_rules! kinds {
    ($manager:expr; $($kind:ident),* $(,)?) => {
        /// An object of a watched kind.
        #[derive(Clone, Debug)]
        pub(crate) enum Object {
            $(
                #[doc = concat!("A `", stringify!($kind), "`.")]
                $kind(Box<$kind>),
            )*
        }

        $(impl From<$kind> for Object {
            fn from(object: $kind) -> Self {
                Self::$kind(Box::new(object))
            }
        })*

        impl $crate::Stored for Object {
            fn meta(&self) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                match self {
                    $(Self::$kind(object) => &object.metadata,)*
                }
            }

            async fn write(
                client: &kube::Client,
                write: &$crate::Write<Self>,
            ) -> Result<Option<Self>, kube::Error> {
                let (how, object) = $crate::split(write);
                match object {
                    $(Self::$kind(object) => {
                        let written = $crate::write_one(client, how, object.as_ref(), $manager).await?;
                        Ok(written.map(Self::from))
                    })*
                }
            }
        }
    };
}

/// Takes a write apart.
#[doc(hidden)]
pub fn split<O>(write: &Write<O>) -> (How, &O) {
    match write {
        Write::Create(object) => (How::Create, object),
        Write::Replace(object) => (How::Replace, object),
        Write::ReplaceStatus(object) => (How::ReplaceStatus, object),
        Write::Delete(object) => (delete(PropagationPolicy::Background, false), object),
        Write::DeleteUnchanged(object) => (delete(PropagationPolicy::Background, true), object),
        Write::DeleteForeground(object) => (delete(PropagationPolicy::Foreground, false), object),
    }
}

fn delete(policy: PropagationPolicy, unchanged: bool) -> How {
    How::Delete { policy, unchanged }
}
