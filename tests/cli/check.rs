//! `trunkline check` and the outer manners of the command line.
#![allow(clippy::expect_used)]

use crate::cli_common;
use cli_common::{run, text};

fn check(content: &str) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("box.toml");
    std::fs::write(&file, content).expect("written");
    let output = run(&["check", "--config", file.to_str().expect("UTF-8")], "");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_right_file_exits_0_and_says_what_it_holds() {
    let (code, out, _) = check("[[trunk]]\nname = \"pbx\"\nhost = \"10.0.0.1\"\n");
    assert_eq!(code, Some(0));
    assert!(out.contains("right; 1 trunk, 0 extensions"), "{out}");
}

#[test]
fn all_mistakes_are_printed_and_exit_is_1() {
    let (code, out, err) = check("[sip]\nlistn = \"x\"\n[[trunk]]\nname = \"pbx\"\n");
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 2, "{out}");
    assert!(lines[0].ends_with("box.toml:2: sip.listn: unknown key; did you mean `listen`?"), "{out}");
    assert!(lines[1].ends_with("box.toml:3: trunk[1].host: is missing; add `host = …`"), "{out}");
    assert!(err.starts_with("trunkline: 2 mistakes in "), "{err}");
}

#[test]
fn the_shipped_files_are_right() {
    for name in ["configs/trunkline.toml", "configs/minimal.toml"] {
        let output = run(&["check", "--config", name], "");
        assert_eq!(output.status.code(), Some(0), "{name}: {}", text(&output.stdout));
    }
}

#[test]
fn a_missing_file_is_a_sentence() {
    let output = run(&["serve", "--config", "/no/such/box.toml"], "");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("/no/such/box.toml: cannot be read"), "{}", text(&output.stderr));
}

#[test]
fn wrong_arguments_exit_2_and_help_exits_0() {
    assert_eq!(run(&["serv"], "").status.code(), Some(2));
    assert_eq!(run(&["serve", "--port", "1"], "").status.code(), Some(2));
    assert_eq!(run(&[], "").status.code(), Some(2));
    assert_eq!(run(&["--help"], "").status.code(), Some(0));
    let version = run(&["version"], "");
    assert_eq!(text(&version.stdout), concat!("trunkline ", env!("CARGO_PKG_VERSION"), "\n"));
}
