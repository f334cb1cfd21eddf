//! Kubeconfig files: our own, and somebody's that we add to.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use super::{Credentials, private_file};

/// A way to reach one logical cluster as one user.
#[derive(Clone, Debug)]
pub struct Context {
    /// Name of the context, its cluster and its user.
    pub name: String,
    /// URL of the server.
    pub server: String,
    /// Certificate of the authority, PEM.
    pub authority: String,
    /// How to log in.
    pub login: Login,
    /// Namespace when none is given.
    pub namespace: Option<String>,
}

/// How a user logs in.
#[derive(Clone)]
pub enum Login {
    /// By client certificate.
    Certificate(Credentials),
    /// By bearer token.
    Token(String),
}

/// Keeps tokens and keys out of logs.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Certificate(credentials) => credentials.fmt(f),
            Self::Token(_) => f.write_str("Token(***)"),
        }
    }
}

/// Why a kubeconfig was not written; the file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read or written.
    #[error("failed to access `{}`", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is there but we do not understand it.
    #[error("`{}` is not a kubeconfig: {problem}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Somebody else is writing the file, or died while doing so.
    #[error("`{}` exists: another program is writing the kubeconfig, or left this file behind", path.display())]
    Locked {
        /// The lock file, the one that kubectl uses too.
        path: PathBuf,
    },
}

/// Writes a file of our own with these contexts and nothing else.
pub fn write(path: &Path, contexts: &[Context], current: &str) -> Result<(), Error> {
    let mut config = empty();
    add(&mut config, contexts, Some(current));
    let yaml = serde_saphyr::to_string(&config)
        .map_err(|error| Error::File { path: path.to_owned(), source: io::Error::other(error) })?;
    store(path, &yaml)
}

/// Returns the text of a kubeconfig with these contexts and nothing else.
#[must_use]
pub fn render(contexts: &[Context], current: &str) -> String {
    let mut config = empty();
    add(&mut config, contexts, Some(current));
    // JSON is YAML, and writing it cannot fail.
    Value::Object(config).to_string()
}

/// Adds contexts to a file that may be somebody else's; entries of other names, and fields we do not know, stay.
/// `current` becomes the current context when given. Comments are lost, as with kubectl.
pub fn merge(path: &Path, contexts: &[Context], current: Option<&str>) -> Result<(), Error> {
    // A link stays a link: its target is replaced.
    let path = &std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let _lock = Lock::take(path)?;
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read.map_err(|source| Error::File { path: path.clone(), source })?,
    };
    let merged = merged(&text, contexts, current)
        .map_err(|problem| Error::Malformed { path: path.clone(), problem })?;
    store(path, &merged)
}

/// Returns the text of a kubeconfig with contexts added, or why `text` is none.
pub(crate) fn merged(
    text: &str,
    contexts: &[Context],
    current: Option<&str>,
) -> Result<String, String> {
    let mut config = parse(text)?;
    add(&mut config, contexts, current);
    serde_saphyr::to_string(&config).map_err(|error| error.to_string())
}

fn empty() -> Map<String, Value> {
    let head = [("apiVersion", json!("v1")), ("kind", json!("Config")), ("preferences", json!({}))];
    head.map(|(key, value)| (key.to_owned(), value)).into_iter().collect()
}

fn parse(text: &str) -> Result<Map<String, Value>, String> {
    if text.trim().is_empty() {
        return Ok(empty());
    }
    let value: Value = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
    let Value::Object(config) = value else { return Err("it is not a map".to_owned()) };
    for list in ["clusters", "users", "contexts"] {
        if !matches!(config.get(list), None | Some(Value::Null | Value::Array(_))) {
            return Err(format!("`{list}` is not a list"));
        }
    }
    Ok(config)
}

fn add(config: &mut Map<String, Value>, contexts: &[Context], current: Option<&str>) {
    for context in contexts {
        let name = &context.name;
        let cluster = json!({
            "server": context.server,
            "certificate-authority-data": STANDARD.encode(&context.authority),
        });
        let user = match &context.login {
            Login::Certificate(credentials) => json!({
                "client-certificate-data": STANDARD.encode(&credentials.certificate),
                "client-key-data": STANDARD.encode(&credentials.key),
            }),
            Login::Token(token) => json!({ "token": token }),
        };
        let mut pair = json!({ "cluster": name, "user": name });
        if let Some(namespace) = &context.namespace {
            pair["namespace"] = json!(namespace);
        }
        put(config, "clusters", name, json!({ "name": name, "cluster": cluster }));
        put(config, "users", name, json!({ "name": name, "user": user }));
        put(config, "contexts", name, json!({ "name": name, "context": pair }));
    }
    if let Some(current) = current {
        config.insert("current-context".to_owned(), json!(current));
    }
}

