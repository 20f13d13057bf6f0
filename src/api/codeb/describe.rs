//! `GET /v1`: the routes, readable by machines, without a token.

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(super) struct Description {
    name: &'static str,
    version: &'static str,
    endpoints: [Endpoint; 10],
    auth: &'static str,
    pagination: &'static str,
    errors: &'static str,
}

#[derive(Debug, Serialize)]
struct Endpoint {
    method: &'static str,
    path: &'static str,
    description: &'static str,
    area: &'static str,
}

pub(super) async fn describe() -> axum::Json<Description> {
    axum::Json(description())
}

fn description() -> Description {
    let endpoint = |method, path, description, area| Endpoint { method, path, description, area };
    Description {
        name: "CodeB Platform REST API",
        version: "v1",
        endpoints: [
            endpoint("POST", "/api.ashx/v1/calls", "Initiate an outbound AI call", "outbound-ai"),
            endpoint("GET", "/api.ashx/v1/calls", "List outbound AI calls", "outbound-ai"),
            endpoint("GET", "/api.ashx/v1/calls/{id}", "Get one call's status + outcome", "outbound-ai"),
            endpoint("POST", "/api.ashx/v1/calls/{id}/hangup", "Cancel/terminate a call", "outbound-ai"),
            endpoint("GET", "/api.ashx/v1/numbers", "List virtual numbers", "numbers"),
            endpoint("GET", "/api.ashx/v1/transcripts", "List transcripts", "transcripts"),
            endpoint("GET", "/api.ashx/v1/transcripts/{callId}", "Get full transcript by callId", "transcripts"),
            // Our own routes come after those of the document.
            endpoint("GET", "/api.ashx/v1/api-keys", "List API keys", "api-keys"),
            endpoint("POST", "/api.ashx/v1/api-keys", "Make an API key, shown once", "api-keys"),
            endpoint("DELETE", "/api.ashx/v1/api-keys/{id}", "Revoke an API key", "api-keys"),
        ],
        auth: "Authorization: Bearer <OIDC access token with role=admin>",
        pagination: "?limit=N&offset=M  (defaults 50, 0)",
        errors: "{ error: <code>, error_description: <text> }",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn has_the_documented_body_and_our_own_routes_after_it() {
        let expected = json!({
            "name": "CodeB Platform REST API",
            "version": "v1",
            "endpoints": [
                {"method": "POST", "path": "/api.ashx/v1/calls", "description": "Initiate an outbound AI call", "area": "outbound-ai"},
                {"method": "GET", "path": "/api.ashx/v1/calls", "description": "List outbound AI calls", "area": "outbound-ai"},
                {"method": "GET", "path": "/api.ashx/v1/calls/{id}", "description": "Get one call's status + outcome", "area": "outbound-ai"},
                {"method": "POST", "path": "/api.ashx/v1/calls/{id}/hangup", "description": "Cancel/terminate a call", "area": "outbound-ai"},
                {"method": "GET", "path": "/api.ashx/v1/numbers", "description": "List virtual numbers", "area": "numbers"},
                {"method": "GET", "path": "/api.ashx/v1/transcripts", "description": "List transcripts", "area": "transcripts"},
                {"method": "GET", "path": "/api.ashx/v1/transcripts/{callId}", "description": "Get full transcript by callId", "area": "transcripts"}
            ],
            "auth": "Authorization: Bearer <OIDC access token with role=admin>",
            "pagination": "?limit=N&offset=M  (defaults 50, 0)",
            "errors": "{ error: <code>, error_description: <text> }"
        });
        let mut shown = serde_json::to_value(description()).expect("JSON");
        let own = shown["endpoints"].as_array_mut().expect("endpoints").split_off(7);
        assert_eq!(shown, expected);
        assert!(own.iter().all(|route| route["area"] == "api-keys"), "{own:?}");
    }
}
