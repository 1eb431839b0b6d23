//! A list for people: its columns and lines, printed whole or line by line.

use std::fmt::Display;

use comfy_table::Cell;

use crate::cli::output::{DIM, cell, rows, table};

/// Columns whose texts grow older by themselves, which is no change.
const AGES: [&str; 2] = ["READ", "AGE"];

/// Columns that say how a thing stands, and where it is written that it is gone.
const STATES: [&str; 2] = ["PHASE", "STATE"];

/// A list: its columns, and a line for each thing in it.
pub(super) struct Listing {
    /// What is said if there is nothing, as one line.
    pub empty: &'static str,
    /// What the columns are called.
    pub header: Vec<&'static str>,
    /// The things, in the order in which they are shown.
    pub lines: Vec<Line>,
}

/// One thing in a list.
#[derive(Clone)]
pub(super) struct Line {
    /// What tells it from the others.
    pub key: String,
    cells: Vec<Cell>,
}

impl Line {
    /// A line about what `key` names.
    pub fn new(key: impl Display, cells: Vec<Cell>) -> Self {
        Self {
            key: key.to_string(),
            cells,
        }
    }
}

impl Listing {
    /// The whole list.
    pub fn text(&self) -> String {
        if self.lines.is_empty() {
            return format!("{}\n", self.empty);
        }
        let lines = self.lines.iter();
        table(&self.header, lines.map(|line| line.cells.clone()))
    }

    /// What a line says, without ages: two lines that say the same show no change.
    pub fn gist(&self, line: &Line) -> String {
        let cells = self.header.iter().zip(&line.cells);
        let lasting = cells.filter(|(column, _)| !AGES.contains(column));
        let texts: Vec<String> = lasting.map(|(_, cell)| cell.content()).collect();
        texts.join("\t")
    }

    /// The line of what is not in the list any more: `word` says so.
    pub fn gone(&self, mut line: Line, word: &str) -> Line {
        for (column, old) in self.header.iter().zip(&mut line.cells) {
            if STATES.contains(column) {
                *old = cell(word, DIM);
            }
        }
        line
    }

    /// Lines below what was printed with these `widths`, which grow as is needed; none yet: with
    /// their header.
    pub fn below(&self, lines: &[Line], widths: &mut Vec<usize>) -> String {
        let is_first = widths.is_empty();
        self.widen(&self.lines, widths);
        self.widen(lines, widths);
        let cells = lines.iter().map(|line| line.cells.clone());
        if is_first {
            table(&self.header, cells)
        } else {
            rows(widths, cells)
        }
    }

    /// Makes `widths`, which begin empty, large enough for the header and `lines`, in characters.
    pub fn widen(&self, lines: &[Line], widths: &mut Vec<usize>) {
        widths.resize(self.header.len(), 0);
        for (width, column) in widths.iter_mut().zip(&self.header) {
            *width = (*width).max(column.chars().count());
        }
        for line in lines {
            for (width, cell) in widths.iter_mut().zip(&line.cells) {
                *width = (*width).max(cell.content().chars().count());
            }
        }
    }
}
