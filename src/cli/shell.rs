//! `volume-daemon completions` and `volume-daemon man`: what shells and `man` know of the commands.
//!
//! Both are generated from the same definitions as `--help`, so that they cannot differ from it.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap_complete::Shell;

use super::output::{Exit, Io};

/// Prints a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon completions bash > /etc/bash_completion.d/volume-daemon
  volume-daemon completions zsh > ~/.zfunc/_volume-daemon
  source <(volume-daemon completions bash)      # for this shell only

Exit codes: 0 it was printed, 3 usage.")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the manual pages, one for each command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon man                             the page of volume-daemon itself, in roff
  volume-daemon man | man -l -                  read it
  volume-daemon man --out /usr/local/share/man/man1

Exit codes: 0 they were written, 1 they could not be, 3 usage.")]
pub struct ManArgs {
    /// Write all pages into DIR instead
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Prints the completion script.
///
/// # Errors
/// If the output cannot be written.
pub fn completions(
    args: &CompletionsArgs,
    mut command: clap::Command,
    io: &mut Io<'_>,
) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    io.text(&String::from_utf8(script)?)?;
    Ok(Exit::Fine)
}

/// Prints or writes the manual pages.
///
/// # Errors
/// If the output or a page cannot be written.
pub fn man(args: &ManArgs, command: clap::Command, io: &mut Io<'_>) -> anyhow::Result<Exit> {
    match &args.out {
        None => io.text(&page(command)?)?,
        Some(dir) => {
            let count = pages(command, dir)?;
            io.text(&format!("{count} pages written to {}\n", dir.display()))?;
        }
    }
    Ok(Exit::Fine)
}

fn page(command: clap::Command) -> anyhow::Result<String> {
    let mut roff = Vec::new();
    clap_mangen::Man::new(command).render(&mut roff)?;
    Ok(String::from_utf8(roff)?)
}

/// Writes the page of `command` and of all below it, as `git-commit.1` is named after `git commit`.
fn pages(mut command: clap::Command, dir: &Path) -> anyhow::Result<usize> {
    command.build();
    let mut left = vec![command];
    let mut count = 0;
    while let Some(command) = left.pop() {
        left.extend(
            command
                .get_subcommands()
                .filter(|sub| sub.get_name() != "help")
                .cloned(),
        );
        let name = command.get_display_name().unwrap_or(command.get_name());
        let path = dir.join(format!("{name}.1"));
        std::fs::write(&path, page(command)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::super::parser;
    use super::*;

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let dir = tempfile::tempdir().expect("a directory");
        let count = pages(parser(), dir.path()).expect("written");
        let names: Vec<String> = parser()
            .get_subcommands()
            .map(|sub| sub.get_name().to_owned())
            .collect();
        assert!(count > names.len(), "{count}");
        let mut script = Vec::new();
        clap_complete::generate(Shell::Bash, &mut parser(), "volume-daemon", &mut script);
        let script = String::from_utf8(script).expect("text");
        for name in names {
            let path = dir.path().join(format!("volume-daemon-{name}.1"));
            let text = std::fs::read_to_string(&path).expect("a page");
            assert!(text.contains("Examples:"), "{name}: {text}");
            assert!(
                script.contains(&format!("volume__daemon,{name})")),
                "{name}"
            );
        }
    }
}
