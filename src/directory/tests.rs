use tempfile::TempDir;
use uuid::Uuid;

use super::*;
use crate::clock::{Clock, UtcTime};
use crate::config::{NumberConfig, NumberMode, PromptConfig, Visibility};
use crate::store::OpenOptions;

const NOW: UtcTime = UtcTime(1_700_000_000_000);

struct TestStore {
    _directory: TempDir,
    store: Store,
}

impl TestStore {
    fn new() -> TestStore {
        let directory = tempfile::tempdir().unwrap();
        let options = OpenOptions { cache_bytes: 1024 * 1024 };
        let store = Store::open(directory.path(), options, Clock::manual(NOW)).unwrap();
        TestStore { _directory: directory, store }
    }

    /// A start with this configuration.
    async fn start(&self, config: &Config) -> Directory {
        Directory::open(self.store.clone(), config).await.unwrap()
    }
}

fn number(name: &str, number: &str) -> NumberConfig {
    NumberConfig {
        name: name.into(),
        number: number.into(),
        mode: NumberMode::LiveVoiceAi,
        system_prompt: "reminder".into(),
        agent: None,
        voice: None,
        language: None,
        visibility: Visibility::SignedIn,
        save_transcripts: true,
        record_calls: false,
        max_duration_seconds: 600,
        email: None,
        transfer_to: None,
        transfer_whisper: false,
    }
}

fn prompt(slug: &str, text: &str) -> PromptConfig {
    PromptConfig { slug: slug.into(), text: text.into() }
}

fn config() -> Config {
    Config {
        numbers: vec![number("Sales", "+49 30 12345"), number("Desk", "1234")],
        prompts: vec![prompt("reminder", "Remind them.")],
        ..Config::default()
    }
}

fn names(directory: &Directory) -> Vec<String> {
    let organization = directory.organization("").id;
    directory.numbers(organization).unwrap().into_iter().map(|number| number.name).collect()
}

#[tokio::test]
async fn the_organization_keeps_its_id_and_takes_the_names_of_the_file() {
    let store = TestStore::new();
    let mut config = config();
    let first = store.start(&config).await.organization("any").clone();
    assert_eq!(first.host, "trunkline.local");
    config.organization.host = "voice.example.com".into();
    config.organization.voice = "Kore".into();
    let second = store.start(&config).await.organization("voice.example.com").clone();
    assert_eq!(second.id, first.id);
    assert_eq!((second.host.as_str(), second.voice.as_str()), ("voice.example.com", "Kore"));
}

#[tokio::test]
async fn what_leaves_the_file_leaves_the_store_and_what_was_made_stays() {
    let store = TestStore::new();
    let mut config = config();
    let directory = store.start(&config).await;
    let organization = directory.organization("").id;
    assert_eq!(names(&directory), ["Desk", "Sales"]);
    let sales = directory.number_for("+493012345").unwrap().unwrap();

    let made = Number { id: Uuid::from_u128(7), name: "Made".into(), number: "5678".into(), ..sales.clone() };
    let change = store.store.write(move |change| {
        Directory::put_number(change, &made)?;
        let prompt = Prompt { organization, slug: "made".into(), text: "Made.".into() };
        Directory::put_prompt(change, &prompt)
    });
    change.await.map_err(|error: StoreError| error).unwrap();

    config.numbers.remove(1);
    config.numbers[0].name = "Sales Berlin".into();
    config.numbers[0].number = "00493012345".into();
    config.prompts = vec![prompt("welcome", "Welcome them.")];
    let directory = store.start(&config).await;
    assert_eq!(names(&directory), ["Sales Berlin", "Made"]);
    let again = directory.number_for("+493012345").unwrap().unwrap();
    assert_eq!(again.id, sales.id, "a declared number keeps its id");
    let slugs: Vec<_> = directory.prompts(organization).unwrap().into_iter().map(|prompt| prompt.slug).collect();
    assert_eq!(slugs, ["made", "welcome"]);

    let directory = store.start(&Config::default()).await;
    assert_eq!(names(&directory), ["Made"]);
}

