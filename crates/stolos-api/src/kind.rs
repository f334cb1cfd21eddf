//! Turns a spec and a status type into a kind that `kube` can work with.
//!
//! `kube::CustomResource` derives a kind from its spec type, so a spec can belong to one kind only.
//! Most of ours belong to two, one cluster-scoped and one namespaced, and a few kinds have no spec
//! at all; hence this macro.

/// Declares a kind: the object type, its (de)serialisation with `apiVersion` and `kind`, and the
/// `kube` traits. A kind has a spec and a status, one of them, or fields of its own.
macro_rules! custom_resource {
    (
        $(#[doc = $doc:literal])+
        $kind:ident, $scope:ident, spec: $spec:ty, status: $status:ty, defined by $definition:path
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, ::serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// Name, labels, annotations, finalizers and owners.
            #[serde(default)]
            pub metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub spec: $spec,
            /// What was observed.
            #[serde(default)]
            pub status: Option<$status>,
        }

        impl ::serde::Serialize for $kind {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeStruct;
                let n_fields = if self.status.is_some() { 5 } else { 4 };
                let mut object = to.serialize_struct(stringify!($kind), n_fields)?;
                let api_version = <Self as ::kube::Resource>::api_version(&());
                object.serialize_field("apiVersion", &api_version)?;
                object.serialize_field("kind", $definition.kind)?;
                object.serialize_field("metadata", &self.metadata)?;
                object.serialize_field("spec", &self.spec)?;
                if let Some(status) = &self.status {
                    object.serialize_field("status", status)?;
                }
                object.end()
            }
        }

        $crate::kind::custom_resource! { @status $kind, $status }
        $crate::kind::custom_resource! { @spec $kind, $spec }
        $crate::kind::custom_resource! {
            @kind $kind, $scope, $definition, concat!($($doc),+).trim(),
            [$crate::crd::Part::of::<$spec>("spec"), $crate::crd::Part::of::<$status>("status")]
        }
    };
    (
        $(#[doc = $doc:literal])+
        $kind:ident, $scope:ident, status: $status:ty, defined by $definition:path
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, ::serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// Name, labels, annotations, finalizers and owners.
            #[serde(default)]
            pub metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What was observed.
            #[serde(default)]
            pub status: Option<$status>,
        }

        impl ::serde::Serialize for $kind {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeStruct;
                let n_fields = if self.status.is_some() { 4 } else { 3 };
                let mut object = to.serialize_struct(stringify!($kind), n_fields)?;
                let api_version = <Self as ::kube::Resource>::api_version(&());
                object.serialize_field("apiVersion", &api_version)?;
                object.serialize_field("kind", $definition.kind)?;
                object.serialize_field("metadata", &self.metadata)?;
                if let Some(status) = &self.status {
                    object.serialize_field("status", status)?;
                }
                object.end()
            }
        }

        $crate::kind::custom_resource! { @status $kind, $status }
        $crate::kind::custom_resource! {
            @kind $kind, $scope, $definition, concat!($($doc),+).trim(),
            [$crate::crd::Part::of::<$status>("status")]
        }
    };
    (
        $(#[doc = $doc:literal])+
        $kind:ident, $scope:ident, spec: $spec:ty, defined by $definition:path
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, Default, PartialEq, ::serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// Name, labels, annotations, finalizers and owners.
            #[serde(default)]
            pub metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            #[serde(default)]
            pub spec: $spec,
        }

        $crate::kind::custom_resource! { @serialize $kind, spec: $spec }
        $crate::kind::custom_resource! { @spec $kind, $spec }
        $crate::kind::custom_resource! {
            @kind $kind, $scope, $definition, concat!($($doc),+).trim(),
            [$crate::crd::Part::of::<$spec>("spec")]
        }
    };
    (
        $(#[doc = $doc:literal])+
        $kind:ident, $scope:ident,
        fields: { $($(#[doc = $field_doc:literal])+ $field:ident as $name:literal: $type:ty,)+ },
        defined by $definition:path
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq, ::serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        pub struct $kind {
            /// Name, labels, annotations, finalizers and owners.
            #[serde(default)]
            pub metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            $($(#[doc = $field_doc])+ pub $field: $type,)+
        }

        $crate::kind::custom_resource! { @serialize $kind, $($field: $type),+ }
        $crate::kind::custom_resource! {
            @kind $kind, $scope, $definition, concat!($($doc),+).trim(),
            [$(
                $crate::crd::Part::of::<$type>($name)
                    .described(concat!($($field_doc),+).trim())
            ),+]
        }
    };
    (@serialize $kind:ident, $($field:ident: $type:ty),+) => {
        impl ::serde::Serialize for $kind {
            fn serialize<S: ::serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                #[derive(::serde::Serialize)]
                #[serde(rename_all = "camelCase")]
                struct Object<'a> {
                    api_version: ::std::borrow::Cow<'a, str>,
                    kind: ::std::borrow::Cow<'a, str>,
                    metadata: &'a ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
                    $($field: &'a $type,)+
                }
                let object = Object {
                    api_version: <Self as ::kube::Resource>::api_version(&()),
                    kind: <Self as ::kube::Resource>::kind(&()),
                    metadata: &self.metadata,
                    $($field: &self.$field,)+
                };
                object.serialize(to)
            }
        }
    };
    (@status $kind:ident, $status:ty) => {
        impl ::kube::core::object::HasStatus for $kind {
            type Status = $status;

            fn status(&self) -> Option<&$status> {
                self.status.as_ref()
            }

            fn status_mut(&mut self) -> &mut Option<$status> {
                &mut self.status
            }
        }
    };
    (@spec $kind:ident, $spec:ty) => {
        impl $kind {
            /// Returns a new object with this name and spec.
            pub fn new(name: &str, spec: $spec) -> Self {
                let mut object = Self { spec, ..Self::default() };
                object.metadata.name = Some(name.to_owned());
                object
            }
        }

        impl ::kube::core::object::HasSpec for $kind {
            type Spec = $spec;

            fn spec(&self) -> &$spec {
                &self.spec
            }

            fn spec_mut(&mut self) -> &mut $spec {
                &mut self.spec
            }
        }
    };
    (@kind $kind:ident, $scope:ident, $definition:path, $description:expr, [$($part:expr),+]) => {
        impl ::kube::Resource for $kind {
            type DynamicType = ();
            type Scope = ::kube::core::$scope;

            fn kind((): &()) -> ::std::borrow::Cow<'_, str> {
                $definition.kind.into()
            }

            fn group((): &()) -> ::std::borrow::Cow<'_, str> {
                $definition.group.into()
            }

            fn version((): &()) -> ::std::borrow::Cow<'_, str> {
                $definition.storage.into()
            }

            fn plural((): &()) -> ::std::borrow::Cow<'_, str> {
                $definition.plural.into()
            }

            fn meta(&self) -> &::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(
                &mut self,
            ) -> &mut ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }

        impl ::kube::CustomResourceExt for $kind {
            fn crd() -> ::k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition {
                $crate::crd::build(&$definition, $description, vec![$($part),+])
            }

            fn crd_name() -> &'static str {
                $definition.name
            }

            fn api_resource() -> ::kube::core::ApiResource {
                ::kube::core::ApiResource::erase::<Self>(&())
            }

            fn shortnames() -> &'static [&'static str] {
                $definition.short_names
            }
        }
    };
}
pub(crate) use custom_resource;
