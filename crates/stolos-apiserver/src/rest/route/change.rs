//! PUT and PATCH on an object or a part of it.

use http::StatusCode;
use serde_json::Value;

use super::{read_object, read_subresource_object, scale_paths, scale_response, written_response};
use crate::rest::Core;
use crate::rest::call::Call;
use crate::rest::decode::{self, RequestBody};
use crate::rest::lifecycle::Part;
use crate::rest::negotiate::{self, Input, PatchType};
use crate::rest::query::{WriteOptions, invalid_options};
use crate::rest::respond::Response;
use crate::rest::strict::Origin;
use crate::rest::subresource::scale::{self, ScaleEdit};
use crate::rest::write::{Edit, Writer};
use crate::schema;
use crate::schema::causes::{forbidden, required, type_name};
use crate::schema::parse::Problem;
use crate::status::ApiError;

/// Returns the part that PUT and PATCH on a path write; nothing where the path takes neither.
fn part_of(call: &Call) -> Option<Part> {
    if !call.resource.is_stored() || call.name.is_empty() {
        return None;
    }
    match call.subresource.as_str() {
        "" | "ephemeralcontainers" => Some(Part::Main),
        "status" => Some(Part::Status),
        "approval" => Some(Part::Approval),
        "finalize" => Some(Part::Finalize),
        _ => None,
    }
}

/// Answers a PUT.
pub(super) async fn put(core: &Core, call: &Call, body: RequestBody) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query, "UpdateOptions")?;
    let writer = Writer::new(core, call, options);
    if call.subresource == "scale" {
        let scale = read_subresource_object(&writer, call, body).await?;
        return write_scale(core, call, writer, ScaleEdit::Replace(scale)).await;
    }
    let part = part_of(call).ok_or_else(|| call.method_not_allowed())?;
    let mut object = read_object(&writer, call, body).await?;
    writer.check_place(&mut object)?;
    let (written, created) = writer.update(part, &Edit::Replace(object)).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    written_response(core, call, status, &written).await
}

/// Answers a PATCH of any of the four types.
pub(super) async fn patch(
    core: &Core,
    call: &Call,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let patch_type = negotiate::patch_type(&call.headers, call.resource.custom)?;
    let options = patch_options(call, patch_type)?;
    let mut writer = Writer::new(core, call, options);
    let bytes = decode::read(body).await?;
    let decode::Parsed { value, problems } = parse_patch(patch_type, &bytes)?;
    writer.patch_problems = problems;
    if patch_type == PatchType::Merge && !value.is_object() {
        let found = if value.is_array() { "array" } else { type_name(&value) };
        return Err(ApiError::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )));
    }
    if call.subresource == "scale" {
        check_scale_patch(&mut writer, patch_type, &value)?;
        let edit = match patch_type {
            PatchType::Json => ScaleEdit::JsonPatch(value),
            PatchType::Merge | PatchType::Strategic => ScaleEdit::MergePatch(value),
            PatchType::Apply => return apply_scale(core, call, writer, value).await,
        };
        return write_scale(core, call, writer, edit).await;
    }
    let part = part_of(call).ok_or_else(|| call.method_not_allowed())?;
    let edit = match patch_type {
        PatchType::Json => Edit::JsonPatch(value),
        PatchType::Merge => Edit::MergePatch(value),
        PatchType::Strategic => Edit::StrategicMergePatch(value),
        PatchType::Apply => apply_edit(&writer, call, value)?,
    };
    let (written, created) = writer.update(part, &edit).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    written_response(core, call, status, &written).await
}

