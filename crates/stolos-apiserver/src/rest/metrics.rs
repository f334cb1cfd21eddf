//! Figures of the server in Prometheus' text format: which deprecated APIs it was asked for, as kube-apiserver tells it.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Mutex;

use http::{HeaderValue, StatusCode, header};

use super::respond::{self, Response};
use crate::registry::Resource;

/// Most series. Each needs a deprecated version that is served, so this is only reached by someone who wants to.
const MAX_SERIES: usize = 1000;

/// What was asked for of deprecated APIs since the server started.
#[derive(Debug, Default)]
pub(crate) struct Requested(Mutex<BTreeSet<Series>>);

/// One series, in the order of its labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    group: String,
    resource: String,
    subresource: String,
    version: String,
}

impl Requested {
    /// Notes a request, if what it is for is deprecated.
    pub(crate) fn note(&self, resource: &Resource, subresource: Option<&str>) {
        let exists = subresource.is_none_or(|name| resource.subresource(name).is_some());
        if resource.deprecation.is_none() || !exists {
            return;
        }
        let mut series = self.0.lock().expect("noting a request does not panic");
        if series.len() < MAX_SERIES {
            series.insert(Series {
                group: resource.group_version.group.clone(),
                resource: resource.plural.clone(),
                subresource: subresource.unwrap_or_default().to_owned(),
                version: resource.group_version.version.clone(),
            });
        }
    }

    /// Answers with all figures.
    pub(crate) fn respond(&self) -> Response {
        let series = self.0.lock().expect("noting a request does not panic");
        let mut response = respond::text(StatusCode::OK, text(&series));
        let version = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, version);
        response
    }
}

/// Nothing that is served here has a release that removes it, so that label is always empty.
fn text(series: &BTreeSet<Series>) -> String {
    let mut text = "# HELP apiserver_requested_deprecated_apis Deprecated APIs that have been asked for, with the release that removes them.\n# TYPE apiserver_requested_deprecated_apis gauge\n".to_owned();
    for Series { group, resource, subresource, version } in series {
        writeln!(
            text,
            "apiserver_requested_deprecated_apis{{group=\"{group}\",removed_release=\"\",resource=\"{resource}\",subresource=\"{subresource}\",version=\"{version}\"}} 1"
        )
        .expect("writing to a String does not fail");
    }
    text
}
