//! The CodeB platform API against the whole box. The trunk is a port that never answers, so calls stay on their way
//! until they are hung up; what a conversation leaves behind is tested end to end elsewhere.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use trunkline::app::App;
use trunkline::clock::Clock;
use trunkline::config::{Config, Secret};
use trunkline::directory::Role;

#[path = "support/api.rs"]
mod client;
use client::{Answer, Http};

const PASSWORD: &str = "correct-horse-battery";
const HOST: &str = "phone.example.com";
const CALLS: &str = "/api.ashx/v1/calls";

/// A running box with an admin, and a client of his.
struct Gateway {
    app: App,
    http: Http,
    admin: Http,
    /// Keeps the port of the silent trunk taken.
    _trunk: UdpSocket,
    folder: tempfile::TempDir,
}

impl Gateway {
    async fn start() -> Gateway {
        let trunk = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = trunk.local_addr().expect("address").port();
        let peer = format!("[[trunk]]\nname = \"silent\"\nhost = \"127.0.0.1:{port}\"\n");
        Gateway::open(tempfile::tempdir().expect("folder"), trunk, &peer).await
    }

    async fn without_trunk() -> Gateway {
        let unused = UdpSocket::bind("127.0.0.1:0").expect("a port");
        Gateway::open(tempfile::tempdir().expect("folder"), unused, "").await
    }

    async fn open(folder: tempfile::TempDir, trunk: UdpSocket, peer: &str) -> Gateway {
        let app = App::start(config(folder.path(), peer), Clock::system()).await.expect("the box starts");
        app.identity().create_user("stefan", &Secret::new(PASSWORD), Role::Admin).await.expect("admin");
        let http = Http::plain(app.plain_address().expect("plain listener"));
        let admin = http.with_bearer(&token(&http, "stefan").await);
        Gateway { app, http, admin, _trunk: trunk, folder }
    }

    async fn stop(self) -> tempfile::TempDir {
        self.app.stop(Duration::ZERO, std::future::pending()).await;
        self.folder
    }

    async fn place(&self, changes: Value) -> Answer {
        self.admin.post_json(CALLS, &order(changes)).await
    }