#[tokio::test]
async fn a_number_takes_voice_and_language_of_the_organization_unless_it_names_its_own() {
    let store = TestStore::new();
    let mut config = config();
    config.numbers[1].voice = Some("Puck".into());
    config.numbers[1].language = Some("de-DE".into());
    let directory = store.start(&config).await;
    let voices = |called| {
        let number = directory.number_for(called).unwrap().unwrap();
        (number.voice, number.language)
    };
    assert_eq!(voices("+493012345"), ("Aoede".into(), "en-US".into()));
    assert_eq!(voices("1234"), ("Puck".into(), "de-DE".into()));
}

#[tokio::test]
async fn a_called_number_is_found_however_the_carrier_writes_it() {
    let store = TestStore::new();
    let directory = store.start(&config()).await;
    let name = |called: &str| directory.number_for(called).unwrap().map(|number| number.name);
    for called in ["+493012345", "00493012345", "493012345", "+49 (30) 12345"] {
        assert_eq!(name(called).as_deref(), Some("Sales"), "{called}");
    }
    assert_eq!(name("1234").as_deref(), Some("Desk"));
    for unknown in ["", "3012345", "12345", "anonymous", "+4930123456"] {
        assert_eq!(name(unknown), None, "{unknown}");
    }
}

#[tokio::test]
async fn a_known_slug_is_resolved_and_anything_else_is_text() {
    let store = TestStore::new();
    let directory = store.start(&config()).await;
    let organization = directory.organization("").id;
    let resolve = |text: &str| directory.resolve_prompt(organization, text).unwrap();
    assert_eq!(resolve("reminder"), "Remind them.");
    assert_eq!(resolve("unknown-slug"), "unknown-slug");
    assert_eq!(resolve("Reminder"), "Reminder");
    assert_eq!(resolve("Say hello."), "Say hello.");
    assert_eq!(directory.resolve_prompt(Uuid::nil(), "reminder").unwrap(), "reminder", "another organization's");
}

async fn whitelist(store: &Store, organization: Uuid, number: &'static str) -> bool {
    let listed = store.write(move |change| Directory::whitelist(change, organization, number, NOW));
    listed.await.map_err(|error: StoreError| error).unwrap()
}

#[tokio::test]
async fn dialling_is_denied_unless_the_number_is_listed_allowed_or_our_own() {
    use DialVerdict::{Allowed, Denied, NotWhitelisted};
    let store = TestStore::new();
    let mut config = config();
    config.dial.allow = vec!["+4989".into(), "7".into(), String::new()];
    config.dial.deny = vec!["0049 900".into(), "+1900".into(), "79".into()];
    let directory = store.start(&config).await;
    let organization = directory.organization("").id;
    assert!(whitelist(&store.store, organization, "+44 20 7946 0000").await);
    assert!(!whitelist(&store.store, organization, "0044 20 79460000").await, "listed already");
    assert!(whitelist(&store.store, organization, "+1 900 555 0100").await);
    assert!(!whitelist(&store.store, organization, "sip:alice").await);
    assert!(!whitelist(&store.store, organization, "+493012345").await, "our own");

    for (number, verdict) in [
        ("+442079460000", Allowed),
        ("00442079460000", Allowed),
        ("442079460000", NotWhitelisted),
        ("+442079460001", NotWhitelisted),
        ("+498912345", Allowed),
        ("498912345", NotWhitelisted),
        ("701", Allowed),
        ("790", Denied),
        ("+701", NotWhitelisted),
        ("+4990012345", Denied),
        ("+19005550100", Denied),
        ("+493012345", Allowed),
        ("493012345", NotWhitelisted),
        ("1234", Allowed),
        ("+1234", NotWhitelisted),
        ("", NotWhitelisted),
        ("alice", NotWhitelisted),
        ("+49*89", NotWhitelisted),
    ] {
        assert_eq!(directory.may_dial(organization, number).unwrap(), verdict, "{number}");
    }
    let stranger = directory.may_dial(Uuid::nil(), "+442079460000").unwrap();
    assert_eq!(stranger, NotWhitelisted, "the list is the organization's");
}

