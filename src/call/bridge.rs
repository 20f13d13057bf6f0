//! The agent's side of a leg: joins a [`Session`] to the playout queue. Lives on the media thread.
//!
//! Audio and words of the agent flow towards the phone, frames and keys towards the agent; the actor gets reports
//! through a bounded channel and never holds the media thread up. One agent may follow another (`succession`).

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::played::Item;
use crate::ai::{Command, Event, Session, SessionFactory};
use crate::media::bell::Bell;
use crate::media::bridge::{Early, Ringback, Sounding};
use crate::media::{HeardFrame, Peer, Playout};

mod calls;
mod fault;
mod filler;
mod hearing;
mod report;
mod saying;
mod sound;
mod succession;
#[cfg(test)]
mod tests;

use calls::Calls;
use fault::Standby;
pub(super) use filler::ASIDE;
use filler::Filler;
use hearing::Hearing;
pub(super) use hearing::{Silence, TurnRules};
pub(super) use report::{BargeIn, Report};
use sound::Ears;
use succession::{Numbers, Successor};

/// Reports that may wait on the media thread while the actor is busy. Beyond it, words in progress are dropped; words
/// that close a turn never are.
const BACKLOG: usize = 512;
/// Items that were cut and whose late audio is thrown away.
const CUT_ITEMS: usize = 32;
/// How often activity is reported.
const ACTIVITY: Duration = Duration::from_secs(1);
/// Events taken from a session in one turn, so that a flood cannot starve the leg.
const EVENTS_A_POLL: usize = 256;

/// What the actor wants of the agent's side.
pub(super) enum Cue {
    Tell(Command),
    /// Another agent gets the call, once it is there and what the one at hand has said has gone out.
    Successor(SessionFactory),
    /// Said while the tool takes long, in the service's voice or this one.
    Filler {
        call: String,
        text: String,
        voice: SessionFactory,
    },
    /// Keys are the call's own from now on (true), or the agent's again.
    KeepKeys(bool),
}

impl From<Command> for Cue {
    fn from(command: Command) -> Cue {
        Cue::Tell(command)
    }
}

/// An interruption whose last packet is not certain yet.
#[derive(Debug, Clone, Copy)]
struct Interruption {
    onset: Instant,
    detected: Instant,
}

pub(super) struct Bridge {
    session: Box<dyn Session>,
    ears: Ears,
    /// `None` once the session has ended.
    listening: bool,
    /// Rings for commands and early sound.
    bell: Bell,
    cues: mpsc::Receiver<Cue>,
    reports: mpsc::Sender<Report>,
    backlog: VecDeque<Report>,
    items: VecDeque<Item>,
    cut: VecDeque<u64>,
    marks: VecDeque<(u64, Mark)>,
    next_mark: u64,
    /// End of the caller's last speech, until the agent answers it.
    caller_stopped: Option<Instant>,
    caller_speaks: bool,
    hearing: Hearing,
    /// Reported with the next frame or the agent's next sound, when it is known which packet was the last.
    interruption: Option<Interruption>,
    /// The far end put the call on hold: what it sends is no speech of the caller.
    on_hold: bool,
    /// The caller is being connected to a person; the agent is not heard and hears nothing.
    parked: Option<Parked>,
    /// Early sound of the person.
    early: Option<mpsc::Receiver<Box<Early>>>,
    /// The agent wants a person; reported once everything queued has gone out.
    wanted: Option<(String, Option<String>)>,
    /// The agent wants to leave; reported once everything queued has gone out.
    leaving: Option<Leaving>,
    /// For an agent that fails.
    standby: Standby,
    /// Tools that the agent waits for.
    calls: Calls,
    /// Keys are not the agent's.
    keeps_keys: bool,
    numbers: Numbers,
    successor: Option<Successor>,
    filler: Option<Filler>,
    /// Fillers that the box's voice has said.
    asides: u64,
    last_activity: Option<Instant>,
    /// The playout's timeline when it was last seen; for the end, when there is no playout any more.
    sent: Duration,
    last_sent: Option<Instant>,
    seen: Option<Instant>,
}

/// What the caller hears meanwhile: ringback, until the person's side sends something better.
#[derive(Default)]
struct Parked {
    ringback: Ringback,
    early: Option<Box<Early>>,
}

