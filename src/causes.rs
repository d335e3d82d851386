//! Errors with what caused them, in one line for people.

use std::error::Error;

/// Appends the causes to `text`, from `cause` on. Many errors repeat their source in their own
/// text: what is there already is left out.
pub(crate) fn with_causes(mut text: String, mut cause: Option<&dyn Error>) -> String {
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}
