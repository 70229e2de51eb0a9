//! How a message lies in CDR (OMG DDSI-RTPS 2.5, section 10; CDR version 1, little-endian), and the same as JSON.
//!
//! A message is an object with its fields by name. Fields that are left out have their defaults, or zeros. Numbers that
//! JSON has no notation for are the texts `"NaN"`, `"Infinity"` and `"-Infinity"`.

use std::{fmt, sync::Arc};

use serde_json::{Map, Value};

use crate::MAX_BYTES;

/// What stands before a message: CDR version 1, little-endian, no options.
pub(crate) const ENCAPSULATION: [u8; 4] = [0, 1, 0, 0];
/// Bytes that may follow a message, to fill up the last word.
const MAX_PADDING: usize = 3;

/// A number or truth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Primitive {
    Bool,
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    U64,
    F32,
    F64,
}

impl Primitive {
    const NAMES: [(&'static str, Primitive); 13] = [
        ("bool", Primitive::Bool),
        ("byte", Primitive::U8),
        ("char", Primitive::U8),
        ("int8", Primitive::I8),
        ("uint8", Primitive::U8),
        ("int16", Primitive::I16),
        ("uint16", Primitive::U16),
        ("int32", Primitive::I32),
        ("uint32", Primitive::U32),
        ("int64", Primitive::I64),
        ("uint64", Primitive::U64),
        ("float32", Primitive::F32),
        ("float64", Primitive::F64),
    ];

    pub(crate) fn by_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, primitive)| *primitive)
    }

    /// Of several names the last one, which says how wide it is.
    fn name(self) -> &'static str {
        Self::NAMES.iter().rev().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }

    /// Also what its place is a multiple of.
    const fn bytes(self) -> usize {
        match self {
            Primitive::Bool | Primitive::I8 | Primitive::U8 => 1,
            Primitive::I16 | Primitive::U16 => 2,
            Primitive::I32 | Primitive::U32 | Primitive::F32 => 4,
            Primitive::I64 | Primitive::U64 | Primitive::F64 => 8,
        }
    }
}

/// What a field holds one or several of.
#[derive(Debug, Clone)]
pub(crate) enum Element {
    Primitive(Primitive),
    String { max: Option<usize> },
    Message(Arc<Layout>),
}

impl Element {
    /// The fewest bytes it takes, without what it is aligned with.
    fn min_bytes(&self) -> usize {
        match self {
            Element::Primitive(primitive) => primitive.bytes(),
            Element::String { .. } => 4,
            Element::Message(layout) => layout.min_bytes(),
        }
    }
}

/// How many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    One,
    Array(usize),
    Sequence { max: Option<usize> },
}

#[derive(Debug, Clone)]
pub(crate) struct Field {
    pub(crate) name: Box<str>,
    pub(crate) element: Element,
    pub(crate) shape: Shape,
    pub(crate) default: Option<Value>,
}

impl Field {
    /// Sets what it has if JSON leaves it out.
    pub(crate) fn set_default(&mut self, value: Value) -> Result<(), Mismatch> {
        self.encode(&value, &mut Writer::default())?;
        self.default = Some(value);
        Ok(())
    }

    fn min_bytes(&self) -> usize {
        match self.shape {
            Shape::One => self.element.min_bytes(),
            Shape::Array(len) => self.element.min_bytes().saturating_mul(len),
            Shape::Sequence { .. } => 4,
        }
    }

    fn encode(&self, value: &Value, out: &mut Writer) -> Result<(), Mismatch> {
        let elements = match self.shape {
            Shape::One => return self.element.encode(value, out),
            Shape::Array(_) | Shape::Sequence { .. } => {
                value.as_array().ok_or_else(|| Mismatch::found("an array", value))?
            }
        };
        match self.shape {
            Shape::Array(len) if elements.len() != len => {
                return Err(Mismatch::new(format!("expected {len} elements, found {}", elements.len())));
            }
            Shape::Sequence { max: Some(max) } if elements.len() > max => {
                return Err(Mismatch::new(format!(
                    "expected at most {max} elements, found {}",
                    elements.len()
                )));
            }
            Shape::Sequence { .. } => out.put_len(elements.len())?,
            Shape::Array(_) | Shape::One => {}
        }
        elements.iter().enumerate().try_for_each(|(nth, element)| {
            self.element.encode(element, out).map_err(|mismatch| mismatch.within(&format!("[{nth}]")))
        })
    }

