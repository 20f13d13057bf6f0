//! The configuration files that are shipped: they load, and they explain every key.

#![allow(clippy::expect_used, clippy::panic)]

use std::path::Path;

use trunkline::config::{Config, EngineKind, Field, sections};

const EXPLAINED: &str = include_str!("../../configs/trunkline.toml");
const MINIMAL: &str = include_str!("../../configs/minimal.toml");

fn load(name: &str) -> Config {
    Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name)).expect("the shipped file is right")
}

/// The file with every `# key = …` and `# [section]` brought to life.
fn uncommented() -> String {
    let alive = |line: &str| {
        let rest = line.strip_prefix("# ")?;
        let key = rest
            .split_once(" = ")
            .is_some_and(|(key, _)| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b.is_ascii_digit()));
        (key || rest.starts_with('[')).then(|| rest.to_owned())
    };
    EXPLAINED.lines().map(|line| alive(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn the_explained_file_loads() {
    let config = load("trunkline.toml");
    assert_eq!(config.trunks.len(), 1);
}

#[test]
fn the_smallest_file_loads_with_one_trunk() {
    let config = load("minimal.toml");
    assert_eq!(config.trunks[0].host, "192.168.1.10");
    assert!(MINIMAL.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count() <= 3);
}

#[test]
fn values_in_the_explained_file_are_the_defaults() {
    let mut explained = load("trunkline.toml");
    let minimal = load("minimal.toml");
    assert_eq!(format!("{:?}", explained.trunks), format!("{:?}", minimal.trunks));
    explained.trunks.clear();
    assert_eq!(format!("{explained:#?}"), format!("{:#?}", Config::default()));
}

#[test]
fn every_key_of_the_schema_stands_in_the_explained_file() {
    let document: toml::Table = uncommented().parse().expect("every commented key is valid TOML in its place");
    for section in sections() {
        let value = document.get(section.name).unwrap_or_else(|| panic!("[{}] is not explained", section.name));
        let table = if section.many { value[0].as_table() } else { value.as_table() };
        explained(section.name, table.expect("a section"), section.fields);
    }
}

fn explained(name: &str, table: &toml::Table, fields: &[Field]) {
    for field in fields {
        let value = table.get(field.name).unwrap_or_else(|| panic!("{name}.{} is not explained", field.name));
        if let Some(inner) = field.inner() {
            explained(field.name, value.as_table().expect("a section"), inner);
        }
    }
}

/// Serde's types and the schema know the same keys: with all keys present nothing is unknown to the types, and a key
/// that the types require is required by the schema.
#[test]
fn the_types_take_every_key_of_the_schema() {
    let config: Config = toml::from_str(&uncommented()).expect("the types know every explained key");
    assert!(config.mail.is_some() && config.engine.chat.is_some());
    assert_eq!((config.extensions.len(), config.numbers.len(), config.prompts.len()), (1, 1, 1));
    assert_eq!((config.agents.len(), config.tools.len()), (1, 1));
}

#[test]
fn an_example_of_every_realtime_server_loads() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/engines");
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("readable").path();
        if !std::fs::read_to_string(&path).expect("a text").contains("\n[engine.openai]") {
            continue;
        }
        let config = Config::load(&path).unwrap_or_else(|mistakes| panic!("{}: {mistakes}", path.display()));
        assert_eq!(config.engine.kind, EngineKind::OpenAi, "{}", path.display());
        names.push(path.file_stem().expect("a name").to_string_lossy().into_owned());
    }
    names.sort();
    let known = ["azure-openai", "azure-voice-live", "localai", "openai", "speaches", "speech-to-speech", "vllm-omni"];
    assert_eq!(names, known);
}

#[test]
fn the_example_of_openai_live_loads_and_its_mistakes_are_explained() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/engines/openai-live.toml");
    let config = Config::load(&path).expect("the example is right");
    assert_eq!(config.engine.kind, EngineKind::OpenAiLive);
    for (section, words) in [
        ("", "stands without `openai_live`"),
        ("[engine.openai_live]\nurl = \"ws://x/\"", "engine.openai_live.model: is missing"),
        ("[engine.openai_live]\nurl = \"ws://x/\"\nmodel = \"m\"\nkey_field = \"api-key\"", "stands without `api_key`"),
    ] {
        let text = format!("[engine]\nkind = \"openai-live\"\n{section}");
        let found = Config::parse(&text, Path::new("t.toml")).map(|_| ()).expect_err(section).to_string();
        assert!(found.contains(words), "{section}: {found}");
    }
}

#[test]
fn a_mistake_in_the_realtime_section_is_explained() {
    let mistakes = |section: &str| {
        let text = format!("[engine]\nkind = \"openai\"\n{section}");
        Config::parse(&text, Path::new("t.toml")).map(|_| ()).expect_err(section).to_string()
    };
    for (section, words) in [
        ("", "stands without `openai`"),
        ("[engine.openai]\nmodel = \"m\"", "engine.openai.url: is missing"),
        ("[engine.openai]\nurl = \"https://x/\"", "write a complete address"),
        ("[engine.openai]\nurl = \"ws://x/\"\nturn_detection = \"off\"", "write one of \"none\""),
        ("[engine.openai]\nurl = \"ws://x/\"\nkey_field = \"api-key\"", "stands without `api_key`"),
        ("[engine.openai]\nurl = \"ws://x/\"\nquery = { a = 1 }", "engine.openai.query.a"),
        ("[engine.openai]\nurl = \"ws://x/\"\nheaders = { a = { nowhere = \"b\" } }", "engine.openai.headers.a"),
        ("[engine.openai]\nurl = \"ws://x/\"\ninput_format = \"opus\"", "is not known here"),
        ("[engine.openai]\nurl = \"ws://x/\"\nvoices = \"x\"", "did you mean `voice`?"),
    ] {
        let found = mistakes(section);
        assert!(found.contains(words), "{section}: {found}");
    }
}

/// As an operator would: the program itself, the keys in its environment.
#[test]
fn the_examples_of_engines_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/engines");
    for entry in std::fs::read_dir(&folder).expect("the examples") {
        let file = entry.expect("an entry").path();
        let mut check = crate::cli_common::program();
        check.arg("check").arg("--config").arg(&file);
        for name in ["GEMINI_API_KEY", "VERTEX_TOKEN", "OPENAI_API_KEY", "AZURE_OPENAI_API_KEY", "BOT_TOKEN"] {
            check.env(name, "a key");
        }
        let output = check.output().expect("the program runs");
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn a_mistake_about_a_bot_is_explained() {
    for (section, words) in [
        ("[engine.media_stream]", "engine.media_stream.url: is missing"),
        ("[engine.media_stream]\nurl = \"ws://x/\"\ndialect = \"exotel\"", "is not known here"),
        ("[engine.media_stream]\nurl = \"ws://x/\"\naccount_sid = \"AC/1\"", "write letters and digits"),
        ("[engine.media_stream]\nurl = \"ws://x/\"\non_end = \"wait\"", "is not known here"),
        (
            "[engine.media_stream]\nurl = \"ws://x/\"\ndialect = \"plivo\"\nauth_token = \"tea\"",
            "means nothing in this dialect",
        ),
    ] {
        let text = format!("[engine]\nkind = \"media-stream\"\n{section}");
        let found = Config::parse(&text, Path::new("t.toml")).map(|_| ()).expect_err(section).to_string();
        assert!(found.contains(words), "{section}: {found}");
    }
}