impl Parked {
    fn feed(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) {
        let sounding = self.early.as_mut().map(|early| early.feed(context, playout));
        if sounding == Some(Sounding::Over) {
            self.early = None;
        }
        if sounding != Some(Sounding::Now) {
            self.ringback.feed(playout);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mark {
    FirstSound {
        item: u64,
        caller_stopped: Option<Instant>,
    },
    ItemEnd(u64),
    Left,
    /// Everything was said before a transfer.
    Transfer,
    /// Everything was said before another agent comes.
    Successor,
}

#[derive(Debug, Clone, PartialEq)]
struct Leaving {
    outcome: Option<String>,
}

impl Bridge {
    pub(super) fn new(session: Box<dyn Session>, cues: mpsc::Receiver<Cue>, reports: mpsc::Sender<Report>) -> Bridge {
        Bridge {
            session,
            ears: Ears::default(),
            listening: true,
            bell: Bell::default(),
            cues,
            reports,
            backlog: VecDeque::new(),
            items: VecDeque::new(),
            cut: VecDeque::new(),
            marks: VecDeque::new(),
            next_mark: 0,
            caller_stopped: None,
            caller_speaks: false,
            hearing: Hearing::default(),
            interruption: None,
            on_hold: false,
            parked: None,
            early: None,
            wanted: None,
            leaving: None,
            standby: Standby::default(),
            calls: Calls::default(),
            keeps_keys: false,
            numbers: Numbers::default(),
            successor: None,
            filler: None,
            asides: 0,
            last_activity: None,
            sent: Duration::ZERO,
            last_sent: None,
            seen: None,
        }
    }

    /// The same; a caller who waits hears what comes through `early`.
    pub(super) fn with_early(mut self, early: mpsc::Receiver<Box<Early>>) -> Bridge {
        self.early = Some(early);
        self
    }

    /// The same; a caller whose agent fails hears `sentence`.
    pub(super) fn with_sentence(mut self, sentence: Option<SessionFactory>) -> Bridge {
        self.standby = Standby::saying(sentence);
        self
    }

    /// The same; turns are taken by `rules`.
    pub(super) fn with_turns(mut self, rules: TurnRules) -> Bridge {
        self.hearing = Hearing::new(rules);
        self
    }

    /// Carries out what the actor wants.
    fn obey(&mut self, playout: &mut dyn Playout) {
        loop {
            let mut context = Context::from_waker(self.bell.waker());
            let Poll::Ready(Some(cue)) = self.cues.poll_recv(&mut context) else { break };
            match cue {
                Cue::Tell(command) => self.tell(command, playout),
                Cue::Successor(session) => self.expect(session(), playout),
                Cue::Filler { call, text, voice } => self.fill(call, text, voice),
                Cue::KeepKeys(keep) => self.keeps_keys = keep,
            }
        }
        let mut context = Context::from_waker(self.bell.waker());
        while let Some(Poll::Ready(Some(early))) = self.early.as_mut().map(|early| early.poll_recv(&mut context)) {
            if let Some(parked) = &mut self.parked {
                parked.early = Some(early);
            }
        }
    }

    /// Hands a command of the actor's on.
    fn tell(&mut self, command: Command, playout: &mut dyn Playout) {
        match &command {
            Command::Hold(on_hold) => self.on_hold = *on_hold,
            Command::TransferBegun => self.park(playout),
            Command::TransferFailed { .. } => self.unpark(playout),
            Command::Greet => self.standby.greeted(),
            Command::ToolResult { id, .. } if !self.calls.is_answered(id) => return,
            _ => {}
        }
        let back = matches!(command, Command::TransferFailed { .. });
        if self.listening {
            self.session.command(command);
        }
        if back {
            self.own_up(playout);
        }
    }

    fn on_event(&mut self, event: Event, playout: &mut dyn Playout) {
        match event {
            Event::Ready => {}
            Event::ToolCancel { id } => self.on_tool_cancelled(id),
            Event::Audio(audio) => {
                self.end_filler(playout);
                self.on_audio(&audio, playout);
                self.session.recycle(audio.sound);
            }
            Event::AudioEnd { item } => self.on_audio_end(item, playout),
            Event::SpeechStarted { at } => self.on_speech_started(at, playout),
            Event::SpeechStopped { at } => self.on_speech_stopped(at),
            Event::CallerText { text, last } => self.report(Report::CallerWords { text, last }),
            Event::AgentText { item, text, .. } => self.on_agent_text(item, &text),
            Event::ToolCall { id, name, arguments } => self.on_tool_call(id, &name, arguments, playout),
            Event::TurnEnd => self.report(Report::AgentTurnEnd),
            Event::Usage(usage) => self.report(Report::Usage(usage)),
            Event::GoingAway { left } => tracing::debug!(seconds = left.as_secs(), "the voice AI will close"),
            Event::TransferRequested { destination, whisper } => self.want_person(destination, whisper, playout),
            Event::HangUp { outcome } => self.leave(Some(outcome), playout),
            // The successor has the call, or is going to have it.
            Event::Error { message, fatal: true } if self.successor.is_some() => {
                tracing::debug!(message, "the voice AI failed while another agent comes");
            }
            Event::Error { message, fatal: true } => self.on_fault(message, playout),
            Event::Error { message, fatal: false } => tracing::debug!(message, "the voice AI reports a problem"),
            Event::Ended => {
                self.listening = false;
                if self.successor.is_none() && !self.standby.has_something_to_say() {
                    self.leave(None, playout);
                }
            }
        }
    }

    /// Whatever plays stops now; the agent and the transcript learn what was heard of it.
    fn on_speech_started(&mut self, at: Instant, playout: &mut dyn Playout) {
        self.caller_speaks = true;
        if matches!(self.filler, Some(Filler::Speaking { .. })) {
            self.filler = None;
        }
        let (now, sent) = (playout.now(), playout.sent());
        self.report_interruption(playout.last_sent());
        let audible = !playout.queued().is_zero();
        playout.flush();
        self.marks.clear();
        self.report(Report::CallerBegan { at });
        for item in std::mem::take(&mut self.items) {
            self.cut_item(&item, sent, now);
        }
        if audible {
            self.interruption = Some(Interruption { onset: at, detected: now });
        }
        if self.leaving.is_some() {
            self.mark(Mark::Left, playout);
        }
        if self.wanted.is_some() {
            self.mark(Mark::Transfer, playout);
        }
        if self.successor.is_some() {
            self.mark(Mark::Successor, playout);
        }
    }

    fn on_speech_stopped(&mut self, at: Instant) {
        self.caller_speaks = false;
        self.caller_stopped = Some(at);
        self.report(Report::CallerStopped { at });
    }

    fn want_person(&mut self, destination: String, whisper: Option<String>, playout: &mut dyn Playout) {
        if self.parked.is_none() && self.wanted.replace((destination, whisper)).is_none() {
            playout.finish();
            self.mark(Mark::Transfer, playout);
        }
    }

    /// From now on the caller hears ringback, and the agent nothing.
    fn park(&mut self, playout: &mut dyn Playout) {
        let (now, sent) = (playout.now(), playout.sent());
        self.report_interruption(playout.last_sent());
        playout.flush();
        self.marks.clear();
        self.wanted = None;
        for item in std::mem::take(&mut self.items) {
            self.cut_item(&item, sent, now);
        }
        self.filler = None;
        self.parked = Some(Parked::default());
    }

    /// The caller is back.
    fn unpark(&mut self, playout: &mut dyn Playout) {
        if self.parked.take().is_some() {
            playout.flush();
            // What was late of items from before has come and gone meanwhile.
            self.cut.clear();
            if self.leaving.is_some() {
                self.mark(Mark::Left, playout);
            }
            if self.successor.is_some() {
                self.mark(Mark::Successor, playout);
            }
        }
    }

    /// Tells of an interruption what the wire says: `last` is when the last packet of agent speech left.
    fn report_interruption(&mut self, last: Option<Instant>) {
        let Some(Interruption { onset, detected }) = self.interruption.take() else { return };
        let since = |begin: Instant| last.map(|last| last.saturating_duration_since(begin)).unwrap_or_default();
        let barge_in = BargeIn { detected, since_onset: since(onset), since_detection: since(detected) };
        self.report(Report::BargeIn(barge_in));
    }

    fn leave(&mut self, outcome: Option<String>, playout: &mut dyn Playout) {
        let outcome = outcome.filter(|outcome| !outcome.is_empty());
        match &mut self.leaving {
            // The end of the session after its hang-up adds nothing.
            Some(leaving) => leaving.outcome = leaving.outcome.take().or(outcome),
            None => {
                self.leaving = Some(Leaving { outcome });
                if self.parked.is_some() {
                    return;
                }
                playout.finish();
                if playout.queued().is_zero() {
                    self.left(playout);
                } else {
                    self.mark(Mark::Left, playout);
                }
            }
        }
    }

    fn left(&mut self, playout: &dyn Playout) {
        self.report_interruption(playout.last_sent());
        let outcome = self.leaving.as_mut().and_then(|leaving| leaving.outcome.take());
        self.report(Report::Done { outcome });
    }

    fn mark(&mut self, meaning: Mark, playout: &mut dyn Playout) {
        self.next_mark += 1;
        self.marks.push_back((self.next_mark, meaning));
        playout.mark(self.next_mark);
    }

    fn on_mark(&mut self, meaning: Mark, playout: &dyn Playout) {
        let now = playout.now();
        match meaning {
            Mark::FirstSound { item, caller_stopped } => {
                let delay = caller_stopped.map(|stopped| now.saturating_duration_since(stopped));
                self.report(Report::AgentBegan { item, at: now, delay });
            }
            Mark::ItemEnd(id) => {
                self.tell_played(id);
                if let Some(index) = self.items.iter().position(|item| item.id == id)
                    && let Some(item) = self.items.remove(index)
                {
                    let text = item.text.trim().to_owned();
                    self.report(Report::ItemOver { item: id, text, interrupted: false, at: now });
                }
            }
            Mark::Left => self.left(playout),
            Mark::Transfer => {
                if let Some((destination, whisper)) = self.wanted.take() {
                    self.report(Report::TransferRequested { destination, whisper });
                }
            }
            Mark::Successor => self.due(),
        }
    }

    /// Tells the actor, at most once a second, that the call is not an empty room.
    fn note_activity(&mut self, playout: &dyn Playout) {
        let now = playout.now();
        let heard = self.caller_speaks || !playout.queued().is_zero();
        if heard && self.last_activity.is_none_or(|last| now.saturating_duration_since(last) >= ACTIVITY) {
            self.last_activity = Some(now);
            self.report(Report::Active);
        }
    }

    fn report(&mut self, report: Report) {
        if self.backlog.len() >= BACKLOG && report.may_be_dropped() {
            return;
        }
        self.backlog.push_back(report);
        self.send_backlog();
    }

    fn send_backlog(&mut self) {
        while let Some(report) = self.backlog.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(report)) = self.reports.try_send(report) {
                self.backlog.push_front(report);
                return;
            }
        }
    }

    fn look(&mut self, playout: &dyn Playout) {
        self.sent = playout.sent();
        self.last_sent = playout.last_sent();
        self.seen = Some(playout.now());
        self.send_backlog();
    }
}

impl Peer for Bridge {
    fn is_prompt(&self) -> bool {
        self.session.is_prompt()
    }

