//! Asks the chat endpoint on the control runtime; what it writes comes back through a bounded channel.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::mpsc;

use super::super::super::engine::Usage;
use super::calls::{Called, Calls};
use super::sse::Events;
use super::wire::{self, Chunk, Message};
use crate::ai::trust;
use crate::config::{ChatConfig, Secret};

/// Pieces that wait for the session; the server is read no faster.
const PIECES: usize = 64;
/// Longest answer of a server that does not stream, and longest error text that is read, bytes.
const LONGEST_ANSWER: usize = 1024 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest text of a refusal that is read, bytes.
const LONGEST_REFUSAL: usize = 16 * 1024;

/// A piece of an answer. After `Done`, `NoTools` or `Failed` the channel closes.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::ai) enum Piece {
    Text(String),
    /// A tool is called: the last thing but `Done`.
    Call(Called),
    /// The endpoint takes no tools: it must be asked without them.
    NoTools,
    Usage(Usage),
    Done,
    /// A phrase for the operator; it holds nothing of the conversation.
    Failed(String),
}

/// One endpoint; cheap to clone, connections are shared.
#[derive(Clone)]
pub(in crate::ai) struct Client {
    http: HttpClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    runtime: Handle,
    url: Uri,
    model: String,
    key: Option<Secret>,
    timeout: Duration,
    tools: Arc<Takes>,
}

/// Whether the endpoint takes tools, as far as that is known.
#[derive(Debug)]
struct Takes {
    refused: AtomicBool,
    /// It answered a request that had some.
    took: AtomicBool,
}

/// What a request is made of.
#[derive(Debug, Clone, Copy)]
pub(in crate::ai) struct Question<'a> {
    pub(in crate::ai) messages: &'a [Message],
    /// As they stand in the request; none for an endpoint that takes none.
    pub(in crate::ai) tools: &'a [Value],
    /// Whether they may be called now.
    pub(in crate::ai) may_call: bool,
}

impl Client {
    /// Requests run on `runtime`. The error is a phrase for the operator.
    pub(in crate::ai) fn new(config: &ChatConfig, runtime: Handle) -> Result<Client, String> {
        let url = format!("{}/chat/completions", config.url.trim_end_matches('/'));
        let url = url.parse().map_err(|error| format!("[engine.chat] url is not a URL ({error})"))?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust::authorities("engine.chat", config.ca.as_deref())?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let http = HttpClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .build(connector);
        Ok(Client {
            http,
            runtime,
            url,
            model: config.model.clone(),
            key: config.api_key.clone(),
            timeout: Duration::from_secs(config.timeout_seconds.max(1)),
            tools: Arc::new(Takes { refused: AtomicBool::new(!config.tools), took: AtomicBool::new(false) }),
        })
    }

    /// Whether the endpoint is to be asked with tools.
    pub(in crate::ai) fn takes_tools(&self) -> bool {
        !self.tools.refused.load(Ordering::Relaxed)
    }

    /// Asks for an answer. Dropping the receiver ends the request.
    pub(in crate::ai) fn ask(&self, question: Question<'_>) -> mpsc::Receiver<Piece> {
        let (to, from) = mpsc::channel(PIECES);
        let request = self.request(question);
        let with_tools = !question.tools.is_empty();
        let client = self.clone();
        self.runtime.spawn(async move {
            let answered = async {
                let last = match client.answer(request, with_tools, &to).await {
                    Ok(last) => last,
                    Err(problem) => Piece::Failed(problem),
                };
                // Nobody may be listening any more.
                let _ = to.send(last).await;
            };
            tokio::select! {
                () = answered => {}
                () = to.closed() => {}
            }
        });
        from
    }

