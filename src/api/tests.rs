//! The server on real sockets with a real store and identity, without calls.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, UtcTime};
use crate::config::{Config, Secret};
use crate::directory::{Directory, Role};
use crate::identity::{ADMIN_CLIENT, Identity, RefreshGrant};
use crate::ops::health::Health;
use crate::store::{OpenOptions, Store};

use super::body::BodyLimits;
use super::connection::{Door, Slots};
use super::layers::Surroundings;
use super::limit::RequestLimit;
use super::{admin, health, oidc, server, tls};

#[path = "../../tests/support/api.rs"]
mod client;
use client::{Answer, Http};

const PASSWORD: &str = "correct-horse-battery";

/// A box without calls: health, provider, claim, and two routes that misbehave.
struct Box {
    clock: Clock,
    identity: Identity,
    store: Store,
    plain: SocketAddr,
    https: SocketAddr,
    certificate: String,
    drain: CancellationToken,
    tasks: TaskTracker,
    /// Told when a request has reached the slow route.
    slow: Arc<Notify>,
    folder: tempfile::TempDir,
}

impl Box {
    async fn start() -> Box {
        Box::with_limit(100_000).await
    }

    async fn with_limit(per_minute: u32) -> Box {
        let folder = tempfile::tempdir().expect("folder");
        let clock = Clock::manual(UtcTime::parse("2026-06-04T17:55:12Z").expect("time"));
        let config = config(folder.path());
        let options = OpenOptions { cache_bytes: 1 << 20 };
        let store = Store::open(folder.path(), options, clock.clone()).expect("store");
        let directory = Directory::open(store.clone(), &config).await.expect("directory");
        let identity = Identity::open(store.clone(), directory, clock.clone()).await.expect("identity");
        let limits = BodyLimits { bytes: 10_000, time: Duration::from_secs(10) };
        let surroundings = Surroundings {
            clock: clock.clone(),
            identity: identity.clone(),
            requests: RequestLimit::new(per_minute, clock.clone()),
            limits,
            deadline: Duration::from_millis(500),
        };
        let mut probes = Health::default();
        probes.add("store", || async { Ok(()) });
        probes.add("sip", || async { Err("trunk pbx is silent".to_owned()) });
        let checks = health::Checks::new(Arc::new(probes), Arc::new(|| "up 1\n".to_owned()), clock.clone());
        let base_url = "https://phone.example.com".to_owned();
        let slow = Arc::new(Notify::new());
        let reached = slow.clone();
        let routes = health::routes(checks)
            .merge(oidc::routes(oidc::Provider { identity: identity.clone(), limits, base_url }))
            .merge(admin::routes(admin::Desk { identity: identity.clone(), limits }))
            .merge(Router::new().route("/api.ashx/boom", get(boom)).route(
                "/api.ashx/slow",
                get(async move || {
                    reached.notify_one();
                    std::future::pending::<()>().await;
                }),
            ));
        let (drain, tasks) = (CancellationToken::new(), TaskTracker::new());
        let door = Door {
            router: server::surrounded(routes, Arc::new(surroundings)),
            slots: Slots::new(64, 8),
            drain: drain.clone(),
            cut: CancellationToken::new(),
            tasks: tasks.clone(),
        };
        let tls = tls::load(&config, &clock).expect("certificate");
        let (plain, https) = (listener().await, listener().await);
        let addresses = (plain.local_addr().expect("address"), https.local_addr().expect("address"));
        tasks.spawn(door.clone().accept(plain, None));
        tasks.spawn(door.accept(https, Some(tls.config)));
        Box {
            clock,
            identity,
            store,
            plain: addresses.0,
            https: addresses.1,
            certificate: tls.certificate_pem,
            drain,
            tasks,
            slow,
            folder,
        }
    }

    async fn with_admin() -> Box {
        let running = Box::start().await;
        running.identity.create_user("stefan", &Secret::new(PASSWORD), Role::Admin).await.expect("admin");
        running
    }

    fn http(&self) -> Http {
        Http::plain(self.plain)
    }

    async fn sign_in(&self, password: &str, scope: &str) -> Answer {
        sign_in(&self.http(), "stefan", password, scope).await
    }

