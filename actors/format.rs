//! How a record's value is written. The format is chosen in the configuration, so that a pipeline
//! does not change with it: it only names the serde type that a value says.

mod json;

use serde::Deserialize;

use crate::record::Unparsed;

/// The formats that this build reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// One JSON object in UTF-8. Unknown fields are ignored, a repeated known key is an error.
    #[default]
    Json,
}

impl Format {
    /// Reads `value` as `E`.
    ///
    /// # Errors
    /// [`Unparsed::Reject`] with what is wrong and where.
    pub(crate) fn decode<'a, E: Deserialize<'a>>(self, value: &'a [u8]) -> Result<E, Unparsed> {
        match self {
            // One check of the whole value is faster than one of each string.
            Self::Json => {
                let text = object(utf8(value)?)?;
                json::read(text).map_or_else(|| by_serde(text), Ok)
            }
        }
    }
}

/// What the fast reader has not read, or what is wrong with it.
#[cold]
fn by_serde<'a, E: Deserialize<'a>>(text: &'a str) -> Result<E, Unparsed> {
    serde_json::from_str(text).map_err(|e| Unparsed::Reject(e.to_string()))
}

fn utf8(value: &[u8]) -> Result<&str, Unparsed> {
    simdutf8::basic::from_utf8(value).map_err(|_| {
        // The slower reader says where.
        let error = std::str::from_utf8(value).map_or_else(|e| e.to_string(), |_| String::new());
        Unparsed::Reject(format!("not UTF-8: {error}"))
    })
}

/// Refuses what is no JSON object: serde reads a struct from an array of its fields as well.
fn object(text: &str) -> Result<&str, Unparsed> {
    match text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('{') {
        true => Ok(text),
        false => Err(Unparsed::Reject("not a JSON object".to_owned())),
    }
}
