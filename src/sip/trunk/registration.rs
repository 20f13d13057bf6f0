//! Registering with a trunk (RFC 3261 §10.2): a binding that stands, is renewed in time, and is given back at the end.
//! Pure: responses, instants and randomness come in, wishes to send come out.
//!
//! | State | Input | Wish | Next |
//! |---|---|---|---|
//! | Fresh | begin | – | Waiting, due |
//! | Waiting | its time has come | REGISTER | Asking |
//! | Waiting | our address changed | REGISTER | Asking |
//! | Asking | 2xx that lists our contact, or no contact at all | – | Waiting for the renewal; stands |
//! | Asking | 2xx without our contact | – | Waiting, back-off |
//! | Asking | 2xx that lists others, and we must be alone | REGISTER, Expires 0 | Leaving, then Waiting, back-off |
//! | Asking | 401, 407: the first, or one stale nonce | REGISTER with credentials | Asking |
//! | Asking | 401, 407 otherwise | – | Waiting, long back-off |
//! | Asking | 423, the first | REGISTER with Min-Expires | Asking |
//! | Asking | 503, no answer; another server is there | REGISTER, to that | Asking |
//! | Asking | 503, no answer, no other server | – | Waiting: Retry-After, or back-off |
//! | Asking | any other refusal | – | Waiting, long back-off |
//! | Waiting, Asking | leave, and a binding stands or may stand | REGISTER, Expires 0 | Leaving |
//! | Waiting, Asking | leave, nothing stands | – | Gone |
//! | Leaving | 401, 407: the first, or one stale nonce | REGISTER, Expires 0, with credentials | Leaving |
//! | Leaving | anything else final, no answer | – | Gone, or Waiting where only the company was wrong |
//!
//! A binding stands until its own end, whatever becomes of the next REGISTER.

use std::time::{Duration, Instant};

use crate::sip::digest::client::{Authentication, Credentials};
use crate::sip::message::{NameAddr, Response, SipUri};

pub struct Registration {
    terms: Terms,
    auth: Authentication,
    state: State,
    /// End of the binding that the registrar confirmed.
    standing: Option<Instant>,
    /// What is asked for now: the configured lifetime, or longer where the registrar insisted.
    seconds: u32,
    failures: u32,
    problem: Option<String>,
    /// Where requests of this trunk go first (RFC 3608).
    routes: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Lifetime to ask for, seconds.
    pub seconds: u32,
    /// Other contacts under our account are not borne.
    pub alone: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Waiting {
        at: Instant,
    },
    Asking {
        lengthened: bool,
    },
    Leaving {
        /// When it is tried again; never when absent.
        again: Option<Instant>,
    },
    Gone,
}

/// A REGISTER to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Register {
    /// 0 gives the binding back.
    pub seconds: u32,
    /// Header and value that answer a challenge.
    pub authorization: Option<(&'static str, String)>,
}

/// What a response is judged with.
pub struct Surroundings<'a> {
    /// The contact that we registered.
    pub contact: &'a SipUri,
    /// Request-URI of the REGISTER.
    pub uri: &'a str,
    /// Fresh, for an answer to a challenge.
    pub cnonce: &'a str,
    /// Another server of the trunk has not been tried in this round.
    pub another: bool,
    pub random: u64,
    pub now: Instant,
}

/// The first wait after a failure (RFC 5626 §4.5 asks for 30 s; a PBX on the LAN is back sooner).
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest, and what a clear refusal gets at once: asking more often changes nothing and locks accounts.
const LONG_WAIT: Duration = Duration::from_secs(300);
/// A registrar's Retry-After beyond it is not believed.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(1_800);
/// A registrar that insists on more is not believed.
const LONGEST_LIFE: u32 = 7 * 24 * 3_600;

impl Registration {
    pub fn new(terms: Terms, credentials: Option<Credentials>) -> Registration {
        Registration {
            auth: Authentication::new(credentials),
            state: State::Fresh,
            standing: None,
            seconds: terms.seconds,
            failures: 0,
            problem: None,
            routes: Vec::new(),
            terms,
        }
    }

    pub fn begin(&mut self, now: Instant) {
        if self.state == State::Fresh {
            self.state = State::Waiting { at: now };
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Waiting { at } => Some(at),
            State::Fresh | State::Asking { .. } | State::Leaving { .. } | State::Gone => None,
        }
    }