    /// What it has if nobody says.
    fn encode_default(&self, out: &mut Writer) -> Result<(), Mismatch> {
        match (&self.default, self.shape) {
            (Some(value), _) => self.encode(value, out),
            (None, Shape::One) => self.element.encode_default(out),
            (None, Shape::Array(len)) => (0..len).try_for_each(|_| self.element.encode_default(out)),
            (None, Shape::Sequence { .. }) => out.put_len(0),
        }
    }

    fn decode(&self, from: &mut Reader<'_>, out: &mut Json) -> Result<(), Mismatch> {
        let len = match self.shape {
            Shape::One => return self.element.decode(from, out),
            Shape::Array(len) => len,
            Shape::Sequence { max } => {
                let len = from.len()?;
                match max {
                    Some(max) if len > max => {
                        return Err(Mismatch::new(format!("expected at most {max} elements, found {len}")));
                    }
                    // Every element takes a byte at least, so that this also bounds the loop below.
                    _ if len.saturating_mul(self.element.min_bytes()) > from.left() => {
                        return Err(Mismatch::cut());
                    }
                    _ => len,
                }
            }
        };
        // Numbers are any bytes: nothing to check but how many there are.
        if let (Element::Primitive(primitive), Json(None)) = (&self.element, &*out)
            && len > 0
            && *primitive != Primitive::Bool
        {
            from.align(primitive.bytes())?;
            return from.bytes(len.saturating_mul(primitive.bytes())).map(drop);
        }
        out.list(len, |nth, out| {
            self.element.decode(from, out).map_err(|mismatch| mismatch.within(&format!("[{nth}]")))
        })
    }
}

/// The fields of a message, in their order.
#[derive(Debug)]
pub(crate) struct Layout {
    fields: Vec<Field>,
    min_bytes: usize,
    depth: usize,
}

impl Layout {
    pub(crate) fn new(fields: Vec<Field>) -> Self {
        // What has no fields is a byte: IDL knows no empty structures.
        let min_bytes = fields.iter().map(Field::min_bytes).fold(0, usize::saturating_add).max(1);
        let inner = fields.iter().map(|field| match &field.element {
            Element::Message(layout) => layout.depth,
            Element::Primitive(_) | Element::String { .. } => 0,
        });
        let depth = inner.max().unwrap_or(0) + 1;
        Layout { fields, min_bytes, depth }
    }

    /// The fewest bytes it takes, without what it is aligned with.
    pub(crate) const fn min_bytes(&self) -> usize {
        self.min_bytes
    }

    /// How deep messages lie in it, with itself.
    pub(crate) const fn depth(&self) -> usize {
        self.depth
    }

    /// Whether these bytes, without encapsulation, are such a message; and how many of them: a last word may be filled up.
    pub(crate) fn check(&self, cdr: &[u8]) -> Result<usize, Mismatch> {
        self.decode_all(cdr, &mut Json(None))
    }

    /// The message in these bytes, without encapsulation, as JSON.
    pub(crate) fn to_json(&self, cdr: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let mut json = Json(Some(Vec::new()));
        self.decode_all(cdr, &mut json)?;
        Ok(json.0.unwrap_or_default())
    }

    /// A message that is written as JSON, as bytes without encapsulation.
    pub(crate) fn to_cdr(&self, json: &[u8]) -> Result<Vec<u8>, Mismatch> {
        let value =
            serde_json::from_slice(json).map_err(|error| Mismatch::new(format!("no JSON: {error}")))?;
        let mut out = Writer::default();
        self.encode(&value, &mut out)?;
        Ok(out.0)
    }

    fn decode_all(&self, cdr: &[u8], out: &mut Json) -> Result<usize, Mismatch> {
        let mut from = Reader { all: cdr, at: 0 };
        self.decode(&mut from, out)?;
        match from.left() {
            0..=MAX_PADDING => Ok(from.at),
            more => Err(Mismatch::new(format!("{more} bytes too many; is it of another type?"))),
        }
    }

    fn decode(&self, from: &mut Reader<'_>, out: &mut Json) -> Result<(), Mismatch> {
        if self.fields.is_empty() {
            from.bytes(1)?;
        }
        out.put(b"{")?;
        for (nth, field) in self.fields.iter().enumerate() {
            if nth > 0 {
                out.put(b",")?;
            }
            out.put(b"\"")?;
            out.put(field.name.as_bytes())?;
            out.put(b"\":")?;
            field.decode(from, out).map_err(|mismatch| mismatch.within(&field.name))?;
        }
        out.put(b"}")
    }

