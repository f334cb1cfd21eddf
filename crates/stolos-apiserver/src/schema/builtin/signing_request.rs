//! Certificate signing requests: what they ask for must be well formed and signed with its own key.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

use crate::schema::causes::{duplicate, forbidden, invalid, not_supported, required};
use crate::status::Cause;

/// What a certificate may be used for, in alphabetical order.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// Shortest validity that may be asked for, in seconds.
const MIN_EXPIRATION: i64 = 600;

/// Checks a request.
pub(super) fn check(request: &Value, causes: &mut Vec<Cause>) {
    let spec = &request["spec"];
    if let Err(why) = check_signature(&spec["request"]) {
        causes.push(invalid("spec.request", &spec["request"], &why));
    }
    let usages: Vec<&Value> = spec["usages"].as_array().into_iter().flatten().collect();
    if usages.is_empty() {
        causes.push(required("spec.usages", ""));
    }
    let known: Vec<Value> = USAGES.iter().map(|usage| json!(usage)).collect();
    let mut seen = BTreeSet::new();
    for (index, usage) in usages.into_iter().enumerate() {
        let field = format!("spec.usages[{index}]");
        if !known.contains(usage) {
            causes.push(not_supported(&field, usage, &known));
        }
        if !seen.insert(usage.as_str()) {
            causes.push(duplicate(&field, usage));
        }
    }
    check_signer(&spec["signerName"], causes);
    let seconds = &spec["expirationSeconds"];
    if seconds.as_i64().is_some_and(|seconds| seconds < MIN_EXPIRATION) {
        let why = "may not specify a duration less than 600 seconds (10 minutes)";
        causes.push(invalid("spec.expirationSeconds", seconds, why));
    }
    check_conditions(&request["status"]["conditions"], causes);
}

/// Checks what an update may do; only the approval subresource decides.
pub fn check_update(old: &Value, new: &Value, subresource: &str) -> Vec<Cause> {
    const CONDITIONS: &str = "status.conditions";
    let mut causes = Vec::new();
    for type_ in ["Approved", "Denied", "Failed"] {
        let (before, after) = (of_type(old, type_), of_type(new, type_));
        let decides = type_ != "Failed" && subresource != "approval";
        if after.len() < before.len() {
            let why = format!("updates may not remove a condition of type \"{type_}\"");
            causes.push(forbidden(CONDITIONS, &why));
        } else if decides && after.len() > before.len() {
            let why = format!("updates may not add a condition of type \"{type_}\"");
            causes.push(forbidden(CONDITIONS, &why));
        }
    }
    let (before, after) = (&old["status"]["certificate"], &new["status"]["certificate"]);
    let is_set = |value: &Value| value.as_str().is_some_and(|text| !text.is_empty());
    if before != after && subresource != "status" {
        causes.push(forbidden("status.certificate", "updates may not set certificate content"));
    } else if before != after && is_set(before) {
        let why = "updates may not modify existing certificate content";
        causes.push(forbidden("status.certificate", why));
    }
    causes
}

fn of_type<'a>(request: &'a Value, type_: &str) -> Vec<&'a Value> {
    let conditions = request["status"]["conditions"].as_array().into_iter().flatten();
    conditions.filter(|condition| condition["type"] == type_).collect()
}

/// Returns the organisations of the subject that a request names, which become groups of a client.
#[must_use]
pub fn organizations_of_request(request: &Value) -> Vec<String> {
    let Ok(der) = der_of(request) else { return Vec::new() };
    let Ok((_, parsed)) = X509CertificationRequest::from_der(&der) else { return Vec::new() };
    let organizations = parsed.certification_request_info.subject.iter_organization();
    organizations.filter_map(|name| name.as_str().ok().map(str::to_owned)).collect()
}

fn der_of(request: &Value) -> Result<Vec<u8>, String> {
    const NO_REQUEST: &str = "PEM block type must be CERTIFICATE REQUEST";
    let pem = STANDARD.decode(request.as_str().unwrap_or_default());
    let pem = pem.map_err(|error| error.to_string())?;
    let (_, block) = parse_x509_pem(&pem).map_err(|_| NO_REQUEST.to_owned())?;
    if block.label != "CERTIFICATE REQUEST" {
        return Err(NO_REQUEST.to_owned());
    }
    Ok(block.contents)
}

fn check_signature(request: &Value) -> Result<(), String> {
    let der = der_of(request)?;
    let (_, parsed) =
        X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
    parsed.verify_signature().map_err(|error| error.to_string())
}

