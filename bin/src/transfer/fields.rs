//! The fields of a JSON object that somebody may have written by hand: each is read as what it
//! must be, and what is wrong is told by its place.

use std::fmt;

use serde_json::{Map, Value};

/// What is wrong with which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Its place, as `envelopes[2].rcpt`; empty for the whole.
    pub field: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.field.as_str() {
            "" => f.write_str(&self.what),
            field => write!(f, "{field}: {}", self.what),
        }
    }
}

/// Octets of a text at the most; addresses and errors have narrower bounds of their own.
const LONGEST: usize = 4 << 10;

/// An object that is being read.
pub struct Fields<'a> {
    map: &'a Map<String, Value>,
    /// Put before the name of a field.
    prefix: String,
}

impl<'a> Fields<'a> {
    /// The fields of an object, none of which may have a name that is not in `known`: a word with
    /// a mistake in it must not be taken for one that was left out.
    pub fn new(value: &'a Value, prefix: String, known: &[&str]) -> Result<Fields<'a>, Wrong> {
        let Value::Object(map) = value else {
            let field = prefix.trim_end_matches('.').to_owned();
            return Err(Wrong { field, what: "must be an object".to_owned() });
        };
        let fields = Fields { map, prefix };
        match map.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(fields.wrong(name, "there is no such field")),
            None => Ok(fields),
        }
    }

    /// Says what is wrong with a field.
    pub fn wrong(&self, name: &str, what: impl Into<String>) -> Wrong {
        Wrong { field: format!("{}{name}", self.prefix), what: what.into() }
    }

    /// A field's value; `null` is as good as none.
    pub fn value(&self, name: &str) -> Option<&'a Value> {
        self.map.get(name).filter(|value| !value.is_null())
    }

    /// A text without control characters.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>, Wrong> {
        let text = self.words(name)?;
        if text.is_some_and(|text| text.chars().any(char::is_control)) {
            return Err(self.wrong(name, "has a control character"));
        }
        Ok(text)
    }

    /// A text in which there may be anything.
    pub fn words(&self, name: &str) -> Result<Option<&'a str>, Wrong> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= LONGEST => Ok(Some(text)),
            Some(Value::String(_)) => Err(self.wrong(name, "is too long")),
            Some(_) => Err(self.wrong(name, "must be a text")),
        }
    }

    /// A whole number.
    pub fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<Option<T>, Wrong> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(name, "must be a whole number in range"))
    }

    /// True or false; false when it is not there.
    pub fn flag(&self, name: &str) -> Result<bool, Wrong> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(self.wrong(name, "must be true or false")),
        }
    }

    /// Something that is written as a text.
    pub fn parsed<T>(
        &self,
        name: &str,
        what: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, Wrong> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        parse(text).map(Some).ok_or_else(|| self.wrong(name, what))
    }

    /// A list.
    pub fn list(&self, name: &str) -> Result<Option<&'a [Value]>, Wrong> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(_) => Err(self.wrong(name, "must be a list")),
        }
    }
}
