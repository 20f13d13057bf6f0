//! Walks the file along the schema: unknown keys, missing keys, wrong types, values out of range.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::load::Notes;
use super::schema::{Check, Field, Kind, sections};
use super::secret::Source;
use super::tree::whole;

pub(super) fn walk(notes: &mut Notes<'_, '_>) {
    let tree = notes.tree;
    let names: Vec<&str> = sections().iter().map(|section| section.name).collect();
    for (key, value) in &tree.root {
        let Some(section) = sections().iter().find(|section| section.name == key.get_ref().as_ref()) else {
            unknown(notes, &key.span(), key.get_ref(), key.get_ref(), &names, "section");
            continue;
        };
        match (section.many, value.get_ref()) {
            (false, DeValue::Table(table)) => fields(notes, &key.span(), section.name, table, section.fields),
            (true, DeValue::Array(array)) => {
                for (at, item) in array.iter().enumerate() {
                    let name = format!("{}[{}]", section.name, at + 1);
                    match item.get_ref() {
                        DeValue::Table(table) => fields(notes, &item.span(), &name, table, section.fields),
                        _ => notes.add(&item.span(), &name, "is not a section", format!("write [[{}]]", section.name)),
                    }
                }
            }
            (false, _) => {
                notes.add(
                    &key.span(),
                    section.name,
                    "is written in the wrong form",
                    format!("write [{}]", section.name),
                );
            }
            (true, _) => notes.add(
                &key.span(),
                section.name,
                "is written in the wrong form",
                format!("write [[{}]] in double brackets, once for each", section.name),
            ),
        }
    }
}

fn fields(notes: &mut Notes<'_, '_>, place: &Range<usize>, section: &str, table: &DeTable<'_>, known: &[Field]) {
    let names: Vec<&str> = known.iter().map(|field| field.name).collect();
    for (key, value) in table {
        let path = format!("{section}.{}", key.get_ref());
        match known.iter().find(|field| field.name == key.get_ref().as_ref()) {
            Some(field) => self::value(notes, &key.span(), &path, value, &field.kind),
            None => unknown(notes, &key.span(), &path, key.get_ref(), &names, "key"),
        }
    }
    for field in known.iter().filter(|field| field.required && !table.contains_key(field.name)) {
        notes.add(place, &format!("{section}.{}", field.name), "is missing", format!("add `{} = …`", field.name));
    }
}

fn unknown(notes: &mut Notes<'_, '_>, place: &Range<usize>, path: &str, name: &str, known: &[&str], what: &str) {
    let remedy = match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("remove it; known here: {}", known.join(", ")),
    };
    notes.add(place, path, format!("unknown {what}"), remedy);
}

/// One line for each kind of value.
fn value(notes: &mut Notes<'_, '_>, place: &Range<usize>, path: &str, value: &Spanned<DeValue<'_>>, kind: &Kind) {
    match (kind, value.get_ref()) {
        (Kind::Text(check), DeValue::String(text)) => note_text(notes, place, path, text, *check),
        (Kind::Flag, DeValue::Boolean(_)) => {}
        (Kind::Whole(low, high), number @ DeValue::Integer(_)) => {
            if !whole(number).is_some_and(|number| (*low..=*high).contains(&number)) {
                notes.add(place, path, "is out of range", format!("write a whole number from {low} to {high}"));
            }
        }
        (Kind::Choice(choices), DeValue::String(text)) => note_choice(notes, place, path, text, choices),
        (Kind::Secret, secret) => note_secret(notes, place, path, secret),
        (Kind::Texts(check), DeValue::Array(array)) => {
            each_text(notes, path, array, |notes, at, path, text| note_text(notes, at, path, text, *check));
        }
        (Kind::Choices(choices), DeValue::Array(array)) => {
            each_text(notes, path, array, |notes, at, path, text| note_choice(notes, at, path, text, choices));
            if array.is_empty() {
                notes.add(place, path, "is empty", format!("name at least one of {}", choices.join(", ")));
            }
        }
        (Kind::NamedTexts(check), DeValue::Table(table)) => {
            for (name, item) in table {
                let path = format!("{path}.{}", name.get_ref());
                match item.get_ref().as_str() {
                    Some(text) => note_text(notes, &name.span(), &path, text, *check),
                    None => notes.add(&name.span(), &path, "is not a text", "write it in quotation marks"),
                }
            }
        }
        (Kind::NamedSecrets, DeValue::Table(table)) => {
            for (name, item) in table {
                note_secret(notes, &name.span(), &format!("{path}.{}", name.get_ref()), item.get_ref());
            }
        }
        (Kind::Foreign(_), DeValue::Table(table)) => note_foreign(notes, path, table),
        (Kind::Foreign(words), DeValue::String(text)) if !words.is_empty() => {
            note_choice(notes, place, path, text, words);
        }
        (Kind::File, DeValue::String(file)) => note_path(notes, place, path, file, "file", Path::is_file),
        (Kind::Folder, DeValue::String(folder)) => note_path(notes, place, path, folder, "folder", Path::is_dir),
        (Kind::Ports, DeValue::Array(array)) => note_ports(notes, place, path, array),
        (Kind::Table(known), DeValue::Table(table)) => fields(notes, place, path, table, known),
        (Kind::Tables(known), DeValue::Array(array)) => {
            for (at, item) in array.iter().enumerate() {
                let path = format!("{path}[{}]", at + 1);
                match item.get_ref() {
                    DeValue::Table(table) => fields(notes, &item.span(), &path, table, known),
                    _ => notes.add(&item.span(), &path, "is not a section", wanted(kind)),
                }
            }
        }
        (kind, other) => {
            let problem = format!("has the wrong type ({})", other.type_str());
            notes.add(place, path, problem, wanted(kind));
        }
    }
}