    pub fn tick(&mut self, now: Instant) -> Option<Register> {
        matches!(self.state, State::Waiting { at } if now >= at).then(|| self.ask())
    }

    /// Our address changed: what stands leads nowhere any more.
    pub fn moved(&mut self) -> Option<Register> {
        matches!(self.state, State::Waiting { .. }).then(|| self.ask())
    }

    fn ask(&mut self) -> Register {
        self.auth.begin();
        self.state = State::Asking { lengthened: false };
        Register { seconds: self.seconds, authorization: None }
    }

    /// Gives the binding back; at the end of the box.
    pub fn leave(&mut self, now: Instant) -> Option<Register> {
        let may_stand = self.standing(now).is_some() || matches!(self.state, State::Asking { .. });
        match self.state {
            State::Waiting { .. } | State::Asking { .. } if may_stand => Some(self.give_back(None)),
            State::Leaving { .. } => {
                self.state = State::Leaving { again: None };
                None
            }
            State::Fresh | State::Waiting { .. } | State::Asking { .. } | State::Gone => {
                self.state = State::Gone;
                None
            }
        }
    }

    fn give_back(&mut self, again: Option<Instant>) -> Register {
        self.auth.begin();
        self.state = State::Leaving { again };
        Register { seconds: 0, authorization: None }
    }

    /// A final response to the last REGISTER.
    pub fn answered(&mut self, response: &Response, around: &Surroundings<'_>) -> Option<Register> {
        match (self.state, response.code()) {
            (State::Fresh | State::Waiting { .. } | State::Gone, _) => None,
            (State::Asking { .. } | State::Leaving { .. }, 401 | 407) => self.challenged(response, around),
            (State::Leaving { .. }, _) => {
                self.left();
                None
            }
            (State::Asking { .. }, 200..=299) => self.accepted(response, around),
            (State::Asking { lengthened: false }, 423) => self.lengthen(response, around),
            (State::Asking { .. }, 503) => self.unavailable(response.retry_after(), "it is overloaded (503)", around),
            (State::Asking { .. }, code) => {
                let phrase: String = response.reason.chars().filter(|letter| !letter.is_control()).take(64).collect();
                self.wait(LONG_WAIT, format!("the registrar refuses: {code} {phrase}"), around);
                None
            }
        }
    }

    /// No answer came, or the REGISTER could not be sent.
    pub fn unanswered(&mut self, problem: &str, around: &Surroundings<'_>) -> Option<Register> {
        match self.state {
            State::Asking { .. } => self.unavailable(None, problem, around),
            State::Leaving { .. } => {
                self.left();
                None
            }
            State::Fresh | State::Waiting { .. } | State::Gone => None,
        }
    }

    fn challenged(&mut self, response: &Response, around: &Surroundings<'_>) -> Option<Register> {
        let answer = self.auth.answer(response, "REGISTER", around.uri, around.cnonce);
        match (answer, self.state) {
            (Some(answer), State::Leaving { .. }) => Some(Register { seconds: 0, authorization: Some(answer) }),
            (Some(answer), _) => Some(Register { seconds: self.seconds, authorization: Some(answer) }),
            (None, State::Leaving { .. }) => {
                self.left();
                None
            }
            (None, _) => {
                let problem = "the registrar refuses username and password, or its realm is not the configured one";
                self.wait(LONG_WAIT, problem.to_owned(), around);
                None
            }
        }
    }

    fn lengthen(&mut self, response: &Response, around: &Surroundings<'_>) -> Option<Register> {
        let least = response.fields.first("Min-Expires").and_then(|value| value.trim().parse::<u32>().ok());
        match least.filter(|least| (self.seconds + 1..=LONGEST_LIFE).contains(least)) {
            Some(least) => {
                self.seconds = least;
                self.auth.begin();
                self.state = State::Asking { lengthened: true };
                Some(Register { seconds: least, authorization: None })
            }
            None => {
                self.wait(LONG_WAIT, "the registrar finds the lifetime too short (423)".into(), around);
                None
            }
        }
    }

