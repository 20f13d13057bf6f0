//! Access and identity tokens: RS256 JWTs (RFC 7519, RFC 9068, OpenID Connect Core §2). Pure: time comes in.

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::UtcTime;
use crate::directory::{Role, User};

use super::keys::KeyRing;
use super::scope::Scope;
use super::{ADMIN_CLIENT, AuthError, IdentityError};

/// Life of an access or identity token.
pub const ACCESS_TOKEN_SECONDS: i64 = 3600;

/// A longer text is no token of ours.
const LONGEST_TOKEN: usize = 8 * 1024;

/// Media type of an access token (RFC 9068 §2.1); keeps identity tokens from being used as one.
const ACCESS_TYPE: &str = "at+jwt";
const IDENTITY_TYPE: &str = "JWT";

/// What an access token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct AccessClaims {
    pub iss: String,
    /// User name.
    pub sub: String,
    /// Client id.
    pub aud: String,
    pub exp: i64,
    pub iat: i64,
    pub jti: Uuid,
    pub role: RoleClaim,
    pub tenant: String,
    #[serde(default)]
    pub scope: String,
}

/// `"admin"` or `["admin", …]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum RoleClaim {
    One(String),
    Many(Vec<String>),
}

impl RoleClaim {
    pub(super) fn has(&self, role: &str) -> bool {
        match self {
            RoleClaim::One(one) => one == role,
            RoleClaim::Many(many) => many.iter().any(|one| one == role),
        }
    }
}

#[derive(Serialize)]
struct IdentityClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    role: &'a str,
    tenant: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<[&'a str; 1]>,
}

/// For whom and where tokens are issued.
pub(super) struct Issue<'a> {
    pub issuer: &'a str,
    pub tenant: &'a str,
    pub user: &'a User,
    pub client: &'a str,
    pub scope: &'a Scope,
    pub at: UtcTime,
    pub id: Uuid,
}

pub(super) fn role_word(role: Role) -> &'static str {
    match role {
        Role::Admin => "admin",
        Role::Member => "member",
    }
}

pub(super) fn access_token(keys: &KeyRing, issue: &Issue<'_>) -> Result<String, IdentityError> {
    let now = issue.at.unix_seconds();
    let claims = AccessClaims {
        iss: issue.issuer.to_owned(),
        sub: issue.user.name.clone(),
        aud: issue.client.to_owned(),
        exp: now + ACCESS_TOKEN_SECONDS,
        iat: now,
        jti: issue.id,
        role: RoleClaim::One(role_word(issue.user.role).to_owned()),
        tenant: issue.tenant.to_owned(),
        scope: issue.scope.to_string(),
    };
    sign(keys, ACCESS_TYPE, &claims)
}

pub(super) fn identity_token(keys: &KeyRing, issue: &Issue<'_>) -> Result<String, IdentityError> {
    let now = issue.at.unix_seconds();
    let (user, scope) = (issue.user, issue.scope);
    let claims = IdentityClaims {
        iss: issue.issuer,
        sub: &user.name,
        aud: issue.client,
        exp: now + ACCESS_TOKEN_SECONDS,
        iat: now,
        role: role_word(user.role),
        tenant: issue.tenant,
        name: scope.has("profile").then_some(user.name.as_str()),
        preferred_username: scope.has("profile").then_some(user.name.as_str()),
        email: user.email.as_deref().filter(|_| scope.has("email")),
        groups: scope.has("groups").then_some([role_word(user.role)]),
    };
    sign(keys, IDENTITY_TYPE, &claims)
}

fn sign<T: Serialize>(keys: &KeyRing, kind: &str, claims: &T) -> Result<String, IdentityError> {
    let mut header = Header::new(Algorithm::RS256);
    header.typ = Some(kind.to_owned());
    header.kid = Some(keys.kid().to_owned());
    jsonwebtoken::encode(&header, claims, keys.signing()).map_err(|error| IdentityError::Key(error.to_string()))
}

