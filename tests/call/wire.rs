//! What a call does on the wire: real SIP, and RTP packet by packet, over loopback.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)] // functions that tests share are not inside `#[test]`

use crate::call_support;
use crate::sip_support;
use crate::speech_common;
use std::time::{Duration, Instant};

use call_support::line::Line;
use call_support::{Gateway, PATIENCE, Phone, Plan, within};
use sip_support::{Peer, header, tag_of};
use tokio::sync::mpsc;
use trunkline::call::record::EndedBy;
use trunkline::call::{Call, CallStatus, EndReason, Held, LiveFact, Tuning};
use trunkline::media::Codec;
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::endpoint::{CallControl, CallEvent, Destination, OfferOutcome, OutboundInvite};
use trunkline::sip::sdp::{AudioCodec, Direction, SessionDescription};
use trunkline::speech::Voice;
use uuid::Uuid;

const NUMBER: &str = "[[number]]\nname = \"desk\"\nnumber = \"100\"\nvisibility = \"public\"\nsystem_prompt = \"Hi\"\n";
const BOTH: [AudioCodec; 2] = [AudioCodec::Pcmu, AudioCodec::Pcma];
const WINDOW: Duration = Duration::from_millis(300);

/// Calls measure time: one after the other.
static STAGE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A call between the box and a phone of bare RTP.
struct Wire {
    gateway: Gateway,
    id: Uuid,
    control: CallControl,
    events: mpsc::Receiver<CallEvent>,
    line: Line,
    /// The box's description.
    theirs: SessionDescription,
    _phone: Phone,
    state: tempfile::TempDir,
}

impl Wire {
    /// The box calls; the phone answers with what `describe` makes of its line.
    async fn called(plan: impl FnOnce(&Phone) -> Plan, describe: impl FnOnce(&Line) -> SessionDescription) -> Wire {
        let state = tempfile::tempdir().expect("state");
        let mut phone = Phone::start().await;
        let gateway = Gateway::start(state.path(), plan(&phone)).await;
        let id = gateway.place(gateway.order()).await.id;
        let call = phone.rings().await;
        let line = Line::open().await;
        call.control.answer(describe(&line));
        gateway.status(id, CallStatus::InProgress).await;
        let theirs = call.offer.expect("an offer");
        Wire { gateway, id, control: call.control, events: call.events, line, theirs, _phone: phone, state }
    }

    async fn outbound() -> Wire {
        Wire::called(Plan::towards, |line| line.describes(1, &BOTH[..1], Direction::SendRecv)).await
    }

    /// The phone calls number 100.
    async fn inbound(plan: impl FnOnce(&Phone) -> Plan) -> Wire {
        let state = tempfile::tempdir().expect("state");
        let trunk = Phone::start().await;
        let gateway = Gateway::start(state.path(), plan(&trunk)).await;
        let phone = Phone::calling(gateway.endpoint.local_address()).await;
        let line = Line::open().await;
        let invite = OutboundInvite {
            trunk: "box".into(),
            destination: Destination::Number("100".into()),
            caller_number: None,
            caller_name: None,
            offer: line.describes(1, &BOTH[..1], Direction::SendRecv),
            ring_timeout: PATIENCE,
            policy: DialPolicy::default(),
        };
        let (control, mut events) = phone.endpoint.invite(invite).expect("an INVITE");
        let theirs = loop {
            match within("an answer", events.recv()).await.expect("an event") {
                CallEvent::Answered { session } => break *session.expect("a session"),
                CallEvent::Ringing { .. } => {}
                other => panic!("unexpected: {other:?}"),
            }
        };
        let id = gateway.inbound_call().await.id;
        gateway.status(id, CallStatus::InProgress).await;
        Wire { gateway, id, control, events, line, theirs, _phone: phone, state }
    }

    fn hums(&self) {
        self.line.hum(self.theirs.address, Codec::Pcmu);
    }