    fn encode(&self, value: &Value, out: &mut Writer) -> Result<(), Mismatch> {
        let members = value.as_object().ok_or_else(|| Mismatch::found("an object", value))?;
        self.refuse_strangers(members)?;
        if self.fields.is_empty() {
            out.put(&[0])?;
        }
        self.fields.iter().try_for_each(|field| {
            let encoded = match members.get(&*field.name) {
                Some(value) => field.encode(value, out),
                None => field.encode_default(out),
            };
            encoded.map_err(|mismatch| mismatch.within(&field.name))
        })
    }

    fn refuse_strangers(&self, members: &Map<String, Value>) -> Result<(), Mismatch> {
        let known = |name: &str| self.fields.iter().any(|field| *field.name == *name);
        match members.keys().find(|name| !known(name)) {
            Some(name) => Err(Mismatch::new("there is no such field".to_owned()).within(&shortened(name))),
            None => Ok(()),
        }
    }

    fn encode_default(&self, out: &mut Writer) -> Result<(), Mismatch> {
        if self.fields.is_empty() {
            out.put(&[0])?;
        }
        self.fields.iter().try_for_each(|field| field.encode_default(out))
    }
}

impl Element {
    fn encode(&self, value: &Value, out: &mut Writer) -> Result<(), Mismatch> {
        match self {
            Element::Primitive(primitive) => primitive.encode(value, out),
            Element::String { max } => {
                let text = value.as_str().ok_or_else(|| Mismatch::found("a string", value))?;
                match max {
                    Some(max) if text.len() > *max => Err(too_long(*max, text.len())),
                    _ => out.put_string(text),
                }
            }
            Element::Message(layout) => layout.encode(value, out),
        }
    }

    fn encode_default(&self, out: &mut Writer) -> Result<(), Mismatch> {
        match self {
            Element::Primitive(primitive) => {
                out.align(primitive.bytes())?;
                [0; 8].get(..primitive.bytes()).map_or(Ok(()), |zeros| out.put(zeros))
            }
            Element::String { .. } => out.put_string(""),
            Element::Message(layout) => layout.encode_default(out),
        }
    }

    fn decode(&self, from: &mut Reader<'_>, out: &mut Json) -> Result<(), Mismatch> {
        match self {
            Element::Primitive(primitive) => primitive.decode(from, out),
            Element::String { max } => {
                let text = from.string()?;
                match max {
                    Some(max) if text.len() > *max => Err(too_long(*max, text.len())),
                    _ => out.value(&text),
                }
            }
            Element::Message(layout) => layout.decode(from, out),
        }
    }
}

fn too_long(max: usize, found: usize) -> Mismatch {
    Mismatch::new(format!("expected at most {max} bytes, found {found}"))
}