    /// Places a call that is far from due; its id.
    async fn scheduled(&self) -> String {
        let placed = self.place(json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"})).await;
        assert_eq!(placed.status, 200, "{}", placed.text());
        text(&placed.json()["callId"]).to_owned()
    }
}

fn config(state: &Path, peer: &str) -> Config {
    let text = format!(
        r#"
        [organization]
        host = "{HOST}"
        [state]
        directory = "{}"
        [http]
        listen = "127.0.0.1:0"
        plain_listen = "127.0.0.1:0"
        requests_per_minute = 100000
        [sip]
        listen = "127.0.0.1:0"
        [media]
        threads = 1
        [[number]]
        name = "codebdemo"
        number = "1234"
        system_prompt = "reminder"
        visibility = "public"
        max_duration_seconds = 3500
        {peer}
        "#,
        state.display()
    );
    toml::from_str(&text).expect("configuration")
}

fn order(changes: Value) -> Value {
    let mut order = json!({
        "phone": "+4915157610183",
        "displayName": "Reminder",
        "email": "ops@example.com",
        "systemPrompt": "You are calling Stefan to remind him about his dental appointment tomorrow at 14:00.",
        "apiKey": "local",
        "voice": "Aoede",
        "language": "en-US",
        "maxSeconds": 180
    });
    for (name, value) in changes.as_object().expect("object") {
        order[name] = value.clone();
    }
    order
}

async fn token(http: &Http, user: &str) -> String {
    let form = [
        ("grant_type", "password"),
        ("client_id", "codeb-admin"),
        ("username", user),
        ("password", PASSWORD),
        ("scope", "openid"),
    ];
    let answer = http.post_form("/oidc.ashx/token", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    text(&answer.json()["access_token"]).to_owned()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}"))
}

fn assert_error(answer: &Answer, status: u16, error: &str) {
    assert_eq!((answer.status, text(&answer.json()["error"])), (status, error), "{}", answer.text());
    assert!(!text(&answer.json()["error_description"]).is_empty());
    assert_eq!(answer.header("cache-control"), "no-store");
}

#[tokio::test(flavor = "multi_thread")]
async fn describes_itself_without_a_token() {
    let gateway = Gateway::without_trunk().await;
    for path in ["/api.ashx/v1", "/api.ashx/v1/"] {
        let answer = gateway.http.get(path).await;
        assert_eq!((answer.status, answer.header("cache-control")), (200, "no-store"));
        assert_eq!(answer.json()["endpoints"].as_array().expect("endpoints").len(), 7);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_else_needs_an_admin() {
    let gateway = Gateway::without_trunk().await;
    gateway.app.identity().create_user("anna", &Secret::new(PASSWORD), Role::Member).await.expect("member");
    let member = gateway.http.with_bearer(&token(&gateway.http, "anna").await);
    let forged = gateway.http.with_bearer("eyJhbGciOiJub25lIn0.eyJyb2xlIjoiYWRtaW4ifQ.");
    let routes = [
        ("POST", CALLS),
        ("GET", CALLS),
        ("GET", "/api.ashx/v1/calls/oac-000000000000"),
        ("POST", "/api.ashx/v1/calls/oac-000000000000/hangup"),
        ("GET", "/api.ashx/v1/numbers"),
        ("GET", "/api.ashx/v1/transcripts"),
        ("GET", "/api.ashx/v1/transcripts/oac-000000000000"),
    ];
    for (method, path) in routes {
        let missing = gateway.http.send(method, path, &[], vec![]).await;
        assert_error(&missing, 401, "unauthorized");
        assert_eq!(missing.header("www-authenticate"), "Bearer");
        let bad = forged.send(method, path, &[], vec![]).await;
        assert_error(&bad, 401, "unauthorized");
        assert_eq!(bad.header("www-authenticate"), "Bearer error=\"invalid_token\"");
        assert_error(&member.send(method, path, &[], vec![]).await, 403, "forbidden");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_is_placed_seen_hung_up_and_hung_up_again_in_vain() {
    let gateway = Gateway::start().await;
    let placed = gateway.place(json!({})).await;
    assert_eq!(placed.status, 200, "{}", placed.text());
    let body = placed.json();
    let id = text(&body["callId"]).to_owned();
    let hex = id.strip_prefix("oac-").expect("prefix");
    assert!(hex.len() == 12 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    assert_eq!((&body["ok"], text(&body["tenant"])), (&json!(true), HOST));
    assert_eq!((&body["whitelistAdded"], &body["whitelistError"]), (&json!(true), &Value::Null));
    let reply: Value = serde_json::from_str(text(&body["bridgeReply"])).expect("JSON in a string");
    assert_eq!(reply, json!({"ok": true, "callId": id, "status": "dispatching"}));

    let record = gateway.admin.get(&format!("{CALLS}/{id}")).await.json();
    assert_eq!((text(&record["status"]), text(&record["requestedBy"])), ("dispatching", "stefan"));
    assert_eq!((text(&record["phone"]), text(&record["displayName"])), ("+4915157610183", "Reminder"));
    assert!(record["endedAtUtc"].is_null() && record["answeredAtUtc"].is_null());
    assert!(record.get("apiKey").is_none() && record.get("systemPrompt").is_none());

    let hangup = format!("{CALLS}/{id}/hangup");
    let first = gateway.admin.send("POST", &hangup, &[], vec![]).await;
    assert_eq!(first.json(), json!({"ok": true, "callId": id, "newStatus": "cancelled", "actor": "stefan"}));
    let second = gateway.admin.post_json(&hangup, &json!({"any": "body"})).await;
    let expected = json!({"ok": true, "callId": id, "newStatus": "cancelled", "actor": "stefan", "wasNoop": true});
    assert_eq!((second.status, second.json()), (200, expected));
    let record = gateway.admin.get(&format!("{CALLS}/{id}")).await.json();
    assert_eq!((text(&record["status"]), &record["durationSec"]), ("cancelled", &json!(0)));
    assert!(record["endedAtUtc"].is_string());

    let again = gateway.place(json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"})).await.json();
    assert_eq!((&again["whitelistAdded"], &again["whitelistError"]), (&json!(false), &Value::Null));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_by_status_and_come_in_pages_newest_first() {
    let gateway = Gateway::start().await;
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.push(gateway.scheduled().await);
    }
    let cancelled = ids.pop().expect("five");
    assert_eq!(gateway.admin.send("POST", &format!("{CALLS}/{cancelled}/hangup"), &[], vec![]).await.status, 200);
    ids.reverse();
    let list = async |query: &str| gateway.admin.get(&format!("{CALLS}?{query}")).await.json();
    let of = |page: &Value| -> Vec<String> {
        page["data"].as_array().expect("data").iter().map(|call| text(&call["callId"]).to_owned()).collect()
    };
    let first = list("status=scheduled&limit=3").await;
    assert_eq!(of(&first), ids[..3]);
    assert_eq!(
        (&first["total"], &first["limit"], &first["offset"], &first["next"]),
        (&json!(4), &json!(3), &json!(0), &json!(3))
    );
    let second = list("status=scheduled&limit=3&offset=3").await;
    assert_eq!((of(&second), &second["next"]), (ids[3..].to_vec(), &Value::Null));
    assert_eq!(of(&list("status=cancelled").await), [cancelled]);
    assert_eq!(list("status=cancelled,scheduled").await["total"], 5);
    assert_eq!(list("").await["total"], 5);
    assert_eq!(list("status=in-flight,ended-success").await["total"], 0);
    assert_eq!(list("limit=9999").await["limit"], 500);
    for query in ["limit=0", "limit=x", "offset=-1", "status=dialing"] {
        assert_error(&gateway.admin.get(&format!("{CALLS}?{query}")).await, 400, "bad_request");
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_idempotency_key_replays_the_first_answer() {
    let gateway = Gateway::start().await;
    let place = async |key: &str, changes: Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        gateway.admin.send("POST", CALLS, &headers, order(changes).to_string().into_bytes()).await
    };
    let later = json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"});
    let first = place("order-7", later.clone()).await;
    let again = place("order-7", later.clone()).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json(), again.json());
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    assert_error(&place("order-7", json!({"scheduleAtUtc": "2098-01-01T00:00:00Z"})).await, 400, "bad_request");
    assert_ne!(place("order-8", later).await.json()["callId"], first.json()["callId"]);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_accepted_order_outlives_a_restart() {
    let gateway = Gateway::start().await;
    let id = gateway.scheduled().await;
    let bearer = token(&gateway.http, "stefan").await;
    let trunk = gateway._trunk.try_clone().expect("clone");
    let folder = gateway.stop().await;
    let peer = format!("[[trunk]]\nname = \"silent\"\nhost = \"{}\"\n", trunk.local_addr().expect("address"));
    let app = App::start(config(folder.path(), &peer), Clock::system()).await.expect("starts again");
    let http = Http::plain(app.plain_address().expect("plain listener")).with_bearer(&bearer);
    let record = http.get(&format!("{CALLS}/{id}")).await;
    assert_eq!(record.status, 200, "token and call are still good: {}", record.text());
    assert_eq!(text(&record.json()["status"]), "scheduled");
    app.stop(Duration::ZERO, std::future::pending()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_naming_the_field_and_leave_no_call() {
    let gateway = Gateway::start().await;
    let table = [
        (json!({"phone": "0151"}), "phone"),
        (json!({"phone": null}), "phone"),
        (json!({"email": "nobody"}), "email"),
        (json!({"displayName": "x\r\nContact: <sip:evil>"}), "displayName"),
        (json!({"maxSeconds": 9}), "maxSeconds"),
        (json!({"retries": "3"}), "retries"),
        (json!({"scheduleAtUtc": "soon"}), "scheduleAtUtc"),
        (json!({"apiKey": ""}), "apiKey"),
    ];
    for (changes, field) in table {
        let answer = gateway.place(changes).await;
        assert_error(&answer, 400, "bad_request");
        assert!(text(&answer.json()["error_description"]).starts_with(field), "{}", answer.text());
    }
    for body in [&b""[..], b"{", b"[]", b"\xff"] {
        assert_error(&gateway.admin.send("POST", CALLS, &[], body.to_vec()).await, 400, "bad_request");
    }
    assert_eq!(gateway.admin.get(CALLS).await.json()["total"], 0);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_ids_routes_and_methods_have_their_documented_answers() {
    let gateway = Gateway::without_trunk().await;
    let table = [
        ("/api.ashx/v1/calls/oac-000000000000", "No call with id=oac-000000000000"),
        ("/api.ashx/v1/transcripts/oac-000000000000", "No transcript for callId=oac-000000000000"),
        ("/api.ashx/v1/transcripts/..%2F..%2Fetc%2Fpasswd", "No transcript for callId=../../etc/passwd"),
    ];
    for (path, description) in table {
        let answer = gateway.admin.get(path).await;
        assert_error(&answer, 404, "not_found");
        assert_eq!(text(&answer.json()["error_description"]), description);
    }
    let hangup = gateway.admin.send("POST", "/api.ashx/v1/calls/vnum0000000000/hangup", &[], vec![]).await;
    assert_error(&hangup, 404, "not_found");
    assert_error(&gateway.admin.get("/api.ashx/v1/campaigns").await, 404, "not_found");
    assert_error(&gateway.admin.get("/api.ashx/v1/calls/%ff").await, 404, "not_found");
    for (method, path, allow) in [
        ("DELETE", CALLS, "POST,GET,HEAD"),
        ("GET", "/api.ashx/v1/calls/oac-1/hangup", "POST"),
        ("POST", "/api.ashx/v1/numbers", "GET,HEAD"),
        ("PUT", "/api.ashx/v1", "GET,HEAD"),
    ] {
        let answer = gateway.admin.send(method, path, &[], vec![]).await;
        assert_error(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("allow"), allow, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn numbers_are_the_configured_ones() {
    let gateway = Gateway::without_trunk().await;
    let expected = json!({"data": {"tenant": HOST, "virtualNumbers": [{
        "name": "codebdemo", "number": "1234", "mode": "live-voice-ai", "voice": "Aoede", "language": "en-US",
        "saveTranscripts": true, "maxDurationSec": 3500, "visibility": "public",
        "systemPrompt": "reminder", "route": null, "recordCalls": true
    }]}});
    let answer = gateway.admin.get("/api.ashx/v1/numbers").await;
    assert_eq!((answer.status, answer.json()), (200, expected));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_transcript_list_is_a_page_and_its_filters_are_checked() {
    let gateway = Gateway::without_trunk().await;
    let page =
        gateway.admin.get("/api.ashx/v1/transcripts?source=outbound-ai&limit=10&q=x&since=2026-06-04T00:00:00Z").await;
    assert_eq!(page.json(), json!({"data": [], "total": 0, "limit": 10, "offset": 0, "next": null}));
    for query in ["source=office-tab", "since=yesterday", "limit=0"] {
        assert_error(&gateway.admin.get(&format!("/api.ashx/v1/transcripts?{query}")).await, 400, "bad_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_trunk_an_order_is_503() {
    let gateway = Gateway::without_trunk().await;
    assert_error(&gateway.place(json!({})).await, 503, "bridge_not_configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_as_good_as_a_token_and_its_name_is_in_the_record() {
    let gateway = Gateway::start().await;
    let (_, secret) = gateway.app.identity().mint_api_key("crm").await.expect("minted");
    let crm = gateway.http.with_bearer(secret.expose());
    let placed = crm.post_json(CALLS, &order(json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"}))).await;
    assert_eq!(placed.status, 200, "{}", placed.text());
    let id = placed.json();
    let record = crm.get(&format!("{CALLS}/{}", text(&id["callId"]))).await.json();
    assert_eq!(text(&record["requestedBy"]), "crm");
    assert_eq!(text(&record["scheduledForUtc"]), "2099-01-01T00:00:00.000Z");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn https_shows_a_certificate_that_can_be_pinned() {
    let gateway = Gateway::without_trunk().await;
    let https = Http::https(gateway.app.https_address(), gateway.app.certificate_pem());
    assert_eq!(https.get("/api.ashx/v1").await.status, 200);
    let bearer = token(&https, "stefan").await;
    assert_eq!(https.with_bearer(&bearer).get("/api.ashx/v1/numbers").await.status, 200);
}
