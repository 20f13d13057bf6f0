//! Reading the file: syntax, then every key by itself, then keys against each other, then the types.

use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::DeTable;

use super::tree::{Tree, line_of};
use super::{Config, Mistake, Mistakes, cross, walk};

/// A configuration larger than this is not one.
const LONGEST: u64 = 4 * 1024 * 1024;

impl Config {
    /// Reads and checks a file. All mistakes are reported, not only the first.
    pub fn load(path: &Path) -> Result<Config, Mistakes> {
        let text = read(path).map_err(|mistake| Mistakes(vec![*mistake]))?;
        Config::parse(&text, path)
    }

    /// Checks `text` as if it were read from `file`.
    pub fn parse(text: &str, file: &Path) -> Result<Config, Mistakes> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(Mistakes(errors.iter().map(|error| syntax(text, file, error)).collect()));
        }
        let tree = Tree::new(text, root.get_ref().clone());
        let mut notes = Notes { file, tree: &tree, found: Vec::new() };
        walk::walk(&mut notes);
        cross::check(&mut notes);
        let mut found = notes.found;
        if found.is_empty() {
            match typed(root) {
                Ok(config) => return Ok(config),
                Err(error) => found.push(syntax(text, file, &error)),
            }
        }
        found.sort_by_key(|mistake| mistake.line);
        Err(Mistakes(found))
    }
}

fn typed(root: Spanned<DeTable<'_>>) -> Result<Config, toml::de::Error> {
    Config::deserialize(toml::de::Deserializer::from(root))
}

fn read(path: &Path) -> Result<String, Box<Mistake>> {
    let whole_file = |problem: String, remedy: &str| {
        Box::new(Mistake { file: path.to_owned(), line: 0, key: String::new(), problem, remedy: remedy.to_owned() })
    };
    let size = std::fs::metadata(path).map(|data| data.len());
    if size.as_ref().is_ok_and(|size| *size > LONGEST) {
        return Err(whole_file("is too large for a configuration file".into(), "name the right file with --config"));
    }
    let bytes = std::fs::read(path).map_err(|error| {
        whole_file(
            format!("cannot be read: {error}"),
            "name the file with --config, and let the service's user read it",
        )
    })?;
    String::from_utf8(bytes).map_err(|_| whole_file("is not UTF-8 text".into(), "save it as UTF-8"))
}

fn syntax(text: &str, file: &Path, error: &toml::de::Error) -> Mistake {
    let line = error.span().map_or(0, |span| line_of(text, span.start));
    let problem = error.message().lines().collect::<Vec<_>>().join(", ");
    let remedy = "correct the line: keys are written `key = \"text\"`, `key = 12` or `key = true`, sections `[name]` or `[[name]]`";
    Mistake { file: file.to_owned(), line, key: String::new(), problem, remedy: remedy.to_owned() }
}

/// Collects mistakes during the walk over the tree.
pub(super) struct Notes<'a, 'i> {
    file: &'a Path,
    pub(super) tree: &'a Tree<'i>,
    found: Vec<Mistake>,
}

impl Notes<'_, '_> {
    pub(super) fn add(
        &mut self,
        place: &std::ops::Range<usize>,
        key: &str,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.found.push(Mistake {
            file: self.file.to_owned(),
            line: self.tree.line(place),
            key: key.to_owned(),
            problem: problem.into(),
            remedy: remedy.into(),
        });
    }
}
