//! A box with everything real below the call room, and a phone that is a second endpoint with its own media plane.
#![allow(dead_code)]

pub mod line;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use trunkline::ai::Engines;
use trunkline::call::{Call, CallStatus, Calls, PlaceCall, Services, Tuning};
use trunkline::clock::Clock;
use trunkline::config::Config;
use trunkline::directory::Directory;
use trunkline::events::Mailer;
use trunkline::media::{HeardFrame, KeyFormat, Leg, LegOptions, MediaPlane, Peer, Playout, Remote};
use trunkline::ops::outbound::Outbound;
use trunkline::sip::endpoint::DialPolicy;
use trunkline::sip::endpoint::{CallControl, CallEvent, Destination, Endpoint, IncomingCall, OutboundInvite};
use trunkline::sip::endpoint::{Registered, TrunkStatus};
use trunkline::sip::sdp::{Agreed, AudioCodec, EventFormat, SessionDescription};
use trunkline::speech::Speech;
use trunkline::store::{OpenOptions, Store};
use uuid::Uuid;

pub const PATIENCE: Duration = Duration::from_secs(20);
pub const CALLEE: &str = "+493012345678";

/// What a test has in mind for its box, on top of what every box has.
pub struct Plan {
    /// Further keys of `[sip]`.
    pub sip: String,
    pub trunks: String,
    pub engine: &'static str,
    /// Further keys of `[engine]`.
    pub engine_keys: &'static str,
    pub extra: String,
    /// Of `[media]`; 0 and 0: any.
    pub ports: [u16; 2],
    /// Further keys of `[media]`.
    pub media: &'static str,
    pub tuning: Tuning,
}

impl Plan {
    /// One trunk towards `phone`, the echo engine.
    pub fn towards(phone: &Phone) -> Plan {
        Plan {
            sip: String::new(),
            trunks: trunk("office", phone.address(), ""),
            engine: "echo",
            engine_keys: "",
            extra: String::new(),
            ports: [0, 0],
            media: "",
            tuning: Tuning { goodbye: Duration::from_millis(500), ..Tuning::default() },
        }
    }
}

pub fn trunk(name: &str, address: SocketAddr, more: &str) -> String {
    format!("[[trunk]]\nname = \"{name}\"\nhost = \"{address}\"\nsources = [\"127.0.0.0/8\"]\n{more}\n")
}

pub struct Gateway {
    pub calls: Calls,
    pub endpoint: Endpoint,
    pub media: MediaPlane,
    pub store: Store,
    pub organization: Uuid,
    pub directory: Directory,
    pub config: Arc<Config>,
}

impl Gateway {
    pub async fn start(state: &Path, plan: Plan) -> Gateway {
        let text = format!(
            "[sip]\nlisten = \"127.0.0.1:0\"\nt1_ms = 60\n{}\n[media]\nports = {:?}\nthreads = 1\n{}\n\
             [engine]\nkind = \"{}\"\n{}\n[state]\ndirectory = \"{}\"\n{}\n{}",
            plan.sip,
            plan.ports,
            plan.media,
            plan.engine,
            plan.engine_keys,
            state.display(),
            plan.extra,
            plan.trunks
        );
        let config: Arc<Config> = Arc::new(toml::from_str(&text).expect("a valid configuration"));
        let clock = Clock::system();
        let store = Store::open(state, OpenOptions { cache_bytes: 4 << 20 }, clock.clone()).expect("a store");
        let directory = Directory::open(store.clone(), &config).await.expect("a directory");
        let organization = directory.organization("").id;
        let speech = Speech::start(&config.speech).expect("the local voice");
        let engines = Engines::start(&config.engine, speech, clock.clone());
        let media = MediaPlane::start(&config.media, clock.clone()).expect("media threads");
        let mailer = Mailer::start(None, store.clone(), clock.clone()).expect("a mail queue");
        let (endpoint, inbound) =
            Endpoint::start(&config.sip, &config.trunks, &config.extensions, clock.clone()).await.expect("an endpoint");
        let services = Services {
            config: config.clone(),
            clock,
            store: store.clone(),
            directory: directory.clone(),
            endpoint: endpoint.clone(),
            media: media.clone(),
            engines,
            outbound: Outbound::new(&[]).expect("TLS"),
            mailer: Arc::new(mailer),
        };
        let calls = Calls::start_tuned(services, inbound, plan.tuning).await.expect("calls");
        Gateway { calls, endpoint, media, store, organization, directory, config }
    }

