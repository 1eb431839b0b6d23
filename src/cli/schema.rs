//! `volume-daemon schema`: prints the JSON Schema of spec documents.

use std::io::Write;
use std::process::ExitCode;

use crate::spec;

/// Prints the JSON Schema of spec documents, for editors and other programs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  volume-daemon schema > volume.schema.json

  Then make this the first line of a spec file, and editors with a YAML language server complete
  and check it:
  # yaml-language-server: $schema=volume.schema.json")]
pub struct Args {}

/// Runs the subcommand.
///
/// # Errors
///
/// `out` cannot be written to.
pub fn run(_: &Args, out: &mut dyn Write) -> anyhow::Result<ExitCode> {
    serde_json::to_writer_pretty(&mut *out, &spec::schema())?;
    writeln!(out)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The committed copy is what people's editors are pointed at.
    #[test]
    fn the_committed_schema_is_the_generated_one() {
        let mut printed = Vec::new();
        run(&Args {}, &mut printed).expect("memory can be written to");
        let printed = String::from_utf8(printed).expect("JSON is UTF-8");
        let committed = include_str!("../../schema/volume.schema.json");
        assert!(
            printed == committed,
            "the schema has changed; run: cargo run -- schema > schema/volume.schema.json"
        );
    }
}