    async fn refresh(&self, token: &str) -> Answer {
        let form = [("grant_type", "refresh_token"), ("client_id", "codeb-admin"), ("refresh_token", token)];
        self.http().post_form("/oidc.ashx/token", &form).await
    }

    async fn bearer_works(&self, token: &str) -> bool {
        self.http().with_bearer(token).get("/oauth2/v1/userinfo").await.status == 200
    }
}

fn config(folder: &std::path::Path) -> Config {
    let mut config = Config::default();
    config.organization.host = "phone.example.com".into();
    config.state.directory = folder.to_owned();
    config
}

async fn listener() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.expect("a port")
}

async fn boom() {
    panic!("a bug, on purpose")
}

async fn sign_in(http: &Http, user: &str, password: &str, scope: &str) -> Answer {
    let form = [
        ("grant_type", "password"),
        ("client_id", "codeb-admin"),
        ("username", user),
        ("password", password),
        ("scope", scope),
    ];
    http.post_form("/oidc.ashx/token", &form).await
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no string: {value}"))
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}

#[tokio::test]
async fn the_password_grant_of_the_document_yields_an_admin_token() {
    let running = Box::with_admin().await;
    let answer = running.sign_in(PASSWORD, "openid").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("cache-control"), "no-store");
    let body = answer.json();
    assert_eq!((text(&body["token_type"]), text(&body["scope"])), ("Bearer", "openid"));
    assert_eq!(body["expires_in"], 3600);
    assert!(body.get("refresh_token").is_none(), "only with offline_access");
    assert!(body["id_token"].is_string());
    let claims = claims(text(&body["access_token"]));
    assert_eq!(text(&claims["iss"]), "https://phone.example.com");
    assert_eq!(text(&claims["role"]), "admin");
    let principal = running.identity.authenticate(body["access_token"].as_str()).expect("good");
    assert_eq!((principal.actor.as_str(), principal.admin), ("stefan", true));
}

#[tokio::test]
async fn a_refresh_token_rotates_and_its_reuse_revokes_the_family() {
    let running = Box::with_admin().await;
    let first = running.sign_in(PASSWORD, "openid offline_access").await.json();
    let first = text(&first["refresh_token"]).to_owned();
    let answer = running.refresh(&first).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = text(&answer.json()["refresh_token"]).to_owned();
    assert_ne!(first, second);
    assert!(running.bearer_works(text(&answer.json()["access_token"])).await);
    let reused = running.refresh(&first).await;
    assert_eq!((reused.status, text(&reused.json()["error"])), (400, "invalid_grant"));
    assert_eq!(running.refresh(&second).await.status, 400, "the family is gone");
}

#[tokio::test]
async fn tokens_survive_a_restart_and_no_secret_is_in_the_store_as_such() {
    let running = Box::with_admin().await;
    let token = text(&running.sign_in(PASSWORD, "offline_access").await.json()["refresh_token"]).to_owned();
    running.store.close().await;
    let folder = running.folder.path();
    for file in std::fs::read_dir(folder).expect("folder") {
        let bytes = std::fs::read(file.expect("file").path()).expect("read");
        for secret in [&token, PASSWORD] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()));
        }
    }
    let store = Store::open(folder, OpenOptions { cache_bytes: 1 << 20 }, running.clock.clone()).expect("opens again");
    let directory = Directory::open(store.clone(), &config(folder)).await.expect("directory");
    let identity = Identity::open(store, directory, running.clock.clone()).await.expect("identity");
    assert_eq!(identity.jwks(), running.identity.jwks(), "the signing key is the same");
    let ask = RefreshGrant { client: ADMIN_CLIENT, token: &token, scope: None };
    let grant = identity.grant_refresh(ask).await.expect("still good");
    assert!(identity.authenticate(Some(&grant.access_token)).expect("good").admin);
}

