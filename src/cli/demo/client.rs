//! A small HTTPS client that trusts the box's own certificate and nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::Value;

/// Largest answer that is read.
const LARGEST: usize = 8 * 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

pub(super) struct Client {
    address: SocketAddr,
    host: &'static str,
    tls: Arc<rustls::ClientConfig>,
    bearer: Option<String>,
}

/// Status code and JSON body (`Null` when it is not JSON).
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Client {
    /// A client of the box at `address`, which shows `certificate_pem` for `host`.
    pub(super) fn new(address: SocketAddr, host: &'static str, certificate_pem: &str) -> Result<Client, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(certificate_pem.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("the box's certificate is no PEM: {error}"))?;
            roots.add(certificate).map_err(|error| format!("the box's certificate cannot be a root: {error}"))?;
        }
        let tls = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Client { address, host, tls: Arc::new(tls), bearer: None })
    }

    /// Sends `token` with every further request.
    pub(super) fn authorize(&mut self, token: String) {
        self.bearer = Some(token);
    }

    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        self.send(Method::GET, path, None).await
    }

    pub(super) async fn post_json(&self, path: &str, body: &Value) -> Result<Answer, String> {
        self.send(Method::POST, path, Some(("application/json", body.to_string()))).await
    }

    pub(super) async fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Answer, String> {
        self.send(Method::POST, path, Some(("application/x-www-form-urlencoded", form(fields)))).await
    }

    async fn send(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<Answer, String> {
        let line = format!("{method} {path}");
        match tokio::time::timeout(PATIENCE, Box::pin(self.exchange(method, path, body))).await {
            Ok(answer) => answer.map_err(|problem| format!("{line}: {problem}")),
            Err(_) => Err(format!("{line}: no answer within {} s", PATIENCE.as_secs())),
        }
    }

    async fn exchange(&self, method: Method, path: &str, body: Option<(&str, String)>) -> Result<Answer, String> {
        let said = |error: &dyn std::error::Error| error.to_string();
        let stream = tokio::net::TcpStream::connect(self.address).await.map_err(|error| said(&error))?;
        let name = ServerName::try_from(self.host).map_err(|error| said(&error))?;
        let connector = tokio_rustls::TlsConnector::from(self.tls.clone());
        let stream = connector.connect(name, stream).await.map_err(|error| said(&error))?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| said(&error))?;
        let connection = tokio::spawn(connection);
        let request = self.request(method, path, body).map_err(|error| said(&error))?;
        let response = sender.send_request(request).await.map_err(|error| said(&error))?;
        let status = response.status().as_u16();
        let bytes = Limited::new(response.into_body(), LARGEST).collect().await.map_err(|error| error.to_string())?;
        connection.abort();
        Ok(Answer { status, body: serde_json::from_slice(&bytes.to_bytes()).unwrap_or(Value::Null) })
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<(&str, String)>,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, format!("{}:{}", self.host, self.address.port()));
        if let Some(token) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        match body {
            None => request.body(Full::default()),
            Some((kind, text)) => request.header(header::CONTENT_TYPE, kind).body(Full::from(text)),
        }
    }
}

impl Answer {
    /// The body when the status is 200; the box's own words otherwise.
    pub(super) fn ok(self, what: &str) -> Result<Value, String> {
        if self.status == 200 {
            return Ok(self.body);
        }
        let words = ["error_description", "error"].iter().find_map(|key| self.body[*key].as_str()).unwrap_or("");
        Err(format!("{what} was answered {} {words}", self.status).trim_end().to_owned())
    }
}

/// `application/x-www-form-urlencoded` (WHATWG URL §5.2).
pub(super) fn form(fields: &[(&str, &str)]) -> String {
    let encode = |text: &str| -> String {
        text.bytes()
            .map(|byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'*' => char::from(byte).to_string(),
                b' ' => "+".to_owned(),
                other => format!("%{other:02X}"),
            })
            .collect()
    };
    fields.iter().map(|(key, value)| format!("{}={}", encode(key), encode(value))).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_percent_encoded() {
        assert_eq!(form(&[("a b", "ü&="), ("c", "d-1")]), "a+b=%C3%BC%26%3D&c=d-1");
    }
}
