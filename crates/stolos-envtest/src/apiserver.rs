//! `kube-apiserver`: one cluster in memory, over TLS, with the users that envtest makes by client certificates.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use jiff::Timestamp;
use stolos_apiserver::addresses::ServiceRange;
use stolos_apiserver::auth::{DEFAULT_ISSUER, TokenSigner, UserInfo};
use stolos_apiserver::controllers::Controllers;
use stolos_apiserver::rest::admission::Defaults;
use stolos_apiserver::serve::{
    CertificateAuthority, Credentials, Limits, Server, server_config_for,
};
use stolos_apiserver::server::{ApiServer, Options};
use stolos_apiserver::store::Store;
use tokio::net::TcpListener;
use tracing::info;

use crate::flags::{Flag, Flags};
use crate::{Program, told_to_stop};

/// How long requests in flight may take when the process stops; envtest gives it 20 s.
const GRACE: Duration = Duration::from_secs(2);

const DEFAULT_PORT: u16 = 6443;

/// Addresses of services where no flag says otherwise, as kube-apiserver's.
const SERVICES: &str = "10.0.0.0/24";

/// Modes of `--authorization-mode` under which RBAC alone gives the same answers: no node logs in.
const AUTHORIZATION_MODES: [&str; 2] = ["RBAC", "Node"];

/// The program.
pub const PROGRAM: Program = Program {
    usage: "kube-apiserver for envtest suites: the embedded Kubernetes-compatible API server, in memory.\n\n\
            No controllers run beside it. Other flags of kube-apiserver are accepted and ignored.",
    version: "Kubernetes v1.34.0+stolos",
    flags: &[
        Flag {
            name: "bind-address",
            value: "ip",
            help: "Address to listen on (default 127.0.0.1).",
        },
        Flag { name: "secure-port", value: "int", help: "Port to listen on (default 6443)." },
        Flag {
            name: "cert-dir",
            value: "directory",
            help: "Holds apiserver.crt and apiserver.key; they are made when missing.",
        },
        Flag {
            name: "tls-cert-file",
            value: "file",
            help: "Serving certificate instead of that in --cert-dir.",
        },
        Flag { name: "tls-private-key-file", value: "file", help: "Key of --tls-cert-file." },
        Flag {
            name: "client-ca-file",
            value: "file",
            help: "Authorities whose client certificates are users.",
        },
        Flag {
            name: "token-auth-file",
            value: "file",
            help: "Lines of token,user,uid,\"group,...\": bearer tokens of users.",
        },
        Flag {
            name: "service-account-issuer",
            value: "url",
            help: "Issuer of service-account tokens.",
        },
        Flag {
            name: "service-account-signing-key-file",
            value: "file",
            help: "ECDSA P-256 key that signs service-account tokens.",
        },
        Flag {
            name: "service-account-key-file",
            value: "file",
            help: "Accepted; the signing key verifies.",
        },
        Flag {
            name: "authorization-mode",
            value: "modes",
            help: "RBAC, or Node,RBAC (default RBAC).",
        },
        Flag {
            name: "disable-admission-plugins",
            value: "names",
            help: "Plugins that fill in defaults, such as Priority, to be left out.",
        },
        Flag { name: "enable-admission-plugins", value: "names", help: "Accepted and ignored." },
        Flag {
            name: "etcd-servers",
            value: "urls",
            help: "Accepted and ignored: objects live in memory.",
        },
        Flag {
            name: "service-cluster-ip-range",
            value: "cidr",
            help: "Addresses of services (default 10.0.0.0/24).",
        },
        Flag { name: "allow-privileged", value: "", help: "Accepted and ignored." },
        Flag { name: "version", value: "", help: "Print the version and exit." },
        Flag { name: "help", value: "", help: "Print this help and exit." },
    ],
    run: |flags| Box::pin(run(flags)),
};

