//! REFER inside a call (RFC 3515), both ways, each with the subscription that it implies (RFC 6665).
//!
//! **Ours** — the peer is to call somebody else.
//!
//! | State | Input | Output | Next |
//! |---|---|---|---|
//! | idle | refer | REFER | sent |
//! | idle | refer, but the peer's Allow names no REFER | Refused(405) | idle |
//! | sent | refer | Refused(491) | sent |
//! | sent | 401, 407 | REFER with credentials, at most twice | sent |
//! | sent | 2xx | Accepted | watching |
//! | sent | 2xx with `Refer-Sub: false` (RFC 4488) | Accepted, Unknown | idle |
//! | sent | 300–699 | Refused(code) | idle |
//! | sent | nothing for 64·T1 | Refused(408) | idle |
//! | sent | NOTIFY (it may overtake the 2xx) | Accepted, as when watching | watching |
//! | watching | NOTIFY of 1xx | 200, Progress | watching |
//! | watching | NOTIFY of 200–699 | 200, Done(code) | told |
//! | watching | NOTIFY of 1xx that ends the subscription | 200, Unknown | idle |
//! | watching | no NOTIFY for 64·T1, then for as long as the subscription lasts | Unknown | idle |
//! | told | NOTIFY | 200 | told; idle when it ends the subscription |
//! | idle | NOTIFY | 481 | idle |
//!
//! **Theirs** — the peer wants us to call somebody else; the call's owner decides.
//!
//! | State | Input | Output | Next |
//! |---|---|---|---|
//! | idle | REFER with one good Refer-To | Referred | deciding |
//! | idle | REFER without, with two, or with a broken Refer-To | 400 | idle |
//! | deciding, reporting | REFER | 491 | as it was |
//! | deciding | owner accepts | 202, NOTIFY of 100 | reporting |
//! | deciding | owner accepts, and the peer wants no subscription (RFC 4488) | 202 with `Refer-Sub: false` | idle |
//! | deciding | owner refuses | the refusal | idle |
//! | deciding | no decision for 64·T1 | 500 | idle |
//! | reporting | owner tells a 1xx | NOTIFY, active | reporting |
//! | reporting | owner tells a final code | NOTIFY, terminated | idle |
//! | reporting, a NOTIFY is under way | owner tells a code | – (sent after the answer: none overtakes another) | reporting |
//! | reporting, a code waits | the call ends | NOTIFY of the code, terminated | idle |
//! | reporting | time over | NOTIFY of the last code, terminated by timeout | idle |
//! | reporting | our NOTIFY is refused or not answered | – (nobody listens) | idle |

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::sip::event::{CallEvent, ReferNews, Referral};
use crate::sip::message::params::Params;
use crate::sip::message::{Request, Response, media_type, phrase};
use crate::sip::transaction::ServerKey;

use super::call::Common;
use super::replaces::Target;
use super::{Dialog, Purpose, Step};

/// Longest that a subscription lasts, whatever the peer says; also how long ours is offered.
const LONGEST: Duration = Duration::from_secs(180);
/// Codes that may wait for the NOTIFY before them.
const MOST_NEWS: usize = 4;
const SIPFRAG: &str = "message/sipfrag";

#[derive(Default)]
pub(super) struct Refer {
    ours: Ours,
    theirs: Theirs,
    /// REFERs that the peer has sent in this dialog: only the first one's events need no id (RFC 3515 §2.4.6).
    received: u32,
}

#[derive(Default)]
enum Ours {
    #[default]
    Idle,
    Sent {
        id: u32,
    },
    Watching {
        id: u32,
        until: Instant,
        told: bool,
    },
}

#[derive(Default)]
enum Theirs {
    #[default]
    Idle,
    Deciding {
        key: ServerKey,
        request: Box<Request>,
        give_up: Instant,
    },
    Reporting {
        /// Value of Event.
        event: String,
        until: Instant,
        last: u16,
        under_way: bool,
        /// Codes to be told when the NOTIFY that is under way has been answered.
        next: VecDeque<u16>,
    },
}