    /// Ringback and early sound do.
    fn keeps_pace(&self) -> bool {
        self.parked.is_some()
    }

    fn heard(&mut self, frame: HeardFrame<'_>, playout: &mut dyn Playout) {
        self.report_interruption(playout.last_sent());
        if self.listening && !self.on_hold && self.parked.is_none() {
            let heard = self.ears.hear(&frame, self.session.wants());
            self.session.hear(heard, frame.at);
            self.attend(&frame, playout);
        } else {
            self.hearing.begin_anew();
        }
        self.note_activity(playout);
        self.look(playout);
    }

    fn key(&mut self, key: char, playout: &mut dyn Playout) {
        if self.listening && self.parked.is_none() && !self.keeps_keys {
            self.session.command(Command::Key(key));
        }
        self.last_activity = Some(playout.now());
        self.report(Report::Active);
    }

    fn played(&mut self, mark: u64, playout: &mut dyn Playout) {
        // Marks come back in order; one that was flushed away never does.
        while let Some((number, meaning)) = self.marks.pop_front() {
            if number == mark {
                self.on_mark(meaning, playout);
                break;
            }
            if number > mark {
                self.marks.push_front((number, meaning));
                break;
            }
        }
        self.look(playout);
    }

    fn poll(&mut self, context: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()> {
        if self.bell.has_rung(context) {
            self.obey(playout);
        }
        let mut taken = 0;
        while self.listening {
            if taken == EVENTS_A_POLL {
                context.waker().wake_by_ref();
                break;
            }
            let Poll::Ready(event) = self.session.poll_event(context) else { break };
            taken += 1;
            let event = self.numbers.outside(event);
            self.on_event(event, playout);
        }
        self.poll_successor(context, playout);
        self.poll_filler(context, playout);
        if let Some(parked) = &mut self.parked {
            parked.feed(context, playout);
        }
        self.look(playout);
        // The leg ends when the actor closes it, not when the agent is through.
        Poll::Pending
    }
}

impl Drop for Bridge {
    /// The leg is gone: what was heard of items in flight belongs to the transcript.
    fn drop(&mut self) {
        let Some(now) = self.seen else { return };
        self.report_interruption(self.last_sent);
        for item in std::mem::take(&mut self.items) {
            if !item.has_audio() {
                continue;
            }
            let complete = item.played_out(self.sent);
            let heard = if complete { item.text.as_str() } else { item.heard(item.played(self.sent)) };
            let text = heard.trim().to_owned();
            self.report(Report::ItemOver { item: item.id, text, interrupted: !complete, at: now });
        }
        self.send_backlog();
    }
}