impl Primitive {
    fn encode(self, value: &Value, out: &mut Writer) -> Result<(), Mismatch> {
        let mismatch = || Mismatch::found(self.name(), value);
        let signed = || value.as_i64().ok_or_else(mismatch);
        let unsigned = || value.as_u64().ok_or_else(mismatch);
        let narrow = |_| mismatch();
        out.align(self.bytes())?;
        match self {
            Primitive::Bool => out.put(&[value.as_bool().ok_or_else(mismatch)?.into()]),
            Primitive::I8 => out.put(&i8::try_from(signed()?).map_err(narrow)?.to_le_bytes()),
            Primitive::I16 => out.put(&i16::try_from(signed()?).map_err(narrow)?.to_le_bytes()),
            Primitive::I32 => out.put(&i32::try_from(signed()?).map_err(narrow)?.to_le_bytes()),
            Primitive::I64 => out.put(&signed()?.to_le_bytes()),
            Primitive::U8 => out.put(&u8::try_from(unsigned()?).map_err(narrow)?.to_le_bytes()),
            Primitive::U16 => out.put(&u16::try_from(unsigned()?).map_err(narrow)?.to_le_bytes()),
            Primitive::U32 => out.put(&u32::try_from(unsigned()?).map_err(narrow)?.to_le_bytes()),
            Primitive::U64 => out.put(&unsigned()?.to_le_bytes()),
            Primitive::F32 => {
                #[allow(
                    clippy::cast_possible_truncation,
                    reason = "the nearest number of 32 bits is what is asked for"
                )]
                let narrow = float(value).ok_or_else(mismatch)? as f32;
                out.put(&narrow.to_le_bytes())
            }
            Primitive::F64 => out.put(&float(value).ok_or_else(mismatch)?.to_le_bytes()),
        }
    }

    fn decode(self, from: &mut Reader<'_>, out: &mut Json) -> Result<(), Mismatch> {
        match self {
            Primitive::Bool => match from.number()? {
                [0] => out.value(&false),
                [1] => out.value(&true),
                [other] => Err(Mismatch::new(format!("expected 0 or 1, found {other}"))),
            },
            Primitive::I8 => out.value(&i8::from_le_bytes(from.number()?)),
            Primitive::I16 => out.value(&i16::from_le_bytes(from.number()?)),
            Primitive::I32 => out.value(&i32::from_le_bytes(from.number()?)),
            Primitive::I64 => out.value(&i64::from_le_bytes(from.number()?)),
            Primitive::U8 => out.value(&u8::from_le_bytes(from.number()?)),
            Primitive::U16 => out.value(&u16::from_le_bytes(from.number()?)),
            Primitive::U32 => out.value(&u32::from_le_bytes(from.number()?)),
            Primitive::U64 => out.value(&u64::from_le_bytes(from.number()?)),
            Primitive::F32 => {
                let number = f32::from_le_bytes(from.number()?);
                if number.is_finite() { out.value(&number) } else { out.value(infinite(number.into())) }
            }
            Primitive::F64 => {
                let number = f64::from_le_bytes(from.number()?);
                if number.is_finite() { out.value(&number) } else { out.value(infinite(number)) }
            }
        }
    }
}

const NOT_A_NUMBER: &str = "NaN";
const INFINITY: &str = "Infinity";
const NEGATIVE_INFINITY: &str = "-Infinity";

fn infinite(number: f64) -> &'static str {
    match number {
        f64::INFINITY => INFINITY,
        f64::NEG_INFINITY => NEGATIVE_INFINITY,
        _ => NOT_A_NUMBER,
    }
}

fn float(value: &Value) -> Option<f64> {
    match value.as_str() {
        Some(NOT_A_NUMBER) => Some(f64::NAN),
        Some(INFINITY) => Some(f64::INFINITY),
        Some(NEGATIVE_INFINITY) => Some(f64::NEG_INFINITY),
        Some(_) => None,
        None => value.as_f64(),
    }
}

/// A message is not of the type that it should be of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mismatch {
    /// Where in the message, from the outside in; kept the other way round.
    path: Vec<String>,
    reason: String,
}

impl Mismatch {
    pub(crate) fn new(reason: String) -> Self {
        Mismatch { path: Vec::new(), reason }
    }

    fn found(expected: &str, value: &Value) -> Self {
        Mismatch::new(format!("expected {expected}, found {}", shortened(&value.to_string())))
    }

    /// It ends before it is complete.
    fn cut() -> Self {
        Mismatch::new("it ends too early".to_owned())
    }

    fn long() -> Self {
        Mismatch::new(format!("it is longer than {MAX_BYTES} bytes"))
    }

    fn within(mut self, name: &str) -> Self {
        self.path.push(name.to_owned());
        self
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (nth, name) in self.path.iter().rev().enumerate() {
            let dot = if nth > 0 && !name.starts_with('[') { "." } else { "" };
            write!(f, "{dot}{name}")?;
        }
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{colon}{}", self.reason)
    }
}

impl std::error::Error for Mismatch {}

/// As much of a text as fits a line.
fn shortened(text: &str) -> String {
    const MOST: usize = 40;
    match text.char_indices().nth(MOST) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}

/// CDR on its way out.
#[derive(Debug, Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        if self.0.len().saturating_add(bytes.len()) > MAX_BYTES {
            return Err(Mismatch::long());
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn align(&mut self, to: usize) -> Result<(), Mismatch> {
        let padding = self.0.len().next_multiple_of(to) - self.0.len();
        [0; 8].get(..padding).map_or(Ok(()), |zeros| self.put(zeros))
    }

    fn put_len(&mut self, len: usize) -> Result<(), Mismatch> {
        self.align(4)?;
        self.put(&u32::try_from(len).map_err(|_| Mismatch::long())?.to_le_bytes())
    }

    fn put_string(&mut self, text: &str) -> Result<(), Mismatch> {
        if text.contains('\0') {
            return Err(Mismatch::new("a text has a zero in it".to_owned()));
        }
        self.put_len(text.len() + 1)?;
        self.put(text.as_bytes())?;
        self.put(&[0])
    }
}

