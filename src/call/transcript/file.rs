//! The transcript as a text file for people: a header, then a line a turn.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::call::record::{Call, Direction, Speaker, Transfer, TransferMode, Turn};
use crate::call::{TakenMessage, ToolUse};
use crate::clock::UtcTime;

/// `outbound-ai-YYYYMMDD-HHMMSS-<id>.txt` or `vnum-<number>-YYYYMMDD-HHMMSS-<id>.txt`, UTC.
pub(in crate::call) fn name(call: &Call) -> String {
    let started = call.started_at().unwrap_or(call.created_at).format("%Y%m%d-%H%M%S");
    match call.direction {
        Direction::Outbound => format!("outbound-ai-{started}-{}.txt", call.alias),
        Direction::Inbound => {
            // The number comes from the configuration; a file name takes only what needs no care.
            let number: String =
                call.number.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '+').take(32).collect();
            format!("vnum-{number}-{started}-{}.txt", call.alias)
        }
    }
}

/// Header and turns, LF line ends.
pub(in crate::call) fn text(call: &Call, turns: &[Turn]) -> String {
    let mut text = header(call);
    text.push('\n');
    if turns.is_empty() {
        text.push_str("(no conversation)\n");
    }
    let mut lines = facts(call);
    for turn in turns {
        let speaker = match turn.speaker {
            Speaker::Agent => "AI",
            Speaker::Caller => "Caller",
        };
        let cut = if turn.interrupted { " [interrupted]" } else { "" };
        let line = format!("[{}] {speaker}: {}{cut}\n", turn.started_at.rfc3339(), one_line(&turn.text));
        lines.push((turn.started_at, line));
    }
    lines.sort_by_key(|(at, _)| *at);
    lines.into_iter().for_each(|(_, line)| text.push_str(&line));
    text
}

/// Transfers, each when it was asked for and when its outcome was known; tools, each when it was called;
/// messages.
fn facts(call: &Call) -> Vec<(UtcTime, String)> {
    let line = |at: UtcTime, text: String| (at, format!("[{}] -- {}\n", at.rfc3339(), one_line(&text)));
    let mut facts = Vec::new();
    for Transfer { destination, mode, asked_at, settled_at, outcome, .. } in &call.transfers {
        let verb = if *mode == TransferMode::Moved { "moved" } else { "transferred" };
        facts.push(line(*asked_at, format!("being {verb} to {destination}")));
        if let (Some(at), Some(outcome)) = (settled_at, outcome) {
            let outcome = outcome.word();
            facts.push(line(*at, format!("{verb} to {destination}: {outcome}")));
        }
    }
    for TakenMessage { at, text, call_back, name } in &call.messages {
        let from = if name.is_empty() { String::new() } else { format!(" from {name}") };
        facts.push(line(*at, format!("message{from}, call back {call_back}: {text}")));
    }
    for ToolUse { name, at, took_ms, outcome } in &call.tools {
        facts.push(line(*at, format!("tool {name}: {} ({took_ms} ms)", outcome.word())));
    }
    facts
}

fn header(call: &Call) -> String {
    let time = |time: Option<UtcTime>| time.map(UtcTime::rfc3339).unwrap_or_default();
    let mut lines = vec![("Call", call.alias.clone()), ("Tenant", call.tenant.clone())];
    match call.direction {
        Direction::Outbound => {
            lines.push(("Requested by", call.requested_by.clone()));
            lines.push(("Phone", call.phone.clone()));
            lines.push(("Name", call.display_name.clone()));
        }
        Direction::Inbound => {
            lines.push(("Number", format!("{} ({})", call.number, call.number_name)));
            lines.push(("Caller", call.phone.clone()));
        }
    }
    lines.extend([
        ("Started", time(call.started_at())),
        ("Answered", time(call.answered_at)),
        ("Ended", time(call.ended_at)),
        ("Duration", format!("{} s", call.talk_seconds())),
        ("Outcome", call.end_reason.map(super::super::EndReason::word).unwrap_or_default().to_owned()),
        ("Result", call.outcome.clone().unwrap_or_default()),
        ("Detail", call.error_detail.clone()),
        ("Voice", call.voice.clone()),
        ("Language", call.language.clone()),
        ("Model", call.model.clone()),
    ]);
    let filled = lines.iter().filter(|(_, value)| !value.is_empty());
    filled.map(|(name, value)| format!("{name}: {}\n", one_line(value))).collect()
}

/// A line stays a line, whatever was said or written into it.
fn one_line(text: &str) -> String {
    text.split(|c: char| c.is_control()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Writes the file so that it is there whole or not at all, readable by the box alone.
pub(in crate::call) fn write(directory: &Path, name: &str, text: &str) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let partial = directory.join(format!(".{name}.part"));
    let written = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&partial)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&partial, directory.join(name)));
    if written.is_err() {
        let _ = std::fs::remove_file(&partial);
        return written;
    }
    // The rename itself must survive a power cut.
    std::fs::File::open(directory)?.sync_all()
}
