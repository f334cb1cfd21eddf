//! Where a webhook is: a URL, or a service that the embedder finds.

use std::sync::Arc;

use http::Uri;
use serde_json::Value;

/// A service that a configuration names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Namespace of the service.
    pub namespace: String,
    /// Name of the service.
    pub name: String,
    /// Port of the service.
    pub port: u16,
}

/// Says where a service can be reached, as `host:port`, or why it cannot be reached. Nothing in this server routes
/// cluster IPs, so only the program around it can know. It must be quick and must not wait.
///
/// The certificate is verified for `<name>.<namespace>.svc` all the same.
pub type ServiceResolver = Arc<dyn Fn(&ServiceAddress) -> Result<String, String> + Send + Sync>;

/// Where requests go.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Target {
    /// `host:port`; the name is what the certificate is verified for.
    pub(super) authority: String,
    /// Path with the leading slash.
    pub(super) path: String,
    /// Set when the host is a service that has to be found.
    pub(super) service: Option<ServiceAddress>,
}

impl Target {
    /// Reads a `clientConfig`.
    pub(super) fn parse(config: &Value) -> Result<Self, String> {
        if config["service"].is_object() {
            return Ok(Self::of_service(&config["service"]));
        }
        let Some(url) = config["url"].as_str().filter(|url| !url.is_empty()) else {
            return Err("webhook configuration must have either service or URL".to_owned());
        };
        let uri: Uri = url.parse().map_err(|error| format!("Unparsable URL: {error}"))?;
        let authority = uri.authority().ok_or("Unparsable URL: host is missing")?.to_string();
        Ok(Self { authority, path: rooted(uri.path()), service: None })
    }

    fn of_service(service: &Value) -> Self {
        let text = |field: &str| service[field].as_str().unwrap_or_default().to_owned();
        let port = service["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let (namespace, name) = (text("namespace"), text("name"));
        let port = port.filter(|port| *port != 0).unwrap_or(443);
        Self {
            authority: format!("{name}.{namespace}.svc:{port}"),
            path: rooted(&text("path")),
            service: Some(ServiceAddress { namespace, name, port }),
        }
    }
}

/// Cleans a path as upstream's client does: one slash between segments and none at the end, no dots. envtest gives its
/// webhooks two slashes, and servers redirect what is not clean.
fn rooted(path: &str) -> String {
    let mut clean: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    format!("/{}", clean.join("/"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn urls_and_services_become_targets() {
        let url = Target::parse(&json!({"url": "https://host.example:8443/hooks/a"})).unwrap();
        assert_eq!(
            url,
            Target {
                authority: "host.example:8443".into(),
                path: "/hooks/a".into(),
                service: None
            }
        );
        for (url, path) in
            [("https://h", "/"), ("https://h//a", "/a"), ("https://h/a//b/./c/../d/", "/a/b/d")]
        {
            assert_eq!(Target::parse(&json!({ "url": url })).unwrap().path, path);
        }
        let service = json!({"service": {"namespace": "ns", "name": "hook", "path": "mutate"}});
        let service = Target::parse(&service).unwrap();
        assert_eq!(
            (service.authority.as_str(), service.path.as_str()),
            ("hook.ns.svc:443", "/mutate")
        );
        assert_eq!(service.service.unwrap().port, 443);
        for broken in [json!({}), json!({"url": ""}), json!({"url": "::"}), json!({"url": "/x"})] {
            assert!(Target::parse(&broken).is_err(), "{broken}");
        }
    }
}
