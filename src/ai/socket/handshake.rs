//! The request that opens a WebSocket, and its answer (RFC 6455 §4.1). No I/O.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// §1.3.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Longest head of an answer, octets.
const MOST_HEAD: usize = 16 << 10;
const MOST_FIELDS: usize = 64;
/// Of a refusal's body, what an operator gets to see, octets.
const MOST_WORDS: usize = 300;

/// Where a service is, and what it wants to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// As in the `Host` field: with its port where that is not the scheme's own.
    pub host: String,
    /// Path and query.
    pub path: String,
    /// Further fields, such as authorization.
    pub fields: Vec<(String, String)>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// Status and the beginning of what was said with it.
    #[error("the service refused the connection with {0}{1}")]
    Refused(u16, String),
    #[error("the service does not speak WebSocket: {0}")]
    NotWebSocket(&'static str),
}

/// A handshake under way.
#[derive(Debug)]
pub struct Handshake {
    key: String,
    head: Vec<u8>,
}

impl Handshake {
    /// The handshake, and the request that begins it.
    pub fn begin(request: &Request, nonce: [u8; 16]) -> (Handshake, Vec<u8>) {
        let key = STANDARD.encode(nonce);
        let Request { host, path, fields } = request;
        let mut text = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n"
        );
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        (Handshake { key, head: Vec::new() }, text.into_bytes())
    }

    /// Takes what was read; once the answer is there, what came behind it.
    pub fn read(&mut self, octets: &[u8]) -> Result<Option<Vec<u8>>, HandshakeError> {
        self.head.extend_from_slice(octets);
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        let end = match response.parse(&self.head) {
            Ok(httparse::Status::Complete(end)) => end,
            Ok(httparse::Status::Partial) if self.head.len() < MOST_HEAD => return Ok(None),
            Ok(httparse::Status::Partial) => return Err(HandshakeError::NotWebSocket("its answer is too long")),
            Err(_) => return Err(HandshakeError::NotWebSocket("its answer is not HTTP")),
        };
        let code = response.code.unwrap_or_default();
        if code != 101 {
            return Err(HandshakeError::Refused(code, words(&self.head[end..])));
        }
        let field = |name: &str| {
            let mut named = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
            named.next().and_then(|field| std::str::from_utf8(field.value).ok()).unwrap_or_default()
        };
        if !field("upgrade").eq_ignore_ascii_case("websocket") {
            return Err(HandshakeError::NotWebSocket("no Upgrade in its answer"));
        }
        if !field("connection").split(',').any(|token| token.trim().eq_ignore_ascii_case("upgrade")) {
            return Err(HandshakeError::NotWebSocket("no Connection: Upgrade in its answer"));
        }
        if field("sec-websocket-accept").trim() != accept(&self.key) {
            return Err(HandshakeError::NotWebSocket("a wrong Sec-WebSocket-Accept"));
        }
        if !field("sec-websocket-extensions").is_empty() {
            return Err(HandshakeError::NotWebSocket("an extension that nobody offered"));
        }
        Ok(Some(self.head.split_off(end)))
    }
}

fn accept(key: &str) -> String {
    STANDARD.encode(Sha1::new().chain_update(key.as_bytes()).chain_update(MAGIC).finalize())
}

/// What an operator may read of a refusal: one line of printable characters.
fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(MOST_WORDS)]);
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nonce of RFC 6455 §1.3.
    const NONCE: &[u8; 16] = b"the sample nonce";

    fn begun() -> (Handshake, String) {
        let request = Request {
            host: "bot.example:8080".into(),
            path: "/calls?x=1".into(),
            fields: vec![("Authorization".into(), "Bearer secret".into())],
        };
        let (handshake, octets) = Handshake::begin(&request, *NONCE);
        (handshake, String::from_utf8(octets).expect("text"))
    }

    fn answer(change: impl Fn(String) -> String) -> Result<Option<Vec<u8>>, HandshakeError> {
        let good = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        begun().0.read(change(good.to_owned()).as_bytes())
    }

    #[test]
    fn the_request_is_that_of_the_rfc_and_names_what_the_service_wants() {
        let (_, request) = begun();
        assert!(request.starts_with("GET /calls?x=1 HTTP/1.1\r\nHost: bot.example:8080\r\n"));
        assert!(request.contains("\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"));
        assert!(request.ends_with("\r\nAuthorization: Bearer secret\r\n\r\n"));
    }

    #[test]
    fn the_answer_may_come_in_pieces_and_frames_may_follow_it() {
        assert_eq!(answer(|good| good + "\u{1}x"), Ok(Some(b"\x01x".to_vec())));
        let (mut handshake, _) = begun();
        let good = "HTTP/1.1 101 x\r\nupgrade: WebSocket\r\nconnection: upgrade\r\n\
                    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        for octet in &good.as_bytes()[..good.len() - 1] {
            assert_eq!(handshake.read(&[*octet]), Ok(None));
        }
        assert_eq!(handshake.read(b"\n"), Ok(Some(Vec::new())));
    }

    #[test]
    fn what_is_no_websocket_is_refused_and_a_refusal_says_what_the_service_said() {
        let no = |change: fn(String) -> String| match answer(change) {
            Err(HandshakeError::NotWebSocket(why)) => why,
            other => panic!("{other:?}"),
        };
        assert_eq!(no(|good| good.replace("s3pP", "s3pp")), "a wrong Sec-WebSocket-Accept");
        assert_eq!(no(|good| good.replace("Upgrade: websocket\r\n", "")), "no Upgrade in its answer");
        assert_eq!(no(|good| good.replace("keep-alive, Upgrade", "close")), "no Connection: Upgrade in its answer");
        assert_eq!(no(|_| "SSH-2.0-OpenSSH\r\n\r\n".into()), "its answer is not HTTP");
        assert_eq!(no(|_| format!("HTTP/1.1 101 x\r\nA: {}", "b".repeat(MOST_HEAD))), "its answer is too long");
        let extended =
            |good: String| good.replace("\r\n\r\n", "\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
        assert_eq!(no(extended), "an extension that nobody offered");
        let refused = answer(|_| "HTTP/1.1 401 Unauthorized\r\n\r\n{\"error\":\r\n \"bad key\"}".into());
        assert_eq!(refused, Err(HandshakeError::Refused(401, ": {\"error\": \"bad key\"}".into())));
    }
}
