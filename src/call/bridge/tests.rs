#![allow(clippy::disallowed_methods)]

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

mod succession;

use super::*;
use crate::ai::{Audio, CallerFrame, Sound};
use crate::media::{FRAME, Flushed};

const RATE: u32 = 8_000;

/// A session that says what the test puts into it and notes what it is told.
#[derive(Default, Clone)]
struct Script(Rc<RefCell<Lines>>);

#[derive(Default)]
struct Lines {
    events: VecDeque<Event>,
    commands: Vec<Command>,
    frames: usize,
}

impl Session for Script {
    fn hear(&mut self, _: CallerFrame<'_>, _: Instant) {
        self.0.borrow_mut().frames += 1;
    }

    fn command(&mut self, command: Command) {
        self.0.borrow_mut().commands.push(command);
    }

    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Event> {
        self.0.borrow_mut().events.pop_front().map_or(Poll::Pending, Poll::Ready)
    }
}

/// A playout queue in virtual time: a frame of 160 samples every 20 ms.
struct Wire {
    now: Instant,
    queue: VecDeque<Slot>,
    rest: usize,
    sent: Duration,
    last_sent: Option<Instant>,
}

enum Slot {
    Frame,
    Mark(u64),
}

impl Wire {
    fn frames(&self) -> u32 {
        self.queue.iter().map(|slot| u32::from(matches!(slot, Slot::Frame))).sum()
    }
}

impl Playout for Wire {
    fn push(&mut self, pcm: &[i16], rate: u32) {
        assert_eq!(rate, RATE);
        self.rest += pcm.len();
        while self.rest >= 160 {
            self.rest -= 160;
            self.queue.push_back(Slot::Frame);
        }
    }

    fn finish(&mut self) {
        if std::mem::take(&mut self.rest) > 0 {
            self.queue.push_back(Slot::Frame);
        }
    }

    fn flush(&mut self) -> Flushed {
        let dropped = FRAME * self.frames();
        self.queue.clear();
        self.rest = 0;
        Flushed { dropped }
    }

    fn mark(&mut self, mark: u64) {
        self.queue.push_back(Slot::Mark(mark));
    }

    fn send_keys(&mut self, _: &str) {}

    fn queued(&self) -> Duration {
        FRAME * self.frames()
    }

    fn sent(&self) -> Duration {
        self.sent
    }

    fn level(&self) -> f32 {
        0.0
    }

    fn last_sent(&self) -> Option<Instant> {
        self.last_sent
    }

    fn now(&self) -> Instant {
        self.now
    }
}

struct Stage {
    script: Script,
    bridge: Bridge,
    wire: Wire,
    reports: mpsc::Receiver<Report>,
    orders: mpsc::Sender<Cue>,
}

impl Stage {
    fn new(capacity: usize) -> Stage {
        let script = Script::default();
        let (orders, commands) = mpsc::channel(8);
        let (sender, reports) = mpsc::channel(capacity);
        let bridge = Bridge::new(Box::new(script.clone()), commands, sender);
        let wire = Wire { now: Instant::now(), queue: VecDeque::new(), rest: 0, sent: Duration::ZERO, last_sent: None };
        Stage { script, bridge, wire, reports, orders }
    }

    fn says(&mut self, events: impl IntoIterator<Item = Event>) {
        self.script.0.borrow_mut().events.extend(events);
        let _ = self.bridge.poll(&mut Context::from_waker(Waker::noop()), &mut self.wire);
    }

    /// Lets `span` pass on the wire, a frame at a time.
    fn play(&mut self, span: Duration) {
        let end = self.wire.now + span;
        while self.wire.now < end {
            self.wire.now += FRAME;
            self.marks();
            if let Some(Slot::Frame) = self.wire.queue.front() {
                self.wire.queue.pop_front();
                self.wire.sent += FRAME;
                self.wire.last_sent = Some(self.wire.now);
            }
            self.marks();
            let pcm = [0; 160];
            let frame = HeardFrame { pcm: &pcm, rate: RATE, at: self.wire.now, concealed: false, encoded: None };
            self.bridge.heard(frame, &mut self.wire);
        }
    }

    fn marks(&mut self) {
        while let Some(Slot::Mark(mark)) = self.wire.queue.front() {
            let mark = *mark;
            self.wire.queue.pop_front();
            self.bridge.played(mark, &mut self.wire);
        }
    }

    fn reports(&mut self) -> Vec<Report> {
        let mut reports = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            if report != Report::Active {
                reports.push(report);
            }
        }
        reports
    }

    fn commands(&self) -> Vec<Command> {
        self.script.0.borrow_mut().commands.drain(..).collect()
    }
}

fn audio(item: u64, ms: usize) -> Event {
    Event::Audio(Audio { item, sound: Sound::Linear { pcm: vec![0; ms * 8], rate: RATE } })
}

