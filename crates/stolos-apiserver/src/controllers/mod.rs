//! Behaviours that upstream leaves to controllers: garbage collection, namespaces, service accounts, event expiry.