fn check_signer(signer: &Value, causes: &mut Vec<Cause>) {
    const FIELD: &str = "spec.signerName";
    let name = signer.as_str().unwrap_or_default();
    let why = match name.split_once('/') {
        _ if name.is_empty() => return causes.push(required(FIELD, "")),
        _ if name == "kubernetes.io/legacy-unknown" => {
            "the legacy signerName is not allowed via this API version"
        }
        None => "must be a fully qualified domain and path of the form 'example.com/signer-name'",
        Some((domain, path)) if !domain.contains('.') || path.is_empty() => {
            "should be a domain with at least two segments separated by dots"
        }
        Some(_) => return,
    };
    causes.push(invalid(FIELD, signer, why));
}

fn check_conditions(conditions: &Value, causes: &mut Vec<Cause>) {
    let mut seen = BTreeSet::new();
    for (index, condition) in conditions.as_array().into_iter().flatten().enumerate() {
        let field = |name: &str| format!("status.conditions[{index}].{name}");
        let type_ = condition["type"].as_str().unwrap_or_default();
        if type_.is_empty() {
            causes.push(required(&field("type"), ""));
        }
        let only_true = matches!(type_, "Approved" | "Denied" | "Failed");
        let allowed: &[&str] = if only_true { &["True"] } else { &["False", "True", "Unknown"] };
        let allowed: Vec<Value> = allowed.iter().map(|status| json!(status)).collect();
        let status = &condition["status"];
        if status.as_str().is_none_or(str::is_empty) {
            causes.push(required(&field("status"), ""));
        } else if !allowed.contains(status) {
            causes.push(not_supported(&field("status"), status, &allowed));
        }
        let opposite = if type_ == "Approved" { "Denied" } else { "Approved" };
        if matches!(type_, "Approved" | "Denied") && seen.contains(opposite) {
            let why = "Approved and Denied conditions are mutually exclusive";
            causes.push(invalid("status.conditions", &condition["type"], why));
        }
        if !seen.insert(type_) {
            causes.push(duplicate(&field("type"), &condition["type"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a request for a client certificate, as `spec.request` holds it.
    fn signed(organization: &str) -> Value {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, organization);
        let pem = parameters.serialize_request(&key).unwrap().pem().unwrap();
        STANDARD.encode(pem).into()
    }

    fn fields(request: &Value) -> Vec<String> {
        let mut causes = Vec::new();
        check(request, &mut causes);
        causes.into_iter().map(|cause| cause.field).collect()
    }

    fn request() -> Value {
        let spec = json!({"request": signed("dev"), "signerName": "example.com/s", "usages": ["client auth"]});
        json!({ "spec": spec })
    }

    #[test]
    fn a_request_is_signed_with_its_own_key() {
        assert_eq!(fields(&request()), [] as [&str; 0]);
        assert_eq!(organizations_of_request(&request()["spec"]["request"]), ["dev"]);
        for broken in [json!(null), json!("%"), json!(STANDARD.encode("text"))] {
            let mut request = request();
            request["spec"]["request"] = broken;
            assert_eq!(fields(&request), ["spec.request"]);
        }
    }

    #[test]
    fn usages_signer_and_expiration_are_checked() {
        let mut wrong = request();
        wrong["spec"]["usages"] = json!(["client auth", "client auth", "world domination"]);
        wrong["spec"]["signerName"] = json!("plain");
        wrong["spec"]["expirationSeconds"] = json!(5);
        let want =
            ["spec.usages[1]", "spec.usages[2]", "spec.signerName", "spec.expirationSeconds"];
        assert_eq!(fields(&wrong), want);
    }

    #[test]
    fn only_approval_decides_and_only_status_issues() {
        let with = |conditions: Value, certificate: &str| json!({"status": {"conditions": conditions, "certificate": certificate}});
        let approved = json!([{"type": "Approved", "status": "True"}]);
        let (none, decided) = (with(json!([]), ""), with(approved.clone(), ""));
        assert!(check_update(&none, &decided, "approval").is_empty());
        assert_eq!(check_update(&none, &decided, "status").len(), 1);
        assert_eq!(check_update(&decided, &none, "approval").len(), 1);
        let issued = with(approved.clone(), "cert");
        assert!(check_update(&decided, &issued, "status").is_empty());
        assert_eq!(check_update(&decided, &issued, "approval").len(), 1);
        assert_eq!(check_update(&issued, &with(approved, "other"), "status").len(), 1);
    }

    #[test]
    fn a_request_is_not_both_approved_and_denied() {
        let mut request = request();
        request["status"]["conditions"] =
            json!([{"type": "Approved", "status": "True"}, {"type": "Denied", "status": "False"}]);
        assert_eq!(fields(&request), ["status.conditions[1].status", "status.conditions"]);
    }
}
