//! Signatures by the Standard Webhooks rules, which receivers have libraries for: HMAC-SHA256 over id, time and body.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

/// Marks a secret that is written in base64.
const BASE64_PREFIX: &[u8] = b"whsec_";

/// Returns the header `webhook-signature`: one signature for each secret.
pub(super) fn signatures(secrets: &[&[u8]], id: &str, seconds: i64, body: &[u8]) -> String {
    let mut signed = format!("{id}.{seconds}.").into_bytes();
    signed.extend_from_slice(body);
    let signature = |secret: &&[u8]| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &key(secret));
        format!("v1,{}", STANDARD.encode(hmac::sign(&key, &signed)))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

/// Returns the bytes of a secret; what only looks like base64 is taken as it is.
fn key(secret: &[u8]) -> Vec<u8> {
    let encoded = secret.strip_prefix(BASE64_PREFIX).map(<[u8]>::trim_ascii);
    encoded.and_then(|text| STANDARD.decode(text).ok()).unwrap_or_else(|| secret.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_id_time_and_body_and_each_secret_gives_one() {
        let sign = |secrets: &[&[u8]]| signatures(secrets, "id", 1, b"{}");
        let one = sign(&[b"secret"]);
        // printf 'id.1.{}' | openssl dgst -sha256 -hmac secret -binary | base64
        assert_eq!(one, "v1,490pAcC1LQ1k1cOcmH0da199+A88OKCj0Io4WnJlp68=");
        assert_eq!(sign(&[b"whsec_c2VjcmV0"]), one);
        assert_eq!(sign(&[b"secret", b"older"]).split(' ').count(), 2);
        assert_ne!(signatures(&[b"secret"], "id", 2, b"{}"), one);
        assert_ne!(signatures(&[b"secret"], "id", 1, b"{ }"), one);
    }
}
