//! Field lines of a head as offsets into its bytes.

use httparse::Header;

use super::field::{Name, NameSet};
use crate::cost;

/// Offsets of the parts of one field line.
#[derive(Clone, Copy, Debug)]
struct FieldLine {
    kind: Name,
    start: u32,
    name_end: u32,
    value_start: u32,
    value_end: u32,
    end: u32,
}

impl FieldLine {
    /// Place in a table that no line has used yet.
    const NONE: FieldLine = FieldLine {
        kind: Name::Other,
        start: 0,
        name_end: 0,
        value_start: 0,
        value_end: 0,
        end: 0,
    };
}

/// Storage for the field lines of a head, reused by each parse.
#[derive(Default, Debug)]
pub struct FieldTable(Vec<FieldLine>);

/// Field lines of a head.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    bytes: &'a [u8],
    lines: &'a [FieldLine],
    present: NameSet,
}

/// Field line.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Kind of the name.
    pub kind: Name,
    /// Name as sent.
    pub name: &'a [u8],
    /// Value without the whitespace around it.
    pub value: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Returns the number of lines.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Returns true without lines.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Returns all lines, in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'a>> + use<'a> {
        let fields = *self;
        self.lines.iter().map(move |line| {
            cost::count(1);
            fields.field(line)
        })
    }

    fn field(&self, line: &FieldLine) -> Field<'a> {
        let part = |start: u32, end: u32| {
            self.bytes
                .get(start as usize..end as usize)
                .unwrap_or_default()
        };
        Field {
            kind: line.kind,
            name: part(line.start, line.name_end),
            value: part(line.value_start, line.value_end),
        }
    }

    /// Returns the lines that are kept, whole and in order, neighbours in one piece. Lines in
    /// `drops` and lines for which `is_dropped` is true are left out. With `None` only the name of
    /// a line is examined.
    pub fn runs(
        &self,
        drops: NameSet,
        is_dropped: Option<impl Fn(&Field<'a>) -> bool>,
        mut put: impl FnMut(&'a [u8]),
    ) {
        let (mut start, mut end) = (0, 0);
        for line in self.lines {
            cost::count(1);
            let goes = drops.contains(line.kind)
                || is_dropped
                    .as_ref()
                    .is_some_and(|test| test(&self.field(line)));
            if goes {
                continue;
            }
            if line.start != end {
                if start != end {
                    put(self
                        .bytes
                        .get(start as usize..end as usize)
                        .unwrap_or_default());
                }
                start = line.start;
            }
            end = line.end;
        }
        if start != end {
            put(self
                .bytes
                .get(start as usize..end as usize)
                .unwrap_or_default());
        }
    }

    /// Returns the values of all lines with this name, in order.
    pub fn get_all(&self, kind: Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        let lines = if self.has(kind) { self.lines } else { &[] };
        lines
            .iter()
            .filter(move |line| {
                cost::count(1);
                line.kind == kind
            })
            .map(move |line| {
                bytes
                    .get(line.value_start as usize..line.value_end as usize)
                    .unwrap_or_default()
            })
    }

    /// Returns the value of the first line with this name.
    #[inline(always)]
    pub fn first(&self, kind: Name) -> Option<&'a [u8]> {
        self.get_all(kind).next()
    }

    /// Returns true if a line has this name.
    pub fn has(&self, kind: Name) -> bool {
        self.present.contains(kind)
    }

    /// Returns true if the first line with this name has a value: an empty one has no meaning.
    #[inline]
    pub fn says(&self, kind: Name) -> bool {
        self.first(kind).is_some_and(|value| !value.is_empty())
    }

    /// Returns the names of all lines.
    pub fn present(&self) -> NameSet {
        self.present
    }
}

/// Finds each tokenized field in the head, and checks that the lines leave no byte unaccounted for.
pub(super) fn locate<'a>(
    bytes: &'a [u8],
    start_line: usize,
    headers: &[Header<'_>],
    table: &'a mut FieldTable,
) -> Option<Fields<'a>> {
    let FieldTable(lines) = table;
    // The table keeps its length: a line overwrites one of an earlier head, which is cheaper than
    // appending.
    if lines.len() < headers.len() {
        lengthen(lines, headers.len());
    }
    let mut present = NameSet::EMPTY;
    let mut at = behind_line_end(bytes, start_line)?;
    for (line, header) in lines.iter_mut().zip(headers) {
        cost::count(1);
        *line = locate_line(bytes, at, header)?;
        present.insert(line.kind);
        at = line.end as usize;
    }
    let lines = lines.get(..headers.len())?;
    (behind_line_end(bytes, at)? == bytes.len()).then_some(Fields {
        bytes,
        lines,
        present,
    })
}

#[cold]
#[inline(never)]
fn lengthen(lines: &mut Vec<FieldLine>, len: usize) {
    lines.resize(len, FieldLine::NONE);
}

/// Returns the field line at `start`, if it is this header and nothing else.
#[inline(always)]
fn locate_line(head: &[u8], start: usize, header: &Header<'_>) -> Option<FieldLine> {
    let (name, value) = (header.name.as_bytes(), header.value);
    if place_of(name, head) != start || name.is_empty() {
        return None;
    }
    let name_end = start.wrapping_add(name.len());
    let value_start = match head.get(name_end..)? {
        // Most senders write a field in this form.
        [colon, space, byte, ..] if [*colon, *space] == *b": " && !is_ows(*byte) => {
            name_end.wrapping_add(2)
        }
        [b':', ..] => behind_ows(head, name_end.wrapping_add(1)),
        _ => return None,
    };
    // The tokenizer's slice of an empty value points anywhere.
    if place_of(value, head) != value_start && !value.is_empty() {
        return None;
    }
    let value_end = value_start.wrapping_add(value.len());
    let end = behind_line_end(head, value_end)
        .or_else(|| behind_line_end(head, behind_ows(head, value_end)))?;
    let kind = Name::of(name);
    let [start, name_end, value_start, value_end, end] =
        [start, name_end, value_start, value_end, end].map(|at| at as u32);
    Some(FieldLine {
        kind,
        start,
        name_end,
        value_start,
        value_end,
        end,
    })
}

/// Returns the offset of `part` in `bytes`, of which it is a slice; another slice has no offset
/// inside.
fn place_of(part: &[u8], bytes: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(bytes.as_ptr().addr())
}

fn is_ows(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[inline(never)]
fn behind_ows(bytes: &[u8], at: usize) -> usize {
    let ows = bytes
        .get(at..)
        .unwrap_or_default()
        .iter()
        .take_while(|byte| is_ows(**byte))
        .count();
    at.wrapping_add(ows)
}

/// Returns the offset behind the CRLF at `at`.
#[inline(always)]
fn behind_line_end(bytes: &[u8], at: usize) -> Option<usize> {
    match bytes.get(at..)?.first_chunk()? {
        b"\r\n" => at.checked_add(2),
        _ => None,
    }
}
