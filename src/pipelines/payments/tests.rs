//! What becomes of each kind of payment, without a database.

use longshore_actors::arena::{RecordArena, RecordParts};
use longshore_actors::format::Format;
use longshore_actors::pipeline::Pipeline;
use longshore_actors::record::{Offset, Unparsed};
use serde_json::{Value, json};

use super::pipeline::Payments;
use super::tables::Account;
use crate::postgres::context::PostgresContext;
use crate::postgres::row::Tables;

fn payment() -> Value {
    json!({
        "payment_id": "5f0c1f5e-3b1e-4a57-9d5c-7a1f0d3b2c10", "account_id": 7,
        "amount_cents": -250, "currency": "EUR",
        "requested_at": "2026-11-21T12:00:00.1234567+01:00", "more": [1, 2],
    })
}

fn with(field: &str, value: Value) -> String {
    let mut payment = payment();
    payment[field] = value;
    payment.to_string()
}

fn with_payment<R>(
    value: &str,
    look: impl FnOnce(Result<<Payments as Pipeline>::Event<'_>, Unparsed>, Vec<u8>) -> R,
) -> R {
    let mut arena = RecordArena::with_capacity(1, 0, Format::Json);
    let value = Some(value.as_bytes());
    arena.push(RecordParts { offset: Offset(0), timestamp_ms: None, key: None, value });
    let (record, mut lane) = (arena.get(0), Vec::new());
    let parsed = Payments.parse(&record);
    if let Ok(payment) = &parsed {
        Payments.lane_key(payment, &record, &mut lane);
    }
    look(parsed, lane)
}

fn rejected(value: &str) -> String {
    with_payment(value, |parsed, _| match parsed {
        Err(Unparsed::Reject(error)) => error,
        other => panic!("{value} is not rejected: {other:?}"),
    })
}

fn applied(value: &str, currency: &str, balance_cents: i64) -> Result<i64, String> {
    let account = Account { id: 7, currency: currency.to_owned(), balance_cents };
    with_payment(value, |parsed, _| {
        let payment = parsed.expect("it can be read");
        payment.apply_to(&account).map_err(|reject| reject.to_string())
    })
}

#[test]
fn a_payment_is_ordered_by_its_account() {
    with_payment(&payment().to_string(), |parsed, lane| {
        let payment = format!("{:?}", parsed.expect("it can be read"));
        assert!(payment.contains("requested_at: 2026-11-21T11:00:00.123456Z"), "{payment}");
        assert_eq!(lane, b"7");
    });
}

#[test]
fn what_breaks_a_rule_is_rejected_with_the_rule() {
    assert!(rejected(&with("amount_cents", json!(0))).contains("amount_cents is 0"));
    assert!(rejected(&with("amount_cents", json!(1.5))).contains("1.5"));
    let too_much = payment().to_string().replace("-250", "9223372036854775808");
    assert!(rejected(&too_much).contains("9223372036854775808"));
    assert!(rejected(&with("account_id", json!("7"))).contains("string"));
    let twice = payment().to_string().replacen('{', "{\"currency\":\"USD\",", 1);
    assert!(rejected(&twice).contains("duplicate field `currency`"));
    assert!(rejected("{}").contains("missing field"));
}

#[test]
fn a_balance_never_falls_below_nothing_and_never_overflows() {
    let value = payment().to_string();
    assert_eq!(applied(&value, "EUR", 250), Ok(0));
    let overdrawn = applied(&value, "EUR", 249).unwrap_err();
    assert!(overdrawn.starts_with("overdrawn: account 7: 249 is on it"), "{overdrawn}");
    let other = applied(&value, "USD", 1000).unwrap_err();
    assert!(other.starts_with("other currency") && other.contains("kept in USD"), "{other}");
    let overflow = applied(&with("amount_cents", json!(1)), "EUR", i64::MAX).unwrap_err();
    assert!(overflow.starts_with("amount overflows"), "{overflow}");
}

#[test]
fn of_an_account_the_balance_alone_is_set() {
    let [changed] = &<Payments as Pipeline>::Context::changed_tables()[..] else {
        panic!("one table")
    };
    assert_eq!(changed.table.name(), r#""payments"."accounts""#);
    assert_eq!(changed.set, [r#""balance_cents""#]);
    let [saved] = &<Payments as Pipeline>::Rows::tables()[..] else { panic!("one table") };
    assert_eq!(saved.key(), [r#""payment_id""#]);
}