#[tokio::test]
async fn a_fixed_list_takes_nothing_from_the_api() {
    let store = TestStore::new();
    let mut config = config();
    config.dial.allow = vec!["+".into()];
    config.dial.deny = vec!["+1".into()];
    config.dial.fixed = true;
    let directory = store.start(&config).await;
    let organization = directory.organization("").id;
    whitelist(&store.store, organization, "5555").await;
    let verdict = |number| directory.may_dial(organization, number).unwrap();
    assert_eq!(verdict("5555"), DialVerdict::NotWhitelisted);
    assert_eq!(verdict("1234"), DialVerdict::NotWhitelisted);
    assert_eq!(verdict("+4412345"), DialVerdict::Allowed);
    assert_eq!(verdict("+12125550100"), DialVerdict::Denied);
}

#[tokio::test]
async fn an_own_number_stays_allowed_after_it_left_the_file_when_it_was_listed() {
    let store = TestStore::new();
    let directory = store.start(&config()).await;
    let organization = directory.organization("").id;
    whitelist(&store.store, organization, "1234").await;
    let directory = store.start(&Config::default()).await;
    assert_eq!(directory.may_dial(organization, "1234").unwrap(), DialVerdict::Allowed);
    assert_eq!(directory.may_dial(organization, "+493012345").unwrap(), DialVerdict::NotWhitelisted);
}

#[tokio::test]
async fn users_are_found_by_name_without_regard_to_case() {
    let store = TestStore::new();
    let directory = store.start(&Config::default()).await;
    let organization = directory.organization("").id;
    let user = User {
        id: Uuid::from_u128(1),
        organization,
        name: "Ada".into(),
        email: None,
        role: Role::Admin,
        password_hash: "$argon2id$".into(),
        created_at: NOW,
        disabled: false,
    };
    let twice = store.store.write(move |change| {
        Directory::put_user(change, &user)?;
        Directory::put_user(change, &User { name: "ADA".into(), disabled: true, ..user })?;
        Directory::users_in(change, organization).map(|users| users.len())
    });
    assert_eq!(twice.await.map_err(|error: StoreError| error).unwrap(), 1);
    let found = directory.user(&store.store.read().unwrap(), organization, "aDa").unwrap().unwrap();
    assert_eq!((found.name.as_str(), found.disabled), ("ada", true));
    assert_eq!(directory.users(organization).unwrap().len(), 1);
    assert!(directory.users(Uuid::nil()).unwrap().is_empty());
}

const AGENTS: &str = r#"
[[agents]]
name = "desk"
instructions = "reminder"
tools = ["order_status"]
[[tools]]
name = "order_status"
description = "Looks."
url = "https://crm.example/"
headers = { Authorization = "Bearer sesame" }
"#;

#[tokio::test]
async fn agents_and_tools_come_and_go_with_the_file_and_secrets_are_sealed() {
    let store = TestStore::new();
    let config = Config::parse(AGENTS, std::path::Path::new("t.toml")).unwrap();
    let directory = store.start(&config).await;
    let organization = directory.organization("").id;
    let agent = directory.agent(organization, "desk").unwrap().unwrap();
    assert_eq!((agent.instructions.as_str(), agent.tools[0].as_str()), ("reminder", "order_status"));
    let tool = directory.tool(organization, "order_status").unwrap().unwrap();
    assert!(!serde_json::to_string(&tool).unwrap().contains("sesame"), "what is kept shows no secret");
    let headers = directory.tool_headers(&tool).unwrap();
    let shown: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(shown, [("Authorization", "Bearer sesame")]);
    let stolen = Tool { name: "other".into(), ..tool.clone() };
    assert!(directory.tool_headers(&stolen).is_none(), "a secret belongs to its tool");

    let made = Agent { name: "made".into(), ..agent.clone() };
    let change = store.store.write(move |change| Directory::put_agent(change, &made));
    change.await.map_err(|error: StoreError| error).unwrap();
    let again = store.start(&config).await;
    assert_eq!(again.agent(organization, "desk").unwrap().unwrap().id, agent.id, "a declared agent keeps its id");
    assert_eq!(again.tool(organization, "order_status").unwrap().unwrap().id, tool.id);

    let empty = store.start(&Config::default()).await;
    assert!(empty.agent(organization, "desk").unwrap().is_none() && empty.tools(organization).unwrap().is_empty());
    assert_eq!(empty.agents(organization).unwrap().len(), 1, "what was made stays");
}
