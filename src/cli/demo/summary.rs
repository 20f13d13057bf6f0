//! What is left of the call: transcript, delays, and where everything lies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::gateway::Gateway;
use super::terminal::{Terminal, Tint, wrap};
use super::view::{Facts, loss_percent, side};
use crate::call::{Call, Speaker, Turn};
use crate::clock::UtcTime;

/// Columns before the words of a turn.
const INDENT: usize = 26;

pub(super) fn print(
    terminal: &mut Terminal,
    gateway: &Gateway,
    call: &Call,
    transcript: &Value,
    facts: &Facts,
) -> Result<(), String> {
    said(terminal, transcript);
    let turns = gateway.app.calls().read_model().turns(call.id).map_err(|error| error.to_string())?;
    delays(terminal, &turns, facts);
    quality(terminal, call, facts);
    places(terminal, gateway, call);
    Ok(())
}

/// As REST tells it.
fn said(terminal: &mut Terminal, transcript: &Value) {
    terminal.heading("Transcript (GET /api.ashx/v1/transcripts/{id})");
    for turn in transcript["turns"].as_array().into_iter().flatten() {
        let text = |key: &str| turn[key].as_str().unwrap_or("");
        let speaker = if text("speaker") == "AI" { Speaker::Agent } else { Speaker::Caller };
        let (tint, _) = side(speaker);
        // `2026-06-04T17:55:12.401Z` → `17:55:12.401`
        let time = text("ts").get(11..23).unwrap_or("");
        let label = terminal.tint(tint, &format!("{:<8}", text("speaker")));
        let time = terminal.tint(Tint::Faint, &format!("{time:<12}"));
        for (at, line) in wrap(text("text"), INDENT).iter().enumerate() {
            if at == 0 {
                terminal.line(&format!("  {time}  {label}  {line}"));
            } else {
                terminal.line(&format!("{:INDENT$}{line}", ""));
            }
        }
    }
}

/// A turn or a key: what the other side answers to.
struct Moment {
    speaker: Speaker,
    from: UtcTime,
    to: UtcTime,
    /// As the box measured it.
    delay_ms: Option<u32>,
}

fn moments(turns: &[Turn], facts: &Facts) -> Vec<Moment> {
    let spoken = turns.iter().map(|turn| Moment {
        speaker: turn.speaker,
        from: turn.started_at,
        to: turn.ended_at,
        delay_ms: turn.delay_ms,
    });
    let keys = facts.keys.iter().map(|(at, _)| Moment { speaker: Speaker::Caller, from: *at, to: *at, delay_ms: None });
    let mut moments: Vec<Moment> = spoken.chain(keys).collect();
    moments.sort_by_key(|moment| moment.from);
    moments
}

/// From the last word (or key) of one side to the first sound of the other.
fn delays(terminal: &mut Terminal, turns: &[Turn], facts: &Facts) {
    terminal.heading("Delays (last word of one side → first sound of the other)");
    let moments = moments(turns, facts);
    for (before, moment) in moments.iter().zip(moments.iter().skip(1)) {
        if before.speaker == moment.speaker {
            continue;
        }
        let ((from_tint, from), (to_tint, to)) = (side(before.speaker), side(moment.speaker));
        let delay = match moment.delay_ms {
            Some(delay) => format!("{delay} ms"),
            None if moment.from < before.to => "interrupts".into(),
            None => format!("{} ms", moment.from.since(before.to).as_millis()),
        };
        let (from, to) = (terminal.tint(from_tint, &format!("{from:>5}")), terminal.tint(to_tint, &format!("{to:<5}")));
        terminal.line(&format!("  {from} → {to}  {delay:>10}"));
    }
    for barge_in in &facts.barge_ins {
        terminal.line(&format!("  barge-in: {barge_in}"));
    }
    if let Some(median) = median(&facts.delays) {
        terminal.line(&format!("  the box answers after {} ms (median)", median.as_millis()));
    }
}

fn median(delays: &[Duration]) -> Option<Duration> {
    let mut sorted = delays.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

fn quality(terminal: &mut Terminal, call: &Call, facts: &Facts) {
    let Some(quality) = call.quality.as_ref().or(facts.quality.as_ref()) else { return };
    terminal.heading("Line");
    terminal.line(&format!(
        "  {} packets received, {} sent, loss {:.2} %, jitter {:.1} ms, MOS {:.2}",
        quality.packets_received,
        quality.packets_sent,
        loss_percent(quality),
        quality.jitter_ms,
        quality.mos
    ));
}

fn places(terminal: &mut Terminal, gateway: &Gateway, call: &Call) {
    terminal.heading("Files");
    let mut row = |label: &str, path: Option<PathBuf>| {
        let label = terminal.tint(Tint::Faint, &format!("  {label:<11}"));
        let path = path.map_or_else(|| "none".to_owned(), |path| path.display().to_string());
        terminal.line(&format!("{label} {path}"));
    };
    let recording = recording_file(gateway, call);
    let length = recording.as_deref().and_then(wav_seconds);
    row("recording", recording);
    if let Some(seconds) = length {
        row("", Some(format!("{seconds:.1} s, stereo: left the phone, right the box").into()));
    }
    row("transcript", transcript_file(gateway, call));
    row("store", Some(gateway.app.state_directory().join("trunkline.redb")));
}

fn wav_seconds(file: &Path) -> Option<f64> {
    let reader = hound::WavReader::open(file).ok()?;
    Some(f64::from(reader.duration()) / f64::from(reader.spec().sample_rate))
}

/// The stereo WAV: left the phone, right the box.
pub(super) fn recording_file(gateway: &Gateway, call: &Call) -> Option<PathBuf> {
    call.recording.as_ref().map(|file| gateway.app.state_directory().join("recordings").join(file))
}

fn transcript_file(gateway: &Gateway, call: &Call) -> Option<PathBuf> {
    let named = !call.transcript_file.is_empty();
    named.then(|| gateway.app.state_directory().join("transcripts").join(&call.transcript_file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_needs_a_delay() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3, 1, 2].map(Duration::from_millis)), Some(Duration::from_millis(2)));
    }
}
