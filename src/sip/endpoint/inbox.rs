//! Orders to the driver. Bounded by design: every call may have a few commands waiting, dialling has its own bound.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::phones::PhoneOrder;
use crate::sip::agent::{CallKey, DialOrder, RingOrder};
use crate::sip::event::{CallEvent, Command, OfferOutcome};
use crate::sip::resolve::Site;
use crate::sip::transport::TrunkId;

pub enum Order {
    Dial {
        call: CallKey,
        order: Box<DialOrder>,
        events: mpsc::Sender<CallEvent>,
    },
    Ring {
        call: CallKey,
        order: Box<RingOrder>,
        events: mpsc::Sender<CallEvent>,
    },
    Phones(PhoneOrder),
    Command {
        call: CallKey,
        command: Command,
        backlog: Arc<Backlog>,
    },
    Offer {
        call: CallKey,
        command: Command,
        done: oneshot::Sender<OfferOutcome>,
    },
    /// Nobody holds the receiver of its events.
    Deserted(CallKey),
    Resolved {
        call: CallKey,
        found: Result<Vec<Site>, String>,
    },
    TrunkLocated {
        trunk: TrunkId,
        place: usize,
        found: Result<Vec<Site>, String>,
    },
    RefuseNewCalls,
    Ping(oneshot::Sender<()>),
    Stop {
        limit: Duration,
        done: oneshot::Sender<()>,
    },
}

#[derive(Default)]
pub struct Inbox {
    orders: Mutex<Orders>,
    wake: Notify,
    calls: AtomicU64,
}

#[derive(Default)]
struct Orders {
    queue: VecDeque<Order>,
    dialling: usize,
    closed: bool,
}

/// Commands of one call that the driver has not taken yet.
#[derive(Default)]
pub struct Backlog {
    waiting: AtomicU32,
    hung_up: AtomicBool,
}

/// Calls that may wait to be dialled.
const MAX_DIALLING: usize = 4_096;
/// Commands that one call may have waiting; a hang-up always finds room.
const MAX_COMMANDS: u32 = 32;

impl Inbox {
    pub fn next_call(&self) -> CallKey {
        CallKey(self.calls.fetch_add(1, Ordering::Relaxed))
    }

    /// For orders whose number is bounded by their kind.
    pub fn push(&self, order: Order) {
        let mut orders = self.lock();
        // Dropped when the driver is gone, and with it the answer channels.
        if !orders.closed {
            orders.queue.push_back(order);
        }
        drop(orders);
        self.wake.notify_one();
    }

    /// `false` when too many calls wait.
    pub fn push_dial(&self, call: CallKey, order: DialOrder, events: mpsc::Sender<CallEvent>) -> bool {
        self.push_counted(Order::Dial { call, order: Box::new(order), events })
    }

    /// `false` when too many calls wait.
    pub fn push_ring(&self, call: CallKey, order: RingOrder, events: mpsc::Sender<CallEvent>) -> bool {
        self.push_counted(Order::Ring { call, order: Box::new(order), events })
    }

    fn push_counted(&self, order: Order) -> bool {
        let mut orders = self.lock();
        if orders.closed || orders.dialling >= MAX_DIALLING {
            return false;
        }
        orders.dialling += 1;
        orders.queue.push_back(order);
        drop(orders);
        self.wake.notify_one();
        true
    }

    pub fn push_command(&self, call: CallKey, command: Command, backlog: &Arc<Backlog>) {
        if backlog.takes(&command) {
            self.push(Order::Command { call, command, backlog: backlog.clone() });
        }
    }

    pub fn take(&self) -> VecDeque<Order> {
        let mut orders = self.lock();
        orders.dialling = 0;
        std::mem::take(&mut orders.queue)
    }

    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Nothing is taken any more.
    pub fn close(&self) {
        let mut orders = self.lock();
        orders.closed = true;
        orders.queue.clear();
    }

    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    // A poisoned lock only means that a thread panicked while pushing; the queue is still a queue.
    fn lock(&self) -> std::sync::MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backlog {
    fn takes(&self, command: &Command) -> bool {
        if *command == Command::HangUp {
            return !self.hung_up.swap(true, Ordering::AcqRel);
        }
        let fits = self.waiting.fetch_add(1, Ordering::AcqRel) < MAX_COMMANDS;
        if !fits {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
        fits
    }

    pub fn taken(&self, command: &Command) {
        if *command != Command::HangUp {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_may_not_flood_the_driver_but_always_hang_up_once() {
        let (inbox, backlog) = (Inbox::default(), Arc::new(Backlog::default()));
        for _ in 0..100 {
            inbox.push_command(CallKey(1), Command::Ringing(None), &backlog);
            inbox.push_command(CallKey(1), Command::HangUp, &backlog);
        }
        assert_eq!(inbox.take().len(), 33);
    }

    #[test]
    fn a_closed_inbox_drops_what_comes() {
        let inbox = Inbox::default();
        inbox.close();
        let (answer, mut answered) = oneshot::channel();
        inbox.push(Order::Ping(answer));
        assert!(answered.try_recv().is_err());
        assert!(inbox.take().is_empty());
    }
}
