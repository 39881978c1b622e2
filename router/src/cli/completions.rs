//! `mpreg completions`: what a shell needs to complete the others.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{CommandError, CommandLine, Exit};

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
pub struct Completions {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(super) fn run(&self, out: &mut impl Write) -> Result<Exit, CommandError> {
        // The generator panics on a failed write, so it writes to memory.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut CommandLine::command(), "mpreg", &mut script);
        out.write_all(&script)?;
        Ok(Exit::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            Completions { shell }.run(&mut script).unwrap();
            let script = String::from_utf8(script).unwrap();
            for command in CommandLine::command().get_subcommands() {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }
}
