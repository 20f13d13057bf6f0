//! The built program under test, with a configuration of its own on loopback.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::http::{self, Response};
use super::process::{Process, tail};
use super::{free_tcp_port, free_udp_port, free_udp_range, model_directory, wait_for};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_trunkline");
pub const ADMIN: &str = "admin";
pub const PASSWORD: &str = "correct horse battery staple";
/// Statuses after which nothing comes.
const FINAL: [&str; 3] = ["ended-success", "ended-failed-final", "cancelled"];
/// RTP and RTCP ports that each gateway gets: enough for forty calls.
const MEDIA_PORTS: u16 = 80;

/// What a gateway is started with; survives its restarts.
pub struct Setup {
    pub folder: TempDir,
    pub sip: SocketAddr,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub media: [u16; 2],
    /// Media threads; 0 = one for each core.
    pub media_threads: usize,
    /// `local` or `echo`.
    pub engine: &'static str,
    pub log_level: &'static str,
    pub drain_seconds: u64,
    pub t1_ms: u64,
    /// Further keys of `[sip]`.
    pub sip_keys: &'static str,
    pub requests_per_minute: u32,
    pub model: Option<PathBuf>,
    /// Further TOML: trunks, numbers, prompts, whole sections.
    pub more: String,
}

impl Setup {
    pub fn new() -> Setup {
        let first = free_udp_range(MEDIA_PORTS);
        Setup {
            folder: tempfile::tempdir().expect("a temporary folder"),
            sip: ([127, 0, 0, 1], free_udp_port()).into(),
            http: ([127, 0, 0, 1], free_tcp_port()).into(),
            https: ([127, 0, 0, 1], free_tcp_port()).into(),
            media: [first, first + MEDIA_PORTS - 1],
            media_threads: 1,
            engine: "local",
            log_level: "info",
            drain_seconds: 5,
            t1_ms: 500,
            sip_keys: "",
            requests_per_minute: 100_000,
            model: None,
            more: String::new(),
        }
    }

    /// With the recogniser. Fails the test when the model is not there: a check that was skipped is not a pass.
    #[track_caller]
    pub fn with_model(mut self) -> Setup {
        let model = model_directory();
        assert!(model.is_some(), "the speech model is missing; `make model` fetches it");
        self.model = model;
        self
    }

    pub fn engine(mut self, kind: &'static str) -> Setup {
        self.engine = kind;
        self
    }

    /// A PBX at `port` of 127.0.0.1, to and from which calls go.
    pub fn trunk(mut self, name: &str, port: u16, more: &str) -> Setup {
        write!(self.more, "\n[[trunk]]\nname = \"{name}\"\nhost = \"127.0.0.1:{port}\"\n{more}\n").expect("string");
        self
    }

    pub fn more(mut self, toml: &str) -> Setup {
        self.more += toml;
        self
    }

