//! The message table: which message has which fields. Read once per process from `messages.txt`, whose form is described
//! where it is generated (`xtask/src/protobuf_table.rs`).

use std::collections::HashMap;
use std::sync::LazyLock;

const TEXT: &str = include_str!("messages.txt");

/// Group and version of the API's own types.
const META: &str = "meta.k8s.io/v1";

/// Every message of the built-in kinds.
pub(super) static TABLE: LazyLock<Table> =
    LazyLock::new(|| Table::parse(TEXT).expect("the committed table is well formed"));

pub(super) struct Table {
    messages: Vec<Message>,
    /// By `<group>/<version>.<message>`.
    by_name: HashMap<String, usize>,
}

pub(super) struct Message {
    /// Such as `apps/v1.DeploymentSpec`.
    pub(super) name: String,
    /// The JSON of the message is that of its last field present.
    pub(super) transparent: bool,
    /// Ordered by number.
    pub(super) fields: Vec<Field>,
}

pub(super) struct Field {
    pub(super) number: u32,
    pub(super) json: &'static str,
    pub(super) shape: Shape,
    pub(super) type_: Type,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    One(Zero),
    /// A message whose fields belong to the parent.
    Inline,
    List,
    /// From strings.
    Map,
}

/// What becomes of a zero: false, 0 or an empty text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    /// It means absence.
    Dropped,
    /// It is a value of its own, different from absence.
    Kept,
    /// It is written even when the wire does not mention it.
    Always,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    Bool,
    Int,
    Double,
    String,
    Bytes,
    Time,
    MicroTime,
    Quantity,
    IntOrString,
    Json,
    /// Index of another message.
    Message(usize),
}

impl Table {
    /// Finds the message of a kind. The API's options belong to every group and version.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<&Message> {
        self.named(api_version, kind).or_else(|| self.named(META, kind))
    }

    fn named(&self, api_version: &str, message: &str) -> Option<&Message> {
        self.by_name.get(&format!("{api_version}.{message}")).map(|index| &self.messages[*index])
    }

    pub(super) fn message(&self, index: usize) -> &Message {
        &self.messages[index]
    }

    /// Reads the table; an error is the line that cannot be read.
    fn parse(text: &'static str) -> Result<Self, &'static str> {
        let mut by_name = HashMap::new();
        let mut package = "";
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("package ") {
                package = name;
            } else if let Some(name) = line.strip_prefix("message ") {
                let name = name.strip_suffix(" transparent").unwrap_or(name);
                by_name.insert(format!("{package}.{name}"), by_name.len());
            }
        }
        let mut messages: Vec<Message> = Vec::with_capacity(by_name.len());
        for line in text.lines() {
            if let Some(name) = line.strip_prefix("package ") {
                package = name;
            } else if let Some(name) = line.strip_prefix("message ") {
                let (name, transparent) = match name.strip_suffix(" transparent") {
                    Some(name) => (name, true),
                    None => (name, false),
                };
                messages.push(Message {
                    name: format!("{package}.{name}"),
                    transparent,
                    fields: Vec::new(),
                });
            } else {
                let field = Field::parse(line, package, &by_name).ok_or(line)?;
                messages.last_mut().ok_or(line)?.fields.push(field);
            }
        }
        for message in &mut messages {
            message.fields.sort_by_key(|field| field.number);
        }
        Ok(Self { messages, by_name })
    }
}

impl Message {
    pub(super) fn field(&self, number: u32) -> Option<&Field> {
        let index = self.fields.binary_search_by_key(&number, |field| field.number).ok()?;
        Some(&self.fields[index])
    }
}

impl Field {
    fn parse(line: &'static str, package: &str, messages: &HashMap<String, usize>) -> Option<Self> {
        let mut words = line.split(' ');
        let (number, json, type_) = (words.next()?.parse().ok()?, words.next()?, words.next()?);
        let marks = [
            ("[]", Shape::List),
            ("{}", Shape::Map),
            (">", Shape::Inline),
            ("*", Shape::One(Zero::Kept)),
            ("!", Shape::One(Zero::Always)),
            ("", Shape::One(Zero::Dropped)),
        ];
        let (type_, shape) = marks
            .into_iter()
            .find_map(|(mark, shape)| type_.strip_prefix(mark).map(|type_| (type_, shape)))?;
        Some(Self { number, json, shape, type_: Type::parse(type_, package, messages)? })
    }
}

impl Type {
    /// Whether Go sees a plain value with a zero, as opposed to a message.
    pub(super) fn is_scalar(self) -> bool {
        matches!(self, Self::Bool | Self::Int | Self::Double | Self::String | Self::Bytes)
    }

    fn parse(text: &str, package: &str, messages: &HashMap<String, usize>) -> Option<Self> {
        Some(match text {
            "bool" => Self::Bool,
            "int" => Self::Int,
            "double" => Self::Double,
            "string" => Self::String,
            "bytes" => Self::Bytes,
            "time" => Self::Time,
            "microtime" => Self::MicroTime,
            "quantity" => Self::Quantity,
            "int-or-string" => Self::IntOrString,
            "json" => Self::Json,
            // Names of messages have no dots, so this one names its package too.
            other if other.contains('.') => Self::Message(*messages.get(other)?),
            other => Self::Message(*messages.get(&format!("{package}.{other}"))?),
        })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns what becomes of a zero in a field, for every message of that name that has the field.
    pub(in crate::protobuf) fn zeros(message: &str, field: &str) -> Vec<Shape> {
        let named = |candidate: &&Message| {
            candidate.name.rsplit_once('.').is_some_and(|(_, name)| name == message)
        };
        let messages = TABLE.messages.iter().filter(named);
        messages
            .flat_map(|message| &message.fields)
            .filter(|found| found.json == field)
            .map(|field| field.shape)
            .collect()
    }

    #[test]
    fn the_table_is_well_formed_and_knows_the_kinds_that_are_served() {
        for resource in crate::registry::Registry::builtin().all() {
            let api_version = resource.group_version.to_string();
            assert!(
                TABLE.kind(&api_version, &resource.kind).is_some(),
                "{api_version} {}",
                resource.kind
            );
        }
        for options in ["DeleteOptions", "CreateOptions", "UpdateOptions", "PatchOptions"] {
            assert!(TABLE.kind("v1", options).is_some(), "{options}");
            assert!(TABLE.kind("apps/v1", options).is_some(), "{options}");
        }
        for (api_version, kind) in [
            ("policy/v1", "Eviction"),
            ("v1", "Binding"),
            ("autoscaling/v1", "Scale"),
            ("authentication.k8s.io/v1", "TokenRequest"),
        ] {
            assert!(TABLE.named(api_version, kind).is_some(), "{kind}");
        }
    }

    #[test]
    fn unreadable_lines_are_named() {
        for text in [
            "1 a string",
            "package v1\nmessage A\n1 a",
            "package v1\nmessage A\nx a string",
            "package v1\nmessage A\n1 a B",
        ] {
            assert!(Table::parse(text).is_err(), "{text}");
        }
    }
}
