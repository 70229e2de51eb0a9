//! The language of `.msg` and `.srv` files, and where definitions come from.
//!
//! Comments and constants are passed over: they are not sent.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use serde::Deserialize;
use serde_json::Value;

use crate::{
    MAX_BYTES,
    layout::{Element, Field, Layout, Primitive, Shape},
};

/// What is defined without any file.
const BUILT_IN: &str = include_str!("../interfaces.txt");
/// Longest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 256 * 1024;
/// How deep messages lie in messages.
const MAX_DEPTH: usize = 16;

/// The name of a message or service: `std_msgs/msg/String`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct TypeName {
    pub(crate) package: String,
    pub(crate) kind: Kind,
    pub(crate) name: String,
}

/// Which language an interface is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Msg,
    Srv,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Kind::Msg => "msg",
            Kind::Srv => "srv",
        }
    }
}

impl FromStr for TypeName {
    type Err = DefinitionError;

    fn from_str(text: &str) -> Result<Self, DefinitionError> {
        let mut parts = text.split('/');
        let (package, kind, name) = (parts.next(), parts.next(), parts.next());
        let kind = match kind {
            Some("msg") => Some(Kind::Msg),
            Some("srv") => Some(Kind::Srv),
            _ => None,
        };
        match (package, kind, name, parts.next()) {
            (Some(package), Some(kind), Some(name), None) if is_name(package) && is_name(name) => {
                Ok(TypeName { package: package.to_owned(), kind, name: name.to_owned() })
            }
            _ => Err(DefinitionError::TypeName { found: text.to_owned() }),
        }
    }
}

impl TryFrom<String> for TypeName {
    type Error = DefinitionError;

    fn try_from(text: String) -> Result<Self, DefinitionError> {
        text.parse()
    }
}

impl fmt::Display for TypeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.package, self.kind.as_str(), self.name)
    }
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Why an interface is not understood.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DefinitionError {
    /// The text names none.
    #[error("{found:?} is no type; write PACKAGE/msg/NAME, or PACKAGE/srv/NAME for a service")]
    TypeName {
        /// The text.
        found: String,
    },
    /// Nobody defines it.
    #[error("{name} is not defined; put it as {file} into a folder that `interfaces` names")]
    Unknown {
        /// The type.
        name: String,
        /// Where it is looked for in each folder.
        file: String,
    },
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<io::Error>,
    },
    /// A line is not of the language.
    #[error("{name}, line {line}: {reason}")]
    Line {
        /// The type.
        name: String,
        /// From 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// Messages lie too deep in each other, or in themselves.
    #[error("{name} holds itself, or messages deeper than {MAX_DEPTH}")]
    Deep {
        /// The type.
        name: String,
    },
    /// The least message is longer than any may be.
    #[error("{name} takes more than {MAX_BYTES} bytes")]
    Large {
        /// The type.
        name: String,
    },
}

/// The request and the response of a service.
#[derive(Debug, Clone)]
pub(crate) struct ServiceLayout {
    pub(crate) request: Arc<Layout>,
    pub(crate) response: Arc<Layout>,
}

/// Every interface there is: what is built in, and files.
#[derive(Debug)]
pub(crate) struct Interfaces {
    built_in: BTreeMap<TypeName, &'static str>,
    folders: Vec<PathBuf>,
    layouts: BTreeMap<TypeName, Arc<Layout>>,
}

impl Interfaces {
    /// With files as `PACKAGE/msg/NAME.msg` in these folders, which win over what is built in.
    pub(crate) fn new(folders: Vec<PathBuf>) -> Self {
        let mut built_in = BTreeMap::new();
        for part in BUILT_IN.split("\nMSG: ").skip(1).flat_map(|part| {
            let mut parts = part.split("\nSRV: ");
            let msg = parts.next().map(|text| (Kind::Msg, text));
            msg.into_iter().chain(parts.map(|text| (Kind::Srv, text)))
        }) {
            let (kind, text) = part;
            let (heading, text) = text.split_once('\n').unwrap_or((text, ""));
            if let Some((package, name)) = heading.split_once('/') {
                built_in.insert(TypeName { package: package.to_owned(), kind, name: name.to_owned() }, text);
            }
        }
        Interfaces { built_in, folders, layouts: BTreeMap::new() }
    }

