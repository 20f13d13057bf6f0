//! Early media of a carrier that writes its own messages: what an unreliable 183 says is a preview, the 200 decides.
#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, clippy::disallowed_methods)] // functions that tests share are not inside `#[test]`

use std::net::SocketAddr;
use std::time::Duration;

use trunkline::call::{CallStatus, EndReason};
use trunkline::media::Codec;
use trunkline::sip::sdp::{AudioCodec, Direction, SessionDescription};

use crate::call_support::line::Line;
use crate::call_support::{Gateway, Phone, Plan, trunk, within};
use crate::sip_support::{Peer, header};

const WINDOW: Duration = Duration::from_millis(300);

/// A carrier that the box calls.
struct Carrier {
    peer: Peer,
    invite: String,
    gateway: SocketAddr,
}

impl Carrier {
    async fn rings(peer: Peer) -> Carrier {
        let (invite, gateway) = within("an INVITE", peer.receive_from()).await;
        assert!(invite.starts_with("INVITE "), "{invite}");
        Carrier { peer, invite, gateway }
    }

    fn offer(&self) -> SessionDescription {
        let (_, body) = self.invite.split_once("\r\n\r\n").expect("a body");
        SessionDescription::parse(body).expect("an offer")
    }

    /// Answers the INVITE; nothing is said reliably.
    async fn says(&self, status: &str, session: &SessionDescription) {
        let copied =
            ["Via", "From", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(&self.invite, name)));
        let body = session.write();
        let response = format!(
            "SIP/2.0 {status}\r\n{}To: {};tag=carrier\r\nContact: <sip:carrier@{}>\r\n\
             Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
            copied.concat(),
            header(&self.invite, "To"),
            self.peer.address(),
            body.len(),
        );
        self.peer.send_to(response.as_bytes(), self.gateway).await;
    }

    /// Waits for a request; others, repeated ones among them, are passed over.
    async fn gets(&self, method: &str) -> String {
        loop {
            let message = within(method, self.peer.receive()).await;
            if message.starts_with(method) {
                return message;
            }
        }
    }

    async fn agrees_to(&self, request: &str) {
        let copied =
            ["Via", "From", "To", "Call-ID", "CSeq"].map(|name| format!("{name}: {}\r\n", header(request, name)));
        let response = format!("SIP/2.0 200 OK\r\n{}Content-Length: 0\r\n\r\n", copied.concat());
        self.peer.send_to(response.as_bytes(), self.gateway).await;
    }
}

/// What a line says of itself, as another box than the one that announces would.
fn described(line: &Line, session_id: u64, codec: AudioCodec) -> SessionDescription {
    SessionDescription { session_id, ..line.describes(1, &[codec], Direction::SendRecv) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_200_decides_where_the_sound_goes_when_an_unreliable_183_said_something_else() {
    let cases = [
        (AudioCodec::Pcmu, Codec::Pcmu, false),
        (AudioCodec::Pcma, Codec::Pcma, false),
        (AudioCodec::Pcmu, Codec::Pcmu, true),
    ];
    for (answered, codec, announcement_goes_on) in cases {
        let state = tempfile::tempdir().expect("state");
        let peer = Peer::new(([127, 0, 0, 1], 9).into()).await;
        let trunks = trunk("office", peer.address(), "");
        let plan = Plan { trunks, ..Plan::towards(&Phone::start().await) };
        let gateway = Gateway::start(state.path(), plan).await;
        let id = gateway.place(gateway.order()).await.id;
        let carrier = Carrier::rings(peer).await;
        let box_at = carrier.offer().address;
        let (announcer, person) = (Line::open().await, Line::open().await);
        announcer.hum(box_at, Codec::Pcmu);
        carrier.says("183 Session Progress", &described(&announcer, 11, AudioCodec::Pcmu)).await;
        gateway.status(id, CallStatus::Ringing).await;
        assert_eq!(announcer.packets_during(WINDOW).await, 0, "nobody has answered yet");
        if !announcement_goes_on {
            announcer.stop();
        }
        carrier.says("200 OK", &described(&person, 12, answered)).await;
        carrier.gets("ACK").await;
        gateway.status(id, CallStatus::InProgress).await;
        person.hum(box_at, codec);
        // The echo of what the person says: the box listens to the one that answered, and sends there.
        assert_eq!(person.hears(10).await.payload_type, codec.payload_type());
        assert_eq!(announcer.packets_during(WINDOW).await, 0, "{answered:?}, {announcement_goes_on}");
        assert!(person.packets_during(WINDOW).await > 10);
        let leaves = async {
            let bye = carrier.gets("BYE").await;
            carrier.agrees_to(&bye).await;
        };
        let (hung_up, ()) = tokio::join!(gateway.calls.hang_up(gateway.organization, id, "test"), leaves);
        hung_up.expect("hung up");
        let call = gateway.finished(id).await;
        assert!(call.end_reason != Some(EndReason::EmptyRoom), "{:?}", call.end_reason);
    }
}
