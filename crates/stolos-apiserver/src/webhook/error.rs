//! Why a webhook gave no usable answer, in the words of Go's HTTP client, which people and tests search for.

use std::error::Error;
use std::io;

use rustls::CertificateError;
use rustls_pki_types::ServerName;

/// Why a call came to nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The configuration names nothing that could be called.
    #[error("could not get REST client: {0}")]
    Unusable(String),
    /// No answer arrived.
    #[error("failed to call webhook: Post \"{url}\": {why}")]
    Failed {
        /// What was called.
        url: String,
        /// What happened instead.
        why: String,
    },
    /// An answer arrived that says nothing.
    #[error("failed to call webhook: {0}")]
    Answered(String),
}

impl CallError {
    pub(super) fn failed(url: String, why: impl Into<String>) -> Self {
        Self::Failed { url, why: why.into() }
    }

    /// The error as conversion reports it, without the words that belong to admission.
    #[must_use]
    pub fn bare(&self) -> String {
        let text = self.to_string();
        text.strip_prefix("failed to call webhook: ").map_or(text.clone(), str::to_owned)
    }
}

/// Says what went wrong on the way, given the error of the HTTP client.
pub(super) fn transport_text(error: &(dyn Error + 'static)) -> String {
    let mut next = Some(error);
    let mut last = error.to_string();
    while let Some(error) = next {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return tls_text(tls);
        }
        last = error.to_string();
        // An IO error hides what it was made of from its `source`.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = match inner {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    match last.as_str() {
        "connection closed before message completed" | "unexpected end of file" => "EOF".to_owned(),
        _ => last,
    }
}

fn tls_text(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(problem) = error else {
        return format!("remote error: tls: {error}");
    };
    let why = match problem {
        CertificateError::NotValidForName => {
            "certificate is valid for other names, not for this one".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            name_text(&expected.to_str(), matches!(expected, ServerName::IpAddress(_)), presented)
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "certificate has expired or is not yet valid".to_owned()
        }
        other => other.to_string(),
    };
    format!("tls: failed to verify certificate: x509: {why}")
}

/// Says that a certificate is for other names. The presented ones come as `DnsName("a.b")` and `IpAddress(127.0.0.1)`.
fn name_text(wanted: &str, is_address: bool, presented: &[String]) -> String {
    if is_address && !presented.iter().any(|name| name.starts_with("IpAddress")) {
        return format!(
            "cannot validate certificate for {wanted} because it doesn't contain any IP SANs"
        );
    }
    let bare = |name: &String| {
        let inner = name.split_once('(').map_or(name.as_str(), |(_, inner)| inner);
        inner.trim_end_matches(')').trim_matches('"').to_owned()
    };
    let names: Vec<String> = presented.iter().map(bare).collect();
    if names.is_empty() {
        return format!("certificate is not valid for any names, but wanted to match {wanted}");
    }
    format!("certificate is valid for {}, not {wanted}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_as_go_tells_them() {
        let dns = vec!["DnsName(\"a.example\")".to_owned()];
        let both = vec![dns[0].clone(), "IpAddress(127.0.0.1)".to_owned()];
        assert_eq!(
            name_text("10.0.0.1", true, &dns),
            "cannot validate certificate for 10.0.0.1 because it doesn't contain any IP SANs"
        );
        assert_eq!(
            name_text("10.0.0.1", true, &both),
            "certificate is valid for a.example, 127.0.0.1, not 10.0.0.1"
        );
        assert_eq!(
            name_text("b.example", false, &[]),
            "certificate is not valid for any names, but wanted to match b.example"
        );
    }
}
