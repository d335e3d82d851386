//! The `longshore` binary: the pipelines that ship, behind the same door that a user's own binary
//! goes through.

use std::process::ExitCode;

use longshore::pipelines;
use longshore::pipelines::ads::Ads;
use longshore::pipelines::payments::Payments;

fn main() -> ExitCode {
    longshore::main(pipelines![Ads, Payments])
}