    pub fn order(&self) -> PlaceCall {
        PlaceCall {
            organization: self.organization,
            tenant: "phone.example.com".into(),
            requested_by: "alice".into(),
            phone: CALLEE.into(),
            uri: None,
            trunk: None,
            display_name: "Alice".into(),
            email: Some("alice@example.com".into()),
            prompt: "Say hello.".into(),
            engine_key: None,
            model: None,
            voice: "Aoede".into(),
            language: "en-US".into(),
            max_duration: Duration::from_secs(60),
            retries: 0,
            retry_delay: Duration::from_millis(300),
            scheduled_for: None,
            whitelist: true,
            idempotency: None,
        }
    }

    pub async fn place(&self, order: PlaceCall) -> Call {
        self.calls.place(order).await.expect("the order is accepted").call
    }

    pub fn call(&self, id: Uuid) -> Call {
        self.calls.read_model().call(self.organization, id).expect("readable").expect("there")
    }

    /// Waits until the stored record of `id` satisfies `wanted`.
    pub async fn until(&self, id: Uuid, wanted: impl Fn(&Call) -> bool) -> Call {
        let look = async {
            loop {
                let call = self.call(id);
                if wanted(&call) {
                    return call;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, look).await {
            Ok(call) => call,
            Err(_) => panic!("the call never got there: {:#?}", self.call(id)),
        }
    }

    pub async fn status(&self, id: Uuid, status: CallStatus) -> Call {
        self.until(id, |call| call.status == status).await
    }

    pub async fn finished(&self, id: Uuid) -> Call {
        self.until(id, |call| call.status.is_final()).await
    }

    /// Waits until no call has an actor; that follows the stored outcome by a moment.
    pub async fn idle(&self) {
        within("the end of every call", async {
            while self.calls.live() > 0 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }

    /// The only inbound call so far.
    pub async fn inbound_call(&self) -> Call {
        let filter = trunkline::call::record::CallFilter {
            organization: self.organization,
            direction: Some(trunkline::call::Direction::Inbound),
            ..Default::default()
        };
        within("an inbound call", async {
            loop {
                let page = self.calls.read_model().calls(&filter, 0, 1).expect("readable");
                if let Some(call) = page.items.into_iter().next() {
                    return call;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await
    }
}

/// A far end: answers, refuses or calls, as the test says.
pub struct Phone {
    pub endpoint: Endpoint,
    media: MediaPlane,
    calls: mpsc::Receiver<IncomingCall>,
}

impl Phone {
    /// A phone that is called.
    pub async fn start() -> Phone {
        Phone::of("[[trunk]]\nname = \"box\"\nhost = \"127.0.0.1:5060\"\nsources = [\"127.0.0.0/8\"]").await
    }

    /// A phone that calls the box at `address`.
    pub async fn calling(address: SocketAddr) -> Phone {
        Phone::of(&format!("[[trunk]]\nname = \"box\"\nhost = \"{address}\"\nring_seconds = 10\n")).await
    }

    /// A phone that signs in at `address` as an extension.
    pub async fn extension(address: SocketAddr, user: &str, password: &str) -> Phone {
        Phone::of(&format!(
            "[[trunk]]\nname = \"box\"\nhost = \"{address}\"\nusername = \"{user}\"\npassword = \"{password}\"\n\
             caller_id = \"{user}\"\n"
        ))
        .await
    }

    /// A desk phone that registers at `address` as an extension, and is called there.
    pub async fn registered(address: SocketAddr, user: &str, password: &str) -> Phone {
        let phone = Phone::of(&format!(
            "[[trunk]]\nname = \"box\"\nhost = \"{address}\"\nusername = \"{user}\"\npassword = \"{password}\"\n\
             caller_id = \"{user}\"\nregister = true\n"
        ))
        .await;
        let mut statuses = phone.endpoint.trunk_statuses();
        let here = |all: &Vec<TrunkStatus>| {
            all.first().is_some_and(|status| matches!(status.registration, Registered::Until(_)))
        };
        within("the phone to register", statuses.wait_for(here)).await.expect("the phone is on");
        phone
    }

    pub async fn of(trunk: &str) -> Phone {
        let text =
            format!("[sip]\nlisten = \"127.0.0.1:0\"\nt1_ms = 60\n[media]\nports = [0, 0]\nthreads = 1\n{trunk}");
        let config: Config = toml::from_str(&text).expect("a valid configuration");
        let clock = Clock::system();
        let media = MediaPlane::start(&config.media, clock.clone()).expect("media threads");
        let (endpoint, calls) = Endpoint::start(&config.sip, &config.trunks, &[], clock).await.expect("an endpoint");
        Phone { endpoint, media, calls }
    }

    pub fn address(&self) -> SocketAddr {
        self.endpoint.local_address()
    }

    pub async fn rings(&mut self) -> IncomingCall {
        within("the phone to ring", self.calls.recv()).await.expect("the phone is on")
    }

    /// Takes the call and talks.
    pub async fn pick_up(&mut self) -> Talk {
        let call = self.rings().await;
        call.control.ringing(None);
        self.answer(call).await
    }

    pub async fn answer(&self, call: IncomingCall) -> Talk {
        let (talk, answer) = self.open_for(call).await;
        talk.control.answer(answer);
        talk
    }

    /// Rings with sound of its own (183); answered with what comes second.
    pub async fn announce(&self, call: IncomingCall) -> (Talk, SessionDescription) {
        let (talk, answer) = self.open_for(call).await;
        talk.control.ringing(Some(answer.clone()));
        (talk, answer)
    }

    async fn open_for(&self, call: IncomingCall) -> (Talk, SessionDescription) {
        let leg = self.open().await;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, leg.local_rtp_port));
        let offer = call.offer.expect("an offer");
        let (answer, agreed) = offer.answer(7, at, &[AudioCodec::Pcmu]).expect("a codec in common");
        (Talk::begin(call.control, call.events, leg, &agreed), answer)
    }

    /// Calls `number` at the box; the talk, or what the box said instead.
    pub async fn call(&self, number: &str) -> Result<Talk, u16> {
        self.call_offering(number, |_| {}).await
    }

    /// The same with something else in the offer.
    pub async fn call_offering(&self, number: &str, change: impl Fn(&mut SessionDescription)) -> Result<Talk, u16> {
        let leg = self.open().await;
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, leg.local_rtp_port));
        let mut offer = SessionDescription::offer(7, at, &[AudioCodec::Pcma, AudioCodec::Pcmu]);
        change(&mut offer);
        let invite = OutboundInvite {
            trunk: "box".into(),
            destination: Destination::Number(number.into()),
            caller_number: None,
            caller_name: None,
            offer: offer.clone(),
            ring_timeout: PATIENCE,
            policy: DialPolicy::default(),
        };
        let (control, mut events) = self.endpoint.invite(invite).expect("an INVITE");
        loop {
            match within("an answer", events.recv()).await.expect("an event") {
                CallEvent::Ringing { .. } | CallEvent::Because(_) => {}
                CallEvent::Answered { session } => {
                    let agreed = offer.agree(&session.expect("an answer")).expect("a codec in common");
                    return Ok(Talk::begin(control, events, leg, &agreed));
                }
                CallEvent::Rejected { code, .. } => return Err(code),
                other => panic!("unexpected: {other:?}"),
            }
        }
    }

    pub async fn open(&self) -> Leg {
        let options = LegOptions { bind: Ipv4Addr::LOCALHOST.into(), recording: None };
        self.media.open(options).await.expect("a media leg")
    }
}

/// A conversation at the phone's end.
pub struct Talk {
    pub control: CallControl,
    pub events: mpsc::Receiver<CallEvent>,
    pub leg: Leg,
    /// Frames heard that were not silent.
    pub loud: Arc<AtomicU64>,
    /// All that was heard, and what is said.
    pub sound: Arc<Sound>,
}

/// What a phone says, and what it has heard.
pub struct Sound {
    pub hum_hz: AtomicU64,
    pub keys: Mutex<String>,
    pub heard: Mutex<Vec<i16>>,
}

impl Talk {
    fn begin(control: CallControl, events: mpsc::Receiver<CallEvent>, leg: Leg, agreed: &Agreed) -> Talk {
        leg.control.connect(remote(agreed));
        let loud = Arc::new(AtomicU64::new(0));
        let sound = Arc::new(Sound { hum_hz: AtomicU64::new(440), keys: Mutex::default(), heard: Mutex::default() });
        let (heard, mine, tone) = (loud.clone(), sound.clone(), 0);
        leg.control.attach(Box::new(move || Box::new(Ear { loud: heard, sound: mine, tone })));
        Talk { control, events, leg, loud, sound }
    }

    /// Waits for sound from the box.
    pub async fn hears_something(&self) {
        within("sound", async {
            while self.loud.load(Ordering::Relaxed) < 5 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }

    /// From now on hums at `hertz`.
    pub fn hum(&self, hertz: u64) {
        self.sound.hum_hz.store(hertz, Ordering::Relaxed);
    }

    pub fn press(&self, keys: &str) {
        self.sound.keys.lock().expect("unharmed").push_str(keys);
    }

    /// Waits until the last half second heard is a tone of `hertz`.
    pub async fn hears_tone(&self, hertz: u64) {
        within(&format!("a tone of {hertz} Hz"), async {
            loop {
                let heard = self.sound.heard.lock().expect("unharmed").clone();
                let last = heard.get(heard.len().saturating_sub(4_000)..).unwrap_or_default();
                if last.len() == 4_000 && purity(last, hertz as f64) > 0.9 {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
    }

    /// Waits for a key of the other side.
    pub async fn gets_key(&mut self) -> char {
        within("a key", async {
            loop {
                if let Some(trunkline::media::LegEvent::Key(key)) = self.leg.events.recv().await {
                    return key;
                }
            }
        })
        .await
    }

    /// Waits for the end of the call.
    pub async fn ends(&mut self) -> CallEvent {
        within("the end", async {
            loop {
                match self.events.recv().await {
                    Some(ended @ (CallEvent::Ended { .. } | CallEvent::Failed(_))) => return ended,
                    Some(_) => {}
                    None => panic!("the call vanished"),
                }
            }
        })
        .await
    }
}

/// Hums into the phone and counts what it hears.
struct Ear {
    loud: Arc<AtomicU64>,
    sound: Arc<Sound>,
    tone: u32,
}

impl Peer for Ear {
    fn heard(&mut self, frame: HeardFrame<'_>, _: &mut dyn Playout) {
        self.sound.heard.lock().expect("unharmed").extend_from_slice(frame.pcm);
        if frame.pcm.iter().any(|sample| sample.unsigned_abs() > 500) {
            self.loud.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn key(&mut self, _: char, _: &mut dyn Playout) {}
    fn played(&mut self, _: u64, _: &mut dyn Playout) {}

    fn poll(&mut self, _: &mut Context<'_>, playout: &mut dyn Playout) -> Poll<()> {
        let keys = std::mem::take(&mut *self.sound.keys.lock().expect("unharmed"));
        if !keys.is_empty() {
            playout.send_keys(&keys);
        }
        let hertz = self.sound.hum_hz.load(Ordering::Relaxed) as f64;
        while playout.queued() < Duration::from_millis(200) {
            let frame: Vec<i16> = (0..160)
                .map(|n| {
                    let phase = f64::from(self.tone + n) * hertz * std::f64::consts::TAU / 8000.0;
                    (phase.sin() * 8000.0) as i16
                })
                .collect();
            // Whole periods of every tone of whole hertz.
            self.tone = (self.tone + 160) % 8_000;
            playout.push(&frame, 8000);
        }
        Poll::Pending
    }
}

pub fn remote(agreed: &Agreed) -> Remote {
    let codec = |codec: AudioCodec| match codec {
        AudioCodec::Pcmu => trunkline::media::Codec::Pcmu,
        AudioCodec::Pcma => trunkline::media::Codec::Pcma,
        other => panic!("{other:?} was not offered"),
    };
    let events = |format: EventFormat| KeyFormat { payload_type: format.payload_type, clock: format.clock_rate };
    Remote {
        rtcp: agreed.remote_rtcp,
        payload_type: agreed.payload_type,
        accepted: agreed.accepted.iter().map(|offer| (offer.payload_type, codec(offer.codec))).collect(),
        telephone_event: agreed.telephone_event.map(events),
        accepted_events: agreed.accepted_events.iter().copied().map(events).collect(),
        ..Remote::new(agreed.remote, codec(agreed.codec))
    }
}

/// Share of the energy of `pcm` that lies at `hertz`, 0 to 1; 0 for silence.
pub fn purity(pcm: &[i16], hertz: f64) -> f64 {
    let energy: f64 = pcm.iter().map(|sample| f64::from(*sample).powi(2)).sum();
    let (mut real, mut imaginary) = (0.0, 0.0);
    for (at, sample) in pcm.iter().enumerate() {
        let phase = at as f64 * hertz * std::f64::consts::TAU / 8_000.0;
        real += f64::from(*sample) * phase.cos();
        imaginary += f64::from(*sample) * phase.sin();
    }
    if energy < pcm.len() as f64 * 10_000.0 {
        return 0.0;
    }
    2.0 * (real * real + imaginary * imaginary) / (energy * pcm.len() as f64)
}

pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited too long for {what}"),
    }
}