#[tokio::test]
async fn refusals_of_the_token_endpoint_are_those_of_rfc_6749() {
    let running = Box::with_admin().await;
    let good = ("username", "stefan");
    let table: [(&[(&str, &str)], u16, &str); 8] = [
        (&[], 400, "invalid_request"),
        (&[("grant_type", "authorization_code")], 400, "unsupported_grant_type"),
        (&[("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")], 400, "unsupported_grant_type"),
        (&[("grant_type", "password"), ("client_id", "codeb-admin"), good], 400, "invalid_request"),
        (&[("grant_type", "password"), ("client_id", "other"), good, ("password", PASSWORD)], 401, "invalid_client"),
        (
            &[
                ("grant_type", "password"),
                ("client_id", "codeb-admin"),
                good,
                ("password", PASSWORD),
                ("scope", "root"),
            ],
            400,
            "invalid_scope",
        ),
        (
            &[("grant_type", "password"), ("client_id", "codeb-admin"), good, ("password", "wrong")],
            400,
            "invalid_grant",
        ),
        (
            &[("grant_type", "refresh_token"), ("client_id", "codeb-admin"), ("refresh_token", "rt_x")],
            400,
            "invalid_grant",
        ),
    ];
    for (form, status, error) in table {
        let answer = running.http().post_form("/oauth2/v1/token", form).await;
        assert_eq!((answer.status, text(&answer.json()["error"])), (status, error), "{form:?}");
        assert_eq!(answer.header("cache-control"), "no-store");
    }
    let answer = running.http().get("/oauth2/v1/token").await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));
}

#[tokio::test]
async fn an_unknown_user_and_a_wrong_password_look_the_same() {
    let running = Box::with_admin().await;
    let wrong = running.sign_in("not-the-password", "openid").await;
    let unknown = sign_in(&running.http(), "nobody", "not-the-password", "openid").await;
    assert_eq!((wrong.status, wrong.json()), (unknown.status, unknown.json()));
}

#[tokio::test]
async fn the_eleventh_failure_is_told_to_slow_down_until_the_minute_is_over() {
    let running = Box::with_admin().await;
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 200, "the address is known from now on");
    for attempt in 1..=10 {
        assert_eq!(running.sign_in("wrong-password", "openid").await.status, 400, "attempt {attempt}");
    }
    let refused = running.sign_in(PASSWORD, "openid").await;
    assert_eq!((refused.status, text(&refused.json()["error"])), (429, "slow_down"));
    assert_eq!(refused.header("retry-after"), "60");
    running.clock.advance(Duration::from_secs(60));
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 200);
}

#[tokio::test]
async fn a_stranger_is_delayed_and_a_known_address_is_not() {
    let running = Box::with_admin().await;
    for _ in 0..3 {
        assert_eq!(running.sign_in("wrong-password", "openid").await.status, 400);
    }
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 429, "never signed in from here");
    running.clock.advance(Duration::from_secs(1));
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 200);
    for _ in 0..5 {
        assert_eq!(running.sign_in("wrong-password", "openid").await.status, 400);
    }
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 200, "signed in from here before");
}

#[tokio::test]
async fn tokens_end_with_their_hour_their_user_and_their_password() {
    let running = Box::with_admin().await;
    let token = text(&running.sign_in(PASSWORD, "openid").await.json()["access_token"]).to_owned();
    assert!(running.bearer_works(&token).await);
    running.clock.advance(Duration::from_secs(3600));
    let expired = running.http().with_bearer(&token).get("/oauth2/v1/userinfo").await;
    assert_eq!(expired.status, 401);
    assert_eq!(expired.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    let body = running.sign_in(PASSWORD, "openid offline_access").await.json();
    running.clock.advance(Duration::from_secs(2));
    running.identity.create_user("Stefan", &Secret::new("another-password"), Role::Admin).await.expect("replaced");
    assert!(!running.bearer_works(text(&body["access_token"])).await, "issued under the old password");
    assert_eq!(running.refresh(text(&body["refresh_token"])).await.status, 400);
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 400);
    assert_eq!(running.sign_in("another-password", "openid").await.status, 200);
}

