//! Why the box did not start: each variant is one sentence for the operator.

use std::path::PathBuf;

use crate::api;
use crate::identity::IdentityError;
use crate::ops::certificate::BadFile;
use crate::sip;
use crate::speech;
use crate::store::{OpenError, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(
        "the state directory {} cannot be used: {problem}; let the service's user write there, or correct [state] directory",
        directory.display()
    )]
    State { directory: PathBuf, problem: String },
    #[error(transparent)]
    Store(#[from] OpenError),
    #[error("the store cannot be brought up to date: {0}")]
    Records(#[from] StoreError),
    #[error("sign-in cannot be set up: {0}")]
    Identity(#[from] IdentityError),
    #[error(transparent)]
    Speech(#[from] speech::StartError),
    #[error("the media threads cannot be started: {0}")]
    Media(std::io::Error),
    #[error(transparent)]
    Sip(#[from] sip::endpoint::StartError),
    #[error("the box's own certificate cannot be made: {0}")]
    Certificate(#[from] BadFile),
    #[error("requests of tools cannot be sent: {0}")]
    Outbound(String),
    #[error("[mail] cannot be used: {0}")]
    Mail(String),
    #[error(transparent)]
    Api(#[from] api::StartError),
    /// A start step died; its own message is in the log.
    #[error("a part of the start ended unexpectedly: {0}")]
    Died(#[from] tokio::task::JoinError),
}
