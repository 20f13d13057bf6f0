//! Every mistake is named with its line, its key and its remedy; all of them at once.

#![allow(clippy::expect_used)]

use std::path::Path;

use trunkline::config::{Config, Mistake};

fn mistakes(text: &str) -> Vec<Mistake> {
    match Config::parse(text, Path::new("box.toml")) {
        Ok(_) => Vec::new(),
        Err(mistakes) => mistakes.0,
    }
}

/// (file, line, key, words of the problem, words of the remedy)
type Row = (&'static str, usize, &'static str, &'static str, &'static str);

const ROWS: &[Row] = &[
    ("[sip]\nlistn = \"0.0.0.0:5060\"", 2, "sip.listn", "unknown key", "did you mean `listen`?"),
    ("[spi]\n", 1, "spi", "unknown section", "did you mean `sip`?"),
    (
        "[engine.chat]\nurl = \"http://a/v1\"\nmodel = \"m\"\nkey = \"x\"",
        4,
        "engine.chat.key",
        "unknown key",
        "known here",
    ),
    ("[[number]]\nname = \"a\"\nnumber = \"1234\"", 1, "number[1].system_prompt", "is missing", "or `agent = …`"),
    (
        "[[number]]\nname = \"a\"\nnumber = \"1234\"\nagent = \"dek\"\n[[agents]]\nname = \"desk\"\ninstructions = \"x\"",
        4,
        "number[1].agent",
        "\"dek\" is no agent",
        "did you mean \"desk\"?",
    ),
    (
        "[[number]]\nname = \"a\"\nnumber = \"1234\"\nsystem_prompt = \"x\"\nagent = \"d\"\n[[agents]]\nname = \"d\"\ninstructions = \"x\"",
        5,
        "number[1].agent",
        "stands beside `system_prompt`",
        "remove one",
    ),
    (
        "[[number]]\nname = \"a\"\nnumber = \"1234\"\nmode = \"tts\"\nagent = \"d\"\n[[agents]]\nname = \"d\"\ninstructions = \"x\"",
        5,
        "number[1].agent",
        "means nothing in mode",
        "the text to speak",
    ),
    (
        "[[agents]]\nname = \"d\"\ninstructions = \"x\"\ntools = [\"take_message\",\n\"oder_status\"]\n[[tools]]\nname = \"order_status\"\ndescription = \"x\"\nurl = \"https://a/\"",
        5,
        "agents[1].tools[2]",
        "\"oder_status\" is not known",
        "did you mean \"order_status\"?",
    ),
    (
        "[[agents]]\nname = \"d\"\ninstructions = \"x\"\ntools = [\"transfer_call\"]",
        4,
        "agents[1].tools[1]",
        "not known here",
        "`transfer_to = …`",
    ),
    (
        "[[agents]]\nname = \"d\"\ninstructions = \"x\"\nhand_offs = [\"d\"]",
        4,
        "agents[1].hand_offs[1]",
        "\"d\" is not known",
        "declare it under [[agents]]",
    ),
    ("[[agents]]\nname = \"a b\"\ninstructions = \"x\"", 2, "agents[1].name", "cannot be used", "1 to 64"),
    (
        "[[tools]]\nname = \"t\"\ndescription = \"x\"\nurl = \"http://a/\"",
        4,
        "tools[1].url",
        "unprotected",
        "write \"https://…\"",
    ),
    ("[[tools]]\nname = \"t\"\nurl = \"https://a/\"", 1, "tools[1].description", "is missing", "when the agent"),
    ("[[tools]]\nname = \"t\"\ndescription = \"x\"", 1, "tools[1].url", "is missing", "add `url = …`"),
    (
        "[[tools]]\nname = \"t\"\ndescription = \"x\"\nurl = \"https://me:secret@a/\"",
        4,
        "tools[1].url",
        "cannot be used",
        "complete address",
    ),
    (
        "[[tools]]\nname = \"t\"\ndescription = \"x\"\nurl = \"https://a/\"\nparameters = { type = \"object\", properties = { n = { type = \"nmber\" } } }",
        5,
        "tools[1].parameters",
        "is no JSON schema",
        "correct it",
    ),
    (
        "[[tools]]\nname = \"t\"\ndescription = \"x\"\nurl = \"https://a/\"\nparameters = { \"$ref\" = \"https://evil.example/\", type = \"object\" }",
        5,
        "tools[1].parameters",
        "is no JSON schema",
        "correct it",
    ),
    (
        "[[tools]]\nname = \"t\"\ndescription = \"x\"\nurl = \"https://a/\"\ntimeout_seconds = 11",
        5,
        "tools[1].timeout_seconds",
        "out of range",
        "1 to 10",
    ),
    ("[[tools]]\nname = \"hand_off\"\nurl = \"https://a/\"", 2, "tools[1].name", "is taken", "another name"),
    (
        "[[tools]]\nname = \"book_appointment\"\ndescription = \"x\"\nurl = \"https://a/\"",
        3,
        "tools[1].description",
        "is fixed",
        "remove `description`",
    ),
    ("[engine]\nkind = \"gemini\"", 2, "engine.kind", "stands without `gemini`", "add `gemini = …`"),
    ("[engine.gemini]\nmodel = \"m\"", 2, "engine.gemini", "has no account", "add `api_key = …`"),
    (
        "[engine.gemini]\nmodel = \"m\"\napi_key = \"k\"\nversion = \"v1beta1\"",
        4,
        "engine.gemini.version",
        "none of this service's",
        "\"v1beta\"",
    ),
    (
        "[engine.gemini]\nmodel = \"m\"\napi_key = \"k\"\n[engine.gemini.vertex]\nproject = \"p\"\nlocation = \"l\"\ntoken = \"t\"",
        3,
        "engine.gemini.api_key",
        "beside the account of Vertex AI",
        "remove one",
    ),
    (
        "[engine.gemini]\nmodel = \"m\"\n[engine.gemini.vertex]\nproject = \"p\"\nlocation = \"l\"",
        3,
        "engine.gemini.vertex",
        "needs one OAuth token",
        "`token = …` or `token_file = …`",
    ),
    (
        "[engine.gemini]\nmodel = \"m\"\napi_key = \"k\"\n[engine.gemini.setup]\nlabels = { since = 2026-01-01 }",
        5,
        "engine.gemini.setup.labels.since",
        "is a date",
        "in quotation marks",
    ),
    (
        "[engine.gemini]\nmodel = \"m\"\napi_key = \"k\"\ncompression = false\ncompression_target = 9",
        5,
        "engine.gemini.compression_target",
        "means nothing without compression",
        "`compression = true`",
    ),
    (
        "[engine.gemini]\nmodel = \"m\"\napi_key = \"k\"\naudio_ms = 200",
        4,
        "engine.gemini.audio_ms",
        "out of range",
        "20 to 100",
    ),
    ("[sip]\nt1_ms = \"fast\"", 2, "sip.t1_ms", "wrong type (string)", "whole number from 50 to 5000"),
    ("[sip]\n\nt1_ms = 7", 3, "sip.t1_ms", "out of range", "from 50 to 5000"),
    ("[sip]\nsession_expires_seconds = 60", 2, "sip.session_expires_seconds", "is shorter than 90", "or 0 for none"),
    ("[sip]\nlisten = \"5060\"", 2, "sip.listen", "\"5060\" cannot be used", "an IP address and a port"),
    ("[sip]\ntcp_listen = \":5060\"", 2, "sip.tcp_listen", "cannot be used", "an IP address and a port"),
    ("[sip]\ntls_listen = \"0.0.0.0:5060\"", 2, "sip.tls_listen", "port of plain TCP", "5061"),
    ("[sip]\nkey = \"/etc/hostname\"", 2, "sip.key", "without `certificate`", "add `certificate = …`"),
    ("[sip]\nclient_ca = \"/etc/hostname\"", 2, "sip.client_ca", "without `tls_listen`", "add `tls_listen = …`"),
    ("[sip]\nmax_connections = 0", 2, "sip.max_connections", "out of range", "1 to 65535"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\ntransport = \"tsl\"",
        4,
        "trunk[1].transport",
        "not known here",
        "did you mean \"tls\"?",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\ntls_name = \"sip.example.com\"",
        4,
        "trunk[1].tls_name",
        "nothing without TLS",
        "add `transport = \"tls\"`",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\ntransport = \"tls\"\ncertificate = \"/etc/hostname\"",
        5,
        "trunk[1].certificate",
        "without `key`",
        "add `key = …`",
    ),
    ("[sip]\nadvertised = \"1.2.3.4:5060\"", 2, "sip.advertised", "cannot be used", "without a port"),
    ("[media]\nports = [20001, 20100]", 2, "media.ports", "odd port", "begin at 20002"),
    ("[media]\nports = [30000, 20000]", 2, "media.ports", "ends before it begins", "lower port first"),
    ("[media]\nports = [30000]", 2, "media.ports", "not a pair", "[20000, 29999]"),
    ("[media]\nports = [80, 200]", 2, "media.ports", "out of range", "1024 to 65535"),
    ("[media]\nports = [5000, 5100]", 2, "media.ports", "holds the SIP port 5060", "without the port of [sip] listen"),
    ("[media]\nrecord = \"yes\"", 2, "media.record", "wrong type", "true or false"),
    ("[http]\nplain_listen = \"0.0.0.0:8080\"", 2, "http.plain_listen", "cannot be used", "loopback"),
    (
        "[http]\nlisten = \"0.0.0.0:8443\"\nplain_listen = \"127.0.0.1:8443\"",
        3,
        "http.plain_listen",
        "port of `listen`",
        "another port",
    ),
    ("[http]\ncertificate = \"/etc/hostname\"", 2, "http.certificate", "without `key`", "add `key = …`"),
    (
        "[http]\ncertificate = \"/no/such.pem\"\nkey = \"/etc/hostname\"",
        2,
        "http.certificate",
        "no file \"/no/such.pem\"",
        "correct the path",
    ),
    ("[speech]\nmodel_directory = \"/no/model\"", 2, "speech.model_directory", "no folder", "remove the key"),
    ("[[trunk]]\nname = \"a\"\nhost = \"b\"\nrefer = \"yes\"", 4, "trunk[1].refer", "wrong type", "true or false"),
    (
        "[[number]]\nname = \"a\"\nnumber = \"1234\"\nsystem_prompt = \"p\"\ntransfer_to = \"the boss\"",
        5,
        "number[1].transfer_to",
        "cannot be used",
        "number",
    ),
    (
        "[[number]]\nname = \"a\"\nnumber = \"1234\"\nsystem_prompt = \"p\"\ntransfer_whisper = true",
        5,
        "number[1].transfer_whisper",
        "without `transfer_to`",
        "add `transfer_to = …`",
    ),
    ("[engine]\nkind = \"locl\"", 2, "engine.kind", "not known here", "did you mean \"local\"?"),
    ("[engine.chat]\nmodel = \"m\"", 1, "engine.chat.url", "is missing", "add `url = …`"),
    (
        "[engine.chat]\nmodel = \"m\"\nurl = \"http://a/v1/chat/completions\"",
        3,
        "engine.chat.url",
        "cannot be used",
        "leave out",
    ),
    (
        "[mail]\nhost = \"mail.example.com\"\nfrom = \"a@example.com\"\nsecurity = \"none\"",
        4,
        "mail.security",
        "unprotected",
        "starttls",
    ),
    ("[mail]\nhost = \"localhost\"\nfrom = \"nobody\"", 3, "mail.from", "cannot be used", "e-mail address"),
    (
        "[mail]\nhost = \"localhost\"\nfrom = \"a@b.c\"\nusername = \"u\"",
        4,
        "mail.username",
        "without `password`",
        "add `password = …`",
    ),
    ("[dial]\nallow = [\n  \"+49\",\n  \"+49 30\",\n]", 4, "dial.allow[2]", "cannot be used", "beginning of a number"),
    ("[dial]\nallow = \"+49\"", 2, "dial.allow", "wrong type", "list of texts"),
    ("[dial]\nhours = \"9 to 5\"", 2, "dial.hours", "cannot be used", "Mo-Fr 08:00-18:00"),
    ("[dial]\nmax_calls = 0", 2, "dial.max_calls", "out of range", "1 to 10000"),
    ("[dial]\nmax_minutes_per_day = \"60\"", 2, "dial.max_minutes_per_day", "wrong type", "1 to 1000000"),
    ("[organization]\ntime_zone = \"Berlin\"", 2, "organization.time_zone", "cannot be used", "Europe/Berlin"),
    ("[trace]\nhep = \"homer\"", 2, "trace.hep", "cannot be used", "IP address and a port"),
    ("[trace]\nhep_password = \"x\"", 2, "trace.hep_password", "without `hep`", "add `hep"),
    ("[trace]\nmegabytes = 0", 2, "trace.megabytes", "out of range", "1 to 1024"),
    ("[dial]\nfixed = true", 2, "dial.fixed", "forbids every call", "add `allow"),
    ("[log]\nlevel = \"loud\"", 2, "log.level", "cannot be used", "error, warn, info"),
    ("[[trunk]]\nname = \"a\"\nhost = \"sip:pbx\"", 3, "trunk[1].host", "cannot be used", "only the host"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"2001:db8::1\"",
        3,
        "trunk[1].host",
        "cannot be used",
        "in brackets: \"[2001:db8::1]\"",
    ),
    ("[[trunk]]\nname = \"a\"\nhost = \"10.0.0.300\"", 3, "trunk[1].host", "cannot be used", "host name or address"),
    ("[[trunk]]\nname = \"a\"\nhost = \"pbx:0\"", 3, "trunk[1].host", "cannot be used", "host name or address"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\nusername = \"u\"",
        4,
        "trunk[1].username",
        "without `password`",
        "add `password = …`",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\nsources = [\"10.0.0.1\"]",
        4,
        "trunk[1].sources[1]",
        "cannot be used",
        "\"10.0.0.1/32\"",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\ncodecs = []",
        4,
        "trunk[1].codecs",
        "is empty",
        "pcmu, pcma, g722, opus",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\ncodecs = [\"pcmx\"]",
        4,
        "trunk[1].codecs[1]",
        "not known here",
        "did you mean \"pcmu\"?",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\nsrtp = \"required\"",
        4,
        "trunk[1].srtp",
        "keys unprotected",
        "transport = \"tls\"",
    ),
    ("[[trunk]]\nname = \"a\"\nhost = \"pbx\"\nsrtp = \"on\"", 4, "trunk[1].srtp", "not known here", "offered"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\ncodec_order = \"mine\"",
        4,
        "trunk[1].codec_order",
        "not known here",
        "ours",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"p\"\n[[trunk]]\nname = \"a\"\nhost = \"q\"",
        5,
        "trunk[2].name",
        "stands already in line 2",
        "remove one",
    ),
    ("[dns]\nservers = [\"ns.example.com\"]", 2, "dns.servers[1]", "cannot be used", "address of a name server"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"p\"\nhosts = [{ host = \"q:0\" }]",
        4,
        "trunk[1].hosts[1].host",
        "cannot be used",
        "host name or address",
    ),
    ("[[trunk]]\nname = \"a\"\nhost = \"p\"\nhosts = [\"q\"]", 4, "trunk[1].hosts[1]", "not a section", "host ="),
    ("[[trunk]]\nname = \"a\"\nhost = \"p\"\nregister = true", 4, "trunk[1].register", "needs `username`", "add"),
    ("[[trunk]]\nname = \"a\"\nhost = \"p\"\nregister_seconds = 5", 4, "trunk[1].register_seconds", "range", "60"),
    ("[[trunk]]\nname = \"a\"\nhost = \"p\"\ndtmf = \"infos\"", 4, "trunk[1].dtmf", "not known", "\"info\""),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"p\"\nidentity = [\"fron\"]",
        4,
        "trunk[1].identity[1]",
        "not known here",
        "did you mean \"from\"?",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"p\"\nnumber_format = \"national\"",
        4,
        "trunk[1].number_format",
        "needs the country",
        "country = ",
    ),
    ("[[trunk]]\nname = \"a\"\nhost = \"p\"\ncountry = \"+49\"", 4, "trunk[1].country", "cannot be used", "\"49\""),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"p\"\ncalled_out = [\"+49 = 0\"]",
        4,
        "trunk[1].called_out[1]",
        "cannot be used",
        "+49 -> 0",
    ),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"p\"\ndestinations = [\"abc\"]",
        4,
        "trunk[1].destinations[1]",
        "cannot",
        "+4930",
    ),
    ("[trunk]\nname = \"a\"\nhost = \"p\"", 1, "trunk", "wrong form", "[[trunk]] in double brackets"),
    ("[[trunk]]\nname = \"a\"", 1, "trunk[1].host", "is missing", "add `host = …`"),
    ("[sip]\ndigest = [\"md-5\"]", 2, "sip.digest[1]", "not known here", "did you mean \"md5\"?"),
    ("[sip]\nregistration_seconds = 30", 2, "sip.registration_seconds", "out of range", "from 60 to 86400"),
    ("[state]\nmessage_days = 9999", 2, "state.message_days", "out of range", "from 0 to 3650"),
    ("[sip]\nprobe_seconds = -1", 2, "sip.probe_seconds", "out of range", "from 0 to 3600"),
    (
        "[[trunk]]\nname = \"a\"\nhost = \"pbx\"\nmessages = \"yes\"",
        4,
        "trunk[1].messages",
        "wrong type",
        "true or false",
    ),
    (
        "[[extension]]\nuser = \"a\"\npassword = \"p\"\nname = \"a\\\"b\"",
        4,
        "extension[1].name",
        "cannot be used",
        "without quotation marks",
    ),
    (
        "[[extension]]\nuser = \"a\"\npassword = \"p\"\nsrtp = \"required\"",
        4,
        "extension[1].srtp",
        "cannot sign in over TLS",
        "add `tls_listen",
    ),
    (
        "[[extension]]\nuser = \"a\"\npassword = \"p\"\nsrtp = \"on\"",
        4,
        "extension[1].srtp",
        "not known here",
        "\"required\"",
    ),
    ("[[extension]]\nuser = \"al ice\"\npassword = \"p\"", 2, "extension[1].user", "cannot be used", "without spaces"),
    ("[[extension]]\nuser = \"alice\"\npassword = \"\"", 3, "extension[1].password", "is empty", "credential"),
    (
        "[[extension]]\nuser = \"alice\"\npassword = { fil = \"/x\" }",
        3,
        "extension[1].password",
        "not a secret",
        "{ file = \"/path\" }",
    ),
    (
        "[[extension]]\nuser = \"alice\"\npassword = { file = \"/no/secret\" }",
        3,
        "extension[1].password",
        "cannot be read",
        "readable",
    ),
    (
        "[[extension]]\nuser = \"alice\"\npassword = { env = \"NO_SUCH_VARIABLE_X\" }",
        3,
        "extension[1].password",
        "not set",
        "another source",
    ),
    (
        "[[number]]\nname = \"a\"\nnumber = \"12 34\"\nsystem_prompt = \"x\"",
        3,
        "number[1].number",
        "cannot be used",
        "without spaces",
    ),
    (
        "[[number]]\nname = \"a\"\nnumber = \"12\"\nsystem_prompt = \"x\"\nmax_duration_seconds = 9",
        5,
        "number[1].max_duration_seconds",
        "out of range",
        "10 to 36000",
    ),
    (
        "[[number]]\nname = \"a\"\nnumber = \"+4930123456\"\nsystem_prompt = \"x\"\n[[number]]\nname = \"b\"\nnumber = \"004930123456\"\nsystem_prompt = \"x\"",
        7,
        "number[2].number",
        "stands already in line 3",
        "remove one",
    ),
    ("[[prompt]]\nslug = \"Front Desk\"\ntext = \"x\"", 2, "prompt[1].slug", "cannot be used", "a-z, 0-9"),
    ("[organization]\nhost = \"https://box\"", 2, "organization.host", "cannot be used", "without scheme"),
    ("[organization]\nlanguage = \"english please\"", 2, "organization.language", "cannot be used", "en-US"),
    ("[sip\nlisten = 1", 1, "", "", "correct the line"),
    ("a = \"b", 1, "", "", "correct the line"),
];