    fn request(&self, question: Question<'_>) -> Result<Request<Full<Bytes>>, String> {
        let Question { messages, tools, may_call } = question;
        let body = wire::Request {
            model: &self.model,
            messages,
            stream: true,
            stream_options: wire::StreamOptions { include_usage: true },
            tools,
            tool_choice: (!tools.is_empty() && !may_call).then_some("none"),
        };
        let body = serde_json::to_vec(&body).map_err(|error| error.to_string())?;
        let mut request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(ACCEPT, "text/event-stream, application/json");
        if let Some(key) = self.key.as_ref().filter(|key| !key.is_empty()) {
            let value = HeaderValue::try_from(format!("Bearer {}", key.expose()));
            let mut value = value.map_err(|_| String::from("the chat API key holds characters no header may"))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        request.body(Full::from(body)).map_err(|error| error.to_string())
    }

    async fn answer(
        &self,
        request: Result<Request<Full<Bytes>>, String>,
        with_tools: bool,
        to: &mpsc::Sender<Piece>,
    ) -> Result<Piece, String> {
        let response = self.within(self.http.request(request?)).await?;
        let response = response.map_err(|error| format!("the chat server cannot be reached ({})", root(&error)))?;
        let status = response.status();
        if !status.is_success() {
            let may_be_about_tools = with_tools && !self.tools.took.load(Ordering::Relaxed);
            if may_be_about_tools && self.refuses_tools(response).await {
                if !self.tools.refused.swap(true, Ordering::Relaxed) {
                    tracing::warn!("the chat endpoint takes no tools: agents hang up and transfer by a word instead");
                }
                return Ok(Piece::NoTools);
            }
            return Err(format!("the chat server answered {status}"));
        }
        if with_tools {
            self.tools.took.store(true, Ordering::Relaxed);
        }
        let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        let mut reading = Reading { to, calls: Calls::default(), heard_any: false };
        if kind.starts_with("application/json") {
            self.whole(response, &mut reading).await?;
        } else {
            self.stream(response.into_body(), &mut reading).await?;
        }
        for call in reading.calls.finish() {
            let _ = to.send(Piece::Call(call)).await;
        }
        Ok(Piece::Done)
    }

    /// Whether a refusal is one of the tools: Ollama and vLLM say so with 400, llama.cpp with 500.
    async fn refuses_tools(&self, response: Response<Incoming>) -> bool {
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), LONGEST_REFUSAL);
        let Ok(Ok(body)) = self.within(body.collect()).await else { return false };
        let text = String::from_utf8_lossy(&body.to_bytes()).to_ascii_lowercase();
        match status {
            400 | 422 | 501 => text.contains("tool") || text.contains("function call"),
            500 => text.contains("tools param") || text.contains("--jinja"),
            _ => false,
        }
    }

    async fn stream(&self, mut body: Incoming, reading: &mut Reading<'_>) -> Result<(), String> {
        let mut events = Events::default();
        while let Some(frame) = self.within(body.frame()).await? {
            let frame = frame.map_err(|error| format!("the chat server broke off ({})", root(&error)))?;
            let Ok(bytes) = frame.into_data() else { continue };
            let found = events.push(&bytes).map_err(|_| String::from("the chat server sent an endless line"))?;
            for data in found {
                if data.trim() == "[DONE]" {
                    return Ok(());
                }
                reading.forward(&data).await?;
            }
        }
        match events.finish().filter(|data| data.trim() != "[DONE]") {
            Some(data) => reading.forward(&data).await,
            None if reading.heard_any => Ok(()),
            None => Err(String::from("the chat server closed without an answer")),
        }
    }

    /// A server that ignores `stream` sends one JSON document.
    async fn whole(&self, response: Response<Incoming>, reading: &mut Reading<'_>) -> Result<(), String> {
        let body = Limited::new(response.into_body(), LONGEST_ANSWER);
        let body = self.within(body.collect()).await?;
        let body = body.map_err(|error| format!("the chat server broke off ({error})"))?.to_bytes();
        reading.forward(&String::from_utf8_lossy(&body)).await?;
        match reading.heard_any {
            true => Ok(()),
            false => Err(String::from("the chat server sent an answer without text")),
        }
    }

    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        let late = |_| format!("the chat server was silent for {} s", self.timeout.as_secs());
        tokio::time::timeout(self.timeout, work).await.map_err(late)
    }
}

/// An answer that is being read.
struct Reading<'a> {
    to: &'a mpsc::Sender<Piece>,
    calls: Calls,
    /// Text, or a call.
    heard_any: bool,
}

impl Reading<'_> {
    /// Hands on what `data` holds.
    async fn forward(&mut self, data: &str) -> Result<(), String> {
        let chunk: Chunk =
            serde_json::from_str(data).map_err(|_| String::from("the chat server sent what is no JSON chunk"))?;
        if chunk.is_error() {
            return Err(String::from("the chat server reported an error in its stream"));
        }
        let usage = chunk.usage().map(Piece::Usage);
        let delta = chunk.delta();
        for call in delta.tool_calls.into_iter().flatten() {
            self.calls.add(call).map_err(|_| String::from("the chat server calls tools without end"))?;
        }
        let text = delta.content.filter(|text| !text.is_empty()).map(Piece::Text);
        self.heard_any |= text.is_some() || !self.calls.is_empty();
        for piece in text.into_iter().chain(usage) {
            // A closed channel ends this task by itself.
            let _ = self.to.send(piece).await;
        }
        Ok(())
    }
}

/// The innermost cause: "connection refused" says more than "client error".
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
