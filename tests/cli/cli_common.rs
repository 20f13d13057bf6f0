//! What the tests of the command line share: the program, and a box of its own to run it on.
#![allow(dead_code, clippy::expect_used, clippy::panic)]

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trunkline"));
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env_remove("CREDENTIALS_DIRECTORY");
    command
}

pub fn run(arguments: &[&str], input: &str) -> Output {
    let mut child = program()
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    // The program may end without reading.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    child.wait_with_output().expect("the program ends")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a configuration on loopback and free ports.
pub struct Site {
    pub folder: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Site {
        let site = Site { folder: tempfile::tempdir().expect("a folder") };
        site.configure("127.0.0.1:0", "127.0.0.1:0", "");
        site
    }

    pub fn configure(&self, https: &str, sip: &str, more: &str) {
        let text = format!(
            "[state]\ndirectory = {:?}\n[http]\nlisten = \"{https}\"\nplain_listen = \"127.0.0.1:0\"\n[sip]\nlisten = \"{sip}\"\n\
             [media]\nports = [23000, 23031]\n[shutdown]\ndrain_seconds = 1\n[[trunk]]\nname = \"pbx\"\nhost = \"127.0.0.1:9\"\n{more}\n",
            self.state()
        );
        std::fs::write(self.config(), text).expect("written");
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn config(&self) -> PathBuf {
        self.folder.path().join("box.toml")
    }

    pub fn config_text(&self) -> String {
        self.config().to_str().expect("UTF-8").to_owned()
    }

    pub fn run(&self, command: &[&str], input: &str) -> Output {
        let config = self.config_text();
        let mut arguments = command.to_vec();
        arguments.extend(["--config", &config]);
        run(&arguments, input)
    }
}

/// A running `serve`. Ended by force when dropped.
pub struct Service {
    child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
}

impl Service {
    pub fn start(config: &Path, prepare: impl FnOnce(&mut Command)) -> Service {
        let mut command = program();
        command
            .arg("serve")
            .arg("--config")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        prepare(&mut command);
        let mut child = command.spawn().expect("the program starts");
        let stderr = child.stderr.take().expect("piped");
        let (sender, lines) = sync_channel(10_000);
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Service { child, lines, seen: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that holds `words`.
    pub fn until(&mut self, words: &str) -> String {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no line with {words:?} in:\n{}", self.seen.join("\n"))
                }
            }
        }
    }

    pub fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), id.as_str()]).status().expect("kill runs");
        assert!(sent.success(), "signal {name}");
    }

    /// Exit code and everything that was said.
    pub fn end(mut self) -> (Option<i32>, String) {
        while let Ok(line) = self.lines.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        let status = self.child.wait().expect("ended: its stderr is closed");
        (status.code(), self.seen.join("\n"))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One HTTP request over plain HTTP on loopback; the whole answer.
pub fn http(address: &str, request: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}