fn text(item: u64, text: &str) -> Event {
    Event::AgentText { item, text: text.into(), last: true }
}

#[test]
fn an_item_is_reported_at_its_first_sound_and_when_it_has_been_played() {
    let mut stage = Stage::new(64);
    let start = stage.wire.now;
    stage.says([text(1, "Hello there."), audio(1, 95), Event::AudioEnd { item: 1 }, Event::TurnEnd]);
    stage.play(Duration::from_millis(300));
    let reports = stage.reports();
    assert_eq!(
        reports,
        [
            Report::AgentWords { item: 1, text: "Hello there.".into() },
            Report::AgentTurnEnd,
            Report::AgentBegan { item: 1, at: start + FRAME, delay: None },
            Report::ItemOver { item: 1, text: "Hello there.".into(), interrupted: false, at: start + FRAME * 5 },
        ]
    );
    assert_eq!(stage.commands(), [Command::Played { item: 1 }]);
}

#[test]
fn the_delay_of_a_turn_runs_from_the_callers_last_word_to_the_first_packet() {
    let mut stage = Stage::new(64);
    let stopped = stage.wire.now;
    stage.says([Event::SpeechStarted { at: stopped }, Event::SpeechStopped { at: stopped }]);
    stage.play(Duration::from_millis(400));
    stage.says([audio(1, 100)]);
    stage.play(Duration::from_millis(20));
    stage.says([audio(1, 100), Event::AudioEnd { item: 1 }, audio(2, 100)]);
    stage.play(Duration::from_millis(400));
    let delays: Vec<_> = stage
        .reports()
        .into_iter()
        .filter_map(|report| match report {
            Report::AgentBegan { item, delay, .. } => Some((item, delay)),
            _ => None,
        })
        .collect();
    assert_eq!(delays, [(1, Some(Duration::from_millis(420))), (2, None)]);
}

#[test]
fn speech_of_the_caller_silences_the_wire_and_cuts_the_item_to_what_was_heard() {
    let mut stage = Stage::new(64);
    stage.says([text(1, "one two three four five six seven eight"), audio(1, 2000), Event::AudioEnd { item: 1 }]);
    stage.says([text(2, "never heard"), audio(2, 500)]);
    stage.play(Duration::from_millis(1000));
    stage.reports();
    let at = stage.wire.now - Duration::from_millis(60);
    stage.says([Event::SpeechStarted { at }]);
    assert_eq!(stage.wire.queued(), Duration::ZERO);
    let now = stage.wire.now;
    stage.play(FRAME);
    let commands = stage.commands();
    assert_eq!(commands[0], Command::Truncate { item: 1, played: Duration::from_millis(1000) });
    assert_eq!(commands[1], Command::Truncate { item: 2, played: Duration::ZERO });
    assert_eq!(
        stage.reports(),
        [
            Report::CallerBegan { at },
            Report::ItemOver { item: 1, text: "one two three four".into(), interrupted: true, at: now },
            Report::ItemOver { item: 2, text: String::new(), interrupted: true, at: now },
            Report::BargeIn(BargeIn {
                detected: now,
                since_onset: Duration::from_millis(60),
                since_detection: Duration::ZERO
            }),
        ]
    );
    // What the service still sends of a cut item is thrown away.
    stage.says([audio(2, 500), text(2, "more"), Event::AudioEnd { item: 2 }]);
    assert_eq!(stage.wire.queued(), Duration::ZERO);
    stage.play(Duration::from_millis(100));
    assert_eq!(stage.reports(), []);
}

#[test]
fn a_packet_that_leaves_after_the_detection_is_counted() {
    let mut stage = Stage::new(64);
    stage.says([audio(1, 2000)]);
    stage.play(Duration::from_millis(1000));
    let detected = stage.wire.now;
    let at = detected - Duration::from_millis(80);
    stage.says([Event::SpeechStarted { at }]);
    // A wire that does not obey.
    stage.wire.queue.push_back(Slot::Frame);
    stage.wire.last_sent = Some(detected + FRAME);
    stage.play(FRAME);
    let told = stage.reports().into_iter().find(|report| matches!(report, Report::BargeIn(_)));
    let expected = BargeIn { detected, since_onset: Duration::from_millis(100), since_detection: FRAME };
    assert_eq!(told, Some(Report::BargeIn(expected)));
}

#[test]
fn a_call_on_hold_hears_nobody_and_tells_the_service_so() {
    let mut stage = Stage::new(64);
    stage.orders.try_send(Command::Hold(true).into()).expect("room");
    stage.says([]);
    stage.play(FRAME * 3);
    assert_eq!(stage.script.0.borrow().frames, 0);
    stage.orders.try_send(Command::Hold(false).into()).expect("room");
    stage.says([]);
    stage.play(FRAME * 2);
    assert_eq!(stage.script.0.borrow().frames, 2);
    assert_eq!(stage.commands(), [Command::Hold(true), Command::Hold(false)]);
}

