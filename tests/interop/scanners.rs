//! sipvicious: what scans the internet for boxes to abuse finds nothing here.

use std::process::Command;

use super::tally::Tally;
use crate::support::{Gateway, Setup, free_udp_port};

#[test]
#[ignore = "make interop"]
fn sipvicious_finds_no_box_no_extension_and_no_password() {
    let mut tally = Tally::of("sipvicious");
    tally.scenario("svmap hears no answer", || {
        let gateway = Setup::new().engine("echo").start();
        let found = scan("svmap", &gateway, &[]);
        assert!(!found.contains(&gateway.setup.sip.port().to_string()), "{found}");
    });
    tally.scenario("svwar tells no extension from a number that is none", || {
        let gateway = with_extension();
        for method in ["REGISTER", "INVITE", "OPTIONS"] {
            let found = scan("svwar", &gateway, &["--force", "-e100-110", "-m", method]);
            assert!(!found.contains("reqauth") && !found.contains("| 105"), "{method}: {found}");
        }
    });
    tally.scenario("svcrack does not come to try its passwords", || {
        let gateway = with_extension();
        let found = scan("svcrack", &gateway, &["-u", "105", "-r100-160"]);
        assert!(!found.contains("The password for 105") && !found.contains("| 105"), "{found}");
    });
    tally.close();
}

/// The password lies within what svcrack tries, so only the guard keeps it from being found.
fn with_extension() -> Gateway {
    Setup::new().engine("echo").more("\n[[extension]]\nuser = \"105\"\npassword = \"155\"\n").start()
}

fn scan(tool: &str, gateway: &Gateway, more: &[&str]) -> String {
    let (target, own) = (gateway.setup.sip, free_udp_port());
    let mut command = Command::new("timeout");
    command.args(["40", tool, "-b", "127.0.0.1", "-x", "127.0.0.1", "-P", &own.to_string()]).args(more);
    command.args(["-p", &target.port().to_string(), &target.ip().to_string()]);
    let output = command.output().expect("the scanner runs; `make interop` installs it");
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