/// Reads the body of a patch. What is applied is YAML, of which JSON is a part; the other patches are JSON, and clients
/// send YAML there too.
fn parse_patch(patch_type: PatchType, bytes: &[u8]) -> Result<decode::Parsed, ApiError> {
    let is_json = bytes.first().is_some_and(|byte| matches!(byte, b'{' | b'['));
    let input = if is_json || patch_type != PatchType::Apply { Input::Json } else { Input::Yaml };
    if patch_type == PatchType::Json {
        return decode::parse_json_patch(bytes);
    }
    let parsed = decode::parse(input, bytes)?;
    // Refusals of what is applied speak of lines.
    if patch_type == PatchType::Apply && is_json && !parsed.problems.is_empty() {
        return decode::parse(Input::Yaml, bytes);
    }
    Ok(parsed)
}

/// Looks for repeated fields in the patch of a Scale, and for fields that a Scale does not have.
fn check_scale_patch(
    writer: &mut Writer<'_>,
    patch_type: PatchType,
    patch: &Value,
) -> Result<(), ApiError> {
    let mut problems = std::mem::take(&mut writer.patch_problems);
    if matches!(patch_type, PatchType::Merge | PatchType::Strategic)
        && let Some(schema) = schema::builtin::kind("autoscaling", "v1", "Scale")
    {
        let unknown = schema::prune(&schema, &mut patch.clone());
        problems.extend(unknown.into_iter().map(Problem::Unknown));
    }
    writer.judge_fields(Origin::Patch(&patch.to_string()), &problems)
}

/// Reads the options of a PATCH; some are only for apply, and apply needs one.
fn patch_options(call: &Call, patch_type: PatchType) -> Result<WriteOptions, ApiError> {
    let options = WriteOptions::parse(&call.query, "PatchOptions")?;
    let applies = patch_type == PatchType::Apply;
    let mut causes = Vec::new();
    if applies && options.field_manager.is_none() {
        causes.push(required("fieldManager", "is required for apply patch"));
    }
    if !applies && call.query.flag("force").is_some() {
        causes.push(forbidden("force", "may not be specified for non-apply patch"));
    }
    if causes.is_empty() { Ok(options) } else { Err(invalid_options("PatchOptions", causes)) }
}

fn apply_edit(writer: &Writer<'_>, call: &Call, config: Value) -> Result<Edit, ApiError> {
    expect_applied_kind(call, &config)?;
    // The place is only checked: what was applied is kept as it came.
    writer.check_place(&mut config.clone())?;
    Ok(Edit::Apply { config, force: writer.options.force })
}

/// What is applied must say what it is.
fn expect_applied_kind(call: &Call, config: &Value) -> Result<(), ApiError> {
    let text = |field: &str| config[field].as_str().unwrap_or_default();
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version == call.resource.group_version.to_string() && kind == call.resource.kind {
        return Ok(());
    }
    let slash = if version.contains('/') { "" } else { "/" };
    Err(ApiError::bad_request(format!("invalid object type: {slash}{version}, Kind={kind}")))
}

/// Applies a Scale: the manager owns the number of replicas of the object through the subresource.
async fn apply_scale(
    core: &Core,
    call: &Call,
    writer: Writer<'_>,
    mut config: Value,
) -> Result<Response, ApiError> {
    decode::expect_type("autoscaling/v1", "Scale", &mut config)?;
    writer.check_place(&mut config)?;
    let paths = scale_paths(call)?;
    let config = scale::config_of(paths, &call.resource, &config);
    let edit = Edit::Apply { config, force: writer.options.force };
    respond_with_scale(core, call, writer, &edit).await
}

async fn write_scale(
    core: &Core,
    call: &Call,
    writer: Writer<'_>,
    edit: ScaleEdit,
) -> Result<Response, ApiError> {
    let paths = scale_paths(call)?.clone();
    let edit = Edit::With(Box::new(move |live| edit.apply(&paths, live)));
    respond_with_scale(core, call, writer, &edit).await
}

async fn respond_with_scale(
    core: &Core,
    call: &Call,
    writer: Writer<'_>,
    edit: &Edit,
) -> Result<Response, ApiError> {
    let (written, _) = writer.update(Part::Main, edit).await?;
    scale_response(core, call, &written.served(&call.resource).await?)
}
