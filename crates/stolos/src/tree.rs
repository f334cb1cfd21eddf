//! A tree with columns, drawn in lines.

use crate::output;

/// Columns of a screen that tables keep to.
pub(crate) const SCREEN: usize = 100;

/// What the last column needs at least to be worth showing.
const SHORTEST: usize = 12;

const GAP: &str = "   ";

/// A line of the tree with what is below it.
pub(crate) struct Node {
    pub(crate) cells: Vec<String>,
    pub(crate) children: Vec<Node>,
}

impl Node {
    pub(crate) fn leaf(cells: Vec<String>) -> Self {
        Self { cells, children: Vec::new() }
    }

    /// `first` goes before the name, `rest` before the names below it.
    fn flatten(mut self, first: &str, rest: &str, rows: &mut Vec<Vec<String>>) {
        self.cells[0].insert_str(0, first);
        rows.push(self.cells);
        let last = self.children.len().saturating_sub(1);
        for (index, child) in self.children.into_iter().enumerate() {
            let (branch, trunk) =
                if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            child.flatten(&format!("{rest}{branch}"), &format!("{rest}{trunk}"), rows);
        }
    }
}

/// Draws nodes under headings, in aligned columns. The last column is cut where the width ends.
pub(crate) fn draw(headings: Vec<String>, nodes: Vec<Node>, width: usize) -> String {
    let mut rows = vec![headings];
    for node in nodes {
        node.flatten("", "", &mut rows);
    }
    let n_columns = rows.first().map_or(0, Vec::len);
    let widest =
        |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..n_columns.saturating_sub(1)).map(widest).collect();
    let before: usize = widths.iter().map(|width| width + GAP.len()).sum();
    let room = width.saturating_sub(before).max(SHORTEST);
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> =
            cells.map(|(cell, width)| format!("{cell:<width$}{GAP}")).collect();
        let last = output::cut(row.last().map(String::as_str).unwrap_or_default(), room);
        format!("{}{last}", cells.concat()).trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}
