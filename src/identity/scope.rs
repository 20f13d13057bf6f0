//! Scopes of the built-in provider (OpenID Connect Core §5.4, §11).

use std::collections::BTreeSet;

/// What may be asked for.
pub const SCOPES: [&str; 7] = ["openid", "profile", "email", "groups", "phone", "address", "offline_access"];

/// A checked scope value: known words, each once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Scope(BTreeSet<&'static str>);

impl Scope {
    /// `None` when a word is not known (RFC 6749 §5.2 `invalid_scope`).
    pub(super) fn parse(text: &str) -> Option<Scope> {
        text.split_ascii_whitespace()
            .map(|word| SCOPES.into_iter().find(|known| *known == word))
            .collect::<Option<BTreeSet<_>>>()
            .map(Scope)
    }

    pub(super) fn has(&self, word: &str) -> bool {
        self.0.contains(word)
    }

    /// Whether everything in `self` is in `wider`.
    pub(super) fn within(&self, wider: &Scope) -> bool {
        self.0.is_subset(&wider.0)
    }
}

/// In the order of [`SCOPES`], blank-separated.
impl std::fmt::Display for Scope {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words: Vec<&str> = SCOPES.into_iter().filter(|word| self.has(word)).collect();
        f.write_str(&words.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_words_are_refused_and_order_does_not_matter() {
        assert_eq!(Scope::parse("offline_access openid openid").expect("known").to_string(), "openid offline_access");
        assert_eq!(Scope::parse("openid root"), None);
        assert_eq!(Scope::parse("").expect("empty").to_string(), "");
    }

    #[test]
    fn a_narrower_scope_is_within_a_wider_one() {
        let wide = Scope::parse("openid email").expect("known");
        assert!(Scope::parse("email").expect("known").within(&wide));
        assert!(!Scope::parse("email profile").expect("known").within(&wide));
    }
}