#[test]
fn speech_while_nothing_plays_is_no_barge_in() {
    let mut stage = Stage::new(64);
    let at = stage.wire.now;
    stage.says([Event::SpeechStarted { at }]);
    assert_eq!(stage.reports(), [Report::CallerBegan { at }]);
}

#[test]
fn the_agent_leaves_only_after_its_last_word_has_gone_out() {
    let mut stage = Stage::new(64);
    stage.says([text(1, "Goodbye."), audio(1, 400), Event::AudioEnd { item: 1 }]);
    stage.says([Event::HangUp { outcome: "confirmed".into() }, Event::Ended]);
    stage.play(Duration::from_millis(380));
    assert!(!stage.reports().iter().any(|report| matches!(report, Report::Done { .. })));
    stage.play(Duration::from_millis(20));
    let reports = stage.reports();
    assert_eq!(reports.last(), Some(&Report::Done { outcome: Some("confirmed".into()) }));
    assert!(matches!(reports[0], Report::ItemOver { interrupted: false, .. }), "{reports:?}");
}

#[test]
fn an_agent_interrupted_in_its_goodbye_leaves_all_the_same() {
    let mut stage = Stage::new(64);
    stage.says([audio(1, 2000), Event::HangUp { outcome: String::new() }]);
    stage.play(Duration::from_millis(100));
    let at = stage.wire.now;
    stage.says([Event::SpeechStarted { at }]);
    stage.play(Duration::from_millis(20));
    assert_eq!(stage.reports().last(), Some(&Report::Done { outcome: None }));
}

#[test]
fn keys_frames_and_commands_reach_the_service_until_it_has_ended() {
    let mut stage = Stage::new(64);
    stage.bridge.key('5', &mut stage.wire);
    stage.orders.try_send(Command::Greet.into()).expect("room");
    stage.says([]);
    stage.play(FRAME);
    assert_eq!(stage.commands(), [Command::Key('5'), Command::Greet]);
    assert_eq!(stage.script.0.borrow().frames, 1);
    stage.says([Event::Ended]);
    stage.bridge.key('6', &mut stage.wire);
    stage.orders.try_send(Command::Stop.into()).expect("room");
    stage.says([]);
    stage.play(FRAME);
    assert_eq!(stage.commands(), []);
    assert_eq!(stage.script.0.borrow().frames, 1);
}

#[test]
fn the_hangup_tool_ends_the_call_and_others_are_refused() {
    let mut stage = Stage::new(64);
    let call = |name: &str, arguments| Event::ToolCall { id: "1".into(), name: name.into(), arguments };
    stage.says([call("transfer_call", serde_json::json!({}))]);
    assert!(matches!(&stage.commands()[0], Command::ToolResult { output, .. } if output["error"].is_string()));
    stage.says([call("end_call", serde_json::json!({ "reason": "done" }))]);
    stage.play(FRAME);
    assert_eq!(stage.reports().last(), Some(&Report::Done { outcome: Some("done".into()) }));
}

#[test]
fn a_busy_actor_loses_no_closed_turn_and_never_holds_the_thread_up() {
    let mut stage = Stage::new(2);
    for item in 0..2000 {
        stage.says([
            Event::CallerText { text: "so far".into(), last: false },
            Event::CallerText { text: format!("words {item}"), last: true },
        ]);
    }
    let mut closed = Vec::new();
    loop {
        let reports = stage.reports();
        if reports.is_empty() {
            break;
        }
        closed.extend(reports.into_iter().filter(|report| matches!(report, Report::CallerWords { last: true, .. })));
        stage.play(FRAME);
    }
    let expected: Vec<_> =
        (0..2000).map(|item| Report::CallerWords { text: format!("words {item}"), last: true }).collect();
    assert_eq!(closed, expected);
}

#[test]
fn a_leg_that_goes_away_still_tells_what_was_heard() {
    let mut stage = Stage::new(64);
    stage.says([text(1, "one two three four five six seven eight"), audio(1, 2000), Event::AudioEnd { item: 1 }]);
    stage.play(Duration::from_millis(1000));
    stage.reports();
    let Stage { bridge, mut reports, .. } = stage;
    drop(bridge);
    let last = reports.try_recv();
    assert!(
        matches!(&last, Ok(Report::ItemOver { item: 1, text, interrupted: true, .. }) if text == "one two three four"),
        "{last:?}"
    );
}