async fn run(flags: Flags) -> anyhow::Result<()> {
    check_authorization(&flags)?;
    let address = address(&flags)?;
    let credentials = serving_credentials(&flags, address.ip())?;
    let clients =
        flags.last("client-ca-file").map(|path| read("client-ca-file", path)).transpose()?;
    let tls = server_config_for(&credentials, clients.as_deref())
        .context("failed to use the certificates of --cert-dir and --client-ca-file")?;
    let options = Options {
        signer: signer(&flags)?.map(Arc::new),
        controllers: Controllers::api_server_only(),
        defaults: Defaults::default().without(flags.list("disable-admission-plugins")),
        services: services(&flags)?,
        ..Options::default()
    };
    let store = Store::memory();
    let api = ApiServer::start(store.cluster("envtest")?, options).await?;
    if let Some(path) = flags.last("token-auth-file") {
        for (token, user) in static_tokens(&read("token-auth-file", path)?)? {
            api.auth().authenticator().add_static_token(&token, user);
        }
    }
    // Listening comes last: whoever can connect finds everything there.
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!("failed to listen on {address} (--bind-address, --secure-port)")
    })?;
    let server = Server::start(listener, Some(tls), api.service(), Limits::default())?;
    info!(address = %server.address(), "serving");
    told_to_stop().await.context("failed to wait for signals")?;
    api.stop();
    server.stop(GRACE).await;
    store.close();
    Ok(())
}

fn check_authorization(flags: &Flags) -> anyhow::Result<()> {
    for mode in flags.list("authorization-mode") {
        if !AUTHORIZATION_MODES.contains(&mode) {
            bail!("--authorization-mode: `{mode}` is not served, use `RBAC`");
        }
    }
    Ok(())
}

fn services(flags: &Flags) -> anyhow::Result<ServiceRange> {
    let range = flags.last("service-cluster-ip-range").unwrap_or(SERVICES);
    // With two ranges, services of two families would be possible; there is one here.
    let first = range.split(',').next().unwrap_or_default();
    first.parse().context("--service-cluster-ip-range")
}

fn address(flags: &Flags) -> anyhow::Result<SocketAddr> {
    let ip = match flags.last("bind-address") {
        Some(text) => text
            .parse()
            .with_context(|| format!("--bind-address: `{text}` is not an IP address"))?,
        None => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let port = match flags.last("secure-port") {
        Some(text) => {
            text.parse().with_context(|| format!("--secure-port: `{text}` is not a port number"))?
        }
        None => DEFAULT_PORT,
    };
    Ok(SocketAddr::new(ip, port))
}

/// Reads the certificate that the flags name, or the one in the certificate folder, or makes one there.
fn serving_credentials(flags: &Flags, ip: IpAddr) -> anyhow::Result<Credentials> {
    if let (Some(certificate), Some(key)) =
        (flags.last("tls-cert-file"), flags.last("tls-private-key-file"))
    {
        return Ok(Credentials {
            certificate: read("tls-cert-file", certificate)?,
            key: read("tls-private-key-file", key)?,
        });
    }
    let Some(folder) = flags.last("cert-dir").map(Path::new) else {
        return self_made(ip);
    };
    let (certificate, key) = (folder.join("apiserver.crt"), folder.join("apiserver.key"));
    if certificate.exists() || key.exists() {
        return Ok(Credentials {
            certificate: read("cert-dir", &certificate)?,
            key: read("cert-dir", &key)?,
        });
    }
    let credentials = self_made(ip)?;
    write(&certificate, &credentials.certificate)?;
    write(&key, &credentials.key)?;
    Ok(credentials)
}

/// Makes a certificate whose authority nobody needs again: clients trust the certificate itself.
fn self_made(ip: IpAddr) -> anyhow::Result<Credentials> {
    let now = Timestamp::now();
    let authority = CertificateAuthority::generate("kube-apiserver", now)?;
    let mut credentials = authority.server(&[ip], now)?;
    credentials.certificate.push_str(authority.certificate());
    Ok(credentials)
}

fn signer(flags: &Flags) -> anyhow::Result<Option<TokenSigner>> {
    let issuer = flags.last("service-account-issuer").unwrap_or(DEFAULT_ISSUER);
    let Some(path) = flags.last("service-account-signing-key-file") else {
        return Ok(Some(TokenSigner::generate(issuer)?));
    };
    let pem = read("service-account-signing-key-file", path)?;
    let signer = TokenSigner::from_pem(&pem, issuer)
        .with_context(|| format!("--service-account-signing-key-file: `{path}` cannot be used"))?;
    Ok(Some(signer))
}

/// Reads lines of `token,user,uid,"group,group"`.
fn static_tokens(text: &str) -> anyhow::Result<Vec<(String, UserInfo)>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(static_token).collect()
}

