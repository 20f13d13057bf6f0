//! Messages to systemd (sd_notify(3)): ready, reloading, stopping, and the watchdog, fed only while the box works.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use super::health::Health;

/// Without systemd (`NOTIFY_SOCKET` unset) all of these do nothing.
pub fn ready(status: &str) {
    send(&[NotifyState::Ready, NotifyState::Status(status)]);
}

pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

/// `drain` is how long the stop may rightly take; systemd waits so much longer.
pub fn stopping(drain: Duration) {
    let micros = u32::try_from(drain.as_micros()).unwrap_or(u32::MAX);
    send(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(micros)]);
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(problem) = sd_notify::notify(states) {
        tracing::warn!(%problem, "systemd cannot be told");
    }
}

/// Feeds the watchdog of the unit (`WatchdogSec=`) as long as every probe of `vital` passes; returns at once when
/// there is no watchdog. A failing probe is said once, and so is its recovery.
pub async fn watchdog(vital: Arc<Health>) {
    if let Some(limit) = sd_notify::watchdog_enabled() {
        feed(vital, limit / 3, || async { send(&[NotifyState::Watchdog]) }).await;
    }
}

async fn feed<F: Future<Output = ()>>(vital: Arc<Health>, every: Duration, food: impl Fn() -> F) {
    let mut tick = tokio::time::interval(every.max(Duration::from_millis(10)));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ill = false;
    loop {
        tick.tick().await;
        let report = vital.check().await;
        if report.healthy() {
            food().await;
        }
        if report.healthy() && ill {
            tracing::info!("every part works again; the watchdog is fed");
        } else if !report.healthy() && !ill {
            for (part, problem) in
                report.parts.iter().filter_map(|(part, outcome)| Some((part, outcome.as_ref().err()?)))
            {
                tracing::error!(part, problem, "the watchdog is not fed");
            }
        }
        ill = !report.healthy();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_starves_while_a_part_fails() {
        let works = Arc::new(AtomicBool::new(true));
        let meals = Arc::new(AtomicU32::new(0));
        let mut health = Health::default();
        let probe = works.clone();
        health.add("store", move || {
            let works = probe.load(Ordering::SeqCst);
            async move { if works { Ok(()) } else { Err("the disk is full".to_owned()) } }
        });
        let eaten = meals.clone();
        let feeder = tokio::spawn(feed(Arc::new(health), Duration::from_secs(1), move || {
            eaten.fetch_add(1, Ordering::SeqCst);
            async {}
        }));
        // Virtual time: ticks at 0, 1 and 2 s.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        assert_eq!(meals.load(Ordering::SeqCst), 3);
        works.store(false, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(meals.load(Ordering::SeqCst), 3);
        works.store(true, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(meals.load(Ordering::SeqCst), 5);
        feeder.abort();
    }
}