impl Refer {
    pub fn send(
        &mut self,
        to: &str,
        referred_by: Option<&str>,
        dialog: &mut Dialog,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        if common.quiet || !matches!(self.ours, Ours::Idle) {
            return common.tell(CallEvent::Refer(ReferNews::Refused(491)), step);
        }
        if common.refuses_refer {
            return common.tell(CallEvent::Refer(ReferNews::Refused(405)), step);
        }
        common.auth.begin();
        let mut refer = dialog.request(rsip::Method::Refer, step, &common.local);
        refer.fields.push("Refer-To", format!("<{to}>"));
        if let Some(referred_by) = referred_by {
            refer.fields.push("Referred-By", referred_by);
        }
        self.ours = Ours::Sent { id: sequence_of(&refer) };
        step.send(refer, dialog.hop(), Purpose::Refer);
    }

    /// A response to our REFER or NOTIFY.
    pub fn response(
        &mut self,
        purpose: Purpose,
        request: &Request,
        response: &Response,
        dialog: &mut Dialog,
        common: &mut Common,
        step: &mut Step<'_>,
    ) {
        match response.code() {
            ..=199 => {}
            401 | 407 => {
                let sequence = dialog.next_sequence();
                match common.authorized(request, response, sequence, step) {
                    Some(again) => {
                        if let (Purpose::Refer, Ours::Sent { id }) = (purpose, &mut self.ours) {
                            *id = sequence;
                        }
                        step.send(again, dialog.hop(), purpose);
                    }
                    None => self.failed(purpose, response.code(), common, step),
                }
            }
            200..=299 if purpose == Purpose::Refer => self.accepted(response, common, step),
            200..=299 => self.heard(dialog, common, step),
            code => self.failed(purpose, code, common, step),
        }
    }

    fn accepted(&mut self, response: &Response, common: &mut Common, step: &mut Step<'_>) {
        let Ours::Sent { id } = self.ours else { return };
        common.tell(CallEvent::Refer(ReferNews::Accepted), step);
        if is_false(response.fields.first("Refer-Sub")) {
            self.ours = Ours::Idle;
            common.tell(CallEvent::Refer(ReferNews::Unknown), step);
        } else {
            self.ours = Ours::Watching { id, until: step.now + step.timers.give_up(), told: false };
        }
    }

    /// Our REFER or NOTIFY was refused, or got no answer.
    pub fn failed(&mut self, purpose: Purpose, code: u16, common: &mut Common, step: &mut Step<'_>) {
        match purpose {
            Purpose::Refer if matches!(self.ours, Ours::Sent { .. }) => {
                self.ours = Ours::Idle;
                common.tell(CallEvent::Refer(ReferNews::Refused(code)), step);
            }
            Purpose::Notify if matches!(self.theirs, Theirs::Reporting { .. }) => self.theirs = Theirs::Idle,
            _ => {}
        }
    }

    /// A NOTIFY of the peer; always answered.
    pub fn notified(&mut self, request: &Request, key: &ServerKey, common: &mut Common, step: &mut Step<'_>) {
        match self.read_notify(request) {
            Ok((code, ends)) => {
                step.respond(key, Response::to(request, 200));
                self.take_news(code, ends, lifetime(request), common, step);
            }
            Err(refusal) => step.respond(key, *refusal),
        }
    }

    /// The code that it tells (0: none), and whether it is the last.
    fn read_notify(&self, request: &Request) -> Result<(u16, bool), Box<Response>> {
        let refuse = |code: u16| Box::new(Response::to(request, code));
        let event = request.fields.first("Event").unwrap_or_default();
        let (package, params) = event.split_once(';').unwrap_or((event, ""));
        if !package.trim().eq_ignore_ascii_case("refer") {
            return Err(Box::new(Response::to(request, 489).with("Allow-Events", "refer")));
        }
        let named = Params::parse(params).and_then(|params| params.value("id").map(str::to_owned));
        let known = match self.ours {
            Ours::Idle => false,
            Ours::Sent { id } | Ours::Watching { id, .. } => named.is_none_or(|named| named == id.to_string()),
        };
        if !known {
            return Err(refuse(481));
        }
        let state = request.fields.first("Subscription-State").ok_or_else(|| refuse(400))?;
        let ends = state.trim().to_ascii_lowercase().starts_with("terminated");
        if request.body.is_empty() {
            return if ends { Ok((0, true)) } else { Err(refuse(400)) };
        }
        if media_type(&request.fields).is_none_or(|kind| kind != SIPFRAG) {
            return Err(Box::new(Response::to(request, 415).with("Accept", SIPFRAG)));
        }
        let code = status_of(&request.body).ok_or_else(|| refuse(400))?;
        Ok((code, ends))
    }

