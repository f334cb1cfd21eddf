//! Defaults of pods and pod templates.

use serde_json::{Value, json};

use super::{fill, fill_absent, items, object_in};

pub(super) fn default_pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec") else { return };
    fill(spec, "enableServiceLinks", true);
    default_spec(spec);
    for list in ["containers", "initContainers"] {
        items(spec, list).for_each(default_requests);
    }
    fill(object_in(pod, "status"), "phase", "Pending");
}

pub(super) fn default_template(template: &mut Value) {
    if let Some(spec) = template.get_mut("spec") {
        default_spec(spec);
    }
}

/// A container that only limits a resource requests as much.
fn default_requests(container: &mut Value) {
    let limits = container["resources"]["limits"].clone();
    let Some(limits) = limits.as_object().filter(|limits| !limits.is_empty()) else { return };
    let requests = object_in(&mut container["resources"], "requests");
    for (resource, limit) in limits {
        fill(requests, resource, limit.clone());
    }
}

fn default_spec(spec: &mut Value) {
    fill(spec, "dnsPolicy", "ClusterFirst");
    fill(spec, "restartPolicy", "Always");
    fill(spec, "terminationGracePeriodSeconds", 30);
    fill(spec, "schedulerName", "default-scheduler");
    fill(spec, "securityContext", json!({}));
    // The older name of the same field follows the newer one.
    let account = [&spec["serviceAccountName"], &spec["serviceAccount"]]
        .into_iter()
        .find_map(|name| name.as_str().filter(|name| !name.is_empty()))
        .map(str::to_owned);
    if let Some(account) = account {
        spec["serviceAccountName"] = account.as_str().into();
        spec["serviceAccount"] = account.into();
    }
    let on_host = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            default_container(container, on_host && list != "ephemeralContainers");
        }
    }
    items(spec, "volumes").for_each(default_volume);
}

fn default_container(container: &mut Value, on_host: bool) {
    fill(container, "terminationMessagePath", "/dev/termination-log");
    fill(container, "terminationMessagePolicy", "File");
    fill(container, "resources", json!({}));
    let policy = pull_policy(container["image"].as_str().unwrap_or_default());
    fill(container, "imagePullPolicy", policy);
    for port in items(container, "ports") {
        fill(port, "protocol", "TCP");
        let number = port["containerPort"].clone();
        if on_host && number.is_number() {
            fill(port, "hostPort", number);
        }
    }
    for variable in items(container, "env") {
        if let Some(reference) = variable.pointer_mut("/valueFrom/fieldRef") {
            fill(reference, "apiVersion", "v1");
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            fill_nonzero(probe, "timeoutSeconds", 1);
            fill_nonzero(probe, "periodSeconds", 10);
            fill_nonzero(probe, "successThreshold", 1);
            fill_nonzero(probe, "failureThreshold", 3);
            default_http(probe);
            if let Some(grpc) = probe.get_mut("grpc") {
                fill_absent(grpc, "service", "");
            }
        }
    }
    for hook in ["postStart", "preStop"] {
        if let Some(hook) = container.pointer_mut(&format!("/lifecycle/{hook}")) {
            default_http(hook);
        }
    }
}

/// Images without a tag, or with the tag `latest`, may change under the same name.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) =
        image.split_once('@').map_or((image, None), |(name, digest)| (name, Some(digest)));
    let last = name.rsplit('/').next().unwrap_or_default();
    let tag = last.split_once(':').map(|(_, tag)| tag);
    match (tag, digest) {
        (Some("latest"), _) | (None, None) => "Always",
        _ => "IfNotPresent",
    }
}

fn fill_nonzero(object: &mut Value, field: &str, default: i64) {
    if object[field] == 0 {
        object[field] = Value::Null;
    }
    fill(object, field, default);
}

fn default_http(handler: &mut Value) {
    if let Some(http) = handler.get_mut("httpGet") {
        fill(http, "path", "/");
        fill(http, "scheme", "HTTP");
    }
}

fn default_volume(volume: &mut Value) {
    /// Octal 644.
    const MODE: i64 = 420;
    if volume.as_object().is_some_and(|fields| fields.keys().all(|field| field == "name")) {
        fill(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = volume.get_mut(source) {
            fill(source, "defaultMode", MODE);
        }
    }
    let default_items = |list: &mut Value| {
        for item in items(list, "items") {
            if let Some(reference) = item.get_mut("fieldRef") {
                fill(reference, "apiVersion", "v1");
            }
        }
    };
    if let Some(downward) = volume.get_mut("downwardAPI") {
        default_items(downward);
    }
    if let Some(projected) = volume.get_mut("projected") {
        for source in items(projected, "sources") {
            if let Some(token) = source.get_mut("serviceAccountToken") {
                fill(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = source.get_mut("downwardAPI") {
                default_items(downward);
            }
        }
    }
    default_source(volume);
    if let Some(claim) = volume.pointer_mut("/ephemeral/volumeClaimTemplate") {
        fill(object_in(claim, "spec"), "volumeMode", "Filesystem");
    }
}

/// Fills in where a volume comes from, as far as pods and persistent volumes have it in common.
pub(super) fn default_source(source: &mut Value) {
    let defaults: [(&str, &[(&str, &str)]); 5] = [
        ("hostPath", &[("type", "")]),
        ("iscsi", &[("iscsiInterface", "default")]),
        ("rbd", &[("pool", "rbd"), ("user", "admin"), ("keyring", "/etc/ceph/keyring")]),
        ("azureDisk", &[("cachingMode", "ReadWrite"), ("kind", "Shared"), ("fsType", "ext4")]),
        ("scaleIO", &[("storageMode", "ThinProvisioned"), ("fsType", "xfs")]),
    ];
    for (name, fields) in defaults {
        if let Some(found) = source.get_mut(name) {
            for (field, value) in fields {
                fill_absent(found, field, *value);
            }
        }
    }
    if let Some(disk) = source.get_mut("azureDisk") {
        fill_absent(disk, "readOnly", false);
    }
}

#[cfg(test)]
mod tests {
    use super::pull_policy;

    #[test]
    fn images_that_may_change_are_always_pulled() {
        for (image, want) in [
            ("nginx", "Always"),
            ("nginx:latest", "Always"),
            ("nginx:1.2", "IfNotPresent"),
            ("registry:5000/nginx", "Always"),
            ("registry:5000/nginx:1", "IfNotPresent"),
            ("nginx@sha256:abc", "IfNotPresent"),
        ] {
            assert_eq!(pull_policy(image), want, "{image}");
        }
    }
}
