//! Derives the message table of the protobuf decoder from the Kubernetes API packages of the Go module proxy.
//!
//! Wire types and field numbers stand in `generated.proto`; JSON names, pointers and `omitempty` stand in the tags of the
//! Go structs. The two are joined by message name and field number. Only these facts are written out:
//!
//! ```text
//! package apps/v1                a group and version
//! message DeploymentSpec         a message; `transparent` behind it: its JSON is that of its last field present
//! 1 replicas *int                number, JSON name, type
//! ```
//!
//! A type is `bool`, `int`, `double`, `string`, `bytes`, one of the kinds with a JSON form of their own (`time`,
//! `microtime`, `quantity`, `int-or-string`, `json`) or a message, of another package as `<package>.<message>`. Before
//! it may stand `[]` (list), `{}` (map from strings), `>` (its fields belong to the parent), `*` (pointer: zero means
//! something) or `!` (always written, even when zero).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, iter};

use anyhow::{Context as _, Result, bail};

/// Where the table is kept, from the root of the workspace.
const TABLE: &str = "crates/stolos-apiserver/src/protobuf/messages.txt";

/// Directories of packages within a module.
const PACKAGES: &[(&str, &str)] = &[
    ("api", "admissionregistration/v1"),
    ("api", "apps/v1"),
    ("api", "authentication/v1"),
    ("api", "authorization/v1"),
    ("api", "autoscaling/v1"),
    ("api", "autoscaling/v2"),
    ("api", "batch/v1"),
    ("api", "certificates/v1"),
    ("api", "coordination/v1"),
    ("api", "core/v1"),
    ("api", "discovery/v1"),
    ("api", "events/v1"),
    ("api", "flowcontrol/v1"),
    ("api", "networking/v1"),
    ("api", "node/v1"),
    ("api", "policy/v1"),
    ("api", "rbac/v1"),
    ("api", "scheduling/v1"),
    ("api", "storage/v1"),
    ("apiextensions-apiserver", "pkg/apis/apiextensions/v1"),
    ("apimachinery", "pkg/apis/meta/v1"),
    ("kube-aggregator", "pkg/apis/apiregistration/v1"),
];

/// Messages whose JSON is not an object with their fields.
const SPECIAL: &[(&str, &str)] = &[
    ("k8s.io.apiextensions_apiserver.pkg.apis.apiextensions.v1.JSON", "json"),
    ("k8s.io.apimachinery.pkg.api.resource.Quantity", "quantity"),
    // No kind that we know holds one; the decoder's own tests would refuse the type.
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Duration", "duration"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.FieldsV1", "json"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.MicroTime", "microtime"),
    ("k8s.io.apimachinery.pkg.apis.meta.v1.Time", "time"),
    ("k8s.io.apimachinery.pkg.runtime.RawExtension", "json"),
    ("k8s.io.apimachinery.pkg.util.intstr.IntOrString", "int-or-string"),
];

/// Writes the table, or checks the one on disk, from modules under `modules` (`<name>@v<version>` each).
pub(crate) fn run(modules: &Path, version: &str, check: bool) -> Result<()> {
    let table = generate(modules, version)?;
    let path = crate::root().join(TABLE);
    if !check {
        return fs::write(&path, table).with_context(|| format!("failed to write `{TABLE}`"));
    }
    let found = fs::read_to_string(&path).with_context(|| format!("failed to read `{TABLE}`"))?;
    if found != table {
        bail!("`{TABLE}` differs from what the Kubernetes packages {version} say");
    }
    Ok(())
}

/// Returns the text of the table.
pub(crate) fn generate(modules: &Path, version: &str) -> Result<String> {
    let packages = PACKAGES
        .iter()
        .map(|(module, directory)| {
            Package::read(&modules.join(format!("{module}@v{version}")).join(directory))
        })
        .collect::<Result<Vec<_>>>()?;
    let api_versions: BTreeMap<&str, &str> = packages
        .iter()
        .map(|package| (package.proto_name.as_str(), package.api_version.as_str()))
        .collect();
    let mut table = String::new();
    for package in &packages {
        package.write(&api_versions, &mut table)?;
    }
    Ok(table)
}

/// One group and version.
struct Package {
    /// Such as `k8s.io.api.apps.v1`.
    proto_name: String,
    /// Such as `apps/v1`.
    api_version: String,
    messages: BTreeMap<String, Vec<ProtoField>>,
    structs: BTreeMap<String, BTreeMap<u32, GoField>>,
}

struct ProtoField {
    number: u32,
    name: String,
    shape: Shape,
    type_: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    One,
    List,
    Map,
}

struct GoField {
    /// Absent when the struct marshals itself.
    json: Option<String>,
    pointer: bool,
    omit_empty: bool,
    inline: bool,
}

