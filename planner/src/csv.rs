//! Problems as minimalloc writes them: `id,lower,upper,size`, with `alignment` where blocks have one; plans add `offset`.
//!
//! Columns come in any order; without a header they are `id,lower,upper,size`. `start` and `begin` are `lower`; `end`, as minimalloc has it, is the *last* time of use, one before `upper`. Other
//! columns are passed over, and named in [`Rows::passed_over`] (`gaps`: the block counts as in use throughout, which is sound and may need more). An `offset`
//! column of the input is replaced.
//!
//! Cost: O(bytes). Memory: the rows.

use crate::Lifetime;
use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt::{self, Write as _};

/// A problem from a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rows {
    /// What the file calls the blocks.
    pub ids: Vec<String>,
    /// The blocks.
    pub lifetimes: Vec<Lifetime>,
    /// Some alignment is stated, so `alignment` is written too.
    pub aligned: bool,
    /// Columns of the file that say nothing here.
    pub passed_over: Vec<String>,
}

/// What is wrong with a file, and in which line, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvError {
    /// The line.
    pub line: usize,
    /// What was found and expected.
    pub what: String,
}

impl fmt::Display for CsvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl core::error::Error for CsvError {}

/// Reads a problem. Rows without bytes or lifetime need no memory and are refused, as minimalloc does.
///
/// # Errors
/// A column is missing, or a value is not what it should be.
pub fn read(text: &str) -> Result<Rows, CsvError> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let begin = lines.peek().map(|&(_, line)| line);
    let header = if begin.is_some_and(is_row) {
        Some(NO_HEADER)
    } else {
        lines.next().map(|(_, header)| header)
    };
    let Some(header) = header else {
        return Err(CsvError { line: 1, what: "nothing; a header is expected".into() });
    };
    let names: Vec<&str> =
        header.split(',').map(|name| bare(name.trim_start_matches('\u{feff}'))).collect();
    let find = |wanted: &[&str]| names.iter().position(|name| wanted.contains(name));
    let need = |wanted: &[&str]| {
        let what = || format!("no column `{}` in the header", wanted[0]);
        find(wanted).ok_or_else(|| CsvError { line: 1, what: what() })
    };
    let id = need(&["id", "buffer", "buffer_id"])?;
    let (lower, size) = (need(&["lower", "start", "begin"])?, need(&["size"])?);
    let upper = need(&["upper", "end"])?;
    let inclusive = u64::from(names[upper] == "end");
    let alignment = find(&["alignment"]);
    let known = [Some(id), Some(lower), Some(upper), Some(size), alignment, find(&["offset"])];
    let others = names.iter().enumerate().filter(|&(column, _)| !known.contains(&Some(column)));
    let passed_over = others.map(|(_, name)| (*name).to_string()).collect();
    let mut rows = Rows { aligned: alignment.is_some(), passed_over, ..Rows::default() };
    for (index, line) in lines {
        let fields: Vec<&str> = line.split(',').map(bare).collect();
        let failed = |what: String| CsvError { line: index + 1, what };
        let number = |column: usize, name: &str| {
            let field = fields.get(column).copied().unwrap_or("");
            field.parse::<u64>().map_err(|_| {
                let found: String = field.chars().take(40).collect();
                failed(format!("{name} is {found:?}; a whole number below 2^64 is expected"))
            })
        };
        let block = Lifetime {
            lower: number(lower, "lower")?,
            upper: number(upper, "upper")?
                .checked_add(inclusive)
                .ok_or_else(|| failed("end is 2^64 - 1, the last time there is".into()))?,
            size: number(size, "size")?,
            alignment: alignment.map_or(Ok(1), |column| number(column, "alignment"))?,
            stream: 0,
        };
        let fault = match block {
            Lifetime { lower, upper, .. } if lower >= upper => {
                "it ends before it begins, or at once"
            }
            Lifetime { size: 0, .. } => "it has no bytes",
            Lifetime { alignment: 0, .. } => "its alignment is 0",
            _ => {
                let name = fields.get(id).copied().unwrap_or("");
                rows.ids.push(name.to_string());
                rows.lifetimes.push(block);
                continue;
            }
        };
        return Err(failed(format!("a block that cannot be placed: {fault}")));
    }
    Ok(rows)
}

/// What the columns are where no line names them.
const NO_HEADER: &str = "id,lower,upper,size";

/// Whether the first line is a block, and no header.
fn is_row(line: &str) -> bool {
    let fields: Vec<&str> = line.trim_start_matches('\u{feff}').split(',').map(bare).collect();
    fields.len() == 4 && fields[1..].iter().all(|field| field.parse::<u64>().is_ok())
}

/// A field without blanks, and without the quotes that spreadsheets put around it.
fn bare(field: &str) -> &str {
    let field = field.trim();
    let inner = field.strip_prefix('"').and_then(|field| field.strip_suffix('"'));
    inner.map_or(field, str::trim)
}

/// The problem with an `offset` for each block, as minimalloc writes it.
#[must_use]
pub fn write(rows: &Rows, offsets: &[u64]) -> String {
    let mut text = String::from("id,lower,upper,size");
    text.push_str(if rows.aligned { ",alignment,offset\n" } else { ",offset\n" });
    for ((id, block), offset) in rows.ids.iter().zip(&rows.lifetimes).zip(offsets) {
        // Writing into a string does not fail.
        let _ = write!(text, "{id},{},{},{}", block.lower, block.upper, block.size);
        if rows.aligned {
            let _ = write!(text, ",{}", block.alignment);
        }
        let _ = writeln!(text, ",{offset}");
    }
    text
}
