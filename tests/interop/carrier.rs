//! Kamailio as the carrier or PBX in front of the box.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::kamailio::{Behind, FORK, Kamailio, Names, PASSWORD, PHONE, PROTECTED};
use super::tally::Tally;
use crate::support::sipp::{Run, Scenario, Sipp};
use crate::support::{Gateway, Setup, wait_for};

const SOON: Duration = Duration::from_secs(20);
/// The box's user at the registrar, and the number that it answers.
const USER: &str = "4930555";

fn callee(folder: &TempDir, name: &str, scenario: &Scenario) -> Sipp {
    Run { folder: folder.path(), name, scenario, calls: 1, limit: 60, port: 0 }.answering()
}

fn answers() -> Scenario {
    Scenario::new().receive_invite().reply("100 Trying").reply("180 Ringing").answer(0).until_bye()
}

fn rings_until_cancelled() -> Scenario {
    let ringing = Scenario::new().receive_invite().reply("100 Trying").reply("180 Ringing");
    ringing.receive("CANCEL").reply("200 OK").terminate_kept()
}

/// A box whose only trunk is this proxy.
fn box_behind(proxy: &Kamailio, more: &str) -> Gateway {
    Setup::new().engine("echo").trunk("carrier", proxy.sip.port(), more).start()
}

/// Places a call, sees it live and hangs up.
fn call_and_hang_up(gateway: &Gateway, number: &str) {
    let id = gateway.place(number, &json!({}));
    gateway.wait_status(&id, &["in-flight"], SOON);
    gateway.hang_up(&id);
    gateway.wait_status(&id, &["cancelled"], SOON);
}

fn credentials() -> String {
    format!("username = \"{USER}\"\npassword = \"{PASSWORD}\"\n")
}

#[test]
#[ignore = "make interop"]
fn kamailio_as_registrar_proxy_and_carrier() {
    let mut tally = Tally::of("kamailio");
    tally.scenario("registers, is called through the registrar, and leaves it when it stops", registrar);
    tally.scenario("calls through the proxy, which stays in the route", || plain(""));
    tally.scenario("calls through the proxy over TCP", || plain("transport = \"tcp\"\n"));
    tally.scenario("calls through the proxy over TLS with a private authority", over_tls);
    tally.scenario("does not call over TLS when the certificate is a stranger's", stranger);
    tally.scenario("answers 407 of the proxy", protected);
    tally.scenario("one of two phones that the proxy rings at once answers", forked);
    tally.scenario("the second of an SRV pair takes the call when the first is dead", srv_pair);
    tally.close();
}

fn registrar() {
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = Kamailio::start(folder.path(), "proxy", Behind::default());
    let number = format!(
        "\n[[number]]\nname = \"box\"\nnumber = \"{USER}\"\nsystem_prompt = \"Hello from the box.\"\nvisibility = \"public\"\n"
    );
    let trunk = format!("register = true\nregister_seconds = 60\n{}{number}", credentials());
    let gateway = box_behind(&proxy, &trunk);
    wait_for("the registration", SOON, || (proxy.contacts(USER).len() == 1).then_some(()));

    let called = Scenario::new().invite(USER, "1000", 0).expect_optional(180).expect_optional(183).expect(200);
    let scenario = called.ack_routed("1000").pause(Duration::from_secs(1)).bye_routed("1000");
    let run = Run { folder: folder.path(), name: "caller", scenario: &scenario, calls: 1, limit: 30, port: 0 };
    run.calling(proxy.sip, 1).succeeded(SOON);

    let (_setup, status) = gateway.terminate(SOON);
    assert!(status.success(), "{status}");
    wait_for("the end of the registration", SOON, || proxy.contacts(USER).is_empty().then_some(()));
}

fn plain(more: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let phone = callee(&folder, "phone", &answers());
    let proxy = Kamailio::start(folder.path(), "proxy", Behind { phone: phone.port, ..Behind::default() });
    call_and_hang_up(&box_behind(&proxy, more), PHONE);
    let messages = phone.succeeded(SOON);
    assert!(messages.contains("Record-Route:"), "the proxy stayed in the route");
}

fn tls_trunk(proxy: &Kamailio, authority: &std::path::Path) -> Setup {
    let mut trunk = String::from("transport = \"tls\"\n");
    writeln!(trunk, "ca = \"{}\"", authority.display()).expect("string");
    Setup::new().engine("echo").trunk("carrier", proxy.tls.port(), &trunk)
}

fn over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let phone = callee(&folder, "phone", &answers());
    let proxy = Kamailio::start(folder.path(), "proxy", Behind { phone: phone.port, ..Behind::default() });
    let gateway = tls_trunk(&proxy, &proxy.authority()).start();
    call_and_hang_up(&gateway, PHONE);
    phone.succeeded(SOON);
}

fn stranger() {
    let folder = tempfile::tempdir().expect("a folder");
    let proxy = Kamailio::start(folder.path(), "proxy", Behind { phone: 9, ..Behind::default() });
    let foreign = tempfile::tempdir().expect("a folder");
    let (authority, _) = super::kamailio::certificate(foreign.path());
    let gateway = tls_trunk(&proxy, &authority).start();
    let id = gateway.place(PHONE, &json!({}));
    gateway.wait_status(&id, &["ended-failed-final"], SOON);
}

fn protected() {
    let folder = tempfile::tempdir().expect("a folder");
    let phone = callee(&folder, "phone", &answers());
    let proxy = Kamailio::start(folder.path(), "proxy", Behind { phone: phone.port, ..Behind::default() });
    call_and_hang_up(&box_behind(&proxy, &credentials()), PROTECTED);
    phone.succeeded(SOON);
}

fn forked() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = callee(&folder, "slow", &rings_until_cancelled());
    let quick = callee(&folder, "quick", &answers());
    let behind = Behind { fork: [slow.port, quick.port], ..Behind::default() };
    let proxy = Kamailio::start(folder.path(), "proxy", behind);
    call_and_hang_up(&box_behind(&proxy, ""), FORK);
    slow.succeeded(SOON);
    quick.succeeded(SOON);
}

fn srv_pair() {
    let folder = tempfile::tempdir().expect("a folder");
    let phone = callee(&folder, "phone", &answers());
    let behind = Behind { phone: phone.port, ..Behind::default() };
    let first = Kamailio::start(folder.path(), "first", behind);
    let mut second = Kamailio::start(folder.path(), "second", behind);
    let record = |name: &str, port: u16, priority: u8| {
        format!("srv-host=_sip._udp.carrier.test,{name}.test,{port},{priority},10\nhost-record={name}.test,127.0.0.1\n")
    };
    let records = record("first", first.sip.port(), 10) + &record("second", second.sip.port(), 20);
    let names = Names::start(folder.path(), &records);
    let trunk =
        format!("\n[dns]\nservers = [\"{}\"]\n[[trunk]]\nname = \"carrier\"\nhost = \"carrier.test\"\n", names.address);
    let mut setup = Setup::new().engine("echo").more(&trunk);
    setup.t1_ms = 100;
    let gateway = setup.start();
    drop(first);
    call_and_hang_up(&gateway, PHONE);
    phone.succeeded(SOON);
    assert!(second.process.exited().is_none(), "{}", second.output());
}
