//! What others need to verify tokens of this cluster's service accounts without asking it each time.

use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};

use super::body::Body;
use super::respond::{self, Response};
use crate::auth::TokenSigner;

const KEYS: &str = "/openid/v1/jwks";

/// Answers the two documents of OpenID Connect discovery; nothing for other paths.
pub(super) fn respond(signer: &TokenSigner, path: &str, headers: &HeaderMap) -> Option<Response> {
    let (document, media_type): (Value, &'static str) = match path.trim_end_matches('/') {
        KEYS => (signer.key_set(), "application/jwk-set+json"),
        "/.well-known/openid-configuration" => (configuration(signer, headers), "application/json"),
        _ => return None,
    };
    Some(respond::with_type(StatusCode::OK, media_type, Body::full(document.to_string())))
}

fn configuration(signer: &TokenSigner, headers: &HeaderMap) -> Value {
    let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    let host = host.unwrap_or("localhost");
    json!({
        "issuer": signer.issuer(),
        "jwks_uri": format!("https://{host}{KEYS}"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    })
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    async fn document(signer: &TokenSigner, path: &str) -> Option<Value> {
        let headers =
            HeaderMap::from_iter([(http::header::HOST, "hub.example:6443".parse().unwrap())]);
        let response = respond(signer, path, &headers)?;
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        Some(serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn the_configuration_leads_to_the_keys() {
        let signer = TokenSigner::generate("https://issuer.example").unwrap();
        let found = document(&signer, "/.well-known/openid-configuration").await.unwrap();
        assert_eq!(found["issuer"], "https://issuer.example");
        assert_eq!(found["jwks_uri"], "https://hub.example:6443/openid/v1/jwks");
        let keys = document(&signer, KEYS).await.unwrap();
        assert_eq!(
            (&keys["keys"][0]["kty"], &keys["keys"][0]["alg"]),
            (&json!("EC"), &json!("ES256"))
        );
        assert!(document(&signer, "/openid/v1").await.is_none());
    }
}
