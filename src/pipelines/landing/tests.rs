//! Rows as they are written, byte for byte, and what the writing costs in memory.

use bytes::BytesMut;
use longshore_actors::arena::{RecordArena, RecordParts};
use longshore_actors::error::EncodeError;
use longshore_actors::record::{Offset, PartitionId};
use longshore_actors::rows::Row;

use super::columns::Columns;
use super::pipeline::{LandedRow, Lander};
use crate::config::ColumnForm;

/// 2026-11-21 12:00:00.123 UTC, since 1970 and since 2000.
const TIME_MS: i64 = 1_795_262_400_123;
const TIME_MICROS: i64 = 848_577_600_123_000;

const PLACE: [&str; 3] = ["topic", "partition", "offset"];

fn lander(value: ColumnForm, has_headers: bool, identity: &[&str]) -> Lander {
    let columns = Columns::plain(value, has_headers, identity);
    Lander::new(columns, &["b".to_owned(), "a".to_owned(), "c".to_owned()])
}

fn parts<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> RecordParts<'a> {
    RecordParts { offset: Offset(7), timestamp_ms: Some(TIME_MS), key, value }
}

/// The row and the sort key of a record of partition 3 of topic `b`.
fn encode(
    lander: &Lander,
    parts: RecordParts<'_>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> Result<(BytesMut, Vec<u8>), EncodeError> {
    let mut arena = RecordArena::default().of(&PartitionId::new("b", 3));
    arena.push(parts);
    headers.iter().for_each(|(name, value)| arena.push_header(name, *value));
    let (mut row, mut key) = (BytesMut::new(), Vec::new());
    LandedRow::new(&arena.get(0), lander).encode(&mut row, &mut key)?;
    Ok((row, key))
}

/// The fields of a row in the form that COPY takes.
fn fields(row: &[u8]) -> Vec<Option<Vec<u8>>> {
    let (count, mut rest) = row.split_first_chunk::<2>().unwrap();
    let mut fields = Vec::new();
    for _ in 0..i16::from_be_bytes(*count) {
        let (length, behind) = rest.split_first_chunk::<4>().unwrap();
        let length = usize::try_from(i32::from_be_bytes(*length)).ok();
        let (field, behind) = behind.split_at(length.unwrap_or(0));
        fields.push(length.map(|_| field.to_vec()));
        rest = behind;
    }
    assert!(rest.is_empty(), "nothing behind the last field");
    fields
}

fn problem(lander: &Lander, parts: RecordParts<'_>) -> String {
    encode(lander, parts, &[]).expect_err("this cannot be held").to_string()
}

#[test]
fn a_row_has_all_columns_in_their_order() {
    let lander = lander(ColumnForm::Text, false, &PLACE);
    let (row, key) = encode(&lander, parts(Some(b"k"), Some(b"v")), &[]).unwrap();
    let expected = [
        b"b".to_vec(),
        3_i32.to_be_bytes().to_vec(),
        7_i64.to_be_bytes().to_vec(),
        TIME_MICROS.to_be_bytes().to_vec(),
        b"k".to_vec(),
        b"v".to_vec(),
    ];
    assert_eq!(fields(&row), expected.map(Some));
    // The number of topic `b`, the partition, the offset: their bytes sort as they do.
    assert_eq!(key, [&[0, 0, 0, 1, 0, 0, 0, 3][..], &7_i64.to_be_bytes(), b"b"].concat());
}

#[test]
fn null_and_empty_and_no_time_are_told_apart() {
    let lander = lander(ColumnForm::Text, true, &[]);
    let timeless = RecordParts { timestamp_ms: None, ..parts(Some(b""), None) };
    let (row, key) = encode(&lander, timeless, &[]).unwrap();
    let fields = fields(&row);
    assert_eq!(fields[3..], [None, Some(vec![]), None, Some(b"\x01[]".to_vec())]);
    assert!(key.is_empty(), "a table without a key");
}

#[test]
fn headers_are_jsonb() {
    let lander = lander(ColumnForm::Bytea, true, &[]);
    let headers: [(&[u8], Option<&[u8]>); 3] =
        [(b"a", Some(b"1")), (b"a", None), (b"a", Some(b"\xff"))];
    let (row, _) = encode(&lander, parts(None, None), &headers).unwrap();
    let text =
        br#"[{"name":"a","value":"1"},{"name":"a","value":null},{"name":"a","base64":"/w=="}]"#;
    assert_eq!(fields(&row)[6], Some([&[1], &text[..]].concat()));
}

#[test]
fn text_has_neither_nul_nor_what_is_no_utf_8_and_bytes_have_both() {
    let (text, bytea) =
        (lander(ColumnForm::Text, false, &[]), lander(ColumnForm::Bytea, false, &[]));
    let nul = "column value: a NUL character at byte 2";
    assert!(problem(&text, parts(None, Some(b"ab\0"))).starts_with(nul));
    for wrong in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc0\x80"] {
        assert!(problem(&text, parts(None, Some(wrong))).starts_with("column value: not UTF-8"));
        let (row, _) = encode(&bytea, parts(None, Some(wrong)), &[]).unwrap();
        assert_eq!(fields(&row)[5].as_deref(), Some(wrong));
    }
    let key = problem(&bytea, parts(Some(b"\0"), None));
    assert!(key.starts_with("column key: a NUL character at byte 0"), "{key}");
}

#[test]
fn times_end_where_those_of_postgresql_do() {
    let lander = lander(ColumnForm::Text, false, &["recorded_at", "offset", "topic", "partition"]);
    let at = |timestamp_ms| RecordParts { timestamp_ms: Some(timestamp_ms), ..parts(None, None) };
    let last = 9_224_318_015_999_999;
    let (row, key) = encode(&lander, at(last), &[]).unwrap();
    assert_eq!(fields(&row)[3], Some(9_223_371_331_199_999_000_i64.to_be_bytes().to_vec()));
    assert_eq!(key[16..24], 9_223_371_331_199_999_000_i64.to_be_bytes(), "part of the key");
    for beyond in [last + 1, i64::MAX] {
        let problem = problem(&lander, at(beyond));
        assert!(problem.contains(&format!("{beyond} ms since 1970")), "{problem}");
    }
    let (row, _) = encode(&lander, at(0), &[]).unwrap();
    assert_eq!(fields(&row)[3], Some((-946_684_800_000_000_i64).to_be_bytes().to_vec()));
}
