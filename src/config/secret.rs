//! Passwords and keys, and the places that they may come from.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// A password or key: wiped when dropped, never shown by `Debug`, never serialized.
///
/// In the file it is the text itself, `{ file = "/path" }`, `{ credential = "name" }` (a systemd credential of the
/// unit, `LoadCredential=`) or `{ env = "NAME" }`. One line end at the end of a file is not part of the secret.
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<String>);

/// Longest secret that is read from a file, bytes.
const LONGEST: u64 = 64 * 1024;

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The secret itself; hand it to what needs it and keep no copy.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a secret of the configuration lies.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub(super) enum Source {
    File(PathBuf),
    Credential(String),
    Env(String),
}

impl Source {
    pub(super) fn named(kind: &str, value: &str) -> Option<Source> {
        match kind {
            "file" => Some(Source::File(value.into())),
            "credential" => Some(Source::Credential(value.into())),
            "env" => Some(Source::Env(value.into())),
            _ => None,
        }
    }

    /// Fetches the secret; the error is the operator's sentence.
    pub(super) fn fetch(&self) -> Result<Secret, String> {
        match self {
            Source::File(path) => read(path),
            Source::Credential(name) => {
                if name.is_empty() || name.contains('/') {
                    return Err(format!("{name:?} is not the name of a credential"));
                }
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")
                    .ok_or("no credentials were handed over: $CREDENTIALS_DIRECTORY is not set")?;
                read(&Path::new(&folder).join(name))
            }
            Source::Env(name) => std::env::var(name)
                .map(Secret::new)
                .map_err(|_| format!("the environment variable {name} is not set (or not UTF-8)")),
        }
    }
}

fn read(path: &Path) -> Result<Secret, String> {
    let describe = |problem: std::io::Error| format!("the file {} cannot be read: {problem}", path.display());
    let size = std::fs::metadata(path).map_err(describe)?.len();
    if size > LONGEST {
        return Err(format!("the file {} is too large for a secret", path.display()));
    }
    let mut text = Zeroizing::new(std::fs::read_to_string(path).map_err(describe)?);
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(format!("the file {} is empty", path.display()));
    }
    Ok(Secret(text))
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        deserializer.deserialize_any(Form)
    }
}

struct Form;

impl<'de> serde::de::Visitor<'de> for Form {
    type Value = Secret;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a secret: \"text\", { file = \"/path\" }, { credential = \"name\" } or { env = \"NAME\" }")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Secret, E> {
        Ok(Secret::new(text))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
        let source = Source::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
        source.fetch().map_err(serde::de::Error::custom)
    }
}
