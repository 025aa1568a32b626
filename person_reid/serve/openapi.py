"""The OpenAPI 3.1 document of the service, generated from the table of its operations."""

from collections.abc import Mapping
from typing import Any

from person_reid import __version__
from person_reid.serve.call import Operation
from person_reid.serve.operations import ALL_OPERATIONS
from person_reid.serve.parameters import PARAMETERS, SENT_EXAMPLES, TEXT_SCHEMA

NUMBER_SCHEMA, COUNT_SCHEMA = {"type": "number"}, {"type": "integer"}
YES_OR_UNKNOWN = {"type": ["boolean", "null"]}


def _object(properties: Mapping[str, Any], further: bool = False, *optional: str) -> dict[str, Any]:
    """Return the schema of an object. further: allow further columns."""
    required = [name for name in properties if name not in optional]
    kind = {"type": "object", "properties": properties, "required": required}
    return kind | {"additionalProperties": TEXT_SCHEMA if further else False}


def _list(of: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": of}


def _named(schema: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{schema}"}


FACT_SCHEMAS = dict.fromkeys(("identity", "camera", "time", "track", "source"), TEXT_SCHEMA)
MATCH_SCHEMAS = {
    "id": TEXT_SCHEMA,
    **FACT_SCHEMAS,
    "similarity": NUMBER_SCHEMA,
    "accepted": YES_OR_UNKNOWN,
}
PERSON_SCHEMAS = {
    "known": YES_OR_UNKNOWN,
    "identity": TEXT_SCHEMA,
    "nearest": TEXT_SCHEMA,
    "score": NUMBER_SCHEMA,
    "second": TEXT_SCHEMA,
    "margin": NUMBER_SCHEMA,
}
TRACK_SCHEMAS = {
    **dict.fromkeys(("source", "track", "camera", "identity", "time"), TEXT_SCHEMA),
    "first": NUMBER_SCHEMA,
    "last": NUMBER_SCHEMA,
    "boxes": COUNT_SCHEMA,
    "images": _list(TEXT_SCHEMA),
}
LINK_SCHEMAS = {
    "person": COUNT_SCHEMA,
    "piece": {"type": ["integer", "null"]},
    "margin": {"type": ["number", "null"]},
    "nearest": {"type": ["integer", "null"]},
    "given": {"type": "boolean"},
}
SIGHTING_SCHEMAS = {
    **dict.fromkeys(("identity", "camera", "track", "source"), TEXT_SCHEMA),
    "first": NUMBER_SCHEMA,
    "last": NUMBER_SCHEMA,
    "count": COUNT_SCHEMA,
    "images": _list(TEXT_SCHEMA),
}
SIGHTING_FACTS = ("identity", "camera", "track", "source", "first", "last")
LINKED_SCHEMAS = {
    "threshold": NUMBER_SCHEMA,
    "found": TEXT_SCHEMA,
    "tracks": _list(_named("LinkedTrack")),
}
HEALTH_SCHEMAS = {
    "status": TEXT_SCHEMA,
    **dict.fromkeys(("images", "cameras", "cameras_in_trouble"), COUNT_SCHEMA),
}
NEXT_PAGE = {"type": ["string", "null"]}
SCHEMAS = {
    "Features": _object({"dimension": COUNT_SCHEMA, "features": _list(_list(NUMBER_SCHEMA))}),
    "Image": _object({"id": TEXT_SCHEMA, **FACT_SCHEMAS}, True, *FACT_SCHEMAS),
    "Images": _object({"images": _list(_named("Image"))}),
    "Page": _object({"images": _list(_named("Image")), "next": NEXT_PAGE}),
    "Match": {**_object(MATCH_SCHEMAS, False, *FACT_SCHEMAS), "additionalProperties": True},
    "Answer": _object({"known": YES_OR_UNKNOWN, "matches": _list(_named("Match"))}),
    "Answers": _object({"queries": _list(_named("Answer"))}),
    "Identification": _object(PERSON_SCHEMAS, False, "identity", "second", "margin"),
    "Identifications": _object({"people": _list(_named("Identification"))}),
    "Track": _object(TRACK_SCHEMAS, False, "identity", "time"),
    "Tracks": _object({"tracks": _list(_named("Track")), "next": NEXT_PAGE}),
    "LinkedTrack": _object(TRACK_SCHEMAS | LINK_SCHEMAS, False, "time"),
    "LinkedTracks": _object(LINKED_SCHEMAS),
    "Sighting": _object(SIGHTING_SCHEMAS, False, *SIGHTING_FACTS),
    "Sightings": _object({"sightings": _list(_named("Sighting")), "next": NEXT_PAGE}),
    "Cameras": _object({"cameras": _list(TEXT_SCHEMA)}),
    "People": _object({"people": _list(TEXT_SCHEMA)}),
    "Count": _object({"images": COUNT_SCHEMA}),
    "Health": _object(HEALTH_SCHEMAS, False, "images", "cameras", "cameras_in_trouble"),
    "LiveCameras": _object(
        {"cameras": _list(_object(dict.fromkeys(("camera", "trouble"), TEXT_SCHEMA)))}
    ),
    "Problem": _object(
        {"type": TEXT_SCHEMA, "title": TEXT_SCHEMA, "status": COUNT_SCHEMA, "detail": TEXT_SCHEMA}
    ),
}
EXAMPLE_PICTURE = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAQCAIAAACk6KkqAAAAF0lEQVR42mM8IRfFgA0wMeAAoxK0lAAADJwB"
    "YI/SH3gAAAAASUVORK5CYII="
)
PICTURE_EXAMPLES = {"picture": {"summary": "A small PNG file", "externalValue": EXAMPLE_PICTURE}}
FEATURE_EXAMPLES = {
    "feature": {
        "summary": "A feature of six values; send as many as /v1/embed returns",
        "value": {"features": [[0.3, 0.1, -0.5, 0.2, 0.7, -0.3]]},
    }
}
FILE_SCHEMA = {"type": "string", "contentMediaType": "image/*"}
FILES_SCHEMA = _list(FILE_SCHEMA) | {"minItems": 1}
IMAGE_BODIES = {
    "multipart/form-data": {
        "schema": {"type": "object", "properties": {"image": FILES_SCHEMA}, "required": ["image"]}
    },
    "image/*": {"schema": FILE_SCHEMA, "examples": PICTURE_EXAMPLES},
}
FEATURE_BODY = {
    "schema": _object({"features": _list(_list(NUMBER_SCHEMA))}),
    "examples": FEATURE_EXAMPLES,
}
SENT_BODIES = {
    "images": IMAGE_BODIES,
    "features": {**IMAGE_BODIES, "application/json": FEATURE_BODY},
}


def openapi_document(root_path: str = "") -> dict[str, Any]:
    """Return the OpenAPI document. root_path: the path under which a proxy serves the service."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in ALL_OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _described(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Person re-identification", "version": __version__},
        "servers": [{"url": root_path or "/"}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _described(operation: Operation) -> dict[str, Any]:
    """Return the document's entry for an operation."""
    parameters: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "query",
            "description": PARAMETERS[name].description,
            "schema": _list(PARAMETERS[name].schema)
            if PARAMETERS[name].several
            else PARAMETERS[name].schema,
            "example": PARAMETERS[name].example,
        }
        for name in operation.takes
    ]
    if "{id}" in operation.path:
        parameters.append({"name": "id", "in": "path", "required": True, "schema": TEXT_SCHEMA})
    if operation.header:
        parameters.append({"name": operation.header, "in": "header", "schema": TEXT_SCHEMA})
    media = operation.answers if "/" in operation.answers else "application/json"
    schema = TEXT_SCHEMA if "/" in operation.answers else _named(operation.answers)
    problem = {"application/problem+json": {"schema": _named("Problem")}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "parameters": parameters,
        "security": [{"token": [operation.role]}] if operation.role else [],
        "responses": {
            "200": {"description": "The answer", "content": {media: {"schema": schema}}},
            "default": {"description": "What was wrong, and what to do", "content": problem},
        },
    }
    sends = operation.sends
    if isinstance(sends, Mapping):
        example = {name: SENT_EXAMPLES[name] for name in sends}
        body = {"schema": _object(sends, False, *sends), "example": example}
        described["requestBody"] = {"required": True, "content": {"application/json": body}}
    elif sends:
        described["requestBody"] = {"required": True, "content": SENT_BODIES[sends]}
    return described
