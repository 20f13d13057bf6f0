//! The agent of a call, seen from its actor: how its session is opened, and what its reports mean.

use tokio::sync::mpsc;

use super::hold::Change;
use super::{Actor, MediaLeg, fault, turns};
use crate::ai::{Command, Person, SessionOptions, Spoken};
use crate::call::LiveFact;
use crate::call::bridge::{ASIDE, BargeIn, Bridge, Cue, Report};
use crate::call::machine::Event;
use crate::call::record::{Call, Direction, EndReason, Speaker, Turn};
use crate::call::room::Room;
use crate::call::tools::{Part, Toolbox};
use crate::call::transcript::join_phrases;
use crate::config::Secret;
use crate::media::bridge::Early;
use crate::sip::sdp::SessionDescription;

/// Reports on their way from the media thread.
const REPORTS: usize = 256;
/// Commands on their way to it.
const COMMANDS: usize = 32;
/// Early sounds on their way to it: there is one person at a time.
const EARLY: usize = 2;

/// The agent's side of the call.
#[derive(Default)]
pub(in crate::call) struct Voice {
    /// How the session will be opened; taken when it is.
    plan: Option<Plan>,
    cues: Option<mpsc::Sender<Cue>>,
    /// To a caller who waits for a person.
    early_sound: Option<mpsc::Sender<Box<Early>>>,
    pub(super) reports: Option<mpsc::Receiver<Report>>,
    /// The session description of a 183.
    pub(super) early: Option<Box<SessionDescription>>,
    /// Whom a caller may ask for.
    pub(super) person: Option<Person>,
    /// What the agent may use.
    pub(super) toolbox: Toolbox,
    /// The caller's own key for the service.
    key: Option<Secret>,
    /// What the agent was told last.
    on_hold: bool,
    /// A hold or resume of ours that the far end has not answered yet.
    pub(super) change: Option<Change>,
    /// Why the agent failed.
    pub(super) fault: Option<String>,
    /// We hold the call, and the far end agreed.
    pub(super) held_by_us: bool,
}

struct Plan {
    part: Part,
    speak_only: bool,
}

impl Voice {
    pub(in crate::call) fn prepare(&mut self, part: Part, key: Option<Secret>, speak_only: bool) {
        self.key = key;
        self.plan = Some(Plan { part, speak_only });
    }

    /// Opens the session and connects it to the leg, unless that has been done.
    pub(in crate::call) fn warm_up(&mut self, room: &Room, call: &Call, media: Option<&MediaLeg>) {
        let Some(media) = media else { return };
        let Some(Plan { part, speak_only }) = self.plan.take() else { return };
        let options = SessionOptions { speak_only, ..self.options(call, &part, Vec::new()) };
        let session = room.engines.session(options);
        self.play(part);
        let (cues, cue_inbox) = mpsc::channel(COMMANDS);
        let (report_outbox, reports) = mpsc::channel(REPORTS);
        let (early_sound, early) = mpsc::channel(EARLY);
        let sentence = fault::sentence(room, call);
        let turns = turns::rules(&room.config.engine, speak_only);
        let bridge = move || {
            let bridge = Bridge::new(session(), cue_inbox, report_outbox);
            bridge.with_early(early).with_sentence(sentence).with_turns(turns)
        };
        media.leg.control.attach(Box::new(move || Box::new(bridge())));
        self.early_sound = Some(early_sound);
        self.cues = Some(cues);
        self.reports = Some(reports);
    }

    /// How a session of `part` is opened.
    fn options(&self, call: &Call, part: &Part, history: Vec<Spoken>) -> SessionOptions {
        SessionOptions {
            instructions: part.instructions.clone(),
            voice: part.voice.clone().unwrap_or_else(|| call.voice.clone()),
            language: part.language.clone().unwrap_or_else(|| call.language.clone()),
            model: Some(call.model.clone()),
            key: self.key.clone(),
            speak_only: false,
            person: part.person.clone(),
            tools: part.toolbox.declared(),
            about: about(call),
            call: Some(call.id),
            greeting: part.greeting.clone(),
            history,
        }
    }