    fn take_news(&mut self, code: u16, ends: bool, lasts: Duration, common: &mut Common, step: &mut Step<'_>) {
        let (id, told) = match self.ours {
            Ours::Idle => return,
            Ours::Sent { id } => {
                common.tell(CallEvent::Refer(ReferNews::Accepted), step);
                (id, false)
            }
            Ours::Watching { id, told, .. } => (id, told),
        };
        let news = match code {
            200.. => Some(ReferNews::Done(code)),
            _ if ends => Some(ReferNews::Unknown),
            _ => Some(ReferNews::Progress(code)),
        };
        if let Some(news) = news.filter(|_| !told) {
            common.tell(CallEvent::Refer(news), step);
        }
        let told = told || code >= 200;
        self.ours = if ends { Ours::Idle } else { Ours::Watching { id, until: step.now + lasts, told } };
    }

    /// A REFER of the peer; answered now or when the owner has decided.
    pub fn asked(&mut self, request: &Request, key: &ServerKey, common: &mut Common, step: &mut Step<'_>) {
        let mut targets = request.fields.all("Refer-To");
        let target = targets.next().filter(|_| request.fields.count("Refer-To") == 1).and_then(Target::parse);
        let Some(target) = target else {
            let mut refusal = Response::to(request, 400);
            refusal.reason = "Missing or Malformed Refer-To".into();
            return step.respond(key, refusal);
        };
        if !matches!(self.theirs, Theirs::Idle) {
            return step.respond(key, Response::to(request, 491));
        }
        if common.quiet {
            return step.respond(key, Response::to(request, 481));
        }
        self.received += 1;
        let give_up = step.now + step.timers.give_up();
        self.theirs = Theirs::Deciding { key: key.clone(), request: Box::new(request.clone()), give_up };
        let referred_by = request.fields.first("Referred-By").map(str::to_owned);
        common.tell(CallEvent::Referred(Box::new(Referral { target, referred_by })), step);
    }

    /// The owner's decision: 202, or a refusal.
    pub fn decide(&mut self, code: u16, dialog: &mut Dialog, common: &mut Common, step: &mut Step<'_>) {
        let Theirs::Deciding { key, request, .. } = std::mem::take(&mut self.theirs) else { return };
        if code >= 300 {
            return step.respond(&key, Response::to(&request, code));
        }
        let silent = is_false(request.fields.first("Refer-Sub"));
        let response = Response::to(&request, 202).with("Contact", common.local.contact.clone());
        step.respond(&key, if silent { response.with("Refer-Sub", "false") } else { response });
        if !silent {
            let id = sequence_of(&request);
            let event = if self.received > 1 { format!("refer;id={id}") } else { "refer".to_owned() };
            let until = step.now + LONGEST;
            self.theirs = Theirs::Reporting { event, until, last: 100, under_way: false, next: VecDeque::new() };
            self.report(100, dialog, common, step);
        }
    }

    /// What has come of the call that the peer asked for.
    pub fn report(&mut self, code: u16, dialog: &mut Dialog, common: &mut Common, step: &mut Step<'_>) {
        let Theirs::Reporting { event, until, last, under_way, next } = &mut self.theirs else { return };
        if std::mem::replace(under_way, true) {
            // After a final code there is no more to tell.
            if next.back().is_none_or(|last| *last < 200) {
                if next.len() == MOST_NEWS {
                    next.pop_front();
                }
                next.push_back(code);
            }
            return;
        }
        *last = code;
        let left = until.saturating_duration_since(step.now).as_secs().max(1);
        let state = if code < 200 { format!("active;expires={left}") } else { "terminated;reason=noresource".into() };
        let event = event.clone();
        if code >= 200 {
            self.theirs = Theirs::Idle;
        }
        notify(&event, &state, code, dialog, common, step);
    }

