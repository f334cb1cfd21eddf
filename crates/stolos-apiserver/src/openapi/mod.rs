//! OpenAPI documents for kubectl and client-go, built lazily.