fn wanted(kind: &Kind) -> String {
    match kind {
        Kind::Text(_) | Kind::File | Kind::Folder => "write a text in quotation marks".into(),
        Kind::Flag => "write true or false, without quotation marks".into(),
        Kind::Whole(low, high) => format!("write a whole number from {low} to {high}, without quotation marks"),
        Kind::Choice(choices) => format!("write one of \"{}\"", choices.join("\", \"")),
        Kind::Texts(_) => "write a list of texts, e.g. [\"…\", \"…\"]".into(),
        Kind::Choices(choices) => format!("write a list of \"{}\"", choices.join("\", \"")),
        Kind::NamedTexts(_) => "write { name = \"text\" }".into(),
        Kind::NamedSecrets => "write { name = \"text\" } or { name = { file = \"/path\" } }".into(),
        Kind::Foreign(words) => match words {
            [] => "write a section, or { key = value }".into(),
            [word, ..] => format!("write a section, {{ key = value }}, or \"{word}\""),
        },
        Kind::Ports => "write the first and the last port, e.g. [20000, 29999]".into(),
        Kind::Table(_) => format!("write a section of its own, or {{ {} }}", "key = value"),
        Kind::Tables(known) => {
            let key = known.first().map_or("key", |field| field.name);
            format!("write a list of sections, e.g. [{{ {key} = \"…\" }}, {{ {key} = \"…\" }}]")
        }
        Kind::Secret => {
            "write \"the secret\", { file = \"/path\" }, { credential = \"name\" } or { env = \"NAME\" }".into()
        }
    }
}

fn note_text(notes: &mut Notes<'_, '_>, place: &Range<usize>, path: &str, text: &str, check: Check) {
    if let Err(remedy) = check(text) {
        notes.add(place, path, format!("{text:?} cannot be used"), remedy);
    }
}

fn note_choice(notes: &mut Notes<'_, '_>, place: &Range<usize>, path: &str, text: &str, choices: &[&str]) {
    if choices.contains(&text) {
        return;
    }
    let remedy = match nearest(text, choices) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("write one of \"{}\"", choices.join("\", \"")),
    };
    notes.add(place, path, format!("{text:?} is not known here"), remedy);
}