/// The claims of a good access token: RS256 by one of our keys, our issuer, a known client, not expired.
pub(super) fn verify(keys: &KeyRing, issuer: &str, token: &str, now: UtcTime) -> Result<AccessClaims, AuthError> {
    if token.len() > LONGEST_TOKEN {
        return Err(AuthError::Invalid);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| AuthError::Invalid)?;
    if header.alg != Algorithm::RS256 || !header.typ.is_some_and(|kind| kind.eq_ignore_ascii_case(ACCESS_TYPE)) {
        return Err(AuthError::Invalid);
    }
    let key = header.kid.as_deref().and_then(|kid| keys.verifying(kid)).ok_or(AuthError::Invalid)?;
    let mut validation = Validation::new(Algorithm::RS256);
    validation.set_issuer(&[issuer]);
    validation.set_audience(&[ADMIN_CLIENT]);
    validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
    // Expiry is held against our own clock below.
    validation.validate_exp = false;
    let claims = jsonwebtoken::decode::<AccessClaims>(token, key, &validation).map_err(|_| AuthError::Invalid)?.claims;
    if claims.exp <= now.unix_seconds() {
        return Err(AuthError::Expired);
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const ISSUER: &str = "https://phone.example.com";
    const NOW: UtcTime = UtcTime(1_780_000_000_500);

    fn user() -> User {
        User {
            id: Uuid::nil(),
            organization: Uuid::nil(),
            name: "stefan".into(),
            email: Some("stefan@example.com".into()),
            role: Role::Admin,
            password_hash: String::new(),
            created_at: NOW,
            disabled: false,
        }
    }

    fn issue<'a>(user: &'a User, scope: &'a Scope) -> Issue<'a> {
        let (tenant, id) = ("phone.example.com", Uuid::nil());
        Issue { issuer: ISSUER, tenant, user, client: ADMIN_CLIENT, scope, at: NOW, id }
    }

    fn later(seconds: i64) -> UtcTime {
        UtcTime(NOW.0 + seconds * 1000)
    }

    fn part(token: &str, index: usize) -> serde_json::Value {
        let part = token.split('.').nth(index).expect("part");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
    }

    #[test]
    fn an_access_token_carries_the_promised_claims_and_lives_an_hour() {
        let keys = KeyRing::for_tests(None);
        let token = access_token(&keys, &issue(&user(), &Scope::parse("openid").expect("scope"))).expect("signed");
        assert_eq!(part(&token, 0), json!({"typ": "at+jwt", "alg": "RS256", "kid": keys.kid()}));
        let claims = part(&token, 1);
        assert_eq!(claims["sub"], "stefan");
        assert_eq!(claims["iss"], ISSUER);
        assert_eq!(claims["aud"], "codeb-admin");
        assert_eq!(claims["role"], "admin");
        assert_eq!(claims["tenant"], "phone.example.com");
        assert_eq!(claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat"), 3600);
        assert!(verify(&keys, ISSUER, &token, later(3598)).expect("good").role.has("admin"));
        assert_eq!(verify(&keys, ISSUER, &token, later(3600)).expect_err("old"), AuthError::Expired);
    }

    #[test]
    fn the_identity_token_shows_claims_by_scope_and_is_no_access_token() {
        let keys = KeyRing::for_tests(None);
        let (user, bare) = (user(), Scope::parse("openid").expect("scope"));
        let token = identity_token(&keys, &issue(&user, &bare)).expect("signed");
        assert_eq!(verify(&keys, ISSUER, &token, NOW).expect_err("wrong kind"), AuthError::Invalid);
        assert!(part(&token, 1).get("email").is_none());
        let wide = Scope::parse("openid email profile groups").expect("scope");
        let claims = part(&identity_token(&keys, &issue(&user, &wide)).expect("signed"), 1);
        assert_eq!(claims["email"], "stefan@example.com");
        assert_eq!(claims["preferred_username"], "stefan");
        assert_eq!(claims["groups"], json!(["admin"]));
    }

    #[test]
    fn tokens_of_the_key_before_stay_good_and_of_the_one_before_that_do_not() {
        let scope = Scope::default();
        let first = KeyRing::for_tests(None);
        let token = access_token(&first, &issue(&user(), &scope)).expect("signed");
        let second = KeyRing::for_tests(Some(first));
        assert!(verify(&second, ISSUER, &token, NOW).is_ok());
        let third = KeyRing::for_tests(Some(second));
        assert_eq!(verify(&third, ISSUER, &token, NOW).expect_err("gone"), AuthError::Invalid);
    }

    #[test]
    fn forged_tokens_are_refused() {
        let keys = KeyRing::for_tests(None);
        let scope = Scope::default();
        let good = access_token(&keys, &issue(&user(), &scope)).expect("signed");
        let (signed, signature) = good.rsplit_once('.').expect("three parts");
        let (_, payload) = signed.split_once('.').expect("three parts");
        let b64 = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let none = b64(json!({"alg": "none", "typ": "at+jwt", "kid": keys.kid()}));
        let hs = b64(json!({"alg": "HS256", "typ": "at+jwt", "kid": keys.kid()}));
        let mut claims = part(&good, 1);
        claims["sub"] = json!("mallory");
        let head = signed.split('.').next().expect("header");
        let stranger = access_token(&KeyRing::for_tests(None), &issue(&user(), &scope)).expect("signed");
        let forged = [
            format!("{none}.{payload}."),
            format!("{none}.{payload}.{signature}"),
            format!("{hs}.{payload}.{signature}"),
            format!("{head}.{}.{signature}", b64(claims)),
            format!("{signed}."),
            format!("{signed}.AAAA"),
            stranger,
            good[..good.len() - 2].to_owned(),
            String::new(),
            "..".into(),
            "a.b.c".into(),
            "x".repeat(100_000),
        ];
        for token in forged {
            assert_eq!(verify(&keys, ISSUER, &token, NOW).expect_err(&token), AuthError::Invalid);
        }
        assert!(verify(&keys, ISSUER, &good, NOW).is_ok());
    }

    #[test]
    fn another_issuer_or_audience_is_refused() {
        let keys = KeyRing::for_tests(None);
        let (user, scope) = (user(), Scope::default());
        let other = access_token(&keys, &Issue { issuer: "https://other", ..issue(&user, &scope) }).expect("signed");
        assert_eq!(verify(&keys, ISSUER, &other, NOW).expect_err("issuer"), AuthError::Invalid);
        let other = access_token(&keys, &Issue { client: "someone-else", ..issue(&user, &scope) }).expect("signed");
        assert_eq!(verify(&keys, ISSUER, &other, NOW).expect_err("audience"), AuthError::Invalid);
    }

    #[test]
    fn a_role_claim_may_be_a_word_or_a_list() {
        for (text, admin) in
            [(r#""admin""#, true), (r#"["member","admin"]"#, true), (r#""adm""#, false), (r"[]", false)]
        {
            let claim: RoleClaim = serde_json::from_str(text).expect("claim");
            assert_eq!(claim.has("admin"), admin, "{text}");
        }
    }
}