    /// Keys are the call's own (true), or the agent's.
    pub(super) fn keep_keys(&self, keep: bool) {
        self.cue(Cue::KeepKeys(keep));
    }

    /// Said while the tool takes long: by the service, or in the box's voice.
    pub(super) fn fill(&self, room: &Room, call: &Call, tool: String, text: String) {
        let (voice, language) = (call.voice.clone(), call.language.clone());
        let voice = room.engines.announcement(text.clone(), voice, language);
        self.cue(Cue::Filler { call: tool, text, voice });
    }

    /// `part` is the agent's from now on.
    pub(super) fn play(&mut self, part: Part) {
        self.person = part.person;
        self.toolbox = part.toolbox;
    }

    /// The agent of `part` is to have the call; whom a caller may ask for stays, unless it has somebody of its own.
    pub(super) fn succeed(&mut self, room: &Room, call: &Call, part: &mut Part, history: Vec<Spoken>) {
        part.person = part.person.take().or_else(|| self.person.clone());
        self.cue(Cue::Successor(room.engines.session(self.options(call, part, history))));
    }

    /// Tells the agent of a hold, when it begins and when it ends; whether that is news.
    pub(super) fn hold(&mut self, on_hold: bool) -> bool {
        let news = std::mem::replace(&mut self.on_hold, on_hold) != on_hold;
        if news {
            self.tell(Command::Hold(on_hold));
        }
        news
    }

    /// The caller, who waits for a person, hears what that person's side sends.
    pub(super) fn play_early(&self, early: Box<Early>) {
        if let Some(sender) = &self.early_sound
            && sender.try_send(early).is_err()
        {
            tracing::debug!("the caller hears ringback in place of early sound");
        }
    }

    pub(super) fn tell(&self, command: Command) {
        self.cue(command.into());
    }

    fn cue(&self, cue: Cue) {
        if let Some(cues) = &self.cues
            && cues.try_send(cue).is_err()
        {
            tracing::debug!("the voice AI takes no commands any more");
        }
    }
}

impl Actor {
    pub(super) async fn on_report(&mut self, report: Report) {
        if let Report::TransferRequested { destination, whisper } = report {
            return self.transfer_for_agent(destination, whisper).await;
        }
        let report = match report {
            Report::ToolCalled { id, name, arguments, after } => {
                return self.on_tool_called(id, name, arguments, after).await;
            }
            Report::ToolCancelled { id } => return self.on_tool_cancelled(&id).await,
            Report::Succeeded => return self.on_hand_off(true).await,
            Report::NotSucceeded => return self.on_hand_off(false).await,
            other => other,
        };
        let Some(event) = self.take_report(report) else { return };
        let Some(event) = self.after_fault(event).await else { return };
        // An agent that does not have the caller ends nothing.
        let parked = self.is_being_transferred() && matches!(event, Event::AgentDone | Event::AgentFailed(_));
        match self.transfer.as_mut().filter(|_| parked) {
            Some(transfer) => drop(transfer.late.get_or_insert(event)),
            None => self.feed(event).await,
        }
    }

