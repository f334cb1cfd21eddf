//! The data directory of `stolos up`: what it keeps, and who may use it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stolos_apiserver::store::Store;

use crate::exit::Hinted;

/// Members of a new fleet when the user does not say.
pub(super) const DEFAULT_MEMBERS: u32 = 3;

/// What must stay the same from start to start.
#[derive(Debug, Serialize, Deserialize)]
struct Settings {
    members: u32,
    /// Which part of loopback services and pods have their addresses from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    loopback: Option<u8>,
}

/// An open data directory. Nobody else can open it while this lives.
pub(super) struct DataDir {
    path: PathBuf,
    store: Store,
    settings: Settings,
    /// Holds the lock.
    _lock: Option<File>,
    /// Removes the directory of an ephemeral fleet.
    _temporary: Option<tempfile::TempDir>,
}

impl DataDir {
    /// Opens a directory, or makes it. `members` may add members to a fleet, never take any away.
    pub(super) fn open(path: &Path, members: Option<u32>) -> anyhow::Result<Self> {
        private_dir(path)?;
        let lock = lock(path)?;
        let settings = settings(path, members)?;
        let store = Store::open(&path.join("store")).map_err(|error| {
            let hint = "point --data-dir at another directory, or restore this one from a backup";
            Hinted::error(chain(&error), hint)
        })?;
        Ok(Self { path: path.to_owned(), store, settings, _lock: Some(lock), _temporary: None })
    }

    /// Makes a fleet in memory. Only the kubeconfig and the certificates are files, in a directory that goes with it.
    pub(super) fn ephemeral(members: u32) -> anyhow::Result<Self> {
        let temporary = tempfile::Builder::new()
            .prefix("stolos-")
            .tempdir()
            .context("failed to create a directory")?;
        Ok(Self {
            path: temporary.path().to_owned(),
            store: Store::memory(),
            settings: Settings { members, loopback: None },
            _lock: None,
            _temporary: Some(temporary),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    pub(super) fn n_members(&self) -> u32 {
        self.settings.members
    }

    /// Returns which part of loopback the fleet had before.
    pub(super) fn loopback(&self) -> Option<u8> {
        self.settings.loopback
    }

    /// Keeps which part of loopback the fleet has.
    pub(super) fn keep_loopback(&mut self, slot: u8) -> anyhow::Result<()> {
        if self.settings.loopback.replace(slot) == Some(slot) {
            return Ok(());
        }
        write(&self.path, &self.settings)
    }

    /// Returns the directory of the certificate authority, made when missing.
    pub(super) fn authority_dir(&self) -> anyhow::Result<PathBuf> {
        let path = self.path.join("pki");
        private_dir(&path)?;
        Ok(path)
    }

    /// Returns the directory with the keys of one cluster, made when missing.
    pub(super) fn keys_of(&self, cluster: &str) -> anyhow::Result<PathBuf> {
        let path = self.path.join("pki").join(cluster);
        private_dir(&path)?;
        Ok(path)
    }

    /// Returns the file with the certificate of the authority.
    pub(super) fn authority_file(&self) -> PathBuf {
        self.path.join("pki/ca.crt")
    }

    /// Ends the store; everything acknowledged is on disk.
    pub(super) fn close(self) {
        self.store.close();
    }
}

/// Makes a directory that only its owner can look into.
fn private_dir(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("failed to create directory `{}`", path.display()))
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let file = path.join("lock");
    let lock =
        File::create(&file).with_context(|| format!("failed to open `{}`", file.display()))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(Hinted::error(
            format!("data directory `{}` is in use by another process", path.display()),
            "stop the other `stolos up`, or choose another --data-dir",
        )),
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("failed to lock `{}`", file.display()))
        }
    }
}

/// Reads what an earlier start has settled, and settles what is new.
fn settings(path: &Path, members: Option<u32>) -> anyhow::Result<Settings> {
    let file = path.join("settings.json");
    let shown = file.display();
    let before: Option<Settings> = match std::fs::read(&file) {
        Ok(bytes) => Some(serde_json::from_slice(&bytes).map_err(|error| {
            Hinted::error(
                format!("`{shown}` is damaged: {error}"),
                "nothing was changed; restore the file from a backup, or write {\"members\":N} into it",
            )
        })?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("failed to read `{shown}`")),
    };
    let known = before.as_ref().map(|settings| settings.members);
    let loopback = before.as_ref().and_then(|settings| settings.loopback);
    let members = members.or(known).unwrap_or(DEFAULT_MEMBERS);
    if let Some(known) = known.filter(|known| *known > members) {
        return Err(Hinted::error(
            format!(
                "`--members {members}` is fewer than the {known} members in data directory `{}`",
                path.display()
            ),
            "a start never removes members; leave --members out, or choose another --data-dir",
        ));
    }
    let settings = Settings { members, loopback };
    if known != Some(members) {
        write(path, &settings)?;
    }
    Ok(settings)
}

fn write(path: &Path, settings: &Settings) -> anyhow::Result<()> {
    let (file, temporary) = (path.join("settings.json"), path.join("settings.json.new"));
    let text = serde_json::to_vec(settings).context("failed to write settings")?;
    std::fs::write(&temporary, text)
        .with_context(|| format!("failed to write `{}`", temporary.display()))?;
    std::fs::rename(&temporary, &file)
        .with_context(|| format!("failed to write `{}`", file.display()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