    /// Every message that needs no file.
    #[cfg(test)]
    pub(crate) fn built_in(&self) -> impl Iterator<Item = &TypeName> {
        self.built_in.keys()
    }

    /// How a message is laid out.
    pub(crate) fn message(&mut self, name: &TypeName) -> Result<Arc<Layout>, DefinitionError> {
        self.message_at(name, 0)
    }

    /// How a service's messages are laid out.
    pub(crate) fn service(&mut self, name: &TypeName) -> Result<ServiceLayout, DefinitionError> {
        let text = self.text(name)?;
        let mut lines = text.lines();
        let request: Vec<&str> = lines.by_ref().take_while(|line| line.trim() != "---").collect();
        let response: Vec<&str> = lines.collect();
        let request_lines = request.len() + 1;
        Ok(ServiceLayout {
            request: self.layout(name, request.into_iter(), 0, 0)?,
            response: self.layout(name, response.into_iter(), request_lines, 0)?,
        })
    }

    fn message_at(&mut self, name: &TypeName, depth: usize) -> Result<Arc<Layout>, DefinitionError> {
        if let Some(known) = self.layouts.get(name) {
            return Ok(Arc::clone(known));
        }
        if depth > MAX_DEPTH {
            return Err(DefinitionError::Deep { name: name.to_string() });
        }
        let text = self.text(name)?;
        let layout = self.layout(name, text.lines(), 0, depth)?;
        self.layouts.insert(name.clone(), Arc::clone(&layout));
        Ok(layout)
    }

    fn text(&self, name: &TypeName) -> Result<String, DefinitionError> {
        let kind = name.kind.as_str();
        let file = Path::new(&name.package).join(kind).join(format!("{}.{kind}", name.name));
        for folder in &self.folders {
            let path = folder.join(&file);
            let read = match fs::metadata(&path) {
                Ok(found) if found.len() > MAX_FILE_BYTES => {
                    Err(io::Error::other("it is no interface: it is too long"))
                }
                Ok(_) => fs::read_to_string(&path),
                Err(error) => Err(error),
            };
            match read {
                Ok(text) => return Ok(text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(DefinitionError::File { path, source: Arc::new(source) }),
            }
        }
        let text = self.built_in.get(name).copied().map(str::to_owned);
        text.ok_or_else(|| DefinitionError::Unknown {
            name: name.to_string(),
            file: file.display().to_string(),
        })
    }

    fn layout<'t>(
        &mut self,
        name: &TypeName,
        lines: impl Iterator<Item = &'t str>,
        before: usize,
        depth: usize,
    ) -> Result<Arc<Layout>, DefinitionError> {
        let mut fields: Vec<Field> = Vec::new();
        for (nth, line) in lines.enumerate() {
            let wrong = |reason: String| DefinitionError::Line {
                name: name.to_string(),
                line: before + nth + 1,
                reason,
            };
            let Some(declared) = declaration(line).map_err(wrong)? else { continue };
            if fields.iter().any(|field| *field.name == *declared.name) {
                return Err(wrong(format!("there is a field {:?} already", declared.name)));
            }
            let element = match declared.element {
                DeclaredElement::Primitive(primitive) => Element::Primitive(primitive),
                DeclaredElement::String { max } => Element::String { max },
                DeclaredElement::Message { package, name: message } => {
                    let package = package.unwrap_or(&name.package).to_owned();
                    let inner = TypeName { package, kind: Kind::Msg, name: message.to_owned() };
                    Element::Message(self.message_at(&inner, depth + 1)?)
                }
            };
            let mut field =
                Field { name: declared.name.into(), element, shape: declared.shape, default: None };
            if let Some(text) = declared.default {
                let value = default_value(text).ok_or_else(|| wrong(format!("{text:?} is no value")))?;
                field.set_default(value).map_err(|mismatch| wrong(mismatch.to_string()))?;
            }
            fields.push(field);
        }
        let layout = Layout::new(fields);
        if layout.depth() > MAX_DEPTH {
            return Err(DefinitionError::Deep { name: name.to_string() });
        }
        if layout.min_bytes() > MAX_BYTES {
            return Err(DefinitionError::Large { name: name.to_string() });
        }
        Ok(Arc::new(layout))
    }
}

