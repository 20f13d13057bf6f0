//! From the pieces that a bridge reports to closed turns, and from turns to the text file.
//!
//! Agent and caller are assembled side by side, because a recogniser's words may come after the agent has begun to
//! answer them. A turn is closed once: with the agent, when its items have been played or cut; with the caller, when
//! its last words are known.

use std::time::Duration;

use super::record::{Speaker, Turn};
use crate::clock::UtcTime;

pub(super) mod file;

/// An agent turn without `TurnEnd` is closed after so long a silence of the agent.
const SETTLED_AFTER: Duration = Duration::from_millis(700);

/// The turns of one attempt.
#[derive(Default)]
pub(super) struct Assembly {
    agent: Option<AgentTurn>,
    caller: CallerTurn,
    closed: Vec<Turn>,
    saved: usize,
}

#[derive(Default)]
struct AgentTurn {
    items: Vec<Item>,
    started: Option<UtcTime>,
    ended: UtcTime,
    delay: Option<Duration>,
    interrupted: bool,
    complete: bool,
}

struct Item {
    id: u64,
    text: String,
    open: bool,
}

#[derive(Default)]
struct CallerTurn {
    /// Stretches of speech whose words are not known yet; the last may still go on.
    spans: Vec<(UtcTime, Option<UtcTime>)>,
    text: String,
}

impl Assembly {
    /// The first sound of `item` went out.
    pub(super) fn agent_began(&mut self, item: u64, at: UtcTime, delay: Option<Duration>) {
        let turn = self.agent.get_or_insert_default();
        turn.item(item);
        if turn.started.is_none() {
            turn.started = Some(at);
            turn.delay = delay;
        }
        turn.ended = turn.ended.max(at);
    }

    /// The text of `item` so far.
    pub(super) fn agent_words(&mut self, item: u64, text: &str) {
        self.agent.get_or_insert_default().item(item).text = text.to_owned();
    }

    /// `item` will not be heard any more; `heard` is what went out of it.
    pub(super) fn item_over(&mut self, item: u64, heard: &str, interrupted: bool, at: UtcTime) {
        let turn = self.agent.get_or_insert_default();
        let entry = turn.item(item);
        entry.text = heard.to_owned();
        entry.open = false;
        turn.interrupted |= interrupted;
        turn.complete |= interrupted;
        turn.ended = turn.ended.max(at);
        self.close_agent_when_through();
    }

    /// The agent says that its turn is complete.
    pub(super) fn agent_turn_end(&mut self) {
        if let Some(turn) = &mut self.agent {
            turn.complete = true;
        }
        self.close_agent_when_through();
    }

    pub(super) fn caller_began(&mut self, at: UtcTime) {
        // A second start without a stop goes on with the first.
        if self.caller.spans.last().is_none_or(|(_, end)| end.is_some()) {
            self.caller.spans.push((at, None));
        }
    }

    pub(super) fn caller_stopped(&mut self, at: UtcTime) {
        if let Some((_, end)) = self.caller.spans.last_mut() {
            *end = Some(at);
        }
    }

    /// A piece of what the caller said; `last` closes the turn.
    pub(super) fn caller_words(&mut self, piece: &str, last: bool, now: UtcTime) {
        self.caller.text = join_phrases(&self.caller.text, piece);
        if last {
            self.close_caller(now);
        }
    }

    /// The caller began to speak, and no words of that are known yet.
    pub(super) fn caller_was_heard(&self) -> bool {
        !self.caller.spans.is_empty()
    }

    /// The caller's words so far.
    pub(super) fn caller_text(&self) -> &str {
        &self.caller.text
    }

    /// The agent's words so far, once it is heard.
    pub(super) fn agent_text(&self) -> Option<(String, Option<Duration>)> {
        let turn = self.agent.as_ref().filter(|turn| turn.started.is_some())?;
        Some((turn.text(), turn.delay))
    }

    /// Closes an agent turn that has fallen silent without saying so. To be called a few times a second.
    pub(super) fn tick(&mut self, now: UtcTime) {
        if let Some(turn) = &mut self.agent
            && turn.items.iter().all(|item| !item.open)
            && now.since(turn.ended) >= SETTLED_AFTER
        {
            turn.complete = true;
        }
        self.close_agent_when_through();
    }

