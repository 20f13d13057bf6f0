//! The call as it happens, in the terminal.

use std::time::Duration;

use super::terminal::{Terminal, Tint, WIDTH, meter, tail, wrap};
use crate::call::{CallStatus, LiveEvent, LiveFact, Speaker};
use crate::clock::UtcTime;
use crate::media::Quality;

/// Without a terminal that redraws, every so many quality reports make a line.
const QUALITY_LINES: u32 = 4;
/// Columns before the text of a line: time and label.
const INDENT: usize = 18;

pub(super) struct View {
    origin: UtcTime,
    reports: u32,
    quality: Option<Quality>,
    /// Words of the turn that is being spoken.
    partial: Option<(Speaker, String)>,
    delay: Option<Duration>,
    pub(super) facts: Facts,
}

/// From the caller's first sound, and from its detection, to the box's last packet of speech.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BargeIn {
    since_onset: Duration,
    since_detection: Duration,
}

impl std::fmt::Display for BargeIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (onset, detection) = (self.since_onset.as_millis(), self.since_detection.as_millis());
        write!(f, "the box is silent {onset} ms after the first sound, {detection} ms after its detection")
    }
}

/// What the verdict needs of the live part.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) statuses: Vec<CallStatus>,
    pub(super) keys: Vec<(UtcTime, char)>,
    pub(super) barge_ins: Vec<BargeIn>,
    pub(super) delays: Vec<Duration>,
    pub(super) quality: Option<Quality>,
}

impl View {
    /// Times are shown from `origin` on.
    pub(super) fn new(origin: UtcTime) -> View {
        View { origin, reports: 0, quality: None, partial: None, delay: None, facts: Facts::default() }
    }

    pub(super) fn note(&self, terminal: &mut Terminal, at: UtcTime, label: &str, text: &str) {
        self.row(terminal, at, Tint::Faint, label, text);
    }

    pub(super) fn show(&mut self, terminal: &mut Terminal, event: &LiveEvent) {
        match &event.what {
            LiveFact::Status(status) => {
                self.facts.statuses.push(*status);
                let mark = if *status == CallStatus::InProgress { Tint::Good } else { Tint::Strong };
                self.row(terminal, event.at, mark, "call", words_of(*status));
            }
            LiveFact::Words { speaker, text, last, delay } => {
                self.words(terminal, event.at, *speaker, text, *last, *delay)
            }
            LiveFact::Quality(quality) => self.measured(terminal, event.at, quality),
            LiveFact::Key(key) => {
                self.facts.keys.push((event.at, *key));
                self.row(terminal, event.at, Tint::Caller, "phone", &format!("presses {key}"));
            }
            LiveFact::Hold(_) => {}
            LiveFact::BargeIn { since_onset, since_detection, .. } => {
                let barge_in = BargeIn { since_onset: *since_onset, since_detection: *since_detection };
                self.facts.barge_ins.push(barge_in);
                self.row(terminal, event.at, Tint::Good, "phone", &format!("interrupts; {barge_in}"));
            }
            LiveFact::Ended(reason) => {
                self.row(terminal, event.at, Tint::Strong, "call", &format!("over: {}", lower(&format!("{reason:?}"))));
                terminal.status("");
            }
        }
    }

    fn words(
        &mut self,
        terminal: &mut Terminal,
        at: UtcTime,
        speaker: Speaker,
        text: &str,
        last: bool,
        delay: Option<Duration>,
    ) {
        self.delay = delay.or(self.delay);
        if !last {
            self.partial = Some((speaker, text.to_owned()));
            self.status(terminal);
            return;
        }
        self.partial = None;
        self.status(terminal);
        let (tint, label) = side(speaker);
        let delay = if speaker == Speaker::Agent { self.delay.take() } else { None };
        self.facts.delays.extend(delay);
        self.row(terminal, at, tint, label, text);
        if let Some(delay) = delay {
            let note = format!("{} ms from the last word to the first sound", delay.as_millis());
            let note = terminal.tint(Tint::Faint, &note);
            terminal.line(&format!("{:INDENT$}{note}", ""));
        }
    }

