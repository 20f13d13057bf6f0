//! The CodeB platform API against the whole box. The trunk is a port that never answers, so calls stay on their way
//! until they are hung up; what a conversation leaves behind is tested end to end elsewhere.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

use crate::client;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use trunkline::app::App;
use trunkline::clock::Clock;
use trunkline::config::{Config, Secret};
use trunkline::directory::Role;

use client::{Answer, Http};

const PASSWORD: &str = "correct-horse-battery";
const HOST: &str = "phone.example.com";
const CALLS: &str = "/api.ashx/v1/calls";
const KEYS: &str = "/api.ashx/v1/api-keys";

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

    async fn place(&self, changes: &Value) -> Answer {
        self.admin.post_json(CALLS, &order(changes)).await
    }

    /// Places a call that is far from due; its id.
    async fn scheduled(&self) -> String {
        let placed = self.place(&json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"})).await;
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

fn order(changes: &Value) -> Value {
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
    text(&grant(http, user, "openid").await["access_token"]).to_owned()
}

async fn grant(http: &Http, user: &str, scope: &str) -> Value {
    let form = [
        ("grant_type", "password"),
        ("client_id", "codeb-admin"),
        ("username", user),
        ("password", PASSWORD),
        ("scope", scope),
    ];
    let answer = http.post_form("/oidc.ashx/token", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Sends bytes as they are; the head of the answer.
async fn raw(gateway: &Gateway, bytes: &[u8]) -> String {
    let address = gateway.app.plain_address().expect("plain listener");
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The server may answer and close before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while !answer.windows(4).any(|end| end == b"\r\n\r\n")
            && let Ok(read @ 1..) = stream.read(&mut buffer).await
        {
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
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
        assert_eq!(answer.json()["endpoints"].as_array().expect("endpoints").len(), 10);
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
        ("GET", KEYS),
        ("POST", KEYS),
        ("DELETE", "/api.ashx/v1/api-keys/00000000-0000-0000-0000-000000000000"),
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
    let placed = gateway.place(&json!({})).await;
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

    let again = gateway.place(&json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"})).await.json();
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
    let place = async |key: &str, changes: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        gateway.admin.send("POST", CALLS, &headers, order(changes).to_string().into_bytes()).await
    };
    let later = json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"});
    let first = place("order-7", &later).await;
    let again = place("order-7", &later).await;
    assert_eq!((first.status, again.status), (200, 200));
    assert_eq!(first.json(), again.json());
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    assert_error(&place("order-7", &json!({"scheduleAtUtc": "2098-01-01T00:00:00Z"})).await, 400, "bad_request");
    assert_ne!(place("order-8", &later).await.json()["callId"], first.json()["callId"]);
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
        let answer = gateway.place(&changes).await;
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
    assert_error(&gateway.place(&json!({})).await, 503, "bridge_not_configured");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_as_good_as_a_token_and_its_name_is_in_the_record() {
    let gateway = Gateway::start().await;
    let (_, secret) = gateway.app.identity().mint_api_key("crm").await.expect("minted");
    let crm = gateway.http.with_bearer(secret.expose());
    let placed = crm.post_json(CALLS, &order(&json!({"scheduleAtUtc": "2099-01-01T00:00:00Z"}))).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn an_api_key_is_shown_once_listed_by_its_prefix_and_worth_nothing_once_revoked() {
    let gateway = Gateway::without_trunk().await;
    let made = gateway.admin.post_json(KEYS, &json!({"name": " crm ", "unknown": 1})).await;
    assert_eq!((made.status, made.header("cache-control")), (200, "no-store"), "{}", made.text());
    let made = made.json();
    let members: Vec<&String> = made.as_object().expect("object").keys().collect();
    assert_eq!(members.len(), 4, "{members:?}");
    let (id, key) = (text(&made["id"]), text(&made["key"]));
    let hex = key.strip_prefix("ak_").expect("prefix");
    assert!(hex.len() == 32 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{key}");
    assert_eq!(text(&made["name"]), "crm");
    assert!(text(&made["createdAtUtc"]).ends_with('Z'));

    let unused = gateway.admin.get(KEYS).await.json();
    let prefix = text(&unused["data"][0]["prefix"]).to_owned();
    assert!(key.starts_with(&prefix) && prefix.len() < 12, "{prefix}");
    let expected = json!({"data": [{"id": id, "name": "crm", "prefix": prefix, "createdAtUtc": made["createdAtUtc"],
        "lastUsedAtUtc": null}], "total": 1, "limit": 50, "offset": 0, "next": null});
    assert_eq!(unused, expected);

    let crm = gateway.http.with_bearer(key);
    assert_eq!(crm.get("/api.ashx/v1/numbers").await.status, 200);
    let used = async {
        while gateway.admin.get(KEYS).await.json()["data"][0]["lastUsedAtUtc"].is_null() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), used).await.expect("the use is noted");

    let path = format!("{KEYS}/{id}");
    let revoked = gateway.admin.send("DELETE", &path, &[], vec![]).await;
    assert_eq!((revoked.status, revoked.json()), (200, json!({"ok": true, "id": id})));
    assert_error(&crm.get("/api.ashx/v1/numbers").await, 401, "unauthorized");
    assert_error(&gateway.admin.send("DELETE", &path, &[], vec![]).await, 404, "not_found");
    assert_error(&gateway.admin.send("DELETE", &format!("{KEYS}/x"), &[], vec![]).await, 404, "not_found");
    assert_eq!(gateway.admin.get(KEYS).await.json()["total"], 0);
    let wrong_method = gateway.admin.send("PATCH", &path, &[], vec![]).await;
    assert_error(&wrong_method, 405, "method_not_allowed");
    assert_eq!(wrong_method.header("allow"), "DELETE");
}

#[tokio::test(flavor = "multi_thread")]
async fn api_keys_come_in_pages_newest_first_and_bad_names_are_refused() {
    let gateway = Gateway::without_trunk().await;
    for name in ["one", "two", "three"] {
        assert_eq!(gateway.admin.post_json(KEYS, &json!({"name": name})).await.status, 200);
    }
    let page = gateway.admin.get(&format!("{KEYS}?limit=2")).await.json();
    assert_eq!((text(&page["data"][0]["name"]), text(&page["data"][1]["name"])), ("three", "two"));
    assert_eq!((&page["total"], &page["next"]), (&json!(3), &json!(2)));
    let page = gateway.admin.get(&format!("{KEYS}?limit=2&offset=2")).await.json();
    assert_eq!((text(&page["data"][0]["name"]), &page["next"]), ("one", &Value::Null));
    let page = gateway.admin.get(&format!("{KEYS}?offset=18446744073709551615")).await.json();
    assert_eq!((&page["data"], &page["next"]), (&json!([]), &Value::Null));
    assert_error(&gateway.admin.get(&format!("{KEYS}?limit=0")).await, 400, "bad_request");
    for name in [json!(null), json!(""), json!("  "), json!(7), json!("a\r\nb"), json!("x".repeat(65))] {
        let answer = gateway.admin.post_json(KEYS, &json!({"name": name})).await;
        assert_error(&answer, 400, "bad_request");
        assert!(text(&answer.json()["error_description"]).starts_with("name "), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_access_token_or_a_key_opens_the_api_and_only_in_its_own_place() {
    let gateway = Gateway::without_trunk().await;
    let grant = grant(&gateway.http, "stefan", "openid offline_access").await;
    let (access, refresh) = (text(&grant["access_token"]), text(&grant["refresh_token"]));
    let cut = &access[..access.len() - 1];
    let upper = access.to_uppercase();
    for bearer in [text(&grant["id_token"]), refresh, cut, &upper, "ak_", "ak_00000000000000000000000000000000"] {
        let answer = gateway.http.with_bearer(bearer).get(CALLS).await;
        assert_error(&answer, 401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
    for (scheme, status) in [("bearer", 200), ("BEARER", 200), ("Basic", 401), ("", 401)] {
        let credential = format!("{scheme} {access}");
        let answer = gateway.http.send("GET", CALLS, &[("authorization", &credential)], vec![]).await;
        assert_eq!(answer.status, status, "{scheme}");
    }
    assert_eq!(gateway.http.get(&format!("{CALLS}?access_token={access}")).await.status, 401, "not in the query");
    for token in [access, text(&grant["id_token"])] {
        let form = [("grant_type", "refresh_token"), ("client_id", "codeb-admin"), ("refresh_token", token)];
        let answer = gateway.http.post_form("/oidc.ashx/token", &form).await;
        assert_error(&answer, 400, "invalid_grant");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_paths_methods_and_hosts_have_proper_answers() {
    let gateway = Gateway::start().await;
    for path in ["/api.ashx/v1/calls/", "/api.ashx//v1", "/api.ashx/v1/%63alls", "/api.ashx/v1/../v1", "/API.ashx/v1"] {
        assert_error(&gateway.admin.get(path).await, 404, "not_found");
    }
    for id in ["%00", "%0d%0aX-Evil:%201", "%F0%9F%98%80", "..%2f..%2fmaster.key", &"x".repeat(5000)] {
        for collection in ["calls", "transcripts"] {
            let answer = gateway.admin.get(&format!("/api.ashx/v1/{collection}/{id}")).await;
            assert_error(&answer, 404, "not_found");
            assert_eq!(answer.header("x-evil"), "");
        }
        assert_error(&gateway.admin.send("DELETE", &format!("{KEYS}/{id}"), &[], vec![]).await, 404, "not_found");
    }
    let head = gateway.admin.send("HEAD", CALLS, &[], vec![]).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    for method in ["OPTIONS", "TRACE", "PATCH", "PURGE"] {
        let answer = gateway.admin.send(method, CALLS, &[], vec![]).await;
        assert_error(&answer, 405, "method_not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), "", "no other site may read the API");
    }
    for host in ["phone.example.com", "PHONE.example.com:8443", "[::1]:80", "10.0.0.5", "evil.example", "a b"] {
        let answer = gateway.admin.send("GET", "/api.ashx/v1/numbers", &[("host", host)], vec![]).await;
        assert_eq!(answer.status, 200, "{host}");
        assert_eq!(answer.json()["data"]["tenant"], HOST, "{host}");
    }
    let table: [(&[u8], &str); 7] = [
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
        (b"GET http://evil.example/api.ashx/v1 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 200"),
        (b"GET /api.ashx/v1 HTTP/1.0\r\n\r\n", "HTTP/1.0 200"),
        (b"POST /api.ashx/v1/calls HTTP/1.1\r\nContent-Length: 99999999999999999999999\r\n\r\n", "HTTP/1.1 4"),
        (
            b"POST /oauth2/v1/token HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nZ\r\n",
            "HTTP/1.1 400",
        ),
        (b"GET /api.ashx/v1?\xff\x00 HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 400"),
    ];
    for (bytes, status) in table {
        let answer = raw(&gateway, bytes).await;
        assert!(answer.starts_with(status), "{}: {answer}", String::from_utf8_lossy(bytes));
    }
    let mut long = b"GET /api.ashx/v1 HTTP/1.1\r\nX: ".to_vec();
    long.resize(300_000, b'x');
    assert!(raw(&gateway, &long).await.starts_with("HTTP/1.1 431"));
    assert_eq!(gateway.http.get("/api.ashx/v1").await.status, 200);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_bodies_and_queries_are_refused_or_read_as_documented() {
    let gateway = Gateway::start().await;
    let place =
        async |kind: &str, body: Vec<u8>| gateway.admin.send("POST", CALLS, &[("content-type", kind)], body).await;
    let good = order(&json!({"scheduleAtUtc": "2099-01-01T00:00Z"})).to_string();
    assert_eq!(place("text/plain", good.clone().into_bytes()).await.status, 200, "whatever the type says");
    let twice = good.replacen('{', "{\"phone\":\"+19005550100\",", 1);
    assert_error(&place("application/json", twice.into_bytes()).await, 400, "bad_request");
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    assert_error(&place("application/json", deep.into_bytes()).await, 400, "bad_request");
    for (field, number) in [("maxSeconds", "1e999"), ("maxSeconds", "1e3"), ("retries", "18446744073709551616")] {
        let body = good.replacen('{', &format!("{{\"{field}\":{number},"), 1).replace("\"maxSeconds\":180", "\"y\":1");
        assert_error(&place("application/json", body.into_bytes()).await, 400, "bad_request");
    }
    let surrogate = good.replace("Reminder", "\\ud800");
    assert_error(&place("application/json", surrogate.into_bytes()).await, 400, "bad_request");
    let announced = b"POST /api.ashx/v1/calls HTTP/1.1\r\nHost: x\r\nContent-Length: 20971520\r\n\r\n";
    assert!(raw(&gateway, announced).await.starts_with("HTTP/1.1 413"), "before any of it is sent");
    let form = vec![b'x'; 20 << 10];
    let answer = gateway.http.send("POST", "/oauth2/v1/token", &[], form).await;
    assert_error(&answer, 413, "invalid_request");

    let total = async |path: &str| {
        let answer = gateway.admin.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.json()["total"].as_u64().expect("total")
    };
    assert_eq!(total("/api.ashx/v1/calls?status=in-flight,%20scheduled%20&x=y").await, 1);
    assert_eq!(total("/api.ashx/v1/calls?limit=501&offset=18446744073709551615").await, 1);
    for since in
        ["2026-06-04", "2026-06-04T10:00Z", "2026-06-04T10:00:00.123456Z", "20260604T100000Z", "2026-06-04t10:00:00z"]
    {
        total(&format!("/api.ashx/v1/transcripts?since={since}")).await;
    }
    for query in ["since=2026-13-01", "since=1780000000", "since=2026-06-04T25:00:00Z", "limit=%2B5", "limit=0x10"] {
        assert_error(&gateway.admin.get(&format!("/api.ashx/v1/transcripts?{query}")).await, 400, "bad_request");
    }
    total("/api.ashx/v1/transcripts?q=%ff%00%F0%9F").await;
    gateway.stop().await;
}
