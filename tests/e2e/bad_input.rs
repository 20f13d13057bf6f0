//! What the operator reads when the box cannot start: one sentence that says what to do, and exit code 1.

use crate::support;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use support::gateway::{run, text};
use support::process::Process;
use support::{Setup, free_udp_port};

const SOON: Duration = Duration::from_secs(30);

/// Starts the box, which must refuse; returns what it said.
#[track_caller]
fn refusal(setup: &Setup) -> String {
    let mut process: Process = setup.spawn();
    let status = process.wait(SOON);
    let said = process.output();
    assert_eq!(status.code(), Some(1), "{status}: {said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

#[track_caller]
fn says(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "“{part}” is missing in: {said}");
    }
}

fn trunked() -> Setup {
    Setup::new().trunk("pbx", free_udp_port(), "")
}

#[test]
fn a_broken_configuration_names_line_key_and_remedy_and_nothing_is_started() {
    let setup = trunked();
    setup.write();
    let file = setup.config_file();
    let broken = setup.config().replace("t1_ms = 500", "t1_ms = \"soon\"\nt2_ms = 7");
    std::fs::write(&file, &broken).expect("written");
    let line = |part: &str| broken.lines().position(|line| line.contains(part)).expect("the line") + 1;
    let said = refusal(&setup);
    says(&said, &["trunkline.toml", "t1_ms", "t2_ms", &format!(":{}", line("t1_ms"))]);
    assert!(!setup.state().join("trunkline.redb").exists(), "a store was made for a broken configuration");

    let checked = run(&["check".as_ref(), "--config".as_ref(), file.as_os_str()]);
    assert_eq!(checked.status.code(), Some(1));
    says(&text(&checked), &["t1_ms", "t2_ms", &format!(":{}", line("t2_ms"))]);
}

#[test]
fn a_right_configuration_passes_the_check() {
    let setup = trunked();
    setup.write();
    let checked = run(&["check".as_ref(), "--config".as_ref(), setup.config_file().as_os_str()]);
    assert!(checked.status.success(), "{}", text(&checked));
}

#[test]
fn a_missing_configuration_file_is_named() {
    let setup = trunked();
    says(&refusal(&setup), &["trunkline.toml"]);
}

#[test]
fn a_sip_port_in_use_is_named() {
    let setup = trunked();
    setup.write();
    let _taken = UdpSocket::bind(setup.sip).expect("the port");
    says(&refusal(&setup), &["cannot listen for SIP over UDP", &setup.sip.to_string(), "[sip] listen"]);
}

#[test]
fn an_https_port_in_use_is_named() {
    let setup = trunked();
    setup.write();
    let _taken = TcpListener::bind(setup.https).expect("the port");
    says(&refusal(&setup), &["cannot listen for HTTPS", &setup.https.to_string(), "[http] listen"]);
}

#[test]
fn a_store_in_use_is_not_touched() {
    let gateway = trunked().start();
    let second = Setup { folder: tempfile::tempdir().expect("a folder"), ..Setup::new() };
    second.write();
    let shared =
        second.config().replace(&second.state().display().to_string(), &gateway.setup.state().display().to_string());
    std::fs::write(second.config_file(), shared).expect("written");
    says(&refusal(&second), &["in use by another process"]);
    assert_eq!(gateway.get("/readyz").status, 200);
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let setup = trunked();
    setup.prepare();
    let file = setup.state().join("trunkline.redb");
    make_newer(&file);
    let before = std::fs::read(&file).expect("the store");
    says(&refusal(&setup), &["newer version", "update Trunkline or restore a backup"]);
    assert_eq!(std::fs::read(&file).expect("the store").len(), before.len());
}

/// Raises the schema number inside the store, as a later version would have.
fn make_newer(file: &std::path::Path) {
    use redb::{ReadableDatabase, ReadableTable, TableHandle};
    let database = redb::Database::open(file).expect("the store opens");
    let names: Vec<String> = {
        let read = database.begin_read().expect("a snapshot");
        read.list_tables().expect("tables").map(|table| table.name().to_string()).collect()
    };
    let mut raised = false;
    for name in names.iter().filter(|name| name.contains("meta") || name.contains("schema")) {
        let write = database.begin_write().expect("a transaction");
        {
            let definition: redb::TableDefinition<'_, &[u8], &[u8]> = redb::TableDefinition::new(name);
            if let Ok(mut table) = write.open_table(definition) {
                let rows: Vec<(Vec<u8>, Vec<u8>)> = table
                    .iter()
                    .expect("rows")
                    .flatten()
                    .map(|(key, value)| (key.value().to_vec(), value.value().to_vec()))
                    .collect();
                for (key, value) in rows {
                    if serde_json::from_slice::<u32>(&value).is_ok() {
                        table.insert(key.as_slice(), b"4000000".as_slice()).expect("raised");
                        raised = true;
                    }
                }
            }
        }
        write.commit().expect("committed");
    }
    assert!(raised, "no schema number was found in {names:?}");
}

#[test]
fn a_damaged_store_is_named_and_not_overwritten() {
    let setup = trunked();
    setup.prepare();
    let file = setup.state().join("trunkline.redb");
    std::fs::write(&file, b"this is not a store").expect("damaged");
    says(&refusal(&setup), &["trunkline.redb", "cannot be opened"]);
    assert_eq!(std::fs::read(&file).expect("the file"), b"this is not a store");
}

#[test]
fn a_missing_model_file_is_named_with_both_ways_out() {
    let mut setup = trunked();
    setup.model = Some(setup.folder.path().join("no-model-here"));
    setup.write();
    says(&refusal(&setup), &["no-model-here", "model"]);
}

#[test]
fn a_state_folder_that_cannot_be_written_is_named() {
    let setup = trunked();
    setup.write();
    // A file where the folder should be stops root as well.
    std::fs::remove_dir_all(setup.state()).expect("no folder");
    std::fs::write(setup.state(), b"in the way").expect("a file");
    std::fs::set_permissions(setup.state(), std::fs::Permissions::from_mode(0o400)).expect("rights");
    says(&refusal(&setup), &["state"]);
}

#[test]
fn a_wrong_command_line_is_answered_with_usage_and_exit_2() {
    let output = run(&["serv".as_ref()]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    says(&text(&output), &["Usage"]);
}

#[test]
fn a_password_that_is_too_short_is_refused() {
    let setup = trunked();
    setup.write();
    let password = setup.folder.path().join("short");
    std::fs::write(&password, "abc").expect("written");
    let output = run(&[
        "admin".as_ref(),
        "add-user".as_ref(),
        "--config".as_ref(),
        setup.config_file().as_os_str(),
        "--user".as_ref(),
        "admin".as_ref(),
        "--password-file".as_ref(),
        password.as_os_str(),
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    says(&text(&output), &["password", "characters"]);
}