fn each_text<F>(notes: &mut Notes<'_, '_>, path: &str, array: &DeArray<'_>, mut note: F)
where
    F: FnMut(&mut Notes<'_, '_>, &Range<usize>, &str, &str),
{
    for (at, item) in array.iter().enumerate() {
        let path = format!("{path}[{}]", at + 1);
        match item.get_ref().as_str() {
            Some(text) => note(notes, &item.span(), &path, text),
            None => notes.add(&item.span(), &path, "is not a text", "write it in quotation marks"),
        }
    }
}

/// It becomes JSON, which knows no dates.
fn note_foreign(notes: &mut Notes<'_, '_>, path: &str, table: &DeTable<'_>) {
    for (key, value) in table {
        foreign_value(notes, &format!("{path}.{}", key.get_ref()), value);
    }
}

fn foreign_value(notes: &mut Notes<'_, '_>, path: &str, value: &Spanned<DeValue<'_>>) {
    match value.get_ref() {
        DeValue::Table(table) => note_foreign(notes, path, table),
        DeValue::Array(array) => array.iter().for_each(|item| foreign_value(notes, path, item)),
        DeValue::Datetime(_) => {
            notes.add(&value.span(), path, "is a date, which JSON does not know", "write it in quotation marks");
        }
        _ => {}
    }
}

/// The secret itself is never part of a message.
fn note_secret(notes: &mut Notes<'_, '_>, place: &Range<usize>, path: &str, secret: &DeValue<'_>) {
    if let DeValue::String(text) = secret {
        if text.is_empty() {
            notes.add(place, path, "is empty", wanted(&Kind::Secret));
        }
        return;
    }
    let single = secret.as_table().filter(|table| table.len() == 1).and_then(|table| table.iter().next());
    let source =
        single.and_then(|(kind, value)| value.get_ref().as_str().and_then(|text| Source::named(kind.get_ref(), text)));
    match source {
        None => notes.add(place, path, "is not a secret", wanted(&Kind::Secret)),
        Some(source) => {
            if let Err(problem) = source.fetch() {
                notes.add(place, path, problem, "make it readable for the service, or name another source");
            }
        }
    }
}

fn note_path(
    notes: &mut Notes<'_, '_>,
    place: &Range<usize>,
    path: &str,
    named: &str,
    what: &str,
    exists: fn(&Path) -> bool,
) {
    if !exists(Path::new(named)) {
        let remedy = format!("create it, correct the path, or remove the key (a relative path starts at {})", here());
        notes.add(place, path, format!("there is no {what} {named:?}"), remedy);
    }
}

fn here() -> String {
    std::env::current_dir().map(|folder| folder.display().to_string()).unwrap_or_else(|_| "the working folder".into())
}

fn note_ports(notes: &mut Notes<'_, '_>, place: &Range<usize>, path: &str, array: &DeArray<'_>) {
    let ports: Vec<Option<i64>> = array.iter().map(|item| whole(item.get_ref())).collect();
    let [Some(first), Some(last)] = ports[..] else {
        notes.add(place, path, "is not a pair of ports", wanted(&Kind::Ports));
        return;
    };
    if first < 1024 || last > 65_535 {
        notes.add(place, path, "is out of range", "write ports from 1024 to 65535");
    } else if last <= first {
        notes.add(place, path, "ends before it begins", "write the lower port first");
    } else if first % 2 != 0 {
        let remedy = format!("begin at {}: RTP takes the even port, RTCP the odd one above", first + 1);
        notes.add(place, path, "begins at an odd port", remedy);
    }
}

/// The known name that a typing error would turn into `name`.
pub(super) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    // Longer than any key and its typing errors; also bounds the work.
    if name.len() > 64 {
        return None;
    }
    let near = known.iter().map(|candidate| (distance(name, candidate), *candidate)).min_by_key(|(far, _)| *far)?;
    let bound = (name.len().max(near.1.len()) / 3).max(1);
    (near.0 <= bound).then_some(near.1)
}

/// Edits (insert, delete, replace, swap neighbours) from one word to another.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=to.len()).collect()];
    for (at, letter) in from.iter().enumerate() {
        let above = &rows[at];
        let mut row = vec![at + 1];
        for (column, other) in to.iter().enumerate() {
            let mut best =
                (above[column] + usize::from(letter != other)).min(above[column + 1] + 1).min(row[column] + 1);
            if at > 0 && column > 0 && *letter == to[column - 1] && from[at - 1] == *other {
                best = best.min(rows[at - 1][column - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggests_only_what_a_typing_error_explains() {
        assert_eq!(nearest("listn", &["listen", "key"]), Some("listen"));
        assert_eq!(nearest("max-calls", &["max_calls", "name"]), Some("max_calls"));
        assert_eq!(nearest("colour", &["listen", "key"]), None);
    }
}
