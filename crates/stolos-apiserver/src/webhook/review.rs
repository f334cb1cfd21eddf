//! What every review has in common: the type that an answer must have.

use serde_json::Value;

/// Says why an answer is not a review of the version that was asked in, such as `admission.k8s.io/v1`; nothing if it is
/// one, or does not say what it is.
pub(crate) fn foreign(answer: &Value, version: &str, kind: &str) -> Option<String> {
    let text = |field: &str| answer[field].as_str().unwrap_or_default();
    let (own_version, own_kind) = (text("apiVersion"), text("kind"));
    if own_version.is_empty() || own_kind.is_empty() || (own_version == version && own_kind == kind)
    {
        return None;
    }
    let (group, to) = version.split_once('/').unwrap_or(("", version));
    let unknown = |from: &str| {
        Some(format!("converting ({from}.{own_kind}) to ({to}.{kind}): unknown conversion"))
    };
    match own_version.split_once('/') {
        None if (own_version, own_kind) == ("v1", "Status") => unknown("v1"),
        Some((own_group, from @ ("v1" | "v1beta1"))) if own_group == group && own_kind == kind => {
            unknown(from)
        }
        _ => Some(format!(
            "no kind {own_kind:?} is registered for version {own_version:?} in scheme \"pkg/runtime/scheme.go:110\""
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_must_be_of_the_type_that_was_asked() {
        let why = |version: &str, kind: &str| {
            let answer = json!({"apiVersion": version, "kind": kind});
            foreign(&answer, "admission.k8s.io/v1", "AdmissionReview")
        };
        assert_eq!(why("admission.k8s.io/v1", "AdmissionReview"), None);
        assert_eq!(why("", ""), None, "the reader of the review complains");
        for (version, kind, want) in [
            ("v1", "Status", "converting (v1.Status) to (v1.AdmissionReview): unknown conversion"),
            (
                "admission.k8s.io/v1beta1",
                "AdmissionReview",
                "converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion",
            ),
            (
                "admission.k8s.io/v7",
                "AdmissionReview",
                "no kind \"AdmissionReview\" is registered for version \"admission.k8s.io/v7\" in scheme \
                 \"pkg/runtime/scheme.go:110\"",
            ),
        ] {
            assert_eq!(why(version, kind).unwrap(), want);
        }
    }
}
