//! What identity does once in a while: forgets what has expired, rotates the signing key when it has grown old.

use std::ops::Bound;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::UtcTime;
use crate::store::{Key, Order, StoreError, Table};

use super::authenticate::REVOKED;
use super::refresh::{REFRESH_TOKENS, REVOKED_FAMILIES};
use super::{Identity, IdentityError};

/// A signing key signs for so long.
const KEY_AGE: Duration = Duration::from_secs(180 * 24 * 3600);
/// Records removed in one change.
const BATCH: usize = 500;

impl Identity {
    /// To be called about once an hour.
    pub async fn housekeep(&self) -> Result<(), IdentityError> {
        let (now, utc) = (self.inner.clock.now(), self.inner.clock.utc());
        self.lockout(|lockout| lockout.sweep(now));
        self.forget(&REFRESH_TOKENS, utc, |token| token.expires_at).await?;
        self.forget(&REVOKED_FAMILIES, utc, |expiry| *expiry).await?;
        self.forget(&REVOKED, utc, |expiry| *expiry).await?;
        if utc.since(self.keys(|keys| keys.created_at())) >= KEY_AGE {
            self.rotate_key().await?;
        }
        Ok(())
    }

    /// Goes on until nothing expired is left: a client may make more in an hour than one change removes.
    async fn forget<K, V>(
        &self,
        table: &'static Table<K, V>,
        now: UtcTime,
        expiry: impl Fn(&V) -> UtcTime,
    ) -> Result<(), StoreError>
    where
        K: Key,
        V: Serialize + DeserializeOwned + Send + 'static,
    {
        while self.forget_some(table, now, &expiry).await? == BATCH {}
        Ok(())
    }

    async fn forget_some<K, V>(
        &self,
        table: &'static Table<K, V>,
        now: UtcTime,
        expiry: impl Fn(&V) -> UtcTime,
    ) -> Result<usize, StoreError>
    where
        K: Key,
        V: Serialize + DeserializeOwned + Send + 'static,
    {
        let mut old = Vec::new();
        self.inner.store.read()?.scan(
            table,
            Bound::Unbounded,
            Bound::Unbounded,
            Order::Ascending,
            &mut |key, value| {
                if expiry(&value) <= now {
                    old.push(key);
                }
                old.len() < BATCH
            },
        )?;
        let count = old.len();
        if count == 0 {
            return Ok(0);
        }
        self.inner
            .store
            .write(move |change| {
                for key in &old {
                    change.delete(table, key)?;
                }
                Ok(count)
            })
            .await
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::directory::Directory;
    use crate::store::{OpenOptions, Store};

    #[tokio::test]
    async fn one_round_forgets_everything_that_has_expired_and_nothing_else() {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime(1_000_000));
        let store = Store::open(folder.path(), OpenOptions { cache_bytes: 1 << 20 }, clock.clone()).expect("store");
        let directory = Directory::open(store.clone(), &Config::default()).await.expect("directory");
        let identity = Identity::open(store.clone(), directory, clock.clone()).await.expect("identity");
        let expired = BATCH as u128 * 2 + 7;
        store
            .write(move |change| -> Result<(), StoreError> {
                for n in 0..expired {
                    change.put(&REVOKED, &Uuid::from_u128(n), &UtcTime(1_000_000))?;
                }
                change.put(&REVOKED, &Uuid::from_u128(expired), &UtcTime(1_000_001))
            })
            .await
            .expect("written");
        identity.housekeep().await.expect("round");
        let mut left = 0;
        let snapshot = store.read().expect("snapshot");
        let count = &mut |_: Uuid, _: UtcTime| {
            left += 1;
            true
        };
        snapshot.scan(&REVOKED, Bound::Unbounded, Bound::Unbounded, Order::Ascending, count).expect("scan");
        assert_eq!(left, 1);
    }
}
