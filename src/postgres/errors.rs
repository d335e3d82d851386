//! What becomes of a database error. The SQLSTATE decides, never the text, which the server
//! translates.
//!
//! | SQLSTATE | what it says | fate |
//! |---|---|---|
//! | 08, 53, 57, 58 | connection, resources, operator (timeouts, shutdowns), system | retry |
//! | 57014 | the statement took too long, or somebody cancelled it | half as many records |
//! | 57P04, 3D, 28 | the database is gone, is not there, or does not let us in | stop |
//! | 25006, 25P03, 25P04, 55P03, 55006 | read-only (a failover), too slow, locked, in use | retry |
//! | 25P02 | an earlier statement of the transaction has failed, see below | retry |
//! | 40, but 40002 | deadlock, serialization failure | retry at once |
//! | 22, 23, 44, P0, 40002, 54000 | a value, a constraint, a trigger, an index entry | the row |
//! | 22P03, 22P04 | our binary form is not the table's: every row would fail | stop |
//! | 42, 0A, 25, 26, 55, XX and all others | a missing table, column, grant; a fault | stop |
//! | none | the connection broke or was never made | retry |
//!
//! Messages name severity, code, message, detail and the place, and no parameter. The detail of a
//! refused row may hold the row's own values: it is kept with the record that they come from.
//!
//! # Statements in one flight
//! Several statements of a transaction are sent without waiting for each other's answers, which are
//! joined. The answers come in order, but while they come those who wait are looked at one by one:
//! the second one's 25P02 may be seen before the first one's error, which says what is wrong. So
//! 25P02 never is the cause. The transaction is rolled back, and done again it tells the cause.
//!
//! # Queries by diesel
//! Diesel-async's errors do not say their SQLSTATE. Of the errors that diesel does not name, those
//! with a place in the statement come from its analysis (class 42) and stop; all others are
//! retried. A missing grant is thus retried until it is given, which heals by itself.

use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use longshore_actors::error::{Fate, Reject, SaveError, StoreError};
use tokio_postgres::error::DbError;

use super::fates::Fates;

/// A database error, sorted by what becomes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The environment: try again after a pause.
    Retry(String),
    /// Try again at once.
    RetryNow(String),
    /// A statement took too long: try again with less.
    TooSlow(String),
    /// One row is refused, the others may be saved.
    Row(Box<RowFailure>),
    /// Trying again cannot help.
    Stop(String),
}

/// A row that the database refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    /// What its record is parked with.
    pub reject: Reject,
    /// Whether a unique key is there already (23505).
    pub is_unique_violation: bool,
    /// The whole message, for when it turns out not to be a row's fault.
    pub message: String,
    /// The server's context lines, where it may say which line of a COPY it is.
    pub context: Option<String>,
    /// Whether the row is refused for itself alone, whatever rows stand beside it: a check, a null,
    /// a value, found while COPY reads its line, and by no function that could look at others.
    pub is_its_own: bool,
}

impl Failure {
    /// The message alone.
    pub fn into_message(self) -> String {
        match self {
            Self::Retry(message)
            | Self::RetryNow(message)
            | Self::TooSlow(message)
            | Self::Stop(message) => message,
            Self::Row(row) => row.message,
        }
    }

    /// As the answer of a query that saves no rows.
    pub fn into_store_error(self) -> StoreError {
        match self {
            Self::Retry(message) | Self::RetryNow(message) | Self::TooSlow(message) => {
                StoreError::Retry(message)
            }
            Self::Row(row) => StoreError::Stop(row.message),
            Self::Stop(message) => StoreError::Stop(message),
        }
    }

    /// As the answer of a save that was rolled back. A row's failure that reaches this was not in a
    /// row of ours: every transaction would fail in the same way.
    pub fn into_save_error(self) -> SaveError {
        match self {
            Self::Retry(message) => SaveError::Retry(message),
            Self::RetryNow(message) => SaveError::RetryNow(message),
            Self::TooSlow(message) => SaveError::TooSlow(message),
            Self::Row(row) => SaveError::Stop(row.message),
            Self::Stop(message) => SaveError::Stop(message),
        }
    }
}

/// Sorts an error of tokio-postgres.
pub fn classify(error: &tokio_postgres::Error) -> Failure {
    classify_by(error, &Fates::default())
}

/// The same, but as `fates` has it where that says anything.
pub fn classify_by(error: &tokio_postgres::Error, fates: &Fates) -> Failure {
    let Some(database) = error.as_db_error() else { return classify_local(error) };
    let message = describe(database);
    match fates.of(database.code().code()) {
        Some(Fate::Retry) => Failure::Retry(message),
        Some(Fate::Reject) => row(database, message),
        Some(Fate::Stop) => Failure::Stop(message),
        None => classify_database(database, message),
    }
}

/// Whether the server has answered, so that what it was asked is certainly not done. Not so when
/// the connection is gone, or when the server ended it (FATAL): a COMMIT may have been done before.
pub fn is_certain(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_some_and(|database| {
        use tokio_postgres::error::Severity;
        match database.parsed_severity() {
            Some(severity) => severity == Severity::Error,
            // Servers before 9.6 translate the severity. Shutdowns end the connection.
            None => !database.code().code().starts_with("57P"),
        }
    })
}