    /// Whether [`Assembly::tick`] has something to wait for.
    pub(super) fn pending(&self) -> bool {
        self.agent.as_ref().is_some_and(|turn| turn.items.iter().all(|item| !item.open))
    }

    /// The call is over: closes what is open with what is known.
    pub(super) fn finish(&mut self, now: UtcTime) {
        if let Some(turn) = &mut self.agent {
            turn.complete = true;
            for item in &mut turn.items {
                // Never heard to its end, and the bridge could not say how much of it: keep nothing that may be wrong.
                if std::mem::take(&mut item.open) {
                    turn.interrupted = true;
                    item.text.clear();
                }
            }
        }
        self.close_agent_when_through();
        if !self.caller.text.is_empty() {
            self.close_caller(now);
        }
    }

    /// Turns closed since the last time, with their numbers.
    pub(super) fn unsaved(&mut self) -> Vec<(u64, Turn)> {
        let first = std::mem::replace(&mut self.saved, self.closed.len());
        let numbered = (first as u64..).zip(&self.closed[first..]);
        numbered.map(|(number, turn)| (number, turn.clone())).collect()
    }

    /// All closed turns by the time of their first sound.
    pub(super) fn turns(&self) -> Vec<Turn> {
        let mut turns = self.closed.clone();
        turns.sort_by_key(|turn| turn.started_at);
        turns
    }

    pub(super) fn count(&self, speaker: Speaker) -> u32 {
        let count = self.closed.iter().filter(|turn| turn.speaker == speaker).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    fn close_agent_when_through(&mut self) {
        let through = |turn: &AgentTurn| turn.complete && turn.items.iter().all(|item| !item.open);
        if !self.agent.as_ref().is_some_and(through) {
            return;
        }
        let Some(turn) = self.agent.take() else { return };
        let text = turn.text();
        // Text that was cut before its first sound was never part of the conversation.
        if let Some(started_at) = turn.started.filter(|_| !text.is_empty()) {
            self.closed.push(Turn {
                speaker: Speaker::Agent,
                text,
                started_at,
                ended_at: turn.ended.max(started_at),
                delay_ms: turn.delay.map(|delay| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX)),
                interrupted: turn.interrupted,
            });
        }
    }

    fn close_caller(&mut self, now: UtcTime) {
        let text = std::mem::take(&mut self.caller.text).trim().to_owned();
        let mut spans = std::mem::take(&mut self.caller.spans);
        // Speech that goes on belongs to the next words, unless there is no other that these could be of.
        if spans.len() > 1 && spans.last().is_some_and(|(_, end)| end.is_none()) {
            self.caller.spans.extend(spans.pop());
        }
        if text.is_empty() {
            return;
        }
        let started_at = spans.first().map_or(now, |(start, _)| *start);
        let ended_at = spans.last().map_or(now, |(start, end)| end.unwrap_or(now.max(*start)));
        let speaker = Speaker::Caller;
        self.closed.push(Turn { speaker, text, started_at, ended_at, delay_ms: None, interrupted: false });
    }
}

impl AgentTurn {
    fn item(&mut self, id: u64) -> &mut Item {
        let index = self.items.iter().position(|item| item.id == id).unwrap_or_else(|| {
            self.items.push(Item { id, text: String::new(), open: true });
            self.items.len() - 1
        });
        &mut self.items[index]
    }

    fn text(&self) -> String {
        self.items.iter().fold(String::new(), |text, item| join_sentences(&text, item.text.trim()))
    }
}

/// Adds a piece to a text that a service sends either in pieces or, each time, from its beginning.
pub(super) fn join(so_far: &str, piece: &str) -> String {
    if piece.starts_with(so_far) {
        return piece.to_owned();
    }
    let sentence_over = so_far.ends_with(['.', '!', '?', '…']);
    let space = if sentence_over && piece.starts_with(char::is_alphabetic) { " " } else { "" };
    format!("{so_far}{space}{piece}")
}

/// Like [`join`], for a recogniser: its pieces are phrases, never parts of a word.
pub(super) fn join_phrases(so_far: &str, piece: &str) -> String {
    if piece.starts_with(so_far) {
        return piece.to_owned();
    }
    join_sentences(so_far.trim_end(), piece.trim_start())
}

fn join_sentences(so_far: &str, next: &str) -> String {
    let space = if so_far.is_empty() || next.is_empty() { "" } else { " " };
    format!("{so_far}{space}{next}")
}

#[cfg(test)]
mod tests;
