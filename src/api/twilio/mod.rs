//! The one request of Twilio's REST interface that a bot needs: to hang up
//! (<https://www.twilio.com/docs/voice/api/call-resource#update-a-call-resource>).
//!
//! Its account is that of `[engine.media_stream]`; without one, and a token, the route does not exist. A call is named as
//! the bot was told: `CA` and the 32 digits of its id.
//!
//! | Request | Answer |
//! |---|---|
//! | `Status=completed` | 200 with the call, which is ended or was over already |
//! | `Status=canceled` | the same; a call that is live goes on |
//! | another status, none, `Url`, `Twiml` | 400 |
//! | another account or token, or none | 401, code 20003 |
//! | a call that does not exist | 404, code 20404 |

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use subtle::ConstantTimeEq;

use super::body::{self, BodyLimits};
use super::dialect::Context;
use super::parameters::Parameters;
use super::problem::Problem;
use crate::call::{Call, CallStatus, Calls, Direction};
use crate::config::{Config, Secret};
use crate::identity::AuthError;

mod wire;

pub(super) use wire::render;

/// Who may hang up.
#[derive(Clone)]
pub(super) struct Account {
    sid: String,
    token: Secret,
}

impl Account {
    pub(super) fn of(config: &Config) -> Option<Account> {
        let bot = config.engine.media_stream.as_ref()?;
        Some(Account { sid: bot.account_sid.clone()?, token: bot.auth_token.clone()? })
    }

    /// The credential of `Authorization: Basic …` (RFC 7617).
    fn is_meant_by(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.split_once(' '));
        let Some((_, given)) = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Basic")) else { return false };
        let Ok(given) = STANDARD.decode(given.trim()) else { return false };
        let expected = format!("{}:{}", self.sid, self.token.expose());
        given.ct_eq(expected.as_bytes()).into()
    }
}

struct Desk {
    account: Account,
    calls: Calls,
    limits: BodyLimits,
}

pub(super) fn routes(context: &Arc<Context>) -> Router {
    let Some(account) = context.account.clone() else { return Router::new() };
    let desk = Desk { account, calls: context.calls.clone(), limits: context.limits.of_strangers() };
    Router::new().route("/2010-04-01/Accounts/{account}/Calls/{call}", post(update)).with_state(Arc::new(desk))
}

async fn update(State(desk): State<Arc<Desk>>, Path(names): Path<(String, String)>, request: Request) -> Response {
    match change(&desk, names, request).await {
        Ok(call) => wire::call(&call, &desk.account.sid),
        Err(problem) => render(&problem),
    }
}

async fn change(desk: &Desk, (account, name): (String, String), request: Request) -> Result<Call, Problem> {
    if !desk.account.is_meant_by(request.headers()) {
        return Err(Problem::Unauthorized(AuthError::Missing));
    }
    let path = request.uri().path().to_owned();
    let missing = || Problem::NotFound(format!("The requested resource {path} was not found"));
    let id = wire::id(&name).filter(|_| account == desk.account.sid).ok_or_else(missing)?;
    let call = desk.calls.record(id).await?.ok_or_else(missing)?;
    let wanted = Wanted::of(&Parameters::of_form(&body::read(request.into_body(), desk.limits).await?)?)?;
    // A bot hears of a call that comes in once it has been answered.
    let live = call.status == CallStatus::InProgress || call.direction == Direction::Inbound;
    if wanted == Wanted::Canceled && live {
        return Ok(call);
    }
    desk.calls.hang_up(call.organization, id, "the bot").await?;
    desk.calls.record(id).await?.ok_or(Problem::Internal)
}

#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Completed,
    Canceled,
}

impl Wanted {
    fn of(form: &Parameters) -> Result<Wanted, Problem> {
        if let Some(name) = ["Url", "Twiml"].into_iter().find(|name| form.text(name).is_some()) {
            let text = format!("{name} is not supported: the bot itself decides what the caller hears");
            return Err(Problem::BadRequest(text));
        }
        match form.text("Status") {
            Some("completed") => Ok(Wanted::Completed),
            Some("canceled") => Ok(Wanted::Canceled),
            Some(_) => Err(Problem::BadRequest("Status must be completed or canceled".into())),
            None => Err(Problem::BadRequest("Status is required".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_account_and_its_token_are_let_in() {
        let account = Account { sid: "AC1".into(), token: Secret::new("tea:pot") };
        let with = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("a header"));
            account.is_meant_by(&headers)
        };
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(with(&basic("AC1:tea:pot")));
        assert!(with(&basic("AC1:tea:pot").replace("Basic", "basic")));
        for wrong in ["AC1:tea", "AC1:", "AC2:tea:pot", ":", "", "AC1:tea:pot "] {
            assert!(!with(&basic(wrong)), "{wrong}");
        }
        assert!(!with("Bearer tea:pot"));
        assert!(!with("Basic %"));
        assert!(!account.is_meant_by(&HeaderMap::new()));
    }

    #[test]
    fn a_status_is_read_and_what_would_change_a_live_call_is_refused() {
        let of = |form: &str| Parameters::of_form(form.as_bytes()).and_then(|form| Wanted::of(&form));
        assert_eq!(of("Status=completed"), Ok(Wanted::Completed));
        assert_eq!(of("Status=canceled&StatusCallback=x"), Ok(Wanted::Canceled));
        for form in
            ["", "Status=", "Status=Completed", "Status=busy", "Status=completed&Twiml=%3CResponse/%3E", "Url=http://a"]
        {
            assert!(matches!(of(form), Err(Problem::BadRequest(_))), "{form}");
        }
    }
}