/// A field as it is written.
struct Declaration<'t> {
    name: &'t str,
    element: DeclaredElement<'t>,
    shape: Shape,
    default: Option<&'t str>,
}

enum DeclaredElement<'t> {
    Primitive(Primitive),
    String { max: Option<usize> },
    Message { package: Option<&'t str>, name: &'t str },
}

/// Reads a line; nothing if it declares no field.
fn declaration(line: &str) -> Result<Option<Declaration<'_>>, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let (ty, rest) = line.split_once(char::is_whitespace).ok_or_else(|| format!("{line:?} has no name"))?;
    let rest = rest.trim_start();
    let end =
        rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len());
    let (name, rest) = rest.split_at(end);
    if !is_name(name) {
        return Err(format!("{line:?} has no name after its type"));
    }
    let rest = rest.trim_start();
    if rest.starts_with('=') {
        // A constant.
        return Ok(None);
    }
    let (element, shape) = element(ty)?;
    let is_text = matches!(element, DeclaredElement::String { .. });
    let default = if is_text { rest } else { rest.split('#').next().unwrap_or_default().trim_end() };
    let default = Some(default).filter(|text| !text.is_empty() && !text.starts_with('#'));
    Ok(Some(Declaration { name, element, shape, default }))
}

fn element(text: &str) -> Result<(DeclaredElement<'_>, Shape), String> {
    let bound = |text: &str| text.parse().map_err(|_| format!("{text:?} is no bound"));
    let (base, shape) = match text.split_once('[') {
        None => (text, Shape::One),
        Some((base, bounds)) => match bounds.strip_suffix(']') {
            Some("") => (base, Shape::Sequence { max: None }),
            Some(bounds) => match bounds.strip_prefix("<=") {
                Some(most) => (base, Shape::Sequence { max: Some(bound(most)?) }),
                None => match bound(bounds)? {
                    0 => return Err(format!("{text:?} has no elements")),
                    len => (base, Shape::Array(len)),
                },
            },
            None => return Err(format!("{text:?} does not end with ]")),
        },
    };
    let element = match base {
        "wstring" => return Err("wide strings are not supported; use `encoding = \"cdr\"`".to_owned()),
        "string" => DeclaredElement::String { max: None },
        _ => match (base.strip_prefix("string<="), Primitive::by_name(base)) {
            (Some(most), _) => DeclaredElement::String { max: Some(bound(most)?) },
            (None, Some(primitive)) => DeclaredElement::Primitive(primitive),
            (None, None) => {
                let (package, name) = match base.split_once('/') {
                    None => (None, base),
                    Some((package, name)) => (Some(package), name.strip_prefix("msg/").unwrap_or(name)),
                };
                if !is_name(name) || !package.is_none_or(is_name) {
                    return Err(format!("{base:?} is no type"));
                }
                DeclaredElement::Message { package, name }
            }
        },
    };
    Ok((element, shape))
}

