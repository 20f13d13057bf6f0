//! One call from the order to the verdict.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::gateway::{Gateway, HOST, USER};
use super::target::Target;
use super::terminal::{Terminal, Tint};
use super::verdict::{self, Expected};
use super::view::View;
use super::{Client, PROMPT, summary};
use crate::call::{Call, LiveEvent, PlaceCall};
use crate::clock::Clock;

const CALLS: &str = "/api.ashx/v1/calls";
/// From the order to the end of the call.
const LONGEST: Duration = Duration::from_secs(240);
/// How often the call is looked up over REST meanwhile.
const POLL: Duration = Duration::from_secs(1);
/// From the end of the call to its transcript.
const FILING: Duration = Duration::from_secs(15);

/// Places the call, shows it, and says whether it was what it should be.
pub(super) async fn hold(
    terminal: &mut Terminal,
    gateway: &Gateway,
    target: &Target,
    clock: &Clock,
) -> Result<(), String> {
    let mut client = Client::new(gateway.https_address(), HOST, gateway.app.certificate_pem())?;
    terminal.heading("The call");
    let origin = clock.utc();
    let mut view = View::new(origin);
    client.authorize(token(&client, gateway).await?);
    view.note(terminal, clock.utc(), "token", "from POST /oidc.ashx/token");
    let live = gateway.app.calls().watch();
    let id = order(&client, gateway, target).await?;
    let text = if target.number().is_some() { "placed by POST /api.ashx/v1/calls" } else { "placed by URI" };
    view.note(terminal, clock.utc(), "order", &format!("{id}, {text}"));
    let status = watch(terminal, &mut view, live, gateway, &client, &id).await?;
    terminal.status("");
    let call = record(gateway, &id)?;
    if status != "ended-success" {
        return Err(format!("the call ended as {status}: {}", reason(&call)));
    }
    let transcript = filed(&client, &id).await?;
    summary::print(terminal, gateway, &call, &transcript, &view.facts)?;
    judge(gateway, target, &call, &transcript, &view)?;
    terminal.line("");
    let good = terminal.tint(Tint::Good, "The call went as it should.");
    terminal.line(&good);
    Ok(())
}

async fn token(client: &Client, gateway: &Gateway) -> Result<String, String> {
    let fields = [
        ("grant_type", "password"),
        ("client_id", "codeb-admin"),
        ("username", USER),
        ("password", gateway.password.expose()),
        ("scope", "openid"),
    ];
    let body = client.post_form("/oidc.ashx/token", &fields).await?.ok("the token request")?;
    body["access_token"].as_str().map(str::to_owned).ok_or_else(|| "the token answer holds no token".into())
}

/// Over REST when the callee has a number; by the box's own handle when only a URI can name it.
async fn order(client: &Client, gateway: &Gateway, target: &Target) -> Result<String, String> {
    let Some(number) = target.number() else {
        let placed = gateway.app.calls().place(by_uri(gateway, target)).await.map_err(|error| error.to_string())?;
        return Ok(placed.call.alias);
    };
    let order = json!({
        "phone": number,
        "displayName": "Trunkline demo",
        "email": "demo@example.com",
        "systemPrompt": PROMPT,
        "apiKey": "local",
        "maxSeconds": 180,
    });
    let body = client.post_json(CALLS, &order).await?.ok("the order")?;
    body["callId"].as_str().map(str::to_owned).ok_or_else(|| "the answer to the order holds no callId".into())
}

fn by_uri(gateway: &Gateway, target: &Target) -> PlaceCall {
    let organization = gateway.app.directory().organization(HOST);
    PlaceCall {
        organization: organization.id,
        tenant: organization.host.clone(),
        requested_by: USER.to_owned(),
        phone: target.user.clone(),
        uri: Some(target.uri()),
        trunk: None,
        display_name: "Trunkline demo".to_owned(),
        email: None,
        prompt: PROMPT.to_owned(),
        engine_key: None,
        model: None,
        voice: organization.voice.clone(),
        language: organization.language.clone(),
        max_duration: Duration::from_secs(180),
        retries: 0,
        retry_delay: Duration::from_secs(60),
        scheduled_for: None,
        whitelist: true,
        idempotency: None,
    }
}

/// Shows what happens until REST says that the call has ended; returns that status.
async fn watch(
    terminal: &mut Terminal,
    view: &mut View,
    mut live: Receiver<LiveEvent>,
    gateway: &Gateway,
    client: &Client,
    id: &str,
) -> Result<String, String> {
    let internal = record(gateway, id)?.id;
    let mut poll = tokio::time::interval(POLL);
    let limit = tokio::time::sleep(LONGEST);
    tokio::pin!(limit);
    loop {
        tokio::select! {
            biased;
            event = live.recv() => match event {
                Ok(event) if event.call == internal => view.show(terminal, &event),
                // Another call, or too slow for all of it: the record is complete all the same.
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err("the gateway stopped during the call".into()),
            },
            _ = poll.tick() => {
                let body = client.get(&format!("{CALLS}/{id}")).await?.ok("looking up the call")?;
                let status = body["status"].as_str().unwrap_or("");
                if is_final(status) && live.is_empty() {
                    return Ok(status.to_owned());
                }
            }
            () = &mut limit => return Err(format!("the call did not end within {} s", LONGEST.as_secs())),
        }
    }
}

fn is_final(status: &str) -> bool {
    matches!(status, "ended-success" | "ended-failed-final" | "cancelled")
}

fn record(gateway: &Gateway, id: &str) -> Result<Call, String> {
    let organization = gateway.app.directory().organization(HOST).id;
    gateway
        .app
        .calls()
        .read_model()
        .call_by_alias(organization, id)
        .map_err(|error| error.to_string())?
        .ok_or_else(|| format!("the store holds no call {id}"))
}

fn reason(call: &Call) -> String {
    let detail = if call.error_detail.is_empty() { "no detail" } else { &call.error_detail };
    match call.sip_code {
        Some(code) => format!("{detail} (SIP {code})"),
        None => detail.to_owned(),
    }
}

/// The transcript is filed right after the end of the call.
async fn filed(client: &Client, id: &str) -> Result<Value, String> {
    let path = format!("/api.ashx/v1/transcripts/{id}");
    let waited = tokio::time::timeout(FILING, async {
        let mut again = tokio::time::interval(Duration::from_millis(250));
        loop {
            again.tick().await;
            let answer = client.get(&path).await?;
            if answer.status != 404 {
                return answer.ok("the transcript");
            }
        }
    });
    waited.await.unwrap_or_else(|_| Err(format!("there is no transcript {} s after the call", FILING.as_secs())))
}

fn judge(gateway: &Gateway, target: &Target, call: &Call, transcript: &Value, view: &View) -> Result<(), String> {
    let words = gateway.app.recognises_speech();
    let expected = if !target.is_local() {
        Expected { agent_turns: 1, caller_turns: 0, keys: 0, barge_in: false }
    } else if words {
        Expected { agent_turns: 2, caller_turns: 2, keys: 0, barge_in: true }
    } else {
        Expected { agent_turns: 2, caller_turns: 0, keys: 1, barge_in: false }
    };
    verdict::transcript(transcript, expected)?;
    verdict::live(&view.facts, expected)?;
    if target.is_local() || call.recording.is_some() {
        let file = summary::recording_file(gateway, call).ok_or("there is no recording of the call")?;
        verdict::recording(&file, words)?;
    }
    Ok(())
}
