//! Session timers (RFC 4028), both roles.
//!
//! | We | The peer says | What stands |
//! |---|---|---|
//! | call | 2xx with Session-Expires | its interval; who refreshes is `refresher`, we when it names nobody |
//! | call | 2xx without | no timer: it ends one that ran |
//! | call | 422 with Min-SE | asked again with that interval, twice at most |
//! | are called | Session-Expires below our least, `Supported: timer` | 422 with our Min-SE |
//! | are called | Session-Expires, `Supported: timer` | its interval, at most ours; it refreshes unless it says otherwise |
//! | are called | Session-Expires of a proxy only | its interval; we refresh |
//! | are called | `Supported: timer` only | our interval; we refresh |
//! | are called | nothing | no timer |
//!
//! Whoever refreshes does so at half the interval; the other side ends the call 32 s (a third, if that is less) before
//! it runs out (RFC 4028 §10). A refresh that fails is repeated at half of what is left.

use std::time::{Duration, Instant};

use crate::sip::message::Fields;
use crate::sip::message::params::Params;

/// What we ask for. Seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// 0 = no timer of ours; a peer's is still honoured.
    pub expires: u32,
    /// The shortest interval that we agree to.
    pub least: u32,
}

/// The shortest that the RFC knows (§4).
const LEAST: u32 = 90;
/// How long before the end the other side gives up.
const MARGIN: u32 = 32;
/// No two refreshes come faster, whatever fails.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
/// Nobody may make us ask for a longer interval than a day.
const LONGEST: u32 = 86_400;

impl Terms {
    pub fn new(expires: u32) -> Terms {
        Terms { expires, least: if expires == 0 { LEAST } else { expires.min(LEAST) } }
    }
}

/// The timer of one dialog.
#[derive(Debug, Clone)]
pub struct SessionTimer {
    terms: Terms,
    /// Raised by 422s; goes out as Min-SE.
    min_se: u32,
    raised: u8,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    Running { interval: u32, refresher: Refresher, due: Instant, end: Instant },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refresher {
    Us,
    Peer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Nothing,
    Refresh,
    /// Nobody refreshed the session: it is dead.
    Expired,
}

/// 422s that are followed with a longer interval.
const MAX_RAISES: u8 = 2;

impl SessionTimer {
    pub fn new(terms: Terms) -> SessionTimer {
        SessionTimer { terms, min_se: terms.least, raised: 0, state: State::Off }
    }

    /// What our INVITE or UPDATE says.
    pub fn ask(&self, fields: &mut Fields) {
        let value = match self.state {
            State::Running { interval, refresher, .. } => {
                let role = if refresher == Refresher::Us { "uac" } else { "uas" };
                format!("{interval};refresher={role}")
            }
            State::Off if self.terms.expires == 0 => return,
            State::Off => self.terms.expires.to_string(),
        };
        fields.set("Session-Expires", value);
        fields.set("Min-SE", self.min_se.to_string());
    }

    /// The peer took our request.
    pub fn taken(&mut self, answer: &Fields, now: Instant) {
        self.state = match Asked::read(answer) {
            Some(Asked { interval, refresher }) => {
                let us = refresher.is_none_or(|role| role == Role::Uac);
                running(interval.max(1), if us { Refresher::Us } else { Refresher::Peer }, now)
            }
            None => State::Off,
        };
    }

    /// A 422: whether it is worth asking again.
    pub fn raise(&mut self, refusal: &Fields) -> bool {
        let wanted = refusal.first("Min-SE").and_then(seconds).filter(|wanted| *wanted <= LONGEST);
        let Some(wanted) = wanted.filter(|wanted| *wanted > self.min_se && self.raised < MAX_RAISES) else {
            return false;
        };
        self.raised += 1;
        self.min_se = wanted;
        self.terms.expires = self.terms.expires.max(wanted);
        if let State::Running { interval, .. } = &mut self.state {
            *interval = (*interval).max(wanted);
        }
        true
    }

    /// The Min-SE of the 422 that `request` is owed.
    pub fn too_short(&self, request: &Fields) -> Option<u32> {
        let asked = Asked::read(request)?;
        (supports_timer(request) && asked.interval < self.terms.least).then_some(self.terms.least)
    }