/// CDR on its way in.
struct Reader<'b> {
    all: &'b [u8],
    at: usize,
}

impl<'b> Reader<'b> {
    fn left(&self) -> usize {
        self.all.len().saturating_sub(self.at)
    }

    fn bytes(&mut self, len: usize) -> Result<&'b [u8], Mismatch> {
        let end = self.at.checked_add(len).ok_or_else(Mismatch::cut)?;
        let bytes = self.all.get(self.at..end).ok_or_else(Mismatch::cut)?;
        self.at = end;
        Ok(bytes)
    }

    fn align(&mut self, to: usize) -> Result<(), Mismatch> {
        let padding = self.at.next_multiple_of(to) - self.at;
        self.bytes(padding).map(drop)
    }

    fn number<const N: usize>(&mut self) -> Result<[u8; N], Mismatch> {
        self.align(N)?;
        self.bytes(N)?.try_into().map_err(|_| Mismatch::cut())
    }

    fn len(&mut self) -> Result<usize, Mismatch> {
        usize::try_from(u32::from_le_bytes(self.number()?)).map_err(|_| Mismatch::cut())
    }

    fn string(&mut self) -> Result<&'b str, Mismatch> {
        let len = self.len()?;
        let bytes = self.bytes(len)?;
        // Some leave out the zero of an empty text.
        let text = match bytes.split_last() {
            None => bytes,
            Some((0, text)) => text,
            Some(_) => return Err(Mismatch::new("a text does not end with a zero".to_owned())),
        };
        if text.contains(&0) {
            return Err(Mismatch::new("a text has a zero in it".to_owned()));
        }
        std::str::from_utf8(text).map_err(|_| Mismatch::new("a text is not UTF-8".to_owned()))
    }
}

/// JSON on its way out; or only the way through it, to check.
struct Json(Option<Vec<u8>>);

