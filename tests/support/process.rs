//! A child process that ends with the value that holds it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_for;

/// A running child whose output goes to a file.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts `command` with both outputs appended to `output`.
    pub fn start(name: &str, command: &mut Command, output: &Path) -> Process {
        let file = File::options().create(true).append(true).open(output).expect("an output file");
        let second = file.try_clone().expect("a second handle");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(second)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name}: {error}; `make setup-test` installs it"));
        Process { name: name.to_string(), child, output: output.to_path_buf() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("a process id");
        kill(Pid::from_raw(id), signal).expect("own child can be signalled");
    }

    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("own child can be waited for")
    }

    /// The exit status; fails the test with the tail of the output when the process goes on beyond `limit`.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let end = std::time::Instant::now() + limit;
        while std::time::Instant::now() < end {
            if let Some(status) = self.exited() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{} still runs after {limit:?}; its output ends:\n{}", self.name, tail(&self.output(), 40));
    }

    /// Ends it at once, without a chance to clean up.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Waits until somebody listens on the UDP port of 127.0.0.1 (read from the kernel's table, so nothing is disturbed).
#[track_caller]
pub fn wait_for_udp_listener(what: &str, port: u16) {
    let wanted = format!(":{port:04X}");
    wait_for(what, Duration::from_secs(10), || {
        let tables =
            ["/proc/net/udp", "/proc/net/udp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
        let listens = |line: &str| line.split_whitespace().nth(1).is_some_and(|local| local.ends_with(&wanted));
        tables.iter().any(|table| table.lines().skip(1).any(listens)).then_some(())
    });
}