    pub fn config_file(&self) -> PathBuf {
        self.folder.path().join("trunkline.toml")
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    pub fn config(&self) -> String {
        let speech = match &self.model {
            Some(model) => format!("[speech]\nmodel_directory = \"{}\"\n", model.display()),
            None => String::new(),
        };
        format!(
            "[organization]\nhost = \"phone.example.com\"\n\n[state]\ndirectory = \"{state}\"\n\n\
             [http]\nlisten = \"{https}\"\nplain_listen = \"{http}\"\nrequests_per_minute = {rate}\n\n\
             [sip]\nlisten = \"{sip}\"\nt1_ms = {t1}\n{sip_keys}\n\n[media]\nports = [{low}, {high}]\nthreads = {threads}\n\n{speech}\n\
             [engine]\nkind = \"{engine}\"\n\n[shutdown]\ndrain_seconds = {drain}\n\n\
             [log]\nlevel = \"{level}\"\nformat = \"json\"\n{more}",
            state = self.state().display(),
            https = self.https,
            http = self.http,
            rate = self.requests_per_minute,
            sip = self.sip,
            t1 = self.t1_ms,
            sip_keys = self.sip_keys,
            low = self.media[0],
            high = self.media[1],
            threads = self.media_threads,
            engine = self.engine,
            drain = self.drain_seconds,
            level = self.log_level,
            more = self.more,
        )
    }

    pub fn write(&self) {
        std::fs::create_dir_all(self.state()).expect("state folder");
        std::fs::write(self.config_file(), self.config()).expect("configuration written");
    }

    /// Writes the configuration and makes the admin, as an operator would.
    #[track_caller]
    pub fn prepare(&self) {
        self.write();
        let password = self.folder.path().join("password");
        std::fs::write(&password, PASSWORD).expect("password file");
        let output = run(&[
            "admin".as_ref(),
            "add-user".as_ref(),
            "--config".as_ref(),
            self.config_file().as_os_str(),
            "--user".as_ref(),
            ADMIN.as_ref(),
            "--role".as_ref(),
            "admin".as_ref(),
            "--password-file".as_ref(),
            password.as_os_str(),
        ]);
        assert!(output.status.success(), "admin add-user: {}", text(&output));
    }

    #[track_caller]
    pub fn start(self) -> Gateway {
        self.prepare();
        self.start_again()
    }

    /// Starts on what an earlier run left behind.
    #[track_caller]
    pub fn start_again(self) -> Gateway {
        let mut process = self.spawn();
        wait_for("readiness", Duration::from_secs(40), || {
            if let Some(status) = process.exited() {
                panic!("the gateway ended with {status}:\n{}", tail(&process.output(), 30));
            }
            http::request(self.http, "GET", "/readyz", &[], b"").ok().filter(|answer| answer.status == 200)
        });
        let mut gateway = Gateway { setup: self, process, token: String::new() };
        gateway.token = gateway.fetch_token();
        gateway
    }

    pub fn spawn(&self) -> Process {
        let mut command = Command::new(PROGRAM);
        // As systemd/trunkline.service sets it.
        command.env("MIMALLOC_DISALLOW_ARENA_ALLOC", "1");
        command.arg("serve").arg("--config").arg(self.config_file());
        Process::start("trunkline serve", &mut command, &self.log_file())
    }
}

/// Runs the program to its end.
pub fn run(arguments: &[&std::ffi::OsStr]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(std::process::Stdio::null()).output().expect("the program runs")
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A running gateway with an admin's token.
pub struct Gateway {
    pub setup: Setup,
    pub process: Process,
    token: String,
}

impl Gateway {
    #[track_caller]
    fn fetch_token(&self) -> String {
        let form = format!(
            "grant_type=password&client_id=codeb-admin&username={ADMIN}&password={}&scope=openid",
            PASSWORD.replace(' ', "+")
        );
        let headers = [("Content-Type", "application/x-www-form-urlencoded")];
        let answer =
            http::request(self.setup.http, "POST", "/oidc.ashx/token", &headers, form.as_bytes()).expect("an answer");
        assert_eq!(answer.status, 200, "token endpoint: {}", answer.text());
        answer.json()["access_token"].as_str().expect("an access token").to_string()
    }

    pub fn token(&self) -> &str {
        &self.token
    }

    pub fn try_request(&self, method: &str, path: &str, body: Option<&Value>) -> std::io::Result<Response> {
        let bearer = format!("Bearer {}", self.token);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let body = body.map(Value::to_string).unwrap_or_default();
        http::request(self.setup.http, method, path, &headers, body.as_bytes())
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        self.try_request("GET", path, None).expect("an answer")
    }

    /// Places a call and returns its id. `more` overrides fields of the order.
    #[track_caller]
    pub fn place(&self, phone: &str, more: &Value) -> String {
        let answer = self.try_request("POST", "/api.ashx/v1/calls", Some(&order(phone, more))).expect("an answer");
        assert_eq!(answer.status, 200, "POST /calls: {}", answer.text());
        answer.json()["callId"].as_str().expect("a call id").to_string()
    }

    #[track_caller]
    pub fn call(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api.ashx/v1/calls/{id}"));
        assert_eq!(answer.status, 200, "GET call: {}", answer.text());
        answer.json()
    }

    /// The record once its status is one of `statuses`.
    #[track_caller]
    pub fn wait_status(&self, id: &str, statuses: &[&str], limit: Duration) -> Value {
        let mut last = Value::Null;
        let end = std::time::Instant::now() + limit;
        while std::time::Instant::now() < end {
            last = self.call(id);
            if last["status"].as_str().is_some_and(|status| statuses.contains(&status)) {
                return last;
            }
            if last["status"].as_str().is_some_and(|status| FINAL.contains(&status)) {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("call is not {statuses:?} within {limit:?}: {last}\nlog:\n{}", tail(&self.process.output(), 30));
    }

    #[track_caller]
    pub fn transcript(&self, id: &str) -> Value {
        wait_for("the transcript", Duration::from_secs(10), || {
            let answer = self.get(&format!("/api.ashx/v1/transcripts/{id}"));
            (answer.status == 200).then(|| answer.json())
        })
    }

    #[track_caller]
    pub fn hang_up(&self, id: &str) -> Value {
        let path = format!("/api.ashx/v1/calls/{id}/hangup");
        let answer = self.try_request("POST", &path, None).expect("an answer");
        assert_eq!(answer.status, 200, "hangup: {}", answer.text());
        answer.json()
    }

    /// `kill -9`; what was started can be started again.
    pub fn kill(mut self) -> Setup {
        self.process.kill();
        self.setup
    }

    /// SIGTERM and the exit status.
    #[track_caller]
    pub fn terminate(mut self, limit: Duration) -> (Setup, ExitStatus) {
        self.process.signal(Signal::SIGTERM);
        let status = self.process.wait(limit);
        (self.setup, status)
    }

    /// The sum of a counter's series.
    pub fn counter(&self, name: &str) -> f64 {
        let page = self.get("/metrics").text();
        let values = page
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        values.sum()
    }

    pub fn log(&self) -> String {
        self.process.output()
    }

    pub fn recordings(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        wavs(&self.setup.state(), &mut found);
        found
    }
}

fn wavs(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            wavs(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "wav") {
            found.push(path);
        }
    }
}

/// A complete order to call.
pub fn order(phone: &str, more: &Value) -> Value {
    let mut order = json!({
        "phone": phone,
        "email": "operator@example.com",
        "systemPrompt": "Good morning. This is the library. Your book is ready.",
        "apiKey": "local",
        "maxSeconds": 60,
    });
    for (key, value) in more.as_object().into_iter().flatten() {
        order[key] = value.clone();
    }
    order
}
