//! The INVITE of a second leg: to a person, or to where a caller's leg moves.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use uuid::Uuid;

use super::TransferError;
use super::route::{Route, Through};
use crate::call::actor::wire::Ability;
use crate::call::actor::{SipLeg, outbound};
use crate::call::internal::RING_SECONDS;
use crate::call::lines::{Line, Wish};
use crate::call::room::Room;
use crate::sip::endpoint::{Destination, DialPolicy, OutboundInvite, Uri};
use crate::sip::sdp::SessionDescription;

/// For whom it is dialled.
pub(in crate::call) struct Dialling<'a> {
    /// Its trace gets the leg's messages.
    pub(in crate::call) call: Uuid,
    pub(in crate::call) route: &'a Route,
    /// Our port of RTP.
    pub(in crate::call) port: u16,
    pub(in crate::call) referred_by: Option<String>,
    pub(in crate::call) caller_name: Option<String>,
    /// It takes the place of a leg that holds one among the calls that cost money.
    pub(in crate::call) replaces: bool,
}

/// A line that leads to `route`, of a trunk that was not `tried` yet.
pub(in crate::call) fn line(room: &Room, route: &Route, tried: &[String]) -> Option<Line> {
    let named = match &route.through {
        Through::Extension(_) => return room.lines.extension(),
        Through::Trunk(name) => Some(name.as_str()),
        Through::AnyTrunk => None,
    };
    let uri = &route.target.uri;
    let number = matches!(uri, Uri::Tel(_)).then(|| uri.number());
    let wish = Wish { named, number: number.as_deref(), tried };
    room.lines.outbound(&wish, room.clock.now(), rand::random()).ok()
}

impl Dialling<'_> {
    /// Sends the INVITE through `line`; its dialog and our session description.
    pub(in crate::call) async fn through(
        self,
        room: &Room,
        line: &Line,
    ) -> Result<(SipLeg, SessionDescription), TransferError> {
        let call = self.call;
        let extension = match &self.route.through {
            Through::Extension(user) => Some(user.clone()),
            Through::AnyTrunk | Through::Trunk(_) => None,
        };
        let costs = !self.replaces && !matches!(self.route.through, Through::Extension(_));
        let place = if costs { Some(room.directory.dial_place().ok_or(TransferError::NoLine)?) } else { None };
        let invite = match &self.route.through {
            Through::Extension(user) => self.ringing(room, user).await,
            Through::AnyTrunk | Through::Trunk(_) => self.invite(room, line).await?,
        };
        let local = invite.offer.clone();
        let (control, events) = room.endpoint.invite(invite).map_err(|_| TransferError::Malformed)?;
        room.traces.joined(call, control.sip_call_id());
        Ok((SipLeg { _place: place, ..SipLeg::new(control, events, extension) }, local))
    }

    async fn invite(self, room: &Room, line: &Line) -> Result<OutboundInvite, TransferError> {
        let trunk = room.trunk(&line.trunk).ok_or(TransferError::Unavailable)?;
        let at = SocketAddr::new(room.endpoint.media_address(&trunk.name).await, self.port);
        Ok(OutboundInvite {
            trunk: trunk.name.clone(),
            destination: Destination::Referred(self.route.through(trunk, self.referred_by)),
            caller_number: None,
            caller_name: self.caller_name,
            offer: SessionDescription::propose(outbound::session_id(), at, &Ability::of_trunk(trunk).terms()),
            ring_timeout: Duration::from_secs(trunk.ring_seconds),
            policy: DialPolicy::default(),
        })
    }

    /// To every phone of the extension; without one, the endpoint says at once that nobody is there.
    async fn ringing(self, room: &Room, user: &str) -> OutboundInvite {
        let towards = room.endpoint.address_towards_extension(user).await;
        let at = SocketAddr::new(towards.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED)), self.port);
        // Keys go to the phones that are there over TLS.
        let ability = Ability::of_extension(room.extension(user), true);
        OutboundInvite {
            trunk: String::new(),
            destination: Destination::Extension(user.to_owned()),
            caller_number: None,
            caller_name: self.caller_name,
            offer: SessionDescription::propose(outbound::session_id(), at, &ability.terms()),
            ring_timeout: Duration::from_secs(RING_SECONDS),
            policy: DialPolicy::default(),
        }
    }
}
