//! Whether a `clientConfig` can be accepted, in upstream's words.

use serde_json::Value;

use super::connect::read_bundle;
use crate::name_rules::subdomain_problems;
use crate::schema::causes::{invalid, required};
use crate::status::Cause;

const FORM: &str = "; desired format: https://host[/path]";

/// Returns what is wrong with the `clientConfig` at a path.
pub(crate) fn check_client_config(at: &str, config: &Value) -> Vec<Cause> {
    let (url, service) = (&config["url"], &config["service"]);
    match (url.as_str(), service.is_object()) {
        (Some(url), false) => check_url(&format!("{at}.url"), url),
        (None, true) => check_service(&format!("{at}.service"), service),
        _ => vec![required(at, "exactly one of url or service is required")],
    }
}

/// Returns what is wrong with the certificates of a `clientConfig`.
pub(crate) fn check_bundle(at: &str, config: &Value) -> Vec<Cause> {
    let bundle = config["caBundle"].as_str().unwrap_or_default();
    let problem = if bundle.is_empty() { None } else { read_bundle(bundle).err() };
    problem
        .map(|why| invalid(&format!("{at}.caBundle"), &config["caBundle"], &why))
        .into_iter()
        .collect()
}

fn check_url(at: &str, text: &str) -> Vec<Cause> {
    let (rest, fragment) = text.split_once('#').unwrap_or((text, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (scheme, rest) = rest.split_once("://").unwrap_or(("", ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    if let Some(odd) =
        host.chars().find(|c| c.is_whitespace() || c.is_control() || "<>\"\\^`{|}".contains(*c))
    {
        let why = format!(
            "url must be a valid URL: parse {text:?}: invalid character {:?} in host name{FORM}",
            odd.to_string()
        );
        return vec![required(at, &why)];
    }
    let mut causes = Vec::new();
    if scheme != "https" {
        let why = format!("'https' is the only allowed URL scheme{FORM}");
        causes.push(invalid(at, &scheme.into(), &why));
    }
    if host.is_empty() {
        causes.push(invalid(at, &"".into(), &format!("host must be specified{FORM}")));
    }
    if !user.is_empty() {
        causes.push(invalid(at, &user.into(), "user information is not permitted in the URL"));
    }
    if !fragment.is_empty() {
        causes.push(invalid(at, &fragment.into(), "fragments are not permitted in the URL"));
    }
    if !query.is_empty() {
        causes.push(invalid(at, &query.into(), "query parameters are not permitted in the URL"));
    }
    causes
}

fn check_service(at: &str, service: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    for field in ["name", "namespace"] {
        if service[field].as_str().is_none_or(str::is_empty) {
            causes.push(required(&format!("{at}.{field}"), ""));
        }
    }
    let port = &service["port"];
    if port.as_i64().is_some_and(|port| !(1..=65535).contains(&port)) {
        let why = "port is not valid: must be between 1 and 65535, inclusive";
        causes.push(invalid(&format!("{at}.port"), port, why));
    }
    if let Some(path) = service["path"].as_str() {
        causes.extend(
            path_problems(path)
                .into_iter()
                .map(|why| invalid(&format!("{at}.path"), &path.into(), &why)),
        );
    }
    causes
}

fn path_problems(path: &str) -> Vec<String> {
    if matches!(path, "" | "/") {
        return Vec::new();
    }
    if path == "//" {
        return vec!["segment[0] may not be empty".to_owned()];
    }
    let mut problems = Vec::new();
    if !path.starts_with('/') {
        problems.push("must start with a '/'".to_owned());
    }
    let mut rest = path.chars();
    rest.next();
    let rest = rest.as_str();
    for (index, step) in rest.strip_suffix('/').unwrap_or(rest).split('/').enumerate() {
        if step.is_empty() {
            problems.push(format!("segment[{index}] may not be empty"));
        } else {
            let found = subdomain_problems(step).into_iter();
            problems.extend(found.map(|problem| format!("segment[{index}]: {problem}")));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn texts(config: &Value) -> Vec<String> {
        let causes = check_client_config("c", config).into_iter();
        causes.map(|cause| format!("{}: {}", cause.field, cause.message)).collect()
    }

    #[test]
    fn exactly_one_address_is_needed() {
        let want = ["c: Required value: exactly one of url or service is required"];
        assert_eq!(texts(&json!({})), want);
        let both = json!({"url": "https://a", "service": {"name": "a", "namespace": "b"}});
        assert_eq!(texts(&both), want);
    }

    #[test]
    fn urls_are_plain_https() {
        assert_eq!(texts(&json!({"url": "https://host:1/path"})), [] as [&str; 0]);
        assert_eq!(
            texts(&json!({"url": "http://u@host/p?q#f"})),
            [
                "c.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: \
                 https://host[/path]",
                "c.url: Invalid value: \"u\": user information is not permitted in the URL",
                "c.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "c.url: Invalid value: \"q\": query parameters are not permitted in the URL",
            ]
        );
        for none in ["", "foo", "https://"] {
            let last = texts(&json!({"url": none})).pop().unwrap();
            assert!(
                last.starts_with("c.url: Invalid value: \"\": host must be specified"),
                "{none}: {last}"
            );
        }
        assert_eq!(
            texts(&json!({"url": "https://h h"})),
            [
                "c.url: Required value: url must be a valid URL: parse \"https://h h\": invalid character \" \" in host \
              name; desired format: https://host[/path]"
            ]
        );
    }

    #[test]
    fn services_have_a_name_a_port_and_a_clean_path() {
        let service = |name: &str, port: i64, path: &str| {
            texts(&json!({"service": {"name": name, "namespace": "n", "port": port, "path": path}}))
        };
        assert_eq!(service("a", 443, "/x/y"), [] as [&str; 0]);
        assert_eq!(service("", 443, "/"), ["c.service.name: Required value"]);
        assert_eq!(
            service("a", 0, "x"),
            [
                "c.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "c.service.path: Invalid value: \"x\": must start with a '/'",
                "c.service.path: Invalid value: \"x\": segment[0] may not be empty",
            ]
        );
        assert_eq!(
            service("a", 1, "//"),
            ["c.service.path: Invalid value: \"//\": segment[0] may not be empty"]
        );
    }
}
