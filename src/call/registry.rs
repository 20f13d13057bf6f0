//! The calls that have an actor, and the way to tell them something.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot};
use uuid::Uuid;

use super::actor;
use super::keys::Keys;
use super::transfer::{TransferError, TransferMode, TransferOrder};
use super::{Held, HungUp};
use crate::sip::endpoint::{CallKey, IncomingCall};

/// Orders that an actor may have waiting; more than a person at a console will ever give.
const ORDERS: usize = 16;

/// What a live call may be told.
pub(super) enum Order {
    /// The API ends the call. Answered once the outcome is on disk; dropped unanswered when it was settled before.
    HangUp(oneshot::Sender<HungUp>),
    /// The API puts the call on hold or takes it back; dropped unanswered when the call ends first.
    Hold(bool, oneshot::Sender<Held>),
    /// The API presses keys.
    Keys(Keys, actor::keys::Reply),
    Transfer(Box<TransferOrder>, oneshot::Sender<Result<TransferMode, TransferError>>),
    /// An INVITE that takes the place of the call's dialog.
    Replace(Box<IncomingCall>),
    /// The box stops and waits no longer.
    Stop,
}

/// Live calls by id. An entry lasts from the claim of a call until its attempt is settled on disk.
#[derive(Default)]
pub(super) struct Registry {
    live: Mutex<HashMap<Uuid, Live>>,
    left: Notify,
}

struct Live {
    orders: mpsc::Sender<Order>,
    /// The far end's dialog.
    leg: Option<CallKey>,
}

impl Registry {
    /// Claims the call; `None` when it has an actor already.
    pub(super) fn claim(&self, call: Uuid) -> Option<mpsc::Receiver<Order>> {
        let mut live = self.lock();
        if live.contains_key(&call) {
            return None;
        }
        let (orders, inbox) = mpsc::channel(ORDERS);
        live.insert(call, Live { orders, leg: None });
        Some(inbox)
    }

    pub(super) fn release(&self, call: Uuid) {
        let mut live = self.lock();
        live.remove(&call);
        drop(live);
        self.left.notify_waiters();
    }

    pub(super) fn holds(&self, call: Uuid) -> bool {
        self.lock().contains_key(&call)
    }

    pub(super) fn orders(&self, call: Uuid) -> Option<mpsc::Sender<Order>> {
        self.lock().get(&call).map(|live| live.orders.clone())
    }

    /// The dialog of `call` from now on.
    pub(super) fn note_leg(&self, call: Uuid, leg: CallKey) {
        if let Some(live) = self.lock().get_mut(&call) {
            live.leg = Some(leg);
        }
    }

    /// Whoever has the dialog `leg`. Asked once in a while, so nothing but the list is kept for it.
    pub(super) fn orders_of_leg(&self, leg: CallKey) -> Option<mpsc::Sender<Order>> {
        self.lock().values().find(|live| live.leg == Some(leg)).map(|live| live.orders.clone())
    }

    pub(super) fn all(&self) -> Vec<mpsc::Sender<Order>> {
        self.lock().values().map(|live| live.orders.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// Returns once no call is live.
    pub(super) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            tokio::pin!(left);
            // Enabled before the look, so that a call that leaves in between is not missed.
            left.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_claimed_once_and_empty_wakes_when_the_last_one_leaves() {
        let registry = std::sync::Arc::new(Registry::default());
        let call = Uuid::from_u128(1);
        let inbox = registry.claim(call);
        assert!(inbox.is_some());
        assert!(registry.claim(call).is_none());
        let waiting = tokio::spawn({
            let registry = registry.clone();
            async move { registry.empty().await }
        });
        tokio::task::yield_now().await;
        registry.release(call);
        tokio::time::timeout(std::time::Duration::from_secs(5), waiting).await.expect("woken").expect("no panic");
        assert!(registry.claim(call).is_some());
    }
}
