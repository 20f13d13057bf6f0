//! `trunkline admin` on the store, with the service stopped or running.
#![allow(clippy::expect_used)]

use crate::cli_common;
use cli_common::{Site, text};
use trunkline::clock::Clock;
use trunkline::store::{OpenOptions, Store, StoreError, Table};

const ADD: [&str; 4] = ["admin", "add-user", "--user", "Stefan"];
const PASSWORD: &str = "correct horse battery\n";

fn open(site: &Site) -> Store {
    Store::open(&site.state(), OpenOptions { cache_bytes: 1 << 20 }, Clock::system()).expect("the store opens")
}

#[test]
fn makes_a_user_once_and_changes_its_password() {
    let site = Site::new();
    let added = site.run(&ADD, PASSWORD);
    assert!(added.status.success(), "{}", text(&added.stderr));
    assert_eq!(text(&added.stdout), "stefan can sign in as administrator\n");

    let again = site.run(&ADD, PASSWORD);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("there is a user stefan already"), "{}", text(&again.stderr));

    let file = site.folder.path().join("password");
    std::fs::write(&file, "another long password\n").expect("written");
    let file = file.to_str().expect("UTF-8");
    let changed = site.run(&["admin", "set-password", "--user", "stefan", "--password-file", file], "");
    assert_eq!(text(&changed.stdout), "stefan has a new password\n");
}

#[test]
fn refuses_what_identity_refuses() {
    let site = Site::new();
    for (user, password, words) in [
        ("stefan", "short\n", "password must have at least 10 characters"),
        ("stefan", "", "password must have at least 10 characters"),
        ("a b", PASSWORD, "user may hold only letters"),
    ] {
        let output = site.run(&["admin", "add-user", "--user", user], password);
        assert_eq!(output.status.code(), Some(1), "{user} {password}");
        assert!(text(&output.stderr).contains(words), "{}", text(&output.stderr));
    }
    let unknown = site.run(&["admin", "set-password", "--user", "nobody"], PASSWORD);
    assert!(text(&unknown.stderr).contains("there is no user nobody"), "{}", text(&unknown.stderr));
}

#[test]
fn mints_a_key_that_only_stdout_holds() {
    let site = Site::new();
    let output = site.run(&["admin", "mint-key", "--name", "crm"], "");
    let key = text(&output.stdout);
    assert!(output.status.success() && key.starts_with("ak_") && key.trim_end().len() == 35, "{key}");
    assert!(!text(&output.stderr).contains(key.trim_end()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_in_use_names_the_way_out() {
    let site = Site::new();
    let held = open(&site);
    let output = site.run(&ADD, PASSWORD);
    assert_eq!(output.status.code(), Some(1));
    let said = text(&output.stderr);
    assert!(said.contains("in use") && said.contains("stop the service") && said.contains("claim code"), "{said}");
    held.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_store_is_left_alone() {
    const META: Table<String, serde_json::Value> = Table::new("meta");
    let site = Site::new();
    let store = open(&site);
    let newer =
        store.write(|change| -> Result<(), StoreError> { change.put(&META, &"schema".to_owned(), &999.into()) });
    newer.await.expect("written");
    store.close().await;
    for command in [&ADD[..], &["serve"]] {
        let output = site.run(command, PASSWORD);
        assert_eq!(output.status.code(), Some(1));
        let said = text(&output.stderr);
        assert!(said.contains("newer version (schema 999") && said.contains("update Trunkline"), "{said}");
    }
}