#[test]
fn each_mistake_is_named_with_line_key_and_remedy() {
    for (text, line, key, problem, remedy) in ROWS {
        let found = mistakes(text);
        let hit = found
            .iter()
            .any(|m| m.line == *line && m.key == *key && m.problem.contains(problem) && m.remedy.contains(remedy));
        assert!(hit, "{text}\nwanted {line} {key:?} {problem:?} {remedy:?}\nfound {found:#?}");
        assert!(key.is_empty() || found.len() == 1, "one mistake makes one message: {text}\n{found:#?}");
    }
}

#[test]
fn all_mistakes_of_a_file_are_listed_in_its_order() {
    let text = "[sip]\nlistn = 1\nt1_ms = 0\n[[trunk]]\nname = \"a b\"\n[[prompt]]\nslug = \"UP\"\ntext = \"\"\n";
    let lines: Vec<usize> = mistakes(text).iter().map(|mistake| mistake.line).collect();
    assert_eq!(lines, [2, 3, 4, 5, 7, 8]);
}

#[test]
fn a_message_names_file_line_key_and_remedy() {
    let text = mistakes("[sip]\nlistn = 1")[0].to_string();
    assert_eq!(text, "box.toml:2: sip.listn: unknown key; did you mean `listen`?");
}

#[test]
fn no_message_holds_a_secret() {
    let text = "[[extension]]\nuser = \"a\"\npassword = [\"hunter2\"]\n[mail]\npassword = { plain = \"hunter2\" }";
    for mistake in mistakes(text) {
        assert!(!mistake.to_string().contains("hunter2"), "{mistake}");
    }
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_named() {
    let missing = Config::load(Path::new("/no/such/box.toml")).expect_err("missing").to_string();
    assert!(missing.starts_with("/no/such/box.toml: cannot be read"), "{missing}");
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("binary.toml");
    std::fs::write(&file, [0xff, 0xfe, 0x00]).expect("write");
    assert!(Config::load(&file).expect_err("binary").to_string().contains("not UTF-8"));
}

#[test]
fn secrets_come_from_text_file_and_environment() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "from file\n").expect("write");
    let text = format!(
        "[[extension]]\nuser = \"a\"\npassword = \"from text\"\n[[extension]]\nuser = \"b\"\npassword = {{ file = {file:?} }}\n[[extension]]\nuser = \"c\"\npassword = {{ env = \"CARGO_MANIFEST_DIR\" }}\n"
    );
    let config = Config::parse(&text, Path::new("box.toml")).expect("right");
    let secrets: Vec<&str> = config.extensions.iter().map(|extension| extension.password.expose()).collect();
    assert_eq!(secrets, ["from text", "from file", env!("CARGO_MANIFEST_DIR")]);
    assert!(!format!("{config:?}").contains("from file"));
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_loader_panic(text in "[\\[\\]a-z_=\"0-9\n .{},+-]{0,200}") {
        let _ = Config::parse(&text, Path::new("box.toml"));
    }
}
