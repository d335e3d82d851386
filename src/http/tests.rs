//! Health judged on made-up snapshots.