#[tokio::test]
async fn a_member_is_no_admin_and_a_demoted_admin_loses_it_at_once() {
    let running = Box::with_admin().await;
    let token = text(&running.sign_in(PASSWORD, "openid").await.json()["access_token"]).to_owned();
    // In the same second, so that the token itself stays good.
    running.identity.create_user("stefan", &Secret::new(PASSWORD), Role::Member).await.expect("demoted");
    assert!(!running.identity.authenticate(Some(&token)).expect("still signed in").admin);
    let metrics = Http::https(running.https, &running.certificate).with_bearer(&token).get("/metrics").await;
    assert_eq!(metrics.status, 403);
}

#[tokio::test]
async fn the_key_rotates_with_overlap_and_the_store_keeps_it_sealed() {
    let running = Box::with_admin().await;
    let keys =
        async || running.http().get("/.well-known/jwks.json").await.json()["keys"].as_array().expect("keys").len();
    let token = text(&running.sign_in(PASSWORD, "openid").await.json()["access_token"]).to_owned();
    assert_eq!(keys().await, 1);
    running.identity.rotate_key().await.expect("rotated");
    assert_eq!(keys().await, 2);
    assert!(running.bearer_works(&token).await, "the key before still verifies");
    running.identity.rotate_key().await.expect("rotated");
    assert_eq!(keys().await, 2);
    assert!(!running.bearer_works(&token).await);
}

#[tokio::test]
async fn revoked_tokens_are_dead_and_introspection_says_so() {
    let running = Box::with_admin().await;
    let body = running.sign_in(PASSWORD, "openid email offline_access").await.json();
    let (access, refresh) = (text(&body["access_token"]), text(&body["refresh_token"]));
    let introspect = async |token: &str| {
        running
            .http()
            .post_form("/oidc.ashx/introspect", &[("client_id", "codeb-admin"), ("token", token)])
            .await
            .json()
    };
    let shown = introspect(access).await;
    assert_eq!(shown["active"], true);
    assert_eq!((text(&shown["sub"]), text(&shown["scope"])), ("stefan", "openid email offline_access"));
    assert_eq!(text(&introspect(refresh).await["token_type"]), "refresh_token");
    for token in [access, refresh, "never-seen"] {
        let form = [("client_id", "codeb-admin"), ("token", token)];
        assert_eq!(running.http().post_form("/oauth2/v1/revoke", &form).await.status, 200);
        assert_eq!(introspect(token).await, json!({"active": false}));
    }
    assert!(!running.bearer_works(access).await);
    assert_eq!(running.refresh(refresh).await.status, 400);
    let stranger = running.http().post_form("/oidc.ashx/introspect", &[("token", access)]).await;
    assert_eq!(stranger.status, 401);
}

#[tokio::test]
async fn userinfo_shows_claims_by_scope() {
    let running = Box::with_admin().await;
    let info = async |scope: &str| {
        let token = text(&running.sign_in(PASSWORD, scope).await.json()["access_token"]).to_owned();
        running.http().with_bearer(&token).get("/oidc.ashx?action=userinfo").await
    };
    assert_eq!(info("openid").await.json(), json!({"sub": "stefan", "role": "admin"}));
    let wide = info("openid profile groups").await.json();
    assert_eq!((text(&wide["preferred_username"]), &wide["groups"]), ("stefan", &json!(["admin"])));
    assert_eq!(info("profile").await.status, 403, "openid was not asked for");
    let missing = running.http().get("/oauth2/v1/userinfo").await;
    assert_eq!((missing.status, missing.header("www-authenticate")), (401, "Bearer"));
}

