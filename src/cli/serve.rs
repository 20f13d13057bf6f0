//! `trunkline serve`: the gateway until it is told to stop.

use std::net::SocketAddr;
use std::path::Path;

use super::{Outcome, block_on, err, load};
use crate::app::App;
use crate::clock::Clock;
use crate::config::Config;
use crate::ops::log;
use crate::ops::signals::Signals;

pub(super) fn run(file: &Path) -> Outcome {
    let config = load(file)?;
    log::start(&config.log);
    block_on(serve(config, file))
}

async fn serve(config: Config, file: &Path) -> Outcome {
    // Before anything is started, so that a stop during the start is not lost.
    let signals = Signals::listen().map_err(|error| format!("signals cannot be heard: {error}"))?;
    let app = App::start(config, Clock::system()).await.map_err(|error| format!("cannot start: {error}"))?;
    if let Some(code) = app.claim_code() {
        err(&claim(code, app.https_address(), file));
    }
    Box::pin(app.run_until_stopped(signals, || reload(file))).await;
    Ok(())
}

/// Not through the logger: the code belongs to whoever sees the console of the box.
fn claim(code: &str, https: SocketAddr, file: &Path) -> String {
    let host = if https.ip().is_unspecified() { "localhost".to_owned() } else { https.ip().to_string() };
    format!(
        "\nThis box has no administrator yet. Its claim code is\n\n    {code}\n\nand makes the first one, from anywhere \
         that reaches the box:\n\n    curl -k https://{host}:{}/api/v2/claim -H 'Content-Type: application/json' \
         -d '{{\"code\":\"{code}\",\"user\":\"NAME\",\"password\":\"…\"}}'\n\nWith the service stopped, \
         `trunkline admin add-user --config {} --user NAME` does the same.\n",
        https.port(),
        file.display()
    )
}

/// Nothing is taken over while running; the operator learns whether a restart would succeed.
fn reload(file: &Path) {
    match Config::load(file) {
        Ok(_) => tracing::warn!(
            "the configuration is right, but nothing of it is taken over while running; restart the service to apply it"
        ),
        Err(mistakes) => {
            for mistake in &mistakes.0 {
                tracing::error!(%mistake, "the running configuration stays");
            }
        }
    }
}
