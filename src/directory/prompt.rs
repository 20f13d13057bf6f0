use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::declared::{Kept, remove_undeclared};
use super::{Directory, Organization};
use crate::config::PromptConfig;
use crate::store::{Change, Order, StoreError, Table};

const PROMPTS: Table<(Uuid, String), Kept<Prompt>> = Table::new("prompts");

/// Instructions kept under a short name.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prompt {
    pub organization: Uuid,
    pub slug: String,
    pub text: String,
}

impl Directory {
    /// A stored prompt's text when `text` is a known slug, else `text` itself.
    pub fn resolve_prompt(&self, organization: Uuid, text: &str) -> Result<String, StoreError> {
        if !is_slug(text) {
            return Ok(text.to_owned());
        }
        let kept = self.store.read()?.get(&PROMPTS, &(organization, text.to_owned()))?;
        Ok(kept.map_or_else(|| text.to_owned(), |kept| kept.record.text))
    }

    /// In the order of their slugs.
    pub fn prompts(&self, organization: Uuid) -> Result<Vec<Prompt>, StoreError> {
        let mut prompts = Vec::new();
        self.store.read()?.scan_prefix(&PROMPTS, &organization, Order::Ascending, &mut |_, kept| {
            prompts.push(kept.record);
            true
        })?;
        Ok(prompts)
    }

    /// Creates or replaces a prompt that is not declared in the file. One whose slug [`is_slug`] refuses is never found.
    pub fn put_prompt(change: &mut Change<'_>, prompt: &Prompt) -> Result<(), StoreError> {
        change.put(&PROMPTS, &(prompt.organization, prompt.slug.clone()), &Kept::made(prompt.clone()))
    }
}

/// `^[a-z0-9][a-z0-9_-]{0,63}$`
pub fn is_slug(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    (1..=64).contains(&text.len())
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || byte == b'_' || byte == b'-')
}

pub(super) fn declare(
    change: &mut Change<'_>,
    organization: &Organization,
    declared: &[PromptConfig],
) -> Result<(), StoreError> {
    for PromptConfig { slug, text } in declared {
        let prompt = Prompt { organization: organization.id, slug: slug.clone(), text: text.clone() };
        change.put(&PROMPTS, &(organization.id, slug.clone()), &Kept::declared(prompt))?;
    }
    let slugs: HashSet<String> = declared.iter().map(|prompt| prompt.slug.clone()).collect();
    remove_undeclared(change, &PROMPTS, organization.id, &slugs)
}

#[cfg(test)]
mod tests {
    use super::is_slug;

    #[test]
    fn a_slug_is_lower_case_starts_plain_and_has_at_most_64_characters() {
        for good in ["a", "7", "reminder", "a_b-c", "0-", &"x".repeat(64)] {
            assert!(is_slug(good), "{good}");
        }
        for bad in ["", "-a", "_a", "A", "a b", "a.b", "ä", "a\n", &"x".repeat(65)] {
            assert!(!is_slug(bad), "{bad:?}");
        }
    }
}
