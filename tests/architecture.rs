//! Holds the code against the table of rooms, and against the habits that a compiler does not check.
//!
//! The table stands twice: here as data, and in `ARCHITECTURE.md` for people. A test keeps the two equal.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Who may use whom. `*` = everything; a room may always use itself.
const TABLE: &[(&str, &str)] = &[
    ("clock", ""),
    ("config", ""),
    ("ops", "clock config"),
    ("sip", "clock config ops"),
    ("media", "clock config ops"),
    ("speech", "clock config ops"),
    ("ai", "clock config ops speech"),
    ("store", "clock ops"),
    ("directory", "clock config ops store"),
    ("events", "clock config directory ops store"),
    ("identity", "clock config directory ops store"),
    ("call", "ai clock config directory events media ops sip store"),
    ("api", "call clock config directory events identity ops store"),
    ("cli", "*"),
    ("app", "*"),
];

/// Folders of `api` that are dialects; they may not know each other.
const DIALECTS: &[&str] =
    &["codeb", "voxbridge", "callingbox", "aiphone360", "morpheus", "admin", "oidc", "console", "twilio"];

const LINES_PER_FILE: usize = 600;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, ending, found);
        } else if path.extension().is_some_and(|found| found == ending) {
            found.push(path);
        }
    }
    found.sort();
}

fn rust_files(folders: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders {
        files(&root().join(folder), "rs", &mut found);
    }
    found
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// A file of `src/` as production code: comments and strings blanked, cut at the inline test module.
struct Source {
    path: PathBuf,
    room: String,
    /// Number of `super`s that lead from this file's module to the crate root.
    depth: usize,
    code: String,
}

fn sources() -> Vec<Source> {
    let all = rust_files(&["src"]);
    let tests: BTreeSet<PathBuf> = all.iter().flat_map(|path| test_modules(path)).collect();
    all.into_iter().filter(|path| !tests.iter().any(|test| path.starts_with(test))).map(read_source).collect()
}

/// Files and folders that `path` declares as test-only modules (`#[cfg(test)] mod name;`).
fn test_modules(path: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string(path).expect("readable source");
    let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("file name");
    let parent = path.parent().expect("folder");
    let folder = if matches!(stem, "mod" | "lib" | "main") { parent.to_path_buf() } else { parent.join(stem) };
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        if !line.starts_with("#[cfg(test)]") {
            continue;
        }
        let declared = lines.by_ref().find(|line| !line.starts_with("#[")).unwrap_or_default();
        if let Some(name) = module_name(declared).filter(|_| declared.ends_with(';')) {
            found.push(folder.join(format!("{name}.rs")));
            found.push(folder.join(name));
        }
    }
    found
}

fn module_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix("pub(crate) ").or_else(|| line.strip_prefix("pub ")).unwrap_or(line);
    rest.strip_prefix("mod ").map(|rest| rest.trim_end_matches([';', '{', ' ']))
}

fn read_source(path: PathBuf) -> Source {
    let text = fs::read_to_string(&path).expect("readable source");
    let relative = path.strip_prefix(root().join("src")).expect("inside src").to_path_buf();
    let parts: Vec<String> = relative.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let room = parts[0].trim_end_matches(".rs").to_string();
    let named_mod = parts.last().is_some_and(|name| name == "mod.rs");
    let depth = parts.len() - usize::from(named_mod);
    Source { path, room, depth, code: blank(production(&text)) }
}

/// Everything before the inline test module.
fn production(text: &str) -> &str {
    let mut offset = 0;
    let mut lines = text.split_inclusive('\n').peekable();
    while let Some(line) = lines.next() {
        let opens_tests = line.trim_start().starts_with("#[cfg(test)]")
            && lines
                .clone()
                .find(|next| !next.trim_start().starts_with("#["))
                .is_some_and(|next| module_name(next.trim()).is_some() && next.trim_end().ends_with('{'));
        if opens_tests {
            return &text[..offset];
        }
        offset += line.len();
    }
    text
}