    /// Asks for a change; the box's answer.
    async fn offers(&self, offer: SessionDescription) -> SessionDescription {
        match within("an answer", self.control.offer(offer)).await {
            OfferOutcome::Accepted(answer) => answer,
            refused @ OfferOutcome::Refused(_) => panic!("{refused:?}"),
        }
    }

    /// Hangs up; the record.
    async fn ends(mut self) -> (Call, tempfile::TempDir) {
        self.control.hang_up();
        within("the end", async { while !matches!(self.events.recv().await, Some(CallEvent::Ended { .. })) {} }).await;
        (self.gateway.finished(self.id).await, self.state)
    }
}

fn plan_with_number(phone: &Phone) -> Plan {
    Plan { extra: NUMBER.into(), ..Plan::towards(phone) }
}

/// Every way to hold, and back again, with sound before and after.
async fn holds_and_resumes(wire: Wire) {
    wire.hums();
    wire.line.hears(5).await;
    let mut version = 1;
    for (direction, nowhere, ours) in [
        (Direction::SendOnly, false, Direction::RecvOnly),
        (Direction::Inactive, false, Direction::Inactive),
        (Direction::SendRecv, true, Direction::RecvOnly),
    ] {
        version += 1;
        let mut hold = wire.line.describes(version, &BOTH[..1], direction);
        if nowhere {
            hold.address.set_ip([0, 0, 0, 0].into());
        }
        let before = wire.theirs.version;
        let answer = wire.offers(hold).await;
        assert_eq!(answer.direction, ours, "{direction:?} {nowhere}");
        assert!(answer.version > before && answer.session_id == wire.theirs.session_id);
        assert_eq!(wire.line.packets_during(WINDOW).await, 0, "{direction:?} {nowhere}");
        // Many a phone holds as `sendonly` and sends nothing; that is no empty room.
        wire.line.stop();
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        version += 1;
        let resume = wire.line.describes(version, &BOTH[..1], Direction::SendRecv);
        assert_eq!(wire.offers(resume).await.direction, Direction::SendRecv);
        wire.hums();
        wire.line.hears(5).await;
    }
    assert_eq!(wire.gateway.call(wire.id).status, CallStatus::InProgress);
    let (call, _state) = wire.ends().await;
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::Finished)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbound_call_is_held_and_resumed_in_every_way() {
    let _stage = STAGE.lock().await;
    let plan = |phone: &Phone| Plan { media: "rtp_timeout_seconds = 1", ..Plan::towards(phone) };
    let describe = |line: &Line| line.describes(1, &BOTH[..1], Direction::SendRecv);
    holds_and_resumes(Wire::called(plan, describe).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbound_call_is_held_and_resumed_in_every_way() {
    let _stage = STAGE.lock().await;
    let plan = |phone: &Phone| Plan { media: "rtp_timeout_seconds = 1", ..plan_with_number(phone) };
    holds_and_resumes(Wire::inbound(plan).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_box_holds_and_resumes_a_call_and_takes_its_keys_by_info() {
    let _stage = STAGE.lock().await;
    let tuning = Tuning { quiet_limit: Duration::from_millis(500), ..Tuning::default() };
    let plan = |phone: &Phone| Plan { tuning, media: "rtp_timeout_seconds = 1", ..Plan::towards(phone) };
    let describe = |line: &Line| line.describes(1, &BOTH[..1], Direction::SendRecv);
    let mut wire = Wire::called(plan, describe).await;
    let mut facts = wire.gateway.calls.watch();
    wire.hums();
    wire.line.hears(5).await;
    for (on, direction) in [(true, Direction::Inactive), (false, Direction::SendRecv)] {
        let (calls, organization, id) = (wire.gateway.calls.clone(), wire.gateway.organization, wire.id);
        let asking = tokio::spawn(async move { calls.hold(organization, id, on).await.expect("readable") });
        let offer = loop {
            match within("an offer", wire.events.recv()).await.expect("an event") {
                CallEvent::Offer { session } => break *session.expect("a session"),
                CallEvent::Ended { by } => panic!("ended by {by:?}"),
                _ => {}
            }
        };
        assert_eq!(offer.direction, direction);
        wire.control.accept_offer(wire.line.describes(2 + u64::from(!on), &BOTH[..1], direction));
        assert_eq!(asking.await.expect("asked"), Some(Held::Done));
        let news = within("the news", async {
            loop {
                if let LiveFact::Hold(on) = facts.recv().await.expect("a fact").what {
                    return on;
                }
            }
        });
        assert_eq!(news.await, on);
        if on {
            assert_eq!(wire.line.packets_during(WINDOW).await, 0);
            wire.line.stop();
            // Longer than an empty room would last.
            tokio::time::sleep(Duration::from_millis(1_300)).await;
            assert_eq!(wire.gateway.call(wire.id).status, CallStatus::InProgress);
            wire.hums();
        }
    }
    wire.line.hears(5).await;
    wire.control.press('7');
    let pressed = within("the key", async {
        loop {
            if let LiveFact::Key(key) = facts.recv().await.expect("a fact").what {
                return key;
            }
        }
    });
    assert_eq!(pressed.await, '7');
    let (gateway, id) = (wire.gateway.calls.clone(), wire.id);
    let organization = wire.gateway.organization;
    let (call, _state) = wire.ends().await;
    let causes: Vec<(String, u16)> =
        call.network.causes.iter().map(|cause| (cause.protocol.clone(), cause.cause)).collect();
    assert_eq!(causes, [("Q.850".to_owned(), 16)], "the phone's BYE said why");
    assert_eq!(gateway.hold(organization, id, true).await.expect("readable"), Some(Held::NotNow));
    assert_eq!(gateway.hold(organization, Uuid::nil(), true).await.expect("readable"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_call_is_answered_by_the_number_first_called_and_its_way_is_kept() {
    let _stage = STAGE.lock().await;
    let state = tempfile::tempdir().expect("state");
    let trunk = Phone::start().await;
    let gateway = Gateway::start(state.path(), plan_with_number(&trunk)).await;
    let peer = Peer::new(gateway.endpoint.local_address()).await;
    let more = "Diversion: <sip:100@pbx>;reason=unconditional\r\nIdentity: eyJ.eyJ.sig;info=<https://a/b>\r\n";
    let invite = peer.request("INVITE", "a", "", more, "").replacen("sip:100@", "sip:pilot@", 1);
    let answered = peer.ask(&invite).await;
    assert!(answered.starts_with("SIP/2.0 200"), "{answered}");
    let call = gateway.inbound_call().await;
    assert_eq!((call.number.as_str(), call.network.original_called.as_deref()), ("100", Some("100")));
    assert_eq!(call.network.diversions, [("100".to_owned(), Some("unconditional".to_owned()))]);
    assert_eq!(call.network.identity.len(), 1);
    let stranger = peer.request("INVITE", "b", "", "", "").replacen("sip:100@", "sip:pilot@", 1);
    let refused = peer.ask(&stranger.replace("Call-ID: call-", "Call-ID: other-")).await;
    assert!(refused.starts_with("SIP/2.0 404"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_call_is_no_empty_room_and_a_resumed_one_may_become_it() {
    let _stage = STAGE.lock().await;
    let tuning = Tuning { quiet_limit: Duration::from_millis(500), ..Tuning::default() };
    let plan = |phone: &Phone| Plan { tuning, ..Plan::towards(phone) };
    let wire = Wire::called(plan, |line| line.describes(1, &BOTH[..1], Direction::Inactive)).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(wire.gateway.call(wire.id).status, CallStatus::InProgress);
    wire.offers(wire.line.describes(2, &BOTH[..1], Direction::SendRecv)).await;
    let call = wire.gateway.finished(wire.id).await;
    assert_eq!((call.end_reason, call.ended_by), (Some(EndReason::EmptyRoom), Some(EndedBy::System)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_moves_and_changes_its_codec_is_followed_and_an_offer_of_nothing_is_refused() {
    let _stage = STAGE.lock().await;
    let wire = Wire::outbound().await;
    wire.hums();
    assert_eq!(wire.line.hears(5).await.payload_type, 0);
    let other = Line::open().await;
    let answer = wire.offers(other.describes(2, &BOTH[1..], Direction::SendRecv)).await;
    assert_eq!(answer.codecs[0].codec, AudioCodec::Pcma);
    wire.line.stop();
    other.hum(answer.address, Codec::Pcma);
    assert_eq!(other.hears(10).await.payload_type, 8);
    assert_eq!(wire.line.packets_during(WINDOW).await, 0);
    let nothing = other.describes(3, &[], Direction::SendRecv);
    assert_eq!(within("a refusal", wire.control.offer(nothing)).await, OfferOutcome::Refused(488));
    assert_eq!(other.hears(10).await.payload_type, 8);
    let (call, _state) = wire.ends().await;
    assert_eq!(call.end_reason, Some(EndReason::Finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_and_a_re_invite_without_a_session_get_our_offer() {
    let _stage = STAGE.lock().await;
    let state = tempfile::tempdir().expect("state");
    let trunk = Phone::start().await;
    let gateway = Gateway::start(state.path(), plan_with_number(&trunk)).await;
    let peer = Peer::new(gateway.endpoint.local_address()).await;
    let line = Line::open().await;
    let answered = peer.ask(&peer.request("INVITE", "a", "", "", "")).await;
    let (tag, offer) = (tag_of(&answered), session_of(&answered));
    assert_eq!(offer.direction, Direction::SendRecv);
    let typed = "Content-Type: application/sdp\r\n";
    let answer = line.describes(1, &BOTH[..1], Direction::SendRecv).write();
    peer.send(peer.request("ACK", "b", &tag, typed, &answer).as_bytes()).await;
    line.hum(offer.address, Codec::Pcmu);
    assert_eq!(line.hears(10).await.payload_type, 0);
    let id = gateway.inbound_call().await.id;
    assert_eq!(gateway.call(id).status, CallStatus::InProgress);

    // On hold first: the fresh offer is a whole one all the same.
    let hold = line.describes(2, &BOTH[..1], Direction::Inactive).write();
    let held = ask(&peer, &peer.request("INVITE", "c", &tag, typed, &hold).replace("CSeq: 1", "CSeq: 3")).await;
    assert_eq!(session_of(&held).direction, Direction::Inactive);
    peer.send(peer.request("ACK", "d", &tag, "", "").replace("CSeq: 1", "CSeq: 3").as_bytes()).await;
    assert_eq!(line.packets_during(WINDOW).await, 0);

    let asked = ask(&peer, &peer.request("INVITE", "e", &tag, "", "").replace("CSeq: 1", "CSeq: 4")).await;
    let again = session_of(&asked);
    assert_eq!((again.direction, again.codecs.len(), again.session_id), (Direction::SendRecv, 2, offer.session_id));
    assert!(again.version > session_of(&held).version);
    let other = Line::open().await;
    let answer = other.describes(3, &BOTH[1..], Direction::SendRecv).write();
    peer.send(peer.request("ACK", "f", &tag, typed, &answer).replace("CSeq: 1", "CSeq: 4").as_bytes()).await;
    line.stop();
    other.hum(again.address, Codec::Pcma);
    assert_eq!(other.hears(10).await.payload_type, 8);
    assert_eq!(line.packets_during(WINDOW).await, 0);
    let gone = ask(&peer, &peer.request("BYE", "g", &tag, "", "").replace("CSeq: 2", "CSeq: 5")).await;
    assert!(gone.starts_with("SIP/2.0 200"));
    assert_eq!(gateway.finished(id).await.end_reason, Some(EndReason::Finished));
}

/// Sends and returns the final response with the same CSeq; older ones may be repeated in between.
async fn ask(peer: &Peer, request: &str) -> String {
    peer.send(request.as_bytes()).await;
    loop {
        let response = peer.final_response().await;
        if header(&response, "CSeq") == header(request, "CSeq") {
            return response;
        }
    }
}

#[track_caller]
fn session_of(message: &str) -> SessionDescription {
    let (_, body) = message.split_once("\r\n\r\n").expect("a body");
    SessionDescription::parse(body).unwrap_or_else(|error| panic!("{error}: {message}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn after_early_media_nobody_is_spoken_to_before_somebody_answers() {
    let _stage = STAGE.lock().await;
    let state = tempfile::tempdir().expect("state");
    let mut phone = Phone::start().await;
    let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
    let id = gateway.place(gateway.order()).await.id;
    let call = phone.rings().await;
    let box_at = call.offer.as_ref().expect("an offer").address;
    let line = Line::open().await;
    // Said reliably, so that the 200 says nothing any more (RFC 3262 §5).
    let announced = line.describes(1, &BOTH[..1], Direction::SendRecv);
    call.control.ringing(Some(announced.clone()));
    gateway.status(id, CallStatus::Ringing).await;
    call.control.ringing(None);
    line.hum(box_at, Codec::Pcmu);
    assert_eq!(line.packets_during(WINDOW).await, 0, "nobody has answered yet");
    call.control.answer(announced);
    assert_eq!(line.hears(10).await.payload_type, Codec::Pcmu.payload_type());
    call.control.hang_up();
    assert_eq!(gateway.finished(id).await.end_reason, Some(EndReason::Finished));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_behind_a_nat_is_answered_where_it_speaks_and_missed_when_it_falls_silent() {
    let _stage = STAGE.lock().await;
    let behind = Line::open().await;
    let signalled = behind.describes(1, &BOTH[..1], Direction::SendRecv);
    let plan = |phone: &Phone| Plan { media: "rtp_timeout_seconds = 1", ..Plan::towards(phone) };
    let wire = Wire::called(plan, |_| signalled).await;
    // The sound comes from another port than the one that was told.
    wire.hums();
    wire.line.hears(10).await;
    assert_eq!(behind.packets_during(WINDOW).await, 0);
    // A third one may try: whoever spoke first is the phone.
    let stranger = Line::open().await;
    stranger.hum(wire.theirs.address, Codec::Pcmu);
    wire.line.hears(10).await;
    assert_eq!(stranger.packets_during(WINDOW).await, 0);
    wire.line.stop();
    let stopped = Instant::now();
    let call = wire.gateway.finished(wire.id).await;
    assert!(stopped.elapsed() >= Duration::from_millis(900), "{:?}", stopped.elapsed());
    assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::EmptyRoom)));
    assert!(call.quality.is_some_and(|quality| quality.foreign > 10), "{:?}", call.quality);
}

/// Where a channel becomes loud after at least 100 ms of quiet, milliseconds.
fn onsets(channel: &[i16]) -> Vec<f64> {
    let mut quiet = 800;
    let mut found = Vec::new();
    for (at, sample) in channel.iter().enumerate() {
        if sample.unsigned_abs() <= 1_000 {
            quiet += 1;
            continue;
        }
        if quiet >= 800 {
            found.push(at as f64 / 8.0);
        }
        quiet = 0;
    }
    found
}

/// The same for moments, milliseconds after the first of all.
fn bursts(moments: &[Instant], origin: Instant) -> Vec<f64> {
    let mut found: Vec<f64> = Vec::new();
    let mut before: Option<Instant> = None;
    for moment in moments {
        if before.is_none_or(|before| *moment - before > Duration::from_millis(100)) {
            found.push((*moment - origin).as_secs_f64() * 1e3);
        }
        before = Some(*moment);
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recording_holds_both_sides_where_they_were_on_the_wire() {
    let _stage = STAGE.lock().await;
    let wire = Wire::outbound().await;
    wire.line.attend(wire.theirs.address, Codec::Pcmu);
    let beep = |hz: f64| -> Vec<i16> {
        let tone = (0..1_600).map(|n| ((f64::from(n) * hz * std::f64::consts::TAU / 8000.0).cos() * 9_000.0) as i16);
        tone.chain([0; 2_400]).collect()
    };
    wire.line.say(&[vec![0; 1_600], beep(440.0), beep(700.0), vec![0; 1_200], beep(1_000.0)].concat());
    within("the echo of three beeps", async {
        let mut got = 0;
        while got < 30 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            got = wire.line.got().iter().filter(|got| got.loud).count();
        }
    })
    .await;
    let (said, heard) = (wire.line.said(), wire.line.got());
    let heard: Vec<Instant> = heard.iter().filter(|got| got.loud).map(|got| got.at).collect();
    let (call, _state) = wire.ends().await;
    let mut reader = hound::WavReader::open(call.recording.expect("recorded")).expect("a WAV file");
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 8_000));
    let all: Vec<i16> = reader.samples::<i16>().map(|sample| sample.expect("whole")).collect();
    let side = |side: usize| onsets(&all.iter().copied().skip(side).step_by(2).collect::<Vec<_>>());
    let (left, right) = (side(0), side(1));
    let (sent, came) = (bursts(&said, said[0]), bursts(&heard, said[0]));
    println!("phone on the wire {sent:.1?}, recorded {left:.1?}; box on the wire {came:.1?}, recorded {right:.1?}");
    assert_eq!((left.len(), right.len(), sent.len(), came.len()), (3, 3, 3, 3));
    for n in 0..3 {
        let (phone, host) = (left[n] - left[0] - sent[n], right[n] - left[0] - came[n]);
        assert!(phone.abs() <= 20.0, "beep {n} of the phone lies {phone:.1} ms off");
        assert!(host.abs() <= 20.0, "beep {n} of the box lies {host:.1} ms off");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_takes_no_recording_costs_the_recording_and_not_the_call() {
    let _stage = STAGE.lock().await;
    for full in [false, true] {
        let state = tempfile::tempdir().expect("state");
        let folder = state.path().join("recordings");
        let mut phone = Phone::start().await;
        let gateway = Gateway::start(state.path(), Plan::towards(&phone)).await;
        let call = gateway.place(gateway.order()).await;
        if full {
            std::fs::create_dir_all(&folder).expect("a folder");
            std::os::unix::fs::symlink("/dev/full", folder.join(format!("{}-1.wav", call.alias))).expect("a link");
        } else {
            // In the folder's place stands a file.
            std::fs::write(&folder, "").expect("a file");
        }
        let talk = phone.pick_up().await;
        gateway.status(call.id, CallStatus::InProgress).await;
        talk.hears_something().await;
        talk.control.hang_up();
        let call = gateway.finished(call.id).await;
        assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::Finished)));
        assert_eq!(call.recording, None);
        assert_eq!(call.error_detail, "the recording could not be written");
    }
}

const SPEECH: &str = "Excuse me please, I would like to say something about the appointment on Tuesday morning.";

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_box_sends_no_speech_beyond_40_ms_after_the_detection() {
    let _stage = STAGE.lock().await;
    let model = speech_common::model_directory();
    let speech = tokio::task::spawn_blocking(|| {
        let speech = trunkline::speech::Speech::start(&trunkline::config::SpeechConfig::default()).expect("a voice");
        speech_common::telephone(&speech_common::say(&speech, SPEECH, Voice::Kal))
    })
    .await
    .expect("spoken");
    let extra = format!(
        "[[number]]\nname = \"desk\"\nnumber = \"100\"\nvisibility = \"public\"\nsystem_prompt = \"{}\"\n\
         [speech]\nmodel_directory = \"{}\"\n",
        "Good morning from the practice. We have to move your appointment on Tuesday to another day. ".repeat(3),
        model.display()
    );
    let wire = Wire::inbound(|phone| Plan { engine: "local", extra, ..Plan::towards(phone) }).await;
    let mut facts = wire.gateway.calls.watch();
    wire.line.attend(wire.theirs.address, Codec::Pcmu);
    for round in 1..=3 {
        wire.line.hears(25).await;
        let silent_before = wire.line.said().len();
        wire.line.say(&speech);
        let (detected_at, since_onset, since_detection) = within("an interruption", async {
            loop {
                let fact = facts.recv().await.expect("facts").what;
                if let LiveFact::BargeIn { detected_at, since_onset, since_detection } = fact {
                    return (detected_at, since_onset, since_detection);
                }
            }
        })
        .await;
        // The caller goes on speaking; all that while the box has nothing to say.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let last = wire.line.got().into_iter().rfind(|got| got.loud).expect("speech of the box");
        let onset = wire.line.said()[silent_before];
        let late = last.utc.since(detected_at);
        let on_the_wire = last.at.saturating_duration_since(onset);
        println!(
            "round {round}: last packet {late:?} after the detection (reported {since_detection:?}), \
             {on_the_wire:?} after the first sound (reported {since_onset:?})"
        );
        assert!(late <= Duration::from_millis(40), "speech went on for {late:?}");
        assert!(since_detection <= Duration::from_millis(40), "{since_detection:?}");
        assert!(since_onset.abs_diff(on_the_wire) <= Duration::from_millis(80), "{since_onset:?} {on_the_wire:?}");
    }
    wire.ends().await;
}

const CHILD: &str = "TRUNKLINE_TEST_CALL_ON_A_FULL_DISK";

/// Runs in a process of its own, because the limit holds for the whole process; see below.
#[test]
fn child_ends_a_call_on_a_full_disk() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let wire = Wire::outbound().await;
        wire.hums();
        wire.line.hears(50).await;
        let mut facts = wire.gateway.calls.watch();
        let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).expect("a limit");
        setrlimit(Resource::RLIMIT_FSIZE, 16, hard).expect("limited");
        // The conversation does not mind.
        wire.line.hears(50).await;
        wire.control.hang_up();
        // Longer than the tries for the transcript, so that the store has refused as well.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let over = |what: &LiveFact| matches!(what, LiveFact::Ended(_));
        let before = std::iter::from_fn(|| facts.try_recv().ok()).filter(|fact| over(&fact.what)).count();
        assert_eq!(before, 0, "nothing can have been written");
        setrlimit(Resource::RLIMIT_FSIZE, hard, hard).expect("unlimited");
        within("the outcome", async { while !over(&facts.recv().await.expect("facts").what) {} }).await;
        let call = wire.gateway.call(wire.id);
        assert_eq!((call.status, call.end_reason), (CallStatus::Completed, Some(EndReason::Finished)));
        assert_eq!(call.ended_by, Some(EndedBy::Callee));
        assert_eq!((call.recording, call.error_detail.as_str()), (None, "the recording could not be written"));
        let transcript = wire.state.path().join("transcripts").join(&call.transcript_file);
        assert_eq!(std::fs::metadata(transcript).expect("a transcript").len(), call.transcript_size);
        assert_eq!(trunkline::events::mails(&wire.gateway.store, 10).expect("readable").len(), 1);
        println!("the outcome was kept");
    });
}

#[test]
fn a_disk_that_is_full_at_the_end_of_a_call_delays_the_outcome_and_loses_none_of_it() {
    let _stage = STAGE.blocking_lock();
    // An ignored SIGXFSZ stays ignored in the child, which then sees an error in place of the signal.
    let child = std::process::Command::new("sh")
        .args(["-c", r#"trap "" XFSZ; exec "$0" --exact wire::child_ends_a_call_on_a_full_disk --nocapture"#])
        .arg(std::env::current_exe().expect("this test"))
        .env(CHILD, "yes")
        .output()
        .expect("the child starts");
    let out = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{out}\n{}", String::from_utf8_lossy(&child.stderr));
    assert!(out.contains("the outcome was kept"), "the child did not run: {out}");
}
