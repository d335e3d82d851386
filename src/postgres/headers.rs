//! Headers of records as `jsonb`: readable, and byte for byte as they came.

use std::fmt::Write;

use base64::Engine;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{BufMut, BytesMut};
use longshore_actors::arena::RecordArena;
use serde_json::{Value, json};

/// Headers as an array of objects in their order: `{"name", "value"}`, where the value is null for
/// a null and the bytes as text where they are text that jsonb can hold; otherwise `"base64"`
/// stands in place of `"value"` (and `"name_base64"` in place of `"name"`).
pub fn to_json<'a>(headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Value {
    let header = |(name, value): (&[u8], Option<&[u8]>)| {
        let mut object = serde_json::Map::new();
        match text(name) {
            Some(name) => object.insert("name".to_owned(), json!(name)),
            None => object.insert("name_base64".to_owned(), json!(BASE64.encode(name))),
        };
        match value.map(|value| (text(value), value)) {
            None => object.insert("value".to_owned(), Value::Null),
            Some((Some(text), _)) => object.insert("value".to_owned(), json!(text)),
            Some((None, bytes)) => object.insert("base64".to_owned(), json!(BASE64.encode(bytes))),
        };
        Value::Object(object)
    };
    headers.map(header).collect()
}

/// Appends the text of what [`to_json`] gives, without making it first: for rows by the million.
pub fn write_json<'a>(
    text: &mut BytesMut,
    headers: impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)>,
) {
    text.put_u8(b'[');
    for (number, (name, value)) in headers.enumerate() {
        text.put_slice(if number == 0 { b"{" } else { b",{" });
        write_part(text, Some(name), ("name", "name_base64"));
        text.put_u8(b',');
        write_part(text, value, ("value", "base64"));
        text.put_u8(b'}');
    }
    text.put_u8(b']');
}

/// Appends one field of a header: its name says whether it is text.
fn write_part(out: &mut BytesMut, part: Option<&[u8]>, (text_name, base64_name): (&str, &str)) {
    let written = match part.map(|part| text(part).ok_or(part)) {
        None => write!(out, "\"{text_name}\":null"),
        Some(Ok(text)) => {
            // An escaped text goes nowhere but into memory.
            write!(out, "\"{text_name}\":").and_then(|()| {
                serde_json::to_writer(out.writer(), text).map_err(|_| std::fmt::Error)
            })
        }
        Some(Err(bytes)) => {
            write!(out, "\"{base64_name}\":\"{}\"", Base64Display::new(bytes, &BASE64))
        }
    };
    written.expect("memory takes whatever is written");
}

/// Names and values of headers in that form. What somebody made of them by hand and is not of that
/// form is left out.
pub fn from_json(headers: &Value) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
    headers.as_array().into_iter().flatten().filter_map(|header| {
        let part = |text: &str, base64: &str| match (header.get(text), header.get(base64)) {
            (Some(Value::String(text)), _) => Some(text.as_bytes().to_vec()),
            (_, Some(Value::String(bytes))) => BASE64.decode(bytes).ok(),
            _ => None,
        };
        part("name", "name_base64").map(|name| (name, part("value", "base64")))
    })
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.contains('\0'))
}

/// Adds headers in that form to the record that was pushed last.
pub fn push(arena: &mut RecordArena, headers: &Value) {
    for (name, value) in from_json(headers) {
        arena.push_header(&name, value.as_deref());
    }
}

#[cfg(test)]
mod tests {
    use longshore_actors::arena::RecordParts;
    use longshore_actors::record::Offset;

    use super::*;

    #[test]
    fn headers_are_readable_and_lossless() {
        let mut arena = RecordArena::default();
        let offset = Offset(0);
        arena.push(RecordParts { offset, timestamp_ms: None, key: None, value: None });
        arena.push_header(b"trace", Some(b"a-1"));
        arena.push_header(b"trace", None);
        arena.push_header(b"raw", Some(b"\xff\x00"));
        arena.push_header(b"nul", Some(b"a\0"));
        arena.push_header(b"\xff", Some(b""));
        arena.push_header(b"q\"\\\n\x1f\xc3\xa9", Some(b"\xe2\x80\xa8"));
        let expected = json!([
            {"name": "trace", "value": "a-1"},
            {"name": "trace", "value": null},
            {"name": "raw", "base64": "/wA="},
            {"name": "nul", "base64": "YQA="},
            {"name_base64": "/w==", "value": ""},
            {"name": "q\"\\\n\u{1f}\u{e9}", "value": "\u{2028}"},
        ]);
        assert_eq!(to_json(arena.get(0).headers), expected);
        let mut text = BytesMut::new();
        write_json(&mut text, arena.get(0).headers);
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
        let mut back = RecordArena::default();
        back.push(RecordParts { offset, timestamp_ms: None, key: None, value: None });
        push(&mut back, &expected);
        assert!(back.get(0).headers.eq(arena.get(0).headers));
    }
}
