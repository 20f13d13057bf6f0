//! The four call routes.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::body;
use crate::api::dialect::Context;
use crate::api::idempotency;
use crate::api::page::{Listed, Query, Window};
use crate::api::problem::Problem;
use crate::call::record::CallFilter;
use crate::call::{Call, Direction, HungUp, PlaceError, Placed};

use super::record::CallRecord;
use super::{Admin, Failure, Id, order, reading, status, tenant};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PlacedBody {
    ok: bool,
    call_id: String,
    tenant: String,
    whitelist_added: bool,
    whitelist_error: Option<String>,
    bridge_reply: String,
}

/// The engine's own words, which the document passes on as a string.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BridgeReply<'a> {
    ok: bool,
    call_id: &'a str,
    status: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HangUpBody {
    ok: bool,
    call_id: String,
    new_status: &'static str,
    actor: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    was_noop: bool,
}

pub(super) async fn place(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Failure> {
    let bytes = body::read(body, context.limits).await?;
    let fields = body::json_object(&bytes)?;
    let organization = tenant(&context.directory, &headers, &principal)?;
    let mut order = order::order(&fields, organization, &principal, |text| context.calls.is_extension(text))?;
    order.idempotency = idempotency::of(&headers, "codeb", &principal, &fields)?;
    let placed = context.calls.place(order).await?;
    let replayed = placed.replayed;
    let mut response = axum::Json(placed_body(placed)).into_response();
    if replayed {
        idempotency::mark_replayed(&mut response);
    }
    Ok(response)
}

pub(super) async fn list(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    uri: Uri,
) -> Result<axum::Json<Listed<CallRecord>>, Failure> {
    let query = Query::of(&uri)?;
    let window = Window::of(&query)?;
    let filter = CallFilter {
        organization: principal.organization,
        direction: Some(Direction::Outbound),
        statuses: status::filter(query.text("status"))?,
        ..CallFilter::default()
    };
    let page = reading(move || context.read_model.calls(&filter, window.offset, window.limit)).await?;
    let records = page.items.into_iter().map(CallRecord::of).collect();
    Ok(axum::Json(Listed::new(records, page.total, window)))
}

pub(super) async fn detail(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    Id(id): Id,
) -> Result<axum::Json<CallRecord>, Failure> {
    let call = find(&context, &principal.organization, &id)?;
    Ok(axum::Json(CallRecord::of(call)))
}

/// The body, if any, is left unread: the path says all.
pub(super) async fn hang_up(
    State(context): State<Arc<Context>>,
    Admin(principal): Admin,
    Id(id): Id,
) -> Result<axum::Json<HangUpBody>, Failure> {
    let call = find(&context, &principal.organization, &id)?;
    let hung_up = context.calls.hang_up(principal.organization, call.id, &principal.actor).await?;
    let hung_up = hung_up.ok_or_else(|| unknown(&id))?;
    // An ended call may have ended just now: its last word is read again.
    let last = if hung_up.noop { find(&context, &principal.organization, &id)? } else { call };
    Ok(axum::Json(hang_up_body(&hung_up, &last, principal.actor)))
}

/// An outbound call of the organization.
fn find(context: &Context, organization: &uuid::Uuid, id: &str) -> Result<Call, Failure> {
    let call = context.read_model.call_by_alias(*organization, id)?;
    call.filter(|call| call.direction == Direction::Outbound).ok_or_else(|| unknown(id))
}

fn unknown(id: &str) -> Failure {
    Failure(Problem::NotFound(format!("No call with id={id}")))
}

fn placed_body(placed: Placed) -> PlacedBody {
    let reply = BridgeReply { ok: true, call_id: &placed.call.alias, status: status::accepted(&placed.call) };
    PlacedBody {
        ok: true,
        // A struct of three plain members always has a JSON form.
        bridge_reply: serde_json::to_string(&reply).unwrap_or_default(),
        call_id: placed.call.alias.clone(),
        tenant: placed.call.tenant,
        whitelist_added: placed.whitelist_added,
        whitelist_error: placed.whitelist_error,
    }
}

fn hang_up_body(hung_up: &HungUp, call: &Call, actor: String) -> HangUpBody {
    let new_status = if hung_up.noop { status::word(call) } else { status::CANCELLED };
    HangUpBody { ok: true, call_id: call.alias.clone(), new_status, actor, was_noop: hung_up.noop }
}

impl From<PlaceError> for Problem {
    fn from(error: PlaceError) -> Self {
        let text = error.to_string();
        match error {
            PlaceError::NotConfigured => Problem::BridgeNotConfigured(text),
            PlaceError::Unavailable => Problem::BridgeUnreachable(text),
            PlaceError::KeyReused | PlaceError::NoTrunk => Problem::BadRequest(text),
            PlaceError::Refused { retry_after: Some(retry_after), .. } => Problem::QuotaUsed { text, retry_after },
            PlaceError::Refused { retry_after: None, .. } => Problem::NotDialled(text),
            PlaceError::Full => Problem::Overloaded(text),
            PlaceError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::record::tests::{at, ended, outbound};
    use super::*;
    use crate::call::CallStatus;

    #[test]
    fn an_accepted_order_has_the_documented_body() {
        let placed = Placed { call: outbound(), whitelist_added: true, whitelist_error: None, replayed: false };
        let mut shown = serde_json::to_value(placed_body(placed)).expect("JSON");
        let reply: Value = serde_json::from_str(shown["bridgeReply"].as_str().expect("a string")).expect("JSON inside");
        assert_eq!(reply, json!({"ok": true, "callId": "oac-2f9e1b7c3a48", "status": "dispatching"}));
        shown["bridgeReply"] = json!("{...}");
        let expected = json!({
            "ok": true,
            "callId": "oac-2f9e1b7c3a48",
            "tenant": "phone.codeb.io",
            "whitelistAdded": true,
            "whitelistError": null,
            "bridgeReply": "{...}"
        });
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_repeated_order_is_answered_like_the_first_time_whatever_became_of_the_call() {
        let reply = |call| {
            placed_body(Placed { call, whitelist_added: true, whitelist_error: None, replayed: true }).bridge_reply
        };
        assert_eq!(reply(ended()), reply(outbound()));
        let scheduled = Call { scheduled_for: Some(at("2026-06-05T08:00:00Z")), ..ended() };
        assert!(reply(scheduled).contains("\"scheduled\""));
        let in_the_past = Call { scheduled_for: Some(at("2020-01-01T08:00:00Z")), ..ended() };
        assert!(reply(in_the_past).contains("\"dispatching\""));
    }

    #[test]
    fn a_hang_up_has_the_documented_body() {
        let body = hang_up_body(&HungUp { status: CallStatus::Completed, noop: false }, &outbound(), "stefan".into());
        let expected = json!({"ok": true, "callId": "oac-2f9e1b7c3a48", "newStatus": "cancelled", "actor": "stefan"});
        assert_eq!(serde_json::to_value(body).expect("JSON"), expected);
    }

    #[test]
    fn hanging_up_an_ended_call_says_so_and_leaves_its_status() {
        let body = hang_up_body(&HungUp { status: CallStatus::Completed, noop: true }, &ended(), "stefan".into());
        let shown = serde_json::to_value(body).expect("JSON");
        assert_eq!(shown["ok"], true);
        assert_eq!(shown["wasNoop"], true);
        assert_eq!(shown["newStatus"], "ended-success");
    }

    #[test]
    fn refused_orders_have_the_documented_status() {
        let status = |error: PlaceError| Problem::from(error).status().as_u16();
        assert_eq!(status(PlaceError::NotConfigured), 503);
        assert_eq!(status(PlaceError::Unavailable), 502);
        assert_eq!(status(PlaceError::KeyReused), 400);
        assert_eq!(status(PlaceError::NoTrunk), 400);
        assert_eq!(status(PlaceError::Full), 503);
    }
}
