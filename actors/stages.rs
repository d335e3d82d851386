//! How long batches take on their way, and how large they are: histograms, written once a batch by
//! whoever did the work. Without a recorder they cost next to nothing and go nowhere.

use std::time::Duration;

/// Seconds that a stage took, by stage.
pub const STAGE_SECONDS: &str = "longshore_stage_seconds";

/// Records of each batch that was handed in.
pub const BATCH_RECORDS: &str = "longshore_batch_records";

/// One stage of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedStage(&'static str);

/// From the first record of a batch until it is handed in, its linger included.
pub const READ: TimedStage = TimedStage("read");
/// A batch's records are read as events.
pub const DECODE: TimedStage = TimedStage("decode");
/// One query for the context of a group of batches, with its retries.
pub const CONTEXT: TimedStage = TimedStage("context");
/// One part of a batch in the user's code.
pub const WORK: TimedStage = TimedStage("work");
/// One saving transaction from its beginning to its end, done again or not.
pub const SAVE: TimedStage = TimedStage("save");
/// Its COMMIT alone.
pub const COMMIT: TimedStage = TimedStage("commit");

/// All of them, in the order of the way.
pub const ALL: [TimedStage; 6] = [READ, DECODE, CONTEXT, WORK, SAVE, COMMIT];

impl TimedStage {
    /// Notes that it took this long.
    pub fn took(self, time: Duration) {
        metrics::histogram!(STAGE_SECONDS, "stage" => self.0).record(time);
    }
}

/// Makes all series, still empty.
pub fn register() {
    for stage in ALL {
        let _ = metrics::histogram!(STAGE_SECONDS, "stage" => stage.0);
    }
    let _ = metrics::histogram!(BATCH_RECORDS);
}

/// Notes the size of a batch that is handed in; one that only passes offsets has none.
pub fn handed_in(records: usize) {
    if records > 0 {
        metrics::histogram!(BATCH_RECORDS).record(records as f64);
    }
}
