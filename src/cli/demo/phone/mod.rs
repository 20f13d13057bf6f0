//! The called phone of the demo: a second SIP user agent with its own media, ears and voice. It shares nothing with
//! the gateway but the process: what it hears and says crosses UDP as SIP and RTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::config::{CodecName, CodecOrder, MediaConfig, SipConfig, SpeechConfig, SrtpPolicy, TrunkConfig};
use crate::media::{self, KeyFormat, LegOptions, MediaPlane, Remote};
use crate::sip::endpoint::{CallEvent, Endpoint, IncomingCall};
use crate::sip::sdp::{Agreed, AudioCodec, Direction, EventFormat};
use crate::speech::Speech;

mod peer;
mod script;

use peer::PhonePeer;
use script::Script;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// A person needs a moment to pick up.
const RINGS: Duration = Duration::from_millis(900);

pub(super) struct Phone {
    endpoint: Endpoint,
    media: MediaPlane,
    answering: JoinHandle<()>,
}

/// What every call of the phone needs.
#[derive(Clone)]
struct Desk {
    media: MediaPlane,
    speech: Speech,
    /// Talks; presses keys otherwise.
    words: bool,
}

impl Phone {
    /// A phone on loopback that picks up every call and talks (`words`) or presses keys.
    pub(super) async fn start(clock: Clock, words: bool, ports: [u16; 2]) -> Result<Phone, String> {
        let said = |error: &dyn std::error::Error| format!("the demo phone cannot start: {error}");
        let speech = tokio::task::spawn_blocking(|| Speech::start(&SpeechConfig::default()))
            .await
            .map_err(|error| said(&error))?
            .map_err(|error| said(&error))?;
        let config = MediaConfig { ports, threads: 1, record: false, ..MediaConfig::default() };
        let media = MediaPlane::start(&config, clock.clone()).map_err(|error| said(&error))?;
        let sip = SipConfig {
            listen: SocketAddr::new(LOOPBACK, 0),
            user_agent: concat!("Trunkline-demo-phone/", env!("CARGO_PKG_VERSION")).into(),
            ..SipConfig::default()
        };
        let (endpoint, inbound) =
            Endpoint::start(&sip, &[exchange()], &[], clock).await.map_err(|error| said(&error))?;
        let desk = Desk { media: media.clone(), speech, words };
        let answering = tokio::spawn(answer_all(inbound, desk));
        Ok(Phone { endpoint, media, answering })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.endpoint.local_address()
    }

    pub(super) async fn stop(self) {
        self.endpoint.stop(Duration::from_secs(1)).await;
        self.answering.abort();
        self.media.stop().await;
    }
}

/// Whoever calls from loopback is the gateway.
fn exchange() -> TrunkConfig {
    TrunkConfig {
        sources: vec![IpNet::from(LOOPBACK)],
        internal: true,
        max_calls: 8,
        codecs: vec![CodecName::Pcmu, CodecName::Pcma],
        codec_order: CodecOrder::default(),
        srtp: SrtpPolicy::default(),
        srtp_over_plain: false,
        messages: false,
        ring_seconds: 30,
        ..TrunkConfig::at("gateway", "127.0.0.1")
    }
}

async fn answer_all(mut inbound: mpsc::Receiver<IncomingCall>, desk: Desk) {
    while let Some(call) = inbound.recv().await {
        let desk = desk.clone();
        tokio::spawn(async move {
            if let Err(problem) = Box::pin(answer(call, desk)).await {
                tracing::warn!(problem, "the demo phone cannot take the call");
            }
        });
    }
}

async fn answer(mut call: IncomingCall, desk: Desk) -> Result<(), String> {
    let refuse = |problem: String| {
        call.control.reject(488);
        problem
    };
    call.control.ringing(None);
    let options = LegOptions { bind: LOOPBACK, recording: None };
    let mut leg = desk.media.open(options).await.map_err(|error| refuse(error.to_string()))?;
    let offer = call.offer.as_ref().ok_or_else(|| refuse("no offer".into()))?;
    let local = SocketAddr::new(LOOPBACK, leg.local_rtp_port);
    let (session, agreed) = offer
        .answer(u64::from(leg.local_rtp_port), local, &[AudioCodec::Pcmu, AudioCodec::Pcma])
        .map_err(|error| refuse(error.to_string()))?;
    if rings_out(&mut call).await {
        return Ok(());
    }
    leg.control.connect(remote(&agreed));
    let (hang_up, mut hung_up) = mpsc::channel(1);
    let (speech, words) = (desk.speech.clone(), desk.words);
    leg.control.attach(Box::new(move || Box::new(PhonePeer::new(Script::new(words), speech, hang_up))));
    call.control.answer(session);
    loop {
        tokio::select! {
            event = call.events.recv() => match event {
                None | Some(CallEvent::Ended { .. } | CallEvent::Failed(_) | CallEvent::Rejected { .. }) => break,
                Some(CallEvent::Offer { .. }) => call.control.refuse_offer(),
                Some(_) => {}
            },
            Some(()) = hung_up.recv() => call.control.hang_up(),
            Some(_) = leg.events.recv() => {}
        }
    }
    leg.control.close();
    Ok(())
}

/// Lets it ring; `true` when the caller gave up meanwhile.
async fn rings_out(call: &mut IncomingCall) -> bool {
    let picked_up = tokio::time::sleep(RINGS);
    tokio::pin!(picked_up);
    loop {
        tokio::select! {
            () = &mut picked_up => return false,
            event = call.events.recv() => match event {
                None | Some(CallEvent::Ended { .. } | CallEvent::Failed(_)) => return true,
                Some(_) => {}
            },
        }
    }
}

fn remote(agreed: &Agreed) -> Remote {
    let codec = |codec: AudioCodec| match codec {
        AudioCodec::Pcmu => media::Codec::Pcmu,
        // The phone answers with nothing else.
        _ => media::Codec::Pcma,
    };
    let events = |format: EventFormat| KeyFormat { payload_type: format.payload_type, clock: format.clock_rate };
    Remote {
        rtcp: agreed.remote_rtcp,
        payload_type: agreed.payload_type,
        ptime: agreed.ptime,
        accepted: agreed.accepted.iter().map(|offer| (offer.payload_type, codec(offer.codec))).collect(),
        telephone_event: agreed.telephone_event.map(events),
        accepted_events: agreed.accepted_events.iter().copied().map(events).collect(),
        send: matches!(agreed.direction, Direction::SendRecv | Direction::SendOnly),
        receive: matches!(agreed.direction, Direction::SendRecv | Direction::RecvOnly),
        ..Remote::new(agreed.remote, codec(agreed.codec))
    }
}