#[tokio::test]
async fn every_action_answers_in_its_three_spellings_and_what_is_not_served_is_404() {
    let running = Box::start().await;
    for path in ["/oidc.ashx/jwks", "/oidc.ashx?action=jwks", "/oauth2/v1/jwks", "/.well-known/jwks.json"] {
        assert!(running.http().get(path).await.json()["keys"].is_array(), "{path}");
    }
    for path in ["/oidc.ashx?action=discovery", "/.well-known/openid-configuration"] {
        let document = running.http().get(path).await.json();
        assert_eq!(text(&document["issuer"]), "https://phone.example.com");
    }
    for path in ["/oauth2/v1/authorize", "/oidc.ashx/login", "/oidc.ashx", "/oidc.ashx?action=logout"] {
        assert_eq!(running.http().get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn an_api_key_is_an_admin_under_its_name_until_revoked() {
    let running = Box::start().await;
    let (key, secret) = running.identity.mint_api_key("crm").await.expect("minted");
    let principal = running.identity.authenticate(Some(secret.expose())).expect("good");
    assert_eq!((principal.actor.as_str(), principal.admin), ("crm", true));
    let used = async {
        while running.identity.api_keys().expect("keys")[0].last_used_at.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), used).await.expect("the use is noted");
    assert!(running.identity.revoke_api_key(key.id).await.expect("revoked"));
    assert!(running.identity.authenticate(Some(secret.expose())).is_err());
    assert!(running.identity.api_keys().expect("keys").is_empty());
}

#[tokio::test]
async fn the_claim_code_makes_one_admin_and_then_is_worth_nothing() {
    let running = Box::start().await;
    let code = running.identity.claim_code().await.expect("store").expect("unclaimed");
    assert_eq!(
        running.identity.claim_code().await.expect("store").as_deref(),
        Some(code.as_str()),
        "it stays the same"
    );
    let claim = async |code: &str, password: &str| {
        let body = json!({"code": code, "user": "Stefan", "password": password});
        running.http().post_json("/api/v2/claim", &body).await
    };
    assert_eq!(claim("AAAA-AAAA-AAAA", PASSWORD).await.status, 403);
    assert_eq!(claim(&code, "short").await.status, 400);
    let made = claim(&code.to_lowercase().replace('-', " "), PASSWORD).await;
    assert_eq!((made.status, made.json()), (201, json!({"ok": true, "user": "stefan", "role": "admin"})));
    assert_eq!(claim(&code, PASSWORD).await.status, 409);
    assert_eq!(running.identity.claim_code().await.expect("store"), None);
    assert_eq!(running.sign_in(PASSWORD, "openid").await.status, 200);
}

#[tokio::test]
async fn of_two_claims_at_once_one_wins() {
    let running = Box::start().await;
    let code = running.identity.claim_code().await.expect("store").expect("unclaimed");
    let claim = async |user: &str| {
        let body = json!({"code": code, "user": user, "password": PASSWORD});
        running.http().post_json("/api/v2/claim", &body).await.status
    };
    let mut statuses = <[u16; 2]>::from(tokio::join!(claim("anna"), claim("bert")));
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409]);
}

#[tokio::test]
async fn guessing_the_claim_code_is_throttled() {
    let running = Box::start().await;
    let code = running.identity.claim_code().await.expect("store").expect("unclaimed");
    let claim = async |code: &str| {
        let body = json!({"code": code, "user": "mallory", "password": PASSWORD});
        running.http().post_json("/api/v2/claim", &body).await
    };
    for _ in 0..10 {
        assert_eq!(claim("WRON-GWRO-NGWR").await.status, 403);
    }
    let refused = claim(&code).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "60"));
}

#[tokio::test]
async fn every_answer_has_an_id_and_is_not_to_be_stored() {
    let running = Box::start().await;
    for path in ["/healthz", "/nowhere", "/oauth2/v1/token", "/api.ashx/v9", "/.well-known/jwks.json"] {
        let answer = running.http().get(path).await;
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("x-request-id").len(), 36, "{path}");
    }
    let answer = running.http().send("GET", "/healthz", &[("x-request-id", "crm-42")], vec![]).await;
    assert_eq!(answer.header("x-request-id"), "crm-42");
}

