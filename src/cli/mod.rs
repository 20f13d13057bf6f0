//! The command line: serve, check, admin, demo.
//!
//! Arguments flow in; an exit code flows out (0 done, 1 a failure said in a sentence on stderr, 2 wrong arguments).
//! This room drives [`crate::app`]; nobody uses it but `main`.

use std::ffi::OsString;
use std::future::Future;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

mod admin;
mod check;
mod demo;
mod serve;

/// Where the packaged service has its configuration.
const DEFAULT_CONFIG: &str = "/etc/trunkline/trunkline.toml";

/// The box between a company's phone system and realtime voice AI.
#[derive(Debug, Parser)]
#[command(name = "trunkline", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop.
    Serve(ConfigFile),
    /// Check a configuration file and name every mistake.
    Check(ConfigFile),
    /// Work on users while the service is stopped.
    #[command(subcommand)]
    Admin(admin::Command),
    /// Start a gateway and a phone on this machine and let them talk.
    Demo(demo::Arguments),
    /// Say which version this is.
    Version,
}

#[derive(Debug, clap::Args)]
struct ConfigFile {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
}

/// Runs one command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let command = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.command,
        Err(error) => {
            // Nothing can be done when stderr is closed.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let outcome = match command {
        Command::Serve(file) => serve::run(&file.config),
        Command::Check(file) => check::run(&file.config),
        Command::Admin(command) => admin::run(command),
        Command::Demo(arguments) => demo::run(arguments),
        Command::Version => {
            out(concat!("trunkline ", env!("CARGO_PKG_VERSION")));
            Ok(())
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            err(&format!("trunkline: {failure}"));
            ExitCode::FAILURE
        }
    }
}

/// A failure as the operator reads it.
type Outcome = Result<(), String>;

fn load(config: &std::path::Path) -> Result<Config, String> {
    Config::load(config).map_err(|mistakes| {
        let count = mistakes.0.len();
        let what = if count == 1 { "a mistake" } else { "mistakes" };
        format!("the configuration has {what}:\n{mistakes}")
    })
}

/// Runs a command that needs the runtime.
fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let outcome = runtime.block_on(work);
    // What still runs after an orderly stop is stuck; it must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_millis(500));
    outcome
}

/// `println!` panics when the reader is gone; this does not.
fn out(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn err(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
