use std::path::Path;

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the store {path} is in use by another process; stop it first")]
    Locked { path: String },
    #[error(
        "the store {path} was written by a newer version (schema {found}, this program knows {known}); update Trunkline or restore a backup"
    )]
    Newer { path: String, found: u32, known: u32 },
    #[error("the store {path} cannot be opened: {problem}")]
    Unusable { path: String, problem: String },
}

impl OpenError {
    pub(super) fn unusable(path: &Path, problem: impl std::fmt::Display) -> OpenError {
        OpenError::Unusable { path: path.display().to_string(), problem: problem.to_string() }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full or failing, or the change panicked; nothing of the change was kept.
    #[error("the change could not be written: {0}")]
    Write(String),
    #[error("the store could not be read: {0}")]
    Read(String),
    #[error("record in table {table} cannot be understood: {problem}")]
    Corrupt { table: &'static str, problem: String },
    #[error("the store is closing")]
    Closed,
    /// The queue of the writer is full.
    #[error("the store is overloaded")]
    Busy,
}

impl StoreError {
    pub(super) fn read(problem: impl std::fmt::Display) -> StoreError {
        StoreError::Read(problem.to_string())
    }

    pub(super) fn write(problem: impl std::fmt::Display) -> StoreError {
        StoreError::Write(problem.to_string())
    }
}
