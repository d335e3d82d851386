//! Consent before a change: what would be done is shown first, then a person says yes.

use std::io::{self, BufRead, IsTerminal, Write};

use crate::commands::error::CommandError;

/// The flags of every command that changes something.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Consent {
    /// Say what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// Whether the change is to be made; says so if not.
///
/// # Errors
/// Nobody can be asked.
pub(super) fn consents(consent: Consent, question: &str) -> Result<bool, CommandError> {
    if consent.dry_run {
        println!("nothing was changed (--dry-run)");
        return Ok(false);
    }
    let is_meant = consent.yes || asked(question)?;
    if !is_meant {
        println!("nothing was changed");
    }
    Ok(is_meant)
}

fn asked(question: &str) -> Result<bool, CommandError> {
    if !io::stdin().is_terminal() {
        let text = "nobody can be asked here: look with --dry-run, then say --yes";
        return Err(CommandError::Usage(text.to_owned()));
    }
    print!("{question} [y/N] ");
    io::stdout().flush().map_err(CommandError::failed)?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(CommandError::failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
