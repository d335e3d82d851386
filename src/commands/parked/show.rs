//! `longshore parked show`: everything about some parked records.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use super::selection::Selection;
use crate::commands::context::{Context, Overrides, block_on};
use crate::commands::database::connect;
use crate::commands::error::CommandError;
use crate::postgres::parked::{self, ParkedRecord};

/// Show everything about parked records: payload, headers, error, attempts
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Their ids, as `parked list` says them
    #[arg(value_name = "ID", required = true)]
    ids: Vec<i64>,

    /// For programs: a JSON array, with payloads also in base64
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    overrides: Overrides,
}

/// Shows parked records.
///
/// # Errors
/// The database cannot be reached; an id that is not there.
pub(super) fn execute(context: &Context, args: &Args) -> Result<(), CommandError> {
    let selection = Selection::of_ids(&args.ids);
    let config = selection.config(context, &args.overrides)?;
    let records = block_on(async {
        let mut conn = connect(&config).await?;
        let filter = selection.filter(&config);
        let records = parked::list(&mut conn, &filter, i64::MIN, i64::MAX).await;
        records.map_err(CommandError::failed)
    })?;
    if args.json {
        let all: Vec<_> = records.iter().map(to_json).collect();
        println!("{:#}", Value::Array(all));
    } else {
        records.iter().for_each(print);
    }
    let is_missing = |id: &&i64| !records.iter().any(|record| record.id == **id);
    match args.ids.iter().find(is_missing) {
        Some(id) => Err(CommandError::failed(format!(
            "no parked record has the id {id}: it was settled or thrown away (see longshore.audit)"
        ))),
        None => Ok(()),
    }
}

/// A parked record for programs: every byte, and text where it is text.
pub(super) fn to_json(record: &ParkedRecord) -> Value {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| BASE64.encode(bytes));
    let text = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().and_then(|bytes| String::from_utf8(bytes.clone()).ok())
    };
    json!({
        "id": record.id,
        "pipeline": record.pipeline,
        "group": record.group,
        "topic": record.topic,
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "key": text(&record.key),
        "key_base64": bytes(&record.key),
        "value": text(&record.value),
        "value_base64": bytes(&record.value),
        "headers": record.headers,
        "state": record.state,
        "attempts": record.attempts,
        "due_at": record.due_at,
        "relayed_at": record.relayed_at,
        "relay_error": record.relay_error,
        "reason": record.reason,
        "error": record.error,
        "parked_at": record.parked_at,
    })
}

fn print(record: &ParkedRecord) {
    let ParkedRecord { id, topic, partition, offset, .. } = record;
    println!("{id}  {topic}/{partition} offset {offset}, {} of {}", record.pipeline, record.group);
    println!("  state     {}, {} attempts", record.state, record.attempts);
    if let Some(due_at) = record.due_at {
        println!("  due       {due_at}");
    }
    println!("  parked    {}", record.parked_at);
    if let Some(relayed_at) = record.relayed_at {
        println!("  published {relayed_at}");
    }
    if let Some(error) = &record.relay_error {
        print_block("unsendable", error);
    }
    println!("  reason    {}", record.reason);
    print_block("error", &record.error);
    if let Some(timestamp) = record.timestamp {
        println!("  made      {timestamp}");
    }
    print_block("key", &readable(record.key.as_deref()));
    for header in record.headers.as_array().into_iter().flatten() {
        println!("  header    {header}");
    }
    print_block("value", &readable(record.value.as_deref()));
}

fn print_block(name: &str, text: &str) {
    for (index, line) in text.lines().enumerate() {
        let name = if index == 0 { name } else { "" };
        println!("  {name:<9} {line}");
    }
}

/// Bytes for a person: JSON with indents, text as it is, anything else in hexadecimal.
fn readable(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".to_owned() };
    if let Ok(value @ (Value::Object(_) | Value::Array(_))) = serde_json::from_slice(bytes) {
        return format!("{value:#}");
    }
    match std::str::from_utf8(bytes) {
        Ok("") => "(empty)".to_owned(),
        Ok(text) => text.escape_debug().to_string(),
        Err(_) => {
            let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{} bytes, in hexadecimal: {digits}", bytes.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_shown_as_what_they_are() {
        assert_eq!(readable(None), "null");
        assert_eq!(readable(Some(b"")), "(empty)");
        assert_eq!(readable(Some(b"a\tb")), "a\\tb");
        assert_eq!(readable(Some(br#"{"a":1}"#)), "{\n  \"a\": 1\n}");
        assert_eq!(readable(Some(b"\xff\x00")), "2 bytes, in hexadecimal: ff00");
    }
}
