//! A real SMTP server (aiosmtpd in a process of its own), and a box with a store and a clock that the test moves.

#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use trunkline::clock::{Clock, UtcTime};
use trunkline::config::{MailConfig, MailSecurity};
use trunkline::events::{Mail, MailState, Mailer, QueuedMail, mails, queue_mail};
use trunkline::store::{OpenOptions, Store, StoreError};
use uuid::Uuid;

pub const START: UtcTime = UtcTime(1_700_000_000_000);
pub const PATIENCE: Duration = Duration::from_secs(20);
pub const MINUTE: Duration = Duration::from_secs(60);

/// The SMTP server process.
pub struct Server {
    _process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub port: u16,
}

impl Server {
    pub async fn start(arguments: &[&str]) -> Server {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp_server.py");
        let mut process = Command::new(python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the test's Python starts; run `make setup`");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        let mut server = Server { _process: process, lines, port: 0 };
        let listening = server.next().await;
        server.port = listening["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
        server
    }

    /// The next thing that happened.
    pub async fn next(&mut self) -> serde_json::Value {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("the server says something");
        let line = line.expect("readable").expect("the SMTP server runs; run `make setup` if aiosmtpd is missing");
        serde_json::from_str(&line).expect("JSON")
    }

    pub async fn expect(&mut self, event: &str) -> serde_json::Value {
        let found = self.next().await;
        assert_eq!(found["event"], event, "{found}");
        found
    }

    pub fn config(&self) -> MailConfig {
        MailConfig {
            host: "127.0.0.1".into(),
            port: Some(self.port),
            security: MailSecurity::None,
            username: None,
            password: None,
            from: "Trunkline <box@example.com>".into(),
            ca: None,
        }
    }
}

fn python() -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/venv/bin/python");
    let python = std::env::var_os("TRUNKLINE_PYTHON").map_or(venv, PathBuf::from);
    assert!(python.exists(), "{} is missing: run `make setup`", python.display());
    python
}

/// A box with a store and a clock.
pub struct Stand {
    directory: TempDir,
    pub store: Store,
    pub clock: Clock,
}

impl Stand {
    pub fn new() -> Stand {
        Stand::with_clock(Clock::manual(START))
    }

    pub fn with_clock(clock: Clock) -> Stand {
        let directory = tempfile::tempdir().expect("a directory");
        let store = open(directory.path(), &clock);
        Stand { directory, store, clock }
    }

    /// As after a restart of the program.
    pub async fn restart(&mut self) {
        self.store.close().await;
        self.store = open(self.directory.path(), &self.clock);
    }

    pub fn mailer(&self, config: Option<&MailConfig>) -> Mailer {
        Mailer::start(config, self.store.clone(), self.clock.clone()).expect("a usable configuration")
    }

    pub async fn queue(&self, id: u128, to: &str) {
        self.queue_at(id, to, self.clock.utc()).await;
    }

    pub async fn queue_at(&self, id: u128, to: &str, at: UtcTime) {
        let mail =
            Mail { to: to.into(), subject: "Rückruf – 回电".into(), text: "Grüß Gott,\n.\nbis bald.".into() };
        let queued = self.store.write(move |change| queue_mail(change, Uuid::from_u128(id), mail, at));
        queued.await.map_err(|error: StoreError| error).expect("queued");
    }

    pub fn mail(&self, id: u128) -> QueuedMail {
        let all = mails(&self.store, 100).expect("readable");
        all.into_iter().find(|mail| mail.id == Uuid::from_u128(id)).expect("in the queue")
    }

    /// Waits until the record says so.
    pub async fn until(&self, id: u128, holds: impl Fn(&QueuedMail) -> bool) -> QueuedMail {
        let looked = tokio::time::timeout(PATIENCE, async {
            loop {
                let mail = self.mail(id);
                if holds(&mail) {
                    return mail;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        });
        looked.await.unwrap_or_else(|_| panic!("in vain: {:?}", self.mail(id)))
    }

    pub async fn until_sent(&self, id: u128) -> QueuedMail {
        self.until(id, |mail| mail.state == MailState::Sent).await
    }
}

fn open(directory: &Path, clock: &Clock) -> Store {
    Store::open(directory, OpenOptions { cache_bytes: 1024 * 1024 }, clock.clone()).expect("the store opens")
}