    fn measured(&mut self, terminal: &mut Terminal, at: UtcTime, quality: &Quality) {
        self.quality = Some(*quality);
        self.facts.quality = Some(*quality);
        self.reports += 1;
        if terminal.redraws() {
            self.status(terminal);
        } else if self.reports % QUALITY_LINES == 1 {
            self.row(terminal, at, Tint::Faint, "line", &measures(quality));
        }
    }

    /// Levels, measures and the words being spoken, below the last line.
    fn status(&self, terminal: &mut Terminal) {
        let mut text = self.quality.as_ref().map(measures).unwrap_or_default();
        if let Some((speaker, words)) = &self.partial {
            let (tint, label) = side(*speaker);
            let words = tail(words, WIDTH.saturating_sub(text.chars().count() + label.len() + 4));
            text = format!("{text}  {}", terminal.tint(tint, &format!("{label}: {words}")));
        }
        terminal.status(&text);
    }

    /// One row: seconds since the order, who, what.
    fn row(&self, terminal: &mut Terminal, at: UtcTime, tint: Tint, label: &str, text: &str) {
        let seconds = at.since(self.origin).as_secs_f64();
        let time = terminal.tint(Tint::Faint, &format!("{seconds:8.2}"));
        let label = terminal.tint(tint, &format!("{label:<7}"));
        // Measures are short and aligned by spaces; only words are wrapped.
        let lines = if text.chars().count() + INDENT > WIDTH { wrap(text, INDENT) } else { vec![text.to_owned()] };
        for (at, line) in lines.iter().enumerate() {
            if at == 0 {
                terminal.line(&format!("{time}  {label} {line}"));
            } else {
                terminal.line(&format!("{:INDENT$}{line}", ""));
            }
        }
    }
}

pub(super) fn side(speaker: Speaker) -> (Tint, &'static str) {
    match speaker {
        Speaker::Agent => (Tint::Agent, "box"),
        Speaker::Caller => (Tint::Caller, "phone"),
    }
}

fn words_of(status: CallStatus) -> &'static str {
    match status {
        CallStatus::Scheduled => "scheduled",
        CallStatus::Queued => "queued",
        CallStatus::Dialing => "dialling",
        CallStatus::Ringing => "ringing",
        CallStatus::InProgress => "answered: the conversation runs",
        CallStatus::RetryWait => "waits for the next attempt",
        CallStatus::Completed => "completed",
        CallStatus::NoAnswer => "no answer",
        CallStatus::Busy => "busy",
        CallStatus::Canceled => "cancelled",
        CallStatus::Failed => "failed",
    }
}

/// `MaxDuration` → `max duration`.
fn lower(name: &str) -> String {
    let mut words = String::new();
    for (at, letter) in name.chars().enumerate() {
        if letter.is_uppercase() && at > 0 {
            words.push(' ');
        }
        words.extend(letter.to_lowercase());
    }
    words
}

/// Levels of both sides and the state of the line, in one row.
pub(super) fn measures(quality: &Quality) -> String {
    format!(
        "phone {} box {} jitter {:.1} ms loss {:.1} % MOS {:.1}",
        meter(quality.level_in_db),
        meter(quality.level_out_db),
        quality.jitter_ms,
        loss_percent(quality),
        quality.mos
    )
}

pub(super) fn loss_percent(quality: &Quality) -> f64 {
    let expected = quality.packets_received + quality.lost;
    if expected == 0 { 0.0 } else { quality.lost as f64 * 100.0 / expected as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loss_is_of_what_was_expected() {
        let quality = Quality { packets_received: 99, lost: 1, ..Quality::default() };
        assert!((loss_percent(&quality) - 1.0).abs() < 1e-9);
        assert_eq!(loss_percent(&Quality::default()), 0.0);
        assert!(measures(&quality).contains("loss 1.0 %"));
    }

    #[test]
    fn reasons_are_shown_in_words() {
        assert_eq!(lower("MaxDuration"), "max duration");
        assert_eq!(lower("Finished"), "finished");
    }
}
