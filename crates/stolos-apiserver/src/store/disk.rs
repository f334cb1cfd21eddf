//! The durable form: a `redb` file with one table per logical cluster.
//!
//! Attributes are stored beside the body, so that start-up parses no object. Nothing here deletes or truncates a file.

use std::fs::{File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{
    Builder, Database, DatabaseError, ReadableTableMetadata, StorageError, TableDefinition,
};

use super::cluster::{Cluster, Pending};
use super::packed::{self, Beside};
use super::recovery::{self, Found};

/// Name of the file within the data directory.
const FILE: &str = "store.redb";
/// Version of the layout described by the table definitions below. Format 1 is read as well: its bodies are not packed.
pub(super) const FORMAT: u64 = 2;
/// The index in memory serves all reads; the cache only spares the writer the upper pages of the tree.
const CACHE_BYTES: usize = 8 << 20;

/// `format`, `start` with the revision that new clusters start from, and `revision/<cluster>` with the last revision of each
/// cluster, and `count/<cluster>` with the number of its objects.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
pub(super) const REVISION_PREFIX: &str = "revision/";
pub(super) const COUNT_PREFIX: &str = "count/";
pub(super) const START: &str = "start";

/// (resource, namespace, name)
pub(super) type ObjectKey = (&'static str, &'static str, &'static str);
/// (revision, attributes as JSON, packed body)
pub(super) type ObjectValue = (u64, &'static [u8], &'static [u8]);

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process works on the directory.
    #[error("`{}` is in use by another process", .path.display())]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The file is not what this program wrote.
    #[error("`{}` is damaged: {what}; nothing was changed, restore it from a backup", .path.display())]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// The file was written by another version of this program.
    #[error("`{}` has format {found}, this version reads format {FORMAT}", .path.display())]
    Format {
        /// The database file.
        path: PathBuf,
        /// Format of the file.
        found: u64,
    },
    /// The file system refuses.
    #[error("could not open `{}`", .path.display())]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

pub(super) struct Disk(Database);

impl Disk {
    /// Opens or creates the file in a directory, checks every object, and reads it. After a crash `redb` checks its own pages
    /// as well.
    pub(super) fn open(directory: &Path) -> Result<(Self, Found), OpenError> {
        let path = directory.join(FILE);
        let io_error = |source| OpenError::Io { path: path.clone(), source };
        if !path.try_exists().map_err(io_error)? {
            create(directory, &path).map_err(io_error)?;
        }
        // `redb` panics on some damaged files.
        catch_unwind(AssertUnwindSafe(|| open_existing(&path)))
            .unwrap_or_else(|_| Err(Damage::Broken("its structure does not hold".to_owned())))
            .map_err(|damage| damage.at(&path))
    }

    /// Uses a new database on other storage.
    #[cfg(test)]
    pub(super) fn on(backend: impl redb::StorageBackend) -> Self {
        let database = builder().create_with_backend(backend).unwrap();
        write_format(&database).unwrap();
        Self(database)
    }

    /// Opens a database on other storage, checks every object, and reads it.
    #[cfg(test)]
    pub(super) fn reopen_on(backend: impl redb::StorageBackend) -> Result<(Self, Found), String> {
        let database = builder().create_with_backend(backend).map_err(|error| error.to_string())?;
        match recovery::read(&database) {
            Ok(found) => Ok((Self(database), found)),
            Err(damage) => Err(damage.at(Path::new("memory")).to_string()),
        }
    }

    /// Deletes everything of a cluster. New clusters start from `start` at the earliest from here on.
    pub(super) fn remove(&self, cluster: &str, start: u64) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        transaction.delete_table(objects_table(&table_name(cluster)))?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.remove(format!("{REVISION_PREFIX}{cluster}").as_str())?;
            meta.remove(format!("{COUNT_PREFIX}{cluster}").as_str())?;
            meta.insert(START, start)?;
        }
        transaction.commit()?;
        Ok(())
    }

    /// Makes all batches durable in one transaction, or none.
    pub(super) fn write(
        &self,
        batches: &[(Arc<Cluster>, Vec<Pending>)],
    ) -> Result<(), redb::Error> {
        let mut transaction = self.0.begin_write()?;
        transaction.set_durability(redb::Durability::Immediate)?;
        for (cluster, batch) in batches {
            let Some(last) = batch.last() else { continue };
            let name = table_name(cluster.name());
            let mut objects = transaction.open_table(objects_table(&name))?;
            for Pending { resource, event, .. } in batch {
                let current = &event.current;
                let key = (&**resource, current.key.namespace.as_str(), current.key.name.as_str());
                if event.deleted {
                    objects.remove(key)?;
                } else {
                    let attributes = serde_json::to_vec(&current.attributes)
                        .expect("attributes are strings and flags");
                    let beside = Beside {
                        key: key.into(),
                        revision: current.revision,
                        attributes: &attributes,
                    };
                    let body = packed::pack(&current.body, &beside);
                    objects
                        .insert(key, (current.revision, attributes.as_slice(), body.as_slice()))?;
                }
            }
            let mut meta = transaction.open_table(META)?;
            let revision = format!("{REVISION_PREFIX}{}", cluster.name());
            meta.insert(revision.as_str(), last.event.revision)?;
            let count = format!("{COUNT_PREFIX}{}", cluster.name());
            meta.insert(count.as_str(), objects.len()?)?;
        }
        transaction.commit()?;
        Ok(())
    }
}

/// What is wrong with an existing file.
pub(super) enum Damage {
    Locked,
    Broken(String),
    Format(u64),
    Io(io::Error),
}

impl Damage {
    fn at(self, path: &Path) -> OpenError {
        let path = path.to_owned();
        match self {
            Self::Locked => OpenError::Locked { path },
            Self::Broken(what) => OpenError::Damaged { path, what },
            Self::Format(found) => OpenError::Format { path, found },
            Self::Io(source) => OpenError::Io { path, source },
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Damage {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Locked,
            redb::Error::Io(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                ) =>
            {
                Self::Io(error)
            }
            other => Self::Broken(other.to_string()),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

pub(super) fn objects_table(name: &str) -> TableDefinition<'_, ObjectKey, ObjectValue> {
    TableDefinition::new(name)
}

pub(super) fn table_name(cluster: &str) -> String {
    format!("objects/{cluster}")
}

fn open_existing(path: &Path) -> Result<(Disk, Found), Damage> {
    let database = builder().open(path)?;
    let found = recovery::read(&database)?;
    if found.format != FORMAT {
        write_format(&database)?;
    }
    Ok((Disk(database), found))
}

/// Creates an empty store beside the path and links it into place, so that a crash leaves no half-made file there and
/// of two processes that start at once only one wins.
fn create(directory: &Path, path: &Path) -> io::Result<()> {
    make_directory(directory)?;
    let draft = directory.join(format!("{FILE}.{}.new", uuid::Uuid::new_v4()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    drop(options.open(&draft)?);
    let database = builder().create(&draft).map_err(into_io)?;
    write_format(&database).map_err(|error| io::Error::other(error.to_string()))?;
    database.close().map_err(into_io)?;
    let linked = std::fs::hard_link(&draft, path);
    std::fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => File::open(directory)?.sync_all(),
    }
}

fn make_directory(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(directory)
}

fn into_io(error: DatabaseError) -> io::Error {
    match error {
        DatabaseError::Storage(StorageError::Io(error)) => error,
        other => io::Error::other(other.to_string()),
    }
}

fn write_format(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("format", FORMAT)?;
    transaction.commit()?;
    Ok(())
}
