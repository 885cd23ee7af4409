//! Trees → whatever serde reads.

use std::vec;

use serde_core::{
    Deserializer,
    de::{
        DeserializeSeed, Error as _, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor,
        value::MapAccessDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::{
    error::Error,
    node::{Meaning, Node, meaning},
};

impl<'de> Deserializer<'de> for Node {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Scalar(text, true) => match meaning(&text) {
                Meaning::Null => visitor.visit_unit(),
                Meaning::Bool(value) => visitor.visit_bool(value),
                Meaning::Unsigned(value) => visitor.visit_u64(value),
                Meaning::Signed(value) => visitor.visit_i64(value),
                Meaning::Float(value) => visitor.visit_f64(value),
                Meaning::Text => visitor.visit_string(text),
            },
            Self::Scalar(text, false) => visitor.visit_string(text),
            Self::List(list) => visitor.visit_seq(Items { rest: list.into_iter(), index: 0 }),
            Self::Map(map) => visitor.visit_map(Entries { rest: map.into_iter(), value: None }),
        }
    }

    /// A number without quotes is text as well, where text is asked for: a name may be `2024`.
    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self {
            Self::Scalar(text, is_plain) if !(is_plain && matches!(meaning(&text), Meaning::Null)) => {
                visitor.visit_string(text)
            }
            other => other.deserialize_any(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_string(visitor)
    }

    /// Kubernetes takes those of YAML 1.1 as well.
    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match &self {
            Self::Scalar(text, true) if ["yes", "on"].iter().any(|it| it.eq_ignore_ascii_case(text)) => {
                visitor.visit_bool(true)
            }
            Self::Scalar(text, true) if ["no", "off"].iter().any(|it| it.eq_ignore_ascii_case(text)) => {
                visitor.visit_bool(false)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match self {
            Self::Scalar(text, _) => visitor.visit_enum(text.into_deserializer()),
            Self::Map(map) => {
                visitor.visit_enum(MapAccessDeserializer::new(Entries { rest: map.into_iter(), value: None }))
            }
            Self::List(_) => Err(Error::invalid_type(Unexpected::Seq, &"a name")),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct seq tuple tuple_struct map
        struct
    }
}

struct Items {
    rest: vec::IntoIter<Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        let index = self.index;
        self.index += 1;
        seed.deserialize(node).map(Some).map_err(|error| error.at(format!("[{index}]")))
    }
}

struct Entries {
    rest: vec::IntoIter<(Node, Node)>,
    /// Of the key that was read last, and its text.
    value: Option<(Node, String)>,
}

impl<'de> MapAccess<'de> for Entries {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let name = if let Node::Scalar(text, _) = &key { text.clone() } else { "?".to_owned() };
        self.value = Some((value, name));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        let (value, name) = self.value.take().ok_or_else(|| Error::custom("a value without its key"))?;
        seed.deserialize(value).map_err(|error| error.at(name))
    }
}