impl Json {
    fn put(&mut self, bytes: &[u8]) -> Result<(), Mismatch> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        if out.len().saturating_add(bytes.len()) > MAX_BYTES {
            return Err(Mismatch::long());
        }
        out.extend_from_slice(bytes);
        Ok(())
    }

    fn value<T: serde::Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Mismatch> {
        let Some(out) = &mut self.0 else { return Ok(()) };
        serde_json::to_writer(&mut *out, value).map_err(|error| Mismatch::new(error.to_string()))?;
        if out.len() > MAX_BYTES { Err(Mismatch::long()) } else { Ok(()) }
    }

    fn list(
        &mut self,
        len: usize,
        mut element: impl FnMut(usize, &mut Self) -> Result<(), Mismatch>,
    ) -> Result<(), Mismatch> {
        self.put(b"[")?;
        for nth in 0..len {
            if nth > 0 {
                self.put(b",")?;
            }
            element(nth, self)?;
        }
        self.put(b"]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        definition::{Interfaces, Kind, TypeName},
        testing::Random,
    };
    use std::{
        io::Write,
        path::Path,
        process::{Command, Stdio},
    };

    fn layout(name: &str) -> Arc<Layout> {
        Interfaces::new(Vec::new()).message(&name.parse().expect(name)).expect(name)
    }

    #[test]
    fn a_message_has_exactly_these_bytes() {
        let header = layout("std_msgs/msg/Header");
        let json = r#"{"stamp":{"sec":-2,"nanosec":3},"frame_id":"é"}"#;
        let cdr = header.to_cdr(json.as_bytes()).expect("CDR");
        assert_eq!(cdr, b"\xfe\xff\xff\xff\x03\0\0\0\x03\0\0\0\xc3\xa9\0");
        assert_eq!(header.to_json(&cdr), Ok(json.as_bytes().to_vec()));
        // A float64 lies at a multiple of 8, and an empty message is a byte.
        let array = layout("std_msgs/msg/Float64MultiArray");
        let cdr = array.to_cdr(br#"{"data":[1.5,"NaN","-Infinity"]}"#).expect("CDR");
        assert_eq!(cdr[..16], [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(cdr.len(), 16 + 24);
        let json = r#"{"layout":{"dim":[],"data_offset":0},"data":[1.5,"NaN","-Infinity"]}"#;
        assert_eq!(array.to_json(&cdr), Ok(json.as_bytes().to_vec()));
        assert_eq!(layout("std_msgs/msg/Empty").to_cdr(b"{}"), Ok(vec![0]));
        assert_eq!(
            layout("geometry_msgs/msg/Quaternion").to_cdr(b"{}").map(|cdr| cdr[31]),
            Ok(0x3f),
            "w is 1"
        );
    }

    #[test]
    fn what_does_not_fit_is_said_with_its_place() {
        for (name, json, expected) in [
            ("std_msgs/msg/Int8", r#"{"data":128}"#, "data: expected int8, found 128"),
            ("std_msgs/msg/UInt8", r#"{"data":-1}"#, "data: expected uint8, found -1"),
            ("std_msgs/msg/Int32", r#"{"data":1.5}"#, "data: expected int32, found 1.5"),
            ("std_msgs/msg/Bool", r#"{"data":1}"#, "data: expected bool, found 1"),
            ("std_msgs/msg/String", r#"{"data":null}"#, "data: expected a string, found null"),
            ("std_msgs/msg/String", r#"{"dat":""}"#, "dat: there is no such field"),
            ("std_msgs/msg/String", "[]", "expected an object, found []"),
            ("std_msgs/msg/String", "{", "no JSON"),
            ("std_msgs/msg/String", "{\"data\":\"\\u0000\"}", "data: a text has a zero in it"),
            (
                "geometry_msgs/msg/Pose",
                r#"{"position":{"x":"1"}}"#,
                "position.x: expected float64, found \"1\"",
            ),
            (
                "geometry_msgs/msg/PoseWithCovariance",
                r#"{"covariance":[0]}"#,
                "covariance: expected 36 elements, found 1",
            ),
            (
                "nav_msgs/msg/Path",
                r#"{"poses":[{},{"pose":{"z":1}}]}"#,
                "poses[1].pose.z: there is no such field",
            ),
        ] {
            let mismatch = layout(name).to_cdr(json.as_bytes()).expect_err(json).to_string();
            assert!(mismatch.starts_with(expected), "{json}: {mismatch}");
        }
    }

    #[test]
    fn hostile_lengths_are_refused_before_memory_is_taken() {
        let path = layout("nav_msgs/msg/Path");
        let mut cdr = path.to_cdr(b"{}").expect("CDR");
        let end = cdr.len();
        cdr[end - 4..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(
            path.to_json(&cdr).map_err(|mismatch| mismatch.to_string()),
            Err("poses: it ends too early".to_owned())
        );
        let text = layout("std_msgs/msg/String");
        for (cdr, expected) in [
            (&b"\xff\xff\xff\xffabc\0"[..], "ends too early"),
            (b"\x03\0\0\0ab", "ends too early"),
            (b"\x03\0\0\0abc", "does not end with a zero"),
            (b"\x02\0\0\0\xff\0", "not UTF-8"),
            (b"\x03\0\0\0\0a\0", "has a zero in it"),
            (b"\x01\0\0\0\0aaaa", "4 bytes too many"),
            (b"", "ends too early"),
        ] {
            for mismatch in [text.check(cdr).err(), text.to_json(cdr).err()] {
                assert!(mismatch.is_some_and(|mismatch| mismatch.to_string().contains(expected)), "{cdr:?}");
            }
        }
        let long = format!("{{\"data\":\"{}\"}}", "a".repeat(MAX_BYTES));
        assert!(
            text.to_cdr(long.as_bytes()).is_err_and(|mismatch| mismatch.to_string().contains("longer than"))
        );
        // Bytes become several letters each.
        let bytes = layout("std_msgs/msg/UInt8MultiArray");
        let mut cdr = bytes.to_cdr(b"{}").expect("CDR");
        let (len, end) = (MAX_BYTES / 2, cdr.len());
        cdr[end - 4..].copy_from_slice(&(len as u32).to_le_bytes());
        cdr.resize(end + len, 200);
        assert_eq!(bytes.check(&cdr), Ok(cdr.len()));
        assert!(bytes.to_json(&cdr).is_err_and(|mismatch| mismatch.to_string().contains("longer than")));
    }

    /// What is decoded is encoded to the same; and whatever is decoded is an answer, not a panic.
    #[test]
    fn random_bytes_are_read_or_refused() {
        let mut interfaces = Interfaces::new(Vec::new());
        let names: Vec<TypeName> = interfaces.built_in().cloned().collect();
        let mut random = Random(7);
        let mut read = 0;
        for name in names.iter().filter(|name| name.kind == Kind::Msg) {
            let layout = interfaces.message(name).expect("a message");
            let whole = layout.to_cdr(b"{}").expect("defaults");
            for _ in 0..300 {
                let mut cdr = whole.clone();
                for _ in 0..random.below(4) {
                    let at = random.below(cdr.len());
                    cdr[at] = random.below(256) as u8;
                }
                cdr.truncate(cdr.len() - random.below(2) * random.below(cdr.len()));
                cdr.extend((0..random.below(2) * random.below(40)).map(|_| random.below(256) as u8));
                let json = layout.to_json(&cdr);
                assert_eq!(json.is_ok(), layout.check(&cdr).is_ok(), "{name} {cdr:?}");
                if let Ok(json) = json {
                    read += 1;
                    let again =
                        layout.to_cdr(&json).unwrap_or_else(|mismatch| panic!("{name} {cdr:?}: {mismatch}"));
                    assert_eq!(layout.to_json(&again), Ok(json), "{name} {cdr:?}");
                }
            }
        }
        assert!(read > 5_000, "{read}");
    }

    #[test]
    fn random_json_is_read_or_refused() {
        let mut random = Random(3);
        let pieces = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"data\"",
            "\"layout\"",
            "\"dim\"",
            "1e999",
            "-1",
            "null",
            "\"\\ud800\"",
            " ",
        ];
        let layout = layout("std_msgs/msg/Int32MultiArray");
        for _ in 0..50_000 {
            let text: String = (0..random.below(16)).map(|_| pieces[random.below(pieces.len())]).collect();
            if let Ok(cdr) = layout.to_cdr(text.as_bytes()) {
                assert_eq!(layout.check(&cdr), Ok(cdr.len()), "{text}");
            }
        }
        let deep = "[".repeat(100_000);
        assert!(layout.to_cdr(deep.as_bytes()).is_err());
    }

    /// What rclpy makes of every built-in interface is read, and written the same. `cargo xtask test` names the interpreter
    /// that has it in `WASMBED_PYTHON`.
    #[test]
    fn built_in_interfaces_are_those_of_ros() {
        let Some(python) = std::env::var_os("WASMBED_PYTHON") else {
            return println!("skipped: WASMBED_PYTHON is not set; `cargo xtask test` sets it up");
        };
        let mut interfaces = Interfaces::new(Vec::new());
        let names: Vec<TypeName> = interfaces.built_in().cloned().collect();
        let mut peer = Command::new(python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/interfaces.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let asked: String = names.iter().map(|name| format!("{name}\n")).collect();
        peer.stdin.take().expect("a pipe").write_all(asked.as_bytes()).expect("it reads");
        let said = peer.wait_with_output().expect("it ends");
        assert!(said.status.success());
        let mut lines = said.stdout.split(|byte| *byte == b'\n');
        for name in names {
            let layouts = match name.kind {
                Kind::Msg => vec![interfaces.message(&name).expect("a message")],
                Kind::Srv => {
                    let service = interfaces.service(&name).expect("a service");
                    vec![service.request, service.response]
                }
            };
            for layout in layouts {
                let line: Value = serde_json::from_slice(lines.next().expect("a line")).expect("JSON");
                assert_eq!(line["type"], name.to_string());
                let digits = line["cdr"].as_str().expect("digits");
                let bytes =
                    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
                let cdr: Vec<u8> = bytes.collect::<Result<_, _>>().expect("digits");
                let cdr = cdr.strip_prefix(&ENCAPSULATION).expect("its encapsulation");
                let json = layout.to_json(cdr).unwrap_or_else(|mismatch| panic!("{name}: {mismatch}"));
                assert_eq!(serde_json::from_slice::<Value>(&json).expect("JSON"), line["json"], "{name}");
                let again = layout.to_cdr(line["json"].to_string().as_bytes()).expect("a message");
                assert_eq!(layout.to_json(&again), Ok(json), "{name}");
                assert!(again.len() <= cdr.len() && cdr.len() <= again.len() + MAX_PADDING, "{name}");
            }
        }
    }
}
