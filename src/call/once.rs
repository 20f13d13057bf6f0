//! Orders under an idempotency key: the same order again is answered like the first for a day, another one is refused.
//!
//! | Key | Order | Answer |
//! |---|---|---|
//! | never seen, or older than a day | any | carried out and remembered |
//! | seen | the same | what the first one made, as it stands now |
//! | seen | another | refused |
//!
//! Everything happens within the transaction that carries the order out.

use std::ops::Bound;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::store::{Change, StoreError, Table};

/// Keys (hashed, scoped), and their ages.
const ORDERS: Table<[u8; 32], Order> = Table::new("call_orders");
const ORDERS_BY_AGE: Table<(UtcTime, [u8; 32]), ()> = Table::new("call_orders_by_age");

/// How long a key is remembered.
pub(super) const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Expired keys that one order sweeps out: more than one, so that the table shrinks.
const SWEEP: usize = 8;

/// The key of an order and a hash of what it asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Once {
    key: [u8; 32],
    request: [u8; 32],
}

/// An order that was accepted under a key.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    request: [u8; 32],
    /// The call or text that it made.
    call: Uuid,
    at: UtcTime,
    /// What the first answer said of the whitelist; a replay says it again.
    #[serde(default)]
    whitelist_added: bool,
    #[serde(default)]
    whitelist_error: Option<String>,
}

/// What an order made.
#[derive(Debug, Clone)]
pub(super) struct Made {
    /// The call or text.
    pub(super) id: Uuid,
    pub(super) whitelist_added: bool,
    pub(super) whitelist_error: Option<String>,
}

/// What is known of a key.
pub(super) enum Seen {
    Never,
    Same(Made),
    Another,
}

impl Once {
    /// `key` is scoped by the caller already; `request` is a hash of everything that was asked for.
    pub(super) fn of(organization: Uuid, (key, request): &(String, [u8; 32])) -> Once {
        let key = sha2::Sha256::new().chain_update(organization.as_bytes()).chain_update(key.as_bytes()).finalize();
        Once { key: key.into(), request: *request }
    }

    pub(super) fn look(&self, change: &mut Change<'_>, now: UtcTime) -> Result<Seen, StoreError> {
        let expired = now - REMEMBERED;
        let last = (expired, [0xff; 32]);
        for ((at, old), ()) in change.range(&ORDERS_BY_AGE, Bound::Unbounded, Bound::Included(&last), SWEEP)? {
            change.delete(&ORDERS_BY_AGE, &(at, old))?;
            change.delete(&ORDERS, &old)?;
        }
        let Some(order) = change.get(&ORDERS, &self.key)?.filter(|order| order.at > expired) else {
            return Ok(Seen::Never);
        };
        if order.request != self.request {
            return Ok(Seen::Another);
        }
        let Order { call: id, whitelist_added, whitelist_error, .. } = order;
        Ok(Seen::Same(Made { id, whitelist_added, whitelist_error }))
    }

    pub(super) fn remember(&self, change: &mut Change<'_>, made: Made, at: UtcTime) -> Result<(), StoreError> {
        let Made { id: call, whitelist_added, whitelist_error } = made;
        change.put(&ORDERS, &self.key, &Order { request: self.request, call, at, whitelist_added, whitelist_error })?;
        change.put(&ORDERS_BY_AGE, &(at, self.key), &())
    }
}
