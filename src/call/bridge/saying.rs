//! What the agent says: its items, from the first sound to the last, or to where it was cut.

use std::time::{Duration, Instant};

use super::{Bridge, CUT_ITEMS, Item, Mark, Report, sound};
use crate::ai::Audio;
use crate::media::{FRAME, Playout};

impl Bridge {
    pub(super) fn on_audio(&mut self, audio: &Audio, playout: &mut dyn Playout) {
        let span = audio.sound.span();
        if self.parked.is_some() || self.cut.contains(&audio.item) || span.is_zero() {
            return;
        }
        self.report_interruption(playout.last_sent());
        let caller_stopped = self.end_of_caller(playout.last_sent());
        let item = self.item(audio.item);
        item.add_audio(playout.sent() + playout.queued(), span);
        if std::mem::replace(&mut item.begun, true) {
            return sound::push(&audio.sound, .., playout);
        }
        // A mark behind the first frame tells when the item was first heard.
        let frame = sound::samples(&audio.sound, FRAME);
        sound::push(&audio.sound, ..frame, playout);
        self.mark(Mark::FirstSound { item: audio.item, caller_stopped }, playout);
        self.caller_stopped = None;
        sound::push(&audio.sound, frame.., playout);
    }

    pub(super) fn on_audio_end(&mut self, id: u64, playout: &mut dyn Playout) {
        if self.parked.is_some() || self.cut.contains(&id) {
            return;
        }
        self.item(id).ended = true;
        playout.finish();
        self.mark(Mark::ItemEnd(id), playout);
    }

    pub(super) fn on_agent_text(&mut self, id: u64, piece: &str) {
        if self.cut.contains(&id) {
            return;
        }
        let item = self.item(id);
        item.add_text(piece);
        let text = item.text.clone();
        self.report(Report::AgentWords { item: id, text });
    }

    pub(super) fn cut_item(&mut self, item: &Item, sent: Duration, now: Instant) {
        if self.cut.len() == CUT_ITEMS {
            self.cut.pop_front();
        }
        self.cut.push_back(item.id);
        if item.played_out(sent) {
            self.tell_played(item.id);
            let text = item.text.trim().to_owned();
            self.report(Report::ItemOver { item: item.id, text, interrupted: false, at: now });
            return;
        }
        let played = item.played(sent);
        self.tell_truncated(item.id, played);
        let text = item.heard(played).to_owned();
        self.report(Report::ItemOver { item: item.id, text, interrupted: true, at: now });
    }

    pub(super) fn item(&mut self, id: u64) -> &mut Item {
        let index = self.items.iter().position(|item| item.id == id).unwrap_or_else(|| {
            self.items.push_back(Item::new(id));
            self.items.len() - 1
        });
        &mut self.items[index]
    }
}