/// Puts an entry in place of the one of the same name, or at the end.
fn put(config: &mut Map<String, Value>, list: &str, name: &str, entry: Value) {
    let list = config.entry(list).or_insert(Value::Null);
    if list.is_null() {
        *list = json!([]);
    }
    let entries = list.as_array_mut().expect("parsing has checked that it is a list");
    match entries.iter_mut().find(|old| old["name"] == name) {
        Some(old) => *old = entry,
        None => entries.push(entry),
    }
}

fn store(path: &Path, yaml: &str) -> Result<(), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).map_err(failed)?;
    }
    private_file::replace(path, yaml.as_bytes()).map_err(failed)
}

/// The lock that kubectl takes too: a file beside the kubeconfig, there as long as somebody writes.
struct Lock(PathBuf);

impl Lock {
    fn take(config: &Path) -> Result<Self, Error> {
        let mut path = config.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let failed = |source| Error::File { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(failed)?;
        }
        let taken: io::Result<File> = private_file::owner_only().open(&path);
        match taken {
            Ok(_) => Ok(Self(path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(Error::Locked { path })
            }
            Err(source) => Err(failed(source)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(name: &str) -> Context {
        Context {
            name: name.to_owned(),
            server: "https://127.0.0.1:6443".to_owned(),
            authority: "CA".to_owned(),
            login: Login::Token(format!("{name}-secret")),
            namespace: None,
        }
    }

    fn load(path: &Path) -> Value {
        serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn an_own_file_has_one_context_per_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new").join("kubeconfig");
        write(&path, &[context("hub"), context("member-1")], "hub").unwrap();
        let config = load(&path);
        assert_eq!(config["current-context"], "hub");
        assert_eq!(
            config["contexts"][1]["context"],
            json!({"cluster": "member-1", "user": "member-1"})
        );
        assert_eq!(config["users"][0]["user"]["token"], "hub-secret");
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority-data"], "Q0E=");
    }

    #[test]
    fn merging_keeps_everything_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        let old = "apiVersion: v1\nkind: Config\ncurrent-context: work\nusers: null\n\
                   extensions: [{name: x}]\n\
                   contexts:\n- name: work\n  context: {cluster: work, user: me, strange: 'yes'}\n\
                   clusters:\n- name: work\n  cluster: {server: 'https://work'}\n";
        std::fs::write(&path, old).unwrap();
        merge(&path, &[context("hub")], None).unwrap();
        merge(&path, &[context("hub")], None).unwrap();
        let config = load(&path);
        assert_eq!(config["current-context"], "work");
        assert_eq!(config["contexts"][0]["context"]["strange"], "yes");
        assert_eq!(config["extensions"][0]["name"], "x");
        assert_eq!(config["clusters"].as_array().unwrap().len(), 2);
        assert_eq!(config["users"].as_array().unwrap().len(), 1);

        merge(&path, &[], Some("hub")).unwrap();
        assert_eq!(load(&path)["current-context"], "hub");
    }

    /// Pitfall: a kubeconfig that somebody else needs must not be overwritten.
    #[test]
    fn a_file_that_is_no_kubeconfig_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        for text in ["- a list\n", "clusters: 5\n", "{"] {
            std::fs::write(&path, text).unwrap();
            assert!(matches!(merge(&path, &[context("hub")], None), Err(Error::Malformed { .. })));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_locked_file_is_not_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(directory.path().join("config.lock"), "").unwrap();
        assert!(matches!(merge(&path, &[context("hub")], None), Err(Error::Locked { .. })));
        assert!(!path.exists());
    }

    #[test]
    fn secrets_do_not_show_in_debug_output() {
        assert!(!format!("{:?}", context("hub")).contains("secret"));
    }

    #[test]
    fn kube_reads_what_we_write() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        write(&path, &[context("hub")], "hub").unwrap();
        let config = kube::config::Kubeconfig::read_from(&path).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("hub"));
    }
}
