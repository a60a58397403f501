//! Lists of records, one record at a time.

use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};

use super::value::Found;
use crate::DataError;

/// Where a record stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) path: &'a Path,
    /// The name of the list; empty where it is the whole file.
    pub(super) list: &'static str,
    /// Position in the list, from 0.
    pub(super) index: usize,
}

impl Place<'_> {
    /// The error of a value that cannot be meant as one of its key.
    pub(super) fn error(
        &self,
        id: &Found,
        key: &'static str,
        value: &Found,
        expected: &'static str,
    ) -> DataError {
        let id = match id {
            Found::Missing => String::new(),
            id => format!(" (id {id})"),
        };
        DataError::Value {
            path: self.path.to_path_buf(),
            record: match self.list {
                "" => format!("entry {}{id}", self.index),
                list => format!("`{list}[{}]`{id}", self.index),
            },
            key,
            value: value.to_string(),
            expected,
        }
    }

    /// A whole number of 64 bits.
    pub(super) fn id(
        &self,
        id: &Found,
        key: &'static str,
        value: &Found,
    ) -> Result<i64, DataError> {
        const EXPECTED: &str = "a whole number of at most 64 bits";
        let number = value.id();
        number.ok_or_else(|| self.error(id, key, value, EXPECTED))
    }
}

/// Reads a list and gives each record to `each`. The value is whether there was a list: `null` is
/// none.
pub(super) struct Records<'a, R, F> {
    context: Context<'a>,
    list: &'static str,
    each: F,
    record: PhantomData<R>,
}

impl<'de, R, F> DeserializeSeed<'de> for Records<'_, R, F>
where
    Self: Visitor<'de, Value = bool>,
{
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'a, 'de, R, F> Visitor<'de> for Records<'a, R, F>
where
    R: DeserializeOwned,
    F: FnMut(Place<'a>, R) -> Result<(), DataError>,
{
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.list {
            "" => f.write_str("a list of records"),
            list => write!(f, "`{list}` to be a list of records"),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut records: A) -> Result<bool, A::Error> {
        let mut index = 0;
        while let Some(record) = records.next_element()? {
            let place = Place {
                path: self.context.path,
                list: self.list,
                index,
            };
            if let Err(error) = (self.each)(place, record) {
                self.context.failure.replace(Some(error));
                // Not shown: the failure is.
                return Err(A::Error::custom("a record is wrong"));
            }
            index += 1;
        }
        Ok(true)
    }
}

/// Where a file's lists are read from.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) path: &'a Path,
    /// The error of a record, which knows more than the parser's.
    pub(super) failure: &'a RefCell<Option<DataError>>,
}

impl<'a> Context<'a> {
    /// Reads the list that is the next value of an object into `into`. False where it is `null`.
    pub(super) fn list<'de, A, R, T>(
        self,
        list: &'static str,
        map: &mut A,
        into: &mut Vec<T>,
        convert: impl Fn(Place<'a>, &R) -> Result<T, DataError>,
    ) -> Result<bool, A::Error>
    where
        A: MapAccess<'de>,
        R: DeserializeOwned,
    {
        map.next_value_seed(self.records(list, |place, raw| {
            into.push(convert(place, &raw)?);
            Ok(())
        }))
    }

    /// What gives each record of a list to `each`.
    pub(super) fn records<R, F>(self, list: &'static str, each: F) -> Records<'a, R, F>
    where
        F: FnMut(Place<'a>, R) -> Result<(), DataError>,
    {
        Records {
            context: self,
            list,
            each,
            record: PhantomData,
        }
    }
}

/// The first keys of an object: enough to tell what a file is.
#[derive(Debug, Default)]
pub(super) struct Keys(pub(super) Vec<String>);

impl Keys {
    const LIMIT: usize = 12;

    /// The keys of a value; none where it is no object.
    pub(super) fn of(value: &serde_json::Value) -> Self {
        let keys = value.as_object().into_iter().flat_map(|o| o.keys());
        Self(keys.take(Self::LIMIT).cloned().collect())
    }

    pub(super) fn add(&mut self, key: String) {
        if self.0.len() < Self::LIMIT {
            self.0.push(key);
        }
    }
}