/// A default as it is written: as JSON, but with texts that may have single quotes or none, and Python's truth.
fn default_value(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    if let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        return inner.split(',').map(default_value).collect::<Option<Vec<_>>>().map(Value::Array);
    }
    match text {
        "True" | "true" => return Some(Value::Bool(true)),
        "False" | "false" => return Some(Value::Bool(false)),
        _ => {}
    }
    if let Some(inner) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        return Some(Value::String(inner.to_owned()));
    }
    if let Some(number) = text.parse::<f64>().ok().and_then(serde_json::Number::from_f64) {
        return Some(Value::Number(number));
    }
    (!text.contains(['"', '\'', '['])).then(|| Value::String(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Arc<Layout>, DefinitionError> {
        let name: TypeName = "test_msgs/msg/Test".parse().expect("a name");
        Interfaces::new(Vec::new()).layout(&name, text.lines(), 0, 0)
    }

    #[test]
    fn everything_built_in_is_understood() {
        let mut interfaces = Interfaces::new(Vec::new());
        let names: Vec<TypeName> = interfaces.built_in().cloned().collect();
        assert_eq!(names.len(), 105);
        for name in names {
            let understood = match name.kind {
                Kind::Msg => interfaces.message(&name).map(drop),
                Kind::Srv => interfaces.service(&name).map(drop),
            };
            assert!(understood.is_ok(), "{understood:?}");
        }
    }

    #[test]
    fn the_language_has_comments_constants_bounds_and_defaults() {
        let layout = of("# nothing\nint32 A=3\nstring B = \"x # y\"\n\nint32[<=3] few [1, 2] # comment\n\
            string<=5[2] texts ['a', \"b\"]\nstring say \"it's # not a comment\"\nbool yes True\n\
            geometry_msgs/Point p\nstd_msgs/msg/Header[] h\nfloat64 half 5e-1\nstring bare abc")
        .expect("a message");
        let json = layout.to_json(&layout.to_cdr(b"{}").expect("defaults")).expect("JSON");
        let text = String::from_utf8(json).expect("text");
        assert_eq!(
            text,
            r#"{"few":[1,2],"texts":["a","b"],"say":"it's # not a comment","yes":true,"p":{"x":0.0,"y":0.0,"z":0.0},"h":[],"half":0.5,"bare":"abc"}"#
        );
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, expected) in [
            ("int32", "line 1: \"int32\" has no name"),
            ("int32 a\nint32 1a", "line 2"),
            ("int32 a\nint8 a", "already"),
            ("int32[ a", "does not end with ]"),
            ("int32[0] a", "has no elements"),
            ("int32[x] a", "\"x\" is no bound"),
            ("wstring a", "wide strings"),
            ("a-b c", "is no type"),
            ("int8 a 1000", "1000"),
            ("Nothing a", "put it as test_msgs/msg/Nothing.msg"),
            ("uint8[9999999999] a", "takes more than"),
            ("float64[99999] a\nfloat64[999999999999999999] b", "takes more than"),
        ] {
            let error = of(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn files_win_over_what_is_built_in_and_may_not_hold_themselves() {
        let dir = tempfile::tempdir().expect("a folder");
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("a file");
        };
        put("own_msgs/msg/Loop.msg", "Loop[] again");
        put("own_msgs/msg/Wrap.msg", "std_msgs/String inner");
        put("own_msgs/srv/Add.srv", "int64 a\nint64 b\n---\nint64 sum");
        put("std_msgs/msg/String.msg", "string data\nint8 more");
        let mut interfaces = Interfaces::new(vec![PathBuf::from("/nowhere"), dir.path().to_owned()]);
        let mut message = |name: &str| interfaces.message(&name.parse().expect("a name"));
        assert!(matches!(message("own_msgs/msg/Loop"), Err(DefinitionError::Deep { .. })));
        let wrap = message("own_msgs/msg/Wrap").expect("a message");
        assert!(wrap.to_cdr(br#"{"inner":{"more":1}}"#).is_ok());
        let add = interfaces.service(&"own_msgs/srv/Add".parse().expect("a name")).expect("a service");
        assert!(add.request.to_cdr(br#"{"a":1,"b":2}"#).is_ok());
        assert!(add.response.to_cdr(br#"{"sum":3}"#).is_ok());
    }

    #[test]
    fn a_type_has_a_package_a_kind_and_a_name() {
        for text in [
            "",
            "String",
            "std_msgs/String",
            "std_msgs/msg/",
            "std_msgs/action/A",
            "a/msg/B/c",
            "../msg/A",
            "a/msg/..",
        ] {
            assert!(text.parse::<TypeName>().is_err(), "{text}");
        }
    }

    #[test]
    fn random_definitions_do_no_harm() {
        let mut random = crate::testing::Random(1);
        let words = [
            "int32",
            "string<=",
            "a",
            "[",
            "]",
            "3",
            "<=",
            "=",
            "#",
            "'",
            "\"",
            " ",
            "\n",
            "std_msgs/String",
            "\u{e9}",
        ];
        for _ in 0..20_000 {
            let text: String = (0..random.below(12)).map(|_| words[random.below(words.len())]).collect();
            let _ = of(&text);
        }
    }
}
