//! The program under test: the harness's own pipeline and the shipped ones.

use std::process::ExitCode;

use longshore::pipelines;
use longshore::pipelines::ads::Ads;
use longshore::pipelines::payments::Payments;
use longshore_faults::pipelines::Append;

fn main() -> ExitCode {
    longshore::main(pipelines![Append, Ads, Payments])
}
