//! Types of the table of keys: tables, keys, kinds of values, defaults.

use crate::limits::CONFIG_DURATION_MAX;
use crate::time::Duration;

use crate::config::schema::units::{DURATION, SIZE, show_duration, show_size};

/// The keys of one kind of object.
#[derive(Debug)]
pub struct Table {
    /// Name of the table, for documents: the key that holds such an object.
    pub name: &'static str,
    /// Words after "must be" when something else stands there.
    pub expected: &'static str,
    /// The keys, in the order of the documents.
    pub keys: &'static [Key],
}

/// Key of an object.
#[derive(Debug)]
pub struct Key {
    /// Name as it stands in the file.
    pub name: &'static str,
    /// Type and bounds of its value.
    pub kind: Kind,
    /// Value that holds without the key.
    pub default: Fallback,
    /// Sentence for the reader of a reference page.
    pub about: &'static str,
}

/// Type and bounds of a value. `&'static str` is the text behind "must be", unless said otherwise.
#[derive(Debug)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// `false`, which turns something off.
    Off,
    /// `null`, which stands for no value.
    Null,
    /// A whole number within these bounds.
    Whole(u64, u64),
    /// A number of bytes within these bounds, as a number or as a string such as `"16KB"`.
    Size(u64, u64),
    /// A duration from this one to [`CONFIG_DURATION_MAX`], in milliseconds or as a string such as
    /// `"15s"`.
    Duration(Duration),
    /// Any of these words, as a string.
    Word(&'static [&'static str]),
    /// A string.
    Text(&'static str),
    /// A string that no message repeats.
    Secret(&'static str),
    /// A list and the kind of its items.
    List(&'static str, &'static Kind),
    /// An object with the keys of a table.
    Object(&'static Table),
    /// An object whose names are free, and the kind of its values.
    Map(&'static str, &'static Kind),
    /// An object whose key `type` says which of the tables it follows.
    Variants(&'static str, &'static [&'static Table]),
    /// A value of any of these kinds.
    Any(&'static str, &'static [Kind]),
}

/// Value that holds without a key.
#[derive(Debug)]
pub enum Fallback {
    /// The key is needed.
    Required,
    /// No value. The sentence of the key says what holds then.
    Nothing,
    /// The value of the top-level key of that name.
    Inherited,
    /// An object without keys: each key has its own default.
    OfKeys,
    /// `true` or `false`; `false` is also how a timeout is off.
    Flag(bool),
    /// A number, or a size in bytes.
    Number(u64),
    /// A duration.
    Duration(Duration),
    /// Any other value, as JSON.
    Json(&'static str),
}

impl Table {
    /// Returns the key of this name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Key {
    /// Returns the default as JSON in the usual spelling. `None`: the key is needed, or there is no
    /// value.
    pub fn default_json(&'static self) -> Option<String> {
        Some(match &self.default {
            Fallback::Required | Fallback::Nothing | Fallback::Inherited => return None,
            Fallback::Flag(flag) => flag.to_string(),
            Fallback::Duration(duration) => format!("{:?}", show_duration(*duration)),
            Fallback::Number(bytes) if self.kind.is_size() => format!("{:?}", show_size(*bytes)),
            Fallback::Number(number) => number.to_string(),
            Fallback::Json(text) => (*text).to_owned(),
            Fallback::OfKeys => {
                let keys = self.kind.table().map_or(&[][..], |table| table.keys);
                let member = |key: &'static Key| {
                    let value = key.default_json().unwrap_or("null".to_owned());
                    format!("{:?}: {value}", key.name)
                };
                let members = keys.iter().map(member).collect::<Vec<_>>();
                format!("{{ {} }}", members.join(", "))
            }
        })
    }
}

impl Kind {
    /// Returns this kind or the first of its alternatives for which `pick` returns something.
    pub fn find<T>(&'static self, pick: &dyn Fn(&'static Kind) -> Option<T>) -> Option<T> {
        pick(self).or_else(|| match self {
            Kind::Any(_, kinds) => kinds.iter().find_map(|kind| kind.find(pick)),
            _ => None,
        })
    }

    /// Returns the text behind "must be".
    pub fn expected(&self) -> String {
        match self {
            Kind::Flag => "true or false".to_owned(),
            Kind::Off => "false".to_owned(),
            Kind::Null => "null".to_owned(),
            Kind::Whole(least, most) => format!("a whole number from {least} to {most}"),
            Kind::Size(..) => SIZE.to_owned(),
            Kind::Duration(_) => DURATION.to_owned(),
            Kind::Word(words) => format!(
                "one of {}",
                words
                    .iter()
                    .map(|word| format!("{word:?}"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            Kind::Object(table) => table.expected.to_owned(),
            Kind::Text(expected)
            | Kind::Secret(expected)
            | Kind::List(expected, _)
            | Kind::Map(expected, _)
            | Kind::Variants(expected, _)
            | Kind::Any(expected, _) => (*expected).to_owned(),
        }
    }

    /// Returns the bounds as text, such as `0 to 10`. `None`: there are none, or no number is
    /// meant.
    pub fn bounds(&'static self) -> Option<String> {
        self.find(&|kind| match kind {
            Kind::Whole(least, most) => Some(format!("{least} to {most}")),
            Kind::Size(least, most) => {
                Some(format!("{} to {}", show_size(*least), show_size(*most)))
            }
            Kind::Duration(least) => Some(format!(
                "{} to {}",
                show_duration(*least),
                show_duration(CONFIG_DURATION_MAX)
            )),
            _ => None,
        })
    }

    /// Returns the table of an object.
    pub fn table(&'static self) -> Option<&'static Table> {
        self.find(&|kind| match kind {
            Kind::Object(table) => Some(*table),
            _ => None,
        })
    }

    /// Returns the kind of a list's items.
    pub fn items(&'static self) -> Option<&'static Kind> {
        self.find(&|kind| match kind {
            Kind::List(_, items) => Some(*items),
            _ => None,
        })
    }

    /// Returns the kind of the values of an object whose names are free.
    pub fn values(&'static self) -> Option<&'static Kind> {
        self.find(&|kind| match kind {
            Kind::Map(_, values) => Some(*values),
            _ => None,
        })
    }

    /// Returns the words of which a string is one.
    pub fn words(&'static self) -> Option<&'static [&'static str]> {
        self.find(&|kind| match kind {
            Kind::Word(words) => Some(*words),
            _ => None,
        })
    }

    fn is_size(&self) -> bool {
        matches!(self, Kind::Size(..))
            || matches!(self, Kind::Any(_, kinds) if kinds.iter().any(Kind::is_size))
    }

    /// Calls `visit` with every table below this kind; one that is reached twice is visited twice.
    pub fn tables(&self, visit: &mut dyn FnMut(&'static Table)) {
        let mut enter = |table: &'static Table| {
            visit(table);
            table.keys.iter().for_each(|key| key.kind.tables(visit));
        };
        match self {
            Kind::Object(table) => enter(table),
            Kind::Variants(_, tables) => tables.iter().for_each(|table| enter(table)),
            Kind::List(_, kind) | Kind::Map(_, kind) => kind.tables(visit),
            Kind::Any(_, kinds) => kinds.iter().for_each(|kind| kind.tables(visit)),
            _ => {}
        }
    }
}
