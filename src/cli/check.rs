//! `trunkline check`: every mistake of a configuration file, or that there is none.

use std::path::Path;

use super::{Outcome, out};
use crate::config::Config;
use crate::ops::limits;

pub(super) fn run(file: &Path) -> Outcome {
    match Config::load(file) {
        Ok(config) => {
            out(&format!("{}: right; {}", file.display(), summary(&config)));
            if let Some(problem) = limits::port_shortage(&config) {
                out(&format!("{}: note: {problem}", file.display()));
            }
            Ok(())
        }
        Err(mistakes) => {
            for mistake in &mistakes.0 {
                out(&mistake.to_string());
            }
            let count = mistakes.0.len();
            Err(format!("{count} {} in {}", if count == 1 { "mistake" } else { "mistakes" }, file.display()))
        }
    }
}

fn summary(config: &Config) -> String {
    let parts = [
        (config.trunks.len(), "trunk"),
        (config.extensions.len(), "extension"),
        (config.numbers.len(), "number"),
        (config.prompts.len(), "prompt"),
    ];
    let words = parts.map(|(count, what)| format!("{count} {what}{}", if count == 1 { "" } else { "s" }));
    words.join(", ")
}
