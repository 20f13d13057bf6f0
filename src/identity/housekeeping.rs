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
