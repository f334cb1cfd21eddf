//! PUT and PATCH on an object or a part of it.

use http::StatusCode;
use serde_json::Value;

use super::{read_object, scale_paths, written_response};
use crate::rest::Core;
use crate::rest::call::Call;
use crate::rest::decode::{self, Origin, RequestBody};
use crate::rest::lifecycle::Part;
use crate::rest::negotiate::{self, Input, PatchType};
use crate::rest::query::WriteOptions;
use crate::rest::respond::{self, Response};
use crate::rest::subresource::scale::{self, ScaleEdit};
use crate::rest::write::{Edit, Writer};
use crate::schema;
use crate::status::{ApiError, Cause};

/// Returns the part that PUT and PATCH on a path write; nothing where the path takes neither.
fn part_of(call: &Call) -> Option<Part> {
    if !call.resource.is_stored() || call.name.is_empty() {
        return None;
    }
    match call.subresource.as_str() {
        "" | "ephemeralcontainers" => Some(Part::Main),
        "status" | "approval" => Some(Part::Status),
        "finalize" => Some(Part::Finalize),
        _ => None,
    }
}

/// Answers a PUT.
pub(super) async fn put(core: &Core, call: &Call, body: RequestBody) -> Result<Response, ApiError> {
    let writer = Writer::new(core, call, WriteOptions::parse(&call.query)?);
    if call.subresource == "scale" {
        let input = negotiate::input(&call.headers)?;
        let value = decode::parse(input, &decode::read(body).await?)?.value;
        return write_scale(call, writer, scale::edit_of_put(value)?).await;
    }
    let part = part_of(call).ok_or_else(|| call.method_not_allowed())?;
    let mut object = read_object(&writer, call, body).await?;
    writer.check_place(&mut object)?;
    let (written, created) = writer.update(part, &Edit::Replace(object)).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    written_response(core, call, status, &written, &writer.into_warnings())
}

/// Answers a PATCH of any of the four types.
pub(super) async fn patch(
    core: &Core,
    call: &Call,
    body: RequestBody,
) -> Result<Response, ApiError> {
    let options = WriteOptions::parse(&call.query)?;
    let patch_type = negotiate::patch_type(&call.headers, call.resource.custom)?;
    let writer = Writer::new(core, call, options);
    let bytes = decode::read(body).await?;
    // Apply bodies are YAML, of which JSON is a subset; the other patches are JSON, and clients send YAML there too.
    let input = if patch_type == PatchType::Apply { Input::Yaml } else { Input::Json };
    let input = if bytes.first().is_some_and(|byte| matches!(byte, b'{' | b'[')) {
        Input::Json
    } else {
        input
    };
    let decode::Parsed { value, duplicates } = decode::parse(input, &bytes)?;
    writer.check_fields(Origin::Body, &duplicates, &[])?;
    if call.subresource == "scale" {
        let edit = match patch_type {
            PatchType::Json => ScaleEdit::JsonPatch(value),
            PatchType::Merge | PatchType::Strategic => ScaleEdit::MergePatch(value),
            PatchType::Apply => return Err(call.method_not_allowed()),
        };
        return write_scale(call, writer, edit).await;
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
    written_response(core, call, status, &written, &writer.into_warnings())
}

fn apply_edit(writer: &Writer<'_>, call: &Call, mut config: Value) -> Result<Edit, ApiError> {
    if writer.options.field_manager.is_none() {
        let cause = Cause {
            reason: "FieldValueRequired".into(),
            message: "Required value: is required for apply patch".into(),
            field: "fieldManager".into(),
        };
        return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", vec![cause]));
    }
    decode::expect_kind(&call.resource, &mut config)?;
    writer.check_place(&mut config)?;
    let unknown = schema::prune(&call.resource.schema, &mut config);
    writer.check_fields(Origin::Body, &[], &unknown)?;
    Ok(Edit::Apply { config, force: writer.options.force })
}

async fn write_scale(
    call: &Call,
    writer: Writer<'_>,
    edit: ScaleEdit,
) -> Result<Response, ApiError> {
    let paths = scale_paths(call)?.clone();
    let shown = paths.clone();
    let edit = Edit::With(Box::new(move |live| edit.apply(&paths, live)));
    let (written, _) = writer.update(Part::Main, &edit).await?;
    let scale = scale::scale_of(&shown, &written.served(&call.resource));
    let mut response = respond::document(StatusCode::OK, call.output.format, &scale);
    respond::add_warnings(&mut response, &writer.into_warnings());
    Ok(response)
}
