//! A peer that speaks over one TCP or TLS connection only what the test writes.
#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::support::{PATIENCE, session, status};

pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// One connection, messages taken out of it by their Content-Length.
pub struct Line {
    stream: Box<dyn Stream>,
    heard: Vec<u8>,
    /// What Via and Contact of its requests name.
    pub me: SocketAddr,
    pub transport: &'static str,
}

impl Line {
    pub async fn to(address: SocketAddr) -> Line {
        let stream = TcpStream::connect(address).await.expect("connected");
        let me = stream.local_addr().expect("bound");
        Line::over(stream, me, "TCP")
    }

    pub fn over(stream: impl Stream + 'static, me: SocketAddr, transport: &'static str) -> Line {
        Line { stream: Box::new(stream), heard: Vec::new(), me, transport }
    }

    pub async fn accept(listener: &TcpListener) -> Line {
        let (stream, _) = timeout(PATIENCE, listener.accept()).await.expect("a connection in time").expect("accepted");
        Line::over(stream, listener.local_addr().expect("bound"), "TCP")
    }

    pub async fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).await.expect("written");
        self.stream.flush().await.expect("flushed");
    }

    /// The next message; empty when the connection is closed.
    pub async fn message(&mut self) -> String {
        timeout(PATIENCE, self.next()).await.expect("a message in time")
    }

    pub async fn message_within(&mut self, limit: Duration) -> Option<String> {
        timeout(limit, self.next()).await.ok()
    }

    async fn next(&mut self) -> String {
        loop {
            if let Some(message) = self.cut() {
                return message;
            }
            let mut chunk = [0; 4_096];
            match self.stream.read(&mut chunk).await {
                Ok(0) | Err(_) => return String::new(),
                Ok(length) => self.heard.extend_from_slice(&chunk[..length]),
            }
        }
    }

    fn cut(&mut self) -> Option<String> {
        let text = String::from_utf8_lossy(&self.heard).into_owned();
        let head = text.find("\r\n\r\n")? + 4;
        let length: usize = crate::support::header(&text[..head], "Content-Length").parse().expect("a length");
        (self.heard.len() >= head + length).then(|| {
            let message: Vec<u8> = self.heard.drain(..head + length).collect();
            String::from_utf8(message).expect("text")
        })
    }

    /// The next response of 200 and above.
    pub async fn final_response(&mut self) -> String {
        loop {
            let message = self.message().await;
            if message.is_empty() || status(&message) >= 200 {
                return message;
            }
        }
    }

    pub async fn ask(&mut self, request: &str) -> String {
        self.send(request).await;
        self.final_response().await
    }

    /// Nothing more came before the connection was closed.
    pub async fn is_closed(&mut self) -> bool {
        self.message().await.is_empty()
    }

    pub fn request(&self, method: &str, uri: &str, branch: &str, to_tag: &str, body: &str) -> String {
        let tag = if to_tag.is_empty() { String::new() } else { format!(";tag={to_tag}") };
        let number = if matches!(method, "INVITE" | "ACK" | "CANCEL") { 1 } else { 2 };
        let (scheme, me) = (uri.split(':').next().expect("a scheme"), self.me);
        let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{} {me};rport;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
             From: <{scheme}:peer@{me}>;tag=p1\r\nTo: <{uri}>{tag}\r\nCall-ID: call-{}\r\nCSeq: {number} {method}\r\n\
             Contact: <{scheme}:peer@{me};transport={}>\r\n{kind}Content-Length: {}\r\n\r\n{body}",
            self.transport,
            me.port(),
            if self.transport == "UDP" { "udp" } else { "tcp" },
            body.len(),
        )
    }

    pub fn options(&self, branch: &str) -> String {
        self.request("OPTIONS", "sip:100@127.0.0.1", branch, "", "")
    }

    pub fn invite(&self, branch: &str) -> String {
        self.request("INVITE", "sip:100@127.0.0.1", branch, "", &session(6000).write())
    }
}

/// The response to a request that was received, with what a dialog needs.
pub fn reply(request: &str, code: u16, contact: &str, body: &str) -> String {
    let copied: Vec<&str> = request
        .lines()
        .filter(|line| ["Via:", "From:", "Call-ID:", "CSeq:"].iter().any(|name| line.starts_with(name)))
        .collect();
    let to = crate::support::header(request, "To");
    let tag = if to.contains("tag=") { "" } else { ";tag=callee" };
    let kind = if body.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
    format!(
        "SIP/2.0 {code} Said\r\n{}\r\nTo: {to}{tag}\r\nContact: {contact}\r\n{kind}Content-Length: {}\r\n\r\n{body}",
        copied.join("\r\n"),
        body.len(),
    )
}