/// Line comments and string contents out, so that prose about a room is not taken for use of it.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut quoted = false;
        let mut escaped = false;
        let mut previous = ' ';
        for c in line.chars() {
            if !quoted && c == '/' && previous == '/' {
                out.pop();
                break;
            }
            match c {
                '"' if !escaped && previous != '\'' => quoted = !quoted,
                _ if !quoted => out.push(c),
                _ => {}
            }
            escaped = quoted && c == '\\' && !escaped;
            previous = c;
        }
        out.push('\n');
    }
    out
}

/// Rooms named after `crate::`, each with the line: `crate::room::…` and `crate::{room::…, other}`.
fn rooms_used(code: &str) -> Vec<(usize, String)> {
    let mut used = Vec::new();
    let mut rest = code;
    let mut consumed = 0;
    while let Some(at) = rest.find("crate::") {
        let begins = !rest[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$');
        let after = &rest[at + "crate::".len()..];
        let line = code[..consumed + at].matches('\n').count() + 1;
        if begins {
            used.extend(heads(after).into_iter().map(|room| (line, room)));
        }
        consumed += at + "crate::".len();
        rest = after;
    }
    used
}

fn heads(path: &str) -> Vec<String> {
    let word = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    let Some(group) = path.strip_prefix('{') else { return vec![word(path)] };
    let mut depth = 0;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().map(|start| word(&group[start..])).filter(|name: &String| !name.is_empty()).collect()
}

fn table() -> BTreeMap<String, BTreeSet<String>> {
    TABLE.iter().map(|(room, uses)| (room.to_string(), uses.split_whitespace().map(str::to_string).collect())).collect()
}

fn assert_none(complaints: &[String], rule: &str) {
    assert!(complaints.is_empty(), "{rule}:\n  {}", complaints.join("\n  "));
}

#[test]
fn rooms_use_only_the_rooms_that_the_table_allows() {
    let table = table();
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| !matches!(source.room.as_str(), "main" | "lib")) {
        let Some(allowed) = table.get(&source.room) else {
            complaints.push(format!("{}: room `{}` is not in the table", shown(&source.path), source.room));
            continue;
        };
        for (line, used) in rooms_used(&source.code) {
            let is_room = table.contains_key(&used);
            if is_room && used != source.room && !allowed.contains("*") && !allowed.contains(&used) {
                complaints.push(format!("{}:{line}: {} may not use {used}", shown(&source.path), source.room));
            }
        }
    }
    assert_none(&complaints, "the table of rooms is broken");
}

#[test]
fn other_rooms_are_named_through_crate_and_not_through_super() {
    let mut complaints = Vec::new();
    for source in sources() {
        let to_the_root = "super::".repeat(source.depth.max(1));
        for (index, line) in source.code.lines().enumerate() {
            // Inside an inline module one `super` more is needed to leave the room, so only lines at the left edge count.
            if source.depth > 0 && line.starts_with("use ") && line.contains(&to_the_root) {
                complaints.push(format!("{}:{}: {}", shown(&source.path), index + 1, line.trim()));
            }
        }
    }
    assert_none(&complaints, "these reach the crate root through `super`");
}

#[test]
fn the_table_in_the_architecture_document_is_the_table_here() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md");
    let rows = text.lines().skip_while(|line| !line.starts_with("| Room | May use |")).skip(2);
    let mut written: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows.take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        let names =
            |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_string).collect() };
        let uses = if cells[1].contains("everything") { BTreeSet::from(["*".to_string()]) } else { names(cells[1]) };
        for room in names(cells[0]) {
            written.insert(room, uses.clone());
        }
    }
    assert_eq!(written, table());
}

