//! Keys and certificates of the test clusters.

use std::fs;
use std::path::Path;

use anyhow::Context;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Writes `ca.crt`, `server.crt`, `server.key` and `service-account.key` into a folder.
pub(crate) fn write(dir: &Path) -> anyhow::Result<()> {
    let ca_key = KeyPair::generate().context("failed to generate a key")?;
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "test clusters");
    let ca_certificate = ca.self_signed(&ca_key).context("failed to sign the CA")?;
    let issuer = Issuer::new(ca, ca_key);

    let server_key = KeyPair::generate().context("failed to generate a key")?;
    let names = ["localhost", "127.0.0.1", "10.0.0.1", "kubernetes.default.svc"];
    let server = CertificateParams::new(names.map(str::to_owned).to_vec())
        .and_then(|params| params.signed_by(&server_key, &issuer))
        .context("failed to sign the server certificate")?;

    let accounts = KeyPair::generate().context("failed to generate a key")?;
    for (name, pem) in [
        ("ca.crt", ca_certificate.pem()),
        ("server.crt", server.pem()),
        ("server.key", server_key.serialize_pem()),
        ("service-account.key", accounts.serialize_pem()),
        ("service-account.pub", accounts.public_key_pem()),
    ] {
        let path = dir.join(name);
        fs::write(&path, pem).with_context(|| format!("failed to write {}", path.display()))?;
    }
    Ok(())
}