    /// Enters into our 2xx what `request` asked for.
    pub fn accept(&mut self, request: &Fields, answer: &mut Fields, now: Instant) {
        let supported = supports_timer(request);
        let least = request.first("Min-SE").and_then(seconds).unwrap_or(LEAST);
        let ours = if self.terms.expires == 0 { u32::MAX } else { self.terms.expires };
        let (interval, role) = match Asked::read(request) {
            // It may be made shorter, but not below what the peer or the RFC calls least.
            Some(Asked { interval, refresher }) => {
                let interval = interval.min(ours.max(least));
                (interval, if supported { refresher.unwrap_or(Role::Uac) } else { Role::Uas })
            }
            None if supported && self.terms.expires > 0 => (ours.max(least), Role::Uas),
            None => return self.state = State::Off,
        };
        let word = match role {
            Role::Uac => "uac",
            Role::Uas => "uas",
        };
        answer.set("Session-Expires", format!("{interval};refresher={word}"));
        if supported && role == Role::Uac {
            answer.push("Require", "timer");
        }
        let refresher = if role == Role::Uas { Refresher::Us } else { Refresher::Peer };
        self.state = running(interval.max(1), refresher, now);
    }

    /// A refresh did not come through; the next one is due at half of what is left.
    pub fn refresh_failed(&mut self, now: Instant) {
        if let State::Running { due, end, .. } = &mut self.state {
            *due = now + (end.saturating_duration_since(now) / 2).max(SHORTEST_PAUSE);
        }
    }

    /// Each refresh is reported once; whoever sends it tells how it went.
    pub fn tick(&mut self, now: Instant) -> Due {
        match &mut self.state {
            State::Running { end, .. } if now >= *end => {
                self.state = State::Off;
                Due::Expired
            }
            State::Running { refresher: Refresher::Us, due, end, .. } if now >= *due => {
                *due = *end;
                Due::Refresh
            }
            State::Off | State::Running { .. } => Due::Nothing,
        }
    }

