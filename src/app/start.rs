//! The start: one room after the other, undone in reverse when one refuses.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{App, StartError, offline, probes};
use crate::ai::Engines;
use crate::api::{self, Server};
use crate::call::{self, Calls};
use crate::clock::Clock;
use crate::config::{Config, SipConfig};
use crate::directory::Directory;
use crate::events::Mailer;
use crate::identity::Identity;
use crate::media::MediaPlane;
use crate::ops::metrics::Metrics;
use crate::ops::outbound::Outbound;
use crate::ops::{certificate, limits, notify};
use crate::sip::endpoint::{Endpoint, IncomingCall, Resolver};
use crate::speech::Speech;
use crate::store::Store;

/// How to stop what was started, the newest last.
#[derive(Default)]
struct Undo(Vec<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Undo {
    fn push(&mut self, stop: impl Future<Output = ()> + Send + 'static) {
        self.0.push(Box::pin(stop));
    }

    async fn run(mut self) {
        while let Some(stop) = self.0.pop() {
            stop.await;
        }
    }
}

pub(super) async fn start(config: Config, clock: Clock) -> Result<App, StartError> {
    // Fails only when a provider is installed already, which is this one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = Arc::new(config);
    open_files(&config);
    let mut undo = Undo::default();
    match rooms(&config, &clock, &mut undo).await {
        Ok(app) => Ok(app),
        Err(error) => {
            undo.run().await;
            Err(error)
        }
    }
}

fn open_files(config: &Config) {
    match limits::raise_open_files() {
        Ok(files) => {
            if let Some(problem) = limits::shortage(config, files) {
                tracing::warn!("{problem}");
            }
        }
        Err(problem) => tracing::warn!(%problem, "the limit of open files cannot be raised"),
    }
    if let Some(problem) = limits::port_shortage(config) {
        tracing::warn!("{problem}");
    }
}

async fn rooms(config: &Arc<Config>, clock: &Clock, undo: &mut Undo) -> Result<App, StartError> {
    let store = offline::open_store(config, clock.clone()).await?;
    undo.push({
        let store = store.clone();
        async move { store.close().await }
    });
    let directory = Directory::open(store.clone(), config).await?;
    let identity = Identity::open(store.clone(), directory.clone(), clock.clone()).await?;
    let engines = voice(config, clock).await?;
    let (media, endpoint, inbound) = planes(config, clock, undo).await?;
    let mailer = Mailer::start(config.mail.as_ref(), store.clone(), clock.clone()).map_err(StartError::Mail)?;
    let mailer = Arc::new(mailer);
    undo.push({
        let mailer = mailer.clone();
        async move { mailer.stop().await }
    });
    let servers: Vec<_> = config.dns.servers.iter().map(|server| server.0).collect();
    let outbound = Outbound::new(&servers).map_err(StartError::Outbound)?;
    let recognises_speech = engines.recognises_speech();
    let services = call::Services {
        config: config.clone(),
        clock: clock.clone(),
        store: store.clone(),
        directory: directory.clone(),
        endpoint: endpoint.clone(),
        media: media.clone(),
        engines,
        outbound,
        mailer: mailer.clone(),
    };
    let calls = Calls::start(services, inbound).await?;
    undo.push({
        let calls = calls.clone();
        async move { calls.drain(Duration::ZERO).await }
    });
    let claim_code = identity.claim_code().await?;
    let mut app = Parts { config, clock, store, directory, identity, media, endpoint, mailer, calls };
    let (server, chores) = app.surface().await?;
    Ok(app.finish(server, chores, claim_code, recognises_speech))
}

/// Loads the model (seconds) off the runtime's threads.
async fn voice(config: &Arc<Config>, clock: &Clock) -> Result<Engines, StartError> {
    let speech = {
        let config = config.clone();
        tokio::task::spawn_blocking(move || Speech::start(&config.speech)).await??
    };
    Ok(Engines::start(&config.engine, speech, clock.clone()))
}

async fn planes(
    config: &Config,
    clock: &Clock,
    undo: &mut Undo,
) -> Result<(MediaPlane, Endpoint, mpsc::Receiver<IncomingCall>), StartError> {
    let media = MediaPlane::start(&config.media, clock.clone()).map_err(StartError::Media)?;
    undo.push({
        let media = media.clone();
        async move { media.stop().await }
    });
    let sip = with_certificate(config, clock)?;
    let servers: Vec<_> = config.dns.servers.iter().map(|server| server.0).collect();
    let resolver = Resolver::new(&servers, clock.clone());
    let (endpoint, inbound) =
        Endpoint::start_with(&sip, &config.trunks, &config.extensions, &config.trace, resolver, clock.clone()).await?;
    undo.push({
        let endpoint = endpoint.clone();
        async move { endpoint.stop(Duration::ZERO).await }
    });
    Ok((media, endpoint, inbound))
}

/// SIP over TLS shows the box's own pair unless another is configured.
fn with_certificate(config: &Config, clock: &Clock) -> Result<SipConfig, StartError> {
    let mut sip = config.sip.clone();
    if sip.tls_listen.is_some() && sip.certificate.is_none() {
        let (certificate, key) = certificate::self_signed(config, clock)?;
        (sip.certificate, sip.key) = (Some(certificate), Some(key));
    }
    Ok(sip)
}

/// Everything below the API.
struct Parts<'a> {
    config: &'a Arc<Config>,
    clock: &'a Clock,
    store: Store,
    directory: Directory,
    identity: Identity,
    media: MediaPlane,
    endpoint: Endpoint,
    mailer: Arc<Mailer>,
    calls: Calls,
}

impl Parts<'_> {
    /// The API, the watchdog and the upkeep of the metrics.
    async fn surface(&mut self) -> Result<(Server, JoinSet<()>), StartError> {
        let metrics = Metrics::install(self.clock.clone());
        let services = api::Services {
            config: self.config.clone(),
            clock: self.clock.clone(),
            store: self.store.clone(),
            directory: self.directory.clone(),
            identity: self.identity.clone(),
            calls: self.calls.clone(),
            health: Arc::new(probes::ready(self.config, &self.endpoint, &self.media, &self.store)),
            metrics: page(metrics.clone(), self.calls.clone(), self.media.clone()),
        };
        let server = Server::start(services).await?;
        let mut chores = JoinSet::new();
        chores.spawn(notify::watchdog(Arc::new(probes::vital(&self.endpoint, &self.media, &self.store))));
        chores.spawn(super::housekeeping::run(self.store.clone(), self.clock.clone(), self.config.state.message_days));
        chores.spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_secs(5));
            loop {
                tick.tick().await;
                metrics.tidy();
            }
        });
        Ok((server, chores))
    }

    fn finish(self, server: Server, chores: JoinSet<()>, claim_code: Option<String>, recognises_speech: bool) -> App {
        tracing::info!(https = %server.https_address(), sip = %self.endpoint.local_address(), "serving");
        App {
            config: self.config.clone(),
            store: self.store,
            directory: self.directory,
            identity: self.identity,
            media: self.media,
            endpoint: self.endpoint,
            mailer: self.mailer,
            calls: self.calls,
            server,
            claim_code,
            recognises_speech,
            chores,
        }
    }
}

/// The metrics page with what only the composition knows.
fn page(metrics: Metrics, calls: Calls, media: MediaPlane) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || {
        metrics::gauge!("trunkline_calls_live").set(calls.live() as f64);
        metrics::gauge!("trunkline_media_legs").set(media.live_legs() as f64);
        metrics.render()
    })
}
