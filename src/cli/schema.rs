//! `volume-daemon schema`: prints the format of spec documents, for programs and for people.

use std::io::Write;
use std::process::ExitCode;

use crate::spec;

/// Prints the format of spec documents: a JSON Schema, or a reference of every key.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon schema > volume.schema.json
  volume-daemon schema -o markdown | less         every key with type, default, meaning, example

  Make this the first line of a spec file, and editors with a YAML language server complete and
  check it:
  # yaml-language-server: $schema=volume.schema.json

Exit codes: 0 it was printed, 3 usage.")]
pub struct Args {
    /// For programs, or for people
    #[arg(short, long, value_enum, default_value_t = Output::Json)]
    output: Output,
}

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    // The JSON Schema.
    Json,
    // The reference.
    Markdown,
}

/// Runs the subcommand.
///
/// # Errors
///
/// `out` cannot be written to.
pub fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    match args.output {
        Output::Json => {
            serde_json::to_writer_pretty(&mut *out, &spec::schema())?;
            writeln!(out)?;
        }
        Output::Markdown => out.write_all(spec::reference().as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed copies are what people's editors are pointed at, and what people read.
    #[test]
    fn the_committed_files_are_the_generated_ones() {
        for (output, committed, file) in [
            (
                Output::Json,
                include_str!("../../schema/volume.schema.json"),
                "schema/volume.schema.json",
            ),
            (
                Output::Markdown,
                include_str!("../../docs/spec.md"),
                "docs/spec.md",
            ),
        ] {
            let mut printed = Vec::new();
            run(&Args { output }, &mut printed).expect("memory can be written to");
            let printed = String::from_utf8(printed).expect("UTF-8");
            assert!(
                printed == committed,
                "{file} is not what the types say; run: make schema"
            );
        }
    }
}