    /// Our NOTIFY was taken.
    fn heard(&mut self, dialog: &mut Dialog, common: &mut Common, step: &mut Step<'_>) {
        let Theirs::Reporting { under_way, next, .. } = &mut self.theirs else { return };
        *under_way = false;
        if let Some(code) = next.pop_front() {
            self.report(code, dialog, common, step);
        }
    }

    /// The call ends: whoever waits for a decision or for news hears it.
    pub fn close(&mut self, dialog: &mut Dialog, common: &mut Common, step: &mut Step<'_>) {
        match std::mem::take(&mut self.theirs) {
            Theirs::Deciding { key, request, .. } => step.respond(&key, Response::to(&request, 481)),
            Theirs::Reporting { event, next, .. } => {
                if let Some(code) = next.back() {
                    notify(&event, "terminated;reason=noresource", *code, dialog, common, step);
                }
            }
            Theirs::Idle => {}
        }
    }

    pub fn tick(&mut self, dialog: &mut Dialog, common: &mut Common, step: &mut Step<'_>) {
        if let Ours::Watching { until, told, .. } = self.ours
            && step.now >= until
        {
            self.ours = Ours::Idle;
            if !told {
                common.tell(CallEvent::Refer(ReferNews::Unknown), step);
            }
        }
        if self.theirs.until().is_none_or(|until| step.now < until) {
            return;
        }
        match std::mem::take(&mut self.theirs) {
            Theirs::Deciding { key, request, .. } => step.respond(&key, Response::to(&request, 500)),
            Theirs::Reporting { event, last, .. } => {
                notify(&event, "terminated;reason=timeout", last, dialog, common, step);
            }
            Theirs::Idle => {}
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        let ours = match self.ours {
            Ours::Watching { until, .. } => Some(until),
            Ours::Idle | Ours::Sent { .. } => None,
        };
        ours.into_iter().chain(self.theirs.until()).min()
    }
}

impl Theirs {
    fn until(&self) -> Option<Instant> {
        match self {
            Theirs::Idle => None,
            Theirs::Deciding { give_up, .. } => Some(*give_up),
            Theirs::Reporting { until, .. } => Some(*until),
        }
    }
}

fn notify(event: &str, state: &str, code: u16, dialog: &mut Dialog, common: &mut Common, step: &mut Step<'_>) {
    common.auth.begin();
    let mut notify = dialog.request(rsip::Method::Notify, step, &common.local);
    notify.fields.push("Event", event);
    notify.fields.push("Subscription-State", state);
    let body = format!("SIP/2.0 {code} {}\r\n", phrase(&rsip::StatusCode::from(code)));
    step.send(notify.with_body("message/sipfrag;version=2.0", body), dialog.hop(), Purpose::Notify);
}

fn sequence_of(request: &Request) -> u32 {
    let sequence = request.fields.first("CSeq").and_then(crate::sip::message::CSeq::parse);
    sequence.map(|sequence| sequence.number).unwrap_or_default()
}

fn is_false(value: Option<&str>) -> bool {
    value.is_some_and(|value| value.trim().eq_ignore_ascii_case("false"))
}

/// The status of a `message/sipfrag` that begins with a status line (RFC 3420).
fn status_of(body: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(body);
    let line = text.lines().find(|line| !line.trim().is_empty())?;
    let (version, rest) = line.split_once(' ')?;
    let code: u16 = rest.get(..3)?.parse().ok()?;
    (version.eq_ignore_ascii_case("SIP/2.0") && (100..700).contains(&code)).then_some(code)
}

/// How long the peer says that the subscription lasts.
fn lifetime(notify: &Request) -> Duration {
    let state = notify.fields.first("Subscription-State").unwrap_or_default();
    let params = state.split_once(';').and_then(|(_, params)| Params::parse(params));
    let seconds = params.and_then(|params| params.value("expires").and_then(|value| value.parse::<u64>().ok()));
    seconds.map_or(LONGEST, |seconds| Duration::from_secs(seconds).clamp(Duration::from_secs(1), LONGEST))
}

#[cfg(test)]
mod tests;
