//! Keys that the agent collects from the caller.
//!
//! | State | What happens | Next |
//! |---|---|---|
//! | collecting | a key | kept; the time for the next one begins |
//! | collecting | `#`, or the last of as many as were asked for | complete |
//! | collecting, no key yet | the agent has said something | the time for the first one begins |
//! | collecting | the time is over | what there is, not complete |

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Whatever is asked for.
const MOST: usize = 32;
const PATIENCE: Duration = Duration::from_secs(10);

/// Pure: keys and instants in, what was collected out, once.
#[derive(Debug)]
pub(in crate::call) struct Digits {
    keys: String,
    count: Option<usize>,
    patience: Duration,
    until: Instant,
}

impl Digits {
    /// `arguments` are those of `collect_digits`, checked.
    pub(in crate::call) fn new(arguments: &Value, now: Instant) -> Digits {
        let number = |name: &str| arguments.get(name).and_then(Value::as_u64);
        let patience = number("timeout_seconds").map_or(PATIENCE, Duration::from_secs);
        let count = number("count").map(|count| usize::try_from(count).unwrap_or(MOST).clamp(1, MOST));
        Digits { keys: String::new(), count, patience, until: now + patience }
    }

    pub(in crate::call) fn deadline(&self) -> Instant {
        self.until
    }

    /// What the agent said was heard.
    pub(in crate::call) fn asked(&mut self, now: Instant) {
        if self.keys.is_empty() {
            self.until = self.until.max(now + self.patience);
        }
    }

    pub(in crate::call) fn key(&mut self, key: char, now: Instant) -> Option<Value> {
        if key == '#' {
            return Some(self.collected(true));
        }
        self.keys.push(key);
        self.until = now + self.patience;
        (self.keys.len() >= self.count.unwrap_or(MOST)).then(|| self.collected(true))
    }

    /// What there is, once the time is over.
    pub(in crate::call) fn tick(&mut self, now: Instant) -> Option<Value> {
        (now >= self.until).then(|| self.collected(false))
    }

    fn collected(&mut self, complete: bool) -> Value {
        json!({ "result": { "digits": std::mem::take(&mut self.keys), "complete": complete } })
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn result(digits: &str, complete: bool) -> Option<Value> {
        Some(json!({ "result": { "digits": digits, "complete": complete } }))
    }

    #[test]
    fn keys_are_collected_until_the_hash_or_the_last_one() {
        let now = Instant::now();
        let mut open = Digits::new(&json!({}), now);
        assert_eq!((open.key('1', now), open.key('*', now), open.key('#', now)), (None, None, result("1*", true)));
        let mut two = Digits::new(&json!({ "count": 2 }), now);
        assert_eq!((two.key('4', now), two.key('2', now)), (None, result("42", true)));
        let mut empty = Digits::new(&json!({ "count": 2 }), now);
        assert_eq!(empty.key('#', now), result("", true));
        let mut endless = Digits::new(&json!({}), now);
        let collected = (0..100).find_map(|_| endless.key('7', now)).expect("an end");
        assert_eq!(collected["result"]["digits"].as_str().map(str::len), Some(MOST));
    }

    #[test]
    fn the_time_runs_from_the_question_and_then_from_key_to_key() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut digits = Digits::new(&json!({ "timeout_seconds": 5 }), now);
        digits.asked(now + 3 * second);
        assert_eq!(digits.tick(now + 7 * second), None);
        assert_eq!(digits.key('1', now + 7 * second), None);
        digits.asked(now + 11 * second);
        assert_eq!(
            digits.deadline(),
            now + 12 * second,
            "the agent's words take no time from the caller, and give none"
        );
        assert_eq!(digits.tick(now + 12 * second), result("1", false));
    }
}