/// Sorts an error of a diesel query; see the module's text.
pub fn of_query(error: &DieselError) -> StoreError {
    use DatabaseErrorKind::{
        ClosedConnection, ReadOnlyTransaction, SerializationFailure, UnableToSendCommand, Unknown,
    };
    let message = describe_diesel(error);
    match error {
        DieselError::DatabaseError(
            ClosedConnection | ReadOnlyTransaction | SerializationFailure | UnableToSendCommand,
            _,
        )
        | DieselError::BrokenTransactionManager => StoreError::Retry(message),
        DieselError::DatabaseError(Unknown, info) if info.statement_position().is_none() => {
            StoreError::Retry(message)
        }
        _ => StoreError::Stop(message),
    }
}

/// Sorts the failure to open a connection for diesel.
pub fn of_query_pool(error: &diesel_async::pooled_connection::PoolError) -> StoreError {
    use diesel_async::pooled_connection::PoolError;
    match error {
        PoolError::ConnectionError(error) => of_connection(error),
        PoolError::QueryError(error) => of_query(error),
    }
}

/// Sorts the failure to open one connection for diesel: `pool` keeps the fate in the variant.
pub fn of_connection(error: &ConnectionError) -> StoreError {
    match error {
        ConnectionError::InvalidConnectionUrl(message) => StoreError::Stop(message.clone()),
        ConnectionError::CouldntSetupConfiguration(error) => of_query(error),
        error => StoreError::Retry(error.to_string()),
    }
}

fn classify_database(error: &DbError, message: String) -> Failure {
    match failure_of(error.code().code()) {
        Some(failure) => failure(message),
        None => row(error, message),
    }
}

/// What a SQLSTATE says; `None`: a row is at fault.
fn failure_of(code: &str) -> Option<fn(String) -> Failure> {
    Some(match code {
        "57014" => Failure::TooSlow,
        "22P03" | "22P04" | "57P04" => Failure::Stop,
        "25006" | "25P02" | "25P03" | "25P04" | "55P03" | "55006" => Failure::Retry,
        "40002" | "54000" => return None,
        _ => match code.get(..2).unwrap_or_default() {
            "08" | "53" | "57" | "58" => Failure::Retry,
            "40" => Failure::RetryNow,
            "22" | "23" | "44" | "P0" => return None,
            _ => Failure::Stop,
        },
    })
}

fn classify_local(error: &tokio_postgres::Error) -> Failure {
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        message = format!("{message}: {error}");
        cause = error.source();
    }
    // The two things that are wrong before anything was sent are wrong for good.
    let is_encoding =
        message.starts_with("error serializing") || message.starts_with("error encoding");
    let is_config = message.starts_with("invalid configuration");
    if is_encoding || is_config { Failure::Stop(message) } else { Failure::Retry(message) }
}

fn row(error: &DbError, message: String) -> Failure {
    let code = error.code().code();
    let reason = match (error.constraint(), error.column()) {
        (Some(constraint), _) => constraint.to_owned(),
        (None, Some(column)) => format!("{} {column}", name_of(code)),
        (None, None) => name_of(code).to_owned(),
    };
    Failure::Row(Box::new(RowFailure {
        reject: Reject::new(reason, message.clone()),
        is_unique_violation: code == "23505",
        is_its_own: (code.starts_with("22") || matches!(code, "23502" | "23514"))
            && error.where_().is_some_and(|context| context.lines().count() == 1),
        message,
        context: error.where_().map(str::to_owned),
    }))
}

/// A word or two for a row's error that names no constraint.
fn name_of(code: &str) -> &str {
    match code {
        "23502" => "null in",
        "22001" => "too long",
        "22003" => "number out of range",
        "22007" | "22008" => "time out of range",
        "22021" | "22P05" => "text that the database cannot hold",
        "22P02" => "unreadable value",
        "54000" => "too large",
        "P0001" => "refused by a trigger",
        code => code,
    }
}

fn describe(error: &DbError) -> String {
    let mut text = format!("{} {}: {}", error.severity(), error.code().code(), error.message());
    let table = error.table().map(|table| match error.schema() {
        Some(schema) => format!("{schema}.{table}"),
        None => table.to_owned(),
    });
    let parts = [
        ("detail", error.detail()),
        ("hint", error.hint()),
        ("table", table.as_deref()),
        ("column", error.column()),
        ("constraint", error.constraint()),
    ];
    for (name, part) in parts {
        if let Some(part) = part {
            text.push_str(&format!("; {name}: {part}"));
        }
    }
    text
}

fn describe_diesel(error: &DieselError) -> String {
    match error {
        DieselError::DatabaseError(_, info) => {
            let detail = info.details().map(|detail| format!("; detail: {detail}"));
            let hint = info.hint().map(|hint| format!("; hint: {hint}"));
            format!("{}{}{}", info.message(), detail.unwrap_or_default(), hint.unwrap_or_default())
        }
        error => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: &str) -> Option<Failure> {
        failure_of(code).map(|failure| failure(code.to_owned()))
    }

    #[test]
    fn a_statement_behind_one_that_failed_is_done_again_and_does_not_stop() {
        assert_eq!(failure("25P02"), Some(Failure::Retry("25P02".to_owned())));
    }

    #[test]
    fn others_of_its_class_keep_their_fates() {
        for code in ["25006", "25P03", "25P04"] {
            assert_eq!(failure(code), Some(Failure::Retry(code.to_owned())));
        }
        for code in ["25000", "25001", "25P01"] {
            assert_eq!(failure(code), Some(Failure::Stop(code.to_owned())));
        }
    }
}
