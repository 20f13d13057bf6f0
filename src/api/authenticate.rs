//! Who sent a request: the connection's far end, and the principal of its bearer.

use std::net::IpAddr;

use axum::http::{Extensions, HeaderMap, header};

use crate::identity::{AuthError, Identity, Principal};

use super::problem::Problem;

/// The far end of the connection. Set for every request; headers that claim another are not believed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    /// Came in on the plain (loopback) listener.
    pub(super) plain: bool,
}

impl Peer {
    pub(super) fn of(extensions: &Extensions) -> Peer {
        // A request without a connection exists only in tests of a bare router.
        let nobody = Peer { address: IpAddr::from([0, 0, 0, 0]), plain: false };
        extensions.get::<Peer>().copied().unwrap_or(nobody)
    }
}

/// The outcome of authentication, made once per request.
#[derive(Debug, Clone)]
pub(super) struct Authenticated(pub(super) Result<Principal, AuthError>);

/// The credential of `Authorization: Bearer …` (RFC 6750 §2.1; the scheme in any case).
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credential) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("Bearer").then_some(credential.trim())
}

pub(super) fn principal(identity: &Identity, headers: &HeaderMap) -> Authenticated {
    Authenticated(identity.authenticate(bearer(headers)))
}

/// The principal when it is an admin.
pub(super) fn admin(extensions: &Extensions) -> Result<Principal, Problem> {
    let missing = Authenticated(Err(AuthError::Missing));
    let Authenticated(outcome) = extensions.get::<Authenticated>().unwrap_or(&missing);
    let principal = outcome.clone()?;
    if principal.admin { Ok(principal) } else { Err(Problem::Forbidden) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn only_a_bearer_credential_is_taken() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().expect("header"));
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(of("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(of("bearer  abc").as_deref(), Some("abc"));
        assert_eq!(of("Basic abc"), None);
        assert_eq!(of("abc"), None);
        assert_eq!(bearer(&HeaderMap::new()), None);
    }

    #[test]
    fn a_member_is_forbidden_and_a_stranger_unauthorized() {
        let with = |outcome| {
            let mut extensions = Extensions::new();
            extensions.insert(Authenticated(outcome));
            admin(&extensions)
        };
        let principal = |admin| Principal { organization: Uuid::nil(), actor: "stefan".into(), admin };
        assert_eq!(with(Ok(principal(true))), Ok(principal(true)));
        assert_eq!(with(Ok(principal(false))), Err(Problem::Forbidden));
        assert_eq!(with(Err(AuthError::Expired)), Err(Problem::Unauthorized(AuthError::Expired)));
        assert_eq!(admin(&Extensions::new()), Err(Problem::Unauthorized(AuthError::Missing)));
    }
}