    /// Enters a report into the transcript; returns what the machine has to know of it.
    pub(super) fn take_report(&mut self, report: Report) -> Option<Event> {
        match report {
            Report::AgentBegan { item, at, delay } => {
                if let Some(delay) = delay {
                    metrics::histogram!("trunkline_turn_delay_seconds").record(delay.as_secs_f64());
                }
                // The box's own filler repeats nothing.
                if item < ASIDE {
                    self.voice.toolbox.policy().agent_speaks(item);
                }
                self.assembly.agent_began(item, self.utc(at), delay);
                self.tell_agent_words();
            }
            Report::AgentWords { item, text } => {
                self.assembly.agent_words(item, &text);
                self.tell_agent_words();
            }
            Report::ItemOver { item, text, interrupted, at } => {
                self.tool_hears_agent();
                self.assembly.item_over(item, &text, interrupted, self.utc(at));
            }
            Report::AgentTurnEnd => self.assembly.agent_turn_end(),
            Report::CallerBegan { at } => {
                self.voice.toolbox.policy().caller_speaks();
                self.assembly.caller_began(self.utc(at));
            }
            Report::CallerStopped { at } => self.assembly.caller_stopped(self.utc(at)),
            Report::CallerWords { text, last } => self.take_caller_words(&text, last),
            Report::BargeIn(BargeIn { detected, since_onset, since_detection }) => {
                let detected_at = self.utc(detected);
                self.room.tell(self.call.id, LiveFact::BargeIn { detected_at, since_onset, since_detection });
            }
            Report::Active => return Some(Event::Heard),
            // The call is over.
            Report::TransferRequested { .. }
            | Report::ToolCalled { .. }
            | Report::ToolCancelled { .. }
            | Report::Succeeded
            | Report::NotSucceeded => {}
            Report::Usage(usage) => {
                self.call.tokens_prompt += usage.prompt_tokens;
                self.call.tokens_total += usage.total_tokens;
            }
            Report::Done { outcome } => {
                self.call.outcome = outcome.or(self.call.outcome.take());
                let alone = self.call.outcome.as_deref() == Some(EndReason::EmptyRoom.word());
                return Some(if alone { Event::EmptyRoom } else { Event::AgentDone });
            }
            Report::Failed { message } => {
                self.voice.fault = Some(message.clone());
                return Some(Event::AgentFailed(message));
            }
            Report::Faulted { message } => return self.faulted(message),
        }
        None
    }

    fn take_caller_words(&mut self, piece: &str, last: bool) {
        if !self.assembly.caller_was_heard() {
            // A service that does not tell when the caller begins to speak: these are no late words of what was heard.
            self.voice.toolbox.policy().caller_speaks();
        }
        let text = join_phrases(self.assembly.caller_text(), piece);
        self.assembly.caller_words(piece, last, self.room.clock.utc());
        if !last {
            self.tell_words(Speaker::Caller, text, false, None);
        }
    }

    fn tell_agent_words(&self) {
        if let Some((text, delay)) = self.assembly.agent_text() {
            self.tell_words(Speaker::Agent, text, false, delay);
        }
    }

    fn tell_words(&self, speaker: Speaker, text: String, last: bool, delay: Option<std::time::Duration>) {
        self.room.tell(self.call.id, LiveFact::Words { speaker, text, last, delay });
    }

    /// Turns closed since the last time; tells the watchers of each.
    pub(super) fn closed_turns(&mut self) -> Vec<(u64, Turn)> {
        let turns = self.assembly.unsaved();
        for (_, turn) in &turns {
            let delay = turn.delay_ms.map(|ms| std::time::Duration::from_millis(ms.into()));
            self.tell_words(turn.speaker, turn.text.clone(), true, delay);
        }
        self.call.agent_turns = self.assembly.count(Speaker::Agent);
        self.call.caller_turns = self.assembly.count(Speaker::Caller);
        turns
    }
}

pub(super) fn direction_word(direction: Direction) -> &'static str {
    match direction {
        Direction::Inbound => "inbound",
        Direction::Outbound => "outbound",
    }
}

/// What a bot of the customer's may know of a call.
fn about(call: &Call) -> Vec<(String, String)> {
    let (from, to) = match call.direction {
        Direction::Inbound => (&call.phone, &call.number),
        Direction::Outbound => (&call.number, &call.phone),
    };
    [
        ("call", call.id.to_string()),
        ("direction", direction_word(call.direction).to_owned()),
        ("phone", call.phone.clone()),
        ("from_number", from.clone()),
        ("to_number", to.clone()),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
