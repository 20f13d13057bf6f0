//! Structured logs to stderr. Nothing personal at info and above: that is the duty of whoever writes the line.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the process. The first call wins; later ones change nothing.
pub fn start(config: &LogConfig) {
    let builder = tracing_subscriber::fmt().with_env_filter(filter(&config.level)).with_writer(std::io::stderr);
    // `try_init` fails only when the process logs already, as it does when several boxes run in one test.
    let _ = match config.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(coloured()).try_init(),
    };
}

/// The level was checked with the configuration; a filter that is still unusable falls back to info.
fn filter(level: &str) -> EnvFilter {
    EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// <https://no-color.org>: any value of `NO_COLOR` turns colour off.
fn coloured() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
