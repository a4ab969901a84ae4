//! What to do about an option that a command does not have: which commands have it, in place of how to pass it as a file's name.

use crate::args::Cli;
use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Mends the tip of an error.
pub(crate) fn mend(error: &mut clap::Error) {
    if error.kind() != ErrorKind::UnknownArgument {
        return;
    }
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else { return };
    let argument = argument.clone();
    let known = commands_with(&argument);
    let tip = match error.get(ContextKind::SuggestedArg) {
        Some(_) => return,
        None if known.is_empty() => None,
        None => Some(format!("'{argument}' is an option of: {}", known.join(", "))),
    };
    error.remove(ContextKind::Suggested);
    if let Some(tip) = tip {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// The commands that have an option.
fn commands_with(argument: &str) -> Vec<String> {
    let Some(name) = argument.strip_prefix("--") else { return Vec::new() };
    let cli = Cli::command();
    let has = |command: &&clap::Command| {
        !command.is_hide_set()
            && command.get_arguments().any(|known| known.get_long() == Some(name))
    };
    cli.get_subcommands().filter(has).map(|command| command.get_name().to_owned()).collect()
}
