//! The records without the service: what `trunkline admin` works on while the box stands still.

use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::StartError;
use crate::clock::Clock;
use crate::config::Config;
use crate::directory::Directory;
use crate::identity::Identity;
use crate::store::{OpenOptions, Store};

/// Store, directory and identity, and nothing that listens.
pub struct Offline {
    pub store: Store,
    pub directory: Directory,
    pub identity: Identity,
}

impl Offline {
    pub async fn open(config: &Config, clock: Clock) -> Result<Offline, StartError> {
        let store = open_store(config, clock.clone()).await?;
        match records(config, store.clone(), clock).await {
            Ok((directory, identity)) => Ok(Offline { store, directory, identity }),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    pub async fn close(self) {
        self.store.close().await;
    }
}

async fn records(config: &Config, store: Store, clock: Clock) -> Result<(Directory, Identity), StartError> {
    let directory = Directory::open(store.clone(), config).await?;
    let identity = Identity::open(store, directory.clone(), clock).await?;
    Ok((directory, identity))
}

pub(super) async fn open_store(config: &Config, clock: Clock) -> Result<Store, StartError> {
    let directory = config.state.directory.clone();
    make_folder(&directory).map_err(|problem| StartError::State { directory: directory.clone(), problem })?;
    let options = OpenOptions { cache_bytes: config.state.cache_mib << 20 };
    Ok(tokio::task::spawn_blocking(move || Store::open(&directory, options, clock)).await??)
}

/// Keys and recordings lie there: nobody else may look in.
fn make_folder(folder: &Path) -> Result<(), String> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| error.to_string())?;
    nix::unistd::access(folder, nix::unistd::AccessFlags::W_OK | nix::unistd::AccessFlags::X_OK)
        .map_err(|error| error.desc().to_string())
}
