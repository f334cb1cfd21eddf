//! Who may do what.

use jiff::Timestamp;
use serde_json::Value;

use super::read::{NONE, age, at, list, name, or, text};
use super::{AGE, Heading, NAME, Printer};
use crate::table::duration;

const GROUP: &str = "rbac.authorization.k8s.io";

const BINDING_COLUMNS: &[Heading] = &[
    NAME,
    Heading::string("Role", "Role that is granted."),
    AGE,
    Heading::string("Users", "Users it is granted to.").wide(),
    Heading::string("Groups", "Groups it is granted to.").wide(),
    Heading::string("ServiceAccounts", "Service accounts it is granted to.").wide(),
];

pub(super) const PRINTERS: &[Printer] = &[
    Printer { group: GROUP, kind: "RoleBinding", columns: BINDING_COLUMNS, cells: binding },
    Printer { group: GROUP, kind: "ClusterRoleBinding", columns: BINDING_COLUMNS, cells: binding },
    Printer {
        group: "certificates.k8s.io",
        kind: "CertificateSigningRequest",
        columns: &[
            NAME,
            AGE,
            Heading::string("SignerName", "Who is asked to sign."),
            Heading::string("Requestor", "User who asks."),
            Heading::string("RequestedDuration", "How long the certificate should be valid."),
            Heading::string("Condition", "How far the request has come."),
        ],
        cells: signing_request,
    },
];

fn binding(binding: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| -> Value {
        let named =
            list(binding, "subjects").iter().filter(|subject| text(subject, "kind") == kind);
        let names: Vec<String> = named.map(|subject| subject_name(kind, subject)).collect();
        names.join(", ").into()
    };
    vec![
        name(binding),
        format!("{}/{}", text(binding, "roleRef.kind"), text(binding, "roleRef.name")).into(),
        age(binding, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn subject_name(kind: &str, subject: &Value) -> String {
    let name = text(subject, "name");
    match kind {
        "ServiceAccount" => format!("{}/{name}", text(subject, "namespace")),
        _ => name.to_owned(),
    }
}

fn signing_request(request: &Value, now: Timestamp) -> Vec<Value> {
    let seconds = at(request, "spec.expirationSeconds").as_i64();
    let requested =
        seconds.map(|seconds| duration::human(jiff::SignedDuration::from_secs(seconds)));
    vec![
        name(request),
        age(request, now),
        or(text(request, "spec.signerName"), NONE).into(),
        text(request, "spec.username").into(),
        requested.unwrap_or_else(|| NONE.to_owned()).into(),
        request_state(request).into(),
    ]
}

fn request_state(request: &Value) -> String {
    let conditions = list(request, "status.conditions");
    let has = |type_: &str| conditions.iter().any(|condition| text(condition, "type") == type_);
    let decision = if has("Denied") {
        "Denied"
    } else if has("Approved") {
        "Approved"
    } else {
        "Pending"
    };
    let failed = if has("Failed") { ",Failed" } else { "" };
    let issued = if text(request, "status.certificate").is_empty() { "" } else { ",Issued" };
    format!("{decision}{failed}{issued}")
}
