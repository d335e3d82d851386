//! Text of a record that is not copied unless it has to be: for the fields of a pipeline's event.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;

use compact_str::CompactString;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A text that borrows from its record where the record has it as it is, and is a copy where it is
/// written with escapes. Within an event: `#[serde(borrow)] note: Option<Text<'a>>`.
///
/// # Why not `Cow<'a, str>`
/// Serde borrows that one only where it is a field by itself; within an `Option` or a `Vec` it
/// copies each text.
///
/// A copy of up to 24 bytes lies within the text itself, and allocates nothing.
#[derive(Clone)]
pub struct Text<'a>(Inner<'a>);

#[derive(Clone)]
enum Inner<'a> {
    Borrowed(&'a str),
    Copied(CompactString),
}

impl Text<'_> {
    /// The text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Inner::Borrowed(text) => text,
            Inner::Copied(text) => text,
        }
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text<'_> {}

impl PartialOrd for Text<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Text<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl<'a> From<&'a str> for Text<'a> {
    fn from(text: &'a str) -> Self {
        Self(Inner::Borrowed(text))
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self(Inner::Copied(text.into()))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text::from(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Inner::Copied(text.into())))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Text<'de>, E> {
        Ok(Text::from(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_escaped_is_copied_within_an_option_too() {
        let json = r#"["plain", "\u0041 and \n", null]"#;
        let texts: Vec<Option<Text<'_>>> = serde_json::from_str(json).expect("it is right");
        let is_copied =
            |text: &Option<Text<'_>>| text.as_ref().map(|text| matches!(text.0, Inner::Copied(_)));
        assert_eq!(
            texts.iter().map(is_copied).collect::<Vec<_>>(),
            [Some(false), Some(true), None]
        );
        assert_eq!(texts[1].as_deref(), Some("A and \n"));
    }

    #[test]
    fn a_copy_is_no_larger_than_a_string_and_equal_to_what_is_borrowed() {
        assert_eq!(size_of::<Option<Text<'_>>>(), size_of::<String>());
        for text in ["short", "a text that is longer than what lies within the text itself"] {
            let (borrowed, copied) = (Text::from(text), Text::from(text.to_owned()));
            assert_eq!(borrowed, copied);
            assert_eq!(borrowed.cmp(&copied), Ordering::Equal);
            assert!(std::collections::HashSet::from([borrowed]).contains(&copied));
        }
    }
}
