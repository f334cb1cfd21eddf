//! The last desired state on disk, so that a process that starts without its hub balances as before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::desired::Desired;

/// Bytes of a state that is read: ten times what 10,000 VIP ports with 20 endpoints each take.
const MAX_SIZE: u64 = 512 * 1024 * 1024;

/// The state on disk cannot be used. The data plane can go on without it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The file cannot be read.
    #[error("failed to read the last state from `{path}`")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a state.
    #[error("`{path}` is not the state of a data plane")]
    Content {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// Reads the state in `path`; none if there is no such file.
pub(crate) fn load(path: &Path) -> Result<Option<Desired>, Error> {
    let read = || {
        if fs::metadata(path)?.len() > MAX_SIZE {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        fs::read(path)
    };
    let content = match read() {
        Ok(content) => content,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Read { path: path.to_owned(), source }),
    };
    let desired = serde_json::from_slice(&content);
    desired.map(Some).map_err(|source| Error::Content { path: path.to_owned(), source })
}

/// Keeps the file up to date.
pub(crate) struct Keeper {
    path: PathBuf,
    latest: watch::Sender<Option<Arc<Desired>>>,
    /// Whether the file is this process's own. Held while it is written.
    is_ours: Mutex<bool>,
}

impl Keeper {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path, latest: watch::Sender::new(None), is_ours: Mutex::new(true) }
    }

    /// Lets `state` be written soon.
    pub(crate) fn set(&self, state: Desired) {
        self.latest.send_replace(Some(Arc::new(state)));
    }

    /// Writes every new state from now on, the latest one if they come faster than the disk. Never ends.
    pub(crate) fn run(self: Arc<Self>) -> impl Future<Output = ()> + Send {
        // Here and not in the future, which may be polled later than the first state comes.
        let mut states = self.latest.subscribe();
        async move {
            while states.changed().await.is_ok() {
                let keeper = self.clone();
                let written = tokio::task::spawn_blocking(move || keeper.write()).await;
                if let Ok(Err(error)) = written {
                    let path = self.path.display();
                    tracing::warn!(%path, %error, "the state of the data plane is not saved");
                }
            }
        }
    }

    /// Writes the latest state. Blocks.
    pub(crate) fn write(&self) -> io::Result<()> {
        let is_ours = self.is_ours.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.latest.borrow().clone();
        match state {
            Some(state) if *is_ours => write(&self.path, &serde_json::to_vec(state.as_ref())?),
            Some(_) | None => Ok(()),
        }
    }

    /// Leaves the file to somebody else. Waits for a write that is going on.
    pub(crate) fn leave(&self) {
        *self.is_ours.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

/// Replaces a file as a whole, for nobody else to read: a crash leaves the old or the new content.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&aside, path)?;
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}
