//! The metadata document (OpenID Connect Discovery §3, RFC 8414 §2): what is served, and nothing else.

use serde_json::{Value, json};

use crate::identity::{Identity, SCOPES};

pub(super) fn document(identity: &Identity, base_url: &str) -> Value {
    metadata(identity.issuer(), base_url)
}

fn metadata(issuer: &str, base_url: &str) -> Value {
    let endpoint = |action: &str| format!("{base_url}/oauth2/v1/{action}");
    json!({
        "issuer": issuer,
        "token_endpoint": endpoint("token"),
        "userinfo_endpoint": endpoint("userinfo"),
        "introspection_endpoint": endpoint("introspect"),
        "revocation_endpoint": endpoint("revoke"),
        "jwks_uri": format!("{base_url}/.well-known/jwks.json"),
        // No authorization endpoint, hence no response type.
        "response_types_supported": [],
        "grant_types_supported": ["password", "refresh_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": SCOPES,
        "token_endpoint_auth_methods_supported": ["none"],
        "introspection_endpoint_auth_methods_supported": ["none"],
        "revocation_endpoint_auth_methods_supported": ["none"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "name", "preferred_username", "email", "email_verified", "role", "groups"
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::*;

    #[test]
    fn every_advertised_endpoint_is_served_and_the_issuer_is_the_host() {
        let document = metadata("https://phone.example.com", "https://phone.example.com:8443");
        assert_eq!(document["issuer"], "https://phone.example.com");
        let endpoints = document.as_object().expect("object").iter().filter(|(name, _)| name.ends_with("_endpoint"));
        let mut count = 0;
        for (name, url) in endpoints {
            let action = url.as_str().and_then(|url| url.strip_prefix("https://phone.example.com:8443/oauth2/v1/"));
            assert!(Action::named(action.expect("ours")).is_some(), "{name}");
            count += 1;
        }
        assert_eq!(count, 4);
        assert!(document.get("authorization_endpoint").is_none());
        assert!(document["scopes_supported"].as_array().expect("scopes").iter().any(|scope| scope == "offline_access"));
    }
}
