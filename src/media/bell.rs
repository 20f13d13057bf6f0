//! Tells a task that is woken for many reasons that this one was among them.
//!
//! A leg is woken a hundred and fifty times a second by packets and slots, and once in a while by an order: a look into
//! every channel at each of them is a good part of its cost. A channel that is polled with a bell's own waker need only
//! be looked at when the bell has rung.
//!
//! A bell that is muted wakes nobody: for what may wait until the task looks by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;

/// Rung at first, so that everything is looked at once.
#[derive(Debug)]
pub struct Bell {
    shared: Arc<Shared>,
    waker: Waker,
}

#[derive(Debug)]
struct Shared {
    rung: AtomicBool,
    muted: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::SeqCst);
        if !self.muted.load(Ordering::SeqCst) {
            self.task.wake();
        }
    }
}

impl Default for Bell {
    fn default() -> Bell {
        let shared =
            Arc::new(Shared { rung: AtomicBool::new(true), muted: AtomicBool::new(false), task: AtomicWaker::new() });
        Bell { waker: Waker::from(Arc::clone(&shared)), shared }
    }
}

impl Bell {
    /// Whether it has rung since the last call; then everything that was polled with [`Bell::waker`] is to be polled
    /// again. `context` is of the task that it wakes: always the same one.
    pub fn has_rung(&self, context: &Context<'_>) -> bool {
        if !self.shared.rung.load(Ordering::Acquire) {
            return false;
        }
        self.shared.task.register(context.waker());
        // Swapped, not stored: whatever was sent before the ring that this takes back is seen by who looks now.
        self.shared.rung.swap(false, Ordering::AcqRel)
    }

    /// Whether it wakes its task. Who mutes it looks soon by itself; what rang meanwhile wakes the task at the end of it.
    pub fn mute(&self, muted: bool) {
        if self.shared.muted.load(Ordering::Relaxed) == muted {
            return;
        }
        self.shared.muted.store(muted, Ordering::SeqCst);
        if !muted && self.shared.rung.load(Ordering::SeqCst) {
            self.shared.task.wake();
        }
    }

    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Count(std::sync::atomic::AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_wakes_its_task_and_is_heard_once() {
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(Arc::clone(&count));
        let (bell, context) = (Bell::default(), Context::from_waker(&waker));
        assert!(bell.has_rung(&context) && !bell.has_rung(&context));
        for n in 1..4 {
            bell.waker().wake_by_ref();
            bell.waker().wake_by_ref();
            assert!(count.0.load(Ordering::SeqCst) >= n, "the task is woken");
            assert!(bell.has_rung(&context) && !bell.has_rung(&context), "once, however often it rang");
        }
    }

    #[test]
    fn what_rings_while_it_is_muted_wakes_when_it_no_longer_is() {
        let count = Arc::new(Count(0.into()));
        let waker = Waker::from(Arc::clone(&count));
        let (bell, context) = (Bell::default(), Context::from_waker(&waker));
        let woken = || count.0.load(Ordering::SeqCst);
        bell.has_rung(&context);
        bell.mute(true);
        bell.mute(false);
        assert_eq!(woken(), 0, "nothing rang");
        bell.mute(true);
        bell.waker().wake_by_ref();
        assert_eq!(woken(), 0);
        bell.mute(false);
        assert_eq!(woken(), 1);
        assert!(bell.has_rung(&context));
        bell.mute(true);
        bell.waker().wake_by_ref();
        assert!(bell.has_rung(&context), "whoever looks sees it");
        bell.mute(false);
        assert_eq!(woken(), 1, "it was seen");
    }
}
