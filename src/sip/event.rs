//! What calls are told and what they tell: the words between this room and the call room.

use std::time::Duration;

use super::dialog::replaces::Target;
use super::message::Reason;
use super::sdp::{SdpError, SessionDescription};

/// What happens to a call. After `Rejected`, `Failed` or `Ended` no event follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// 180 to 183 (any provisional above 100); `session` is early media. Where a call forks, the newest counts.
    Ringing { code: u16, session: Option<Box<SessionDescription>> },
    /// Outbound: 200, with the answer. Inbound: our 200 was acknowledged; `session` is the answer to an offer of ours, if
    /// any. During the call: what the peer answers now to an offer that it had asked for, or to a refresh of the session.
    Answered { session: Option<Box<SessionDescription>> },
    /// Outbound: a final refusal (300 to 699). `reason` is its phrase.
    Rejected { code: u16, reason: String, retry_after: Option<Duration> },
    /// No final answer could be had.
    Failed(CallFailure),
    /// The peer wants to change the session; `session` is absent when it asks us for an offer.
    Offer { session: Option<Box<SessionDescription>> },
    /// A key that came in an INFO.
    Key(char),
    /// Why what follows happens, in the network's words: stands before `Ended` by the peer, or `Rejected`.
    Because(Vec<Reason>),
    /// News of the REFER that we sent.
    Refer(ReferNews),
    /// The peer asks us to call somebody else; answered by [`Command::AnswerRefer`].
    Referred(Box<Referral>),
    /// The call is over.
    Ended { by: EndedBy },
}

impl CallEvent {
    /// Nothing follows it.
    pub fn is_last(&self) -> bool {
        matches!(self, CallEvent::Rejected { .. } | CallEvent::Failed(_) | CallEvent::Ended { .. })
    }
}

/// What has come of our REFER. After `Done`, `Refused` or `Unknown` none follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReferNews {
    /// The peer tries.
    Accepted,
    /// The provisional answer that it got.
    Progress(u16),
    /// The final answer that it got.
    Done(u16),
    /// The peer does not want to: its refusal.
    Refused(u16),
    /// It tries, and we hear no more of it.
    Unknown,
}

/// A REFER of the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Referral {
    pub target: Target,
    /// Value of Referred-By (RFC 3892), as sent.
    pub referred_by: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// BYE or CANCEL of the peer.
    Peer,
    /// Our `hang_up` or `reject`.
    Us,
    /// The dialog died: no ACK, 481, or retransmissions without an answer.
    Lost,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallFailure {
    /// Timer B: the trunk said nothing.
    TrunkSilent,
    /// As silent as it was to OPTIONS, so nobody waited for long.
    TrunkDown,
    /// The trunk's host has no address, or the socket refused it.
    Unreachable(String),
    /// Two digest tries were refused, or the challenge was not of our trunk.
    Unauthorized,
    /// `ring_timeout` passed.
    NoAnswer,
    /// The answer's session description cannot be used.
    BadAnswer(String),
}

/// What became of a change of the session that we asked for.
// Made once for each change that was asked for: its size is nobody's burden.
#[allow(clippy::large_enum_variant)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OfferOutcome {
    /// The peer's answer.
    Accepted(SessionDescription),
    /// Refused with this code (0: the call ended or was not in a state to ask); the session goes on as it was.
    Refused(u16),
}

/// What a call may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    Ringing(Option<SessionDescription>),
    Answer(SessionDescription),
    Reject(u16),
    /// 488 to the INVITE or to the offer that waits, with the Warning that the reason owes.
    RefuseMedia(SdpError),
    HangUp,
    AcceptOffer(SessionDescription),
    RefuseOffer,
    Offer(SessionDescription),
    /// A key by INFO, for trunks that take it so.
    Key(char),
    /// Why the call will be ended: goes out with the BYE or CANCEL of the hang-up that follows.
    Because(Reason),
    /// Asks the peer to call the URI `to`; [`CallEvent::Refer`] tells what comes of it.
    Refer {
        to: String,
        referred_by: Option<String>,
    },
    /// 202, or the refusal of the peer's REFER.
    AnswerRefer(u16),
    /// What has come of the call that the peer's REFER asked for: 1xx, then a final code.
    ReportRefer(u16),
}
