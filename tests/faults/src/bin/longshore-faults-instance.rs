//! The program under test: the harness's own pipeline and the shipped one for ads.

use std::process::ExitCode;

use longshore::pipelines;
use longshore::pipelines::ads::Ads;
use longshore_faults::pipelines::Append;

fn main() -> ExitCode {
    longshore::main(pipelines![Append, Ads])
}