impl Package {
    fn read(directory: &Path) -> Result<Self> {
        let text = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
        };
        let proto = text(&directory.join("generated.proto"))?;
        let proto_name =
            proto.lines().find_map(|line| line.strip_prefix("package ")?.strip_suffix(';'));
        let mut package = Self {
            proto_name: proto_name.context("`generated.proto` names no package")?.to_owned(),
            api_version: api_version(directory, &text(&directory.join("register.go"))?)?,
            messages: messages(&proto)?,
            structs: BTreeMap::new(),
        };
        for path in go_files(directory)? {
            structs(&text(&path)?, &mut package.structs)?;
        }
        Ok(package)
    }

    fn write(&self, api_versions: &BTreeMap<&str, &str>, table: &mut String) -> Result<()> {
        writeln!(table, "package {}", self.api_version)?;
        for (message, fields) in &self.messages {
            if self.is_special(message) || is_list(fields) {
                continue;
            }
            let known = self.structs.get(message);
            // A named Go slice has no struct; a struct that marshals itself has no JSON tags.
            let transparent = known.is_none_or(|fields| {
                !fields.is_empty() && fields.values().all(|field| field.json.is_none())
            });
            writeln!(table, "message {message}{}", if transparent { " transparent" } else { "" })?;
            for field in fields {
                let go = known.and_then(|known| known.get(&field.number));
                if go.is_none() && !transparent {
                    bail!(
                        "field {} of {}.{message} is unknown to Go",
                        field.number,
                        self.proto_name
                    );
                }
                let type_ = self.type_name(&field.type_, api_versions)?;
                let json = go.and_then(|go| go.json.as_deref()).unwrap_or(&field.name);
                let marks = marks(field, go);
                // Struct fields that are inlined have no name in JSON.
                let json = if go.is_some_and(|go| go.inline) { "-" } else { json };
                writeln!(table, "{} {json} {marks}{type_}", field.number)?;
            }
        }
        Ok(())
    }

    fn is_special(&self, message: &str) -> bool {
        SPECIAL.iter().any(|(name, _)| name.rsplit_once('.') == Some((&self.proto_name, message)))
    }

    fn type_name(&self, type_: &str, api_versions: &BTreeMap<&str, &str>) -> Result<String> {
        let full = match type_.strip_prefix('.') {
            Some(full) => full.to_owned(),
            None => match type_ {
                "int32" | "int64" => return Ok("int".to_owned()),
                "bool" | "string" | "bytes" | "double" => return Ok(type_.to_owned()),
                local => format!("{}.{local}", self.proto_name),
            },
        };
        if let Some((_, special)) = SPECIAL.iter().find(|(name, _)| *name == full) {
            return Ok((*special).to_owned());
        }
        let (package, message) = full.rsplit_once('.').context("a message has a package")?;
        if package == self.proto_name {
            return Ok(message.to_owned());
        }
        let api_version =
            api_versions.get(package).with_context(|| format!("package {package} is missing"))?;
        Ok(format!("{api_version}.{message}"))
    }
}

fn marks(field: &ProtoField, go: Option<&GoField>) -> &'static str {
    let is_scalar =
        matches!(field.type_.as_str(), "int32" | "int64" | "bool" | "string" | "bytes" | "double");
    match (field.shape, go) {
        (Shape::List, _) => "[]",
        (Shape::Map, _) => "{}",
        (Shape::One, Some(go)) if go.inline => ">",
        (Shape::One, Some(go)) if is_scalar && go.pointer => "*",
        (Shape::One, Some(go)) if is_scalar && !go.omit_empty => "!",
        (Shape::One, None) if is_scalar => "!",
        (Shape::One, _) => "",
    }
}

/// Clients never send lists, so the decoder need not know them.
fn is_list(fields: &[ProtoField]) -> bool {
    let has = |name: &str, type_: &str| {
        fields.iter().any(|field| field.name == name && field.type_.ends_with(type_))
    };
    has("metadata", "ListMeta") && has("items", "")
}

/// Reads the group from the Go source and the version from the directory.
fn api_version(directory: &Path, register: &str) -> Result<String> {
    let group = register
        .lines()
        .find_map(|line| line.strip_prefix("const GroupName = \"")?.strip_suffix('"'));
    let group = group.context("`register.go` names no group")?;
    let version = directory
        .file_name()
        .and_then(|name| name.to_str())
        .context("a package directory has a name")?;
    Ok(if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") })
}

fn go_files(directory: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let generated =
            ["generated", "zz_", "types_swagger"].iter().any(|prefix| name.starts_with(prefix));
        if path.extension().is_some_and(|extension| extension == "go")
            && !name.ends_with("_test.go")
            && !generated
        {
            files.insert(path);
        }
    }
    Ok(files)
}

