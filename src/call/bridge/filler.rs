//! A sentence that bridges the time which a tool takes.
//!
//! | When | Then |
//! |---|---|
//! | the tool is answered, or not waited for any more | it is forgotten, unless it is being said |
//! | the caller speaks, something plays or is about to, the call is on hold or parked | it waits |
//! | nothing of that | the service says it in its own voice; where it cannot, the box's voice does |
//! | the caller interrupts it, or the agent goes on | it is over |

use std::task::{Context, Poll};

use super::{Bridge, EVENTS_A_POLL};
use crate::ai::{Command, Event, Session, SessionFactory};
use crate::media::Playout;

/// Numbers of items of the box's voice: those of sessions stay below.
pub(in crate::call) const ASIDE: u64 = 1 << 63;

pub(super) enum Filler {
    Waiting { call: String, text: String, voice: SessionFactory },
    Speaking { voice: Box<dyn Session>, item: u64 },
}

impl Bridge {
    /// To be said while the tool `call` takes long.
    pub(super) fn fill(&mut self, call: String, text: String, voice: SessionFactory) {
        if !matches!(self.filler, Some(Filler::Speaking { .. })) {
            self.filler = Some(Filler::Waiting { call, text, voice });
        }
    }

    /// The agent speaks itself; what was said of the filler is all that will be.
    pub(super) fn end_filler(&mut self, playout: &mut dyn Playout) {
        if let Some(Filler::Speaking { item, .. }) = self.filler.take()
            && self.items.iter().any(|open| open.id == item && !open.ended)
        {
            self.on_audio_end(item, playout);
        }
    }

    pub(super) fn poll_filler(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) {
        match self.filler.take() {
            Some(Filler::Waiting { call, .. }) if !self.calls.waits(&call) => {}
            Some(Filler::Waiting { text, voice, .. }) if self.is_silent(playout) => {
                if self.session.say(&text) {
                    return;
                }
                let mut voice = voice();
                voice.command(Command::Greet);
                self.asides += 1;
                self.filler = Some(Filler::Speaking { voice, item: ASIDE + self.asides });
                self.speak_aside(context, playout);
            }
            Some(Filler::Speaking { voice, item }) => {
                self.filler = Some(Filler::Speaking { voice, item });
                self.speak_aside(context, playout);
            }
            other => self.filler = other,
        }
    }

    fn is_silent(&self, playout: &dyn Playout) -> bool {
        let free = self.listening && self.parked.is_none() && self.leaving.is_none() && self.successor.is_none();
        free && !self.on_hold
            && !self.caller_speaks
            && playout.queued().is_zero()
            && self.items.iter().all(|item| item.ended)
    }

    fn speak_aside(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) {
        for _ in 0..EVENTS_A_POLL {
            let Some(Filler::Speaking { voice, item }) = &mut self.filler else { return };
            let item = *item;
            let Poll::Ready(event) = voice.poll_event(context) else { return };
            match event {
                Event::Audio(mut audio) => {
                    audio.item = item;
                    self.on_audio(&audio, playout);
                    if let Some(Filler::Speaking { voice, .. }) = &mut self.filler {
                        voice.recycle(audio.sound);
                    }
                }
                Event::AgentText { text, .. } => self.on_agent_text(item, &text),
                Event::HangUp { .. } | Event::Ended | Event::Error { fatal: true, .. } => {
                    self.end_filler(playout);
                    self.report(super::Report::AgentTurnEnd);
                }
                _ => {}
            }
        }
    }
}