    pub fn wake_at(&self) -> Option<Instant> {
        match self.state {
            State::Off => None,
            State::Running { refresher: Refresher::Us, due, end, .. } => Some(due.min(end)),
            State::Running { refresher: Refresher::Peer, end, .. } => Some(end),
        }
    }
}

fn running(interval: u32, refresher: Refresher, now: Instant) -> State {
    let whole = Duration::from_secs(interval.into());
    let margin = Duration::from_secs(MARGIN.into()).min(whole / 3);
    // Whoever refreshes may use the whole interval; the other gives up a little earlier (RFC 4028 §10).
    let end = now + if refresher == Refresher::Us { whole } else { whole.saturating_sub(margin) };
    State::Running { interval, refresher, due: now + whole / 2, end }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Uac,
    Uas,
}

struct Asked {
    interval: u32,
    refresher: Option<Role>,
}

impl Asked {
    fn read(fields: &Fields) -> Option<Asked> {
        let value = fields.first("Session-Expires")?;
        let (number, params) = value.split_once(';').unwrap_or((value, ""));
        let params = Params::parse(params).unwrap_or_default();
        let refresher = params.value("refresher").and_then(|role| match role.to_ascii_lowercase().as_str() {
            "uac" => Some(Role::Uac),
            "uas" => Some(Role::Uas),
            _ => None,
        });
        Some(Asked { interval: seconds(number)?.min(LONGEST), refresher })
    }
}

fn seconds(text: &str) -> Option<u32> {
    text.split(';').next().unwrap_or_default().trim().parse().ok()
}

fn supports_timer(fields: &Fields) -> bool {
    super::options::lists(fields, "timer")
}

#[cfg(test)]
#[allow(clippy::disallowed_methods)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::default();
        for (name, value) in lines {
            fields.push(name, *value);
        }
        fields
    }

    fn ours(expires: u32) -> SessionTimer {
        SessionTimer::new(Terms::new(expires))
    }

    fn expires(answer: &Fields) -> Option<&str> {
        answer.first("Session-Expires")
    }

    /// Asked, answered, and whether the answer requires `timer`.
    type Row = (&'static [(&'static str, &'static str)], Option<&'static str>, bool);

    /// The rows of the module's table in which we are called.
    #[test]
    fn the_called_side_agrees_as_the_table_says() {
        let now = Instant::now();
        let rows: [Row; 9] = [
            (&[("Supported", "timer"), ("Session-Expires", "600")], Some("600;refresher=uac"), true),
            (&[("Supported", "timer"), ("x", "600;refresher=uas")], Some("600;refresher=uas"), false),
            (
                &[("Supported", "100rel, timer"), ("Session-Expires", "600;refresher=uac")],
                Some("600;refresher=uac"),
                true,
            ),
            (&[("Supported", "timer"), ("Session-Expires", "7200")], Some("1800;refresher=uac"), true),
            (
                &[("Supported", "timer"), ("Session-Expires", "7200"), ("Min-SE", "3600")],
                Some("3600;refresher=uac"),
                true,
            ),
            (&[("Session-Expires", "600;refresher=uac")], Some("600;refresher=uas"), false),
            (&[("Supported", "timer")], Some("1800;refresher=uas"), false),
            (&[("Supported", "timer"), ("Min-SE", "2000")], Some("2000;refresher=uas"), false),
            (&[], None, false),
        ];
        for (asked, answered, required) in rows {
            let (mut timer, mut answer) = (ours(1800), Fields::default());
            timer.accept(&fields(asked), &mut answer, now);
            assert_eq!((expires(&answer), answer.first("Require").is_some()), (answered, required), "{asked:?}");
            assert_eq!(timer.wake_at().is_some(), answered.is_some(), "{asked:?}");
        }
    }

    #[test]
    fn only_a_peer_that_knows_timers_hears_422() {
        let short = [("Supported", "timer"), ("Session-Expires", "60")];
        assert_eq!(ours(1800).too_short(&fields(&short)), Some(90));
        assert_eq!(ours(1800).too_short(&fields(&short[1..])), None);
        assert_eq!(ours(1800).too_short(&fields(&[short[0], ("Session-Expires", "90")])), None);
        assert_eq!(ours(20).too_short(&fields(&[short[0], ("Session-Expires", "20")])), None, "a lab may be quicker");
    }

    /// The rows in which we call.
    #[test]
    fn the_calling_side_follows_the_answer() {
        let now = Instant::now();
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        let rows = [
            (Some("600;refresher=uac"), Some(300)),
            (Some("600"), Some(300)),
            (Some("600;refresher=uas"), Some(568)),
            (Some("60;refresher=uas"), Some(40)),
            (None, None),
        ];
        for (answered, wake) in rows {
            let mut timer = ours(1800);
            let answer = answered.map(|value| fields(&[("x", value)])).unwrap_or_default();
            timer.taken(&answer, now);
            assert_eq!(timer.wake_at(), wake.map(after), "{answered:?}");
        }
    }

    #[test]
    fn a_refresh_comes_at_half_time_and_the_end_when_none_came_through() {
        let now = Instant::now();
        let after = |seconds: u64| now + Duration::from_secs(seconds);
        let mut timer = ours(1800);
        timer.taken(&fields(&[("x", "600;refresher=uac")]), now);
        assert_eq!(timer.tick(after(299)), Due::Nothing);
        assert_eq!(timer.tick(after(300)), Due::Refresh);
        assert_eq!(timer.tick(after(301)), Due::Nothing, "once");
        timer.refresh_failed(after(310));
        assert_eq!(timer.tick(after(455)), Due::Refresh);
        assert_eq!(timer.tick(after(600)), Due::Expired);
        assert_eq!(timer.wake_at(), None);

        timer.taken(&fields(&[("x", "600;refresher=uas")]), now);
        assert_eq!(timer.tick(after(567)), Due::Nothing);
        assert_eq!(timer.tick(after(568)), Due::Expired);
    }

    #[test]
    fn what_we_ask_keeps_the_roles_as_they_are() {
        let now = Instant::now();
        let asked = |timer: &SessionTimer| {
            let mut fields = Fields::default();
            timer.ask(&mut fields);
            (expires(&fields).map(str::to_owned), fields.first("Min-SE").map(str::to_owned))
        };
        let mut timer = ours(1800);
        assert_eq!(asked(&timer), (Some("1800".into()), Some("90".into())));
        timer.taken(&fields(&[("x", "600;refresher=uas")]), now);
        assert_eq!(asked(&timer).0.as_deref(), Some("600;refresher=uas"));
        timer.taken(&fields(&[("x", "600")]), now);
        assert_eq!(asked(&timer).0.as_deref(), Some("600;refresher=uac"));
        assert_eq!(asked(&ours(0)), (None, None));
    }

    #[test]
    fn a_422_is_followed_twice_and_never_beyond_a_day() {
        let mut timer = ours(100);
        let refusal = |least: &str| fields(&[("Min-SE", least)]);
        assert!(!timer.raise(&refusal("80")) && !timer.raise(&refusal("nonsense")) && !timer.raise(&Fields::default()));
        assert!(!timer.raise(&refusal("4000000000")));
        assert!(timer.raise(&refusal("300")));
        let mut fields = Fields::default();
        timer.ask(&mut fields);
        assert_eq!((expires(&fields), fields.first("Min-SE")), (Some("300"), Some("300")));
        assert!(timer.raise(&refusal("400")));
        assert!(!timer.raise(&refusal("500")), "the third");
    }
}