fn static_token(line: &str) -> anyhow::Result<(String, UserInfo)> {
    let mut fields = line.splitn(4, ',').map(str::trim);
    let (Some(token), Some(name), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
        bail!("--token-auth-file: a line has fewer than the three fields token,user,uid");
    };
    let groups: Vec<&str> = fields
        .next()
        .unwrap_or_default()
        .trim_matches('"')
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .collect();
    let user = UserInfo { uid: uid.to_owned(), ..UserInfo::authenticated(name, &groups) };
    Ok((token.to_owned(), user))
}

fn read(flag: &str, path: impl AsRef<Path>) -> anyhow::Result<String> {
    let path = path.as_ref();
    fs::read_to_string(path).with_context(|| format!("--{flag}: failed to read {}", path.display()))
}

fn write(path: &PathBuf, content: &str) -> anyhow::Result<()> {
    fs::write(path, content)
        .with_context(|| format!("--cert-dir: failed to write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags;

    fn parsed(line: &str) -> Flags {
        flags::parse(PROGRAM.flags, line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_help_never_offers_a_port_without_tls() {
        let help = flags::help(PROGRAM.usage, PROGRAM.flags);
        assert!(!help.contains("--insecure-port"), "{help}");
        assert!(help.contains("\n      --secure-port int"), "{help}");
    }

    #[test]
    fn only_rbac_is_served() {
        for fine in ["", "--authorization-mode=RBAC", "--authorization-mode=Node,RBAC"] {
            check_authorization(&parsed(fine)).unwrap();
        }
        let error = check_authorization(&parsed("--authorization-mode=AlwaysAllow")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "--authorization-mode: `AlwaysAllow` is not served, use `RBAC`"
        );
    }

    #[test]
    fn the_address_comes_from_the_flags() {
        let flags = parsed("--bind-address=127.0.0.2 --secure-port=7000");
        assert_eq!(address(&flags).unwrap().to_string(), "127.0.0.2:7000");
        assert_eq!(address(&parsed("")).unwrap().to_string(), "127.0.0.1:6443");
        assert!(address(&parsed("--secure-port=70000")).is_err());
        assert!(address(&parsed("--bind-address=localhost")).is_err());
    }

    #[test]
    fn certificates_are_made_once_and_then_kept() {
        let folder = tempfile::tempdir().unwrap();
        let flags = parsed(&format!("--cert-dir={}", folder.path().display()));
        let ip = Ipv4Addr::LOCALHOST.into();
        let first = serving_credentials(&flags, ip).unwrap();
        let second = serving_credentials(&flags, ip).unwrap();
        assert_eq!(first.certificate, second.certificate);
        assert_eq!(first.key, second.key);
    }

    #[test]
    fn static_tokens_have_groups() {
        let tokens = static_tokens("t1,ann,u1\n\nt2,bob,u2,\"ops,dev\"\n").unwrap();
        assert_eq!(tokens[0].0, "t1");
        assert_eq!(tokens[1].1.name, "bob");
        assert!(tokens[1].1.in_group("ops") && tokens[1].1.in_group("dev"));
        assert!(static_tokens("t1,ann").is_err());
    }
}
