//! What the demo prints: lines that stay, and a few that are written over while something moves.

use std::io::{self, Write};

use super::checks::Check;
use crate::cli::output::{BAD, DIM, GOOD, HEAD};

/// Where the story is told.
pub struct Screen<'a> {
    out: &'a mut dyn Write,
    /// Whether lines can be written over.
    live: bool,
    /// Lines that the next drawing writes over.
    drawn: usize,
    scenes: u32,
}

impl<'a> Screen<'a> {
    /// A screen on `out`, which is standard output. Unless it is `live`, lines are only added.
    pub fn new(out: &'a mut dyn Write, live: bool) -> Self {
        Self {
            out,
            live,
            drawn: 0,
            scenes: 0,
        }
    }

    /// Says something, as it is.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{}", text.trim_end())?;
        self.out.flush()
    }

    /// Begins a scene.
    pub fn scene(&mut self, title: &str) -> io::Result<()> {
        self.scenes += 1;
        let number = self.scenes;
        self.say(&format!("\n{HEAD}{number}  {title}{HEAD:#}"))
    }

    /// Says what happens, a step further in.
    pub fn tell(&mut self, text: &str) -> io::Result<()> {
        self.say(&indented(text, "   "))
    }

    /// Shows what a command prints.
    pub fn command(&mut self, command: &str, output: &str) -> io::Result<()> {
        self.say(&format!("   {DIM}${DIM:#} {command}"))?;
        match output.trim_end() {
            "" => Ok(()),
            output => self.say(&indented(output, &format!("   {DIM}|{DIM:#} "))),
        }
    }

    /// Says whether a promise held.
    pub fn check(&mut self, check: &Check) -> io::Result<()> {
        let Check {
            promise,
            measured,
            held,
        } = check;
        let (style, sign) = if *held { (GOOD, "✓") } else { (BAD, "✗") };
        self.say(&format!("   {style}{sign}{style:#} {promise}: {measured}"))
    }

    /// Shows how it stands, over what was drawn before. Without a terminal, nothing.
    pub fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        if !self.live {
            return Ok(());
        }
        self.out.flush()?;
        // Not through the stream, which drops these together with colours.
        io::stdout().write_all(begin(self.drawn).as_bytes())?;
        for line in lines {
            writeln!(self.out, "   {line}")?;
        }
        self.out.flush()?;
        self.drawn = lines.len();
        io::stdout().write_all(END.as_bytes())?;
        io::stdout().flush()
    }

    /// Shows how it ended; this stays.
    pub fn settle(&mut self, lines: &[String]) -> io::Result<()> {
        if self.live {
            self.draw(lines)?;
        } else {
            for line in lines {
                self.tell(line)?;
            }
        }
        self.drawn = 0;
        Ok(())
    }
}

/// Up over what was drawn, clear from there, and cut lines that are too long instead of wrapping
/// them (ECMA-48 CPL, ED; DEC private mode 7): a wrapped line would count as two.
fn begin(drawn: usize) -> String {
    let up = match drawn {
        0 => String::new(),
        lines => format!("\x1b[{lines}F"),
    };
    format!("{up}\x1b[J\x1b[?7l")
}

const END: &str = "\x1b[?7h";

fn indented(text: &str, by: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("{by}{line}").trim_end().to_owned())
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::fixture::plain;

    #[test]
    fn without_a_terminal_lines_are_only_added() {
        let mut out = Vec::new();
        let mut screen = Screen::new(&mut out, false);
        screen.scene("Rain").expect("written");
        screen.draw(&["half".to_owned()]).expect("written");
        screen.settle(&["done".to_owned()]).expect("written");
        screen.command("drift", "a\n\nb\n").expect("written");
        let check = Check {
            promise: "dry".to_owned(),
            measured: "wet".to_owned(),
            held: false,
        };
        screen.check(&check).expect("written");
        let text = String::from_utf8(out).expect("UTF-8");
        assert_eq!(
            plain(&text),
            "\n1  Rain\n   done\n   $ drift\n   | a\n   |\n   | b\n   ✗ dry: wet\n"
        );
    }

    #[test]
    fn a_drawing_begins_above_the_last_one() {
        assert_eq!(begin(0), "\x1b[J\x1b[?7l");
        assert_eq!(begin(3), "\x1b[3F\x1b[J\x1b[?7l");
    }
}