    fn unavailable(
        &mut self,
        retry_after: Option<Duration>,
        problem: &str,
        around: &Surroundings<'_>,
    ) -> Option<Register> {
        if around.another {
            return Some(self.ask());
        }
        let own = (FIRST_WAIT * (1 << self.failures.min(6))).min(LONG_WAIT);
        match retry_after {
            // A time that was named is kept, not shortened.
            Some(named) => self.wait_for(named.clamp(FIRST_WAIT, LONGEST_RETRY_AFTER), problem.into(), around),
            None => self.wait(own, problem.into(), around),
        }
        None
    }

    fn accepted(&mut self, response: &Response, around: &Surroundings<'_>) -> Option<Register> {
        let listed = response.fields.list("Contact");
        let contacts: Vec<NameAddr> = listed.iter().filter_map(|contact| NameAddr::parse(contact).ok()).collect();
        let ours = contacts.iter().position(|contact| is_ours(contact, around.contact));
        // One contact under our name at another address: a registrar that writes down where it saw us.
        let rewritten = || match contacts.as_slice() {
            [only] if only.uri.sip().is_some_and(|uri| uri.user == around.contact.user) => Some(0),
            _ => None,
        };
        let ours = ours.or_else(rewritten);
        if ours.is_none() && !listed.is_empty() {
            self.wait(LONG_WAIT, "the registrar did not keep our contact".into(), around);
            return None;
        }
        if self.terms.alone && contacts.len() > 1 {
            self.note("other devices are registered under this account".into());
            self.standing = None;
            let again = around.now + spread(LONG_WAIT, around.random);
            return Some(self.give_back(Some(again)));
        }
        let granted = ours
            .and_then(|at| contacts.get(at))
            .and_then(|contact| seconds(contact.params.value("expires")))
            .or_else(|| seconds(response.fields.first("Expires")))
            .unwrap_or(self.seconds);
        if granted == 0 {
            self.wait(LONG_WAIT, "the registrar removed our contact".into(), around);
            return None;
        }
        let life = Duration::from_secs(granted.min(LONGEST_LIFE).into());
        self.standing = Some(around.now + life);
        self.failures = 0;
        self.problem = None;
        self.routes = response.fields.list("Service-Route");
        // After three quarters to nearly nine tenths, so that boxes which started together do not renew together.
        let at = around.now + life * 3 / 4 + (life / 8).mul_f64(fraction(around.random));
        self.state = State::Waiting { at };
        None
    }

    /// Half to the whole of `pause`.
    fn wait(&mut self, pause: Duration, problem: String, around: &Surroundings<'_>) {
        self.wait_for(spread(pause, around.random), problem, around);
    }

    fn wait_for(&mut self, pause: Duration, problem: String, around: &Surroundings<'_>) {
        self.note(problem);
        self.failures = self.failures.saturating_add(1);
        self.state = State::Waiting { at: around.now + pause };
    }

    fn note(&mut self, problem: String) {
        self.problem = Some(problem);
    }

    fn left(&mut self) {
        self.standing = None;
        self.state = match self.state {
            State::Leaving { again: Some(at) } => State::Waiting { at },
            _ => State::Gone,
        };
    }

    /// Until when we are registered.
    pub fn standing(&self, now: Instant) -> Option<Instant> {
        self.standing.filter(|until| *until > now)
    }

    /// Why the last REGISTER came to nothing, in the operator's words.
    pub fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Values of Route for requests outside dialogs (RFC 3608 §6.1).
    pub fn routes(&self) -> &[String] {
        &self.routes
    }

    /// Nothing is asked any more.
    pub fn is_gone(&self) -> bool {
        self.state == State::Gone
    }
}

fn is_ours(contact: &NameAddr, ours: &SipUri) -> bool {
    contact.uri.sip().is_some_and(|uri| {
        let port = |uri: &SipUri| uri.port.unwrap_or(5060);
        uri.user == ours.user && uri.host == ours.host && port(uri) == port(ours)
    })
}

fn seconds(text: Option<&str>) -> Option<u32> {
    text.and_then(|text| text.trim().parse().ok())
}

/// Half to the whole of `pause`.
fn spread(pause: Duration, random: u64) -> Duration {
    pause / 2 + (pause / 2).mul_f64(fraction(random))
}

/// 0 to 1.
fn fraction(random: u64) -> f64 {
    // The upper 32 bits fit a double exactly.
    f64::from(u32::try_from(random >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

#[cfg(test)]
#[path = "registration_tests.rs"]
mod tests;
