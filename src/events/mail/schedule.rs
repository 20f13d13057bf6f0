use std::time::Duration;

use crate::clock::UtcTime;

/// How long a mail is tried for.
pub(super) const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// When a mail is tried again after its `attempts`-th failure at `now`; `None` when that would be after `deadline`.
pub(super) fn next_attempt(attempts: u32, now: UtcTime, deadline: UtcTime) -> Option<UtcTime> {
    let minutes = match attempts {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        4 => 30,
        _ => 60,
    };
    Some(now + Duration::from_secs(minutes * 60)).filter(|next| *next <= deadline)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_come_after_1_5_15_30_and_then_every_60_minutes_for_a_day() {
        let start = UtcTime(0);
        let deadline = start + LIFETIME;
        let (mut now, mut minutes, mut attempts) = (start, Vec::new(), 1);
        while let Some(next) = next_attempt(attempts, now, deadline) {
            minutes.push(next.since(now).as_secs() / 60);
            (now, attempts) = (next, attempts + 1);
        }
        assert_eq!(minutes[..5], [1, 5, 15, 30, 60]);
        assert!(minutes[4..].iter().all(|pause| *pause == 60));
        assert!(now <= deadline && deadline.since(now) < Duration::from_secs(3600), "it goes on to the last hour");
    }
}
