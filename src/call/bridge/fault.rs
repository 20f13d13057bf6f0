//! What a caller hears whose agent has failed: a sentence of the box's own voice, once.
//!
//! | The agent fails | Then |
//! |---|---|
//! | and there is a sentence | what it has said is played out; the sentence; the leg is left |
//! | while the caller waits for a person, or is about to | the same, once the caller is back |
//! | after it hung up | it leaves as it wanted to |
//! | and there is none, or that voice fails, too | reported, and nothing else |

use std::task::{Context, Poll};
use std::time::Instant;

use super::{Bridge, Report};
use crate::ai::{CallerFrame, Command, Event, Session, SessionFactory, Sound, Wants};
use crate::media::Playout;

/// What there is for that case.
#[derive(Default)]
pub(super) struct Standby {
    sentence: Option<SessionFactory>,
    /// The phone was answered.
    greeted: bool,
    /// The agent has failed, and the caller does not know yet.
    fault: Option<String>,
}

impl Standby {
    pub(super) fn saying(sentence: Option<SessionFactory>) -> Standby {
        Standby { sentence, ..Standby::default() }
    }

    pub(super) fn greeted(&mut self) {
        self.greeted = true;
    }

    /// The end of the agent is not the end of the call yet.
    pub(super) fn has_something_to_say(&self) -> bool {
        self.fault.is_some()
    }
}

impl Bridge {
    pub(super) fn on_fault(&mut self, message: String, playout: &mut dyn Playout) {
        if self.leaving.is_some() {
            return tracing::debug!(message, "the voice AI failed after it had hung up");
        }
        if self.standby.sentence.is_none() {
            return self.report(Report::Failed { message });
        }
        self.standby.fault = Some(message);
        if self.parked.is_none() && self.wanted.is_none() {
            self.own_up(playout);
        }
    }

    /// The sentence, if it is owed.
    pub(super) fn own_up(&mut self, playout: &mut dyn Playout) {
        let (Some(message), Some(sentence)) = (self.standby.fault.take(), self.standby.sentence.take()) else { return };
        self.report(Report::Faulted { message });
        // Of what was only written nothing will be heard.
        self.items.retain(super::Item::has_audio);
        let unfinished: Vec<u64> = self.items.iter().filter(|item| !item.ended).map(|item| item.id).collect();
        for item in unfinished {
            self.on_audio_end(item, playout);
        }
        self.calls.forget();
        self.end_filler(playout);
        self.session = Box::new(Sentence(sentence()));
        self.numbers.next_session();
        (self.listening, self.caller_speaks, self.caller_stopped) = (true, false, None);
        if self.standby.greeted {
            self.session.command(Command::Greet);
        }
    }
}

/// How the call went is not for this voice to say.
struct Sentence(Box<dyn Session>);

impl Session for Sentence {
    fn wants(&self) -> Wants {
        self.0.wants()
    }

    fn hear(&mut self, heard: CallerFrame<'_>, at: Instant) {
        self.0.hear(heard, at);
    }

    fn command(&mut self, command: Command) {
        self.0.command(command);
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Event> {
        self.0.poll_event(context).map(|mut event| {
            if let Event::HangUp { outcome } = &mut event {
                outcome.clear();
            }
            event
        })
    }

    fn recycle(&mut self, sound: Sound) {
        self.0.recycle(sound);
    }
}
