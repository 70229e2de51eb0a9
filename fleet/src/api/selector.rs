//! Which devices are meant.

use std::{collections::BTreeMap, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use wasmbed_wire::{BoardName, DeviceId, limits::Class};

/// Devices by id, board, class or label.
///
/// As text: alternatives separated by `,`, each of conditions joined by `+` that all must hold:
/// `all`, an id, `id=ID`, `board=NAME`, `class=NAME`, `label=KEY:VALUE`. For example
/// `pump-7,board=netduino2+label=site:lab`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector(Vec<Vec<Condition>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    All,
    Id(DeviceId),
    Board(BoardName),
    Class(Class),
    Label(String, String),
}

/// The text is no selector.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} selects nothing: {why}; write all, ID, board=NAME, class=NAME or label=KEY:VALUE, \
     with + between conditions that must all hold and , between alternatives"
)]
pub struct BadSelector {
    found: String,
    why: String,
}

impl Selector {
    /// Exactly this device.
    pub fn device(id: DeviceId) -> Self {
        Selector(vec![vec![Condition::Id(id)]])
    }

    /// Every device any of these selects.
    pub fn any(selectors: impl IntoIterator<Item = Selector>) -> Self {
        Selector(selectors.into_iter().flat_map(|selector| selector.0).collect())
    }

    /// Whether the device with these properties is meant.
    pub fn matches(
        &self,
        id: &DeviceId,
        board: &BoardName,
        class: Class,
        labels: &BTreeMap<String, String>,
    ) -> bool {
        self.0.iter().any(|conditions| {
            conditions.iter().all(|condition| match condition {
                Condition::All => true,
                Condition::Id(wanted) => wanted == id,
                Condition::Board(wanted) => wanted == board,
                Condition::Class(wanted) => *wanted == class,
                Condition::Label(key, value) => labels.get(key) == Some(value),
            })
        })
    }

    /// Ids it names, whether or not such devices exist.
    pub fn named(&self) -> impl Iterator<Item = &DeviceId> {
        self.0.iter().flatten().filter_map(|condition| match condition {
            Condition::Id(id) => Some(id),
            _ => None,
        })
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        text.split(',')
            .map(|alternative| alternative.split('+').map(Condition::parse).collect())
            .collect::<Result<_, String>>()
            .map(Selector)
            .map_err(|why| BadSelector { found: text.to_owned(), why })
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let Some((key, value)) = text.split_once('=') else {
            return if text == "all" { Ok(Condition::All) } else { parse(text).map(Condition::Id) };
        };
        match key {
            "id" => parse(value).map(Condition::Id),
            "board" => parse(value).map(Condition::Board),
            "class" => parse(value).map(Condition::Class),
            "label" => {
                let (key, value) = value.split_once(':').ok_or("a label is KEY:VALUE")?;
                Ok(Condition::Label(key.to_owned(), value.to_owned()))
            }
            _ => Err(format!("there is no condition {key:?}")),
        }
    }
}

fn parse<T: FromStr<Err: fmt::Display>>(text: &str) -> Result<T, String> {
    text.parse().map_err(|error: T::Err| error.to_string())
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, conditions) in self.0.iter().enumerate() {
            f.write_str(if index == 0 { "" } else { "," })?;
            for (index, condition) in conditions.iter().enumerate() {
                f.write_str(if index == 0 { "" } else { "+" })?;
                match condition {
                    Condition::All => f.write_str("all")?,
                    Condition::Id(id) => write!(f, "id={id}")?,
                    Condition::Board(board) => write!(f, "board={board}")?,
                    Condition::Class(class) => write!(f, "class={class}")?,
                    Condition::Label(key, value) => write!(f, "label={key}:{value}")?,
                }
            }
        }
        Ok(())
    }
}

impl Serialize for Selector {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selector {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            One(String),
            Many(Vec<String>),
        }
        let texts = match Form::deserialize(d)? {
            Form::One(text) => vec![text],
            Form::Many(texts) => texts,
        };
        let parsed: Result<Vec<Selector>, _> = texts.iter().map(|text| text.parse()).collect();
        parsed.map(Selector::any).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(text: &str) -> Vec<&'static str> {
        let selector: Selector = text.parse().expect("a selector");
        let devices = [
            ("pump-1", "netduino2", Class::Mcu, "lab"),
            ("pump-2", "netduino2", Class::Mcu, "field"),
            ("hub", "linux", Class::Mpu, "lab"),
        ];
        let matches = |(id, board, class, site): &(&str, &str, Class, &str)| {
            let labels = BTreeMap::from([("site".to_owned(), (*site).to_owned())]);
            selector.matches(&id.parse().expect("id"), &board.parse().expect("board"), *class, &labels)
        };
        devices.iter().filter(|device| matches(device)).map(|device| device.0).collect()
    }

    #[test]
    fn conditions_are_joined_and_alternatives_united() {
        assert_eq!(matching("all"), ["pump-1", "pump-2", "hub"]);
        assert_eq!(matching("hub,pump-1"), ["pump-1", "hub"]);
        assert_eq!(matching("board=netduino2+label=site:lab"), ["pump-1"]);
        assert_eq!(matching("class=mpu,label=site:field"), ["pump-2", "hub"]);
    }

    #[test]
    fn a_selector_reads_back_as_written_and_from_a_list() {
        let text = "id=hub,board=netduino2+label=site:lab";
        assert_eq!(text.parse::<Selector>().map(|s| s.to_string()), Ok(text.to_owned()));
        let listed: Selector =
            serde_json::from_str(r#"["hub","board=netduino2+label=site:lab"]"#).expect("a list");
        assert_eq!(listed.to_string(), text);
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, why) in
            [("", "empty"), ("bord=x", "bord"), ("label=x", "KEY:VALUE"), ("class=gpu", "class")]
        {
            let error = text.parse::<Selector>().expect_err(text).to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
