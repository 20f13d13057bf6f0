//! `trunkline serve`: it starts, says why it cannot, and stops as it is told.
#![allow(clippy::expect_used)]

use crate::cli_common;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;

use cli_common::{PATIENCE, Service, Site, http, text};

/// The sentence of a start that fails.
fn refusal(site: &Site) -> String {
    let output = site.run(&["serve"], "");
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    said
}

#[test]
fn a_taken_port_is_named() {
    let site = Site::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    site.configure(&address, "127.0.0.1:0", "");
    let said = refusal(&site);
    assert!(
        said.contains(&format!("cannot listen for HTTPS on {address}")) && said.contains("[http] listen"),
        "{said}"
    );

    let taken = UdpSocket::bind("127.0.0.1:0").expect("bound");
    let address = taken.local_addr().expect("bound").to_string();
    site.configure("127.0.0.1:0", &address, "");
    let said = refusal(&site);
    assert!(
        said.contains(&format!("cannot listen for SIP over UDP on {address}")) && said.contains("[sip] listen"),
        "{said}"
    );
}

#[test]
fn a_model_that_is_none_is_named() {
    let site = Site::new();
    let folder = site.folder.path().join("model");
    std::fs::create_dir(&folder).expect("made");
    site.configure("127.0.0.1:0", "127.0.0.1:0", &format!("[speech]\nmodel_directory = {folder:?}"));
    let said = refusal(&site);
    assert!(said.contains("speech model in") && said.contains("make model"), "{said}");
}

#[test]
fn a_certificate_that_is_none_is_named() {
    let site = Site::new();
    let file = site.folder.path().join("box.pem");
    std::fs::write(&file, "no certificate").expect("written");
    let text = std::fs::read_to_string(site.config()).expect("read");
    let text = text.replace("[http]\n", &format!("[http]\ncertificate = {file:?}\nkey = {file:?}\n"));
    std::fs::write(site.config(), text).expect("written");
    let said = refusal(&site);
    assert!(said.contains("certificate") && said.contains("box.pem"), "{said}");
}

#[test]
fn a_state_directory_that_cannot_be_made_is_named() {
    let site = Site::new();
    std::fs::write(site.state(), "a file").expect("written");
    let said = refusal(&site);
    assert!(said.contains("state directory") && said.contains("[state] directory"), "{said}");
}

#[test]
fn starts_claims_reports_and_stops() {
    let site = Site::new();
    let socket = site.folder.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).expect("bound");
    systemd.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut service = Service::start(&site.config(), |command| {
        command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "600000");
    });
    let mut told = told(&systemd);
    while !told().contains("READY=1") {}
    while !told().contains("WATCHDOG=1") {}
    service.until("claim code is");

    // A second start meets the lock of the first.
    let said = refusal(&site);
    assert!(said.contains("in use"), "{said}");

    let plain = plain_address(&service);
    let ready = http(&plain, "GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
    let page = http(&plain, "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert!(page.contains("process_resident_memory_bytes") && page.contains("trunkline_calls_live 0"), "{page}");

    service.signal("HUP");
    while !told().contains("RELOADING=1") {}
    service.until("restart the service to apply it");
    service.signal("TERM");
    while !told().contains("STOPPING=1") {}
    let (code, said) = service.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
}

/// The next message that systemd gets.
fn told(systemd: &UnixDatagram) -> impl FnMut() -> String + '_ {
    || {
        let mut buffer = [0; 1024];
        let length = systemd.recv(&mut buffer).expect("a message in time");
        text(&buffer[..length])
    }
}

/// From the log line of the API.
fn plain_address(service: &Service) -> String {
    let line = service.seen.iter().find(|line| line.contains("HTTP is up")).expect("a log line with the addresses");
    let plain = line.split("plain=").nth(1).expect("the plain address");
    plain.chars().filter(|letter| letter.is_ascii_digit() || ".:".contains(*letter)).collect()
}