/// Reads the messages of a `.proto` file. Those of Kubernetes have no nested messages and no alternatives.
fn messages(proto: &str) -> Result<BTreeMap<String, Vec<ProtoField>>> {
    let mut messages = BTreeMap::new();
    let mut current: Option<(String, Vec<ProtoField>)> = None;
    for line in proto.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("message ").and_then(|rest| rest.strip_suffix(" {")) {
            current = Some((name.to_owned(), Vec::new()));
        } else if line == "}" {
            messages.extend(current.take());
        } else if let Some((_, fields)) = &mut current
            && let Some(declaration) = line.strip_suffix(';')
            && !line.starts_with("//")
        {
            fields.push(
                proto_field(declaration).with_context(|| format!("unreadable field `{line}`"))?,
            );
        }
    }
    Ok(messages)
}

fn proto_field(declaration: &str) -> Option<ProtoField> {
    let (left, number) = declaration.split_once(" = ")?;
    let (type_, name) = left.rsplit_once(' ')?;
    let (shape, type_) = if let Some(type_) = type_.strip_prefix("optional ") {
        (Shape::One, type_)
    } else if let Some(type_) = type_.strip_prefix("repeated ") {
        (Shape::List, type_)
    } else {
        (Shape::Map, type_.strip_prefix("map<string, ")?.strip_suffix('>')?)
    };
    Some(ProtoField {
        number: number.parse().ok()?,
        name: name.to_owned(),
        shape,
        type_: type_.to_owned(),
    })
}

/// Reads the structs of a Go file, their fields by protobuf number. Fields without a number are not on the wire.
fn structs(source: &str, structs: &mut BTreeMap<String, BTreeMap<u32, GoField>>) -> Result<()> {
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if let Some(name) =
            line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct{}"))
        {
            structs.insert(name.to_owned(), BTreeMap::new());
        }
        let Some(name) = line.strip_prefix("type ").and_then(|rest| rest.strip_suffix(" struct {"))
        else {
            continue;
        };
        let body = iter::from_fn(|| lines.next().filter(|line| *line != "}"));
        let mut fields = BTreeMap::new();
        for line in body.map(str::trim).filter(|line| !line.starts_with("//")) {
            if let Some((declaration, tags)) = line.split_once('`')
                && let Some(protobuf) = tag(tags, "protobuf").filter(|protobuf| *protobuf != "-")
            {
                let number = protobuf.split(',').nth(1).and_then(|number| number.parse().ok());
                let number =
                    number.with_context(|| format!("unreadable tag of {name}: `{line}`"))?;
                fields.insert(number, go_field(declaration, tag(tags, "json")));
            }
        }
        structs.insert(name.to_owned(), fields);
    }
    Ok(())
}

fn go_field(declaration: &str, json: Option<&str>) -> GoField {
    let mut options = json.unwrap_or_default().split(',');
    let name = options.next().unwrap_or_default();
    let options: Vec<&str> = options.collect();
    GoField {
        json: json.map(|_| name.to_owned()),
        pointer: declaration.split_whitespace().last().is_some_and(|type_| type_.starts_with('*')),
        omit_empty: options.contains(&"omitempty") || options.contains(&"omitzero"),
        inline: options.contains(&"inline"),
    }
}

fn tag<'a>(tags: &'a str, key: &str) -> Option<&'a str> {
    let start = tags.find(&format!("{key}:\""))? + key.len() + 2;
    tags[start..].split('"').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_facts_and_go_tags_are_joined_by_number() {
        let proto = "message Spec {\n  // says = 9;\n  optional int32 replicas = 1;\n\n  map<string, .a.v1.X> labels = 2;\n  \
                     optional Source source = 3;\n  optional string name = 4;\n}\n";
        let go = "type Spec struct {\n\t// c\n\tReplicas *int32 `json:\"replicas,omitempty\" protobuf:\"varint,1,opt,name=replicas\"`\n\
                  \tLabels map[string]X `json:\"labels,omitempty\" protobuf:\"bytes,2,rep,name=labels\"`\n\
                  \tSource `json:\",inline\" protobuf:\"bytes,3,opt,name=source\"`\n\
                  \tName string `json:\"theName\" protobuf:\"bytes,4,opt,name=name\"`\n}\n";
        let mut known = BTreeMap::new();
        structs(go, &mut known).unwrap();
        let package = Package {
            proto_name: "b.v1".to_owned(),
            api_version: "b/v1".to_owned(),
            messages: messages(proto).unwrap(),
            structs: known,
        };
        let mut table = String::new();
        package.write(&BTreeMap::from([("a.v1", "v1")]), &mut table).unwrap();
        let want = "package b/v1\nmessage Spec\n1 replicas *int\n2 labels {}v1.X\n3 - >Source\n4 theName !string\n";
        assert_eq!(table, want);
    }
}
