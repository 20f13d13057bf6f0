//! Kamailio as registrar and proxy, dnsmasq as its name server.

#![allow(clippy::disallowed_methods)] // waiting for other programs is done in real time

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::process::{Process, tail, wait_for_udp_listener};
use crate::support::{free_tcp_port, free_udp_port, wait_for};

pub const PASSWORD: &str = "a long secret";
/// Rings two phones at once.
pub const FORK: &str = "+49301";
/// Goes straight to the phone.
pub const PHONE: &str = "+49302";
/// Asks for a password with 407.
pub const PROTECTED: &str = "+49303";

/// Where a proxy sends calls to, as ports of 127.0.0.1.
#[derive(Default, Clone, Copy)]
pub struct Behind {
    pub fork: [u16; 2],
    pub phone: u16,
    /// Control port of a media relay; 0 for none.
    pub rtpengine: u16,
}

pub struct Kamailio {
    pub process: Process,
    pub sip: SocketAddr,
    pub tls: SocketAddr,
    folder: PathBuf,
}

/// A certificate for 127.0.0.1 and `localhost`, which is also its own authority, as PEM files in `folder`.
pub fn certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    let (certificate, key) = (folder.join("proxy.pem"), folder.join("proxy.key"));
    std::fs::write(&certificate, made.cert.pem()).expect("written");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("written");
    (certificate, key)
}

impl Kamailio {
    #[track_caller]
    pub fn start(folder: &Path, name: &str, behind: Behind) -> Kamailio {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).expect("proxy folder");
        let (certificate, key) = certificate(&folder);
        let (sip, tls) = (free_udp_port(), free_tcp_port());
        let values = [
            ("SIP_PORT", sip.to_string()),
            ("TLS_PORT", tls.to_string()),
            ("CERTIFICATE", certificate.display().to_string()),
            ("KEY", key.display().to_string()),
            ("USER_PASSWORD", PASSWORD.to_owned()),
            ("FORK_A", behind.fork[0].to_string()),
            ("FORK_B", behind.fork[1].to_string()),
            ("PHONE", behind.phone.to_string()),
            ("RTPENGINE_PORT", behind.rtpengine.to_string()),
            ("CONTROL", folder.join("control").display().to_string()),
        ];
        let template = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/kamailio/proxy.cfg");
        let mut text = std::fs::read_to_string(template).expect("the proxy's configuration");
        for (word, value) in values {
            text = text.replace(&format!("@{word}@"), &value);
        }
        std::fs::write(folder.join("proxy.cfg"), text).expect("written");
        let mut command = Command::new("kamailio");
        command.args(["-DD", "-E", "-m", "64", "-M", "8", "-A", "WITH_TLS"]);
        if behind.rtpengine != 0 {
            command.args(["-A", "WITH_RTPENGINE"]);
        }
        command.arg("-f").arg(folder.join("proxy.cfg")).arg("-Y").arg(&folder).arg("-P").arg(folder.join("pid"));
        let process = Process::start("kamailio", &mut command, &folder.join("output"));
        wait_for_udp_listener("kamailio to listen", sip);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let proxy = Kamailio { process, sip: local(sip), tls: local(tls), folder };
        wait_for("kamailio's control socket", Duration::from_secs(10), || proxy.rpc(&["core.uptime"]));
        proxy
    }

    pub fn authority(&self) -> PathBuf {
        self.folder.join("proxy.pem")
    }

    /// The answer of a control command.
    pub fn rpc(&self, words: &[&str]) -> Option<String> {
        let socket = format!("unix:{}", self.folder.join("control").display());
        let output = Command::new("kamcmd").args(["-s", &socket]).args(words).output().expect("kamcmd runs");
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Contacts of a registered user.
    pub fn contacts(&self, user: &str) -> Vec<String> {
        let table = self.rpc(&["ul.dump"]).unwrap_or_default();
        let mut owner = "";
        let mut found = Vec::new();
        for line in table.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("AoR: ") {
                owner = name;
            }
            if let Some(address) = line.strip_prefix("Address: ").filter(|_| owner.starts_with(user)) {
                found.push(address.to_owned());
            }
        }
        found
    }

    pub fn output(&self) -> String {
        tail(&self.process.output(), 40)
    }
}

impl Drop for Kamailio {
    /// The main process ends its children when it is asked to, not when it is killed.
    fn drop(&mut self) {
        self.process.signal(Signal::SIGTERM);
        let end = std::time::Instant::now() + Duration::from_secs(5);
        while self.process.exited().is_none() && std::time::Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A name server with the given lines of dnsmasq configuration.
pub struct Names {
    _process: Process,
    pub address: SocketAddr,
}

impl Names {
    #[track_caller]
    pub fn start(folder: &Path, lines: &str) -> Names {
        let port = free_udp_port();
        let file = folder.join("names.conf");
        let fixed = "no-resolv\nno-hosts\nbind-interfaces\nlisten-address=127.0.0.1\nlog-queries\nlog-facility=-\n\
                     local=/test/\nlocal-ttl=1\n";
        std::fs::write(&file, format!("{fixed}port={port}\n{lines}\n")).expect("written");
        let mut command = Command::new("dnsmasq");
        command
            .args(["--keep-in-foreground", "--user=root", "--pid-file="])
            .arg(format!("--conf-file={}", file.display()));
        let process = Process::start("dnsmasq", &mut command, &folder.join("names.output"));
        wait_for_udp_listener("dnsmasq to listen", port);
        Names { _process: process, address: SocketAddr::from(([127, 0, 0, 1], port)) }
    }
}
