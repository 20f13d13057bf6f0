//! Wakes a session when the next thing is due.

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::Sleep;

/// Shortest wait after an alarm that came early.
const LEAST: Duration = Duration::from_millis(5);

/// Only wakes: whether something is due, the session's clock says. Outside a runtime it wakes nobody, and whoever polls
/// the session must come back by himself.
#[derive(Default)]
pub(super) struct Alarm {
    set: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Alarm {
    /// Wakes `context` after `span`, which ends at `due`.
    pub(super) fn set(&mut self, span: Duration, due: Instant, context: &mut Context<'_>) {
        if Handle::try_current().is_err() {
            return;
        }
        let sleep = match &mut self.set {
            Some((set, sleep)) if *set == due => sleep,
            unset => &mut unset.insert((due, Box::pin(tokio::time::sleep(span)))).1,
        };
        if sleep.as_mut().poll(context).is_ready() {
            // The time has passed, but not on the session's clock (it stands still): look again a little later.
            let mut again = Box::pin(tokio::time::sleep(span.max(LEAST)));
            if again.as_mut().poll(context).is_pending() {
                self.set = Some((due, again));
            }
        }
    }
}