#[test]
fn activity_is_reported_once_a_second_while_somebody_is_heard_and_not_in_silence() {
    let mut stage = Stage::new(256);
    stage.says([audio(1, 3000), Event::AudioEnd { item: 1 }]);
    stage.play(Duration::from_secs(30));
    let mut active = 0;
    while let Ok(report) = stage.reports.try_recv() {
        active += usize::from(report == Report::Active);
    }
    assert_eq!(active, 3);
}

/// A session that says `events` once it was told to speak.
struct Speaker {
    events: VecDeque<Event>,
    told: bool,
}

impl Session for Speaker {
    fn hear(&mut self, _: CallerFrame<'_>, _: Instant) {}

    fn command(&mut self, command: Command) {
        self.told |= command == Command::Greet;
    }

    fn poll_event(&mut self, _: &mut Context<'_>) -> Poll<Event> {
        self.events.pop_front_if(|_| self.told).map_or(Poll::Pending, Poll::Ready)
    }
}

fn with_sentence(stage: Stage) -> Stage {
    let said = [text(1, "Sorry."), audio(1, 100), Event::AudioEnd { item: 1 }];
    let events = said.into_iter().chain([Event::HangUp { outcome: "told".into() }, Event::Ended]).collect();
    let bridge = stage.bridge.with_sentence(Some(Box::new(move || Box::new(Speaker { events, told: false }))));
    Stage { bridge, ..stage }
}

fn fault() -> [Event; 2] {
    [Event::Error { message: "gone".into(), fatal: true }, Event::Ended]
}

fn faults(reports: &[Report]) -> usize {
    reports.iter().filter(|report| **report == Report::Faulted { message: "gone".into() }).count()
}

/// The texts of items that are over.
fn over(reports: &[Report]) -> Vec<&str> {
    let of = reports.iter().filter_map(|report| match report {
        Report::ItemOver { text, .. } => Some(text.as_str()),
        _ => None,
    });
    of.collect()
}

#[test]
fn an_agent_that_fails_is_played_out_and_followed_by_the_sentence_once() {
    let mut stage = with_sentence(Stage::new(64));
    stage.orders.try_send(Cue::Tell(Command::Greet)).expect("room");
    stage.says([text(1, "Hello."), audio(1, 100), text(2, "Never heard.")]);
    stage.says(fault());
    stage.play(Duration::from_millis(100));
    let reports = stage.reports();
    assert_eq!((faults(&reports), over(&reports)), (1, vec!["Hello."]), "{reports:?}");
    assert!(!reports.iter().any(|report| matches!(report, Report::Done { .. } | Report::Failed { .. })));
    stage.play(Duration::from_millis(120));
    let reports = stage.reports();
    assert_eq!(over(&reports), ["Sorry."], "{reports:?}");
    assert_eq!(reports.last(), Some(&Report::Done { outcome: None }));
    stage.says(fault());
    stage.play(Duration::from_millis(200));
    assert_eq!(stage.reports(), []);
}

#[test]
fn nothing_is_said_before_the_phone_was_answered_nor_after_the_agent_hung_up() {
    let mut stage = with_sentence(Stage::new(64));
    stage.says(fault());
    stage.play(Duration::from_millis(200));
    assert_eq!(stage.reports(), [Report::Faulted { message: "gone".into() }]);
    stage.orders.try_send(Cue::Tell(Command::Greet)).expect("room");
    stage.says([]);
    stage.play(Duration::from_millis(200));
    assert_eq!(over(&stage.reports()), ["Sorry."]);

    let mut stage = with_sentence(Stage::new(64));
    stage.orders.try_send(Cue::Tell(Command::Greet)).expect("room");
    stage.says([audio(1, 100), Event::HangUp { outcome: "well".into() }]);
    stage.says(fault());
    stage.play(Duration::from_millis(200));
    let reports = stage.reports();
    assert_eq!(faults(&reports), 0);
    assert_eq!(reports.last(), Some(&Report::Done { outcome: Some("well".into()) }));
}

#[test]
fn a_caller_who_waits_for_a_person_is_told_when_nobody_came() {
    let mut stage = with_sentence(Stage::new(64));
    for command in [Command::Greet, Command::TransferBegun] {
        stage.orders.try_send(Cue::Tell(command)).expect("room");
    }
    stage.says([]);
    stage.says(fault());
    stage.play(Duration::from_millis(200));
    assert_eq!(stage.reports(), [], "neither that it failed nor that it is through");
    stage.orders.try_send(Cue::Tell(Command::TransferFailed { outcome: "busy".into() })).expect("room");
    stage.says([]);
    stage.play(Duration::from_millis(200));
    let reports = stage.reports();
    assert_eq!((faults(&reports), over(&reports)), (1, vec!["Sorry."]), "{reports:?}");
    assert_eq!(reports.last(), Some(&Report::Done { outcome: None }));
}
