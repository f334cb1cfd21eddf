//! Schema fragments for types that the network kinds borrow from Kubernetes.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::json;

/// A port number or a port name.
pub(super) fn port_or_name(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}

/// Ports of an EndpointSlice, written as a whole.
pub(super) fn endpoint_ports(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        "items": {
            "description": "One port of all endpoints.",
            "type": "object",
            "x-kubernetes-map-type": "atomic",
            "properties": {
                "appProtocol": {"description": "Protocol of the application.", "type": "string"},
                "name": {"description": "Name of the Service's port.", "type": "string"},
                "port": {"description": "Port number.", "type": "integer", "format": "int32"},
                "protocol": {"description": "TCP, UDP or SCTP.", "type": "string"},
            },
        },
    })
}

/// Addresses of a load balancer.
pub(super) fn load_balancer_status(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "ingress": {
                "description": "Where traffic for the service is to be sent.",
                "type": "array",
                "x-kubernetes-list-type": "atomic",
                "items": {
                    "description": "One address.",
                    "type": "object",
                    "properties": {
                        "hostname": {"description": "Host name, if it is not an IP address.", "type": "string"},
                        "ip": {"description": "IP address.", "type": "string"},
                        "ipMode": {
                            "description": "Whether traffic reaches nodes with this address as its destination (VIP) \
                                or not (Proxy).",
                            "type": "string",
                        },
                        "ports": load_balancer_ports(),
                    },
                },
            },
        },
    })
}

fn load_balancer_ports() -> serde_json::Value {
    json!({
        "description": "What became of each port.",
        "type": "array",
        "x-kubernetes-list-type": "atomic",
        "items": {
            "description": "What became of one port.",
            "type": "object",
            "required": ["error", "port", "protocol"],
            "properties": {
                "error": {
                    "description": "What is wrong with the port, in CamelCase.",
                    "type": "string", "maxLength": 316,
                    "pattern": r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$",
                },
                "port": {"description": "Port number.", "type": "integer", "format": "int32"},
                "protocol": {"description": "TCP, UDP or SCTP.", "type": "string"},
            },
        },
    })
}

/// For how long clients stick to an endpoint.
pub(super) fn session_affinity_config(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "properties": {
            "clientIP": {
                "description": "Settings of affinity by the address of the client.",
                "type": "object",
                "properties": {
                    "timeoutSeconds": {
                        "description": "Seconds without a connection after which a client is free again, \
                            1 to 86400; 10800 if absent.",
                        "type": "integer", "format": "int32",
                    },
                },
            },
        },
    })
}