#[tokio::test]
async fn unknown_routes_panics_and_slow_answers_come_in_the_error_form() {
    let running = Box::start().await;
    let table = [
        ("/api.ashx/v9", 404, "not_found"),
        ("/api.ashx/boom", 500, "internal_error"),
        ("/api.ashx/slow", 503, "timeout"),
    ];
    for (path, status, error) in table {
        let answer = running.http().get(path).await;
        assert_eq!((answer.status, text(&answer.json()["error"])), (status, error), "{path}");
        assert!(!text(&answer.json()["error_description"]).is_empty());
    }
    let wrong_method = running.http().send("DELETE", "/healthz", &[], vec![]).await;
    assert_eq!((wrong_method.status, wrong_method.header("allow")), (405, "GET,HEAD"));
    assert_eq!(text(&wrong_method.json()["error"]), "method_not_allowed");
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_announced_or_not() {
    let running = Box::start().await;
    let large = json!({"code": "x".repeat(20_000), "user": "u", "password": "p"});
    let answer = running.http().post_json("/api/v2/claim", &large).await;
    assert_eq!((answer.status, text(&answer.json()["error"])), (413, "payload_too_large"));
    let mut chunked = b"POST /api/v2/claim HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..30 {
        chunked.extend_from_slice(b"400\r\n");
        chunked.extend_from_slice(&[b' '; 0x400]);
        chunked.extend_from_slice(b"\r\n");
    }
    assert!(raw(running.plain, &chunked).await.starts_with("HTTP/1.1 413"));
}

#[tokio::test]
async fn too_many_requests_are_told_when_to_come_back() {
    let running = Box::with_limit(3).await;
    for _ in 0..3 {
        assert_eq!(running.http().get("/api.ashx/v9").await.status, 404);
    }
    let refused = running.http().get("/api.ashx/v9").await;
    assert_eq!((refused.status, text(&refused.json()["error"])), (429, "rate_limited"));
    assert_eq!(refused.header("retry-after"), "20");
    assert_eq!(running.http().get("/healthz").await.status, 200, "a supervisor is never refused");
    let (_, secret) = running.identity.mint_api_key("crm").await.expect("minted");
    assert_eq!(running.http().with_bearer(secret.expose()).get("/api.ashx/v9").await.status, 404, "its own count");
    running.clock.advance(Duration::from_secs(20));
    assert_eq!(running.http().get("/api.ashx/v9").await.status, 404);
}

#[tokio::test]
async fn metrics_and_the_operators_sentences_are_for_the_loopback_listener_and_admins() {
    let running = Box::with_admin().await;
    let https = Http::https(running.https, &running.certificate);
    assert_eq!(running.http().get("/metrics").await.text(), "up 1\n");
    assert_eq!(https.get("/metrics").await.status, 401);
    let token = text(&running.sign_in(PASSWORD, "").await.json()["access_token"]).to_owned();
    assert_eq!(https.with_bearer(&token).get("/metrics").await.text(), "up 1\n");
    let (inside, outside) = (running.http().get("/readyz").await, https.get("/readyz").await);
    assert_eq!((inside.status, outside.status), (503, 503));
    assert!(inside.text().contains("trunk pbx is silent") && !outside.text().contains("trunk pbx"));
    assert_eq!(https.get("/healthz").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn malformed_http_gets_400_and_the_box_goes_on() {
    let running = Box::start().await;
    for bytes in
        [&b"\x16\x03\x01\x00\xff garbage\r\n\r\n"[..], b"GET\r\n\r\n", b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n"]
    {
        assert!(raw(running.plain, bytes).await.starts_with("HTTP/1.1 400"), "{bytes:?}");
    }
    // Plain HTTP on the HTTPS port is cut off.
    let _ = raw(running.https, b"GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(running.http().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn draining_finishes_the_open_request_and_takes_no_more() {
    let running = Box::start().await;
    let http = running.http();
    let open = tokio::spawn(async move { http.get("/api.ashx/slow").await.status });
    let mut idle = TcpStream::connect(running.plain).await.expect("connected");
    idle.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.expect("answer") > 0);
    running.slow.notified().await;
    running.drain.cancel();
    running.tasks.close();
    assert_eq!(open.await.expect("answered"), 503, "the open request had its answer");
    tokio::time::timeout(Duration::from_secs(5), running.tasks.wait()).await.expect("all connections ended");
    assert!(TcpStream::connect(running.plain).await.is_err(), "the listener is gone");
}

/// Sends bytes and reads until the other side is done.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    // The server may answer and close before everything is written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            answer.extend_from_slice(&buffer[..read]);
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reading).await.expect("the server is done");
    String::from_utf8_lossy(&answer).into_owned()
}
