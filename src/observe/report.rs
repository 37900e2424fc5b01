//! Tables of the state, written as JSON or as HTML by the same calls.

use crate::digits;

/// Value of a cell.
#[derive(Clone, Copy)]
pub enum Cell<'a> {
    /// Text.
    Text(&'a str),
    /// Whole number.
    Number(u64),
    /// Number with one digit behind the point, in tenths.
    Tenths(u64),
    /// Nothing is known.
    Missing,
}

/// Cell with its name.
pub type Named<'a> = (&'static str, Cell<'a>);

impl<'a> From<Option<&'a str>> for Cell<'a> {
    fn from(text: Option<&'a str>) -> Cell<'a> {
        text.map_or(Cell::Missing, Cell::Text)
    }
}

impl From<Option<u64>> for Cell<'_> {
    fn from(number: Option<u64>) -> Self {
        number.map_or(Cell::Missing, Cell::Number)
    }
}

/// Form of a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// A list of objects.
    Json,
    /// Rows of a table, with the cells of these names.
    Html(&'static [&'static str]),
}

/// Rows of a section that has room for some bytes.
pub struct Rows {
    form: Form,
    /// Bytes that are left.
    room: usize,
    /// Bytes of the rows.
    used: usize,
    /// Rows that were written.
    written: usize,
    /// True if a row found no room: no more are written.
    is_full: bool,
}

impl Rows {
    /// Begins a section.
    pub fn new(form: Form, room: usize) -> Rows {
        Rows {
            form,
            room,
            used: 0,
            written: 0,
            is_full: false,
        }
    }

    /// Returns true if a row found no room.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Returns the bytes of the rows.
    pub fn used(&self) -> usize {
        self.used
    }

    /// Returns the number of rows.
    pub fn written(&self) -> usize {
        self.written
    }

    /// Appends a row, if it has room.
    pub fn row(&mut self, cells: &[Named<'_>], out: &mut Vec<u8>) {
        let before = out.len();
        if self.is_full {
            return;
        }
        row(self.form, self.written == 0, cells, out);
        let bytes = out.len().saturating_sub(before);
        match self.room.checked_sub(bytes) {
            Some(room) => {
                self.room = room;
                self.used = self.used.saturating_add(bytes);
                self.written = self.written.saturating_add(1);
            }
            None => {
                out.truncate(before);
                self.is_full = true;
            }
        }
    }
}

/// Appends a row. `is_first`: it is the first one of its table.
pub fn row(form: Form, is_first: bool, cells: &[Named<'_>], out: &mut Vec<u8>) {
    let columns = match form {
        Form::Json => {
            if !is_first {
                out.push(b',');
            }
            return object(cells, out);
        }
        Form::Html(columns) => columns,
    };
    out.extend_from_slice(b"<tr>");
    for column in columns {
        let cell = cells.iter().find(|(name, _)| name == column);
        match cell {
            // The color goes with the word.
            Some(("state", Cell::Text(text))) => {
                out.extend_from_slice(b"<td class=\"");
                html(&text.replace(' ', "-"), out);
                out.extend_from_slice(b"\">");
            }
            _ => out.extend_from_slice(b"<td>"),
        }
        match cell {
            Some((_, Cell::Text(text))) => html(text, out),
            Some((_, Cell::Number(number))) => decimal(*number, None, out),
            Some((_, Cell::Tenths(tenths))) => decimal(*tenths / 10, Some(*tenths), out),
            Some((_, Cell::Missing)) | None => {}
        }
        out.extend_from_slice(b"</td>");
    }
    out.extend_from_slice(b"</tr>\n");
}

/// Appends a JSON object.
pub fn object(cells: &[Named<'_>], out: &mut Vec<u8>) {
    for (index, (name, cell)) in cells.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b"," });
        json(name, out);
        out.push(b':');
        match cell {
            Cell::Text(text) => json(text, out),
            Cell::Number(number) => decimal(*number, None, out),
            Cell::Tenths(tenths) => decimal(*tenths / 10, Some(*tenths), out),
            Cell::Missing => out.extend_from_slice(b"null"),
        }
    }
    out.push(b'}');
}

fn decimal(whole: u64, tenths: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(digits::write(whole, &mut [0; 20]));
    if let Some(tenths) = tenths {
        out.extend_from_slice(&[b'.', digits::last(tenths)]);
    }
}

/// Appends a JSON string (RFC 8259 7).
pub fn json(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text.as_bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..=0x1f | 0x7f => {
                let digit = |value: u8| b"0123456789abcdef".get(usize::from(value)).copied();
                out.extend_from_slice(b"\\u00");
                out.extend([byte >> 4, byte & 15].map(|half| digit(half).unwrap_or(b'0')));
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Appends text for an HTML element or a quoted attribute.
pub fn html(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        match byte {
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            b'"' => out.extend_from_slice(b"&quot;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(form: Form, is_first: bool, cells: &[Named<'_>]) -> String {
        let mut out = Vec::new();
        row(form, is_first, cells, &mut out);
        String::from_utf8(out).expect("text")
    }

    const HOSTILE: &str = "<b a='x' c=\"y\">&\\\n\u{7f}\u{fc}";

    #[test]
    fn json_rows_are_read_back() {
        let cells = [
            ("a", Cell::Text(HOSTILE)),
            ("b", Cell::Number(u64::MAX)),
            ("c", Cell::Tenths(105)),
            ("d", Cell::Missing),
        ];
        let text = written(Form::Json, true, &cells);
        let read = serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
        assert_eq!(read["a"], HOSTILE);
        assert_eq!((&read["b"], &read["c"]), (&u64::MAX.into(), &10.5.into()));
        assert!(read["d"].is_null());
        assert_eq!(written(Form::Json, false, &cells), format!(",{text}"));
    }

    #[test]
    fn html_rows_have_their_columns_and_no_markup_of_a_name() {
        let cells = [("a", Cell::Text(HOSTILE)), ("c", Cell::Tenths(105))];
        assert_eq!(
            written(Form::Html(&["c", "d", "a"]), true, &cells),
            "<tr><td>10.5</td><td></td><td>&lt;b a=&#39;x&#39; c=&quot;y&quot;&gt;&amp;\\\n\u{7f}\u{fc}</td></tr>\n"
        );
    }
}
