//! How deeply a tree is nested, over every field of every node kind.
//!
//! The trees are recursive, so dropping one takes stack in proportion to its depth; the check
//! runs where the stack is deep, and only shallow trees leave that place. The derived
//! `Serialize` visits every field of every kind, so no kind can be forgotten here.

use std::fmt;

use pg_query::protobuf;
use serde::ser::{self, Serialize};

use super::statement::NotUnderstood;

/// Fails if `tree` is nested deeper than `limit` nodes.
pub(super) fn check(tree: &protobuf::ParseResult, limit: usize) -> Result<(), NotUnderstood> {
    // A node is a message in a message.
    tree.serialize(Depth { left: limit.saturating_mul(2) }).map_err(|TooDeep| {
        NotUnderstood::Limit(format!(
            "the statement is nested deeper than {limit} levels; split it into simpler ones"
        ))
    })
}

#[derive(Clone, Copy)]
struct Depth {
    left: usize,
}

impl Depth {
    fn deeper(self) -> Result<Self, TooDeep> {
        Ok(Self { left: self.left.checked_sub(1).ok_or(TooDeep)? })
    }
}

#[derive(Debug)]
struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nested too deeply")
    }
}

impl std::error::Error for TooDeep {}

impl ser::Error for TooDeep {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! leaves {
    ($($name:ident: $ty:ty),* $(,)?) => {
        $(fn $name(self, _: $ty) -> Result<(), TooDeep> { Ok(()) })*
    };
}

impl ser::Serializer for Depth {
    type Ok = ();
    type Error = TooDeep;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    leaves! {
        serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_u8: u8, serialize_u16: u16, serialize_u32: u32,
        serialize_u64: u64, serialize_f32: f32, serialize_f64: f64, serialize_char: char,
        serialize_str: &str, serialize_bytes: &[u8], serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Result<(), TooDeep> {
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), TooDeep> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), TooDeep> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), TooDeep> {
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), TooDeep> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), TooDeep> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self, TooDeep> {
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, TooDeep> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, TooDeep> {
        self.deeper()
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, TooDeep> {
        self.deeper()
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self, TooDeep> {
        self.deeper()
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, TooDeep> {
        self.deeper()
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, TooDeep> {
        self.deeper()
    }
}

macro_rules! members {
    ($($kind:ident::$method:ident($($key:ty)?)),* $(,)?) => {
        $(impl ser::$kind for Depth {
            type Ok = ();
            type Error = TooDeep;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $key,)? value: &T) -> Result<(), TooDeep> {
                value.serialize(*self)
            }

            fn end(self) -> Result<(), TooDeep> {
                Ok(())
            }
        })*
    };
}

members! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}

impl ser::SerializeMap for Depth {
    type Ok = ();
    type Error = TooDeep;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), TooDeep> {
        key.serialize(*self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), TooDeep> {
        value.serialize(*self)
    }

    fn end(self) -> Result<(), TooDeep> {
        Ok(())
    }
}
