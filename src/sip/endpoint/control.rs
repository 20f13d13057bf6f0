//! What the owner of a call holds.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::inbox::{Backlog, Inbox, Order};
use crate::sip::agent::CallKey;
use crate::sip::event::{Command, OfferOutcome};
use crate::sip::message::Reason;
use crate::sip::sdp::{SdpError, SessionDescription};

/// What a call may be told. Commands that the dialog's state does not allow are ignored.
#[derive(Clone)]
pub struct CallControl {
    call: CallKey,
    call_id: Arc<str>,
    inbox: Arc<Inbox>,
    backlog: Arc<Backlog>,
    local: Option<IpAddr>,
    secure: bool,
}

impl CallControl {
    pub(super) fn new(call: CallKey, call_id: &str, inbox: Arc<Inbox>, local: Option<IpAddr>) -> CallControl {
        CallControl { call, call_id: call_id.into(), inbox, backlog: Arc::default(), local, secure: false }
    }

    /// The peer's signalling came over TLS.
    pub(super) fn over_tls(self, secure: bool) -> CallControl {
        CallControl { secure, ..self }
    }

    /// Inbound: 180, or 183 with early media.
    pub fn ringing(&self, session: Option<SessionDescription>) {
        self.tell(Command::Ringing(session));
    }

    /// Inbound: 200 with our answer (or our offer, when the INVITE carried none).
    pub fn answer(&self, session: SessionDescription) {
        self.tell(Command::Answer(session));
    }

    /// Inbound: a final refusal (`code` 400 to 699).
    pub fn reject(&self, code: u16) {
        self.tell(Command::Reject(code));
    }

    /// Refuses the INVITE, or the offer that waits, with 488 and the reason.
    pub fn refuse_media(&self, problem: SdpError) {
        self.tell(Command::RefuseMedia(problem));
    }

    /// Ends the call in whatever way its state owes: CANCEL, BYE, or a refusal.
    pub fn hang_up(&self) {
        self.tell(Command::HangUp);
    }

    /// [`CallControl::hang_up`] with a reason for the far end: `Q.850;cause=…`, or that another phone took the call.
    pub fn hang_up_because(&self, reason: Reason) {
        self.tell(Command::Because(reason));
        self.hang_up();
    }

    /// Sends a key by INFO, for peers that take keys so; anything but 0–9, `*`, `#`, A–D is passed over.
    pub fn press(&self, key: char) {
        self.tell(Command::Key(key));
    }

    /// Answers [`super::CallEvent::Offer`] (a re-INVITE or UPDATE of the peer).
    pub fn accept_offer(&self, session: SessionDescription) {
        self.tell(Command::AcceptOffer(session));
    }

    /// Refuses [`super::CallEvent::Offer`] with 488; the session goes on as it was.
    pub fn refuse_offer(&self) {
        self.tell(Command::RefuseOffer);
    }

    /// Asks the peer to change the session (re-INVITE): hold, resume, a new address. One at a time; when both sides ask
    /// at once, it is tried again as RFC 3261 §14.1 says.
    pub async fn offer(&self, session: SessionDescription) -> OfferOutcome {
        let (done, outcome) = oneshot::channel();
        self.inbox.push(Order::Offer { call: self.call, command: Command::Offer(session), done });
        // The driver is gone, or the call is: nothing was changed.
        outcome.await.unwrap_or(OfferOutcome::Refused(0))
    }

    /// Asks the peer to call the URI `to` instead (REFER); [`super::CallEvent::Refer`] tells what comes of it.
    pub fn refer(&self, to: String, referred_by: Option<String>) {
        self.tell(Command::Refer { to, referred_by });
    }

    /// Answers [`super::CallEvent::Referred`]: 202, or a refusal.
    pub fn answer_refer(&self, code: u16) {
        self.tell(Command::AnswerRefer(code));
    }

    /// Tells the peer what has come of the call that its REFER asked for.
    pub fn report_refer(&self, code: u16) {
        self.tell(Command::ReportRefer(code));
    }

    /// Names this call towards [`super::IncomingCall::replaces`].
    pub fn key(&self) -> CallKey {
        self.call
    }

    /// The Call-ID header, for logs at debug and traces.
    pub fn sip_call_id(&self) -> &str {
        &self.call_id
    }

    /// Our address as the peer of this inbound call reaches us: for the session description. `None` on outbound calls.
    pub fn media_address(&self) -> Option<IpAddr> {
        self.local
    }

    /// Whether an inbound call came over TLS: keys in its session description are nobody else's.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    fn tell(&self, command: Command) {
        self.inbox.push_command(self.call, command, &self.backlog);
    }
}
