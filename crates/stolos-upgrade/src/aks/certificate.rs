//! The certificate of an application, and the assertions that it signs (RFC 7523).
//!
//! `azure_identity` makes these with OpenSSL only, so they are made here, with ring (docs/adr/0004).

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{RSA_PSS_SHA256, RsaKeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long an assertion that is signed for one request is valid.
const LIFETIME: SignedDuration = SignedDuration::from_mins(5);

/// How far the clock of this machine may be ahead of Entra's. With the lifetime it stays below the ten minutes that
/// Entra allows.
const CLOCK_TOLERANCE: SignedDuration = SignedDuration::from_mins(2);

/// A certificate and its key.
pub(super) struct Certificate {
    key: RsaKeyPair,
    /// SHA-256 of the certificate, by which Entra finds it.
    thumbprint: String,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("thumbprint", &self.thumbprint).finish_non_exhaustive()
    }
}

impl Certificate {
    /// Reads a certificate and its key. Those of its issuers may be there too, in any order: only the one of the key is
    /// registered with the application.
    ///
    /// # Errors
    /// When there is none that can be used, with what would be right.
    pub(super) fn read(pem: &str) -> Result<Self, String> {
        let certificates =
            CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| format!("is not PEM: {error}"))?;
        if certificates.is_empty() {
            return Err("has no certificate in PEM".into());
        }
        let key = key(pem)?;
        let public = key.public().as_ref();
        let own = certificates.iter().find(|der| holds(der, public)).ok_or_else(|| {
            let n = certificates.len();
            format!("has a key that belongs to none of its {n} certificate(s)")
        })?;
        Ok(Self { thumbprint: URL_SAFE_NO_PAD.encode(Sha256::digest(own)), key })
    }

    /// Signs an assertion that an application asks for a token.
    ///
    /// # Errors
    /// When the system gives no random numbers or the key does not sign.
    pub(super) fn assertion(
        &self,
        client: &str,
        audience: &str,
        now: Timestamp,
    ) -> Result<String, String> {
        let random = SystemRandom::new();
        let mut id = [0; 16];
        random.fill(&mut id).map_err(|_| "the system gives no random numbers")?;
        let header = json!({ "alg": "PS256", "typ": "JWT", "x5t#S256": self.thumbprint });
        let now = now.as_second();
        let claims = json!({
            "aud": audience, "iss": client, "sub": client, "jti": hex::encode(id), "iat": now,
            "nbf": now - CLOCK_TOLERANCE.as_secs(), "exp": now + LIFETIME.as_secs(),
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &random, signed.as_bytes(), &mut signature)
            .map_err(|_| "the key of the certificate cannot sign")?;
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

fn key(pem: &str) -> Result<RsaKeyPair, String> {
    let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
        if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") {
            "has an encrypted private key; store it without a passphrase"
        } else {
            "has no private key in PEM"
        }
    })?;
    let key = match &key {
        PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(key.secret_pkcs1_der()),
        _ => return Err("has a key that is not RSA; Entra ID takes RSA keys only".into()),
    };
    key.map_err(|error| {
        format!(
            "has a private key that cannot be used: {error}; it must be RSA of 2048 to 4096 bits"
        )
    })
}

/// Whether a certificate is the one of a public key.
fn holds(certificate: &CertificateDer<'_>, public: &[u8]) -> bool {
    X509Certificate::from_der(certificate)
        .is_ok_and(|(_, read)| read.public_key().subject_public_key.data == public)
}