#[test]
fn dialects_do_not_know_each_other() {
    let mut complaints = Vec::new();
    for source in sources().iter().filter(|source| source.room == "api") {
        let inside = source.path.strip_prefix(root().join("src/api")).map(Path::to_path_buf).unwrap_or_default();
        let folder = inside.iter().next().map(|part| part.to_string_lossy().trim_end_matches(".rs").to_string());
        let Some(own) = folder.filter(|name| DIALECTS.contains(&name.as_str())) else { continue };
        for other in DIALECTS.iter().filter(|name| **name != own) {
            for path in [format!("api::{other}"), format!("super::{other}::")] {
                if source.code.contains(&path) {
                    complaints.push(format!("{}: {own} uses {other}", shown(&source.path)));
                }
            }
        }
    }
    assert_none(&complaints, "a rule that two dialects need lives in call, directory, identity or events");
}

#[test]
fn files_stay_readable_in_one_sitting() {
    let long: Vec<String> = rust_files(&["src", "tests", "benches"])
        .iter()
        .map(|path| (path, fs::read_to_string(path).expect("readable source").lines().count()))
        .filter(|(_, lines)| *lines > LINES_PER_FILE)
        .map(|(path, lines)| format!("{}: {lines} lines", shown(path)))
        .collect();
    assert_none(&long, &format!("files above {LINES_PER_FILE} lines"));
}

#[test]
fn nothing_is_left_to_be_done() {
    let marks = [concat!("todo", "!("), concat!("unimplemented", "!("), concat!("TO", "DO"), concat!("FIX", "ME")];
    let mut complaints = Vec::new();
    for path in rust_files(&["src", "tests", "benches"]) {
        let text = fs::read_to_string(&path).expect("readable source");
        for (index, line) in text.lines().enumerate() {
            if marks.iter().any(|mark| line.contains(mark)) {
                complaints.push(format!("{}:{}: {}", shown(&path), index + 1, line.trim()));
            }
        }
    }
    assert_none(&complaints, "unfinished code");
}

#[test]
fn every_room_says_what_it_is_for() {
    let silent: Vec<String> = rust_files(&["src"])
        .iter()
        .filter(|path| path.file_name().is_some_and(|name| name == "mod.rs"))
        .filter(|path| !fs::read_to_string(path).expect("readable source").starts_with("//!"))
        .map(|path| shown(path))
        .collect();
    assert_none(&silent, "`mod.rs` begins with `//!`: what it is for, what flows, what it may not know");
}

#[test]
fn nothing_points_at_a_place_that_only_its_author_has() {
    let words = [concat!("/wo", "rk/"), concat!("/tmp", "/wt"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut all = rust_files(&["src", "tests", "benches"]);
    for (folder, ending) in
        [("docs", "md"), ("scripts", "sh"), ("scripts", "py"), ("configs", "toml"), ("systemd", "service")]
    {
        files(&root().join(folder), ending, &mut all);
    }
    let top =
        ["README.md", "ARCHITECTURE.md", "SPECIFICATION.md", "CHANGELOG.md", "Makefile", "build.rs", "Cargo.toml"];
    all.extend(top.iter().map(|name| root().join(name)));
    let mut complaints = Vec::new();
    for path in all {
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (index, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                complaints.push(format!("{}:{}: {}", shown(&path), index + 1, line.trim()));
            }
        }
    }
    assert_none(&complaints, "private paths");
}

#[test]
fn the_reader_of_use_lines_sees_groups_inline_paths_and_skips_prose() {
    let code = "use crate::{call::Calls, store::{Store, Table}};\n// crate::api\nlet x = crate::media::Codec::Pcmu;\n";
    let found: Vec<(usize, String)> = rooms_used(&blank(production(code)));
    let expected = [(1, "call"), (1, "store"), (3, "media")].map(|(line, room)| (line, room.to_string()));
    assert_eq!(found, expected);
    let with_tests = "fn a() {}\n#[cfg(test)]\nmod tests {\n use crate::api::Server;\n}\n";
    assert!(rooms_used(&blank(production(with_tests))).is_empty());
}
